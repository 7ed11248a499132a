// SPDX-License-Identifier: Apache-2.0
// Building the configuration. What is wrong is reported and the walk goes on; values that the schema's check
// has reported already (is_wrong) stay silent here.
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "ringbolt/clock.h"
#include "src/config/builder.h"
#include "src/config/cpus.h"
#include "src/config/memory.h"

#define HOUR_NS           (3600 * CLOCK_NS_PER_S)
#define WORKERS_MAX       1024
#define LOG_RATE_MAX      1000000
#define CONNECTIONS_MAX   10000000
#define RATE_MAX          1000000
#define BACKLOG_MAX       65535
#define TICKET_KEYS_KEPT  60 // of the 64 there may be; some time for clocks and the next one
#define CLIENT_HELLO_MIN  1024
#define CLIENT_HELLO_MAX  65536
#define WORKER_MEMORY_MIN (UINT64_C(1) << 20)

static const struct time_range any_time = {"0s", "365d"};
static const struct time_range some_time = {"1ms", "365d"};
static const struct time_range ticket_time = {"1s", "365d"};
static const struct time_range lifetime = {"1s", "7d"}; // RFC 8446 §4.6.1

// ---- the sections ----

static unsigned cpu_count(void)
{
    unsigned count = cpus_usable();

    return count > WORKERS_MAX ? WORKERS_MAX : count;
}

static void build_client_limits(struct builder *builder, const struct raw_limits *raw, const struct node *section)
{
    const struct number_range some = {0, RATE_MAX, NULL};
    const struct node *network = node_get(section, "client_network");
    struct config *config = builder->config;

    builder_number(builder, section, "handshakes_per_second", raw->handshakes_per_second, some,
                   &config->limits.handshakes_per_second);
    builder_number(builder, section, "connections_per_client", raw->connections_per_client, some,
                   &config->limits.connections_per_client);
    builder_number(builder, section, "handshakes_per_second_per_client", raw->handshakes_per_second_per_client,
                   some, &config->limits.handshakes_per_second_per_client);
    builder_number(builder, network, "ipv4", raw->client_network.ipv4, (struct number_range){1, 32, NULL},
                   &config->limits.client_network.ipv4);
    builder_number(builder, network, "ipv6", raw->client_network.ipv6, (struct number_range){1, 128, NULL},
                   &config->limits.client_network.ipv6);
}

static void build_limits(struct builder *builder)
{
    const struct raw_limits *raw = &builder->input->raw->limits;
    const struct node *section = node_get(builder->input->root, "limits");
    struct config *config = builder->config;
    uint64_t least = config->workers * WORKER_MEMORY_MIN;

    builder_number(builder, section, "connections", raw->connections,
                   (struct number_range){1, CONNECTIONS_MAX, NULL}, &config->limits.connections);
    build_client_limits(builder, raw, section);
    if (builder_size(builder, section, "client_hello", raw->client_hello, &config->limits.client_hello) &&
        (config->limits.client_hello < CLIENT_HELLO_MIN || config->limits.client_hello > CLIENT_HELLO_MAX))
        report_add(builder->report, node_where(node_get(section, "client_hello")),
                   "`client_hello` cannot be %s; write a size from `1k` to `64k`", raw->client_hello);
    if (!builder_size(builder, section, "memory", raw->memory, &config->limits.memory)) {
        // The default must do for every machine: what `auto` workers need is never an error.
        if (config->limits.memory < least)
            config->limits.memory = least;
    } else if (config->limits.memory < least) {
        report_add(builder->report, node_where(node_get(section, "memory")),
                   "`memory`: %s is too little for %u worker%s; write at least `%um`", raw->memory,
                   config->workers, config->workers == 1 ? "" : "s", config->workers);
    }
}

static void build_tickets(struct builder *builder)
{
    const struct raw_tickets *raw = &builder->input->raw->tickets;
    const struct node *section = node_get(builder->input->root, "tickets");
    const struct node *rotate = node_get(section, "rotate");
    struct config *config = builder->config;
    struct builder_paths keys;
    uint64_t least;

    builder_paths(builder, section, "keys", raw->keys, raw->keys_count, &keys);
    config->tickets.keys = keys.paths;
    config->tickets.key_wheres = keys.wheres;
    config->tickets.key_count = keys.count;
    builder_time(builder, section, "rotate", raw->rotate, ticket_time, &config->tickets.rotate_ns);
    builder_time(builder, section, "lifetime", raw->lifetime, lifetime, &config->tickets.lifetime_ns);
    if (raw->keys_count > 0) {
        if (rotate != NULL)
            report_warn(builder->report, node_where(rotate),
                        "`rotate` does nothing where `keys` names files; replace them to change the key");
        return;
    }
    // A key is kept until the last ticket under it has ended.
    least = config->tickets.lifetime_ns / TICKET_KEYS_KEPT;
    if (config->tickets.rotate_ns < least)
        report_add(builder->report, node_where(rotate != NULL ? rotate : node_get(section, "lifetime")),
                   "`lifetime` is more than %d times `rotate`, and so many keys are not kept; write a "
                   "`rotate` of at least `%jus`",
                   TICKET_KEYS_KEPT, (uintmax_t)((least + CLOCK_NS_PER_S - 1) / CLOCK_NS_PER_S));
}

