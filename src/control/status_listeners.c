// SPDX-License-Identifier: Apache-2.0
#include "admin_socket.h"
#include "master.h"
#include "status.h"

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *limits_json(const struct stats_listener *sum, unsigned from, unsigned to)
{
    json_t *json = json_object();

    for (unsigned i = from; i < to; i++)
        (void)json_object_set_new(json, stats_limit_name((enum stats_limit)i),
                                  number(stats_get(&sum->limits[i])));
    return json;
}

// One for each suite of ours, full and resumed; of what is none of ours only if there was any.
static json_t *handshakes_json(const struct stats_listener *sum)
{
    json_t *array = json_array();

    for (unsigned i = 0; i < STATS_SUITES; i++) {
        for (unsigned resumed = 0; resumed < 2; resumed++) {
            const struct stats_suite *suite = stats_suite(i);
            uint64_t count = stats_get(&sum->handshakes[i][resumed]);

            if (i == STATS_SUITES - 1 && count == 0)
                continue;
            (void)json_array_append_new(array, json_pack("{s:s, s:s, s:b, s:o}", "version", suite->version,
                                                         "cipher", suite->name, "resumed", (int)resumed,
                                                         "count", number(count)));
        }
    }
    return array;
}

static json_t *listener_json(const struct master *master, size_t index)
{
    const struct config_listener *config = &master->config->listeners[index];
    const char *address = listening_address(&master->listening, index);
    struct stats_listener sum;

    stats_sum_listener(master->stats, index, &sum);
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:o, s:o}, s:o}", "name",
        admin_text(config->name), "address", admin_text(address ? address : config->address.text),
        "connections", number(stats_get(&sum.connections)), "accepted", number(stats_get(&sum.accepted)),
        "bytes_in", number(stats_get(&sum.bytes_in)), "bytes_out", number(stats_get(&sum.bytes_out)), "ends",
        status_ends(sum.ends), "refused", limits_json(&sum, STATS_WAITS, STATS_LIMITS), "pauses",
        limits_json(&sum, 0, STATS_WAITS), "handshakes", handshakes_json(&sum), "handshake_seconds", "full",
        status_histogram(&sum.handshake_time[0], STATS_SHORT), "resumed",
        status_histogram(&sum.handshake_time[1], STATS_SHORT), "duration_seconds",
        status_histogram(&sum.duration, STATS_LONG));
}

json_t *status_listeners(const struct master *master)
{
    json_t *array = json_array();

    for (size_t i = 0; i < master->config->listener_count; i++) {
        if (json_array_append_new(array, listener_json(master, i)) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}
