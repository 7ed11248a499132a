// SPDX-License-Identifier: Apache-2.0
#include "activation.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "ringbolt/log.h"
#include "ringbolt/socket.h"

#define FIRST 3 // SD_LISTEN_FDS_START

// ---- the environment ----

static int number_of(const char *name)
{
    const char *text = getenv(name);
    char *end = NULL;
    long number = text && text[0] >= '0' && text[0] <= '9' ? strtol(text, &end, 10) : 0;

    return end && *end == '\0' && number <= INT_MAX - FIRST ? (int)number : 0;
}

// How many there are for us.
static size_t passed(void)
{
    return number_of("LISTEN_PID") == (int)getpid() ? (size_t)number_of("LISTEN_FDS") : 0;
}

// The names stand between colons, in the order of the sockets. NULL: none, or no memory for it.
static char *name_of(size_t index)
{
    const char *names = getenv("LISTEN_FDNAMES");

    while (names && index-- > 0) {
        names = strchr(names, ':');
        names += names != NULL;
    }
    return names && *names && *names != ':' ? strndup(names, strcspn(names, ":")) : NULL;
}

// ---- one socket ----

static int option(int fd, int level, int name)
{
    int value = 0;
    socklen_t length = sizeof(value);

    return getsockopt(fd, level, name, &value, &length) < 0 ? -errno : value;
}

static int look_at(struct activation_socket *socket)
{
    int listens = option(socket->fd, SOL_SOCKET, SO_ACCEPTCONN);
    int flags;

    if (listens < 0)
        return listens;
    if (listens == 0 || option(socket->fd, SOL_SOCKET, SO_TYPE) != SOCK_STREAM)
        return -ESOCKTNOSUPPORT;
    socket->length = sizeof(socket->address);
    if (getsockname(socket->fd, (struct sockaddr *)&socket->address, &socket->length) < 0)
        return -errno;
    socket->is_v6only = socket->address.ss_family == AF_INET6 && option(socket->fd, IPPROTO_IPV6, IPV6_V6ONLY) > 0;
    flags = fcntl(socket->fd, F_GETFL);
    if (flags < 0 || fcntl(socket->fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(socket->fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    return 0;
}

static void complain(const struct activation_socket *socket, int error)
{
    log_error("a socket was passed that is not for connections", log_integer("descriptor", socket->fd),
              log_text("name", socket->name), log_errno(error),
              log_text("cure", "pass listening stream sockets only: ListenStream= and Accept=no"));
}

int activation_open(struct activation *ret)
{
    size_t count = passed();
    int result = 0;

    *ret = (struct activation){0};
    if (count > 0)
        ret->sockets = calloc(count, sizeof(*ret->sockets));
    if (count > 0 && !ret->sockets) {
        log_error("no memory for the sockets that were passed");
        result = -ENOMEM;
    }
    for (size_t i = 0; ret->sockets && i < count; i++) {
        struct activation_socket *socket = &ret->sockets[ret->count++];
        int error;

        *socket = (struct activation_socket){.fd = FIRST + (int)i, .name = name_of(i)};
        error = look_at(socket);
        if (error < 0) {
            complain(socket, error);
            result = error;
        }
    }
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    return result;
}

void activation_close(struct activation *activation)
{
    for (size_t i = 0; i < activation->count; i++) {
        if (activation->sockets[i].fd >= 0)
            close(activation->sockets[i].fd);
        free(activation->sockets[i].name);
    }
    free(activation->sockets);
    *activation = (struct activation){0};
}

// ---- whose it is ----

static bool is_v6_for(const struct activation_socket *socket, const struct config_address *address)
{
    const struct sockaddr_in6 *has = (const struct sockaddr_in6 *)&socket->address;
    const struct sockaddr_in6 *wants = (const struct sockaddr_in6 *)&address->socket;

    if (has->sin6_port != wants->sin6_port || has->sin6_scope_id != wants->sin6_scope_id ||
        memcmp(&has->sin6_addr, &wants->sin6_addr, sizeof(has->sin6_addr)) != 0)
        return false;
    // `*` is both families, [::] the one. Elsewhere it makes no difference.
    return !IN6_IS_ADDR_UNSPECIFIED(&has->sin6_addr) || socket->is_v6only == (address->text[0] != '*');
}

static bool is_for(const struct activation_socket *socket, const struct config_address *address)
{
    const struct sockaddr_in *has = (const struct sockaddr_in *)&socket->address;
    const struct sockaddr_in *wants = (const struct sockaddr_in *)&address->socket;

    // On a machine without IPv6 `*` is every address of IPv4.
    if (socket->address.ss_family == AF_INET && address->socket.ss_family == AF_INET6 && address->text[0] == '*')
        return has->sin_addr.s_addr == htonl(INADDR_ANY) &&
               has->sin_port == ((const struct sockaddr_in6 *)&address->socket)->sin6_port;
    if (socket->address.ss_family != address->socket.ss_family)
        return false;
    switch (address->socket.ss_family) {
    case AF_INET:
        return has->sin_port == wants->sin_port && has->sin_addr.s_addr == wants->sin_addr.s_addr;
    case AF_INET6:
        return is_v6_for(socket, address);
    case AF_UNIX: // an unnamed one has an address of the family alone, and is nobody's
        return socket->length > sizeof(sa_family_t) &&
               strncmp(((const struct sockaddr_un *)&socket->address)->sun_path,
                       ((const struct sockaddr_un *)&address->socket)->sun_path,
                       sizeof(((struct sockaddr_un *)NULL)->sun_path)) == 0;
    default:
        return false;
    }
}

int activation_take(struct activation *activation, const struct config_address *address)
{
    for (size_t i = 0; activation && i < activation->count; i++) {
        struct activation_socket *socket = &activation->sockets[i];
        int fd = socket->fd;

        if (fd < 0 || !is_for(socket, address))
            continue;
        log_info("socket taken over", log_text("address", address->text), log_text("name", socket->name));
        socket->fd = -1;
        return fd;
    }
    return -1;
}

int activation_check(const struct activation *activation)
{
    int result = 0;

    for (size_t i = 0; i < activation->count; i++) {
        const struct activation_socket *socket = &activation->sockets[i];
        char text[SOCKET_TEXT_SIZE];

        if (socket->fd < 0)
            continue;
        socket_text(&socket->address, text, sizeof(text));
        log_error("a socket was passed that no listener has",
                  log_text("address", socket->address.ss_family == AF_UNIX
                                          ? ((const struct sockaddr_un *)&socket->address)->sun_path
                                          : text),
                  log_text("name", socket->name),
                  log_text("cure", "write its ListenStream= as a listener's `address`, or the other way round: *:PORT is "
                                   "ListenStream=PORT, [::]:PORT needs BindIPv6Only=ipv6-only too"));
        result = -EINVAL;
    }
    return result;
}
