// SPDX-License-Identifier: Apache-2.0
// What `ringbolt certificates` shows: a table, a line each, and below it what is wrong.
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#include "table.h"

#define NAMES_SHOWN 2

enum column {
    COLUMN_NAMES,
    COLUMN_ISSUER,
    COLUMN_EXPIRES,
    COLUMN_KEY,
    COLUMN_HANDSHAKES,
    COLUMN_STATE,
    COLUMN_OCSP,
    COLUMN_LOADED,
    COLUMN_FILE,
    COLUMNS
};

static const char *const titles[COLUMNS] = {"NAMES", "ISSUER", "EXPIRES", "KEY", "HANDSHAKES",
                                            "STATE", "OCSP",   "LOADED",  "FILE"};

struct row {
    char *cells[COLUMNS];
};

// ---- cells ----

static char *names_cell(const json_t *certificate)
{
    const json_t *names = json_object_get(certificate, "names");
    size_t count = json_array_size(names);
    const char *first = json_string_value(json_array_get(names, 0));
    const char *second = json_string_value(json_array_get(names, 1));
    char more[32] = "";

    if (!first)
        return table_cell("-");
    if (count > NAMES_SHOWN)
        snprintf(more, sizeof(more), ", +%zu", count - NAMES_SHOWN);
    return table_cell("%s%s%s%s", first, second ? ", " : "", second ? second : "", more);
}

// The common name if there is one. RFC 2253 puts it first, and escapes commas in it.
static char *issuer_cell(const json_t *certificate)
{
    const char *issuer = table_text(certificate, "issuer");
    const char *name = strstr(issuer, "CN=");
    size_t length = 0;

    if (!name || (name != issuer && name[-1] != ','))
        return table_cell("%s", issuer);
    name += 3;
    while (name[length] && name[length] != ',' && name[length] != '+')
        length += name[length] == '\\' && name[length + 1] ? 2 : 1;
    return table_cell("%.*s", (int)length, name);
}

static char *expires_cell(const json_t *certificate)
{
    json_int_t days = json_integer_value(json_object_get(certificate, "days_left"));
    const char *when = table_text(certificate, "not_after");

    if (json_is_true(json_object_get(certificate, "expired")))
        return table_cell("%.10s (expired)", when);
    return table_cell("%.10s (%" JSON_INTEGER_FORMAT " day%s)", when, days, days == 1 ? "" : "s");
}

static char *key_cell(const json_t *certificate)
{
    json_int_t bits = json_integer_value(json_object_get(certificate, "key_bits"));
    const char *key = table_text(certificate, "key");

    return strcmp(key, "Ed25519") == 0 ? table_cell("%s", key) : table_cell("%s %" JSON_INTEGER_FORMAT, key, bits);
}

static char *ocsp_cell(const json_t *certificate)
{
    const json_t *ocsp = json_object_get(certificate, "ocsp");
    const char *until = json_string_value(json_object_get(ocsp, "next_update"));

    if (json_is_string(json_object_get(ocsp, "problem")))
        return table_cell(json_is_true(json_object_get(ocsp, "stapled")) ? "stapled, problem" : "missing");
    if (!json_is_true(json_object_get(ocsp, "stapled")))
        return table_cell("-");
    return until ? table_cell("until %.10s", until) : table_cell("stapled");
}

// "2026-11-21 09:30": what of the time matters to people.
static char *loaded_cell(const json_t *certificate)
{
    const char *loaded = table_text(certificate, "loaded");

    return strlen(loaded) < 16 ? table_cell("%s", loaded) : table_cell("%.10s %.5s", loaded, loaded + 11);
}

static struct row make_row(const json_t *certificate)
{
    return (struct row){
        .cells = {
            [COLUMN_NAMES] = names_cell(certificate),
            [COLUMN_ISSUER] = issuer_cell(certificate),
            [COLUMN_EXPIRES] = expires_cell(certificate),
            [COLUMN_KEY] = key_cell(certificate),
            [COLUMN_HANDSHAKES] =
                table_cell("%" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(certificate, "handshakes"))),
            [COLUMN_STATE] = table_cell(json_is_string(json_object_get(certificate, "problem")) ? "problem" : "ok"),
            [COLUMN_OCSP] = ocsp_cell(certificate),
            [COLUMN_LOADED] = loaded_cell(certificate),
            [COLUMN_FILE] = table_cell("%s", table_text(certificate, "file")),
        }};
}

static bool mentions(const char *problem, const char *file)
{
    return file[0] != '\0' && strstr(problem, file);
}

static void print_problem(const json_t *certificate, const json_t *problem)
{
    if (!json_is_string(problem))
        return;
    // Most name the file themselves.
    if (!mentions(json_string_value(problem), table_text(certificate, "file")) &&
        !mentions(json_string_value(problem), table_text(certificate, "key_file"))) {
        cli_print_text(stdout, table_text(certificate, "file"));
        printf(": ");
    }
    cli_print_text(stdout, json_string_value(problem));
    printf("\n");
}

static void print_problems(const json_t *certificates)
{
    size_t index;
    json_t *certificate;

    json_array_foreach(certificates, index, certificate)
    {
        print_problem(certificate, json_object_get(certificate, "problem"));
        print_problem(certificate, json_object_get(json_object_get(certificate, "ocsp"), "problem"));
    }
}

void cli_print_certificates(const json_t *answer)
{
    const json_t *certificates = json_object_get(answer, "certificates");
    size_t count = json_array_size(certificates);
    struct row *rows = calloc(count + 1, sizeof(*rows));

    if (!rows)
        abort();
    for (size_t i = 0; i < count; i++)
        rows[i] = make_row(json_array_get(certificates, i));
    table_print(titles, COLUMNS, 1u << COLUMN_HANDSHAKES, rows->cells, count);
    free(rows);
    print_problems(certificates);
}
