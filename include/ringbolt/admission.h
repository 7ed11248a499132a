// SPDX-License-Identifier: Apache-2.0
// Who is let in: the limits that more than one worker must know about. The counts lie in memory that the master and all workers
// share; each worker writes only its own part, so there are no locks that a dying worker could hold, and reads everybody's.
//
// Clients are counted by network: an IPv4 address or an IPv6 /64, or what limits.client_network says. A worker has room
// for four times as many networks as limits.connections; should chance fill all places that one may stand at, it is not counted.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "ringbolt/config.h"

struct admission;

// By the master, before it forks. NULL when there is no memory (or no random number). *config must outlive it.
struct admission *admission_create(const struct config *config);
// NULL is accepted.
void admission_destroy(struct admission *admission);
// This worker (0-based) has died: what it held is free.
void admission_forget(struct admission *admission, unsigned worker);

// ---- by a worker; now_ns is the monotonic clock ----

enum admission_full {
    ADMISSION_OPEN,
    ADMISSION_FULL_LISTENER, // listeners[].limits.connections
    ADMISSION_FULL_RATE,     // limits.handshakes_per_second
};

// May another connection be accepted on this listener (an index)? If not, clients wait in the kernel's queue.
enum admission_full admission_full(const struct admission *admission, size_t listener, uint64_t now_ns);
// One was accepted, or is gone.
void admission_enter(struct admission *admission, unsigned worker, size_t listener, uint64_t now_ns);
void admission_leave(struct admission *admission, unsigned worker, size_t listener);
// One that another worker accepted is this one's now: it counts among those that are there, whatever the limits say, and for no rate.
void admission_adopt(struct admission *admission, unsigned worker, size_t listener);

#define ADMISSION_UNCOUNTED UINT32_MAX

enum admission_refusal {
    ADMISSION_GRANTED,
    ADMISSION_CLIENT_CONNECTIONS, // limits.connections_per_client
    ADMISSION_CLIENT_RATE,        // limits.handshakes_per_second_per_client
};

// Counts a client's connection, unless its network has as many as it may. *ret_place is for admission_client_leave(); it is
// ADMISSION_UNCOUNTED when nothing was counted: refused, no such limits, a unix socket.
enum admission_refusal admission_client_enter(struct admission *admission, unsigned worker,
                                              const struct sockaddr *client, uint64_t now_ns,
                                              uint32_t *ret_place);
void admission_client_leave(struct admission *admission, unsigned worker, uint32_t place);
// As admission_adopt(), for a client; its place.
uint32_t admission_client_adopt(struct admission *admission, unsigned worker, const struct sockaddr *client);
