// SPDX-License-Identifier: Apache-2.0
// SHAKE: the handshake with the server. What it is told of the client by the PROXY protocol goes first; then bytes go between it and the
// engine as they do between client and engine (handshake.c), one operation at a time. Until it is done the server has nothing of the client's,
// so one that closes, or is silent, is left for the next one (dial.c). One that answers and can't show who it is, or speaks no TLS, is not passed
// over: that is for people to hear of. Either counts as a failure of it.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"

#define CANCEL_AGAIN_NS (100 * CLOCK_NS_PER_MS)

#define ALERT_NO_APPLICATION_PROTOCOL 120 // RFC 7301 §3.2; enum record_alert names only those that we send

static void on_received(struct ring_op *op, const struct ring_completion *completion);
static void on_sent(struct ring_op *op, const struct ring_completion *completion);

static struct tls_context *context_of(const struct connection *connection)
{
    struct tls_context **contexts = connection->proxy->setup.client_contexts;

    return contexts ? contexts[connection->upstream] : NULL;
}

static const struct config_upstream *upstream_of(const struct connection *connection)
{
    return &connection->proxy->setup.config->upstreams[connection->upstream];
}

// A step takes the time of twenty requests, so these wait until what else came was served: proxy_tick(). buffer: what came, or NULL at the
// beginning.
static void take_turns(struct connection *connection, struct buffer *buffer)
{
    connection->down.buffer = buffer; // flow_stop() gives it back, should the connection end first
    list_push_back(&connection->proxy->hellos, &connection->down.node);
}

bool shake_is_wanted(const struct connection *connection)
{
    return context_of(connection) && !connection->is_passed;
}

void shake_start(struct connection *connection)
{
    if (!header_out_send(connection))
        shake_begin(connection);
}

void shake_begin(struct connection *connection)
{
    const struct config_upstream *upstream = upstream_of(connection);
    const char *name = upstream->tls.name;
    const struct engine_peer peer = {
        .name = name ? name : connection->connected->host,
        .alpn = connection->names.alpn ? connection->names.alpn->text : NULL,
        .server = connection->server_index,
    };

    connection->server_engine = engine_create_client(context_of(connection), &peer);
    if (connection->server_engine)
        take_turns(connection, NULL);
    else
        connection_end(connection, END_MEMORY, ALERT_INTERNAL_ERROR, "no memory for a handshake");
}

static void receive(struct connection *connection)
{
    connection->server.receive_op.handler = on_received;
    ring_receive_idle(connection->proxy->ring, &connection->server.receive_op, connection->server.fd);
}

void shake_retry(struct connection *connection)
{
    receive(connection);
}

// Sends the engine's output, if it has any. True when a send is in flight.
static bool flush(struct connection *connection)
{
    size_t length;
    const uint8_t *output = engine_output(connection->server_engine, &length);

    if (length == 0)
        return false;
    connection->server.transmit_op.handler = on_sent;
    ring_send(connection->proxy->ring, &connection->server.transmit_op, connection->server.fd, output, length,
              0);
    return true;
}

// ---- the end of it ----

// The server was there and did not see it through.
static void lost(struct connection *connection, const char *why)
{
    if (connection->is_shake_late)
        why = "the handshake with the server took too long";
    connection->is_shake_late = false;
    engine_destroy(connection->server_engine);
    connection->server_engine = NULL;
    dial_server_failed(connection, why);
    dial_another(connection, why);
}

void shake_lost(struct connection *connection)
{
    lost(connection, "server reset during the handshake");
}

static void failed(struct connection *connection)
{
    struct engine *engine = connection->server_engine;
    enum record_alert alert = engine_alert(engine);

    // What protocols are offered the client chooses: that none is taken says nothing of the server.
    if ((unsigned)alert != ALERT_NO_APPLICATION_PROTOCOL)
        dial_server_failed(connection, engine_failure(engine));
    connection->detail_owned =
        strdup(engine_failure(engine)); // only the log misses it when there is no memory
    connection_end(connection, engine_is_untrusted(engine) ? END_SERVER_UNTRUSTED : END_SERVER_HANDSHAKE,
                   ALERT_INTERNAL_ERROR, NULL);
    if (alert != ALERT_NONE)
        connection->alert = (uint8_t)alert; // what the client gets is always the same
}

static void take_keys(struct connection *connection)
{
    struct engine_outcome outcome;

    if (engine_outcome(connection->server_engine, &outcome) < 0) {
        connection_end(connection, END_INTERNAL, ALERT_INTERNAL_ERROR, "no traffic keys");
        return;
    }
    endpoint_protect(&connection->server, &outcome.receive, &outcome.transmit, outcome.payload_max);
    record_keys_wipe(&outcome.receive);
    record_keys_wipe(&outcome.transmit);
    dial_server_succeeded(connection);
    header_out_forget(connection);
    connection->server_resumed = outcome.resumed;
    connection->server_version = outcome.version_name;
    connection->server_suite = outcome.suite_name;
}

