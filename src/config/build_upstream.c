// SPDX-License-Identifier: Apache-2.0
// Upstreams and their servers.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ringbolt/clock.h"
#include "src/config/builder.h"
#include "src/config/memory.h"

#define NAMES_SHOWN     8
#define WEIGHT_MAX      256
#define CONNECTIONS_MAX 10000000
#define FAILS_MAX       1000
#define QUEUE_MAX       1000000

static const struct time_range any_time = {"0s", "365d"};
static const struct time_range some_time = {"1ms", "365d"};
static const struct time_range check_time = {"100ms", "365d"}; // the master has other things to do too

void build_add_server(struct config_upstream *upstream, const struct config_server *like,
                      const struct config_address *address, const char *text, const char *name)
{
    struct config_server *server;

    for (size_t i = 0; i < upstream->server_count && address != NULL; i++) {
        server = &upstream->servers[i];
        if (!address_equal(&server->address, address))
            continue;
        if (server->name == NULL || like->name != NULL)
            return;
        // What stands in the file stays when a name loses it.
        free(server->address.text);
        server->address = (struct config_address){.text = NULL};
    }
    upstream->servers = memory_grow(upstream->servers, upstream->server_count, sizeof(*server));
    server = &upstream->servers[upstream->server_count++];
    *server = *like;
    server->address = (struct config_address){.text = NULL};
    if (address != NULL) {
        server->address = *address;
        server->address.text = memory_copy(text);
    }
    server->host = build_server_host(address, name);
}

static void report_address(struct builder *builder, const struct node *node, const char *name,
                           const char *text, const char *why)
{
    report_add(builder->report, node_where(node), "%s `%s`: %s", name, text, why);
}

static void build_server_address(struct builder *builder, struct config_upstream *upstream,
                                 const struct config_server *like, const char *text, const struct node *node)
{
    const char *name = builder->input->server_name;
    struct config_address address = {.text = NULL};
    struct address_parts parts;
    const char *why;
    int result;

    if (node_is_wrong(node))
        return;
    if (address_split(text, false, &parts, &why) < 0) {
        report_address(builder, node, name, text, why);
        return;
    }
    if (parts.path == NULL && parts.port == 0) {
        report_address(builder, node, name, text, "a server's port is a number from 1 to 65535");
        return;
    }
    if (strcmp(parts.host, "*") == 0) {
        report_address(builder, node, name, text, "a server needs a host; write HOST:PORT");
        return;
    }
    result = address_resolve(&parts, false, builder->input->directory, &address, &why);
    if (result == -ENOENT)
        build_named_servers(builder, upstream, like, &parts, node);
    else if (result < 0)
        report_address(builder, node, name, text, why);
    else
        build_add_server(upstream, like, &address, text, NULL);
}

// One entry; a name with several addresses makes as many servers, all alike.
static void build_server(struct builder *builder, struct config_upstream *upstream,
                         const struct raw_server *raw, const struct node *node)
{
    struct config_server like = {.address.text = raw->address, .weight = 1};

    builder_number(builder, node, "weight", raw->weight, (struct number_range){0, WEIGHT_MAX, NULL},
                   &like.weight);
    builder_number(builder, node, "max_connections", raw->max_connections,
                   (struct number_range){0, CONNECTIONS_MAX, NULL}, &like.max_connections);
    like.is_backup = raw->backup != NULL && *raw->backup != 0;
    build_server_address(builder, upstream, &like, raw->address, node_get(node, "address"));
}

static void check_upstream_name(struct builder *builder, const char *text, const struct node *node)
{
    const struct config *config = builder->config;
    const struct node *upstreams = node_get(builder->input->root, "upstreams");
    const struct node *name = node_get(node, "name");

    for (size_t i = 0; i < config->upstream_count && !node_is_wrong(name); i++) {
        const struct node *other = node_get(node_item(upstreams, i), "name");
        if (node_is_wrong(other) || strcmp(config->upstreams[i].name, text) != 0)
            continue;
        report_add(builder->report, builder_where_of_twin(name, other, node),
                   "the upstream in line %u is called `%s` too; names must differ",
                   config->upstreams[i].where.line, text);
        return;
    }
}

