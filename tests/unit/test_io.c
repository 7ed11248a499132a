// SPDX-License-Identifier: Apache-2.0
// The timer wheel against a plain list of deadlines, the buffer pool against its promises, and the ring on real sockets.
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "ringbolt/buffer.h"
#include "ringbolt/clock.h"
#include "ringbolt/ring.h"
#include "ringbolt/timer.h"

// ---- timer wheel ----

#define TIMERS 500

static uint64_t random_state;

static uint64_t random_next(void)
{
    // xorshift64*: the same on every machine
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 2685821657736338717ull;
}

static uint64_t random_delay(void)
{
    static const uint64_t scale[] = {1, 10, 1000, 60000, 3600000, 200000000, 60ull * 86400000};

    return (random_next() % (scale[random_next() % 7] * CLOCK_NS_PER_MS)) + 1;
}

static void wheel_agrees_with_list(uint64_t seed)
{
    struct timer_wheel wheel;
    struct timer timers[TIMERS];
    uint64_t deadline[TIMERS]; // 0: not set
    uint64_t now = 123456789 + seed * 7919;

    random_state = seed * 2654435761u + 1;
    timer_wheel_init(&wheel, now);
    for (int i = 0; i < TIMERS; i++) {
        timer_init(&timers[i]);
        deadline[i] = 0;
    }
    for (int step = 0; step < 3000; step++) {
        int which = (int)(random_next() % TIMERS);
        struct list expired;
        struct list *node;
        uint64_t wait;

        if (random_next() % 4 == 0) {
            timer_cancel(&wheel, &timers[which]);
            deadline[which] = 0;
        } else {
            deadline[which] = now + random_delay();
            timer_set(&wheel, &timers[which], deadline[which]);
        }
        // Sometimes just as long as the wheel says, so that nothing may be missed.
        wait = timer_wheel_wait_ns(&wheel, now);
        now += wait != UINT64_MAX && random_next() % 2 ? wait : random_delay() / 64;
        list_init(&expired);
        timer_wheel_expired(&wheel, now, &expired);
        while ((node = list_pop_front(&expired))) {
            int i = (int)(list_entry(node, struct timer, node) - timers);

            assert_true(deadline[i] != 0);
            assert_true(deadline[i] <= now); // never early
            deadline[i] = 0;
        }
        for (int i = 0; i < TIMERS; i++) {
            assert_int_equal(timer_is_set(&timers[i]), deadline[i] != 0);
            if (deadline[i])
                assert_true(deadline[i] + TIMER_TICK_NS >
                            now - now % TIMER_TICK_NS); // never more than a tick late
        }
    }
}

static void test_wheel(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++)
        wheel_agrees_with_list(seed);
}

static void test_empty_wheel_waits_for_ever(void **state)
{
    struct timer_wheel wheel;
    struct timer timer;

    timer_wheel_init(&wheel, 5);
    assert_true(timer_wheel_wait_ns(&wheel, 5) == UINT64_MAX);
    timer_init(&timer);
    timer_set(&wheel, &timer, 1); // has passed: due at the next tick
    assert_true(timer_wheel_wait_ns(&wheel, 5) <= TIMER_TICK_NS);
    timer_cancel(&wheel, &timer);
    timer_cancel(&wheel, &timer);
    assert_true(timer_wheel_wait_ns(&wheel, 5) == UINT64_MAX);
}

