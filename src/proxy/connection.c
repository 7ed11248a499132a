// SPDX-License-Identifier: Apache-2.0
// A connection's life. It reads in the order in which it happens; HEADER is in header_in.c, ANSWER in redirect.c, HELLO in handshake.c, DIAL in dial.c,
// the relaying itself in flow.c.
#include "connection.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "hsts.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/socket.h"

#define REST_NS         (2 * CLOCK_NS_PER_S) // without a byte: give back what the idle don't need
#define DRAIN_NS        (2 * CLOCK_NS_PER_S) // for the last bytes and the peer's rest
#define DRAIN_STOP_NS   (CLOCK_NS_PER_S / 2) // the most of both, and of the wait for the server, once the worker was told to stop
#define DRAIN_LOOK_NS   (10 * CLOCK_NS_PER_MS)
#define CANCEL_AGAIN_NS (100 * CLOCK_NS_PER_MS)
#define DISCARD_MAX     (1u << 20) // of what a peer sends into a connection that has ended
#define DISCARD_ROUNDS  16

#define HANDSHAKE_KEY_UPDATE 24 // RFC 8446 §4.6.3
#define ALERT_LEVEL_WARNING  1  // RFC 8446 §6
#define ALERT_LEVEL_FATAL    2

static void on_discard(struct ring_op *op, const struct ring_completion *completion);
static void on_hangup(struct ring_op *op, const struct ring_completion *completion);

// ---- states ----

static const uint16_t legal[CONNECTION_STATE_COUNT] = {
#define TO(state) (1u << CONNECTION_##state)
    [CONNECTION_ACCEPT] = TO(HEADER) | TO(ANSWER) | TO(HELLO) | TO(DYING),
    [CONNECTION_HEADER] = TO(ANSWER) | TO(HELLO) | TO(DRAIN) | TO(DYING),
    [CONNECTION_ANSWER] = TO(DRAIN) | TO(DYING),
    [CONNECTION_HELLO] = TO(DIAL) | TO(DRAIN) | TO(DYING),
    [CONNECTION_DIAL] = TO(SHAKE) | TO(OFFLOAD) | TO(DRAIN) | TO(DYING),
    [CONNECTION_SHAKE] = TO(OFFLOAD) | TO(DRAIN) | TO(DYING),
    [CONNECTION_OFFLOAD] = TO(RELAY) | TO(DRAIN) | TO(DYING),
    [CONNECTION_RELAY] = TO(DRAIN) | TO(DYING),
    [CONNECTION_DRAIN] = TO(DYING),
    [CONNECTION_DYING] = 0,
#undef TO
};

static uint64_t until(struct connection *connection, uint64_t ns)
{
    return connection->proxy->now_ns + ns;
}

static void enter_offload(struct connection *connection);
static void enter_relay(struct connection *connection);
static void enter_drain(struct connection *connection);
static void enter_dying(struct connection *connection);

void connection_enter(struct connection *connection, enum connection_state state)
{
    const struct config *config = connection->proxy->setup.config;
    struct timer_wheel *wheel = &connection->proxy->wheel;

    assert(legal[connection->state] & (1u << state));
    connection->state = state;
    switch (state) {
    case CONNECTION_HEADER:
    case CONNECTION_ANSWER:
    case CONNECTION_HELLO:
        if (!timer_is_set(&connection->timer)) // one time for a header and what follows
            timer_set(wheel, &connection->timer, until(connection, config->timeouts.handshake_ns));
        break;
    case CONNECTION_DIAL:
        dial_start(connection);
        break;
    case CONNECTION_SHAKE:
        timer_set(wheel, &connection->timer, until(connection, config->timeouts.handshake_ns));
        shake_start(connection);
        break;
    case CONNECTION_OFFLOAD:
        enter_offload(connection);
        break;
    case CONNECTION_RELAY:
        enter_relay(connection);
        break;
    case CONNECTION_DRAIN:
        enter_drain(connection);
        break;
    case CONNECTION_DYING:
        enter_dying(connection);
        break;
    default:
        abort();
    }
}

// ---- rest ----

