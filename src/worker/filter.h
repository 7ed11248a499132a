// SPDX-License-Identifier: Apache-2.0
// The system calls that a worker may still make, and nothing else: seccomp(2).
#pragma once

#include <stdbool.h>

// What only some configurations need.
struct filter_needs {
    bool unix_servers; // sockets to servers behind paths
    bool transparent;  // sockets that come from clients' addresses
    bool tokens;       // files beneath `redirect.acme`
};

// From now on any other call ends this process with SIGSYS; before that, its number goes to `channel` as WORKER_FORBIDDEN (-1: to
// nobody). For a process of one thread that starts no other. 0 or -errno; then nothing is in force.
int filter_load(const struct filter_needs *needs, int channel);
