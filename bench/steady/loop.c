// SPDX-License-Identifier: Apache-2.0
#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "ringbolt/clock.h"

#define EVENTS_MAX 256

int loop_init(struct loop *loop)
{
    *loop = (struct loop){.epoll = epoll_create1(EPOLL_CLOEXEC), .now_ns = clock_now_ns()};
    return loop->epoll < 0 ? -errno : 0;
}

void loop_finish(struct loop *loop)
{
    if (loop->epoll >= 0)
        close(loop->epoll);
    free(loop->heap);
}

// ---- descriptors ----

int loop_add(struct loop *loop, struct loop_member *member, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = member};

    member->due_ns = UINT64_MAX;
    member->place = SIZE_MAX;
    member->events = events;
    return epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void loop_wait_for(struct loop *loop, struct loop_member *member, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = member};

    if (events != member->events)
        epoll_ctl(loop->epoll, EPOLL_CTL_MOD, fd, &event);
    member->events = events;
}

void loop_remove(struct loop *loop, struct loop_member *member, int fd)
{
    loop_at(loop, member, UINT64_MAX);
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, fd, NULL);
}

// ---- moments: a heap, the earliest on top ----

static void put(struct loop *loop, struct loop_member *member, size_t place)
{
    loop->heap[place] = member;
    member->place = place;
}

static void rise(struct loop *loop, struct loop_member *member, size_t place)
{
    for (; place > 0 && loop->heap[(place - 1) / 2]->due_ns > member->due_ns; place = (place - 1) / 2)
        put(loop, loop->heap[(place - 1) / 2], place);
    put(loop, member, place);
}

static void sink(struct loop *loop, struct loop_member *member, size_t place)
{
    for (size_t child; (child = 2 * place + 1) < loop->count; place = child) {
        if (child + 1 < loop->count && loop->heap[child + 1]->due_ns < loop->heap[child]->due_ns)
            child++;
        if (loop->heap[child]->due_ns >= member->due_ns)
            break;
        put(loop, loop->heap[child], place);
    }
    put(loop, member, place);
}

static void take_out(struct loop *loop, struct loop_member *member)
{
    size_t place = member->place;
    struct loop_member *last = loop->heap[--loop->count];

    member->place = SIZE_MAX;
    if (last == member)
        return;
    sink(loop, last, place);
    rise(loop, last, last->place);
}

static void room_make(struct loop *loop)
{
    size_t room = loop->room > 0 ? 2 * loop->room : 256;
    struct loop_member **heap = realloc(loop->heap, room * sizeof(*heap));

    if (heap == NULL)
        abort();
    loop->heap = heap;
    loop->room = room;
}

void loop_at(struct loop *loop, struct loop_member *member, uint64_t due_ns)
{
    if (member->place != SIZE_MAX)
        take_out(loop, member);
    member->due_ns = due_ns;
    if (due_ns == UINT64_MAX)
        return;
    if (loop->count == loop->room)
        room_make(loop);
    loop->count++;
    rise(loop, member, loop->count - 1);
}

void loop_after(struct loop *loop, struct loop_member *member, uint64_t ns)
{
    loop_at(loop, member, loop->now_ns + ns);
}

// ---- the loop ----

static int timeout_ms(const struct loop *loop)
{
    uint64_t due = loop->count > 0 ? loop->heap[0]->due_ns : UINT64_MAX;

    if (due == UINT64_MAX)
        return -1;
    return due <= loop->now_ns ? 0 : (int)((due - loop->now_ns + CLOCK_NS_PER_MS - 1) / CLOCK_NS_PER_MS);
}

void loop_run(struct loop *loop)
{
    struct epoll_event events[EVENTS_MAX];

    while (!loop->is_over) {
        int count;

        loop->now_ns = clock_now_ns();
        count = epoll_wait(loop->epoll, events, EVENTS_MAX, timeout_ms(loop));
        loop->now_ns = clock_now_ns();
        for (int i = 0; i < count && !loop->is_over; i++) {
            struct loop_member *member = events[i].data.ptr;

            member->on_ready(member, events[i].events);
        }
        while (!loop->is_over && loop->count > 0 && loop->heap[0]->due_ns <= loop->now_ns) {
            struct loop_member *member = loop->heap[0];

            take_out(loop, member);
            member->due_ns = UINT64_MAX;
            member->on_due(member);
        }
    }
}
