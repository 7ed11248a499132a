// SPDX-License-Identifier: Apache-2.0
// Listening sockets from one master to the next. They are known by the address that the configuration has for them, since a port that
// the kernel has chosen stands in no configuration, and of several at the same address the first one gets the first one's.
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listen.h"
#include "ringbolt/log.h"
#include "ringbolt/socket.h"

#define VERSION 1

// One item: these, then the address as the configuration has it.
enum {
    AT_VERSION = 0,
    AT_KIND = 1,
    AT_IS_ANY = 2,   // `*`
    AT_IS_OURS = 3,  // the file
    AT_LISTENER = 4, // its place in the predecessor's configuration
    AT_DEVICE = 8,
    AT_INODE = 16,
    AT_ADDRESS = 24,
};

struct left {
    uint8_t kind;
    bool is_any;
    bool is_ours;
    uint32_t listener;
    uint64_t device;
    uint64_t inode;
    struct sockaddr_storage address;
    socklen_t length;
};

// ---- leaving ----

static int leave_one(const struct listening *listening, size_t index, int fd, struct estate *ret)
{
    const struct config_address *address = &listening->config->listeners[index].address;
    const struct listening_sockets *sockets = &listening->sockets[index];
    uint8_t bytes[AT_ADDRESS + sizeof(struct sockaddr_storage)] = {
        [AT_VERSION] = VERSION,
        [AT_KIND] = (uint8_t)sockets->kind,
        [AT_IS_ANY] = address->text[0] == '*',
        [AT_IS_OURS] = sockets->file.is_ours,
    };
    uint32_t listener = (uint32_t)index;
    uint64_t device = sockets->file.device;
    uint64_t inode = sockets->file.inode;

    memcpy(bytes + AT_LISTENER, &listener, sizeof(listener));
    memcpy(bytes + AT_DEVICE, &device, sizeof(device));
    memcpy(bytes + AT_INODE, &inode, sizeof(inode));
    memcpy(bytes + AT_ADDRESS, &address->socket, address->length);
    return estate_add(ret, ESTATE_LISTENER, 0, bytes, AT_ADDRESS + address->length, fd);
}

int listening_leave(const struct listening *listening, struct estate *ret)
{
    int error = 0;

    for (size_t i = 0; listening->sockets && i < listening->config->listener_count; i++) {
        for (unsigned k = 0; error == 0 && k < listening->sockets[i].count; k++)
            error = leave_one(listening, i, listening->sockets[i].fds[k], ret);
    }
    return error;
}

// ---- inheriting ----

static bool parse(const struct estate_item *item, struct left *ret)
{
    size_t length = item->size - AT_ADDRESS;
    struct left left = {0};

    if (item->size < AT_ADDRESS + sizeof(sa_family_t) || length > sizeof(left.address) ||
        item->bytes[AT_VERSION] != VERSION)
        return false;
    left.kind = item->bytes[AT_KIND];
    left.is_any = item->bytes[AT_IS_ANY] != 0;
    left.is_ours = item->bytes[AT_IS_OURS] != 0;
    memcpy(&left.listener, item->bytes + AT_LISTENER, sizeof(left.listener));
    memcpy(&left.device, item->bytes + AT_DEVICE, sizeof(left.device));
    memcpy(&left.inode, item->bytes + AT_INODE, sizeof(left.inode));
    memcpy(&left.address, item->bytes + AT_ADDRESS, length);
    left.length = (socklen_t)length;
    *ret = left;
    return left.kind >= LISTENING_GROUP && left.kind <= LISTENING_UNIX &&
           (left.address.ss_family == AF_UNIX ? length <= sizeof(struct sockaddr_un)
                                              : left.kind != LISTENING_UNIX);
}

static bool listens(int fd)
{
    int value = 0;
    socklen_t length = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) == 0 && value != 0;
}

// An item that nobody has taken yet, and is what it says.
static bool is_there(const struct estate_item *item, struct left *ret)
{
    return item->fd >= 0 && parse(item, ret) && listens(item->fd);
}

static bool is_for(const struct left *left, const struct config_address *address)
{
    return left->length == address->length && left->is_any == (address->text[0] == '*') &&
           memcmp(&left->address, &address->socket, left->length) == 0;
}

static int take(struct listening_sockets *sockets, struct estate_item *item, const struct left *left)
{
    int *fds = reallocarray(sockets->fds, sockets->count + 1, sizeof(*fds));

    if (!fds)
        return -ENOMEM;
    sockets->fds = fds;
    sockets->kind = (enum listening_kind)left->kind;
    sockets->is_inherited = true;
    sockets->file = (struct unix_file){.device = (dev_t)left->device, .inode = (ino_t)left->inode};
    sockets->fds[sockets->count++] = estate_take_fd(item);
    return 0;
}

int listening_inherit(struct estate *inherited, const struct config_address *address,
                      struct listening_sockets *ret)
{
    struct estate_item *item = NULL;
    uint32_t listener = 0;
    struct left left;

    while ((item = estate_find(inherited, ESTATE_LISTENER, item))) {
        if (!is_there(item, &left) || !is_for(&left, address) ||
            (ret->count > 0 && left.listener != listener))
            continue;
        listener = left.listener;
        if (take(ret, item, &left) < 0)
            return -ENOMEM;
    }
    return ret->count > 0;
}

bool listening_had_port(const struct estate *inherited, in_port_t port)
{
    struct estate_item *item = NULL;

    while (port != 0 && (item = estate_find(inherited, ESTATE_LISTENER, item))) {
        struct left left;

        if (!parse(item, &left) || left.kind != LISTENING_GROUP)
            continue;
        if (port == (left.address.ss_family == AF_INET6
                         ? ((const struct sockaddr_in6 *)&left.address)->sin6_port
                         : ((const struct sockaddr_in *)&left.address)->sin_port))
            return true;
    }
    return false;
}

// ---- files ----

void listening_own(struct listening *listening, const struct estate *inherited)
{
    struct estate_item *item = NULL;

    while ((item = estate_find(inherited, ESTATE_LISTENER, item))) {
        struct left left;

        if (item->fd >= 0 && parse(item, &left) && left.kind == LISTENING_UNIX &&
            left.is_ours) { // no listener has it
            struct unix_file file = {
                .is_ours = true, .device = (dev_t)left.device, .inode = (ino_t)left.inode};

            unix_file_remove(&file, ((const struct sockaddr_un *)&left.address)->sun_path);
        }
    }
    for (size_t i = 0; listening->sockets && i < listening->config->listener_count; i++) {
        if (listening->sockets[i].is_inherited && listening->sockets[i].kind == LISTENING_UNIX)
            listening->sockets[i].file.is_ours = true;
    }
}

void listening_disown(struct listening *listening)
{
    for (size_t i = 0; listening->sockets && i < listening->config->listener_count; i++)
        listening->sockets[i].file.is_ours = false;
}
