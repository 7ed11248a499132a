// SPDX-License-Identifier: Apache-2.0
// Tables on standard output, and the cells in them.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#define NUMBER "%" JSON_INTEGER_FORMAT

static inline json_int_t number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

// Formatted; the caller's to free. Aborts on no memory.
char *table_cell(const char *format, ...) __attribute__((format(printf, 1, 2)));

// The text behind a key; "" without.
const char *table_text(const json_t *object, const char *key);

char *table_text_cell(const json_t *object, const char *key);
char *table_number_cell(const json_t *object, const char *key);
char *table_bytes_cell(double value); // "734", "1.5K", "20.3M"

// Room for `rows` rows of `columns` cells, NULL each; free() it. Aborts on no memory.
char **table_make(size_t rows, size_t columns);

// Writes the titles and `rows` rows of `columns` cells each, one behind the other, as wide as they must be, and frees the cells. Of
// `numbers` a bit for each column that stands to the right.
void table_print(const char *const *titles, unsigned columns, uint32_t numbers, char **cells, size_t rows);
// The same into a stream.
void table_write(FILE *to, const char *const *titles, unsigned columns, uint32_t numbers, char **cells,
                 size_t rows);
