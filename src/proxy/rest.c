// SPDX-License-Identifier: Apache-2.0
// How a connection in RELAY comes to rest, so that it can be moved to another worker (carry.h), and goes on.
//
// From the word on nothing begins: where an operation would be started, the state stays as if it had been (a flow WAITING or SENDING, a control
// record with its rest), and what is in flight is cancelled. What still completes is worked on as ever up to the next operation, so
// nothing has to be undone, and a record whose number is used stays sealed.
#include "connection.h"
#include "hsts.h"
#include "ringbolt/clock.h"
#include "ringbolt/socket.h"

#define CANCEL_AGAIN_NS (100 * CLOCK_NS_PER_MS) // a cancellation can be lost: see cancel_all() in ending.c

static bool can_flow_travel(const struct flow *flow)
{
    return flow->state != FLOW_STOPPED && flow->after.kind == ENDPOINT_GOES_ON;
}

static bool can_travel(const struct connection *connection)
{
    return connection->state == CONNECTION_RELAY && connection->end == END_NONE &&
           can_flow_travel(&connection->up) && can_flow_travel(&connection->down) &&
           !hsts_has_begun(connection);
}

bool connection_can_move(const struct connection *connection)
{
    return connection->halt == HALT_NONE && can_travel(connection);
}

// ---- to rest ----

static void cancel(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;

    ring_cancel(proxy->ring, &connection->client.receive_op);
    ring_cancel(proxy->ring, &connection->client.transmit_op);
    ring_cancel(proxy->ring, &connection->server.receive_op);
    ring_cancel(proxy->ring, &connection->server.transmit_op);
    dial_stop(connection); // what dialling has left behind may still be on its way
    waiting_stop(connection);
    timer_set(&proxy->wheel, &connection->timer, proxy->now_ns + CANCEL_AGAIN_NS);
}

void connection_rest(struct connection *connection, connection_rested *rested, void *context)
{
    connection->is_deposit_due = connection->is_asleep; // if it stays after all
    deposit_wake(connection);
    connection->halt = HALT_WANTED;
    connection->rested = rested;
    connection->rested_context = context;
    cancel(connection);
    rest_check(connection);
}

void rest_timer(struct connection *connection)
{
    if (connection->halt == HALT_WANTED)
        cancel(connection);
}

void rest_check(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;

    if (!connection_is_quiet(connection))
        return;
    connection->halt = HALT_REACHED;
    timer_cancel(&proxy->wheel, &connection->timer);
    flow_halt(&connection->up);
    flow_halt(&connection->down);
    list_push_back(&proxy->rested, &connection->wait_node);
}

static connection_rested *awake(struct connection *connection)
{
    connection_rested *rested = connection->rested;

    connection->halt = HALT_NONE;
    connection->rested = NULL;
    list_remove(&connection->wait_node);
    return rested;
}

void rest_tell(struct proxy *proxy)
{
    struct list *node;

    while ((node = list_pop_front(&proxy->rested))) {
        struct connection *connection = list_entry(node, struct connection, wait_node);
        connection_rested *rested = connection->rested;
        bool can = can_travel(connection);

        connection->rested = NULL;
        rested(connection, connection->rested_context, can);
        if (!can)
            connection_resume(connection);
    }
}

// ---- on again ----

bool rest_cancelled(const struct connection *connection, const struct endpoint *endpoint, int result)
{
    // In DRAIN nobody cancels what is sent to the client.
    return result == -ECANCELED && (connection->state == CONNECTION_RELAY ||
                                    (connection->state == CONNECTION_DRAIN && endpoint->is_client));
}

static void resume_sending(struct connection *connection, struct endpoint *endpoint)
{
    if (endpoint->transmit_op.in_flight)
        return;
    if (endpoint->sending != ENDPOINT_SENDS_NOTHING)
        connection_control_go_on(connection, endpoint);
    else if (endpoint->is_client || !header_out_send(connection))
        flow_resume_sending(connection_flow_into(connection, endpoint));
}

void rest_leave(struct connection *connection)
{
    connection_rested *rested = awake(connection);

    resume_sending(connection, &connection->client);
    resume_sending(connection, &connection->server);
    if (rested)
        rested(connection, connection->rested_context, false);
}

void connection_resume(struct connection *connection)
{
    (void)awake(connection);
    connection_set_timer(connection);
    proxy_keep_retired(connection);
    resume_sending(connection, &connection->client);
    resume_sending(connection, &connection->server);
    // Each may end it. In other states they do nothing that does harm.
    if (connection->state == CONNECTION_RELAY)
        connection_transmit(connection, &connection->client);
    if (connection->state == CONNECTION_RELAY)
        connection_transmit(connection, &connection->server);
    if (connection->state == CONNECTION_RELAY)
        flow_resume(&connection->up);
    if (connection->state == CONNECTION_RELAY)
        flow_resume(&connection->down);
    if (connection->proxy->is_stopping)
        connection_stop(connection);
    connection_reap(connection);
}

// ---- away ----

void connection_release(struct connection *connection)
{
    list_remove(&connection->wait_node);
    deposit_end(connection);
    connection_leave_admission(connection);
    connection_count_released(connection);
    // Another process has them too: it is no more than that our numbers for them are free.
    socket_close(connection->server.fd, false);
    socket_close(connection->client.fd, false);
    connection_free(connection);
}
