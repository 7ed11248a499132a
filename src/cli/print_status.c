// SPDX-License-Identifier: Apache-2.0
// What `ringbolt status` shows: the most wanted of what --json has.
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#include "table.h"

#define NUMBER "%" JSON_INTEGER_FORMAT

static json_int_t number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static json_int_t member_sum(const json_t *object)
{
    json_int_t total = 0;
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)object, key, value) total += json_integer_value(value);
    return total;
}

// "734", "1.5K", "20.3M"
static char *bytes_cell(const json_t *object, const char *key)
{
    static const char units[] = "KMGTPE";
    double value = (double)number(object, key);
    size_t unit = 0;

    if (json_is_null(json_object_get(object, key)))
        return table_cell("-");
    if (value < 1024)
        return table_cell("%.0f", value);
    for (value /= 1024; value >= 1024 && units[unit + 1]; unit++)
        value /= 1024;
    return table_cell("%.1f%c", value, units[unit]);
}

static char *number_cell(const json_t *object, const char *key)
{
    return table_cell(NUMBER, number(object, key));
}

static char *text_cell(const json_t *object, const char *key)
{
    return table_cell("%s", table_text(object, key));
}

// Room for `count` rows of `columns` cells.
static char **cells_make(size_t count, size_t columns)
{
    char **cells = calloc(count * columns + 1, sizeof(*cells));

    if (!cells)
        abort();
    return cells;
}

// ---- sections ----

static void print_head(const json_t *status)
{
    json_int_t uptime_s = (json_int_t)json_real_value(json_object_get(status, "uptime_s"));
    const char *reason = table_text(status, "reason");

    printf("ringbolt ");
    cli_print_text(stdout, table_text(status, "version"));
    printf(", pid " NUMBER ", ", number(status, "pid"));
    cli_print_text(stdout, table_text(status, "state"));
    printf(", up " NUMBER "d %02d:%02d:%02d", uptime_s / 86400, (int)(uptime_s / 3600 % 24),
           (int)(uptime_s / 60 % 60), (int)(uptime_s % 60));
    if (reason[0]) {
        printf(", not ready: ");
        cli_print_text(stdout, reason);
    }
    printf("\n");
}

static json_int_t resumed_count(const json_t *listener, json_int_t *ret_all)
{
    json_int_t resumed = 0;
    const json_t *each;
    size_t i;

    *ret_all = 0;
    json_array_foreach(json_object_get(listener, "handshakes"), i, each)
    {
        *ret_all += number(each, "count");
        resumed += json_is_true(json_object_get(each, "resumed")) ? number(each, "count") : 0;
    }
    return resumed;
}

static void print_listeners(const json_t *listeners)
{
    static const char *const titles[] = {"LISTENER",   "ADDRESS", "CONNECTIONS", "ACCEPTED", "REFUSED",
                                         "HANDSHAKES", "RESUMED", "BYTES IN",    "BYTES OUT"};
    const unsigned columns = sizeof(titles) / sizeof(titles[0]);
    size_t count = json_array_size(listeners);
    char **cells = cells_make(count, columns);
    const json_t *listener;
    char **cell = cells;
    size_t i;

    json_array_foreach(listeners, i, listener)
    {
        json_int_t all;
        json_int_t resumed = resumed_count(listener, &all);

        *cell++ = text_cell(listener, "name");
        *cell++ = text_cell(listener, "address");
        *cell++ = number_cell(listener, "connections");
        *cell++ = number_cell(listener, "accepted");
        *cell++ = table_cell(NUMBER, member_sum(json_object_get(listener, "refused")));
        *cell++ = table_cell(NUMBER, all);
        *cell++ = table_cell(NUMBER, resumed);
        *cell++ = bytes_cell(listener, "bytes_in");
        *cell++ = bytes_cell(listener, "bytes_out");
    }
    printf("\n");
    table_print(titles, columns, 0x1fc, cells, count);
    free(cells);
}

