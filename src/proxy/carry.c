// SPDX-License-Identifier: Apache-2.0
#include "carry.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "carry_format.h"
#include "connection_header.h"
#include "hsts.h"
#include "ringbolt/secret.h"

// Counts first what it will be, then writes it.
struct writer {
    uint8_t *bytes; // NULL: only counts
    size_t size;
    bool is_bare; // without secrets
};

static void put(struct writer *writer, const void *data, size_t size)
{
    if (writer->bytes && size > 0)
        memcpy(writer->bytes + writer->size, data, size);
    writer->size += size;
}

static void put_secret(struct writer *writer, const uint8_t *secret, size_t size)
{
    if (!writer->is_bare)
        put(writer, secret, size);
    for (size_t i = 0; i < size && writer->is_bare; i++)
        put(writer, "", 1);
}

static void put_number(struct writer *writer, uint64_t number, unsigned bytes)
{
    uint8_t little[8];

    for (unsigned i = 0; i < bytes; i++)
        little[i] = (uint8_t)(number >> (8 * i));
    put(writer, little, bytes);
}

static void begin(struct writer *writer, unsigned field, size_t size)
{
    put_number(writer, field, 2);
    put_number(writer, size, 4);
}

static void put_bytes(struct writer *writer, unsigned field, const void *data, size_t size)
{
    if (size == 0)
        return;
    begin(writer, field, size);
    put(writer, data, size);
}

// NULL: none. Those that are always there may be empty.
static void put_text(struct writer *writer, unsigned field, const char *text)
{
    if (!text)
        return;
    begin(writer, field, strlen(text));
    put(writer, text, strlen(text));
}

static void put_shared(struct writer *writer, unsigned field, const struct shared_text *text)
{
    put_text(writer, field, text ? text->text : NULL);
}

// ---- what it is made of ----

static void put_facts(struct writer *writer, const struct connection *connection)
{
    const struct connection_names *names = &connection->names;
    unsigned flags = 0;

    flags |= connection->is_half_closed ? CARRY_IS_HALF_CLOSED : 0;
    flags |= connection->is_passed ? CARRY_IS_PASSED : 0;
    flags |= connection->is_proxied ? CARRY_IS_PROXIED : 0;
    flags |= connection->is_server_lost ? CARRY_IS_SERVER_LOST : 0;
    flags |= names->resumed ? CARRY_IS_RESUMED : 0;
    flags |= connection->server_resumed ? CARRY_IS_SERVER_RESUMED : 0;
    flags |= connection->hsts ? CARRY_WANTS_HSTS : 0;
    begin(writer, CARRY_FACTS, CARRY_FACTS_SIZE);
    put_number(writer, connection->id, 8);
    put_number(writer, connection->unique, 8);
    put_number(writer, connection->accepted_ns, 8);
    put_number(writer, connection->handshaken_ns, 8);
    put_number(writer, connection->connected_ns, 8);
    put_number(writer, connection->active_ns, 8);
    put_number(writer, connection->retired_ns, 8);
    put_number(writer, names->certificate, 8);
    put_number(writer, flags, 2);
    put_number(writer,
               connection->route ? (uint64_t)(connection->route - connection->listener->routes) + 1 : 0, 4);
}

static const char *text_or_empty(const char *text)
{
    return text ? text : "";
}

static void put_names(struct writer *writer, const struct connection *connection)
{
    const struct config_upstream *upstream = header_out_upstream(connection);
    const struct connection_header *header = connection->header;
    const struct connection_names *names = &connection->names;

    put_text(writer, CARRY_LISTENER_ADDRESS, text_or_empty(connection->listener->address.text));
    put_text(writer, CARRY_LISTENER_NAME, connection->listener->name);
    put_text(writer, CARRY_UPSTREAM, upstream->name);
    put_text(writer, CARRY_SERVER, text_or_empty(connection->connected->address.text));
    put_text(writer, CARRY_SERVER_NAME,
             connection->connected->name ? connection->connected->name->text : NULL);
    put_text(writer, CARRY_PEER, connection->peer);
    put_text(writer, CARRY_VIA, connection_header_via(connection));
    put_text(writer, CARRY_UNIQUE_ID, header ? header->unique_id : NULL);
    put_shared(writer, CARRY_SNI, names->sni);
    put_shared(writer, CARRY_ALPN, names->alpn);
    put_text(writer, CARRY_SUITE, names->suite);
    put_text(writer, CARRY_CLIENT_SUBJECT, names->client_subject);
    put_text(writer, CARRY_CLIENT_FINGERPRINT, names->client_fingerprint);
    put_text(writer, CARRY_SERVER_SUITE, connection->server_suite);
    if (header && header->out)
        put_bytes(writer, CARRY_HEADER, header->out->bytes + header->out->sent,
                  header->out->size - header->out->sent);
}

