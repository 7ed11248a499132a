// SPDX-License-Identifier: Apache-2.0
#include "top.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "table.h"

#define NUMBER     "%" JSON_INTEGER_FORMAT
#define SOON_S     (14 * 86400) // a certificate that ends within is a warning
#define LISTED_S   (60 * 86400) // and within this is listed, or the first one
#define LISTED_MAX 10

// What a frame is made of.
struct frame {
    FILE *to;
    const json_t *now;
    const json_t *before; // NULL: no rates
    double passed_s;      // between them
};

// ---- reading ----

static json_int_t number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static double real(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static json_int_t members(const json_t *object)
{
    json_int_t total = 0;
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)object, key, value) total += json_integer_value(value);
    return total;
}

// Connections that did not end as they should.
static json_int_t failures(const json_t *ends)
{
    static const char *const good[] = {"done", "idle_timeout", "retired", "shutdown", "rejected"};
    json_int_t total = members(ends);

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        total -= number(ends, good[i]);
    return total;
}

static json_int_t handshakes(const json_t *listener, bool only_resumed)
{
    json_int_t total = 0;
    const json_t *each;
    size_t i;

    json_array_foreach(json_object_get(listener, "handshakes"), i, each)
    {
        if (!only_resumed || json_is_true(json_object_get(each, "resumed")))
            total += number(each, "count");
    }
    return total;
}

// The element of the document before that is the same one; NULL: there is none.
static const json_t *same(const json_t *array, size_t index, const char *key, const json_t *element)
{
    const json_t *found = json_array_get(array, index);

    return found && json_equal(json_object_get(found, key), json_object_get(element, key)) ? found : NULL;
}

// ---- cells ----

static char *rate_cell(const struct frame *frame, bool is_known, json_int_t now, json_int_t before)
{
    double rate = (double)(now - before) / frame->passed_s;

    if (!frame->before || !is_known || rate < 0)
        return table_cell("-");
    return rate > 0 && rate < 10 ? table_cell("%.1f", rate) : table_cell("%.0f", rate);
}

// "734", "1.5K", "20.3M"
static char *bytes_cell(double value)
{
    static const char units[] = "KMGTPE";
    size_t unit = 0;

    if (value < 1024)
        return table_cell("%.0f", value);
    for (value /= 1024; value >= 1024 && units[unit + 1]; unit++)
        value /= 1024;
    return table_cell("%.1f%c", value, units[unit]);
}

static char *byte_rate_cell(const struct frame *frame, const json_t *now, const json_t *before,
                            const char *key)
{
    double rate = (double)(number(now, key) - number(before, key)) / frame->passed_s;

    return !frame->before || !before || rate < 0 ? table_cell("-") : bytes_cell(rate);
}

static char *cpu_cell(const struct frame *frame, const json_t *now, const json_t *before)
{
    double used = 100 * (real(now, "cpu_s") - real(before, "cpu_s")) / frame->passed_s;

    return !frame->before || !before || used < 0 ? table_cell("-") : table_cell("%.1f%%", used);
}

static char *number_cell(const json_t *object, const char *key)
{
    return table_cell(NUMBER, number(object, key));
}

static char *text_cell(const json_t *object, const char *key)
{
    return table_cell("%s", table_text(object, key));
}

// A heading of its own, the rows below.
static void write_table(const struct frame *frame, const char *const *titles, unsigned columns,
                        uint32_t numbers, char **cells, size_t rows)
{
    if (rows > 0) {
        fputs("\n\x01", frame->to);
        table_write(frame->to, titles, columns, numbers, cells, rows);
    }
    free(cells);
}

static char **make_cells(size_t rows, size_t columns)
{
    char **cells = calloc(rows * columns + 1, sizeof(*cells));

    if (!cells)
        abort();
    return cells;
}

// Text from elsewhere, and our own in between: "%" of the format is where each of the texts goes.
static void write_text(FILE *to, const char *format, ...)
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

// A cell in running text.
static void write_cell(FILE *to, const char *before, char *cell, const char *behind)
{
    fprintf(to, "%s%s%s", before, cell, behind);
    free(cell);
}

