// SPDX-License-Identifier: Apache-2.0
// Which of several servers a connection goes to: arithmetic alone, without sockets, clocks or memory of its own.
#pragma once

#include <stddef.h>
#include <stdint.h>

// A server that the connection may go to.
struct balance_candidate {
    size_t server;     // the caller's number for it
    uint64_t weight;   // 1 to 2^24; its share is this by the sum of all
    uint64_t live;     // connections that it has; balance_least_connections() alone asks
    uint64_t identity; // balance_hash() of its name; balance_source_hash() alone asks
    int64_t *turn;     // what it is owed; kept by the caller between calls, 0 at first
};

// Each returns the index of the chosen candidate. count is 1 or more.

// Smooth weighted round robin: each gets its share exactly, and no server its whole share in a row.
size_t balance_round_robin(const struct balance_candidate *candidates, size_t count);

// The one with the fewest connections by its weight, counting the one that is to come. Equals take turns.
size_t balance_least_connections(const struct balance_candidate *candidates, size_t count);

// Weighted rendezvous hashing: each candidate draws a number from `key` and its own identity, the highest wins. So the choice
// depends on neither order nor memory, and when a server goes only those move that it had, to all others by their weights.
size_t balance_source_hash(const struct balance_candidate *candidates, size_t count, uint64_t key);

// A number that says little of the data it was made from. Not keyed: see docs/upstreams.md.
uint64_t balance_hash(const void *data, size_t length);
