// SPDX-License-Identifier: Apache-2.0
// What `ringbolt server` shows: a table, a line for each server, and who waits; or what became of an order.
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#include "summary.h"
#include "table.h"

enum column {
    COLUMN_UPSTREAM,
    COLUMN_SERVER,
    COLUMN_STATE,
    COLUMN_HEALTH,
    COLUMN_SINCE,
    COLUMN_WEIGHT,
    COLUMN_CONNECTIONS,
    COLUMN_CONNECTS,
    COLUMN_FAILURES,
    COLUMNS
};

static const char *const titles[COLUMNS] = {"UPSTREAM", "SERVER",      "STATE",    "HEALTH",  "SINCE",
                                            "WEIGHT",   "CONNECTIONS", "CONNECTS", "FAILURES"};

struct row {
    char *cells[COLUMNS];
};

// ---- cells ----

static char *connections_cell(const json_t *server)
{
    json_int_t most = number(server, "max_connections");

    if (most == 0)
        return table_number_cell(server, "connections");
    return table_cell("%" JSON_INTEGER_FORMAT "/%" JSON_INTEGER_FORMAT, number(server, "connections"), most);
}

// "192.0.2.1:80 (app.example:80)"; the name is a file's, and fit for a terminal.
static char *server_cell(const json_t *server)
{
    if (!json_is_string(json_object_get(server, "name")))
        return table_text_cell(server, "address");
    return table_cell("%s (%s)", table_text(server, "address"), table_text(server, "name"));
}

static struct row make_row(const json_t *upstream, const json_t *server)
{
    bool is_backup = json_is_true(json_object_get(server, "backup"));

    return (struct row){
        .cells = {
            [COLUMN_UPSTREAM] = table_text_cell(upstream, "name"),
            [COLUMN_SERVER] = server_cell(server),
            [COLUMN_STATE] = table_cell(
                "%s", json_is_true(json_object_get(server, "gone")) ? "gone" : table_text(server, "state")),
            [COLUMN_HEALTH] = table_text_cell(server, "health"),
            [COLUMN_SINCE] = summary_time_cell(server, "since"),
            [COLUMN_WEIGHT] = table_cell("%" JSON_INTEGER_FORMAT "%s", number(server, "weight"),
                                         is_backup ? " backup" : ""),
            [COLUMN_CONNECTIONS] = connections_cell(server),
            [COLUMN_CONNECTS] = table_number_cell(server, "connects"),
            [COLUMN_FAILURES] = table_number_cell(server, "failures"),
        }};
}

static void print_waiting(const json_t *upstreams)
{
    size_t index;
    json_t *upstream;

    json_array_foreach(upstreams, index, upstream)
    {
        json_int_t waiting = number(upstream, "waiting");

        if (waiting == 0)
            continue;
        cli_print_text(stdout, table_text(upstream, "name"));
        printf(": %" JSON_INTEGER_FORMAT " of at most %" JSON_INTEGER_FORMAT
               " connections wait for a server\n",
               waiting, number(upstream, "queue_size"));
    }
}

static void print_problems(const json_t *upstreams)
{
    size_t index;
    size_t at;
    json_t *upstream;
    json_t *name;

    json_array_foreach(upstreams, index, upstream)
    {
        json_array_foreach(json_object_get(upstream, "names"), at, name)
        {
            if (!json_is_string(json_object_get(name, "problem")))
                continue;
            cli_print_text(stdout, table_text(upstream, "name"));
            printf(": ");
            cli_print_text(stdout, table_text(name, "name"));
            printf(" cannot be looked up: ");
            cli_print_text(stdout, table_text(name, "problem"));
            printf("; its last %" JSON_INTEGER_FORMAT " addresses are used\n", number(name, "addresses"));
        }
    }
}

static void print_list(const json_t *upstreams)
{
    const uint32_t numbers = 1u << COLUMN_CONNECTIONS | 1u << COLUMN_CONNECTS | 1u << COLUMN_FAILURES;
    struct row *rows;
    size_t count = 0;
    size_t used = 0;
    size_t index;
    size_t at;
    json_t *upstream;
    json_t *server;

    json_array_foreach(upstreams, index, upstream)
    {
        count += json_array_size(json_object_get(upstream, "servers"));
    }
    rows = calloc(count + 1, sizeof(*rows));
    if (!rows)
        abort();
    json_array_foreach(upstreams, index, upstream)
    {
        json_array_foreach(json_object_get(upstream, "servers"), at, server)
        {
            rows[used++] = make_row(upstream, server);
        }
    }
    table_print(titles, COLUMNS, numbers, rows->cells, count);
    free(rows);
    print_waiting(upstreams);
    print_problems(upstreams);
}

void cli_print_servers(const json_t *answer)
{
    const json_t *upstreams = json_object_get(answer, "upstreams");

    if (upstreams) {
        print_list(upstreams);
        return;
    }
    cli_print_text(stdout, table_text(answer, "upstream"));
    printf("/");
    cli_print_text(stdout, table_text(answer, "server"));
    printf(": %s%s, %" JSON_INTEGER_FORMAT " connections are live\n", table_text(answer, "state"),
           json_is_true(json_object_get(answer, "changed")) ? "" : " as before",
           number(answer, "connections"));
}
