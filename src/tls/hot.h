// SPDX-License-Identifier: Apache-2.0
// Certificates and keys as OpenSSL's objects. They take 8 to 9 KB each beside the DER that they come from, so only those used last
// are kept, and those that listeners fall back to.
//
// What OpenSSL offers to protect a parsed key is used: its secure heap, locked, left out of core dumps, between guard pages. It costs
// less than a thousandth of a handshake. It is no more than half a protection: of an RSA key OpenSSL keeps the primes in the ordinary heap
// too, inside its Montgomery contexts; all of an ECDSA or Ed25519 key is in the secure heap.
#pragma once

#include <stddef.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "ringbolt/list.h"
#include "src/tls/material.h"

#define HOT_MAX 512 // versions, beside the listeners' defaults

struct hot {
    struct list node;
    struct slot *slot;
    X509 *leaf;
    EVP_PKEY *key;
    STACK_OF(X509) * chain; // NULL without intermediates
};

// The slot's objects, owned by the cache: whoever keeps one takes a reference. NULL when they can't be made, which the log
// says once: no memory, or OpenSSL doesn't take them.
const struct hot *hot_get(struct material *material, struct slot *slot);

// Says in the log, once for each version, that it can't be used, with the reason that stands last in OpenSSL's error queue, which is empty
// afterwards.
void hot_complain(struct slot *slot);

// Drops the slot's objects, if it has any.
void hot_forget(struct material *material, struct slot *slot);