// A handler whose timer has expired cancels, or sets again, another one that has expired with it: those that are left still fire.
static void test_timer_cancelled_when_due(void **state)
{
    struct timer_wheel wheel;
    struct timer timers[4];
    struct list expired;

    timer_wheel_init(&wheel, 0);
    for (unsigned i = 0; i < 4; i++) {
        timer_init(&timers[i]);
        timer_set(&wheel, &timers[i], i < 3 ? 1 : 50 * TIMER_TICK_NS);
    }
    list_init(&expired);
    timer_wheel_expired(&wheel, 10 * TIMER_TICK_NS, &expired);
    assert_ptr_equal(list_pop_front(&expired), &timers[0].node);
    timer_cancel(&wheel, &timers[1]);
    timer_set(&wheel, &timers[2], 60 * TIMER_TICK_NS);
    assert_true(list_empty(&expired));
    assert_true(timer_wheel_wait_ns(&wheel, 10 * TIMER_TICK_NS) != UINT64_MAX);
    timer_wheel_expired(&wheel, 100 * TIMER_TICK_NS, &expired);
    assert_ptr_equal(list_pop_front(&expired), &timers[3].node);
    assert_ptr_equal(list_pop_front(&expired), &timers[2].node);
    assert_null(list_pop_front(&expired));
    assert_true(timer_wheel_wait_ns(&wheel, 100 * TIMER_TICK_NS) == UINT64_MAX);
}

// ---- buffers ----

static void test_pool_keeps_its_budget(void **state)
{
    struct buffer_pool *pool = buffer_pool_create(1 << 20);
    struct buffer *large[16];
    struct buffer *small;
    unsigned count = 0;

    while (count < 16 && (large[count] = buffer_take(pool, BUFFER_LARGE)))
        count++;
    assert_int_equal(count, (1 << 20) / BUFFER_LARGE_SIZE);
    small = buffer_take(pool, BUFFER_SMALL); // what is left is less than a large one
    assert_non_null(small);
    assert_true(buffer_pool_used(pool) <= buffer_pool_budget(pool));
    buffer_give(pool, large[0]);
    assert_ptr_equal(buffer_take(pool, BUFFER_LARGE), large[0]); // the last in is the first out
    for (unsigned i = 0; i < count; i++)
        buffer_give(pool, large[i]);
    buffer_give(pool, small);
    assert_int_equal(buffer_pool_used(pool), 0);
    buffer_pool_destroy(pool);
}

static void test_trimmed_buffers_work(void **state)
{
    struct buffer_pool *pool = buffer_pool_create(4 << 20);
    struct buffer *buffers[8];

    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 8; i++) {
            buffers[i] = buffer_take(pool, BUFFER_LARGE);
            memset(buffers[i]->data, round + i, buffers[i]->capacity);
        }
        for (int i = 0; i < 8; i++) {
            assert_int_equal(buffers[i]->data[BUFFER_LARGE_SIZE - 1], round + i);
            buffer_give(pool, buffers[i]);
        }
        for (int i = 0; i <= round; i++)
            buffer_pool_trim(pool);
    }
    buffer_pool_destroy(pool);
}

static void test_consume(void **state)
{
    struct buffer_pool *pool = buffer_pool_create(1 << 20);
    struct buffer *buffer = buffer_take(pool, BUFFER_SMALL);

    for (int i = 0; i < 3; i++)
        buffer->pieces[i] = (struct iovec){.iov_base = buffer->data + i * 100, .iov_len = 10};
    buffer->piece_count = 3;
    assert_int_equal(buffer_length(buffer), 30);
    buffer_consume(buffer, 0);
    assert_int_equal(buffer->piece_count, 3);
    buffer_consume(buffer, 13);
    assert_int_equal(buffer->piece_count, 2);
    assert_ptr_equal(buffer->pieces[0].iov_base, buffer->data + 103);
    assert_int_equal(buffer_length(buffer), 17);
    buffer_consume(buffer, 7);
    assert_ptr_equal(buffer->pieces[0].iov_base, buffer->data + 200);
    buffer_consume(buffer, 10);
    assert_int_equal(buffer->piece_count, 0);
    buffer_give(pool, buffer);
    buffer_pool_destroy(pool);
}

// ---- the ring ----

struct ring_fixture {
    struct buffer_pool *pool;
    struct ring *ring;
    int pair[2];
};

