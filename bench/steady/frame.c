// SPDX-License-Identifier: Apache-2.0
#include "frame.h"

#include <string.h>

#define MAGIC 0x73746479

static uint64_t mix(uint64_t value) // splitmix64
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
    return value ^ (value >> 31);
}

uint64_t frame_seed(uint64_t connection, bool is_up)
{
    return mix(2 * connection + (is_up ? 1 : 2));
}

// The payload is a row of 64-bit numbers with the same distance, which the frame's number and the direction's seed choose.
static uint64_t first_word(const struct frame_side *side)
{
    return mix(side->seed ^ mix(side->number + 1));
}

#define DISTANCE 0x9e3779b97f4a7c15ull

static void payload_write(const struct frame_side *side, size_t at, uint8_t *to, size_t size)
{
    uint64_t first = first_word(side), word;

    while (size > 0) {
        size_t skip = at % sizeof(word), take = sizeof(word) - skip;

        word = first + at / sizeof(word) * DISTANCE;
        if (take > size)
            take = size;
        memcpy(to, (uint8_t *)&word + skip, take);
        to += take, at += take, size -= take;
    }
}

// How many of the bytes are right, until one is not.
static size_t payload_check(const struct frame_side *side, size_t at, const uint8_t *from, size_t size)
{
    uint64_t first = first_word(side), word;
    size_t done = 0;

    while (done < size) {
        size_t skip = (at + done) % sizeof(word), take = sizeof(word) - skip;

        word = first + (at + done) / sizeof(word) * DISTANCE;
        if (take > size - done)
            take = size - done;
        if (memcmp(from + done, (uint8_t *)&word + skip, take) != 0)
            return done;
        done += take;
    }
    return done;
}

// ---- the sender ----

size_t frame_write(const struct frame_side *side, uint8_t *to, size_t room)
{
    struct frame frame = side->frame;
    size_t whole = FRAME_HEAD_SIZE + frame.length, size = 0;

    _Static_assert(sizeof(frame) == FRAME_HEAD_SIZE, "a head has no gaps");
    frame.magic = MAGIC;
    frame.number = side->number;
    if (side->at < FRAME_HEAD_SIZE) {
        size = FRAME_HEAD_SIZE - side->at;
        if (size > room)
            size = room;
        memcpy(to, (const uint8_t *)&frame + side->at, size);
    }
    if (room > whole - side->at)
        room = whole - side->at;
    if (size < room)
        payload_write(side, side->at + size - FRAME_HEAD_SIZE, to + size, room - size);
    return room;
}

bool frame_sent(struct frame_side *side, size_t size)
{
    side->at += (uint32_t)size;
    side->bytes += size;
    if (side->at < FRAME_HEAD_SIZE + side->frame.length)
        return false;
    side->at = 0;
    side->number++;
    return true;
}

// ---- the receiver ----

static bool head_is_right(const struct frame_side *side)
{
    const struct frame *frame = &side->frame;

    return frame->magic == MAGIC && frame->number == side->number && frame->type > 0 &&
           frame->type < FRAME_TYPE_COUNT && frame->length <= FRAME_PAYLOAD_MAX;
}

enum frame_event frame_read(struct frame_side *side, const uint8_t *from, size_t size, size_t *used)
{
    size_t take, right;

    *used = 0;
    if (side->at < FRAME_HEAD_SIZE) {
        take = FRAME_HEAD_SIZE - side->at < size ? FRAME_HEAD_SIZE - side->at : size;
        memcpy(side->head + side->at, from, take);
        *used = take;
        side->at += (uint32_t)take;
        side->bytes += take;
        if (side->at < FRAME_HEAD_SIZE)
            return FRAME_MORE;
        memcpy(&side->frame, side->head, FRAME_HEAD_SIZE);
        if (!head_is_right(side))
            return FRAME_FALSE;
        if (side->frame.length > 0)
            return FRAME_BEGUN;
    } else {
        take = FRAME_HEAD_SIZE + side->frame.length - side->at;
        if (take > size)
            take = size;
        right = payload_check(side, side->at - FRAME_HEAD_SIZE, from, take);
        side->at += (uint32_t)right;
        side->bytes += right;
        *used = right;
        if (right < take)
            return FRAME_FALSE;
    }
    if (side->at < FRAME_HEAD_SIZE + side->frame.length)
        return FRAME_MORE;
    side->at = 0;
    side->number++;
    return FRAME_WHOLE;
}
