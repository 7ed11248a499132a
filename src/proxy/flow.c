// SPDX-License-Identifier: Apache-2.0
#include "flow.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "connection.h"
#include "hsts.h"
#include "ringbolt/socket.h"
#include "ringbolt/trace.h"

static void receive(struct flow *flow);
static void send_buffer(struct flow *flow);

void flow_init(struct flow *flow, struct connection *connection, struct endpoint *source,
               struct endpoint *destination)
{
    *flow = (struct flow){.connection = connection, .source = source, .destination = destination};
    list_init(&flow->node);
}

bool flow_has_ended(const struct flow *flow)
{
    return flow->state == FLOW_ENDED || flow->state == FLOW_FAILED;
}

static struct proxy *proxy_of(struct flow *flow)
{
    return flow->connection->proxy;
}

// Nothing may begin: it is as it would be when it had begun, and flow_resume() begins it.
static bool is_halted(const struct flow *flow)
{
    return flow->connection->halt != HALT_NONE;
}

static void give_buffer(struct flow *flow)
{
    buffer_give(proxy_of(flow)->pool, flow->buffer);
    flow->buffer = NULL;
    flow->kept = 0;
}

void flow_finish(struct flow *flow)
{
    if (!flow->connection)
        return; // never initialised
    list_remove(&flow->node);
    give_buffer(flow);
}

// ---- what was received ----

static void deliver(struct flow *flow);

// Whether what passes is looked at, for Strict-Transport-Security.
static bool is_looked_at(const struct flow *flow)
{
    return flow->connection->hsts && flow == &flow->connection->down;
}

// The flow's source has ended in an orderly way and all it sent has been passed on.
static void end(struct flow *flow)
{
    if (is_looked_at(flow) && hsts_flush(flow)) {
        flow->is_closing = true; // comes back here
        deliver(flow);
        return;
    }
    give_buffer(flow);
    flow->state = FLOW_ENDED;
    flow->destination->is_close_due = true;
    connection_flow_ended(flow);
}

// The source can't be read any more, without an orderly end. What it had sent before has been passed on.
static void source_lost(struct flow *flow, int error)
{
    struct connection *connection = flow->connection;
    bool from_client = flow->source == &connection->client;

    give_buffer(flow);
    flow->state = FLOW_ENDED;
    if (!from_client) {
        connection_end(connection,
                       error == 0 && !connection->is_server_lost ? END_SERVER_TRUNCATED : END_SERVER_RESET,
                       ALERT_INTERNAL_ERROR, NULL);
    } else if (connection->down.state == FLOW_ENDED) {
        // The server had finished and the client knows: what it leaves unsaid changes nothing.
        connection_end(connection, END_DONE, ALERT_NONE, NULL);
    } else {
        // A reset is reported once: when a send has seen it, the receive sees only an end.
        bool is_reset = error != 0 || connection->down.state == FLOW_FAILED;

        connection_end(connection, is_reset ? END_CLIENT_RESET : END_CLIENT_TRUNCATED, ALERT_NONE, NULL);
    }
}

// Nothing is in the buffer but perhaps the beginning of a record: what comes next?
static void next(struct flow *flow)
{
    if (flow->after.kind != ENDPOINT_GOES_ON) {
        flow->state = FLOW_STOPPED;
        connection_end_event(flow->connection, flow->source, &flow->after);
    } else if (flow->is_closing) {
        end(flow);
    } else {
        receive(flow);
    }
}

// Passes on what the pieces hold.
static void deliver(struct flow *flow)
{
    if (is_looked_at(flow) && !hsts_pass(flow)) {
        if (flow->connection->state == CONNECTION_RELAY)
            next(flow);
        return;
    }
    flow->state = FLOW_READY;
    connection_transmit(flow->connection, flow->destination);
}

static void take_event(struct flow *flow, const struct endpoint_event *event)
{
    struct endpoint *source = flow->source;

    if (source->key_updates_new > 0)
        connection_count_key_updates(flow->connection, source, RECORD_RECEIVE, source->key_updates_new);
    source->key_updates_new = 0;
    if (event->kind == ENDPOINT_CLOSED)
        flow->is_closing = true;
    else if (event->kind != ENDPOINT_GOES_ON)
        flow->after = *event;
}

