// SPDX-License-Identifier: Apache-2.0
// Certificates of authorities that were seen in any file. Thousands of chains share a few of them: each is parsed once, and
// completes the chains that lack it.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/x509.h>

struct pool;

struct pool *pool_create(void);       // aborts on no memory
void pool_destroy(struct pool *pool); // NULL is accepted

// The certificate that these bytes are, parsed now or before: the caller X509_free()s it. NULL: they are none.
X509 *pool_parse(struct pool *pool, const uint8_t *der, size_t size);

// Keeps a certificate of an authority (others are not kept). The pool is bounded: what was not used for longest goes.
void pool_add(struct pool *pool, X509 *certificate);

// One that issued `certificate`, proven by its signature, and is valid now; self-signed ones (roots) come last. NULL without; owned by
// the pool and good until the next call of pool_add().
X509 *pool_issuer(struct pool *pool, X509 *certificate);

// The authority of OpenSSL's default store (what the system trusts) that issued it: the caller X509_free()s it. NULL without. The
// store is read when it is first asked.
X509 *pool_trusted_issuer(struct pool *pool, X509 *certificate);

// Is it issued by `issuer`? Names, key ids, what the issuer may do, and the signature.
bool pool_is_issued_by(X509 *certificate, X509 *issuer);

// Is it signed with its own key?
bool pool_is_root(X509 *certificate);
