// SPDX-License-Identifier: Apache-2.0
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/socket.h"
#include "spawn.h"
#include "status.h"

#define BACKLOG     64
#define QUICK_NS    CLOCK_NS_PER_S // a child that dies younger is not replaced at once
#define RETRY_NS    CLOCK_NS_PER_S
#define ADDRESS_MAX 96

struct http {
    struct master *master;
    int fd; // listens; -1: the successor alone does
    char address[ADDRESS_MAX];
    pid_t pid; // of the child; 0: none
    bool is_leaving; // it was told to end when it has answered
    uint64_t started_ns;
    int channel; // -1: closed
    struct loop_watch watch;
    struct loop_timer restart;
    char *output; // an answer that is being sent; NULL: none
    size_t length;
    size_t sent;
};

// ---- listening ----

static const char *cure(int error)
{
    switch (error) {
    case -EADDRINUSE:
        return "something listens there already, perhaps a ringbolt that is still draining: stop it, or "
               "choose another "
               "port for admin.http";
    case -EACCES:
        return "ports below 1024 need a privilege: choose another port for admin.http, or start as root";
    case -EADDRNOTAVAIL:
        return "no interface of this machine has this address: correct admin.http";
    case -EAFNOSUPPORT:
        return "this machine has no IPv6: use an IPv4 address for admin.http";
    default:
        return NULL;
    }
}

static int listen_at(const struct config_address *address)
{
    int fd = socket_open(address->socket.ss_family);
    int no = address->text[0] != '*'; // that is both families
    int yes = 1;
    int error = fd < 0 ? fd : 0;

    if (error == 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0)
        error = -errno;
    if (error == 0 && address->socket.ss_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no)) < 0)
        error = -errno;
    if (error == 0 &&
        (bind(fd, (const struct sockaddr *)&address->socket, address->length) < 0 || listen(fd, BACKLOG) < 0))
        error = -errno;
    if (error < 0 && fd >= 0)
        close(fd);
    return error < 0 ? error : fd;
}

// With the port that the kernel has chosen, if it was to.
static void note_address(struct http *http, const char *configured)
{
    struct sockaddr_storage bound;
    socklen_t length = sizeof(bound);
    const char *colon = strrchr(configured, ':');
    in_port_t port = 0;

    if (getsockname(http->fd, (struct sockaddr *)&bound, &length) == 0)
        port = bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                           : ((struct sockaddr_in *)&bound)->sin_port;
    snprintf(http->address, sizeof(http->address), "%.*s:%u", colon ? (int)(colon - configured) : 0,
             configured, ntohs(port));
}

// ---- answers ----

static void close_channel(struct http *http)
{
    loop_unwatch(http->master->loop, &http->watch);
    if (http->channel >= 0)
        close(http->channel);
    http->channel = -1;
    free(http->output);
    http->output = NULL;
}

// Sends what the child takes; the rest when there is room. False: the child is gone.
static bool flush(struct http *http)
{
    while (http->output) {
        ssize_t sent = send(http->channel, http->output + http->sent, http->length - http->sent,
                            MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN)
            return loop_events(http->master->loop, &http->watch, EPOLLOUT) == 0;
        if (sent < 0)
            return false;
        http->sent += (size_t)sent;
        if (http->sent == http->length) {
            free(http->output);
            http->output = NULL;
        }
    }
    return loop_events(http->master->loop, &http->watch, EPOLLIN) == 0;
}

static bool answer(struct http *http, char question)
{
    json_t *json = question == HTTP_ASK_STATUS   ? status_document(http->master)
                   : question == HTTP_ASK_HEALTH ? status_health(http->master)
                                                 : NULL;
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    size_t length = text ? strlen(text) : 0;

    json_decref(json);
    if (!text)
        return false;    // no memory, or nothing that we know: the next child may fare better
    text[length] = '\n'; // in place of its end
    http->output = text;
    http->length = length + 1;
    http->sent = 0;
    return flush(http);
}

static void on_channel(void *owner, unsigned events)
{
    struct http *http = owner;
    char question;
    ssize_t length;
    bool is_good;

    if (http->output) {
        is_good = (events & (EPOLLHUP | EPOLLERR)) == 0 && flush(http);
    } else {
        length = recv(http->channel, &question, 1, MSG_DONTWAIT);
        is_good = length == 1 ? answer(http, question) : length < 0 && (errno == EAGAIN || errno == EINTR);
    }
    if (is_good)
        return;
    close_channel(http); // its death will come as a signal
    if (http->pid > 0)
        (void)kill(http->pid, SIGKILL);
}

// ---- the child's life ----

static _Noreturn void become_child(const struct http *http, int channel, pid_t parent)
{
    const char *what;

    (void)spawn_become(HTTP_COMMAND, &http->master->account, parent, channel, http->fd, &what);
    _exit(1);
}