static void print_servers(const json_t *upstreams)
{
    static const char *const titles[] = {"UPSTREAM", "SERVER",   "STATE",    "HEALTH",   "CONNECTIONS",
                                         "CONNECTS", "FAILURES", "BYTES IN", "BYTES OUT"};
    const unsigned columns = sizeof(titles) / sizeof(titles[0]);
    const json_t *upstream;
    const json_t *server;
    size_t count = 0;
    char **cells;
    char **cell;
    size_t i;
    size_t j;

    json_array_foreach(upstreams, i, upstream) count += json_array_size(json_object_get(upstream, "servers"));
    if (count == 0)
        return;
    cell = cells = cells_make(count, columns);
    json_array_foreach(upstreams, i, upstream)
    {
        json_array_foreach(json_object_get(upstream, "servers"), j, server)
        {
            *cell++ = text_cell(upstream, "name");
            *cell++ = text_cell(server, "address");
            *cell++ = text_cell(server, "state");
            *cell++ = text_cell(server, "health");
            *cell++ = number_cell(server, "connections");
            *cell++ = number_cell(server, "connects");
            *cell++ = number_cell(server, "failures");
            *cell++ = bytes_cell(server, "bytes_in");
            *cell++ = bytes_cell(server, "bytes_out");
        }
    }
    printf("\n");
    table_print(titles, columns, 0x1f0, cells, count);
    free(cells);
}

static void print_workers(const json_t *workers)
{
    static const char *const titles[] = {"WORKER",      "PID", "STATE",  "STARTS",
                                         "CONNECTIONS", "CPU", "MEMORY", "BUFFERS"};
    const unsigned columns = sizeof(titles) / sizeof(titles[0]);
    size_t count = json_array_size(workers);
    char **cells = cells_make(count, columns);
    const json_t *worker;
    char **cell = cells;
    size_t i;

    json_array_foreach(workers, i, worker)
    {
        *cell++ = number_cell(worker, "worker");
        *cell++ = number_cell(worker, "pid");
        *cell++ = text_cell(worker, "state");
        *cell++ = number_cell(worker, "starts");
        *cell++ = number_cell(worker, "connections");
        *cell++ = table_cell("%.2fs", json_real_value(json_object_get(worker, "cpu_s")));
        *cell++ = bytes_cell(worker, "memory_bytes");
        *cell++ = bytes_cell(worker, "buffer_bytes");
    }
    printf("\n");
    table_print(titles, columns, 0xfb, cells, count);
    free(cells);
}

// How connections ended, those words that there were.
static void print_ends(const json_t *listeners)
{
    json_t *sums = json_object();
    const json_t *listener;
    const char *key;
    json_t *value;
    size_t i;
    bool is_first = true;

    json_array_foreach(listeners, i, listener)
    {
        json_object_foreach(json_object_get(listener, "ends"), key, value)(void)
            json_object_set_new(sums, key, json_integer(number(sums, key) + json_integer_value(value)));
    }
    json_object_foreach(sums, key, value)
    {
        if (json_integer_value(value) == 0)
            continue;
        printf("%s%s " NUMBER, is_first ? "\nended: " : ", ", key, json_integer_value(value));
        is_first = false;
    }
    printf("%s", is_first ? "" : "\n");
    json_decref(sums);
}

static void print_certificates(const json_t *certificates)
{
    const json_t *first = json_array_get(json_object_get(certificates, "first_to_end"), 0);
    json_int_t problems = number(certificates, "problems");

    if (!first)
        return;
    printf("\ncertificates: " NUMBER ", the first ends %.10s (", number(certificates, "count"),
           table_text(first, "not_after"));
    cli_print_text(stdout, table_text(first, "name"));
    printf(")");
    if (problems > 0)
        printf("; " NUMBER " with a problem, see ringbolt certificates", problems);
    printf("\n");
}

void cli_print_status(const json_t *answer)
{
    print_head(answer);
    print_listeners(json_object_get(answer, "listeners"));
    print_servers(json_object_get(answer, "upstreams"));
    print_workers(json_object_get(answer, "workers"));
    print_ends(json_object_get(answer, "listeners"));
    print_certificates(json_object_get(answer, "certificates"));
}
