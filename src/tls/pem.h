// SPDX-License-Identifier: Apache-2.0
// Reads certificate chains and private keys from PEM files, and says what a file is when it isn't that.
#pragma once

#include <stddef.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "ringbolt/config.h"

// A file that the configuration names, and where complaints about it go.
struct pem_file {
    struct report *report;
    struct config_where where;
    const char *path;
};

// Reads every certificate of the file, in its order, one or more. 0 and *ret (sk_X509_pop_free() it), or -EINVAL with a
// line in the report.
int pem_read_chain(const struct pem_file *pem, STACK_OF(X509) * *ret);

// Reads the first private key of the file. 0 and *ret (EVP_PKEY_free() it), or -EINVAL with a line in the report. A file that
// others may read is warned about in the log.
int pem_read_key(const struct pem_file *pem, EVP_PKEY **ret);