static void wake(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;

    if (!connection->is_resting)
        return;
    connection->is_resting = false;
    if (++proxy->awake_count > proxy->awake_peak)
        proxy->awake_peak = proxy->awake_count;
}

static void rest(struct connection *connection)
{
    endpoint_rest(&connection->client);
    endpoint_rest(&connection->server);
    connection->is_resting = true;
    connection->proxy->awake_count--;
}

// ---- ACCEPT ----

static size_t listener_index(const struct connection *connection)
{
    return (size_t)(connection->listener - connection->proxy->setup.config->listeners);
}

struct listener *connection_listener(const struct connection *connection)
{
    return &connection->proxy->listeners[listener_index(connection)];
}

void connection_create(struct listener *listener, int fd, const struct sockaddr_storage *peer, uint32_t place)
{
    struct proxy *proxy = listener->proxy;
    struct connection *connection = connection_slab_take(proxy->slabs);

    if (!connection) {
        log_warning("connection refused", log_text("reason", "no memory"),
                    log_text("listener", listener->config->name));
        admission_client_leave(proxy->setup.admission, proxy->setup.worker, place);
        socket_close(fd, true);
        return;
    }
    connection->proxy = proxy;
    connection->listener = listener->config;
    connection->place = place;
    connection->upstream = listener->config->upstream;
    connection->id = proxy->next_id++;
    connection->alert = ALERT_NONE;
    connection->accepted_ns = connection->active_ns = proxy->now_ns;
    timer_init(&connection->timer);
    list_init(&connection->wait_node);
    endpoint_init(&connection->client, fd, true);
    endpoint_init(&connection->server, -1, false);
    flow_init(&connection->up, connection, &connection->client, &connection->server);
    flow_init(&connection->down, connection, &connection->server, &connection->client);
    socket_text(peer, connection->peer, sizeof(connection->peer));
    list_push_back(&proxy->connections, &connection->node);
    proxy->connection_count++;
    connection->is_resting = true;
    wake(connection);
    proxy->setup.connections_changed(proxy->setup.owner, proxy->connection_count);
    proxy->setup.count(proxy->setup.owner, PROXY_CONNECTIONS);
    admission_enter(proxy->setup.admission, proxy->setup.worker, listener_index(connection), proxy->now_ns);
    if (connection->listener->proxy.mode != CONFIG_PROXY_IN_OFF) {
        connection_enter(connection, CONNECTION_HEADER);
        header_in_start(connection);
    } else {
        connection_start(connection, NULL);
    }
    connection_reap(connection);
}

void connection_start(struct connection *connection, struct buffer *first)
{
    struct proxy *proxy = connection->proxy;

    if (first && first->piece_count == 0) {
        buffer_give(proxy->pool, first);
        first = NULL;
    }
    if (connection->listener->redirect.is_on) {
        redirect_start(connection, first);
        return;
    }
    connection_enter(connection, CONNECTION_HELLO);
    if (connection->listener->is_plain)
        handshake_skip(connection, first);
    else
        handshake_start(connection, connection_listener(connection)->context, first);
}

// ---- DIAL ----

void connection_server_stands(struct connection *connection)
{
    if (shake_is_wanted(connection))
        connection_enter(connection, CONNECTION_SHAKE);
    else if (connection->is_hello_done)
        connection_enter(connection, CONNECTION_OFFLOAD);
    else
        timer_set(&connection->proxy->wheel, &connection->timer,
                  until(connection, connection->proxy->setup.config->timeouts.handshake_ns));
}

// ---- OFFLOAD ----

static sa_family_t family_of(const struct connection *connection, const struct endpoint *endpoint)
{
    return endpoint->is_client ? connection->listener->address.socket.ss_family
                               : connection->connected->address.socket.ss_family;
}

// Decides whether a direction shall go into the kernel: now, later, or not.
static void plan_direction(struct connection *connection, struct endpoint *endpoint,
                           enum record_direction direction)
{
    struct proxy *proxy = connection->proxy;
    const struct config *config = proxy->setup.config;
    const struct record_keys *keys = &endpoint->receive.keys;
    bool receives = direction == RECORD_RECEIVE;
    uint8_t *why = receives ? &endpoint->receive_why : &endpoint->transmit_why;

