// SPDX-License-Identifier: Apache-2.0
// epoll and moments: what both ends run on. One thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

// Somebody whom the loop calls; the first member of whoever it is.
struct loop_member {
    void (*on_ready)(struct loop_member *member, uint32_t events); // of its descriptor
    void (*on_due)(struct loop_member *member);                    // its moment has come
    uint64_t due_ns;                                               // UINT64_MAX: none
    size_t place;                                                  // in the heap; SIZE_MAX: not there
    uint32_t events;                                               // that it waits for
};

struct loop {
    int epoll;
    bool is_over;
    uint64_t now_ns;
    struct loop_member **heap;
    size_t count, room;
};

int loop_init(struct loop *loop);
void loop_finish(struct loop *loop);

// A descriptor is added once, its events may be 0; whoever closes it calls loop_remove() before.
int loop_add(struct loop *loop, struct loop_member *member, int fd, uint32_t events);
void loop_wait_for(struct loop *loop, struct loop_member *member, int fd, uint32_t events);
void loop_remove(struct loop *loop, struct loop_member *member, int fd);

void loop_at(struct loop *loop, struct loop_member *member, uint64_t due_ns); // UINT64_MAX: never
void loop_after(struct loop *loop, struct loop_member *member, uint64_t ns);

// Until is_over. A member that was called may free itself, but none of the others: those wait with it in their on_due().
void loop_run(struct loop *loop);
