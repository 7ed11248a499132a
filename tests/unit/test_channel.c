// SPDX-License-Identifier: Apache-2.0
// The worker's end of the channel, on a real ring.
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "ringbolt/clock.h"
#include "src/worker/channel.h"

#define DESCRIPTORS_MAX 64

static struct buffer_pool *pool;
static struct ring *ring;
static struct channel channel;
static int master;
static struct worker_message last;
static unsigned count;
static char came[16]; // what was in the descriptor that came along
static bool does_refuse;
static bool does_take; // the descriptor
static int taken_fd;

static bool on_message(void *owner, const struct worker_message *message, int *fd)
{
    assert_ptr_equal(owner, &count);
    last = *message;
    count++;
    memset(came, 0, sizeof(came));
    if (*fd >= 0) {
        assert_true(fcntl(*fd, F_GETFD) & FD_CLOEXEC);
        assert_true(pread(*fd, came, sizeof(came) - 1, 0) >= 0);
    }
    if (does_take) {
        taken_fd = *fd;
        *fd = -1;
    }
    return !does_refuse;
}

static const struct channel_owner owner = {.owner = &count, .message = on_message};

static int set_up(void **unused)
{
    struct ring_options options = {.entries = 64};
    const char *why;
    int pair[2];

    (void)unused;
    options.pool = pool = buffer_pool_create((uint64_t)4 << 20);
    if (!pool || ring_create(&options, &ring, &why) < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    master = pair[0];
    count = 0;
    does_refuse = does_take = false;
    if (channel_init(&channel, ring, pair[1], 7, &owner) < 0)
        return -1;
    channel_start(&channel);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    channel_finish(&channel);
    close(channel.fd);
    if (master >= 0)
        close(master);
    ring_destroy(ring);
    buffer_pool_destroy(pool);
    return 0;
}

// ---- the master ----

static void tell(enum worker_message_type type, uint32_t sequence, int fd)
{
    struct worker_message message = {.type = type, .sequence = sequence, .value = 5};
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {.iov_base = &message, .iov_len = sizeof(message)};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

    if (fd >= 0) {
        struct cmsghdr *cmsg;

        header.msg_control = control;
        header.msg_controllen = sizeof(control);
        cmsg = CMSG_FIRSTHDR(&header);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
    }
    assert_int_equal(sendmsg(master, &header, 0), sizeof(message));
}

static int file_with(const char *text)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    return fd;
}

// Runs the ring until an answer is there. Its sequence.
static uint32_t answer(void)
{
    struct worker_message message;
    struct ring_completion completion;
    ssize_t length;

    while ((length = recv(master, &message, sizeof(message), MSG_DONTWAIT)) < 0) {
        assert_int_equal(errno, EAGAIN);
        assert_int_equal(ring_wait(ring, CLOCK_NS_PER_S / 100), 0);
        while (ring_next(ring, &completion))
            completion.op->handler(completion.op, &completion);
    }
    assert_int_equal(length, sizeof(message));
    assert_int_equal(message.type, WORKER_CHANGED);
    return message.sequence;
}

static void run_until_over(void)
{
    struct ring_completion completion;

    while (!channel.is_over) {
        assert_int_equal(ring_wait(ring, CLOCK_NS_PER_S), 0);
        while (ring_next(ring, &completion))
            completion.op->handler(completion.op, &completion);
    }
}

// ---- tests ----

static void says_ready(void **unused)
{
    struct worker_message message;

    (void)unused;
    assert_int_equal(channel_say_ready(&channel), 0);
    assert_int_equal(recv(master, &message, sizeof(message), 0), sizeof(message));
    assert_int_equal(message.type, WORKER_READY);
    assert_int_equal(message.sequence, 7);
}

static void answers_once_for_several(void **unused)
{
    (void)unused;
    for (uint32_t sequence = 8; sequence <= 12; sequence++)
        tell(WORKER_DRAIN_RETIRED, sequence, -1);
    for (uint32_t told = 0; told != 12;)
        told = answer();
    assert_int_equal(count, 5);
    assert_int_equal(last.sequence, 12);
    assert_int_equal(last.value, 5);
}

