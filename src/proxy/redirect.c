// SPDX-License-Identifier: Apache-2.0
// ANSWER: the life of a connection that is redirected. One operation at a time: a request's head is read, its answer sent, and then
// the next one's, which may have come already. What came lies on the heap, in as many bytes as it has, and an answer too: of a client
// that says nothing there is neither, nor any buffer of the pool.
//
// A body is not read: no request that has one is meant for here, and to skip it would be to read as much as anybody likes. The
// connection closes behind the answer, as DRAIN does: nothing that still comes can overtake it.
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "answer.h"
#include "connection.h"
#include "request.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "token.h"

#define REQUESTS_MAX 100 // of a connection; a client that has more opens another one
#define QUIET_NS     (10 * CLOCK_NS_PER_S)

// From the first byte of a request to its answer's last.
struct redirect {
    struct request request;
    char *input; // what was received and not answered yet
    size_t length;
    char *answer; // NULL: none is being sent
    size_t answer_length;
    size_t answer_sent;
    bool closes; // behind this answer
    const char *fault;
};

static void on_received(struct ring_op *op, const struct ring_completion *completion);
static void on_sent(struct ring_op *op, const struct ring_completion *completion);

void redirect_finish(struct connection *connection)
{
    struct redirect *redirect = connection->redirect;

    if (!redirect)
        return;
    free(redirect->input);
    free(redirect->answer);
    free(redirect);
    connection->redirect = NULL;
}

static void set_timer(struct connection *connection, uint64_t ns)
{
    timer_set(&connection->proxy->wheel, &connection->timer, connection->proxy->now_ns + ns);
}

static void receive(struct connection *connection)
{
    connection->client.receive_op.handler = on_received;
    ring_receive_idle(connection->proxy->ring, &connection->client.receive_op, connection->client.fd);
}

void redirect_retry(struct connection *connection)
{
    connection->up.state = FLOW_STOPPED;
    receive(connection);
}

// ---- answers ----

// Whoever administers the folder hears of it, and no client fills the log by asking.
static void say_unreadable(struct connection *connection, int error)
{
    struct listener *listener = connection_listener(connection);
    uint64_t now_ns = connection->proxy->now_ns;

    if (now_ns < listener->acme_quiet_until_ns)
        return;
    listener->acme_quiet_until_ns = now_ns + QUIET_NS;
    log_warning("cannot read an ACME token", log_text("listener", listener->config->name),
                log_text("folder", listener->config->redirect.acme), log_errno(error),
                log_text("cure", "workers must be able to read it: let `user`, or everybody, do so"));
}

static void transmit(struct connection *connection)
{
    struct redirect *redirect = connection->redirect;

    connection->client.transmit_op.handler = on_sent;
    ring_send(connection->proxy->ring, &connection->client.transmit_op, connection->client.fd,
              redirect->answer + redirect->answer_sent, redirect->answer_length - redirect->answer_sent, 0);
}

static void answer(struct connection *connection, enum request_status status)
{
    const struct config_redirect *config = &connection->listener->redirect;
    struct redirect *redirect = connection->redirect;
    char content[ANSWER_CONTENT_MAX];
    char text[ANSWER_MAX];
    struct answer choice;
    int length = -ENOENT;

    answer_choose(config, status, &redirect->request, redirect->input, &choice);
    connection->requests++;
    choice.closes |= connection->requests >= REQUESTS_MAX || connection->proxy->is_draining;
    if (choice.kind == ANSWER_TOKEN)
        length = token_read(connection_listener(connection)->acme, choice.token, content, sizeof(content));
    if (length < 0 && length != -ENOENT)
        say_unreadable(connection, length);
    redirect->answer_length = answer_build(&choice, config, length < 0 ? NULL : content,
                                           length < 0 ? 0 : (size_t)length, time(NULL), text);
    redirect->answer = malloc(redirect->answer_length);
    if (!redirect->answer) {
        connection_end(connection, END_MEMORY, ALERT_NONE, "no memory for an answer");
        return;
    }
    memcpy(redirect->answer, text, redirect->answer_length);
    redirect->answer_sent = 0;
    redirect->closes = choice.closes;
    redirect->fault = choice.detail;
    transmit(connection);
}

// ---- requests ----

static void serve(struct connection *connection)
{
    struct redirect *redirect = connection->redirect;
    enum request_status status = request_read(&redirect->request, redirect->input, redirect->length);

    if (status == REQUEST_MORE)
        receive(connection);
    else
        answer(connection, status);
}

// Nothing of a request is there: waits for the next one.
static void wait(struct connection *connection)
{
    redirect_finish(connection);
    if (connection->proxy->is_draining && connection->requests > 0) {
        connection_end(connection, END_DONE, ALERT_NONE, NULL);
        return;
    }
    set_timer(connection, connection->proxy->setup.config->timeouts.idle_ns);
    receive(connection);
}

