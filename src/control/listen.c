// SPDX-License-Identifier: Apache-2.0
// The listening sockets: TCP groups, unix sockets and their files, and what can go wrong with either.
#include "listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ringbolt/log.h"
#include "ringbolt/socket.h"

struct endpoint_address {
    struct sockaddr_storage socket;
    socklen_t length;
    bool is_any; // `*`: both families on one socket
};

// ---- what can go wrong, in words ----

static const char *cure(int error, sa_family_t family)
{
    switch (error) {
    case -EADDRINUSE:
        return family == AF_UNIX
                   ? "somebody answers at this path: stop it, or choose another path"
                   : "something listens there already (ss -ltnp shows what): stop it, or choose another port";
    case -EACCES:
    case -EPERM:
        return family == AF_UNIX ? "the directory must be writable for the user who starts ringbolt"
                                 : "ports below 1024 (net.ipv4.ip_unprivileged_port_start) need a privilege: "
                                   "start as root (the workers give it up), or "
                                   "setcap cap_net_bind_service=+ep the program";
    case -EADDRNOTAVAIL:
        return "no interface of this machine has this address: correct it, or use *:PORT";
    case -EAFNOSUPPORT:
        return "this machine has no IPv6: use an IPv4 address";
    case -EMFILE:
        return "each worker needs a socket for each address: raise the limit of descriptors (ulimit -n)";
    case -EEXIST:
        return "a file that is no socket is in the way: remove it, or choose another path";
    case -ENOENT:
        return "the directory does not exist: make it";
    case -E2BIG:
        return "more sockets were passed for this address than there are workers: pass one, or raise `workers`";
    default:
        return NULL;
    }
}

static void complain(const struct listening *listening, size_t index, int error)
{
    const struct config_listener *listener = &listening->config->listeners[index];

    log_error("cannot listen", log_text("address", listener->address.text), log_errno(error),
              log_text("cure", cure(error, listener->address.socket.ss_family)));
}

// ---- TCP ----

static in_port_t *port_of(struct endpoint_address *address)
{
    return address->socket.ss_family == AF_INET6 ? &((struct sockaddr_in6 *)&address->socket)->sin6_port
                                                 : &((struct sockaddr_in *)&address->socket)->sin_port;
}

// A bound socket, not yet listening; or -errno.
static int bind_tcp(const struct endpoint_address *address, bool is_shared)
{
    int fd = socket_open(address->socket.ss_family);
    int error;

    if (fd < 0)
        return fd;
    error = socket_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (error == 0 && is_shared)
        error = socket_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (error == 0 && address->socket.ss_family == AF_INET6)
        error = socket_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, !address->is_any);
    if (error == 0 && bind(fd, (const struct sockaddr *)&address->socket, address->length) < 0)
        error = -errno;
    if (error < 0) {
        close(fd);
        return error;
    }
    return fd;
}

// What holds for every connection that is accepted.
static int tune(int fd, const struct config_listener *listener)
{
    int error = socket_tune(fd, listener->tcp.keepalive_s, listener->tcp.user_timeout_ms);

    socket_prepare(fd);
    if (error == 0 && listener->fast_open > 0)
        error = socket_set(fd, IPPROTO_TCP, TCP_FASTOPEN, (int)listener->fast_open);
    return error;
}

// The first socket that is bound to port 0 decides the port of the others.
static int learn_port(int fd, struct endpoint_address *address)
{
    struct endpoint_address bound = {.length = sizeof(bound.socket)};

    if (getsockname(fd, (struct sockaddr *)&bound.socket, &bound.length) < 0)
        return -errno;
    *port_of(address) = *port_of(&bound);
    return 0;
}