// ---- the head ----

static void write_title(const struct frame *frame, const char *trouble)
{
    json_int_t uptime_s = (json_int_t)real(frame->now, "uptime_s");
    const char *reason = table_text(frame->now, "reason");
    const char *time = table_text(frame->now, "time"); // 2026-11-21T09:30:00.123Z
    char clock[sizeof("09:30:00")] = "";

    if (strlen(time) >= 19)
        snprintf(clock, sizeof(clock), "%s", time + 11);
    write_text(frame->to, "\x01ringbolt %, %", table_text(frame->now, "version"),
               table_text(frame->now, "state"));
    fprintf(frame->to, ", up " NUMBER "d %02d:%02d:%02d, pid " NUMBER, uptime_s / 86400,
            (int)(uptime_s / 3600 % 24), (int)(uptime_s / 60 % 60), (int)(uptime_s % 60),
            number(frame->now, "pid"));
    write_text(frame->to, ", % UTC\n", clock);
    if (trouble)
        write_text(frame->to, "\x02no answer: %. What follows is from then\n", trouble);
    else if (reason[0])
        write_text(frame->to, "\x02not ready: %\n", reason);
}

static json_int_t all_failures(const json_t *document)
{
    json_int_t total = 0;
    const json_t *listener;
    size_t i;

    json_array_foreach(json_object_get(document, "listeners"), i, listener) total +=
        failures(json_object_get(listener, "ends"));
    return total;
}

static void write_totals(const struct frame *frame)
{
    const json_t *now = json_object_get(frame->now, "totals");
    const json_t *before = json_object_get(frame->before, "totals");
    json_int_t shaken = number(now, "handshakes") - number(before, "handshakes");
    json_int_t resumed = number(now, "resumed") - number(before, "resumed");

    fprintf(frame->to, "connections " NUMBER, number(now, "connections"));
    write_cell(frame->to, "; a second: accepted ",
               rate_cell(frame, true, number(now, "accepted"), number(before, "accepted")), "");
    write_cell(frame->to, ", failed ",
               rate_cell(frame, true, all_failures(frame->now), all_failures(frame->before)), "");
    write_cell(frame->to, ", handshakes ",
               rate_cell(frame, true, number(now, "handshakes"), number(before, "handshakes")), "");
    if (frame->before && shaken > 0)
        fprintf(frame->to, " (" NUMBER "%% resumed)", 100 * resumed / shaken);
    write_cell(frame->to, "\nbytes a second: in ", byte_rate_cell(frame, now, before, "bytes_in"), "");
    write_cell(frame->to, ", out ", byte_rate_cell(frame, now, before, "bytes_out"), "\n");
}

static json_int_t ends_in_s(const struct frame *frame, const json_t *certificate)
{
    return number(certificate, "not_after_s") - (json_int_t)real(frame->now, "time_s");
}

static void write_warnings(const struct frame *frame)
{
    const json_t *certificates = json_object_get(frame->now, "certificates");
    const json_t *each;
    size_t soon = 0;
    size_t i;

    json_array_foreach(json_object_get(certificates, "first_to_end"), i, each) soon +=
        ends_in_s(frame, each) < SOON_S;
    if (soon > 0)
        fprintf(frame->to, "\x02%zu certificate%s ended or will within %d days\n", soon,
                soon == 1 ? " has" : "s have", SOON_S / 86400);
    if (number(certificates, "problems") > 0)
        fprintf(frame->to, "\x02" NUMBER " with files that are wrong now: see ringbolt certificates\n",
                number(certificates, "problems"));
}

// ---- tables ----

