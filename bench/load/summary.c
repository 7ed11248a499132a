// SPDX-License-Identifier: Apache-2.0
// The table at the end of a run.
#include "summary.h"

#include <inttypes.h>
#include <string.h>

#include "ringbolt/clock.h"
#include "usage.h"

const unsigned summary_quantiles[SUMMARY_QUANTILES] = {5000, 9000, 9900, 9990, 9999};
const char *const summary_quantile_names[SUMMARY_QUANTILES] = {"p50", "p90", "p99", "p99.9", "p99.99"};

static void print_kinds(const struct tally *tally, FILE *to)
{
    for (unsigned i = 0; i < tally->kind_count; i++) {
        const struct negotiated *kind = &tally->kinds[i].negotiated;

        fprintf(to, "  %-14s %s %s, group %s, server key %s%s%s%s: %" PRIu64 "\n", i == 0 ? "TLS" : "",
                kind->version, kind->suite, kind->group, kind->key, kind->alpn[0] != '\0' ? ", ALPN " : "",
                kind->alpn, kind->is_resumed ? ", resumed" : "", tally->kinds[i].count);
    }
}

static void print_latency(const char *name, const struct histogram *histogram, FILE *to)
{
    if (histogram->count == 0)
        return;
    fprintf(to, "  %-14s", name);
    for (int i = 0; i < SUMMARY_QUANTILES; i++)
        fprintf(to, " %10.3f",
                (double)histogram_quantile(histogram, summary_quantiles[i]) / (double)CLOCK_NS_PER_MS);
    fprintf(to, " %10.3f %10.3f\n", (double)histogram->max / (double)CLOCK_NS_PER_MS,
            histogram_mean(histogram) / (double)CLOCK_NS_PER_MS);
}

static void print_latencies(const struct options *options, const struct tally *tally, FILE *to)
{
    bool has_rate = options->rate > 0;

    if (tally->latency.count + tally->handshake.count == 0)
        return;
    fprintf(to, "\n  %-14s %10s %10s %10s %10s %10s %10s %10s\n", "milliseconds", "p50", "p90", "p99",
            "p99.9", "p99.99", "max", "mean");
    print_latency(has_rate ? "since due" : "each", &tally->latency, to);
    print_latency("since begun", &tally->service, to);
    if (options->mode != MODE_HANDSHAKES || has_rate)
        print_latency("handshake", &tally->handshake, to);
}

static void print_alerts(const char *name, const uint64_t *alerts, FILE *to)
{
    for (int i = 0; i < 256; i++) {
        if (alerts[i] > 0)
            fprintf(to, "    %s %s: %" PRIu64 "\n", name, record_alert_name((enum record_alert)i), alerts[i]);
    }
}

static void print_failures(const struct tally *tally, FILE *to)
{
    uint64_t sum = tally_failures(tally);

    fprintf(to, "\n  %-14s %" PRIu64 "\n", "errors", sum);
    for (int i = 1; i < FAILURE_COUNT; i++) {
        if (tally->failures[i] == 0)
            continue;
        fprintf(to, "    %s: %" PRIu64 "%s%s%s\n", failure_words((enum failure)i), tally->failures[i],
                tally->details[i][0] != '\0' ? " (" : "", tally->details[i],
                tally->details[i][0] != '\0' ? ")" : "");
        if (i == FAILURE_HANDSHAKE_ALERT)
            print_alerts("alert", tally->handshake_alerts, to);
        else if (i == FAILURE_ALERT)
            print_alerts("alert", tally->alerts, to);
    }
}

static void print_usage(const struct options *options, const struct run_result *result, FILE *to)
{
    for (unsigned i = 0; i < options->threads; i++) {
        const struct run_usage *usage = &result->usages[i];
        double wall = (double)usage->wall_ns / 100;

        if (usage->wall_ns == 0)
            continue;
        fprintf(
            to,
            "  %-14s thread %u used %.0f %% of a CPU (user %.0f, system %.0f), waited for one %.0f %%%s\n",
            i == 0 ? "this client" : "", i, (double)(usage->user_ns + usage->system_ns) / wall,
            (double)usage->user_ns / wall, (double)usage->system_ns / wall, (double)usage->waiting_ns / wall,
            usage_judge(usage) == USAGE_BUSY      ? ": IT WAS THE BOTTLENECK, give more --threads"
            : usage_judge(usage) == USAGE_WAITING ? ": IT WAS THE BOTTLENECK, there are too few CPUs for it"
                                                  : "");
    }
}

static void print_amounts(const struct options *options, const struct run_result *result, FILE *to)
{
    const struct tally *tally = &result->tally;
    double seconds = result->seconds > 0 ? result->seconds : 1;
    const char *unit = mode_unit(options);

    if (options->mode == MODE_IDLE)
        fprintf(to, "  %-14s %u of %u, opened in %.2f s; after %.2f s %u\n", "open", result->open_at_start,
                options->connections, result->seconds_opening, result->seconds, result->open_at_end);
    if (options->mode == MODE_IDLE && options->is_checking_alive)
        fprintf(to, "  %-14s %" PRIu64 " of %u answered a request at the end\n", "alive", tally->units_all,
                result->open_at_end);
    if (options->mode != MODE_IDLE)
        fprintf(to, "  %-14s %" PRIu64 " in %.2f s: %.1f a second (%" PRIu64 " in the whole run)\n", unit,
                tally->units, result->seconds, (double)tally->units / seconds, tally->units_all);
    if (tally->received_all > 0)
        fprintf(to, "  %-14s %" PRIu64 " bytes: %.2f MB a second\n", "received", tally->received,
                (double)tally->received / seconds / 1e6);
    if (tally->sent_all > 0)
        fprintf(to, "  %-14s %" PRIu64 " bytes: %.2f MB a second\n", "sent", tally->sent,
                (double)tally->sent / seconds / 1e6);
    if (tally->primers > 0)
        fprintf(to, "  %-14s %" PRIu64 " full handshakes to get a session, not counted above\n", "primed",
                tally->primers);
    if (tally->reconnects > 0)
        fprintf(to, "  %-14s %" PRIu64 " connections that the server closed after an answer\n", "reopened",
                tally->reconnects);
    if (tally->cut > 0)
        fprintf(to, "  %-14s %" PRIu64 " %s still going on when the time was up\n", "cut", tally->cut, unit);
    if (tally->unsent > 0)
        fprintf(to, "  %-14s %" PRIu64 " %s were due and found no free connection: the rate was too high\n",
                "unsent", tally->unsent, unit);
}

void summary_table(const struct options *options, const struct run_result *result, FILE *to)
{
    fprintf(to, "%s %s, %s records, %u connection%s, %u thread%s", mode_name(options->mode),
            options->address_text, options->is_openssl ? "OpenSSL's" : "Ringbolt's", options->connections,
            options->connections == 1 ? "" : "s", options->threads, options->threads == 1 ? "" : "s");
    if (options->rate > 0)
        fprintf(to, ", %g a second", options->rate);
    fprintf(to, "%s\n\n", result->is_interrupted ? ", interrupted" : "");
    print_kinds(&result->tally, to);
    print_amounts(options, result, to);
    print_usage(options, result, to);
    print_latencies(options, &result->tally, to);
    print_failures(&result->tally, to);
    if (result->has_given_up)
        fprintf(to, "    nothing has ever succeeded, so the run was given up early\n");
}