static void build_admin(struct builder *builder)
{
    const char *raw = builder->input->raw->admin.socket;
    const char *text = raw != NULL ? raw : builder->input->admin_default;
    const struct node *node = node_get(node_get(builder->input->root, "admin"), "socket");
    struct config *config = builder->config;

    config->admin.where = node_where(node);
    config->admin.is_default = raw == NULL && text != NULL;
    if (text == NULL || strcmp(text, "off") == 0)
        return;
    if (strncmp(text, "unix:", strlen("unix:")) == 0) {
        report_add(builder->report, node_where(node), "`socket` is a path; write it without `unix:`");
        return;
    }
    config->admin.socket = builder_path(builder, text);
    if (strlen(config->admin.socket) >= sizeof((struct sockaddr_un){0}.sun_path))
        report_add(
            builder->report, node_where(node),
            "`socket` `%s`: the path is too long for a socket; with its directory it may have 107 bytes "
            "(unix(7))",
            text);
}

static void build_sandbox(const struct raw_config *raw, struct config *config)
{
    if (raw->sandbox.seccomp != NULL)
        config->sandbox.seccomp = *raw->sandbox.seccomp;
    if (raw->sandbox.landlock != NULL)
        config->sandbox.landlock = *raw->sandbox.landlock;
    if (raw->sandbox.io_uring != NULL)
        config->sandbox.io_uring = *raw->sandbox.io_uring;
}

static void build_http(struct builder *builder)
{
    const char *text = builder->input->raw->admin.http;
    const struct node *node = node_get(node_get(builder->input->root, "admin"), "http");
    struct config *config = builder->config;
    struct address_parts parts;
    const char *why = NULL;

    if (text == NULL || strcmp(text, "off") == 0 || node_is_wrong(node))
        return;
    if (address_split(text, true, &parts, &why) == 0 && parts.path != NULL)
        why = "metrics are served over TCP; write HOST:PORT, or off";
    if (why != NULL || address_resolve(&parts, true, NULL, &config->admin.http, &why) < 0) {
        report_add(builder->report, node_where(node), "`http` `%s`: %s", text, why);
        return;
    }
    config->admin.http.text = memory_copy(text);
    if (!address_is_loopback(&config->admin.http))
        report_warn(builder->report, node_where(node),
                    "`http` `%s`: whoever reaches that address reads names, addresses and counters, without a password "
                    "and in plaintext; write 127.0.0.1:PORT unless its network is yours",
                    text);
}

static void build_rebalance(struct builder *builder)
{
    const struct raw_rebalance *raw = &builder->input->raw->rebalance;
    const struct node *section = node_get(builder->input->root, "rebalance");
    struct config *config = builder->config;

    builder_number(builder, section, "threshold", raw->threshold, (struct number_range){0, 100, NULL},
                   &config->rebalance.threshold);
    builder_number(builder, section, "connections", raw->connections,
                   (struct number_range){2, CONNECTIONS_MAX, NULL}, &config->rebalance.connections);
    builder_time(builder, section, "age", raw->age, any_time, &config->rebalance.age_ns);
}

