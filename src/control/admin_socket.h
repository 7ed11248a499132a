// SPDX-License-Identifier: Apache-2.0
// The admin socket's file: made, taken over, removed; and who may use it.
#pragma once

#include <stdbool.h>

#include <jansson.h>

#include "estate.h"
#include "unix_file.h"

struct admin_socket {
    int fd; // -1: closed
    char *path;
    struct unix_file file;
};

// Listens at `path`: mode 0600 from its first moment. Its folder is made if only that is missing. A file that nobody listens at any more is
// replaced, and so is that of an instance that is ending. 0, or -errno with reason and cure in the log (is_default: as a warning).
int admin_socket_open(struct admin_socket *ret, const char *path, bool is_default);
// The one that the predecessor left, if it is at `path`; its file is ours when admin_socket_own() says so. Likewise, or 1: it left none there.
int admin_socket_inherit(struct admin_socket *ret, const char *path, struct estate *inherited);
// Adds it to the estate. 0 or -errno.
int admin_socket_leave(const struct admin_socket *socket, struct estate *ret);
// The predecessor owns its file no more: it is ours (`socket` may be NULL), or if nobody took the socket over it is removed.
void admin_socket_own(struct admin_socket *socket, const struct estate *inherited);
void admin_socket_close(struct admin_socket *socket);

// Whether who connected may give commands: root, and the user who runs the master.
bool admin_socket_may(int fd);

// A JSON string of any text: what is not UTF-8 becomes \xff, as in the log. NULL: no memory.
json_t *admin_text(const char *text);
