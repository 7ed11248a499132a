// SPDX-License-Identifier: Apache-2.0
// The report as JSON. docs/bench.md describes the keys.
#include "summary.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "ringbolt-version.h"
#include "ringbolt/clock.h"
#include "usage.h"

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *latency(const struct histogram *histogram)
{
    json_t *object = json_pack("{s:o, s:f, s:f}", "count", number(histogram->count), "min",
                               (double)histogram->min / (double)CLOCK_NS_PER_US, "mean",
                               histogram_mean(histogram) / (double)CLOCK_NS_PER_US);

    for (int i = 0; i < SUMMARY_QUANTILES; i++)
        json_object_set_new(
            object, summary_quantile_names[i],
            json_real((double)histogram_quantile(histogram, summary_quantiles[i]) / (double)CLOCK_NS_PER_US));
    json_object_set_new(object, "max", json_real((double)histogram->max / (double)CLOCK_NS_PER_US));
    return object;
}

static json_t *kinds(const struct tally *tally)
{
    json_t *array = json_array();

    for (unsigned i = 0; i < tally->kind_count; i++) {
        const struct negotiated *kind = &tally->kinds[i].negotiated;

        json_array_append_new(array, json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:o}", "version",
                                               kind->version, "suite", kind->suite, "group", kind->group,
                                               "key", kind->key, "alpn", kind->alpn, "resumed",
                                               kind->is_resumed, "count", number(tally->kinds[i].count)));
    }
    return array;
}

static json_t *alerts(const uint64_t *counts)
{
    json_t *object = json_object();

    for (int i = 0; i < 256; i++) {
        if (counts[i] > 0)
            json_object_set_new(object, record_alert_name((enum record_alert)i), number(counts[i]));
    }
    return object;
}

static json_t *failures(const struct tally *tally)
{
    json_t *object = json_object();
    json_t *details = json_object();

    for (int i = 1; i < FAILURE_COUNT; i++) {
        if (tally->failures[i] == 0)
            continue;
        json_object_set_new(object, failure_name((enum failure)i), number(tally->failures[i]));
        if (tally->details[i][0] != '\0')
            json_object_set_new(details, failure_name((enum failure)i), json_string(tally->details[i]));
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "total", number(tally_failures(tally)), "kinds", object,
                     "details", details, "handshake_alerts", alerts(tally->handshake_alerts), "alerts",
                     alerts(tally->alerts));
}

static double seconds(uint64_t ns)
{
    return (double)ns / (double)CLOCK_NS_PER_S;
}

static json_t *client(const struct options *options, const struct run_result *result)
{
    json_t *threads = json_array();
    bool is_bottleneck = false;

    for (unsigned i = 0; i < options->threads; i++) {
        const struct run_usage *usage = &result->usages[i];

        is_bottleneck = is_bottleneck || usage_judge(usage) != USAGE_FINE;
        json_array_append_new(threads,
                              json_pack("{s:f, s:f, s:f, s:f}", "seconds", seconds(usage->wall_ns), "user",
                                        seconds(usage->user_ns), "system", seconds(usage->system_ns),
                                        "waiting", seconds(usage->waiting_ns)));
    }
    return json_pack("{s:b, s:o}", "bottleneck", is_bottleneck, "threads", threads);
}

static json_t *units(const struct options *options, const struct run_result *result)
{
    const struct tally *tally = &result->tally;
    double per_second = result->seconds > 0 ? (double)tally->units / result->seconds : 0;

    return json_pack("{s:s, s:o, s:f, s:o, s:o, s:o}", "name", mode_unit(options), "count",
                     number(tally->units), "per_second", per_second, "whole_run", number(tally->units_all),
                     "unsent", number(tally->unsent), "cut", number(tally->cut));
}

static json_t *bytes(const struct run_result *result)
{
    const struct tally *tally = &result->tally;
    double each = result->seconds > 0 ? 1 / result->seconds : 0;

    return json_pack("{s:o, s:o, s:f, s:f, s:o, s:o}", "received", number(tally->received), "sent",
                     number(tally->sent), "received_per_second", (double)tally->received * each,
                     "sent_per_second", (double)tally->sent * each, "received_whole_run",
                     number(tally->received_all), "sent_whole_run", number(tally->sent_all));
}

static json_t *connections(const struct options *options, const struct run_result *result)
{
    const struct tally *tally = &result->tally;

    return json_pack("{s:i, s:i, s:i, s:f, s:o, s:o, s:o}", "asked", (int)options->connections,
                     "open_at_start", (int)result->open_at_start, "open_at_end", (int)result->open_at_end,
                     "seconds_opening", result->seconds_opening, "handshakes", number(tally->handshakes),
                     "primers", number(tally->primers), "reopened", number(tally->reconnects));
}

int summary_json(const struct options *options, const struct run_result *result, FILE *to)
{
    const struct tally *tally = &result->tally;
    json_t *root = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:i, s:f, s:f, s:f, s:o, s:o, s:o, s:o, s:o, s:o}", "tool",
        "ringbolt-bench", "version", RINGBOLT_VERSION, "mode", mode_name(options->mode), "address",
        options->address_text, "records", options->is_openssl ? "openssl" : "ringbolt", "started",
        result->begun_text, "interrupted", result->is_interrupted, "given_up", result->has_given_up,
        "threads", (int)options->threads, "rate", options->rate, "warm_up", seconds(options->warm_up_ns),
        "seconds", result->seconds, "units", units(options, result), "bytes", bytes(result), "connections",
        connections(options, result), "tls", kinds(tally), "errors", failures(tally), "client",
        client(options, result));
    int result_code = -ENOMEM;

    if (root == NULL)
        return -ENOMEM;
    json_object_set_new(root, "latency_us", latency(&tally->latency));
    if (options->rate > 0)
        json_object_set_new(root, "service_us", latency(&tally->service));
    json_object_set_new(root, "handshake_us", latency(&tally->handshake));
    if (json_dumpf(root, to, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0 && fputc('\n', to) != EOF)
        result_code = 0;
    json_decref(root);
    return result_code;
}
