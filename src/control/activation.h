// SPDX-License-Identifier: Apache-2.0
// Sockets that listen already when Ringbolt starts: socket activation, sd_listen_fds(3). A listener whose address such a socket has
// takes it over in place of making one of its own.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "ringbolt/config.h"

struct activation_socket {
    int fd; // -1: a listener has it
    struct sockaddr_storage address;
    socklen_t length;
    bool is_v6only;
    char *name; // what the service manager calls it (FileDescriptorName=); NULL: nothing
};

struct activation {
    struct activation_socket *sockets;
    size_t count;
};

// Takes LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES out of the environment, and the sockets that they tell of. 0 (there may be none), or
// -errno with a line in the log: what was passed is no listening stream socket.
int activation_open(struct activation *ret);
// Closes those that no listener took. Harmless when done before, or on zeroed memory.
void activation_close(struct activation *activation);

// The next socket at this address; the caller's from now on, and -1 when there is none. NULL is accepted.
int activation_take(struct activation *activation, const struct config_address *address);
// 0 when all were taken, or -EINVAL with a line in the log for each that was not: its clients would wait for ever.
int activation_check(const struct activation *activation);
