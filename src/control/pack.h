// SPDX-License-Identifier: Apache-2.0
// Bytes for another master: numbers in little endian, and strings of bytes with their length before them. They lie in secret memory.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Start with {0}. What there is no memory for is noted, and nothing is appended afterwards.
struct pack {
    uint8_t *data;
    size_t size;
    size_t capacity;
    bool is_short;
};

void pack_number(struct pack *pack, uint64_t value, unsigned bytes); // 1 to 8 bytes
void pack_raw(struct pack *pack, const void *bytes, size_t size);    // without a length
void pack_bytes(struct pack *pack, const void *bytes, size_t size);
void pack_text(struct pack *pack, const char *text);
void pack_finish(struct pack *pack); // wipes

// Takes the same apart: what is not there, or longer than it may be, is noted, and everything afterwards is 0 and empty.
struct unpack {
    const uint8_t *at;
    size_t left;
    bool is_bad;
};

uint64_t unpack_number(struct unpack *unpack, unsigned bytes);
void unpack_raw(struct unpack *unpack, void *ret, size_t size);
// They stay where they are; NULL and 0: none, or bad.
const uint8_t *unpack_bytes(struct unpack *unpack, size_t most, size_t *ret_size);
// A text of 1 to `size` - 1 bytes, none of them 0.
void unpack_text(struct unpack *unpack, char *ret, size_t size);
// Everything was there, and there is nothing more.
bool unpack_is_whole(const struct unpack *unpack);
