// SPDX-License-Identifier: Apache-2.0
// Building the configuration. What is wrong is reported and the walk goes on; values that the schema's check
// has reported already (is_wrong) stay silent here.
#include <errno.h>
#include <netdb.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ringbolt/clock.h"
#include "src/config/build.h"
#include "src/config/memory.h"

#define WORKERS_MAX       1024
#define CONNECTIONS_MAX   10000000
#define WORKER_MEMORY_MIN (UINT64_C(1) << 20)
#define TIME_MAX_NS       (365 * 24 * 3600 * CLOCK_NS_PER_S)
#define NAMES_SHOWN       8

struct builder {
    const struct build_input *input;
    struct report *report;
    struct config *config;
};

static struct config_where where_of(const struct node *node)
{
    return node != NULL ? node->where : (struct config_where){0};
}

static bool is_wrong(const struct node *node)
{
    return node != NULL && node->is_wrong;
}

static const struct node *item(const struct node *list, size_t index)
{
    return list != NULL ? list->items[index] : NULL;
}

// Where to say that `node` repeats `first`. A value that came by a merge stands where the first one does;
// then the place of what it is part of tells more.
static struct config_where where_of_twin(const struct node *node, const struct node *first,
                                         const struct node *owner)
{
    struct config_where where = where_of(node);
    struct config_where there = where_of(first);

    return where.line == there.line && where.column == there.column ? where_of(owner) : where;
}

static char *absolute_path(const struct builder *builder, const char *path)
{
    char *absolute;

    if (path[0] == '/')
        return memory_copy(path);
    if (asprintf(&absolute, "%s/%s", builder->input->directory, path) < 0)
        abort();
    return absolute;
}

// ---- the sections ----

static unsigned cpu_count(void)
{
    cpu_set_t cpus;
    long count;

    // EINVAL on a machine with more CPUs than the set has bits.
    if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
        count = CPU_COUNT(&cpus);
    else
        count = sysconf(_SC_NPROCESSORS_ONLN);
    if (count < 1)
        return 1;
    return count > WORKERS_MAX ? WORKERS_MAX : (unsigned)count;
}

// In each of these `section` may be NULL, and `text` too: then the default stands.

static void build_number(struct builder *builder, const struct node *section, const char *key,
                         const char *text, unsigned max, const char *other, unsigned *number)
{
    size_t length = text != NULL ? strlen(text) : 0;
    unsigned long value = 0;

    if (text == NULL)
        return;
    // No number that is allowed has more digits, and none needs a zero in front.
    if (length <= 9 && strspn(text, "0123456789") == length && text[0] != '0')
        value = strtoul(text, NULL, 10);
    if (value >= 1 && value <= max)
        *number = (unsigned)value;
    else
        report_add(builder->report, where_of(node_get(section, key)),
                   "`%s` cannot be `%s`; write %sa number from 1 to %u", key, text, other, max);
}

static void build_time(struct builder *builder, const struct node *section, const char *key, const char *text,
                       uint64_t min, uint64_t *time)
{
    struct config_where where = where_of(node_get(section, key));
    uint64_t value = 0;
    int result;

    if (text == NULL)
        return;
    result = config_time_parse(text, &value);
    if (result == -EINVAL)
        report_add(builder->report, where,
                   "`%s` cannot be `%s`; write a time such as `500ms`, `10s`, `5m`, `2h` or `1d`", key, text);
    else if (result < 0 || value > TIME_MAX_NS)
        report_add(builder->report, where, "`%s`: %s is too long; at most `365d` are allowed", key, text);
    else if (value < min)
        report_add(builder->report, where, "`%s`: %s is too short; write at least `1ms`", key, text);
    else
        *time = value;
}

// True when *size holds what the file says.
static bool build_size(struct builder *builder, const struct node *section, const char *key, const char *text,
                       uint64_t *size)
{
    struct config_where where = where_of(node_get(section, key));
    int result;

    if (text == NULL)
        return false;
    result = config_size_parse(text, size);
    if (result == -EINVAL)
        report_add(builder->report, where,
                   "`%s` cannot be `%s`; write a size such as `65536`, `64k`, `1m` or `2g`", key, text);
    else if (result < 0)
        report_add(builder->report, where, "`%s`: %s is too large; at most 2^63 - 1 bytes are allowed", key,
                   text);
    return result == 0;
}