// User mode: opens data[size] of the flow's buffer.
static void open_records(struct flow *flow, uint8_t *data, size_t size)
{
    size_t used;
    size_t needed;
    struct endpoint_event event;

    flow->buffer->piece_count = 0;
    event = endpoint_open(flow->source, flow->buffer, data, size, &used, &needed);
    take_event(flow, &event);
    flow->kept_at = (uint32_t)(data - flow->buffer->data + used);
    flow->kept = needed > 0 ? (uint32_t)(size - used) : 0;
    flow->needed = (uint32_t)needed;
    if (flow->source->is_key_update_due)
        connection_transmit(flow->connection, flow->source);
    if (flow->connection->state != CONNECTION_RELAY)
        return; // sending the answer failed
    if (flow->buffer->piece_count > 0)
        deliver(flow);
    else
        next(flow);
}

// Who fills a buffer gets a larger one the next time; who leaves most of it empty a smaller one.
static enum buffer_class appetite(const struct buffer *buffer, size_t length)
{
    switch (buffer->class) {
    case BUFFER_SMALL:
        return length < BUFFER_SMALL_SIZE - RING_IDLE_MARGIN ? BUFFER_SMALL : BUFFER_LARGE;
    case BUFFER_LARGE:
        if (length >= buffer_length(buffer))
            return BUFFER_HUGE;
        return length < BUFFER_SMALL_SIZE ? BUFFER_SMALL : BUFFER_LARGE;
    default:
        return length < BUFFER_LARGE_SIZE / 2 ? BUFFER_LARGE : BUFFER_HUGE;
    }
}

// `length` bytes are in the buffer's pieces.
static void received(struct flow *flow, size_t length)
{
    struct buffer *buffer = flow->buffer;
    uint8_t *begin = buffer->pieces[0].iov_base;

    connection_active(flow->connection);
    flow->appetite = appetite(flow->buffer, length);
    if (flow->source->receive_mode == ENDPOINT_USER) {
        // The piece lies right behind what was kept.
        open_records(flow, begin - flow->kept, flow->kept + length);
        return;
    }
    flow->source->key_updates = 0;
    flow->source->empties = 0;
    for (unsigned i = 0; i < buffer->piece_count; i++) {
        if (buffer->pieces[i].iov_len >= length) {
            buffer->pieces[i].iov_len = length;
            buffer->piece_count = (uint16_t)(i + 1);
            break;
        }
        length -= buffer->pieces[i].iov_len;
    }
    deliver(flow);
}

// ---- receiving ----

static void starve(struct flow *flow)
{
    flow->state = FLOW_STARVED;
    list_remove(&flow->node);
    proxy_starve(proxy_of(flow), flow);
}

static void on_record(struct ring_op *op, const struct ring_completion *completion);

// A record that is not data waits in a kernel direction: it must be fetched with room for its type.
static void receive_record(struct flow *flow)
{
    struct buffer *buffer = flow->buffer;

    if (is_halted(flow)) {
        flow->state = FLOW_WAITING;
        return;
    }
    if (!buffer)
        buffer = flow->buffer = buffer_take(proxy_of(flow)->pool, BUFFER_SMALL);
    if (!buffer) {
        starve(flow);
        return;
    }
    buffer->pieces[0] = (struct iovec){.iov_base = buffer->data, .iov_len = buffer->capacity};
    if (flow->destination->transmit_mode == ENDPOINT_USER) // it may turn out to be data after all
        endpoint_layout(flow->destination, buffer);
    buffer->piece_count = 1;
    buffer->message = (struct msghdr){.msg_iov = buffer->pieces, .msg_iovlen = 1};
    record_kernel_message_receive(&buffer->message, buffer->ancillary);
    flow->state = FLOW_WAITING;
    flow->source->receive_op.handler = on_record;
    ring_receive_message(proxy_of(flow)->ring, &flow->source->receive_op, flow->source->fd, &buffer->message,
                         MSG_DONTWAIT);
}

static void on_bytes(struct ring_op *op, const struct ring_completion *completion);
static void on_readable(struct ring_op *op, const struct ring_completion *completion);

