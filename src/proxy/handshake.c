// SPDX-License-Identifier: Apache-2.0
// HELLO: bytes from the client go into the engine, its output goes back, one operation at a time. When it is done, the keys
// come out, the client's endpoint gets them, and the dialling begins while the last flight is still leaving. Where some streams are passed
// through, peek.c looks at the ClientHello first.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "ringbolt/log.h"
#include "ringbolt/trace.h"

static void on_received(struct ring_op *op, const struct ring_completion *completion);
static void on_sent(struct ring_op *op, const struct ring_completion *completion);

static struct connection *connection_of(struct endpoint *endpoint)
{
    return list_entry(endpoint, struct connection, client);
}

static void receive(struct connection *connection)
{
    connection->client.receive_op.handler = on_received;
    ring_receive_idle(connection->proxy->ring, &connection->client.receive_op, connection->client.fd);
}

static bool begin(struct connection *connection, struct tls_context *context)
{
    connection->engine = engine_create_server(context);
    if (!connection->engine)
        connection_end(connection, END_MEMORY, ALERT_NONE, "no memory for a handshake");
    return connection->engine != NULL;
}

static void take_turns(struct connection *connection, struct buffer *buffer);

void handshake_start(struct connection *connection, struct tls_context *context, struct buffer *first)
{
    // Where streams may be passed through there is an engine only once it is known that this one isn't.
    if (!connection->listener->has_passthrough && !begin(connection, context))
        buffer_give(connection->proxy->pool, first);
    else if (first)
        take_turns(connection, first);
    else
        receive(connection);
}

void handshake_retry(struct connection *connection)
{
    receive(connection);
}

void handshake_finish(struct connection *connection)
{
    engine_destroy(connection->engine);
    connection->engine = NULL;
}

// It is known where the client goes, and all that the handshake has told.
static void note_over(struct connection *connection)
{
    const struct connection_names *names = &connection->names;

    connection->handshaken_ns = connection->proxy->now_ns;
    trace_handshake(connection->id, names->version, names->suite, names->resumed,
                    connection->handshaken_ns - connection->accepted_ns);
}

static char *copy_name(const char *name)
{
    return name && name[0] ? strdup(name) : NULL; // only the log misses it when there is no memory
}

static void failed(struct connection *connection)
{
    bool is_rejected = engine_is_rejected(connection->engine);

    connection->route = engine_route(connection->engine);
    connection->alert = (uint8_t)engine_alert(connection->engine);
    connection->detail_owned = copy_name(engine_failure(connection->engine));
    connection_end(connection, is_rejected ? END_REJECTED : END_HANDSHAKE_FAILED, ALERT_NONE, NULL);
}

// The keys come out and the dialling begins. What was read behind the handshake waits in `leftover`.
static void succeeded(struct connection *connection, struct buffer *buffer)
{
    struct engine_certificates certificates = {0};
    struct engine_outcome outcome;
    int error = 0;

    connection->route = engine_route(connection->engine);
    if (connection->route)
        connection->upstream = connection->route->upstream;
    if (header_out_wants_certificates(connection))
        error = engine_certificates(connection->engine, &certificates);
    if (engine_outcome(connection->engine, &outcome) < 0) {
        engine_certificates_finish(&certificates);
        buffer_give(connection->proxy->pool, buffer);
        connection_end(connection, END_INTERNAL, ALERT_NONE, "no traffic keys");
        return;
    }
    if (error == 0)
        error = header_out_make(connection, &outcome, &certificates);
    engine_certificates_finish(&certificates);
    endpoint_protect(&connection->client, &outcome.receive, &outcome.transmit, outcome.payload_max);
    record_keys_wipe(&outcome.receive);
    record_keys_wipe(&outcome.transmit);
    connection->names.sni = shared_text_take(&connection->proxy->texts, outcome.sni);
    connection->names.alpn = shared_text_take(&connection->proxy->texts, outcome.alpn);
    connection->names.version = outcome.version_name;
    connection->names.suite = outcome.suite_name;
    connection->names.resumed = outcome.resumed;
    connection->names.certificate = outcome.certificate;
    connection->names.client_subject = copy_name(outcome.client_subject);
    connection->names.client_fingerprint = copy_name(outcome.client_fingerprint);
    note_over(connection);
    connection_count_handshake(connection);
    if (buffer && buffer->piece_count > 0) {
        connection->leftover = buffer;
    } else {
        buffer_give(connection->proxy->pool, buffer);
    }
    if (error < 0) {
        connection_end(connection, END_MEMORY, ALERT_INTERNAL_ERROR, "no memory for a PROXY header");
        return;
    }
    proxy_check_retired(connection); // its certificate may have been retired while it shook hands
    connection_enter(connection, CONNECTION_DIAL);
}

// Sends the engine's output, if it has any. True when a send is in flight.
static bool flush(struct connection *connection)
{
    size_t length;
    const uint8_t *output = engine_output(connection->engine, &length);

    if (length == 0)
        return false;
    connection->client.transmit_op.handler = on_sent;
    ring_send(connection->proxy->ring, &connection->client.transmit_op, connection->client.fd, output, length,
              0);
    return true;
}

