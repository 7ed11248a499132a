// SPDX-License-Identifier: Apache-2.0
// Tables on standard output, and the cells in them.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

// Formatted; the caller's to free. Aborts on no memory.
char *table_cell(const char *format, ...) __attribute__((format(printf, 1, 2)));

// The text behind a key; "" without.
const char *table_text(const json_t *object, const char *key);

// Writes the titles and `rows` rows of `columns` cells each, one behind the other, as wide as they must be, and frees the cells. Of
// `numbers` a bit for each column that stands to the right.
void table_print(const char *const *titles, unsigned columns, uint32_t numbers, char **cells, size_t rows);
// The same into a stream.
void table_write(FILE *to, const char *const *titles, unsigned columns, uint32_t numbers, char **cells,
                 size_t rows);
