// SPDX-License-Identifier: Apache-2.0
// A hash table of nodes that stand in their owners' memory.
#include "src/tls/table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define BUCKETS_MIN 16

int table_init(struct table *table)
{
    struct table_node **buckets = calloc(BUCKETS_MIN, sizeof(struct table_node *));

    if (buckets == NULL)
        return -ENOMEM;
    *table = (struct table){.buckets = buckets, .mask = BUCKETS_MIN - 1};
    return 0;
}

void table_finish(struct table *table)
{
    free(table->buckets);
    *table = (struct table){0};
}

// FNV-1a, and what MurmurHash3 ends with, since buckets are told by the lowest bits.
uint32_t table_hash(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 16777619u;
    hash = (hash ^ hash >> 16) * 0x85ebca6bu;
    hash = (hash ^ hash >> 13) * 0xc2b2ae35u;
    return hash ^ hash >> 16;
}

static void push(struct table *table, struct table_node *node)
{
    struct table_node **bucket = &table->buckets[node->hash & table->mask];

    node->next = *bucket;
    *bucket = node;
}

static void grow(struct table *table)
{
    struct table_node **old = table->buckets;
    size_t old_count = table->mask + 1;
    struct table_node **buckets = calloc(2 * old_count, sizeof(struct table_node *));

    if (buckets == NULL)
        return;
    table->buckets = buckets;
    table->mask = 2 * old_count - 1;
    for (size_t i = 0; i < old_count; i++) {
        while (old[i] != NULL) {
            struct table_node *node = old[i];

            old[i] = node->next;
            push(table, node);
        }
    }
    free(old);
}

void table_insert(struct table *table, struct table_node *node)
{
    if (table->count > table->mask)
        grow(table);
    push(table, node);
    table->count++;
}

void table_remove(struct table *table, struct table_node *node)
{
    struct table_node **link = &table->buckets[node->hash & table->mask];

    while (*link != node) {
        assert(*link != NULL);
        link = &(*link)->next;
    }
    *link = node->next;
    table->count--;
}
