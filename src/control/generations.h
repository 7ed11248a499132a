// SPDX-License-Identifier: Apache-2.0
// The generations before this one that still hold connections: who they are, for whoever looks at Ringbolt after an upgrade. Each comes
// with its counters (ESTATE_COUNTERS), and is forgotten when those are settled: nobody is there any more.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#include "estate.h"
#include "pack.h"
#include "ringbolt/stats.h"

struct master;

// Times are of the monotonic clock, which all have.
struct generation {
    uint64_t number; // of its counters (stats_numbers())
    pid_t pid;       // of its master
    char release[32];
    uint64_t started_ns;
    uint64_t superseded_ns; // 0: not yet
    uint64_t until_ns;      // when what it then has is cut; 0: it may still come back
};

struct generations {
    struct generation each[STATS_PREDECESSORS_MAX]; // in the order in which they came
    size_t count;
};

// One of them as bytes, without its number. False: it is none.
void generation_pack(const struct generation *generation, struct pack *pack);
bool generation_unpack(const uint8_t *bytes, size_t size, uint64_t now_ns, struct generation *ret);

// What an ESTATE_COUNTERS says beside its counters: of this master itself (number 0), or of one before it that it knows by its counters' number. Of one
// that it does not know nothing is added. 0 or -errno.
int generations_leave(const struct master *master, uint64_t number, struct estate *ret, int fd);
// The counters of an item were taken, and have this number. What is not understood is left out, with a line in the log.
void generations_take(struct master *master, const struct estate_item *item, uint64_t number);
// We lead in the place of our predecessor; it has let go, and drains until then.
void generations_superseded(struct master *master);
void generations_released(struct master *master, const struct estate_item *item);
// What generations_released() wants to hear.
void generations_until(const struct master *master, uint8_t bytes[static 8]);

// For the status document: those that live, the oldest first. NULL: no memory.
json_t *generations_json(struct master *master);
