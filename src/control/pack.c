// SPDX-License-Identifier: Apache-2.0
#include "pack.h"

#include <string.h>

#include "ringbolt/secret.h"

#define CAPACITY_MIN 4096

// ---- to write ----

static bool make_room(struct pack *pack, size_t size)
{
    size_t capacity = pack->capacity > 0 ? pack->capacity : CAPACITY_MIN;
    uint8_t *data;

    if (pack->is_short || size <= pack->capacity - pack->size)
        return !pack->is_short;
    while (capacity - pack->size < size && capacity < SIZE_MAX / 2)
        capacity *= 2;
    data = capacity - pack->size < size ? NULL : secret_alloc(capacity);
    if (!data) {
        pack->is_short = true;
        return false;
    }
    if (pack->size > 0)
        memcpy(data, pack->data, pack->size);
    secret_free(pack->data, pack->capacity);
    pack->data = data;
    pack->capacity = capacity;
    return true;
}

void pack_raw(struct pack *pack, const void *bytes, size_t size)
{
    if (size == 0 || !make_room(pack, size))
        return;
    memcpy(pack->data + pack->size, bytes, size);
    pack->size += size;
}

void pack_number(struct pack *pack, uint64_t value, unsigned bytes)
{
    uint8_t raw[8];

    for (unsigned i = 0; i < bytes; i++)
        raw[i] = (uint8_t)(value >> (8 * i));
    pack_raw(pack, raw, bytes);
    secret_wipe(raw, sizeof(raw));
}

void pack_bytes(struct pack *pack, const void *bytes, size_t size)
{
    pack_number(pack, size, 4);
    pack_raw(pack, bytes, size);
}

void pack_text(struct pack *pack, const char *text)
{
    pack_bytes(pack, text, strlen(text));
}

void pack_finish(struct pack *pack)
{
    secret_free(pack->data, pack->capacity);
    *pack = (struct pack){0};
}

// ---- to read ----

// Where the next `size` bytes are; NULL: there are not so many.
static const uint8_t *take(struct unpack *unpack, size_t size)
{
    const uint8_t *at = unpack->at;

    if (unpack->is_bad || size > unpack->left) {
        unpack->is_bad = true;
        return NULL;
    }
    unpack->at += size;
    unpack->left -= size;
    return at;
}

void unpack_raw(struct unpack *unpack, void *ret, size_t size)
{
    const uint8_t *at = take(unpack, size);

    if (at)
        memcpy(ret, at, size);
    else
        memset(ret, 0, size);
}

uint64_t unpack_number(struct unpack *unpack, unsigned bytes)
{
    const uint8_t *at = take(unpack, bytes);
    uint64_t value = 0;

    for (unsigned i = 0; at && i < bytes; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

const uint8_t *unpack_bytes(struct unpack *unpack, size_t most, size_t *ret_size)
{
    size_t size = (size_t)unpack_number(unpack, 4);
    const uint8_t *at;

    if (size > most)
        unpack->is_bad = true;
    at = take(unpack, size);
    *ret_size = at ? size : 0;
    return size > 0 ? at : NULL;
}

void unpack_text(struct unpack *unpack, char *ret, size_t size)
{
    size_t length;
    const uint8_t *at = unpack_bytes(unpack, size - 1, &length);

    if (!at || memchr(at, '\0', length)) {
        unpack->is_bad = true;
        length = 0;
    }
    if (length > 0)
        memcpy(ret, at, length);
    ret[length] = '\0';
}

bool unpack_is_whole(const struct unpack *unpack)
{
    return !unpack->is_bad && unpack->left == 0;
}