    if ((receives ? config->ktls.receive : config->ktls.transmit) == CONFIG_KTLS_OFF) {
        *why = ENDPOINT_WHY_OFF;
    } else if (family_of(connection, endpoint) == AF_UNIX) {
        *why = ENDPOINT_WHY_NOT_TCP;
    } else if (endpoint->payload_max < RECORD_PLAINTEXT_MAX) {
        *why = ENDPOINT_WHY_SMALL_RECORDS;
    } else if (!record_probe_can(proxy->setup.probe, keys->version, keys->cipher, direction)) {
        *why = ENDPOINT_WHY_UNSUPPORTED;
    } else {
        *why = ENDPOINT_WHY_NOT_YET;
        endpoint->is_offload_wanted[direction] = config->ktls.offload_after == 0;
    }
}

static void plan_offload(struct connection *connection, struct endpoint *endpoint)
{
    if (!endpoint_is_tls(endpoint))
        return;
    endpoint->can_rekey = connection->proxy->setup.probe->rekey;
    plan_direction(connection, endpoint, RECORD_TRANSMIT);
    plan_direction(connection, endpoint, RECORD_RECEIVE);
}

// The configuration demands kernel TLS and this endpoint can't have it.
static bool is_offload_denied(const struct connection *connection, const struct endpoint *endpoint)
{
    const struct config *config = connection->proxy->setup.config;

    return endpoint_is_tls(endpoint) &&
           ((config->ktls.transmit == CONFIG_KTLS_REQUIRED &&
             endpoint->transmit_why != ENDPOINT_WHY_NOT_YET) ||
            (config->ktls.receive == CONFIG_KTLS_REQUIRED && endpoint->receive_why != ENDPOINT_WHY_NOT_YET));
}

// Transmit can go at once: the handshake's last flight has left. Receive goes when the flow is at a record boundary.
static bool offload_now(struct connection *connection, struct endpoint *endpoint)
{
    return !endpoint->is_offload_wanted[RECORD_TRANSMIT] ||
           connection_offload(connection, endpoint, RECORD_TRANSMIT);
}

static void enter_offload(struct connection *connection)
{
    struct endpoint *client = &connection->client;
    struct endpoint *server = &connection->server;

    plan_offload(connection, client);
    plan_offload(connection, server);
    handshake_finish(connection);
    if (is_offload_denied(connection, client) || is_offload_denied(connection, server)) {
        connection_end(connection, END_INTERNAL, ALERT_INTERNAL_ERROR,
                       "kernel TLS is required and can't be had for this cipher or socket");
        return;
    }
    if (offload_now(connection, client) && offload_now(connection, server))
        connection_enter(connection, CONNECTION_RELAY);
}

bool connection_offload(struct connection *connection, struct endpoint *endpoint,
                        enum record_direction direction)
{
    const struct config *config = connection->proxy->setup.config;
    bool receives = direction == RECORD_RECEIVE;

    int error = endpoint_offload(endpoint, direction);

    // A peer that has closed its direction, or is gone, is past what TCP_ULP takes: it is served as it is, or finds its end.
    if (error == 0 || error == -ENOTCONN)
        return true;
    if ((receives ? config->ktls.receive : config->ktls.transmit) != CONFIG_KTLS_REQUIRED)
        return true;
    connection_end(connection, END_INTERNAL, ALERT_INTERNAL_ERROR,
                   "kernel TLS is required and the kernel refused");
    return false;
}

void connection_offload_due(struct flow *flow)
{
    if (flow->bytes < flow->connection->proxy->setup.config->ktls.offload_after)
        return;
    if (flow->source->receive_why == ENDPOINT_WHY_NOT_YET)
        flow->source->is_offload_wanted[RECORD_RECEIVE] = true;
    if (flow->destination->transmit_why == ENDPOINT_WHY_NOT_YET)
        flow->destination->is_offload_wanted[RECORD_TRANSMIT] = true;
}

// ---- RELAY ----

