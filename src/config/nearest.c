// SPDX-License-Identifier: Apache-2.0
// Names are compared by how many characters must be inserted, removed, replaced or swapped with their
// neighbour to make one of the other (optimal string alignment), whatever their case.
#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "src/config/nearest.h"

// Longer words are nobody's misspelling of a key.
#define LENGTH_MAX 64

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool is_same(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

static size_t distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    // Of the table of distances between beginnings: the row being filled and the two before it.
    size_t rows[3][LENGTH_MAX + 1];

    for (size_t j = 0; j <= b_length; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i - 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            row[j] = above[j - 1] + !is_same(a[i - 1], b[j - 1]);
            row[j] = smaller(row[j], smaller(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && is_same(a[i - 1], b[j - 2]) && is_same(a[i - 2], b[j - 1]))
                row[j] = smaller(row[j], rows[(i - 2) % 3][j - 2] + 1);
        }
    }
    return rows[a_length % 3][b_length];
}

const char *nearest_name(const char *word, const char *const *names, size_t count)
{
    size_t length = strlen(word);
    const char *nearest = NULL;
    size_t limit = length / 3 + 1;

    if (length == 0 || length > LENGTH_MAX)
        return NULL;
    if (limit > 3)
        limit = 3;
    for (size_t i = 0; i < count; i++) {
        size_t name_length = names[i] != NULL ? strlen(names[i]) : 0;
        size_t edits;
        if (name_length == 0 || name_length > LENGTH_MAX)
            continue;
        edits = distance(word, length, names[i], name_length);
        // A word of which nothing is left is another word.
        if (edits <= limit && edits < smaller(length, name_length)) {
            nearest = names[i];
            limit = edits > 0 ? edits - 1 : 0;
            if (edits == 0)
                break;
        }
    }
    return nearest;
}
