// SPDX-License-Identifier: Apache-2.0
// The master's loop. Few descriptors and few timers: a sorted list is enough for the latter.
#include "loop.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "ringbolt/clock.h"

#define EVENTS_AT_ONCE 64
#define WAIT_MS_MAX    3600000

struct loop {
    int epoll;
    struct list timers; // that are set, the earliest first
    // What the kernel told and nobody was told yet. A watch that goes takes its event out of here, so a handler may
    // remove any other.
    struct epoll_event events[EVENTS_AT_ONCE];
    int event_count;
};

int loop_create(struct loop **ret)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    int error;

    if (!loop)
        return -ENOMEM;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0) {
        error = -errno;
        free(loop);
        return error;
    }
    list_init(&loop->timers);
    *ret = loop;
    return 0;
}

void loop_destroy(struct loop *loop)
{
    struct list *node;

    if (!loop)
        return;
    // Whoever owns a timer that is still set may stop it later.
    while ((node = list_pop_front(&loop->timers)))
        list_entry(node, struct loop_timer, node)->at_ns = UINT64_MAX;
    close(loop->epoll);
    free(loop);
}

// ---- descriptors ----

int loop_watch(struct loop *loop, struct loop_watch *watch, int fd, unsigned events, loop_handler *handler,
               void *owner)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};

    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        return -errno;
    *watch = (struct loop_watch){.fd = fd, .handler = handler, .owner = owner};
    return 0;
}

int loop_events(struct loop *loop, struct loop_watch *watch, unsigned events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};

    return epoll_ctl(loop->epoll, EPOLL_CTL_MOD, watch->fd, &event) < 0 ? -errno : 0;
}

void loop_unwatch(struct loop *loop, struct loop_watch *watch)
{
    if (watch->fd < 0)
        return;
    (void)epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    for (int i = 0; i < loop->event_count; i++) {
        if (loop->events[i].data.ptr == watch)
            loop->events[i].data.ptr = NULL;
    }
    watch->fd = -1;
}

// ---- timers ----

void loop_timer_init(struct loop_timer *timer, loop_timeout *handler, void *owner)
{
    *timer = (struct loop_timer){.at_ns = UINT64_MAX, .handler = handler, .owner = owner};
    list_init(&timer->node);
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t at_ns)
{
    struct list *next = &loop->timers;

    loop_timer_stop(timer);
    if (at_ns == UINT64_MAX)
        return;
    timer->at_ns = at_ns;
    // From the end: most are set further away than those that are there. Equal ones run in the order they were set.
    while (next->prev != &loop->timers && list_entry(next->prev, struct loop_timer, node)->at_ns > at_ns)
        next = next->prev;
    list_insert_between(&timer->node, next->prev, next);
}

void loop_timer_stop(struct loop_timer *timer)
{
    list_remove(&timer->node);
    timer->at_ns = UINT64_MAX;
}

static int wait_ms(const struct loop *loop)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t at_ns;
    uint64_t ms;

    if (list_empty(&loop->timers))
        return -1;
    at_ns = list_entry(loop->timers.next, struct loop_timer, node)->at_ns;
    if (at_ns <= now_ns)
        return 0;
    ms = (at_ns - now_ns - 1) / CLOCK_NS_PER_MS + 1; // up: never awake too early
    return ms > WAIT_MS_MAX ? WAIT_MS_MAX : (int)ms;
}

// Those that are due now; one that a handler sets anew waits for the next turn, however early it is.
static void run_timers(struct loop *loop)
{
    uint64_t now_ns = clock_now_ns();
    struct list due;
    struct list *node;

    list_init(&due);
    while (!list_empty(&loop->timers) &&
           list_entry(loop->timers.next, struct loop_timer, node)->at_ns <= now_ns)
        list_push_back(&due, list_pop_front(&loop->timers));
    while ((node = list_pop_front(&due))) { // a handler that stops one of them takes it off this list
        struct loop_timer *timer = list_entry(node, struct loop_timer, node);

        timer->at_ns = UINT64_MAX;
        timer->handler(timer->owner);
    }
}

// ---- both ----

int loop_turn(struct loop *loop)
{
    int count = epoll_wait(loop->epoll, loop->events, EVENTS_AT_ONCE, wait_ms(loop));

    if (count < 0 && errno != EINTR)
        return -errno;
    loop->event_count = count < 0 ? 0 : count;
    run_timers(loop);
    for (int i = 0; i < loop->event_count; i++) {
        struct loop_watch *watch = loop->events[i].data.ptr;

        loop->events[i].data.ptr = NULL;
        if (watch)
            watch->handler(watch->owner, loop->events[i].events);
    }
    loop->event_count = 0;
    return 0;
}
