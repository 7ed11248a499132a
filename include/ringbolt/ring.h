// SPDX-License-Identifier: Apache-2.0
// The ring: the only room that knows io_uring. Operations are embedded in their owners; completions are queued
// first and run afterwards, one by one, so a handler may start and cancel what it likes.
//
// Ownership: from a ring_<verb>() call until its completion is handed out the operation, its buffer, its message and its
// address belong to the kernel. Every operation completes exactly once, cancelled ones with -ECANCELED or with
// what they had done.
// Nothing here fails at the call: a kernel that cannot take an operation (no memory, queues full) shows as a
// completion with -ENOMEM or -EAGAIN.
//
// tests/sim/fake_ring.c implements the same interface in memory.
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "ringbolt/buffer.h"
#include "ringbolt/list.h"

struct ring;
struct ring_op;

struct ring_completion {
    struct ring_op *op;
    int result;            // bytes, a descriptor, an event mask; or -errno
    struct buffer *buffer; // ring_receive_idle() that received: the buffer, now the receiver's; else NULL
};

typedef void ring_handler(struct ring_op *op, const struct ring_completion *completion);

struct ring_op {
    ring_handler *handler;
    // kept by the ring
    bool in_flight;
    int refused;      // why it could not be submitted
    struct list node; // among those refused, or whose cancellation is still to be submitted
};

// Whether a result says that the kernel was short of something for a moment, and the same may be tried again.
static inline bool ring_is_passing(int result)
{
    return result == -EAGAIN || result == -EINTR || result == -ENOMEM;
}

static inline void ring_op_init(struct ring_op *op, ring_handler *handler)
{
    op->handler = handler;
    op->in_flight = false;
    list_init(&op->node);
}

struct ring_options {
    unsigned entries;         // submission queue; a power of two
    struct buffer_pool *pool; // small buffers for ring_receive_idle() come from here; must outlive the ring
    // How much longer ring_wait() may take, after a turn of several completions, to bring several again: less CPU for each,
    // and later by at most that. 0: not at all.
    uint64_t gather_ns;
    // Only what this interface offers may be asked of the ring, for as long as it lives: no files, no new sockets, nothing else that a
    // filter of system calls would not see. -EOPNOTSUPP where the kernel can't.
    bool is_restricted;
};

// The one operation of io_uring_register(2) that is still made once a ring is there, by ring_destroy(): for filters of system calls.
#define RING_REGISTER_AT_END 21

// 0 and *ret, or -errno and *ret_why (static text): what was refused and the cure. -EPERM and -ENOSYS are what a forbidden
// io_uring gives.
int ring_create(const struct ring_options *options, struct ring **ret, const char **ret_why);
// Cancels nothing: no operation may be in flight. Gives the idle buffers back to the pool. NULL is accepted.
void ring_destroy(struct ring *ring);

// `op` must not be in flight for any of these.
void ring_accept(struct ring *ring, struct ring_op *op,
                 int fd); // result: the new descriptor, non-blocking, close-on-exec
void ring_connect(struct ring *ring, struct ring_op *op, int fd, const struct sockaddr *address,
                  socklen_t length);
void ring_receive(struct ring *ring, struct ring_op *op, int fd, void *data, size_t length, int flags);
// Receives without holding a buffer while it waits: when bytes are there, a small buffer is taken from the pool and its data
// from `offset` on is filled with at most `BUFFER_SMALL_SIZE - RING_IDLE_MARGIN` bytes; the completion hands the buffer over
// with one piece. -ENOBUFS: the pool had none.
#define RING_IDLE_HEAD   16 // bytes left free ahead of what was received, for a record header
#define RING_IDLE_MARGIN 48 // and in all, with room behind for type and tag
void ring_receive_idle(struct ring *ring, struct ring_op *op, int fd);
// How many ring_receive_idle() can get a buffer before the next ring_wait(): 0 means that the pool is spent.
unsigned ring_idle_ready(struct ring *ring);
void ring_receive_message(struct ring *ring, struct ring_op *op, int fd, struct msghdr *message, int flags);
void ring_send(struct ring *ring, struct ring_op *op, int fd, const void *data, size_t length, int flags);
void ring_send_message(struct ring *ring, struct ring_op *op, int fd, const struct msghdr *message,
                       int flags);
void ring_poll(struct ring *ring, struct ring_op *op, int fd, unsigned events); // once; result: the events

// Asks for the operation's end; its completion still comes. Harmless when it is not in flight.
void ring_cancel(struct ring *ring, struct ring_op *op);

// Submits what was started, so that it need not wait for the next ring_wait() while the caller does something long. What completes by it is
// handed out after that.
void ring_submit(struct ring *ring);
// Submits what was started and waits until a completion is there or wait_ns have passed (0: only looks; UINT64_MAX: no
// limit). 0, or -errno for what can't be survived (-EBADR and the like, never -EINTR or -ETIME).
int ring_wait(struct ring *ring, uint64_t wait_ns);
// Takes the next queued completion; false when there is none. The caller runs completion->op->handler.
bool ring_next(struct ring *ring, struct ring_completion *ret);

// What should not happen often, since the ring was made.
struct ring_counts {
    uint64_t overflows; // turns in which more completed than the kernel's queue holds: it keeps them, at a price
    uint64_t refused;   // operations that found no room in the submission queue
};
struct ring_counts ring_counts(const struct ring *ring);

// What this kernel's io_uring can do, for `ringbolt probe`.
struct ring_probe {
    int error;           // 0, or why a ring can't be had
    const char *why;     // with error: words and the cure
    bool single_issuer;  // SINGLE_ISSUER with DEFER_TASKRUN (6.1)
    bool buffer_rings;   // IORING_REGISTER_PBUF_RING (5.19)
    bool multishot_recv; // (6.0)
    bool send_zero_copy; // (6.0)
    bool bundles;        // IORING_FEAT_RECVSEND_BUNDLE (6.10)
    bool restrictions;   // ring_options.is_restricted (5.10)
};
void ring_probe(struct ring_probe *ret);
