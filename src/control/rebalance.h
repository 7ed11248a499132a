// SPDX-License-Identifier: Apache-2.0
// Long-lived connections move from the worker that has most of them to the one that has fewest (`rebalance` of the configuration). The kernel deals new
// clients out evenly, but not those that stay: a worker that was replaced has none, and the rest have too many for as long as clients stay.
#pragma once

#include <stdbool.h>

#include "loop.h"
#include "ringbolt/worker.h"

struct master;
struct process;

struct rebalance {
    struct loop_timer timer;
    struct process *giver; // a dialogue is under way; NULL: none
    struct process *taker;
};

void rebalance_init(struct master *master);
void rebalance_start(struct master *master); // the workers serve
void rebalance_stop(struct master *master);  // harmless when it was not started

// ---- for supervise.c ----
void rebalance_given(struct process *process, const struct worker_message *message); // WORKER_GIVEN, WORKER_GIVE_FAILED
void rebalance_died(struct process *process);