static void write_listeners(const struct frame *frame)
{
    static const char *const titles[] = {"LISTENER", "ADDRESS",  "CONNS",   "ACCEPT/S", "FAIL/S",
                                         "REFUSED",  "SHAKES/S", "RESUMED", "IN/S",     "OUT/S"};
    const unsigned columns = sizeof(titles) / sizeof(titles[0]);
    const json_t *all = json_object_get(frame->now, "listeners");
    size_t count = json_array_size(all);
    char **cells = make_cells(count, columns);
    char **cell = cells;
    const json_t *now;
    size_t i;

    json_array_foreach(all, i, now)
    {
        const json_t *before = same(json_object_get(frame->before, "listeners"), i, "name", now);
        json_int_t shaken = handshakes(now, false);

        *cell++ = text_cell(now, "name");
        *cell++ = text_cell(now, "address");
        *cell++ = number_cell(now, "connections");
        *cell++ = rate_cell(frame, before, number(now, "accepted"), number(before, "accepted"));
        *cell++ = rate_cell(frame, before, failures(json_object_get(now, "ends")),
                            failures(json_object_get(before, "ends")));
        *cell++ = table_cell(NUMBER, members(json_object_get(now, "refused")));
        *cell++ = rate_cell(frame, before, shaken, handshakes(before, false));
        *cell++ =
            shaken > 0 ? table_cell(NUMBER "%%", 100 * handshakes(now, true) / shaken) : table_cell("-");
        *cell++ = byte_rate_cell(frame, now, before, "bytes_in");
        *cell++ = byte_rate_cell(frame, now, before, "bytes_out");
    }
    write_table(frame, titles, columns, 0x3fc, cells, count);
}

static void write_servers(const struct frame *frame)
{
    static const char *const titles[] = {"UPSTREAM",  "SERVER", "STATE", "HEALTH", "CONNS",
                                         "CONNECT/S", "FAILED", "IN/S",  "OUT/S"};
    const unsigned columns = sizeof(titles) / sizeof(titles[0]);
    const json_t *all = json_object_get(frame->now, "upstreams");
    const json_t *upstream;
    const json_t *now;
    size_t count = 0;
    char **cells;
    char **cell;
    size_t i;
    size_t j;

    json_array_foreach(all, i, upstream) count += json_array_size(json_object_get(upstream, "servers"));
    cell = cells = make_cells(count, columns);
    json_array_foreach(all, i, upstream)
    {
        const json_t *earlier = same(json_object_get(frame->before, "upstreams"), i, "name", upstream);

        json_array_foreach(json_object_get(upstream, "servers"), j, now)
        {
            const json_t *before = same(json_object_get(earlier, "servers"), j, "address", now);

            *cell++ = text_cell(upstream, "name");
            *cell++ = text_cell(now, "address");
            *cell++ = text_cell(now, "state");
            *cell++ = text_cell(now, "health");
            *cell++ = number_cell(now, "connections");
            *cell++ = rate_cell(frame, before, number(now, "connects"), number(before, "connects"));
            *cell++ = table_cell(NUMBER, number(now, "failures") + members(json_object_get(now, "ends")));
            *cell++ = byte_rate_cell(frame, now, before, "bytes_in");
            *cell++ = byte_rate_cell(frame, now, before, "bytes_out");
        }
    }
    write_table(frame, titles, columns, 0x1f0, cells, count);
}

static void write_workers(const struct frame *frame)
{
    static const char *const titles[] = {"WORKER", "PID",    "STATE",   "CONNS",
                                         "CPU",    "MEMORY", "BUFFERS", "STARTS"};
    const unsigned columns = sizeof(titles) / sizeof(titles[0]);
    const json_t *all = json_object_get(frame->now, "workers");
    const json_t *master = json_object_get(frame->now, "master");
    size_t count = json_array_size(all);
    char **cells = make_cells(count + 1, columns);
    char **cell = cells;
    const json_t *now;
    size_t i;

    json_array_foreach(all, i, now)
    {
        const json_t *before = same(json_object_get(frame->before, "workers"), i, "pid", now);

        *cell++ = number_cell(now, "worker");
        *cell++ = number_cell(now, "pid");
        *cell++ = text_cell(now, "state");
        *cell++ = number_cell(now, "connections");
        *cell++ = cpu_cell(frame, now, before);
        *cell++ = bytes_cell(real(now, "memory_bytes"));
        *cell++ = bytes_cell(real(now, "buffer_bytes"));
        *cell++ = number_cell(now, "starts");
    }
    *cell++ = table_cell("master");
    *cell++ = number_cell(frame->now, "pid");
    *cell++ = text_cell(frame->now, "state");
    *cell++ = table_cell("-");
    *cell++ = cpu_cell(frame, master, json_object_get(frame->before, "master"));
    *cell++ = bytes_cell(real(master, "memory_bytes"));
    *cell++ = table_cell("-");
    *cell++ = table_cell("-");
    write_table(frame, titles, columns, 0xfa, cells, count + 1);
}

