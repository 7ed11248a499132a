// SPDX-License-Identifier: Apache-2.0
// A block of counters as it lies in its memory file, and the struct behind ringbolt/stats.h.
//
//     header | a key for each listener, upstream and server | parts: those of the workers, then one "earlier" for each worker
//
// A part has a struct stats_worker, then the listeners', upstreams' and servers'. An earlier part is written by the master alone: what generations
// counted that are gone. Keys are made of names, so that a generation finds its listeners, upstreams and servers in
// the block of another one whatever their order. What a file says is checked before it is believed, once: its
// workers can write it.
#pragma once

#include <stdbool.h>

#include "ringbolt/stats.h"

#define STATS_LINE  64                           // of the cache
#define STATS_MAGIC UINT64_C(0x315354534e494252) // "RBINSTS1"

struct stats_header {
    uint64_t magic;
    uint64_t meaning; // stats_meaning() of whom made it
    uint64_t workers;
    uint64_t listeners;
    uint64_t upstreams;
    uint64_t servers;
    // For the workers of this generation: the number of the predecessor that lies in a place as long as it lives; 0: nobody lives there.
    stats_word lives[STATS_PREDECESSORS_MAX];
};

// One of our own or a predecessor's. The sizes are ours: what the file says is read once, when it is taken.
struct stats_block {
    uint64_t workers;
    uint64_t listeners;
    uint64_t upstreams;
    uint64_t servers;
    size_t part; // bytes
    size_t parts_at;
    size_t size;
    uint8_t *memory; // a predecessor's can't be written
};

struct stats_predecessor {
    struct stats_block block;
    uint64_t number; // counts up; 0: the place is free
    int fd;          // for a successor, and to see whether it lives
};

struct stats {
    struct stats_block own;
    int fd;      // its memory file; locked as long as this process or one of its workers lives
    int read_fd; // the same, for a successor: it can't be written by it
    bool is_settled_later;
    uint64_t taken; // predecessors ever
    struct stats_predecessor predecessors[STATS_PREDECESSORS_MAX];
};

enum stats_kind { STATS_OF_LISTENER, STATS_OF_UPSTREAM, STATS_OF_SERVER, STATS_KINDS };

// Another number when words mean another thing: a release that counts other things, in another order or with other bounds.
uint64_t stats_meaning(void);
// False: no such block can be.
bool stats_block_shape(struct stats_block *block);
size_t stats_block_count(const struct stats_block *block, enum stats_kind kind);
// Where a struct lies in each part.
size_t stats_block_at(const struct stats_block *block, enum stats_kind kind, size_t index);
stats_word *stats_block_word(const struct stats_block *block, size_t part, size_t at);
stats_word *stats_block_key(const struct stats_block *block, enum stats_kind kind, size_t index);
// Whether a word, by its place in a part, goes down again.
bool stats_is_gauge(const struct stats_block *block, size_t at);

// ---- stats_chain.c ----

// Add what living predecessors have. worker: counters of those of their workers that this one stands for, and nothing that goes down;
// UINT_MAX: everything of all.
void stats_chain_add(const struct stats *stats, enum stats_kind kind, size_t index, stats_word *words,
                     size_t size);
void stats_chain_add_workers(const struct stats *stats, unsigned worker, stats_word *words);
uint64_t stats_chain_connections(const struct stats *stats);
void stats_chain_drop(struct stats *stats); // all of them, without a look at what they counted
