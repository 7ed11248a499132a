// SPDX-License-Identifier: Apache-2.0
// PEM (RFC 7468, and RFC 1421 as OpenSSL used it): a text of blocks, read one at a time.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/bio.h>

enum pem_kind {
    PEM_OTHER,
    PEM_CERTIFICATE,
    PEM_CRL,
    PEM_KEY_PKCS8,
    PEM_KEY_PKCS1,
    PEM_KEY_SEC1,
    PEM_KEY_ENCRYPTED,     // EncryptedPrivateKeyInfo
    PEM_KEY_OLD_ENCRYPTED, // PKCS#1 or SEC 1 with "Proc-Type: 4,ENCRYPTED": `header` says how
};

struct pem_block {
    enum pem_kind kind;
    char *name; // "RSA PRIVATE KEY"
    char *header;
    unsigned char *bytes;
    long size;
};

struct pem {
    BIO *bio;
};

// bytes[size] must stay until pem_close(). Aborts on no memory.
void pem_open(struct pem *pem, const uint8_t *bytes, size_t size);
void pem_close(struct pem *pem);

// 1 and the next block (pem_block_finish() it); 0: no more; -EBADMSG: it is broken.
int pem_next(struct pem *pem, struct pem_block *ret);
void pem_block_finish(struct pem_block *block); // wipes

// Is it a key, encrypted or not?
bool pem_is_key(const struct pem_block *block);

// Decrypts a block of PEM_KEY_OLD_ENCRYPTED. 0 and *ret, a block without encryption; -EKEYREJECTED: the passphrase is wrong;
// -ENOTSUP: encrypted_why() says.
int pem_decrypt(const struct pem_block *block, const char *phrase, size_t length, struct pem_block *ret);

// Does the last block of a text that holds one have no end?
bool pem_is_cut_off(const uint8_t *bytes, size_t size);
