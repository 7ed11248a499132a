// SPDX-License-Identifier: Apache-2.0
// What is taken and given back all the time: relay buffers, connections, timers, the heap for secrets.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "micro.h"
#include "ringbolt/buffer.h"
#include "ringbolt/secret.h"
#include "ringbolt/timer.h"
#include "src/proxy/connection.h"

// ---- the buffer pool: a unit takes one and gives it back ----

#define POOL_SIZE (64u << 20)
#define HELD      64 // that others hold meanwhile

struct buffer_bench {
    struct buffer_pool *pool;
    struct buffer *held[HELD];
    enum buffer_class class;
};

static void buffer_work(void *state, size_t count)
{
    struct buffer_bench *bench = state;

    for (size_t i = 0; i < count; i++) {
        struct buffer *buffer = buffer_take(bench->pool, bench->class);

        if (buffer == NULL)
            abort();
        buffer_give(bench->pool, buffer);
    }
}

static void buffer_run(void *state, struct micro *micro, size_t count)
{
    micro_measure(micro, buffer_work, state, count);
}

static void *buffer_set_up(const struct benchmark *benchmark, const char **ret_why)
{
    struct buffer_bench *bench = calloc(1, sizeof(*bench));

    micro_need(bench != NULL && (bench->pool = buffer_pool_create(POOL_SIZE)) != NULL, "memory");
    bench->class = (enum buffer_class)benchmark->variant[0];
    for (int i = 0; i < HELD; i++)
        bench->held[i] = buffer_take(bench->pool, bench->class);
    return bench;
}

static const char *buffer_check(void *state, struct micro *micro)
{
    struct buffer_bench *bench = state;
    size_t used = buffer_pool_used(bench->pool);
    struct buffer *buffer;

    buffer_run(bench, micro, 3);
    if (buffer_pool_used(bench->pool) != used)
        return "what was taken was not given back";
    buffer = buffer_take(bench->pool, bench->class);
    if (buffer == NULL || buffer_pool_used(bench->pool) != used + buffer->capacity)
        return "a buffer that is taken does not count";
    memset(buffer->data, 1, buffer->capacity);
    buffer_give(bench->pool, buffer);
    return NULL;
}

static void buffer_tear_down(void *state)
{
    struct buffer_bench *bench = state;

    for (int i = 0; i < HELD; i++)
        buffer_give(bench->pool, bench->held[i]);
    buffer_pool_destroy(bench->pool);
    free(bench);
}

// ---- the timer wheel: a unit sets and cancels one, moves one, or sees one expire ----

#define TIMERS     1024
#define SPREAD_NS  (10u * 1000000000ull) // between the first and the last deadline
#define TIMEOUT_NS (300u * 1000000000ull)

struct timer_bench {
    struct timer_wheel wheel;
    struct timer timers[TIMERS];
    uint64_t now_ns;
    size_t next;
    size_t expired;
};

static struct timer *timer_next(struct timer_bench *bench)
{
    bench->now_ns += 1000;
    return &bench->timers[bench->next++ % TIMERS];
}

static void timer_set_cancel(void *state, size_t count)
{
    struct timer_bench *bench = state;

    for (size_t i = 0; i < count; i++) {
        struct timer *timer = timer_next(bench);

        timer_set(&bench->wheel, timer, bench->now_ns + TIMEOUT_NS);
        timer_cancel(&bench->wheel, timer);
    }
}

static void timer_move(void *state, size_t count)
{
    struct timer_bench *bench = state;

    for (size_t i = 0; i < count; i++)
        timer_set(&bench->wheel, timer_next(bench), bench->now_ns + TIMEOUT_NS);
}

static void timer_expire(void *state, size_t count)
{
    struct timer_bench *bench = state;
    uint64_t last_ns = bench->now_ns + SPREAD_NS + TIMER_TICK_NS;
    struct list expired;

    list_init(&expired);
    while (bench->now_ns < last_ns) {
        bench->now_ns += TIMER_TICK_NS; // as a worker does that is never idle for longer
        timer_wheel_expired(&bench->wheel, bench->now_ns, &expired);
        while (list_pop_front(&expired) != NULL)
            bench->expired++;
    }
}

static void timer_run_set_cancel(void *state, struct micro *micro, size_t count)
{
    micro_measure(micro, timer_set_cancel, state, count);
}

static void timer_run_move(void *state, struct micro *micro, size_t count)
{
    micro_measure(micro, timer_move, state, count);
}

static void timer_run_expire(void *state, struct micro *micro, size_t count)
{
    struct timer_bench *bench = state;

    for (size_t now; count > 0; count -= now) {
        now = count < TIMERS ? count : TIMERS;
        for (size_t i = 0; i < now; i++)
            timer_set(&bench->wheel, &bench->timers[i], bench->now_ns + (i + 1) * (SPREAD_NS / TIMERS));
        bench->expired = 0;
        micro_measure(micro, timer_expire, bench, now);
        micro_need(bench->expired == now && bench->wheel.count == 0, "each timer's end");
    }
}

static void *timer_set_up(const struct benchmark *benchmark, const char **ret_why)
{
    struct timer_bench *bench = calloc(1, sizeof(*bench));

    micro_need(bench != NULL, "memory");
    bench->now_ns = 1000000000;
    timer_wheel_init(&bench->wheel, bench->now_ns);
    for (size_t i = 0; i < TIMERS; i++)
        timer_init(&bench->timers[i]);
    return bench;
}

static const char *timer_check_set_cancel(void *state, struct micro *micro)
{
    struct timer_bench *bench = state;

    timer_run_set_cancel(bench, micro, 3);
    return bench->wheel.count == 0 ? NULL : "a timer that was cancelled is still set";
}

