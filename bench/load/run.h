// SPDX-License-Identifier: Apache-2.0
// A run: what its threads share. The clock starts for all of them at once, when all connections that are kept are open.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "options.h"
#include "pattern.h"
#include "tally.h"

// CPU time of one thread, and how long it was ready and had no CPU.
struct run_usage {
    uint64_t wall_ns;
    uint64_t user_ns;
    uint64_t system_ns;
    uint64_t waiting_ns;
};

// For the progress line; approximate.
struct run_progress {
    _Atomic uint64_t units;
    _Atomic uint64_t bytes;
    _Atomic uint64_t failures;
    _Atomic unsigned open;
};

struct run {
    const struct options *options;
    struct pattern pattern;
    // requests in full, made once
    char *get;
    size_t get_size;
    char *put;
    size_t put_size;

    _Atomic uint64_t start_ns; // 0: not yet
    _Atomic bool is_stopped;   // by a signal
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned ready; // threads whose connections are open
    unsigned over;  // threads that are done

    struct runner *runners;
    uint64_t begun_ns;   // when the threads were started
    char begun_text[32]; // by the wall clock
    unsigned open_at_start;
    unsigned open_at_end;
};

struct run_result {
    struct tally tally;
    struct run_usage *usages; // one a thread; owned
    double seconds;           // that were measured
    double seconds_opening;   // until all kept connections were open
    unsigned open_at_start, open_at_end;
    bool is_interrupted;
    bool has_given_up; // a thread saw nothing but failures
    char begun_text[32];
};

// Runs it all. 0 and *ret (run_result_finish() it); or -1 when it could not begin, with why[size].
int run_all(const struct options *options, struct run_result **ret, char *why, size_t size);
void run_result_destroy(struct run_result *result); // NULL is accepted

// Threads say where they are.
void run_say_ready(struct run *run, unsigned open);
void run_say_over(struct run *run, unsigned open);
