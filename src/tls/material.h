// SPDX-License-Identifier: Apache-2.0
// What material is made of, inside the room.
#pragma once

#include <stddef.h>

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "ringbolt/tls.h"

// A certificate, its private key, and the certificates that lead to a root.
struct material_pair {
    X509 *certificate;
    EVP_PKEY *key;
    STACK_OF(X509) * intermediates; // in the order they are sent; empty, or NULL, when there are none
};

struct material_listener {
    struct material_pair *pairs; // one of each key type at most
    size_t pair_count;
};

struct material {
    struct material_listener *listeners; // as in the configuration
    size_t listener_count;
};

// Room for listener_count listeners without pairs. Aborts on no memory, as all of start-up.
struct material *material_create(size_t listener_count);
// Room for pair_count pairs of NULLs.
void material_listener_init(struct material_listener *listener, size_t pair_count);

// Gives an SSL_CTX one pair, after raising its security level to 2 at least: RSA of 2048 bits or more and no SHA-1
// signatures in the whole chain. (The library's default differs between versions and distributions.) False when OpenSSL
// refuses it; the error queue says why.
bool material_install(SSL_CTX *ssl, const struct material_pair *pair);
