// SPDX-License-Identifier: Apache-2.0
// The estate over a socket pair: what was sent comes, with its descriptor, however large it is; what is none is refused, and leaves no descriptor
// behind.
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "src/control/estate.h"
#include "src/control/keeper.h"
#include "src/control/listen.h"

#define MAGIC   0x45626e52u
#define IN_FILE (1u << 16)
#define HAS_FD  (1u << 17)

static int ends[2];

static int count_descriptors(void)
{
    int count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static int set_up(void **state)
{
    (void)state;
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends);
}

static int tear_down(void **state)
{
    (void)state;
    close(ends[0]);
    if (ends[1] >= 0)
        close(ends[1]);
    return 0;
}

static bool is_same_file(int a, int b)
{
    struct stat one;
    struct stat other;

    return fstat(a, &one) == 0 && fstat(b, &other) == 0 && one.st_ino == other.st_ino &&
           one.st_dev == other.st_dev;
}

static void items_travel(void **state)
{
    static const size_t sizes[] = {0, 1, 32 << 10, (32 << 10) + 1, 3 << 20};
    static uint8_t data[3 << 20];
    const char *why = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 + i / 256);
    for (size_t i = 0; i < 4 * sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t size = sizes[i / 4];
        struct estate estate = {0};
        struct estate_item item;
        int fd = (i & 1) != 0 ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1;
        unsigned flags = (i & 2) != 0 ? ESTATE_SECRET | ESTATE_OPTIONAL : 0;

        assert_int_equal(estate_add(&estate, ESTATE_STAPLES, flags | ESTATE_CLOSE, data, size, fd), 0);
        assert_int_equal(estate_send(ends[0], &estate.items[0]), 0);
        assert_int_equal(estate_receive(ends[1], &item, &why), 1);
        assert_int_equal(item.type, ESTATE_STAPLES);
        assert_int_equal(item.flags & (ESTATE_SECRET | ESTATE_OPTIONAL), flags);
        assert_int_equal(item.size, size);
        if (size > 0)
            assert_memory_equal(item.bytes, data, size);
        assert_int_equal(item.fd >= 0, fd >= 0);
        assert_true(fd < 0 || (item.fd != fd && is_same_file(item.fd, fd)));
        assert_true(fd < 0 || (fcntl(item.fd, F_GETFD) & FD_CLOEXEC) != 0);
        estate_item_finish(&item);
        estate_finish(&estate);
        assert_int_equal(estate_receive(ends[1], &item, &why), -EAGAIN);
    }
    close(ends[0]);
    {
        struct estate_item item;

        assert_int_equal(estate_receive(ends[1], &item, &why), 0);
    }
    ends[0] = dup(ends[1]);
}

// Who goes with messages of ours unread is heard to the end: why it failed may be its last word.
static void last_words_are_heard(void **state)
{
    struct estate_item item = {.type = ESTATE_END, .fd = -1};
    struct estate_item got;
    const char *why = NULL;

    (void)state;
    assert_int_equal(estate_send(ends[0], &item), 0); // is not read
    item.type = ESTATE_FAILED;
    assert_int_equal(estate_send(ends[1], &item), 0);
    close(ends[1]);
    ends[1] = -1;
    assert_int_equal(estate_receive(ends[0], &got, &why), 1);
    assert_int_equal(got.type, ESTATE_FAILED);
    estate_item_finish(&got);
    assert_int_equal(estate_receive(ends[0], &got, &why), 0);
}

// The file that they came in holds nothing afterwards, whoever else has it open.
static void secrets_are_wiped(void **state)
{
    static uint8_t data[100000];
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    char part[8];
    struct iovec vector = {.iov_base = part, .iov_len = sizeof(part)};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    struct estate_item item = {
        .type = ESTATE_PASSPHRASES, .flags = ESTATE_SECRET, .bytes = data, .size = sizeof(data), .fd = -1};
    struct estate_item got;
    struct stat status;
    const char *why = NULL;
    uint8_t byte;
    int fd;

    (void)state;
    memset(data, 0x5a, sizeof(data));
    assert_int_equal(estate_send(ends[0], &item), 0);
    assert_true(recvmsg(ends[1], &message, MSG_PEEK | MSG_DONTWAIT) > 0);
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
    assert_int_equal(pread(fd, &byte, 1, 70000), 1);
    assert_int_equal(byte, 0x5a);
    assert_int_equal(estate_receive(ends[1], &got, &why), 1);
    assert_memory_equal(got.bytes, data, sizeof(data));
    for (size_t i = 0; i < sizeof(data); i++) {
        assert_int_equal(pread(fd, &byte, 1, (off_t)i), 1);
        assert_int_equal(byte, 0);
    }
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_size, sizeof(data));
    estate_item_finish(&got);
    close(fd);
}

