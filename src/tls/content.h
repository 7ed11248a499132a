// SPDX-License-Identifier: Apache-2.0
// The content of a file that the configuration names, and where complaints about it go.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ringbolt/config.h"

struct named_file {
    struct report *report;
    struct config_where where;
    const char *path;
    const char *what;     // "certificate chain", "private key": stands ahead of the path
    const char *cure;     // "give a PEM file …"
    const char *key_cure; // if a private key is found instead; NULL: as `cure`
};

#define file_complain(file, ...) report_add((file)->report, (file)->where, __VA_ARGS__)
#define file_warn(file, ...)     report_warn((file)->report, (file)->where, __VA_ARGS__)

// In memory that is wiped: it may be a secret, and nobody knows before it was read.
struct content {
    uint8_t *bytes; // one zero byte stands behind the last
    size_t size;
};

// Reads all of it, at most 1 MiB. 0 and *ret (content_finish() it), or -EINVAL with a line in the report: it isn't there, is
// no regular file, is empty or too large.
int content_read(const struct named_file *file, struct content *ret);
void content_finish(struct content *content); // what is all zero is accepted

// Warns of a secret that others than its owner may read or change. A file of root's that its group may read is left alone: that is
// how Debian and others hand keys to the servers that need them (group ssl-cert).
void content_warn_mode(const struct named_file *file);
