// SPDX-License-Identifier: Apache-2.0
// What a handshake's key schedule yields for one connection: the traffic secrets, and how many records each direction's
// keys have protected. From these come the record layer's keys.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/kdf.h>
#include <openssl/ssl.h>

#include "ringbolt/record.h"
#include "src/record/provider.h"

#define SECRETS_BLOCK_MAX (2 * RECORD_KEY_MAX + 2 * RECORD_IV_SIZE)

struct secrets_direction {
    uint8_t traffic[RECORD_SECRET_MAX]; // TLS 1.3: {CLIENT,SERVER}_TRAFFIC_SECRET_0
    uint8_t traffic_size;               // 0 until known
    uint64_t records;                   // since the keys last changed: the sequence number of the next record
};

struct secrets {
    bool is_client;                         // which side we are, set before the handshake begins
    struct secrets_direction directions[2]; // by enum record_direction, as we see it
    uint8_t block[SECRETS_BLOCK_MAX];       // TLS 1.2: the key block
    size_t block_size;                      // 0: not seen
    uint8_t nonce_sent[8];                  // TLS 1.2 with GCM: the explicit nonce of our Finished
};

// Takes what the key schedule yields (src/record/provider.h), as provider_watch_fn; `secrets` is a struct secrets.
void secrets_watch(void *secrets, enum provider_secret which, const uint8_t *secret, size_t size);

// The same from a line of SSL_CTX_set_keylog_callback, where the machine's policy keeps our provider out: OpenSSL calls it when a
// direction changes to the keys it announces.
void secrets_keylog(struct secrets *secrets, const char *line);

// Counts one record by its outer type.
void secrets_record(struct secrets *secrets, enum record_direction direction, uint8_t type);

// Looks through whole records that were sent for the explicit nonce from which OpenSSL counts (RFC 5288 §3): it is chosen
// at random, and a nonce must never come twice.
void secrets_sent(struct secrets *secrets, const uint8_t *records, size_t length);

// The keys of both directions of a finished handshake. `prf` is TLS1-PRF. 0, or -EIO with *ret_receive and *ret_transmit
// untouched.
int secrets_keys(const struct secrets *secrets, const SSL *ssl, EVP_KDF *prf, struct record_keys *ret_receive,
                 struct record_keys *ret_transmit);

void secrets_wipe(struct secrets *secrets);
