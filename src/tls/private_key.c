// SPDX-License-Identifier: Apache-2.0
// Private keys as DER.
#include "src/tls/private_key.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/asn1t.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>

#include "ringbolt/secret.h"
#include "src/config/memory.h"

// ---- the forms ----

struct rsa_numbers {
    int32_t version;
    BIGNUM *n;
    BIGNUM *e;
    BIGNUM *d;
    BIGNUM *p;
    BIGNUM *q;
    BIGNUM *dp;
    BIGNUM *dq;
    BIGNUM *qi;
};

struct ec_numbers {
    int32_t version;
    ASN1_OCTET_STRING *scalar;
    ASN1_TYPE *curve; // may be NULL: then PKCS#8 names it
    ASN1_BIT_STRING *point;
};

// CBIGNUM: wiped when it is freed.
// clang-format off
ASN1_SEQUENCE(rsa_numbers) = {
    ASN1_EMBED(struct rsa_numbers, version, INT32),
    ASN1_SIMPLE(struct rsa_numbers, n, BIGNUM),
    ASN1_SIMPLE(struct rsa_numbers, e, BIGNUM),
    ASN1_SIMPLE(struct rsa_numbers, d, CBIGNUM),
    ASN1_SIMPLE(struct rsa_numbers, p, CBIGNUM),
    ASN1_SIMPLE(struct rsa_numbers, q, CBIGNUM),
    ASN1_SIMPLE(struct rsa_numbers, dp, CBIGNUM),
    ASN1_SIMPLE(struct rsa_numbers, dq, CBIGNUM),
    ASN1_SIMPLE(struct rsa_numbers, qi, CBIGNUM),
} static_ASN1_SEQUENCE_END_name(struct rsa_numbers, rsa_numbers)

ASN1_SEQUENCE(ec_numbers) = {
    ASN1_EMBED(struct ec_numbers, version, INT32),
    ASN1_SIMPLE(struct ec_numbers, scalar, ASN1_OCTET_STRING),
    ASN1_EXP_OPT(struct ec_numbers, curve, ASN1_ANY, 0),
    ASN1_EXP_OPT(struct ec_numbers, point, ASN1_BIT_STRING, 1),
} static_ASN1_SEQUENCE_END_name(struct ec_numbers, ec_numbers)
            // clang-format on

            static void *
            decode(const ASN1_ITEM *item, const uint8_t *der, size_t size)
{
    const unsigned char *next = der;
    ASN1_VALUE *value;

    if (size > LONG_MAX)
        return NULL;
    value = ASN1_item_d2i(NULL, &next, (long)size, item);
    if (value != NULL && next != der + size) {
        ASN1_item_free(value, item);
        return NULL;
    }
    return value;
}

static struct rsa_numbers *rsa_decode(const uint8_t *der, size_t size)
{
    struct rsa_numbers *numbers = decode(ASN1_ITEM_rptr(rsa_numbers), der, size);

    if (numbers != NULL && numbers->version != 0) { // of more than two primes
        ASN1_item_free((ASN1_VALUE *)numbers, ASN1_ITEM_rptr(rsa_numbers));
        return NULL;
    }
    return numbers;
}

static void rsa_free(struct rsa_numbers *numbers)
{
    ASN1_item_free((ASN1_VALUE *)numbers, ASN1_ITEM_rptr(rsa_numbers));
}

static void ec_free(struct ec_numbers *numbers)
{
    if (numbers == NULL)
        return;
    OPENSSL_cleanse((void *)(uintptr_t)ASN1_STRING_get0_data(numbers->scalar),
                    (size_t)ASN1_STRING_length(numbers->scalar));
    ASN1_item_free((ASN1_VALUE *)numbers, ASN1_ITEM_rptr(ec_numbers));
}

static struct ec_numbers *ec_decode(const uint8_t *der, size_t size)
{
    struct ec_numbers *numbers = decode(ASN1_ITEM_rptr(ec_numbers), der, size);

    if (numbers != NULL && numbers->version != 1) {
        ec_free(numbers);
        return NULL;
    }
    return numbers;
}

