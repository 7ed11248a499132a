// SPDX-License-Identifier: Apache-2.0
// The tables of a frame.
#include "top_inside.h"

#include <stdlib.h>
#include <string.h>

#include "summary.h"
#include "table.h"

#define LISTED_S   (60 * 86400) // a certificate that ends within is listed, or the first one
#define LISTED_MAX 10

// ---- reading ----

// Connections that did not end as they should.
json_int_t top_failures(const json_t *ends)
{
    static const char *const good[] = {"done", "idle_timeout", "retired", "shutdown", "rejected"};
    json_int_t total = summary_total(ends);

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        total -= number(ends, good[i]);
    return total;
}

// The element of the document before that is the same one; NULL: there is none.
static const json_t *same(const json_t *array, size_t index, const char *key, const json_t *element)
{
    const json_t *found = json_array_get(array, index);

    return found && json_equal(json_object_get(found, key), json_object_get(element, key)) ? found : NULL;
}

json_int_t top_ends_in_s(const struct frame *frame, const json_t *certificate)
{
    return number(certificate, "not_after_s") - (json_int_t)real(frame->now, "time_s");
}

// ---- cells ----

char *top_rate_cell(const struct frame *frame, bool is_known, json_int_t now, json_int_t before)
{
    double rate = (double)(now - before) / frame->passed_s;

    if (!frame->before || !is_known || rate < 0)
        return table_cell("-");
    return rate > 0 && rate < 10 ? table_cell("%.1f", rate) : table_cell("%.0f", rate);
}

char *top_byte_rate_cell(const struct frame *frame, const json_t *now, const json_t *before, const char *key)
{
    double rate = (double)(number(now, key) - number(before, key)) / frame->passed_s;

    return !frame->before || !before || rate < 0 ? table_cell("-") : table_bytes_cell(rate);
}

static char *cpu_cell(const struct frame *frame, const json_t *now, const json_t *before)
{
    double used = 100 * (real(now, "cpu_s") - real(before, "cpu_s")) / frame->passed_s;

    return !frame->before || !before || used < 0 ? table_cell("-") : table_cell("%.1f%%", used);
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

// ---- tables ----

void top_write_listeners(const struct frame *frame)
{
    static const char *const titles[] = {"LISTENER", "ADDRESS",  "CONNS",   "ACCEPT/S", "FAIL/S",
                                         "REFUSED",  "SHAKES/S", "RESUMED", "IN/S",     "OUT/S"};
    const unsigned columns = sizeof(titles) / sizeof(titles[0]);
    const json_t *all = json_object_get(frame->now, "listeners");
    size_t count = json_array_size(all);
    char **cells = table_make(count, columns);
    char **cell = cells;
    const json_t *now;
    size_t i;

    json_array_foreach(all, i, now)
    {
        const json_t *before = same(json_object_get(frame->before, "listeners"), i, "name", now);
        json_int_t shaken = summary_handshakes(now, false);

        *cell++ = table_text_cell(now, "name");
        *cell++ = table_text_cell(now, "address");
        *cell++ = table_number_cell(now, "connections");
        *cell++ = top_rate_cell(frame, before, number(now, "accepted"), number(before, "accepted"));
        *cell++ = top_rate_cell(frame, before, top_failures(json_object_get(now, "ends")),
                                top_failures(json_object_get(before, "ends")));
        *cell++ = table_cell(NUMBER, summary_total(json_object_get(now, "refused")));
        *cell++ = top_rate_cell(frame, before, shaken, summary_handshakes(before, false));
        *cell++ = shaken > 0 ? table_cell(NUMBER "%%", 100 * summary_handshakes(now, true) / shaken)
                             : table_cell("-");
        *cell++ = top_byte_rate_cell(frame, now, before, "bytes_in");
        *cell++ = top_byte_rate_cell(frame, now, before, "bytes_out");
    }
    write_table(frame, titles, columns, 0x3fc, cells, count);
}

void top_write_servers(const struct frame *frame)
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
    cell = cells = table_make(count, columns);
    json_array_foreach(all, i, upstream)
    {
        const json_t *earlier = same(json_object_get(frame->before, "upstreams"), i, "name", upstream);

        json_array_foreach(json_object_get(upstream, "servers"), j, now)
        {
            const json_t *before = same(json_object_get(earlier, "servers"), j, "address", now);

            *cell++ = table_text_cell(upstream, "name");
            *cell++ = table_text_cell(now, "address");
            *cell++ = table_text_cell(now, "state");
            *cell++ = table_text_cell(now, "health");
            *cell++ = table_number_cell(now, "connections");
            *cell++ = top_rate_cell(frame, before, number(now, "connects"), number(before, "connects"));
            *cell++ =
                table_cell(NUMBER, number(now, "failures") + summary_total(json_object_get(now, "ends")));
            *cell++ = top_byte_rate_cell(frame, now, before, "bytes_in");
            *cell++ = top_byte_rate_cell(frame, now, before, "bytes_out");
        }
    }
    write_table(frame, titles, columns, 0x1f0, cells, count);
}

static void add_part(char *text, size_t size, const char *part)
{
    size_t used = strlen(text);

    snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "", part);
}

