// SPDX-License-Identifier: Apache-2.0
// The development certificate: an authority and a server certificate, made in memory for `ringbolt run` without --cert. The
// authority's key is forgotten as soon as it has signed, so whoever trusts its certificate trusts this one server.
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "ringbolt/file.h"
#include "ringbolt/material.h"
#include "src/tls/certificate.h"
#include "src/tls/private_key.h"

#define VALID_S        (30L * 24 * 60 * 60)
#define CLOCK_SKEW_S   (5L * 60)
#define SERIAL_BITS    159 // RFC 5280 §4.1.2.2: positive, at most 20 bytes
#define AUTHORITY_NAME "Ringbolt development CA "

struct extension {
    int nid;
    const char *value;
};

// What strict verifiers ask for: RFC 5280 §4.2.1.
static const struct extension authority_extensions[] = {
    {NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
    {NID_key_usage, "critical,keyCertSign,cRLSign"},
    {NID_subject_key_identifier, "hash"},
    {NID_authority_key_identifier, "keyid:always"},
    {NID_undef, NULL},
};

static const struct extension server_extensions[] = {
    {NID_basic_constraints, "critical,CA:FALSE"},
    {NID_key_usage, "critical,digitalSignature"},
    {NID_ext_key_usage, "serverAuth"},
    {NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1,IP:::1"},
    {NID_subject_key_identifier, "hash"},
    {NID_authority_key_identifier, "keyid:always"},
    {NID_undef, NULL},
};

static bool set_serial(X509 *certificate)
{
    BIGNUM *number = BN_new();
    bool is_set = number != NULL && BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
                  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;

    BN_free(number);
    return is_set;
}

static bool add_extensions(X509 *certificate, X509 *issuer, const struct extension *extensions)
{
    X509V3_CTX context;

    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&context);
    for (; extensions->value != NULL; extensions++) {
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, extensions->nid, extensions->value);
        bool is_added = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;

        X509_EXTENSION_free(extension);
        if (!is_added)
            return false;
    }
    return true;
}

// issuer NULL: signs itself. NULL when OpenSSL fails.
static X509 *make_certificate(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
                              const struct extension *extensions)
{
    X509 *certificate = X509_new();
    X509_NAME *subject;

    if (certificate == NULL)
        return NULL;
    subject = X509_get_subject_name(certificate);
    if (issuer == NULL)
        issuer = certificate;
    if (X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) &&
        X509_gmtime_adj(X509_getm_notBefore(certificate), -CLOCK_SKEW_S) != NULL &&
        X509_gmtime_adj(X509_getm_notAfter(certificate), VALID_S) != NULL &&
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0) ==
            1 &&
        X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1 &&
        X509_set_pubkey(certificate, key) == 1 && add_extensions(certificate, issuer, extensions) &&
        X509_sign(certificate, issuer_key, EVP_sha256()) > 0)
        return certificate;
    X509_free(certificate);
    return NULL;
}

// Names differ from run to run: a trust store that holds two authorities of one name may try the wrong one.
static X509 *make_authority(EVP_PKEY *key)
{
    unsigned char random[4];
    char name[sizeof(AUTHORITY_NAME) + 2 * sizeof(random)];

    if (RAND_bytes(random, sizeof(random)) != 1)
        return NULL;
    snprintf(name, sizeof(name), AUTHORITY_NAME "%02x%02x%02x%02x", random[0], random[1], random[2],
             random[3]);
    return make_certificate(name, key, NULL, key, authority_extensions);
}

// 0 or -errno.
static int write_authority(const char *path, const X509 *authority)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    long size;
    int result;

    if (bio == NULL || PEM_write_bio_X509(bio, authority) != 1)
        abort();
    size = BIO_get_mem_data(bio, &text);
    result = file_write(path, text, (size_t)size, 0644, FILE_REPLACE);
    BIO_free(bio);
    return result;
}

