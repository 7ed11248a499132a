// SPDX-License-Identifier: Apache-2.0
#include "admin_servers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin_socket.h"
#include "master.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "src/config/address.h"
#include "status.h"

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

// ---- where they are ----

// Its address, and *ret_presence. NULL: a name has none for it.
static const char *text_of(const struct master *master, size_t upstream, size_t server,
                           char text[static ADDRESS_TEXT_SIZE], enum servers_presence *ret_presence)
{
    const struct config_server *config = &master->config->upstreams[upstream].servers[server];
    struct config_address address = {.text = NULL};
    struct servers_site site;

    *ret_presence = SERVERS_HERE;
    if (!config->name)
        return config->address.text;
    servers_site(master->servers, servers_number(master->servers, upstream, server), &site);
    *ret_presence = site.presence;
    if (site.presence == SERVERS_EMPTY)
        return NULL;
    address.socket = site.address;
    address_text(&address, text);
    return text;
}

// The table is the workers' to write as well, and one of them may be somebody else's by now: what comes from there is no index.
static const char *order_text(const struct servers_state *state)
{
    uint32_t order = atomic_load(&state->order);

    return order < sizeof(orders) / sizeof(orders[0]) ? orders[order] : "unknown";
}

json_t *admin_servers_address(const struct master *master, size_t upstream, size_t server)
{
    const struct config *config = master->config;
    char text[ADDRESS_TEXT_SIZE];
    enum servers_presence presence;
    const char *address = NULL;

    if (upstream < config->upstream_count && server < config->upstreams[upstream].server_count)
        address = text_of(master, upstream, server, text, &presence);
    return address ? admin_text(address) : json_null();
}

// ---- the list ----

static json_t *server_json(const struct master *master, size_t upstream, size_t server, const char *address)
{
    const struct config_server *config = &master->config->upstreams[upstream].servers[server];
    struct servers_state *state = state_of(master, upstream, server);
    struct stats_server sum;

    stats_sum_server(master->stats, servers_number(master->servers, upstream, server), &sum);
    return json_pack(
        "{s:o, s:s, s:s, s:o, s:i, s:b, s:i, s:i, s:I, s:I, s:I}", "address", admin_text(address), "state",
        order_text(state), "health", atomic_load(&state->is_out) ? "out" : "up", "since",
        status_moment(atomic_load(&state->changed_ns)), "weight", (int)config->weight, "backup",
        config->is_backup, "max_connections", (int)config->max_connections, "connections",
        (int)live_of(master, upstream, server), "connects", (json_int_t)stats_get(&sum.connects),
        "failures", (json_int_t)stats_get(&sum.failures), "failures_in_a_row",
        (json_int_t)atomic_load(&state->failures));
}

// Appends it if there is something to tell of it. -1: no memory.
static int append_server(const struct master *master, size_t upstream, size_t server, admin_servers_more *more,
                         json_t *list)
{
    const struct config_name *name = master->config->upstreams[upstream].servers[server].name;
    char text[ADDRESS_TEXT_SIZE];
    enum servers_presence presence;
    const char *address = text_of(master, upstream, server, text, &presence);
    json_t *json;

    if (presence == SERVERS_EMPTY || (presence == SERVERS_GONE && live_of(master, upstream, server) == 0))
        return 0;
    json = server_json(master, upstream, server, address);
    if (name && (json_object_set_new(json, "name", admin_text(name->text)) < 0 ||
                 json_object_set_new(json, "gone", json_boolean(presence == SERVERS_GONE)) < 0)) {
        json_decref(json);
        return -1;
    }
    if (more && more(master, upstream, server, json) < 0) {
        json_decref(json);
        return -1;
    }
    return json_array_append_new(list, json);
}

