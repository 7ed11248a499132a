// SPDX-License-Identifier: Apache-2.0
// The suites are those that the record layer and the kernel can go on with after the handshake: AEAD, with ECDHE.
#include <string.h>
#include <strings.h>

#include "src/config/choice.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// OpenSSL's names, and IANA's.
static const struct choice ciphers[] = {
    {"ECDHE-ECDSA-AES128-GCM-SHA256", {"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}},
    {"ECDHE-RSA-AES128-GCM-SHA256", {"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}},
    {"ECDHE-ECDSA-AES256-GCM-SHA384", {"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}},
    {"ECDHE-RSA-AES256-GCM-SHA384", {"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"}},
    {"ECDHE-ECDSA-CHACHA20-POLY1305", {"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"}},
    {"ECDHE-RSA-CHACHA20-POLY1305", {"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"}},
};

// One name for both.
static const struct choice ciphersuites[] = {
    {"TLS_AES_128_GCM_SHA256", {NULL}},
    {"TLS_AES_256_GCM_SHA384", {NULL}},
    {"TLS_CHACHA20_POLY1305_SHA256", {NULL}},
};

// NIST's names and SECG's (RFC 8446 §4.2.7), and ANSI X9.62's.
static const struct choice groups[] = {
    {"X25519MLKEM768", {NULL}}, {"X25519", {NULL}},       {"P-256", {"secp256r1", "prime256v1"}},
    {"P-384", {"secp384r1"}},   {"P-521", {"secp521r1"}}, {"X448", {NULL}},
};

const struct choice_table choice_tables[CHOICE_KINDS] = {
    [CHOICE_CIPHERS] = {"ciphers", ciphers, COUNT(ciphers)},
    [CHOICE_CIPHERSUITES] = {"ciphersuites", ciphersuites, COUNT(ciphersuites)},
    [CHOICE_GROUPS] = {"groups", groups, COUNT(groups)},
};

static bool is_called(const char *name, const char *text, size_t length)
{
    return name != NULL && strlen(name) == length && strncasecmp(name, text, length) == 0;
}

const char *choice_find(const struct choice_table *table, const char *text, size_t length)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct choice *choice = &table->choices[i];
        bool is_found = is_called(choice->name, text, length);
        for (size_t j = 0; j < COUNT(choice->aliases); j++)
            is_found |= is_called(choice->aliases[j], text, length);
        if (is_found)
            return choice->name;
    }
    return NULL;
}

// AES-128 first: it costs less, and its strength is not what breaks.
#define CIPHERS                                                                                              \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"               \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERSUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS       "X25519MLKEM768:X25519:P-256:P-384"

// Mozilla's guidelines for server side TLS, version 5.8, arrived at the same lists and order, but leave the choice
// among the suites to the client: all are good, and it knows which its machine is fast at.
const struct choice_profile choice_default = {
    .version_min = CONFIG_TLS12,
    .lists = {CIPHERS, CIPHERSUITES, GROUPS},
    .prefers_server = true,
};
const struct choice_profile choice_modern = {
    .name = "modern",
    .version_min = CONFIG_TLS13,
    .lists = {CIPHERS, CIPHERSUITES, GROUPS}, // the first for who lowers min_version beside the profile
};
const struct choice_profile choice_intermediate = {
    .name = "intermediate",
    .version_min = CONFIG_TLS12,
    .lists = {CIPHERS, CIPHERSUITES, GROUPS},
};
