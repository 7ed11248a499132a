// SPDX-License-Identifier: Apache-2.0
// The master's loop: what is due runs, in order, whatever a handler removes.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "ringbolt/clock.h"
#include "src/control/loop.h"

#define THINGS_MAX 128

// A descriptor or a timer that notes when it ran, and does something to others.
struct thing {
    struct loop_watch watch;
    struct loop_timer timer;
    int fd;
    unsigned events;
    void (*act)(struct thing *thing);
    struct thing *victim;
};

static struct loop *loop;
static struct thing things[THINGS_MAX];
static char order[THINGS_MAX + 1]; // one letter for each that ran
static size_t ran;

static void note(struct thing *thing)
{
    assert_true(ran < THINGS_MAX);
    order[ran++] = (char)('a' + (thing - things) % 26);
    order[ran] = '\0';
    if (thing->act)
        thing->act(thing);
}

static void on_events(void *owner, unsigned events)
{
    struct thing *thing = owner;

    thing->events = events;
    note(thing);
}

static void on_time(void *owner)
{
    note(owner);
}

static void add_descriptor(unsigned index)
{
    struct thing *thing = &things[index];

    thing->fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK); // readable from the start
    assert_true(thing->fd >= 0);
    assert_int_equal(loop_watch(loop, &thing->watch, thing->fd, EPOLLIN, on_events, thing), 0);
    assert_int_equal(thing->watch.fd, thing->fd);
}

static void add_timer(unsigned index, uint64_t at_ns)
{
    loop_timer_init(&things[index].timer, on_time, &things[index]);
    loop_timer_set(loop, &things[index].timer, at_ns);
}

static int set_up(void **unused)
{
    (void)unused;
    memset(things, 0, sizeof(things));
    for (unsigned i = 0; i < THINGS_MAX; i++)
        things[i].fd = things[i].watch.fd = -1;
    ran = 0;
    order[0] = '\0';
    return loop_create(&loop);
}

static int tear_down(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < THINGS_MAX; i++) {
        loop_unwatch(loop, &things[i].watch);
        if (things[i].fd >= 0)
            close(things[i].fd);
    }
    loop_destroy(loop);
    return 0;
}

static void remove_itself(struct thing *thing)
{
    loop_unwatch(loop, &thing->watch);
}

static void remove_victim(struct thing *thing)
{
    loop_unwatch(loop, &thing->victim->watch);
    if (thing->victim->fd >= 0)
        close(thing->victim->fd);
    thing->victim->fd = -1;
}

static void stop_victim(struct thing *thing)
{
    loop_timer_stop(&thing->victim->timer);
}

static void set_again(struct thing *thing)
{
    loop_timer_set(loop, &thing->timer, 0);
}

// ---- descriptors ----

static void tells_events(void **unused)
{
    int pair[2];

    (void)unused;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    things[0].fd = pair[0];
    assert_int_equal(loop_watch(loop, &things[0].watch, pair[0], EPOLLOUT, on_events, &things[0]), 0);
    assert_int_equal(loop_turn(loop), 0);
    assert_int_equal(things[0].events, EPOLLOUT);
    assert_int_equal(write(pair[1], "x", 1), 1);
    assert_int_equal(loop_events(loop, &things[0].watch, EPOLLIN), 0);
    assert_int_equal(loop_turn(loop), 0);
    assert_int_equal(things[0].events, EPOLLIN);
    assert_int_equal(loop_events(loop, &things[0].watch, 0), 0);
    close(pair[1]);
    assert_int_equal(loop_turn(loop), 0); // that the peer has gone is told without being asked for
    assert_true((things[0].events & EPOLLHUP) != 0);
}

static void same_descriptor_twice(void **unused)
{
    struct loop_watch other = {.fd = -1};

    (void)unused;
    add_descriptor(0);
    assert_int_equal(loop_watch(loop, &other, things[0].fd, EPOLLIN, on_events, &things[1]), -EEXIST);
    assert_int_equal(other.fd, -1);
    assert_int_equal(loop_watch(loop, &other, -1, EPOLLIN, on_events, &things[1]), -EBADF);
}

static void removes_itself(void **unused)
{
    (void)unused;
    add_descriptor(0);
    add_descriptor(1);
    things[0].act = remove_itself;
    assert_int_equal(loop_turn(loop), 0);
    assert_int_equal(loop_turn(loop), 0);
    assert_string_equal(order, "abb");
    loop_unwatch(loop, &things[0].watch); // harmless
}

// Its event was fetched from the kernel in the same turn.
static void removes_another(void **unused)
{
    (void)unused;
    add_descriptor(0);
    add_descriptor(1);
    add_descriptor(2);
    things[0].act = remove_victim;
    things[0].victim = &things[1];
    assert_int_equal(loop_turn(loop), 0);
    assert_string_equal(order, "ac");
}