// The answer has left, and what was asked goes.
static void next(struct connection *connection)
{
    struct redirect *redirect = connection->redirect;

    if (redirect->closes) {
        connection_end(connection, redirect->fault ? END_BAD_REQUEST : END_DONE, ALERT_NONE, redirect->fault);
        return;
    }
    free(redirect->answer);
    redirect->answer = NULL;
    redirect->length -= redirect->request.size;
    if (redirect->length == 0) {
        wait(connection);
        return;
    }
    memmove(redirect->input, redirect->input + redirect->request.size, redirect->length);
    request_init(&redirect->request);
    set_timer(connection, connection->proxy->setup.config->timeouts.handshake_ns);
    serve(connection);
}

// Adds what was received. 0 or -ENOMEM.
static int keep(struct connection *connection, const struct iovec *piece)
{
    struct redirect *redirect = connection->redirect;
    char *input;

    if (!redirect) {
        redirect = connection->redirect = calloc(1, sizeof(*redirect));
        if (!redirect)
            return -ENOMEM;
        request_init(&redirect->request);
        if (connection->requests > 0) // the first one's time counts from ACCEPT
            set_timer(connection, connection->proxy->setup.config->timeouts.handshake_ns);
    }
    // What is kept is less than a head: else it would have been answered.
    assert(redirect->length < REQUEST_HEAD_MAX);
    input = realloc(redirect->input, redirect->length + piece->iov_len);
    if (!input)
        return -ENOMEM;
    memcpy(input + redirect->length, piece->iov_base, piece->iov_len);
    redirect->input = input;
    redirect->length += piece->iov_len;
    return 0;
}

// `buffer` is ours.
static void take(struct connection *connection, struct buffer *buffer)
{
    int error = keep(connection, &buffer->pieces[0]);

    connection->up.bytes += buffer->pieces[0].iov_len;
    connection_count_bytes(connection, true, buffer->pieces[0].iov_len);
    buffer_give(connection->proxy->pool, buffer);
    if (error < 0)
        connection_end(connection, END_MEMORY, ALERT_NONE, "no memory for a request");
    else
        serve(connection);
}

void redirect_start(struct connection *connection, struct buffer *first)
{
    connection_enter(connection, CONNECTION_ANSWER);
    if (first)
        take(connection, first);
    else
        receive(connection);
}

void redirect_drain(struct connection *connection)
{
    // A client without a request so far was promised an answer when it was accepted.
    if (connection->state == CONNECTION_ANSWER && !connection->redirect && connection->requests > 0)
        connection_end(connection, END_DONE, ALERT_NONE, NULL);
}

void redirect_timed_out(struct connection *connection)
{
    const struct redirect *redirect = connection->redirect;

    if (!redirect && connection->requests > 0)
        connection_end(connection, END_IDLE_TIMEOUT, ALERT_NONE, NULL);
    else
        connection_end(connection, END_HANDSHAKE_TIMEOUT, ALERT_NONE,
                       redirect && redirect->answer ? "the answer was not taken" : "no whole request came");
}

// ---- completions ----

static struct connection *connection_of(struct endpoint *endpoint)
{
    return list_entry(endpoint, struct connection, client);
}

static void left(struct connection *connection, int result)
{
    if (result < 0)
        connection_end(connection, END_CLIENT_RESET, ALERT_NONE, NULL);
    else if (connection->redirect)
        connection_end(connection, END_CLIENT_TRUNCATED, ALERT_NONE, "the client left within a request");
    else
        connection_end(connection, END_DONE, ALERT_NONE, NULL);
}

static void on_received(struct ring_op *op, const struct ring_completion *completion)
{
    struct connection *connection = connection_of(list_entry(op, struct endpoint, receive_op));
    struct proxy *proxy = connection->proxy;

    if (connection->state != CONNECTION_ANSWER) {
        buffer_give(proxy->pool, completion->buffer);
        connection_drain(connection);
    } else if (completion->result > 0) {
        take(connection, completion->buffer);
    } else if (completion->result == -ENOBUFS) {
        connection->up.state = FLOW_STARVED;
        proxy_starve(proxy, &connection->up);
    } else if (ring_is_passing(completion->result)) {
        receive(connection);
    } else {
        left(connection, completion->result);
    }
    connection_reap(connection);
}

static void on_sent(struct ring_op *op, const struct ring_completion *completion)
{
    struct connection *connection = connection_of(list_entry(op, struct endpoint, transmit_op));
    struct redirect *redirect = connection->redirect;
    int result = ring_is_passing(completion->result) ? 0 : completion->result;

    if (result > 0) {
        redirect->answer_sent += (size_t)result;
        connection->down.bytes += (uint64_t)result;
        connection_count_bytes(connection, false, (uint64_t)result);
    }
    if (connection->state != CONNECTION_ANSWER)
        connection_drain(connection);
    else if (result < 0)
        connection_end(connection, END_CLIENT_RESET, ALERT_NONE, NULL);
    else if (redirect->answer_sent < redirect->answer_length)
        transmit(connection);
    else
        next(connection);
    connection_reap(connection);
}
