// SPDX-License-Identifier: Apache-2.0
// Makes a connection at rest of what was read: first what it names is found, then everything is made that can fail, and what counts it comes last.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "carry.h"
#include "carry_format.h"
#include "connection_header.h"
#include "hsts.h"
#include "ringbolt/config.h"

static bool is_text(const struct carry_span *span, const char *text)
{
    size_t length = text ? strlen(text) : 0;

    return span->data && span->size == length && memcmp(span->data, text ? text : "", length) == 0;
}

static bool copy_text(const struct carry_span *span, char **ret)
{
    if (!span->data)
        return true;
    *ret = malloc(span->size + 1);
    if (!*ret)
        return false;
    memcpy(*ret, span->data, span->size);
    (*ret)[span->size] = '\0';
    return true;
}

// ---- what it names ----

struct place {
    const struct config_listener *listener;
    const struct config_route *route;
    size_t upstream;
};

// By its address; one that has moved to another keeps its name.
static const struct config_listener *find_listener(const struct config *config, const struct carry *carry)
{
    for (size_t i = 0; i < config->listener_count; i++)
        if (is_text(&carry->fields[CARRY_LISTENER_ADDRESS], config->listeners[i].address.text))
            return &config->listeners[i];
    for (size_t i = 0; i < config->listener_count; i++)
        if (is_text(&carry->fields[CARRY_LISTENER_NAME], config->listeners[i].name))
            return &config->listeners[i];
    return NULL;
}

static int find_place(const struct config *config, const struct carry *carry, struct place *ret,
                      const char **ret_why)
{
    bool is_plain = carry->client.transmit_mode == ENDPOINT_PLAIN && !(carry->flags & CARRY_IS_PASSED);

    ret->listener = find_listener(config, carry);
    if (!ret->listener) {
        *ret_why = "there is no such listener";
        return -ENOENT;
    }
    if (ret->listener->redirect.is_on || ret->listener->is_plain != is_plain) {
        *ret_why = "the listener is for other connections";
        return -ENOENT;
    }
    for (ret->upstream = 0; ret->upstream < config->upstream_count; ret->upstream++)
        if (is_text(&carry->fields[CARRY_UPSTREAM], config->upstreams[ret->upstream].name))
            break;
    if (ret->upstream == config->upstream_count) {
        *ret_why = "there is no such upstream";
        return -ENOENT;
    }
    // Only the log asks for it: another one is none.
    ret->route = carry->route > 0 && carry->route <= ret->listener->route_count
                     ? &ret->listener->routes[carry->route - 1]
                     : NULL;
    if (ret->route && ret->route->upstream != ret->upstream)
        ret->route = NULL;
    return 0;
}

static int find_server(struct connection *connection, const struct carry *carry, const char **ret_why)
{
    const struct carry_span *server = &carry->fields[CARRY_SERVER];
    const struct carry_span *name = &carry->fields[CARRY_SERVER_NAME];
    size_t found;
    int error = upstream_adopt(connection->proxy->upstreams, connection->upstream,
                               &(struct upstream_adopted){.text = (const char *)server->data,
                                                          .length = server->size,
                                                          .name = (const char *)name->data,
                                                          .name_length = name->size},
                               &found, &connection->dialling);

    if (error < 0) {
        *ret_why = error == -ENOENT ? "there is no such server" : "no memory";
        return error;
    }
    connection->server_index = (uint32_t)found;
    connection->has_place = true;
    connection->connected = connection->dialling;
    return 0;
}

// ---- what it has ----

static bool take_header(struct connection *connection, const struct carry *carry)
{
    const struct carry_span *via = &carry->fields[CARRY_VIA];
    const struct carry_span *rest = &carry->fields[CARRY_HEADER];
    struct connection_header *header;

    if (!via->data && !rest->data && !carry->fields[CARRY_UNIQUE_ID].data)
        return true;
    header = connection_header_take(connection);
    if (!header || !copy_text(&carry->fields[CARRY_UNIQUE_ID], &header->unique_id))
        return false;
    if (via->data)
        memcpy(header->via, via->data, via->size); // zeros follow
    if (!rest->data)
        return true;
    header->out = malloc(sizeof(*header->out) + rest->size);
    if (!header->out)
        return false;
    *header->out = (struct header_out){.size = rest->size};
    memcpy(header->out->bytes, rest->data, rest->size);
    return true;
}

static bool take_shared(struct connection *connection, const struct carry_span *span,
                        struct shared_text **ret)
{
    char text[CARRY_TEXT_MAX + 1];

    if (!span->data || span->size == 0)
        return true;
    memcpy(text, span->data, span->size);
    text[span->size] = '\0';
    *ret = shared_text_take(&connection->proxy->texts, text);
    return *ret != NULL;
}

// The log's words for what was agreed upon.
static const char *version_name(const struct carry_endpoint *endpoint)
{
    if (endpoint->transmit_mode == ENDPOINT_PLAIN)
        return NULL;
    return endpoint->transmit.version == RECORD_TLS13 ? "TLSv1.3" : "TLSv1.2";
}

