// SPDX-License-Identifier: Apache-2.0
// The admin socket: clients come, say one line within their time, get one line. Whatever they do, the master waits for none.
#include "admin.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin_socket.h"
#include "master.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"

#define CLIENTS_MAX 16

uint64_t admin_client_patience_ns = 5 * CLOCK_NS_PER_S;
uint64_t admin_workers_patience_ns = 10 * CLOCK_NS_PER_S;

struct admin {
    struct master *master;
    struct admin_socket socket;
    struct loop_watch watch;
    struct loop_timer retry; // when accepting is tried again
    struct list clients;
    unsigned client_count;
    bool is_paused;
};

// ASKING → (WAITING) → ANSWERED
enum admin_state {
    ADMIN_ASKING,   // its request is being read
    ADMIN_WAITING,  // for the workers
    ADMIN_ANSWERED, // the answer is being written
};

struct admin_client {
    struct list node;
    struct admin *admin;
    enum admin_state state;
    int fd;
    struct loop_watch watch;
    struct loop_timer patience;
    char *input;
    size_t input_length;
    char *output;
    size_t output_length;
    size_t output_sent;
    struct messages_waiter waiter;
    json_t *result; // what it waits for
    admin_more *more;
};

static void accept_more(struct admin *admin);

// ---- the end of a client ----

static void client_destroy(struct admin_client *client)
{
    struct admin *admin = client->admin;

    messages_forget(&client->waiter);
    succession_forget(admin->master, client);
    loop_timer_stop(&client->patience);
    loop_unwatch(admin->master->loop, &client->watch);
    close(client->fd);
    list_remove(&client->node);
    admin->client_count--;
    json_decref(client->result);
    free(client->input);
    free(client->output);
    free(client);
    accept_more(admin);
}

static void client_set_patience(struct admin_client *client)
{
    loop_timer_set(client->admin->master->loop, &client->patience, clock_now_ns() + admin_client_patience_ns);
}

// ---- the answer ----

// Writes what the socket takes. The client is gone afterwards, or waits for room.
static void client_write(struct admin_client *client)
{
    while (client->output_sent < client->output_length) {
        ssize_t sent = send(client->fd, client->output + client->output_sent,
                            client->output_length - client->output_sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN) {
            if (loop_events(client->admin->master->loop, &client->watch, EPOLLOUT) == 0)
                return;
            break;
        }
        if (sent <= 0)
            break;
        client->output_sent += (size_t)sent;
        client_set_patience(client);
    }
    client_destroy(client);
}

void admin_answer(struct admin_client *client, json_t *answer)
{
    static const char no_memory[] =
        "{\"ok\": false, \"error\": \"the master has no memory for the answer\"}\n";
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;

    json_decref(answer);
    client->state = ADMIN_ANSWERED;
    client->output_length = text ? strlen(text) : 0;
    // With the newline in place of the terminating zero.
    if (text)
        text[client->output_length++] = '\n';
    client->output = text;
    if (!text && (client->output = strdup(no_memory)))
        client->output_length = sizeof(no_memory) - 1;
    client_set_patience(client);
    client_write(client);
}

void admin_refuse(struct admin_client *client, const char *format, ...)
{
    char text[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    admin_answer(client, json_pack("{s:b, s:o*}", "ok", 0, "error", admin_text(text)));
}

static void workers_have_acted(void *owner, unsigned late, unsigned first_late)
{
    struct admin_client *client = owner;
    struct master *master = client->admin->master;
    json_t *result = client->result;
    char text[160];

    if (late == 0 && client->more && client->more(master, result)) {
        messages_wait(master, &client->waiter, admin_workers_patience_ns, workers_have_acted, client);
        return;
    }
    client->result = NULL;
    if (late > 0) {
        snprintf(text, sizeof(text),
                 late == 1 ? "worker %u has not acted within %g s; the log will say what becomes of it"
                           : "worker %u and others have not acted within %g s; the log will say what becomes "
                             "of them",
                 first_late, (double)admin_workers_patience_ns / (double)CLOCK_NS_PER_S);
        (void)json_object_set_new(result, "ok", json_false());
        (void)json_object_set_new(result, "error", json_string(text));
    }
    admin_answer(client, result);
}

void admin_hold(struct admin_client *client, json_t *result)
{
    client->state = ADMIN_WAITING;
    client->result = result;
    loop_timer_stop(&client->patience);
    (void)loop_events(client->admin->master->loop, &client->watch, 0); // as admin_wait_while()
}

json_t *admin_held(struct admin_client *client)
{
    json_t *result = client->result;

    client->result = NULL;
    return result;
}

void admin_wait(struct master *master, struct admin_client *client, json_t *result)
{
    admin_wait_while(master, client, result, NULL);
}

void admin_wait_while(struct master *master, struct admin_client *client, json_t *result, admin_more *more)
{
    if (!result) {
        admin_answer(client, NULL);
        return;
    }
    client->state = ADMIN_WAITING;
    client->result = result;
    client->more = more;
    loop_timer_stop(&client->patience);
    // Nothing more is read; only that it hangs up is heard.
    (void)loop_events(master->loop, &client->watch, 0);
    messages_wait(master, &client->waiter, admin_workers_patience_ns, workers_have_acted, client);
}

// ---- the request ----

static void client_ask(struct admin_client *client, size_t length)
{
    json_error_t error;
    json_t *request = json_loadb(client->input, length, JSON_REJECT_DUPLICATES, &error);

    if (!request) {
        admin_refuse(client, "the request is not JSON: %s", error.text);
        return;
    }
    if (json_is_object(request))
        admin_command(client->admin->master, client, request);
    else
        admin_refuse(client, "the request is not a JSON object; send {\"command\": \"…\"}");
    json_decref(request);
}

static void client_read(struct admin_client *client)
{
    char *at = client->input + client->input_length;
    char *newline;
    ssize_t length = recv(client->fd, at, ADMIN_REQUEST_MAX - client->input_length, MSG_DONTWAIT);

    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length < 0 || (length == 0 && client->input_length == 0)) {
        client_destroy(client);
        return;
    }
    client->input_length += (size_t)length;
    newline = memchr(at, '\n', (size_t)length);
    if (newline)
        client_ask(client, (size_t)(newline - client->input));
    else if (length == 0) // its end of file ends the line too
        client_ask(client, client->input_length);
    else if (client->input_length == ADMIN_REQUEST_MAX)
        admin_refuse(client, "the request is longer than %d bytes", ADMIN_REQUEST_MAX);
}

