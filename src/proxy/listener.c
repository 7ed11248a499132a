// SPDX-License-Identifier: Apache-2.0
// Accepting. One accept at a time on the ring, and what else waits right behind it: unlike a multishot accept this can stop
// exactly at a limit, and clients then wait in the kernel's queue, where they cost nothing.
#include <errno.h>

#include "connection.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/socket.h"

#define ACCEPTS_AT_ONCE 16
#define PAUSE_NS        (100 * CLOCK_NS_PER_MS)

static void on_accepted(struct ring_op *op, const struct ring_completion *completion);

static bool is_full(struct proxy *proxy)
{
    unsigned total = proxy->connection_count + proxy->setup.connections_elsewhere(proxy->setup.owner);
    bool full = total >= proxy->setup.config->limits.connections;

    if (full && !proxy->has_warned_limit)
        log_warning("limits.connections is reached, new clients wait",
                    log_integer("connections", proxy->setup.config->limits.connections));
    // Once an episode: the warning is armed again when a tenth is free.
    if (full)
        proxy->has_warned_limit = true;
    else if (total < proxy->setup.config->limits.connections - proxy->setup.config->limits.connections / 10)
        proxy->has_warned_limit = false;
    return full;
}

void listener_pause(struct listener *listener)
{
    struct proxy *proxy = listener->proxy;

    listener->is_paused = true;
    if (!timer_is_set(&proxy->resume_timer))
        timer_set(&proxy->wheel, &proxy->resume_timer, proxy->now_ns + PAUSE_NS);
}

void listener_start(struct listener *listener)
{
    struct proxy *proxy = listener->proxy;

    listener->is_paused = false;
    if (proxy->is_draining || listener->accept_op.in_flight)
        return;
    if (is_full(proxy)) {
        listener_pause(listener);
        return;
    }
    listener->accept_op.handler = on_accepted;
    ring_accept(proxy->ring, &listener->accept_op, listener->fd);
}

// Takes what already waits, up to `most`. 0, or -errno of the accept that failed (-EAGAIN: nobody waits).
static int take_waiting(struct listener *listener, unsigned most)
{
    while (most-- > 0 && !is_full(listener->proxy)) {
        int fd = socket_accept(listener->fd);

        if (fd < 0)
            return fd;
        connection_create(listener, fd);
    }
    return 0;
}

void listener_look(struct listener *listener)
{
    if (!listener->proxy->is_draining && !listener->is_paused)
        (void)take_waiting(listener, ACCEPTS_AT_ONCE);
}

void listener_drain(struct listener *listener)
{
    // Clients in the queue were promised a connection when the handshake of TCP was done.
    while (!is_full(listener->proxy) && take_waiting(listener, ACCEPTS_AT_ONCE) == 0)
        ;
}

static void on_accepted(struct ring_op *op, const struct ring_completion *completion)
{
    struct listener *listener = list_entry(op, struct listener, accept_op);
    int result = completion->result;

    if (result >= 0 && listener->proxy->is_stopping) {
        socket_close(result, true); // it was accepted before the word to stop was heard
        return;
    }
    if (result >= 0) {
        connection_create(listener, result);
        result = take_waiting(listener, ACCEPTS_AT_ONCE - 1);
    }
    switch (result) {
    case -EMFILE:
    case -ENFILE:
    case -ENOBUFS:
    case -ENOMEM:
        log_warning("cannot accept for the moment", log_text("listener", listener->config->name),
                    log_errno(result), log_integer("connections", listener->proxy->connection_count));
        listener_pause(listener);
        break;
    case -ECANCELED:
        break;
    default: // a client that went away in the queue (ECONNABORTED and the network's errors, accept(2)), or nobody waits
        listener_start(listener);
    }
}
