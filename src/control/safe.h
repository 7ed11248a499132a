// SPDX-License-Identifier: Apache-2.0
// The safe of a worker: duplicates of the sockets of connections that it has deposited (ringbolt/deposit.h). When the worker dies, those
// that were idle wait there for the one that takes its place; the others end.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"
#include "ringbolt/deposit.h"

struct config;
struct master;

struct safe {
    struct master *master;
    struct deposit *slots; // `count` of them, shared with the worker; NULL: nothing is deposited
    uint32_t count;
    int (*fds)[2]; // by slot; -1: nothing there
    int channel;   // -1: none
    struct loop_watch watch;
    bool is_short; // of descriptors: that was said
};

// How many connections the configuration would have deposited at once, two descriptors each, and what the master needs beside them.
uint64_t safes_connections(const struct config *config);
uint64_t safes_descriptors_beside(const struct config *config);
// For all workers, within what `survival` and the limit of descriptors allow. Without memory there are none, which the log says.
void safes_init(struct master *master);
void safes_finish(struct master *master);
// Before a worker is forked: its end of a new channel in *ret, the caller's; -1: there is no safe. 0, or -errno with nothing left behind.
int safe_open(struct safe *safe, int *ret);
// No worker came of it.
void safe_cancel(struct safe *safe);
// In the worker: what it is given. The slots of the others are no longer there.
struct deposit_room safe_room(struct master *master, unsigned index, int channel);
// The worker is dead. With goes_on the idle ones stay and are counted in kept[] by listener (config->listener_count of them, zeroed; NULL: not counted);
// the others are reset. How many stay.
uint64_t safe_bury(struct safe *safe, bool goes_on, uint64_t *kept);
// Nobody will come for what is left.
void safe_empty(struct safe *safe);
