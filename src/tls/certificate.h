// SPDX-License-Identifier: Apache-2.0
// A struct certificate out of what files held: found good, or complained about.
#pragma once

#include <openssl/x509.h>

#include "ringbolt/material.h"
#include "src/tls/content.h"
#include "src/tls/pool.h"

// What was read. The certificates stay the caller's.
struct certificate_parts {
    const struct named_file *chain;      // where complaints go
    const struct named_file *key;        // the same for PKCS#12
    const STACK_OF(X509) * certificates; // in the file's order, one or more
    struct material_bytes *private_key;  // NULL: it could not be read; then only complaints come out
    char *const *names;                  // in place of those of the certificate; none: name_count 0
    size_t name_count;
};

// Checks everything, so that one run says everything. 0 and *ret, which has taken over *private_key (zeroed), or -EINVAL with
// lines in the report.
int certificate_make(const struct certificate_parts *parts, struct pool *pool, struct certificate **ret);

// A time as words for people, into text[], which is returned.
#define CERTIFICATE_TIME_SIZE 32
const char *certificate_time_text(const ASN1_TIME *time, char text[CERTIFICATE_TIME_SIZE]);

// Bytes of an object, from malloc(). Aborts on no memory.
struct material_bytes certificate_encode(const X509 *certificate);