static void enter_relay(struct connection *connection)
{
    struct buffer *leftover = connection->leftover;
    struct buffer *server_leftover = connection->server_leftover;

    connection->leftover = NULL;
    connection->server_leftover = NULL;
    connection->active_ns = connection->proxy->now_ns;
    timer_set(&connection->proxy->wheel, &connection->timer, until(connection, REST_NS));
    (void)header_out_send(connection); // before the flow has a chance to
    hsts_start(connection);
    flow_start(&connection->up, leftover);
    if (connection->state == CONNECTION_RELAY)
        flow_start(&connection->down, server_leftover);
    else
        buffer_give(connection->proxy->pool, server_leftover);
}

void connection_active(struct connection *connection)
{
    connection->active_ns = connection->proxy->now_ns;
    if (!connection->is_resting)
        return;
    wake(connection);
    timer_set(&connection->proxy->wheel, &connection->timer, until(connection, REST_NS));
}

struct flow *connection_flow_into(struct connection *connection, const struct endpoint *endpoint)
{
    return endpoint == &connection->client ? &connection->down : &connection->up;
}

// ---- what an endpoint sends besides data ----

static void on_control_sent(struct ring_op *op, const struct ring_completion *completion);

static void send_control(struct connection *connection, struct endpoint *endpoint, enum endpoint_sending what,
                         enum record_type type, const uint8_t *payload, size_t length)
{
    endpoint->sending = what;
    endpoint->transmit_op.handler = on_control_sent;
    if (endpoint_send_control(connection->proxy->ring, endpoint, type, payload, length) < 0)
        connection_enter(connection, CONNECTION_DYING);
}

static void send_key_update(struct connection *connection, struct endpoint *endpoint)
{
    // update_not_requested: it answers a request, or renews our own key
    static const uint8_t message[] = {HANDSHAKE_KEY_UPDATE, 0, 0, 1, 0};

    endpoint->is_key_update_due = false;
    send_control(connection, endpoint, ENDPOINT_SENDS_KEY_UPDATE, RECORD_HANDSHAKE, message, sizeof(message));
}

static void send_alert(struct connection *connection, struct endpoint *endpoint, enum record_alert alert)
{
    bool closes = alert == ALERT_CLOSE_NOTIFY;
    uint8_t message[] = {closes ? ALERT_LEVEL_WARNING : ALERT_LEVEL_FATAL, (uint8_t)alert};

    endpoint->alert_due = ALERT_NONE;
    send_control(connection, endpoint, closes ? ENDPOINT_SENDS_CLOSE : ENDPOINT_SENDS_ALERT, RECORD_ALERT,
                 message, sizeof(message));
}

static void check_done(struct connection *connection);

// The endpoint was told the end of what it gets.
static void shut(struct connection *connection, struct endpoint *endpoint)
{
    (void)socket_shutdown(endpoint->fd);
    endpoint->is_shut = true;
    check_done(connection);
}

// A key that has protected all it may is replaced before the next record.
static bool renew_key(struct connection *connection, struct endpoint *endpoint)
{
    if (!endpoint_is_worn(endpoint) || endpoint->is_key_update_due)
        return true;
    if (endpoint->transmit.keys.version == RECORD_TLS13 &&
        (endpoint->transmit_mode == ENDPOINT_USER || endpoint->can_rekey)) {
        endpoint->is_key_update_due = true;
        return true;
    }
    connection_end(connection, END_KEY_LIMIT, ALERT_INTERNAL_ERROR, "the key has protected all it may");
    return false;
}

static void transmit_relay(struct connection *connection, struct endpoint *endpoint)
{
    struct flow *flow = connection_flow_into(connection, endpoint);

    if (endpoint->is_shut) {
        endpoint->is_key_update_due = false; // nothing follows close_notify (RFC 8446 §6.1)
        return;
    }
    if (endpoint->is_offload_wanted[RECORD_TRANSMIT] &&
        !connection_offload(connection, endpoint, RECORD_TRANSMIT))
        return;
    if (!renew_key(connection, endpoint))
        return;
    if (flow->state == FLOW_FAILED)
        return;
    if (endpoint->is_key_update_due)
        send_key_update(connection, endpoint);
    else if (flow->state == FLOW_READY)
        flow_go_on(flow);
    else if (endpoint->is_close_due && endpoint_is_tls(endpoint))
        send_alert(connection, endpoint, ALERT_CLOSE_NOTIFY);
    else if (endpoint->is_close_due)
        shut(connection, endpoint);
}

