// SPDX-License-Identifier: Apache-2.0
// What is counted: one block of shared memory (a memory file), made by the master before the first worker and kept as long as it lives, so that
// counters outlast workers, reloads and, once its descriptor is handed on, the program itself. Each worker has a part of its own, which
// it alone writes, so that counting is a load and a store without a lock; a worker that replaces one that died goes on where
// that one stopped. Readers add the parts up.
//
// A generation takes its predecessor's block over as it is, and reads it along while the predecessor lives; then it adds what was counted
// there to a part of its own (stats_settle()). So counters go on through reloads and upgrades, and each thing is counted once.
//
// All structs here are made of stats_word alone: that is how they are added up. What goes up only is a counter; "now" marks those that
// go down again, which the master clears when a worker has died. Who gives a word another meaning, without changing a size or a name,
// raises STATS_LAYOUT.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ringbolt/config.h"
#include "ringbolt/record.h"

#define STATS_LAYOUT           1
#define STATS_PREDECESSORS_MAX 8 // generations that drain at the same time

typedef _Atomic uint64_t stats_word;

// One writer: nobody can come between.
static inline void stats_add(stats_word *word, uint64_t more)
{
    atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

static inline void stats_set(stats_word *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static inline uint64_t stats_get(const stats_word *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

// ---- histograms of times ----

#define STATS_BOUNDS 14

struct stats_histogram {
    stats_word counts[STATS_BOUNDS +
                      1]; // by bucket: those above the bound before and at most this one; the last: the rest
    stats_word sum_ns;
};

enum stats_scale {
    STATS_SHORT, // 0.5 ms to 10 s: handshakes, connects
    STATS_LONG,  // 1 ms to a day: connections
};

// STATS_BOUNDS of them, ascending, in nanoseconds.
const uint64_t *stats_bounds(enum stats_scale scale);
void stats_observe(struct stats_histogram *histogram, enum stats_scale scale, uint64_t ns);

// ---- words for indices ----

// Why connections ended, by the words of the log (docs/logging.md).
#define STATS_ENDS     48
#define STATS_END_LOST (STATS_ENDS - 1) // its worker died: no line in the log
// NULL: there is no such end.
const char *stats_end_name(unsigned end);

// Cipher suites; the last one is for what is none of ours.
#define STATS_SUITES 10
struct stats_suite {
    const char *version; // "TLSv1.3"
    const char *name;    // as in the log; "other"
};
const struct stats_suite *stats_suite(unsigned index);
unsigned stats_suite_find(const char *name); // NULL: "other"

// Limits at which clients wait in the kernel's queue, and those at which they are refused.
enum stats_limit {
    STATS_LIMIT_CONNECTIONS,
    STATS_LIMIT_LISTENER_CONNECTIONS,
    STATS_LIMIT_RATE,
    STATS_LIMIT_DESCRIPTORS, // for connections with their servers
    STATS_LIMIT_SYSTEM, // descriptors or memory for sockets
    STATS_WAITS,        // how many of the first kind there are
    STATS_LIMIT_CLIENT_CONNECTIONS = STATS_WAITS,
    STATS_LIMIT_CLIENT_RATE,
    STATS_LIMITS,
};
const char *stats_limit_name(enum stats_limit limit); // the option's name

// Where records of a direction are protected, or why not in the kernel.
#define STATS_LAYERS 8
// "kernel" or "user", and why it is not the kernel ("" if it is). NULL: there is no such index.
const char *stats_layer_name(unsigned index, const char **ret_reason);

enum stats_side { STATS_CLIENT, STATS_SERVER, STATS_SIDES };

// ---- what is counted ----

struct stats_worker {
    stats_word connections; // now; read by the other workers for limits.connections
    stats_word deposited;   // now: those among them that would outlive this worker (ringbolt/deposit.h)
    stats_word alone[6];    // of its line in the cache
    stats_word buffers;     // now: bytes of relay buffers
    stats_word starved;     // times that nothing could be received for want of a buffer
    stats_word overflows;   // turns in which the kernel had more completions than its queue holds
    stats_word refused;     // operations that the kernel's submission queue had no room for
    stats_word layers[STATS_SIDES][2][STATS_LAYERS]; // ended connections, by side and enum record_direction
    stats_word key_updates[STATS_SIDES]
                          [2]; // likewise: RECEIVE those that came, TRANSMIT those that were sent
    // connections that live, and other workers (ringbolt/handover.h)
    stats_word given;
    stats_word taken;
    stats_word not_taken; // that were offered to another, which refused
    stats_word kept;    // that were to be given, and stay for another reason
    stats_word revived; // that a worker left that died, and that went on in this one
    struct stats_histogram pause; // of those given: for how long nothing of them moved
};

struct stats_listener {
    stats_word connections; // now
    stats_word accepted;
    stats_word bytes_in;             // of plaintext, from clients to servers
    stats_word bytes_out;            // from servers to clients
    stats_word limits[STATS_LIMITS]; // clients refused; times that accepting was suspended
    stats_word ends[STATS_ENDS];
    stats_word handshakes[STATS_SUITES][2];   // by suite, [1]: resumed
    struct stats_histogram handshake_time[2]; // from accept until it is done; [1]: resumed
    struct stats_histogram duration;          // of ended connections
};

struct stats_upstream {
    stats_word ends[STATS_ENDS]; // of connections that were for it
    // from the end of the handshake until a server has taken the connection
    struct stats_histogram connect_time;
};

struct stats_server {
    stats_word bytes_in;
    stats_word bytes_out;
    stats_word ends[STATS_ENDS]; // of connections that it had taken
    stats_word connects;         // that succeeded
    stats_word failures;         // connects that failed
    stats_word places;           // now: in the table of servers (ringbolt/servers.h), which keeps it
};

// ---- the block ----

struct stats;

// Parts for config->workers workers. Servers count through all upstreams, as in ringbolt/servers.h. -errno, or 0 and *ret. Forked
// processes share what it holds; for a successor it lives as long as one of them does that has not executed another program.
int stats_create(const struct config *config, struct stats **ret);
void stats_destroy(struct stats *stats); // NULL is accepted

// A worker's parts.
struct stats_worker *stats_worker(const struct stats *stats, unsigned worker);
struct stats_listener *stats_listener(const struct stats *stats, unsigned worker, size_t listener);
struct stats_upstream *stats_upstream(const struct stats *stats, unsigned worker, size_t upstream);
struct stats_server *stats_server(const struct stats *stats, unsigned worker, size_t server);

// By a worker: a connection of the one before it, kept for this one, is lost after all. `listener` may be anything.
void stats_lose(const struct stats *stats, unsigned worker, size_t listener);

// All workers together, and what predecessors counted and have now.
void stats_sum_workers(const struct stats *stats, struct stats_worker *ret);
void stats_sum_listener(const struct stats *stats, size_t listener, struct stats_listener *ret);
void stats_sum_upstream(const struct stats *stats, size_t upstream, struct stats_upstream *ret);
void stats_sum_server(const struct stats *stats, size_t server, struct stats_server *ret);
uint64_t stats_connections(const struct stats *stats); // now; also for workers
// The places that predecessors have at a server now; likewise. Cheap where there are none.
uint64_t stats_places_before(const struct stats *stats, size_t server);
// One worker: counters with those of the predecessors' workers that it stands for; what is "now", its own.
void stats_sum_worker(const struct stats *stats, unsigned worker, struct stats_worker *ret);

// ---- by the master alone ----

// A worker has died. What it had now is 0, and counted as lost but for the connections that go on in its successor: kept[i] of listener i; NULL: none.
// How many were lost.
uint64_t stats_forget(struct stats *stats, unsigned worker, const uint64_t *kept);

// A server that is found by a name is another one from now on, with this address as text: it is counted from nothing.
void stats_renew_server(struct stats *stats, const char *upstream, size_t server, const char *text);

// The block for a successor: a descriptor that can be read only. Ours.
int stats_descriptor(const struct stats *stats);
// The predecessors' of ours, which it needs too. Returns how many; the descriptors stay ours.
size_t stats_predecessors(const struct stats *stats, int fds[static STATS_PREDECESSORS_MAX]);
// Their numbers in the same order: 1 for the first one that was taken ever, and so on.
size_t stats_numbers(const struct stats *stats, uint64_t numbers[static STATS_PREDECESSORS_MAX]);
uint64_t stats_taken(const struct stats *stats); // the last one's; 0: none
// The connections that the predecessor with this number has now. False: it is settled.
bool stats_connections_of(const struct stats *stats, uint64_t number, uint64_t *ret);

// Takes a predecessor's block, before the workers are forked (those that are there already don't see its connections). On success the
// descriptor is ours. Where there is no place any more the one that was taken first is settled, as if it were gone. -EINVAL and
// *ret_why, static: it is none, or another release's, and its counters are not ours; -EEXIST: we have it; or -errno.
int stats_take(struct stats *stats, int fd, const char **ret_why);

// Adds to ours what predecessors counted that are gone, their workers too, and forgets them. What they had now is lost, as with stats_forget().
// Returns how many live. To be called from time to time while there are any.
unsigned stats_settle(struct stats *stats);
// is_later: stats_settle() does nothing until it is called with false. So it must be from the moment our block goes to a successor until that has failed,
// else what we settle meanwhile is counted twice there; and with a successor as long as its predecessor may still take over from it.
void stats_settle_later(struct stats *stats, bool is_later);
