// SPDX-License-Identifier: Apache-2.0
// Where the admin socket is in the file system.
#include "admin_socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ringbolt/admin.h"
#include "ringbolt/log.h"

#define BACKLOG        64
#define PING_TIMEOUT_S 1

json_t *admin_text(const char *text)
{
    json_t *string = json_string(text);
    size_t length = 0;
    char *escaped;

    if (string || !text)
        return string;
    escaped = malloc(4 * strlen(text) + 1);
    if (!escaped)
        return NULL;
    for (; *text; text++) {
        if ((unsigned char)*text < 0x80)
            escaped[length++] = *text;
        else
            length += (size_t)sprintf(escaped + length, "\\x%02x", (unsigned char)*text);
    }
    escaped[length] = '\0';
    string = json_string(escaped);
    free(escaped);
    return string;
}

bool admin_socket_may(int fd)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
           (peer.uid == 0 || peer.uid == geteuid());
}

// ---- what is at the path already ----

// True when an instance answers there that is on its way out: its socket is of no more use to anybody who comes now.
static bool is_ending(const char *path)
{
    json_t *request = json_pack("{s:s}", "command", "ping");
    json_t *answer = NULL;
    const char *state = NULL;
    const char *why;
    bool is = false;

    if (request && admin_call_within(path, request, PING_TIMEOUT_S, &answer, &why) == 0) {
        state = json_string_value(json_object_get(answer, "state"));
        is = state && (strcmp(state, "draining") == 0 || strcmp(state, "stopping") == 0);
    }
    json_decref(answer);
    json_decref(request);
    return is;
}

// Makes room at the path. 0, or -EADDRINUSE, -EEXIST, …
static int clear_path(const struct sockaddr_un *address)
{
    const char *path = address->sun_path;
    int found = unix_file_look(address, sizeof(*address));

    if (found <= 0)
        return found;
    if (found == UNIX_FILE_STALE)
        log_info("stale admin socket removed", log_text("path", path));
    else if (found == UNIX_FILE_LISTENS && is_ending(path))
        log_info("admin socket taken over from an instance that is ending", log_text("path", path));
    else
        return -EADDRINUSE;
    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static void make_folder(const char *path)
{
    char folder[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    char *slash;
    mode_t mask;

    strcpy(folder, path); // its length was checked
    slash = strrchr(folder, '/');
    if (!slash || slash == folder)
        return;
    *slash = '\0';
    mask = umask(0022);
    (void)mkdir(folder, 0755); // that it is there is the usual case; everything else shows in bind(2)
    umask(mask);
}

// ---- life ----

static const char *cure(int error)
{
    switch (error) {
    case -EADDRINUSE:
        return "another ringbolt answers there: stop it, or give each its own admin.socket";
    case -EEXIST:
        return "a file that is no socket is in the way: remove it, or choose another admin.socket";
    case -ENOENT:
        return "the folder and the one it is in do not exist: make them";
    case -EACCES:
    case -EPERM:
    case -EROFS:
        return "the folder must be writable for the user who starts ringbolt, and the file that is there his "
               "own: choose another admin.socket";
    case -ENAMETOOLONG:
        return "the path of a unix socket has at most 107 bytes: choose a shorter admin.socket";
    default:
        return NULL;
    }
}

static int try_open(struct admin_socket *made)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int error;

    if (strlen(made->path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    strcpy(address.sun_path, made->path);
    make_folder(made->path);
    error = clear_path(&address);
    if (error < 0)
        return error;
    made->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (made->fd < 0)
        return -errno;
    return unix_file_listen(&made->file, made->fd, &address, sizeof(address), 0177, BACKLOG);
}

int admin_socket_open(struct admin_socket *ret, const char *path, bool is_default)
{
    struct admin_socket made = {.fd = -1, .path = strdup(path)};
    int error = made.path ? try_open(&made) : -ENOMEM;

    if (error < 0) {
        admin_socket_close(&made);
        log_line(is_default ? LOG_WARNING : LOG_ERROR,
                 is_default
                     ? "no admin socket: commands such as `ringbolt reload` will not reach this instance"
                     : "cannot open the admin socket",
                 log_text("path", path), log_errno(error), log_text("cure", cure(error)));
        return error;
    }
    *ret = made;
    return 0;
}

// ---- from one master to the next ----

// One item: a version, whether the file is the predecessor's, its device and inode, the path.
enum { VERSION = 1, AT_IS_OURS = 1, AT_DEVICE = 8, AT_INODE = 16, AT_PATH = 24 };

int admin_socket_leave(const struct admin_socket *left, struct estate *ret)
{
    uint8_t bytes[AT_PATH + sizeof(((struct sockaddr_un *)NULL)->sun_path)] = {VERSION};
    uint64_t device = left->file.device;
    uint64_t inode = left->file.inode;
    size_t length = strlen(left->path); // it was bound: it is not too long

    bytes[AT_IS_OURS] = left->file.is_ours;
    memcpy(bytes + AT_DEVICE, &device, sizeof(device));
    memcpy(bytes + AT_INODE, &inode, sizeof(inode));
    memcpy(bytes + AT_PATH, left->path, length);
    return estate_add(ret, ESTATE_ADMIN, 0, bytes, AT_PATH + length, left->fd);
}

// False: it is not what it says.
static bool parse(const struct estate_item *item, char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)],
                  struct unix_file *ret)
{
    uint64_t device;
    uint64_t inode;

    if (item->size <= AT_PATH || item->size - AT_PATH >= sizeof(((struct sockaddr_un *)NULL)->sun_path) ||
        item->bytes[0] != VERSION)
        return false;
    memcpy(&device, item->bytes + AT_DEVICE, sizeof(device));
    memcpy(&inode, item->bytes + AT_INODE, sizeof(inode));
    memcpy(path, item->bytes + AT_PATH, item->size - AT_PATH);
    path[item->size - AT_PATH] = '\0';
    *ret = (struct unix_file){
        .is_ours = item->bytes[AT_IS_OURS] != 0, .device = (dev_t)device, .inode = (ino_t)inode};
    return strlen(path) == item->size - AT_PATH;
}

int admin_socket_inherit(struct admin_socket *ret, const char *path, struct estate *inherited)
{
    struct estate_item *item = estate_find(inherited, ESTATE_ADMIN, NULL);
    char left[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    struct admin_socket taken;

    if (!item || item->fd < 0 || !parse(item, left, &taken.file) || strcmp(left, path) != 0)
        return 1;
    taken.file.is_ours = false;
    taken.path = strdup(path);
    if (!taken.path)
        return -ENOMEM;
    taken.fd = estate_take_fd(item);
    *ret = taken;
    return 0;
}

void admin_socket_own(struct admin_socket *taken, const struct estate *inherited)
{
    const struct estate_item *item = estate_find(inherited, ESTATE_ADMIN, NULL);
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    struct unix_file file;

    if (!item || !parse(item, path, &file) || !file.is_ours)
        return;
    if (item->fd >= 0)
        unix_file_remove(&file, path);
    else if (taken)
        taken->file = file;
}

void admin_socket_close(struct admin_socket *made)
{
    unix_file_remove(&made->file, made->path);
    if (made->fd >= 0)
        close(made->fd);
    free(made->path);
    *made = (struct admin_socket){.fd = -1};
}
