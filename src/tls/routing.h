// SPDX-License-Identifier: Apache-2.0
// Where a client is to go, and which protocol it is answered by ALPN.
#pragma once

#include <stdbool.h>

#include <openssl/ssl.h>

#include "src/tls/engine.h"

// In the client hello callback, with handshake->sni known: chooses handshake->route. False when TLS does not come about here; then
// *ret_alert and handshake->failure say why.
bool routing_accepts(struct handshake *handshake, SSL *ssl, int *ret_alert);

// Sets the callback that answers ALPN.
void routing_configure(SSL_CTX *ssl);
