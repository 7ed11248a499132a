// SPDX-License-Identifier: Apache-2.0
// For lines that come by the thousand when much goes wrong at once: the first ones of an interval are said, the rest is a number, which is said at its
// end. Pure; whoever has one also has the timer.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ringbolt/clock.h"

#define LOG_QUOTA_LINES 20
#define LOG_QUOTA_NS    (10 * CLOCK_NS_PER_S)

// Zeroed at first.
struct log_quota {
    uint64_t until_ns; // the end of the interval, which began with a line
    unsigned said;
    uint64_t withheld;
};

// Whether one more line may be said now; if not, it is counted.
bool log_quota_take(struct log_quota *quota, uint64_t now_ns);
// When log_quota_rest() has something to tell; 0: nothing was withheld.
uint64_t log_quota_due_ns(const struct log_quota *quota);
// How many lines were withheld, once it is time to say so, which begins the next interval; 0: it isn't, or there were none.
uint64_t log_quota_rest(struct log_quota *quota, uint64_t now_ns);
