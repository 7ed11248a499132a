// SPDX-License-Identifier: Apache-2.0
// What `ringbolt server` shows: a table, a line for each server, and who waits; or what became of an order.
#include "cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum column {
    COLUMN_UPSTREAM,
    COLUMN_SERVER,
    COLUMN_STATE,
    COLUMN_HEALTH,
    COLUMN_SINCE,
    COLUMN_WEIGHT,
    COLUMN_CONNECTIONS, // from here on numbers, which stand to the right
    COLUMN_CONNECTS,
    COLUMN_FAILURES,
    COLUMNS
};

static const char *const titles[COLUMNS] = {"UPSTREAM", "SERVER",      "STATE",    "HEALTH",  "SINCE",
                                            "WEIGHT",   "CONNECTIONS", "CONNECTS", "FAILURES"};

struct row {
    char *cells[COLUMNS];
};

static char *cell(const char *format, ...) __attribute__((format(printf, 1, 2)));

static char *cell(const char *format, ...)
{
    va_list arguments;
    char *made = NULL;

    va_start(arguments, format);
    if (vasprintf(&made, format, arguments) < 0)
        abort();
    va_end(arguments);
    return made;
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));

    return value ? value : "";
}

static json_int_t number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

// ---- cells ----

static char *since_cell(const json_t *server)
{
    const char *since = text(server, "since");

    return strlen(since) < 19 ? cell("-") : cell("%.10s %.8s", since, since + 11);
}

static char *connections_cell(const json_t *server)
{
    json_int_t most = number(server, "max_connections");

    if (most == 0)
        return cell("%" JSON_INTEGER_FORMAT, number(server, "connections"));
    return cell("%" JSON_INTEGER_FORMAT "/%" JSON_INTEGER_FORMAT, number(server, "connections"), most);
}

static struct row make_row(const json_t *upstream, const json_t *server)
{
    bool is_backup = json_is_true(json_object_get(server, "backup"));

    return (struct row){.cells = {
                            [COLUMN_UPSTREAM] = cell("%s", text(upstream, "name")),
                            [COLUMN_SERVER] = cell("%s", text(server, "address")),
                            [COLUMN_STATE] = cell("%s", text(server, "state")),
                            [COLUMN_HEALTH] = cell("%s", text(server, "health")),
                            [COLUMN_SINCE] = since_cell(server),
                            [COLUMN_WEIGHT] = cell("%" JSON_INTEGER_FORMAT "%s", number(server, "weight"),
                                                   is_backup ? " backup" : ""),
                            [COLUMN_CONNECTIONS] = connections_cell(server),
                            [COLUMN_CONNECTS] = cell("%" JSON_INTEGER_FORMAT, number(server, "connects")),
                            [COLUMN_FAILURES] = cell("%" JSON_INTEGER_FORMAT, number(server, "failures")),
                        }};
}

// ---- the table ----

// Characters, not bytes.
static size_t width_of(const char *shown)
{
    size_t width = 0;

    for (; *shown; shown++)
        width += ((unsigned char)*shown & 0xc0) != 0x80;
    return width;
}

static void print_row(const struct row *row, const size_t widths[COLUMNS])
{
    for (int column = 0; column < COLUMNS; column++) {
        int room = (int)(widths[column] - width_of(row->cells[column]));

        if (column >= COLUMN_CONNECTIONS)
            printf("%*s", room, "");
        cli_print_text(stdout, row->cells[column]);
        if (column + 1 == COLUMNS)
            printf("\n");
        else
            printf("%*s", column >= COLUMN_CONNECTIONS ? 2 : room + 2, "");
    }
}

static void print_table(struct row *rows, size_t count)
{
    size_t widths[COLUMNS] = {0};

    for (size_t i = 0; i < count; i++) {
        for (int column = 0; column < COLUMNS; column++) {
            size_t width = width_of(rows[i].cells[column]);

            if (width > widths[column])
                widths[column] = width;
        }
    }
    for (size_t i = 0; i < count; i++) {
        print_row(&rows[i], widths);
        for (int column = 0; column < COLUMNS; column++)
            free(rows[i].cells[column]);
    }
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
        cli_print_text(stdout, text(upstream, "name"));
        printf(": %" JSON_INTEGER_FORMAT " of at most %" JSON_INTEGER_FORMAT
               " connections wait for a server\n",
               waiting, number(upstream, "queue_size"));
    }
}

static void print_list(const json_t *upstreams)
{
    struct row *rows;
    size_t count = 1;
    size_t used = 1;
    size_t index;
    size_t at;
    json_t *upstream;
    json_t *server;

    json_array_foreach(upstreams, index, upstream)
    {
        count += json_array_size(json_object_get(upstream, "servers"));
    }
    rows = calloc(count, sizeof(*rows));
    if (!rows)
        abort();
    for (int column = 0; column < COLUMNS; column++)
        rows[0].cells[column] = cell("%s", titles[column]);
    json_array_foreach(upstreams, index, upstream)
    {
        json_array_foreach(json_object_get(upstream, "servers"), at, server)
        {
            rows[used++] = make_row(upstream, server);
        }
    }
    print_table(rows, count);
    free(rows);
    print_waiting(upstreams);
}

void cli_print_servers(const json_t *answer)
{
    const json_t *upstreams = json_object_get(answer, "upstreams");

    if (upstreams) {
        print_list(upstreams);
        return;
    }
    cli_print_text(stdout, text(answer, "upstream"));
    printf("/");
    cli_print_text(stdout, text(answer, "server"));
    printf(": %s%s, %" JSON_INTEGER_FORMAT " connections are live\n", text(answer, "state"),
           json_is_true(json_object_get(answer, "changed")) ? "" : " as before",
           number(answer, "connections"));
}
