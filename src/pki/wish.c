// SPDX-License-Identifier: Apache-2.0
// The words in which people say what a certificate shall be.
#include "src/pki/wish.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/err.h>

#include "src/config/nearest.h"
#include "src/pki/altname.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const profiles[] = {
    [PROFILE_SERVER] = "server", [PROFILE_CLIENT] = "client", [PROFILE_PEER] = "peer",
    [PROFILE_OCSP] = "ocsp",     [PROFILE_CA] = "ca",
};

const struct usage_word usage_words[] = {
    {"digitalSignature", 0, KU_DIGITAL_SIGNATURE},
    {"nonRepudiation", 1, KU_NON_REPUDIATION},
    {"keyEncipherment", 2, KU_KEY_ENCIPHERMENT},
    {"dataEncipherment", 3, KU_DATA_ENCIPHERMENT},
    {"keyAgreement", 4, KU_KEY_AGREEMENT},
    {"keyCertSign", 5, KU_KEY_CERT_SIGN},
    {"cRLSign", 6, KU_CRL_SIGN},
    {"encipherOnly", 7, KU_ENCIPHER_ONLY},
    {"decipherOnly", 8, KU_DECIPHER_ONLY},
    {NULL, -1, 0},
};

static const char *const extended_words[] = {
    "serverAuth", "clientAuth", "codeSigning", "emailProtection", "timeStamping", "OCSPSigning",
};

void wish_init(struct wish *wish)
{
    *wish = (struct wish){.subject = X509_NAME_new(), .path_length = PATH_LENGTH_NONE};
    if (wish->subject == NULL)
        abort();
}

void wish_finish(struct wish *wish)
{
    X509_NAME_free(wish->subject);
    GENERAL_NAMES_free(wish->names);
    sk_ASN1_OBJECT_pop_free(wish->extended_key_usage, ASN1_OBJECT_free);
    GENERAL_NAMES_free(wish->crl_urls);
    GENERAL_NAMES_free(wish->ocsp_urls);
    GENERAL_NAMES_free(wish->ca_issuers_urls);
    *wish = (struct wish){0};
}

// ---- parsers ----

const char *profile_word(enum profile profile)
{
    return profiles[profile];
}

int profile_parse(const char *text, enum profile *ret, char why[static WHY_MAX])
{
    for (size_t i = PROFILE_SERVER; i < COUNT(profiles); i++) {
        if (strcmp(text, profiles[i]) == 0) {
            *ret = (enum profile)i;
            return 0;
        }
    }
    return why_set(why, "server, client, peer (both), ocsp or ca is needed");
}

int digest_parse(const char *text, const EVP_MD **ret, char why[static WHY_MAX])
{
    if (strcmp(text, "sha256") == 0)
        *ret = EVP_sha256();
    else if (strcmp(text, "sha384") == 0)
        *ret = EVP_sha384();
    else if (strcmp(text, "sha512") == 0)
        *ret = EVP_sha512();
    else
        return why_set(why, "sha256, sha384 or sha512 is needed");
    return 0;
}

int path_length_parse(const char *text, int *ret, char why[static WHY_MAX])
{
    char *end;
    long number;

    if (strcmp(text, "none") == 0) {
        *ret = PATH_LENGTH_NONE;
        return 0;
    }
    number = strtol(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end != '\0' || number > PATH_LENGTH_MAX)
        return why_set(why, "a number of authorities below from 0 to %d is needed, or none", PATH_LENGTH_MAX);
    *ret = (int)number;
    return 0;
}

static int unknown_word(const char *word, const char *const *words, size_t count, const char *more,
                        char why[static WHY_MAX])
{
    const char *meant = nearest_name(word, words, count);
    size_t used;

    if (meant != NULL)
        return why_set(why, "there is no such usage; did you mean %s?", meant);
    used = (size_t)snprintf(why, WHY_MAX, "there is no such usage; known are");
    for (size_t i = 0; i < count && used < WHY_MAX; i++)
        used += (size_t)snprintf(why + used, WHY_MAX - used, " %s", words[i]);
    if (used < WHY_MAX)
        snprintf(why + used, WHY_MAX - used, "%s", more);
    return -EINVAL;
}

int key_usage_add(const char *text, unsigned *usage, char why[static WHY_MAX])
{
    const char *words[COUNT(usage_words)] = {NULL};
    size_t count = 0;

    for (; usage_words[count].word != NULL; count++) {
        words[count] = usage_words[count].word;
        if (strcasecmp(text, words[count]) == 0) {
            *usage |= usage_words[count].flag;
            return 0;
        }
    }
    return unknown_word(text, words, count, "", why);
}

