// SPDX-License-Identifier: Apache-2.0
// Private keys: made and read. Writing them is delivery.h's.
#pragma once

#include <stdbool.h>

#include <openssl/evp.h>

#include "src/pki/passphrase.h"
#include "src/pki/status.h"

// `rsa:BITS`, `ec:CURVE`, `ed25519`.
struct key_kind {
    const char *type;  // of OpenSSL: "RSA", "EC", "ED25519"
    const char *curve; // of EC: "P-256", "P-384", "P-521"
    unsigned bits;     // of RSA
};

#define KEY_KIND_TEXT_MAX 32

// 0, or -EINVAL and why. `rsa` alone has 3072 bits, `ec` alone is on P-256.
int key_kind_parse(const char *text, struct key_kind *ret, char why[static WHY_MAX]);
// As it is written, into text.
void key_kind_text(const struct key_kind *kind, char text[static KEY_KIND_TEXT_MAX]);
// The same of a key, public or private, of whatever kind: other kinds come out by their name.
void key_text(const EVP_PKEY *key, char text[static KEY_KIND_TEXT_MAX]);
bool key_is(const EVP_PKEY *key, const struct key_kind *kind);

// A new key; EVP_PKEY_free() it. `name` is what it will be called in a complaint.
enum status key_make(const struct key_kind *kind, const char *name, EVP_PKEY **ret);

// Reads the one private key of a PEM file. If it is encrypted, the passphrase comes from `source`; a source of no
// kind asks the terminal, NULL refuses. *ret_encrypted (may be NULL) says whether it was.
enum status key_load(const char *path, const struct passphrase_source *source, EVP_PKEY **ret,
                     bool *ret_encrypted);
