// SPDX-License-Identifier: Apache-2.0
// Counters through generations: read along, settled, never twice, whatever the file says.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "ringbolt/stats.h"
#include "src/proxy/stats_block.h"

// ---- generations: the first one's configuration, and one that has the same in another order, with something new ----

static struct config_listener old_listeners[] = {{.name = (char *)"a"}, {.name = (char *)"b"}};
static struct config_server old_app[] = {{.address.text = (char *)"192.0.2.1:80"},
                                         {.address.text = (char *)"192.0.2.2:80"}};
static struct config_server old_other[] = {{.address.text = (char *)"192.0.2.1:80"}};
static struct config_upstream old_upstreams[] = {
    {.name = (char *)"app", .servers = old_app, .server_count = 2},
    {.name = (char *)"other", .servers = old_other, .server_count = 1}};
static const struct config old_config = {.workers = 3,
                                         .listeners = old_listeners,
                                         .listener_count = 2,
                                         .upstreams = old_upstreams,
                                         .upstream_count = 2};

static struct config_listener new_listeners[] = {
    {.name = (char *)"c"}, {.name = (char *)"b"}, {.name = (char *)"a"}};
static struct config_server new_app[] = {{.address.text = (char *)"192.0.2.9:80"},
                                         {.address.text = NULL}, // a name's, not found yet
                                         {.address.text = (char *)"192.0.2.2:80"}};
static struct config_upstream new_upstreams[] = {
    {.name = (char *)"app", .servers = new_app, .server_count = 3}};
static const struct config new_config = {.workers = 2,
                                         .listeners = new_listeners,
                                         .listener_count = 3,
                                         .upstreams = new_upstreams,
                                         .upstream_count = 1};

static struct stats *make(const struct config *config)
{
    struct stats *stats;

    assert_int_equal(stats_create(config, &stats), 0);
    return stats;
}

// As a descriptor comes over a socket.
static void take(struct stats *stats, int fd)
{
    const char *why = NULL;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    assert_true(copy >= 0);
    assert_int_equal(stats_take(stats, copy, &why), 0);
}

static struct stats *succeed(const struct config *config, const struct stats *before)
{
    struct stats *stats = make(config);
    int fds[STATS_PREDECESSORS_MAX];
    size_t count = stats_predecessors(before, fds);

    for (size_t i = 0; i < count; i++)
        take(stats, fds[i]);
    take(stats, stats_descriptor(before));
    return stats;
}

static uint64_t accepted(const struct stats *stats, size_t listener)
{
    struct stats_listener sum;

    stats_sum_listener(stats, listener, &sum);
    return sum.accepted;
}

static uint64_t connections(const struct stats *stats, size_t listener)
{
    struct stats_listener sum;

    stats_sum_listener(stats, listener, &sum);
    return sum.connections;
}

static uint64_t lost(const struct stats *stats, size_t listener)
{
    struct stats_listener sum;

    stats_sum_listener(stats, listener, &sum);
    return sum.ends[STATS_END_LOST];
}

static uint64_t server_bytes(const struct stats *stats, size_t server)
{
    struct stats_server sum;

    stats_sum_server(stats, server, &sum);
    return sum.bytes_in;
}

// Something in each of the first generation's parts.
static struct stats *make_busy(void)
{
    struct stats *stats = make(&old_config);

    for (unsigned worker = 0; worker < 3; worker++) {
        stats_add(&stats_listener(stats, worker, 0)->accepted, 10);
        stats_add(&stats_listener(stats, worker, 0)->connections, 2);
        stats_add(&stats_listener(stats, worker, 1)->accepted, 1);
        stats_add(&stats_upstream(stats, worker, 0)->ends[1], 5);
        stats_add(&stats_server(stats, worker, 0)->bytes_in, 100);
        stats_add(&stats_server(stats, worker, 1)->bytes_in, 7);
        stats_add(&stats_server(stats, worker, 2)->bytes_in, 1000);
        stats_add(&stats_worker(stats, worker)->starved, 1 + worker);
        stats_add(&stats_worker(stats, worker)->connections, 2);
        stats_add(&stats_worker(stats, worker)->buffers, 4096);
    }
    return stats;
}

