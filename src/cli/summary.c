// SPDX-License-Identifier: Apache-2.0
#include "summary.h"

#include <string.h>

#include "cli.h"
#include "table.h"

json_int_t summary_total(const json_t *object)
{
    json_int_t total = 0;
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)object, key, value) total += json_integer_value(value);
    return total;
}

json_int_t summary_handshakes(const json_t *listener, bool only_resumed)
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

void summary_write_uptime(FILE *to, const json_t *status)
{
    json_int_t uptime_s = (json_int_t)json_number_value(json_object_get(status, "uptime_s"));

    fprintf(to, NUMBER "d %02d:%02d:%02d", uptime_s / 86400, (int)(uptime_s / 3600 % 24),
            (int)(uptime_s / 60 % 60), (int)(uptime_s % 60));
}

char *summary_time_cell(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text && strlen(text) >= 19 ? table_cell("%.10s %.8s", text, text + 11) : table_cell("-");
}

void summary_write_ends(FILE *to, const char *before, const json_t *status)
{
    json_t *sums = json_object();
    const json_t *listener;
    const char *key;
    json_t *value;
    bool is_first = true;
    size_t i;

    json_array_foreach(json_object_get(status, "listeners"), i, listener)
    {
        json_object_foreach(json_object_get(listener, "ends"), key, value)(void)
            json_object_set_new(sums, key, json_integer(number(sums, key) + json_integer_value(value)));
    }
    json_object_foreach(sums, key, value)
    {
        if (json_integer_value(value) == 0)
            continue;
        fprintf(to, "%s%s", is_first ? before : "", is_first ? "ended: " : ", ");
        cli_print_text(to, key);
        fprintf(to, " " NUMBER, json_integer_value(value));
        is_first = false;
    }
    fputs(is_first ? "" : "\n", to);
    json_decref(sums);
}
