// SPDX-License-Identifier: Apache-2.0
// The master's state, inside the room. Whose field is whose is said at each; others read.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "account.h"
#include "activation.h"
#include "admin.h"
#include "checks.h"
#include "estate.h"
#include "generations.h"
#include "http.h"
#include "listen.h"
#include "loop.h"
#include "messages.h"
#include "names.h"
#include "pack.h"
#include "rebalance.h"
#include "reload.h"
#include "responder.h"
#include "ringbolt/control.h"
#include "ringbolt/worker.h"
#include "service.h"
#include "sources.h"
#include "succession.h"
#include "supervise.h"
#include "tickets.h"
#include "watch.h"

// What control_create() and control_load() made.
struct control {
    char *file; // the configuration's, absolute; NULL: none
    uint8_t *bytes;
    size_t size; // as it was when it was loaded
    const struct config *config;
    struct loader *loader;
    struct sources *sources;
    struct tls_upstreams *tls_upstreams;
    struct pack development; // the development certificate, for a successor; empty: none
    struct estate *inherited; // what the predecessor left, until it can't come back; NULL: there was none
    int predecessor;          // the channel to it; -1: none
    pid_t predecessor_pid;
};

// The master's life. Left to the right only, but for the one that is said.
enum master_state {
    MASTER_STARTING, // until every worker was ready once
    MASTER_SERVING,
    MASTER_SUPERSEDED, // a successor leads, on probation: back to MASTER_SERVING if it fails
    MASTER_DRAINING, // no new connections; the workers finish what is live
    MASTER_STOPPING, // the workers were told to end at once
};

struct master {
    struct control *control;
    const struct config *config;
    struct material *material; // what a worker that is forked now would serve
    struct account account;
    struct record_probe probe;
    struct sandbox sandbox; // what the workers are held by
    struct activation passed;
    struct listening listening;
    struct stats *stats;              // shared with the workers
    struct listing_page *listing;     // likewise: a page for each, which it alone writes
    uint64_t listing_run;             // counts the commands `connections`
    struct servers *servers;          // shared likewise
    struct admission *admission;      // likewise
    _Atomic uint64_t *used;           // full handshakes by slot, MATERIAL_SLOTS_MAX of them, shared likewise
    int *keylogs;                     // by listener; -1: none
    int *acme;                        // by listener, the folder of `redirect.acme`; -1: none
    struct process *processes;        // config->workers of them; supervise.c
    struct loop *loop;
    int signals; // signalfd
    struct loop_watch signals_watch;
    struct loop_timer settle;   // estate_settle()
    struct loop_timer deadline; // DRAINING: of the drain; STOPPING: of the workers' patience
    uint64_t started_ns;
    enum master_state state;
    int status; // what control_run() returns
    struct messages messages;
    struct reload reload;
    struct tickets tickets;
    struct admin *admin;   // NULL: none
    struct http *http;     // likewise
    struct checks *checks; // NULL: none
    struct rebalance rebalance;
    struct names *names;   // NULL: no server has a name
    struct service service;
    struct succession succession;
    struct generations generations;
};

// The ways out (control.c). Each is harmless when the state is there already or further on.
void master_drain(struct master *master);
void master_stop(struct master *master);
// The predecessor lets us lead: the workers accept, the admin socket answers, and whoever waits for that is told.
void master_lead(struct master *master);
// The successor leads for good: what is live is drained, without a word to the service manager.
void master_retire(struct master *master);
// Every worker may be ready now: says so.
void master_check_ready(struct master *master);
