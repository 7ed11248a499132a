// SPDX-License-Identifier: Apache-2.0
// What a context is made of, inside the room.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <openssl/kdf.h>
#include <openssl/ssl.h>

#include "ringbolt/tls.h"

struct tls_context {
    SSL_CTX *ssl;
    EVP_KDF *prf;          // TLS1-PRF, fetched once: a fetch takes locks
    BIO_METHOD *transport; // engine_transport_create()
    uint8_t *alpn;         // our protocols as in RFC 7301 §3.1; NULL: ALPN is not answered
    unsigned alpn_size;
};
