// SPDX-License-Identifier: Apache-2.0
// When the next unit of work is due. At a fixed rate the moments are fixed in advance, whatever the server does: a unit that
// starts late because all connections were busy is still timed from its moment, so a server that stalls can't hide it
// (coordinated omission). Without a rate a unit is due as soon as somebody asks.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct pace {
    uint64_t start_ns;
    uint64_t end_ns;    // none is due from here on
    double interval_ns; // 0: no rate
    uint64_t taken;
    uint64_t taken_max;
};

// `rate` a second, 0: none; `most` units at all, UINT64_MAX: no limit.
void pace_start(struct pace *pace, uint64_t start_ns, uint64_t end_ns, double rate, uint64_t most);

// Takes the next unit if it is due at now_ns; *ret_due_ns is its moment.
bool pace_take(struct pace *pace, uint64_t now_ns, uint64_t *ret_due_ns);
// The one taken last didn't count: somebody may take it again. Only without a rate.
void pace_untake(struct pace *pace);

// When the next unit is due: 0 without a rate; UINT64_MAX when none will ever be.
uint64_t pace_next_ns(const struct pace *pace);

// How many units were due before now_ns and were not taken, and when the first of them was due. Without a rate 0.
uint64_t pace_owed(const struct pace *pace, uint64_t now_ns, uint64_t *ret_first_ns);
