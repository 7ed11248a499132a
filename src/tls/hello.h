// SPDX-License-Identifier: Apache-2.0
// The ClientHello: what is refused before OpenSSL sees it, and what is noted of it for routes and the log.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "ringbolt/hello.h"
#include "ringbolt/record.h"

enum hello_verdict {
    HELLO_GOOD,
    HELLO_SSLV2, // SSLv2's format, which OpenSSL would take for TLS 1.2 (RFC 8446 §D.5 recommends against)
    HELLO_TOO_LARGE, // announces more than the guard's size_max
};

// Looks at the next bytes on their way to OpenSSL. Not to be called again after anything but HELLO_GOOD.
// `version` is what is negotiated so far: in TLS 1.2 change_cipher_spec ends the clear text.
enum hello_verdict hello_watch(struct hello_guard *guard, int version, const uint8_t *data, size_t length);

// What is in the extension server_name (RFC 6066 §3): the name, sanitised for the log, into sni[size], cut off if it is longer.
// False when it is malformed; sni is "" then.
bool hello_read_name(const uint8_t *data, size_t length, char *sni, size_t size);
// What is in the extension application_layer_protocol_negotiation (RFC 7301 §3.1): its list of protocols, within data. False when
// it is malformed; the list is empty then.
bool hello_read_protocols(const uint8_t *data, size_t length, const uint8_t **ret, size_t *ret_size);

// In the client hello callback: both, as far as they are there. What is malformed OpenSSL refuses soon after.
void hello_server_name(SSL *ssl, char *sni, size_t size);
void hello_protocols(SSL *ssl, const uint8_t **ret, size_t *ret_size);

// In the client hello callback: the highest version that the client offers, 0 when that can't be told.
uint16_t hello_version_max(SSL *ssl);
