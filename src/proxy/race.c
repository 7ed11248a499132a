// SPDX-License-Identifier: Apache-2.0
// A second attempt beside the one at hand. It has a socket, an operation and a place of its own; the connection does not go before it does.
//
// Who is overtaken is no failure: it may merely be slower. But it would hold up each connection that is sent there, so the worker prefers
// others for a while (upstream_overtaken()).
#include <errno.h>
#include <stdlib.h>

#include "dial.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/socket.h"

#define CANCEL_AGAIN_NS (100 * CLOCK_NS_PER_MS)

struct rival {
    struct connection *connection;
    struct ring_op op;
    int fd;
    uint32_t server;
    const struct config_server *held;
    uint64_t ends_ns;       // its limit
    uint64_t first_ends_ns; // that of the attempt at hand
    bool has_won;           // it stands; the one at hand is being cancelled
    bool is_over;           // it is being cancelled itself; the connection may shake hands, or dial again, before that is done
};

static uint64_t connect_ns(const struct connection *connection)
{
    return connection->proxy->setup.config->timeouts.connect_ns;
}

static bool is_first_trying(const struct connection *connection)
{
    return connection->server.receive_op.in_flight;
}

uint64_t race_delay_ns(const struct connection *connection)
{
    uint64_t delay_ns =
        connection->proxy->setup.config->upstreams[connection->upstream].resolve.attempt_delay_ns;

    if (delay_ns == 0 || delay_ns >= connect_ns(connection) || connection->rival ||
        !upstream_has_other_family(connection->proxy->upstreams, connection->upstream, connection->dialling))
        return UINT64_MAX;
    return delay_ns;
}

// ---- the end of it ----

static void forget(struct connection *connection)
{
    struct rival *rival = connection->rival;

    connection->rival = NULL;
    upstream_drop(rival->held);
    free(rival);
}

static void give_up(struct connection *connection)
{
    struct rival *rival = connection->rival;

    socket_close(rival->fd, true);
    dial_give(connection, rival->server);
    forget(connection);
}

// It becomes the server at hand, whose socket and place are gone.
static void take_over(struct connection *connection)
{
    struct rival *rival = connection->rival;

    connection->server.fd = rival->fd;
    connection->has_place = true;
    connection->server_index = rival->server;
    upstream_drop(connection->dialling);
    connection->dialling = rival->held;
    rival->held = NULL;
    forget(connection);
    dial_stands(connection);
}

void race_stop(struct connection *connection)
{
    struct rival *rival = connection->rival;

    if (rival && rival->op.in_flight) {
        rival->is_over = true;
        ring_cancel(connection->proxy->ring, &rival->op);
    } else if (rival) {
        give_up(connection);
    }
}

bool race_is_on(const struct connection *connection)
{
    return connection->rival && !connection->rival->is_over;
}

// ---- what becomes of it ----

// The timer for whatever is still being tried; what is late is cancelled.
static void watch_limits(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;
    struct rival *rival = connection->rival;
    uint64_t next_ns = UINT64_MAX;
    const struct {
        struct ring_op *op;
        uint64_t ends_ns;
    } attempts[] = {{&connection->server.receive_op, rival->has_won ? 0 : rival->first_ends_ns},
                    {&rival->op, rival->ends_ns}};

    for (size_t i = 0; i < 2; i++) {
        uint64_t at_ns = attempts[i].ends_ns;

        if (!attempts[i].op->in_flight)
            continue;
        if (at_ns <= proxy->now_ns) {
            ring_cancel(proxy->ring, attempts[i].op);
            at_ns = proxy->now_ns + CANCEL_AGAIN_NS; // unless the cancellation was lost
        }
        next_ns = at_ns < next_ns ? at_ns : next_ns;
    }
    timer_set(&proxy->wheel, &connection->timer, next_ns);
}

