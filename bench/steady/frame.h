// SPDX-License-Identifier: Apache-2.0
// What travels between ringbolt-steady's two ends: frames, numbered in each direction from 0, whose bytes both ends can make. So each
// end knows every byte that has to come, at its place, and keeps none of them.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEAD_SIZE   32
#define FRAME_PAYLOAD_MAX 16384

enum frame_type {
    FRAME_HELLO = 1, // the first of a client; value: the connection's seed; detail: milliseconds
                     // between two bytes of the server's, 0: as they come
    FRAME_DATA,      // payload for its own sake
    FRAME_ASK, // value: milliseconds, after which the server sends an ANSWER; detail: the size of its payload
    FRAME_ANSWER, // value: that of the ASK
    FRAME_STREAM, // the server sends DATA until it is to end; value: bytes a second, 0: as fast as they go;
                  // detail: milliseconds, 0: until END
    FRAME_END,    // the client has said all: the server ends its stream, sends BYE and ends
    FRAME_BYE,    // value: how many bytes have come from the client
    FRAME_WRONG,  // what has come was none of this; value: how many bytes had come before
    FRAME_TYPE_COUNT
};

struct frame {
    uint32_t magic;
    uint32_t type;
    uint32_t length; // of the payload
    uint32_t detail;
    uint64_t number;
    uint64_t value;
};

// One direction of a connection, as its sender or its receiver sees it.
struct frame_side {
    uint64_t seed;
    uint64_t number; // of the frame under way
    uint64_t bytes;  // that have gone or come, heads as well
    uint32_t at;     // of the frame under way, head included
    struct frame frame;
    uint8_t head[FRAME_HEAD_SIZE]; // the receiver's, until it is whole
};

// Each connection's directions have seeds of their own; before HELLO is read, both are 0.
uint64_t frame_seed(uint64_t connection, bool is_up);

// Writes at most `room` bytes from where side->frame is; returns how many. frame_sent() goes on behind those that were sent, and returns
// true when the frame is over.
size_t frame_write(const struct frame_side *side, uint8_t *to, size_t room);
bool frame_sent(struct frame_side *side, size_t size);

enum frame_event {
    FRAME_MORE,  // all was taken, more has to come
    FRAME_BEGUN, // side->frame is the head of a frame with payload
    FRAME_WHOLE, // side->frame is over; *used says how much was taken
    FRAME_FALSE, // a byte that is not what was sent
};

// Takes bytes that have come, and compares each; *used is how many, also of those before a false one.
enum frame_event frame_read(struct frame_side *side, const uint8_t *from, size_t size, size_t *used);
