// SPDX-License-Identifier: Apache-2.0
#include "unix_file.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ringbolt/socket.h"

int unix_file_look(const struct sockaddr_un *address, socklen_t length)
{
    struct stat status;
    int error = 0;
    int fd;

    if (lstat(address->sun_path, &status) < 0)
        return errno == ENOENT ? UNIX_FILE_NONE : -errno;
    if (!S_ISSOCK(status.st_mode))
        return -EEXIST;
    fd = socket_open(AF_UNIX);
    if (fd < 0)
        return fd;
    if (connect(fd, (const struct sockaddr *)address, length) < 0)
        error = -errno;
    close(fd);
    switch (error) {
    case 0:
        return UNIX_FILE_LISTENS;
    case -ENOENT: // just now
        return UNIX_FILE_NONE;
    case -ECONNREFUSED:
        return UNIX_FILE_STALE;
    case -EACCES:
    case -EPERM:
        return error;
    default:
        return UNIX_FILE_TAKEN;
    }
}

int unix_file_listen(struct unix_file *file, int fd, const struct sockaddr_un *address, socklen_t length,
                     mode_t mask, int backlog)
{
    mode_t before = umask(mask); // bind(2) makes the file with mode 0777 less the umask
    int error = bind(fd, (const struct sockaddr *)address, length) < 0 ? -errno : 0;
    struct stat status;

    umask(before);
    if (error < 0)
        return error;
    if (lstat(address->sun_path, &status) < 0)
        return -errno;
    *file = (struct unix_file){.is_ours = true, .device = status.st_dev, .inode = status.st_ino};
    return listen(fd, backlog) < 0 ? -errno : 0;
}

void unix_file_remove(struct unix_file *file, const char *path)
{
    struct stat status;

    if (file->is_ours && lstat(path, &status) == 0 && status.st_dev == file->device &&
        status.st_ino == file->inode)
        (void)unlink(path);
    file->is_ours = false;
}