// Both sides get what the other says as it is. The ClientHello is the first of it.
static void pass_through(struct connection *connection, struct buffer *buffer)
{
    connection->is_passed = true;
    connection->names.version = "passthrough";
    note_over(connection);
    connection->leftover = buffer;
    connection->is_hello_done = true;
    if (header_out_make(connection, NULL, NULL) < 0)
        connection_end(connection, END_MEMORY, ALERT_NONE, "no memory for a PROXY header");
    else
        connection_enter(connection, CONNECTION_DIAL);
}

void handshake_skip(struct connection *connection, struct buffer *first)
{
    note_over(connection);
    connection->leftover = first;
    connection->is_hello_done = true;
    if (header_out_make(connection, NULL, NULL) < 0)
        connection_end(connection, END_MEMORY, ALERT_NONE, "no memory for a PROXY header");
    else
        connection_enter(connection, CONNECTION_DIAL);
}

// What came before there is an engine. False when it is not for one.
static bool look(struct connection *connection, struct buffer **buffer)
{
    switch (peek_take(connection, buffer)) {
    case PEEK_WANTS_INPUT:
        receive(connection);
        return false;
    case PEEK_PASSES:
        pass_through(connection, *buffer);
        return false;
    case PEEK_TERMINATES:
        if (begin(connection, connection_listener(connection)->context))
            return true;
        buffer_give(connection->proxy->pool, *buffer);
        return false;
    default:
        connection_end(connection, END_MEMORY, ALERT_NONE, "no memory for a handshake");
        return false;
    }
}

// Gives the engine what is in the buffer. It is eaten, or becomes the leftover.
static void feed(struct connection *connection, struct buffer *buffer)
{
    enum engine_status status;
    size_t eaten;
    bool is_sending;

    if (!connection->engine && !look(connection, &buffer))
        return;
    status = engine_feed(connection->engine, buffer->pieces[0].iov_base, buffer->pieces[0].iov_len, &eaten);
    buffer_consume(buffer, eaten);
    is_sending = flush(connection);
    if (status == ENGINE_DONE) {
        connection->is_hello_done = !is_sending;
        succeeded(connection, buffer);
        return;
    }
    buffer_give(connection->proxy->pool, buffer);
    if (status == ENGINE_FAILED)
        failed(connection);
    else if (!is_sending)
        receive(connection);
}

void handshake_go_on(struct connection *connection)
{
    struct buffer *buffer = connection->up.buffer;

    connection->up.buffer = NULL;
    feed(connection, buffer);
    connection_reap(connection);
}

// A step of a handshake takes the time of twenty requests, so these wait until what else came was served: proxy_tick().
static void take_turns(struct connection *connection, struct buffer *buffer)
{
    connection->active_ns = connection->proxy->now_ns;
    connection->up.buffer = buffer; // flow_stop() gives it back, should the connection end first
    list_push_back(&connection->proxy->hellos, &connection->up.node);
}

static void on_received(struct ring_op *op, const struct ring_completion *completion)
{
    struct connection *connection = connection_of(list_entry(op, struct endpoint, receive_op));
    struct proxy *proxy = connection->proxy;

    if (connection->state != CONNECTION_HELLO) {
        buffer_give(proxy->pool, completion->buffer);
        connection_drain(connection);
    } else if (completion->result > 0) {
        take_turns(connection, completion->buffer);
    } else if (completion->result == -ENOBUFS) {
        connection->up.state = FLOW_STARVED;
        proxy_starve(proxy, &connection->up);
    } else if (ring_is_passing(completion->result)) {
        receive(connection);
    } else {
        connection_end(connection, END_HANDSHAKE_FAILED, ALERT_NONE,
                       completion->result == 0 ? "client closed during the handshake"
                                               : "client reset during the handshake");
    }
    connection_reap(connection);
}

// All of the engine's output is on its way.
static void flushed(struct connection *connection)
{
    switch (connection->state) {
    case CONNECTION_HELLO:
        receive(connection);
        break;
    case CONNECTION_DIAL:
        connection->is_hello_done = true;
        if (connection->connected)
            connection_enter(connection, CONNECTION_OFFLOAD);
        break;
    case CONNECTION_SHAKE:
        connection->is_hello_done = true;
        shake_check(connection);
        break;
    default:
        connection_drain(connection);
    }
}

static void on_sent(struct ring_op *op, const struct ring_completion *completion)
{
    struct connection *connection = connection_of(list_entry(op, struct endpoint, transmit_op));
    int result = completion->result;

    if (ring_is_passing(result))
        result = 0;
    if (connection->state == CONNECTION_DYING) {
        connection_reap(connection);
        return;
    }
    if (result < 0) {
        connection->down.state = FLOW_FAILED; // nothing reaches the client any more
        connection_end(connection,
                       connection->state == CONNECTION_HELLO ? END_HANDSHAKE_FAILED : END_CLIENT_RESET,
                       ALERT_NONE, "client reset during the handshake");
        connection_drain(connection);
    } else {
        engine_output_sent(connection->engine, (size_t)result);
        if (!flush(connection))
            flushed(connection);
    }
    connection_reap(connection);
}
