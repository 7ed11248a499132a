// SPDX-License-Identifier: Apache-2.0
// What both sides of a dialogue share: messages out and in, and their turn in the proxy's loop.
#include "handover.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ringbolt-version.h"
#include "ringbolt/clock.h"
#include "ringbolt/secret.h"

#define LOOK_NS          (20 * CLOCK_NS_PER_MS)
#define MESSAGES_AT_ONCE 64 // then connections have their turn

uint64_t handover_patience_ns = 5 * CLOCK_NS_PER_S;

void handover_due(struct handover *handover)
{
    handover->proxy->is_handover_due = true;
}

// ---- the socket ----

static void on_readable(struct ring_op *op, const struct ring_completion *completion)
{
    struct handover *handover = list_entry(op, struct handover, read_op);

    (void)completion; // refused or told: looking is harmless
    handover->is_readable = true;
    handover_due(handover);
}

static void on_writable(struct ring_op *op, const struct ring_completion *completion)
{
    struct handover *handover = list_entry(op, struct handover, write_op);

    (void)completion;
    handover->is_full = false;
    handover_due(handover);
}

bool handover_send(struct handover *handover, const struct handover_message *message, const int *fds, size_t fd_count)
{
    uint8_t head[HANDOVER_HEAD];
    struct iovec parts[] = {
        {.iov_base = head, .iov_len = sizeof(head)},
        {.iov_base = (void *)(uintptr_t)message->body, .iov_len = message->body_size},
    };
    int error;

    if (handover->is_full)
        return false;
    handover_message_head(message, head);
    error = socket_send_with(handover->fd, parts, message->body_size > 0 ? 2 : 1, fds, fd_count);
    if (error == 0)
        return true;
    handover->is_full = true; // the timer tries again whatever it was
    if (error == -EAGAIN && !handover->write_op.in_flight)
        ring_poll(handover->proxy->ring, &handover->write_op, handover->fd, POLLOUT);
    return false;
}

bool handover_say_hello(struct handover *handover, uint32_t oldest, uint32_t newest)
{
    static const char release[] = RINGBOLT_VERSION;
    struct handover_message hello = {.type = HANDOVER_HELLO,
                                     .number = oldest,
                                     .size = newest,
                                     .body = (const uint8_t *)release,
                                     .body_size = sizeof(release) - 1};

    if (handover->is_hello_due && handover_send(handover, &hello, NULL, 0))
        handover->is_hello_due = false;
    return !handover->is_hello_due;
}

enum received handover_receive(struct handover *handover, struct handover_message *ret,
                               struct socket_passed *ret_sockets)
{
    static uint8_t scratch[HANDOVER_HEAD + HANDOVER_BODY_MAX]; // of one thread; keys go through it: wiped by who reads BYTES
    struct iovec part = {.iov_base = scratch, .iov_len = sizeof(scratch)};
    ssize_t length;

    do
        length = socket_receive_with(handover->fd, &part, 1, ret_sockets);
    // The last is said once, ahead of what still stands in the queue, when the other side has closed without reading all (af_unix.c,
    // unix_release_sock()).
    while (length == -EINTR || length == -ECONNRESET);
    if (length == -EAGAIN || length == -ENOMEM || length == -ENOBUFS)
        return RECEIVED_NOTHING;
    if (length <= 0) {
        socket_passed_close(ret_sockets);
        return RECEIVED_END;
    }
    if (ret_sockets->is_too_long ||
        !handover_message_parse(scratch, (size_t)length, ret_sockets->count, ret_sockets->is_cut, ret)) {
        socket_passed_close(ret_sockets);
        return RECEIVED_NONSENSE;
    }
    return RECEIVED_MESSAGE;
}

const char *handover_hear(struct handover *handover, const char *(*hear)(struct handover *handover,
                                                                         const struct handover_message *message,
                                                                         struct socket_passed *sockets))
{
    struct handover_message message;
    struct socket_passed sockets;
    const char *why = NULL;

    for (unsigned i = 0; i < MESSAGES_AT_ONCE && handover->is_readable && !why; i++) {
        switch (handover_receive(handover, &message, &sockets)) {
        case RECEIVED_MESSAGE:
            why = hear(handover, &message, &sockets);
            socket_passed_close(&sockets);
            break;
        case RECEIVED_NOTHING:
            handover->is_readable = false;
            break;
        case RECEIVED_END:
            why = "the other worker is gone";
            break;
        default:
            why = "the other worker says what is no message";
        }
    }
    if (handover->is_readable)
        handover_due(handover);
    return why;
}

// ---- life ----

