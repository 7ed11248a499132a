// SPDX-License-Identifier: Apache-2.0
// The pool of relay buffers: three sizes, one budget, no allocation after the start. The free buffer used last is handed out
// first, so that a busy worker runs in its caches; pages of buffers that stayed unused for a while go back to the system
// (buffer_pool_trim()). A buffer has one owner at any time: the pool, a flow, an endpoint, or the kernel (from the
// submission of an operation to its completion).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

// A small buffer is one page: what an idle flow reads first. The others take so many full TLS records: a large one what a
// busy flow reads, a huge one what a flow reads that keeps filling large ones.
#define BUFFER_SMALL_SIZE    4096
#define BUFFER_LARGE_RECORDS 8
#define BUFFER_HUGE_RECORDS  62 // just under 1 MiB, the least pool
#define BUFFER_LARGE_SIZE    (BUFFER_LARGE_RECORDS * 16384 + 4096)
#define BUFFER_HUGE_SIZE     (BUFFER_HUGE_RECORDS * 16384 + 4096)

enum buffer_class { BUFFER_SMALL, BUFFER_LARGE, BUFFER_HUGE, BUFFER_CLASS_COUNT };

// More pieces than records, so that a buffer of full records with a piece each always fits.
#define BUFFER_PIECES_MAX (BUFFER_HUGE_RECORDS + 2)

// Memory and the pieces of it that hold something: what readv/sendmsg take. The pieces lie in ascending order.
struct buffer {
    uint8_t *data;
    uint32_t capacity;
    uint16_t class;
    uint16_t piece_count;
    struct iovec pieces[BUFFER_PIECES_MAX];
    struct msghdr message;             // for receive/send with several pieces or ancillary data
    _Alignas(8) uint8_t ancillary[24]; // RECORD_ANCILLARY_SIZE
};

struct buffer_pool;

// A pool that never holds more than `bytes` (at least 1 MiB) of buffers in use. NULL when there is no memory.
struct buffer_pool *buffer_pool_create(size_t bytes);
void buffer_pool_destroy(struct buffer_pool *pool); // every buffer must be back; NULL is accepted

// A buffer with no pieces, or NULL when the budget is spent.
struct buffer *buffer_take(struct buffer_pool *pool, enum buffer_class class);
// Gives one back; NULL is accepted.
void buffer_give(struct buffer_pool *pool, struct buffer *buffer);

// Bytes in use now.
size_t buffer_pool_used(const struct buffer_pool *pool);
size_t buffer_pool_budget(const struct buffer_pool *pool);

// Returns the pages of buffers that were free since the last call to the system. For once a second or so.
void buffer_pool_trim(struct buffer_pool *pool);
// True when no free buffer has pages.
bool buffer_pool_is_trimmed(const struct buffer_pool *pool);

// Bytes in all pieces.
size_t buffer_length(const struct buffer *buffer);
// Copies parts[count] into the pieces, which have room for them, one behind the other. What is not filled is no piece any more.
void buffer_fill(struct buffer *buffer, const struct iovec *parts, unsigned count);
// Drops the first `length` bytes (at most buffer_length()).
void buffer_consume(struct buffer *buffer, size_t length);