static void put_keys(struct writer *writer, unsigned field, const struct record_keys *keys)
{
    size_t key_size = record_cipher_key_size(keys->cipher);

    begin(writer, field, CARRY_KEYS_MIN + key_size + sizeof(keys->iv) + keys->secret_size);
    put_number(writer, keys->version, 2);
    put_number(writer, keys->cipher, 1);
    put_number(writer, keys->sequence, 8);
    put_secret(writer, keys->key, key_size);
    put_secret(writer, keys->iv, sizeof(keys->iv));
    put_secret(writer, keys->secret, keys->secret_size);
}

static void put_endpoint(struct writer *writer, unsigned field, const struct endpoint *endpoint)
{
    unsigned flags = 0;
    size_t rest;
    const uint8_t *control = endpoint_control_rest(endpoint, &rest);

    flags |= endpoint->can_rekey && !writer->is_bare ? CARRY_CAN_REKEY : 0; // next keys are made of the secrets
    flags |= endpoint->is_key_update_due ? CARRY_IS_KEY_UPDATE_DUE : 0;
    flags |= endpoint->is_close_due ? CARRY_IS_CLOSE_DUE : 0;
    flags |= endpoint->is_shut ? CARRY_IS_SHUT : 0;
    begin(writer, field + CARRY_ENDPOINT, CARRY_ENDPOINT_SIZE);
    put_number(writer, endpoint->receive_mode, 1);
    put_number(writer, endpoint->receive_why, 1);
    put_number(writer, endpoint->transmit_mode, 1);
    put_number(writer, endpoint->transmit_why, 1);
    put_number(writer, flags, 1);
    put_number(writer, endpoint->sending, 1);
    put_number(writer, endpoint->key_updates, 1);
    put_number(writer, endpoint->empties, 1);
    put_number(writer, endpoint->message_size, 1);
    put(writer, endpoint->message, sizeof(endpoint->message));
    put_number(writer, endpoint->message_left, 4);
    put_number(writer, endpoint->payload_max, 2);
    if (!endpoint_is_tls(endpoint))
        return;
    put_keys(writer, field + CARRY_RECEIVE, &endpoint->receive.keys);
    put_keys(writer, field + CARRY_TRANSMIT, &endpoint->transmit.keys);
    put_bytes(writer, field + CARRY_CONTROL, control, rest);
}

// What a busy flow's buffer holds while it waits is nothing.
static bool holds_something(const struct flow *flow)
{
    return flow->buffer && (flow->state == FLOW_READY || flow->state == FLOW_SENDING);
}

static void put_flow(struct writer *writer, unsigned field, const struct flow *flow)
{
    size_t kept = flow->buffer && !flow_has_ended(flow) ? flow->kept : 0;

    begin(writer, field + CARRY_FLOW, CARRY_FLOW_SIZE);
    put_number(writer, flow->state, 1);
    put_number(writer, flow->appetite, 1);
    put_number(writer, flow->is_closing && !flow_has_ended(flow), 1);
    put_number(writer, flow->bytes, 8);
    put_number(writer, flow->state == FLOW_SENDING ? flow->sending : 0, 4);
    put_number(writer, kept > 0 ? flow->needed : 0, 4);
    if (holds_something(flow)) {
        begin(writer, field + CARRY_HELD, buffer_length(flow->buffer));
        for (unsigned i = 0; i < flow->buffer->piece_count; i++)
            put(writer, flow->buffer->pieces[i].iov_base, flow->buffer->pieces[i].iov_len);
    }
    if (kept > 0)
        put_bytes(writer, field + CARRY_KEPT, flow->buffer->data + flow->kept_at, kept);
}

static void put_connection(struct writer *writer, const struct connection *connection)
{
    put(writer, CARRY_MAGIC, 4);
    put_number(writer, CARRY_VERSION, 2);
    put_number(writer, 0, 2);
    put_facts(writer, connection);
    put_names(writer, connection);
    put_endpoint(writer, CARRY_CLIENT, &connection->client);
    put_endpoint(writer, CARRY_SERVER_SIDE, &connection->server);
    put_flow(writer, CARRY_UP, &connection->up);
    put_flow(writer, CARRY_DOWN, &connection->down);
}

int carry_pack(const struct connection *connection, struct carried *ret)
{
    struct writer writer = {0};

    assert(connection->halt == HALT_REACHED);
    *ret = (struct carried){.fds = {-1, -1}};
    put_connection(&writer, connection);
    assert(writer.size <= CARRY_SIZE_MAX);
    writer.bytes = secret_take(writer.size);
    if (!writer.bytes)
        return -ENOMEM;
    writer.size = 0;
    put_connection(&writer, connection);
    *ret = (struct carried){
        .bytes = writer.bytes, .size = writer.size, .fds = {connection->client.fd, connection->server.fd}};
    return 0;
}

size_t carry_pack_bare(const struct connection *connection, uint8_t *bytes, size_t room)
{
    struct writer writer = {.is_bare = true};

    assert(connection->halt == HALT_REACHED);
    put_connection(&writer, connection);
    if (writer.size > room)
        return 0;
    writer.bytes = bytes;
    writer.size = 0;
    put_connection(&writer, connection);
    return writer.size;
}

void carried_finish(struct carried *carried)
{
    secret_give(carried->bytes);
    *carried = (struct carried){.fds = {-1, -1}};
}
