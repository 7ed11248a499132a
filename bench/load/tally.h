// SPDX-License-Identifier: Apache-2.0
// What a thread counts; the threads' tallies add up to the run's.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "histogram.h"
#include "ringbolt/record.h"

// What went wrong, each kind apart. The words are in tally.c and docs/bench.md.
enum failure {
    FAILURE_NONE,
    FAILURE_CONNECT_REFUSED,
    FAILURE_CONNECT_TIMEOUT,
    FAILURE_CONNECT,
    FAILURE_HANDSHAKE_ALERT,
    FAILURE_HANDSHAKE_REFUSED,
    FAILURE_HANDSHAKE_CLOSED,
    FAILURE_HANDSHAKE_RESET,
    FAILURE_HANDSHAKE_TIMEOUT,
    FAILURE_NOT_RESUMED,
    FAILURE_NO_TICKET,
    FAILURE_ALERT,
    FAILURE_BAD_RECORD,
    FAILURE_RESET,
    FAILURE_TRUNCATED,
    FAILURE_CLOSED_EARLY,
    FAILURE_CLOSED_IDLE,
    FAILURE_TIMEOUT,
    FAILURE_BAD_RESPONSE,
    FAILURE_WRONG_STATUS,
    FAILURE_WRONG_LENGTH,
    FAILURE_WRONG_CHECKSUM,
    FAILURE_WRONG_BYTES,
    FAILURE_INTERNAL,
    FAILURE_COUNT
};

// "handshake_alert": what JSON calls it. And what the table says: "the server refused the handshake with an alert".
const char *failure_name(enum failure failure);
const char *failure_words(enum failure failure);

#define TALLY_DETAIL_SIZE 160
#define TALLY_KINDS       16
#define TALLY_ALPN_SIZE   32
#define TALLY_KEY_SIZE    32
#define TALLY_GROUP_SIZE  32

// What a handshake agreed on.
struct negotiated {
    const char *version; // static: "TLSv1.3"
    const char *suite;   // static
    char group[TALLY_GROUP_SIZE];
    char key[TALLY_KEY_SIZE]; // of the server's certificate: "ECDSA P-256", "RSA-2048"
    char alpn[TALLY_ALPN_SIZE];
    bool is_resumed;
};

struct tally_kind {
    struct negotiated negotiated;
    uint64_t count;
};

struct tally {
    uint64_t failures[FAILURE_COUNT];
    char details[FAILURE_COUNT][TALLY_DETAIL_SIZE]; // of the first of each kind
    uint64_t handshake_alerts[256];                 // that came, by code
    uint64_t alerts[256];

    struct tally_kind kinds[TALLY_KINDS]; // of handshakes, in the order in which they came up
    unsigned kind_count;                  // what is beyond TALLY_KINDS is counted in `handshakes` alone
    uint64_t handshakes;                  // that were completed, warm-up included
    uint64_t primers;                     // of these, full ones that were only made to get a ticket

    // In the time that is measured, and over the whole run.
    uint64_t units, units_all;
    uint64_t received, received_all; // bytes of the work's content: HTTP bodies, raw streams
    uint64_t sent, sent_all;
    uint64_t reconnects; // kept connections that the server closed between two requests
    uint64_t unsent;     // units that were due and never began: the rate was too high
    uint64_t cut;        // streams that were still going when the time was up

    struct histogram latency;   // of a unit, from the moment it was due
    struct histogram service;   // from the moment it began; only with a rate
    struct histogram handshake; // from the start of connecting
};

// Counts one; `detail` (may be NULL) says more.
void tally_fail(struct tally *tally, enum failure failure, const char *detail);
uint64_t tally_failures(const struct tally *tally);
void tally_handshake(struct tally *tally, const struct negotiated *negotiated);
void tally_merge(struct tally *into, const struct tally *from);
