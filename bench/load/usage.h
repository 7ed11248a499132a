// SPDX-License-Identifier: Apache-2.0
// What a thread has used of the machine.
#pragma once

#include "run.h"

// Of the calling thread, since it began. wall_ns is the clock.
void usage_read(struct run_usage *ret);
void usage_subtract(const struct run_usage *later, const struct run_usage *earlier, struct run_usage *ret);

// Whether a thread was what limited the run: it had next to no time left, by its own work or because others had the CPU.
enum usage_verdict { USAGE_FINE, USAGE_BUSY, USAGE_WAITING };
enum usage_verdict usage_judge(const struct run_usage *usage);
