// SPDX-License-Identifier: Apache-2.0
#include "window.h"

#include <inttypes.h>
#include <string.h>

const char *const kind_names[KIND_COUNT] = {"down", "up",    "both", "idle", "poll", "drip",
                                            "half", "rekey", "slow", "echo", "visit"};

static const char *const fault_names[FAULT_COUNT] = {"refused", "handshake", "broken",
                                                     "cut",     "wrong",     "silent"};

void window_fault(struct window *window, enum client_kind kind, enum fault fault, uint64_t id, double age_s,
                  const char *why)
{
    window->kinds[kind].faults[fault]++;
    if (window->text_count < FAULT_TEXTS_MAX)
        snprintf(window->texts[window->text_count++], sizeof(window->texts[0]),
                 "%s %" PRIu64 " after %.3f s: %s: %s", kind_names[kind], id, age_s, fault_names[fault], why);
}

uint64_t window_faults(const struct window *window)
{
    uint64_t sum = 0;

    for (int kind = 0; kind < KIND_COUNT; kind++) {
        for (int fault = 0; fault < FAULT_COUNT; fault++)
            sum += window->kinds[kind].faults[fault];
    }
    return sum;
}

static void histogram_print(const char *name, const struct histogram *histogram, FILE *to)
{
    fprintf(to, ", \"%s_us\": {\"count\": %" PRIu64 ", \"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f}", name,
            histogram->count, (double)histogram_quantile(histogram, 5000) / 1e3,
            (double)histogram_quantile(histogram, 9900) / 1e3, (double)histogram->max / 1e3);
}

static void kind_print(const struct window_kind *kind, FILE *to)
{
    fprintf(to, "{\"live\": %" PRIu64 ", \"complete\": %" PRIu64, kind->live, kind->complete);
    for (int fault = 0; fault < FAULT_COUNT; fault++)
        fprintf(to, ", \"%s\": %" PRIu64, fault_names[fault], kind->faults[fault]);
    fprintf(to, ", \"bytes_in\": %" PRIu64 ", \"bytes_out\": %" PRIu64, kind->bytes_in, kind->bytes_out);
    if (kind->latency.count > 0)
        histogram_print("latency", &kind->latency, to);
    if (kind->pause.count > 0)
        histogram_print("pause", &kind->pause, to);
    fputc('}', to);
}

// The texts are ours, OpenSSL's and the C library's: none has a quote.
void window_print(const struct window *window, const char *name, uint64_t now_ns, FILE *to)
{
    const char *comma = "";

    fprintf(to, "{\"window\": \"%s\", \"seconds\": %.3f, \"faults\": %" PRIu64 ", \"kinds\": {", name,
            (double)(now_ns - window->begun_ns) / 1e9, window_faults(window));
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        const struct window_kind *one = &window->kinds[kind];
        uint64_t sum = one->live + one->complete;

        for (int fault = 0; fault < FAULT_COUNT; fault++)
            sum += one->faults[fault];
        if (sum == 0)
            continue;
        fprintf(to, "%s\"%s\": ", comma, kind_names[kind]);
        kind_print(one, to);
        comma = ", ";
    }
    fputs("}, \"texts\": [", to);
    for (unsigned i = 0; i < window->text_count; i++)
        fprintf(to, "%s\"%s\"", i > 0 ? ", " : "", window->texts[i]);
    fputs("]}\n", to);
    fflush(to);
}

void window_begin(struct window *window, uint64_t now_ns)
{
    uint64_t live[KIND_COUNT];

    for (int kind = 0; kind < KIND_COUNT; kind++)
        live[kind] = window->kinds[kind].live;
    memset(window, 0, sizeof(*window));
    for (int kind = 0; kind < KIND_COUNT; kind++)
        window->kinds[kind].live = live[kind];
    window->begun_ns = now_ns;
}
