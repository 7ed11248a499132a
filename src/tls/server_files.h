// SPDX-License-Identifier: Apache-2.0
// What was read for one upstream, inside the room.
#pragma once

#include <stddef.h>

#include <openssl/x509.h>

#include "ringbolt/material.h"
#include "ringbolt/tls.h"

struct server_files {
    X509_STORE *store;             // what chains may end at, and revocation lists; NULL: nothing is verified
    STACK_OF(X509) * certificates; // the one that we show, then its intermediates; NULL: none
    struct material_bytes key;     // its private key, PKCS#8
    int64_t trusted_until_s;       // when a revocation list ends; INT64_MAX: never
};

const struct server_files *server_files_of(const struct tls_upstreams *upstreams, size_t upstream);