static const char *timer_check_move(void *state, struct micro *micro)
{
    struct timer_bench *bench = state;

    timer_run_move(bench, micro, 2 * TIMERS);
    return bench->wheel.count == TIMERS ? NULL : "timers that were moved are set more or less than once";
}

static const char *timer_check_expire(void *state, struct micro *micro)
{
    timer_run_expire(state, micro, TIMERS + 3); // which ends the program where one did not
    return NULL;
}

// ---- the heap for secrets: a unit takes memory and gives it back, wiped ----

struct secret_bench {
    void *held[HELD];
    size_t size;
};

static void secret_work(void *state, size_t count)
{
    struct secret_bench *bench = state;

    for (size_t i = 0; i < count; i++) {
        void *memory = secret_take(bench->size);

        if (memory == NULL)
            abort();
        secret_give(memory);
    }
}

static void secret_run(void *state, struct micro *micro, size_t count)
{
    micro_measure(micro, secret_work, state, count);
}

static void *secret_set_up(const struct benchmark *benchmark, const char **ret_why)
{
    struct secret_bench *bench = calloc(1, sizeof(*bench));

    micro_need(bench != NULL, "memory");
    bench->size = (size_t)benchmark->variant[0];
    for (int i = 0; i < HELD; i++)
        bench->held[i] = secret_take(bench->size);
    return bench;
}

static const char *secret_check(void *state, struct micro *micro)
{
    struct secret_bench *bench = state;
    uint8_t *memory;

    secret_run(bench, micro, 3);
    for (int round = 0; round < 2; round++) {
        memory = secret_take(bench->size);
        micro_need(memory != NULL, "memory");
        for (size_t i = 0; i < bench->size; i++) {
            if (memory[i] != 0)
                return "what was taken is not zeroed";
        }
        memset(memory, 1, bench->size);
        secret_give(memory);
    }
    return NULL;
}

static void secret_tear_down(void *state)
{
    struct secret_bench *bench = state;

    for (int i = 0; i < HELD; i++)
        secret_give(bench->held[i]);
    free(bench);
}

// ---- connections: a unit takes one and gives it back, wiped ----

struct slab_bench {
    struct connection_slabs *slabs;
    struct connection *held[HELD];
};

static void slab_work(void *state, size_t count)
{
    struct slab_bench *bench = state;

    for (size_t i = 0; i < count; i++) {
        struct connection *connection = connection_slab_take(bench->slabs);

        if (connection == NULL)
            abort();
        connection_slab_give(connection);
    }
}

static void slab_run(void *state, struct micro *micro, size_t count)
{
    micro_measure(micro, slab_work, state, count);
}

static void *slab_set_up(const struct benchmark *benchmark, const char **ret_why)
{
    struct slab_bench *bench = calloc(1, sizeof(*bench));

    micro_need(bench != NULL && (bench->slabs = connection_slabs_create()) != NULL, "memory");
    for (int i = 0; i < HELD; i++) {
        bench->held[i] = connection_slab_take(bench->slabs);
        micro_need(bench->held[i] != NULL, "memory");
    }
    return bench;
}

static const char *slab_check(void *state, struct micro *micro)
{
    struct slab_bench *bench = state;
    struct connection *connection;

    slab_run(bench, micro, 3);
    for (int round = 0; round < 2; round++) {
        connection = connection_slab_take(bench->slabs);
        micro_need(connection != NULL, "memory");
        for (size_t i = 0; i < sizeof(*connection); i++) {
            if (((const uint8_t *)connection)[i] != 0)
                return "a connection that was taken is not zeroed";
        }
        memset(connection, 1, sizeof(*connection));
        connection_slab_give(connection);
    }
    return NULL;
}

static void slab_tear_down(void *state)
{
    struct slab_bench *bench = state;

    for (int i = 0; i < HELD; i++)
        connection_slab_give(bench->held[i]);
    connection_slabs_destroy(bench->slabs);
    free(bench);
}

// ---- all of them ----

static const struct benchmark_kind buffers = {buffer_set_up, buffer_run, buffer_check, buffer_tear_down};
static const struct benchmark_kind secrets = {secret_set_up, secret_run, secret_check, secret_tear_down};
static const struct benchmark_kind slabs = {slab_set_up, slab_run, slab_check, slab_tear_down};
static const struct benchmark_kind set_cancel = {timer_set_up, timer_run_set_cancel, timer_check_set_cancel,
                                                 free};
static const struct benchmark_kind move = {timer_set_up, timer_run_move, timer_check_move, free};
static const struct benchmark_kind expire = {timer_set_up, timer_run_expire, timer_check_expire, free};

void pools_register(struct catalogue *catalogue)
{
    static const struct benchmark benchmarks[] = {
        {.name = "buffer/small", .kind = &buffers, .variant = {BUFFER_SMALL}},
        {.name = "buffer/large", .kind = &buffers, .variant = {BUFFER_LARGE}},
        {.name = "buffer/huge", .kind = &buffers, .variant = {BUFFER_HUGE}},
        {.name = "connection/slab", .kind = &slabs},
        {.name = "timer/set_cancel", .kind = &set_cancel},
        {.name = "timer/move", .kind = &move},
        {.name = "timer/expire", .kind = &expire},
        {.name = "secret/32", .kind = &secrets, .variant = {32}},
        {.name = "secret/1200", .kind = &secrets, .variant = {1200}},
    };

    for (size_t i = 0; i < sizeof(benchmarks) / sizeof(benchmarks[0]); i++)
        catalogue_add(catalogue, &benchmarks[i]);
}