// ---- two generations ----

static void assert_old_counters(const struct stats *stats)
{
    struct stats_upstream upstream;
    struct stats_worker worker;

    assert_int_equal(accepted(stats, 2), 30); // "a"
    assert_int_equal(accepted(stats, 1), 3);  // "b"
    assert_int_equal(accepted(stats, 0), 0);  // "c"
    stats_sum_upstream(stats, 0, &upstream);
    assert_int_equal(upstream.ends[1], 15);
    assert_int_equal(server_bytes(stats, 0), 0); // nobody's
    assert_int_equal(server_bytes(stats, 1), 0); // has no name
    assert_int_equal(server_bytes(stats, 2), 21);
    stats_sum_workers(stats, &worker);
    assert_int_equal(worker.starved, 6);
    stats_sum_worker(stats, 0, &worker);
    assert_int_equal(worker.starved, 1 + 3); // of workers 0 and 2
    assert_int_equal(worker.connections, 0); // its own
    stats_sum_worker(stats, 1, &worker);
    assert_int_equal(worker.starved, 2);
}

static void test_reads_along(void **state)
{
    struct stats *before = make_busy();
    struct stats *stats = succeed(&new_config, before);
    struct stats_worker worker;

    (void)state;
    assert_old_counters(stats);
    assert_int_equal(connections(stats, 2), 6);
    assert_int_equal(stats_connections(stats), 6);
    stats_sum_workers(stats, &worker);
    assert_int_equal(worker.buffers, 3 * 4096);
    // Both count on.
    stats_add(&stats_listener(before, 1, 0)->accepted, 5);
    stats_add(&stats_listener(stats, 1, 2)->accepted, 7);
    assert_int_equal(accepted(stats, 2), 42);
    assert_int_equal(stats_settle(stats), 1); // it lives
    assert_int_equal(accepted(stats, 2), 42);
    assert_int_equal(accepted(before, 0), 35); // which knows nothing of us
    stats_destroy(before);
    stats_destroy(stats);
}

// When it is gone what it had is lost, what it counted is not; and that only once.
static void test_settles(void **state)
{
    struct stats *before = make_busy();
    struct stats *stats = succeed(&new_config, before);
    int fds[STATS_PREDECESSORS_MAX];

    (void)state;
    stats_destroy(before);
    assert_old_counters(stats);
    assert_int_equal(lost(stats, 2), 0);
    assert_int_equal(stats_settle(stats), 0);
    for (int i = 0; i < 2; i++) {
        assert_old_counters(stats);
        assert_int_equal(connections(stats, 2), 0);
        assert_int_equal(stats_connections(stats), 0);
        assert_int_equal(lost(stats, 2), 6);
        assert_int_equal(stats_settle(stats), 0);
    }
    assert_int_equal(stats_predecessors(stats, fds), 0);
    stats_destroy(stats);
}

// Those who can write a block are who lives or not, not those that hold descriptors of it.
static void test_process_ends(void **state)
{
    struct stats *stats = make(&new_config);
    char path[64];
    int told[2];
    int fd = -1;
    int status;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(told), 0);
    pid = fork();
    if (pid == 0) {
        struct stats *busy = make_busy();

        fd = stats_descriptor(busy);
        if (write(told[1], &fd, sizeof(fd)) != sizeof(fd))
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(told[0], &fd, sizeof(fd)), sizeof(fd));
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    take(stats, fd);
    assert_int_equal(stats_settle(stats), 1);
    assert_old_counters(stats);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(stats_settle(stats), 0);
    assert_old_counters(stats);
    close(fd);
    close(told[0]);
    close(told[1]);
    stats_destroy(stats);
}

