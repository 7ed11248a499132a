// SPDX-License-Identifier: Apache-2.0
// The timer wheel. A timer stands in the slot of the highest level in which its deadline and the current tick differ
// in that level's digit (base 64); when the wheel reaches a slot of a higher level, its timers are put in again and sink.
#include "ringbolt/timer.h"

#include <assert.h>

#define SLOT_BITS 6
_Static_assert(1 << SLOT_BITS == TIMER_SLOTS, "a level is one base-64 digit");

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ns)
{
    wheel->tick = now_ns / TIMER_TICK_NS;
    wheel->count = 0;
    for (unsigned level = 0; level < TIMER_LEVELS; level++) {
        wheel->occupied[level] = 0;
        for (unsigned slot = 0; slot < TIMER_SLOTS; slot++)
            list_init(&wheel->slots[level][slot]);
    }
}

void timer_init(struct timer *timer)
{
    list_init(&timer->node);
}

bool timer_is_set(const struct timer *timer)
{
    return list_linked(&timer->node);
}

// Puts a timer into its slot. Its deadline is behind wheel->tick, or this is the tick that is being run.
static void place(struct timer_wheel *wheel, struct timer *timer)
{
    uint64_t deadline = timer->deadline_tick;
    uint64_t furthest = wheel->tick + (1ull << (SLOT_BITS * TIMER_LEVELS)) - 1;
    unsigned level = 0;
    unsigned slot;

    if (deadline > furthest)
        deadline = furthest; // looked at again when the wheel gets there
    if (deadline > wheel->tick)
        level = (63u - (unsigned)__builtin_clzll(deadline ^ wheel->tick)) / SLOT_BITS;
    if (level >= TIMER_LEVELS)
        level = TIMER_LEVELS - 1;
    slot = (deadline >> (SLOT_BITS * level)) % TIMER_SLOTS;
    list_push_back(&wheel->slots[level][slot], &timer->node);
    wheel->occupied[level] |= 1ull << slot;
}

void timer_set(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_ns)
{
    uint64_t deadline = deadline_ns / TIMER_TICK_NS + 1; // rounded up: never early

    timer_cancel(wheel, timer);
    if (deadline <= wheel->tick)
        deadline = wheel->tick + 1;
    timer->deadline_tick = deadline;
    place(wheel, timer);
    wheel->count++;
}

void timer_cancel(struct timer_wheel *wheel, struct timer *timer)
{
    if (!timer_is_set(timer))
        return;
    // The slot's bit may stay set: it costs one needless look.
    list_remove(&timer->node);
    if (timer->deadline_tick == 0)
        return; // it has expired, and its turn has not come: it was on the caller's list
    assert(wheel->count > 0);
    wheel->count--;
}

// Empties the slots of all levels that begin at wheel->tick: those of higher levels sink, those of level 0 are due.
static void run_tick(struct timer_wheel *wheel, struct list *expired)
{
    for (unsigned level = TIMER_LEVELS; level-- > 0;) {
        uint64_t below = wheel->tick & ((1ull << (SLOT_BITS * level)) - 1);
        unsigned slot = (wheel->tick >> (SLOT_BITS * level)) % TIMER_SLOTS;
        struct list moving;
        struct list *node;

        if (below != 0 || !(wheel->occupied[level] & (1ull << slot)))
            continue;
        wheel->occupied[level] &= ~(1ull << slot);
        list_init(&moving);
        list_splice_back(&moving, &wheel->slots[level][slot]);
        while ((node = list_pop_front(&moving))) {
            struct timer *timer = list_entry(node, struct timer, node);

            if (timer->deadline_tick <= wheel->tick) {
                list_push_back(expired, node);
                timer->deadline_tick = 0; // no timer that is on the wheel has this one
                wheel->count--;
            } else {
                place(wheel, timer);
            }
        }
    }
}

// The next tick after wheel->tick at which some slot must be looked at; UINT64_MAX when all are empty.
static uint64_t next_tick(const struct timer_wheel *wheel)
{
    uint64_t next = UINT64_MAX;

    for (unsigned level = 0; level < TIMER_LEVELS; level++) {
        unsigned shift = SLOT_BITS * level;
        unsigned slot = (wheel->tick >> shift) % TIMER_SLOTS;
        uint64_t occupied = wheel->occupied[level];
        uint64_t turned;
        uint64_t at;

        if (occupied == 0)
            continue;
        // Turn the bits so that the slot after the current one comes first.
        turned = (occupied >> ((slot + 1) % TIMER_SLOTS)) |
                 (slot + 1 == TIMER_SLOTS ? 0 : occupied << (TIMER_SLOTS - (slot + 1)));
        at = ((wheel->tick >> shift) + 1 + (unsigned)__builtin_ctzll(turned)) << shift;
        if (at < next)
            next = at;
    }
    return next;
}

void timer_wheel_expired(struct timer_wheel *wheel, uint64_t now_ns, struct list *expired)
{
    uint64_t now = now_ns / TIMER_TICK_NS;

    while (wheel->tick < now) {
        uint64_t next = wheel->count > 0 ? next_tick(wheel) : UINT64_MAX;

        if (next > now) {
            wheel->tick = now;
            break;
        }
        wheel->tick = next;
        run_tick(wheel, expired);
    }
}

uint64_t timer_wheel_wait_ns(const struct timer_wheel *wheel, uint64_t now_ns)
{
    uint64_t next;

    if (wheel->count == 0)
        return UINT64_MAX;
    next = next_tick(wheel);
    if (next == UINT64_MAX)
        return UINT64_MAX;
    next *= TIMER_TICK_NS;
    return next > now_ns ? next - now_ns : 0;
}
