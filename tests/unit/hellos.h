// SPDX-License-Identifier: Apache-2.0
// ClientHellos made by hand, whole and in pieces.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define HELLO_ROOM (512 * 1024)

struct bytes {
    uint8_t data[HELLO_ROOM];
    size_t size;
};

static inline void put(struct bytes *bytes, const void *data, size_t size)
{
    if (size > sizeof(bytes->data) - bytes->size)
        abort();
    memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
}

static inline void put_number(struct bytes *bytes, size_t number, size_t size)
{
    for (size_t i = size; i-- > 0;) {
        uint8_t byte = (uint8_t)(number >> 8 * i);

        put(bytes, &byte, 1);
    }
}

static inline void put_zeros(struct bytes *bytes, size_t count)
{
    while (count-- > 0)
        put(bytes, "", 1);
}

// Records of at most `piece` bytes.
static inline void put_records(struct bytes *bytes, const uint8_t *message, size_t size, size_t piece)
{
    for (size_t start = 0; start < size; start += piece) {
        size_t length = size - start < piece ? size - start : piece;

        put(bytes, "\x16\x03\x01", 3);
        put_number(bytes, length, 2);
        put(bytes, message + start, length);
    }
}

static inline void put_extension(struct bytes *bytes, unsigned type, const void *data, size_t size)
{
    put_number(bytes, type, 2);
    put_number(bytes, size, 2);
    put(bytes, data, size);
}

// NULL: without.
static inline void put_name(struct bytes *bytes, const char *name)
{
    size_t length = name != NULL ? strlen(name) : 0;

    if (name == NULL)
        return;
    put_number(bytes, 0, 2);
    put_number(bytes, length + 5, 2);
    put_number(bytes, length + 3, 2);
    put_number(bytes, 0, 1);
    put_number(bytes, length, 2);
    put(bytes, name, length);
}

// Each with its length ahead in a byte.
static inline void put_protocols(struct bytes *bytes, const char *protocols)
{
    size_t length = protocols != NULL ? strlen(protocols) : 0;

    if (protocols == NULL)
        return;
    put_number(bytes, 16, 2);
    put_number(bytes, length + 2, 2);
    put_number(bytes, length, 2);
    put(bytes, protocols, length);
}

// A ClientHello with these extensions, as a handshake message.
static inline void put_message(struct bytes *bytes, const struct bytes *extensions)
{
    size_t size = 2 + 32 + 1 + 32 + 2 + 2 + 2 + 2 + extensions->size;

    put_number(bytes, 1, 1);
    put_number(bytes, size, 3);
    put(bytes, "\x03\x03", 2);
    for (unsigned i = 0; i < 32; i++)
        put_number(bytes, i, 1);
    put_number(bytes, 32, 1);
    put_zeros(bytes, 32);
    put(bytes, "\0\x02\x13\x01\x01\0", 6);
    put_number(bytes, extensions->size, 2);
    put(bytes, extensions->data, extensions->size);
}

// The same in records of at most `piece` bytes, padded by `padding` bytes (RFC 7685).
static inline void put_hello(struct bytes *bytes, const char *name, const char *protocols, size_t padding,
                             size_t piece)
{
    static struct bytes extensions;
    static struct bytes message;

    extensions.size = message.size = 0;
    put_extension(&extensions, 0x2a2a, "", 0); // GREASE
    put_name(&extensions, name);
    put_extension(&extensions, 43, "\x02\x03\x04", 3);
    put_protocols(&extensions, protocols);
    if (padding > 0) {
        put_number(&extensions, 21, 2);
        put_number(&extensions, padding, 2);
        put_zeros(&extensions, padding);
    }
    put_message(&message, &extensions);
    put_records(bytes, message.data, message.size, piece);
}