// What holds the process: "seccomp, landlock 4, io_uring".
static char *sandbox_cell(const struct frame *frame, json_int_t pid)
{
    char text[96] = "";
    char landlock[32];
    const json_t *process;
    size_t i;

    json_array_foreach(json_object_get(frame->now, "sandbox"), i, process)
    {
        if (number(process, "pid") != pid)
            continue;
        snprintf(landlock, sizeof(landlock), "landlock " NUMBER, number(process, "landlock"));
        if (strcmp(table_text(process, "seccomp"), "none") != 0)
            add_part(text, sizeof(text), "seccomp");
        if (number(process, "landlock") > 0)
            add_part(text, sizeof(text), landlock);
        if (json_is_true(json_object_get(process, "io_uring")))
            add_part(text, sizeof(text), "io_uring");
        return table_cell("%s", text[0] ? text : "none");
    }
    return table_cell("-");
}

void top_write_workers(const struct frame *frame)
{
    static const char *const titles[] = {"WORKER", "PID",     "STATE",  "CONNS",  "CPU",
                                         "MEMORY", "BUFFERS", "STARTS", "SANDBOX"};
    const unsigned columns = sizeof(titles) / sizeof(titles[0]);
    const json_t *all = json_object_get(frame->now, "workers");
    const json_t *master = json_object_get(frame->now, "master");
    size_t count = json_array_size(all);
    char **cells = table_make(count + 1, columns);
    char **cell = cells;
    const json_t *now;
    size_t i;

    json_array_foreach(all, i, now)
    {
        const json_t *before = same(json_object_get(frame->before, "workers"), i, "pid", now);

        *cell++ = table_number_cell(now, "worker");
        *cell++ = table_number_cell(now, "pid");
        *cell++ = table_text_cell(now, "state");
        *cell++ = table_number_cell(now, "connections");
        *cell++ = cpu_cell(frame, now, before);
        *cell++ = table_bytes_cell(real(now, "memory_bytes"));
        *cell++ = table_bytes_cell(real(now, "buffer_bytes"));
        *cell++ = table_number_cell(now, "starts");
        *cell++ = sandbox_cell(frame, number(now, "pid"));
    }
    *cell++ = table_cell("master");
    *cell++ = table_number_cell(frame->now, "pid");
    *cell++ = table_text_cell(frame->now, "state");
    *cell++ = table_cell("-");
    *cell++ = cpu_cell(frame, master, json_object_get(frame->before, "master"));
    *cell++ = table_bytes_cell(real(master, "memory_bytes"));
    *cell++ = table_cell("-");
    *cell++ = table_cell("-");
    *cell++ = sandbox_cell(frame, number(frame->now, "pid"));
    write_table(frame, titles, columns, 0xfa, cells, count + 1);
}

void top_write_predecessors(const struct frame *frame)
{
    static const char *const titles[] = {"PREDECESSOR", "VERSION", "STATE", "LEFT", "CONNS"};
    const unsigned columns = sizeof(titles) / sizeof(titles[0]);
    const json_t *all = json_object_get(frame->now, "predecessors");
    size_t count = json_array_size(all);
    char **cells = table_make(count, columns);
    char **cell = cells;
    const json_t *now;
    size_t i;

    json_array_foreach(all, i, now)
    {
        *cell++ = table_number_cell(now, "pid");
        *cell++ = table_text_cell(now, "version");
        *cell++ = table_text_cell(now, "state");
        *cell++ = json_is_null(json_object_get(now, "left_s")) ? table_cell("-")
                                                               : table_cell("%.0fs", real(now, "left_s"));
        *cell++ = table_number_cell(now, "connections");
    }
    write_table(frame, titles, columns, 0x19, cells, count);
}

void top_write_certificates(const struct frame *frame)
{
    static const char *const titles[] = {"CERTIFICATE", "ENDS", "IN", "HANDSHAKES", "FILES"};
    const unsigned columns = sizeof(titles) / sizeof(titles[0]);
    const json_t *certificates = json_object_get(frame->now, "certificates");
    char **cells = table_make(LISTED_MAX, columns);
    char **cell = cells;
    const json_t *each;
    size_t count = 0;
    size_t i;

    json_array_foreach(json_object_get(certificates, "first_to_end"), i, each)
    {
        json_int_t left_s = top_ends_in_s(frame, each);

        if (i == LISTED_MAX || (i > 0 && left_s > LISTED_S))
            break;
        *cell++ = table_text_cell(each, "name");
        *cell++ = table_cell("%.10s", table_text(each, "not_after"));
        *cell++ = left_s <= 0 ? table_cell("expired") : table_cell(NUMBER "d", left_s / 86400);
        *cell++ = table_number_cell(each, "handshakes");
        *cell++ = table_cell("%s", json_is_true(json_object_get(each, "problem")) ? "wrong" : "good");
        count++;
    }
    write_table(frame, titles, columns, 0xc, cells, count);
    if (number(certificates, "count") > (json_int_t)count)
        fprintf(frame->to, "and " NUMBER " that end later\n",
                number(certificates, "count") - (json_int_t)count);
}
