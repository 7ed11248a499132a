// SPDX-License-Identifier: Apache-2.0
// HMAC (RFC 2104) and what TLS derives its keys with: HKDF (RFC 5869) in the words of TLS 1.3 (RFC 8446 §7.1), and the PRF of TLS 1.2
// (RFC 5246 §5). The hash functions are OpenSSL's, called directly: through EVP each of the hundred short hashes of a handshake costs
// several times its own computing in contexts, locks and look-ups (docs/performance.md).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/sha.h>

#define HMAC_SIZE_MAX 48 // SHA-384

enum hmac_hash { HMAC_SHA256, HMAC_SHA384 };

union hmac_state {
    SHA256_CTX sha256;
    SHA512_CTX sha384;
};

struct hmac {
    enum hmac_hash hash;
    union hmac_state inner; // the key is in, for another message
    union hmac_state outer;
    union hmac_state running;
};

// By OpenSSL's names of the digests: "SHA256" and "SHA2-256", any case. False: another digest.
bool hmac_hash_from_name(const char *name, enum hmac_hash *ret);

// Of the MAC, in bytes: 32 or 48.
size_t hmac_size(enum hmac_hash hash);

// A key of any size; the first message begins. The caller wipes all of it in the end: hmac_wipe().
void hmac_key(struct hmac *hmac, enum hmac_hash hash, const uint8_t *key, size_t size);

void hmac_add(struct hmac *hmac, const void *data, size_t size);

// Writes hmac_size() bytes, and the next message begins.
void hmac_end(struct hmac *hmac, uint8_t *mac);

void hmac_wipe(struct hmac *hmac);

struct hmac_bytes {
    const uint8_t *data;
    size_t size;
};

// HKDF-Extract (RFC 5869 §2.2). `out` has hmac_size() bytes.
void hkdf_extract(enum hmac_hash hash, struct hmac_bytes salt, struct hmac_bytes key, uint8_t *out);

// HKDF-Expand-Label (RFC 8446 §7.1): `size` bytes for the label "`prefix``label`" (at most 249 bytes together) and a context of at most 255.
// False when something is too long.
bool hkdf_expand_label(enum hmac_hash hash, struct hmac_bytes secret, struct hmac_bytes prefix,
                       struct hmac_bytes label, struct hmac_bytes context, uint8_t *out, size_t size);

// P_hash (RFC 5246 §5) over the seeds, label first, joined.
void tls12_prf(enum hmac_hash hash, struct hmac_bytes secret, const struct hmac_bytes *seeds, size_t count,
               uint8_t *out, size_t size);
