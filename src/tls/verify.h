// SPDX-License-Identifier: Apache-2.0
// Client certificates: the authorities and revocation lists that they are checked against, and what a check says of them.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "ringbolt/config.h"
#include "src/tls/change.h"

// Authorities with their lists, shared by all listeners that have the same.
struct trust;

// One use. NULL when there is no memory. The lists are copied, and parsed only when a listener needs them.
struct trust *trust_create(const uint8_t digest[32], struct change_list cas, struct change_list crls);
struct trust *trust_take(struct trust *trust);                      // a use more
void trust_give(struct trust *trust);                               // a use less; NULL is accepted
bool trust_is(const struct trust *trust, const uint8_t digest[32]); // false for NULL

// Sets what of client authentication stays as configured.
void verify_configure(SSL_CTX *ssl, const struct config_client_trust *config);

// Makes an SSL_CTX check against `trust` (NULL: against nothing, so that all clients are refused who show a certificate) from the next
// check on, and binds the tickets of later handshakes to it and to how it is asked for. The trust must live until the next call or the end of the SSL_CTX. 0, or
// -ENOMEM with the SSL_CTX as it was.
int verify_trust(SSL_CTX *ssl, const struct config_client_trust *config, struct trust *trust);

// The client's subject (RFC 2253, ASCII, "..." at its end if it is cut off) and SHA-256 fingerprint in hexadecimal (65 bytes).
void verify_describe(const X509 *certificate, char *subject, size_t subject_size, char *fingerprint);