static int ring_setup_gathering(void **state, uint64_t gather_ns)
{
    struct ring_fixture *fixture = calloc(1, sizeof(*fixture));
    struct ring_options options = {.entries = 8, .gather_ns = gather_ns};
    const char *why;

    options.pool = fixture->pool = buffer_pool_create(2 << 20);
    if (ring_create(&options, &fixture->ring, &why) < 0) {
        fprintf(stderr, "%s\n", why);
        return -1;
    }
    *state = fixture;
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fixture->pair);
}

static int ring_setup(void **state)
{
    return ring_setup_gathering(state, 0);
}

static int ring_setup_patient(void **state)
{
    return ring_setup_gathering(state, 3600 * CLOCK_NS_PER_S);
}

static int ring_setup_hasty(void **state)
{
    return ring_setup_gathering(state, CLOCK_NS_PER_US);
}

static int ring_teardown(void **state)
{
    struct ring_fixture *fixture = *state;

    close(fixture->pair[0]);
    close(fixture->pair[1]);
    ring_destroy(fixture->ring);
    buffer_pool_destroy(fixture->pool); // asserts that every buffer came back
    free(fixture);
    return 0;
}

static struct ring_completion wait_one(struct ring *ring)
{
    struct ring_completion completion;

    while (!ring_next(ring, &completion))
        assert_int_equal(ring_wait(ring, UINT64_MAX), 0);
    return completion;
}

static void test_idle_receive_holds_no_buffer(void **state)
{
    struct ring_fixture *fixture = *state;
    struct ring_completion completion;
    struct ring_op op;
    size_t used;

    ring_op_init(&op, NULL);
    ring_receive_idle(fixture->ring, &op, fixture->pair[0]);
    assert_int_equal(ring_wait(fixture->ring, 0), 0);
    used = buffer_pool_used(fixture->pool);
    assert_int_equal(write(fixture->pair[1], "hello", 5), 5);
    completion = wait_one(fixture->ring);
    assert_ptr_equal(completion.op, &op);
    assert_int_equal(completion.result, 5);
    assert_non_null(completion.buffer);
    assert_int_equal(completion.buffer->piece_count, 1);
    assert_memory_equal(completion.buffer->pieces[0].iov_base, "hello", 5);
    assert_ptr_equal(completion.buffer->pieces[0].iov_base, completion.buffer->data + RING_IDLE_HEAD);
    assert_false(op.in_flight);
    assert_int_equal(buffer_pool_used(fixture->pool), used);
    buffer_give(fixture->pool, completion.buffer);
}

static void test_end_of_file_takes_no_buffer(void **state)
{
    struct ring_fixture *fixture = *state;
    struct ring_completion completion;
    struct ring_op op;

    ring_op_init(&op, NULL);
    ring_receive_idle(fixture->ring, &op, fixture->pair[0]);
    shutdown(fixture->pair[1], SHUT_WR);
    completion = wait_one(fixture->ring);
    assert_int_equal(completion.result, 0);
    assert_null(completion.buffer);
}

static void test_spent_pool_says_so(void **state)
{
    struct ring_fixture *fixture = *state;
    struct buffer *taken[600];
    unsigned count = 0;
    struct ring_op op;

    while (count < 600 && (taken[count] = buffer_take(fixture->pool, BUFFER_SMALL)))
        count++;
    assert_int_equal(ring_idle_ready(fixture->ring), 0);
    ring_op_init(&op, NULL);
    assert_int_equal(write(fixture->pair[1], "x", 1), 1);
    ring_receive_idle(fixture->ring, &op, fixture->pair[0]);
    assert_int_equal(wait_one(fixture->ring).result, -ENOBUFS);
    while (count > 0)
        buffer_give(fixture->pool, taken[--count]);
    ring_receive_idle(fixture->ring, &op, fixture->pair[0]); // now there are some again
    {
        struct ring_completion completion = wait_one(fixture->ring);

        // The buffers may have reached the kernel after it had looked: then once more.
        if (completion.result == -ENOBUFS) {
            ring_receive_idle(fixture->ring, &op, fixture->pair[0]);
            completion = wait_one(fixture->ring);
        }
        assert_int_equal(completion.result, 1);
        buffer_give(fixture->pool, completion.buffer);
    }
}

