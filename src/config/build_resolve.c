// SPDX-License-Identifier: Apache-2.0
// Servers that are found by a host name: one for each address that it has now, and room for those that it may have later.
#include <errno.h>
#include <netdb.h>
#include <string.h>

#include "ringbolt/clock.h"
#include "src/config/builder.h"
#include "src/config/memory.h"

#define ADDRESSES_DEFAULT 16

static const struct time_range any_time = {"0s", "365d"};
static const struct time_range some_time = {"1ms", "365d"};

// 0, or what the master can keep up with: each lookup is a process of its own.
static void build_interval(struct builder *builder, const char *text, const struct node *node, uint64_t *ret)
{
    static const struct time_range often = {"100ms", "365d"};
    uint64_t interval = *ret;

    if (text != NULL && config_time_parse(text, &interval) == 0 && interval == 0)
        builder_time(builder, node, "interval", text, any_time, ret);
    else
        builder_time(builder, node, "interval", text, often, ret);
}

void build_resolve(struct builder *builder, const struct raw_resolve *raw, const struct node *node,
                   struct config_upstream *upstream)
{
    upstream->resolve.interval_ns = 10 * CLOCK_NS_PER_S;
    upstream->resolve.timeout_ns = 5 * CLOCK_NS_PER_S;
    build_interval(builder, raw->interval, node, &upstream->resolve.interval_ns);
    builder_time(builder, node, "timeout", raw->timeout, some_time, &upstream->resolve.timeout_ns);
    upstream->resolve.attempt_delay_ns = 250 * CLOCK_NS_PER_MS;
    builder_time(builder, node, "attempt_delay", raw->attempt_delay, any_time,
                 &upstream->resolve.attempt_delay_ns);
    upstream->resolve.addresses = raw->addresses == NULL ? 0 : ADDRESSES_DEFAULT;
    builder_number(builder, node, "addresses", raw->addresses,
                   (struct number_range){1, ADDRESS_EACH_MAX, NULL}, &upstream->resolve.addresses);
    upstream->resolve.is_optional = raw->required != NULL && *raw->required == 0;
}

// What was found goes first; the rest is room.
static void add_all(struct config_upstream *upstream, const struct config_server *like,
                    const struct address_parts *parts, struct config_address *found, size_t count,
                    size_t most)
{
    struct config_name *name = &upstream->names[upstream->name_count++];
    struct config_server server = *like;

    name->text = memory_copy(like->address.text);
    name->host = memory_copy(parts->host);
    name->port = parts->port;
    name->first = upstream->server_count;
    server.name = name;
    for (size_t i = 0; i < count && upstream->server_count - name->first < most; i++) {
        char number[ADDRESS_TEXT_SIZE];

        address_set_port(&found[i], parts->port);
        address_text(&found[i], number);
        build_add_server(upstream, &server, &found[i], number, parts->host);
    }
    while (upstream->server_count - name->first < most)
        build_add_server(upstream, &server, NULL, NULL, parts->host);
    name->count = upstream->server_count - name->first;
}

void build_named_servers(struct builder *builder, struct config_upstream *upstream,
                         const struct config_server *like, const struct address_parts *parts,
                         const struct node *node)
{
    struct config_address found[ADDRESS_EACH_MAX];
    size_t most = upstream->resolve.addresses;
    size_t count = 0;
    int result = builder->input->resolver(parts->host, found, ADDRESS_EACH_MAX, &count);
    const char *why = result == EAI_SYSTEM ? strerror(errno) : gai_strerror(result);

    if (result != 0 && !upstream->resolve.is_optional) {
        report_add(builder->report, node_where(node),
                   "%s `%s`: the host has no address that could be found (%s)", builder->input->server_name,
                   like->address.text, why);
        add_all(upstream, like, parts, found, 0, 0);
        return;
    }
    if (result != 0)
        report_warn(builder->report, node_where(node), "%s `%s`: the host has no address yet (%s)",
                    builder->input->server_name, like->address.text, why);
    if (most == 0)
        most = count > ADDRESSES_DEFAULT ? count : ADDRESSES_DEFAULT;
    if (count > most)
        report_warn(
            builder->report, node_where(node),
            "%s `%s`: the host has %zu addresses or more, of which %zu are used; raise `addresses` in "
            "`resolve`",
            builder->input->server_name, like->address.text, count, most);
    add_all(upstream, like, parts, found, count, most);
}
