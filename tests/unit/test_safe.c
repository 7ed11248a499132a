// SPDX-License-Identifier: Apache-2.0
// What the master keeps for workers, and what a worker that is somebody else's by now can make of it: nothing but a mess of its own.
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <cmocka.h>

#include "ringbolt/log.h"
#include "ringbolt/socket.h"
#include "src/control/master.h"

#define WORKERS 2

static struct config config;
static struct process processes[WORKERS];
static struct master master;
static struct safe *safe; // the first worker's
static int channel;       // its end
static unsigned before;   // descriptors, with those

static unsigned descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned count = 0;

    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static void open_with(unsigned connections)
{
    config = (struct config){.workers = WORKERS,
                             .listener_count = 2,
                             .limits = {.connections = 100},
                             .survival = {.connections = connections}};
    memset(processes, 0, sizeof(processes));
    master = (struct master){.config = &config, .processes = processes};
    assert_int_equal(loop_create(&master.loop), 0);
    safes_init(&master);
    safe = &processes[0].safe;
    assert_int_equal(safe_open(safe, &channel), 0);
    before = descriptors();
}

static int set_up(void **state)
{
    open_with(8);
    assert_int_equal(safe->count, 4);
    return 0;
}

static int tear_down(void **state)
{
    if (channel >= 0)
        close(channel);
    safe_bury(safe, false, NULL);
    safes_finish(&master);
    loop_destroy(master.loop);
    return 0;
}

static void hear(void)
{
    assert_int_equal(loop_turn(master.loop), 0);
}

static void send_bytes(const void *data, size_t size, const int *fds, size_t count)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};

    assert_int_equal(socket_send_with(channel, &part, 1, fds, count), 0);
    hear();
}

static void say(uint32_t type, uint32_t count, uint32_t slot, const int *fds, size_t fd_count)
{
    struct deposit_message message = {.type = type, .count = count, .slots = {slot}};

    send_bytes(&message, sizeof(message), fds, fd_count);
}

// A pair of sockets, deposited. What is returned sees the end of the other one.
static int deposit(uint32_t slot)
{
    int client[2], server[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, client), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, server), 0);
    say(DEPOSIT_KEEP, 1, slot, (const int[]){client[1], server[1]}, 2);
    close(client[1]);
    close(server[0]);
    close(server[1]);
    return client[0];
}

static bool is_at_end(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void mark_idle(uint32_t slot, uint32_t listener)
{
    safe->slots[slot].listener = listener;
    safe->slots[slot].size = 1;
}

static void test_keep_and_drop(void **state)
{
    int peers[] = {deposit(0), deposit(3)};
    struct deposit_message both = {.type = DEPOSIT_DROP, .count = 2, .slots = {3, 0}};

    assert_true(safe->fds[0][0] >= 0 && safe->fds[0][1] >= 0 && safe->fds[3][0] >= 0 && safe->fds[1][0] < 0);
    assert_false(is_at_end(peers[0]) || is_at_end(peers[1]));
    send_bytes(&both, sizeof(both), NULL, 0);
    assert_true(is_at_end(peers[0]) && is_at_end(peers[1]));
    close(peers[0]);
    close(peers[1]);
    assert_int_equal(descriptors(), before);
}

// Those that were idle stay, of each listener as many as are counted; the others end.
static void test_death(void **state)
{
    int peers[] = {deposit(0), deposit(1), deposit(2), deposit(3)};
    uint64_t kept[2] = {0};

    mark_idle(0, 1);
    mark_idle(2, 1);
    mark_idle(3, 77); // no such listener
    assert_int_equal(safe_bury(safe, true, kept), 3);
    assert_true(kept[0] == 0 && kept[1] == 2);
    assert_true(is_at_end(peers[1]));
    assert_false(is_at_end(peers[0]) || is_at_end(peers[2]) || is_at_end(peers[3]));
    safe_empty(safe);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(is_at_end(peers[i]));
        close(peers[i]);
    }
    assert_int_equal(descriptors(), before - 1); // the channel's other end
}

