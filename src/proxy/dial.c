// SPDX-License-Identifier: Apache-2.0
// DIAL: the upstream's servers are tried in turn, each once, until one takes the connection.
#include <errno.h>

#include "connection.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/socket.h"

#define CANCEL_AGAIN_NS (100 * CLOCK_NS_PER_MS)

static void try_next(struct connection *connection);

static const struct config_upstream *upstream_of(const struct connection *connection)
{
    return &connection->proxy->setup.config->upstreams[connection->upstream];
}

static void on_connected(struct ring_op *op, const struct ring_completion *completion);

static void refused(struct connection *connection, int error)
{
    log_debug("server refused", log_integer("id", connection->id),
              log_text("server", connection->dialling->address.text), log_errno(error));
    socket_close(connection->server.fd, true);
    connection->server.fd = -1;
}

static void prepare(struct connection *connection, int fd)
{
    const struct config_tcp *tcp = &upstream_of(connection)->tcp;
    int error = socket_tune(fd, tcp->keepalive_s, tcp->user_timeout_ms);

    socket_prepare(fd);
    if (error < 0) // it can only be a kernel without the option, and is no reason to serve nobody
        log_debug("the kernel refuses a TCP option", log_integer("id", connection->id), log_errno(error));
}

// Starts to connect to the server at hand. False when it could not even be tried.
static bool try_server(struct connection *connection, const struct config_server *server)
{
    struct proxy *proxy = connection->proxy;
    int fd = socket_open(server->address.socket.ss_family);

    connection->dialling = server;
    if (fd < 0) {
        log_warning("no socket for a server", log_text("server", server->address.text), log_errno(fd));
        return false;
    }
    if (server->address.socket.ss_family != AF_UNIX)
        prepare(connection, fd);
    connection->server.fd = fd;
    connection->server.receive_op.handler = on_connected;
    ring_connect(proxy->ring, &connection->server.receive_op, fd,
                 (const struct sockaddr *)&server->address.socket, server->address.length);
    timer_set(&proxy->wheel, &connection->timer, proxy->now_ns + proxy->setup.config->timeouts.connect_ns);
    return true;
}

static void try_next(struct connection *connection)
{
    const struct config_upstream *upstream = upstream_of(connection);
    unsigned *turn = &connection->proxy->next_server[connection->upstream];

    while (connection->dialled < upstream->server_count) {
        const struct config_server *server = &upstream->servers[*turn % upstream->server_count];

        (*turn)++;
        connection->dialled++;
        if (try_server(connection, server))
            return;
    }
    connection_end(connection, END_SERVER_UNREACHABLE, ALERT_INTERNAL_ERROR,
                   upstream->server_count == 1 ? "the server did not accept" : "no server accepted");
}

void dial_start(struct connection *connection)
{
    try_next(connection);
}

void dial_timed_out(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;

    if (!connection->server.receive_op.in_flight) {
        connection_end(connection, END_HANDSHAKE_TIMEOUT, ALERT_NONE, "the last flight could not be sent");
        return;
    }
    ring_cancel(proxy->ring, &connection->server.receive_op);                      // completes as refused
    timer_set(&proxy->wheel, &connection->timer, proxy->now_ns + CANCEL_AGAIN_NS); // unless it was lost
}

static void on_connected(struct ring_op *op, const struct ring_completion *completion)
{
    struct connection *connection =
        list_entry(list_entry(op, struct endpoint, receive_op), struct connection, server);

    if (connection->state != CONNECTION_DIAL) {
        connection_drain(connection);
    } else if (completion->result < 0) {
        refused(connection, completion->result == -ECANCELED ? -ETIMEDOUT : completion->result);
        try_next(connection);
    } else {
        connection->connected = connection->dialling;
        connection->connected_ns = connection->proxy->now_ns;
        if (connection->is_hello_done)
            connection_enter(connection, CONNECTION_OFFLOAD);
        else
            timer_set(&connection->proxy->wheel, &connection->timer,
                      connection->proxy->now_ns + connection->proxy->setup.config->timeouts.handshake_ns);
    }
    connection_reap(connection);
}