// A second instance of the same user could join a group of SO_REUSEPORT sockets without a word, and clients would reach
// either. So the first socket is bound and listens without that option, which fails when anybody listens there and keeps
// everybody else away, and only then opens the group to its fellows (net/ipv4/inet_hashtables.c, inet_reuseport_add_sock()).
static int open_group(struct listening *listening, size_t index, struct endpoint_address *address)
{
    const struct config_listener *listener = &listening->config->listeners[index];
    int error = 0;

    for (unsigned worker = 0; error == 0 && worker < listening->config->workers; worker++) {
        int fd = bind_tcp(address, worker > 0);

        if (fd < 0)
            return fd;
        listening->fds[worker * listening->config->listener_count + index] = fd;
        if (*port_of(address) == 0)
            error = learn_port(fd, address);
        if (error == 0)
            error = tune(fd, listener);
        if (error == 0 && listen(fd, (int)listener->backlog) < 0)
            error = -errno;
        if (error == 0 && worker == 0)
            error = socket_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    return error;
}

static void close_group(struct listening *listening, size_t index)
{
    for (unsigned worker = 0; worker < listening->config->workers; worker++) {
        int *fd = &listening->fds[worker * listening->config->listener_count + index];

        socket_close(*fd, false);
        *fd = -1;
    }
}

static struct endpoint_address any_ipv4(struct endpoint_address *six)
{
    struct endpoint_address four = {.length = sizeof(struct sockaddr_in)};
    struct sockaddr_in *in = (struct sockaddr_in *)&four.socket;

    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_ANY);
    in->sin_port = *port_of(six);
    return four;
}

static int open_tcp(struct listening *listening, size_t index)
{
    const struct config_address *configured = &listening->config->listeners[index].address;
    struct endpoint_address address = {
        .socket = configured->socket,
        .length = configured->length,
        .is_any = configured->text[0] == '*' && configured->socket.ss_family == AF_INET6,
    };
    const char *colon = strrchr(configured->text, ':');
    int host = colon ? (int)(colon - configured->text) : 0;
    bool is_fallback = false;
    int error = open_group(listening, index, &address);

    if (address.is_any && (error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL)) {
        log_info("no IPv6 on this machine, listening on 0.0.0.0", log_text("address", configured->text));
        close_group(listening, index);
        address = any_ipv4(&address);
        is_fallback = true;
        error = open_group(listening, index, &address);
    }
    if (error < 0)
        return error;
    if (asprintf(&listening->texts[index], "%.*s:%u", is_fallback ? 7 : host,
                 is_fallback ? "0.0.0.0" : configured->text, ntohs(*port_of(&address))) < 0) {
        listening->texts[index] = NULL;
        return -ENOMEM;
    }
    return 0;
}

// ---- sockets that were passed ----

static int prepare_passed(const struct listening *listening, size_t index, int fd)
{
    const struct config_listener *listener = &listening->config->listeners[index];
    bool is_unix = listener->address.socket.ss_family == AF_UNIX;
    int error = is_unix ? 0 : tune(fd, listener);

    if (error < 0)
        return error;
    return listen(fd, is_unix ? SOMAXCONN : (int)listener->backlog) < 0 ? -errno : 0; // again: moves the backlog
}

