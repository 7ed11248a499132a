// SPDX-License-Identifier: Apache-2.0
// The worker's end of the channel to its master: messages in, with the descriptors that come along, answers out; neither ever blocks.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ringbolt/ring.h"
#include "ringbolt/worker.h"

struct channel;

struct channel_owner {
    void *owner;
    // A message, and the descriptor that came along or -1; the channel closes it afterwards, unless it was taken by setting *fd to -1. false: it
    // could not be acted upon.
    bool (*message)(void *owner, const struct worker_message *message, int *fd);
};

#define CHANNEL_NEWS_MAX 16 // messages of our own that the master has not taken yet

struct channel {
    struct ring *ring;
    int fd;
    int spare; // a descriptor kept free for one that comes: see channel.c
    const struct channel_owner *owner;
    struct ring_op poll_op;
    struct ring_op send_op;
    struct worker_message answer; // the kernel's while send_op is in flight
    struct worker_message news[CHANNEL_NEWS_MAX]; // to be said, the oldest first
    unsigned news_count;
    uint32_t acted;               // the last message acted upon
    uint32_t told;                // the last one that the master was told of
    bool is_ending;               // nothing is started any more
    bool is_over;                 // the master is gone, or a message could not be acted upon
};

// Nothing is read before channel_start(). 0 or -errno.
int channel_init(struct channel *channel, struct ring *ring, int fd, uint32_t sequence,
                 const struct channel_owner *owner);
void channel_start(struct channel *channel);
// Says WORKER_READY. 0 or -errno.
int channel_say_ready(struct channel *channel);
// Says something that the master did not ask for, after what was said before. -ENOBUFS: it takes nothing, and too much waits already.
int channel_say(struct channel *channel, const struct worker_message *message);
// Waits until nothing is in flight. Only when nothing else is in flight on the ring: completions are dropped.
void channel_finish(struct channel *channel);