// ---- to PKCS#8 ----

int private_key_take(const PKCS8_PRIV_KEY_INFO *info, struct material_bytes *ret)
{
    int size = i2d_PKCS8_PRIV_KEY_INFO(info, NULL);
    unsigned tries = 0;
    unsigned char *next;

    if (size <= 0)
        return -EBADMSG;
    while ((next = secret_take((size_t)size)) == NULL)
        memory_wait(&tries);
    *ret = (struct material_bytes){.data = next, .size = (size_t)size};
    i2d_PKCS8_PRIV_KEY_INFO(info, &next);
    return 0;
}

void private_key_finish(struct material_bytes *key)
{
    secret_give(key->data);
    *key = (struct material_bytes){0};
}

static int wrap(const uint8_t *der, size_t size, int algorithm, int parameter_type, void *parameter,
                struct material_bytes *ret)
{
    PKCS8_PRIV_KEY_INFO *info = PKCS8_PRIV_KEY_INFO_new();
    unsigned char *copy = OPENSSL_memdup(der, size);
    int result;

    if (info == NULL || copy == NULL ||
        PKCS8_pkey_set0(info, OBJ_nid2obj(algorithm), 0, parameter_type, parameter, copy, (int)size) != 1)
        abort();
    result = private_key_take(info, ret);
    PKCS8_PRIV_KEY_INFO_free(info); // wipes the copy
    return result;
}

static int read_pkcs8(const uint8_t *der, size_t size, struct material_bytes *ret)
{
    const unsigned char *next = der;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &next, (long)size);
    int result = -EBADMSG;

    if (info != NULL && next == der + size)
        result = private_key_take(info, ret);
    PKCS8_PRIV_KEY_INFO_free(info);
    return result;
}

static int read_pkcs1(const uint8_t *der, size_t size, struct material_bytes *ret)
{
    struct rsa_numbers *numbers = rsa_decode(der, size);
    int result = -EBADMSG;

    if (numbers != NULL)
        result = wrap(der, size, NID_rsaEncryption, V_ASN1_NULL, NULL, ret);
    rsa_free(numbers);
    return result;
}

static int read_sec1(const uint8_t *der, size_t size, struct material_bytes *ret)
{
    struct ec_numbers *numbers = ec_decode(der, size);
    int result = -EBADMSG;

    // OpenSSL's objects of well-known curves are static: nothing to free.
    if (numbers != NULL && numbers->curve != NULL && ASN1_TYPE_get(numbers->curve) == V_ASN1_OBJECT &&
        OBJ_obj2nid(numbers->curve->value.object) != NID_undef)
        result = wrap(der, size, NID_X9_62_id_ecPublicKey, V_ASN1_OBJECT,
                      OBJ_nid2obj(OBJ_obj2nid(numbers->curve->value.object)), ret);
    ec_free(numbers);
    return result;
}

// What stands behind the version tells: the algorithm, a number or a string of bytes.
static enum private_key_form form_of(const uint8_t *der, size_t size)
{
    const unsigned char *next = der;
    long length;
    int tag;
    int class;

    if (ASN1_get_object(&next, &length, &tag, &class, (long)size) != V_ASN1_CONSTRUCTED ||
        tag != V_ASN1_SEQUENCE)
        return PRIVATE_KEY_ANY;
    if (ASN1_get_object(&next, &length, &tag, &class, length) != 0 || tag != V_ASN1_INTEGER)
        return PRIVATE_KEY_ANY;
    next += length;
    if ((ASN1_get_object(&next, &length, &tag, &class, (long)(der + size - next)) & 0x80) != 0)
        return PRIVATE_KEY_ANY;
    return tag == V_ASN1_SEQUENCE       ? PRIVATE_KEY_PKCS8
           : tag == V_ASN1_INTEGER      ? PRIVATE_KEY_PKCS1
           : tag == V_ASN1_OCTET_STRING ? PRIVATE_KEY_SEC1
                                        : PRIVATE_KEY_ANY;
}

