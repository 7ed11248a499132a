// SPDX-License-Identifier: Apache-2.0
// The ring: operations that complete at once, in batches, from the call that starts one to its handler. Their cost is the ring's own and
// what the kernel does for the operation; `call/…` is the same by a system call each. A poll of what is ready is the least that ring.h
// offers. Bytes go through pairs of unix sockets; what brings and takes them away isn't measured.
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "micro.h"
#include "ringbolt/ring.h"

#define BATCH_MAX    64
#define MESSAGE_SIZE 100
#define POOL_SIZE    (4u << 20)
#define FILL         0x5a

enum verb { POLL, RECEIVE, RECEIVE_IDLE, SEND, CALL_POLL, CALL_RECEIVE, CALL_SEND, VERB_COUNT };
enum { VERB, BATCH }; // of variant[]

struct lane {
    struct ring_bench *bench;
    struct ring_op op;
    int near; // under test
    int far;
    uint8_t message[MESSAGE_SIZE];
};

struct ring_bench {
    struct buffer_pool *pool;
    struct ring *ring;
    struct lane lanes[BATCH_MAX];
    size_t batch;
    enum verb verb;
    int ready; // an eventfd with something in it
    size_t done;
    bool is_wrong; // some operation was not what it should have been
};

// ---- the work ----

static void on_poll(struct ring_op *op, const struct ring_completion *completion)
{
    struct ring_bench *bench = list_entry(op, struct lane, op)->bench;

    bench->is_wrong |= completion->result != POLLIN;
    bench->done++;
}

static void on_moved(struct ring_op *op, const struct ring_completion *completion)
{
    struct ring_bench *bench = list_entry(op, struct lane, op)->bench;

    bench->is_wrong |= completion->result != MESSAGE_SIZE;
    bench->done++;
}

static void on_idle(struct ring_op *op, const struct ring_completion *completion)
{
    struct lane *lane = list_entry(op, struct lane, op);
    const struct buffer *buffer = completion->buffer;

    if (completion->result == MESSAGE_SIZE && buffer->piece_count == 1)
        lane->message[0] =
            ((uint8_t *)buffer->pieces[0].iov_base)[MESSAGE_SIZE - 1]; // its reader looks into it
    buffer_give(lane->bench->pool, completion->buffer);
    on_moved(op, completion);
}

static void begin(struct ring_bench *bench, struct lane *lane)
{
    switch (bench->verb) {
    case POLL:
        ring_poll(bench->ring, &lane->op, bench->ready, POLLIN);
        break;
    case RECEIVE:
        ring_receive(bench->ring, &lane->op, lane->near, lane->message, sizeof(lane->message), 0);
        break;
    case RECEIVE_IDLE:
        ring_receive_idle(bench->ring, &lane->op, lane->near);
        break;
    default:
        ring_send(bench->ring, &lane->op, lane->near, lane->message, sizeof(lane->message), 0);
    }
}

static void work(void *state, size_t count)
{
    struct ring_bench *bench = state;
    struct ring_completion completion;

    bench->done = 0;
    for (size_t i = 0; i < count; i++)
        begin(bench, &bench->lanes[i]);
    while (bench->done < count) {
        if (ring_wait(bench->ring, UINT64_MAX) < 0)
            abort();
        while (ring_next(bench->ring, &completion))
            completion.op->handler(completion.op, &completion);
    }
}

static void work_by_calls(void *state, size_t count)
{
    struct ring_bench *bench = state;

    for (size_t i = 0; i < count; i++) {
        struct lane *lane = &bench->lanes[i];
        struct pollfd poll_fd = {.fd = bench->ready, .events = POLLIN};

        if (bench->verb == CALL_POLL)
            bench->is_wrong |= poll(&poll_fd, 1, -1) != 1 || poll_fd.revents != POLLIN;
        else if (bench->verb == CALL_RECEIVE)
            bench->is_wrong |= recv(lane->near, lane->message, sizeof(lane->message), 0) != MESSAGE_SIZE;
        else
            bench->is_wrong |=
                send(lane->near, lane->message, sizeof(lane->message), MSG_NOSIGNAL) != MESSAGE_SIZE;
    }
}

// ---- the other ends ----

static bool receives(enum verb verb)
{
    return verb == RECEIVE || verb == RECEIVE_IDLE || verb == CALL_RECEIVE;
}

static bool sends(enum verb verb)
{
    return verb == SEND || verb == CALL_SEND;
}

static void fill(struct ring_bench *bench, size_t count)
{
    uint8_t bytes[MESSAGE_SIZE];

    memset(bytes, FILL, sizeof(bytes));
    for (size_t i = 0; i < count; i++)
        micro_need(send(bench->lanes[i].far, bytes, sizeof(bytes), 0) == MESSAGE_SIZE, "room in a socket");
}