void connection_transmit(struct connection *connection, struct endpoint *endpoint)
{
    if (endpoint->transmit_op.in_flight)
        return;
    if (connection->state == CONNECTION_RELAY)
        transmit_relay(connection, endpoint);
    else
        connection_drain(connection);
}

static void on_control_sent(struct ring_op *op, const struct ring_completion *completion)
{
    struct endpoint *endpoint = list_entry(op, struct endpoint, transmit_op);
    struct connection *connection = endpoint->is_client ? list_entry(endpoint, struct connection, client)
                                                        : list_entry(endpoint, struct connection, server);
    enum endpoint_sending sending = endpoint->sending;
    int result = completion->result;

    if (connection->state == CONNECTION_DYING) {
        connection_reap(connection);
        return;
    }
    if (ring_is_passing(result))
        result = 0;
    if (result < 0) {
        struct flow *flow = connection_flow_into(connection, endpoint);

        endpoint->sending = ENDPOINT_SENDS_NOTHING;
        flow_stop(flow);
        flow->state = FLOW_FAILED;
        connection_flow_ended(flow);
    } else if (endpoint_control_sent(connection->proxy->ring, endpoint, (size_t)result)) {
        endpoint->sending = ENDPOINT_SENDS_NOTHING;
        if (sending == ENDPOINT_SENDS_CLOSE || sending == ENDPOINT_SENDS_ALERT)
            shut(connection, endpoint);
        else if (endpoint_update_transmit(endpoint) < 0)
            connection_end(connection, END_REKEY_UNSUPPORTED, ALERT_NONE,
                           "the transmit key could not be changed");
        connection_transmit(connection, endpoint);
    }
    connection_reap(connection);
}

// ---- ends ----

static void half_close(struct connection *connection)
{
    connection->is_half_closed = true;
    wake(connection);
    timer_set(&connection->proxy->wheel, &connection->timer, until(connection, REST_NS));
}

// Both directions at their end, and everybody told?
static void check_done(struct connection *connection)
{
    const struct flow *up = &connection->up;
    const struct flow *down = &connection->down;

    if (connection->state != CONNECTION_RELAY || !flow_has_ended(up) || !flow_has_ended(down))
        return;
    if (down->state == FLOW_FAILED)
        connection_end(connection, END_CLIENT_RESET, ALERT_NONE, NULL);
    else if (connection->client.is_shut && (connection->server.is_shut || up->state == FLOW_FAILED))
        connection_end(connection, END_DONE, ALERT_NONE, NULL);
}

void connection_flow_ended(struct flow *flow)
{
    struct connection *connection = flow->connection;

    if (connection->state == CONNECTION_DRAIN) {
        connection_drain(connection);
        return;
    }
    if (connection->state != CONNECTION_RELAY)
        return;
    half_close(connection);
    if (flow->state == FLOW_ENDED)
        connection_transmit(connection, flow->destination);
    check_done(connection);
}

