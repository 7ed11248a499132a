// SPDX-License-Identifier: Apache-2.0
// Facts out of OpenSSL's objects. Everything here may come from a stranger's file.
#include "src/pki/facts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/tls1.h>
#include <openssl/x509v3.h>

#include "src/pki/altname.h"
#include "src/pki/database.h"
#include "src/pki/key.h"
#include "src/pki/moment.h"
#include "src/pki/pem.h"
#include "src/pki/subject.h"
#include "src/pki/wish.h"

static void set(json_t *facts, const char *key, json_t *value)
{
    if (value == NULL || json_object_set_new(facts, key, value) < 0)
        abort();
}

static json_t *new_text(const char *text)
{
    json_t *value = json_string(text);
    char *plain;

    if (value != NULL)
        return value;
    plain = strdup(text);
    for (char *byte = plain; plain != NULL && *byte != '\0'; byte++)
        *byte = (char)((unsigned char)*byte >= 0x80 ? '?' : *byte);
    value = plain != NULL ? json_string(plain) : NULL;
    free(plain);
    if (value == NULL)
        abort();
    return value;
}

void facts_set(json_t *facts, const char *key, const char *text)
{
    set(facts, key, new_text(text));
}

static json_t *new_object(const char *kind)
{
    json_t *facts = json_object();

    if (facts == NULL)
        abort();
    facts_set(facts, "kind", kind);
    return facts;
}

static json_t *new_list(void)
{
    json_t *list = json_array();

    if (list == NULL)
        abort();
    return list;
}

static void append(json_t *list, json_t *value)
{
    if (json_array_append_new(list, value) < 0)
        abort();
}

// An empty list is left out.
static void set_list(json_t *facts, const char *key, json_t *list)
{
    if (json_array_size(list) > 0)
        set(facts, key, list);
    else
        json_decref(list);
}

static void set_hex(json_t *facts, const char *key, const unsigned char *bytes, size_t size)
{
    char text[2 * EVP_MAX_MD_SIZE + 1] = "";

    for (size_t i = 0; i < size && i < EVP_MAX_MD_SIZE; i++)
        snprintf(text + 2 * i, 3, "%02X", bytes[i]);
    facts_set(facts, key, text);
}

static void set_subject(json_t *facts, const char *key, const X509_NAME *name)
{
    char text[SUBJECT_TEXT_MAX];

    subject_text(name, text);
    facts_set(facts, key, text);
}

static void set_moment(json_t *facts, const char *key, const ASN1_TIME *time)
{
    char text[32] = "damaged";
    time_t moment;

    if (moment_from_asn1(time, &moment) == 0)
        moment_text(moment, text);
    facts_set(facts, key, text);
}

// The kind, and a digest by which a key and its certificate are seen to belong together.
static void set_key(json_t *facts, EVP_PKEY *key)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    char text[KEY_KIND_TEXT_MAX] = "damaged";
    unsigned char *der = NULL;
    unsigned size = 0;
    int length = key != NULL ? i2d_PUBKEY(key, &der) : -1;

    if (key != NULL)
        key_text(key, text);
    facts_set(facts, "key", text);
    if (length > 0 && EVP_Digest(der, (size_t)length, digest, &size, EVP_sha256(), NULL) == 1)
        set_hex(facts, "public_key_sha256", digest, size);
    OPENSSL_free(der);
    ERR_clear_error();
}

static void set_signature(json_t *facts, int nid)
{
    facts_set(facts, "signature", nid != NID_undef ? OBJ_nid2ln(nid) : "unknown");
}

// ---- extensions ----

typedef const STACK_OF(X509_EXTENSION) stack;

static json_t *names_list(const GENERAL_NAMES *names)
{
    json_t *list = new_list();
    char text[ALTNAME_TEXT_MAX];

    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        altname_text(sk_GENERAL_NAME_value(names, i), text);
        append(list, new_text(text));
    }
    return list;
}

// What is an address anyway is not called one.
static void append_url(json_t *list, const GENERAL_NAME *name)
{
    char text[ALTNAME_TEXT_MAX];

    altname_text(name, text);
    append(list, new_text(strncmp(text, "URI:", 4) == 0 ? text + 4 : text));
}

static void set_names(json_t *facts, stack *extensions)
{
    GENERAL_NAMES *names = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);

    set_list(facts, "names", names_list(names));
    GENERAL_NAMES_free(names);
}

static void set_basic_constraints(json_t *facts, stack *extensions)
{
    BASIC_CONSTRAINTS *value = X509V3_get_d2i(extensions, NID_basic_constraints, NULL, NULL);

    if (value != NULL)
        set(facts, "ca", json_boolean(value->ca != 0));
    if (value != NULL && value->pathlen != NULL)
        set(facts, "path_length", json_integer(ASN1_INTEGER_get(value->pathlen)));
    BASIC_CONSTRAINTS_free(value);
}

