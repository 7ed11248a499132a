// SPDX-License-Identifier: Apache-2.0
// A certificate and its key in two files of PEM, or one: what listeners serve, and what is shown to servers.
#pragma once

#include <openssl/x509.h>

#include "ringbolt/config.h"
#include "ringbolt/material.h"
#include "src/tls/content.h"
#include "src/tls/loader.h"

struct pair {
    struct named_file chain; // for what is said of them; their texts are the source's
    struct named_file key;
    int chain_result; // 0, or an error that was reported
    int key_result;
};

// Reads both files, the second one whatever the first one is, so that one run says all that is wrong. Certificates are added to
// `certificates`, *ret_key is the caller's (private_key_finish() it).
void pair_read(struct loader *loader, const struct config_certificate *source, struct report *report,
               STACK_OF(X509) * certificates, struct material_bytes *ret_key, struct pair *ret);
