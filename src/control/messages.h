// SPDX-License-Identifier: Apache-2.0
// Messages from the master to its workers (worker.h): numbered, queued for each worker so that a slow one blocks nobody, and waited for.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"
#include "ringbolt/list.h"
#include "ringbolt/material.h"
#include "ringbolt/worker.h"

struct master;
struct process;

struct messages {
    uint32_t sequence;   // of the last message
    struct list waiters; // struct messages_waiter
};

// Tells every worker. -ENOMEM (said in the log): some were not told, and are killed to be replaced.
void messages_send(struct master *master, enum worker_message_type type, uint64_t value);

// Sends a change of material, which the master has applied to its own already. 0, or -errno with a line in the log: nobody was told.
int messages_change(struct master *master, const struct change *change);

// Sends a descriptor, which it closes in any case once it is sent. 0, or -ENOMEM: nobody was told.
int messages_descriptor(struct master *master, enum worker_message_type type, int fd);

// Sends a message to one worker, and a descriptor along with it, which is closed in any case. It counts as none of those that are waited for: what
// answers it is a message of its own. 0, or -ENOMEM, -EPIPE (there is no such worker): it was not told.
int messages_tell(struct process *process, enum worker_message_type type, uint64_t value, int fd);

// ---- waiting until the workers have acted ----

// done: `late` is how many of them have not acted in time, `first_late` the number of one of them.
typedef void messages_done(void *owner, unsigned late, unsigned first_late);

struct messages_waiter { // the caller's, until `done` was called or messages_forget()
    struct list node;
    struct master *master;
    uint32_t sequence;
    struct loop_timer timer;
    messages_done *done;
    void *owner;
};

// Calls `done` when every worker has acted on all that was sent until now, or `timeout_ns` have passed; perhaps at once. A worker that
// dies counts as done: whoever replaces it inherits.
void messages_wait(struct master *master, struct messages_waiter *waiter, uint64_t timeout_ns,
                   messages_done *done, void *owner);
void messages_forget(struct messages_waiter *waiter); // harmless when `done` was called, or on zeroed memory

// ---- for supervise.c ----

// The part of a worker that is spoken to.
struct messages_queue {
    struct list queued; // what its channel did not take yet, the oldest first
    unsigned count;
    uint32_t acted;    // the last message that it has acted upon, or was born with
    uint32_t owed;     // the last one that it has to answer
    uint64_t since_ns; // since when it owes that answer without having given another
};

void messages_init(struct messages *messages);
void messages_begin(struct process *process); // a new worker, whose material is the master's of now
void messages_drop(struct process *process);  // it is gone, or can't be told any more
void messages_answered(struct process *process, uint32_t sequence);
void messages_writable(struct process *process); // sends what is queued, as far as it goes
bool messages_owes(const struct process *process);
