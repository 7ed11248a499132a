// SPDX-License-Identifier: Apache-2.0
// What `ringbolt connections` shows: a line for each.
#include "cli.h"

#include <stdlib.h>

#include "table.h"

static char *text_cell(const json_t *connection, const char *key)
{
    const char *text = table_text(connection, key);

    return table_cell("%s", text[0] ? text : "-");
}

static char *time_cell(const json_t *connection, const char *key)
{
    double seconds = json_real_value(json_object_get(connection, key));

    return seconds < 120 ? table_cell("%.1fs", seconds) : table_cell("%.0fm", seconds / 60);
}

// "transmit/receive" towards the client: "kernel/user"; "-": no TLS.
static char *records_cell(const json_t *connection)
{
    const char *transmit = table_text(connection, "record_tx");
    const char *receive = table_text(connection, "record_rx");

    return transmit[0] || receive[0] ? table_cell("%s/%s", transmit, receive) : table_cell("-");
}

void cli_print_connections(const json_t *answer)
{
    static const char *const titles[] = {"WORKER", "ID",       "CLIENT",   "LISTENER", "STATE",
                                         "AGE",    "IDLE",     "SNI",      "TLS",      "RECORDS",
                                         "SERVER", "BYTES IN", "BYTES OUT"};
    const unsigned columns = sizeof(titles) / sizeof(titles[0]);
    const json_t *connections = json_object_get(answer, "connections");
    size_t count = json_array_size(connections);
    char **cells = table_make(count, columns);
    char **cell = cells;
    const json_t *each;
    size_t i;

    json_array_foreach(connections, i, each)
    {
        *cell++ = table_number_cell(each, "worker");
        *cell++ = table_number_cell(each, "id");
        *cell++ = text_cell(each, "client");
        *cell++ = text_cell(each, "listener");
        *cell++ = text_cell(each, "state");
        *cell++ = time_cell(each, "age_s");
        *cell++ = time_cell(each, "idle_s");
        *cell++ = text_cell(each, "sni");
        *cell++ = text_cell(each, "tls");
        *cell++ = records_cell(each);
        *cell++ = text_cell(each, "server");
        *cell++ = table_number_cell(each, "bytes_in");
        *cell++ = table_number_cell(each, "bytes_out");
    }
    table_print(titles, columns, 0x1863, cells, count);
    free(cells);
    if (json_is_true(json_object_get(answer, "more")))
        printf("%zu of about " NUMBER " connections; --limit shows more\n", count, number(answer, "live"));
}