void connection_end_event(struct connection *connection, const struct endpoint *source,
                          const struct endpoint_event *event)
{
    // What a server does wrong is no fault of the client's: it learns only that this won't do.
    enum record_alert alert = source->is_client ? event->alert : ALERT_INTERNAL_ERROR;

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

void connection_end(struct connection *connection, enum connection_end end, enum record_alert alert,
                    const char *detail)
{
    bool is_over;

    if (connection->end != END_NONE)
        return;
    connection->end = (uint8_t)end;
    if (alert != ALERT_NONE && !connection->is_passed && !connection->listener->is_plain)
        connection->alert = (uint8_t)alert;
    if (detail)
        connection->detail = detail;
    if (endpoint_is_tls(&connection->client))
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

    connection_end(connection, END_SHUTDOWN, ALERT_NONE, NULL);
    if (connection->state != CONNECTION_DRAIN)
        return;
    connection->drained_ns = earlier(connection->drained_ns, stop_ns);
    connection->delivered_ns = earlier(connection->delivered_ns, stop_ns);
    timer_set(&connection->proxy->wheel, &connection->timer, until(connection, DRAIN_LOOK_NS));
}

static void enter_drain(struct connection *connection)
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
    if (client->transmit_op.in_flight)
        return;
    if (connection->is_client_drained || connection->down.state == FLOW_FAILED) {
        drain_done(connection);
    } else if (client->alert_due != ALERT_NONE) {
        send_alert(connection, client, client->alert_due);
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
    timer_set(&connection->proxy->wheel, &connection->timer, until(connection, CANCEL_AGAIN_NS));
}

static void enter_dying(struct connection *connection)
{
    dial_stop(connection);
    flow_stop(&connection->up);
    flow_stop(&connection->down);
    cancel_all(connection);
}

static bool is_quiet(const struct connection *connection)
{
    return !connection->client.receive_op.in_flight && !connection->client.transmit_op.in_flight &&
           !connection->server.receive_op.in_flight && !connection->server.transmit_op.in_flight;
}

// After this nothing refers to the connection: its four operations are not in flight and their completions were run (the ring
// counts a queued completion as in flight), its timer is off the wheel, its flows are off the proxy's lists, and it leaves the
// list of connections here.
bool connection_reap(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;
    bool orderly = connection->end == END_DONE;

    if (connection->state != CONNECTION_DYING || !is_quiet(connection))
        return false;
    if (connection->end == END_NONE)
        connection->end = END_INTERNAL;
    // Whoever reads that line may count on what it says: its place is free.
    admission_leave(proxy->setup.admission, proxy->setup.worker, listener_index(connection));
    admission_client_leave(proxy->setup.admission, proxy->setup.worker, connection->place);
    connection_log(connection);
    timer_cancel(&proxy->wheel, &connection->timer);
    socket_close(connection->server.fd, !orderly);
    dial_release(connection);
    dial_forget(connection);
    socket_close(connection->client.fd, !orderly && !connection->client.is_shut);
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
    list_remove(&connection->node);
    proxy->connection_count--;
    proxy->awake_count -= !connection->is_resting;
    proxy->setup.connections_changed(proxy->setup.owner, proxy->connection_count);
    connection_slab_give(connection);
    return true;
}

// ---- time ----

static void relay_timer(struct connection *connection)
{
    const struct config *config = connection->proxy->setup.config;
    uint64_t now = connection->proxy->now_ns;
    uint64_t limit = connection->is_half_closed ? config->timeouts.half_closed_ns : config->timeouts.idle_ns;
    uint64_t deadline = connection->active_ns + limit;
    uint64_t rest_ns = connection->active_ns + REST_NS;

    if (now >= deadline) {
        connection_end(connection, connection->is_half_closed ? END_HALF_CLOSED_TIMEOUT : END_IDLE_TIMEOUT,
                       ALERT_NONE, NULL);
        return;
    }
    if (now >= rest_ns && !connection->is_resting)
        rest(connection);
    timer_set(&connection->proxy->wheel, &connection->timer,
              connection->is_resting || deadline < rest_ns ? deadline : rest_ns);
}

void connection_on_timer(struct connection *connection)
{
    switch (connection->state) {
    case CONNECTION_HEADER:
        connection_end(connection, END_HANDSHAKE_TIMEOUT, ALERT_NONE, "no whole PROXY header came");
        break;
    case CONNECTION_ANSWER:
        redirect_timed_out(connection);
        break;
    case CONNECTION_HELLO:
        connection_end(connection, END_HANDSHAKE_TIMEOUT, ALERT_NONE, NULL);
        break;
    case CONNECTION_DIAL:
        dial_timed_out(connection);
        break;
    case CONNECTION_SHAKE:
        shake_timed_out(connection);
        break;
    case CONNECTION_RELAY:
        relay_timer(connection);
        break;
    case CONNECTION_DRAIN:
        drain_timer(connection);
        break;
    case CONNECTION_DYING:
        cancel_all(connection);
        break;
    default:
        break;
    }
    connection_reap(connection);
}
