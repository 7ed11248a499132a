// SPDX-License-Identifier: Apache-2.0
// What conf/ringbolt.yaml says of each key, made into a table when Ringbolt is built (scripts/make-option-texts).
#pragma once

#include <stddef.h>

struct option_text {
    const char *path;  // listeners[].tls.min_version
    const char *text;  // the comment, on one line
    const char *value; // the default; NULL: none
};

extern const struct option_text option_texts[];
extern const size_t option_text_count;
