// SPDX-License-Identifier: Apache-2.0
// A played client's life.
#include "client.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ringbolt/clock.h"
#include "ringbolt/socket.h"
#include "runner.h"
#include "work.h"

static void on_connected(struct ring_op *op, const struct ring_completion *completion);

void client_init(struct client *client, struct runner *runner)
{
    memset(client, 0, sizeof(*client));
    client->runner = runner;
    client->fd = -1;
    ring_op_init(&client->receive_op, NULL);
    ring_op_init(&client->send_op, NULL);
    timer_init(&client->timer);
    list_init(&client->node);
}

void client_finish(struct client *client)
{
    assert(client->state == CLIENT_CLOSED);
    http_finish(&client->http);
    EVP_MD_CTX_free(client->digest);
    client->digest = NULL;
}

void client_progress(struct client *client)
{
    client->progress_ns = client->runner->now_ns;
}

static const struct options *options_of(const struct client *client)
{
    return client->runner->run->options;
}

// ---- opening ----

// What belongs to one connection, as it is before each.
static void reset(struct client *client)
{
    client->in_size = 0;
    client->is_greedy = client->runner->work->is_bulk;
    client->is_peer_done = client->is_peer_gone = false;
    client->handshake_header_size = 0;
    client->handshake_skip = 0;
    client->text_left = 0;
    client->pattern_left = 0;
    client->is_key_update_due = client->is_goodbye_due = client->is_goodbye_made = client->is_leaving = false;
    client->is_failing = client->is_send_broken = false;
    client->is_primer = client->has_ticket = false;
    client->stream_at = 0;
    client->failure = FAILURE_NONE;
    client->opened_ns = 0;
}

void client_open(struct client *client)
{
    const struct options *options = options_of(client);
    struct runner *runner = client->runner;
    int fd;

    assert(client->state == CLIENT_CLOSED && client->fd < 0);
    reset(client);
    client->state = CLIENT_CONNECT;
    client->connect_ns = runner->now_ns;
    client_progress(client);
    runner->opening++;
    fd = socket_open(options->address.ss_family);
    if (fd < 0) {
        client_end(client, FAILURE_CONNECT, strerror(-fd));
        client_reap(client);
        return;
    }
    client->fd = fd;
    if (options->address.ss_family != AF_UNIX)
        socket_prepare(fd);
    client->send_op.handler = on_connected;
    timer_set(&runner->wheel, &client->timer, runner->now_ns + options->timeout_ns);
    ring_connect(runner->ring, &client->send_op, fd, (const struct sockaddr *)&options->address,
                 options->address_size);
}

static void connect_failed(struct client *client, int error)
{
    if (error == -ECONNREFUSED)
        client_end(client, FAILURE_CONNECT_REFUSED, NULL);
    else if (error == -ETIMEDOUT)
        client_end(client, FAILURE_CONNECT_TIMEOUT, NULL);
    else if (error == -EADDRNOTAVAIL)
        client_end(client, FAILURE_CONNECT,
                   "no local port is free; widen net.ipv4.ip_local_port_range, or make fewer connections");
    else
        client_end(client, FAILURE_CONNECT, strerror(-error));
}

static void on_connected(struct ring_op *op, const struct ring_completion *completion)
{
    struct client *client = list_entry(op, struct client, send_op);
    size_t eaten;

    if (client->state != CLIENT_DYING && completion->result < 0) {
        connect_failed(client, completion->result);
    } else if (client->state != CLIENT_DYING) {
        client_progress(client);
        client->state = CLIENT_HANDSHAKE;
        client->tls = tls_client_create(client->runner->tls, client);
        if (client->tls == NULL || tls_client_step(client->tls, NULL, 0, &eaten) != TLS_WANTS_INPUT) {
            client_end(client, FAILURE_INTERNAL, "the handshake could not begin");
        } else {
            client_pump(client);
            client_receive(client);
        }
    }
    client_reap(client);
}

// ---- closing ----

void client_close(struct client *client)
{
    if (client->state != CLIENT_OPEN)
        return;
    client->state = CLIENT_CLOSING;
    list_remove(&client->node); // no work for it any more
    client->runner->open--;
    client->is_goodbye_due = !client->is_leaving; // and nothing is read any more
    client->pattern_left = 0;                     // what is left of a stream without end
    client_progress(client);
    timer_set(&client->runner->wheel, &client->timer,
              client->runner->now_ns + options_of(client)->timeout_ns);
    client_pump(client);
    client_end_if_over(client);
}