static void build_limits(struct builder *builder)
{
    const struct raw_limits *raw = &builder->input->raw->limits;
    const struct node *section = node_get(builder->input->root, "limits");
    struct config *config = builder->config;
    uint64_t least = config->workers * WORKER_MEMORY_MIN;

    build_number(builder, section, "connections", raw->connections, CONNECTIONS_MAX, "",
                 &config->limits.connections);
    if (!build_size(builder, section, "memory", raw->memory, &config->limits.memory)) {
        // The default must do for every machine: what `auto` workers need is never an error.
        if (config->limits.memory < least)
            config->limits.memory = least;
    } else if (config->limits.memory < least) {
        report_add(builder->report, where_of(node_get(section, "memory")),
                   "`memory`: %s is too little for %u worker%s; write at least `%um`", raw->memory,
                   config->workers, config->workers == 1 ? "" : "s", config->workers);
    }
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
        build_number(builder, root, "workers", raw->workers, WORKERS_MAX, "`auto` or ", &config->workers);
    config->user = raw->user != NULL ? memory_copy(raw->user) : NULL;
    config->user_where = where_of(node_get(root, "user"));
    build_time(builder, root, "shutdown_timeout", raw->shutdown_timeout, 0, &config->shutdown_timeout_ns);
    if (raw->log.level != NULL)
        config->log.level = *raw->log.level;
    if (raw->log.format != NULL)
        config->log.format = *raw->log.format;
    if (raw->log.access != NULL)
        config->log.access = *raw->log.access != 0;
    if (raw->ktls.transmit != NULL)
        config->ktls.transmit = *raw->ktls.transmit;
    if (raw->ktls.receive != NULL)
        config->ktls.receive = *raw->ktls.receive;
    build_size(builder, node_get(root, "ktls"), "offload_after", raw->ktls.offload_after,
               &config->ktls.offload_after);
    build_limits(builder);
    build_time(builder, timeouts, "handshake", raw->timeouts.handshake, CLOCK_NS_PER_MS,
               &config->timeouts.handshake_ns);
    build_time(builder, timeouts, "connect", raw->timeouts.connect, CLOCK_NS_PER_MS,
               &config->timeouts.connect_ns);
    build_time(builder, timeouts, "idle", raw->timeouts.idle, CLOCK_NS_PER_MS, &config->timeouts.idle_ns);
    build_time(builder, timeouts, "half_closed", raw->timeouts.half_closed, CLOCK_NS_PER_MS,
               &config->timeouts.half_closed_ns);
}

// ---- upstreams ----

static void add_server(struct config_upstream *upstream, const struct config_address *address,
                       const char *text)
{
    struct config_server *server;

    for (size_t i = 0; i < upstream->server_count; i++) {
        if (address_equal(&upstream->servers[i].address, address))
            return;
    }
    upstream->servers = memory_grow(upstream->servers, upstream->server_count, sizeof(*server));
    server = &upstream->servers[upstream->server_count++];
    *server = (struct config_server){.address = *address};
    server->address.text = memory_copy(text);
}

static void report_address(struct builder *builder, const struct node *node, const char *name,
                           const char *text, const char *why)
{
    report_add(builder->report, where_of(node), "%s `%s`: %s", name, text, why);
}

static void add_named(struct builder *builder, struct config_upstream *upstream,
                      const struct address_parts *parts, const char *text, const struct node *node)
{
    struct config_address found[ADDRESS_EACH_MAX];
    size_t count = 0;
    int result = builder->input->resolver(parts->host, found, ADDRESS_EACH_MAX, &count);

    if (result != 0) {
        report_add(builder->report, where_of(node),
                   "%s `%s`: the host has no address that could be found (%s)", builder->input->server_name,
                   text, result == EAI_SYSTEM ? strerror(errno) : gai_strerror(result));
        return;
    }
    for (size_t i = 0; i < count; i++) {
        char number[ADDRESS_TEXT_SIZE];
        address_set_port(&found[i], parts->port);
        address_text(&found[i], number);
        add_server(upstream, &found[i], number);
    }
}

static void build_server(struct builder *builder, struct config_upstream *upstream, const char *text,
                         const struct node *node)
{
    const char *name = builder->input->server_name;
    struct config_address address = {.text = NULL};
    struct address_parts parts;
    const char *why;
    int result;

    if (is_wrong(node))
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
        add_named(builder, upstream, &parts, text, node);
    else if (result < 0)
        report_address(builder, node, name, text, why);
    else
        add_server(upstream, &address, text);
}

