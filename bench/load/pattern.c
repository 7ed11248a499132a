// SPDX-License-Identifier: Apache-2.0
// The bytes that bulk streams consist of.
#include "pattern.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ringbolt/file.h"

// xorshift64 (Marsaglia, 2003) with a fixed start: the same bytes everywhere, and nothing that compresses.
static void built_in(uint8_t *block)
{
    uint64_t state = 0x9E3779B97F4A7C15u;

    for (size_t i = 0; i < PATTERN_BUILT_IN_SIZE; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block[i] = (uint8_t)(state >> 56);
    }
}

int pattern_init(struct pattern *pattern, const char *path)
{
    uint8_t *block;
    size_t size = PATTERN_BUILT_IN_SIZE;
    int error;

    if (path != NULL) {
        error = file_read(path, PATTERN_FILE_MAX, &block, &size);
        if (error < 0)
            return error;
        if (size == 0) {
            free(block);
            return -ENODATA;
        }
    } else {
        block = malloc(size);
        if (block == NULL)
            return -ENOMEM;
        built_in(block);
    }
    *pattern = (struct pattern){.block = block, .size = size};
    return 0;
}

void pattern_finish(struct pattern *pattern)
{
    free(pattern->block);
    *pattern = (struct pattern){0};
}

// How many of `length` bytes from `at` on lie in one block; *ret_from is where.
static size_t stretch(const struct pattern *pattern, uint64_t at, size_t length, const uint8_t **ret_from)
{
    size_t offset = (size_t)(at % pattern->size);
    size_t left = pattern->size - offset;

    *ret_from = pattern->block + offset;
    return length < left ? length : left;
}

void pattern_copy(const struct pattern *pattern, uint64_t at, uint8_t *to, size_t length)
{
    while (length > 0) {
        const uint8_t *from;
        size_t size = stretch(pattern, at, length, &from);

        memcpy(to, from, size);
        at += size;
        to += size;
        length -= size;
    }
}

bool pattern_equals(const struct pattern *pattern, uint64_t at, const uint8_t *data, size_t length)
{
    while (length > 0) {
        const uint8_t *from;
        size_t size = stretch(pattern, at, length, &from);

        if (memcmp(data, from, size) != 0)
            return false;
        at += size;
        data += size;
        length -= size;
    }
    return true;
}