// Workers of ours see a predecessor's connections as long as it is there, and not those of one that came after them.
static void test_workers_see_it_go(void **state)
{
    struct stats *before = make_busy();
    struct stats *after;
    struct stats *stats = succeed(&new_config, before);
    int go[2];
    int told[2];
    uint64_t number;
    int status;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(told), 0);
    pid = fork();
    if (pid == 0) {
        // No worker of `before`, nor an end of the pipes that is the parent's.
        close(before->fd);
        munmap(before->own.memory, before->own.size);
        close(go[1]);
        for (int i = 0; i < 3; i++) {
            number = stats_connections(stats);
            if (write(told[1], &number, sizeof(number)) != sizeof(number) || read(go[0], &number, 1) != 1)
                _exit(1);
        }
        _exit(0);
    }
    assert_int_equal(read(told[0], &number, sizeof(number)), sizeof(number));
    assert_int_equal(number, 6);
    stats_destroy(before);
    assert_int_equal(stats_settle(stats), 0);
    assert_int_equal(write(go[1], "", 1), 1);
    assert_int_equal(read(told[0], &number, sizeof(number)), sizeof(number));
    assert_int_equal(number, 0);
    after = make_busy();
    take(stats, stats_descriptor(after)); // in the place of the one before
    assert_int_equal(stats_connections(stats), 6);
    assert_int_equal(write(go[1], "", 1), 1);
    assert_int_equal(read(told[0], &number, sizeof(number)), sizeof(number));
    assert_int_equal(number, 0);
    assert_int_equal(write(go[1], "", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    for (int i = 0; i < 2; i++) {
        close(go[i]);
        close(told[i]);
    }
    stats_destroy(after);
    stats_destroy(stats);
}

// ---- chains ----

// A second successor while the first generation drains: it has the blocks of both.
static void test_three(void **state)
{
    struct stats *first = make_busy();
    struct stats *second = succeed(&new_config, first);
    struct stats *third;

    (void)state;
    stats_add(&stats_listener(second, 0, 2)->accepted, 100);
    stats_settle_later(second, true);
    third = succeed(&old_config, second);
    assert_int_equal(accepted(third, 0), 130);
    assert_int_equal(server_bytes(third, 1), 21);
    assert_int_equal(server_bytes(third, 2), 3000);
    stats_destroy(first);
    assert_int_equal(stats_settle(second), 1); // not its business any more
    assert_int_equal(accepted(third, 0), 130);
    assert_int_equal(stats_settle(third), 1);
    assert_int_equal(accepted(third, 0), 130);
    assert_int_equal(lost(third, 0), 6);
    stats_destroy(second);
    assert_int_equal(stats_settle(third), 0);
    assert_int_equal(accepted(third, 0), 130);
    assert_int_equal(lost(third, 0), 6);
    stats_destroy(third);
}

// What was settled goes on to whoever comes next.
static void test_earlier_goes_on(void **state)
{
    struct stats *first = make_busy();
    struct stats *second = succeed(&old_config, first);
    struct stats *third;

    (void)state;
    stats_destroy(first);
    assert_int_equal(stats_settle(second), 0);
    third = succeed(&old_config, second);
    assert_int_equal(accepted(third, 0), 30);
    stats_destroy(second);
    assert_int_equal(stats_settle(third), 0);
    assert_int_equal(accepted(third, 0), 30);
    assert_int_equal(lost(third, 0), 6);
    stats_destroy(third);
}

// A successor that dies young: what it counted is not lost with it.
static void test_successor_dies(void **state)
{
    struct stats *first = make_busy();
    struct stats *second = succeed(&old_config, first);

    (void)state;
    stats_settle_later(first, true);
    stats_settle_later(second, true);
    stats_add(&stats_listener(second, 0, 0)->accepted, 4);
    take(first, stats_descriptor(second));
    stats_destroy(second);
    stats_settle_later(first, false);
    assert_int_equal(stats_settle(first), 0);
    assert_int_equal(accepted(first, 0), 34);
    stats_destroy(first);
}

// More than there is room for: the first one is settled though it lives, and counters stay what they were.
static void test_too_many(void **state)
{
    struct stats *all[STATS_PREDECESSORS_MAX + 2];
    struct stats *stats = make(&old_config);
    size_t count = sizeof(all) / sizeof(all[0]);
    int fds[STATS_PREDECESSORS_MAX];

    (void)state;
    for (size_t i = 0; i < count; i++) {
        all[i] = make_busy();
        take(stats, stats_descriptor(all[i]));
        assert_int_equal(accepted(stats, 0), 30 * (i + 1));
    }
    assert_int_equal(stats_predecessors(stats, fds), STATS_PREDECESSORS_MAX);
    assert_int_equal(stats_settle(stats), STATS_PREDECESSORS_MAX);
    stats_add(&stats_listener(all[count - 1], 0, 0)->accepted, 1);
    assert_int_equal(accepted(stats, 0), 30 * count + 1);
    for (size_t i = 0; i < count; i++)
        stats_destroy(all[i]);
    assert_int_equal(stats_settle(stats), 0);
    assert_int_equal(accepted(stats, 0), 30 * count + 1);
    stats_destroy(stats);
}

// ---- servers that are found by names ----

static void test_renew(void **state)
{
    struct stats *first = make_busy();
    struct stats *second;

    (void)state;
    stats_renew_server(first, "app", 1, "192.0.2.77:80");
    assert_int_equal(server_bytes(first, 1), 0);
    stats_add(&stats_server(first, 2, 1)->bytes_in, 8);
    assert_int_equal(server_bytes(first, 1), 8);
    second = succeed(&new_config, first);
    assert_int_equal(server_bytes(second, 2), 0); // the address that it was
    stats_renew_server(second, "app", 1, "192.0.2.77:80");
    assert_int_equal(server_bytes(second, 1), 8);
    stats_destroy(first);
    assert_int_equal(stats_settle(second), 0);
    assert_int_equal(server_bytes(second, 1), 8);
    stats_renew_server(second, "app", 1, "192.0.2.78:80");
    assert_int_equal(server_bytes(second, 1), 0);
    stats_destroy(second);
}

// Twice the same name: the first is the first.
static void test_same_names(void **state)
{
    static struct config_listener twice[] = {{.name = (char *)"a"}, {.name = (char *)"a"}};
    static const struct config config = {.workers = 1, .listeners = twice, .listener_count = 2};
    struct stats *first = make(&config);
    struct stats *second = succeed(&config, first);

    (void)state;
    stats_add(&stats_listener(first, 0, 0)->accepted, 1);
    stats_add(&stats_listener(first, 0, 1)->accepted, 2);
    assert_int_equal(accepted(second, 0), 1);
    assert_int_equal(accepted(second, 1), 2);
    stats_destroy(first);
    stats_destroy(second);
}

// ---- what is none ----

static int file_of(const void *bytes, size_t size, off_t length, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, 0), size);
    assert_int_equal(ftruncate(fd, length), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void assert_refused(struct stats *stats, int fd, const char *expected)
{
    const char *why = NULL;

    assert_int_equal(stats_take(stats, fd, &why), -EINVAL);
    assert_string_equal(why, expected);
    assert_int_equal(stats_settle(stats), 0);
    close(fd);
}

static void test_refusals(void **state)
{
    struct stats *stats = make(&new_config);
    struct stats *before = make_busy();
    struct stats_header header = *(struct stats_header *)before->own.memory;
    struct stats_header changed;
    size_t size = before->own.size;
    uint64_t *counts[] = {&changed.workers, &changed.listeners, &changed.upstreams, &changed.servers};
    const uint64_t values[] = {0, 1, 9, 1 << 16, 1 << 24, UINT64_C(1) << 32, UINT64_C(1) << 61, UINT64_MAX};
    int pipes[2];

    (void)state;
    for (size_t length = 0; length <= sizeof(header); length += 8)
        assert_refused(stats, file_of(&header, length, (off_t)length, F_SEAL_SHRINK),
                       length < sizeof(header) ? "these are no counters"
                                               : "they are not as long as they say");
    assert_refused(stats, file_of(&header, sizeof(header), (off_t)size - 1, F_SEAL_SHRINK),
                   "they are not as long as they say");
    assert_refused(stats, file_of(&header, sizeof(header), (off_t)size + 1, F_SEAL_SHRINK),
                   "they are not as long as they say");
    assert_refused(stats, file_of(&header, sizeof(header), (off_t)size, F_SEAL_GROW),
                   "these are no counters");
    changed = header;
    changed.magic++;
    assert_refused(stats, file_of(&changed, sizeof(header), (off_t)size, F_SEAL_SHRINK),
                   "these are no counters");
    changed = header;
    changed.meaning++;
    assert_refused(stats, file_of(&changed, sizeof(header), (off_t)size, F_SEAL_SHRINK),
                   "another release counts other things");
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        for (size_t j = 0; j < sizeof(values) / sizeof(values[0]); j++) {
            changed = header;
            if (*counts[i] == values[j])
                continue;
            *counts[i] = values[j];
            assert_refused(stats, file_of(&changed, sizeof(header), (off_t)size, F_SEAL_SHRINK),
                           "they are not as long as they say");
        }
    }
    assert_int_equal(pipe(pipes), 0);
    assert_refused(stats, pipes[0], "these are no counters");
    assert_refused(stats, open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "these are no counters");
    assert_refused(stats, -1, "these are no counters");
    close(pipes[1]);
    stats_destroy(before);
    stats_destroy(stats);
}

