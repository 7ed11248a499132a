// SPDX-License-Identifier: Apache-2.0
#include "ringbolt/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <unistd.h>

#define DISCARD_AT_ONCE 16384

int socket_open(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    return fd < 0 ? -errno : fd;
}

int socket_accept(int fd)
{
    int accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    return accepted < 0 ? -errno : accepted;
}

int socket_set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

void socket_prepare(int fd)
{
    (void)socket_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

#define KEEPALIVE_PROBES 3 // without an answer; they take as long together as the silence before them

int socket_tune(int fd, unsigned keepalive_s, unsigned user_timeout_ms)
{
    unsigned each_s = keepalive_s / KEEPALIVE_PROBES;
    int error = 0;

    if (keepalive_s > 0) {
        error = socket_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)keepalive_s);
        if (error == 0)
            error = socket_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, each_s > 0 ? (int)each_s : 1);
        if (error == 0)
            error = socket_set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
        if (error == 0)
            error = socket_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    }
    if (error == 0 && user_timeout_ms > 0)
        error = socket_set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)user_timeout_ms);
    return error;
}

// An IPv4 address that stands in IPv6, on its own.
static void unmap(struct sockaddr_storage *address)
{
    struct sockaddr_in6 six = *(const struct sockaddr_in6 *)address;
    struct sockaddr_in *four = (struct sockaddr_in *)address;

    if (address->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&six.sin6_addr))
        return;
    *address = (struct sockaddr_storage){.ss_family = AF_INET};
    memcpy(&four->sin_addr, &six.sin6_addr.s6_addr[12], sizeof(four->sin_addr));
}

int socket_come_from(int fd, int family, const struct sockaddr_storage *client)
{
    struct sockaddr_storage address = *client;
    int error;

    unmap(&address);
    if (address.ss_family != family || (family != AF_INET && family != AF_INET6))
        return -EAFNOSUPPORT;
    if (family == AF_INET) {
        ((struct sockaddr_in *)&address)->sin_port = 0;
        error = socket_set(fd, SOL_IP, IP_TRANSPARENT, 1);
    } else {
        ((struct sockaddr_in6 *)&address)->sin6_port = 0;
        error = socket_set(fd, SOL_IPV6, IPV6_TRANSPARENT, 1);
    }
    if (error == 0) // the port is chosen by connect(2), with the server's address in mind
        error = socket_set(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    if (error == 0 && bind(fd, (const struct sockaddr *)&address,
                           family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)) < 0)
        error = -errno;
    return error;
}

int socket_shutdown(int fd)
{
    return shutdown(fd, SHUT_WR) < 0 ? -errno : 0;
}

void socket_clear_error(int fd)
{
    int error;
    socklen_t length = sizeof(error);

    (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
}

unsigned socket_unsent(int fd)
{
    int unsent = 0;

    return ioctl(fd, SIOCOUTQ, &unsent) < 0 || unsent < 0 ? 0 : (unsigned)unsent;
}

void socket_close(int fd, bool reset)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    if (fd < 0)
        return;
    if (reset)
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

int socket_discard(int fd)
{
    static uint8_t scratch[DISCARD_AT_ONCE];
    _Alignas(8) char ancillary[64]; // without it, kernel TLS returns no record that is not data
    struct iovec piece = {.iov_base = scratch, .iov_len = sizeof(scratch)};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = ancillary, .msg_controllen = sizeof(ancillary)};
    ssize_t length = recvmsg(fd, &message, MSG_DONTWAIT);

    return length < 0 ? -errno : (int)length;
}

int socket_peer(int fd, struct sockaddr_storage *ret)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t length = sizeof(address);

    if (getpeername(fd, (struct sockaddr *)&address, &length) < 0)
        return -errno;
    *ret = address;
    return 0;
}

int socket_local(int fd, struct sockaddr_storage *ret)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t length = sizeof(address);

    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        return -errno;
    *ret = address;
    return 0;
}