static void a_full_channel_is_tried_again(void **state)
{
    static const uint8_t data[16 << 10] = {1};
    struct estate_item item = {
        .type = ESTATE_STAPLES, .bytes = (uint8_t *)(uintptr_t)data, .size = sizeof(data), .fd = -1};
    struct estate_item got;
    const char *why = NULL;
    unsigned sent = 0;
    int error;

    (void)state;
    while ((error = estate_send(ends[0], &item)) == 0)
        sent++;
    assert_int_equal(error, -EAGAIN);
    for (unsigned i = 0; i < sent; i++) {
        assert_int_equal(estate_receive(ends[1], &got, &why), 1);
        estate_item_finish(&got);
    }
    assert_int_equal(estate_send(ends[0], &item), 0);
    close(ends[1]);
    ends[1] = -1;
    error = estate_send(ends[0], &item);
    assert_true(error == -EPIPE || error == -ECONNRESET);
}

struct raw {
    uint32_t magic;
    uint32_t type;
    uint32_t flags;
    uint32_t zero;
    uint64_t size;
    uint8_t bytes[64];
};

static void send_raw(const struct raw *raw, size_t size, const int *fds, size_t count)
{
    union {
        char bytes[CMSG_SPACE(4 * sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)raw, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (count > 0) {
        struct cmsghdr *cmsg;

        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        cmsg = CMSG_FIRSTHDR(&message);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, count * sizeof(int));
    }
    assert_int_equal(sendmsg(ends[0], &message, 0), (ssize_t)size);
}

static void what_is_none_is_refused(void **state)
{
    int unsealed = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int fds[] = {sealed, unsealed, sealed};
    int before;
    const struct {
        struct raw raw;
        size_t size;
        size_t fd_count;
        size_t first_fd;
    } cases[] = {
        {{.magic = 1, .type = 66, .size = 4}, 28, 0, 0},
        {{.magic = MAGIC, .type = 66}, 23, 0, 0},
        {{.magic = MAGIC, .type = 66}, 0, 0, 0},
        {{.magic = MAGIC, .type = 66, .zero = 1}, 24, 0, 0},
        {{.magic = MAGIC, .type = 66, .size = 5}, 28, 0, 0},
        {{.magic = MAGIC, .type = 66, .size = 3}, 28, 0, 0},
        {{.magic = MAGIC, .type = 66, .size = UINT64_MAX}, 28, 0, 0},
        {{.magic = MAGIC, .type = 66, .flags = 4}, 24, 0, 0},
        {{.magic = MAGIC, .type = 66, .flags = 1u << 31}, 24, 0, 0},
        {{.magic = MAGIC, .type = 66, .flags = HAS_FD}, 24, 0, 0},
        {{.magic = MAGIC, .type = 66}, 24, 1, 0},
        {{.magic = MAGIC, .type = 66, .flags = HAS_FD}, 24, 2, 0},
        {{.magic = MAGIC, .type = 66, .flags = HAS_FD}, 24, 3, 0},
        {{.magic = MAGIC, .type = 66, .flags = IN_FILE}, 24, 1, 0},
        {{.magic = MAGIC, .type = 66, .flags = IN_FILE, .size = 4}, 24, 1, 1},
        {{.magic = MAGIC, .type = 66, .flags = IN_FILE, .size = 5}, 24, 1, 0},
        {{.magic = MAGIC, .type = 66, .flags = IN_FILE, .size = 4}, 28, 1, 0},
    };

    (void)state;
    assert_true(unsealed >= 0 && sealed >= 0);
    assert_int_equal(write(unsealed, "text", 4) + write(sealed, "text", 4), 8);
    assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
    before = count_descriptors();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct estate_item item = {.fd = -1};
        const char *why = NULL;
        int result;

        if (cases[i].size == 0)
            continue;
        send_raw(&cases[i].raw, cases[i].size, fds + cases[i].first_fd, cases[i].fd_count);
        result = estate_receive(ends[1], &item, &why);
        if (result != -EBADMSG)
            fail_msg("case %zu: %d", i, result);
        assert_non_null(why);
        assert_int_equal(count_descriptors(), before);
    }
    close(unsealed);
    close(sealed);
}

