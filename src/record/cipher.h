// SPDX-License-Identifier: Apache-2.0
// What cipher.c shares with aead_evp.c, inside the room: OpenSSL's fetched algorithms.
#pragma once

#include <openssl/evp.h>

#include "ringbolt/record.h"

// The fetched AEAD, or NULL when OpenSSL doesn't offer it or record_init() hasn't run. Owned by the table.
const EVP_CIPHER *record_cipher_evp(enum record_cipher cipher);