static struct flow *flow_from(struct endpoint *source)
{
    // A flow's source is the client of its connection, or its server.
    return source->is_client ? &list_entry(source, struct connection, client)->up
                             : &list_entry(source, struct connection, server)->down;
}

// What every completion of a receive begins with: NULL when the flow was stopped meanwhile.
static struct flow *begin_received(struct ring_op *op, const struct ring_completion *completion)
{
    struct flow *flow = flow_from(list_entry(op, struct endpoint, receive_op));

    if (completion->buffer) {
        assert(!flow->buffer);
        flow->buffer = completion->buffer;
    }
    if (flow->state == FLOW_WAITING)
        return flow;
    if (flow->state != FLOW_SENDING && flow->state != FLOW_READY)
        give_buffer(flow);
    connection_drain(flow->connection);
    connection_reap(flow->connection);
    return NULL;
}

static void wait_readable(struct flow *flow)
{
    if (flow->kept == 0)
        give_buffer(flow);
    flow->state = FLOW_WAITING;
    flow->source->receive_op.handler = on_readable;
    ring_poll(proxy_of(flow)->ring, &flow->source->receive_op, flow->source->fd, POLLIN);
}

// A receive brought nothing.
static void receive_failed(struct flow *flow, int error)
{
    struct endpoint_event event = {.kind = ENDPOINT_GOES_ON};

    // Nobody else cancels what waits: the connection is to come to rest, or was.
    if (error == -ECANCELED || (ring_is_passing(error) && is_halted(flow))) {
        receive(flow);
        return;
    }
    if (ring_is_passing(error)) {
        wait_readable(flow); // bulk that pauses: without a buffer, then with a large one again
        return;
    }
    if (error == -ENOBUFS) {
        starve(flow);
        return;
    }
    if (flow->source->receive_mode == ENDPOINT_KERNEL) {
        if (error == -EIO) {
            receive_record(flow);
            return;
        }
        event = endpoint_kernel_error(error);
        if (event.kind != ENDPOINT_GOES_ON)
            socket_clear_error(flow->source->fd);
    }
    if (event.kind != ENDPOINT_GOES_ON) {
        flow->state = FLOW_STOPPED;
        connection_end_event(flow->connection, flow->source, &event);
        return;
    }
    if (error == 0 && flow->source->receive_mode == ENDPOINT_PLAIN && !flow->connection->is_server_lost)
        end(flow);
    else
        source_lost(flow, error);
}

static void on_bytes(struct ring_op *op, const struct ring_completion *completion)
{
    struct flow *flow = begin_received(op, completion);
    struct connection *connection;

    if (!flow)
        return;
    connection = flow->connection;
    if (completion->result > 0)
        received(flow, (size_t)completion->result);
    else
        receive_failed(flow, completion->result);
    connection_reap(connection);
}

static void on_record(struct ring_op *op, const struct ring_completion *completion)
{
    struct flow *flow = begin_received(op, completion);
    struct connection *connection;
    struct endpoint_event event;
    enum record_type type;

    if (!flow)
        return;
    connection = flow->connection;
    type = record_kernel_message_type(&flow->buffer->message);
    if (completion->result < 0 || (completion->result == 0 && type == RECORD_DATA)) {
        receive_failed(flow, completion->result);
    } else if (type == RECORD_DATA) {
        received(flow, (size_t)completion->result);
    } else {
        event = endpoint_control(flow->source, type, flow->buffer->pieces[0].iov_base,
                                 (size_t)completion->result);
        give_buffer(flow);
        take_event(flow, &event);
        if (flow->source->is_key_update_due)
            connection_transmit(connection, flow->source);
        if (connection->state == CONNECTION_RELAY)
            next(flow);
    }
    connection_reap(connection);
}

static void on_readable(struct ring_op *op, const struct ring_completion *completion)
{
    struct flow *flow = begin_received(op, completion);
    struct connection *connection;

    if (!flow)
        return;
    connection = flow->connection;
    deposit_wake(connection);
    receive(flow); // whatever was signalled, the receive finds out
    connection_reap(connection);
}

