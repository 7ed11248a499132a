// SPDX-License-Identifier: Apache-2.0
// Certificates and keys for tests, made while they run: nothing expires in the repository. Whatever fails here is the
// machine's fault and aborts.
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#define DAY_S 86400L

static inline void must(bool is_true, const char *what)
{
    if (is_true)
        return;
    fprintf(stderr, "cannot prepare the test: %s\n", what);
    abort();
}

// "RSA1024", "RSA2048", "ED25519", "P-256", "P-384", "P-521", or another curve.
static inline EVP_PKEY *key_make(const char *kind)
{
    EVP_PKEY *key;

    if (strncmp(kind, "RSA", 3) == 0)
        key = EVP_RSA_gen((unsigned)atoi(kind + 3));
    else if (strcmp(kind, "ED25519") == 0)
        key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    else
        key = EVP_EC_gen(kind);
    must(key != NULL, kind);
    return key;
}

struct certificate_wish {
    const char *name; // CN, and DNS subjectAltName of a server
    EVP_PKEY *key;
    X509 *issuer; // NULL: signs itself
    EVP_PKEY *issuer_key;
    bool is_authority;
    long from_s; // from now
    long until_s;
    const char *digest; // NULL: what suits the issuer's key
};

static inline void certificate_extend(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&context);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    must(extension != NULL && X509_add_ext(certificate, extension, -1) == 1, value);
    X509_EXTENSION_free(extension);
}

static inline X509 *certificate_make(const struct certificate_wish *wish)
{
    static long serial = 1;
    X509 *certificate = X509_new();
    X509 *issuer = wish->issuer != NULL ? wish->issuer : certificate;
    EVP_PKEY *issuer_key = wish->issuer_key != NULL ? wish->issuer_key : wish->key;
    const EVP_MD *digest = EVP_PKEY_is_a(issuer_key, "ED25519") ? NULL : EVP_sha256();
    X509_NAME *name;
    char alternative[128];

    if (wish->digest != NULL)
        digest = EVP_get_digestbyname(wish->digest);
    must(certificate != NULL, "a certificate");
    name = X509_get_subject_name(certificate);
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
    X509_gmtime_adj(X509_getm_notBefore(certificate), wish->from_s);
    X509_gmtime_adj(X509_getm_notAfter(certificate), wish->until_s);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)wish->name, -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
    X509_set_pubkey(certificate, wish->key);
    certificate_extend(certificate, issuer, NID_basic_constraints,
                       wish->is_authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (wish->is_authority) {
        certificate_extend(certificate, issuer, NID_key_usage, "critical,keyCertSign");
    } else {
        snprintf(alternative, sizeof(alternative), "DNS:%s", wish->name);
        certificate_extend(certificate, issuer, NID_subject_alt_name, alternative);
    }
    certificate_extend(certificate, issuer, NID_subject_key_identifier, "hash");
    must(X509_sign(certificate, issuer_key, digest) > 0, "a signature");
    return certificate;
}

static inline X509 *certificate_of(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
    return certificate_make(&(struct certificate_wish){
        .name = name,
        .key = key,
        .issuer = issuer,
        .issuer_key = issuer_key,
        .is_authority = strstr(name, "CA") != NULL,
        .from_s = -3600,
        .until_s = DAY_S,
    });
}

// Appends to the file, which is made if need be, for its owner alone.
static inline void certificate_append(const char *path, X509 *certificate)
{
    FILE *file = fopen(path, "a");

    must(file != NULL && PEM_write_X509(file, certificate) == 1, path);
    fclose(file);
}

static inline void key_append(const char *path, EVP_PKEY *key)
{
    FILE *file = fopen(path, "a");

    must(file != NULL && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1, path);
    fclose(file);
}
