// SPDX-License-Identifier: Apache-2.0
// The ring on io_uring. A completion's user_data is its operation; 0 stands for cancellations, whose own results
// interest nobody.
#include "ringbolt/ring.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ringbolt/clock.h"
#include "ringbolt/compat.h"

#define IDLE_BUFFERS 128 // in the kernel's hands for ring_receive_idle(); a power of two
#define IDLE_GROUP   0
#define QUEUE_SIZE   8192 // completions taken off the kernel's queue and not yet run; a power of two
#define CQ_FACTOR    4    // completion queue entries for each submission queue entry
#define GATHER_FROM  4    // completions in a turn from which on the loop is busy and more are gathered
#define GATHER_MANY  16   // so many, besides those that come at once

struct ring {
    struct io_uring uring;
    struct buffer_pool *pool;

    struct io_uring_buf_ring *idle_ring;
    struct buffer *idle[IDLE_BUFFERS]; // by buffer id; NULL: that id is free
    uint16_t idle_free[IDLE_BUFFERS];  // a stack of free ids
    unsigned idle_free_count;

    struct ring_completion queue[QUEUE_SIZE];
    unsigned queue_head;
    unsigned queue_tail;

    uint64_t gather_ns;
    unsigned handed_out; // completions since the last ring_wait()
    unsigned at_once;    // operations started since then that complete while they are submitted, mostly

    struct ring_counts counts;
    struct list refused;   // operations that the kernel could not take: complete with op->refused
    struct list cancelled; // operations whose cancellation found no room in the submission queue
};

// ---- life ----

static const char *refusal(int error)
{
    switch (error) {
    case -ENOSYS:
        return "this kernel has no io_uring; Linux 6.1 or later, built with CONFIG_IO_URING, is needed";
    case -EPERM:
        return "io_uring is forbidden here; allow it with `sysctl kernel.io_uring_disabled=0`, and in a "
               "container "
               "with a seccomp profile that permits io_uring_setup, io_uring_enter and io_uring_register";
    case -EACCES:
        return "io_uring is forbidden here by the security module; allow it for this program";
    case -ENOMEM:
        return "no memory for the ring; raise the limit of locked memory (ulimit -l, LimitMEMLOCK=)";
    case -EINVAL:
        return "this kernel's io_uring is too old; Linux 6.1 or later is needed";
    case -EMFILE:
    case -ENFILE:
        return "too many open files; raise the limit (ulimit -n, LimitNOFILE=)";
    default:
        return "io_uring could not be set up";
    }
}

// DEFER_TASKRUN runs completions where we wait for them and nowhere else (6.1); COOP_TASKRUN is next best (5.19).
static int setup(struct io_uring *uring, unsigned entries, unsigned more, bool *ret_deferred)
{
    const unsigned flags[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_COOP_TASKRUN,
        0,
    };
    int error = -EINVAL;

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]) && error == -EINVAL; i++) {
        struct io_uring_params params = {
            .flags = flags[i] | more | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL,
            .cq_entries = entries * CQ_FACTOR,
        };

        error = io_uring_queue_init_params(entries, uring, &params);
        *ret_deferred = i == 0;
    }
    return error;
}

static size_t idle_ring_size(void)
{
    return IDLE_BUFFERS * sizeof(struct io_uring_buf);
}

