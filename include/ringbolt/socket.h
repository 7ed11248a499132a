// SPDX-License-Identifier: Apache-2.0
// The system calls on sockets that are not io_uring operations, in one place so that the simulation can replace them.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

// A non-blocking, close-on-exec stream socket. The descriptor or -errno.
int socket_open(int family);
// accept4(2), non-blocking. The descriptor or -errno; -EAGAIN: nobody waits.
int socket_accept(int fd);
// setsockopt(2) for an option that is a number. 0 or -errno.
int socket_set(int fd, int level, int option, int value);
// TCP_NODELAY on: what is relayed was written whole by its peer, and Nagle's algorithm would hold back the last piece of it. A no-op on
// unix sockets. Never fails: what it can't set makes a connection slower, not wrong. What is set on a listening socket holds for
// those that are accepted from it (net/ipv4/inet_connection_sock.c, inet_csk_clone_lock()).
void socket_prepare(int fd);
// Keepalive and user timeout, tcp(7); 0: the kernel's own. 0 or -errno.
int socket_tune(int fd, unsigned keepalive_s, unsigned user_timeout_ms);
// Connections from this socket come from the client's address, with a port of its own (ip(7), IP_TRANSPARENT): needs CAP_NET_RAW and
// routes that bring the answers back. 0 or -errno; -EAFNOSUPPORT when the client's address is of another family than the socket.
int socket_come_from(int fd, int family, const struct sockaddr_storage *client);
// shutdown(SHUT_WR). 0 or -errno.
int socket_shutdown(int fd);
// Bytes that were sent and that the peer has not acknowledged (SIOCOUTQ); 0 when that can't be told.
unsigned socket_unsent(int fd);
// Takes the error that the socket holds for its next operation (SO_ERROR). Kernel TLS leaves one there after a record that did
// not authenticate, and it would fail the alert that answers it.
void socket_clear_error(int fd);
// Close. With reset, TCP sends RST in place of FIN and what is still queued is dropped (SO_LINGER 0). fd < 0 is harmless.
void socket_close(int fd, bool reset);
// Reads into a scratch area, dropping what comes (records of kernel TLS of any type too): bytes dropped, 0 at end of
// file, -errno; -EAGAIN: nothing there.
int socket_discard(int fd);
// The addresses at both ends, filled up with zeroes. 0 or -errno.
int socket_peer(int fd, struct sockaddr_storage *ret);
int socket_local(int fd, struct sockaddr_storage *ret);

// "203.0.113.7:51234", "[2001:db8::1]:443", "unix", or "unknown" for AF_UNSPEC, into text[size] (socket_text.c; no system call).
#define SOCKET_TEXT_SIZE 128
void socket_text(const struct sockaddr_storage *address, char *text, size_t size);

// ---- messages with descriptors (socket_pass.c) ----

#define SOCKET_PASS_MAX 2 // descriptors with one message

struct iovec;

struct socket_passed {
    int fds[SOCKET_PASS_MAX];
    size_t count;
    bool is_cut;      // more came than there were numbers for (RLIMIT_NOFILE), or than SOCKET_PASS_MAX
    bool is_too_long; // the message was longer than the parts
};

// Sends one message, and fds[fd_count] along with it, which stay the caller's. 0, or -errno: nothing was sent; -EAGAIN: the socket is full.
int socket_send_with(int fd, const struct iovec *parts, size_t part_count, const int *fds, size_t fd_count);
// Receives one. Its length, 0 at end of file (or an empty one), or -errno; -EAGAIN: none is there. Of what is 0 or more, *ret has the
// descriptors, the caller's, close-on-exec.
ssize_t socket_receive_with(int fd, const struct iovec *parts, size_t part_count, struct socket_passed *ret);
void socket_passed_close(struct socket_passed *passed);
