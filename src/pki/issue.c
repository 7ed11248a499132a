// SPDX-License-Identifier: Apache-2.0
// Issuing. What a certificate says was decided before; here it is put together and signed.
#include "src/pki/issue.h"

#include <errno.h>
#include <stdbool.h>

#include <openssl/bn.h>
#include <openssl/x509v3.h>

#define SERIAL_BITS 159 // positive in 20 bytes, the most that RFC 5280 §4.1.2.2 allows

// Days when none were said. End entities: what browsers still accept; authorities: see validity_resolve().
#define DAYS_ROOT         3650
#define DAYS_INTERMEDIATE 1825
#define DAYS_END          397

int validity_of(const X509 *certificate, struct validity *ret)
{
    if (moment_from_asn1(X509_get0_notBefore(certificate), &ret->not_before) < 0)
        return -EINVAL;
    return moment_from_asn1(X509_get0_notAfter(certificate), &ret->not_after);
}

int validity_resolve(const struct wish *wish, const struct validity *issuer, time_t now, struct validity *ret)
{
    bool has_end = wish->days > 0 || wish->not_after != 0;
    unsigned days = wish->days;
    struct validity validity = {.not_before = wish->not_before, .not_after = wish->not_after};

    if (days == 0)
        days = wish->profile != PROFILE_CA ? DAYS_END : issuer == NULL ? DAYS_ROOT : DAYS_INTERMEDIATE;
    if (validity.not_before == 0) {
        validity.not_before = now - BACKDATE_SECONDS;
        if (issuer != NULL && issuer->not_before > validity.not_before && issuer->not_before <= now)
            validity.not_before = issuer->not_before;
    }
    // Both ends belong to it (RFC 5280 §4.1.2.5), so a day has its last second.
    if (validity.not_after == 0)
        validity.not_after = validity.not_before + (time_t)days * DAY_SECONDS - 1;
    if (validity.not_after > MOMENT_MAX)
        validity.not_after = MOMENT_MAX;
    if (issuer != NULL && validity.not_after > issuer->not_after) {
        if (has_end)
            return -ERANGE;
        validity.not_after = issuer->not_after;
    }
    if (validity.not_before >= validity.not_after)
        return -ERANGE;
    *ret = validity;
    return 0;
}

enum status digest_choose(const char *label, const EVP_MD *digest, const EVP_PKEY *key, const EVP_MD **ret)
{
    bool has_own = EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448");
    int bits = EVP_PKEY_get_bits(key);

    if (has_own && digest != NULL)
        return complain(STATUS_FAILED,
                        "%s: the key that signs it has a digest of its own (%s); leave out the digest", label,
                        EVP_PKEY_get0_type_name(key));
    if (has_own)
        *ret = NULL;
    else if (digest != NULL)
        *ret = digest;
    else if (EVP_PKEY_is_a(key, "EC") && bits > 256)
        *ret = bits > 384 ? EVP_sha512() : EVP_sha384();
    else
        *ret = EVP_sha256();
    return STATUS_OK;
}

static bool set_serial(X509 *certificate)
{
    BIGNUM *number = BN_new();
    bool is_good = number != NULL;

    do
        is_good = is_good && BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1;
    while (is_good && BN_is_zero(number));
    is_good = is_good && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return is_good;
}

static bool set_extensions(X509 *certificate, const STACK_OF(X509_EXTENSION) * extensions)
{
    for (int i = 0; i < sk_X509_EXTENSION_num(extensions); i++) {
        if (X509_add_ext(certificate, sk_X509_EXTENSION_value(extensions, i), -1) != 1)
            return false;
    }
    return true;
}

enum status certificate_issue(const struct issue *issue, X509 **ret)
{
    X509 *certificate = X509_new();
    const X509_NAME *issuer = issue->issuer != NULL ? X509_get_subject_name(issue->issuer) : issue->subject;
    const EVP_MD *digest = NULL;
    bool is_good;

    if (digest_choose(issue->label, issue->digest, issue->issuer_key, &digest) != STATUS_OK) {
        X509_free(certificate);
        return STATUS_FAILED;
    }
    is_good = certificate != NULL && X509_set_version(certificate, X509_VERSION_3) == 1 &&
              set_serial(certificate) && X509_set_issuer_name(certificate, issuer) == 1 &&
              X509_set_subject_name(certificate, issue->subject) == 1 &&
              ASN1_TIME_set(X509_getm_notBefore(certificate), issue->validity.not_before) != NULL &&
              ASN1_TIME_set(X509_getm_notAfter(certificate), issue->validity.not_after) != NULL &&
              X509_set_pubkey(certificate, issue->key) == 1 &&
              set_extensions(certificate, issue->extensions) &&
              X509_sign(certificate, issue->issuer_key, digest) > 0;
    if (!is_good) {
        X509_free(certificate);
        return complain_openssl("%s: the certificate cannot be made", issue->label);
    }
    *ret = certificate;
    return STATUS_OK;
}

enum status request_make(const char *label, const X509_NAME *subject, EVP_PKEY *key, const EVP_MD *digest,
                         STACK_OF(X509_EXTENSION) * extensions, X509_REQ **ret)
{
    X509_REQ *request = X509_REQ_new();
    bool is_good;

    if (digest_choose(label, digest, key, &digest) != STATUS_OK) {
        X509_REQ_free(request);
        return STATUS_FAILED;
    }
    is_good = request != NULL && X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 &&
              X509_REQ_set_subject_name(request, subject) == 1 && X509_REQ_set_pubkey(request, key) == 1 &&
              (sk_X509_EXTENSION_num(extensions) == 0 || X509_REQ_add_extensions(request, extensions) == 1) &&
              X509_REQ_sign(request, key, digest) > 0;
    if (!is_good) {
        X509_REQ_free(request);
        return complain_openssl("%s: the request cannot be made", label);
    }
    *ret = request;
    return STATUS_OK;
}
