// SPDX-License-Identifier: Apache-2.0
// What the configuration says about TCP is so on the listening sockets, and on those that are accepted from them.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "ringbolt/socket.h"
#include "src/control/listen.h"

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof(value);

    assert_int_equal(getsockopt(fd, level, name, &value, &length), 0);
    return value;
}

// The most that may wait: tcp_info has it for sockets that listen (net/ipv4/tcp.c, tcp_get_info()).
static unsigned backlog_of(int fd)
{
    struct tcp_info info;
    socklen_t length = sizeof(info);

    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
    return info.tcpi_sacked;
}

static int accepted_from(int listening)
{
    struct sockaddr_in address;
    socklen_t length = sizeof(address);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd;

    assert_true(client >= 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &length), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, length), 0);
    fd = accept(listening, NULL, NULL);
    assert_true(fd >= 0);
    close(client);
    return fd;
}

static void test_options(void **state)
{
    struct config_listener listeners[2] = {{.backlog = 65535}, {.backlog = 7}};
    const struct config config = {.workers = 1, .listeners = listeners, .listener_count = 2};
    struct listening listening = {0};
    const int *fds;
    int fd;

    for (unsigned i = 0; i < 2; i++) {
        struct sockaddr_in *in = (struct sockaddr_in *)&listeners[i].address.socket;

        in->sin_family = AF_INET;
        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        listeners[i].address.length = sizeof(*in);
        listeners[i].address.text = (char *)"127.0.0.1:0";
    }
    listeners[1].tcp = (struct config_tcp){.keepalive_s = 60, .user_timeout_ms = 1234};
    listeners[1].fast_open = 5;
    assert_int_equal(listening_open(&listening, &config, NULL, NULL), 0);
    fds = listening_of(&listening, 0);
    assert_true(backlog_of(fds[0]) > 7);
    assert_int_equal(backlog_of(fds[1]), 7);
    assert_int_equal(option(fds[0], IPPROTO_TCP, TCP_FASTOPEN), 0);
    assert_int_equal(option(fds[1], IPPROTO_TCP, TCP_FASTOPEN), 5);

    fd = accepted_from(fds[0]);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
    close(fd);
    fd = accepted_from(fds[1]);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 60);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 20);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 1234);
    close(fd);
    listening_close(&listening);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_options)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