static void check_upstream_name(struct builder *builder, const char *text, const struct node *node)
{
    const struct config *config = builder->config;
    const struct node *upstreams = node_get(builder->input->root, "upstreams");
    const struct node *name = node_get(node, "name");

    for (size_t i = 0; i < config->upstream_count && !is_wrong(name); i++) {
        const struct node *other = node_get(item(upstreams, i), "name");
        if (is_wrong(other) || strcmp(config->upstreams[i].name, text) != 0)
            continue;
        report_add(builder->report, where_of_twin(name, other, node),
                   "the upstream in line %u is called `%s` too; names must differ",
                   config->upstreams[i].where.line, text);
        return;
    }
}

// Whether the server at `index` was written before.
static bool is_repeated(struct builder *builder, const struct raw_upstream *raw, unsigned index,
                        const struct node *servers)
{
    const struct node *address = node_get(item(servers, index), "address");

    for (unsigned i = 0; i < index && !is_wrong(address); i++) {
        const struct node *other = node_get(item(servers, i), "address");
        if (is_wrong(other) || strcmp(raw->servers[i].address, raw->servers[index].address) != 0)
            continue;
        report_add(builder->report, where_of_twin(address, other, item(servers, index)),
                   "`%s` is a server of this upstream already, in line %u; remove one",
                   raw->servers[index].address, where_of(item(servers, i)).line);
        return true;
    }
    return false;
}

static void build_upstream(struct builder *builder, const struct raw_upstream *raw, const struct node *node)
{
    struct config *config = builder->config;
    struct config_upstream *upstream = &config->upstreams[config->upstream_count];
    const struct node *servers = node_get(node, "servers");

    check_upstream_name(builder, raw->name, node);
    upstream->where = where_of(node);
    upstream->name = memory_copy(raw->name);
    config->upstream_count++;
    for (unsigned i = 0; i < raw->servers_count; i++) {
        if (!is_repeated(builder, raw, i, servers))
            build_server(builder, upstream, raw->servers[i].address, node_get(item(servers, i), "address"));
    }
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
        if (is_wrong(upstreams) || is_wrong(node_get(item(upstreams, i), "name")))
            return false;
        if (i >= NAMES_SHOWN || length >= size)
            continue;
        length += (size_t)snprintf(ret + length, size - length, "%s`%s`", i > 0 ? ", " : "",
                                   config->upstreams[i].name);
    }
    return true;
}

// ---- listeners ----

static size_t find_upstream(struct builder *builder, const char *name, const struct node *node)
{
    const struct config *config = builder->config;
    char names[NAMES_SHOWN * 260 + 1];

    for (size_t i = 0; i < config->upstream_count && !is_wrong(node); i++) {
        if (strcmp(config->upstreams[i].name, name) == 0)
            return i;
    }
    if (!is_wrong(node) && upstream_names(builder, names, sizeof(names)))
        report_add(builder->report, where_of(node), "there is no upstream `%s`; known are %s%s", name, names,
                   config->upstream_count > NAMES_SHOWN ? ", …" : "");
    return 0;
}

static void build_alpn(struct builder *builder, const struct raw_tls *raw, const struct node *node,
                       struct config_tls *tls)
{
    const struct node *list = node_get(node, "alpn");

    tls->alpn = memory_allocate(raw->alpn_count * sizeof(*tls->alpn));
    for (unsigned i = 0; i < raw->alpn_count; i++) {
        if (is_wrong(item(list, i)))
            continue;
        for (size_t j = 0; j < tls->alpn_count; j++) {
            if (strcmp(tls->alpn[j], raw->alpn[i]) == 0)
                report_add(builder->report, where_of(item(list, i)),
                           "`%s` stands in `alpn` twice; remove one", raw->alpn[i]);
        }
        tls->alpn[tls->alpn_count++] = memory_copy(raw->alpn[i]);
    }
}

static void build_tls(struct builder *builder, const struct raw_tls *raw, const struct node *node,
                      struct config_tls *tls)
{
    const struct node *list = node_get(node, "certificates");

