// SPDX-License-Identifier: Apache-2.0
// The giver. A connection is its own until GO has been sent, and from that moment it does nothing to it but close its descriptors.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "handover.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"

#define LOOKS_AT_ONCE 4096 // connections that are passed over in one turn
#define AGAIN_NS      (100 * CLOCK_NS_PER_MS)
#define AGAIN_MANY_NS CLOCK_NS_PER_S // where there are more than…
#define MANY          1000

static bool gives_all(const struct handover *handover)
{
    return handover->order.most == HANDOVER_ALL;
}

// ---- offers ----

static void drop(struct offer *offer)
{
    struct handover *handover = offer->handover;

    if (handover->sending == offer) {
        handover->sending = NULL;
        carried_finish(&handover->carried);
    }
    list_remove(&offer->node);
    handover->offer_count--;
    free(offer);
    handover_due(handover);
}

static void keep(struct offer *offer)
{
    struct handover *handover = offer->handover;
    struct connection *connection = offer->connection;

    handover->kept++;
    drop(offer);
    connection_resume(connection); // may be gone now
}

static void give(struct offer *offer)
{
    struct handover *handover = offer->handover;
    struct proxy *proxy = handover->proxy;
    uint64_t pause_ns = clock_now_ns() - offer->since_ns;

    handover->given++;
    if (pause_ns > handover->pause_ns)
        handover->pause_ns = pause_ns;
    stats_add(&proxy->stats->given, 1);
    stats_observe(&proxy->stats->pause, STATS_SHORT, pause_ns);
    connection_release(offer->connection);
    drop(offer);
}

static void on_rested(struct connection *connection, void *context, bool is_at_rest)
{
    struct offer *offer = context;

    (void)connection;
    if (is_at_rest) {
        offer->state = OFFER_RESTED;
        handover_due(offer->handover);
    } else {
        offer->handover->kept++;
        stats_add(&offer->handover->proxy->stats->kept, 1);
        drop(offer); // it goes its way
    }
}

static struct offer *find(struct handover *handover, uint32_t number)
{
    for (struct list *node = handover->offers.next; node != &handover->offers; node = node->next) {
        struct offer *offer = list_entry(node, struct offer, node);

        if (offer->state >= OFFER_SENT && offer->number == number)
            return offer;
    }
    return NULL;
}

// ---- who is next ----

// Whether it may come to be given later on; else this dialogue has no business with it any more.
static bool may_come(const struct handover *handover, const struct connection *connection)
{
    return connection->kept != handover->serial && connection->state <= CONNECTION_RELAY &&
           connection->state != CONNECTION_ANSWER;
}

// NULL: none for the moment; with handover->cursor NULL: all were looked at.
static struct connection *next_connection(struct handover *handover)
{
    struct proxy *proxy = handover->proxy;

    for (unsigned i = 0; i < LOOKS_AT_ONCE && handover->cursor; i++) {
        struct connection *connection;

        if (handover->cursor == &proxy->connections) {
            handover->cursor = NULL;
            handover->looks_ns =
                proxy->now_ns + (proxy->connection_count > MANY ? AGAIN_MANY_NS : AGAIN_NS);
            return NULL;
        }
        connection = list_entry(handover->cursor, struct connection, node);
        handover->cursor = handover->cursor->next;
        if (!may_come(handover, connection))
            continue;
        if (connection_can_move(connection) &&
            proxy->now_ns - connection->accepted_ns >= handover->order.age_ns)
            return connection;
        handover->coming++;
    }
    if (handover->cursor)
        handover_due(handover); // connections have their turn in between
    return NULL;
}

static void look(struct handover *handover)
{
    handover->has_come = false;
    handover->coming = 0;
    handover->is_last_look = proxy_pauses(handover->proxy) && !proxy_takes(handover->proxy);
    handover->cursor = handover->proxy->connections.next;
}

static void look_again(struct handover *handover)
{
    if (handover->cursor || !gives_all(handover) ||
        (!handover->has_come && handover->proxy->now_ns < handover->looks_ns))
        return;
    look(handover);
}

