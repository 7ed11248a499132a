// SPDX-License-Identifier: Apache-2.0
// The workers as processes: started, heard, replaced, ended.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "account.h"
#include "listen.h"
#include "ringbolt/worker.h"

struct process {
    pid_t pid;   // 0: none
    int channel; // -1: closed
    bool is_ready;
    bool is_replacement;
    bool is_killed; // by us
    uint64_t started_ns;
    unsigned quick_deaths; // in a row
    uint64_t restart_ns;   // pid 0: when the next one starts; UINT64_MAX: never
};

// The master's life. Left to the right only.
enum master_state {
    MASTER_STARTING, // until every worker was ready once
    MASTER_SERVING,
    MASTER_DRAINING, // no new connections; the workers finish what is live
    MASTER_STOPPING, // the workers were told to end at once
};

struct master {
    const struct config *config;
    const struct material *material;
    struct account account;
    struct record_probe probe;
    uint8_t *ticket_keys;
    struct listening listening;
    struct worker_counters *counters; // shared with the workers
    struct process *processes;        // config->workers of them
    int signals;                      // signalfd
    enum master_state state;
    uint64_t deadline_ns; // DRAINING: of the drain; STOPPING: of the workers' patience; UINT64_MAX: none
    int status;           // what control_run() returns
};

// Forks a worker. 0, or -errno with a line in the log.
int supervise_start(struct master *master, unsigned index);
// Reads what a worker says.
void supervise_hear(struct master *master, unsigned index);
// Buries the dead: says so, and plans their replacement while the master serves. A worker that ends before all were
// ready, or ends badly later on, makes the master's status 1. True when somebody died.
bool supervise_reap(struct master *master);
// Starts replacements that are due.
void supervise_replace(struct master *master, uint64_t now_ns);
// When supervise_replace() has something to do; UINT64_MAX: never.
uint64_t supervise_next_ns(const struct master *master);
void supervise_tell(struct master *master, enum worker_message message);
// SIGKILL for whoever is left.
void supervise_kill(struct master *master);
unsigned supervise_alive(const struct master *master);
bool supervise_all_ready(const struct master *master);
// Connections that live in the workers.
uint64_t supervise_connections(const struct master *master);
