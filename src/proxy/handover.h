// SPDX-License-Identifier: Apache-2.0
// A dialogue of two workers, inside the proxy: ringbolt/handover.h has what it is for, handover_message.h what is said. handover.c has what both
// sides share, handover_give.c and handover_take.c what each does.
//
// Handlers of the ring and of connections only take note; everything happens in handovers_run(), at the end of the loop's turn, where
// no connection is in the middle of something.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "carry.h"
#include "connection.h"
#include "handover_message.h"
#include "ringbolt/handover.h"
#include "ringbolt/list.h"
#include "ringbolt/ring.h"
#include "ringbolt/socket.h"

// The giver's: a connection on its way.
enum offer_state {
    OFFER_RESTING,  // it comes to rest
    OFFER_RESTED,   // its turn to be sent comes
    OFFER_SENDING,  // handover->sending
    OFFER_SENT,     // the answer is awaited
    OFFER_ACCEPTED, // GO is to be sent
};

struct offer {
    struct list node; // on handover->offers, in the order of their numbers, which comes with OFFER_SENDING
    struct handover *handover;
    struct connection *connection;
    enum offer_state state;
    uint32_t number;   // from OFFER_SENDING on
    uint64_t since_ns; // since when it has come to rest, or tries to
};

// The taker's: what it was offered, from the last byte until GO, or until it has said REFUSE.
struct adoption {
    struct list node;              // on handover->adoptions
    struct connection *connection; // at rest; NULL: refused
    uint32_t number;
    const char *why;  // static words: refused
    bool is_answered; // else ACCEPT or REFUSE is to be sent
};

struct handover {
    struct list node; // on proxy->handovers
    struct proxy *proxy;
    int fd;
    bool is_giver;
    bool is_greeted;   // HELLO came
    bool is_hello_due; // ours is to be sent
    bool is_readable;  // something may have come
    bool is_full;      // the socket takes no more: write_op says when it does, or (the kernel had no memory) the timer
    bool is_over;      // nothing is said or heard any more; goes when nothing is in flight
    struct ring_op read_op;
    struct ring_op write_op;
    bool is_asked;     // the giver's: before it believes in a silence it looks whether something has come
    uint64_t since_ns; // the last time that it heard something, or its beginning

    // the giver's
    struct handover_order order;
    handover_ended *ended;
    void *owner;
    uint32_t serial;       // what it has tried carries this number (connection->kept)
    struct list offers;
    unsigned offer_count;
    uint32_t offered;      // of order.most
    uint32_t last_number;
    struct list *cursor;   // the next of proxy->connections to be looked at; NULL: they were, until looks_ns
    uint64_t looks_ns;
    unsigned coming;       // connections that the look met and that may move later
    bool has_come;         // since it began: a connection came to RELAY
    bool is_last_look;     // nobody was accepted any more, nor taken from another worker, when it began
    struct offer *sending;
    struct carried carried;
    size_t sent;           // of carried.size
    bool is_offer_sent;    // ahead of its bytes
    uint32_t given;
    uint32_t kept;
    uint64_t pause_ns;     // the longest
    char refusal[HANDOVER_TEXT_MAX + 1]; // the first

    // the taker's
    uint32_t version; // in use; 0: none
    struct list adoptions;
    unsigned adoption_count;
    uint32_t coming_number; // of the one that comes; 0: none does
    size_t coming_size;
    size_t coming_filled;
    uint8_t *coming_bytes; // NULL: it will be refused
    const char *coming_why;
    struct socket_passed coming_sockets;
    uint32_t taken;
    uint32_t refused;
};

// ---- handover.c ----

// NULL: no memory.
struct handover *handover_create(struct proxy *proxy, int fd);
// Something is to be done soon.
void handover_due(struct handover *handover);
// Sends one message; body may be NULL. False: not now, and when it goes on is seen to; or the other side is gone (is_over is not set: that shows
// by its end of file).
bool handover_send(struct handover *handover, const struct handover_message *message, const int *fds, size_t fd_count);
// Sends our HELLO if it is due. False: not now.
bool handover_say_hello(struct handover *handover, uint32_t oldest, uint32_t newest);
// What comes next. The body of a message is there until the next call; its descriptors are the caller's.
enum received { RECEIVED_MESSAGE, RECEIVED_NOTHING, RECEIVED_END, RECEIVED_NONSENSE };
enum received handover_receive(struct handover *handover, struct handover_message *ret,
                               struct socket_passed *ret_sockets);
// Hands what has come to `hear`, which takes the descriptors by setting sockets->count to 0 and says what is wrong, or NULL. NULL, or why it is over (static
// words).
const char *handover_hear(struct handover *handover, const char *(*hear)(struct handover *handover,
                                                                         const struct handover_message *message,
                                                                         struct socket_passed *sockets));
// Connections may still come from another worker.
bool proxy_takes(const struct proxy *proxy);
// Whatever comes is given away.
bool proxy_gives_all(const struct proxy *proxy);
// This proxy drains, and has no connection left: nobody will ever want a dialogue, except to pass on what comes.
bool proxy_has_left(const struct proxy *proxy);
// Nothing more is said.
void handover_close(struct handover *handover);

// ---- handover_give.c and handover_take.c ----

void give_run(struct handover *handover);
void take_run(struct handover *handover);
// It ends here and now: what is not the other side's stays, or goes. why: static words, NULL: in good order.
void give_end(struct handover *handover, const char *why);
void take_end(struct handover *handover, const char *why);
