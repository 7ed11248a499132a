// SPDX-License-Identifier: Apache-2.0
#include "talk.h"

#include <assert.h>
#include <string.h>
#include <sys/epoll.h>

const char talk_wrong[] = "wrong byte";

bool talk_is_idle(const struct talk *talk)
{
    return talk->queue_count == 0;
}

static void next_begin(struct talk *talk)
{
    if (talk->queue_count > 0)
        talk->out.frame = talk->queue[0];
}

void talk_send(struct talk *talk, struct frame frame)
{
    assert(talk->queue_count < TALK_QUEUE_MAX);
    talk->queue[talk->queue_count++] = frame;
    if (talk->queue_count == 1)
        next_begin(talk);
}

enum stream_result talk_flush(struct talk *talk, const char **why)
{
    static uint8_t block[FRAME_PAYLOAD_MAX];

    talk->is_blocked = false;
    while (talk->queue_count > 0) {
        size_t size = frame_write(&talk->out, block, talk->drip_ms > 0 ? 1 : sizeof(block)), sent = 0;
        enum stream_result result = stream_write(&talk->stream, block, size, &sent, why);

        if (result != STREAM_DONE) {
            talk->is_blocked = result == STREAM_WAIT;
            return result;
        }
        if (frame_sent(&talk->out, sent)) {
            talk->queue_count--;
            memmove(talk->queue, talk->queue + 1, talk->queue_count * sizeof(talk->queue[0]));
            next_begin(talk);
        }
        if (talk->drip_ms > 0)
            break;
    }
    return STREAM_DONE;
}

// STREAM_WAIT: all of it was taken; STREAM_DONE: enough.
static enum stream_result take(struct talk *talk, const uint8_t *from, size_t size, talk_on_frame *on_frame,
                               const char **why)
{
    while (size > 0) {
        size_t used;
        struct frame frame;

        switch (frame_read(&talk->in, from, size, &used)) {
        case FRAME_FALSE:
            *why = talk_wrong;
            return STREAM_BROKEN;
        case FRAME_WHOLE:
            frame = talk->in.frame;
            if (!on_frame(talk, &frame))
                return STREAM_DONE;
            break;
        default:
            break;
        }
        from += used;
        size -= used;
    }
    return STREAM_WAIT;
}

enum stream_result talk_read(struct talk *talk, size_t most, talk_on_frame *on_frame, const char **why)
{
    static uint8_t block[FRAME_PAYLOAD_MAX];
    enum stream_result result;

    while (most > 0) {
        size_t size = 0;

        result = stream_read(&talk->stream, block, most < sizeof(block) ? most : sizeof(block), &size, why);
        if (result == STREAM_END)
            talk->is_at_end = true;
        if (result != STREAM_DONE)
            return result;
        result = take(talk, block, size, on_frame, why);
        if (result != STREAM_WAIT)
            return result;
        most -= size;
    }
    return STREAM_DONE;
}

void talk_listen(struct talk *talk)
{
    uint32_t events = talk->is_at_end || talk->is_deaf ? 0 : EPOLLIN;

    loop_wait_for(talk->loop, &talk->member, talk->stream.fd, events | (talk->is_blocked ? EPOLLOUT : 0));
}

void talk_close(struct talk *talk)
{
    loop_remove(talk->loop, &talk->member, talk->stream.fd);
    stream_finish(&talk->stream);
}
