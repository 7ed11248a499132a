// SPDX-License-Identifier: Apache-2.0
// A hash table of nodes that stand in their owners' memory. It allocates its buckets alone; when there is no memory for more of them,
// it gets slower and nothing else.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table_node {
    struct table_node *next;
    uint32_t hash;
};

struct table {
    struct table_node **buckets; // a power of two of them
    size_t mask;                 // their number less one
    size_t count;                // of nodes
};

// -ENOMEM, or 0.
int table_init(struct table *table);
void table_finish(struct table *table); // the nodes stay their owners'; a zeroed table is accepted

uint32_t table_hash(const void *data, size_t size);

// node->hash is set by the caller.
void table_insert(struct table *table, struct table_node *node);
void table_remove(struct table *table, struct table_node *node);

// The nodes with that hash are in this chain, among others; NULL: none.
static inline struct table_node *table_chain(const struct table *table, uint32_t hash)
{
    return table->buckets[hash & table->mask];
}