static void build_sections(struct builder *builder)
{
    const struct raw_config *raw = builder->input->raw;
    const struct node *root = builder->input->root;
    const struct node *timeouts = node_get(root, "timeouts");
    struct config *config = builder->config;

    config->workers = 1;
    if (raw->workers == NULL || strcmp(raw->workers, "auto") == 0)
        config->workers = cpu_count();
    else
        builder_number(builder, root, "workers", raw->workers,
                       (struct number_range){1, WORKERS_MAX, "`auto` or "}, &config->workers);
    config->user = raw->user != NULL ? memory_copy(raw->user) : NULL;
    config->user_where = node_where(node_get(root, "user"));
    builder_time(builder, root, "shutdown_timeout", raw->shutdown_timeout, any_time,
                 &config->shutdown_timeout_ns);
    if (raw->log.level != NULL)
        config->log.level = *raw->log.level;
    if (raw->log.format != NULL)
        config->log.format = *raw->log.format;
    if (raw->log.access != NULL)
        config->log.access = *raw->log.access != 0;
    builder_number(builder, node_get(root, "log"), "failures_per_second", raw->log.failures_per_second,
                   (struct number_range){0, LOG_RATE_MAX, NULL}, &config->log.failures_per_second);
    builder_number(builder, node_get(root, "log"), "sample", raw->log.sample,
                   (struct number_range){1, LOG_RATE_MAX, NULL}, &config->log.sample);
    config->log.file = builder_path(builder, raw->log.file);
    config->log.file_where = node_where(node_get(node_get(root, "log"), "file"));
    if (raw->ktls.transmit != NULL)
        config->ktls.transmit = *raw->ktls.transmit;
    if (raw->ktls.receive != NULL)
        config->ktls.receive = *raw->ktls.receive;
    builder_size(builder, node_get(root, "ktls"), "offload_after", raw->ktls.offload_after,
                 &config->ktls.offload_after);
    build_sandbox(raw, config);
    build_limits(builder);
    build_tickets(builder);
    build_admin(builder);
    build_http(builder);
    builder_time(builder, timeouts, "handshake", raw->timeouts.handshake, some_time,
                 &config->timeouts.handshake_ns);
    builder_time(builder, timeouts, "connect", raw->timeouts.connect, some_time,
                 &config->timeouts.connect_ns);
    builder_time(builder, timeouts, "idle", raw->timeouts.idle, some_time, &config->timeouts.idle_ns);
    builder_time(builder, timeouts, "half_closed", raw->timeouts.half_closed, some_time,
                 &config->timeouts.half_closed_ns);
    build_rebalance(builder);
    builder_number(builder, node_get(root, "survival"), "connections", raw->survival.connections,
                   (struct number_range){0, CONNECTIONS_MAX, NULL}, &config->survival.connections);
}

// ---- listeners ----

// Port 0 lets the kernel choose, a different one each time.
static void check_listener_address(struct builder *builder, const struct config_listener *listener,
                                   const struct node *node)
{
    const struct config *config = builder->config;
    const struct node *listeners = node_get(builder->input->root, "listeners");
    bool is_unix = listener->address.socket.ss_family == AF_UNIX;
    bool has_port = is_unix || address_port(&listener->address) != 0;
    const struct sockaddr_un *path = (const struct sockaddr_un *)&listener->address.socket;

    if (is_unix && config->admin.socket != NULL && strcmp(path->sun_path, config->admin.socket) == 0)
        report_add(builder->report, node_where(node_get(node, "address")),
                   "`%s` is the admin socket's path (`admin.socket`); each needs its own",
                   listener->address.text);
    if (has_port && config->admin.http.text != NULL && address_equal(&config->admin.http, &listener->address))
        report_add(builder->report, node_where(node_get(node, "address")),
                   "`%s` is where metrics are served (`admin.http`); each needs its own", listener->address.text);

    for (size_t i = 0; &config->listeners[i] < listener && has_port; i++) {
        const struct node *other = node_get(node_item(listeners, i), "address");
        if (!address_equal(&config->listeners[i].address, &listener->address))
            continue;
        report_add(builder->report, builder_where_of_twin(node_get(node, "address"), other, node),
                   "`%s` is the address of the listener in line %u too; each needs its own",
                   listener->address.text, config->listeners[i].where.line);
        return;
    }
}

static void build_listener_address(struct builder *builder, struct config_listener *listener,
                                   const char *text, const struct node *node)
{
    const struct node *address = node_get(node, "address");
    struct address_parts parts;
    const char *why;

    if (node_is_wrong(address))
        return;
    if (address_split(text, true, &parts, &why) < 0 ||
        address_resolve(&parts, true, builder->input->directory, &listener->address, &why) < 0) {
        report_add(builder->report, node_where(address), "%s `%s`: %s", builder->input->listen_name, text,
                   why);
        return;
    }
    listener->address.text = memory_copy(text);
    check_listener_address(builder, listener, node);
}

static void check_listener_name(struct builder *builder, size_t index, const struct node *node)
{
    const struct raw_listener *raw = builder->input->raw->listeners;
    const struct node *listeners = node_get(builder->input->root, "listeners");

    for (size_t i = 0; i < index && raw[index].name != NULL; i++) {
        const struct node *other = node_get(node_item(listeners, i), "name");
        if (raw[i].name == NULL || strcmp(raw[i].name, raw[index].name) != 0)
            continue;
        report_add(builder->report, builder_where_of_twin(node_get(node, "name"), other, node),
                   "the listener in line %u is called `%s` too; names must differ",
                   builder->config->listeners[i].where.line, raw[index].name);
        return;
    }
}

