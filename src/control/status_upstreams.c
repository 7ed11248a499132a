// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "admin_servers.h"
#include "master.h"
#include "status.h"

// Only what a server can be to blame for: `server_reset` and the like, by what stands behind "server_".
static json_t *server_failures(const stats_word ends[STATS_ENDS])
{
    static const char prefix[] = "server_";
    json_t *json = json_object();

    for (unsigned i = 0; i < STATS_ENDS; i++) {
        const char *name = stats_end_name(i);

        if (name && strncmp(name, prefix, strlen(prefix)) == 0 && strcmp(name, "server_unreachable") != 0)
            (void)json_object_set_new(json, name, json_integer((json_int_t)stats_get(&ends[i])));
    }
    return json;
}

// What is counted of a server, besides what `ringbolt server` shows.
static int add_counts(const struct master *master, size_t upstream, size_t server, json_t *json)
{
    struct stats_server sum;

    stats_sum_server(master->stats, servers_number(master->servers, upstream, server), &sum);
    return json_object_update_new(
        json, json_pack("{s:I, s:I, s:o}", "bytes_in", (json_int_t)stats_get(&sum.bytes_in), "bytes_out",
                        (json_int_t)stats_get(&sum.bytes_out), "ends", server_failures(sum.ends)));
}

// For which no server is to blame, or all of them.
static json_t *upstream_ends(const stats_word ends[STATS_ENDS])
{
    static const char *const names[] = {"server_unreachable", "servers_full", "queue_timeout"};
    json_t *all = status_ends(ends);
    json_t *json = json_object();

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        (void)json_object_set(json, names[i], json_object_get(all, names[i]));
    json_decref(all);
    return json;
}

static json_t *upstream_json(const struct master *master, size_t upstream)
{
    json_t *json = admin_servers_upstream(master, upstream);
    json_t *servers = json_object_get(json, "servers");
    struct stats_upstream sum;

    for (size_t i = 0; i < json_array_size(servers); i++) {
        if (add_counts(master, upstream, i, json_array_get(servers, i)) < 0)
            goto failed;
    }
    stats_sum_upstream(master->stats, upstream, &sum);
    if (json_object_update_new(json,
                               json_pack("{s:o, s:o}", "ends", upstream_ends(sum.ends), "connect_seconds",
                                         status_histogram(&sum.connect_time, STATS_SHORT))) == 0)
        return json;
failed:
    json_decref(json);
    return NULL;
}

json_t *status_upstreams(const struct master *master)
{
    json_t *array = json_array();

    for (size_t i = 0; i < master->config->upstream_count; i++) {
        if (json_array_append_new(array, upstream_json(master, i)) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}
