// SPDX-License-Identifier: Apache-2.0
// Memory for connections: slabs of SLAB_SIZE bytes, aligned to their size so that a connection finds its slab. They hold
// keys: left out of core dumps, wiped when a connection goes. A slab that is wholly free goes back to the system, one spare excepted.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "connection.h"
#include "ringbolt/secret.h"

#define SLAB_SIZE (64u * 1024)

struct free_slot {
    struct free_slot *next;
};

struct slab {
    struct list node; // on slabs->open while it has a free slot, else on slabs->full
    struct connection_slabs *slabs;
    struct free_slot *free;
    unsigned used;
};

struct connection_slabs {
    struct list open;
    struct list full;
    unsigned spare; // slabs with no connection
};

// The first connection stands at a multiple of 64 so that all are aligned.
#define SLAB_HEAD  ((sizeof(struct slab) + 63) / 64 * 64)
#define SLOT_SIZE  ((sizeof(struct connection) + 63) / 64 * 64)
#define SLAB_SLOTS ((SLAB_SIZE - SLAB_HEAD) / SLOT_SIZE)
_Static_assert(SLAB_SIZE > SLAB_HEAD + 8 * SLOT_SIZE, "a slab holds several connections");

struct connection_slabs *connection_slabs_create(void)
{
    struct connection_slabs *slabs = calloc(1, sizeof(*slabs));

    if (!slabs)
        return NULL;
    list_init(&slabs->open);
    list_init(&slabs->full);
    return slabs;
}

static void slab_destroy(struct slab *slab)
{
    list_remove(&slab->node);
    munmap(slab, SLAB_SIZE);
}

void connection_slabs_destroy(struct connection_slabs *slabs)
{
    if (!slabs)
        return;
    while (!list_empty(&slabs->open))
        slab_destroy(list_entry(slabs->open.next, struct slab, node));
    free(slabs);
}

static struct slab *slab_create(struct connection_slabs *slabs)
{
    uint8_t *memory =
        mmap(NULL, 2 * SLAB_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct slab *slab;
    size_t ahead;

    if (memory == MAP_FAILED)
        return NULL;
    ahead = (SLAB_SIZE - (uintptr_t)memory % SLAB_SIZE) % SLAB_SIZE;
    if (ahead > 0)
        munmap(memory, ahead);
    munmap(memory + ahead + SLAB_SIZE, SLAB_SIZE - ahead);
    slab = (struct slab *)(void *)(memory + ahead);
    secret_protect(slab, SLAB_SIZE);
    slab->slabs = slabs;
    for (size_t i = SLAB_SLOTS; i-- > 0;) {
        struct free_slot *slot = (struct free_slot *)(void *)(memory + ahead + SLAB_HEAD + i * SLOT_SIZE);

        slot->next = slab->free;
        slab->free = slot;
    }
    list_init(&slab->node);
    list_push_front(&slabs->open, &slab->node);
    slabs->spare++;
    return slab;
}

struct connection *connection_slab_take(struct connection_slabs *slabs)
{
    struct slab *slab =
        list_empty(&slabs->open) ? slab_create(slabs) : list_entry(slabs->open.next, struct slab, node);
    struct free_slot *slot;

    if (!slab)
        return NULL;
    slot = slab->free;
    slab->free = slot->next;
    if (slab->used++ == 0)
        slabs->spare--;
    if (!slab->free) {
        list_remove(&slab->node);
        list_push_back(&slabs->full, &slab->node);
    }
    memset(slot, 0, sizeof(struct connection));
    return (struct connection *)(void *)slot;
}

void connection_slab_give(struct connection *connection)
{
    struct slab *slab = (struct slab *)((uintptr_t)connection & ~(uintptr_t)(SLAB_SIZE - 1));
    struct connection_slabs *slabs = slab->slabs;
    struct free_slot *slot = (struct free_slot *)(void *)connection;
    bool was_full = !slab->free;

    secret_wipe(connection, sizeof(*connection));
    slot->next = slab->free;
    slab->free = slot;
    if (was_full) {
        list_remove(&slab->node);
        list_push_back(&slabs->open, &slab->node);
    }
    if (--slab->used > 0)
        return;
    if (slabs->spare > 0) {
        slab_destroy(slab);
    } else {
        slabs->spare++;
        list_remove(&slab->node);
        list_push_back(&slabs->open, &slab->node); // used last
    }
}
