// SPDX-License-Identifier: Apache-2.0
// The ClientHello: what is refused before OpenSSL sees it, and what is noted of it for the log.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "ringbolt/record.h"

// OpenSSL takes hellos of up to 128 KiB, and reserves the announced length before the bytes are there. The largest
// honest ones, with post-quantum key shares and fat tickets, stay below 16 KiB.
#define HELLO_SIZE_MAX 32768

enum hello_verdict {
    HELLO_GOOD,
    HELLO_SSLV2, // SSLv2's format, which OpenSSL would take for TLS 1.2 (RFC 8446 §D.5 recommends against)
    HELLO_TOO_LARGE, // announces more than HELLO_SIZE_MAX
};

// Follows the records that a client sends in clear text, byte by byte: starts zeroed.
struct hello_guard {
    uint8_t record[RECORD_HEADER_SIZE];
    uint8_t record_count;
    uint16_t record_left;
    uint8_t message[4]; // type and length of a handshake message, RFC 8446 §4
    uint8_t message_count;
    uint32_t message_left;
    bool is_begun; // the first record's header is complete
    bool is_over;  // TLS 1.2: handshake records are encrypted from here on
};

// Looks at the next bytes on their way to OpenSSL. Not to be called again after anything but HELLO_GOOD.
// `version` is what is negotiated so far: in TLS 1.2 change_cipher_spec ends the clear text.
enum hello_verdict hello_watch(struct hello_guard *guard, int version, const uint8_t *data, size_t length);

// In the client hello callback: the server name, sanitised for the log, into sni[size]; "" without one.
void hello_server_name(SSL *ssl, char *sni, size_t size);

// In the client hello callback: the highest version that the client offers, 0 when that can't be told.
uint16_t hello_version_max(SSL *ssl);
