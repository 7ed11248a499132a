// SPDX-License-Identifier: Apache-2.0
// X.509 extensions (RFC 5280 §4.2). Which are critical is as RFC 5280 and the CA/Browser Forum have it.
#include "src/pki/extension.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/tls1.h>

// An identifier for a key has so many bytes (RFC 7093 §2).
#define KEY_ID_SIZE 20

typedef STACK_OF(X509_EXTENSION) stack;

static bool add(stack **extensions, int nid, void *value, bool is_critical)
{
    return value != NULL && X509V3_add1_i2d(extensions, nid, value, is_critical, X509V3_ADD_APPEND) == 1;
}

// ---- one kind after the other ----

static bool add_basic_constraints(stack **extensions, const struct wish *wish)
{
    bool is_authority = wish->profile == PROFILE_CA;
    BASIC_CONSTRAINTS *value = BASIC_CONSTRAINTS_new();
    bool is_good = value != NULL;

    if (is_good && is_authority) {
        value->ca = 0xff;
        if (wish->path_length != PATH_LENGTH_NONE) {
            value->pathlen = ASN1_INTEGER_new();
            is_good = value->pathlen != NULL && ASN1_INTEGER_set(value->pathlen, wish->path_length) == 1;
        }
    }
    is_good = is_good && add(extensions, NID_basic_constraints, value, true);
    BASIC_CONSTRAINTS_free(value);
    return is_good;
}

// A server's RSA key may still be asked to decrypt (TLS 1.2 without (EC)DHE); keys on curves and Ed25519 only sign.
static unsigned default_key_usage(const struct wish *wish, const EVP_PKEY *key)
{
    bool is_server = wish->profile == PROFILE_SERVER || wish->profile == PROFILE_PEER;

    if (wish->profile == PROFILE_CA)
        return KU_KEY_CERT_SIGN | KU_CRL_SIGN;
    if (wish->profile == PROFILE_UNSAID)
        return 0;
    return is_server && EVP_PKEY_is_a(key, "RSA") ? KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT
                                                  : KU_DIGITAL_SIGNATURE;
}

static bool add_key_usage(stack **extensions, const struct wish *wish, const EVP_PKEY *key)
{
    unsigned usage = wish->key_usage != 0 ? wish->key_usage : default_key_usage(wish, key);
    ASN1_BIT_STRING *value;
    bool is_good;

    if (usage == 0)
        return true;
    value = ASN1_BIT_STRING_new();
    is_good = value != NULL;
    for (const struct usage_word *word = usage_words; is_good && word->word != NULL; word++) {
        if ((usage & word->flag) != 0)
            is_good = ASN1_BIT_STRING_set_bit(value, word->bit, 1) == 1;
    }
    is_good = is_good && add(extensions, NID_key_usage, value, true);
    ASN1_BIT_STRING_free(value);
    return is_good;
}

static bool add_default_purposes(stack **extensions, enum profile profile)
{
    STACK_OF(ASN1_OBJECT) *value = sk_ASN1_OBJECT_new_null();
    bool is_good = value != NULL;

    if (is_good && (profile == PROFILE_SERVER || profile == PROFILE_PEER))
        is_good = sk_ASN1_OBJECT_push(value, OBJ_nid2obj(NID_server_auth)) > 0;
    if (is_good && (profile == PROFILE_CLIENT || profile == PROFILE_PEER))
        is_good = sk_ASN1_OBJECT_push(value, OBJ_nid2obj(NID_client_auth)) > 0;
    if (is_good && profile == PROFILE_OCSP)
        is_good = sk_ASN1_OBJECT_push(value, OBJ_nid2obj(NID_OCSP_sign)) > 0;
    is_good = is_good && (sk_ASN1_OBJECT_num(value) == 0 || add(extensions, NID_ext_key_usage, value, false));
    sk_ASN1_OBJECT_free(value); // the objects are OpenSSL's own
    return is_good;
}

static bool add_extended_key_usage(stack **extensions, const struct wish *wish)
{
    if (wish->extended_key_usage != NULL)
        return add(extensions, NID_ext_key_usage, wish->extended_key_usage, false);
    return add_default_purposes(extensions, wish->profile);
}

// Critical when the subject is empty: then nothing else names anybody.
static bool add_names(stack **extensions, const struct wish *wish)
{
    return wish->names == NULL ||
           add(extensions, NID_subject_alt_name, wish->names, X509_NAME_entry_count(wish->subject) == 0);
}

static bool add_crl_urls(stack **extensions, const GENERAL_NAMES *urls)
{
    CRL_DIST_POINTS *points;
    bool is_good = true;

    if (urls == NULL)
        return true;
    points = CRL_DIST_POINTS_new();
    for (int i = 0; is_good && points != NULL && i < sk_GENERAL_NAME_num(urls); i++) {
        DIST_POINT *point = DIST_POINT_new();
        GENERAL_NAME *name = GENERAL_NAME_dup(sk_GENERAL_NAME_value(urls, i));
        DIST_POINT_NAME *where = DIST_POINT_NAME_new();
        GENERAL_NAMES *names = GENERAL_NAMES_new();
        is_good = point != NULL && name != NULL && where != NULL && names != NULL &&
                  sk_GENERAL_NAME_push(names, name) > 0 && sk_DIST_POINT_push(points, point) > 0;
        if (!is_good)
            break; // no memory: the process ends, and what is lost here with it
        where->type = 0;
        where->name.fullname = names;
        point->distpoint = where;
    }
    is_good = is_good && add(extensions, NID_crl_distribution_points, points, false);
    CRL_DIST_POINTS_free(points);
    return is_good;
}

