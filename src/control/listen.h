// SPDX-License-Identifier: Apache-2.0
// The listening sockets: made before the first worker, kept as long as the master lives, so that a client in an accept
// queue survives the worker that should have taken it.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "activation.h"
#include "ringbolt/config.h"
#include "unix_file.h"

struct listening {
    const struct config *config;
    int *fds;                     // config->listener_count for each worker, in this order; -1: none
    char **texts;                 // by listener: the address with the real port
    struct unix_file *files;      // by listener: those of unix addresses
};

// A listener takes over the sockets in `passed` (NULL: none) that have its address, and makes its own where there are none. What was
// passed and is nobody's is an error. 0, or -errno with the reason and the cure in the log.
int listening_open(struct listening *listening, const struct config *config, struct activation *passed);
// Closes what is open and removes the files of unix addresses. Harmless when done before, or on zeroed memory.
void listening_close(struct listening *listening);
// The sockets of one worker.
const int *listening_of(const struct listening *listening, unsigned worker);
// The address of one, with its real port; NULL: it is closed.
const char *listening_address(const struct listening *listening, size_t index);
// Every address, separated by spaces; the caller frees it. NULL: no memory.
char *listening_text(const struct listening *listening);