// Whether the server at `index` was written before.
static bool is_repeated(struct builder *builder, const struct raw_upstream *raw, unsigned index,
                        const struct node *servers)
{
    const struct node *address = node_get(node_item(servers, index), "address");

    for (unsigned i = 0; i < index && !node_is_wrong(address); i++) {
        const struct node *other = node_get(node_item(servers, i), "address");
        if (node_is_wrong(other) || strcmp(raw->servers[i].address, raw->servers[index].address) != 0)
            continue;
        report_add(builder->report, builder_where_of_twin(address, other, node_item(servers, index)),
                   "`%s` is a server of this upstream already, in line %u; remove one",
                   raw->servers[index].address, node_where(node_item(servers, i)).line);
        return true;
    }
    return false;
}

static void build_health(struct builder *builder, const struct raw_health *raw, const struct node *node,
                         struct config_health *health)
{
    *health = (struct config_health){.max_fails = 3,
                                     .fail_timeout_ns = 10 * CLOCK_NS_PER_S,
                                     .interval_ns = 2 * CLOCK_NS_PER_S,
                                     .timeout_ns = 2 * CLOCK_NS_PER_S,
                                     .rise = 2,
                                     .fall = 3};
    builder_number(builder, node, "max_fails", raw->max_fails, (struct number_range){0, FAILS_MAX, NULL},
                   &health->max_fails);
    builder_time(builder, node, "fail_timeout", raw->fail_timeout, some_time, &health->fail_timeout_ns);
    if (raw->check != NULL)
        health->check = *raw->check;
    builder_time(builder, node, "interval", raw->interval, check_time, &health->interval_ns);
    builder_time(builder, node, "timeout", raw->timeout, some_time, &health->timeout_ns);
    builder_number(builder, node, "rise", raw->rise, (struct number_range){1, FAILS_MAX, NULL},
                   &health->rise);
    builder_number(builder, node, "fall", raw->fall, (struct number_range){1, FAILS_MAX, NULL},
                   &health->fall);
    builder_time(builder, node, "slow_start", raw->slow_start, any_time, &health->slow_start_ns);
}

static void check_check(struct builder *builder, const struct config_upstream *upstream,
                        const struct node *node)
{
    const struct node *check = node_get(node_get(node, "health"), "check");

    if (upstream->health.check == CONFIG_CHECK_TLS && !upstream->tls.is_on && !node->is_partial)
        report_add(
            builder->report, node_where(check),
            "`check: tls` is for servers that speak TLS; write `check: tcp`, or give the upstream `tls`");
}

static void build_queue(struct builder *builder, const struct raw_queue *raw, const struct node *node,
                        struct config_upstream *upstream)
{
    unsigned most = 0;

    upstream->queue.timeout_ns = 5 * CLOCK_NS_PER_S;
    builder_number(builder, node, "size", raw->size, (struct number_range){0, QUEUE_MAX, NULL},
                   &upstream->queue.size);
    builder_time(builder, node, "timeout", raw->timeout, some_time, &upstream->queue.timeout_ns);
    for (size_t i = 0; i < upstream->server_count; i++)
        most = upstream->servers[i].max_connections > most ? upstream->servers[i].max_connections : most;
    if (upstream->queue.size > 0 && most == 0 && upstream->server_count > 0)
        report_warn(builder->report, node_where(node),
                    "`queue` does nothing where no server has `max_connections`; give them one");
}

