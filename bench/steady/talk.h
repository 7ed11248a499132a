// SPDX-License-Identifier: Apache-2.0
// One connection's frames, both directions: what both ends have in common.
#pragma once

#include "frame.h"
#include "loop.h"
#include "stream.h"

#define TALK_QUEUE_MAX 8

struct talk {
    struct loop_member member;
    struct loop *loop;
    struct stream stream;
    struct frame_side in, out;
    struct frame queue[TALK_QUEUE_MAX]; // the first is under way
    unsigned queue_count;
    uint32_t drip_ms; // between two bytes, of which talk_flush() then sends one; 0: as they come
    bool is_blocked;  // the socket takes no more
    bool is_at_end;   // the peer has said all
    bool is_deaf;     // not to be read when the socket has something, but at moments of the owner's
};

// Who has the talk gets each frame when it is whole; false: enough, talk_read() returns STREAM_DONE.
typedef bool talk_on_frame(struct talk *talk, const struct frame *frame);

bool talk_is_idle(const struct talk *talk);
// The frame's magic and number need not be set. There must be room.
void talk_send(struct talk *talk, struct frame frame);

// Sends what it can: STREAM_DONE when the queue is empty, or one byte has gone of a drip.
enum stream_result talk_flush(struct talk *talk, const char **why);
// Reads and checks until there is no more (STREAM_WAIT), or `most` bytes have come (STREAM_DONE). A false byte is STREAM_BROKEN with *why "wrong byte".
enum stream_result talk_read(struct talk *talk, size_t most, talk_on_frame *on_frame, const char **why);
extern const char talk_wrong[];

// Has the loop wait for what comes next.
void talk_listen(struct talk *talk);
// Closes, and is no longer the loop's.
void talk_close(struct talk *talk);
