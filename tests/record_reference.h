// SPDX-License-Identifier: Apache-2.0
// A second, slow implementation of sealing a record, written from the RFCs and sharing nothing with src/record: what the
// tests and the fuzz target hold the real one against, and how they make the records that it never would.
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "ringbolt/record.h"

static inline const EVP_CIPHER *reference_cipher(enum record_cipher cipher)
{
    switch (cipher) {
    case RECORD_AES_128_GCM:
        return EVP_aes_128_gcm();
    case RECORD_AES_256_GCM:
        return EVP_aes_256_gcm();
    default:
        return EVP_chacha20_poly1305();
    }
}

// Seals text[size] into record[], which has room for size + 29 bytes. The size of the record. TLS 1.3: `type` is the outer
// type, and `text` is the inner plaintext: content, type, padding, as the caller likes. TLS 1.2 with GCM:
// `explicit_nonce` has 8 bytes; otherwise it isn't looked at. Any failure of OpenSSL ends the process.
static inline size_t reference_seal(const struct record_keys *keys, uint8_t type,
                                    const uint8_t *explicit_nonce, const uint8_t *text, size_t size,
                                    uint8_t *record)
{
    bool is_tls12 = keys->version == RECORD_TLS12;
    bool has_explicit = is_tls12 && keys->cipher != RECORD_CHACHA20_POLY1305;
    size_t head = has_explicit ? 13 : 5;
    size_t length = head - 5 + size + 16;
    uint8_t header[5] = {type, 3, 3, (uint8_t)(length >> 8), (uint8_t)length};
    uint8_t nonce[12], aad[13];
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int done;

    memcpy(nonce, keys->iv, 12);
    for (int i = 0; i < 8; i++) {
        uint8_t sequence_byte = (uint8_t)(keys->sequence >> (56 - 8 * i));
        nonce[4 + i] ^= sequence_byte;
        aad[i] = sequence_byte;
    }
    memcpy(aad + 8, header, 3);
    aad[11] = (uint8_t)(size >> 8);
    aad[12] = (uint8_t)size;
    memcpy(record, header, 5);
    if (has_explicit) {
        memcpy(nonce + 4, explicit_nonce, 8);
        memcpy(record + 5, explicit_nonce, 8);
    }
    if (context == NULL ||
        !EVP_EncryptInit_ex(context, reference_cipher(keys->cipher), NULL, keys->key, nonce) ||
        !EVP_EncryptUpdate(context, NULL, &done, is_tls12 ? aad : header, is_tls12 ? 13 : 5) ||
        (size > 0 && !EVP_EncryptUpdate(context, record + head, &done, text, (int)size)) ||
        !EVP_EncryptFinal_ex(context, record + head + size, &done) ||
        !EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, record + head + size))
        abort();
    EVP_CIPHER_CTX_free(context);
    return head + size + 16;
}
