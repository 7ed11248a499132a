// SPDX-License-Identifier: Apache-2.0
// Memory for secrets: whole pages of their own, and a heap of small pieces; locked, left out of core dumps, wiped.
#include "ringbolt/secret.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ringbolt/list.h"
#include "ringbolt/log.h"

// The heap's pieces stand in blocks that begin at a multiple of BLOCK_SIZE, so a piece's address tells its block. A block holds pieces
// of one size: four sizes for each power of two. What is larger gets a block, as long as need be, for itself.
#define BLOCK_SIZE  ((size_t)64 * 1024)
#define PIECE_MIN   ((size_t)32)
#define PIECE_MAX   ((size_t)8 * 1024)
#define CLASS_COUNT (4 * 8 + 1) // 32 times 2^0 to 2^8
#define BLOCK_MAGIC 0x7365637265746d65u

struct block {
    uint64_t magic;
    struct list node;       // in its class, if it has room; else in full_blocks
    size_t length;          // of the mapping
    size_t piece_size;      // a multiple of 16
    uint32_t piece_count;   // how many fit
    uint32_t used_count;    // of these, how many are in use
    uint32_t touched_count; // the first so many were used at least once; those behind are still zero
    void *free; // the first of a chain of pieces given back, each with the next one's address in front
};

#define BLOCK_HEAD ((sizeof(struct block) + 15) & ~(size_t)15)

_Static_assert(PIECE_MIN << 8 == PIECE_MAX, "CLASS_COUNT covers the sizes");

static struct {
    bool is_begun;
    bool is_limit_said;
    struct list open[CLASS_COUNT]; // blocks with room
    struct list full;              // blocks without, and those of one large piece
} heap;

// size rounded up to whole pages; 0 when that overflows or size is 0.
static size_t whole_pages(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    if (size > SIZE_MAX - (page - 1))
        return 0;
    return (size + page - 1) & ~(page - 1);
}

void secret_wipe(void *memory, size_t size)
{
    if (size > 0)
        explicit_bzero(memory, size);
}

// ---- whole pages ----

void *secret_alloc(size_t size)
{
    size_t length = whole_pages(size);
    void *memory;

    if (length == 0) {
        errno = size == 0 ? EINVAL : ENOMEM;
        return NULL;
    }
    memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    secret_protect(memory, length);
    // Best effort: without the right to lock, the secret may reach the swap, which the header says.
    (void)mlock(memory, length);
    return memory;
}

void secret_free(void *memory, size_t size)
{
    if (memory == NULL)
        return;
    secret_wipe(memory, size);
    munmap(memory, whole_pages(size));
}

void secret_protect(void *memory, size_t size)
{
    int saved = errno;

    (void)madvise(memory, size, MADV_DONTDUMP);
    errno = saved;
}

// ---- the heap ----

static void heap_begin(void)
{
    if (heap.is_begun)
        return;
    for (size_t i = 0; i < CLASS_COUNT; i++)
        list_init(&heap.open[i]);
    list_init(&heap.full);
    heap.is_begun = true;
}

// Locks pages as they come into being: after fork(2) mlock(2) would copy every page that is still shared with the parent.
static void lock(struct block *block)
{
    int saved = errno;

    if (mlock2(block, block->length, MLOCK_ONFAULT) < 0 && !heap.is_limit_said) {
        heap.is_limit_said = true;
        log_debug("secrets are not all locked into memory: the limit on locked memory is too small",
                  log_errno(errno));
    }
    errno = saved;
}

// `length` bytes, a multiple of the page, at a multiple of BLOCK_SIZE.
static struct block *map_aligned(size_t length)
{
    uint8_t *memory, *start;
    size_t ahead;