static void items_are_found_in_order(void **state)
{
    struct estate estate = {0};
    struct estate_item *item = NULL;
    int before = count_descriptors();

    (void)state;
    for (int i = 0; i < 100; i++)
        assert_int_equal(estate_add(&estate, i % 3 == 0 ? ESTATE_LISTENER : ESTATE_SERVERS,
                                    (i % 2 == 0 ? ESTATE_SECRET : 0) | ESTATE_CLOSE, &i, sizeof(i),
                                    i == 99 ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1),
                         0);
    for (int i = 0; i < 100; i += 3) {
        item = estate_find(&estate, ESTATE_LISTENER, item);
        assert_non_null(item);
        assert_memory_equal(item->bytes, &i, sizeof(i));
    }
    assert_true(item->fd >= 0);
    close(estate_take_fd(item));
    assert_int_equal(item->fd, -1);
    assert_null(estate_find(&estate, ESTATE_LISTENER, item));
    assert_null(estate_find(NULL, ESTATE_LISTENER, NULL));
    estate_forget_secrets(&estate);
    item = estate_find(&estate, ESTATE_LISTENER, NULL);
    assert_int_equal(*(const int *)item->bytes, 3); // 0 was a secret
    assert_int_equal(estate_add(&estate, ESTATE_SERVERS, ESTATE_CLOSE, "", ESTATE_SIZE_MAX + 1,
                                open("/dev/null", O_RDONLY | O_CLOEXEC)),
                     -E2BIG);
    estate_finish(&estate);
    estate_finish(&estate);
    assert_int_equal(count_descriptors(), before);
}

// ---- listening sockets ----

static void make_config(struct config *config, struct config_listener *listeners, unsigned workers)
{
    for (unsigned i = 0; i < 2; i++) {
        struct sockaddr_in *in = (struct sockaddr_in *)&listeners[i].address.socket;

        in->sin_family = AF_INET;
        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        listeners[i].address.length = sizeof(*in);
        listeners[i].address.text = (char *)"127.0.0.1:0";
        listeners[i].backlog = 16;
    }
    *config = (struct config){.workers = workers, .listeners = listeners, .listener_count = 2};
}

static in_port_t port_of(int fd)
{
    struct sockaddr_in in;
    socklen_t length = sizeof(in);

    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &length), 0);
    return in.sin_port;
}

// Every socket of the predecessor has a worker, and every worker a socket, whatever their numbers are.
static void sockets_go_over(void **state)
{
    static const unsigned numbers[][2] = {{1, 1}, {1, 4}, {4, 1}, {3, 2}, {2, 5}};

    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct config_listener listeners[2] = {{0}};
        struct config before;
        struct config after;
        struct listening old = {0};
        struct listening new = {0};
        struct estate estate = {0};
        unsigned most = numbers[i][0] > numbers[i][1] ? numbers[i][0] : numbers[i][1];
        size_t dealt = 0;

        make_config(&before, listeners, numbers[i][0]);
        make_config(&after, listeners, numbers[i][1]);
        assert_int_equal(listening_open(&old, &before, NULL, NULL), 0);
        assert_int_equal(listening_leave(&old, &estate), 0);
        assert_int_equal(estate.count, 2 * numbers[i][0]);
        for (size_t k = 0; k < estate.count; k++) { // as if they had come over the channel
            estate.items[k].fd = dup(estate.items[k].fd);
            estate.items[k].flags |= ESTATE_CLOSE;
        }
        assert_int_equal(listening_open(&new, &after, NULL, &estate), 0);
        for (size_t k = 0; k < estate.count; k++)
            assert_int_equal(estate.items[k].fd, -1);
        for (unsigned listener = 0; listener < 2; listener++) {
            in_port_t port = port_of(old.sockets[listener].fds[0]);

            assert_int_equal(new.sockets[listener].count, most);
            for (unsigned k = 0; k < most; k++)
                assert_int_equal(port_of(new.sockets[listener].fds[k]), port);
        }
        for (unsigned worker = 0; worker < numbers[i][1]; worker++) {
            struct proxy_socket *more = NULL;
            size_t count = 0;

            assert_int_equal(listening_more(&new, worker, &more, &count), 0);
            dealt += 2 + count;
            for (size_t k = 0; k < count; k++)
                assert_int_not_equal(more[k].fd, listening_of(&new, worker)[more[k].listener]);
            free(more);
        }
        assert_int_equal(dealt, 2 * most);
        listening_close(&old);
        listening_close(&new);
        estate_finish(&estate);
    }
}

// ---- the keeper ----

static void statuses(void **state)
{
    (void)state;
    assert_int_equal(keeper_status(0), 0);
    assert_int_equal(keeper_status(3 << 8), 3);
    assert_int_equal(keeper_status(9), 137);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(items_travel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(last_words_are_heard, set_up, tear_down),
        cmocka_unit_test_setup_teardown(secrets_are_wiped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_channel_is_tried_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_none_is_refused, set_up, tear_down),
        cmocka_unit_test(items_are_found_in_order),
        cmocka_unit_test(sockets_go_over),
        cmocka_unit_test(statuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