int private_key_read(const uint8_t *der, size_t size, enum private_key_form form, struct material_bytes *ret)
{
    int result = -EBADMSG;

    if (size > INT_MAX)
        return -EBADMSG;
    switch (form == PRIVATE_KEY_ANY ? form_of(der, size) : form) {
    case PRIVATE_KEY_PKCS8:
        result = read_pkcs8(der, size, ret);
        break;
    case PRIVATE_KEY_PKCS1:
        result = read_pkcs1(der, size, ret);
        break;
    case PRIVATE_KEY_SEC1:
        result = read_sec1(der, size, ret);
        break;
    case PRIVATE_KEY_ANY:
        break;
    }
    ERR_clear_error();
    return result;
}

// ---- against a certificate ----

// The private parts as RFC 8017 §3.2 defines them. That p and q are primes is not looked at: whoever makes keys does.
static bool rsa_is_consistent(const struct rsa_numbers *numbers, BN_CTX *context)
{
    const BIGNUM *const exponents[2][2] = {{numbers->p, numbers->dp}, {numbers->q, numbers->dq}};
    BIGNUM *one_less, *result;
    bool is_consistent;

    if (BN_num_bits(numbers->p) > BN_num_bits(numbers->n) ||
        BN_num_bits(numbers->q) > BN_num_bits(numbers->n))
        return false;
    BN_CTX_start(context);
    one_less = BN_CTX_get(context);
    result = BN_CTX_get(context);
    if (result == NULL)
        abort();
    is_consistent = BN_mul(result, numbers->p, numbers->q, context) == 1 && BN_cmp(result, numbers->n) == 0 &&
                    BN_mod_mul(result, numbers->q, numbers->qi, numbers->p, context) == 1 &&
                    BN_is_one(result);
    for (int i = 0; i < 2 && is_consistent; i++)
        is_consistent = BN_sub(one_less, exponents[i][0], BN_value_one()) == 1 &&
                        BN_mod_mul(result, numbers->e, exponents[i][1], one_less, context) == 1 &&
                        BN_is_one(result);
    BN_CTX_end(context);
    return is_consistent;
}

static enum private_key_match match_rsa(const uint8_t *der, size_t size, const EVP_PKEY *public)
{
    struct rsa_numbers *numbers = rsa_decode(der, size);
    enum private_key_match match = PRIVATE_KEY_DIFFERS;
    BN_CTX *context = BN_CTX_secure_new();
    BIGNUM *n = NULL;
    BIGNUM *e = NULL;

    if (context == NULL)
        abort();
    if (numbers != NULL && EVP_PKEY_is_a(public, "RSA") &&
        EVP_PKEY_get_bits(public) <= OPENSSL_RSA_MAX_MODULUS_BITS &&
        EVP_PKEY_get_bn_param(public, OSSL_PKEY_PARAM_RSA_N, &n) == 1 &&
        EVP_PKEY_get_bn_param(public, OSSL_PKEY_PARAM_RSA_E, &e) == 1 && BN_cmp(n, numbers->n) == 0 &&
        BN_cmp(e, numbers->e) == 0)
        match = rsa_is_consistent(numbers, context) ? PRIVATE_KEY_MATCHES : PRIVATE_KEY_DAMAGED;
    BN_free(e);
    BN_free(n);
    BN_CTX_free(context);
    rsa_free(numbers);
    return match;
}

// Does scalar times generator give the point?
static bool ec_is_public(const EC_GROUP *group, const ASN1_OCTET_STRING *scalar, const uint8_t *point,
                         size_t point_size)
{
    BN_CTX *context = BN_CTX_secure_new();
    BIGNUM *number = BN_secure_new();
    EC_POINT *expected = EC_POINT_new(group);
    EC_POINT *actual = EC_POINT_new(group);
    bool is_public;

    if (context == NULL || number == NULL || expected == NULL || actual == NULL)
        abort();
    BN_set_flags(number, BN_FLG_CONSTTIME);
    is_public = EC_POINT_oct2point(group, expected, point, point_size, context) == 1 &&
                BN_bin2bn(ASN1_STRING_get0_data(scalar), ASN1_STRING_length(scalar), number) != NULL &&
                !BN_is_zero(number) && BN_cmp(number, EC_GROUP_get0_order(group)) < 0 &&
                EC_POINT_mul(group, actual, number, NULL, NULL, context) == 1 &&
                EC_POINT_cmp(group, expected, actual, context) == 0;
    EC_POINT_clear_free(actual);
    EC_POINT_free(expected);
    BN_clear_free(number);
    BN_CTX_free(context);
    return is_public;
}