static json_t *names_json(const struct master *master, const struct config_upstream *config)
{
    json_t *list = json_array();

    for (size_t i = 0; i < config->name_count; i++) {
        const struct config_name *name = &config->names[i];
        const char *problem = names_problem(master->names, name);

        if (json_array_append_new(list,
                                  json_pack("{s:o, s:i, s:s?}", "name", admin_text(name->text), "addresses",
                                            (int)names_count(master->names, name), "problem", problem)) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

json_t *admin_servers_upstream(const struct master *master, size_t upstream, admin_servers_more *more)
{
    static const char *const balances[] = {[CONFIG_ROUND_ROBIN] = "round_robin",
                                           [CONFIG_LEAST_CONNECTIONS] = "least_connections",
                                           [CONFIG_SOURCE_HASH] = "source_hash"};
    const struct config_upstream *config = &master->config->upstreams[upstream];
    json_t *servers = json_array();

    for (size_t i = 0; i < config->server_count; i++) {
        if (append_server(master, upstream, i, more, servers) < 0) {
            json_decref(servers);
            return NULL;
        }
    }
    return json_pack("{s:o, s:s, s:i, s:i, s:o, s:o*}", "name", admin_text(config->name), "balance",
                     balances[config->balance], "waiting",
                     (int)servers_queue_length(master->servers, upstream), "queue_size",
                     (int)config->queue.size, "servers", servers, "names",
                     config->name_count > 0 ? names_json(master, config) : NULL);
}

// NULL: no memory.
static json_t *list(const struct master *master)
{
    json_t *upstreams = json_array();

    for (size_t i = 0; i < master->config->upstream_count; i++) {
        if (json_array_append_new(upstreams, admin_servers_upstream(master, i, NULL)) < 0) {
            json_decref(upstreams);
            return NULL;
        }
    }
    return json_pack("{s:b, s:o}", "ok", 1, "upstreams", upstreams);
}

// ---- names ----

// Whether `name` is UPSTREAM/ADDRESS, or ADDRESS alone. So are names' own, which stand for all their addresses.
typedef bool matcher(const struct config_upstream *upstream, const char *text, const char *name);

static bool is_called(const struct config_upstream *upstream, const char *text, const char *name)
{
    size_t length = strlen(upstream->name);

    return strncmp(name, upstream->name, length) == 0 && name[length] == '/' &&
           strcmp(name + length + 1, text) == 0;
}

static bool is_at(const struct config_upstream *upstream, const char *text, const char *name)
{
    (void)upstream;
    return strcmp(name, text) == 0;
}

struct found {
    size_t count;
    size_t upstream; // of the last one
    size_t server;
    const struct config_name *name; // a name with all its servers; NULL: this server
};

// Calls `each` with everything that an order can be for.
typedef void visitor(void *owner, size_t upstream, size_t server, const struct config_name *name,
                     const char *text);

static void visit_all(const struct master *master, visitor *each, void *owner)
{
    for (size_t i = 0; i < master->config->upstream_count; i++) {
        const struct config_upstream *upstream = &master->config->upstreams[i];

        for (size_t j = 0; j < upstream->name_count; j++)
            each(owner, i, 0, &upstream->names[j], upstream->names[j].text);
        for (size_t j = 0; j < upstream->server_count; j++) {
            char text[ADDRESS_TEXT_SIZE];
            enum servers_presence presence;
            const char *address = text_of(master, i, j, text, &presence);

            if (address)
                each(owner, i, j, NULL, address);
        }
    }
}

struct finding {
    const struct config *config;
    const char *name;
    matcher *is_it; // NULL: all are
    struct found found;
    FILE *list; // of those that are found; NULL: not wanted
};

static void look_at(void *owner, size_t upstream, size_t server, const struct config_name *name,
                    const char *text)
{
    struct finding *finding = owner;
    const struct config_upstream *config = &finding->config->upstreams[upstream];

    if (finding->is_it && !finding->is_it(config, text, finding->name))
        return;
    finding->found = (struct found){
        .count = finding->found.count + 1, .upstream = upstream, .server = server, .name = name};
    if (finding->list && finding->found.count <= KNOWN_MAX)
        fprintf(finding->list, "%s%.100s/%s", finding->found.count > 1 ? ", " : "", config->name, text);
}

static struct found find(const struct master *master, const char *name, matcher *is_it)
{
    struct finding finding = {.config = master->config, .name = name, .is_it = is_it};

    visit_all(master, look_at, &finding);
    return finding.found;
}

// The servers for an error: those that `is_it`, or all with NULL. free() it; NULL: no memory.
static char *known(const struct master *master, const char *name, matcher *is_it)
{
    struct finding finding = {.config = master->config, .name = name, .is_it = is_it};
    char *text = NULL;
    size_t size = 0;

    finding.list = open_memstream(&text, &size);
    if (!finding.list)
        return NULL;
    visit_all(master, look_at, &finding);
    if (finding.found.count > KNOWN_MAX)
        fprintf(finding.list, " and %zu more (ringbolt server lists them)", finding.found.count - KNOWN_MAX);
    if (fclose(finding.list) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static void refuse_name(const struct master *master, struct admin_client *client, const char *name,
                        bool is_ambiguous)
{
    char *names = known(master, name, is_ambiguous ? is_at : NULL);

    if (is_ambiguous)
        admin_refuse(client, "`%.200s` is a server of several upstreams; say which: %s", name,
                     names ? names : "(no memory to list them)");
    else
        admin_refuse(client, "there is no server `%.200s`; known are: %s", name,
                     names ? names : "(no memory to list them)");
    free(names);
}

// ---- orders ----

static unsigned live_of_name(const struct master *master, const struct found *found)
{
    unsigned live = 0;

    for (size_t i = 0; i < found->name->count; i++)
        live += live_of(master, found->upstream, found->name->first + i);
    return live;
}

static void set_order(struct master *master, struct admin_client *client, struct found found,
                      enum servers_order order)
{
    const struct config_upstream *upstream = &master->config->upstreams[found.upstream];
    char text[ADDRESS_TEXT_SIZE];
    enum servers_presence presence;
    const char *address =
        found.name ? found.name->text : text_of(master, found.upstream, found.server, text, &presence);
    unsigned live = found.name ? live_of_name(master, &found) : live_of(master, found.upstream, found.server);
    bool has_changed =
        found.name ? names_set_order(master->names, found.name, order)
                   : servers_set_order(state_of(master, found.upstream, found.server), order, clock_now_ns());

    if (has_changed) {
        log_info("server state set", log_text("upstream", upstream->name), log_text("server", address),
                 log_text("state", orders[order]), log_integer("connections", live));
        succession_tell_orders(master);
    }
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
    found = find(master, name, is_called);
    if (found.count == 0)
        found = find(master, name, is_at);
    if (found.count == 1)
        set_order(master, client, found, order);
    else
        refuse_name(master, client, name, found.count > 1);
}
