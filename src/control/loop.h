// SPDX-License-Identifier: Apache-2.0
// The master's loop: descriptors and times with their handlers, on epoll. One thread. A handler may add and remove what it likes,
// itself included.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ringbolt/list.h"

struct loop;

typedef void loop_handler(void *owner, unsigned events); // EPOLLIN …

struct loop_watch {
    int fd; // -1: not watched
    loop_handler *handler;
    void *owner;
};

typedef void loop_timeout(void *owner);

struct loop_timer {
    uint64_t at_ns; // monotonic; UINT64_MAX: not set
    loop_timeout *handler;
    void *owner;
    struct list node; // kept by the loop
};

// 0 and *ret, or -errno.
int loop_create(struct loop **ret);
void loop_destroy(struct loop *loop); // NULL is accepted

// `watch` is the caller's and must stay until loop_unwatch(). 0 or -errno.
int loop_watch(struct loop *loop, struct loop_watch *watch, int fd, unsigned events, loop_handler *handler,
               void *owner);
int loop_events(struct loop *loop, struct loop_watch *watch, unsigned events); // other events from now on
void loop_unwatch(struct loop *loop,
                  struct loop_watch *watch); // before the descriptor is closed; harmless when not watched

void loop_timer_init(struct loop_timer *timer, loop_timeout *handler, void *owner);
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t at_ns); // again: moves it
void loop_timer_stop(struct loop_timer *timer);

// Waits once and runs what is due: timers first, then descriptors. 0, or -errno for what can't be survived. Not to be called by a
// handler.
int loop_turn(struct loop *loop);
