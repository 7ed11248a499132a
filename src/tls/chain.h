// SPDX-License-Identifier: Apache-2.0
// Chains of certificates: read from a file, put in order, completed, and checked for what clients would refuse.
#pragma once

#include <openssl/x509.h>

#include "src/tls/content.h"
#include "src/tls/pool.h"

// Pushes every certificate of a PEM file, one or more. 0, or -EINVAL with a line in the report.
int chain_parse(const struct named_file *file, const struct content *content, struct pool *pool,
                STACK_OF(X509) * certificates);

struct chain {
    STACK_OF(X509) * intermediates; // as they are sent, without the root; never NULL
    X509 *
        issuer; // of the leaf: the first intermediate, or a root; NULL when it is not known or the leaf signs itself
};

// Leads from `leaf` (one of the certificates) as far up as those of the file, and then the pool, go. What is missing or left over is
// warned about. chain_finish() it.
void chain_build(const struct named_file *file, const STACK_OF(X509) * certificates, X509 *leaf,
                 struct pool *pool, struct chain *ret);
void chain_finish(struct chain *chain);

// Small keys and signatures that don't hold, which clients refuse wherever they are in the chain: -EINVAL. Intermediates
// that have expired: a warning.
int chain_check(const struct named_file *file, X509 *leaf, const struct chain *chain);
