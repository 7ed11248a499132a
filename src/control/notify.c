// SPDX-License-Identifier: Apache-2.0
// libsystemd would do this too; it is these lines, and would be another library in the process that holds the keys.
#include "notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "keeper.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"

#define MESSAGE_MAX 512

// A whole number above 0 that an environment variable holds; 0: none.
static uint64_t number_of(const char *name)
{
    const char *text = getenv(name);
    char *end = NULL;
    unsigned long long number = text && text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;

    return end && *end == '\0' ? number : 0;
}

static uint64_t watchdog_ns(void)
{
    uint64_t usec = number_of("WATCHDOG_USEC");

    if (getenv("WATCHDOG_PID") && number_of("WATCHDOG_PID") != (uint64_t)getpid())
        return 0; // somebody else's
    return usec < UINT64_MAX / 1000 ? usec * 1000 : 0;
}

static int connect_to(struct notify *notify, const char *path)
{
    const struct timeval patience = {.tv_sec = 1};
    size_t length = strlen(path);

    if ((path[0] != '/' && path[0] != '@') || length < 2)
        return -EAFNOSUPPORT;
    if (length >= sizeof(notify->address.sun_path))
        return -ENAMETOOLONG;
    notify->address.sun_family = AF_UNIX;
    memcpy(notify->address.sun_path, path, length);
    if (path[0] == '@') // an abstract address: no file, and no zero at the end (unix(7))
        notify->address.sun_path[0] = '\0';
    notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (notify->fd < 0)
        return -errno;
    notify->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (path[0] == '/'));
    return setsockopt(notify->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ? -errno : 0;
}

void notify_open(struct notify *ret)
{
    const char *path = getenv("NOTIFY_SOCKET");
    int error;

    *ret = (struct notify){.relay = -1};
    if (path) {
        error = connect_to(ret, path);
        if (error < 0) {
            log_warning("cannot tell the service manager anything", log_text("socket", path),
                        log_errno(error));
            notify_close(ret);
        } else {
            ret->watchdog_ns = watchdog_ns();
        }
    }
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
}

void notify_close(struct notify *notify)
{
    if (notify->length > 0)
        close(notify->fd);
    *notify = (struct notify){.relay = -1};
}

void notify_send(struct notify *notify, const char *format, ...)
{
    char message[MESSAGE_MAX];
    va_list arguments;
    ssize_t sent;
    int length;

    if (notify->length == 0)
        return;
    va_start(arguments, format);
    length = vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof(message))
        abort(); // they are our own
    if (notify->relay >= 0) {
        keeper_say_text(notify->relay, message);
        return;
    }
    do
        sent = sendto(notify->fd, message, (size_t)length, MSG_NOSIGNAL,
                      (const struct sockaddr *)&notify->address, notify->length);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        log_warning("the service manager was not reached", log_errno(errno));
}
