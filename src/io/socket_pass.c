// SPDX-License-Identifier: Apache-2.0
// Messages with descriptors, over sockets between processes of ours.
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ringbolt/socket.h"

union control {
    char bytes[CMSG_SPACE(SOCKET_PASS_MAX * sizeof(int))];
    struct cmsghdr align;
};

int socket_send_with(int fd, const struct iovec *parts, size_t part_count, const int *fds, size_t fd_count)
{
    union control control = {0};
    struct msghdr header = {.msg_iov = (struct iovec *)parts, .msg_iovlen = part_count};

    if (fd_count > 0) {
        struct cmsghdr *cmsg;

        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        cmsg = CMSG_FIRSTHDR(&header);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, fd_count * sizeof(int));
    }
    return sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

ssize_t socket_receive_with(int fd, const struct iovec *parts, size_t part_count, struct socket_passed *ret)
{
    union control control;
    struct msghdr header = {.msg_iov = (struct iovec *)parts,
                            .msg_iovlen = part_count,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof(control.bytes)};
    ssize_t length = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    *ret = (struct socket_passed){.count = 0};
    if (length < 0)
        return -errno;
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header); cmsg; cmsg = CMSG_NXTHDR(&header, cmsg)) {
        size_t count;

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int); // no more than there was room for
        memcpy(ret->fds, CMSG_DATA(cmsg), count * sizeof(int));
        ret->count = count;
    }
    ret->is_cut = (header.msg_flags & MSG_CTRUNC) != 0;
    ret->is_too_long = (header.msg_flags & MSG_TRUNC) != 0;
    return length;
}

void socket_passed_close(struct socket_passed *passed)
{
    for (size_t i = 0; i < passed->count; i++)
        close(passed->fds[i]);
    passed->count = 0;
}
