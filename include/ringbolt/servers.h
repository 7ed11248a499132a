// SPDX-License-Identifier: Apache-2.0
// What the master and all workers know of the servers together: one table in shared memory, made by the master before the first
// worker. Nobody locks: each word is atomic, and a change of health is made by whoever's compare-and-swap succeeds, who also logs it,
// so that it is said once. Connections are counted by worker, in a row that only this worker writes: what a dead one leaves behind
// is cleared by the master.
//
// A server's number counts through all upstreams; servers_number() gives it. Times are of the monotonic clock, in nanoseconds.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "ringbolt/config.h"
#include "ringbolt/stats.h"

// What an operator wants of a server.
enum servers_order {
    SERVERS_READY, // connections are welcome
    SERVERS_DRAIN, // no new ones; those that live go on
    SERVERS_DOWN,  // the same, and its health is not asked
};

struct servers_state {
    _Atomic uint32_t order;          // enum servers_order; written by the master alone
    _Atomic uint32_t is_out;         // it failed: no connections but trials
    _Atomic uint32_t failures;       // connects that failed, in a row
    _Atomic uint64_t changed_ns;     // when is_out or order changed last; 0: never
    _Atomic uint64_t out_until_ns;   // is_out: when the next trial may be; UINT64_MAX: checks decide
    _Atomic uint64_t trial_until_ns; // a trial is under way, at most until then
    _Atomic uint64_t returned_ns;    // when it came back; 0: it was never away
    char padding[80];                // two cache lines each: nobody shares one
};

// Whether a server that was found by a name is there.
enum servers_presence {
    SERVERS_EMPTY, // there is none: room for an address that may be found
    SERVERS_HERE,
    SERVERS_GONE, // its name has lost the address: no new connections; those that live go on
};

// Where a server of a name is, at one moment.
struct servers_site {
    uint32_t version; // another one with each change
    enum servers_presence presence;
    struct sockaddr_storage address; // not SERVERS_EMPTY
    socklen_t length;
};

struct servers;

// -ENOMEM, or 0 and *ret. `config` must outlive it. Forked processes share what it holds.
int servers_create(const struct config *config, struct servers **ret);
void servers_destroy(struct servers *servers); // NULL is accepted

// Places are written down in `stats` from now on, for successors, and those that predecessors have there count too. Before the workers are
// forked; `stats` must outlive it.
void servers_count_in(struct servers *servers, struct stats *stats);

size_t servers_number(const struct servers *servers, size_t upstream, size_t server);
struct servers_state *servers_state(const struct servers *servers, size_t number);

// ---- places: connections that a worker has at a server, from the attempt to connect until the socket is closed ----

// Takes a place. With `most` other than 0 the places of all workers together never exceed it: false when all are taken. (Two workers
// that reach for the last one at the same instant may both be told so.) Predecessors' places count; they don't see ours.
bool servers_take(struct servers *servers, unsigned worker, size_t number, unsigned most);
void servers_give(struct servers *servers, unsigned worker, size_t number);
unsigned servers_live(const struct servers *servers, size_t number); // of all workers, predecessors' too

// The same for the places in an upstream's queue.
bool servers_queue_take(struct servers *servers, unsigned worker, size_t upstream, unsigned most);
void servers_queue_give(struct servers *servers, unsigned worker, size_t upstream);
unsigned servers_queue_length(const struct servers *servers, size_t upstream);

// A worker has died: its places are free.
void servers_forget(struct servers *servers, unsigned worker);

// ---- health ----

// Whether a connection may be sent there now as far as its health is concerned: it is not out, or its time is over and no trial
// is under way.
bool servers_is_fit(const struct servers_state *state, uint64_t now_ns);
// Begins a trial at a server that is out: false when somebody else was faster. It counts as under way until servers_failed(),
// servers_succeeded() or until_ns.
bool servers_try(struct servers_state *state, uint64_t now_ns, uint64_t until_ns);
// What became of connecting. True when that changed the server's health, for the caller to say so. health: of its upstream;
// may_go_out: false where it would leave nobody else. Where there are checks, a server that is out comes back by them alone.
bool servers_failed(struct servers_state *state, const struct config_health *health, bool may_go_out,
                    uint64_t now_ns);
bool servers_succeeded(struct servers_state *state, const struct config_health *health, uint64_t now_ns);
// What checks say. True when that changed it.
bool servers_set_health(struct servers_state *state, bool is_out, uint64_t now_ns);
// The part of its weight that a server has now, of `whole` (1 to 2^24): all, or less for slow_start_ns after it came back, but never
// nothing.
uint64_t servers_weight(const struct servers_state *state, const struct config_health *health, uint64_t whole,
                        uint64_t now_ns);

// ---- sites: the addresses of servers that are found by names (config_server.name); no others are asked for ----

// Whole, whoever writes at the same time.
void servers_site(const struct servers *servers, size_t number, struct servers_site *ret);
uint32_t servers_site_version(const struct servers *servers, size_t number);
// Another number when a site of the upstream has changed.
uint32_t servers_site_changes(const struct servers *servers, size_t upstream);
// For the master alone. With SERVERS_GONE the address stays; with SERVERS_HERE and NULL likewise.
//
// Who takes a place and finds the site's version afterwards as it was before, has his place at that address: whoever gives the site to
// another address has found no place taken after it was SERVERS_GONE.
void servers_set_site(struct servers *servers, size_t upstream, size_t number, enum servers_presence presence,
                      const struct config_address *address);
// A server joins whose name has this address now: it is taken for well, and starts slowly. To be called before servers_set_site().
void servers_join(struct servers_state *state, uint64_t now_ns);

// ---- orders ----

// For the master. Who comes back from SERVERS_DOWN is taken for well. True when it was another before.
bool servers_set_order(struct servers_state *state, enum servers_order order, uint64_t now_ns);
