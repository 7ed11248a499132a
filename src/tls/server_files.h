// SPDX-License-Identifier: Apache-2.0
// What was read for one upstream, inside the room.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <openssl/x509.h>

#include "ringbolt/material.h"
#include "ringbolt/tls.h"
#include "src/tls/change.h"

struct server_files {
    X509_STORE *store;             // what chains may end at, and revocation lists; NULL: nothing is verified
    STACK_OF(X509) * certificates; // the one that we show, then its intermediates; NULL: none
    struct material_bytes key;     // its private key, PKCS#8
    int64_t trusted_until_s;       // when a revocation list ends; INT64_MAX: never
    uint8_t digest[32];            // of all of it but the system's authorities
    uint64_t version;              // counts up when it is replaced
};

// CHANGE_SERVERS: whether there is such an upstream; replaces what is held for it. 0, or -ENOMEM with everything as it was.
bool server_files_fits(const struct tls_upstreams *upstreams, const struct change_element *element);
int server_files_apply(struct tls_upstreams *upstreams, const struct change_element *element);

const struct server_files *server_files_of(const struct tls_upstreams *upstreams, size_t upstream);
