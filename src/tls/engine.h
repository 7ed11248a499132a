// SPDX-License-Identifier: Apache-2.0
// What a context needs of the engine, inside the room.
#pragma once

#include <openssl/bio.h>
#include <openssl/ssl.h>

// The BIO through which OpenSSL reads what engine_feed() is given and writes what engine_output() yields. NULL when there
// is no memory; the caller frees it with BIO_meth_free() after the last engine.
BIO_METHOD *engine_transport_create(void);

// Sets the callbacks by which the engines of a context follow their handshakes.
void engine_observe(SSL_CTX *ssl);
