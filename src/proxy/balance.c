// SPDX-License-Identifier: Apache-2.0
#include "balance.h"

#include <math.h>
#include <stdbool.h>

// ---- in turn ----

// Those that `is_in` (NULL: all) get what they are owed; who is owed the most pays for everybody. This is nginx's algorithm.
static size_t take_turn(const struct balance_candidate *candidates, size_t count,
                        bool (*is_in)(const struct balance_candidate *candidate,
                                      const struct balance_candidate *best),
                        const struct balance_candidate *best)
{
    size_t chosen = count;
    int64_t total = 0;

    for (size_t i = 0; i < count; i++) {
        const struct balance_candidate *candidate = &candidates[i];

        if (is_in && !is_in(candidate, best))
            continue;
        *candidate->turn += (int64_t)candidate->weight;
        total += (int64_t)candidate->weight;
        if (chosen == count || *candidate->turn > *candidates[chosen].turn)
            chosen = i;
    }
    *candidates[chosen].turn -= total;
    return chosen;
}

size_t balance_round_robin(const struct balance_candidate *candidates, size_t count)
{
    return take_turn(candidates, count, NULL, NULL);
}

// ---- the fewest connections ----

// (live + 1) / weight without dividing: below 0, 0 or above as a is better, equal or worse. The one to come is counted, so that of
// two idle servers the stronger is taken.
static int compare_load(const struct balance_candidate *a, const struct balance_candidate *b)
{
    uint64_t of_a = (a->live + 1) * b->weight;
    uint64_t of_b = (b->live + 1) * a->weight;

    return (of_a > of_b) - (of_a < of_b);
}

static bool is_as_good(const struct balance_candidate *candidate, const struct balance_candidate *best)
{
    return compare_load(candidate, best) == 0;
}

size_t balance_least_connections(const struct balance_candidate *candidates, size_t count)
{
    const struct balance_candidate *best = &candidates[0];

    for (size_t i = 1; i < count; i++) {
        if (compare_load(&candidates[i], best) < 0)
            best = &candidates[i];
    }
    return take_turn(candidates, count, is_as_good, best);
}

// ---- by the client's address ----

// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): every bit of the input turns each bit of the output with even odds.
static uint64_t mix(uint64_t value)
{
    value += 0x9e3779b97f4a7c15;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
    value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
    return value ^ (value >> 31);
}

uint64_t balance_hash(const void *data, size_t length)
{
    const uint8_t *bytes = data;
    uint64_t hash = 0xcbf29ce484222325; // FNV-1a, whose last byte mix() then spreads over all bits

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3;
    return mix(hash);
}

// The time until the candidate's first event, if events came at random and as often as its weight says: the shortest is a fair draw by
// weight (Schindelhauer and Schomaker, 2005).
static double draw(const struct balance_candidate *candidate, uint64_t key)
{
    // 53 bits, which a double holds exactly, and never 0 or 1.
    double even = ((double)(mix(key ^ mix(candidate->identity)) >> 11) + 0.5) * 0x1p-53;

    return -log(even) / (double)candidate->weight;
}

size_t balance_source_hash(const struct balance_candidate *candidates, size_t count, uint64_t key)
{
    size_t chosen = 0;
    double shortest = draw(&candidates[0], key);

    for (size_t i = 1; i < count; i++) {
        double drawn = draw(&candidates[i], key);

        if (drawn < shortest) {
            shortest = drawn;
            chosen = i;
        }
    }
    return chosen;
}
