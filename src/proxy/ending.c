// SPDX-License-Identifier: Apache-2.0
// How a connection ends: the only way out, DRAIN, DYING, and the last look that gives its memory back.
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "connection.h"
#include "hsts.h"
#include "ringbolt/clock.h"
#include "ringbolt/socket.h"
#include "ringbolt/trace.h"

#define DRAIN_NS (2 * CLOCK_NS_PER_S) // for the last bytes and the peer's rest
#define DRAIN_STOP_NS                                                                                        \
    (CLOCK_NS_PER_S / 2) // the most of both, and of the wait for the server, once the worker was told to stop
#define DRAIN_LOOK_NS   (10 * CLOCK_NS_PER_MS)
#define CANCEL_AGAIN_NS (100 * CLOCK_NS_PER_MS)
#define DISCARD_MAX     (1u << 20) // of what a peer sends into a connection that has ended
#define DISCARD_ROUNDS  16

static void on_discard(struct ring_op *op, const struct ring_completion *completion);
static void on_hangup(struct ring_op *op, const struct ring_completion *completion);

static uint64_t until(const struct connection *connection, uint64_t ns)
{
    return connection->proxy->now_ns + ns;
}

// ---- the way out ----

// An alert can follow what the server was sent so far: no record is on its way, in part perhaps.
static bool may_alert_server(const struct connection *connection)
{
    return connection->state == CONNECTION_RELAY && !connection->server.transmit_op.in_flight &&
           !connection->server.is_shut && connection->up.state != FLOW_FAILED;
}

void connection_end_event(struct connection *connection, const struct endpoint *source,
                          const struct endpoint_event *event)
{
    // What a server does wrong is no fault of the client's: it learns only that this won't do.
    enum record_alert alert = source->is_client ? event->alert : ALERT_INTERNAL_ERROR;

    if (connection->halt != HALT_NONE)
        rest_leave(connection); // what is half sent is on its way again
    if (!source->is_client && event->kind != ENDPOINT_CANCELLED && may_alert_server(connection))
        connection->server.alert_due = (uint8_t)event->alert;
    switch (event->kind) {
    case ENDPOINT_CANCELLED:
        connection_end(connection, source->is_client ? END_CLIENT_ALERT : END_SERVER_ALERT,
                       source->is_client ? ALERT_NONE : ALERT_INTERNAL_ERROR, event->detail);
        connection->alert = (uint8_t)event->alert;
        break;
    case ENDPOINT_STUCK:
        connection_end(connection, END_REKEY_UNSUPPORTED, alert, event->detail);
        break;
    default:
        connection_end(connection, source->is_client ? END_PROTOCOL_ERROR : END_SERVER_PROTOCOL_ERROR, alert,
                       event->detail);
        break;
    }
}

// An alert can be said. In a stream that is passed through as long as the client has nothing of a server's: it sent its ClientHello, and takes
// an alert in the clear (RFC 8446 §6, RFC 5246 §7.2).
static bool is_alerted(const struct connection *connection)
{
    const struct flow *down = &connection->down;

    return connection->is_passed ? down->bytes == 0 && down->state != FLOW_SENDING
                                 : endpoint_is_tls(&connection->client);
}

void connection_end(struct connection *connection, enum connection_end end, enum record_alert alert,
                    const char *detail)
{
    bool is_over;

    if (connection->end != END_NONE)
        return;
    connection->end = (uint8_t)end;
    if (alert != ALERT_NONE && (!connection->is_passed || is_alerted(connection)) &&
        !connection->listener->is_plain)
        connection->alert = (uint8_t)alert;
    if (detail)
        connection->detail = detail;
    if (is_alerted(connection))
        connection->client.alert_due = (uint8_t)alert;
    connection->is_client_drained = end == END_CLIENT_RESET; // nothing reaches it any more
    // Who has no business here is cut at once, with a reset; who was answered may still be sending, and must not lose the answer.
    is_over = end == END_DONE ? connection->state != CONNECTION_ANSWER
                              : end == END_PROXY_HEADER || end == END_CLIENT_LIMIT;
    connection_enter(connection, is_over ? CONNECTION_DYING : CONNECTION_DRAIN);
}

// ---- DRAIN ----

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns < b_ns ? a_ns : b_ns;
}

void connection_stop(struct connection *connection)
{
    uint64_t stop_ns = until(connection, DRAIN_STOP_NS);

    if (connection->halt == HALT_REACHED)
        return; // comes back here when it is resumed
    connection_end(connection, END_SHUTDOWN, ALERT_NONE, NULL);
    if (connection->state != CONNECTION_DRAIN)
        return;
    connection->drained_ns = earlier(connection->drained_ns, stop_ns);
    connection->delivered_ns = earlier(connection->delivered_ns, stop_ns);
    timer_set(&connection->proxy->wheel, &connection->timer, until(connection, DRAIN_LOOK_NS));
}

