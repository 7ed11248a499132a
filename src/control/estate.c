// SPDX-License-Identifier: Apache-2.0
// A message is a header, then the bytes, or a memory file with them as the first descriptor that comes along where they are many; the
// item's own descriptor comes behind that.
#include "estate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ringbolt/file.h"
#include "ringbolt/secret.h"
#include "ringbolt/socket.h"

#define MAGIC       0x45626e52u // "RnbE"
#define INLINE_MAX  ((size_t)32 << 10)
#define FDS_MAX     2
#define COUNT_MAX   ((size_t)1 << 20)
#define SEALS       (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define FLAGS_KNOWN (ESTATE_OPTIONAL | ESTATE_SECRET | IN_FILE | HAS_FD)

// On the wire only.
enum {
    IN_FILE = 1 << 16,
    HAS_FD = 1 << 17,
};

struct header {
    uint32_t magic;
    uint32_t type;
    uint32_t flags;
    uint32_t zero;
    uint64_t size; // of the bytes
};

// ---- items ----

static uint8_t *bytes_alloc(size_t size, uint32_t flags)
{
    return (flags & ESTATE_SECRET) != 0 ? secret_take(size) : malloc(size);
}

void estate_item_finish(struct estate_item *item)
{
    if ((item->flags & ESTATE_SECRET) != 0)
        secret_give(item->bytes);
    else
        free(item->bytes);
    if (item->fd >= 0 && (item->flags & ESTATE_CLOSE) != 0)
        close(item->fd);
    *item = (struct estate_item){.fd = -1};
}

// Room for one more. 0 or -ENOMEM.
static int grow(struct estate *estate)
{
    size_t capacity = estate->capacity > 0 ? 2 * estate->capacity : 32;
    struct estate_item *items;

    if (estate->count < estate->capacity)
        return 0;
    if (estate->count >= COUNT_MAX)
        return -E2BIG;
    items = reallocarray(estate->items, capacity, sizeof(*items));
    if (!items)
        return -ENOMEM;
    estate->items = items;
    estate->capacity = capacity;
    return 0;
}

int estate_add(struct estate *estate, enum estate_type type, unsigned flags, const void *bytes, size_t size,
               int fd)
{
    struct estate_item item = {.type = type, .flags = flags, .size = size, .fd = fd};
    int error = size > ESTATE_SIZE_MAX ? -E2BIG : grow(estate);

    if (error == 0 && size > 0) {
        item.bytes = bytes_alloc(size, flags);
        if (item.bytes)
            memcpy(item.bytes, bytes, size);
        else
            error = -ENOMEM;
    }
    if (error < 0)
        estate_item_finish(&item);
    else
        estate->items[estate->count++] = item;
    return error;
}

int estate_put(struct estate *estate, struct estate_item *item)
{
    int error = grow(estate);

    if (error < 0) {
        estate_item_finish(item);
        return error;
    }
    estate->items[estate->count++] = *item;
    *item = (struct estate_item){.fd = -1};
    return 0;
}

struct estate_item *estate_find(const struct estate *estate, enum estate_type type,
                                const struct estate_item *after)
{
    size_t i = after ? (size_t)(after - estate->items) + 1 : 0;

    for (; estate && i < estate->count; i++) {
        if (estate->items[i].type == (uint32_t)type)
            return &estate->items[i];
    }
    return NULL;
}

int estate_take_fd(struct estate_item *item)
{
    int fd = item->fd;

    item->fd = -1;
    return fd;
}

void estate_forget_secrets(struct estate *estate)
{
    for (size_t i = 0; i < estate->count; i++) {
        if ((estate->items[i].flags & ESTATE_SECRET) != 0)
            estate_item_finish(&estate->items[i]); // its type is ESTATE_NONE now
    }
}

void estate_finish(struct estate *estate)
{
    for (size_t i = 0; i < estate->count; i++)
        estate_item_finish(&estate->items[i]);
    free(estate->items);
    *estate = (struct estate){0};
}

// ---- sending ----

static void wipe_file(int fd, size_t size)
{
    static const uint8_t zeros[4096];

    for (size_t at = 0; at < size; at += sizeof(zeros)) {
        size_t rest = size - at < sizeof(zeros) ? size - at : sizeof(zeros);

        (void)!pwrite(fd, zeros, rest, (off_t)at);
    }
}

// What must be sealed. Whoever could change a file while it is read could have it checked as one thing and used as another: it is copied before it
// is looked at, so secrets may be written, by the reader, who wipes them.
static int seals_of(uint32_t flags)
{
    return (flags & ESTATE_SECRET) != 0 ? F_SEAL_SHRINK | F_SEAL_GROW : SEALS;
}

static int send_with(int channel, const struct header *header, const struct estate_item *item, const int *fds,
                     size_t count)
{
    bool is_inline = (header->flags & IN_FILE) == 0;
    const struct iovec parts[] = {{.iov_base = (void *)(uintptr_t)header, .iov_len = sizeof(*header)},
                                  {.iov_base = item->bytes, .iov_len = is_inline ? item->size : 0}};
    int error;

    do
        error = socket_send_with(channel, parts, 2, fds, count);
    while (error == -EINTR);
    return error;
}

