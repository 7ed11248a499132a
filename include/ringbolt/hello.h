// SPDX-License-Identifier: Apache-2.0
// What a ClientHello asks for, read from the bytes as they come over TCP and before OpenSSL has any of them: so that a stream that is to be
// passed through is still whole. Pure: memory in, names out. The names are found by the same code that finds them in OpenSSL's
// callback when TLS ends here.
//
// With Encrypted ClientHello what is seen is the outer one, and its name.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ringbolt/record.h"

#define HELLO_SNI_MAX 256 // with the terminating zero

// Follows the records that a client sends in clear text, byte by byte: starts zeroed but for size_max.
struct hello_guard {
    uint32_t size_max; // of a ClientHello
    uint8_t record[RECORD_HEADER_SIZE];
    uint8_t record_count;
    uint16_t record_left;
    uint8_t message[4]; // type and length of a handshake message, RFC 8446 §4
    uint8_t message_count;
    uint32_t message_left;
    bool is_begun;         // the first record's header is complete
    bool is_message_begun; // the first message's header too
    bool is_hello_whole;   // the first message is complete
    bool is_strange;       // what came is no ClientHello, or not in records of handshake messages alone
    bool is_over;          // TLS 1.2: handshake records are encrypted from here on
};

enum hello_status {
    HELLO_WANTS_MORE, // so far it may become one
    HELLO_IS_WHOLE,
    HELLO_IS_BAD, // no ClientHello, a malformed one, or one that is too large
};

// Starts zeroed but for guard.size_max, bytes of the message.
struct hello_view {
    struct hello_guard guard;
    size_t seen;        // bytes that the guard has followed
    const char *reason; // HELLO_IS_BAD: why, static
    // HELLO_IS_WHOLE:
    char sni
        [HELLO_SNI_MAX]; // as the client sent it, "" without; only characters of a host name, others as '?'
    const uint8_t
        *alpn;        // protocols, each with its length (not 0) ahead in a byte; in `wire` or in `assembled`
    size_t alpn_size; // 0: none
    uint8_t *assembled; // the message, where it came in several records
};

// Looks at wire[length]: all that came from the client so far, at any place in memory. Not to be called again after anything but
// HELLO_WANTS_MORE. Allocates once at most, when the message is whole, and no more than guard.size_max bytes.
enum hello_status hello_view_look(struct hello_view *view, const uint8_t *wire, size_t length);
void hello_view_finish(struct hello_view *view);