// All workers share what was passed, and nothing is added to it: the service manager keeps the socket while we are restarted, and
// who waits in its queue is served afterwards, where the queue of a socket of our own would go with us. Several sockets at
// one address (ListenStream= repeated, ReusePort=yes) are dealt out, and each must have a worker. 1: taken, 0: none, or -errno.
static int open_passed(struct listening *listening, size_t index, struct activation *passed)
{
    const struct config *config = listening->config;
    const struct config_address *address = &config->listeners[index].address;
    unsigned count = 0;
    int error = 0;
    int fd;

    while (error == 0 && (fd = activation_take(passed, address)) >= 0) {
        if (count == config->workers) {
            close(fd);
            return -E2BIG;
        }
        listening->fds[count++ * config->listener_count + index] = fd;
        error = prepare_passed(listening, index, fd);
    }
    for (unsigned worker = count; count > 0 && error == 0 && worker < config->workers; worker++) {
        fd = fcntl(listening->fds[worker % count * config->listener_count + index], F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
            return -errno;
        listening->fds[worker * config->listener_count + index] = fd;
    }
    if (count > 0 && error == 0 && !(listening->texts[index] = strdup(address->text)))
        error = -ENOMEM;
    return error < 0 ? error : count > 0;
}

// ---- unix ----

static const struct sockaddr_un *unix_of(const struct config_address *address)
{
    return (const struct sockaddr_un *)&address->socket;
}

// 0 when the path is free, or was that of a socket where nobody listens any more.
static int clear_path(const struct config_address *address)
{
    const char *path = unix_of(address)->sun_path;
    int found = unix_file_look(unix_of(address), address->length);

    if (found <= 0)
        return found;
    if (found != UNIX_FILE_STALE)
        return -EADDRINUSE;
    log_info("stale socket file removed", log_text("path", path));
    return unlink(path) < 0 ? -errno : 0;
}

static mode_t umask_now(void)
{
    mode_t mask = umask(0777);

    umask(mask);
    return mask;
}

static int open_unix(struct listening *listening, size_t index)
{
    const struct config_address *address = &listening->config->listeners[index].address;
    int error = clear_path(address);
    int fd;

    if (error < 0)
        return error;
    fd = socket_open(AF_UNIX);
    if (fd < 0)
        return fd;
    listening->fds[index] = fd;
    // nobody executes it
    error = unix_file_listen(&listening->files[index], fd, unix_of(address), address->length,
                             umask_now() | 0111, SOMAXCONN);
    // One socket under a number for each worker: closing is then the same as with TCP.
    for (unsigned worker = 1; error == 0 && worker < listening->config->workers; worker++) {
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

        if (copy < 0)
            return -errno;
        listening->fds[worker * listening->config->listener_count + index] = copy;
    }
    if (error == 0 && !(listening->texts[index] = strdup(address->text)))
        error = -ENOMEM;
    return error;
}

// ---- all of them ----

static int open_one(struct listening *listening, size_t index, struct activation *passed)
{
    int result = open_passed(listening, index, passed);

    if (result != 0)
        return result;
    return listening->config->listeners[index].address.socket.ss_family == AF_UNIX ? open_unix(listening, index)
                                                                                   : open_tcp(listening, index);
}

int listening_open(struct listening *listening, const struct config *config, struct activation *passed)
{
    size_t total = config->listener_count * config->workers;

    *listening = (struct listening){
        .config = config,
        .fds = malloc(total * sizeof(*listening->fds)),
        .texts = calloc(config->listener_count, sizeof(*listening->texts)),
        .files = calloc(config->listener_count, sizeof(*listening->files)),
    };
    for (size_t i = 0; listening->fds && i < total; i++)
        listening->fds[i] = -1;
    if (!listening->fds || !listening->texts || !listening->files) {
        log_error("no memory for listening sockets");
        listening_close(listening);
        return -ENOMEM;
    }
    for (size_t i = 0; i < config->listener_count; i++) {
        int error = open_one(listening, i, passed);

        if (error < 0) {
            complain(listening, i, error);
            listening_close(listening);
            return error;
        }
    }
    if (passed && activation_check(passed) < 0) {
        listening_close(listening);
        return -EINVAL;
    }
    return 0;
}

void listening_close(struct listening *listening)
{
    size_t count = listening->config ? listening->config->listener_count : 0;

    for (size_t i = 0; i < count; i++) {
        if (listening->files)
            unix_file_remove(&listening->files[i], unix_of(&listening->config->listeners[i].address)->sun_path);
        if (listening->fds)
            close_group(listening, i);
        if (listening->texts)
            free(listening->texts[i]);
    }
    free(listening->fds);
    free(listening->texts);
    free(listening->files);
    *listening = (struct listening){0};
}

const int *listening_of(const struct listening *listening, unsigned worker)
{
    return listening->fds + worker * listening->config->listener_count;
}

const char *listening_address(const struct listening *listening, size_t index)
{
    return listening->texts ? listening->texts[index] : NULL;
}

char *listening_text(const struct listening *listening)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);

    if (!stream)
        return NULL;
    for (size_t i = 0; i < listening->config->listener_count; i++)
        fprintf(stream, "%s%s", i > 0 ? " " : "", listening->texts[i]);
    if (fclose(stream) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
