// SPDX-License-Identifier: Apache-2.0
// What is encrypted under a passphrase.
#include "src/tls/encrypted.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pkcs12.h>
#include <openssl/provider.h>

#include "src/tls/private_key.h"

// What a file may ask for: some seconds of work. Tools ask for 2,048 to a million rounds.
#define ROUNDS_MAX      10000000
#define SCRYPT_WORK_MAX (UINT64_C(1) << 26)

static char why[160];

const char *encrypted_why(void)
{
    return why;
}

// ---- OpenSSL's old algorithms ----

static struct {
    bool is_tried;
    OSSL_LIB_CTX *context; // NULL: the legacy provider isn't installed
    OSSL_PROVIDER *providers[2];
} legacy;

static void legacy_unload(void)
{
    for (int i = 1; i >= 0; i--) {
        if (legacy.providers[i] != NULL)
            OSSL_PROVIDER_unload(legacy.providers[i]);
        legacy.providers[i] = NULL;
    }
    OSSL_LIB_CTX_free(legacy.context);
    legacy.context = NULL;
}

// Made when it is first needed.
static OSSL_LIB_CTX *legacy_context(void)
{
    if (legacy.is_tried)
        return legacy.context;
    legacy.is_tried = true;
    legacy.context = OSSL_LIB_CTX_new();
    if (legacy.context == NULL)
        return NULL;
    legacy.providers[0] = OSSL_PROVIDER_load(legacy.context, "default");
    legacy.providers[1] = OSSL_PROVIDER_load(legacy.context, "legacy");
    if (legacy.providers[0] == NULL || legacy.providers[1] == NULL)
        legacy_unload();
    ERR_clear_error();
    return legacy.context;
}

void encrypted_finish(void)
{
    legacy_unload();
    legacy.is_tried = false;
}

void encrypted_set_why(const char *algorithm)
{
    snprintf(why, sizeof(why), "%s, which OpenSSL does not know here%s", algorithm,
             legacy_context() != NULL ? "" : ", nor is its legacy provider installed");
}

bool encrypted_was_unknown(void)
{
    bool is_unsupported = false;
    unsigned long error;

    while ((error = ERR_get_error()) != 0) {
        int reason = ERR_GET_REASON(error);

        if (reason == ERR_R_UNSUPPORTED || reason == ERR_R_FETCH_FAILED)
            is_unsupported = true;
        if (ERR_GET_LIB(error) == ERR_LIB_EVP &&
            (reason == EVP_R_UNKNOWN_PBE_ALGORITHM || reason == EVP_R_UNKNOWN_CIPHER ||
             reason == EVP_R_UNKNOWN_DIGEST || reason == EVP_R_UNSUPPORTED_CIPHER ||
             reason == EVP_R_UNSUPPORTED_ALGORITHM || reason == EVP_R_UNSUPPORTED_PRF ||
             reason == EVP_R_UNSUPPORTED_KEY_DERIVATION_FUNCTION))
            is_unsupported = true;
    }
    return is_unsupported;
}

// ---- how much work a file asks for ----

static bool is_up_to(const ASN1_INTEGER *number, uint64_t max)
{
    uint64_t value;

    return number == NULL || (ASN1_INTEGER_get_uint64(&value, number) == 1 && value <= max);
}

static bool scrypt_is_cheap(const SCRYPT_PARAMS *scrypt)
{
    uint64_t cost, block, parallel;

    return ASN1_INTEGER_get_uint64(&cost, scrypt->costParameter) == 1 &&
           ASN1_INTEGER_get_uint64(&block, scrypt->blockSize) == 1 &&
           ASN1_INTEGER_get_uint64(&parallel, scrypt->parallelizationParameter) == 1 &&
           cost <= SCRYPT_WORK_MAX && block <= 1024 && parallel <= 1024 &&
           cost * block * parallel <= SCRYPT_WORK_MAX;
}

