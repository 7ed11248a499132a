// SPDX-License-Identifier: Apache-2.0
// What a context is made of, inside the room.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/kdf.h>
#include <openssl/ssl.h>

#include "ringbolt/tls.h"

struct sessions;
struct trust;

struct tls_context {
    SSL_CTX *ssl;
    const struct config_listener *config;
    size_t listener;
    struct material *material;
    bool is_strict;      // config.tls.strict_sni
    int keylog;          // -1: none
    struct trust *trust; // a use of what clients are checked against now; NULL: nothing
    EVP_KDF *prf;        // TLS1-PRF; it and the ciphers are fetched once: a fetch takes locks
    EVP_CIPHER *aes_128; // CBC, for tickets
    EVP_CIPHER *aes_256;
    BIO_METHOD *transport; // engine_transport_create()
    uint32_t hello_size_max; // limits.client_hello
    const struct config_upstream
        *upstream; // of a client's; NULL: a listener's, and what is about material is of no use above
    struct sessions *sessions; // of a client's; NULL: none are kept
    int64_t trusted_until_s;   // of a client's: when a revocation list ends; INT64_MAX: never
    size_t upstream_number;
    const struct tls_upstreams *files; // of a client's
    uint64_t files_version;            // of them, that `ssl` was made of
};

// Versions, suites, groups, and what OpenSSL shall leave be. False: no memory, or OpenSSL has none of them.
bool context_set_protocol(SSL_CTX *ssl, const struct config_tls *config);

// Takes over what the material has for the handshakes that begin from now on. 0 or -ENOMEM: then none may begin.
int context_refresh(struct tls_context *context);
