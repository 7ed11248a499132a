// SPDX-License-Identifier: Apache-2.0
// Memory at start-up: nothing runs yet that could be saved, so no memory ends the process.
#pragma once

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

// Zeroed.
static inline void *memory_allocate(size_t size)
{
    void *memory = calloc(1, size > 0 ? size : 1);

    if (memory == NULL)
        abort();
    return memory;
}

// Zeroed too; `count` may be 0.
static inline void *memory_array(size_t count, size_t size)
{
    void *memory = calloc(count > 0 ? count : 1, size);

    if (memory == NULL)
        abort();
    return memory;
}

static inline char *memory_copy(const char *text)
{
    char *copy = strdup(text);

    if (copy == NULL)
        abort();
    return copy;
}

// Room for one more element behind the `count` that an array has. The capacity is not stored: it is the power
// of two that holds count.
static inline void *memory_grow(void *array, size_t count, size_t element_size)
{
    void *bigger = array;

    if ((count & (count - 1)) == 0)
        bigger = reallocarray(array, count > 0 ? 2 * count : 1, element_size);
    if (bigger == NULL)
        abort();
    return bigger;
}
