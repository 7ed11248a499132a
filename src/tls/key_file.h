// SPDX-License-Identifier: Apache-2.0
// The private key in a file: PEM (also behind or between certificates) or DER, encrypted or not.
#pragma once

#include "ringbolt/material.h"
#include "src/tls/content.h"
#include "src/tls/passphrase.h"

// Finds the first private key in `content`. 0 and *ret, the key as PKCS#8 (private_key_finish() it), or -EINVAL with a line in the report.
int key_file_parse(const struct named_file *file, const struct content *content,
                   struct passphrases *passphrases, const struct config_passphrase *source,
                   struct material_bytes *ret);
