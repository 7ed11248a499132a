// SPDX-License-Identifier: Apache-2.0
// Values on the command line: from text to what they mean. All return 0, or -1 after a complaint on standard error.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "options.h"

// The complaint itself: -1.
int options_wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

int options_number(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *ret);
int options_number_small(const char *option, const char *text, unsigned min, unsigned max, unsigned *ret);
int options_rate(const char *text, double *ret);
int options_duration(const char *option, const char *text, bool may_be_zero, uint64_t *ret);
int options_size(const char *option, const char *text, uint64_t *ret);
int options_choice(const char *option, const char *text, const char *first, const char *second,
                   bool *ret_is_second);

int options_digest(const char *text, struct options *options);   // 64 hexadecimal digits
int options_alpn(const char *text, struct options *options);     // "h2,http/1.1"
int options_preamble(const char *text, struct options *options); // text with \r \n \t \\ and \xHH in it
int options_choose_version(const char *text, struct options *options);
int options_choose_key(const char *text, struct options *options);
