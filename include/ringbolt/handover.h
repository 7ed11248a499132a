// SPDX-License-Identifier: Apache-2.0
// Connections that live move from one worker (the giver) to another (the taker), over a SOCK_SEQPACKET pair that a master made for the two:
// docs/architecture.md, "From one worker to another". Any number of such dialogues may be under way at once. None ever blocks, and whatever
// becomes of the other side, each connection is one worker's: the giver's until it has said GO, the taker's from then on.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ringbolt/proxy.h"

#define HANDOVER_ALL UINT32_MAX // all there are, and all that come

struct handover_order {
    uint32_t most;   // so many connections at most, whether they are taken or refused; HANDOVER_ALL
    uint64_t age_ns; // only those that were accepted so long ago
};

// What a giver's dialogue came to.
struct handover_outcome {
    bool is_all;        // HANDOVER_ALL was its order
    uint32_t given;     // connections that are the taker's now
    uint32_t kept;      // that were to be given and stay: refused, or the dialogue broke first
    const char *broken; // why it broke, static words; NULL: it came to its end
};

typedef void handover_ended(void *owner, const struct handover_outcome *outcome);

// Begins to give. `fd`, non-blocking, is the proxy's from now on, also on failure. `ended` is called once, out of proxy_tick() or proxy_stop(); with
// HANDOVER_ALL when nobody new is accepted (proxy_pause(), proxy_drain()) or taken, and nothing is left that could move. 0, or -ENOMEM: `ended` is not
// called.
int proxy_give(struct proxy *proxy, int fd, const struct handover_order *order, handover_ended *ended, void *owner);
// Takes what comes over `fd`, likewise the proxy's, until the giver ends. 0 or -ENOMEM.
int proxy_take(struct proxy *proxy, int fd);

// How long the other side may leave something without an answer until the dialogue is given up. 5 s; tests have less patience.
extern uint64_t handover_patience_ns;
