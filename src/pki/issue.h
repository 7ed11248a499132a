// SPDX-License-Identifier: Apache-2.0
// Issuing: a certificate put together and signed.
#pragma once

#include <openssl/x509.h>

#include "src/pki/wish.h"

// So much before now a new certificate begins, for clocks that are slow.
#define BACKDATE_SECONDS 300

struct validity {
    time_t not_before;
    time_t not_after;
};

// When a certificate by `issuer` (NULL: by itself) will be valid. 0, or -ERANGE when it was said to outlast its issuer, or to
// begin after its issuer's end; what can be cut because nobody said it is cut.
int validity_resolve(const struct wish *wish, const struct validity *issuer, time_t now,
                     struct validity *ret);
int validity_of(const X509 *certificate, struct validity *ret);

struct issue {
    const char *label; // for complaints: the file's name
    const X509_NAME *subject;
    EVP_PKEY *key;      // public
    const X509 *issuer; // NULL: itself
    EVP_PKEY *issuer_key;
    struct validity validity;
    const EVP_MD *digest; // NULL: as suits issuer_key
    const STACK_OF(X509_EXTENSION) * extensions;
};

// Signed, with a random serial number of 159 bits; X509_free() it.
enum status certificate_issue(const struct issue *issue, X509 **ret);

// The digest to sign with: `digest` or what suits the key; STATUS_FAILED when the key has its own.
enum status digest_choose(const char *label, const EVP_MD *digest, const EVP_PKEY *key, const EVP_MD **ret);

// The request of `key` for a subject and extensions.
enum status request_make(const char *label, const X509_NAME *subject, EVP_PKEY *key, const EVP_MD *digest,
                         STACK_OF(X509_EXTENSION) * extensions, X509_REQ **ret);