void ending_drain(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;

    connection->drained_ns = until(connection, DRAIN_NS);
    connection->delivered_ns = until(connection, proxy->setup.config->timeouts.half_closed_ns);
    timer_set(&proxy->wheel, &connection->timer, connection->drained_ns);
    dial_stop(connection);
    flow_stop(&connection->up);
    flow_stop(&connection->down);
    ring_cancel(proxy->ring, &connection->client.receive_op);
    ring_cancel(proxy->ring, &connection->server.receive_op);
    ring_cancel(proxy->ring, &connection->server.transmit_op);
    connection_drain(connection);
}

// The client's side is over: the connection goes, unless the server's still has something to take.
static void drain_done(struct connection *connection)
{
    connection->is_client_drained = true;
    if (connection->server.fd < 0)
        connection_enter(connection, CONNECTION_DYING);
}

// What the client still sends is read and dropped until it closes too: closing with unread bytes would send a reset, which
// can overtake our last words.
static void discard(struct connection *connection)
{
    struct endpoint *client = &connection->client;

    for (unsigned round = 0; round < DISCARD_ROUNDS; round++) {
        int length = socket_discard(client->fd);

        if (length == -EAGAIN)
            break;
        if (length < 0 && client->receive_mode == ENDPOINT_KERNEL && length != -ECONNRESET) {
            // A broken record stays at the head of the queue. To close over it would be a reset: wait for the client's end.
            socket_clear_error(client->fd);
            client->receive_op.handler = on_hangup;
            ring_poll(connection->proxy->ring, &client->receive_op, client->fd, POLLRDHUP);
            return;
        }
        if (length <= 0 || (connection->discarded += (uint32_t)length) > DISCARD_MAX) {
            drain_done(connection);
            return;
        }
    }
    client->receive_op.handler = on_discard;
    ring_poll(connection->proxy->ring, &client->receive_op, client->fd, POLLIN | POLLRDHUP);
}

static void on_hangup(struct ring_op *op, const struct ring_completion *completion)
{
    struct connection *connection =
        list_entry(list_entry(op, struct endpoint, receive_op), struct connection, client);

    if (connection->state == CONNECTION_DRAIN)
        drain_done(connection);
    connection_reap(connection);
}

static void on_discard(struct ring_op *op, const struct ring_completion *completion)
{
    struct connection *connection =
        list_entry(list_entry(op, struct endpoint, receive_op), struct connection, client);

    if (connection->state == CONNECTION_DRAIN && completion->result > 0)
        discard(connection);
    connection_reap(connection);
}

// The server learns that this was no orderly end by a reset, once it has everything that came before: a reset overtakes
// what is still queued. The kernel has no event for an empty queue, so the timer looks again.
static void drain_server(struct connection *connection)
{
    struct endpoint *server = &connection->server;
    struct proxy *proxy = connection->proxy;

    if (server->fd < 0 || server->receive_op.in_flight || server->transmit_op.in_flight)
        return;
    if (server->alert_due != ALERT_NONE) {
        socket_clear_error(server->fd); // of a broken record
        connection_send_alert(connection, server, server->alert_due);
        return;
    }
    if (proxy->now_ns < connection->delivered_ns && socket_unsent(server->fd) > 0) {
        timer_set(&proxy->wheel, &connection->timer, until(connection, DRAIN_LOOK_NS));
        return;
    }
    socket_close(server->fd, true);
    server->fd = -1;
    dial_release(connection);
    timer_set(&proxy->wheel, &connection->timer, connection->drained_ns);
}

// A client without TLS has no other sign than a reset that what it got is not all, and that must not overtake what is queued.
static void drain_plain(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;

    if (proxy->now_ns < connection->drained_ns && socket_unsent(connection->client.fd) > 0)
        timer_set(&proxy->wheel, &connection->timer, until(connection, DRAIN_LOOK_NS));
    else
        drain_done(connection);
}

void connection_drain(struct connection *connection)
{
    struct endpoint *client = &connection->client;

    if (connection->state != CONNECTION_DRAIN)
        return;
    drain_server(connection);
    if (connection->state != CONNECTION_DRAIN || client->transmit_op.in_flight)
        return;
    if (connection->is_client_drained || connection->down.state == FLOW_FAILED) {
        drain_done(connection);
    } else if (client->alert_due != ALERT_NONE) {
        connection_send_alert(connection, client, client->alert_due);
    } else if (connection->listener->is_plain && !client->is_shut) {
        drain_plain(connection);
    } else {
        if (!client->is_shut) {
            (void)socket_shutdown(client->fd);
            client->is_shut = true;
        }
        if (!client->receive_op.in_flight)
            discard(connection);
    }
}