static bool push_access(AUTHORITY_INFO_ACCESS *access, int method, const GENERAL_NAMES *urls)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(urls); i++) {
        ACCESS_DESCRIPTION *one = ACCESS_DESCRIPTION_new();
        if (one == NULL || sk_ACCESS_DESCRIPTION_push(access, one) <= 0)
            return false;
        one->method = OBJ_nid2obj(method);
        GENERAL_NAME_free(one->location);
        one->location = GENERAL_NAME_dup(sk_GENERAL_NAME_value(urls, i));
        if (one->location == NULL)
            return false;
    }
    return true;
}

static bool add_access(stack **extensions, const struct wish *wish)
{
    AUTHORITY_INFO_ACCESS *access;
    bool is_good;

    if (wish->ocsp_urls == NULL && wish->ca_issuers_urls == NULL)
        return true;
    access = AUTHORITY_INFO_ACCESS_new();
    is_good = access != NULL && push_access(access, NID_ad_OCSP, wish->ocsp_urls) &&
              push_access(access, NID_ad_ca_issuers, wish->ca_issuers_urls) &&
              add(extensions, NID_info_access, access, false);
    AUTHORITY_INFO_ACCESS_free(access);
    return is_good;
}

// RFC 7633: the server promises to staple.
static bool add_must_staple(stack **extensions, const struct wish *wish)
{
    TLS_FEATURE *features;
    ASN1_INTEGER *number;
    bool is_good;

    if (!wish->must_staple)
        return true;
    features = TLS_FEATURE_new();
    number = ASN1_INTEGER_new();
    is_good = features != NULL && number != NULL &&
              ASN1_INTEGER_set(number, TLSEXT_TYPE_status_request) == 1 &&
              sk_ASN1_INTEGER_push(features, number) > 0 && add(extensions, NID_tlsfeature, features, false);
    if (features == NULL || sk_ASN1_INTEGER_num(features) == 0)
        ASN1_INTEGER_free(number);
    TLS_FEATURE_free(features);
    return is_good;
}

// RFC 6960 §4.2.2.2.1: nobody asks a responder whether the responder is revoked.
static bool add_no_check(stack **extensions, const struct wish *wish)
{
    ASN1_NULL *value;
    bool is_good;

    if (wish->profile != PROFILE_OCSP)
        return true;
    value = ASN1_NULL_new();
    is_good = add(extensions, NID_id_pkix_OCSP_noCheck, value, false);
    ASN1_NULL_free(value);
    return is_good;
}

// ---- identifiers ----

// RFC 7093 §2 (1): the first 160 bits of SHA-256 of the key. Does without SHA-1, which some systems switch off.
static ASN1_OCTET_STRING *key_id(EVP_PKEY *key)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
    X509_PUBKEY *holder = NULL;
    const unsigned char *bytes;
    unsigned size = 0;
    int length;

    if (id == NULL || X509_PUBKEY_set(&holder, key) != 1 ||
        X509_PUBKEY_get0_param(NULL, &bytes, &length, NULL, holder) != 1 ||
        EVP_Digest(bytes, (size_t)length, digest, &size, EVP_sha256(), NULL) != 1 ||
        ASN1_OCTET_STRING_set(id, digest, KEY_ID_SIZE) != 1) {
        ASN1_OCTET_STRING_free(id);
        id = NULL;
    }
    X509_PUBKEY_free(holder);
    return id;
}

static bool add_subject_id(stack **extensions, EVP_PKEY *key)
{
    ASN1_OCTET_STRING *id = key_id(key);
    bool is_good = add(extensions, NID_subject_key_identifier, id, false);

    ASN1_OCTET_STRING_free(id);
    return is_good;
}

// Of a certificate that signs itself it is its own key's.
static bool add_authority_id(stack **extensions, const X509 *issuer, EVP_PKEY *key)
{
    const ASN1_OCTET_STRING *id = issuer != NULL ? X509_get0_subject_key_id((X509 *)issuer) : NULL;
    AUTHORITY_KEYID *value = AUTHORITY_KEYID_new();
    bool is_good;

    if (value != NULL)
        value->keyid =
            id != NULL ? ASN1_OCTET_STRING_dup(id) : key_id(issuer != NULL ? X509_get0_pubkey(issuer) : key);
    is_good =
        value != NULL && value->keyid != NULL && add(extensions, NID_authority_key_identifier, value, false);
    AUTHORITY_KEYID_free(value);
    return is_good;
}

// ---- sets ----

