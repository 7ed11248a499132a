// SPDX-License-Identifier: Apache-2.0
// What tls_setup.c and tls_client.c share.
#pragma once

#include <openssl/kdf.h>
#include <openssl/ssl.h>

#include "src/tls/secrets.h"
#include "tls_client.h"

#define TLS_SESSIONS_MAX 4096

struct tls_setup {
    const struct options *options;
    tls_room *room;
    OSSL_LIB_CTX *library;
    SSL_CTX *ssl;
    EVP_KDF *prf;
    BIO_METHOD *transport;
    SSL_SESSION *sessions[TLS_SESSIONS_MAX]; // the newest last
    unsigned session_count;
};

struct tls_client {
    struct tls_setup *setup;
    SSL *ssl;
    void *owner;
    const uint8_t *input;
    size_t input_left;
    struct secrets secrets; // directions as the server sees them
    uint8_t alert;
    bool is_alert_received;
    bool is_offered;
    bool is_ticket_here;
    bool is_shadow; // what it writes is dropped
};

// Sessions. take: NULL when there is none; the caller frees it.
bool tls_sessions_put(struct tls_setup *setup, SSL_SESSION *session); // true: it is kept, with its reference
SSL_SESSION *tls_sessions_take(struct tls_setup *setup);

// Callbacks that tls_client.c has for the SSL_CTX.
int tls_client_on_session(SSL *ssl, SSL_SESSION *session);
void tls_client_on_keylog(const SSL *ssl, const char *line);
BIO_METHOD *tls_client_transport(void);
