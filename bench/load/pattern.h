// SPDX-License-Identifier: Apache-2.0
// The bytes that bulk streams consist of: one block, repeated without end. The built-in block has a prime number of bytes, so
// that a piece that was lost, doubled or moved by any number of buffers doesn't fit where it turns up.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATTERN_BUILT_IN_SIZE 65521
#define PATTERN_FILE_MAX      (16u << 20)

struct pattern {
    uint8_t *block;
    size_t size;
};

// The built-in block, or the contents of the file at `path`. 0 or -errno (-ENODATA: an empty file).
int pattern_init(struct pattern *pattern, const char *path);
void pattern_finish(struct pattern *pattern);

// Bytes [at, at + length) of the endless stream.
void pattern_copy(const struct pattern *pattern, uint64_t at, uint8_t *to, size_t length);
bool pattern_equals(const struct pattern *pattern, uint64_t at, const uint8_t *data, size_t length);
