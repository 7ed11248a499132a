// SPDX-License-Identifier: Apache-2.0
// A world in memory for the simulation: sockets, a ring and kernel TLS, all driven by one seed. world.c defines every function
// of ring.h and socket.h and the kernel half of record.h, so the linker takes these and not the library's.
//
// What the real ones may do, these do often: receive and send less than asked, complete in any order, refuse for want of buffers
// or memory, block, reset.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "ringbolt/buffer.h"
#include "ringbolt/record.h"
#include "ringbolt/ring.h"

// What the other side of a simulated socket sees and does.
struct peer; // one stream, seen from outside the proxy

void world_begin(uint64_t seed);
// Checks that nothing is left (descriptors open, operations pending) and forgets everything. False with a line on stderr.
bool world_end(void);

uint64_t world_random(void);
// 0 to below-1
uint64_t world_below(uint64_t below);
bool world_chance(unsigned percent);

uint64_t world_now_ns(void);
void world_advance(uint64_t ns);

// A connection that waits to be accepted on the listening descriptor `listener` (any number below 100).
struct peer *world_connect(int listener);

// How the next outgoing connection will be answered.
enum world_dial { WORLD_DIAL_ACCEPT, WORLD_DIAL_REFUSE, WORLD_DIAL_HANG };
void world_dial(enum world_dial answer);
// Asks for each outgoing connection, again and again while the answer is HANG; NULL: world_dial() says. `peer` is the stream of one that
// is accepted.
typedef enum world_dial world_dialler(const struct sockaddr *address, struct peer *peer);
void world_dial_by(world_dialler *dialler);
// The peer of the last outgoing connection that was accepted; NULL when there is none since the last call.
struct peer *world_dialled(void);

// Another descriptor for the same socket, with the same number (whoever sends one to a process gives it such): the socket is closed with the last.
void world_pass(int fd);

// Who gets messages with descriptors (socket_send_with()); the descriptors are passed to it.
typedef void world_sender(int fd, const void *message, size_t size, const int *fds, size_t fd_count);
void world_send_by(world_sender *sender);
// The process of this ring is no more: nothing of it is in flight, and what had completed and was not looked at is lost.
void world_kill(struct ring *ring);

// The addresses that the sockets of clients have.
#define WORLD_PEER  0xc0000201u // 192.0.2.1
#define WORLD_LOCAL 0xc0000202u

// Bytes into the proxy: how many fitted. Out of it: how many were there.
size_t peer_write(struct peer *peer, const void *data, size_t length);
size_t peer_read(struct peer *peer, void *data, size_t length);
void peer_finish(struct peer *peer);  // FIN
void peer_reset(struct peer *peer);   // RST; what the proxy had not sent is lost
bool peer_is_at_end(const struct peer *peer);    // everything was read and FIN came
bool peer_was_reset(const struct peer *peer);    // RST came
void peer_capacity(struct peer *peer, size_t in, size_t out); // socket buffers

// What the simulated kernel's TLS can do.
extern struct record_probe world_probe;
void world_kernel_tls(bool transmit, bool receive, bool rekey);
// How many directions went into the kernel so far.
unsigned world_offloads(void);

// Percentages: how often an operation fails for want of something, passing.
extern unsigned world_trouble;
