// SPDX-License-Identifier: Apache-2.0
#include "status.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "admin.h"
#include "admin_sandbox.h"
#include "master.h"
#include "ringbolt-version.h"
#include "ringbolt/clock.h"

#define KERNEL_STATISTICS "/proc/self/net/tls_stat" // /proc/net is no more where a service has ProcSubset=pid
#define STATISTICS_MAX    64 // lines of that file

// ---- what the sections share ----

json_t *status_time(double seconds)
{
    time_t whole = (time_t)seconds;
    char text[64];
    char second[32];
    struct tm parts;

    if (!gmtime_r(&whole, &parts) || strftime(second, sizeof(second), "%Y-%m-%dT%H:%M:%S", &parts) == 0)
        return json_null();
    snprintf(text, sizeof(text), "%s.%03dZ", second, (int)((seconds - (double)whole) * 1000));
    return json_string(text);
}

json_t *status_moment(uint64_t at_ns)
{
    int64_t ahead_ns = (int64_t)(at_ns - clock_now_ns());
    struct timespec wall;
    struct tm parts;
    time_t at;
    char text[64];

    if (at_ns == 0 || clock_gettime(CLOCK_REALTIME, &wall) < 0)
        return json_null();
    // Rounded once, at the end: the same moment is the same text whenever it is asked for.
    at = (time_t)(((int64_t)wall.tv_sec * (int64_t)CLOCK_NS_PER_S + wall.tv_nsec + ahead_ns) / (int64_t)CLOCK_NS_PER_S);
    if (!gmtime_r(&at, &parts) || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        return json_null();
    return json_string(text);
}

static double seconds_of(uint64_t ns)
{
    return (double)ns / (double)CLOCK_NS_PER_S;
}

json_t *status_histogram(const struct stats_histogram *histogram, enum stats_scale scale)
{
    const uint64_t *bounds_ns = stats_bounds(scale);
    json_t *bounds = json_array();
    json_t *counts = json_array();
    uint64_t total = 0;

    for (size_t i = 0; i <= STATS_BOUNDS; i++) {
        uint64_t count = stats_get(&histogram->counts[i]);

        total += count;
        (void)json_array_append_new(counts, json_integer((json_int_t)count));
        if (i < STATS_BOUNDS)
            (void)json_array_append_new(bounds, json_real(seconds_of(bounds_ns[i])));
    }
    return json_pack("{s:o, s:o, s:I, s:f}", "bounds_s", bounds, "counts", counts, "count", (json_int_t)total,
                     "sum_s", seconds_of(stats_get(&histogram->sum_ns)));
}

json_t *status_ends(const stats_word ends[STATS_ENDS])
{
    json_t *json = json_object();

    for (unsigned i = 0; i < STATS_ENDS; i++) {
        const char *name = stats_end_name(i);

        if (name)
            (void)json_object_set_new(json, name, json_integer((json_int_t)stats_get(&ends[i])));
    }
    return json;
}

// ---- records ----

static const char *const sides[] = {[STATS_CLIENT] = "client", [STATS_SERVER] = "server"};

static json_t *layers_json(const struct stats_worker *sum)
{
    static const char *const directions[] = {[RECORD_TRANSMIT] = "transmit", [RECORD_RECEIVE] = "receive"};
    json_t *array = json_array();

    for (unsigned side = 0; side < STATS_SIDES; side++) {
        for (unsigned direction = 0; direction < 2; direction++) {
            for (unsigned i = 0; i < STATS_LAYERS; i++) {
                const char *reason = NULL;
                const char *layer = stats_layer_name(i, &reason);

                if (layer)
                    (void)json_array_append_new(
                        array,
                        json_pack("{s:s, s:s, s:s, s:s, s:I}", "side", sides[side], "direction",
                                  directions[direction], "layer", layer, "reason", reason, "connections",
                                  (json_int_t)stats_get(&sum->layers[side][direction][i])));
            }
        }
    }
    return array;
}

static json_t *key_updates_json(const struct stats_worker *sum)
{
    json_t *array = json_array();

    for (unsigned side = 0; side < STATS_SIDES; side++)
        (void)json_array_append_new(
            array, json_pack("{s:s, s:I, s:I}", "side", sides[side], "received",
                             (json_int_t)stats_get(&sum->key_updates[side][RECORD_RECEIVE]), "sent",
                             (json_int_t)stats_get(&sum->key_updates[side][RECORD_TRANSMIT])));
    return array;
}

// ---- kernel TLS ----

// The kernel's own counts, of our network namespace. NULL: it has none.
static json_t *kernel_statistics(void)
{
    FILE *file = fopen(KERNEL_STATISTICS, "re");
    json_t *json = file ? json_object() : NULL;
    unsigned long long value;
    char name[64];

    for (unsigned i = 0; json && i < STATISTICS_MAX && fscanf(file, "%63s %llu", name, &value) == 2; i++)
        (void)json_object_set_new(json, name, json_integer((json_int_t)value));
    if (file)
        fclose(file);
    return json;
}

json_t *status_kernel_tls(const struct master *master)
{
    bool is_available = master->probe.attach_error == 0;
    json_t *statistics = kernel_statistics();

    return json_pack("{s:b, s:o, s:b, s:o}", "available", is_available, "reason",
                     is_available ? json_null()
                                  : json_string(control_ktls_reason(master->probe.attach_error)),
                     "rekey", master->probe.rekey, "statistics", statistics ? statistics : json_null());
}

// ---- health ----

// Why no new connections are served as they should be; NULL: they are.
static const char *why_not_ready(const struct master *master)
{
    // Whoever still asks us, over a connection of before, wants to know how it is at this address: another one serves there.
    if (master->succession.state == SUCCESSOR_LEADS || master->succession.state == SUCCESSOR_RELEASED)
        return NULL;
    switch (master->state) {
    case MASTER_STARTING:
        return "starting";
    case MASTER_DRAINING:
        return "draining";
    case MASTER_STOPPING:
        return "stopping";
    default:
        return supervise_alive(master) == master->config->workers && supervise_all_ready(master)
                   ? NULL
                   : "a worker is being replaced";
    }
}

json_t *status_health(const struct master *master)
{
    const char *reason = why_not_ready(master);

    return json_pack("{s:b, s:s, s:b, s:s?}", "ok", 1, "state", admin_state_text(master), "ready",
                     reason == NULL, "reason", reason);
}

// ---- all of it ----

static uint64_t member_sum(const json_t *array, const char *key)
{
    uint64_t total = 0;
    const json_t *each;
    size_t i;

    json_array_foreach(array, i, each) total += (uint64_t)json_integer_value(json_object_get(each, key));
    return total;
}

static json_t *totals_json(const json_t *listeners)
{
    uint64_t full = 0;
    uint64_t resumed = 0;
    const json_t *listener;
    const json_t *handshake;
    size_t i;
    size_t j;

    json_array_foreach(listeners, i, listener)
    {
        json_array_foreach(json_object_get(listener, "handshakes"), j, handshake) *
            (json_is_true(json_object_get(handshake, "resumed")) ? &resumed : &full) +=
            (uint64_t)json_integer_value(json_object_get(handshake, "count"));
    }
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "connections",
                     (json_int_t)member_sum(listeners, "connections"), "accepted",
                     (json_int_t)member_sum(listeners, "accepted"), "bytes_in",
                     (json_int_t)member_sum(listeners, "bytes_in"), "bytes_out",
                     (json_int_t)member_sum(listeners, "bytes_out"), "handshakes",
                     (json_int_t)(full + resumed), "resumed", (json_int_t)resumed);
}

