// SPDX-License-Identifier: Apache-2.0
// One question to one OCSP responder: the parent's side. The parent trusts the child with nothing: it keeps its own time, counts the bytes,
// and checks what they say.
#include "responder_fetch.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "spawn.h"

#define GRACE_NS                                                                                             \
    (2 *                                                                                                     \
     CLOCK_NS_PER_S) // beyond the child's own timeout, if it has one: it has to start, and its reason is the better one
#define CAPACITY     (sizeof(struct fetch_answer_header) + FETCH_ANSWER_SIZE_MAX)

// ---- in the child, until it is another program ----

static _Noreturn void complain(const char *what, int error)
{
    struct fetch_answer_header header = {.magic = FETCH_MAGIC, .result = FETCH_FAILED};
    char why[FETCH_WHY_SIZE];
    char message[sizeof(header) + sizeof(why)];

    snprintf(why, sizeof(why), "the process that asks can't be started: %s: %s", what, log_error_text(error));
    header.size = (uint32_t)strlen(why);
    memcpy(message, &header, sizeof(header));
    memcpy(message + sizeof(header), why, header.size);
    (void)send(STDOUT_FILENO, message, sizeof(header) + header.size, MSG_NOSIGNAL);
    _exit(0);
}

static _Noreturn void become_child(int socket, const char *command, const struct account *account,
                                   pid_t parent)
{
    const char *what;
    int error = spawn_become(command, account, parent, socket, socket, &what);

    complain(what, error);
}

// ---- hearing ----

static void end_child(struct fetch *fetch)
{
    (void)kill(fetch->pid, SIGKILL);
}

static void close_socket(struct fetch *fetch)
{
    int socket = fetch->watch.fd;

    loop_unwatch(fetch->loop, &fetch->watch);
    if (socket >= 0)
        close(socket);
}

// Takes what is there. False when nothing more will come.
static bool hear(struct fetch *fetch)
{
    uint8_t beyond;

    for (;;) {
        size_t room = CAPACITY - fetch->used;
        ssize_t length = recv(fetch->watch.fd, room > 0 ? fetch->bytes + fetch->used : &beyond,
                              room > 0 ? room : sizeof(beyond), MSG_DONTWAIT);

        if (length < 0 && errno == EINTR)
            continue;
        if (length < 0 && errno == EAGAIN)
            return true;
        if (length <= 0)
            return false;
        if (room == 0) {
            fetch->is_long = true;
            return false;
        }
        fetch->used += (size_t)length;
    }
}

static void on_socket(void *owner, unsigned events)
{
    struct fetch *fetch = owner;

    (void)events;
    if (hear(fetch))
        return;
    close_socket(fetch); // its death will come as a signal
    if (fetch->is_long)
        end_child(fetch);
}

static void on_deadline(void *owner)
{
    struct fetch *fetch = owner;

    fetch->is_late = true;
    end_child(fetch);
}

// ---- life ----

void fetch_init(struct fetch *fetch, struct loop *loop)
{
    *fetch = (struct fetch){.loop = loop, .watch = {.fd = -1}};
    loop_timer_init(&fetch->deadline, on_deadline, fetch);
}

