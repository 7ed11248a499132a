// SPDX-License-Identifier: Apache-2.0
// What `pki make` shall make: the YAML file, read and checked.
#pragma once

#include "src/config/document.h"
#include "src/pki/issue.h"
#include "src/pki/key.h"
#include "src/pki/passphrase.h"

// An authority or a certificate, with its key.
struct entity {
    const char *name;
    bool is_authority;
    struct entity *issuer; // NULL: a root
    const struct node *node;
    struct wish wish;
    struct key_kind kind;
    struct passphrase_source source; // PASSPHRASE_UNSAID: its key is not encrypted
    char *source_path;               // owned
    // Of finding the order.
    bool is_visited;
    bool is_ordered;
    // What is there or will be; make.c's.
    struct making *making;
};

struct plan {
    struct document document;
    struct raw_pki *raw;
    struct entity *entities; // authorities first, as in the file
    size_t count;
    struct entity **order; // each issuer ahead of what it issues
};

// Reads the YAML file. STATUS_FILE when anything is wrong; all of it is in the report then. plan_finish() it in any case.
enum status plan_load(const char *path, struct plan *ret, struct report *report);
// The same from memory; relative paths are taken from `directory`. For the fuzzer too.
enum status plan_parse(const char *text, size_t length, const char *directory, struct plan *ret,
                       struct report *report);
void plan_finish(struct plan *plan);

// Where the entity says `key`, or where it begins.
struct config_where entity_where(const struct entity *entity, const char *key);