void shake_check(struct connection *connection)
{
    if (!endpoint_is_tls(&connection->server) || connection->server.transmit_op.in_flight ||
        !connection->is_hello_done)
        return;
    if (engine_awaits_ticket(connection->server_engine))
        connection->server.tickets = connection->server_engine;
    else
        engine_destroy(connection->server_engine);
    connection->server_engine = NULL;
    connection_enter(connection, CONNECTION_OFFLOAD);
}

void shake_timed_out(struct connection *connection)
{
    struct endpoint *server = &connection->server;
    struct proxy *proxy = connection->proxy;

    if (endpoint_is_tls(server) && !server->transmit_op.in_flight) {
        connection_end(connection, END_HANDSHAKE_TIMEOUT, ALERT_NONE, "the last flight could not be sent");
    } else if (endpoint_is_tls(server) || (!server->transmit_op.in_flight && !server->receive_op.in_flight)) {
        // It is past what another server could take over; or it is we who are late, for want of buffers or time.
        connection_end(connection, END_SERVER_HANDSHAKE, ALERT_INTERNAL_ERROR,
                       "the handshake with the server took too long");
    } else {
        connection->is_shake_late = true; // what is in flight completes, and finds that
        ring_cancel(proxy->ring, &server->receive_op);
        ring_cancel(proxy->ring, &server->transmit_op);
        timer_set(&proxy->wheel, &connection->timer, proxy->now_ns + CANCEL_AGAIN_NS); // unless that was lost
    }
}

// ---- bytes ----

// buffer: what data[length] is in, eaten, or the leftover; NULL at the beginning.
static void feed(struct connection *connection, const uint8_t *data, size_t length, struct buffer *buffer)
{
    size_t eaten;
    enum engine_status status = engine_feed(connection->server_engine, data, length, &eaten);
    bool is_sending;

    if (buffer)
        buffer_consume(buffer, eaten);
    if (status == ENGINE_DONE && buffer && buffer->piece_count > 0)
        connection->server_leftover = buffer;
    else
        buffer_give(connection->proxy->pool, buffer);
    if (status == ENGINE_DONE)
        take_keys(connection);
    if (connection->state != CONNECTION_SHAKE)
        return;
    is_sending = flush(connection);
    if (is_sending)
        return;
    if (status == ENGINE_FAILED)
        failed(connection);
    else if (status == ENGINE_DONE)
        shake_check(connection);
    else
        receive(connection);
}

void shake_go_on(struct connection *connection)
{
    struct buffer *buffer = connection->down.buffer;

    connection->down.buffer = NULL;
    if (buffer)
        feed(connection, buffer->pieces[0].iov_base, buffer->pieces[0].iov_len, buffer);
    else
        feed(connection, NULL, 0, NULL);
    connection_reap(connection);
}

static struct connection *connection_of(struct endpoint *endpoint)
{
    return list_entry(endpoint, struct connection, server);
}

static void on_received(struct ring_op *op, const struct ring_completion *completion)
{
    struct connection *connection = connection_of(list_entry(op, struct endpoint, receive_op));
    struct proxy *proxy = connection->proxy;

    if (connection->state != CONNECTION_SHAKE) {
        buffer_give(proxy->pool, completion->buffer);
        connection_drain(connection);
    } else if (connection->is_shake_late) {
        buffer_give(proxy->pool, completion->buffer);
        lost(connection, NULL);
    } else if (completion->result > 0) {
        take_turns(connection, completion->buffer);
    } else if (completion->result == -ENOBUFS) {
        connection->down.state = FLOW_STARVED;
        proxy_starve(proxy, &connection->down);
    } else if (ring_is_passing(completion->result)) {
        receive(connection);
    } else {
        lost(connection, completion->result == 0 ? "server closed during the handshake"
                                                 : "server reset during the handshake");
    }
    connection_reap(connection);
}

// All of the engine's output is on its way.
static void flushed(struct connection *connection)
{
    if (endpoint_is_tls(&connection->server))
        shake_check(connection);
    else if (engine_failure(connection->server_engine)[0] != '\0')
        failed(connection);
    else
        receive(connection);
}

static void on_sent(struct ring_op *op, const struct ring_completion *completion)
{
    struct connection *connection = connection_of(list_entry(op, struct endpoint, transmit_op));
    int result = completion->result;

    if (ring_is_passing(result))
        result = 0;
    if (connection->state != CONNECTION_SHAKE) {
        connection_drain(connection);
    } else if (result < 0 && engine_failure(connection->server_engine)[0] != '\0') {
        failed(connection); // it left before it heard why
    } else if (connection->is_shake_late && !endpoint_is_tls(&connection->server)) {
        lost(connection, NULL);
    } else if (result < 0 && endpoint_is_tls(&connection->server)) {
        connection_end(connection, END_SERVER_HANDSHAKE, ALERT_INTERNAL_ERROR,
                       "server reset during the handshake");
    } else if (result < 0) {
        shake_lost(connection);
    } else {
        engine_output_sent(connection->server_engine, (size_t)result);
        if (!flush(connection))
            flushed(connection);
    }
    connection_reap(connection);
}