static bool begin(struct handover *handover, struct connection *connection)
{
    struct offer *offer = calloc(1, sizeof(*offer));

    if (!offer)
        return false;
    *offer = (struct offer){
        .handover = handover, .connection = connection, .state = OFFER_RESTING, .since_ns = clock_now_ns()};
    list_push_back(&handover->offers, &offer->node);
    handover->offer_count++;
    handover->offered++;
    connection->kept = handover->serial;
    connection_rest(connection, on_rested, offer); // the offer may be gone
    return true;
}

static void begin_more(struct handover *handover)
{
    look_again(handover);
    while (handover->offer_count < HANDOVER_OFFERS && handover->offered < handover->order.most) {
        struct connection *connection = next_connection(handover);

        if (!connection || !begin(handover, connection))
            return;
    }
}

// ---- sending ----

static bool send_go(struct handover *handover, struct offer *offer)
{
    struct handover_message go = {.type = HANDOVER_GO, .number = offer->number};

    if (!handover_send(handover, &go, NULL, 0))
        return false;
    give(offer);
    return true;
}

// False: not now.
static bool send_offer(struct handover *handover)
{
    struct offer *offer = handover->sending;
    struct carried *carried = &handover->carried;
    struct handover_message message = {
        .type = HANDOVER_OFFER, .number = offer->number, .size = carried->size};

    if (!handover->is_offer_sent) {
        if (!handover_send(handover, &message, carried->fds, 2))
            return false;
        handover->is_offer_sent = true;
    }
    message.type = HANDOVER_BYTES;
    while (handover->sent < carried->size) {
        size_t rest = carried->size - handover->sent;

        message.size = handover->sent;
        message.body = carried->bytes + handover->sent;
        message.body_size = rest < HANDOVER_BODY_MAX ? rest : HANDOVER_BODY_MAX;
        if (!handover_send(handover, &message, NULL, 0))
            return false;
        handover->sent += message.body_size;
    }
    carried_finish(carried);
    offer->state = OFFER_SENT;
    handover->sending = NULL;
    return true;
}

static void pack(struct handover *handover, struct offer *offer)
{
    if (carry_pack(offer->connection, &handover->carried) < 0) {
        handover->carried = (struct carried){.fds = {-1, -1}};
        stats_add(&handover->proxy->stats->kept, 1);
        keep(offer);
        return;
    }
    offer->number = ++handover->last_number;
    offer->state = OFFER_SENDING;
    handover->sending = offer;
    handover->sent = 0;
    handover->is_offer_sent = false;
}

// GO goes ahead of everything: whom it is about waits for it.
static void send_what_is_due(struct handover *handover)
{
    struct list *node;
    struct list *next;

    for (node = handover->offers.next; node != &handover->offers; node = next) {
        struct offer *offer = list_entry(node, struct offer, node);

        next = node->next;
        if (offer->state == OFFER_ACCEPTED && !send_go(handover, offer))
            return;
    }
    if (handover->sending && !send_offer(handover))
        return;
    for (node = handover->offers.next; node != &handover->offers; node = next) {
        struct offer *offer = list_entry(node, struct offer, node);

        next = node->next;
        if (offer->state != OFFER_RESTED)
            continue;
        pack(handover, offer);
        if (handover->sending && !send_offer(handover))
            return;
    }
}

// ---- hearing ----

static const char nonsense[] = "the other worker says what makes no sense";

static const char *hear_hello(struct handover *handover, const struct handover_message *message)
{
    if (handover->is_greeted || message->number != message->size)
        return nonsense;
    if (message->number == 0)
        return "the other worker knows no such connections";
    if (message->number != CARRY_VERSION)
        return nonsense;
    handover->is_greeted = true;
    look(handover);
    return NULL;
}

static void hear_refusal(struct handover *handover, struct offer *offer, const struct handover_message *message)
{
    stats_add(&handover->proxy->stats->not_taken, 1);
    if (handover->refusal[0] == '\0') {
        memcpy(handover->refusal, message->body, message->body_size);
        handover->refusal[message->body_size] = '\0';
    }
    keep(offer);
}

// NULL, or what is wrong.
static const char *hear(struct handover *handover, const struct handover_message *message,
                        struct socket_passed *sockets)
{
    struct offer *offer;

    (void)sockets;
    handover->since_ns = clock_now_ns();
    handover->is_asked = false;
    if (message->type == HANDOVER_HELLO)
        return hear_hello(handover, message);
    if (message->type != HANDOVER_ACCEPT && message->type != HANDOVER_REFUSE)
        return nonsense;
    offer = find(handover, message->number);
    if (!offer || offer->state != OFFER_SENT)
        return nonsense;
    if (message->type == HANDOVER_REFUSE)
        hear_refusal(handover, offer, message);
    else
        offer->state = OFFER_ACCEPTED;
    return NULL;
}

