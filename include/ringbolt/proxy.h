// SPDX-License-Identifier: Apache-2.0
// The proxy of one worker: its listeners and its connections, on a ring. It does not loop and does not sleep: the
// worker hands it completions (by running their handlers) and time.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ringbolt/admission.h"
#include "ringbolt/buffer.h"
#include "ringbolt/config.h"
#include "ringbolt/deposit.h"
#include "ringbolt/record.h"
#include "ringbolt/ring.h"
#include "ringbolt/servers.h"
#include "ringbolt/stats.h"
#include "ringbolt/timer.h"
#include "ringbolt/tls.h"

struct proxy;

// A further socket of a listener, beside its first one: a predecessor with more workers had more of them.
struct proxy_socket {
    size_t listener;
    int fd;
};

struct proxy_setup {
    const struct config *config;
    const struct record_probe *probe;
    struct tls_context **contexts;   // config->listener_count of them
    struct tls_context *
        *client_contexts; // config->upstream_count of them, NULL for those without `tls`; NULL: all are
    const struct material *material; // what the contexts serve: asked which certificates are retired
    const int *listeners;            // as many listening sockets; stay the caller's
    const struct proxy_socket *more; // further ones, `more_count` of them; likewise
    size_t more_count;
    const int *acme; // as many descriptors of the folders of `redirect.acme`, or -1; NULL: none at all; stay the caller's
    struct ring *ring;
    struct buffer_pool *pool;
    struct admission *admission;
    struct servers *servers; // shared with the other workers
    struct stats *stats;     // likewise
    const struct deposit_room *deposits; // NULL: connections end with this worker
    unsigned worker;         // which part of them is ours
    unsigned connections_most; // at once, that there are descriptors for, two each; 0: any number. Above it clients wait to be accepted
};

// NULL when there is no memory. Everything in *setup must outlive it. now_ns is the monotonic clock.
struct proxy *proxy_create(const struct proxy_setup *setup, uint64_t now_ns);
// Only when proxy_idle(). NULL is accepted.
void proxy_destroy(struct proxy *proxy);

// Goes on with the connections that the worker before left in setup->deposits. Those of which nothing can be made are reset, and counted as lost with it.
void proxy_revive(struct proxy *proxy);
// Starts accepting.
void proxy_start(struct proxy *proxy);
// Accepts what already waits in the accept queues, then no more; what is live goes on.
void proxy_drain(struct proxy *proxy);
// Accepts nobody any more for now, while clients wait in the accept queues; or (false) goes on. Who was accepted while that came in
// is served. Does nothing once it drains.
void proxy_pause(struct proxy *proxy, bool is_paused);
// That came to be: paused or draining, and nobody is being accepted any more.
bool proxy_pauses(const struct proxy *proxy);
// Connections under retired certificates (material_is_retired()) end within timeout_ns, cut if they are still there; those whose
// handshake is under way too.
void proxy_drain_retired(struct proxy *proxy, uint64_t timeout_ns);
// Ends every connection; each client gets an alert if it reads, none a clean end.
void proxy_stop(struct proxy *proxy);
// True after proxy_drain() or proxy_stop() when no connection is left and no operation is in flight.
bool proxy_idle(const struct proxy *proxy);

// Sets the time that handlers run by; call it after each wait, before running completions.
void proxy_time(struct proxy *proxy, uint64_t now_ns);
// Goes on with handshakes, runs expired timers and what waited for buffers; call it after the completions were run, with the time then.
void proxy_tick(struct proxy *proxy, uint64_t now_ns);
// How long the worker may wait for completions; UINT64_MAX for ever.
uint64_t proxy_wait_ns(const struct proxy *proxy, uint64_t now_ns);

unsigned proxy_connection_count(const struct proxy *proxy);