// The question fits into the socket: nobody waits for the child to read.
static int send_question(int socket, const struct fetch_question *question)
{
    struct fetch_question_header header = {.magic = FETCH_MAGIC,
                                           .url_size = (uint32_t)strlen(question->url),
                                           .request_size = (uint32_t)question->request_size};
    uint64_t timeout_ms = question->timeout_ns / CLOCK_NS_PER_MS;
    struct iovec parts[] = {{&header, sizeof(header)},
                            {(void *)(uintptr_t)question->url, header.url_size},
                            {(void *)(uintptr_t)question->request, question->request_size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
    size_t size = sizeof(header) + header.url_size + question->request_size;
    ssize_t sent;

    header.timeout_ms = timeout_ms > INT32_MAX ? INT32_MAX : (uint32_t)timeout_ms;
    sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0)
        return -errno;
    return (size_t)sent == size && shutdown(socket, SHUT_WR) == 0 ? 0 : -EIO;
}

static int open_sockets(const struct fetch_question *question, int sockets[2])
{
    int error;

    if (strlen(question->url) > FETCH_URL_SIZE_MAX || question->request_size > FETCH_REQUEST_MAX)
        return -EMSGSIZE;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
        return -errno;
    error = send_question(sockets[0], question);
    if (error < 0) {
        close(sockets[0]);
        close(sockets[1]);
    }
    return error;
}

int fetch_start(struct fetch *fetch, const struct account *account, const struct fetch_question *question)
{
    pid_t parent = getpid();
    int sockets[2];
    int error = open_sockets(question, sockets);

    if (error < 0)
        return error;
    free(fetch->bytes);
    fetch->bytes = malloc(CAPACITY);
    error = fetch->bytes == NULL
                ? -ENOMEM
                : loop_watch(fetch->loop, &fetch->watch, sockets[0], EPOLLIN, on_socket, fetch);
    if (error < 0)
        goto failed;
    fetch->used = 0;
    fetch->is_late = fetch->is_long = false;
    fetch->timeout_ns = question->timeout_ns;
    fetch->pid = fork();
    if (fetch->pid == 0)
        become_child(sockets[1], question->command ? question->command : FETCH_COMMAND, account, parent);
    if (fetch->pid < 0) {
        error = -errno;
        fetch->pid = 0;
        loop_unwatch(fetch->loop, &fetch->watch);
        goto failed;
    }
    close(sockets[1]);
    loop_timer_set(fetch->loop, &fetch->deadline,
                   clock_now_ns() + question->timeout_ns + (question->command ? 0 : GRACE_NS));
    return 0;
failed:
    close(sockets[0]);
    close(sockets[1]);
    return error;
}

// ---- what it has said ----

static const char *why_of_text(struct fetch *fetch, const uint8_t *text, size_t size)
{
    size_t length = size < sizeof(fetch->why) - 1 ? size : sizeof(fetch->why) - 1;

    for (size_t i = 0; i < length; i++)
        fetch->why[i] = (char)(text[i] >= ' ' && text[i] <= '~' ? text[i] : '?');
    fetch->why[length] = '\0';
    return fetch->why;
}

static const char *why_of_death(struct fetch *fetch, int status)
{
    if (fetch->is_long)
        snprintf(fetch->why, sizeof(fetch->why), "the process that asks has said too much");
    else if (WIFSIGNALED(status))
        snprintf(fetch->why, sizeof(fetch->why), "the process that asks was ended by signal %d",
                 WTERMSIG(status));
    else
        snprintf(fetch->why, sizeof(fetch->why),
                 "the process that asks has ended with status %d and no answer",
                 WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    return fetch->why;
}

static void answer_read(struct fetch *fetch, int status, struct fetch_answer *ret)
{
    struct fetch_answer_header header;
    const uint8_t *bytes = fetch->bytes + sizeof(header);

    *ret = (struct fetch_answer){.result = FETCH_FAILED};
    if (fetch->is_late) {
        ret->result = FETCH_UNREACHABLE;
        snprintf(fetch->why, sizeof(fetch->why), "no answer within %g s",
                 (double)fetch->timeout_ns / (double)CLOCK_NS_PER_S);
        ret->why = fetch->why;
        return;
    }
    if (fetch->is_long || !WIFEXITED(status) || WEXITSTATUS(status) != 0 || fetch->used < sizeof(header)) {
        ret->why = why_of_death(fetch, status);
        return;
    }
    memcpy(&header, fetch->bytes, sizeof(header));
    if (header.magic != FETCH_MAGIC || header.result > FETCH_FAILED ||
        header.size != fetch->used - sizeof(header)) {
        ret->why = why_of_death(fetch, status);
        return;
    }
    ret->result = (enum fetch_result)header.result;
    if (ret->result == FETCH_ANSWERED) {
        ret->bytes = bytes;
        ret->size = header.size;
    } else {
        ret->why = why_of_text(fetch, bytes, header.size);
    }
}

bool fetch_reap(struct fetch *fetch, int pid, int status, struct fetch_answer *ret)
{
    if (fetch->pid == 0 || pid != fetch->pid)
        return false;
    fetch->pid = 0;
    loop_timer_stop(&fetch->deadline);
    if (fetch->watch.fd >= 0)
        (void)hear(fetch); // the end of it may be on its way
    close_socket(fetch);
    answer_read(fetch, status, ret);
    return true;
}

void fetch_stop(struct fetch *fetch)
{
    loop_timer_stop(&fetch->deadline);
    close_socket(fetch);
    if (fetch->pid != 0) {
        end_child(fetch);
        while (waitpid(fetch->pid, NULL, 0) < 0 && errno == EINTR)
            ;
        fetch->pid = 0;
    }
    free(fetch->bytes);
    fetch->bytes = NULL;
}
