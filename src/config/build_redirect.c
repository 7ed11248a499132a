// SPDX-License-Identifier: Apache-2.0
// A listener that redirects: plain HTTP in place of TLS, an answer in place of a server.
#include <arpa/inet.h>
#include <string.h>

#include "src/config/builder.h"
#include "src/config/host.h"
#include "src/config/memory.h"

#define PORT_MAX 65535

static bool is_ipv4(const char *text)
{
    struct in_addr address;

    return inet_pton(AF_INET, text, &address) == 1;
}

// In brackets.
static bool is_ipv6(const char *text)
{
    struct in6_addr address;
    char inner[INET6_ADDRSTRLEN];
    size_t length = strlen(text);

    if (length < 2 || length - 2 >= sizeof(inner) || text[0] != '[' || text[length - 1] != ']')
        return false;
    memcpy(inner, text + 1, length - 2);
    inner[length - 2] = '\0';
    return inet_pton(AF_INET6, inner, &address) == 1;
}

// A host as it stands in an address of the web. NULL, with *ret_why.
static char *parse_host(const char *text, const char **ret_why)
{
    char *name;

    if (is_ipv4(text) || is_ipv6(text))
        return memory_copy(text);
    if (strpbrk(text, ":[]/") != NULL) {
        *ret_why = "write a name or an address alone, IPv6 as `\"[2001:db8::1]\"`; the port goes into `port`";
        return NULL;
    }
    if (host_parse(text, &name, ret_why) < 0)
        return NULL;
    if (strchr(name, '*') == NULL)
        return name;
    free(name);
    *ret_why = "clients are sent to one host; leave `host` out to send each to the one that it asks for";
    return NULL;
}

// What has no meaning where nothing is passed on.
static void refuse(struct builder *builder, const struct node *node, const char *key, const char *why)
{
    const struct node_pair *pair = node_find_pair(node, key);

    if (pair != NULL)
        report_add(builder->report, pair->where, "`%s` can't stand beside `redirect`: %s; remove one of them",
                   key, why);
}

static void check_tls(struct builder *builder, const struct node *node)
{
    if (node != NULL && !node->is_partial && !node->is_wrong && node_get(node, "tls") == NULL)
        report_add(builder->report, node_where(node),
                   "required key `tls` is missing; an entry of `listeners` needs it, or `redirect`");
}

void build_redirect(struct builder *builder, const struct raw_listener *raw, const struct node *node,
                    struct config_listener *listener)
{
    const struct node *section = node_get(node, "redirect");
    struct config_redirect *redirect = &listener->redirect;
    const char *why;

    redirect->port = 443;
    if (section == NULL) {
        check_tls(builder, node);
        return;
    }
    redirect->is_on = true;
    listener->upstream = CONFIG_NO_UPSTREAM;
    listener->never_terminates = true;
    refuse(builder, node, "tls", "such a listener speaks plain HTTP");
    refuse(builder, node, "hsts", "browsers believe it over TLS alone");
    refuse(builder, node, "routes", "such a listener answers by itself");
    refuse(builder, node, "upstream", "such a listener answers by itself");
    builder_number(builder, section, "port", raw->redirect.port, (struct number_range){1, PORT_MAX, NULL},
                   &redirect->port);
    if (raw->redirect.host != NULL && !node_is_wrong(node_get(section, "host"))) {
        redirect->host = parse_host(raw->redirect.host, &why);
        if (redirect->host == NULL)
            report_add(builder->report, node_where(node_get(section, "host")), "`host` cannot be `%s`: %s",
                       raw->redirect.host, why);
    }
    redirect->acme = builder_path(builder, raw->redirect.acme);
    redirect->acme_where = node_where(node_get(section, "acme"));
}
