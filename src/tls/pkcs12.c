// SPDX-License-Identifier: Apache-2.0
// PKCS#12, taken apart bag by bag: OpenSSL's PKCS12_parse() says no more than that it failed.
#include "src/tls/pkcs12.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pkcs12.h>

#include "src/tls/encrypted.h"
#include "src/tls/private_key.h"

#define NESTED_MAX 4
#define ROUNDS_MAX 10000000 // of the MAC

// What is known while it is taken apart.
struct parts {
    const char *phrase; // NULL: none, which is not the same as an empty one
    size_t length;
    STACK_OF(X509) * certificates;
    struct material_bytes key;
};

static PKCS12 *decode(const uint8_t *bytes, size_t size)
{
    const unsigned char *next = bytes;
    PKCS12 *pkcs12 = size <= INT_MAX ? d2i_PKCS12(NULL, &next, (long)size) : NULL;

    ERR_clear_error();
    return pkcs12;
}

bool pkcs12_is(const uint8_t *bytes, size_t size)
{
    PKCS12 *pkcs12 = decode(bytes, size);
    bool is_one = pkcs12 != NULL;

    PKCS12_free(pkcs12);
    return is_one;
}

// ---- the MAC tells whether the passphrase is right ----

static bool mac_is_cheap(const PKCS12 *pkcs12)
{
    const ASN1_INTEGER *rounds = NULL;
    uint64_t count;

    PKCS12_get0_mac(NULL, NULL, NULL, &rounds, pkcs12);
    return rounds == NULL || (ASN1_INTEGER_get_uint64(&count, rounds) == 1 && count <= ROUNDS_MAX);
}

static int mac_check(PKCS12 *pkcs12, struct parts *parts)
{
    const X509_ALGOR *algorithm = NULL;
    const ASN1_OBJECT *object = NULL;

    if (PKCS12_mac_present(pkcs12) != 1)
        return 0;
    PKCS12_get0_mac(NULL, &algorithm, NULL, NULL, pkcs12);
    if (!mac_is_cheap(pkcs12))
        return -EBADMSG;
    if (PKCS12_verify_mac(pkcs12, parts->phrase, (int)parts->length) == 1)
        return 0;
    // Made without any passphrase: some write that as an empty one, some as nothing at all.
    if (parts->length == 0 && PKCS12_verify_mac(pkcs12, NULL, 0) == 1) {
        parts->phrase = NULL;
        return 0;
    }
    X509_ALGOR_get0(&object, NULL, NULL, algorithm);
    if (!encrypted_was_unknown() && EVP_get_digestbyobj(object) != NULL)
        return -EKEYREJECTED;
    encrypted_set_why("a checksum (MAC) of a kind");
    return -ENOTSUP;
}

// ---- the bags ----

static int bags_take(const STACK_OF(PKCS12_SAFEBAG) * bags, struct parts *parts, unsigned depth);

static int key_take(const PKCS12_SAFEBAG *bag, struct parts *parts)
{
    if (parts->key.size > 0)
        return 0;
    if (PKCS12_SAFEBAG_get_nid(bag) == NID_keyBag)
        return private_key_take(PKCS12_SAFEBAG_get0_p8inf(bag), &parts->key);
    return encrypted_key_open(PKCS12_SAFEBAG_get0_pkcs8(bag), parts->phrase, parts->length, &parts->key);
}

static int certificate_take(const PKCS12_SAFEBAG *bag, struct parts *parts)
{
    X509 *certificate;

    if (PKCS12_SAFEBAG_get_bag_nid(bag) != NID_x509Certificate)
        return 0;
    certificate = PKCS12_SAFEBAG_get1_cert(bag);
    if (certificate == NULL)
        return -EBADMSG;
    if (sk_X509_push(parts->certificates, certificate) == 0)
        abort();
    return 0;
}

static int bag_take(const PKCS12_SAFEBAG *bag, struct parts *parts, unsigned depth)
{
    switch (PKCS12_SAFEBAG_get_nid(bag)) {
    case NID_keyBag:
    case NID_pkcs8ShroudedKeyBag:
        return key_take(bag, parts);
    case NID_certBag:
        return certificate_take(bag, parts);
    case NID_safeContentsBag:
        return depth < NESTED_MAX ? bags_take(PKCS12_SAFEBAG_get0_safes(bag), parts, depth + 1) : -EBADMSG;
    default: // CRLs, secrets
        return 0;
    }
}

