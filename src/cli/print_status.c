// SPDX-License-Identifier: Apache-2.0
// What `ringbolt status` shows: the most wanted of what --json has.
#include "cli.h"

#include <stdlib.h>

#include "summary.h"
#include "table.h"

static char *bytes_cell(const json_t *object, const char *key)
{
    return json_is_null(json_object_get(object, key)) ? table_cell("-")
                                                      : table_bytes_cell((double)number(object, key));
}

// ---- sections ----

static void print_head(const json_t *status)
{
    const char *reason = table_text(status, "reason");

    printf("ringbolt ");
    cli_print_text(stdout, table_text(status, "version"));
    printf(", pid " NUMBER ", ", number(status, "pid"));
    cli_print_text(stdout, table_text(status, "state"));
    printf(", up ");
    summary_write_uptime(stdout, status);
    if (reason[0]) {
        printf(", not ready: ");
        cli_print_text(stdout, reason);
    }
    printf("\n");
}

static void print_listeners(const json_t *listeners)
{
    static const char *const titles[] = {"LISTENER",   "ADDRESS", "CONNECTIONS", "ACCEPTED", "REFUSED",
                                         "HANDSHAKES", "RESUMED", "BYTES IN",    "BYTES OUT"};
    const unsigned columns = sizeof(titles) / sizeof(titles[0]);
    size_t count = json_array_size(listeners);
    char **cells = table_make(count, columns);
    const json_t *listener;
    char **cell = cells;
    size_t i;

    json_array_foreach(listeners, i, listener)
    {
        *cell++ = table_text_cell(listener, "name");
        *cell++ = table_text_cell(listener, "address");
        *cell++ = table_number_cell(listener, "connections");
        *cell++ = table_number_cell(listener, "accepted");
        *cell++ = table_cell(NUMBER, summary_total(json_object_get(listener, "refused")));
        *cell++ = table_cell(NUMBER, summary_handshakes(listener, false));
        *cell++ = table_cell(NUMBER, summary_handshakes(listener, true));
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
    cell = cells = table_make(count, columns);
    json_array_foreach(upstreams, i, upstream)
    {
        json_array_foreach(json_object_get(upstream, "servers"), j, server)
        {
            *cell++ = table_text_cell(upstream, "name");
            *cell++ = table_text_cell(server, "address");
            *cell++ = table_text_cell(server, "state");
            *cell++ = table_text_cell(server, "health");
            *cell++ = table_number_cell(server, "connections");
            *cell++ = table_number_cell(server, "connects");
            *cell++ = table_number_cell(server, "failures");
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
    char **cells = table_make(count, columns);
    const json_t *worker;
    char **cell = cells;
    size_t i;

    json_array_foreach(workers, i, worker)
    {
        *cell++ = table_number_cell(worker, "worker");
        *cell++ = table_number_cell(worker, "pid");
        *cell++ = table_text_cell(worker, "state");
        *cell++ = table_number_cell(worker, "starts");
        *cell++ = table_number_cell(worker, "connections");
        *cell++ = table_cell("%.2fs", json_real_value(json_object_get(worker, "cpu_s")));
        *cell++ = bytes_cell(worker, "memory_bytes");
        *cell++ = bytes_cell(worker, "buffer_bytes");
    }
    printf("\n");
    table_print(titles, columns, 0xfb, cells, count);
    free(cells);
}

// Generations before this one that still hold connections.
static void print_predecessors(const json_t *predecessors)
{
    static const char *const titles[] = {"PREDECESSOR", "VERSION", "STATE",      "STARTED",
                                         "SUPERSEDED",  "UNTIL",   "CONNECTIONS"};
    const unsigned columns = sizeof(titles) / sizeof(titles[0]);
    size_t count = json_array_size(predecessors);
    char **cells = table_make(count, columns);
    const json_t *predecessor;
    char **cell = cells;
    size_t i;

    json_array_foreach(predecessors, i, predecessor)
    {
        *cell++ = table_number_cell(predecessor, "pid");
        *cell++ = table_text_cell(predecessor, "version");
        *cell++ = table_text_cell(predecessor, "state");
        *cell++ = summary_time_cell(predecessor, "started");
        *cell++ = summary_time_cell(predecessor, "superseded");
        *cell++ = summary_time_cell(predecessor, "until");
        *cell++ = table_number_cell(predecessor, "connections");
    }
    if (count > 0) {
        printf("\n");
        table_print(titles, columns, 0x41, cells, count);
    }
    free(cells);
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
    print_predecessors(json_object_get(answer, "predecessors"));
    summary_write_ends(stdout, "\n", answer);
    print_certificates(json_object_get(answer, "certificates"));
}
