// SPDX-License-Identifier: Apache-2.0
// DIAL: servers of the upstream are tried, each at most once, until one takes the connection. When all that could are full, the
// connection waits in its upstream's queue; this file has both ends of that queue too. Where servers speak TLS, one that leaves during the
// handshake (SHAKE) is as one that didn't take the connection: it comes back here.
#include <errno.h>
#include <stdlib.h>

#include "dial.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/socket.h"

#define CANCEL_AGAIN_NS (100 * CLOCK_NS_PER_MS)
#define QUEUE_LOOK_NS   (10 * CLOCK_NS_PER_MS) // how soon a place that another worker freed is noticed

static bool dial(struct connection *connection);
static void on_connected(struct ring_op *op, const struct ring_completion *completion);

// ---- the server at hand ----

static size_t upstream_of(const struct connection *connection)
{
    return connection->upstream;
}

static const struct config_upstream *upstream_config(const struct connection *connection)
{
    return &connection->proxy->setup.config->upstreams[upstream_of(connection)];
}

static size_t server_of(const struct connection *connection)
{
    return connection->server_index;
}

void dial_forget(struct connection *connection)
{
    upstream_drop(connection->dialling);
    connection->dialling = connection->connected = NULL;
}

void dial_give(struct connection *connection, size_t server)
{
    struct proxy *proxy = connection->proxy;
    size_t upstream = upstream_of(connection);

    upstream_give(proxy->upstreams, upstream, server);
    if (!list_empty(&proxy->queues[upstream]))
        proxy->is_queue_due = true; // not at once: a handler may be on its way through this very list
}

void dial_release(struct connection *connection)
{
    if (!connection->has_place)
        return;
    connection->has_place = false;
    dial_give(connection, server_of(connection));
}

bool dial_cross_out(struct connection *connection, size_t server)
{
    if (!connection->tried)
        connection->tried =
            calloc(upstream_config(connection)->server_count / 64 + 1, sizeof(*connection->tried));
    if (!connection->tried) {
        connection_end(connection, END_MEMORY, ALERT_INTERNAL_ERROR, "no memory to try another server");
        return false;
    }
    connection->tried[server / 64] |= UINT64_C(1) << (server % 64);
    return true;
}

// Whether that says something of the server's health. No memory for it here does not, and an accept queue at a unix address that is full
// for a moment is much work, no failure.
static bool is_failure(int error)
{
    return error != -ENOMEM && error != -EAGAIN;
}

// Its name may have lost the address meanwhile: then that says nothing of whoever has the server's place now.
static void note_failure(struct connection *connection, const struct config_server *held, size_t server, const char *why)
{
    struct proxy *proxy = connection->proxy;

    if (!upstream_is_still(proxy->upstreams, upstream_of(connection), server, held))
        return;
    connection_count_connect(connection, server, false);
    upstream_failed(proxy->upstreams, upstream_of(connection), server, why, proxy->now_ns);
}

static void note_success(struct connection *connection, const struct config_server *held, size_t server)
{
    struct proxy *proxy = connection->proxy;

    if (!upstream_is_still(proxy->upstreams, upstream_of(connection), server, held))
        return;
    connection_count_connect(connection, server, true);
    upstream_succeeded(proxy->upstreams, upstream_of(connection), server, proxy->now_ns);
}

void dial_refused(struct connection *connection, const struct config_server *held, size_t server, int error)
{
    log_debug("server refused", log_integer("id", connection->id), log_text("server", held->address.text),
              log_errno(error));
    if (is_failure(error))
        note_failure(connection, held, server, log_error_text(error));
}

void dial_accepted(struct connection *connection, const struct config_server *held, size_t server)
{
    if (!shake_is_wanted(connection))
        note_success(connection, held, server);
}

void dial_server_failed(struct connection *connection, const char *why)
{
    note_failure(connection, connection->dialling, server_of(connection), why);
}

void dial_server_succeeded(struct connection *connection)
{
    note_success(connection, connection->dialling, server_of(connection));
    free(connection->tried);
    connection->tried = NULL;
}

static void leave_server(struct connection *connection)
{
    socket_close(connection->server.fd, true);
    connection->server.fd = -1;
    dial_release(connection);
}

// The server at hand did not take the connection: the next one, unless another one is being tried.
static void refused(struct connection *connection, int error)
{
    connection->may_race = false;
    leave_server(connection);
    dial_refused(connection, connection->dialling, server_of(connection), error);
    if (dial_cross_out(connection, server_of(connection)) && !race_goes_on(connection))
        dial_next(connection);
}

