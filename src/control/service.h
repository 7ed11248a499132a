// SPDX-License-Identifier: Apache-2.0
// When a service manager (systemd) is told what: ready, reloading, stopping, and that all is well (watchdog).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"
#include "messages.h"
#include "notify.h"

struct master;

struct service {
    struct notify notify;
    struct loop_timer watchdog;
    struct messages_waiter reloading; // .master is NULL: nobody waits
    uint32_t asked;                   // the sequence number of the last WORKER_PING
    bool is_asked;
    bool is_paused;
    bool is_silent; // no worker answers: said in the log
};

// First of all: the environment is not for children. The loop exists.
void service_open(struct master *master);
void service_close(struct master *master);

// Every worker accepts connections.
void service_ready(struct master *master);
// Before a reload that HUP asked for, and behind it: the manager hears that it is over when every worker has acted on it.
void service_reloading(struct master *master);
void service_reloaded(struct master *master);
// Another master leads, and tells the manager; or it failed, and we do again.
void service_pause(struct master *master);
void service_resume(struct master *master);
// A drain or a stop, which takes at most `within_ns`.
void service_stopping(struct master *master, uint64_t within_ns);