// The largest class that the flow has use for and that memory allows: a peer that takes nothing can hold what its flow was
// given, so the more is in use the less a flow gets.
static enum buffer_class affordable(struct flow *flow)
{
    const struct buffer_pool *pool = proxy_of(flow)->pool;
    size_t used = buffer_pool_used(pool);
    size_t budget = buffer_pool_budget(pool);
    enum buffer_class most = used <= budget / 4       ? BUFFER_HUGE
                             : used <= budget / 4 * 3 ? BUFFER_LARGE
                                                      : BUFFER_SMALL;

    return flow->appetite < most ? flow->appetite : most;
}

static struct buffer *take_direct(struct flow *flow)
{
    struct buffer *buffer = buffer_take(proxy_of(flow)->pool, affordable(flow));

    return buffer ? buffer : buffer_take(proxy_of(flow)->pool, BUFFER_SMALL);
}

static size_t lead_of(const struct flow *flow, const struct buffer *buffer)
{
    return endpoint_lead(flow->source, flow->destination, buffer->capacity);
}

static void receive_direct(struct flow *flow)
{
    struct buffer *buffer = flow->buffer ? flow->buffer : take_direct(flow);
    struct ring_op *op = &flow->source->receive_op;

    if (!buffer) {
        starve(flow);
        return;
    }
    flow->buffer = buffer;
    flow->state = FLOW_WAITING;
    op->handler = on_bytes;
    if (flow->source->receive_mode == ENDPOINT_USER) {
        size_t lead = lead_of(flow, buffer);

        buffer->pieces[0] =
            (struct iovec){.iov_base = buffer->data + lead, .iov_len = buffer->capacity - lead};
        buffer->piece_count = 1;
    } else {
        endpoint_layout(flow->destination, buffer);
    }
    if (buffer->piece_count == 1) {
        ring_receive(proxy_of(flow)->ring, op, flow->source->fd, buffer->pieces[0].iov_base,
                     buffer->pieces[0].iov_len, MSG_DONTWAIT);
    } else {
        buffer->message = (struct msghdr){.msg_iov = buffer->pieces, .msg_iovlen = buffer->piece_count};
        ring_receive_message(proxy_of(flow)->ring, op, flow->source->fd, &buffer->message, MSG_DONTWAIT);
    }
}

// A record of which less than this is there may wait for the rest in a small buffer; a peer that keeps us waiting
// should not hold a large one cheaply.
#define KEPT_SMALL (BUFFER_SMALL_SIZE / 2)

// The size of buffer that the rest of an incomplete record is to be received into. A busy flow hardly ever stops at a boundary, so
// here, too, it must grow when there is more to be had and shrink when memory is short.
static enum buffer_class class_for_rest(struct flow *flow)
{
    enum buffer_class class;

    if (flow->buffer->class == BUFFER_SMALL) {
        size_t room = flow->buffer->capacity - lead_of(flow, flow->buffer);

        return flow->kept < KEPT_SMALL || flow->kept + flow->needed <= room ? BUFFER_SMALL : BUFFER_LARGE;
    }
    class = affordable(flow);
    return class == BUFFER_SMALL ? BUFFER_LARGE : class; // not every record fits into a small one
}

// An incomplete record stands in the buffer: what follows goes right behind it. When the direction is to move into the kernel,
// just the rest of this record is read.
static void receive_rest(struct flow *flow)
{
    struct buffer *buffer = flow->buffer;
    enum buffer_class class = class_for_rest(flow);
    struct buffer *other = class != buffer->class ? buffer_take(proxy_of(flow)->pool, class) : NULL;
    size_t lead = lead_of(flow, other ? other : buffer);
    size_t room;

    if (other) {
        memcpy(other->data + lead, buffer->data + flow->kept_at, flow->kept);
        buffer_give(proxy_of(flow)->pool, buffer);
        buffer = flow->buffer = other;
    } else if (buffer->class == BUFFER_SMALL && class != BUFFER_SMALL) {
        starve(flow);
        return;
    } else if (flow->kept_at != lead) {
        memmove(buffer->data + lead, buffer->data + flow->kept_at, flow->kept);
    }
    flow->kept_at = (uint32_t)lead;
    room = buffer->capacity - lead - flow->kept;
    if (flow->source->is_offload_wanted[RECORD_RECEIVE] && flow->needed < room)
        room = flow->needed;
    buffer->pieces[0] = (struct iovec){.iov_base = buffer->data + lead + flow->kept, .iov_len = room};
    buffer->piece_count = 1;
    flow->state = FLOW_WAITING;
    flow->source->receive_op.handler = on_bytes;
    ring_receive(proxy_of(flow)->ring, &flow->source->receive_op, flow->source->fd,
                 buffer->pieces[0].iov_base, room, 0);
}