static json_t *head(const struct master *master)
{
    struct timespec now;
    double time_s;
    double uptime_s = seconds_of(clock_now_ns() - master->started_ns);

    (void)clock_gettime(CLOCK_REALTIME, &now);
    time_s = (double)now.tv_sec + (double)now.tv_nsec / (double)CLOCK_NS_PER_S;
    return json_pack("{s:s, s:i, s:o, s:f, s:o, s:f, s:f}", "version", RINGBOLT_VERSION, "pid", (int)getpid(),
                     "time", status_time(time_s), "time_s", time_s, "started", status_time(time_s - uptime_s),
                     "started_s", time_s - uptime_s, "uptime_s", uptime_s);
}

json_t *status_document(struct master *master)
{
    json_t *json = status_health(master);
    json_t *listeners = status_listeners(master);
    json_t *totals = totals_json(listeners);
    struct stats_worker sum;

    stats_sum_workers(master->stats, &sum);
    if (json_object_update_new(json, head(master)) == 0 &&
        json_object_update_new(
            json, json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "totals", totals, "listeners",
                            listeners, "upstreams", status_upstreams(master), "workers",
                            status_workers(master), "master", status_master(), "records", layers_json(&sum),
                            "key_updates", key_updates_json(&sum), "move_pause_seconds",
                            status_histogram(&sum.pause, STATS_SHORT), "kernel_tls", status_kernel_tls(master),
                            "certificates", status_certificates(master), "sandbox", admin_sandbox(master),
                            "predecessors", generations_json(master))) == 0)
        return json;
    json_decref(json);
    return NULL;
}