void dial_another(struct connection *connection, const char *why)
{
    log_debug("server left during the handshake", log_integer("id", connection->id),
              log_text("server", connection->dialling->address.text), log_text("reason", why));
    connection->shake_failure = why;
    leave_server(connection);
    if (dial_cross_out(connection, server_of(connection)))
        connection_enter(connection, CONNECTION_DIAL);
}

// From the client's own address, as a PROXY header named it, or the socket. Servers of the other family, and clients without an
// address, get ours.
static int come_from_client(const struct connection *connection, const struct config_server *server, int fd)
{
    struct config_address client = {.text = NULL};
    const char *why;
    int error;

    if (config_address_parse(connection->peer, &client, &why) < 0)
        return 0;
    free(client.text);
    error = socket_come_from(fd, server->address.socket.ss_family, &client.socket);
    return error == -EAFNOSUPPORT ? 0 : error;
}

static void prepare(struct connection *connection, int fd)
{
    const struct config_tcp *tcp = &upstream_config(connection)->tcp;
    int error = socket_tune(fd, tcp->keepalive_s, tcp->user_timeout_ms);

    socket_prepare(fd);
    if (error < 0) // it can only be a kernel without the option, and is no reason to serve nobody
        log_debug("the kernel refuses a TCP option", log_integer("id", connection->id), log_errno(error));
}

int dial_open(struct connection *connection, const struct config_server *server)
{
    int fd = socket_open(server->address.socket.ss_family);
    int error;

    if (fd < 0) {
        log_warning("no socket for a server", log_text("server", server->address.text), log_errno(fd));
        return fd;
    }
    if (server->address.socket.ss_family != AF_UNIX)
        prepare(connection, fd);
    error = upstream_config(connection)->tcp.is_transparent ? come_from_client(connection, server, fd) : 0;
    if (error < 0) {
        log_warning("cannot come from the client's address", log_integer("id", connection->id),
                    log_text("client", connection->peer), log_errno(error));
        socket_close(fd, true);
        return error;
    }
    return fd;
}

// Starts to connect to the server at hand. False when it could not even be tried, which says nothing of the server.
static bool try_server(struct connection *connection)
{
    const struct config_server *server = connection->dialling;
    struct proxy *proxy = connection->proxy;
    uint64_t delay_ns = race_delay_ns(connection);
    int fd = dial_open(connection, server);

    if (fd < 0) {
        dial_release(connection);
        return false;
    }
    connection->may_race = delay_ns != UINT64_MAX;
    connection->server.fd = fd;
    connection->server.receive_op.handler = on_connected;
    ring_connect(proxy->ring, &connection->server.receive_op, fd,
                 (const struct sockaddr *)&server->address.socket, server->address.length);
    timer_set(&proxy->wheel, &connection->timer,
              proxy->now_ns + (connection->may_race ? delay_ns : proxy->setup.config->timeouts.connect_ns));
    return true;
}

// ---- the queue ----

static bool is_waiting(const struct connection *connection)
{
    return list_linked(&connection->wait_node);
}

static void leave_queue(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;

    list_remove(&connection->wait_node);
    waiting_stop(connection);
    servers_queue_give(proxy->setup.servers, proxy->setup.worker, upstream_of(connection));
}

static void join_queue(struct connection *connection)
{
    const struct config_upstream *config = upstream_config(connection);
    struct proxy *proxy = connection->proxy;

    if (!servers_queue_take(proxy->setup.servers, proxy->setup.worker, upstream_of(connection),
                            config->queue.size)) {
        connection_end(connection, END_SERVERS_FULL, ALERT_INTERNAL_ERROR,
                       config->queue.size > 0 ? "every server is full, and so is the queue"
                                              : "every server is full");
        return;
    }
    list_push_back(&proxy->queues[upstream_of(connection)], &connection->wait_node);
    waiting_start(connection);
    timer_set(&proxy->wheel, &connection->timer, proxy->now_ns + config->queue.timeout_ns);
    if (!timer_is_set(&proxy->queue_timer))
        timer_set(&proxy->wheel, &proxy->queue_timer, proxy->now_ns + QUEUE_LOOK_NS);
}

// The first in the queue goes on if a server has room now. False: it waits on, or nobody waits.
static bool serve_first(struct list *queue)
{
    struct connection *connection;

    if (list_empty(queue))
        return false;
    connection = list_entry(queue->next, struct connection, wait_node);
    if (!dial(connection))
        return false;
    dial_stop(connection);
    connection_reap(connection);
    return true;
}