static int try_start(struct http *http)
{
    pid_t parent = getpid();
    int channel[2];
    int error;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) < 0)
        return -errno;
    error = loop_watch(http->master->loop, &http->watch, channel[0], EPOLLIN, on_channel, http);
    if (error < 0)
        goto failed;
    http->pid = fork();
    if (http->pid == 0)
        become_child(http, channel[1], parent);
    if (http->pid < 0) {
        error = -errno;
        http->pid = 0;
        loop_unwatch(http->master->loop, &http->watch);
        goto failed;
    }
    close(channel[1]);
    http->channel = channel[0];
    http->started_ns = clock_now_ns();
    return 0;
failed:
    close(channel[0]);
    close(channel[1]);
    return error;
}

static void plan(struct http *http, uint64_t wait_ns)
{
    loop_timer_set(http->master->loop, &http->restart, clock_now_ns() + wait_ns);
}

static void on_restart(void *owner)
{
    http_start(owner);
}

static void end_child(struct http *http)
{
    if (http->pid > 0) {
        (void)kill(http->pid, SIGKILL);
        while (waitpid(http->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    http->pid = 0;
    http->is_leaving = false;
    close_channel(http);
}

void http_start(struct http *http)
{
    int error;

    if (!http)
        return;
    end_child(http); // one that was told to leave, if there is one
    error = try_start(http);

    if (error == 0)
        return;
    log_error("cannot start the process that serves metrics", log_errno(error));
    plan(http, RETRY_NS);
}

bool http_reap(struct http *http, pid_t pid, int status)
{
    uint64_t wait_ns;

    if (!http || http->pid != pid)
        return false;
    http->pid = 0;
    close_channel(http);
    if (http->is_leaving)
        return true;
    wait_ns = clock_now_ns() - http->started_ns < QUICK_NS ? RETRY_NS : 0;
    log_error("the process that serves metrics died", log_integer("http_pid", pid),
              WIFSIGNALED(status) ? log_integer("signal", WTERMSIG(status))
                                  : log_integer("status", WEXITSTATUS(status)),
              log_integer("retry_ms", wait_ns / CLOCK_NS_PER_MS));
    plan(http, wait_ns);
    return true;
}

// ---- from one master to the next ----

// One item: a version, whether it is `*`, the address as the configuration has it.
enum { VERSION = 1, AT_IS_ANY = 1, AT_ADDRESS = 8 };

static void pack(const struct config_address *address, uint8_t bytes[AT_ADDRESS + sizeof(struct sockaddr_storage)])
{
    bytes[0] = VERSION;
    bytes[AT_IS_ANY] = address->text[0] == '*';
    memcpy(bytes + AT_ADDRESS, &address->socket, address->length);
}

int http_leave(const struct http *http, struct estate *ret)
{
    uint8_t bytes[AT_ADDRESS + sizeof(struct sockaddr_storage)] = {0};

    if (!http)
        return 0;
    pack(&http->master->config->admin.http, bytes);
    return estate_add(ret, ESTATE_HTTP, 0, bytes, AT_ADDRESS + http->master->config->admin.http.length, http->fd);
}

// The predecessor's socket, if the address is the same still; -1: there is none.
static int inherit(const struct config_address *address, struct estate *inherited)
{
    struct estate_item *item = estate_find(inherited, ESTATE_HTTP, NULL);
    uint8_t bytes[AT_ADDRESS + sizeof(struct sockaddr_storage)] = {0};

    pack(address, bytes);
    return item && item->size == AT_ADDRESS + address->length && memcmp(item->bytes, bytes, item->size) == 0
               ? estate_take_fd(item)
               : -1;
}

// ---- life ----

int http_open(struct master *master)
{
    const struct config_address *address = &master->config->admin.http;
    struct http *http;
    int fd;

    if (!address->text)
        return 0;
    fd = inherit(address, master->control->inherited);
    if (fd < 0)
        fd = listen_at(address);
    http = fd < 0 ? NULL : calloc(1, sizeof(*http));
    if (!http) {
        log_error("cannot listen for metrics", log_text("address", address->text),
                  log_errno(fd < 0 ? fd : -ENOMEM), log_text("cure", cure(fd)));
        if (fd >= 0)
            close(fd);
        return fd < 0 ? fd : -ENOMEM;
    }
    *http = (struct http){.master = master, .fd = fd, .channel = -1, .watch = {.fd = -1}};
    loop_timer_init(&http->restart, on_restart, http);
    note_address(http, address->text);
    master->http = http;
    log_info("metrics", log_text("address", http->address));
    return 0;
}

const char *http_address(const struct http *http)
{
    return http ? http->address : NULL;
}

void http_pause(struct http *http)
{
    if (!http)
        return;
    loop_timer_stop(&http->restart);
    if (http->pid > 0)
        (void)kill(http->pid, SIGTERM);
    http->is_leaving = true;
}

void http_disown(struct http *http)
{
    if (!http)
        return;
    close(http->fd);
    http->fd = -1;
}

void http_close(struct http *http)
{
    if (!http)
        return;
    loop_timer_stop(&http->restart);
    end_child(http);
    if (http->fd >= 0)
        close(http->fd);
    free(http);
}
