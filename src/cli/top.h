// SPDX-License-Identifier: Apache-2.0
// What `ringbolt top` shows: one frame, as text, of two status documents.
#pragma once

#include <jansson.h>

// In front of a line: it is a heading, or a warning. Nothing from elsewhere holds such characters (cli_print_text()).
#define TOP_HEADING '\x01'
#define TOP_WARNING '\x02'

// Lines that end in a newline, wider and more perhaps than a terminal takes. Rates are those between the documents; `before` may be NULL,
// or of another master: then there are none. `trouble`: why nobody answers any more; NULL: somebody does. free() it.
char *top_frame(const json_t *now, const json_t *before, const char *trouble);