// Many more operations than the queues have entries: each completes once, cancelled or not.
static void test_more_operations_than_entries(void **state)
{
    enum { COUNT = 300 };
    struct ring_fixture *fixture = *state;
    static struct ring_op ops[COUNT];
    unsigned done = 0;

    for (int i = 0; i < COUNT; i++) {
        ring_op_init(&ops[i], NULL);
        ring_poll(fixture->ring, &ops[i], fixture->pair[0], POLLIN);
    }
    for (int i = 0; i < COUNT; i += 2)
        ring_cancel(fixture->ring, &ops[i]);
    for (int i = 0; i < COUNT; i += 2) {
        struct ring_completion completion = wait_one(fixture->ring);

        assert_int_equal((completion.op - ops) % 2, 0);
        assert_true(completion.result == -ECANCELED || completion.result == -EAGAIN);
        assert_false(completion.op->in_flight);
        done++;
    }
    assert_int_equal(write(fixture->pair[1], "x", 1), 1);
    for (; done < COUNT; done++)
        assert_true(wait_one(fixture->ring).result > 0);
    for (int i = 0; i < COUNT; i++)
        assert_false(ops[i].in_flight);
}

static void test_wait_ends_in_time_without_completions(void **state)
{
    struct ring_fixture *fixture = *state;
    struct ring_completion completion;

    assert_int_equal(ring_wait(fixture->ring, 0), 0);
    assert_int_equal(ring_wait(fixture->ring, 1000000), 0);
    assert_false(ring_next(fixture->ring, &completion));
}

// ---- gathering ----

#define ALARMS 16

// Timers in the kernel that go off one after the other, so that completions come apart without anybody's help.
struct alarms {
    int fds[ALARMS];
    struct ring_op ops[ALARMS];
};

static void alarms_start(struct alarms *alarms, struct ring *ring, unsigned count)
{
    for (unsigned i = 0; i < ALARMS; i++) {
        struct itimerspec at = {.it_value = {.tv_nsec = i < count ? 1 + (long)(i * CLOCK_NS_PER_MS) : 0}};

        alarms->fds[i] = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
        assert_true(alarms->fds[i] >= 0);
        assert_int_equal(timerfd_settime(alarms->fds[i], 0, &at, NULL), 0);
        ring_op_init(&alarms->ops[i], NULL);
        ring_poll(ring, &alarms->ops[i], alarms->fds[i], POLLIN);
    }
}

static void alarms_finish(struct alarms *alarms, struct ring *ring)
{
    for (unsigned i = 0; i < ALARMS; i++)
        ring_cancel(ring, &alarms->ops[i]);
    for (unsigned i = 0; i < ALARMS; i++) {
        struct ring_completion completion;

        while (alarms->ops[i].in_flight) {
            if (!ring_next(ring, &completion))
                assert_int_equal(ring_wait(ring, 0), 0);
        }
        close(alarms->fds[i]);
    }
}

static unsigned hand_out(struct ring *ring)
{
    struct ring_completion completion;
    unsigned count = 0;

    while (ring_next(ring, &completion))
        count++;
    return count;
}

// A turn of the loop with so many completions.
static void make_turn(struct ring_fixture *fixture, unsigned count)
{
    struct ring_op ops[ALARMS];

    assert_int_equal(write(fixture->pair[1], "x", 1), 1);
    for (unsigned i = 0; i < count; i++) {
        ring_op_init(&ops[i], NULL);
        ring_poll(fixture->ring, &ops[i], fixture->pair[0], POLLIN);
    }
    assert_int_equal(ring_wait(fixture->ring, 0), 0);
    assert_int_equal(hand_out(fixture->ring), count);
}