void client_leave(struct client *client)
{
    client->is_leaving = true;
    client_close(client);
}

static bool has_sent_all(const struct client *client)
{
    return client->sending == NULL && client->filling == NULL;
}

void client_end_if_over(struct client *client)
{
    bool is_said = (client->is_goodbye_made || client->is_leaving) && has_sent_all(client);
    bool is_heard = client->is_peer_gone || client->is_leaving;

    if (client->state == CLIENT_CLOSING && is_heard && (is_said || client->is_send_broken))
        client_end(client, FAILURE_NONE, NULL);
}

void client_end(struct client *client, enum failure failure, const char *detail)
{
    struct runner *runner = client->runner;

    if (client->state == CLIENT_DYING || client->state == CLIENT_CLOSED)
        return;
    if (failure != FAILURE_NONE)
        runner_fail(runner, failure, detail);
    if (!client->is_failing)
        client->failure = failure;
    if (client->state == CLIENT_CONNECT || client->state == CLIENT_HANDSHAKE)
        runner->opening--;
    else if (client->state == CLIENT_OPEN)
        runner->open--;
    client->state = CLIENT_DYING;
    list_remove(&client->node);
    timer_cancel(&runner->wheel, &client->timer);
    ring_cancel(runner->ring, &client->receive_op);
    ring_cancel(runner->ring, &client->send_op);
}

void client_reap(struct client *client)
{
    struct runner *runner = client->runner;
    bool is_orderly =
        client->is_leaving ? has_sent_all(client) : client->is_peer_gone && client->is_goodbye_made;

    if (client->state != CLIENT_DYING || client->receive_op.in_flight || client->send_op.in_flight)
        return;
    buffer_give(runner->pool, client->in);
    buffer_give(runner->pool, client->filling);
    buffer_give(runner->pool, client->sending);
    client->in = client->filling = client->sending = NULL;
    client->filling_plain = client->sending_plain = 0;
    if (!options_of(client)->is_openssl && client->opened_ns != 0) {
        record_user_finish(&client->receive);
        record_user_finish(&client->transmit);
    }
    socket_close(client->fd, !is_orderly);
    client->fd = -1;
    client->state = CLIENT_CLOSED;
    if (client->failure == FAILURE_NONE && is_orderly && runner->work->closed != NULL)
        runner->work->closed(client);
    tls_client_destroy(client->tls);
    client->tls = NULL;
    runner_client_closed(client, client->failure != FAILURE_NONE);
}

void client_timed_out(struct client *client)
{
    struct runner *runner = client->runner;
    uint64_t timeout_ns = options_of(client)->timeout_ns;
    // Connecting and shaking hands must be over in time as a whole; afterwards it is enough that something moves.
    uint64_t since_ns = client->opened_ns != 0 ? client->progress_ns : client->connect_ns;

    if (client->state == CLIENT_OPEN && !client->is_unit)
        return; // it has nothing to do: that may last
    if (runner->now_ns - since_ns < timeout_ns) {
        timer_set(&runner->wheel, &client->timer, since_ns + timeout_ns);
        return;
    }
    client_end(client,
               client->is_failing                  ? FAILURE_NONE
               : client->state == CLIENT_CONNECT   ? FAILURE_CONNECT_TIMEOUT
               : client->state == CLIENT_HANDSHAKE ? FAILURE_HANDSHAKE_TIMEOUT
                                                   : FAILURE_TIMEOUT,
               client->state == CLIENT_CLOSING && !client->is_leaving
                   ? "the server did not close after our close_notify"
                   : NULL);
    client_reap(client);
}

void client_lost(struct client *client, int error)
{
    bool is_reset = error == -ECONNRESET || error == -EPIPE;

    if (client->state == CLIENT_CLOSING && client->is_peer_done) { // all was said
        client->is_peer_gone = client->is_send_broken = true;
        client_end_if_over(client);
    } else if (client->state == CLIENT_HANDSHAKE) {
        client_end(client, FAILURE_HANDSHAKE_RESET, is_reset ? NULL : strerror(-error));
    } else if (error == -ETIMEDOUT) {
        client_end(client, FAILURE_TIMEOUT, "TCP gave up");
    } else {
        client_end(client, FAILURE_RESET, is_reset ? NULL : strerror(-error));
    }
}