int estate_send(int channel, const struct estate_item *item)
{
    struct header header = {.magic = MAGIC,
                            .type = item->type,
                            .flags = item->flags & (ESTATE_OPTIONAL | ESTATE_SECRET),
                            .size = item->size};
    int fds[FDS_MAX];
    size_t count = 0;
    int file = -1;
    int error;

    if (item->size > INLINE_MAX) {
        file = file_sealed("ringbolt-estate", item->bytes, item->size, seals_of(item->flags));
        if (file < 0)
            return file;
        header.flags |= IN_FILE;
        fds[count++] = file;
    }
    if (item->fd >= 0) {
        header.flags |= HAS_FD;
        fds[count++] = item->fd;
    }
    error = send_with(channel, &header, item, fds, count);
    if (file >= 0 && error < 0 && (item->flags & ESTATE_SECRET) != 0)
        wipe_file(file, item->size);
    if (file >= 0)
        close(file);
    return error;
}

// ---- receiving ----

static int read_file(int fd, uint8_t *to, size_t size, uint32_t flags)
{
    int seals = fcntl(fd, F_GET_SEALS);
    off_t there = lseek(fd, 0, SEEK_END);
    size_t length = 0;

    if (seals < 0 || (seals & seals_of(flags)) != seals_of(flags) || there < 0 || (uint64_t)there != size)
        return -EBADMSG;
    while (length < size) {
        ssize_t got = pread(fd, to + length, size - length, (off_t)length);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return -EBADMSG;
        length += (size_t)got;
    }
    if ((flags & ESTATE_SECRET) != 0)
        wipe_file(fd, size);
    return 0;
}

static const char *find_fault(const struct header *header, size_t rest, size_t count)
{
    bool is_in_file = (header->flags & IN_FILE) != 0;

    if (header->magic != MAGIC || header->zero != 0)
        return "a message that is none";
    if ((header->flags & ~(uint32_t)FLAGS_KNOWN) != 0)
        return "an item with a flag that is not known";
    if (header->size > ESTATE_SIZE_MAX)
        return "an item that is too large";
    if (rest != (is_in_file ? 0 : header->size) || (is_in_file && header->size == 0))
        return "an item that has not the size that it says";
    if (count != (size_t)is_in_file + ((header->flags & HAS_FD) != 0))
        return "an item that came without its descriptor, or with too many";
    return NULL;
}

int estate_parse(const uint8_t *data, size_t size, int *fds, size_t count, struct estate_item *ret,
                 const char **ret_why)
{
    struct estate_item item = {.fd = -1};
    struct header header;
    int error = 0;

    *ret_why = "a message that is none";
    if (size < sizeof(header))
        return -EBADMSG;
    memcpy(&header, data, sizeof(header));
    *ret_why = find_fault(&header, size - sizeof(header), count);
    if (*ret_why)
        return -EBADMSG;
    item.type = header.type;
    item.flags = header.flags & (ESTATE_OPTIONAL | ESTATE_SECRET);
    item.size = (size_t)header.size;
    if (item.size > 0) {
        item.bytes = bytes_alloc(item.size, item.flags);
        *ret_why = "no memory for an item";
        if (!item.bytes)
            return -ENOMEM;
        if ((header.flags & IN_FILE) == 0)
            memcpy(item.bytes, data + sizeof(header), item.size);
        else
            error = read_file(fds[0], item.bytes, item.size, item.flags);
    }
    if (error < 0) {
        *ret_why = "an item whose memory file is not sealed, or has not the size that it says";
        estate_item_finish(&item);
        return error;
    }
    if ((header.flags & HAS_FD) != 0) {
        item.flags |= ESTATE_CLOSE;
        item.fd = fds[count - 1];
        fds[count - 1] = -1;
    }
    *ret = item;
    return 0;
}

// Those of all messages: a sender of many may not leave us with descriptors that nobody knows.
static size_t take_descriptors(struct msghdr *message, int fds[FDS_MAX])
{
    size_t count = 0;

    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(message); cmsg; cmsg = CMSG_NXTHDR(message, cmsg)) {
        size_t length = cmsg->cmsg_len - CMSG_LEN(0);

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; at + sizeof(int) <= length; at += sizeof(int)) {
            int fd;

            memcpy(&fd, CMSG_DATA(cmsg) + at, sizeof(fd));
            if (count < FDS_MAX)
                fds[count++] = fd;
            else
                close(fd);
        }
    }
    return count;
}

int estate_receive(int channel, struct estate_item *ret, const char **ret_why)
{
    union {
        char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    static uint8_t data[sizeof(struct header) + INLINE_MAX];
    struct iovec part = {.iov_base = data, .iov_len = sizeof(data)};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    int fds[FDS_MAX] = {-1, -1};
    ssize_t length;
    size_t count;
    int error;

    do
        length = recvmsg(channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (length < 0 && errno == EINTR);
    if (length < 0 && errno == ECONNRESET) // it went with messages of ours unread: said once, and its last words come behind that
        length = recvmsg(channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (length < 0 && errno == ECONNRESET)
        return 0;
    *ret_why = "it can't be read";
    if (length <= 0)
        return length < 0 ? -errno : 0;
    count = take_descriptors(&message, fds);
    if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        *ret_why = "a message that is too long, or no descriptor is left for what came along";
        error = -EBADMSG;
    } else {
        error = estate_parse(data, (size_t)length, fds, count, ret, ret_why);
    }
    secret_wipe(data, (size_t)length);
    for (size_t i = 0; i < FDS_MAX; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    return error < 0 ? error : 1;
}