static void set_usages(json_t *facts, stack *extensions)
{
    ASN1_BIT_STRING *usage = X509V3_get_d2i(extensions, NID_key_usage, NULL, NULL);
    EXTENDED_KEY_USAGE *extended = X509V3_get_d2i(extensions, NID_ext_key_usage, NULL, NULL);
    json_t *list = new_list();

    for (const struct usage_word *word = usage_words; usage != NULL && word->word != NULL; word++) {
        if (ASN1_BIT_STRING_get_bit(usage, word->bit))
            append(list, new_text(word->word));
    }
    set_list(facts, "key_usage", list);
    list = new_list();
    for (int i = 0; i < sk_ASN1_OBJECT_num(extended); i++) {
        const ASN1_OBJECT *object = sk_ASN1_OBJECT_value(extended, i);
        int nid = OBJ_obj2nid(object);
        char oid[128] = "";
        (void)OBJ_obj2txt(oid, sizeof(oid), object, 1);
        append(list, new_text(nid != NID_undef ? OBJ_nid2sn(nid) : oid));
    }
    set_list(facts, "extended_key_usage", list);
    ASN1_BIT_STRING_free(usage);
    EXTENDED_KEY_USAGE_free(extended);
}

static void set_crl_urls(json_t *facts, stack *extensions)
{
    CRL_DIST_POINTS *points = X509V3_get_d2i(extensions, NID_crl_distribution_points, NULL, NULL);
    json_t *list = new_list();

    for (int i = 0; i < sk_DIST_POINT_num(points); i++) {
        const DIST_POINT_NAME *where = sk_DIST_POINT_value(points, i)->distpoint;
        if (where == NULL || where->type != 0)
            continue;
        for (int j = 0; j < sk_GENERAL_NAME_num(where->name.fullname); j++)
            append_url(list, sk_GENERAL_NAME_value(where->name.fullname, j));
    }
    set_list(facts, "crl_urls", list);
    CRL_DIST_POINTS_free(points);
}

static void set_access(json_t *facts, stack *extensions)
{
    AUTHORITY_INFO_ACCESS *access = X509V3_get_d2i(extensions, NID_info_access, NULL, NULL);
    json_t *ocsp = new_list();
    json_t *issuers = new_list();

    for (int i = 0; i < sk_ACCESS_DESCRIPTION_num(access); i++) {
        const ACCESS_DESCRIPTION *one = sk_ACCESS_DESCRIPTION_value(access, i);
        int method = OBJ_obj2nid(one->method);
        if (method == NID_ad_OCSP)
            append_url(ocsp, one->location);
        else if (method == NID_ad_ca_issuers)
            append_url(issuers, one->location);
    }
    set_list(facts, "ocsp_urls", ocsp);
    set_list(facts, "ca_issuers_urls", issuers);
    AUTHORITY_INFO_ACCESS_free(access);
}

static void set_must_staple(json_t *facts, stack *extensions)
{
    TLS_FEATURE *features = X509V3_get_d2i(extensions, NID_tlsfeature, NULL, NULL);
    bool is_set = false;

    for (int i = 0; i < sk_ASN1_INTEGER_num(features); i++)
        is_set |= ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == TLSEXT_TYPE_status_request;
    if (is_set)
        set(facts, "must_staple", json_true());
    TLS_FEATURE_free(features);
}

static void set_key_ids(json_t *facts, stack *extensions)
{
    ASN1_OCTET_STRING *subject = X509V3_get_d2i(extensions, NID_subject_key_identifier, NULL, NULL);
    AUTHORITY_KEYID *authority = X509V3_get_d2i(extensions, NID_authority_key_identifier, NULL, NULL);

    if (subject != NULL)
        set_hex(facts, "subject_key_id", ASN1_STRING_get0_data(subject), (size_t)ASN1_STRING_length(subject));
    if (authority != NULL && authority->keyid != NULL)
        set_hex(facts, "authority_key_id", ASN1_STRING_get0_data(authority->keyid),
                (size_t)ASN1_STRING_length(authority->keyid));
    ASN1_OCTET_STRING_free(subject);
    AUTHORITY_KEYID_free(authority);
}

// What has no line of its own, by its name.
static void set_others(json_t *facts, stack *extensions)
{
    static const int known[] = {
        NID_basic_constraints,
        NID_key_usage,
        NID_ext_key_usage,
        NID_subject_alt_name,
        NID_subject_key_identifier,
        NID_authority_key_identifier,
        NID_crl_distribution_points,
        NID_info_access,
        NID_tlsfeature,
        NID_crl_number,
    };
    json_t *list = new_list();

    for (int i = 0; i < sk_X509_EXTENSION_num(extensions); i++) {
        X509_EXTENSION *extension = sk_X509_EXTENSION_value(extensions, i);
        int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
        bool is_known = false;
        char name[160];
        for (size_t j = 0; j < sizeof(known) / sizeof(known[0]); j++)
            is_known |= nid == known[j];
        if (is_known)
            continue;
        (void)OBJ_obj2txt(name, sizeof(name), X509_EXTENSION_get_object(extension), 0);
        if (X509_EXTENSION_get_critical(extension))
            strncat(name, " (critical)", sizeof(name) - strlen(name) - 1);
        append(list, new_text(name));
    }
    set_list(facts, "other_extensions", list);
}