static int idle_register(struct ring *ring)
{
    struct io_uring_buf_reg registration = {.ring_entries = IDLE_BUFFERS, .bgid = IDLE_GROUP};
    void *memory = mmap(NULL, idle_ring_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int error;

    if (memory == MAP_FAILED)
        return -errno;
    registration.ring_addr = (uintptr_t)memory;
    error = io_uring_register_buf_ring(&ring->uring, &registration, 0);
    if (error < 0) {
        munmap(memory, idle_ring_size());
        return error;
    }
    ring->idle_ring = memory;
    io_uring_buf_ring_init(ring->idle_ring);
    for (unsigned i = 0; i < IDLE_BUFFERS; i++)
        ring->idle_free[i] = (uint16_t)i;
    ring->idle_free_count = IDLE_BUFFERS;
    return 0;
}

// What may be asked of this ring from now on, all of it in this file. Whatever else is submitted completes with -EACCES. Ends the time in
// which nothing can be submitted. (liburing 2.3 declares helpers for this and does not export them.)
static int restrict_and_enable(struct io_uring *uring)
{
    static const uint8_t operations[] = {
        IORING_OP_ACCEPT,  IORING_OP_CONNECT,  IORING_OP_RECV,         IORING_OP_RECVMSG, IORING_OP_SEND,
        IORING_OP_SENDMSG, IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL,
    };
    enum { COUNT = sizeof(operations) / sizeof(operations[0]) };
    struct io_uring_restriction list[COUNT + 2];
    int error;

    memset(list, 0, sizeof(list));
    for (size_t i = 0; i < COUNT; i++) {
        list[i].opcode = IORING_RESTRICTION_SQE_OP;
        list[i].sqe_op = operations[i];
    }
    list[COUNT].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
    list[COUNT].sqe_flags = IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS;
    list[COUNT + 1].opcode = IORING_RESTRICTION_REGISTER_OP;
    list[COUNT + 1].register_op = IORING_UNREGISTER_RING_FDS;
    error = io_uring_register((unsigned)uring->ring_fd, IORING_REGISTER_RESTRICTIONS, list, COUNT + 2);
    if (error == 0)
        error = io_uring_register((unsigned)uring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    return error;
}

_Static_assert(RING_REGISTER_AT_END == IORING_UNREGISTER_RING_FDS, "io_uring_queue_exit() gives the number back");

int ring_create(const struct ring_options *options, struct ring **ret, const char **ret_why)
{
    unsigned disabled = options->is_restricted ? IORING_SETUP_R_DISABLED : 0;
    struct ring *ring = calloc(1, sizeof(*ring));
    bool deferred;
    int error;

    if (!ring) {
        *ret_why = "no memory";
        return -ENOMEM;
    }
    ring->pool = options->pool;
    ring->gather_ns = options->gather_ns;
    list_init(&ring->refused);
    list_init(&ring->cancelled);
    error = setup(&ring->uring, options->entries, disabled, &deferred);
    if (error < 0) {
        *ret_why = refusal(error);
        goto fail_setup;
    }
    error = idle_register(ring);
    if (error < 0) {
        *ret_why = error == -EINVAL
                       ? "this kernel's io_uring has no provided-buffer rings; Linux 6.1 or later is needed"
                       : refusal(error);
        goto fail_register;
    }
    (void)io_uring_register_ring_fd(&ring->uring); // spares a descriptor look-up each call, if the kernel can
    if (options->is_restricted && restrict_and_enable(&ring->uring) < 0) {
        *ret_why = "this kernel's io_uring can't be restricted; Linux 6.1 or later is needed, or `sandbox.io_uring: off`";
        error = -EOPNOTSUPP;
        goto fail_restrict;
    }
    *ret = ring;
    return 0;

fail_restrict:
    munmap(ring->idle_ring, idle_ring_size());
fail_register:
    io_uring_queue_exit(&ring->uring);
fail_setup:
    free(ring);
    return error;
}

void ring_destroy(struct ring *ring)
{
    if (!ring)
        return;
    io_uring_queue_exit(&ring->uring); // after this the kernel has no idle buffer any more
    for (unsigned i = 0; i < IDLE_BUFFERS; i++)
        buffer_give(ring->pool, ring->idle[i]);
    munmap(ring->idle_ring, idle_ring_size());
    free(ring);
}

// ---- completions ----

static unsigned queue_used(const struct ring *ring)
{
    return ring->queue_tail - ring->queue_head;
}

static void complete(struct ring *ring, struct ring_op *op, int result, struct buffer *buffer)
{
    list_remove(&op->node);
    ring->queue[ring->queue_tail++ % QUEUE_SIZE] =
        (struct ring_completion){.op = op, .result = result, .buffer = buffer};
}

// The idle buffer that a completion used, out of the kernel's hands; NULL when it used none or nothing came.
static struct buffer *idle_taken(struct ring *ring, const struct io_uring_cqe *cqe)
{
    struct buffer *buffer;
    unsigned id;

    if (!(cqe->flags & IORING_CQE_F_BUFFER))
        return NULL;
    id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    assert(id < IDLE_BUFFERS && ring->idle[id]);
    buffer = ring->idle[id];
    ring->idle[id] = NULL;
    ring->idle_free[ring->idle_free_count++] = (uint16_t)id;
    if (cqe->res <= 0) {
        buffer_give(ring->pool, buffer);
        return NULL;
    }
    buffer->piece_count = 1;
    buffer->pieces[0] =
        (struct iovec){.iov_base = buffer->data + RING_IDLE_HEAD, .iov_len = (size_t)cqe->res};
    return buffer;
}

// Moves completions from the kernel's queue into ours, as many as fit.
static void harvest(struct ring *ring)
{
    struct io_uring_cqe *cqe;
    unsigned head;
    unsigned seen = 0;

    io_uring_for_each_cqe(&ring->uring, head, cqe)
    {
        struct ring_op *op = io_uring_cqe_get_data(cqe);

        if (queue_used(ring) == QUEUE_SIZE)
            break;
        seen++;
        if (op)
            complete(ring, op, cqe->res, idle_taken(ring, cqe));
    }
    io_uring_cq_advance(&ring->uring, seen);
}

bool ring_next(struct ring *ring, struct ring_completion *ret)
{
    if (queue_used(ring) == 0)
        return false;
    *ret = ring->queue[ring->queue_head++ % QUEUE_SIZE];
    ring->handed_out++;
    ret->op->in_flight = false; // only now: while its completion is queued, the operation must not go away
    return true;
}

// ---- submission ----

static struct io_uring_sqe *try_entry(struct ring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

    if (sqe)
        return sqe;
    // Full: hand it to the kernel. It refuses while its completion queue has overflowed, so make room first.
    if (io_uring_submit(&ring->uring) < 0) {
        harvest(ring);
        (void)io_uring_submit(&ring->uring);
    }
    return io_uring_get_sqe(&ring->uring);
}

// An entry for a new operation; NULL when the kernel takes none now: the operation will complete with -EAGAIN.
static struct io_uring_sqe *begin(struct ring *ring, struct ring_op *op)
{
    struct io_uring_sqe *sqe;

    assert(!op->in_flight);
    op->in_flight = true;
    sqe = try_entry(ring);
    if (!sqe) {
        op->refused = -EAGAIN;
        ring->counts.refused++;
        list_push_back(&ring->refused, &op->node);
    }
    return sqe;
}

void ring_accept(struct ring *ring, struct ring_op *op, int fd)
{
    struct io_uring_sqe *sqe = begin(ring, op);

    if (!sqe)
        return;
    io_uring_prep_accept(sqe, fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    io_uring_sqe_set_data(sqe, op);
}

void ring_connect(struct ring *ring, struct ring_op *op, int fd, const struct sockaddr *address,
                  socklen_t length)
{
    struct io_uring_sqe *sqe = begin(ring, op);

    if (!sqe)
        return;
    io_uring_prep_connect(sqe, fd, address, length);
    io_uring_sqe_set_data(sqe, op);
}

void ring_receive(struct ring *ring, struct ring_op *op, int fd, void *data, size_t length, int flags)
{
    struct io_uring_sqe *sqe = begin(ring, op);

    if (!sqe)
        return;
    ring->at_once += (flags & MSG_DONTWAIT) != 0;
    io_uring_prep_recv(sqe, fd, data, length, flags);
    io_uring_sqe_set_data(sqe, op);
}

void ring_receive_idle(struct ring *ring, struct ring_op *op, int fd)
{
    struct io_uring_sqe *sqe = begin(ring, op);

    if (!sqe)
        return;
    io_uring_prep_recv(sqe, fd, NULL, 0, 0);
    io_uring_sqe_set_flags(sqe, IOSQE_BUFFER_SELECT);
    sqe->buf_group = IDLE_GROUP;
    io_uring_sqe_set_data(sqe, op);
}

void ring_receive_message(struct ring *ring, struct ring_op *op, int fd, struct msghdr *message, int flags)
{
    struct io_uring_sqe *sqe = begin(ring, op);

    if (!sqe)
        return;
    ring->at_once += (flags & MSG_DONTWAIT) != 0;
    io_uring_prep_recvmsg(sqe, fd, message, (unsigned)flags);
    io_uring_sqe_set_data(sqe, op);
}

void ring_send(struct ring *ring, struct ring_op *op, int fd, const void *data, size_t length, int flags)
{
    struct io_uring_sqe *sqe = begin(ring, op);

    if (!sqe)
        return;
    ring->at_once++;
    io_uring_prep_send(sqe, fd, data, length, flags | MSG_NOSIGNAL);
    io_uring_sqe_set_data(sqe, op);
}

void ring_send_message(struct ring *ring, struct ring_op *op, int fd, const struct msghdr *message, int flags)
{
    struct io_uring_sqe *sqe = begin(ring, op);

    if (!sqe)
        return;
    ring->at_once++;
    io_uring_prep_sendmsg(sqe, fd, message, (unsigned)flags | MSG_NOSIGNAL);
    io_uring_sqe_set_data(sqe, op);
}

void ring_poll(struct ring *ring, struct ring_op *op, int fd, unsigned events)
{
    struct io_uring_sqe *sqe = begin(ring, op);

    if (!sqe)
        return;
    io_uring_prep_poll_add(sqe, fd, events);
    io_uring_sqe_set_data(sqe, op);
}

static bool submit_cancel(struct ring *ring, struct ring_op *op)
{
    struct io_uring_sqe *sqe = try_entry(ring);

    if (!sqe)
        return false;
    io_uring_prep_cancel(sqe, op, 0);
    io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
    io_uring_sqe_set_data(sqe, NULL);
    return true;
}

void ring_cancel(struct ring *ring, struct ring_op *op)
{
    if (!op->in_flight || list_linked(&op->node))
        return; // done, refused already, or to be cancelled already
    if (!submit_cancel(ring, op))
        list_push_back(&ring->cancelled, &op->node);
}

// Gives the kernel a buffer for every free id while the pool has any.
static void idle_refill(struct ring *ring)
{
    int added = 0;

    while (ring->idle_free_count > 0) {
        struct buffer *buffer = buffer_take(ring->pool, BUFFER_SMALL);
        uint16_t id;

        if (!buffer)
            break;
        id = ring->idle_free[--ring->idle_free_count];
        ring->idle[id] = buffer;
        io_uring_buf_ring_add(ring->idle_ring, buffer->data + RING_IDLE_HEAD,
                              BUFFER_SMALL_SIZE - RING_IDLE_MARGIN, id, io_uring_buf_ring_mask(IDLE_BUFFERS),
                              added++);
    }
    if (added > 0)
        io_uring_buf_ring_advance(ring->idle_ring, added);
}

unsigned ring_idle_ready(struct ring *ring)
{
    idle_refill(ring);
    return IDLE_BUFFERS - ring->idle_free_count;
}

// What could not be submitted when it was asked for.
static void retry(struct ring *ring)
{
    struct list *node;

    while (!list_empty(&ring->cancelled)) {
        struct ring_op *op = list_entry(ring->cancelled.next, struct ring_op, node);

        if (!submit_cancel(ring, op))
            break;
        list_remove(&op->node);
    }
    while (queue_used(ring) < QUEUE_SIZE && (node = list_pop_front(&ring->refused))) {
        struct ring_op *op = list_entry(node, struct ring_op, node);

        complete(ring, op, op->refused, NULL);
    }
}

void ring_submit(struct ring *ring)
{
    if (io_uring_sq_ready(&ring->uring) > 0)
        (void)io_uring_submit(&ring->uring); // what it could not take, ring_wait() tries again
}

// Submits, waits for so many completions and takes what is there. 0, or -errno for what can't be survived.
static int enter(struct ring *ring, unsigned count, uint64_t wait_ns)
{
    struct __kernel_timespec timeout = {
        .tv_sec = (long long)(wait_ns / CLOCK_NS_PER_S),
        .tv_nsec = (long long)(wait_ns % CLOCK_NS_PER_S),
    };
    struct io_uring_cqe *cqe;
    int result;

    if (wait_ns == 0)
        result = io_uring_submit_and_get_events(&ring->uring);
    else if (wait_ns == UINT64_MAX)
        result = io_uring_submit_and_wait(&ring->uring, count);
    else
        result = io_uring_submit_and_wait_timeout(&ring->uring, &cqe, count, &timeout, NULL);
    ring->counts.overflows += (IO_URING_READ_ONCE(*ring->uring.sq.kflags) & IORING_SQ_CQ_OVERFLOW) != 0;
    harvest(ring);
    switch (result) {
    case -EINTR:
    case -ETIME:
    case -EAGAIN: // no memory for requests, or a full queue: what was harvested makes room
    case -EBUSY:
    case -ENOMEM:
        return 0;
    default:
        return result < 0 ? result : 0;
    }
}

int ring_wait(struct ring *ring, uint64_t wait_ns)
{
    bool gathers = ring->handed_out >= GATHER_FROM && wait_ns > ring->gather_ns && ring->gather_ns > 0;
    unsigned many = ring->at_once + GATHER_MANY;

    ring->handed_out = ring->at_once = 0;
    idle_refill(ring);
    retry(ring);
    if (queue_used(ring) > 0)
        return enter(ring, 0, 0);
    // Under load the next few completions are microseconds away. To fetch them together costs one sleep and one call in place of one
    // each, and what a peer sends in two pieces has become one.
    if (gathers) {
        int error = enter(ring, many, ring->gather_ns);

        if (error < 0 || queue_used(ring) > 0)
            return error;
    }
    return enter(ring, 1, wait_ns);
}

struct ring_counts ring_counts(const struct ring *ring)
{
    return ring->counts;
}

// ---- probe ----

void ring_probe(struct ring_probe *ret)
{
    struct ring_options options = {.entries = 8};
    struct io_uring_probe *probe;
    struct ring *ring;
    bool deferred;
    struct io_uring uring;

    memset(ret, 0, sizeof(*ret));
    ret->error = setup(&uring, options.entries, 0, &deferred);
    if (ret->error < 0) {
        ret->why = refusal(ret->error);
        return;
    }
    ret->single_issuer = deferred;
    ret->bundles = uring.features & IORING_FEAT_RECVSEND_BUNDLE;
    probe = io_uring_get_probe_ring(&uring);
    if (probe) {
        ret->send_zero_copy = io_uring_opcode_supported(probe, IORING_OP_SEND_ZC);
        ret->multishot_recv = ret->send_zero_copy; // both came with 6.0 and neither has a probe of its own
        io_uring_free_probe(probe);
    }
    io_uring_queue_exit(&uring);
    options.pool = buffer_pool_create(1u << 20);
    if (!options.pool) {
        ret->error = -ENOMEM;
        ret->why = refusal(ret->error);
        return;
    }
    ret->error = ring_create(&options, &ring, &ret->why);
    if (ret->error == 0) {
        const char *why;

        ret->buffer_rings = true;
        ring_destroy(ring);
        options.is_restricted = true;
        ret->restrictions = ring_create(&options, &ring, &why) == 0;
        if (ret->restrictions)
            ring_destroy(ring);
    }
    buffer_pool_destroy(options.pool);
}