static void rival_refused(struct connection *connection, int error)
{
    struct rival *rival = connection->rival;
    uint64_t first_ends_ns = rival->first_ends_ns;
    size_t server = rival->server;

    dial_refused(connection, rival->held, server, error);
    give_up(connection);
    if (!dial_cross_out(connection, server))
        return;
    if (is_first_trying(connection))
        timer_set(&connection->proxy->wheel, &connection->timer,
                  first_ends_ns > connection->proxy->now_ns ? first_ends_ns : connection->proxy->now_ns);
    else
        dial_next(connection);
}

static void rival_stands(struct connection *connection)
{
    struct rival *rival = connection->rival;

    dial_accepted(connection, rival->held, rival->server);
    if (!is_first_trying(connection)) {
        take_over(connection);
        return;
    }
    log_debug("server overtaken", log_integer("id", connection->id),
              log_text("server", connection->dialling->address.text),
              log_text("by", rival->held->address.text));
    rival->has_won = true;
    upstream_overtaken(connection->proxy->upstreams, connection->upstream, connection->server_index,
                       connection->dialling, connection->proxy->now_ns);
    watch_limits(connection); // its completion brings us on
}

static void on_connected(struct ring_op *op, const struct ring_completion *completion)
{
    struct rival *rival = list_entry(op, struct rival, op);
    struct connection *connection = rival->connection;

    if (connection->state != CONNECTION_DIAL || rival->is_over) {
        give_up(connection); // too late, and that says nothing of it
        connection_drain(connection);
    } else if (completion->result < 0) {
        rival_refused(connection, completion->result == -ECANCELED ? -ETIMEDOUT : completion->result);
    } else {
        rival_stands(connection);
    }
    connection_reap(connection);
}

// ---- the race ----

// False: there is nobody, or it can't be tried.
static bool start(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;
    bool is_v6 = connection->dialling->address.socket.ss_family == AF_INET6;
    struct upstream_wish wish = {.upstream = connection->upstream,
                                 .client = connection->peer,
                                 .tried = connection->tried,
                                 .name = connection->dialling->name,
                                 .family = is_v6 ? AF_INET : AF_INET6,
                                 .now_ns = proxy->now_ns};
    struct rival *rival = calloc(1, sizeof(*rival));
    size_t server;

    if (!rival)
        return false;
    if (upstream_choose(proxy->upstreams, &wish, &server) != UPSTREAM_CHOSEN) {
        free(rival);
        return false;
    }
    rival->connection = connection;
    rival->server = (uint32_t)server;
    rival->held = upstream_hold(proxy->upstreams, connection->upstream, server);
    rival->fd = dial_open(connection, rival->held);
    connection->rival = rival;
    if (rival->fd < 0) {
        give_up(connection);
        return false;
    }
    rival->ends_ns = proxy->now_ns + connect_ns(connection);
    ring_op_init(&rival->op, on_connected);
    ring_connect(proxy->ring, &rival->op, rival->fd, (const struct sockaddr *)&rival->held->address.socket,
                 rival->held->address.length);
    return true;
}

void race_begin(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;
    uint64_t delay_ns = proxy->setup.config->upstreams[connection->upstream].resolve.attempt_delay_ns;
    uint64_t first_ends_ns = proxy->now_ns + connect_ns(connection) - delay_ns;

    connection->may_race = false;
    if (start(connection)) {
        connection->rival->first_ends_ns = first_ends_ns;
        watch_limits(connection);
    } else {
        timer_set(&proxy->wheel, &connection->timer, first_ends_ns);
    }
}

void race_timed_out(struct connection *connection)
{
    watch_limits(connection);
}

bool race_goes_on(struct connection *connection)
{
    if (!race_is_on(connection))
        return false;
    watch_limits(connection);
    return true;
}

bool race_is_lost(struct connection *connection)
{
    if (!race_is_on(connection) || !connection->rival->has_won)
        return false;
    socket_close(connection->server.fd, true);
    connection->server.fd = -1;
    dial_release(connection);
    take_over(connection);
    return true;
}
