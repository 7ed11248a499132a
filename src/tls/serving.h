// SPDX-License-Identifier: Apache-2.0
// What a client is shown: a certificate for the name that it asks for, and its OCSP response.
#pragma once

#include <stdbool.h>

#include <openssl/ssl.h>

// Sets the callbacks by which the handshakes of a context look into the material.
void serving_configure(SSL_CTX *ssl);

struct handshake;

// In the client hello callback: whether there is a certificate for this client, as far as its name goes. If not, false, with the alert in
// *ret_alert and the words in handshake->failure.
bool serving_accepts(struct handshake *handshake, int *ret_alert);
