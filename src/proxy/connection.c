// SPDX-License-Identifier: Apache-2.0
// A connection's life. It reads in the order in which it happens; HEADER is in header_in.c, ANSWER in redirect.c, HELLO in handshake.c, DIAL in dial.c,
// SHAKE in shake.c, OFFLOAD in offload.c, the relaying itself in flow.c, and its end, DRAIN and DYING, in ending.c.
#include "connection.h"

#include <assert.h>
#include <stdlib.h>

#include "hsts.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/socket.h"
#include "ringbolt/trace.h"

#define REST_NS (2 * CLOCK_NS_PER_S) // without a byte: give back what the idle don't need

#define HANDSHAKE_KEY_UPDATE 24 // RFC 8446 §4.6.3
#define ALERT_LEVEL_WARNING  1  // RFC 8446 §6
#define ALERT_LEVEL_FATAL    2

// ---- states ----

static const uint16_t legal[CONNECTION_STATE_COUNT] = {
#define TO(state) (1u << CONNECTION_##state)
    [CONNECTION_ACCEPT] = TO(HEADER) | TO(ANSWER) | TO(HELLO) | TO(DYING),
    [CONNECTION_HEADER] = TO(ANSWER) | TO(HELLO) | TO(DRAIN) | TO(DYING),
    [CONNECTION_ANSWER] = TO(DRAIN) | TO(DYING),
    [CONNECTION_HELLO] = TO(DIAL) | TO(DRAIN) | TO(DYING),
    [CONNECTION_DIAL] = TO(SHAKE) | TO(OFFLOAD) | TO(DRAIN) | TO(DYING),
    [CONNECTION_SHAKE] = TO(DIAL) | TO(OFFLOAD) | TO(DRAIN) | TO(DYING),
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

static void enter_relay(struct connection *connection);

void connection_enter(struct connection *connection, enum connection_state state)
{
    const struct config *config = connection->proxy->setup.config;
    struct timer_wheel *wheel = &connection->proxy->wheel;

    assert(legal[connection->state] & (1u << state));
    if (connection->halt != HALT_NONE)
        rest_leave(connection);
    deposit_end(connection); // what comes after RELAY is this worker's alone
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
        offload_start(connection);
        break;
    case CONNECTION_RELAY:
        enter_relay(connection);
        break;
    case CONNECTION_DRAIN:
        ending_drain(connection);
        break;
    case CONNECTION_DYING:
        ending_die(connection);
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

static void set_rest_timer(struct connection *connection)
{
    if (connection->halt == HALT_NONE) // else connection_set_timer() will
        timer_set(&connection->proxy->wheel, &connection->timer, until(connection, REST_NS));
}

// ---- ACCEPT ----

struct listener *connection_listener(const struct connection *connection)
{
    return &connection->proxy->listeners[listener_index(connection->proxy, connection->listener)];
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
    connection->unique = proxy->unique;
    connection->alert = ALERT_NONE;
    connection->accepted_ns = connection->active_ns = proxy->now_ns;
    timer_init(&connection->timer);
    list_init(&connection->wait_node);
    ring_op_init(&connection->watch_op, NULL);
    endpoint_init(&connection->client, fd, true);
    endpoint_init(&connection->server, -1, false);
    flow_init(&connection->up, connection, &connection->client, &connection->server);
    flow_init(&connection->down, connection, &connection->server, &connection->client);
    socket_text(peer, connection->peer, sizeof(connection->peer));
    list_push_back(&proxy->connections, &connection->node);
    proxy->connection_count++;
    connection->is_resting = true;
    wake(connection);
    connection_count_accepted(connection);
    trace_accept(connection->id, fd, connection->peer);
    admission_enter(proxy->setup.admission, proxy->setup.worker, listener_index(proxy, listener->config),
                    proxy->now_ns);
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
    handovers_came(connection->proxy);
}

void connection_active(struct connection *connection)
{
    connection->active_ns = connection->proxy->now_ns;
    if (!connection->is_resting)
        return;
    wake(connection);
    set_rest_timer(connection);
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

void connection_send_alert(struct connection *connection, struct endpoint *endpoint, enum record_alert alert)
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
        connection_send_alert(connection, endpoint, ALERT_CLOSE_NOTIFY);
    else if (endpoint->is_close_due)
        shut(connection, endpoint);
}

void connection_transmit(struct connection *connection, struct endpoint *endpoint)
{
    if (endpoint->transmit_op.in_flight || connection->halt != HALT_NONE)
        return;
    if (connection->state == CONNECTION_RELAY)
        transmit_relay(connection, endpoint);
    else
        connection_drain(connection);
}

void connection_control_go_on(struct connection *connection, struct endpoint *endpoint)
{
    if (connection->halt != HALT_NONE)
        return;
    endpoint->transmit_op.handler = on_control_sent;
    endpoint_control_go_on(connection->proxy->ring, endpoint);
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
    if (ring_is_passing(result) || rest_cancelled(connection, endpoint, result))
        result = 0;
    if (result < 0) {
        struct flow *flow = connection_flow_into(connection, endpoint);

        endpoint->sending = ENDPOINT_SENDS_NOTHING;
        flow_stop(flow);
        flow->state = FLOW_FAILED;
        connection_flow_ended(flow);
    } else if (!endpoint_control_sent(endpoint, (size_t)result)) {
        connection_control_go_on(connection, endpoint);
    } else {
        endpoint->sending = ENDPOINT_SENDS_NOTHING;
        if (sending == ENDPOINT_SENDS_CLOSE || sending == ENDPOINT_SENDS_ALERT)
            shut(connection, endpoint);
        else if (endpoint_update_transmit(endpoint) < 0)
            connection_end(connection, END_REKEY_UNSUPPORTED, ALERT_NONE,
                           "the transmit key could not be changed");
        else
            connection_count_key_updates(connection, endpoint, RECORD_TRANSMIT, 1);
        connection_transmit(connection, endpoint);
    }
    connection_reap(connection);
}

// ---- ends ----

static void half_close(struct connection *connection)
{
    connection->is_half_closed = true;
    wake(connection);
    set_rest_timer(connection);
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

// ---- time ----

void connection_set_timer(struct connection *connection)
{
    timer_set(&connection->proxy->wheel, &connection->timer, connection->proxy->now_ns);
}

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
    if (now >= rest_ns && !connection->is_resting) {
        rest(connection);
        connection->is_deposit_due = true;
    }
    timer_set(&connection->proxy->wheel, &connection->timer,
              connection->is_resting || deadline < rest_ns ? deadline : rest_ns);
    if (connection->is_resting && connection->is_deposit_due)
        deposit_offer(connection);
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
        if (connection->halt != HALT_NONE)
            rest_timer(connection);
        else
            relay_timer(connection);
        break;
    case CONNECTION_DRAIN:
    case CONNECTION_DYING:
        ending_timer(connection);
        break;
    default:
        break;
    }
    connection_reap(connection);
}
