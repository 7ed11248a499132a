// SPDX-License-Identifier: Apache-2.0
// What happened to the connections between two marks, by kind.
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "bench/load/histogram.h"

enum client_kind {
    KIND_DOWN, // the server sends on and on
    KIND_UP,   // the client does
    KIND_BOTH, // both do
    KIND_IDLE, // silent, and asks now and then
    KIND_POLL, // each question is answered later
    KIND_DRIP, // a byte at a time, both ways
    KIND_HALF, // the client has ended its direction, the server sends on; ends after a while, and another one comes
    KIND_REKEY, // each question follows a KeyUpdate that asks for one
    KIND_SLOW,  // the server sends as fast as it can, the client reads a little at a time
    KIND_ECHO,  // questions at a fast beat: what measures pauses
    KIND_VISIT, // new connections: connect, ask, end
    KIND_COUNT
};

extern const char *const kind_names[KIND_COUNT];

enum fault {
    FAULT_REFUSED,   // no TCP connection
    FAULT_HANDSHAKE, // no TLS
    FAULT_BROKEN,    // reset, alert, end of file without close_notify
    FAULT_CUT,       // an orderly end of less than all
    FAULT_WRONG,     // another byte than the one sent, on either way
    FAULT_SILENT,    // nothing, for too long
    FAULT_COUNT
};

#define FAULT_TEXTS_MAX 20

struct window_kind {
    uint64_t live;     // now
    uint64_t complete; // with every byte and an orderly end
    uint64_t faults[FAULT_COUNT];
    uint64_t bytes_in, bytes_out;
    struct histogram latency; // of answers, in ns; of visits: the whole visit
    struct histogram pause;   // the longest of each connection
};

struct window {
    uint64_t begun_ns;
    struct window_kind kinds[KIND_COUNT];
    char texts[FAULT_TEXTS_MAX][160];
    unsigned text_count;
};

void window_fault(struct window *window, enum client_kind kind, enum fault fault, uint64_t id, double age_s,
                  const char *why);
uint64_t window_faults(const struct window *window);
// A line of JSON.
void window_print(const struct window *window, const char *name, uint64_t now_ns, FILE *to);
// What is live stays.
void window_begin(struct window *window, uint64_t now_ns);