bool proxy_takes(const struct proxy *proxy)
{
    for (struct list *node = proxy->handovers.next; node != &proxy->handovers; node = node->next) {
        const struct handover *handover = list_entry(node, struct handover, node);

        if (!handover->is_giver && !handover->is_over)
            return true;
    }
    return false;
}

bool proxy_gives_all(const struct proxy *proxy)
{
    for (struct list *node = proxy->handovers.next; node != &proxy->handovers; node = node->next) {
        const struct handover *handover = list_entry(node, struct handover, node);

        if (handover->is_giver && !handover->is_over && handover->order.most == HANDOVER_ALL)
            return true;
    }
    return false;
}

bool proxy_has_left(const struct proxy *proxy)
{
    return proxy->is_draining && proxy->connection_count == 0;
}

struct handover *handover_create(struct proxy *proxy, int fd)
{
    struct handover *handover = calloc(1, sizeof(*handover));

    if (!handover) {
        close(fd);
        return NULL;
    }
    handover->proxy = proxy;
    handover->fd = fd;
    handover->is_readable = true;
    handover->since_ns = proxy->now_ns;
    handover->carried = (struct carried){.fds = {-1, -1}};
    ring_op_init(&handover->read_op, on_readable);
    ring_op_init(&handover->write_op, on_writable);
    list_init(&handover->offers);
    list_init(&handover->adoptions);
    list_push_back(&proxy->handovers, &handover->node);
    handover_due(handover);
    return handover;
}

void handover_close(struct handover *handover)
{
    // What is in flight on the ring would hold the socket open.
    (void)shutdown(handover->fd, SHUT_RDWR);
    handover->is_over = true;
    handover_due(handover);
}

// True when it is gone.
static bool bury(struct handover *handover)
{
    struct ring *ring = handover->proxy->ring;

    // Again with each turn of the timer: a cancellation can be lost (see cancel_all() in ending.c).
    ring_cancel(ring, &handover->read_op);
    ring_cancel(ring, &handover->write_op);
    if (handover->read_op.in_flight || handover->write_op.in_flight)
        return false;
    close(handover->fd);
    list_remove(&handover->node);
    free(handover);
    return true;
}

// ---- their turn ----

static void run(struct handover *handover)
{
    if (!handover->is_over) {
        if (handover->is_giver)
            give_run(handover);
        else
            take_run(handover);
    }
    if (handover->is_over) {
        (void)bury(handover);
        return;
    }
    if (!handover->is_readable && !handover->read_op.in_flight)
        ring_poll(handover->proxy->ring, &handover->read_op, handover->fd, POLLIN);
}

void handovers_run(struct proxy *proxy)
{
    struct list *node = proxy->handovers.next;

    proxy->is_handover_due = false;
    while (node != &proxy->handovers) { // each may free itself, and no other
        struct list *next = node->next;

        run(list_entry(node, struct handover, node));
        node = next;
    }
    if (!list_empty(&proxy->handovers) && !timer_is_set(&proxy->handover_timer))
        timer_set(&proxy->wheel, &proxy->handover_timer, proxy->now_ns + LOOK_NS);
}

void handovers_look(struct proxy *proxy)
{
    for (struct list *node = proxy->handovers.next; node != &proxy->handovers; node = node->next) {
        struct handover *handover = list_entry(node, struct handover, node);

        if (!handover->write_op.in_flight)
            handover->is_full = false;
    }
    proxy->is_handover_due = true;
}

void handovers_stop(struct proxy *proxy)
{
    static const char why[] = "this worker stops";

    for (struct list *node = proxy->handovers.next; node != &proxy->handovers; node = node->next) {
        struct handover *handover = list_entry(node, struct handover, node);

        if (handover->is_over)
            continue;
        if (handover->is_giver)
            give_end(handover, why);
        else
            take_end(handover, why);
    }
}

// ---- what connections say ----

void handovers_came(struct proxy *proxy)
{
    for (struct list *node = proxy->handovers.next; node != &proxy->handovers; node = node->next) {
        struct handover *handover = list_entry(node, struct handover, node);

        if (handover->is_giver && handover->order.most == HANDOVER_ALL) {
            handover->has_come = true;
            handover_due(handover);
        }
    }
}

void handovers_forget(const struct connection *connection)
{
    struct proxy *proxy = connection->proxy;

    for (struct list *node = proxy->handovers.next; node != &proxy->handovers; node = node->next) {
        struct handover *handover = list_entry(node, struct handover, node);

        if (handover->cursor == &connection->node)
            handover->cursor = connection->node.next;
    }
}