static void check_weights(struct builder *builder, const struct config_upstream *upstream,
                          const struct node *node)
{
    for (size_t i = 0; i < upstream->server_count; i++) {
        if (upstream->servers[i].weight > 0)
            return;
    }
    if (upstream->server_count > 0)
        report_add(
            builder->report, node_where(node),
            "every server has `weight` 0, so none would take a connection; give one a weight from 1 to %d",
            WEIGHT_MAX);
}

static void build_upstream(struct builder *builder, const struct raw_upstream *raw, const struct node *node)
{
    struct config *config = builder->config;
    struct config_upstream *upstream = &config->upstreams[config->upstream_count];
    const struct node *servers = node_get(node, "servers");

    check_upstream_name(builder, raw->name, node);
    upstream->where = node_where(node);
    upstream->name = memory_copy(raw->name);
    config->upstream_count++;
    if (raw->balance != NULL)
        upstream->balance = *raw->balance;
    builder_tcp(builder, node_get(node, "tcp"), raw->tcp.keepalive, raw->tcp.user_timeout, &upstream->tcp);
    upstream->tcp.is_transparent = raw->tcp.transparent != NULL && *raw->tcp.transparent != 0;
    build_proxy_to(builder, raw, node, &upstream->proxy);
    upstream->names = memory_array(raw->servers_count, sizeof(*upstream->names));
    build_resolve(builder, &raw->resolve, node_get(node, "resolve"), upstream);
    for (unsigned i = 0; i < raw->servers_count; i++) {
        if (!is_repeated(builder, raw, i, servers))
            build_server(builder, upstream, &raw->servers[i], node_item(servers, i));
    }
    if (node_get(node, "resolve") != NULL && upstream->name_count == 0 && !node_is_wrong(servers))
        report_warn(builder->report, node_where(node_get(node, "resolve")),
                    "`resolve` does nothing where no server has a host name");
    check_weights(builder, upstream, servers);
    build_health(builder, &raw->health, node_get(node, "health"), &upstream->health);
    build_server_tls(builder, &raw->tls, node, upstream);
    check_check(builder, upstream, node);
    build_queue(builder, &raw->queue, node_get(node, "queue"), upstream);
}

// The names of upstreams, as many as a line bears. False when not every name is known: then nobody can say
// that one is missing.
static bool upstream_names(const struct builder *builder, char *ret, size_t size)
{
    const struct node *upstreams = node_get(builder->input->root, "upstreams");
    const struct config *config = builder->config;
    size_t length = 0;

    ret[0] = '\0';
    for (size_t i = 0; i < config->upstream_count; i++) {
        if (node_is_wrong(upstreams) || node_is_wrong(node_get(node_item(upstreams, i), "name")))
            return false;
        if (i >= NAMES_SHOWN || length >= size)
            continue;
        length += (size_t)snprintf(ret + length, size - length, "%s`%s`", i > 0 ? ", " : "",
                                   config->upstreams[i].name);
    }
    return true;
}

size_t build_find_upstream(struct builder *builder, const char *name, const struct node *node)
{
    const struct config *config = builder->config;
    char names[NAMES_SHOWN * 260 + 1];

    for (size_t i = 0; i < config->upstream_count && !node_is_wrong(node); i++) {
        if (strcmp(config->upstreams[i].name, name) == 0)
            return i;
    }
    if (!node_is_wrong(node) && upstream_names(builder, names, sizeof(names)))
        report_add(builder->report, node_where(node), "there is no upstream `%s`; known are %s%s", name,
                   names, config->upstream_count > NAMES_SHOWN ? ", …" : "");
    return 0;
}

void build_upstreams(struct builder *builder)
{
    const struct raw_config *raw = builder->input->raw;
    const struct node *upstreams = node_get(builder->input->root, "upstreams");

    builder->config->upstreams = memory_allocate(raw->upstreams_count * sizeof(struct config_upstream));
    for (unsigned i = 0; i < raw->upstreams_count; i++)
        build_upstream(builder, &raw->upstreams[i], node_item(upstreams, i));
}