// The workers of a predecessor, whoever they are by now, can write all of it after it was taken: sums may be anything, nothing else.
static void test_changed_afterwards(void **state)
{
    struct stats *before = make_busy();
    struct stats *stats = succeed(&new_config, before);

    (void)state;
    memset(before->own.memory, 0xff, before->own.size);
    (void)stats_connections(stats);
    (void)accepted(stats, 0);
    (void)server_bytes(stats, 2);
    stats_destroy(before);
    assert_int_equal(stats_settle(stats), 0);
    stats_destroy(stats);
}

// What a successor gets can't be written, nor made shorter.
static void test_read_only(void **state)
{
    struct stats *stats = make(&old_config);
    int fd = stats_descriptor(stats);

    (void)state;
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    stats_destroy(stats);
}

static void test_twice(void **state)
{
    struct stats *before = make_busy();
    struct stats *stats = succeed(&old_config, before);
    const char *why = NULL;

    (void)state;
    assert_int_equal(stats_take(stats, stats_descriptor(before), &why), -EEXIST);
    assert_int_equal(stats_take(stats, stats_descriptor(stats), &why), -EEXIST);
    assert_string_equal(why, "these counters are there already");
    assert_int_equal(accepted(stats, 0), 30);
    stats_destroy(before);
    stats_destroy(stats);
}

