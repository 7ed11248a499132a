// SPDX-License-Identifier: Apache-2.0
// What carry.c writes and carry_read.c reads (the format: carry.h), and what carry_adopt.c makes a connection of.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "connection.h"
#include "ringbolt/record.h"

#define CARRY_MAGIC     "RBcn"
#define CARRY_HEAD_SIZE 8
#define CARRY_OPTIONAL  0x8000u // of a field's number: who doesn't know it passes it over

enum carry_field {
    CARRY_FACTS = 1,
    CARRY_LISTENER_ADDRESS,
    CARRY_LISTENER_NAME,
    CARRY_UPSTREAM,
    CARRY_SERVER,
    CARRY_SERVER_NAME,
    CARRY_PEER,
    CARRY_VIA,
    CARRY_UNIQUE_ID,
    CARRY_SNI,
    CARRY_ALPN,
    CARRY_SUITE,
    CARRY_CLIENT_SUBJECT,
    CARRY_CLIENT_FINGERPRINT,
    CARRY_SERVER_SUITE,
    CARRY_HEADER,
    CARRY_CLIENT = 20, // then by enum carry_of_endpoint
    CARRY_SERVER_SIDE = 25,
    CARRY_UP = 30, // then by enum carry_of_flow
    CARRY_DOWN = 35,
    CARRY_FIELDS = 38,
};

enum carry_of_endpoint { CARRY_ENDPOINT, CARRY_RECEIVE, CARRY_TRANSMIT, CARRY_CONTROL };
enum carry_of_flow { CARRY_FLOW, CARRY_HELD, CARRY_KEPT };

enum carry_flag {
    CARRY_IS_HALF_CLOSED = 1 << 0,
    CARRY_IS_PASSED = 1 << 1,
    CARRY_IS_PROXIED = 1 << 2,
    CARRY_IS_SERVER_LOST = 1 << 3,
    CARRY_IS_RESUMED = 1 << 4,
    CARRY_IS_SERVER_RESUMED = 1 << 5,
    CARRY_WANTS_HSTS = 1 << 6, // nothing of the first response has come
    CARRY_FLAGS = (1 << 7) - 1,
};

enum carry_endpoint_flag {
    CARRY_CAN_REKEY = 1 << 0,
    CARRY_IS_KEY_UPDATE_DUE = 1 << 1,
    CARRY_IS_CLOSE_DUE = 1 << 2,
    CARRY_IS_SHUT = 1 << 3,
    CARRY_ENDPOINT_FLAGS = (1 << 4) - 1,
};

#define CARRY_FACTS_SIZE    (8 * 8 + 2 + 4)
#define CARRY_ENDPOINT_SIZE (9 + 4 + 4 + 2)
#define CARRY_FLOW_SIZE     (3 + 8 + 4 + 4)
#define CARRY_KEYS_MIN      (2 + 1 + 8) // and key, iv and secret

#define CARRY_TEXT_MAX 255u   // of names that clients send
#define CARRY_LONG_MAX 65535u // of what certificates and configurations hold
#define CARRY_HEADER_MAX                                                                                     \
    (1u << 17) // a PROXY header: 16 + 65535, and its certificate cut if that is not enough

// Bytes in what was given to carry_read().
struct carry_span {
    const uint8_t *data; // NULL: the field is not there
    size_t size;
};

// What was read, checked field by field and with each other; what it names is still to be found.
struct carry_endpoint {
    uint8_t receive_mode, receive_why, transmit_mode, transmit_why;
    uint8_t flags; // enum carry_endpoint_flag
    uint8_t sending;
    uint8_t key_updates, empties;
    uint8_t message_size, message[4];
    uint32_t message_left;
    uint16_t payload_max;
    struct record_keys receive, transmit; // in modes other than plain
    struct carry_span control;
};

struct carry_flow {
    uint8_t state, appetite;
    bool is_closing;
    uint64_t bytes;
    uint32_t sending, needed;
    struct carry_span held, kept;
};

struct carry {
    uint64_t id, unique;
    uint64_t accepted_ns, handshaken_ns, connected_ns, active_ns, retired_ns;
    uint64_t certificate;
    uint16_t flags; // enum carry_flag
    uint32_t route;
    struct carry_span fields[CARRY_FIELDS];
    struct carry_endpoint client, server;
    struct carry_flow up, down;
};

// Reads and checks. False and static words: it can't be taken. Holds keys: carry_wipe() it, whatever this said.
bool carry_parse(const uint8_t *bytes, size_t size, struct carry *ret, const char **ret_why);
void carry_wipe(struct carry *carry);
// The name of a suite as the log has it, static; NULL: there is none, or it is none of ours.
const char *carry_suite(const struct carry_span *span);
