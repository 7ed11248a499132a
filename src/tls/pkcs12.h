// SPDX-License-Identifier: Apache-2.0
// PKCS#12 (RFC 7292): a file that holds a key with its certificates, all of it usually encrypted.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/x509.h>

#include "ringbolt/material.h"
#include "src/tls/content.h"
#include "src/tls/passphrase.h"

// Does it look like one?
bool pkcs12_is(const uint8_t *bytes, size_t size);

// Takes it apart. 0: *ret_key is the first private key as PKCS#8 (private_key_finish() it), and every certificate is pushed to
// `certificates`. -EKEYREJECTED: the passphrase is wrong. -EBADMSG: it is damaged. -ENOKEY: it holds no private key. -ENOTSUP:
// encrypted_why() says. On failure nothing was pushed.
int pkcs12_open(const uint8_t *bytes, size_t size, const char *phrase, size_t length,
                STACK_OF(X509) * certificates, struct material_bytes *ret_key);

// The same with the passphrase that the configuration names, or none, and with a line in the report: 0 or -EINVAL.
int pkcs12_parse(const struct named_file *file, const struct content *content,
                 struct passphrases *passphrases, const struct config_passphrase *source,
                 STACK_OF(X509) * certificates, struct material_bytes *ret_key);