static bool take_names(struct connection *connection, const struct carry *carry)
{
    struct connection_names *names = &connection->names;

    names->version = connection->is_passed ? "passthrough" : version_name(&carry->client);
    names->suite = carry_suite(&carry->fields[CARRY_SUITE]);
    names->resumed = carry->flags & CARRY_IS_RESUMED;
    names->certificate = carry->certificate;
    connection->server_version = version_name(&carry->server);
    connection->server_suite = carry_suite(&carry->fields[CARRY_SERVER_SUITE]);
    connection->server_resumed = carry->flags & CARRY_IS_SERVER_RESUMED;
    memcpy(connection->peer, carry->fields[CARRY_PEER].data, carry->fields[CARRY_PEER].size); // zeros follow
    return take_shared(connection, &carry->fields[CARRY_SNI], &names->sni) &&
           take_shared(connection, &carry->fields[CARRY_ALPN], &names->alpn) &&
           copy_text(&carry->fields[CARRY_CLIENT_SUBJECT], &names->client_subject) &&
           copy_text(&carry->fields[CARRY_CLIENT_FINGERPRINT], &names->client_fingerprint);
}

static bool take_endpoint(struct endpoint *endpoint, const struct carry_endpoint *carried)
{
    if (carried->transmit_mode != ENDPOINT_PLAIN) {
        endpoint_protect(endpoint, &carried->receive, &carried->transmit, carried->payload_max);
        endpoint->receive_mode = carried->receive_mode;
        endpoint->transmit_mode = carried->transmit_mode;
        endpoint->receive_why = carried->receive_why;
        endpoint->transmit_why = carried->transmit_why;
    }
    endpoint->can_rekey = carried->flags & CARRY_CAN_REKEY;
    endpoint->is_key_update_due = carried->flags & CARRY_IS_KEY_UPDATE_DUE;
    endpoint->is_close_due = carried->flags & CARRY_IS_CLOSE_DUE;
    endpoint->is_shut = carried->flags & CARRY_IS_SHUT;
    endpoint->key_updates = carried->key_updates;
    endpoint->empties = carried->empties;
    endpoint->message_size = carried->message_size;
    memcpy(endpoint->message, carried->message, sizeof(endpoint->message));
    endpoint->message_left = carried->message_left;
    if (carried->sending == ENDPOINT_SENDS_NOTHING)
        return true;
    return endpoint_control_restore(endpoint, (enum endpoint_sending)carried->sending, carried->control.data,
                                    carried->control.size) == 0;
}

// ---- buffers ----

// The smallest buffer that has room for `size` bytes where they must lie. NULL: there is none.
static struct buffer *take_buffer(struct buffer_pool *pool, const struct flow *flow, size_t size,
                                  bool is_opened, size_t *ret_at)
{
    for (enum buffer_class class = BUFFER_SMALL; class < BUFFER_CLASS_COUNT; class ++) {
        struct buffer *buffer = buffer_take(pool, class);

        if (!buffer)
            continue;
        *ret_at = is_opened ? endpoint_lead(flow->source, flow->destination, buffer->capacity) : 0;
        if (*ret_at + size <= buffer->capacity)
            return buffer;
        buffer_give(pool, buffer);
    }
    return NULL;
}

static void put_piece(struct buffer *buffer, size_t at, const struct carry_span *span)
{
    memcpy(buffer->data + at, span->data, span->size);
    buffer->pieces[0] = (struct iovec){.iov_base = buffer->data + at, .iov_len = span->size};
    buffer->piece_count = 1;
}

// Plaintext that was received as such: in the pieces that endpoint_layout() makes, so that it can be sealed there.
static struct buffer *take_received(struct buffer_pool *pool, const struct flow *flow,
                                    const struct carry_span *held)
{
    for (enum buffer_class class = BUFFER_SMALL; class < BUFFER_CLASS_COUNT; class ++) {
        struct buffer *buffer = buffer_take(pool, class);

        if (!buffer)
            continue;
        endpoint_layout(flow->destination, buffer);
        if (buffer_length(buffer) >= held->size) {
            buffer_fill(buffer, &(struct iovec){(void *)(uintptr_t)held->data, held->size}, 1);
            return buffer;
        }
        buffer_give(pool, buffer);
    }
    return NULL;
}

static bool take_flow(struct buffer_pool *pool, struct flow *flow, const struct carry_flow *carried)
{
    bool is_opened = flow->source->receive_mode == ENDPOINT_USER;
    size_t at = 0;

    flow->bytes = carried->bytes;
    flow->sending = carried->sending;
    flow->appetite = carried->appetite;
    flow->is_closing = carried->is_closing;
    if (carried->held.size + carried->kept.size == 0) {
        flow->state = carried->state;
        return true;
    }
    if (carried->state == FLOW_READY && !is_opened)
        flow->buffer = take_received(pool, flow, &carried->held);
    else // what is sealed already may lie anywhere
        flow->buffer = take_buffer(pool, flow, carried->held.size + carried->kept.size,
                                   carried->state != FLOW_SENDING, &at);
    if (!flow->buffer)
        return false;
    flow->state = carried->state;
    if (carried->held.data && (carried->state == FLOW_SENDING || is_opened))
        put_piece(flow->buffer, at, &carried->held);
    flow->kept_at = (uint32_t)(at + carried->held.size);
    flow->kept = (uint32_t)carried->kept.size;
    flow->needed = carried->needed;
    if (flow->kept > 0)
        memcpy(flow->buffer->data + flow->kept_at, carried->kept.data, flow->kept);
    return true;
}