int extended_key_usage_add(const char *text, STACK_OF(ASN1_OBJECT) * *usages, char why[static WHY_MAX])
{
    bool is_oid = isdigit((unsigned char)text[0]);
    const char *word = is_oid ? text : NULL;
    ASN1_OBJECT *object;

    for (size_t i = 0; !is_oid && i < COUNT(extended_words); i++) {
        if (strcasecmp(text, extended_words[i]) == 0)
            word = extended_words[i];
    }
    if (word == NULL)
        return unknown_word(text, extended_words, COUNT(extended_words), " and OIDs such as 1.2.3.4", why);
    object = OBJ_txt2obj(word, is_oid);
    ERR_clear_error();
    if (object == NULL || OBJ_length(object) == 0) {
        ASN1_OBJECT_free(object);
        return why_set(why, "this is no OID; one such as 1.2.3.4 is needed");
    }
    if (*usages == NULL)
        *usages = sk_ASN1_OBJECT_new_null();
    if (*usages == NULL || sk_ASN1_OBJECT_push(*usages, object) <= 0)
        abort();
    return 0;
}

static void push(GENERAL_NAMES **names, GENERAL_NAME *name)
{
    if (*names == NULL)
        *names = GENERAL_NAMES_new();
    if (*names == NULL || sk_GENERAL_NAME_push(*names, name) <= 0)
        abort();
}

int names_add(const char *text, GENERAL_NAMES **names, char why[static WHY_MAX])
{
    GENERAL_NAME *name;
    int error = altname_parse(text, &name, why);

    if (error < 0)
        return error;
    for (int i = 0; i < sk_GENERAL_NAME_num(*names); i++) {
        if (GENERAL_NAME_cmp(sk_GENERAL_NAME_value(*names, i), name) == 0) {
            GENERAL_NAME_free(name);
            return why_set(why, "this name stands there twice; remove one");
        }
    }
    push(names, name);
    return 0;
}

int urls_add(const char *text, GENERAL_NAMES **urls, char why[static WHY_MAX])
{
    char uri[1024];
    GENERAL_NAME *name;
    int error = uri_check(text, why);

    if (error < 0)
        return error;
    if ((size_t)snprintf(uri, sizeof(uri), "URI:%s", text) >= sizeof(uri))
        return why_set(why, "an address has at most %zu characters", sizeof(uri) - 5);
    error = altname_parse(uri, &name, why);
    if (error == 0)
        push(urls, name);
    return error;
}

// ---- the whole ----

static bool has_names(const struct wish *wish)
{
    return sk_GENERAL_NAME_num(wish->names) > 0;
}

static bool is_server(const struct wish *wish)
{
    return wish->profile == PROFILE_SERVER || wish->profile == PROFILE_PEER;
}

void wish_complete(struct wish *wish)
{
    int index = X509_NAME_get_index_by_NID(wish->subject, NID_commonName, -1);
    unsigned char *text = NULL;
    char why[WHY_MAX];

    if (!is_server(wish) || has_names(wish) || index < 0)
        return;
    if (ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(wish->subject, index))) > 0 &&
        altname_is_host((const char *)text))
        (void)names_add((const char *)text, &wish->names, why);
    OPENSSL_free(text);
}

static void check_validity(const struct wish *wish, wish_reporter *report, void *context)
{
    if (wish->days > 0 && wish->not_after != 0)
        report(context, "not_after", "days and not_after exclude each other; remove one");
    if (wish->not_after != 0 && wish->not_before >= wish->not_after)
        report(context, "not_after", "it ends before it begins");
    else if (wish->not_after != 0 && wish->not_before == 0 && wish->not_after <= time(NULL))
        report(context, "not_after",
               "this is in the past; with a not_before ahead of it that could be meant");
}

static void check_authority(const struct wish *wish, bool has_names_elsewhere, wish_reporter *report,
                            void *context)
{
    if (wish->key_usage != 0 && (wish->key_usage & KU_KEY_CERT_SIGN) == 0)
        report(context, "key_usage", "a certificate authority needs keyCertSign");
    if (wish->must_staple)
        report(context, "must_staple", "this is for servers; a certificate authority has no use for it");
    if (!has_names_elsewhere && X509_NAME_entry_count(wish->subject) == 0)
        report(context, "subject", "a certificate authority needs one, such as CN");
}

void wish_check(const struct wish *wish, bool has_names_elsewhere, wish_reporter *report, void *context)
{
    check_validity(wish, report, context);
    if (wish->profile == PROFILE_CA) {
        check_authority(wish, has_names_elsewhere, report, context);
        return;
    }
    if (wish->path_length != PATH_LENGTH_NONE)
        report(context, "path_length", "this is for certificate authorities only");
    if ((wish->key_usage & (KU_KEY_CERT_SIGN | KU_CRL_SIGN)) != 0)
        report(context, "key_usage", "keyCertSign and cRLSign are for certificate authorities only");
    if (has_names_elsewhere)
        return;
    if (is_server(wish) && !has_names(wish))
        report(context, "names", "a server needs names, such as localhost: clients look at nothing else");
    else if (X509_NAME_entry_count(wish->subject) == 0 && !has_names(wish))
        report(context, "subject", "nobody is named; a subject with CN is needed, or names");
}
