// SPDX-License-Identifier: Apache-2.0
// The YAML file of `pki make` as libcyaml loads it: texts, NULL for what the file leaves out.
#pragma once

#include "src/config/schema.h"

// In the order of subject_attributes.
struct raw_subject {
    char *attributes[15];
};

struct raw_source {
    char *env;
    char *file;
    int *prompt;
};

// An authority or a certificate; some keys are for one of them only.
struct raw_entity {
    char *name;
    char *issuer;
    char *profile;
    struct raw_subject subject;
    char **names;
    unsigned names_count;
    char *days;
    char *not_before;
    char *not_after;
    char *key;
    char *digest;
    struct raw_source passphrase;
    char *path_length;
    char **key_usage;
    unsigned key_usage_count;
    char **extended_key_usage;
    unsigned extended_key_usage_count;
    char **crl_url;
    unsigned crl_url_count;
    char **ocsp_url;
    unsigned ocsp_url_count;
    char **ca_issuers_url;
    unsigned ca_issuers_url_count;
    int *must_staple;
};

struct raw_pki {
    struct raw_entity *authorities;
    unsigned authorities_count;
    struct raw_entity *certificates;
    unsigned certificates_count;
};

// The whole file, less its key `common`: a struct raw_pki.
extern const struct schema schema_pki;
