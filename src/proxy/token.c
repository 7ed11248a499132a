// SPDX-License-Identifier: Apache-2.0
#include "token.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer.h"

// What is in a file that changes while it is read is its writer's business; more than `size` it never is.
static int read_whole(int fd, char *content, size_t size)
{
    struct stat status;
    ssize_t length;

    if (fstat(fd, &status) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode) || status.st_size > (off_t)size)
        return -ENOENT;
    do
        length = read(fd, content, size);
    while (length < 0 && errno == EINTR);
    return length < 0 ? -errno : (int)length;
}

int token_read(int folder, const char *token, char *content, size_t size)
{
    // Not blocking, so that a FIFO is found out and not waited for.
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    char path[sizeof(".well-known/acme-challenge/") + ANSWER_TOKEN_MAX];
    int result;
    int fd;

    if (token[0] == '\0')
        return -ENOENT;
    snprintf(path, sizeof(path), ".well-known/acme-challenge/%s", token);
    fd = (int)syscall(SYS_openat2, folder, path, &how, sizeof(how));
    if (fd < 0)
        return errno == ENOTDIR || errno == ELOOP || errno == EXDEV || errno == ENXIO ? -ENOENT : -errno;
    result = read_whole(fd, content, size);
    close(fd);
    return result;
}