static void set_extensions(json_t *facts, stack *extensions)
{
    set_names(facts, extensions);
    set_basic_constraints(facts, extensions);
    set_usages(facts, extensions);
    set_crl_urls(facts, extensions);
    set_access(facts, extensions);
    set_must_staple(facts, extensions);
    set_key_ids(facts, extensions);
    set_others(facts, extensions);
    ERR_clear_error();
}

// ---- objects ----

static void set_days_left(json_t *facts, const ASN1_TIME *end)
{
    time_t moment;

    // Rounded down: 0 is the last day, what has expired is negative.
    if (moment_from_asn1(end, &moment) == 0) {
        intmax_t left = (intmax_t)moment - time(NULL);
        set(facts, "days_left",
            json_integer(left >= 0 ? left / DAY_SECONDS : -1 - (-left - 1) / DAY_SECONDS));
    }
}

json_t *facts_of_certificate(X509 *certificate)
{
    json_t *facts = new_object("certificate");
    unsigned char digest[EVP_MAX_MD_SIZE];
    char serial[SERIAL_TEXT_MAX];
    unsigned size = 0;

    set_subject(facts, "subject", X509_get_subject_name(certificate));
    set_subject(facts, "issuer", X509_get_issuer_name(certificate));
    set(facts, "self_signed", json_boolean(is_self_signed(certificate)));
    serial_text(X509_get0_serialNumber(certificate), serial);
    facts_set(facts, "serial", serial);
    set_moment(facts, "not_before", X509_get0_notBefore(certificate));
    set_moment(facts, "not_after", X509_get0_notAfter(certificate));
    set_days_left(facts, X509_get0_notAfter(certificate));
    set_key(facts, X509_get0_pubkey(certificate));
    set_signature(facts, X509_get_signature_nid(certificate));
    if (X509_digest(certificate, EVP_sha256(), digest, &size) == 1)
        set_hex(facts, "sha256", digest, size);
    set_extensions(facts, X509_get0_extensions(certificate));
    return facts;
}

json_t *facts_of_request(X509_REQ *request)
{
    json_t *facts = new_object("request");
    EVP_PKEY *key = X509_REQ_get0_pubkey(request);
    STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);

    set_subject(facts, "subject", X509_REQ_get_subject_name(request));
    set_key(facts, key);
    set_signature(facts, X509_REQ_get_signature_nid(request));
    set(facts, "verified", json_boolean(key != NULL && X509_REQ_verify(request, key) == 1));
    set_extensions(facts, extensions);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    return facts;
}

static json_t *revoked_entry(X509_REVOKED *entry)
{
    ASN1_ENUMERATED *reason = X509_REVOKED_get_ext_d2i(entry, NID_crl_reason, NULL, NULL);
    json_t *facts = json_object();
    char serial[SERIAL_TEXT_MAX];

    if (facts == NULL)
        abort();
    serial_text(X509_REVOKED_get0_serialNumber(entry), serial);
    facts_set(facts, "serial", serial);
    set_moment(facts, "at", X509_REVOKED_get0_revocationDate(entry));
    facts_set(facts, "reason",
              reason_word(reason != NULL ? (enum reason)ASN1_ENUMERATED_get(reason) : REASON_UNSPECIFIED));
    ASN1_ENUMERATED_free(reason);
    return facts;
}

json_t *facts_of_crl(X509_CRL *crl)
{
    json_t *facts = new_object("CRL");
    json_t *list = new_list();
    ASN1_INTEGER *number = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
    char text[SERIAL_TEXT_MAX];

    set_subject(facts, "issuer", X509_CRL_get_issuer(crl));
    if (number != NULL) {
        char *decimal = i2s_ASN1_INTEGER(NULL, number);
        snprintf(text, sizeof(text), "%s", decimal != NULL ? decimal : "?");
        OPENSSL_free(decimal);
        facts_set(facts, "number", text);
    }
    set_moment(facts, "this_update", X509_CRL_get0_lastUpdate(crl));
    set_moment(facts, "next_update", X509_CRL_get0_nextUpdate(crl));
    set_signature(facts, X509_CRL_get_signature_nid(crl));
    set_key_ids(facts, X509_CRL_get0_extensions(crl));
    for (int i = 0; i < sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl)); i++)
        append(list, revoked_entry(sk_X509_REVOKED_value(X509_CRL_get_REVOKED(crl), i)));
    set(facts, "revoked", list);
    ASN1_INTEGER_free(number);
    ERR_clear_error();
    return facts;
}

json_t *facts_of_key(EVP_PKEY *key, bool is_encrypted)
{
    json_t *facts = new_object("private key");

    set(facts, "encrypted", json_boolean(is_encrypted));
    if (key != NULL)
        set_key(facts, key);
    return facts;
}