// Through the same checks as certificates from files.
static int take(X509 *certificate, X509 *authority, EVP_PKEY *key, struct report *report,
                struct certificate **ret)
{
    const struct named_file nowhere = {.report = report, .path = "memory", .what = "development certificate"};
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    STACK_OF(X509) *certificates = sk_X509_new_null();
    struct material_bytes private_key = {0};
    struct certificate_parts parts = {
        .chain = &nowhere,
        .key = &nowhere,
        .certificates = certificates,
        .private_key = &private_key,
    };
    struct pool *pool = pool_create();
    int result;

    if (info == NULL || certificates == NULL || private_key_take(info, &private_key) < 0 ||
        sk_X509_push(certificates, certificate) == 0 || sk_X509_push(certificates, authority) == 0)
        abort();
    result = certificate_make(&parts, pool, ret);
    pool_destroy(pool);
    private_key_finish(&private_key);
    sk_X509_free(certificates);
    PKCS8_PRIV_KEY_INFO_free(info);
    return result;
}

int certificate_develop(const char *ca_file, struct report *report, struct certificate **ret)
{
    EVP_PKEY *authority_key = EVP_EC_gen("P-256");
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *authority = NULL;
    X509 *certificate = NULL;
    int result = -EIO;

    if (authority_key != NULL && key != NULL)
        authority = make_authority(authority_key);
    if (authority != NULL)
        certificate = make_certificate("localhost", key, authority, authority_key, server_extensions);
    if (certificate == NULL) {
        const char *reason = ERR_reason_error_string(ERR_peek_error());
        report_add(report, (struct config_where){0}, "OpenSSL cannot make a development certificate: %s",
                   reason != NULL ? reason : "unknown error");
        goto out;
    }
    result = ca_file != NULL ? write_authority(ca_file, authority) : 0;
    if (result < 0) {
        report_add(report, (struct config_where){0}, "cannot write the development CA to %s: %s", ca_file,
                   result == -EISDIR || result == -ELOOP || result == -EINVAL
                       ? "it is no regular file; name one that may be replaced"
                       : log_error_text(result));
        goto out;
    }
    result = take(certificate, authority, key, report, ret);
out:
    ERR_clear_error();
    X509_free(certificate);
    X509_free(authority);
    EVP_PKEY_free(key);
    EVP_PKEY_free(authority_key);
    return result;
}

static X509 *read_certificate(const struct material_bytes *bytes)
{
    const unsigned char *at = bytes->data;
    X509 *certificate = bytes->size > 0 && bytes->size <= LONG_MAX ? d2i_X509(NULL, &at, (long)bytes->size) : NULL;

    if (certificate != NULL && at == bytes->data + bytes->size)
        return certificate;
    X509_free(certificate);
    return NULL;
}

static EVP_PKEY *read_key(const struct material_bytes *bytes)
{
    const unsigned char *at = bytes->data;
    PKCS8_PRIV_KEY_INFO *info =
        bytes->size > 0 && bytes->size <= LONG_MAX ? d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)bytes->size) : NULL;
    EVP_PKEY *key = info != NULL && at == bytes->data + bytes->size ? EVP_PKCS82PKEY(info) : NULL;

    PKCS8_PRIV_KEY_INFO_free(info);
    return key;
}

int certificate_develop_again(const struct material_bytes *leaf, const struct material_bytes *authority,
                              const struct material_bytes *key, struct report *report,
                              struct certificate **ret)
{
    X509 *certificate = read_certificate(leaf);
    X509 *issuer = read_certificate(authority);
    EVP_PKEY *private_key = read_key(key);
    int result = -EINVAL;

    if (certificate != NULL && issuer != NULL && private_key != NULL)
        result = take(certificate, issuer, private_key, report, ret);
    else
        report_add(report, (struct config_where){0}, "the development certificate is none");
    ERR_clear_error();
    X509_free(certificate);
    X509_free(issuer);
    EVP_PKEY_free(private_key);
    return result;
}