static void test_busy_loop_gathers(void **state)
{
    struct ring_fixture *fixture = *state;
    struct alarms alarms;

    make_turn(fixture, 4);
    alarms_start(&alarms, fixture->ring, ALARMS);
    assert_int_equal(ring_wait(fixture->ring, UINT64_MAX), 0);
    assert_int_equal(hand_out(fixture->ring), ALARMS); // and not the first alone
    alarms_finish(&alarms, fixture->ring);
}

static void test_quiet_loop_does_not_wait(void **state)
{
    struct ring_fixture *fixture = *state;
    struct alarms alarms;

    make_turn(fixture, 3);
    alarms_start(&alarms, fixture->ring, 1);
    assert_int_equal(ring_wait(fixture->ring, UINT64_MAX), 0); // comes back, although there will be one only
    assert_int_equal(hand_out(fixture->ring), 1);
    alarms_finish(&alarms, fixture->ring);
}

static void test_what_completes_at_once_does_not_count(void **state)
{
    struct ring_fixture *fixture = *state;
    struct ring_op sends[ALARMS];
    struct alarms alarms;

    make_turn(fixture, 4);
    for (unsigned i = 0; i < ALARMS; i++) {
        ring_op_init(&sends[i], NULL);
        ring_send(fixture->ring, &sends[i], fixture->pair[0], "x", 1, 0);
    }
    alarms_start(&alarms, fixture->ring, ALARMS);
    assert_int_equal(ring_wait(fixture->ring, UINT64_MAX), 0);
    assert_int_equal(hand_out(fixture->ring), 2 * ALARMS);
    alarms_finish(&alarms, fixture->ring);
}

static void test_gathering_ends_in_time(void **state)
{
    struct ring_fixture *fixture = *state;
    struct alarms alarms;

    make_turn(fixture, 4);
    alarms_start(&alarms, fixture->ring, 1);
    assert_int_equal(ring_wait(fixture->ring, UINT64_MAX),
                     0); // whether it came while there was gathering or after
    assert_int_equal(hand_out(fixture->ring), 1);
    make_turn(fixture, 4);
    assert_int_equal(ring_wait(fixture->ring, CLOCK_NS_PER_MS), 0);
    assert_int_equal(hand_out(fixture->ring), 0);
    alarms_finish(&alarms, fixture->ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wheel),
        cmocka_unit_test(test_empty_wheel_waits_for_ever),
        cmocka_unit_test(test_timer_cancelled_when_due),
        cmocka_unit_test(test_pool_keeps_its_budget),
        cmocka_unit_test(test_trimmed_buffers_work),
        cmocka_unit_test(test_consume),
        cmocka_unit_test_setup_teardown(test_idle_receive_holds_no_buffer, ring_setup, ring_teardown),
        cmocka_unit_test_setup_teardown(test_end_of_file_takes_no_buffer, ring_setup, ring_teardown),
        cmocka_unit_test_setup_teardown(test_spent_pool_says_so, ring_setup, ring_teardown),
        cmocka_unit_test_setup_teardown(test_more_operations_than_entries, ring_setup, ring_teardown),
        cmocka_unit_test_setup_teardown(test_wait_ends_in_time_without_completions, ring_setup,
                                        ring_teardown),
        cmocka_unit_test_setup_teardown(test_busy_loop_gathers, ring_setup_patient, ring_teardown),
        cmocka_unit_test_setup_teardown(test_quiet_loop_does_not_wait, ring_setup_patient, ring_teardown),
        cmocka_unit_test_setup_teardown(test_what_completes_at_once_does_not_count, ring_setup_patient,
                                        ring_teardown),
        cmocka_unit_test_setup_teardown(test_gathering_ends_in_time, ring_setup_hasty, ring_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
