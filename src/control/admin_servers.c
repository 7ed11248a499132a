// SPDX-License-Identifier: Apache-2.0
#include "admin_servers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin_socket.h"
#include "master.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"

#define KNOWN_MAX 20 // servers that an error lists

static const char *const orders[] = {
    [SERVERS_READY] = "ready", [SERVERS_DRAIN] = "drain", [SERVERS_DOWN] = "down"};

static struct servers_state *state_of(const struct master *master, size_t upstream, size_t server)
{
    return servers_state(master->servers, servers_number(master->servers, upstream, server));
}

static unsigned live_of(const struct master *master, size_t upstream, size_t server)
{
    return servers_live(master->servers, servers_number(master->servers, upstream, server));
}

// ---- the list ----

// "2026-11-21T09:30:00Z", from a time of the monotonic clock; null for 0.
static json_t *time_json(uint64_t at_ns)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t ago_ns = now_ns > at_ns ? now_ns - at_ns : 0;
    struct timespec wall;
    time_t at;
    struct tm parts;
    char text[64];

    if (at_ns == 0 || clock_gettime(CLOCK_REALTIME, &wall) < 0)
        return json_null();
    // Rounded once, at the end: the same time is the same text whenever it is asked for.
    at = wall.tv_sec - (time_t)(ago_ns / CLOCK_NS_PER_S) - ((uint64_t)wall.tv_nsec < ago_ns % CLOCK_NS_PER_S);
    if (!gmtime_r(&at, &parts) || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        return json_null();
    return json_string(text);
}

static json_t *server_json(const struct master *master, size_t upstream, size_t server)
{
    const struct config_server *config = &master->config->upstreams[upstream].servers[server];
    struct servers_state *state = state_of(master, upstream, server);

    return json_pack("{s:o, s:s, s:s, s:o, s:i, s:b, s:i, s:i, s:I, s:I, s:I}", "address",
                     admin_text(config->address.text), "state", orders[atomic_load(&state->order)], "health",
                     atomic_load(&state->is_out) ? "out" : "up", "since",
                     time_json(atomic_load(&state->changed_ns)), "weight", (int)config->weight, "backup",
                     config->is_backup, "max_connections", (int)config->max_connections, "connections",
                     (int)live_of(master, upstream, server), "connects",
                     (json_int_t)atomic_load(&state->connects_total), "failures",
                     (json_int_t)atomic_load(&state->failures_total), "failures_in_a_row",
                     (json_int_t)atomic_load(&state->failures));
}

json_t *admin_servers_upstream(const struct master *master, size_t upstream)
{
    static const char *const balances[] = {[CONFIG_ROUND_ROBIN] = "round_robin",
                                           [CONFIG_LEAST_CONNECTIONS] = "least_connections",
                                           [CONFIG_SOURCE_HASH] = "source_hash"};
    const struct config_upstream *config = &master->config->upstreams[upstream];
    json_t *servers = json_array();

    for (size_t i = 0; i < config->server_count; i++) {
        if (json_array_append_new(servers, server_json(master, upstream, i)) < 0) {
            json_decref(servers);
            return NULL;
        }
    }
    return json_pack("{s:o, s:s, s:i, s:i, s:o}", "name", admin_text(config->name), "balance",
                     balances[config->balance], "waiting",
                     (int)servers_queue_length(master->servers, upstream), "queue_size",
                     (int)config->queue.size, "servers", servers);
}

// NULL: no memory.
static json_t *list(const struct master *master)
{
    json_t *upstreams = json_array();

    for (size_t i = 0; i < master->config->upstream_count; i++) {
        if (json_array_append_new(upstreams, admin_servers_upstream(master, i)) < 0) {
            json_decref(upstreams);
            return NULL;
        }
    }
    return json_pack("{s:b, s:o}", "ok", 1, "upstreams", upstreams);
}

// ---- names ----

// Whether `name` is UPSTREAM/ADDRESS of this server.
static bool is_called(const struct config_upstream *upstream, size_t server, const char *name)
{
    size_t length = strlen(upstream->name);

    return strncmp(name, upstream->name, length) == 0 && name[length] == '/' &&
           strcmp(name + length + 1, upstream->servers[server].address.text) == 0;
}

