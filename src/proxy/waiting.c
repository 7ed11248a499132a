// SPDX-License-Identifier: Apache-2.0
// DIAL: a client that leaves while its connection waits in an upstream's queue gives up its place. Only its end is waited for, and nothing is read: what
// it sends is for the server, and stays in the kernel until there is one.
#include <errno.h>
#include <poll.h>

#include "connection.h"

static void on_left(struct ring_op *op, const struct ring_completion *completion);

// Who speaks TLS ends with close_notify, and still listens. Its FIN says that the socket was closed: a client that wants an answer would keep it, and
// one that only closed its direction is told that there will be none. Without TLS that is the one way to say the end of a request.
static unsigned events_of(const struct connection *connection)
{
    return connection->listener->is_plain
               ? 0
               : POLLRDHUP; // errors, and the end of both directions, are always among them
}

void waiting_start(struct connection *connection)
{
    if (connection->watch_op.in_flight)
        return; // its cancellation is on its way: on_left() begins anew
    connection->watch_op.handler = on_left;
    ring_poll(connection->proxy->ring, &connection->watch_op, connection->client.fd, events_of(connection));
}

void waiting_stop(struct connection *connection)
{
    if (connection->watch_op.in_flight)
        ring_cancel(connection->proxy->ring, &connection->watch_op);
}

static void on_left(struct ring_op *op, const struct ring_completion *completion)
{
    struct connection *connection = list_entry(op, struct connection, watch_op);
    int result = completion->result;

    if (connection->state == CONNECTION_DIAL && list_linked(&connection->wait_node)) {
        if (result > 0 && (result & (POLLERR | POLLHUP)))
            connection_end(connection, END_CLIENT_RESET, ALERT_NONE, "while it waited for a server");
        else if (result > 0)
            connection_end(connection, END_CLIENT_LEFT, ALERT_INTERNAL_ERROR, NULL);
        else
            waiting_start(connection);
    }
    connection_reap(connection);
}
