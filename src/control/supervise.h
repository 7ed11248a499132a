// SPDX-License-Identifier: Apache-2.0
// The workers as processes: started, heard, replaced, ended.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "loop.h"
#include "messages.h"
#include "safe.h"

struct master;

struct process {
    struct master *master;
    unsigned index;
    pid_t pid;   // 0: none
    int channel; // -1: closed
    struct loop_watch watch;
    struct messages_queue messages;
    struct safe safe; // what it has deposited
    struct loop_timer patience; // until it is ready; later on until it has answered
    struct loop_timer restart;  // pid 0: when the next one starts
    struct loop_timer retry;    // when its channel is tried again that the kernel had no room for
    bool is_ready;
    bool is_replacement;
    bool is_killed; // by us
    bool gives;     // all its connections to a successor's worker
    bool wants_again;     // that broke, and is to be begun anew
    unsigned gives_again; // how often it was
    int forbidden;  // the system call that its sandbox ended it for; -1: none
    uint64_t started_ns;
    unsigned starts;
    unsigned quick_deaths; // in a row
};

// How long a worker may take until it is ready, and for the answer to a message. 30 s; tests have less patience.
extern uint64_t supervise_patience_ns;

void supervise_init(struct master *master); // master->processes is allocated
// Forks a worker. 0, or -errno with a line in the log.
int supervise_start(struct master *master, unsigned index);
// Starts the workers that died while another master led.
void supervise_fill(struct master *master);
// A process has ended: true if it was a worker. Says so, and plans its replacement while the master serves. A worker that ends before
// all were ready, or ends badly later on, makes the master's status 1.
bool supervise_reap(struct master *master, pid_t pid, int status);
// Kills a worker that does not do what it should, and lets its place be taken.
void supervise_give_up(struct process *process, const char *why);
// Sets the timer of its patience, by what it owes.
void supervise_expect(struct process *process);
// SIGKILL for whoever is left.
void supervise_kill(struct master *master);
unsigned supervise_alive(const struct master *master);
bool supervise_all_ready(const struct master *master);
// Connections that live in the workers.
uint64_t supervise_connections(const struct master *master);
