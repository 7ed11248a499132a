// SPDX-License-Identifier: Apache-2.0
// What a service manager is told, by the protocol of sd_notify(3): one datagram of lines KEY=VALUE to the unix socket that the
// environment names.
#pragma once

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct notify {
    int fd;
    int relay; // the channel to the first process, which the manager listens to: it sends what we say; -1: we do
    struct sockaddr_un address;
    socklen_t length;     // 0: nobody wants to know, and there is no fd
    uint64_t watchdog_ns; // WATCHDOG=1 is expected at least so often; 0: it is not
};

// Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment: they are not for our children. Without the first,
// and with one that is no unix socket (said in the log), everything else does nothing.
void notify_open(struct notify *ret);
void notify_close(struct notify *notify); // harmless when closed, and on zeroed memory

// Sends it, or has it sent. Whoever does not read within a second misses it; that is said in the log.
void notify_send(struct notify *notify, const char *format, ...) __attribute__((format(printf, 2, 3)));
