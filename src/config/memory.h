// SPDX-License-Identifier: Apache-2.0
// Small pieces of memory for whoever reads configurations and certificate files: a command, a start, or a master that serves and looks at
// its files again. Nothing of these can fail. Where memory is refused it is asked for again for MEMORY_PATIENCE_MS, since a limit that
// was met for a moment must not end a master with all that it serves; then the process ends.
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MEMORY_PATIENCE_MS 2000
#define MEMORY_PAUSE_MS    10

// Memory was refused once more. True, after a pause: it is worth asking again; false: that has been done long enough. *tries begins
// with 0.
static inline bool memory_hope(unsigned *tries)
{
    const struct timespec pause = {.tv_nsec = MEMORY_PAUSE_MS * 1000000L};

    if (++*tries > MEMORY_PATIENCE_MS / MEMORY_PAUSE_MS)
        return false;
    (void)nanosleep(&pause, NULL);
    return true;
}

// The same for those that can't do without.
static inline void memory_wait(unsigned *tries)
{
    if (!memory_hope(tries))
        abort();
}

// Zeroed; `count` may be 0.
static inline void *memory_array(size_t count, size_t size)
{
    unsigned tries = 0;
    void *memory;

    while ((memory = calloc(count > 0 ? count : 1, size > 0 ? size : 1)) == NULL)
        memory_wait(&tries);
    return memory;
}

// Zeroed.
static inline void *memory_allocate(size_t size)
{
    return memory_array(1, size);
}

// As realloc(), for a size that is not 0.
static inline void *memory_resize(void *memory, size_t size)
{
    unsigned tries = 0;
    void *resized;

    while ((resized = realloc(memory, size)) == NULL)
        memory_wait(&tries);
    return resized;
}

// At most `length` bytes of it.
static inline char *memory_copy_part(const char *text, size_t length)
{
    unsigned tries = 0;
    char *copy;

    while ((copy = strndup(text, length)) == NULL)
        memory_wait(&tries);
    return copy;
}

static inline char *memory_copy(const char *text)
{
    return memory_copy_part(text, strlen(text));
}

// As vasprintf(): a text to be freed.
__attribute__((format(printf, 1, 0))) static inline char *memory_print_list(const char *format,
                                                                            va_list arguments)
{
    unsigned tries = 0;
    char *text;
    int length;

    do {
        va_list again;

        va_copy(again, arguments);
        length = vasprintf(&text, format, again);
        va_end(again);
        if (length < 0)
            memory_wait(&tries);
    } while (length < 0);
    return text;
}

__attribute__((format(printf, 1, 2))) static inline char *memory_print(const char *format, ...)
{
    va_list arguments;
    char *text;

    va_start(arguments, format);
    text = memory_print_list(format, arguments);
    va_end(arguments);
    return text;
}

// Room for one more element behind the `count` that an array has. The capacity is not stored: it is the power
// of two that holds count.
static inline void *memory_grow(void *array, size_t count, size_t element_size)
{
    unsigned tries = 0;
    void *bigger = array;

    if ((count & (count - 1)) != 0)
        return array;
    while ((bigger = reallocarray(array, count > 0 ? 2 * count : 1, element_size)) == NULL)
        memory_wait(&tries);
    return bigger;
}
