// SPDX-License-Identifier: Apache-2.0
// How everything in this room ends, and how it complains. A function that returns a status has said on standard error
// what went wrong whenever it is not STATUS_OK, so its callers just hand it on.
#pragma once

#include <stddef.h>

enum status {
    STATUS_OK = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
    STATUS_FILE = 3, // the YAML file, or a file that it names
};

// Room for what a parser says is wrong with a text and what would be right.
#define WHY_MAX 256

// Writes `ringbolt pki: TEXT` to standard error, control characters in it escaped, and returns `status`.
enum status complain(enum status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The same with OpenSSL's reason behind it, and OpenSSL's queue of errors emptied. STATUS_FAILED.
enum status complain_openssl(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Wrong usage: the same with `; see ringbolt pki VERB --help` behind it. verb may be NULL. STATUS_USAGE.
enum status complain_usage(const char *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));

// A line of result on standard output, control characters escaped.
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

// snprintf for the parsers' `why`; -EINVAL, for `return`.
int why_set(char why[static WHY_MAX], const char *format, ...) __attribute__((format(printf, 2, 3)));