    tls->where = where_of(node);
    tls->version_min = raw->min_version != NULL ? *raw->min_version : CONFIG_TLS12;
    tls->version_max = raw->max_version != NULL ? *raw->max_version : CONFIG_TLS13;
    // The defaults fit everything, so it is `min_version: "1.3"` with `max_version: "1.2"`.
    if (tls->version_min > tls->version_max)
        report_add(builder->report, where_of(node_get(node, "min_version")),
                   "`min_version` 1.3 is above `max_version` 1.2; raise the one or lower the other");
    build_alpn(builder, raw, node, tls);
    tls->certificates = memory_allocate(raw->certificates_count * sizeof(*tls->certificates));
    for (unsigned i = 0; i < raw->certificates_count; i++) {
        struct config_certificate *certificate = &tls->certificates[tls->certificate_count++];
        certificate->chain = absolute_path(builder, raw->certificates[i].chain);
        certificate->key = absolute_path(builder, raw->certificates[i].key);
        certificate->chain_where = where_of(node_get(item(list, i), "chain"));
        certificate->key_where = where_of(node_get(item(list, i), "key"));
    }
}

// Port 0 lets the kernel choose, a different one each time.
static void check_listener_address(struct builder *builder, const struct config_listener *listener,
                                   const struct node *node)
{
    const struct config *config = builder->config;
    const struct node *listeners = node_get(builder->input->root, "listeners");
    bool has_port = listener->address.socket.ss_family == AF_UNIX || address_port(&listener->address) != 0;

    for (size_t i = 0; &config->listeners[i] < listener && has_port; i++) {
        const struct node *other = node_get(item(listeners, i), "address");
        if (!address_equal(&config->listeners[i].address, &listener->address))
            continue;
        report_add(builder->report, where_of_twin(node_get(node, "address"), other, node),
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

    if (is_wrong(address))
        return;
    if (address_split(text, true, &parts, &why) < 0 ||
        address_resolve(&parts, true, builder->input->directory, &listener->address, &why) < 0) {
        report_address(builder, address, builder->input->listen_name, text, why);
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
        const struct node *other = node_get(item(listeners, i), "name");
        if (raw[i].name == NULL || strcmp(raw[i].name, raw[index].name) != 0)
            continue;
        report_add(builder->report, where_of_twin(node_get(node, "name"), other, node),
                   "the listener in line %u is called `%s` too; names must differ",
                   builder->config->listeners[i].where.line, raw[index].name);
        return;
    }
}

static void build_listener(struct builder *builder, size_t index, const struct node *node)
{
    const struct raw_listener *raw = &builder->input->raw->listeners[index];
    struct config *config = builder->config;
    struct config_listener *listener = &config->listeners[config->listener_count++];

    listener->where = where_of(node);
    listener->name = memory_copy(raw->name != NULL ? raw->name : raw->address);
    check_listener_name(builder, index, node);
    build_listener_address(builder, listener, raw->address, node);
    build_tls(builder, &raw->tls, node_get(node, "tls"), &listener->tls);
    listener->upstream = find_upstream(builder, raw->upstream, node_get(node, "upstream"));
}

struct config *build_config(const struct build_input *input, struct report *report)
{
    const struct raw_config *raw = input->raw;
    struct config *config = memory_allocate(sizeof(*config));
    struct builder builder = {.input = input, .report = report, .config = config};

    *config = (struct config){
        .file = memory_copy(input->file),
        .shutdown_timeout_ns = 30 * CLOCK_NS_PER_S,
        .log = {.level = LOG_INFO, .format = LOG_TEXT, .access = true},
        .ktls = {.transmit = CONFIG_KTLS_AUTO, .receive = CONFIG_KTLS_AUTO},
        .limits = {.connections = 100000, .memory = UINT64_C(256) << 20},
        .timeouts = {.handshake_ns = 10 * CLOCK_NS_PER_S,
                     .connect_ns = 10 * CLOCK_NS_PER_S,
                     .idle_ns = 300 * CLOCK_NS_PER_S,
                     .half_closed_ns = 30 * CLOCK_NS_PER_S},
    };
    build_sections(&builder);
    config->upstreams = memory_allocate(raw->upstreams_count * sizeof(*config->upstreams));
    for (unsigned i = 0; i < raw->upstreams_count; i++)
        build_upstream(&builder, &raw->upstreams[i], item(node_get(input->root, "upstreams"), i));
    config->listeners = memory_allocate(raw->listeners_count * sizeof(*config->listeners));
    for (unsigned i = 0; i < raw->listeners_count; i++)
        build_listener(&builder, i, item(node_get(input->root, "listeners"), i));
    return config;
}
