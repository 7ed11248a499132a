// SPDX-License-Identifier: Apache-2.0
// The tables of the YAML file: every key that it may hold.
#include "src/pki/raw.h"

#define OPTIONAL CYAML_FLAG_OPTIONAL
#define REQUIRED CYAML_FLAG_DEFAULT

#define TEXT_MAX_LENGTH  4095
#define AUTHORITIES_MAX  1000
#define CERTIFICATES_MAX 10000
#define LIST_MAX         1000

#define TEXT_FIELD(key, flags, member)                                                                       \
    CYAML_FIELD_STRING_PTR(key, flags, struct raw_entity, member, 1, TEXT_MAX_LENGTH)
#define LIST_FIELD(key, member)                                                                              \
    CYAML_FIELD_SEQUENCE(key, OPTIONAL | CYAML_FLAG_POINTER, struct raw_entity, member, &text_value, 1,      \
                         LIST_MAX)
#define ATTRIBUTE(key, index)                                                                                \
    CYAML_FIELD_STRING_PTR(key, OPTIONAL, struct raw_subject, attributes[index], 1, TEXT_MAX_LENGTH)

// Not CYAML_BOOL: it takes every word that it doesn't know for true.
static const cyaml_strval_t switch_words[] = {{"true", 1}, {"false", 0}, {"yes", 1},
                                              {"no", 0},   {"on", 1},    {"off", 0}};

static const cyaml_schema_value_t text_value = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, TEXT_MAX_LENGTH),
};

// As in subject_attributes.
static const cyaml_schema_field_t subject_fields[] = {
    ATTRIBUTE("DC", 0),
    ATTRIBUTE("C", 1),
    ATTRIBUTE("ST", 2),
    ATTRIBUTE("L", 3),
    ATTRIBUTE("street", 4),
    ATTRIBUTE("postalCode", 5),
    ATTRIBUTE("O", 6),
    ATTRIBUTE("OU", 7),
    ATTRIBUTE("title", 8),
    ATTRIBUTE("GN", 9),
    ATTRIBUTE("SN", 10),
    ATTRIBUTE("CN", 11),
    ATTRIBUTE("UID", 12),
    ATTRIBUTE("serialNumber", 13),
    ATTRIBUTE("emailAddress", 14),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t source_fields[] = {
    CYAML_FIELD_STRING_PTR("env", OPTIONAL, struct raw_source, env, 1, TEXT_MAX_LENGTH),
    CYAML_FIELD_STRING_PTR("file", OPTIONAL, struct raw_source, file, 1, TEXT_MAX_LENGTH),
    CYAML_FIELD_ENUM_PTR("prompt", OPTIONAL | CYAML_FLAG_STRICT, struct raw_source, prompt, switch_words,
                         CYAML_ARRAY_LEN(switch_words)),
    CYAML_FIELD_END,
};

#define COMMON_FIELDS                                                                                        \
    TEXT_FIELD("name", REQUIRED, name),                                                                      \
        CYAML_FIELD_MAPPING("subject", OPTIONAL, struct raw_entity, subject, subject_fields),                \
        LIST_FIELD("names", names), TEXT_FIELD("days", OPTIONAL, days),                                      \
        TEXT_FIELD("not_before", OPTIONAL, not_before), TEXT_FIELD("not_after", OPTIONAL, not_after),        \
        TEXT_FIELD("key", OPTIONAL, key), TEXT_FIELD("digest", OPTIONAL, digest),                            \
        CYAML_FIELD_MAPPING("passphrase", OPTIONAL, struct raw_entity, passphrase, source_fields),           \
        LIST_FIELD("key_usage", key_usage), LIST_FIELD("extended_key_usage", extended_key_usage),            \
        LIST_FIELD("crl_url", crl_url), LIST_FIELD("ocsp_url", ocsp_url),                                    \
        LIST_FIELD("ca_issuers_url", ca_issuers_url)

static const cyaml_schema_field_t authority_fields[] = {
    COMMON_FIELDS,
    TEXT_FIELD("issuer", OPTIONAL, issuer),
    TEXT_FIELD("path_length", OPTIONAL, path_length),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t authority_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_entity, authority_fields),
};

static const cyaml_schema_field_t certificate_fields[] = {
    COMMON_FIELDS,
    TEXT_FIELD("issuer", REQUIRED, issuer),
    TEXT_FIELD("profile", OPTIONAL, profile),
    CYAML_FIELD_ENUM_PTR("must_staple", OPTIONAL | CYAML_FLAG_STRICT, struct raw_entity, must_staple,
                         switch_words, CYAML_ARRAY_LEN(switch_words)),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t certificate_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_entity, certificate_fields),
};

static const cyaml_schema_field_t pki_fields[] = {
    CYAML_FIELD_SEQUENCE("authorities", REQUIRED | CYAML_FLAG_POINTER, struct raw_pki, authorities,
                         &authority_value, 1, AUTHORITIES_MAX),
    CYAML_FIELD_SEQUENCE("certificates", OPTIONAL | CYAML_FLAG_POINTER, struct raw_pki, certificates,
                         &certificate_value, 0, CERTIFICATES_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t pki_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_pki, pki_fields),
};

const struct schema schema_pki = {.root = &pki_value, .name = "the file"};
