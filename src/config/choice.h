// SPDX-License-Identifier: Apache-2.0
// What may be negotiated: cipher suites and groups, under all their names, and what a profile takes of them.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ringbolt/config.h"

struct choice {
    const char *name;       // as OpenSSL takes it
    const char *aliases[2]; // other names of it, or NULL
};

struct choice_table {
    const char *key; // in a listener's `tls`
    const struct choice *choices;
    size_t count;
};

enum choice_kind { CHOICE_CIPHERS, CHOICE_CIPHERSUITES, CHOICE_GROUPS, CHOICE_KINDS };

extern const struct choice_table choice_tables[CHOICE_KINDS];

// The choice called text[length], whatever its case; NULL: there is none.
const char *choice_find(const struct choice_table *table, const char *text, size_t length);

struct choice_profile {
    const char *name;
    enum config_tls_version version_min;
    const char *lists[CHOICE_KINDS]; // best first, separated by colons
    bool prefers_server;
};

extern const struct choice_profile choice_default; // without a profile
extern const struct choice_profile choice_modern;
extern const struct choice_profile choice_intermediate;
