// SPDX-License-Identifier: Apache-2.0
// Facts as text: a line each, lists on one line, and what is a list of objects on lines of its own.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "src/pki/facts.h"
#include "src/pki/status.h"

#define LABEL_WIDTH 19

static void label_text(const char *key, char label[static LABEL_WIDTH + 1])
{
    snprintf(label, LABEL_WIDTH + 1, "%s", key);
    for (char *letter = label; *letter != '\0'; letter++)
        *letter = (char)(*letter == '_' ? ' ' : *letter);
}

static void value_text(const json_t *value, char *text, size_t size)
{
    if (json_is_string(value))
        snprintf(text, size, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(text, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        snprintf(text, size, "%s", json_is_true(value) ? "yes" : "no");
}

// The values of an object with spaces between them.
static void print_entry(json_t *entry)
{
    char line[512] = "";
    char text[256];
    const char *key;
    json_t *value;

    json_object_foreach(entry, key, value)
    {
        value_text(value, text, sizeof(text));
        strncat(line, " ", sizeof(line) - strlen(line) - 1);
        strncat(line, text, sizeof(line) - strlen(line) - 1);
    }
    say("   %s", line);
}

static void print_list(const char *label, const json_t *list)
{
    char line[4096] = "";
    char text[512];
    json_t *value;
    size_t i;

    if (json_array_size(list) == 0 || json_is_object(json_array_get(list, 0))) {
        say("  %-*s %zu", LABEL_WIDTH, label, json_array_size(list));
        json_array_foreach(list, i, value)
        {
            print_entry(value);
        }
        return;
    }
    json_array_foreach(list, i, value)
    {
        value_text(value, text, sizeof(text));
        // A certificate may hold more names than a line should: they go on in the next one.
        if (strlen(line) + strlen(text) + 3 > sizeof(line)) {
            say("  %-*s %s,", LABEL_WIDTH, label, line);
            label = "";
            line[0] = '\0';
        }
        strcat(line, line[0] != '\0' ? ", " : "");
        strcat(line, text);
    }
    say("  %-*s %s", LABEL_WIDTH, label, line);
}

void facts_print(const json_t *facts)
{
    const char *key;
    json_t *value;

    say("%s: %s", json_string_value(json_object_get(facts, "file")),
        json_string_value(json_object_get(facts, "kind")));
    json_object_foreach((json_t *)facts, key, value)
    {
        char label[LABEL_WIDTH + 1];
        char text[2048];
        label_text(key, label);
        if (strcmp(key, "file") == 0 || strcmp(key, "kind") == 0)
            continue;
        if (json_is_array(value)) {
            print_list(label, value);
        } else {
            value_text(value, text, sizeof(text));
            say("  %-*s %s", LABEL_WIDTH, label, text);
        }
    }
}
