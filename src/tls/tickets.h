// SPDX-License-Identifier: Apache-2.0
// Session tickets (RFC 5077 §4, RFC 8446 §4.6.1): sessions live with the clients, encrypted under the material's keys, so that every
// process and machine with the keys resumes them. What they carry beside OpenSSL's session: which certificate the client was shown, and
// when.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <openssl/ssl.h>

struct tls_context;

// Sets the callbacks; false when OpenSSL has no memory or no such algorithm.
bool tickets_configure(struct tls_context *context, uint64_t lifetime_ns);

// For a new handshake: no tickets while there are no keys.
void tickets_prepare(const struct tls_context *context, SSL *ssl);

// The id of the certificate that the session began with; 0 when the session doesn't say.
uint64_t tickets_certificate(SSL_SESSION *session);