static void descriptor_comes_along(void **unused)
{
    int fd = file_with("a change");

    (void)unused;
    tell(WORKER_CHANGE, 8, fd);
    close(fd);
    assert_int_equal(answer(), 8);
    assert_string_equal(came, "a change");
}

static void descriptor_is_taken(void **unused)
{
    int fd = file_with("a change");

    (void)unused;
    does_take = true;
    tell(WORKER_GIVE, 8, fd);
    close(fd);
    assert_int_equal(answer(), 8);
    assert_return_code(fcntl(taken_fd, F_GETFD), errno);
    close(taken_fd);
}

// What the worker says of itself and what it answers come in turn; who says too much to a master that does not read is told.
static void says_what_nobody_asked_for(void **unused)
{
    struct worker_message message = {.type = WORKER_GIVEN, .value = 0};
    unsigned said = 0;
    unsigned heard = 0;
    uint32_t answered = 0;

    (void)unused;
    while (channel_say(&channel, &message) == 0)
        message.value = ++said;
    assert_int_equal(said, CHANNEL_NEWS_MAX);
    tell(WORKER_PING, 8, -1);
    while (heard < said || answered != 8) {
        struct ring_completion completion;
        ssize_t length = recv(master, &message, sizeof(message), MSG_DONTWAIT);

        if (length == (ssize_t)sizeof(message) && message.type == WORKER_GIVEN)
            assert_int_equal(message.value, heard++);
        else if (length == (ssize_t)sizeof(message))
            answered = message.sequence;
        assert_int_equal(ring_wait(ring, CLOCK_NS_PER_S / 100), 0);
        while (ring_next(ring, &completion))
            completion.op->handler(completion.op, &completion);
    }
    assert_int_equal(channel_say(&channel, &message), 0);
}

// A worker full of connections gets its certificates all the same.
static void no_descriptor_left(void **unused)
{
    int taken[DESCRIPTORS_MAX];
    unsigned taken_count = 0;
    struct rlimit before;
    struct rlimit low;
    int fd = file_with("a change");

    (void)unused;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = DESCRIPTORS_MAX;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (uint32_t sequence = 8; sequence < 12; sequence++) {
        tell(WORKER_CHANGE, sequence, fd);
        while (taken_count < DESCRIPTORS_MAX && (taken[taken_count] = dup(fd)) >= 0)
            taken_count++;
        assert_int_equal(errno, EMFILE);
        assert_int_equal(answer(), sequence);
        assert_string_equal(came, "a change");
    }
    while (taken_count > 0)
        close(taken[--taken_count]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    close(fd);
}

static void sequence_wraps(void **unused)
{
    (void)unused;
    channel.acted = channel.told = UINT32_MAX;
    tell(WORKER_DRAIN_RETIRED, 0, -1);
    assert_int_equal(answer(), 0);
}

static void what_cannot_be_done_is_not_answered(void **unused)
{
    struct worker_message message;

    (void)unused;
    does_refuse = true;
    tell(WORKER_CHANGE, 8, -1);
    run_until_over();
    assert_int_equal(recv(master, &message, sizeof(message), MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
}

static void master_goes(void **unused)
{
    (void)unused;
    close(master);
    master = -1;
    run_until_over();
    assert_int_equal(count, 0);
}

static void not_a_message(void **unused)
{
    (void)unused;
    assert_int_equal(send(master, "R", 1, 0), 1);
    run_until_over();
    assert_int_equal(count, 0);
}

#define test_of(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_of(says_ready),
        test_of(answers_once_for_several),
        test_of(descriptor_comes_along),
        test_of(descriptor_is_taken),
        test_of(says_what_nobody_asked_for),
        test_of(no_descriptor_left),
        test_of(sequence_wraps),
        test_of(what_cannot_be_done_is_not_answered),
        test_of(master_goes),
        test_of(not_a_message),
    };

    return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
