// SPDX-License-Identifier: Apache-2.0
// A thread with its ring and its clients.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "client.h"
#include "pace.h"
#include "ringbolt/timer.h"
#include "run.h"
#include "tally.h"

struct work;

struct runner {
    struct run *run;
    const struct work *work;
    unsigned index;
    pthread_t thread;

    struct buffer_pool *pool;
    struct ring *ring;
    struct timer_wheel wheel;
    struct tls_setup *tls;
    uint8_t *scratch; // RECORD_PLAINTEXT_MAX bytes on their way through OpenSSL
    uint64_t now_ns;

    struct client *clients;
    unsigned count;
    struct list ready;   // clients that can begin a unit
    struct list to_open; // kept connections that are to be opened
    unsigned opening;    // connecting or in the handshake
    unsigned open;       // OPEN
    unsigned live;       // clients that are not done for good
    unsigned untried;    // whose first connection has not come to anything yet
    unsigned units;      // going on
    unsigned barren;     // failures while no unit had ever succeeded
    bool has_given_up;   // because of them
    uint64_t units_most;

    struct pace pace;
    bool is_started;
    bool is_measuring;
    bool is_stopping;
    bool is_checking; // idle: the last request
    uint64_t measure_ns, end_ns;
    uint64_t stopped_ns;
    uint64_t window_ns;     // that was measured
    struct run_usage usage; // in the time that is measured
    struct run_usage usage_start;

    struct tally tally;
    struct run_progress progress; // what the main thread may look at
    int error;                    // it could not even begin
    char why[512];
};

// Thread function; the argument is a struct runner with run, work, index, count and units_most set.
void *runner_main(void *argument);

static inline bool runner_is_measured(const struct runner *runner, uint64_t moment_ns)
{
    return runner->is_started && moment_ns >= runner->measure_ns && moment_ns < runner->end_ns &&
           !runner->is_stopping;
}

// ---- what clients tell ----

void runner_client_opened(struct client *client);
void runner_client_closed(struct client *client, bool has_failed);
// It opens no more connections.
void runner_client_done(struct client *client);
void runner_fail(struct runner *runner, enum failure failure, const char *detail);
void runner_count_received(struct runner *runner, uint64_t bytes);
void runner_count_sent(struct runner *runner, uint64_t bytes);

// ---- what the work tells ----

// The client's unit is complete since end_ns. The client does nothing further on its own: close it, or runner_client_ready().
void runner_unit_done(struct client *client, uint64_t end_ns);
// It has failed in a way that the connection survives.
void runner_unit_failed(struct client *client, enum failure failure, const char *detail);
// An open client waits for its next unit.
void runner_client_ready(struct client *client);
