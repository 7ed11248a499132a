// SPDX-License-Identifier: Apache-2.0
// The file of a listening unix socket (unix(7)): looked at, made, and removed as long as it is ours.
#pragma once

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

struct unix_file {
    bool is_ours;
    dev_t device;
    ino_t inode;
};

enum unix_file_found {
    UNIX_FILE_NONE,
    UNIX_FILE_STALE,  // a socket where nobody listens any more
    UNIX_FILE_TAKEN,  // somebody listens, or its queue is full, or it is of another type
    UNIX_FILE_LISTENS // somebody took our connection
};

// What is at the path. An enum unix_file_found, or -errno: -EEXIST for a file that is no socket, -EACCES for one that is not for us.
int unix_file_look(const struct sockaddr_un *address, socklen_t length);

// Binds, with permissions 0777 less `mask` from the file's first moment, and listens. 0 and the file is ours, or -errno: it may be ours then too.
int unix_file_listen(struct unix_file *file, int fd, const struct sockaddr_un *address, socklen_t length,
                     mode_t mask, int backlog);

// Removes it if it is still the one that we made.
void unix_file_remove(struct unix_file *file, const char *path);