void dial_run_queues(struct proxy *proxy)
{
    bool is_somebody_left = false;

    proxy->is_queue_due = false;
    for (size_t i = 0; i < proxy->setup.config->upstream_count; i++) {
        while (serve_first(&proxy->queues[i]))
            ;
        is_somebody_left = is_somebody_left || !list_empty(&proxy->queues[i]);
    }
    if (is_somebody_left && !timer_is_set(&proxy->queue_timer))
        timer_set(&proxy->wheel, &proxy->queue_timer, proxy->now_ns + QUEUE_LOOK_NS);
}

void dial_stop(struct connection *connection)
{
    if (is_waiting(connection))
        leave_queue(connection);
    race_stop(connection);
}

// ---- one after the other ----

// Chooses a server and begins to connect, or ends the connection. False: all that could take it are full.
static bool dial(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;
    size_t server = 0;

    for (;;) {
        struct upstream_wish wish = {.upstream = upstream_of(connection),
                                     .client = connection->peer,
                                     .tried = connection->tried,
                                     .now_ns = proxy->now_ns};

        switch (upstream_choose(proxy->upstreams, &wish, &server)) {
        case UPSTREAM_CHOSEN:
            upstream_drop(connection->dialling);
            connection->dialling = upstream_hold(proxy->upstreams, upstream_of(connection), server);
            connection->connected = NULL; // one that was left may have been that
            connection->server_index = (uint32_t)server;
            connection->has_place = true;
            if (try_server(connection) || !dial_cross_out(connection, server))
                return true;
            break;
        case UPSTREAM_FULL:
            return false;
        case UPSTREAM_NONE:
            if (connection->shake_failure)
                connection_end(connection, END_SERVER_HANDSHAKE, ALERT_INTERNAL_ERROR,
                               connection->shake_failure);
            else
                connection_end(connection, END_SERVER_UNREACHABLE, ALERT_INTERNAL_ERROR,
                               !connection->tried ? "no server takes connections"
                               : upstream_count(proxy->upstreams, upstream_of(connection)) == 1
                                   ? "the server did not accept"
                                   : "no server accepted");
            return true;
        }
    }
}

void dial_next(struct connection *connection)
{
    if (!dial(connection))
        join_queue(connection);
}

void dial_start(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;

    // Who came first is served first.
    if (list_empty(&proxy->queues[upstream_of(connection)]))
        dial_next(connection);
    else
        join_queue(connection);
}

void dial_timed_out(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;

    if (is_waiting(connection)) {
        connection_end(connection, END_QUEUE_TIMEOUT, ALERT_INTERNAL_ERROR, "every server is full");
        return;
    }
    if (race_is_on(connection)) {
        race_timed_out(connection);
        return;
    }
    if (!connection->server.receive_op.in_flight) {
        connection_end(connection, END_HANDSHAKE_TIMEOUT, ALERT_NONE, "the last flight could not be sent");
        return;
    }
    if (connection->may_race) {
        race_begin(connection);
        return;
    }
    ring_cancel(proxy->ring, &connection->server.receive_op);                      // completes as refused
    timer_set(&proxy->wheel, &connection->timer, proxy->now_ns + CANCEL_AGAIN_NS); // unless it was lost
}

void dial_stands(struct connection *connection)
{
    connection->may_race = false;
    connection->connected = connection->dialling;
    connection->connected_ns = connection->proxy->now_ns;
    connection_count_connected(connection);
    if (!shake_is_wanted(connection)) { // else another server may have to be tried
        free(connection->tried);
        connection->tried = NULL;
    }
    connection_server_stands(connection);
}

// The server at hand has taken it, and no other one was faster.
static void connected(struct connection *connection)
{
    dial_accepted(connection, connection->dialling, server_of(connection));
    race_stop(connection);
    dial_stands(connection);
}

static void on_connected(struct ring_op *op, const struct ring_completion *completion)
{
    struct connection *connection =
        list_entry(list_entry(op, struct endpoint, receive_op), struct connection, server);

    if (connection->state != CONNECTION_DIAL)
        connection_drain(connection);
    else if (race_is_lost(connection))
        ; // whatever it says now is too late
    else if (completion->result < 0)
        refused(connection, completion->result == -ECANCELED ? -ETIMEDOUT : completion->result);
    else
        connected(connection);
    connection_reap(connection);
}
