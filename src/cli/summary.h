// SPDX-License-Identifier: Apache-2.0
// What `ringbolt status` and `ringbolt top` both say of a status document.
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

json_int_t summary_total(const json_t *object); // of its members
json_int_t summary_handshakes(const json_t *listener, bool only_resumed);

void summary_write_uptime(FILE *to, const json_t *status); // "2d 03:04:05"
char *summary_time_cell(const json_t *object, const char *key); // "2026-11-21 09:30:00", of an RFC 3339 time in UTC; "-" for null
// A line: how connections ended, those words that there were; `before` is written first. Nothing when there were none.
void summary_write_ends(FILE *to, const char *before, const json_t *status);