// What it said last counts, although nobody had time to hear it.
static void test_said_before_death(void **state)
{
    struct deposit_message keep = {.type = DEPOSIT_KEEP, .count = 1, .slots = {2}};
    struct deposit_message drop = {.type = DEPOSIT_DROP, .count = 1, .slots = {1}};
    struct iovec parts[] = {{.iov_base = &keep, .iov_len = sizeof(keep)},
                            {.iov_base = &drop, .iov_len = sizeof(drop)}};
    int gone = deposit(1);
    int pair[2];

    mark_idle(1, 0);
    mark_idle(2, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(socket_send_with(channel, &parts[0], 1, (const int[]){pair[1], pair[1]}, 2), 0);
    assert_int_equal(socket_send_with(channel, &parts[1], 1, NULL, 0), 0);
    close(channel);
    close(pair[1]);
    channel = -1;
    assert_int_equal(safe_bury(safe, true, NULL), 1);
    assert_true(is_at_end(gone) && !is_at_end(pair[0]));
    close(gone);
    close(pair[0]);
}

// It ended in a way after which nothing of it is believed.
static void test_not_believed(void **state)
{
    int peer = deposit(0);
    uint64_t kept[2] = {0};

    mark_idle(0, 0);
    assert_int_equal(safe_bury(safe, false, kept), 0);
    assert_true(is_at_end(peer) && kept[0] == 0);
    close(peer);
}

static void test_nonsense(void **state)
{
    struct deposit_message many = {.type = DEPOSIT_DROP, .count = UINT32_MAX};
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    say(DEPOSIT_KEEP, 1, 4, pair, 2); // one beyond the last
    say(DEPOSIT_KEEP, 1, UINT32_MAX, pair, 2);
    say(DEPOSIT_KEEP, 2, 0, pair, 2);
    say(DEPOSIT_KEEP, 0, 0, pair, 2);
    say(DEPOSIT_DROP, 1, UINT32_MAX, pair, 2);
    say(DEPOSIT_DROP, DEPOSIT_DROPS_MAX + 1, 0, NULL, 0);
    say(0, 1, 0, pair, 2);
    say(77, 1, 0, pair, 1);
    send_bytes(&many, sizeof(many), pair, 2);
    send_bytes(&many, 5, pair, 2);
    send_bytes("", 1, pair, 1);
    for (unsigned slot = 0; slot < safe->count; slot++)
        assert_int_equal(safe->fds[slot][0], -1);
    assert_int_equal(descriptors(), before + 2);
    close(pair[0]);
    close(pair[1]);
    close(deposit(1)); // it is listened to all the same
    assert_true(safe->fds[1][0] >= 0);
}

// The same place twice: the first ones are let go of. And with too few descriptors along it is nobody's.
static void test_again(void **state)
{
    int first = deposit(1);
    int second = deposit(1);
    int pair[2];

    assert_true(is_at_end(first) && !is_at_end(second));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    say(DEPOSIT_KEEP, 1, 1, pair, 1);
    assert_true(is_at_end(second) && safe->fds[1][0] < 0);
    close(first);
    close(second);
    close(pair[0]);
    close(pair[1]);
    assert_int_equal(descriptors(), before);
}

static void test_none(void **state)
{
    tear_down(state);
    open_with(0);
    assert_true(channel < 0 && safe->count == 0);
    assert_int_equal(safe_bury(safe, true, NULL), 0);
}

// As many as there are descriptors for, beside what the master needs for all else.
static void test_few_descriptors(void **state)
{
    struct rlimit limit, low;

    tear_down(state);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = (struct rlimit){.rlim_cur = 256 + WORKERS * 4 + 2 * 6, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    open_with(100);
    assert_int_equal(safe->count, 3);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_keep_and_drop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_death, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_said_before_death, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_believed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nonsense, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_few_descriptors, set_up, tear_down),
    };

    log_setup(LOG_TEXT, LOG_ERROR, 2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
