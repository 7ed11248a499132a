// SPDX-License-Identifier: Apache-2.0
// What two workers say to each other when connections move between them (handover.h): messages of a SOCK_SEQPACKET pair, each a head of
// 16 bytes in the machine's order (both are on one machine) and a body. What a message may be is checked here, and nowhere else.
//
//     giver → taker  HELLO  number: the oldest version of a connection's bytes (carry.h) that it writes, size: the newest; body: its release
//     taker → giver  HELLO  number and size: the version that is used, 0: there is none in common; body: its release
//     giver → taker  OFFER  number: of this connection in this dialogue, size: of its bytes; two descriptors come along, the client's socket first
//     giver → taker  BYTES  number: likewise; size: where the body belongs among its bytes. In order, and nothing is left out
//     taker → giver  ACCEPT number: it has made a connection of them, at rest
//     taker → giver  REFUSE number: it has not; body: why
//     giver → taker  GO     number: it is the taker's
//     giver → taker  END    nothing more will come
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HANDOVER_HEAD      16
#define HANDOVER_BODY_MAX  ((size_t)32 << 10)
#define HANDOVER_TEXT_MAX  128
#define HANDOVER_OFFERS    32 // connections that are offered, and not yet given or kept, at a time: that bounds the pause of each

enum handover_type {
    HANDOVER_HELLO = 1,
    HANDOVER_OFFER,
    HANDOVER_BYTES,
    HANDOVER_ACCEPT,
    HANDOVER_REFUSE,
    HANDOVER_GO,
    HANDOVER_END,
};

struct handover_message {
    enum handover_type type;
    uint32_t number;
    uint64_t size;
    const uint8_t *body; // of HELLO and REFUSE: a text of ASCII without control characters, and without a zero behind
    size_t body_size;
};

void handover_message_head(const struct handover_message *message, uint8_t head[static HANDOVER_HEAD]);
// What came, of which everything behind `body_size` is the caller's to read; descriptor_count came along with it (is_cut: some were lost). False: that
// is no message.
bool handover_message_parse(const uint8_t *data, size_t size, size_t descriptor_count, bool is_cut,
                            struct handover_message *ret);
