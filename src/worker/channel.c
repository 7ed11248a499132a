// SPDX-License-Identifier: Apache-2.0
// Messages are received by recvmsg(2) when the ring says that there are some, not by the ring itself: a descriptor that comes along needs a
// free number. When the limit of descriptors is reached (a worker full of connections) it would be lost, and with it a change of
// certificates. So one number is held in reserve, and given up right before the call; nothing on this thread can take it in between.
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ringbolt/clock.h"
#include "ringbolt/log.h"

#define MESSAGES_AT_ONCE 16 // then connections have their turn

// Sequence numbers are compared as a circle: they may wrap.
static bool is_after(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) > 0;
}

// ---- answers ----

static void tell(struct channel *channel)
{
    if (channel->is_ending || channel->is_over || channel->send_op.in_flight)
        return;
    if (channel->news_count > 0)
        channel->answer = channel->news[0];
    else if (is_after(channel->acted, channel->told))
        channel->answer = (struct worker_message){.type = WORKER_CHANGED, .sequence = channel->acted};
    else
        return;
    ring_send(channel->ring, &channel->send_op, channel->fd, &channel->answer, sizeof(channel->answer),
              MSG_NOSIGNAL);
}

static void said(struct channel *channel)
{
    if (channel->answer.type == WORKER_CHANGED) {
        channel->told = channel->answer.sequence;
        return;
    }
    channel->news_count--;
    memmove(channel->news, channel->news + 1, channel->news_count * sizeof(channel->news[0]));
}

static void on_sent(struct ring_op *op, const struct ring_completion *completion)
{
    struct channel *channel = list_entry(op, struct channel, send_op);

    if (completion->result == (int)sizeof(channel->answer))
        said(channel);
    else if (completion->result != -EAGAIN && completion->result != -EINTR && completion->result != -ENOMEM)
        return;    // the master is gone: the poll says so
    tell(channel); // what was acted upon meanwhile
}

// ---- messages ----

static void reserve(struct channel *channel)
{
    if (channel->spare < 0)
        channel->spare = fcntl(channel->fd, F_DUPFD_CLOEXEC, 0);
}

static int descriptor_of(struct msghdr *header)
{
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(header);
    int fd = -1;

    if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS &&
        cmsg->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
    return fd;
}

// 1: a message; 0: the master is gone; -errno, -EAGAIN: none there.
static int receive(struct channel *channel, struct worker_message *message, int *ret_fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec part = {.iov_base = message, .iov_len = sizeof(*message)};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof(control.bytes)};
    ssize_t length;

    if (channel->spare >= 0)
        close(channel->spare);
    channel->spare = -1;
    length = recvmsg(channel->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (length <= 0) {
        int result = length < 0 ? -errno : 0;

        reserve(channel);
        return result;
    }
    *ret_fd = descriptor_of(&header);
    return length == (ssize_t)sizeof(*message) ? 1 : -EBADMSG;
}

static void act(struct channel *channel, const struct worker_message *message, int *fd)
{
    if (!channel->owner->message(channel->owner->owner, message, fd)) {
        channel->is_over = true;
        return;
    }
    if (is_after(message->sequence, channel->acted))
        channel->acted = message->sequence;
}

// Does what one message says. False when no other is to be read now.
static bool take_message(struct channel *channel)
{
    struct worker_message message;
    int fd = -1;
    int result = receive(channel, &message, &fd);

    if (result > 0)
        act(channel, &message, &fd);
    if (fd >= 0)
        close(fd);
    reserve(channel);
    if (result == 0 || (result < 0 && result != -EAGAIN && result != -EINTR && result != -ENOMEM))
        channel->is_over = true;
    if (result == -EBADMSG)
        log_error("the master sent what is no message");
    return result > 0 && !channel->is_over;
}

static void on_readable(struct ring_op *op, const struct ring_completion *completion)
{
    struct channel *channel = list_entry(op, struct channel, poll_op);

    (void)completion; // refused or told: looking is harmless
    if (channel->is_ending)
        return;
    for (unsigned i = 0; i < MESSAGES_AT_ONCE && take_message(channel); i++)
        ;
    tell(channel);
    if (!channel->is_over)
        channel_start(channel);
}

// ---- life ----

int channel_init(struct channel *channel, struct ring *ring, int fd, uint32_t sequence,
                 const struct channel_owner *owner)
{
    *channel = (struct channel){
        .ring = ring, .fd = fd, .spare = -1, .owner = owner, .acted = sequence, .told = sequence};
    ring_op_init(&channel->poll_op, on_readable);
    ring_op_init(&channel->send_op, on_sent);
    reserve(channel);
    return channel->spare < 0 ? -errno : 0;
}

void channel_start(struct channel *channel)
{
    ring_poll(channel->ring, &channel->poll_op, channel->fd, POLLIN);
}

int channel_say_ready(struct channel *channel)
{
    struct worker_message ready = {.type = WORKER_READY, .sequence = channel->acted};

    return send(channel->fd, &ready, sizeof(ready), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int channel_say(struct channel *channel, const struct worker_message *message)
{
    if (channel->news_count == CHANNEL_NEWS_MAX)
        return -ENOBUFS;
    channel->news[channel->news_count++] = *message;
    tell(channel);
    return 0;
}

void channel_finish(struct channel *channel)
{
    struct ring_completion completion;

    channel->is_ending = true;
    while (channel->poll_op.in_flight || channel->send_op.in_flight) {
        // Again if it was lost: see cancel_all() in connection.c.
        ring_cancel(channel->ring, &channel->poll_op);
        ring_cancel(channel->ring, &channel->send_op);
        if (ring_wait(channel->ring, CLOCK_NS_PER_S / 10) < 0)
            break;
        while (ring_next(channel->ring, &completion))
            ;
    }
    if (channel->spare >= 0)
        close(channel->spare);
    channel->spare = -1;
}
