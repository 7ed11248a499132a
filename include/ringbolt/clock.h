// SPDX-License-Identifier: Apache-2.0
// Time. Everything that measures or waits uses the monotonic clock, in nanoseconds as uint64_t; the
// wall clock is for the log's eyes alone, so a clock that jumps changes nothing that runs.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CLOCK_NS_PER_US 1000ull
#define CLOCK_NS_PER_MS 1000000ull
#define CLOCK_NS_PER_S  1000000000ull

// Nanoseconds of CLOCK_MONOTONIC. Never fails, never goes back.
uint64_t clock_now_ns(void);

// Writes the wall clock as RFC 3339 in UTC with milliseconds ("2026-11-21T09:30:00.123Z", 24
// characters and the terminating zero) into text[size]; size must be at least CLOCK_TEXT_SIZE.
#define CLOCK_TEXT_SIZE 32
void clock_wall_text(char *text, size_t size);