static void empty(struct ring_bench *bench, size_t count)
{
    uint8_t bytes[MESSAGE_SIZE];

    for (size_t i = 0; i < count; i++)
        bench->is_wrong |= recv(bench->lanes[i].far, bytes, sizeof(bytes), MSG_DONTWAIT) != MESSAGE_SIZE ||
                           bytes[MESSAGE_SIZE - 1] != FILL;
}

// ---- the benchmark ----

static void run(void *state, struct micro *micro, size_t count)
{
    struct ring_bench *bench = state;

    for (size_t now; count > 0; count -= now) {
        now = count < bench->batch ? count : bench->batch;
        if (receives(bench->verb))
            fill(bench, now);
        micro_measure(micro, bench->verb >= CALL_POLL ? work_by_calls : work, bench, now);
        if (sends(bench->verb))
            empty(bench, now);
    }
    micro_need(!bench->is_wrong, "what an operation should have done");
}

static void tear_down(void *state)
{
    struct ring_bench *bench = state;

    ring_destroy(bench->ring);
    buffer_pool_destroy(bench->pool);
    for (size_t i = 0; i < bench->batch; i++) {
        close(bench->lanes[i].near);
        close(bench->lanes[i].far);
    }
    close(bench->ready);
    free(bench);
}

static void *set_up(const struct benchmark *benchmark, const char **ret_why)
{
    static ring_handler *const handlers[] = {on_poll, on_moved, on_idle, on_moved};
    struct ring_bench *bench = calloc(1, sizeof(*bench));
    struct ring_options options = {.entries = 256};

    micro_need(bench != NULL && (bench->pool = buffer_pool_create(POOL_SIZE)) != NULL, "memory");
    bench->verb = (enum verb)benchmark->variant[VERB];
    bench->ready = eventfd(1, EFD_CLOEXEC);
    micro_need(bench->ready >= 0, "a descriptor");
    options.pool = bench->pool;
    if (bench->verb < CALL_POLL && ring_create(&options, &bench->ring, ret_why) < 0) {
        tear_down(bench);
        return NULL;
    }
    for (; bench->batch < (size_t)benchmark->variant[BATCH]; bench->batch++) {
        struct lane *lane = &bench->lanes[bench->batch];
        int pair[2];

        micro_need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "sockets");
        lane->bench = bench;
        lane->near = pair[0];
        lane->far = pair[1];
        memset(lane->message, FILL, sizeof(lane->message));
        if (bench->verb < CALL_POLL)
            ring_op_init(&lane->op, handlers[bench->verb]);
    }
    return bench;
}

static const char *check(void *state, struct micro *micro)
{
    struct ring_bench *bench = state;
    size_t used = buffer_pool_used(bench->pool);

    for (size_t i = 0; receives(bench->verb) && i < bench->batch; i++)
        bench->lanes[i].message[0] = 0;
    run(bench, micro, 2 * bench->batch); // which ends the program where an operation did something else
    for (size_t i = 0; receives(bench->verb) && i < bench->batch; i++) {
        if (bench->lanes[i].message[0] != FILL)
            return "what was received is not what was sent";
    }
    // The ring keeps the buffers that it has lent to the kernel, from the first wait on.
    run(bench, micro, bench->batch);
    if (bench->verb == RECEIVE_IDLE && used == 0)
        used = buffer_pool_used(bench->pool);
    run(bench, micro, bench->batch);
    if (bench->verb == RECEIVE_IDLE && buffer_pool_used(bench->pool) != used)
        return "buffers are lost";
    return NULL;
}

void ring_register(struct catalogue *catalogue)
{
    static const struct benchmark_kind kind = {set_up, run, check, tear_down};
    static const char *const names[VERB_COUNT] = {"ring/poll", "ring/receive", "ring/receive_idle",
                                                  "ring/send", "call/poll",    "call/receive",
                                                  "call/send"};
    static const int batches[] = {1, 8, BATCH_MAX};

    for (int verb = 0; verb < VERB_COUNT; verb++) {
        for (size_t batch = 0; batch < sizeof(batches) / sizeof(batches[0]); batch++) {
            struct benchmark benchmark = {
                .kind = &kind,
                .bytes = verb == POLL || verb == CALL_POLL ? 0 : MESSAGE_SIZE,
                .variant = {[VERB] = verb, [BATCH] = batches[batch]},
            };

            snprintf(benchmark.name, sizeof(benchmark.name), "%s/%d", names[verb], batches[batch]);
            catalogue_add(catalogue, &benchmark);
        }
    }
}