static void on_client(void *owner, unsigned events)
{
    struct admin_client *client = owner;

    if (client->state == ADMIN_ASKING && (events & EPOLLIN) != 0)
        client_read(client);
    else if (client->state == ADMIN_ANSWERED && (events & (EPOLLHUP | EPOLLERR)) == 0)
        client_write(client);
    else
        client_destroy(client); // it hung up
}

static void patience_is_over(void *owner)
{
    struct admin_client *client = owner;

    if (client->state == ADMIN_ASKING)
        admin_refuse(client, "no whole request within %g s; end it with a newline",
                     (double)admin_client_patience_ns / (double)CLOCK_NS_PER_S);
    else
        client_destroy(client);
}

// ---- clients come ----

static void client_create(struct admin *admin, int fd)
{
    struct admin_client *client = calloc(1, sizeof(*client));
    struct loop *loop = admin->master->loop;

    if (client)
        client->input = malloc(ADMIN_REQUEST_MAX);
    if (!client || !client->input || loop_watch(loop, &client->watch, fd, EPOLLIN, on_client, client) < 0) {
        log_error("no memory for a client of the admin socket");
        if (client)
            free(client->input);
        free(client);
        close(fd);
        return;
    }
    client->admin = admin;
    client->fd = fd;
    list_push_back(&admin->clients, &client->node);
    admin->client_count++;
    loop_timer_init(&client->patience, patience_is_over, client);
    client_set_patience(client);
    if (!admin_socket_may(fd))
        admin_refuse(client, "only root and the user who started ringbolt may use this socket");
}

static void on_connect(void *owner, unsigned events)
{
    struct admin *admin = owner;
    int fd = accept4(admin->socket.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)events;
    if (fd >= 0) {
        client_create(admin, fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        // Whoever waits makes the socket readable all the time; looking again later is enough.
        loop_unwatch(admin->master->loop, &admin->watch);
        loop_timer_set(admin->master->loop, &admin->retry, clock_now_ns() + CLOCK_NS_PER_S);
        return;
    }
    if (admin->client_count >= CLIENTS_MAX)
        loop_unwatch(admin->master->loop, &admin->watch); // the others wait in the kernel's queue
}

static void accept_more(struct admin *admin)
{
    int error = 0;

    if (!admin->is_paused && admin->watch.fd < 0 && admin->socket.fd >= 0 && admin->client_count < CLIENTS_MAX)
        error = loop_watch(admin->master->loop, &admin->watch, admin->socket.fd, EPOLLIN, on_connect, admin);
    if (error < 0)
        loop_timer_set(admin->master->loop, &admin->retry, clock_now_ns() + CLOCK_NS_PER_S);
}

static void on_retry(void *owner)
{
    accept_more(owner);
}

// ---- life ----

int admin_open(struct master *master)
{
    const char *path = master->config->admin.socket;
    struct admin *admin;
    int error;

    if (!path)
        return 0;
    admin = calloc(1, sizeof(*admin));
    if (!admin) {
        log_error("no memory for the admin socket");
        return -ENOMEM;
    }
    error = admin_socket_inherit(&admin->socket, path, master->control->inherited);
    if (error > 0)
        error = admin_socket_open(&admin->socket, path, master->config->admin.is_default);
    if (error < 0) {
        free(admin);
        return master->config->admin.is_default ? 0 : error; // said there
    }
    admin->master = master;
    admin->watch.fd = -1;
    list_init(&admin->clients);
    loop_timer_init(&admin->retry, on_retry, admin);
    admin->is_paused = !succession_leads(master);
    accept_more(admin);
    master->admin = admin;
    return 0;
}

void admin_pause(struct admin *admin, bool is_paused)
{
    if (!admin)
        return;
    admin->is_paused = is_paused;
    if (is_paused)
        loop_unwatch(admin->master->loop, &admin->watch);
    else
        accept_more(admin);
}

int admin_leave(const struct admin *admin, struct estate *ret)
{
    return admin ? admin_socket_leave(&admin->socket, ret) : 0;
}

void admin_own(struct admin *admin, const struct estate *inherited)
{
    admin_socket_own(admin ? &admin->socket : NULL, inherited);
}

void admin_disown(struct admin *admin)
{
    if (admin)
        admin->socket.file.is_ours = false;
}

void admin_close(struct admin *admin)
{
    if (!admin)
        return;
    loop_timer_stop(&admin->retry);
    loop_unwatch(admin->master->loop, &admin->watch);
    admin_socket_close(&admin->socket); // accept_more() has nothing to watch from here on
    while (!list_empty(&admin->clients))
        client_destroy(list_entry(admin->clients.next, struct admin_client, node));
    free(admin);
}
