// SPDX-License-Identifier: Apache-2.0
// One direction of a connection. A flow is a cycle with at most one buffer in it:
//
//     WAITING ──bytes──▶ READY ──▶ SENDING ──all sent──▶ WAITING        (nothing is read while something is to be sent:
//        ▲                 that is the back-pressure)
//
// An idle flow waits without a buffer; a busy one keeps a large buffer and tries to fill it at once.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "endpoint.h"
#include "ringbolt/list.h"

enum flow_state {
    FLOW_STOPPED, // not begun, or stopped for good before its end
    FLOW_WAITING, // a receive or a poll is in flight
    FLOW_STARVED, // would receive, but the pool is spent: on proxy->starved
    FLOW_READY,   // has plaintext and waits for its destination, which is sending a control record
    FLOW_SENDING, // a send is in flight
    FLOW_ENDED,   // the source has ended and the destination was told, or will be as soon as it can send
    FLOW_FAILED,  // the destination takes nothing any more
};

struct connection;

struct flow {
    struct connection *connection;
    struct endpoint *source;
    struct endpoint *destination;
    struct buffer *buffer; // NULL while idle
    uint64_t bytes;        // of plaintext that went through
    struct list node;      // on proxy->starved, proxy->sending or, before it begins, proxy->hellos
    uint64_t sending_since_ns;
    uint32_t sending; // bytes of plaintext in the send in flight
    uint32_t kept_at; // where in the buffer an incomplete record begins,
    uint32_t kept;    // how much of it is there,
    uint32_t needed;  // and how much it lacks (user mode)
    uint8_t state;
    uint8_t appetite;            // enum buffer_class: how much there was the last time
    bool is_closing;             // the source has ended; what is in the buffer comes first
    struct endpoint_event after; // what ends the connection once the buffer is sent (kind other than GOES_ON)
};

void flow_init(struct flow *flow, struct connection *connection, struct endpoint *source,
               struct endpoint *destination);
// Begins, with bytes that were read already: `leftover` (may be NULL) holds them in its one piece, as they came, and becomes the
// flow's.
void flow_start(struct flow *flow, struct buffer *leftover);
// Goes on when the destination can send again.
void flow_go_on(struct flow *flow);
// Tries again to get a buffer.
void flow_retry(struct flow *flow);
// Receives no more: what is in flight is cancelled (its completion still comes to the flow's handlers).
void flow_stop(struct flow *flow);
// To come to rest (connection.h): nothing of it is in flight, and it is on no list of the proxy's.
void flow_halt(struct flow *flow);
// Goes on from there: what was being sent first, then what is to be received. Harmless where nothing has to be begun.
void flow_resume_sending(struct flow *flow);
void flow_resume(struct flow *flow);
// Gives back its buffer. No operation of it is in flight.
void flow_finish(struct flow *flow);
bool flow_has_ended(const struct flow *flow); // ENDED or FAILED
