// SPDX-License-Identifier: Apache-2.0
// What a certificate authority has issued and revoked: a text file beside its certificate, NAME.db, one line a
// certificate, for people to read and for CRLs to be made from. It is replaced as a whole when it changes, so the lock is
// on its folder.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <openssl/x509.h>

#include "src/pki/status.h"

#define SERIAL_TEXT_MAX 44 // of at most 20 bytes in hexadecimal; more for damaged ones

enum reason {
    REASON_NONE = -1, // not revoked
    REASON_UNSPECIFIED = 0,
    REASON_KEY_COMPROMISE = 1,
    REASON_CA_COMPROMISE = 2,
    REASON_AFFILIATION_CHANGED = 3,
    REASON_SUPERSEDED = 4,
    REASON_CESSATION = 5,
    REASON_HOLD = 6,
    REASON_PRIVILEGE_WITHDRAWN = 9,
    REASON_AA_COMPROMISE = 10,
};

struct record {
    char serial[SERIAL_TEXT_MAX];
    time_t issued; // not before
    time_t expires;
    enum reason reason;
    time_t revoked; // when, unless REASON_NONE
    char *subject;  // or names, when that is empty
};

struct database {
    char *path;
    uint64_t crl_number; // of the last CRL; 0: none yet
    struct record *records;
    size_t count;
};

// The words of RFC 5280 §5.3.1 (`keyCompromise` …). 0, or -EINVAL and why.
int reason_parse(const char *text, enum reason *ret, char why[static WHY_MAX]);
const char *reason_word(enum reason reason);

// In hexadecimal, capital letters.
void serial_text(const ASN1_INTEGER *serial, char text[static SERIAL_TEXT_MAX]);

// Locks the folder that holds `path` with flock(2), once nobody else has it; close(2) ends that. From before a database is
// opened until after what was issued or revoked is written.
enum status folder_lock(const char *path, int *ret_fd);

// Reads the database at `path`; one that is not there is empty.
enum status database_open(const char *path, struct database *ret);
void database_close(struct database *database);

// Changes in memory, until database_save().
struct record *database_find(struct database *database, const char *serial);
struct record *database_add(struct database *database, const X509 *certificate);
void database_remove_last(struct database *database);
enum status database_save(struct database *database);
