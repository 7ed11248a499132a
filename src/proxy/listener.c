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
#define EPISODE_NS      (10 * CLOCK_NS_PER_S)
#define REFUSED_NS      (10 * CLOCK_NS_PER_S) // between lines that say how many clients were refused

static void on_accepted(struct ring_op *op, const struct ring_completion *completion);

size_t listener_index(const struct proxy *proxy, const struct config_listener *listener)
{
    return (size_t)(listener - proxy->setup.config->listeners);
}

// ---- limits at which clients wait in the kernel's queue ----

// Says it once an episode; one is over when the limit was not met for a while.
static bool meets(struct listener *listener, enum stats_limit limit, const char *what, unsigned most)
{
    uint64_t now_ns = listener->proxy->now_ns;

    if (now_ns >= listener->quiet_until_ns[limit])
        log_warning(what, log_text("listener", listener->config->name), log_integer("limit", most));
    stats_add(&listener->stats->limits[limit], 1);
    listener->quiet_until_ns[limit] = now_ns + EPISODE_NS;
    return true;
}

static bool is_full(struct listener *listener)
{
    struct proxy *proxy = listener->proxy;
    const struct config *config = proxy->setup.config;
    size_t index = listener_index(proxy, listener->config);

    if (stats_connections(proxy->setup.stats) >= config->limits.connections)
        return meets(listener, STATS_LIMIT_CONNECTIONS, "limits.connections is reached, new clients wait",
                     config->limits.connections);
    // A client that was accepted shall find a descriptor for its server, however many there are who say nothing.
    if (proxy->setup.connections_most > 0 && proxy->connection_count >= proxy->setup.connections_most)
        return meets(listener, STATS_LIMIT_DESCRIPTORS, "no descriptors for more connections, new clients wait",
                     proxy->setup.connections_most);
    switch (admission_full(proxy->setup.admission, index, proxy->now_ns)) {
    case ADMISSION_FULL_LISTENER:
        return meets(listener, STATS_LIMIT_LISTENER_CONNECTIONS,
                     "the listener's limits.connections is reached, new clients wait",
                     listener->config->connections);
    case ADMISSION_FULL_RATE:
        return meets(listener, STATS_LIMIT_RATE, "limits.handshakes_per_second is reached, new clients wait",
                     config->limits.handshakes_per_second);
    default:
        return false;
    }
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
    if (proxy->is_draining || proxy->is_paused || listener->accept_op.in_flight)
        return;
    if (is_full(listener)) {
        listener_pause(listener);
        return;
    }
    listener->accept_op.handler = on_accepted;
    ring_accept(proxy->ring, &listener->accept_op, listener->fd);
}

// ---- clients that are refused ----

static const char *const refusals[] = {
    [ADMISSION_CLIENT_CONNECTIONS] = "limits.connections_per_client",
    [ADMISSION_CLIENT_RATE] = "limits.handshakes_per_second_per_client",
};

// The first is named; a crowd of them is a number, so that no client fills the log.
void listener_client_refused(const struct listener *listener, const char *client,
                             enum admission_refusal refusal)
{
    struct proxy *proxy = listener->proxy;

    stats_add(&listener->stats->limits[refusal == ADMISSION_CLIENT_RATE ? STATS_LIMIT_CLIENT_RATE
                                                                        : STATS_LIMIT_CLIENT_CONNECTIONS],
              1);
    if (timer_is_set(&proxy->refused_timer)) {
        proxy->refused_count++;
        return;
    }
    log_warning("client refused", log_text("client", client), log_text("listener", listener->config->name),
                log_text("limit", refusals[refusal]));
    timer_set(&proxy->wheel, &proxy->refused_timer, proxy->now_ns + REFUSED_NS);
}

void listener_say_refused(struct proxy *proxy)
{
    if (proxy->refused_count == 0)
        return;
    log_warning("more clients refused", log_integer("count", (int64_t)proxy->refused_count),
                log_integer("seconds", REFUSED_NS / CLOCK_NS_PER_S));
    proxy->refused_count = 0;
    timer_set(&proxy->wheel, &proxy->refused_timer, proxy->now_ns + REFUSED_NS);
}

static void take(struct listener *listener, int fd)
{
    struct proxy *proxy = listener->proxy;
    enum admission_refusal refusal = ADMISSION_GRANTED;
    uint32_t place = ADMISSION_UNCOUNTED;
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    char text[SOCKET_TEXT_SIZE];

    (void)socket_peer(fd, &peer);
    if (listener->config->proxy.mode ==
        CONFIG_PROXY_IN_OFF) // else it is yet to be seen who the client is: header_in.c
        refusal = admission_client_enter(proxy->setup.admission, proxy->setup.worker,
                                         (const struct sockaddr *)&peer, proxy->now_ns, &place);
    if (refusal == ADMISSION_GRANTED) {
        connection_create(listener, fd, &peer, place);
        return;
    }
    socket_close(fd, true);
    socket_text(&peer, text, sizeof(text));
    listener_client_refused(listener, text, refusal);
}

// ---- accepting ----

// Takes what already waits, up to `most`. 0, or -errno of the accept that failed (-EAGAIN: nobody waits).
static int take_waiting(struct listener *listener, unsigned most)
{
    while (most-- > 0 && !is_full(listener)) {
        int fd = socket_accept(listener->fd);

        if (fd < 0)
            return fd;
        take(listener, fd);
    }
    return 0;
}

void listener_look(struct listener *listener)
{
    if (!listener->proxy->is_draining && !listener->proxy->is_paused && !listener->is_paused)
        (void)take_waiting(listener, ACCEPTS_AT_ONCE);
}

void listener_drain(struct listener *listener)
{
    // Clients in the queue were promised a connection when the handshake of TCP was done.
    while (!is_full(listener) && take_waiting(listener, ACCEPTS_AT_ONCE) == 0)
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
        take(listener, result);
        result = listener->proxy->is_paused ? 0 : take_waiting(listener, ACCEPTS_AT_ONCE - 1);
    }
    switch (result) {
    case -EMFILE:
    case -ENFILE:
    case -ENOBUFS:
    case -ENOMEM:
        log_warning("cannot accept for the moment", log_text("listener", listener->config->name),
                    log_errno(result), log_integer("connections", listener->proxy->connection_count));
        stats_add(&listener->stats->limits[STATS_LIMIT_SYSTEM], 1);
        listener_pause(listener);
        break;
    case -ECANCELED: // which proxy_pause() may have taken back meanwhile
    default: // a client that went away in the queue (ECONNABORTED and the network's errors, accept(2)), or nobody waits
        listener_start(listener);
    }
}
