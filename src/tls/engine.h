// SPDX-License-Identifier: Apache-2.0
// What contexts and their callbacks know of a handshake, inside the room.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include "ringbolt/tls.h"

#define FAILURE_MAX 448 // with two subjects

// A certificate that a handshake was given.
struct shown {
    const X509 *leaf; // the SSL object's reference; NULL: none of this kind
    uint64_t id;
    uint32_t slot;
};

// What callbacks find, and leave, at an SSL object: its app data.
struct handshake {
    struct tls_context *context;
    struct shown shown[CERTIFICATE_KINDS];
    bool is_shown;
    bool is_routed;                   // the first ClientHello has chosen `route`
    bool is_rejected;                 // by a route, or for want of one
    const struct config_route *route; // NULL: what is the listener's own
    char sni[ENGINE_SNI_MAX];
    char failure[FAILURE_MAX]; // "": left to OpenSSL's words
    // Of a client's:
    const char *name;  // whom the server must be; NULL: anybody
    bool is_untrusted; // the server's certificate is why it failed
    size_t server;     // whose sessions are offered and kept (sessions.h)
    unsigned epoch;    // of the sessions when it began
    bool is_session_offered;
    bool is_ticket_awaited;
};

// The certificate that OpenSSL picked of those that it was given. NULL, and 0: none, or not yet.
const struct shown *handshake_shown(const struct handshake *handshake, SSL *ssl);
uint64_t handshake_certificate(const struct handshake *handshake, SSL *ssl);

// The BIO through which OpenSSL reads what engine_feed() is given and writes what engine_output() yields. NULL when there
// is no memory; the caller frees it with BIO_meth_free() after the last engine.
BIO_METHOD *engine_transport_create(void);

// Sets the callbacks by which the engines of a context with an SSL_CTX follow their handshakes.
void engine_observe(struct tls_context *context);
