// SPDX-License-Identifier: Apache-2.0
// A ring that is restricted: what this interface offers works, and nothing else can be asked of it, not even by whoever has its memory.
#include "src/io/ring.c" // to reach beneath its interface

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "skip.h"

static struct buffer_pool *pool;
static struct ring *ring;
static int result;
static unsigned count;

static void on_completion(struct ring_op *op, const struct ring_completion *completion)
{
    (void)op;
    result = completion->result;
    count++;
    buffer_give(pool, completion->buffer);
}

static int wait_for_one(void)
{
    struct ring_completion completion;

    count = 0;
    while (count == 0) {
        assert_int_equal(ring_wait(ring, CLOCK_NS_PER_S), 0);
        while (ring_next(ring, &completion))
            completion.op->handler(completion.op, &completion);
    }
    return result;
}

static int set_up(void **unused)
{
    struct ring_options options = {.entries = 64, .is_restricted = true};
    const char *why = "";

    (void)unused;
    options.pool = pool = buffer_pool_create((uint64_t)4 << 20);
    return ring_create(&options, &ring, &why);
}

static int tear_down(void **unused)
{
    (void)unused;
    ring_destroy(ring);
    buffer_pool_destroy(pool);
    return 0;
}

// ---- what is offered ----

static void test_offered(void **unused)
{
    struct sockaddr_storage address = {.ss_family = AF_UNIX};
    struct ring_op op;
    struct ring_op other;
    struct iovec part = {.iov_base = (char[]){"y"}, .iov_len = 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    char byte = 0;
    int pair[2];
    int listening = socket(AF_UNIX, SOCK_STREAM, 0);
    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    socklen_t length = sizeof(address.ss_family);

    (void)unused;
    ring_op_init(&op, on_completion);
    ring_op_init(&other, on_completion);
    assert_return_code(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), errno);
    ring_send(ring, &op, pair[0], "x", 1, 0);
    assert_int_equal(wait_for_one(), 1);
    ring_poll(ring, &op, pair[1], POLLIN);
    assert_int_equal(wait_for_one() & POLLIN, POLLIN);
    ring_receive(ring, &op, pair[1], &byte, 1, 0);
    assert_int_equal(wait_for_one(), 1);
    ring_send_message(ring, &op, pair[0], &message, 0);
    assert_int_equal(wait_for_one(), 1);
    ring_receive_message(ring, &op, pair[1], &message, 0);
    assert_int_equal(wait_for_one(), 1);
    ring_send(ring, &op, pair[0], "z", 1, 0);
    assert_int_equal(wait_for_one(), 1);
    ring_receive_idle(ring, &op, pair[1]);
    assert_int_equal(wait_for_one(), 1);
    ring_receive_idle(ring, &op, pair[1]);
    ring_submit(ring);
    ring_cancel(ring, &op);
    assert_int_equal(wait_for_one(), -ECANCELED);
    // The kernel chooses a name, abstract.
    assert_return_code(bind(listening, (struct sockaddr *)&address, length), errno);
    assert_return_code(listen(listening, 1), errno);
    length = sizeof(address);
    assert_return_code(getsockname(listening, (struct sockaddr *)&address, &length), errno);
    ring_connect(ring, &op, client, (struct sockaddr *)&address, length);
    assert_int_equal(wait_for_one(), 0);
    ring_accept(ring, &other, listening);
    assert_true(wait_for_one() >= 0);
    close(result);
    close(client);
    close(listening);
    close(pair[0]);
    close(pair[1]);
}

// ---- what is not ----

// Submits what `prepare` asks for, as whoever has taken a worker over could.
static int submit(void (*prepare)(struct io_uring_sqe *sqe))
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    struct ring_op op;

    ring_op_init(&op, on_completion);
    op.in_flight = true;
    prepare(sqe);
    io_uring_sqe_set_data(sqe, &op);
    return wait_for_one();
}

static char bytes[16];
static struct epoll_event event;
static struct statx facts;

static void open_file(struct io_uring_sqe *sqe)
{
    io_uring_prep_openat(sqe, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
}

static void open_file_2(struct io_uring_sqe *sqe)
{
    static struct open_how how = {.flags = O_RDONLY};

    io_uring_prep_openat2(sqe, AT_FDCWD, "/etc/passwd", &how);
}

static void stat_file(struct io_uring_sqe *sqe)
{
    io_uring_prep_statx(sqe, AT_FDCWD, "/etc/passwd", 0, STATX_SIZE, &facts);
}

static void unlink_file(struct io_uring_sqe *sqe)
{
    io_uring_prep_unlinkat(sqe, AT_FDCWD, "/nowhere", 0);
}

static void make_socket(struct io_uring_sqe *sqe)
{
    io_uring_prep_rw(IORING_OP_SOCKET, sqe, AF_NETLINK, NULL, 0, SOCK_RAW);
}

static void read_file(struct io_uring_sqe *sqe)
{
    io_uring_prep_read(sqe, STDIN_FILENO, bytes, sizeof(bytes), 0);
}

static void close_file(struct io_uring_sqe *sqe)
{
    io_uring_prep_close(sqe, 1000);
}

static void command(struct io_uring_sqe *sqe)
{
    io_uring_prep_rw(IORING_OP_URING_CMD, sqe, STDIN_FILENO, NULL, 0, 0);
}

static void watch(struct io_uring_sqe *sqe)
{
    io_uring_prep_epoll_ctl(sqe, STDIN_FILENO, STDIN_FILENO, EPOLL_CTL_ADD, &event);
}

static void nothing(struct io_uring_sqe *sqe)
{
    io_uring_prep_nop(sqe);
}

// On a kernel thread, by another identity, linked: flags that nothing here uses.
static void by_thread(struct io_uring_sqe *sqe)
{
    io_uring_prep_poll_add(sqe, STDIN_FILENO, POLLIN);
    io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
}

static void by_fixed_file(struct io_uring_sqe *sqe)
{
    io_uring_prep_poll_add(sqe, 0, POLLIN);
    io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
}

static void test_refused(void **unused)
{
    static void (*const asked[])(struct io_uring_sqe *) = {
        open_file,  open_file_2, stat_file, unlink_file, make_socket, read_file,
        close_file, command,     watch,     nothing,     by_thread,   by_fixed_file,
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        int got = submit(asked[i]);

        if (got != -EACCES)
            fail_msg("row %zu completed with %d", i, got);
    }
}

static void test_registrations(void **unused)
{
    unsigned fd = (unsigned)ring->uring.ring_fd;
    int files[1] = {STDIN_FILENO};

    (void)unused;
    assert_int_equal(io_uring_register(fd, IORING_REGISTER_FILES, files, 1), -EACCES);
    assert_int_equal(io_uring_register(fd, IORING_REGISTER_PERSONALITY, NULL, 0), -EACCES);
    // Neither a second list nor anything else widens the first.
    assert_true(io_uring_register(fd, IORING_REGISTER_RESTRICTIONS, NULL, 0) < 0);
    assert_true(io_uring_register(fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0);
    assert_int_equal(submit(open_file), -EACCES);
}

int main(void)
{
    struct ring_probe probe;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_offered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_registrations, set_up, tear_down),
    };

    ring_probe(&probe);
    if (!probe.restrictions) {
        printf("1..0 # SKIP io_uring can't be restricted here\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