static void write_certificates(const struct frame *frame)
{
    static const char *const titles[] = {"CERTIFICATE", "ENDS", "IN", "HANDSHAKES", "FILES"};
    const unsigned columns = sizeof(titles) / sizeof(titles[0]);
    const json_t *certificates = json_object_get(frame->now, "certificates");
    char **cells = make_cells(LISTED_MAX, columns);
    char **cell = cells;
    const json_t *each;
    size_t count = 0;
    size_t i;

    json_array_foreach(json_object_get(certificates, "first_to_end"), i, each)
    {
        json_int_t left_s = ends_in_s(frame, each);

        if (i == LISTED_MAX || (i > 0 && left_s > LISTED_S))
            break;
        *cell++ = text_cell(each, "name");
        *cell++ = table_cell("%.10s", table_text(each, "not_after"));
        *cell++ = left_s <= 0 ? table_cell("expired") : table_cell(NUMBER "d", left_s / 86400);
        *cell++ = number_cell(each, "handshakes");
        *cell++ = table_cell("%s", json_is_true(json_object_get(each, "problem")) ? "wrong" : "good");
        count++;
    }
    write_table(frame, titles, columns, 0xc, cells, count);
    if (number(certificates, "count") > (json_int_t)count)
        fprintf(frame->to, "and " NUMBER " that end later\n",
                number(certificates, "count") - (json_int_t)count);
}

// ---- what was counted since the start ----

// Those that there were.
static void write_records(const struct frame *frame)
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
        write_text(frame->to, "% %s in % ",
                   strcmp(table_text(each, "direction"), "transmit") == 0 ? "to" : "from",
                   table_text(each, "side"), table_text(each, "layer"));
        if (reason[0])
            write_text(frame->to, "(%) ", reason);
        fprintf(frame->to, NUMBER, number(each, "connections"));
        before = ", ";
    }
    fputs(before[0] == ',' ? "\n" : "", frame->to);
}

static void write_ends(const struct frame *frame)
{
    json_t *sums = json_object();
    const char *before = "ended: ";
    const json_t *listener;
    const char *key;
    json_t *value;
    size_t i;

    json_array_foreach(json_object_get(frame->now, "listeners"), i, listener)
    {
        json_object_foreach(json_object_get(listener, "ends"), key, value)(void)
            json_object_set_new(sums, key, json_integer(number(sums, key) + json_integer_value(value)));
    }
    json_object_foreach(sums, key, value)
    {
        if (json_integer_value(value) == 0)
            continue;
        fputs(before, frame->to);
        cli_print_text(frame->to, key);
        fprintf(frame->to, " " NUMBER, json_integer_value(value));
        before = ", ";
    }
    fputs(before[0] == ',' ? "\n" : "", frame->to);
    json_decref(sums);
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

static void write_times(const struct frame *frame)
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

// ---- all of it ----

char *top_frame(const json_t *now, const json_t *before, const char *trouble)
{
    struct frame frame = {.now = now, .before = before};
    char *text = NULL;
    size_t size = 0;

    frame.passed_s = real(now, "uptime_s") - real(before, "uptime_s");
    if (number(now, "pid") != number(before, "pid") || frame.passed_s <= 0)
        frame.before = NULL;
    frame.to = open_memstream(&text, &size);
    if (!frame.to)
        abort();
    write_title(&frame, trouble);
    write_warnings(&frame);
    write_totals(&frame);
    write_listeners(&frame);
    write_servers(&frame);
    write_workers(&frame);
    write_records(&frame);
    write_ends(&frame);
    write_times(&frame);
    write_certificates(&frame);
    if (fclose(frame.to) != 0)
        abort();
    return text;
}