// ---- all of it ----

static uint64_t not_later(uint64_t at_ns, uint64_t now_ns)
{
    return at_ns < now_ns ? at_ns : now_ns; // the giver may have looked at the clock after us
}

static void take_facts(struct connection *connection, const struct carry *carry)
{
    uint64_t now_ns = connection->proxy->now_ns;

    connection->id = carry->id;
    connection->unique = carry->unique;
    connection->accepted_ns = not_later(carry->accepted_ns, now_ns);
    connection->handshaken_ns = not_later(carry->handshaken_ns, now_ns);
    connection->connected_ns = not_later(carry->connected_ns, now_ns);
    connection->active_ns = not_later(carry->active_ns, now_ns);
    connection->retired_ns = carry->retired_ns;
    connection->is_half_closed = carry->flags & CARRY_IS_HALF_CLOSED;
    connection->is_passed = carry->flags & CARRY_IS_PASSED;
    connection->is_proxied = carry->flags & CARRY_IS_PROXIED;
    connection->is_server_lost = carry->flags & CARRY_IS_SERVER_LOST;
}

static void init(struct connection *connection, struct proxy *proxy, const struct place *place)
{
    connection->proxy = proxy;
    connection->listener = place->listener;
    connection->route = place->route;
    connection->upstream = place->upstream;
    connection->alert = ALERT_NONE;
    connection->state = CONNECTION_RELAY;
    connection->halt = HALT_REACHED;
    connection->is_hello_done = true;
    connection->place = ADMISSION_UNCOUNTED;
    timer_init(&connection->timer);
    list_init(&connection->wait_node);
    ring_op_init(&connection->watch_op, NULL);
    endpoint_init(&connection->client, -1, true);
    endpoint_init(&connection->server, -1, false);
    flow_init(&connection->up, connection, &connection->client, &connection->server);
    flow_init(&connection->down, connection, &connection->server, &connection->client);
}

static int fill(struct connection *connection, const struct carry *carry, const char **ret_why)
{
    struct buffer_pool *pool = connection->proxy->pool;
    int error = find_server(connection, carry, ret_why);

    if (error < 0)
        return error;
    take_facts(connection, carry);
    *ret_why = "no memory";
    if (!take_header(connection, carry) || !take_names(connection, carry) ||
        !take_endpoint(&connection->client, &carry->client) ||
        !take_endpoint(&connection->server, &carry->server))
        return -ENOMEM;
    *ret_why = "no buffers";
    if (!take_flow(pool, &connection->up, &carry->up) || !take_flow(pool, &connection->down, &carry->down))
        return -ENOMEM;
    if (carry->flags & CARRY_WANTS_HSTS)
        hsts_start(connection);
    offload_adopt(connection);
    return 0;
}

// It is one of this worker's from now on.
static void enter(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;
    const struct proxy_setup *setup = &proxy->setup;
    struct config_address client = {.text = NULL};
    const char *why;

    if (config_address_parse(connection->peer, &client, &why) == 0)
        connection->place =
            admission_client_adopt(setup->admission, setup->worker, (const struct sockaddr *)&client.socket);
    free(client.text);
    admission_adopt(setup->admission, setup->worker, listener_index(proxy, connection->listener));
    list_push_back(&proxy->connections, &connection->node);
    proxy->connection_count++;
    if (++proxy->awake_count > proxy->awake_peak)
        proxy->awake_peak = proxy->awake_count;
    connection_count_adopted(connection);
}

static int adopt(struct proxy *proxy, const struct carry *carry, const int fds[2], struct connection **ret,
                 const char **ret_why)
{
    struct connection *connection;
    struct place place;
    int error = find_place(proxy->setup.config, carry, &place, ret_why);

    if (error < 0)
        return error;
    *ret_why = "no memory";
    connection = connection_slab_take(proxy->slabs);
    if (!connection)
        return -ENOMEM;
    init(connection, proxy, &place);
    error = fill(connection, carry, ret_why);
    if (error < 0) {
        connection_abandon(connection);
        return error;
    }
    connection->client.fd = fds[0];
    connection->server.fd = fds[1];
    enter(connection);
    *ret = connection;
    return 0;
}

int carry_read(struct proxy *proxy, const uint8_t *bytes, size_t size, const int fds[2],
               struct connection **ret, const char **ret_why)
{
    struct carry carry;
    int error = carry_parse(bytes, size, &carry, ret_why) ? adopt(proxy, &carry, fds, ret, ret_why) : -EPROTO;

    carry_wipe(&carry);
    return error;
}
