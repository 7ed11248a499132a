// SPDX-License-Identifier: Apache-2.0
// The taker. What it is offered it makes into a connection at rest, and touches nothing of it until GO is there. It never closes its end over a GO that
// it has not read: the giver counts on it from the moment that it was sent.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "handover.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/secret.h"

#define TRIES_MAX 100 // where the kernel has no memory to give

static const char nonsense[] = "the other worker says what makes no sense";

// ---- what is offered ----

static void forget_coming(struct handover *handover)
{
    secret_give(handover->coming_bytes);
    handover->coming_bytes = NULL;
    socket_passed_close(&handover->coming_sockets);
    handover->coming_number = 0;
}

static void forget(struct adoption *adoption, struct handover *handover)
{
    list_remove(&adoption->node);
    handover->adoption_count--;
    free(adoption);
}

// NULL: it can be taken as far as that is known before it is there.
static const char *why_not(const struct handover *handover, const struct socket_passed *sockets)
{
    const struct proxy *proxy = handover->proxy;

    if (proxy->is_draining && !proxy_gives_all(proxy))
        return "this worker drains";
    if (sockets->is_cut || sockets->count != 2 ||
        (proxy->setup.connections_most > 0 && proxy->connection_count >= proxy->setup.connections_most))
        return "no descriptors for more connections";
    return NULL;
}

static const char *hear_offer(struct handover *handover, const struct handover_message *message,
                              struct socket_passed *sockets)
{
    if (handover->version == 0 || handover->coming_number != 0 || message->number <= handover->last_number ||
        handover->adoption_count >= HANDOVER_OFFERS)
        return nonsense;
    handover->last_number = handover->coming_number = message->number;
    handover->coming_size = (size_t)message->size;
    handover->coming_filled = 0;
    handover->coming_why = why_not(handover, sockets);
    if (!handover->coming_why) {
        handover->coming_bytes = secret_take(handover->coming_size);
        if (!handover->coming_bytes)
            handover->coming_why = "no memory";
    }
    if (!handover->coming_why) {
        handover->coming_sockets = *sockets;
        *sockets = (struct socket_passed){.count = 0};
    }
    return NULL;
}

// All of it is there.
static const char *adopt(struct handover *handover)
{
    struct adoption *adoption = calloc(1, sizeof(*adoption));
    const char *why = handover->coming_why;

    if (!adoption)
        return "no memory"; // to remember whom to answer
    adoption->number = handover->coming_number;
    if (!why && carry_read(handover->proxy, handover->coming_bytes, handover->coming_size,
                           handover->coming_sockets.fds, &adoption->connection, &why) == 0)
        handover->coming_sockets.count = 0; // the connection's now
    adoption->why = adoption->connection ? NULL : why;
    forget_coming(handover);
    list_push_back(&handover->adoptions, &adoption->node);
    handover->adoption_count++;
    return NULL;
}

static const char *hear_bytes(struct handover *handover, const struct handover_message *message)
{
    if (handover->coming_number == 0 || message->number != handover->coming_number ||
        message->size != handover->coming_filled ||
        message->body_size > handover->coming_size - handover->coming_filled)
        return nonsense;
    if (handover->coming_bytes)
        memcpy(handover->coming_bytes + handover->coming_filled, message->body, message->body_size);
    handover->coming_filled += message->body_size;
    return handover->coming_filled == handover->coming_size ? adopt(handover) : NULL;
}

// ---- what becomes of it ----

static struct adoption *find(struct handover *handover, uint32_t number)
{
    for (struct list *node = handover->adoptions.next; node != &handover->adoptions; node = node->next) {
        struct adoption *adoption = list_entry(node, struct adoption, node);

        if (adoption->number == number)
            return adoption;
    }
    return NULL;
}

static const char *hear_go(struct handover *handover, uint32_t number)
{
    struct adoption *adoption = find(handover, number);
    struct connection *connection;

    if (!adoption || !adoption->connection || !adoption->is_answered)
        return nonsense;
    connection = adoption->connection;
    forget(adoption, handover);
    handover->taken++;
    stats_add(&handover->proxy->stats->taken, 1);
    connection_resume(connection); // may be gone now
    handovers_came(handover->proxy);
    return NULL;
}

static const char *hear_hello(struct handover *handover, const struct handover_message *message)
{
    if (handover->is_greeted)
        return nonsense;
    handover->is_greeted = handover->is_hello_due = true;
    if (message->number <= CARRY_VERSION && CARRY_VERSION <= message->size)
        handover->version = CARRY_VERSION;
    return NULL;
}

