// SPDX-License-Identifier: Apache-2.0
// What `ringbolt status` shows of the sandbox: a line for each process.
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#include "table.h"

enum column {
    COLUMN_PROCESS,
    COLUMN_PID,
    COLUMN_USER,
    COLUMN_SECCOMP,
    COLUMN_LANDLOCK,
    COLUMN_RING,
    COLUMN_NO_NEW_PRIVS,
    COLUMN_DUMPS,
    COLUMN_CAPABILITIES,
    COLUMNS
};

static const char *const titles[COLUMNS] = {"PROCESS",  "PID",          "USER",  "SECCOMP",     "LANDLOCK",
                                            "IO_URING", "NO_NEW_PRIVS", "DUMPS", "CAPABILITIES"};

static char *user_cell(const json_t *process)
{
    const char *user = table_text(process, "user");

    if (*user)
        return table_cell("%s", user);
    if (!json_is_integer(json_object_get(process, "uid")))
        return table_cell("-");
    return table_cell("%" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(process, "uid")));
}

static char *truth_cell(const json_t *truth, const char *yes, const char *no)
{
    return table_cell("%s", json_is_boolean(truth) ? (json_is_true(truth) ? yes : no) : "-");
}

static char *landlock_cell(const json_t *process)
{
    json_int_t version = json_integer_value(json_object_get(process, "landlock"));

    return version > 0 ? table_cell("version %" JSON_INTEGER_FORMAT, version) : table_cell("none");
}

static char *capabilities_cell(const json_t *capabilities)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream;
    size_t index;
    json_t *capability;

    if (!json_is_array(capabilities))
        return table_cell("-");
    stream = open_memstream(&text, &size);
    if (!stream)
        abort();
    json_array_foreach(capabilities, index, capability)
    {
        fprintf(stream, "%s%s", index > 0 ? " " : "",
                json_string_value(capability) ? json_string_value(capability) : "");
    }
    if (json_array_size(capabilities) == 0)
        fprintf(stream, "none");
    if (fclose(stream) != 0)
        abort();
    return text;
}

struct row {
    char *cells[COLUMNS];
};

static struct row make_row(const json_t *process)
{
    return (struct row){
        .cells = {
            [COLUMN_PROCESS] = table_cell("%s", table_text(process, "process")),
            [COLUMN_PID] =
                table_cell("%" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(process, "pid"))),
            [COLUMN_USER] = user_cell(process),
            [COLUMN_SECCOMP] =
                table_cell("%s", *table_text(process, "seccomp") ? table_text(process, "seccomp") : "-"),
            [COLUMN_LANDLOCK] = landlock_cell(process),
            [COLUMN_RING] = truth_cell(json_object_get(process, "io_uring"), "restricted", "none"),
            [COLUMN_NO_NEW_PRIVS] = truth_cell(json_object_get(process, "no_new_privs"), "yes", "no"),
            [COLUMN_DUMPS] = truth_cell(json_object_get(process, "dumpable"), "yes", "no"),
            [COLUMN_CAPABILITIES] = capabilities_cell(json_object_get(process, "capabilities")),
        }};
}

void cli_print_sandbox(const json_t *answer)
{
    const json_t *processes = json_object_get(answer, "sandbox");
    size_t count = json_array_size(processes);
    struct row *rows = calloc(count + 1, sizeof(*rows));
    bool is_all_told = true;
    size_t index;
    json_t *process;

    if (!rows)
        abort();
    json_array_foreach(processes, index, process)
    {
        rows[index] = make_row(process);
        is_all_told &= json_is_true(json_object_get(process, "told_by_kernel"));
    }
    table_print(titles, COLUMNS, 1u << COLUMN_PID, rows->cells, count);
    free(rows);
    if (!is_all_told)
        printf("/proc hides workers from their master here: what is shown is what they entered before they "
               "were ready\n");
}
