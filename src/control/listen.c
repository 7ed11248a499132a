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

// The socket becomes the listener's, or is closed.
static int add(struct listening_sockets *sockets, int fd)
{
    int *fds = reallocarray(sockets->fds, sockets->count + 1, sizeof(*fds));

    if (!fds) {
        close(fd);
        return -ENOMEM;
    }
    sockets->fds = fds;
    sockets->fds[sockets->count++] = fd;
    return 0;
}

// A second instance of the same user could join a group of SO_REUSEPORT sockets without a word, and clients would reach
// either. So the first socket is bound and listens without that option, which fails when anybody listens there and keeps
// everybody else away, and only then opens the group to its fellows (net/ipv4/inet_hashtables.c, inet_reuseport_add_sock()).
// What the predecessor left of the group is a beginning; at a port where it listens under another address all are bound with the option.
static int open_group(struct listening *listening, size_t index, struct endpoint_address *address, bool is_shared)
{
    const struct config_listener *listener = &listening->config->listeners[index];
    struct listening_sockets *sockets = &listening->sockets[index];
    int error = 0;

    while (error == 0 && sockets->count < listening->config->workers) {
        bool is_first = sockets->count == 0 && !is_shared;
        int fd = bind_tcp(address, !is_first);

        if (fd < 0)
            return fd;
        error = add(sockets, fd);
        if (error == 0 && *port_of(address) == 0)
            error = learn_port(fd, address);
        if (error == 0)
            error = tune(fd, listener);
        if (error == 0 && listen(fd, (int)listener->backlog) < 0)
            error = -errno;
        if (error == 0 && is_first)
            error = socket_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    return error;
}

static void close_group(struct listening *listening, size_t index)
{
    struct listening_sockets *sockets = &listening->sockets[index];

    for (unsigned i = 0; i < sockets->count; i++)
        socket_close(sockets->fds[i], false);
    free(sockets->fds);
    sockets->fds = NULL;
    sockets->count = 0;
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

static int note_tcp(struct listening *listening, size_t index, const struct endpoint_address *address, bool is_fallback)
{
    const char *text = listening->config->listeners[index].address.text;
    const char *colon = strrchr(text, ':');
    struct listening_sockets *sockets = &listening->sockets[index];

    if (asprintf(&sockets->text, "%.*s:%u", is_fallback ? 7 : colon ? (int)(colon - text) : 0,
                 is_fallback ? "0.0.0.0" : text, ntohs(*port_of((struct endpoint_address *)(uintptr_t)address))) < 0) {
        sockets->text = NULL;
        return -ENOMEM;
    }
    return 0;
}

static struct endpoint_address address_of(const struct config_address *configured)
{
    return (struct endpoint_address){
        .socket = configured->socket,
        .length = configured->length,
        .is_any = configured->text[0] == '*' && configured->socket.ss_family == AF_INET6,
    };
}

static int open_tcp(struct listening *listening, size_t index, const struct estate *inherited)
{
    const struct config_address *configured = &listening->config->listeners[index].address;
    struct endpoint_address address = address_of(configured);
    bool is_shared = listening_had_port(inherited, *port_of(&address));
    bool is_fallback = false;
    int error;

    listening->sockets[index].kind = LISTENING_GROUP;
    error = open_group(listening, index, &address, is_shared);
    if (address.is_any && (error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL)) {
        log_info("no IPv6 on this machine, listening on 0.0.0.0", log_text("address", configured->text));
        close_group(listening, index);
        address = any_ipv4(&address);
        is_fallback = true;
        error = open_group(listening, index, &address, is_shared);
    }
    return error < 0 ? error : note_tcp(listening, index, &address, is_fallback);
}

// ---- sockets that were there before us ----

// More workers than the predecessor had make the group larger; of fewer some have several sockets of it.
static int go_on(struct listening *listening, size_t index)
{
    const struct config_address *configured = &listening->config->listeners[index].address;
    struct listening_sockets *sockets = &listening->sockets[index];
    struct endpoint_address address = address_of(configured);
    struct endpoint_address bound = {.length = sizeof(bound.socket)};
    bool is_fallback;
    int error = 0;

    if (sockets->kind != LISTENING_GROUP)
        return (sockets->text = strdup(configured->text)) ? 0 : -ENOMEM;
    if (getsockname(sockets->fds[0], (struct sockaddr *)&bound.socket, &bound.length) < 0)
        return -errno;
    is_fallback = address.is_any && bound.socket.ss_family == AF_INET;
    if (is_fallback)
        address = any_ipv4(&address);
    *port_of(&address) = *port_of(&bound);
    error = open_group(listening, index, &address, true);
    return error < 0 ? error : note_tcp(listening, index, &address, is_fallback);
}

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
    struct listening_sockets *sockets = &listening->sockets[index];
    int error = 0;
    int fd;

    sockets->kind = LISTENING_PASSED;
    while (error == 0 && (fd = activation_take(passed, address)) >= 0) {
        if (sockets->count == config->workers) {
            close(fd);
            return -E2BIG;
        }
        error = add(sockets, fd);
        if (error == 0)
            error = prepare_passed(listening, index, fd);
    }
    if (sockets->count > 0 && error == 0 && !(sockets->text = strdup(address->text)))
        error = -ENOMEM;
    return error < 0 ? error : sockets->count > 0;
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
    struct listening_sockets *sockets = &listening->sockets[index];
    int error = clear_path(address);
    int fd;

    if (error < 0)
        return error;
    fd = socket_open(AF_UNIX);
    if (fd < 0)
        return fd;
    sockets->kind = LISTENING_UNIX;
    error = add(sockets, fd);
    // nobody executes it
    if (error == 0)
        error = unix_file_listen(&sockets->file, fd, unix_of(address), address->length, umask_now() | 0111, SOMAXCONN);
    if (error == 0 && !(sockets->text = strdup(address->text)))
        error = -ENOMEM;
    return error;
}

// ---- all of them ----

static int open_one(struct listening *listening, size_t index, struct activation *passed, struct estate *inherited)
{
    const struct config_address *address = &listening->config->listeners[index].address;
    int result = listening_inherit(inherited, address, &listening->sockets[index]);

    if (result > 0)
        return go_on(listening, index);
    if (result == 0)
        result = open_passed(listening, index, passed);
    if (result != 0)
        return result;
    return address->socket.ss_family == AF_UNIX ? open_unix(listening, index) : open_tcp(listening, index, inherited);
}

// A group has a socket for each worker, or more; what is shared may have fewer.
static void deal_out(struct listening *listening)
{
    const struct config *config = listening->config;

    for (unsigned worker = 0; worker < config->workers; worker++) {
        for (size_t i = 0; i < config->listener_count; i++)
            listening->firsts[worker * config->listener_count + i] =
                listening->sockets[i].fds[worker % listening->sockets[i].count];
    }
}

int listening_open(struct listening *listening, const struct config *config, struct activation *passed,
                   struct estate *inherited)
{
    *listening = (struct listening){
        .config = config,
        .sockets = calloc(config->listener_count, sizeof(*listening->sockets)),
        .firsts = calloc(config->listener_count * config->workers, sizeof(*listening->firsts)),
    };
    if (!listening->sockets || !listening->firsts) {
        log_error("no memory for listening sockets");
        listening_close(listening);
        return -ENOMEM;
    }
    for (size_t i = 0; i < config->listener_count; i++) {
        int error = open_one(listening, i, passed, inherited);

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
    deal_out(listening);
    return 0;
}

void listening_close(struct listening *listening)
{
    size_t count = listening->config && listening->sockets ? listening->config->listener_count : 0;

    for (size_t i = 0; i < count; i++) {
        unix_file_remove(&listening->sockets[i].file, unix_of(&listening->config->listeners[i].address)->sun_path);
        close_group(listening, i);
        free(listening->sockets[i].text);
    }
    free(listening->sockets);
    free(listening->firsts);
    *listening = (struct listening){0};
}

const int *listening_of(const struct listening *listening, unsigned worker)
{
    return listening->firsts + worker * listening->config->listener_count;
}

int listening_more(const struct listening *listening, unsigned worker, struct proxy_socket **ret, size_t *ret_count)
{
    unsigned workers = listening->config->workers;
    struct proxy_socket *more;
    size_t most = 0;
    size_t count = 0;

    for (size_t i = 0; i < listening->config->listener_count; i++)
        most += listening->sockets[i].count / workers;
    more = calloc(most + 1, sizeof(*more));
    if (!more)
        return -ENOMEM;
    for (size_t i = 0; i < listening->config->listener_count; i++) {
        for (unsigned at = worker + workers; at < listening->sockets[i].count; at += workers)
            more[count++] = (struct proxy_socket){.listener = i, .fd = listening->sockets[i].fds[at]};
    }
    *ret = more;
    *ret_count = count;
    return 0;
}

void listening_lead(struct listening *listening)
{
    for (size_t i = 0; i < listening->config->listener_count; i++) {
        const struct listening_sockets *sockets = &listening->sockets[i];
        int error = 0;

        for (unsigned k = 0; sockets->is_inherited && error == 0 && k < sockets->count; k++)
            error = prepare_passed(listening, i, sockets->fds[k]);
        if (error < 0)
            log_warning("options of an inherited socket stay as they were",
                        log_text("address", sockets->text), log_errno(error));
    }
}

const char *listening_address(const struct listening *listening, size_t index)
{
    return listening->sockets ? listening->sockets[index].text : NULL;
}

char *listening_text(const struct listening *listening)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);

    if (!stream)
        return NULL;
    for (size_t i = 0; i < listening->config->listener_count; i++)
        fprintf(stream, "%s%s", i > 0 ? " " : "", listening->sockets[i].text);
    if (fclose(stream) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