// Places at a server are read where it stands in each generation's block, as long as that lives, and never added up.
static void test_places(void **state)
{
    struct stats *first = make(&old_config);
    struct stats *second;
    struct stats_server sum;
    uint64_t number;

    (void)state;
    assert_int_equal(stats_places_before(first, 0), 0);
    for (unsigned worker = 0; worker < 3; worker++)
        stats_set(&stats_server(first, worker, 1)->places, worker + 1);
    second = succeed(&new_config, first);
    number = stats_taken(second);
    assert_int_equal(stats_places_before(second, 2), 6);
    (void)stats_forget(first, 2, NULL);
    assert_int_equal(stats_places_before(second, 2), 3);
    assert_true(stats_connections_of(second, number, &(uint64_t){0}));
    stats_destroy(first);
    assert_int_equal(stats_settle(second), 0);
    assert_int_equal(stats_places_before(second, 2), 0);
    stats_sum_server(second, 2, &sum);
    assert_int_equal(sum.places, 0);
    assert_false(stats_connections_of(second, number, &(uint64_t){0}));
    stats_destroy(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_along),    cmocka_unit_test(test_settles),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_process_ends),   cmocka_unit_test(test_workers_see_it_go),
        cmocka_unit_test(test_three),          cmocka_unit_test(test_earlier_goes_on),
        cmocka_unit_test(test_successor_dies), cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_renew),          cmocka_unit_test(test_same_names),
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_changed_afterwards),
        cmocka_unit_test(test_read_only),      cmocka_unit_test(test_twice),
    };

    return cmocka_run_group_tests_name("stats_chain", tests, NULL, NULL);
}
