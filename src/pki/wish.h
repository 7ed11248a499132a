// SPDX-License-Identifier: Apache-2.0
// What a certificate or request shall be, whoever said it: options or YAML.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <openssl/x509v3.h>

#include "src/pki/moment.h"
#include "src/pki/status.h"

// What a certificate is for, from which the rest follows as far as it was not said.
enum profile {
    PROFILE_UNSAID, // only for requests: no usages are asked for
    PROFILE_SERVER,
    PROFILE_CLIENT,
    PROFILE_PEER, // both
    PROFILE_OCSP, // signs OCSP responses for its issuer
    PROFILE_CA,
};

#define PATH_LENGTH_NONE (-1) // any number of authorities below
#define PATH_LENGTH_MAX  100

struct wish {
    enum profile profile;
    X509_NAME *subject; // may have no attribute where there are names
    GENERAL_NAMES *names;
    // Validity; what was not said is 0: from now, for the profile's number of days, and no longer than the issuer.
    unsigned days;
    time_t not_before;
    time_t not_after;
    const EVP_MD *digest;                       // NULL: as suits the issuer's key
    int path_length;                            // PROFILE_CA only
    unsigned key_usage;                         // bits of KU_…; 0: as suits profile and key
    STACK_OF(ASN1_OBJECT) * extended_key_usage; // NULL: as suits the profile
    GENERAL_NAMES *crl_urls;
    GENERAL_NAMES *ocsp_urls;
    GENERAL_NAMES *ca_issuers_urls;
    bool must_staple;
};

// With nothing said. Aborts on no memory.
void wish_init(struct wish *wish);
void wish_finish(struct wish *wish);

// ---- parsers: 0, or -EINVAL and why ----

int profile_parse(const char *text, enum profile *ret, char why[static WHY_MAX]);
// `sha256`, `sha384` or `sha512`.
int digest_parse(const char *text, const EVP_MD **ret, char why[static WHY_MAX]);
// 0 to PATH_LENGTH_MAX, or `none`.
int path_length_parse(const char *text, int *ret, char why[static WHY_MAX]);
// `digitalSignature` and so on (RFC 5280 §4.2.1.3); adds to *usage.
int key_usage_add(const char *text, unsigned *usage, char why[static WHY_MAX]);
// `serverAuth` and so on (RFC 5280 §4.2.1.12), or an OID in digits; adds to *usages.
int extended_key_usage_add(const char *text, STACK_OF(ASN1_OBJECT) * *usages, char why[static WHY_MAX]);
// Adds to *names; see altname_parse(). The same name twice is why.
int names_add(const char *text, GENERAL_NAMES **names, char why[static WHY_MAX]);
// Adds an address to *urls; see uri_check().
int urls_add(const char *text, GENERAL_NAMES **urls, char why[static WHY_MAX]);

// The words behind the bits of a key usage, in their order; bit -1 ends them.
struct usage_word {
    const char *word;
    int bit; // number in the BIT STRING
    unsigned flag;
};
extern const struct usage_word usage_words[];
const char *profile_word(enum profile profile);

// A server that says no names is reached by its CN, if that is a host's name or address.
void wish_complete(struct wish *wish);

// What is wrong with the wish as a whole, said through `report` with the key (of YAML) that it is about. Subject and
// names are not looked at when they come from a request.
typedef void wish_reporter(void *context, const char *key, const char *why);
void wish_check(const struct wish *wish, bool has_names_elsewhere, wish_reporter *report, void *context);
