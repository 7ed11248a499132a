// SPDX-License-Identifier: Apache-2.0
// What is encrypted under a passphrase (PKCS#5, PKCS#12): opened with OpenSSL's algorithms of today, else with those of its
// legacy provider, in a library context of their own so that handshakes never see them.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <openssl/x509.h>

#include "ringbolt/material.h"

// Opens EncryptedPrivateKeyInfo (RFC 5958 §3). 0 and *ret: the key as PKCS#8 (private_key_finish() it); -EKEYREJECTED: the
// passphrase is wrong; -ENOTSUP: encrypted_why() says.
int encrypted_key_open(const X509_SIG *encrypted, const char *phrase, size_t length,
                       struct material_bytes *ret);

// The same for the DER encoding of something else, decoded as `item`: *ret is ASN1_item_free()d by the caller.
int encrypted_item_open(const X509_ALGOR *algorithm, const ASN1_OCTET_STRING *bytes, const ASN1_ITEM *item,
                        const char *phrase, size_t length, ASN1_VALUE **ret);

// Why the last -ENOTSUP: "PBE-SHA1-RC2-40, which OpenSSL does not know here, nor is its legacy provider installed". Until
// the next call.
const char *encrypted_why(void);

// For the same words from elsewhere.
void encrypted_set_why(const char *algorithm);

// Did OpenSSL fail because it lacks an algorithm? Takes the errors off the queue.
bool encrypted_was_unknown(void);

// Unloads the legacy provider, if it was loaded. It is loaded again when it is needed again.
void encrypted_finish(void);