static void timer_removes_a_descriptor(void **unused)
{
    (void)unused;
    add_descriptor(0);
    add_timer(1, 0);
    things[1].act = remove_victim;
    things[1].victim = &things[0];
    assert_int_equal(loop_turn(loop), 0);
    assert_string_equal(order, "b");
}

// The number is another's when the event comes.
static void watch_in_place_of_another(struct thing *thing)
{
    struct thing *victim = thing->victim;

    loop_unwatch(loop, &victim->watch);
    close(victim->fd);
    victim->fd = eventfd(0, EFD_CLOEXEC); // not readable
    assert_int_equal(loop_watch(loop, &victim->watch, victim->fd, EPOLLIN, on_events, victim), 0);
    thing->act = NULL;
}

static void replaces_another(void **unused)
{
    (void)unused;
    add_descriptor(0);
    add_descriptor(1);
    things[0].act = watch_in_place_of_another;
    things[0].victim = &things[1];
    assert_int_equal(loop_turn(loop), 0);
    assert_string_equal(order, "a");
}

static void more_than_one_turn_takes(void **unused)
{
    bool is_seen[100] = {false};

    (void)unused;
    for (unsigned i = 0; i < 100; i++)
        add_descriptor(i);
    assert_int_equal(loop_turn(loop), 0);
    assert_in_range(ran, 1, 99);
    ran = 0;
    assert_int_equal(loop_turn(loop), 0);
    for (unsigned i = 0; i < 100; i++)
        is_seen[i] = things[i].events == EPOLLIN;
    for (unsigned i = 0; i < 100; i++)
        assert_true(is_seen[i]);
}

// ---- timers ----

static void timers_in_order(void **unused)
{
    (void)unused;
    add_timer(0, 3);
    add_timer(1, 1);
    add_timer(2, 2);
    add_timer(3, 1);
    assert_int_equal(loop_turn(loop), 0);
    assert_string_equal(order, "bdca");
    for (unsigned i = 0; i < 4; i++)
        assert_true(things[i].timer.at_ns == UINT64_MAX);
}

static void timers_before_descriptors(void **unused)
{
    (void)unused;
    add_descriptor(0);
    add_timer(1, 1);
    assert_int_equal(loop_turn(loop), 0);
    assert_string_equal(order, "ba");
}

static void never_early(void **unused)
{
    uint64_t at_ns = clock_now_ns() + 20 * CLOCK_NS_PER_MS;

    (void)unused;
    add_timer(0, at_ns);
    while (ran == 0)
        assert_int_equal(loop_turn(loop), 0);
    assert_true(clock_now_ns() >= at_ns);
}

static void moved_and_stopped(void **unused)
{
    (void)unused;
    add_timer(0, 1);
    add_timer(1, 2);
    add_timer(2, 3);
    loop_timer_set(loop, &things[0].timer, 4);
    loop_timer_stop(&things[1].timer);
    loop_timer_stop(&things[1].timer);
    loop_timer_set(loop, &things[1].timer, UINT64_MAX); // not set
    assert_int_equal(loop_turn(loop), 0);
    assert_string_equal(order, "ca");
}

static void stops_another_that_is_due(void **unused)
{
    (void)unused;
    add_timer(0, 1);
    add_timer(1, 2);
    add_timer(2, 3);
    things[0].act = stop_victim;
    things[0].victim = &things[1];
    assert_int_equal(loop_turn(loop), 0);
    assert_string_equal(order, "ac");
}

// Descriptors have their turn too, however early the timer wants to run again.
static void set_again_by_itself(void **unused)
{
    (void)unused;
    add_timer(0, 1);
    things[0].act = set_again;
    add_descriptor(1);
    assert_int_equal(loop_turn(loop), 0);
    assert_int_equal(loop_turn(loop), 0);
    assert_string_equal(order, "abab");
}

static void outlives_the_loop(void **unused)
{
    (void)unused;
    add_timer(0, UINT64_MAX - 1);
    loop_destroy(loop);
    loop_timer_stop(&things[0].timer);
    assert_int_equal(loop_create(&loop), 0);
    loop_destroy(NULL);
}

#define test_of(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_of(tells_events),
        test_of(same_descriptor_twice),
        test_of(removes_itself),
        test_of(removes_another),
        test_of(timer_removes_a_descriptor),
        test_of(replaces_another),
        test_of(more_than_one_turn_takes),
        test_of(timers_in_order),
        test_of(timers_before_descriptors),
        test_of(never_early),
        test_of(moved_and_stopped),
        test_of(stops_another_that_is_due),
        test_of(set_again_by_itself),
        test_of(outlives_the_loop),
    };

    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