static void receive(struct flow *flow)
{
    struct endpoint *source = flow->source;

    if (is_halted(flow)) {
        flow->state = FLOW_WAITING;
        return;
    }
    if (flow->connection->is_asleep) {
        wait_readable(flow);
        return;
    }
    if (flow->kept > 0) {
        receive_rest(flow);
        return;
    }
    if (source->is_offload_wanted[RECORD_RECEIVE] &&
        !connection_offload(flow->connection, source, RECORD_RECEIVE))
        return;
    if (flow->appetite != BUFFER_SMALL || !endpoint_takes_idle(flow->destination)) {
        receive_direct(flow);
        return;
    }
    give_buffer(flow);
    flow->state = FLOW_WAITING;
    source->receive_op.handler = on_bytes;
    ring_receive_idle(proxy_of(flow)->ring, &source->receive_op, source->fd);
}

void flow_retry(struct flow *flow)
{
    assert(flow->state == FLOW_STARVED);
    receive(flow);
}

// What was read before the flow began lies as it came. Where it is to be sealed it must have room around.
static struct buffer *make_room(struct flow *flow, struct buffer *leftover)
{
    struct iovec piece = leftover->pieces[0];
    struct buffer *buffer = leftover;
    size_t at;

    if (flow->destination->transmit_mode != ENDPOINT_USER)
        return leftover;
    buffer = buffer_take(proxy_of(flow)->pool, BUFFER_LARGE);
    if (buffer) {
        at = flow->source->receive_mode == ENDPOINT_USER ? lead_of(flow, buffer) : RECORD_HEAD_MAX;
        memcpy(buffer->data + at, piece.iov_base, piece.iov_len);
        buffer->pieces[0] = (struct iovec){.iov_base = buffer->data + at, .iov_len = piece.iov_len};
        buffer->piece_count = 1;
    }
    buffer_give(proxy_of(flow)->pool, leftover);
    return buffer;
}

void flow_start(struct flow *flow, struct buffer *leftover)
{
    struct iovec piece;

    if (!leftover) {
        receive(flow);
        return;
    }
    flow->buffer = make_room(flow, leftover);
    if (!flow->buffer) {
        connection_end(flow->connection, END_MEMORY, ALERT_INTERNAL_ERROR, "no buffer for the first bytes");
        return;
    }
    piece = flow->buffer->pieces[0];
    if (flow->source->receive_mode == ENDPOINT_USER)
        open_records(flow, piece.iov_base, piece.iov_len);
    else
        received(flow, piece.iov_len);
}

void flow_stop(struct flow *flow)
{
    list_remove(&flow->node);
    if (flow->state == FLOW_WAITING)
        ring_cancel(proxy_of(flow)->ring, &flow->source->receive_op);
    else if (flow->state != FLOW_SENDING)
        give_buffer(flow);
    if (flow->state != FLOW_SENDING && !flow_has_ended(flow))
        flow->state = FLOW_STOPPED;
}

// ---- sending ----

static void on_sent(struct ring_op *op, const struct ring_completion *completion);

static void transmit(struct flow *flow)
{
    struct buffer *buffer = flow->buffer;
    struct endpoint *destination = flow->destination;

    if (is_halted(flow))
        return;
    assert(!flow->connection->is_asleep);
    flow->sending_since_ns = proxy_of(flow)->now_ns;
    list_push_back(&proxy_of(flow)->sending, &flow->node);
    destination->transmit_op.handler = on_sent;
    if (buffer->piece_count == 1) {
        ring_send(proxy_of(flow)->ring, &destination->transmit_op, destination->fd,
                  buffer->pieces[0].iov_base, buffer->pieces[0].iov_len, 0);
    } else {
        buffer->message = (struct msghdr){.msg_iov = buffer->pieces, .msg_iovlen = buffer->piece_count};
        ring_send_message(proxy_of(flow)->ring, &destination->transmit_op, destination->fd, &buffer->message,
                          0);
    }
}

