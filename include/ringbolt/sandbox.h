// SPDX-License-Identifier: Apache-2.0
// What holds a worker once it has all that it needs: system calls by seccomp(2), files and ports by landlock(7), operations on its ring
// by io_uring's restrictions. docs/security.md says against what.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ringbolt/compat.h"
#include "ringbolt/config.h"

// Which of them are in force in every worker.
struct sandbox {
    bool has_seccomp;
    unsigned landlock; // the version of its interface that is used, 1 to 6; 0: not in force
    bool has_ring;
};

// What can't be had here: 0, or -errno.
struct sandbox_errors {
    int seccomp;
    int landlock;
    int ring;
};

// Which of the parts that the configuration does not turn off can be had, tried out in a child of this process. The errors
// are those of parts that can't; a part that is turned off has none.
void sandbox_probe(const struct config *config, struct sandbox *ret, struct sandbox_errors *ret_errors);

// The name of a system call of this machine ("openat"), or its number as text.
void sandbox_call_name(int number, char *text, size_t size);