static int bags_take(const STACK_OF(PKCS12_SAFEBAG) * bags, struct parts *parts, unsigned depth)
{
    int result = 0;

    for (int i = 0; i < sk_PKCS12_SAFEBAG_num(bags) && result == 0; i++)
        result = bag_take(sk_PKCS12_SAFEBAG_value(bags, i), parts, depth);
    return result;
}

static int safe_take(PKCS7 *safe, struct parts *parts)
{
    STACK_OF(PKCS12_SAFEBAG) *bags = NULL;
    const PKCS7_ENC_CONTENT *encrypted;
    ASN1_VALUE *value = NULL;
    int result = 0;

    if (PKCS7_type_is_data(safe)) {
        bags = PKCS12_unpack_p7data(safe);
    } else if (PKCS7_type_is_encrypted(safe)) {
        encrypted = safe->d.encrypted != NULL ? safe->d.encrypted->enc_data : NULL;
        if (encrypted == NULL || encrypted->algorithm == NULL || encrypted->enc_data == NULL)
            return -EBADMSG;
        result = encrypted_item_open(encrypted->algorithm, encrypted->enc_data,
                                     ASN1_ITEM_rptr(PKCS12_SAFEBAGS), parts->phrase, parts->length, &value);
        bags = (STACK_OF(PKCS12_SAFEBAG) *)value;
    } else { // for a public key
        return 0;
    }
    if (result == 0)
        result = bags != NULL ? bags_take(bags, parts, 0) : -EBADMSG;
    sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
    return result;
}

static int safes_take(const PKCS12 *pkcs12, struct parts *parts)
{
    STACK_OF(PKCS7) *safes = PKCS12_unpack_authsafes(pkcs12);
    int result = safes != NULL ? 0 : -EBADMSG;

    for (int i = 0; i < sk_PKCS7_num(safes) && result == 0; i++)
        result = safe_take(sk_PKCS7_value(safes, i), parts);
    sk_PKCS7_pop_free(safes, PKCS7_free);
    if (result == 0 && parts->key.size == 0)
        result = -ENOKEY;
    return result;
}

int pkcs12_open(const uint8_t *bytes, size_t size, const char *phrase, size_t length,
                STACK_OF(X509) * certificates, struct material_bytes *ret_key)
{
    struct parts parts = {.phrase = phrase, .length = length, .certificates = certificates};
    PKCS12 *pkcs12 = decode(bytes, size);
    int before = sk_X509_num(certificates);
    int result;

    if (pkcs12 == NULL)
        return -EBADMSG;
    result = mac_check(pkcs12, &parts);
    if (result == 0)
        result = safes_take(pkcs12, &parts);
    if (result == 0) {
        *ret_key = parts.key;
    } else {
        private_key_finish(&parts.key);
        while (sk_X509_num(certificates) > before)
            X509_free(sk_X509_pop(certificates));
    }
    PKCS12_free(pkcs12);
    ERR_clear_error();
    return result;
}

// ---- with the configuration's passphrase ----

struct opening {
    const struct content *content;
    STACK_OF(X509) * certificates;
    struct material_bytes *ret_key;
};

static int opening_try(void *owner, const char *phrase, size_t length)
{
    const struct opening *opening = owner;

    return pkcs12_open(opening->content->bytes, opening->content->size, phrase, length, opening->certificates,
                       opening->ret_key);
}

int pkcs12_parse(const struct named_file *file, const struct content *content,
                 struct passphrases *passphrases, const struct config_passphrase *source,
                 STACK_OF(X509) * certificates, struct material_bytes *ret_key)
{
    struct opening opening = {.content = content, .certificates = certificates, .ret_key = ret_key};
    int result = opening_try(&opening, "", 0);

    if (result == -EKEYREJECTED)
        result = passphrases_open(passphrases, file, source, opening_try, &opening);
    switch (result) {
    case -EBADMSG:
        file_complain(file, "PKCS#12 file %s is %s; %s", file->path,
                      memmem(content->bytes, content->size, "-----BEGIN ", 11) != NULL
                          ? "PEM: name it as `chain: FILE` and `key: FILE`, or convert it"
                          : "damaged, or no PKCS#12",
                      file->cure);
        return -EINVAL;
    case -ENOKEY:
        file_complain(file,
                      "PKCS#12 file %s holds no private key; export it together with the certificate's key",
                      file->path);
        return -EINVAL;
    case -ENOTSUP:
        file_complain(file, "PKCS#12 file %s is protected with %s; export it again with AES-256 and SHA-256",
                      file->path, encrypted_why());
        return -EINVAL;
    default:
        return result;
    }
}
