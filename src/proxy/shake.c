// SPDX-License-Identifier: Apache-2.0
// SHAKE: the handshake with the server. What it is told of the client by the PROXY protocol goes first; then bytes go between it and the
// engine as they do between client and engine (handshake.c), one operation at a time. A server that fails here is not passed over for the
// next one: it was there, and that it can't show who it is, or speaks no TLS, is for people to hear of.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "ringbolt/log.h"

static void on_received(struct ring_op *op, const struct ring_completion *completion);
static void on_sent(struct ring_op *op, const struct ring_completion *completion);
static void feed(struct connection *connection, const uint8_t *data, size_t length, struct buffer *buffer);

static struct tls_context *context_of(const struct connection *connection)
{
    struct tls_context **contexts = connection->proxy->setup.client_contexts;

    return contexts ? contexts[connection->upstream] : NULL;
}

static const struct config_server_tls *config_of(const struct connection *connection)
{
    return &connection->proxy->setup.config->upstreams[connection->upstream].tls;
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
    const char *name = config_of(connection)->name;
    const struct engine_peer peer = {
        .name = name ? name : connection->connected->host,
        .alpn = connection->names.alpn ? connection->names.alpn->text : NULL,
    };

    connection->server_engine = engine_create_client(context_of(connection), &peer);
    if (connection->server_engine)
        feed(connection, NULL, 0, NULL);
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

static void failed(struct connection *connection)
{
    struct engine *engine = connection->server_engine;
    enum record_alert alert = engine_alert(engine);

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
    connection->server_version = outcome.version_name;
    connection->server_suite = outcome.suite_name;
}

void shake_check(struct connection *connection)
{
    if (!endpoint_is_tls(&connection->server) || connection->server.transmit_op.in_flight ||
        !connection->is_hello_done)
        return;
    engine_destroy(connection->server_engine);
    connection->server_engine = NULL;
    connection_enter(connection, CONNECTION_OFFLOAD);
}

void shake_timed_out(struct connection *connection)
{
    if (endpoint_is_tls(&connection->server) && !connection->server.transmit_op.in_flight)
        connection_end(connection, END_HANDSHAKE_TIMEOUT, ALERT_NONE, "the last flight could not be sent");
    else
        connection_end(connection, END_SERVER_HANDSHAKE, ALERT_INTERNAL_ERROR,
                       "the handshake with the server took too long");
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
    } else if (completion->result > 0) {
        struct iovec piece = completion->buffer->pieces[0];

        feed(connection, piece.iov_base, piece.iov_len, completion->buffer);
    } else if (completion->result == -ENOBUFS) {
        connection->down.state = FLOW_STARVED;
        proxy_starve(proxy, &connection->down);
    } else if (ring_is_passing(completion->result)) {
        receive(connection);
    } else {
        connection_end(connection, END_SERVER_HANDSHAKE, ALERT_INTERNAL_ERROR,
                       completion->result == 0 ? "server closed during the handshake"
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
    } else if (result < 0) {
        connection_end(connection, END_SERVER_HANDSHAKE, ALERT_INTERNAL_ERROR,
                       "server reset during the handshake");
    } else {
        engine_output_sent(connection->server_engine, (size_t)result);
        if (!flush(connection))
            flushed(connection);
    }
    connection_reap(connection);
}
