// SPDX-License-Identifier: Apache-2.0
#include "table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"

#define COLUMNS_MAX 32

char *table_cell(const char *format, ...)
{
    va_list arguments;
    char *made = NULL;

    va_start(arguments, format);
    if (vasprintf(&made, format, arguments) < 0)
        abort();
    va_end(arguments);
    return made;
}

const char *table_text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));

    return value ? value : "";
}

char *table_text_cell(const json_t *object, const char *key)
{
    return table_cell("%s", table_text(object, key));
}

char *table_number_cell(const json_t *object, const char *key)
{
    return table_cell(NUMBER, number(object, key));
}

char *table_bytes_cell(double value)
{
    static const char units[] = "KMGTPE";
    size_t unit = 0;

    if (value < 1024)
        return table_cell("%.0f", value);
    for (value /= 1024; value >= 1024 && units[unit + 1]; unit++)
        value /= 1024;
    return table_cell("%.1f%c", value, units[unit]);
}

char **table_make(size_t rows, size_t columns)
{
    char **cells = calloc(rows * columns + 1, sizeof(*cells));

    if (!cells)
        abort();
    return cells;
}

// Characters, not bytes.
static size_t width_of(const char *shown)
{
    size_t width = 0;

    for (; *shown; shown++)
        width += ((unsigned char)*shown & 0xc0) != 0x80;
    return width;
}

static void widen(const char *const *cells, unsigned columns, size_t widths[COLUMNS_MAX])
{
    for (unsigned column = 0; column < columns; column++) {
        size_t width = width_of(cells[column]);

        if (width > widths[column])
            widths[column] = width;
    }
}

static void print_row(FILE *to, const char *const *cells, unsigned columns, uint32_t numbers,
                      const size_t widths[COLUMNS_MAX])
{
    for (unsigned column = 0; column < columns; column++) {
        int room = (int)(widths[column] - width_of(cells[column]));
        bool is_number = numbers >> column & 1;

        if (is_number)
            fprintf(to, "%*s", room, "");
        cli_print_text(to, cells[column]);
        if (column + 1 == columns)
            fprintf(to, "\n");
        else
            fprintf(to, "%*s", is_number ? 2 : room + 2, "");
    }
}

void table_write(FILE *to, const char *const *titles, unsigned columns, uint32_t numbers, char **cells,
                 size_t rows)
{
    size_t widths[COLUMNS_MAX] = {0};

    widen(titles, columns, widths);
    for (size_t i = 0; i < rows; i++)
        widen((const char *const *)&cells[i * columns], columns, widths);
    print_row(to, titles, columns, numbers, widths);
    for (size_t i = 0; i < rows; i++)
        print_row(to, (const char *const *)&cells[i * columns], columns, numbers, widths);
    for (size_t i = 0; i < rows * columns; i++)
        free(cells[i]);
}

void table_print(const char *const *titles, unsigned columns, uint32_t numbers, char **cells, size_t rows)
{
    table_write(stdout, titles, columns, numbers, cells, rows);
}