static void send_buffer(struct flow *flow)
{
    const struct buffer *buffer = flow->buffer;
    size_t end = flow->kept > 0 ? flow->kept_at : buffer->capacity; // an incomplete record stays where it is

    flow->sending = (uint32_t)buffer_length(buffer);
    if (endpoint_seal(flow->destination, flow->source, flow->buffer, buffer->data + end) < 0) {
        flow->state = FLOW_STOPPED;
        connection_end(flow->connection, END_INTERNAL, ALERT_NONE, "a record could not be sealed");
        return;
    }
    flow->state = FLOW_SENDING;
    transmit(flow);
}

void flow_go_on(struct flow *flow)
{
    assert(flow->state == FLOW_READY);
    send_buffer(flow);
}

// The destination takes no more. The other direction may still have something to say (a server that answers and closes
// before it has read all, for one), so only this flow ends.
static void send_failed(struct flow *flow)
{
    struct connection *connection = flow->connection;

    if (flow->destination == &connection->server)
        connection->is_server_lost = true;
    flow->kept = 0;
    give_buffer(flow);
    flow->state = FLOW_FAILED;
    connection_flow_ended(flow);
}

// All of the buffer is with the kernel.
static void sent(struct flow *flow)
{
    endpoint_count_sent(flow->destination, flow->sending);
    if (flow->bytes == 0 && flow->destination->is_client)
        trace_first_byte(flow->connection->id,
                         flow->connection->proxy->now_ns - flow->connection->accepted_ns, flow->sending);
    flow->bytes += flow->sending;
    connection_count_bytes(flow->connection, flow == &flow->connection->up, flow->sending);
    // A busy flow keeps the buffer that it would take again.
    if (flow->kept == 0 && (flow->appetite == BUFFER_SMALL || flow->buffer->class != affordable(flow)))
        give_buffer(flow);
    flow->state = FLOW_STOPPED; // for a moment: the destination may take control records first
    connection_offload_due(flow);
    connection_transmit(flow->connection, flow->destination);
    if (flow->connection->state == CONNECTION_RELAY)
        next(flow);
}

static void on_sent(struct ring_op *op, const struct ring_completion *completion)
{
    struct endpoint *endpoint = list_entry(op, struct endpoint, transmit_op);
    struct connection *connection = endpoint->is_client ? list_entry(endpoint, struct connection, client)
                                                        : list_entry(endpoint, struct connection, server);
    struct flow *flow = connection_flow_into(connection, endpoint);
    int result = completion->result;

    list_remove(&flow->node);
    if (ring_is_passing(result) || rest_cancelled(connection, endpoint, result))
        result = 0; // the kernel was short of something for a moment; or the connection was to come to rest
    if (connection->state == CONNECTION_DYING) {
        flow->state = FLOW_STOPPED;
    } else if (result < 0) {
        send_failed(flow);
    } else {
        if (result > 0)
            connection_active(connection);
        buffer_consume(flow->buffer, (size_t)result);
        if (flow->buffer->piece_count > 0)
            transmit(flow);
        else
            sent(flow);
    }
    connection_reap(connection);
}

// ---- rest ----

void flow_halt(struct flow *flow)
{
    list_remove(&flow->node);
    if (flow->state == FLOW_STARVED)
        flow->state = FLOW_WAITING;
    if (flow_has_ended(flow)) // while it waited
        give_buffer(flow);
}

void flow_resume_sending(struct flow *flow)
{
    if (flow->state == FLOW_SENDING && !flow->destination->transmit_op.in_flight)
        transmit(flow);
}

void flow_resume(struct flow *flow)
{
    if (flow->state == FLOW_WAITING && !flow->source->receive_op.in_flight)
        receive(flow);
}