// ---- time ----

// What has come may lie in the socket, unseen: on a busy machine the ring's word of it comes late, as this worker's own turn does.
static const char *silent(struct handover *handover)
{
    if (handover->is_asked)
        return "the other worker does not answer";
    handover->is_asked = handover->is_readable = true;
    handover_due(handover);
    return NULL;
}

// NULL, or why it is over. A worker that is slow with one connection and answers for others is busy, not silent.
static const char *look_at_time(struct handover *handover)
{
    uint64_t now_ns = clock_now_ns();
    bool is_silent = now_ns > handover->since_ns && now_ns - handover->since_ns > handover_patience_ns;
    struct list *next;

    if (!handover->is_greeted)
        return is_silent ? silent(handover) : NULL;
    for (struct list *node = handover->offers.next; node != &handover->offers; node = next) {
        struct offer *offer = list_entry(node, struct offer, node);

        next = node->next;
        if (now_ns < offer->since_ns + handover_patience_ns)
            continue;
        if (offer->state != OFFER_RESTING) {
            if (is_silent)
                return silent(handover);
            continue;
        }
        stats_add(&handover->proxy->stats->kept, 1);
        keep(offer); // it does not come to rest
    }
    return NULL;
}

// ---- the end ----

static bool is_done(const struct handover *handover)
{
    if (!handover->is_greeted || handover->offer_count > 0)
        return false;
    if (handover->offered >= handover->order.most)
        return true;
    return !handover->cursor && (!gives_all(handover) || (handover->is_last_look && handover->coming == 0 &&
                                                          !handover->has_come));
}

static void say_end(const struct handover *handover, const char *why)
{
    enum log_level level = why ? LOG_WARNING : handover->given + handover->kept > 0 ? LOG_INFO : LOG_DEBUG;

    log_line(level, why ? "hand-over of connections broke" : "connections handed over", log_text("reason", why),
             log_integer("given", handover->given), log_integer("kept", handover->kept),
             log_text("refusal", handover->refusal[0] ? handover->refusal : NULL),
             log_real("pause_ms_max", (double)handover->pause_ns / (double)CLOCK_NS_PER_MS));
}

void give_end(struct handover *handover, const char *why)
{
    struct handover_outcome outcome = {.is_all = gives_all(handover), .broken = why};

    // Closed first: no word of the other side's counts any more, and what was not given is ours.
    handover_close(handover);
    while (!list_empty(&handover->offers)) {
        stats_add(&handover->proxy->stats->kept, 1);
        keep(list_entry(handover->offers.next, struct offer, node));
    }
    say_end(handover, why);
    outcome.given = handover->given;
    outcome.kept = handover->kept;
    handover->ended(handover->owner, &outcome);
}

// ---- its turn ----

void give_run(struct handover *handover)
{
    static const struct handover_message end = {.type = HANDOVER_END};
    const char *why;

    (void)handover_say_hello(handover, CARRY_VERSION, CARRY_VERSION);
    why = handover_hear(handover, hear);
    if (!why)
        why = look_at_time(handover);
    if (why) {
        give_end(handover, why);
        return;
    }
    if (proxy_has_left(handover->proxy) && !proxy_takes(handover->proxy)) {
        (void)handover_send(handover, &end, NULL, 0); // if there is no room, the end of file says it
        give_end(handover, NULL);
        return;
    }
    if (!handover->is_greeted)
        return;
    begin_more(handover);
    send_what_is_due(handover);
    if (is_done(handover) && handover_send(handover, &end, NULL, 0))
        give_end(handover, NULL);
}

int proxy_give(struct proxy *proxy, int fd, const struct handover_order *order, handover_ended *ended, void *owner)
{
    struct handover *handover = handover_create(proxy, fd);

    if (!handover)
        return -ENOMEM;
    handover->is_giver = true;
    handover->is_hello_due = true;
    handover->order = *order;
    handover->ended = ended;
    handover->owner = owner;
    handover->since_ns = clock_now_ns();
    handover->serial = ++proxy->last_handover;
    return 0;
}
