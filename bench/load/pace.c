// SPDX-License-Identifier: Apache-2.0
// When the next unit of work is due.
#include "pace.h"

#include "ringbolt/clock.h"

void pace_start(struct pace *pace, uint64_t start_ns, uint64_t end_ns, double rate, uint64_t most)
{
    *pace = (struct pace){
        .start_ns = start_ns,
        .end_ns = end_ns,
        .interval_ns = rate > 0 ? (double)CLOCK_NS_PER_S / rate : 0,
        .taken_max = most,
    };
}

// From the start each time: steps that are added up would add up their rounding too.
static uint64_t due_ns(const struct pace *pace, uint64_t number)
{
    return pace->start_ns + (uint64_t)((double)number * pace->interval_ns);
}

uint64_t pace_next_ns(const struct pace *pace)
{
    uint64_t due;

    if (pace->taken >= pace->taken_max)
        return UINT64_MAX;
    if (pace->interval_ns == 0)
        return 0;
    due = due_ns(pace, pace->taken);
    return due < pace->end_ns ? due : UINT64_MAX;
}

bool pace_take(struct pace *pace, uint64_t now_ns, uint64_t *ret_due_ns)
{
    uint64_t due = pace_next_ns(pace);

    if (due > now_ns || now_ns < pace->start_ns || (pace->interval_ns == 0 && now_ns >= pace->end_ns))
        return false;
    pace->taken++;
    *ret_due_ns = due > 0 ? due : now_ns;
    return true;
}

void pace_untake(struct pace *pace)
{
    if (pace->interval_ns == 0 && pace->taken > 0)
        pace->taken--;
}

uint64_t pace_owed(const struct pace *pace, uint64_t now_ns, uint64_t *ret_first_ns)
{
    uint64_t until = now_ns < pace->end_ns ? now_ns : pace->end_ns;
    uint64_t owed = 0;

    *ret_first_ns = pace_next_ns(pace);
    if (pace->interval_ns == 0)
        return 0;
    if (*ret_first_ns < until)
        owed = (uint64_t)((double)(until - 1 - *ret_first_ns) / pace->interval_ns) + 1;
    return owed < pace->taken_max - pace->taken ? owed : pace->taken_max - pace->taken;
}
