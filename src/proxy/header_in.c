// SPDX-License-Identifier: Apache-2.0
// HEADER: the proxy ahead says for whom it speaks, before the client's first byte. What comes behind its header goes into the
// handshake. Nobody gets an answer: whoever sends no good header, or may send none, is cut with a reset.
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "connection_header.h"
#include "ringbolt/socket.h"

static void on_first(struct ring_op *op, const struct ring_completion *completion);
static void on_rest(struct ring_op *op, const struct ring_completion *completion);

static struct connection *connection_of(struct ring_op *op)
{
    return list_entry(list_entry(op, struct endpoint, receive_op), struct connection, client);
}

static void refuse(struct connection *connection, const char *why)
{
    connection_end(connection, END_PROXY_HEADER, ALERT_NONE, why);
}

// Whether its headers are believed. At a unix address the permissions of the path have said so already.
static bool is_trusted(const struct connection *connection)
{
    const struct config_proxy_from *from = &connection->listener->proxy;
    struct sockaddr_storage peer;

    if (from->network_count == 0 || connection->listener->address.socket.ss_family == AF_UNIX)
        return true;
    if (socket_peer(connection->client.fd, &peer) < 0)
        return false;
    for (size_t i = 0; i < from->network_count; i++) {
        if (config_network_holds(&from->networks[i], &peer))
            return true;
    }
    return false;
}

// It is known now who the client is. The proxy ahead may speak for itself, and for as many as it likes.
static bool is_let_in(struct connection *connection)
{
    const struct proxy_setup *setup = &connection->proxy->setup;
    const struct connection_header *header = connection->header;
    struct sockaddr_storage client;
    enum admission_refusal refusal;

    if (header && header->facts)
        proxy_addresses_source(&header->facts->addresses, &client);
    else if (connection->is_proxied || socket_peer(connection->client.fd, &client) < 0)
        return true;
    refusal = admission_client_enter(setup->admission, setup->worker, (const struct sockaddr *)&client,
                                     connection->proxy->now_ns, &connection->place);
    if (refusal != ADMISSION_GRANTED)
        listener_client_refused(connection_listener(connection), connection->peer, refusal);
    return refusal == ADMISSION_GRANTED;
}

// HELLO begins with what came behind the header.
static void go_on(struct connection *connection, struct buffer *buffer)
{
    if (is_let_in(connection)) {
        connection_start(connection, buffer);
        return;
    }
    buffer_give(connection->proxy->pool, buffer);
    connection_end(connection, END_CLIENT_LIMIT, ALERT_NONE, NULL);
}

static void receive(struct connection *connection)
{
    connection->client.receive_op.handler = on_first;
    ring_receive_idle(connection->proxy->ring, &connection->client.receive_op, connection->client.fd);
}

void header_in_start(struct connection *connection)
{
    if (is_trusted(connection))
        receive(connection);
    else if (connection->listener->proxy.is_required)
        refuse(connection, "the peer is in none of the networks of proxy_protocol_from");
    else
        go_on(connection, NULL);
}

void header_in_retry(struct connection *connection)
{
    receive(connection);
}

// ---- what it says ----

static bool is_taken(const struct connection *connection, const struct proxy_header *header)
{
    switch (connection->listener->proxy.mode) {
    case CONFIG_PROXY_IN_V1:
        return header->version == 1;
    case CONFIG_PROXY_IN_V2:
        return header->version == 2;
    default:
        return true;
    }
}

// The client is from now on who the header says. LOCAL, UNKNOWN and their like say nothing: it stays the socket's.
static int believe(struct connection *connection, const struct proxy_header *header)
{
    struct sockaddr_storage source;
    int error;

    connection->is_proxied = true;
    if (header->addresses.family == PROXY_FAMILY_UNSPEC)
        return 0;
    error = connection_header_keep(connection, header);
    if (error < 0)
        return error;
    proxy_addresses_source(&header->addresses, &source);
    memcpy(connection->header->via, connection->peer, sizeof(connection->header->via));
    socket_text(&source, connection->peer, sizeof(connection->peer));
    return 0;
}
_Static_assert(sizeof(((struct connection_header *)0)->via) == sizeof(((struct connection *)0)->peer),
               "both hold an address");

