// SPDX-License-Identifier: Apache-2.0
// Private keys as DER: read in each of their forms, made into PKCS#8, and compared with certificates. Their numbers are looked at
// directly: OpenSSL 3's decoders take a third of a millisecond for a key, and don't look whether the private
// part belongs to the public one.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <openssl/x509.h>

#include "ringbolt/material.h"

enum private_key_form {
    PRIVATE_KEY_ANY,   // one of those below, as it looks
    PRIVATE_KEY_PKCS8, // PrivateKeyInfo, RFC 5208, RFC 5958
    PRIVATE_KEY_PKCS1, // RSAPrivateKey, RFC 8017 §A.1.2
    PRIVATE_KEY_SEC1,  // ECPrivateKey, RFC 5915, which names its curve
};

// Reads der[size]. 0 and *ret: the key as PKCS#8 (private_key_finish() it); -EBADMSG: not a key of this form.
int private_key_read(const uint8_t *der, size_t size, enum private_key_form form, struct material_bytes *ret);

// The same of a key that OpenSSL decoded. Aborts on no memory.
int private_key_take(const PKCS8_PRIV_KEY_INFO *info, struct material_bytes *ret);

void private_key_finish(struct material_bytes *key); // wipes; what is all zero is accepted

enum private_key_match {
    PRIVATE_KEY_MATCHES,
    PRIVATE_KEY_DIFFERS,
    PRIVATE_KEY_DAMAGED, // it says that it is the certificate's, but its numbers don't fit each other
};

// For certificates with a key of RSA, on a named curve, or Ed25519; others differ from everything.
enum private_key_match private_key_match(const struct material_bytes *key, X509 *certificate);