static bool is_at(const struct config_upstream *upstream, size_t server, const char *name)
{
    return strcmp(name, upstream->servers[server].address.text) == 0;
}

struct found {
    size_t count;
    size_t upstream; // of the last one
    size_t server;
};

static struct found find(const struct config *config, const char *name,
                         bool (*is_it)(const struct config_upstream *upstream, size_t server,
                                       const char *name))
{
    struct found found = {0};

    for (size_t i = 0; i < config->upstream_count; i++) {
        for (size_t j = 0; j < config->upstreams[i].server_count; j++) {
            if (is_it(&config->upstreams[i], j, name))
                found = (struct found){.count = found.count + 1, .upstream = i, .server = j};
        }
    }
    return found;
}

// The servers for an error: those that `is_it`, or all with NULL. free() it; NULL: no memory.
static char *known(const struct config *config, const char *name,
                   bool (*is_it)(const struct config_upstream *upstream, size_t server, const char *name))
{
    char *text = NULL;
    size_t size = 0;
    size_t count = 0;
    FILE *stream = open_memstream(&text, &size);

    if (!stream)
        return NULL;
    for (size_t i = 0; i < config->upstream_count; i++) {
        for (size_t j = 0; j < config->upstreams[i].server_count; j++) {
            if ((!is_it || is_it(&config->upstreams[i], j, name)) && count++ < KNOWN_MAX)
                fprintf(stream, "%s%.100s/%s", count > 1 ? ", " : "", config->upstreams[i].name,
                        config->upstreams[i].servers[j].address.text);
        }
    }
    if (count > KNOWN_MAX)
        fprintf(stream, " and %zu more (ringbolt server lists them)", count - KNOWN_MAX);
    if (fclose(stream) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static void refuse_name(const struct master *master, struct admin_client *client, const char *name,
                        bool is_ambiguous)
{
    char *names = known(master->config, name, is_ambiguous ? is_at : NULL);

    if (is_ambiguous)
        admin_refuse(client, "`%.200s` is a server of several upstreams; say which: %s", name,
                     names ? names : "(no memory to list them)");
    else
        admin_refuse(client, "there is no server `%.200s`; known are: %s", name,
                     names ? names : "(no memory to list them)");
    free(names);
}

// ---- orders ----

static void set_order(const struct master *master, struct admin_client *client, struct found found,
                      enum servers_order order)
{
    const struct config_upstream *upstream = &master->config->upstreams[found.upstream];
    const char *address = upstream->servers[found.server].address.text;
    unsigned live = live_of(master, found.upstream, found.server);
    bool has_changed =
        servers_set_order(state_of(master, found.upstream, found.server), order, clock_now_ns());

    if (has_changed)
        log_info("server state set", log_text("upstream", upstream->name), log_text("server", address),
                 log_text("state", orders[order]), log_integer("connections", live));
    admin_answer(client, json_pack("{s:b, s:o, s:o, s:s, s:b, s:i}", "ok", 1, "upstream",
                                   admin_text(upstream->name), "server", admin_text(address), "state",
                                   orders[order], "changed", has_changed, "connections", (int)live));
}

static bool find_order(const char *text, enum servers_order *ret)
{
    for (size_t i = 0; text && i < sizeof(orders) / sizeof(orders[0]); i++) {
        if (strcmp(text, orders[i]) == 0) {
            *ret = (enum servers_order)i;
            return true;
        }
    }
    return false;
}

void admin_servers(struct master *master, struct admin_client *client, const json_t *request)
{
    const json_t *server = json_object_get(request, "server");
    const json_t *state = json_object_get(request, "state");
    const char *name = json_string_value(server);
    enum servers_order order;
    struct found found;

    if (!server && !state) {
        admin_answer(client, list(master));
        return;
    }
    if (!name || !find_order(json_string_value(state), &order)) {
        admin_refuse(client,
                     "`server` is a server's name and `state` one of ready, drain and down; without both, "
                     "all are listed");
        return;
    }
    found = find(master->config, name, is_called);
    if (found.count == 0)
        found = find(master->config, name, is_at);
    if (found.count == 1)
        set_order(master, client, found, order);
    else
        refuse_name(master, client, name, found.count > 1);
}