static void build_listener_tcp(struct builder *builder, const struct raw_tcp *raw, const struct node *section,
                               struct config_listener *listener)
{
    listener->backlog = BACKLOG_MAX;
    if (section != NULL && listener->address.socket.ss_family == AF_UNIX)
        report_add(builder->report, node_where(section), "`tcp`: `%s` is not a TCP address; remove it",
                   listener->address.text);
    builder_tcp(builder, section, raw->keepalive, raw->user_timeout, &listener->tcp);
    builder_number(builder, section, "backlog", raw->backlog, (struct number_range){1, BACKLOG_MAX, NULL},
                   &listener->backlog);
    builder_number(builder, section, "fast_open", raw->fast_open, (struct number_range){0, BACKLOG_MAX, NULL},
                   &listener->fast_open);
}

// `tls: off`: what clients say is passed on, encrypted or not, as its upstream has it.
static void build_plain(struct builder *builder, const struct node *node, struct config_listener *listener)
{
    const struct node *tls = node_get(node, "tls");
    const struct node *routes = node_get(node, "routes");

    listener->is_plain = tls != NULL && tls->is_off;
    if (!listener->is_plain)
        return;
    listener->never_terminates = true;
    if (routes != NULL)
        report_add(builder->report, node_where(routes),
                   "`routes` go by what a ClientHello says, and with `tls: off` there is none; write "
                   "`upstream: NAME`, or "
                   "give the listener `tls`");
    else if (listener->upstream < builder->config->upstream_count &&
             !builder->config->upstreams[listener->upstream].tls.is_on)
        report_warn(
            builder->report, node_where(tls),
            "nothing is encrypted here: the listener has `tls: off`, and its upstream `%s` has no `tls`",
            builder->config->upstreams[listener->upstream].name);
}

static void build_listener(struct builder *builder, size_t index, const struct node *node)
{
    const struct raw_listener *raw = &builder->input->raw->listeners[index];
    struct config *config = builder->config;
    struct config_listener *listener = &config->listeners[config->listener_count++];

    listener->where = node_where(node);
    listener->name = memory_copy(raw->name != NULL ? raw->name : raw->address);
    check_listener_name(builder, index, node);
    build_listener_address(builder, listener, raw->address, node);
    builder_number(builder, node_get(node, "limits"), "connections", raw->limits.connections,
                   (struct number_range){0, CONNECTIONS_MAX, NULL}, &listener->connections);
    build_listener_tcp(builder, &raw->tcp, node_get(node, "tcp"), listener);
    build_redirect(builder, raw, node, listener);
    if (!listener->redirect.is_on) {
        build_routes(builder, raw, node, listener);
        build_plain(builder, node, listener);
    }
    build_tls(builder, &raw->tls, node_get(node, "tls"), !listener->never_terminates, &listener->tls);
    build_hsts(builder, raw, node, listener);
    build_proxy_from(builder, raw, node, listener);
}

struct config *build_config(const struct build_input *input, struct report *report)
{
    const struct raw_config *raw = input->raw;
    struct config *config = memory_allocate(sizeof(*config));
    struct builder builder = {.input = input, .report = report, .config = config};

    *config = (struct config){
        .file = memory_copy(input->file),
        .shutdown_timeout_ns = 30 * CLOCK_NS_PER_S,
        .log = {.level = LOG_INFO, .format = LOG_TEXT, .access = true, .failures_per_second = 200, .sample = 1},
        .ktls = {.transmit = CONFIG_KTLS_AUTO, .receive = CONFIG_KTLS_AUTO},
        .limits = {.connections = 100000,
                   .client_hello = 16384,
                   .memory = UINT64_C(256) << 20,
                   .client_network = {.ipv4 = 32, .ipv6 = 64}},
        .timeouts = {.handshake_ns = 10 * CLOCK_NS_PER_S,
                     .connect_ns = 5 * CLOCK_NS_PER_S,
                     .idle_ns = 300 * CLOCK_NS_PER_S,
                     .half_closed_ns = 30 * CLOCK_NS_PER_S},
        .survival = {.connections = 16384},
        .rebalance = {.threshold = 25, .connections = 64, .age_ns = 10 * CLOCK_NS_PER_S},
        .tickets = {.rotate_ns = 12 * HOUR_NS, .lifetime_ns = 24 * HOUR_NS},
    };
    build_sections(&builder);
    build_upstreams(&builder);
    config->listeners = memory_allocate(raw->listeners_count * sizeof(*config->listeners));
    for (unsigned i = 0; i < raw->listeners_count; i++)
        build_listener(&builder, i, node_item(node_get(input->root, "listeners"), i));
    return config;
}
