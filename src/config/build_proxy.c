// SPDX-License-Identifier: Apache-2.0
// The PROXY protocol: whose headers a listener believes, and what an upstream's servers are told.
#include <sys/socket.h>

#include "src/config/address.h"
#include "src/config/builder.h"
#include "src/config/memory.h"

#define TLVS_DEFAULT (2 * CONFIG_PROXY_TLV_CLIENT_CERT - 1) // all that comes before the checksum
_Static_assert(CONFIG_PROXY_TLV_CRC32C == TLVS_DEFAULT + 1, "the checksum is the last");

static void build_networks(struct builder *builder, const struct raw_listener *raw, const struct node *list,
                           struct config_proxy_from *proxy)
{
    proxy->networks = memory_array(raw->proxy_protocol_from_count, sizeof(*proxy->networks));
    for (unsigned i = 0; i < raw->proxy_protocol_from_count; i++) {
        const struct node *node = node_item(list, i);
        const char *text = raw->proxy_protocol_from[i];
        const char *why;

        if (node_is_wrong(node))
            continue;
        if (config_network_parse(text, &proxy->networks[proxy->network_count], &why) == 0)
            proxy->network_count++;
        else
            report_add(builder->report, node_where(node), "`%s` is no network: %s", text, why);
    }
}

// Says of the key that it has no effect, if it is there.
static void warn_idle(struct builder *builder, const struct node *node, const char *key, const char *why)
{
    const struct node *value = node_get(node, key);

    if (value != NULL)
        report_warn(builder->report, node_where(value), "`%s` does nothing %s", key, why);
}

// A client that may send a header chooses the address that it seems to come from.
static void check_trust(struct builder *builder, const struct node *node,
                        const struct config_listener *listener)
{
    if (listener->address.socket.ss_family == AF_UNIX) {
        warn_idle(builder, node, "proxy_protocol_from",
                  "at a unix address; who may connect is for the permissions of its folder to say");
    } else if (node_get(node, "proxy_protocol_from") != NULL) {
        return;
    } else if (!listener->proxy.is_required) {
        // The specification forbids to guess whether there is a header (§2), unless one knows who may send it (§5).
        report_add(
            builder->report, node_where(node_get(node, "proxy_protocol_required")),
            "`proxy_protocol_required: false` needs `proxy_protocol_from`, the networks of the proxies; else "
            "any client could choose the address that it seems to come from");
    } else if (listener->address.length > 0 && !address_is_loopback(&listener->address)) {
        report_warn(
            builder->report, node_where(node_get(node, "proxy_protocol")),
            "whoever reaches this listener can choose the address that it seems to come from; name the "
            "networks of the proxies in `proxy_protocol_from`");
    }
}

void build_proxy_from(struct builder *builder, const struct raw_listener *raw, const struct node *node,
                      struct config_listener *listener)
{
    struct config_proxy_from *proxy = &listener->proxy;

    proxy->is_required = raw->proxy_protocol_required == NULL || *raw->proxy_protocol_required != 0;
    if (raw->proxy_protocol != NULL)
        proxy->mode = *raw->proxy_protocol;
    build_networks(builder, raw, node_get(node, "proxy_protocol_from"), proxy);
    if (node == NULL || node->is_partial)
        return; // what was wrong has been left out, and may be what is missed here
    if (proxy->mode != CONFIG_PROXY_IN_OFF) {
        check_trust(builder, node, listener);
        return;
    }
    warn_idle(builder, node, "proxy_protocol_from", "where `proxy_protocol` is off");
    warn_idle(builder, node, "proxy_protocol_required", "where `proxy_protocol` is off");
}

void build_proxy_to(struct builder *builder, const struct raw_upstream *raw, const struct node *node,
                    struct config_proxy_to *proxy)
{
    proxy->mode = raw->proxy_protocol != NULL ? *raw->proxy_protocol : CONFIG_PROXY_OUT_OFF;
    proxy->tlvs = TLVS_DEFAULT;
    if (node_get(node, "proxy_protocol_tlvs") == NULL)
        return;
    proxy->tlvs = 0;
    for (unsigned i = 0; i < raw->proxy_protocol_tlvs_count; i++)
        proxy->tlvs |= raw->proxy_protocol_tlvs[i];
    if (proxy->mode != CONFIG_PROXY_OUT_V2 && !node->is_partial)
        warn_idle(builder, node, "proxy_protocol_tlvs", "unless `proxy_protocol` is v2");
}