// ---- hearing ----

static const char ended[] = "";

// NULL; `ended`; or what is wrong.
static const char *hear(struct handover *handover, const struct handover_message *message,
                        struct socket_passed *sockets)
{
    const char *why;

    handover->since_ns = clock_now_ns();
    switch (message->type) {
    case HANDOVER_HELLO:
        return hear_hello(handover, message);
    case HANDOVER_OFFER:
        return hear_offer(handover, message, sockets);
    case HANDOVER_BYTES:
        why = hear_bytes(handover, message);
        secret_wipe((void *)(uintptr_t)message->body, message->body_size);
        return why;
    case HANDOVER_GO:
        return hear_go(handover, message->number);
    case HANDOVER_END:
        return ended;
    default:
        return nonsense;
    }
}

// ---- answers ----

static void answer(struct handover *handover)
{
    struct list *next;

    if (!handover->is_greeted || !handover_say_hello(handover, handover->version, handover->version))
        return;
    for (struct list *node = handover->adoptions.next; node != &handover->adoptions; node = next) {
        struct adoption *adoption = list_entry(node, struct adoption, node);
        struct handover_message message = {.type = HANDOVER_ACCEPT, .number = adoption->number};

        next = node->next;
        if (adoption->is_answered)
            continue;
        if (!adoption->connection) {
            message.type = HANDOVER_REFUSE;
            message.body = (const uint8_t *)adoption->why;
            message.body_size = strnlen(adoption->why, HANDOVER_TEXT_MAX);
        }
        if (!handover_send(handover, &message, NULL, 0))
            return;
        adoption->is_answered = true;
        if (!adoption->connection) {
            handover->refused++;
            forget(adoption, handover);
        }
    }
}

// ---- the end ----

static void say_end(const struct handover *handover, const char *why)
{
    enum log_level level = why ? LOG_WARNING : handover->taken + handover->refused > 0 ? LOG_INFO : LOG_DEBUG;

    log_line(level, why ? "taking over of connections broke" : "connections taken over", log_text("reason", why),
             log_integer("taken", handover->taken), log_integer("refused", handover->refused));
}

void take_end(struct handover *handover, const char *why)
{
    enum received received = RECEIVED_NONSENSE;
    unsigned tries = TRIES_MAX;

    // From here on the giver can say nothing more (unix(7): its sends fail), and what it has said is there to be read.
    (void)shutdown(handover->fd, SHUT_RD);
    while (received != RECEIVED_END && (received != RECEIVED_NOTHING || tries-- > 0)) {
        struct handover_message message;
        struct socket_passed sockets;

        received = handover_receive(handover, &message, &sockets);
        if (received != RECEIVED_MESSAGE)
            continue;
        socket_passed_close(&sockets);
        if (message.type == HANDOVER_GO)
            (void)hear_go(handover, message.number);
        if (message.type == HANDOVER_BYTES)
            secret_wipe((void *)(uintptr_t)message.body, message.body_size);
    }
    handover_close(handover);
    forget_coming(handover);
    while (!list_empty(&handover->adoptions)) {
        struct adoption *adoption = list_entry(handover->adoptions.next, struct adoption, node);
        struct connection *connection = adoption->connection;

        forget(adoption, handover);
        if (connection)
            connection_release(connection);
    }
    say_end(handover, why);
}

// ---- its turn ----

// The giver ends a dialogue in which something waits for too long. One that does not even do that holds descriptors of ours.
static bool is_giver_silent(const struct handover *handover)
{
    return (!handover->is_greeted || handover->coming_number != 0 || !list_empty(&handover->adoptions)) &&
           clock_now_ns() - handover->since_ns > 2 * handover_patience_ns;
}

void take_run(struct handover *handover)
{
    const char *why = handover_hear(handover, hear);

    if (why) {
        take_end(handover, why == ended ? NULL : why);
        return;
    }
    answer(handover);
    if (is_giver_silent(handover))
        take_end(handover, "the other worker says nothing");
    else if (proxy_has_left(handover->proxy) && !proxy_gives_all(handover->proxy))
        take_end(handover, NULL);
}

int proxy_take(struct proxy *proxy, int fd)
{
    struct handover *handover = handover_create(proxy, fd);

    if (!handover)
        return -ENOMEM;
    handover->since_ns = clock_now_ns();
    return 0;
}
