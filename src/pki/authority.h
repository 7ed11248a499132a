// SPDX-License-Identifier: Apache-2.0
// A certificate authority as files: NAME.pem, NAME.key and NAME.db beside each other.
#pragma once

#include "src/pki/delivery.h"
#include "src/pki/issue.h"
#include "src/pki/passphrase.h"

struct authority {
    char *path;               // of its certificate, as given
    char *database;           // path
    STACK_OF(X509) * chain;   // its certificate, then what else the file holds
    X509 *certificate;        // the first of these
    EVP_PKEY *key;            // NULL: not opened
    struct validity validity; // of the certificate
};

// `dir/NAME` of `dir/NAME.pem`, `dir/NAME-chain.pem`, `dir/NAME.crt` …, with `ending` behind it; free() it.
char *path_beside(const char *path, const char *ending);

// Loads it, and sees that it is one that may issue and has not expired. key_path NULL: NAME.key beside it; source NULL: the
// key is not needed. authority_finish() it.
enum status authority_load(const char *path, const char *key_path, const struct passphrase_source *source,
                           struct authority *ret);
void authority_finish(struct authority *authority);

// Whether `certificate` was signed by this authority.
bool authority_has_issued(const struct authority *authority, X509 *certificate);

// What a complaint says is wrong with issuing an authority below this one; NULL: nothing.
const char *authority_limits(const struct authority *authority, const struct wish *wish);

// Records a certificate in the database and publishes the files that it is delivered in, or neither. folder_lock() is
// held for the database.
enum status authority_deliver(const char *database, X509 *certificate, struct delivery *delivery);
