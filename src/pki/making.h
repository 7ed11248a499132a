// SPDX-License-Identifier: Apache-2.0
// What is there of an entity of the plan, and what will be made of it. Nothing is written before all of this is settled.
#pragma once

#include "src/pki/issue.h"
#include "src/pki/plan.h"

enum fate { FATE_KEEP, FATE_MAKE, FATE_REPLACE };

struct making {
    char *key_path;
    char *certificate_path;
    char *chain_path; // NULL: it has none
    char *database_path;
    bool has_key_file;
    EVP_PKEY *key; // NULL: not opened, because nothing needed it and it would have to be asked for
    struct passphrase passphrase; // of a key that will be written encrypted
    X509 *certificate;
    struct validity validity;
    STACK_OF(X509) * chain; // the entity's certificate, then those above it without the root
    enum fate key_fate;
    enum fate certificate_fate;
    enum fate chain_fate;
};

// One run.
struct run {
    const char *file; // of YAML
    const char *folder;
    bool is_forced;
    struct plan *plan;
    struct report *report;
    enum status status; // the worst so far
};

// Settles everything about one entity, whose issuer is settled: opens what is there, makes what is not, in memory. What is
// wrong is said and remembered in run->status, and the next entity is looked at all the same.
void making_settle(struct run *run, struct entity *entity);
// Writes what is new of it, and says what was done.
enum status making_deliver(struct entity *entity);
void making_finish(struct making *making);
