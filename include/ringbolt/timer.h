// SPDX-License-Identifier: Apache-2.0
// A hashed, hierarchical timer wheel (Varghese and Lauck): setting, moving and cancelling are O(1). A timer fires at its
// deadline or up to TIMER_TICK_NS later, never before. Embedded timers, no allocation.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ringbolt/list.h"

#define TIMER_TICK_NS 4000000ull // 4 ms
#define TIMER_LEVELS  5
#define TIMER_SLOTS   64 // a level; 64^5 ticks are 49 days; later deadlines are looked at again then

struct timer {
    struct list node;
    uint64_t deadline_tick;
};

struct timer_wheel {
    uint64_t tick; // the last one that was run
    unsigned count;
    uint64_t occupied[TIMER_LEVELS];
    struct list slots[TIMER_LEVELS][TIMER_SLOTS];
};

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ns);

void timer_init(struct timer *timer);
bool timer_is_set(const struct timer *timer);
// Sets or moves. A deadline that has passed fires at the next timer_wheel_expired().
void timer_set(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_ns);
void timer_cancel(struct timer_wheel *wheel, struct timer *timer);

// Moves the wheel to now_ns and appends every timer that is due to `expired` (list_entry(node, struct timer,
// node)); they are no longer set. The caller takes them off with list_remove(). Meanwhile one may be set again or cancelled: then it is off.
void timer_wheel_expired(struct timer_wheel *wheel, uint64_t now_ns, struct list *expired);

// Nanoseconds from now_ns until the wheel must be looked at again (0 when something is due); UINT64_MAX when it is
// empty. May be earlier than the next deadline, never later.
uint64_t timer_wheel_wait_ns(const struct timer_wheel *wheel, uint64_t now_ns);