static enum status finish(stack *extensions, bool is_good, stack **ret)
{
    if (!is_good) {
        sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
        return complain_openssl("the extensions cannot be made");
    }
    *ret = extensions;
    return STATUS_OK;
}

enum status extensions_make(const struct wish *wish, EVP_PKEY *key, const X509 *issuer, stack **ret)
{
    stack *extensions = NULL;
    bool is_good = add_basic_constraints(&extensions, wish) && add_key_usage(&extensions, wish, key) &&
                   add_extended_key_usage(&extensions, wish) && add_names(&extensions, wish) &&
                   add_subject_id(&extensions, key) && add_authority_id(&extensions, issuer, key) &&
                   add_crl_urls(&extensions, wish->crl_urls) && add_access(&extensions, wish) &&
                   add_must_staple(&extensions, wish) && add_no_check(&extensions, wish);

    return finish(extensions, is_good, ret);
}

enum status extensions_make_request(const struct wish *wish, EVP_PKEY *key, stack **ret)
{
    stack *extensions = sk_X509_EXTENSION_new_null();
    bool is_good = extensions != NULL &&
                   (wish->profile != PROFILE_CA || add_basic_constraints(&extensions, wish)) &&
                   add_key_usage(&extensions, wish, key) && add_extended_key_usage(&extensions, wish) &&
                   add_names(&extensions, wish) && add_must_staple(&extensions, wish);

    return finish(extensions, is_good, ret);
}

enum status extensions_copy(const X509 *old, EVP_PKEY *key, const X509 *issuer, stack **ret)
{
    stack *extensions = sk_X509_EXTENSION_new_null();
    bool is_good = extensions != NULL;

    for (int i = 0; is_good && i < X509_get_ext_count(old); i++) {
        X509_EXTENSION *extension = X509_get_ext(old, i);
        int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
        if (nid == NID_subject_key_identifier || nid == NID_authority_key_identifier)
            continue;
        extension = X509_EXTENSION_dup(extension);
        is_good = extension != NULL && sk_X509_EXTENSION_push(extensions, extension) > 0;
    }
    is_good = is_good && add_subject_id(&extensions, key) && add_authority_id(&extensions, issuer, key);
    return finish(extensions, is_good, ret);
}

int extensions_take(stack **extensions, const X509_REQ *request, int nid)
{
    stack *asked = X509_REQ_get_extensions((X509_REQ *)request);
    int critical = 0;
    void *value = X509V3_get_d2i(asked, nid, &critical, NULL);
    int result = 1;

    sk_X509_EXTENSION_pop_free(asked, X509_EXTENSION_free);
    ERR_clear_error();
    if (value == NULL)
        return critical == -1 ? 0 : -EINVAL; // -1: it is not there
    if (X509V3_add1_i2d(extensions, nid, value, critical, X509V3_ADD_REPLACE) != 1)
        result = -EINVAL;
    ASN1_item_free(value, ASN1_ITEM_ptr(X509V3_EXT_get_nid(nid)->it));
    return result;
}

static bool is_same(const X509_EXTENSION *a, const X509_EXTENSION *b)
{
    return X509_EXTENSION_get_critical(a) == X509_EXTENSION_get_critical(b) &&
           ASN1_STRING_cmp(X509_EXTENSION_get_data((X509_EXTENSION *)a),
                           X509_EXTENSION_get_data((X509_EXTENSION *)b)) == 0;
}

bool extensions_equal(const X509 *certificate, const stack *extensions, int *ret_nid)
{
    for (int i = 0; i < sk_X509_EXTENSION_num(extensions); i++) {
        X509_EXTENSION *wanted = sk_X509_EXTENSION_value(extensions, i);
        ASN1_OBJECT *object = X509_EXTENSION_get_object(wanted);
        int at = X509_get_ext_by_OBJ(certificate, object, -1);
        if (at < 0 || !is_same(X509_get_ext(certificate, at), wanted)) {
            *ret_nid = OBJ_obj2nid(object);
            return false;
        }
    }
    for (int i = 0; i < X509_get_ext_count(certificate); i++) {
        ASN1_OBJECT *object = X509_EXTENSION_get_object(X509_get_ext(certificate, i));
        if (X509v3_get_ext_by_OBJ(extensions, object, -1) < 0) {
            *ret_nid = OBJ_obj2nid(object);
            return false;
        }
    }
    return true;
}

const char *extension_word(int nid)
{
    static const struct {
        int nid;
        const char *word;
    } words[] = {
        {NID_basic_constraints, "basic constraints"},
        {NID_key_usage, "key usage"},
        {NID_ext_key_usage, "extended key usage"},
        {NID_subject_alt_name, "names"},
        {NID_subject_key_identifier, "subject key identifier"},
        {NID_authority_key_identifier, "authority key identifier"},
        {NID_crl_distribution_points, "CRL addresses"},
        {NID_info_access, "OCSP and issuer addresses"},
        {NID_tlsfeature, "must-staple"},
        {NID_id_pkix_OCSP_noCheck, "OCSP no-check"},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (words[i].nid == nid)
            return words[i].word;
    }
    return nid != NID_undef ? OBJ_nid2ln(nid) : "an extension";
}