    if (length > SIZE_MAX - BLOCK_SIZE)
        return NULL;
    memory = mmap(NULL, length + BLOCK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    start = (uint8_t *)(((uintptr_t)memory + BLOCK_SIZE - 1) & ~(uintptr_t)(BLOCK_SIZE - 1));
    ahead = (size_t)(start - memory);
    if (ahead > 0)
        munmap(memory, ahead);
    munmap(start + length, BLOCK_SIZE - ahead);
    return (struct block *)start;
}

static struct block *block_create(size_t piece_size, size_t length)
{
    struct block *block = map_aligned(length);

    if (block == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    secret_protect(block, length);
    block->magic = BLOCK_MAGIC;
    block->length = length;
    block->piece_size = piece_size;
    block->piece_count = (uint32_t)((length - BLOCK_HEAD) / piece_size);
    list_init(&block->node);
    lock(block);
    return block;
}

// Rounds up to a size of which there are blocks, and says which: 32, 40 → 48, 48, 56 → 64, 64, 80, 96, 112, 128, 160 …
static size_t class_of(size_t *size)
{
    size_t base = PIECE_MIN;
    size_t class = 0;
    size_t quarter;

    while (base * 2 <= *size) {
        base *= 2;
        class += 4;
    }
    quarter = base / 4 > 16 ? base / 4 : 16;
    *size = *size <= PIECE_MIN ? PIECE_MIN : (*size + quarter - 1) & ~(quarter - 1);
    return class + (*size - base) / (base / 4);
}

static void *take_large(size_t size)
{
    size_t length = size <= SIZE_MAX - BLOCK_HEAD ? whole_pages(size + BLOCK_HEAD) : 0;
    struct block *block;

    if (length == 0) {
        errno = ENOMEM;
        return NULL;
    }
    block = block_create(length - BLOCK_HEAD, length);
    if (block == NULL)
        return NULL;
    block->used_count = 1;
    list_push_back(&heap.full, &block->node);
    return (uint8_t *)block + BLOCK_HEAD;
}

void *secret_take(size_t size)
{
    struct block *block;
    struct list *open;
    void *piece;

    assert(size > 0);
    heap_begin();
    if (size > PIECE_MAX)
        return take_large(size);
    open = &heap.open[class_of(&size)];
    if (list_empty(open)) {
        block = block_create(size, BLOCK_SIZE);
        if (block == NULL)
            return NULL;
        list_push_back(open, &block->node);
    }
    block = list_entry(open->next, struct block, node);
    piece = block->free;
    if (piece != NULL) {
        memcpy(&block->free, piece, sizeof(block->free));
        memset(piece, 0, sizeof(block->free));
    } else {
        piece = (uint8_t *)block + BLOCK_HEAD + block->touched_count++ * block->piece_size;
    }
    if (++block->used_count == block->piece_count) {
        list_remove(&block->node);
        list_push_back(&heap.full, &block->node);
    }
    return piece;
}

void secret_give(void *memory)
{
    struct block *block = (struct block *)((uintptr_t)memory & ~(uintptr_t)(BLOCK_SIZE - 1));
    size_t size;

    if (memory == NULL)
        return;
    assert(block->magic == BLOCK_MAGIC && block->used_count > 0);
    assert(((size_t)((uint8_t *)memory - (uint8_t *)block) - BLOCK_HEAD) % block->piece_size == 0);
    secret_wipe(memory, block->piece_size);
    block->used_count--;
    list_remove(&block->node);
    if (block->used_count == 0) {
        munmap(block, block->length);
        return;
    }
    memcpy(memory, &block->free, sizeof(block->free));
    block->free = memory;
    size = block->piece_size;
    list_push_front(&heap.open[class_of(&size)], &block->node);
}

void secret_relock(void)
{
    heap_begin();
    for (struct list *node = heap.full.next; node != &heap.full; node = node->next)
        lock(list_entry(node, struct block, node));
    for (size_t i = 0; i < CLASS_COUNT; i++) {
        for (struct list *node = heap.open[i].next; node != &heap.open[i]; node = node->next)
            lock(list_entry(node, struct block, node));
    }
}
