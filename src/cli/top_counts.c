// SPDX-License-Identifier: Apache-2.0
// What a frame says of all that was counted since the start.
#include "top_inside.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "cli.h"
#include "table.h"

void top_write_text(FILE *to, const char *format, ...)
{
    va_list texts;

    va_start(texts, format);
    for (const char *at = format; *at; at++) {
        if (*at == '%')
            cli_print_text(to, va_arg(texts, const char *));
        else
            fputc(*at, to);
    }
    va_end(texts);
}

// ---- records ----

// Those that there were.
void top_write_records(const struct frame *frame)
{
    const char *before = "\nrecords: ";
    const json_t *each;
    size_t i;

    json_array_foreach(json_object_get(frame->now, "records"), i, each)
    {
        const char *reason = table_text(each, "reason");

        if (number(each, "connections") == 0)
            continue;
        fputs(before, frame->to);
        top_write_text(frame->to, "% %s in % ",
                       strcmp(table_text(each, "direction"), "transmit") == 0 ? "to" : "from",
                       table_text(each, "side"), table_text(each, "layer"));
        if (reason[0])
            top_write_text(frame->to, "(%) ", reason);
        fprintf(frame->to, NUMBER, number(each, "connections"));
        before = ", ";
    }
    fputs(before[0] == ',' ? "\n" : "", frame->to);
}

// ---- times ----

static void add_counts(const json_t *histogram, json_t *sums)
{
    const json_t *counts = json_object_get(histogram, "counts");

    for (size_t i = 0; i < json_array_size(counts); i++) {
        json_int_t count = json_integer_value(json_array_get(counts, i));

        if (i == json_array_size(sums))
            (void)json_array_append_new(sums, json_integer(count));
        else
            (void)json_array_set_new(sums, i,
                                     json_integer(json_integer_value(json_array_get(sums, i)) + count));
    }
}

// As Prometheus' histogram_quantile(), in milliseconds: within a bucket as if spread evenly. INFINITY: beyond the last bound.
static double quantile_ms(const json_t *counts, const json_t *bounds, double part)
{
    double total = 0;
    double seen = 0;

    for (size_t i = 0; i < json_array_size(counts); i++)
        total += json_number_value(json_array_get(counts, i));
    for (size_t i = 0; i < json_array_size(bounds); i++) {
        double count = json_number_value(json_array_get(counts, i));
        double from = i > 0 ? json_number_value(json_array_get(bounds, i - 1)) : 0;
        double to = json_number_value(json_array_get(bounds, i));

        if (count > 0 && seen + count >= total * part)
            return 1000 * (from + (to - from) * (total * part - seen) / count);
        seen += count;
    }
    return INFINITY;
}

static void write_ms(FILE *to, const char *before, double ms, const json_t *bounds)
{
    if (isinf(ms))
        fprintf(to, "%s>%.0f", before,
                1000 * json_number_value(json_array_get(bounds, json_array_size(bounds) - 1)));
    else
        fprintf(to, ms < 10 ? "%s%.1f" : "%s%.0f", before, ms);
}

// ", NAME 1.2/35", of the histogram at `path` in all elements. Whether there was any.
static bool write_time(const struct frame *frame, const char *before, const char *name, const char *section,
                       const char *key, const char *inner)
{
    json_t *counts = json_array();
    const json_t *bounds = NULL;
    const json_t *element;
    json_int_t total = 0;
    size_t i;

    json_array_foreach(json_object_get(frame->now, section), i, element)
    {
        const json_t *histogram = json_object_get(element, key);

        histogram = inner ? json_object_get(histogram, inner) : histogram;
        bounds = json_object_get(histogram, "bounds_s");
        total += number(histogram, "count");
        add_counts(histogram, counts);
    }
    if (total > 0) {
        fprintf(frame->to, "%s%s", before, name);
        write_ms(frame->to, " ", quantile_ms(counts, bounds, 0.5), bounds);
        write_ms(frame->to, "/", quantile_ms(counts, bounds, 0.99), bounds);
    }
    json_decref(counts);
    return total > 0;
}

void top_write_times(const struct frame *frame)
{
    const char *before = "milliseconds (half/99%): ";

    if (write_time(frame, before, "full handshakes", "listeners", "handshake_seconds", "full"))
        before = ", ";
    if (write_time(frame, before, "resumed", "listeners", "handshake_seconds", "resumed"))
        before = ", ";
    if (write_time(frame, before, "connects", "upstreams", "connect_seconds", NULL))
        before = ", ";
    fputs(before[0] == ',' ? "\n" : "", frame->to);
}