static enum private_key_match match_ec(const uint8_t *der, size_t size, int curve, const uint8_t *point,
                                       size_t point_size)
{
    struct ec_numbers *numbers = ec_decode(der, size);
    EC_GROUP *group = EC_GROUP_new_by_curve_name(curve);
    enum private_key_match match = PRIVATE_KEY_DIFFERS;

    if (numbers == NULL || group == NULL)
        match = PRIVATE_KEY_DIFFERS;
    else if (ec_is_public(group, numbers->scalar, point, point_size))
        match = PRIVATE_KEY_MATCHES;
    else if (numbers->point != NULL && (size_t)ASN1_STRING_length(numbers->point) == point_size &&
             memcmp(ASN1_STRING_get0_data(numbers->point), point, point_size) == 0)
        match = PRIVATE_KEY_DAMAGED;
    EC_GROUP_free(group);
    ec_free(numbers);
    return match;
}

// RFC 8410 §7: the seed, as a string of bytes within the string of bytes.
static enum private_key_match match_ed25519(const uint8_t *der, size_t size, const uint8_t *public,
                                            size_t public_size)
{
    uint8_t derived[32];
    size_t derived_size = sizeof(derived);
    enum private_key_match match = PRIVATE_KEY_DIFFERS;
    EVP_PKEY *key = NULL;

    if (size == 34 && der[0] == V_ASN1_OCTET_STRING && der[1] == 32)
        key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, der + 2, 32);
    if (key != NULL && EVP_PKEY_get_raw_public_key(key, derived, &derived_size) == 1 &&
        derived_size == public_size && memcmp(derived, public, public_size) == 0)
        match = PRIVATE_KEY_MATCHES;
    EVP_PKEY_free(key);
    return match;
}

static int algorithm_of(const X509_ALGOR *algorithm, int *ret_curve)
{
    const ASN1_OBJECT *object;
    const void *parameter;
    int type;

    X509_ALGOR_get0(&object, &type, &parameter, algorithm);
    *ret_curve = type == V_ASN1_OBJECT ? OBJ_obj2nid(parameter) : NID_undef;
    return OBJ_obj2nid(object);
}

enum private_key_match private_key_match(const struct material_bytes *key, X509 *certificate)
{
    const unsigned char *next = key->data;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &next, (long)key->size);
    enum private_key_match match = PRIVATE_KEY_DIFFERS;
    X509_ALGOR *public_algorithm;
    const X509_ALGOR *algorithm;
    const unsigned char *private, *public;
    int private_size, public_size, curve, public_curve, kind;

    if (info == NULL || PKCS8_pkey_get0(NULL, &private, &private_size, &algorithm, info) != 1 ||
        X509_PUBKEY_get0_param(NULL, &public, &public_size, &public_algorithm,
                               X509_get_X509_PUBKEY(certificate)) != 1)
        goto out;
    kind = algorithm_of(algorithm, &curve);
    if (kind != algorithm_of(public_algorithm, &public_curve) || X509_get0_pubkey(certificate) == NULL)
        goto out;
    if (kind == NID_rsaEncryption)
        match = match_rsa(private, (size_t)private_size, X509_get0_pubkey(certificate));
    else if (kind == NID_X9_62_id_ecPublicKey && curve == public_curve && curve != NID_undef)
        match = match_ec(private, (size_t)private_size, curve, public, (size_t)public_size);
    else if (kind == NID_ED25519)
        match = match_ed25519(private, (size_t)private_size, public, (size_t)public_size);
out:
    PKCS8_PRIV_KEY_INFO_free(info);
    ERR_clear_error();
    return match;
}
