// SPDX-License-Identifier: Apache-2.0
// A worker: one process, one ring, one thread. Forked by the master (no exec), it inherits configuration,
// material and its own listening sockets, drops its privileges, serves, and exits.
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "ringbolt/admission.h"
#include "ringbolt/config.h"
#include "ringbolt/deposit.h"
#include "ringbolt/proxy.h"
#include "ringbolt/record.h"
#include "ringbolt/sandbox.h"
#include "ringbolt/servers.h"
#include "ringbolt/stats.h"
#include "ringbolt/tls.h"

// What goes over the channel, a SOCK_SEQPACKET pair: one structure a message. End of file on it: the other side is gone; a worker
// then exits at once.
enum worker_message_type {
    // worker → master
    WORKER_READY,   // it accepts connections
    WORKER_CHANGED, // every message up to `sequence` was acted upon
    // a dialogue that WORKER_GIVE began has ended: `value` is how many were given << 32 | kept; `sequence` is 1 of one that was to give all.
    // With HANDOVER_ALL: when nobody is accepted any more and nothing is left that could move
    WORKER_GIVEN,
    WORKER_GIVE_FAILED, // the same of one that broke, or could not begin
    WORKER_FORBIDDEN, // its last words: the sandbox ends it for the system call of number `value`
    // master → worker
    WORKER_DRAIN, // accept no more, finish what is live, exit 0
    WORKER_STOP,  // end every connection now, exit 0
    WORKER_CHANGE, // apply the change of material of `value` bytes in the memory file whose descriptor comes along; answer
    WORKER_PING, // answer
    WORKER_LOG,  // standard error is the descriptor that comes along from now on
    WORKER_LIST, // fill setup->listing: with the first connections (`value` 1), or those that follow (0); answer
    WORKER_DRAIN_RETIRED, // connections under retired certificates end within `value` milliseconds (0: now); answer
    // give connections to the worker at the other end of the descriptor that comes along (handover.h): so many as the lower half of `value` says, of
    // those that are as many milliseconds old as the upper half says; UINT64_MAX: all, and those that come
    WORKER_GIVE,
    WORKER_TAKE,  // take what is given at the other end of the descriptor that comes along
    WORKER_PAUSE, // `value` 1: accept no more, though the listening sockets stay open; 0: accept again
};

struct worker_message {
    uint32_t type;
    // counts the master's messages to all workers; of WORKER_CHANGED: the last one acted upon
    uint32_t sequence;
    uint64_t value;
};

struct listing_page;

struct worker_setup {
    unsigned index; // 0-based
    const struct config *config;
    struct material *material; // this process's own from now on
    const struct tls_upstreams *tls_upstreams;
    const int *keylogs;        // by listener: a descriptor to append to, or -1
    const int *acme;           // by listener: the folder of `redirect.acme`, or -1
    uint32_t sequence;         // of the last message that this material already holds
    const struct record_probe *probe;
    const struct sandbox *sandbox; // what it is to be held by
    const int
        *listeners; // config->listener_count listening sockets, this worker's own of each SO_REUSEPORT group
    const struct proxy_socket *more; // further ones of such groups: a predecessor had more workers
    size_t more_count;
    bool is_paused; // accepts when WORKER_PAUSE says so
    int channel;
    struct listing_page *listing; // this worker's, shared with the master
    struct stats *stats;         // shared by all workers, as the following
    struct servers *servers;
    const struct deposit_room *deposits; // this worker's own
    struct admission *admission;
    uid_t uid;                        // whom to become; (uid_t)-1: stay who we are
    gid_t gid;
};

// Serves until told to end. Returns the exit status: 0 after a drain or a stop, 1 when it could not start (already said
// in the log).
int worker_run(const struct worker_setup *setup);
