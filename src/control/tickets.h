// SPDX-License-Identifier: Apache-2.0
// Ticket keys that the master makes itself, where the configuration names no files of them: a new one encrypts from time to time, and those
// before decrypt as long as a ticket lives that they encrypted.
#pragma once

#include <stdint.h>

#include "loop.h"
#include "ringbolt/material.h"

struct master;

struct tickets {
    struct ticket_keys *keys;              // in secret memory; NULL: they come from files
    uint64_t replaced_ns[TICKET_KEYS_MAX]; // by key: when it stopped to encrypt; of the first: not yet
    uint64_t made_ns;                      // of the first
    struct loop_timer timer;
};

// Makes the first key and appends it to `change`. 0, or -errno with a line in the log.
int tickets_load(struct master *master, struct change *change);
void tickets_start(struct master *master);  // the timer
void tickets_finish(struct master *master); // wipes; harmless on zeroed memory
