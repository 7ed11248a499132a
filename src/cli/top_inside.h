// SPDX-License-Identifier: Apache-2.0
// What the parts of a frame of `ringbolt top` share.
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

#include "table.h"

// What a frame is made of.
struct frame {
    FILE *to;
    const json_t *now;
    const json_t *before; // NULL: no rates
    double passed_s;      // between them
};

static inline double real(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

// ---- top_tables.c ----

void top_write_listeners(const struct frame *frame);
void top_write_servers(const struct frame *frame);
void top_write_workers(const struct frame *frame);
void top_write_predecessors(const struct frame *frame);
void top_write_certificates(const struct frame *frame);

// Connections that did not end as they should, by an object of ends.
json_int_t top_failures(const json_t *ends);
// Of a certificate; negative: it has.
json_int_t top_ends_in_s(const struct frame *frame, const json_t *certificate);
// Cells (table.h): a rate, "-" where `is_known` says that there is none; one of bytes, of a member of two objects, `before` NULL: none.
char *top_rate_cell(const struct frame *frame, bool is_known, json_int_t now, json_int_t before);
char *top_byte_rate_cell(const struct frame *frame, const json_t *now, const json_t *before, const char *key);

// ---- top_counts.c: what was counted since the start ----

void top_write_records(const struct frame *frame);
void top_write_times(const struct frame *frame);

// Text from elsewhere, and our own in between: each "%" of the format, whatever follows it, stands for the next text.
void top_write_text(FILE *to, const char *format, ...);
