// SPDX-License-Identifier: Apache-2.0
// One AEAD under one key, in memory: what record_user.c makes records with. Two implementations: OpenSSL's for all ciphers, and
// libipsec-mb's for AES-GCM where the library was there at build time and the processor has what makes it the faster one.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ringbolt/record.h"

struct aead {
    // A context for one key and one direction; NULL when there is no memory or OpenSSL fails.
    void *(*create)(enum record_cipher cipher, const uint8_t *key, bool seals);
    void (*destroy)(void *context); // wipes it; NULL is accepted
    // Encrypts text[length] in place and writes the tag behind it. False: OpenSSL failed.
    bool (*seal)(void *context, const uint8_t *nonce, const uint8_t *aad, size_t aad_size, uint8_t *text,
                 size_t length);
    // Decrypts text[length] in place and checks the tag behind it: ALERT_NONE, ALERT_BAD_RECORD_MAC or ALERT_INTERNAL_ERROR. The
    // caller wipes the text when it isn't authentic.
    enum record_alert (*open)(void *context, const uint8_t *nonce, const uint8_t *aad, size_t aad_size,
                              uint8_t *text, size_t length);
};

extern const struct aead aead_evp; // needs record_init()

#ifdef RINGBOLT_IPSEC_MB
// AES-GCM with VAES and VPCLMULQDQ on AVX-512: OpenSSL before 3.1 doesn't use them.
extern const struct aead aead_vector;
// True when this processor can do it and the library has passed its own test. Before anything else of it.
bool aead_vector_init(void);
#endif

// The one to use (cipher.c). The same for the life of the process once record_init() is done.
const struct aead *record_cipher_aead(enum record_cipher cipher);