static void drain_timer(struct connection *connection)
{
    struct ring *ring = connection->proxy->ring;

    // Whatever still hangs at the client's side at the end of its time is cut; the server's side has its own.
    if (connection->proxy->now_ns >= connection->drained_ns)
        connection->is_client_drained = true;
    if (connection->is_client_drained && connection->server.fd < 0) {
        connection_enter(connection, CONNECTION_DYING);
        return;
    }
    ring_cancel(ring, &connection->server.receive_op); // a cancellation can be lost: see cancel_all()
    ring_cancel(ring, &connection->server.transmit_op);
    timer_set(&connection->proxy->wheel, &connection->timer, until(connection, CANCEL_AGAIN_NS));
    connection_drain(connection);
}

// ---- DYING ----

// A cancellation that meets an operation just as it runs is lost, and the operation may wait again (io_uring: -EALREADY). So what
// is still in flight a while later is cancelled again.
static void cancel_all(struct connection *connection)
{
    struct ring *ring = connection->proxy->ring;

    ring_cancel(ring, &connection->client.receive_op);
    ring_cancel(ring, &connection->client.transmit_op);
    ring_cancel(ring, &connection->server.receive_op);
    ring_cancel(ring, &connection->server.transmit_op);
    dial_stop(connection);
    waiting_stop(connection);
    timer_set(&connection->proxy->wheel, &connection->timer, until(connection, CANCEL_AGAIN_NS));
}

void ending_die(struct connection *connection)
{
    flow_stop(&connection->up);
    flow_stop(&connection->down);
    cancel_all(connection);
}

bool connection_is_quiet(const struct connection *connection)
{
    return !connection->client.receive_op.in_flight && !connection->client.transmit_op.in_flight &&
           !connection->server.receive_op.in_flight && !connection->server.transmit_op.in_flight &&
           !connection->rival && !connection->watch_op.in_flight;
}

void connection_leave_admission(const struct connection *connection)
{
    const struct proxy_setup *setup = &connection->proxy->setup;

    admission_leave(setup->admission, setup->worker, listener_index(connection->proxy, connection->listener));
    admission_client_leave(setup->admission, setup->worker, connection->place);
}

// After this nothing refers to the connection: its operations are not in flight and their completions were run (the ring
// counts a queued completion as in flight), its timer is off the wheel, its flows are off the proxy's lists, and it leaves the
// list of connections here.
bool connection_reap(struct connection *connection)
{
    bool orderly = connection->end == END_DONE;

    if (connection->state != CONNECTION_DYING) {
        if (connection->halt == HALT_WANTED)
            rest_check(connection);
        return false;
    }
    if (!connection_is_quiet(connection))
        return false;
    if (connection->end == END_NONE)
        connection->end = END_INTERNAL;
    // Whoever reads its line in the log may count on what it says: its place is free, and whoever traces has seen the end.
    connection_leave_admission(connection);
    connection_count_ended(connection);
    trace_end(connection->id, connection_end_text((enum connection_end)connection->end), connection->up.bytes,
              connection->down.bytes, connection->proxy->now_ns - connection->accepted_ns);
    connection_log(connection);
    socket_close(connection->server.fd, !orderly);
    socket_close(connection->client.fd, !orderly && !connection->client.is_shut);
    connection_free(connection);
    return true;
}

void connection_abandon(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;

    timer_cancel(&proxy->wheel, &connection->timer);
    dial_release(connection);
    dial_forget(connection);
    flow_finish(&connection->up);
    flow_finish(&connection->down);
    buffer_give(proxy->pool, connection->leftover);
    buffer_give(proxy->pool, connection->server_leftover);
    engine_destroy(connection->engine);
    engine_destroy(connection->server_engine);
    peek_finish(connection);
    redirect_finish(connection);
    hsts_finish(connection);
    endpoint_finish(&connection->client);
    endpoint_finish(&connection->server);
    shared_text_give(connection->names.sni);
    shared_text_give(connection->names.alpn);
    free(connection->names.client_subject);
    free(connection->names.client_fingerprint);
    free(connection->detail_owned);
    free(connection->tried);
    connection_header_destroy(connection->header);
    connection_slab_give(connection);
}

void connection_free(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;

    if (proxy->listed == &connection->node)
        proxy->listed = connection->node.next;
    handovers_forget(connection);
    list_remove(&connection->node);
    proxy->connection_count--;
    proxy->awake_count -= !connection->is_resting;
    connection_abandon(connection);
}

void ending_timer(struct connection *connection)
{
    if (connection->state == CONNECTION_DRAIN)
        drain_timer(connection);
    else
        cancel_all(connection);
}
