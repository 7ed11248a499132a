// SPDX-License-Identifier: Apache-2.0
// The pool of relay buffers. Each size has an arena (address space for the whole budget, touched only as far as it is
// used) and a stack of free buffers; one budget counts both.
#include "ringbolt/buffer.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ringbolt/secret.h"

#if defined(__SANITIZE_ADDRESS__)
#define POOL_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_POISONS 1
#endif
#endif
#ifdef POOL_POISONS
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(memory, size)   ((void)(memory), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#endif

#define BUDGET_MIN   (1u << 20)
#define TRIM_AT_ONCE 1024 // buffers a call of buffer_pool_trim() returns: bounds the time it takes
static const size_t class_size[BUFFER_CLASS_COUNT] = {BUFFER_SMALL_SIZE, BUFFER_LARGE_SIZE, BUFFER_HUGE_SIZE};

struct arena {
    uint8_t *memory;
    struct buffer *buffers; // descriptors; the first `fresh` have been in use at some time
    struct buffer **free;   // a stack: the last in is the first out
    uint32_t count;
    uint32_t fresh;
    uint32_t free_count;
    uint32_t free_low; // the least free_count since the last trim: that many at the bottom went unused
    uint32_t trimmed;  // so many at the bottom of the stack have no pages
};

struct buffer_pool {
    size_t budget;
    size_t used;
    struct arena arenas[BUFFER_CLASS_COUNT];
};

static void *reserve(size_t size)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

static void release(void *memory, size_t size)
{
    if (memory)
        munmap(memory, size);
}

static int arena_init(struct arena *arena, size_t budget, size_t size)
{
    arena->count = (uint32_t)(budget / size);
    arena->memory = reserve(arena->count * size);
    arena->buffers = reserve(arena->count * sizeof(struct buffer));
    arena->free = reserve(arena->count * sizeof(struct buffer *));
    if (!arena->memory || !arena->buffers || !arena->free)
        return -1;
    // They hold what clients believe to be private.
    secret_protect(arena->memory, arena->count * size);
    ASAN_POISON_MEMORY_REGION(arena->memory, arena->count * size);
    return 0;
}

static void arena_finish(struct arena *arena, size_t size)
{
    if (arena->memory)
        ASAN_UNPOISON_MEMORY_REGION(arena->memory, arena->count * size);
    release(arena->memory, arena->count * size);
    release(arena->buffers, arena->count * sizeof(struct buffer));
    release(arena->free, arena->count * sizeof(struct buffer *));
}

struct buffer_pool *buffer_pool_create(size_t bytes)
{
    struct buffer_pool *pool;

    assert(bytes >= BUDGET_MIN);
    pool = calloc(1, sizeof(*pool));
    if (!pool)
        return NULL;
    pool->budget = bytes;
    for (int class = 0; class < BUFFER_CLASS_COUNT; class ++) {
        if (arena_init(&pool->arenas[class], bytes, class_size[class]) != 0) {
            buffer_pool_destroy(pool);
            return NULL;
        }
    }
    return pool;
}

void buffer_pool_destroy(struct buffer_pool *pool)
{
    if (!pool)
        return;
    assert(pool->used == 0);
    for (int class = 0; class < BUFFER_CLASS_COUNT; class ++)
        arena_finish(&pool->arenas[class], class_size[class]);
    free(pool);
}

struct buffer *buffer_take(struct buffer_pool *pool, enum buffer_class class)
{
    struct arena *arena = &pool->arenas[class];
    size_t size = class_size[class];
    struct buffer *buffer;

    if (pool->used + size > pool->budget)
        return NULL;
    if (arena->free_count > 0) {
        buffer = arena->free[--arena->free_count];
        if (arena->free_count < arena->free_low)
            arena->free_low = arena->free_count;
        if (arena->free_count < arena->trimmed)
            arena->trimmed = arena->free_count;
    } else {
        assert(arena->fresh < arena->count); // the budget is spent first
        buffer = &arena->buffers[arena->fresh];
        buffer->data = arena->memory + arena->fresh * size;
        buffer->capacity = (uint32_t)size;
        buffer->class = class;
        arena->fresh++;
    }
    ASAN_UNPOISON_MEMORY_REGION(buffer->data, size);
    buffer->piece_count = 0;
    pool->used += size;
    return buffer;
}

void buffer_give(struct buffer_pool *pool, struct buffer *buffer)
{
    struct arena *arena;

    if (!buffer)
        return;
    arena = &pool->arenas[buffer->class];
    assert(arena->free_count < arena->fresh);
    assert(pool->used >= buffer->capacity);
    pool->used -= buffer->capacity;
    arena->free[arena->free_count++] = buffer;
    ASAN_POISON_MEMORY_REGION(buffer->data, buffer->capacity);
}

size_t buffer_pool_used(const struct buffer_pool *pool)
{
    return pool->used;
}

size_t buffer_pool_budget(const struct buffer_pool *pool)
{
    return pool->budget;
}

bool buffer_pool_is_trimmed(const struct buffer_pool *pool)
{
    for (int class = 0; class < BUFFER_CLASS_COUNT; class++) {
        if (pool->arenas[class].trimmed < pool->arenas[class].free_count)
            return false;
    }
    return true;
}

void buffer_pool_trim(struct buffer_pool *pool)
{
    for (int class = 0; class < BUFFER_CLASS_COUNT; class ++) {
        struct arena *arena = &pool->arenas[class];
        unsigned quota = TRIM_AT_ONCE;

        for (; arena->trimmed < arena->free_low && quota > 0; arena->trimmed++, quota--)
            madvise(arena->free[arena->trimmed]->data, class_size[class], MADV_DONTNEED);
        arena->free_low = arena->free_count;
    }
}

size_t buffer_length(const struct buffer *buffer)
{
    size_t length = 0;

    for (unsigned i = 0; i < buffer->piece_count; i++)
        length += buffer->pieces[i].iov_len;
    return length;
}

void buffer_consume(struct buffer *buffer, size_t length)
{
    unsigned done = 0;

    while (done < buffer->piece_count && length >= buffer->pieces[done].iov_len)
        length -= buffer->pieces[done++].iov_len;
    for (unsigned i = done; i < buffer->piece_count; i++)
        buffer->pieces[i - done] = buffer->pieces[i];
    buffer->piece_count = (uint16_t)(buffer->piece_count - done);
    assert(length == 0 || buffer->piece_count > 0);
    if (length > 0) {
        buffer->pieces[0].iov_base = (uint8_t *)buffer->pieces[0].iov_base + length;
        buffer->pieces[0].iov_len -= length;
    }
}

void buffer_fill(struct buffer *buffer, const struct iovec *parts, unsigned count)
{
    unsigned piece = 0;
    size_t used = 0;

    for (unsigned i = 0; i < count; i++) {
        const uint8_t *from = parts[i].iov_base;
        size_t left = parts[i].iov_len;

        while (left > 0) {
            size_t length = buffer->pieces[piece].iov_len - used;

            if (length > left)
                length = left;
            memcpy((uint8_t *)buffer->pieces[piece].iov_base + used, from, length);
            from += length;
            left -= length;
            used += length;
            if (used == buffer->pieces[piece].iov_len && ++piece < buffer->piece_count)
                used = 0;
        }
    }
    if (piece < buffer->piece_count) {
        buffer->pieces[piece].iov_len = used;
        buffer->piece_count = (uint16_t)(piece + (used > 0));
    }
}
