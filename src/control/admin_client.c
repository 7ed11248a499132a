// SPDX-License-Identifier: Apache-2.0
// The client's half of the admin socket: one request, one answer.
#include "ringbolt/admin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin_socket.h"

#define ANSWER_MAX   ((size_t)1 << 30)
#define ANSWER_FIRST 65536

static const char *why(int error)
{
    switch (error) {
    case -ENOENT:
        return "there is no such socket: ringbolt is not running, or has another admin.socket; name it with "
               "-s "
               "PATH, or the configuration with -c FILE";
    case -ECONNREFUSED:
        return "nobody listens there: ringbolt is not running";
    case -ENOTSOCK:
    case -EPROTOTYPE:
        return "that is no admin socket";
    case -EACCES:
    case -EPERM:
        return "not allowed: become the user who started ringbolt, or root";
    case -ENAMETOOLONG:
        return "the path of a unix socket has at most 107 bytes";
    case -ECONNRESET:
        return "ringbolt went away before it answered; its log says why";
    case -EBADMSG:
        return "what answers there is not ringbolt: the answer is not JSON";
    case -ETIMEDOUT:
        return "no answer in time; its log may say why";
    default:
        return strerrordesc_np(-error);
    }
}

// ---- the steps ----

// A connected descriptor, or -errno.
static int open_connection(const char *path, unsigned timeout_s)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval timeout = {.tv_sec = timeout_s};
    int fd;
    int error = 0;

    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        error = errno == EAGAIN ? -ETIMEDOUT : -errno;
    if (error < 0)
        close(fd);
    return error < 0 ? error : fd;
}

static int send_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EPIPE)
            return 0; // it has answered already: that it won't have us, perhaps
        if (sent < 0)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        data += sent;
        length -= (size_t)sent;
    }
    return 0;
}

static int send_request(int fd, const json_t *request)
{
    char *text = json_dumps(request, JSON_COMPACT);
    size_t length;
    int error;

    if (!text)
        return -ENOMEM;
    length = strlen(text);
    text[length++] = '\n';
    error = length > ADMIN_REQUEST_MAX ? -EMSGSIZE : send_all(fd, text, length);
    free(text);
    if (error == 0)
        (void)shutdown(fd, SHUT_WR);
    return error;
}

// Everything until the end of file, malloc()ed.
static int read_answer(int fd, char **ret, size_t *ret_length)
{
    size_t capacity = ANSWER_FIRST;
    size_t length = 0;
    char *text = malloc(capacity);
    int error = text ? 0 : -ENOMEM;

    while (error == 0) {
        ssize_t got = recv(fd, text + length, capacity - length, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && !(errno == ECONNRESET && length > 0))
            error = errno == EAGAIN ? -ETIMEDOUT : -errno;
        if (got <= 0)
            break;
        length += (size_t)got;
        if (length == capacity) {
            char *larger = capacity < ANSWER_MAX ? realloc(text, 2 * capacity) : NULL;

            if (!larger)
                error = capacity < ANSWER_MAX ? -ENOMEM : -EBADMSG;
            else
                text = larger;
            capacity *= 2;
        }
    }
    if (error == 0 && length == 0)
        error = -ECONNRESET;
    if (error < 0) {
        free(text);
        return error;
    }
    *ret = text;
    *ret_length = length;
    return 0;
}

static int parse_answer(const char *text, size_t length, json_t **ret)
{
    json_t *answer;

    if (text[length - 1] != '\n')
        return -ECONNRESET; // cut off
    answer = json_loadb(text, length, 0, NULL);
    if (!json_is_object(answer)) {
        json_decref(answer);
        return -EBADMSG;
    }
    *ret = answer;
    return 0;
}

// ---- the call ----

int admin_call_within(const char *socket_path, const json_t *request, unsigned timeout_s, json_t **ret,
                      const char **ret_why)
{
    char *text = NULL;
    size_t length = 0;
    int fd = open_connection(socket_path, timeout_s);
    int error = fd < 0 ? fd : send_request(fd, request);

    if (error == 0)
        error = read_answer(fd, &text, &length);
    if (error == 0)
        error = parse_answer(text, length, ret);
    free(text);
    if (fd >= 0)
        close(fd);
    if (error < 0)
        *ret_why = why(error);
    return error;
}

int admin_call(const char *socket_path, const json_t *request, json_t **ret, const char **ret_why)
{
    return admin_call_within(socket_path, request, 0, ret, ret_why);
}