static void take_header(struct connection *connection, const struct proxy_header *header,
                        struct buffer *buffer)
{
    if (!is_taken(connection, header)) {
        buffer_give(connection->proxy->pool, buffer);
        refuse(connection, "a PROXY header of the other version than the listener takes");
    } else if (believe(connection, header) < 0) {
        buffer_give(connection->proxy->pool, buffer);
        connection_end(connection, END_MEMORY, ALERT_NONE, "no memory for a PROXY header");
    } else {
        buffer_consume(buffer, header->size);
        go_on(connection, buffer);
    }
}

// The beginning of a header is in the buffer's one piece; the rest goes right behind it.
static void receive_rest(struct connection *connection, struct buffer *buffer)
{
    struct iovec *piece = &buffer->pieces[0];
    struct flow *flow = &connection->up;

    if (piece->iov_base != buffer->data)
        memmove(buffer->data, piece->iov_base, piece->iov_len);
    piece->iov_base = buffer->data;
    assert(piece->iov_len < buffer->capacity); // the parser never wants more than the page
    flow->buffer = buffer;
    flow->state = FLOW_WAITING; // so that flow_stop() cancels and leaves the buffer to us
    connection->client.receive_op.handler = on_rest;
    ring_receive(connection->proxy->ring, &connection->client.receive_op, connection->client.fd,
                 buffer->data + piece->iov_len, buffer->capacity - piece->iov_len, 0);
}
_Static_assert(PROXY_HEADER_MAX <= BUFFER_SMALL_SIZE, "a header fits a page");

static void look(struct connection *connection, struct buffer *buffer)
{
    const char *why = NULL;
    struct proxy_header header;

    switch (proxy_header_parse(buffer->pieces[0].iov_base, buffer->pieces[0].iov_len, &header, &why)) {
    case PROXY_HEADER_READ:
        take_header(connection, &header, buffer);
        break;
    case PROXY_HEADER_MORE:
        receive_rest(connection, buffer);
        break;
    case PROXY_HEADER_NONE:
        if (!connection->listener->proxy.is_required) {
            go_on(connection, buffer);
            break;
        }
        buffer_give(connection->proxy->pool, buffer);
        refuse(connection, "what came is no PROXY header");
        break;
    case PROXY_HEADER_BAD:
        buffer_give(connection->proxy->pool, buffer);
        refuse(connection, why);
        break;
    }
}

// ---- receiving ----

static void on_first(struct ring_op *op, const struct ring_completion *completion)
{
    struct connection *connection = connection_of(op);
    struct proxy *proxy = connection->proxy;

    if (connection->state != CONNECTION_HEADER) {
        buffer_give(proxy->pool, completion->buffer);
        connection_drain(connection);
    } else if (completion->result > 0) {
        look(connection, completion->buffer);
    } else if (completion->result == -ENOBUFS) {
        connection->up.state = FLOW_STARVED;
        proxy_starve(proxy, &connection->up);
    } else if (ring_is_passing(completion->result)) {
        receive(connection);
    } else {
        refuse(connection, "the peer left without a PROXY header");
    }
    connection_reap(connection);
}

static void on_rest(struct ring_op *op, const struct ring_completion *completion)
{
    struct connection *connection = connection_of(op);
    struct buffer *buffer = connection->up.buffer;

    connection->up.buffer = NULL;
    connection->up.state = FLOW_STOPPED;
    if (connection->state != CONNECTION_HEADER) {
        buffer_give(connection->proxy->pool, buffer);
        connection_drain(connection);
    } else if (completion->result > 0) {
        buffer->pieces[0].iov_len += (size_t)completion->result;
        look(connection, buffer);
    } else if (ring_is_passing(completion->result)) {
        receive_rest(connection, buffer);
    } else {
        buffer_give(connection->proxy->pool, buffer);
        refuse(connection, "the peer left within a PROXY header");
    }
    connection_reap(connection);
}
