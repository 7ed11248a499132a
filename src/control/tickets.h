// SPDX-License-Identifier: Apache-2.0
// Ticket keys that the master makes itself, where the configuration names no files of them: a new one encrypts from time to time, and those
// before decrypt as long as a ticket lives that they encrypted.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"
#include "pack.h"
#include "ringbolt/material.h"

struct master;

struct tickets {
    struct ticket_keys *keys;              // in secret memory; NULL: they come from files
    uint64_t replaced_ns[TICKET_KEYS_MAX]; // by key: when it stopped to encrypt; of the first: not yet
    uint64_t made_ns;                      // of the first
    struct loop_timer timer;
};

// Takes over the predecessor's keys, or makes the first one, and appends what there is to `change`. 0, or -errno with a line in the log.
int tickets_load(struct master *master, struct change *change);
void tickets_start(struct master *master); // the timer
void tickets_hold(
    struct master *master); // no new key until tickets_start(): a successor has those that there are
void tickets_finish(struct master *master); // wipes; harmless on zeroed memory

// ---- for a successor ----

// All keys with their times. Nothing where the keys come from files.
void tickets_pack(const struct tickets *tickets, struct pack *pack);
// The same taken apart into ret->keys, which is there, and the times. False, with *ret untouched: it is none.
bool tickets_unpack(const uint8_t *bytes, size_t size, uint64_t now_ns, struct tickets *ret);