static bool derivation_is_cheap(const X509_ALGOR *derivation)
{
    PBKDF2PARAM *pbkdf2;
    SCRYPT_PARAMS *scrypt;
    bool is_cheap = true;

    switch (OBJ_obj2nid(derivation->algorithm)) {
    case NID_id_pbkdf2:
        pbkdf2 = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBKDF2PARAM), derivation->parameter);
        is_cheap = pbkdf2 == NULL || is_up_to(pbkdf2->iter, ROUNDS_MAX);
        PBKDF2PARAM_free(pbkdf2);
        break;
    case NID_id_scrypt:
        scrypt = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(SCRYPT_PARAMS), derivation->parameter);
        is_cheap = scrypt == NULL || scrypt_is_cheap(scrypt);
        SCRYPT_PARAMS_free(scrypt);
        break;
    default: // OpenSSL knows no others
        break;
    }
    return is_cheap;
}

// What doesn't parse costs nothing: it fails.
static bool is_cheap(const X509_ALGOR *algorithm)
{
    PBE2PARAM *pbes2;
    PBEPARAM *pbe;
    bool is_cheap = true;

    if (OBJ_obj2nid(algorithm->algorithm) == NID_pbes2) {
        pbes2 = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBE2PARAM), algorithm->parameter);
        is_cheap = pbes2 == NULL || derivation_is_cheap(pbes2->keyfunc);
        PBE2PARAM_free(pbes2);
    } else {
        pbe = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBEPARAM), algorithm->parameter);
        is_cheap = pbe == NULL || is_up_to(pbe->iter, ROUNDS_MAX);
        PBEPARAM_free(pbe);
    }
    ERR_clear_error();
    return is_cheap;
}

// ---- to open ----

static void name_algorithm(const X509_ALGOR *algorithm, char *text, size_t size)
{
    PBE2PARAM *pbes2 = NULL;
    const ASN1_OBJECT *object = algorithm->algorithm;

    if (OBJ_obj2nid(object) == NID_pbes2) {
        pbes2 = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBE2PARAM), algorithm->parameter);
        if (pbes2 != NULL)
            object = pbes2->encryption->algorithm;
    }
    if (OBJ_obj2nid(object) != NID_undef)
        snprintf(text, size, "%s", OBJ_nid2sn(OBJ_obj2nid(object)));
    else
        OBJ_obj2txt(text, (int)size, object, 1);
    PBE2PARAM_free(pbes2);
    ERR_clear_error();
}

int encrypted_item_open(const X509_ALGOR *algorithm, const ASN1_OCTET_STRING *bytes, const ASN1_ITEM *item,
                        const char *phrase, size_t length, ASN1_VALUE **ret)
{
    char name[80];
    ASN1_VALUE *value;

    if (!is_cheap(algorithm)) {
        snprintf(why, sizeof(why), "more rounds than Ringbolt takes (%d)", ROUNDS_MAX);
        return -ENOTSUP;
    }
    ERR_clear_error();
    value = PKCS12_item_decrypt_d2i_ex(algorithm, item, phrase, (int)length, bytes, 1, NULL, NULL);
    if (value == NULL && encrypted_was_unknown()) {
        name_algorithm(algorithm, name, sizeof(name));
        encrypted_set_why(name);
        if (legacy_context() == NULL)
            return -ENOTSUP;
        value = PKCS12_item_decrypt_d2i_ex(algorithm, item, phrase, (int)length, bytes, 1, legacy_context(),
                                           NULL);
        if (value == NULL && encrypted_was_unknown())
            return -ENOTSUP;
    }
    ERR_clear_error();
    if (value ==
        NULL) // what was decrypted is nonsense, too: a wrong passphrase passes the padding once in 256 times
        return -EKEYREJECTED;
    *ret = value;
    return 0;
}

int encrypted_key_open(const X509_SIG *encrypted, const char *phrase, size_t length,
                       struct material_bytes *ret)
{
    const X509_ALGOR *algorithm;
    const ASN1_OCTET_STRING *bytes;
    ASN1_VALUE *value = NULL;
    int result;

    X509_SIG_get0(encrypted, &algorithm, &bytes);
    result =
        encrypted_item_open(algorithm, bytes, ASN1_ITEM_rptr(PKCS8_PRIV_KEY_INFO), phrase, length, &value);
    if (result == 0)
        result = private_key_take((PKCS8_PRIV_KEY_INFO *)value, ret) == 0 ? 0 : -EKEYREJECTED;
    PKCS8_PRIV_KEY_INFO_free((PKCS8_PRIV_KEY_INFO *)value);
    ERR_clear_error();
    return result;
}
