// SPDX-License-Identifier: Apache-2.0
// Certificates: checked for all that could keep a listener from serving them, so that what is wrong shows when files are read, with its
// cure, and not in some client's handshake.
#include "src/config/memory.h"
#include "src/tls/certificate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "src/tls/chain.h"
#include "src/tls/names.h"
#include "src/tls/private_key.h"

#define RSA_BITS_MIN   2048
#define RSA_BITS_MAX   OPENSSL_RSA_MAX_MODULUS_BITS
#define STATUS_REQUEST 5 // RFC 7633 §6: the number of the extension that is promised
#define URL_LENGTH_MAX 2048

// ---- checks ----

const char *certificate_time_text(const ASN1_TIME *time, char text[CERTIFICATE_TIME_SIZE])
{
    struct tm parts;

    if (ASN1_TIME_to_tm(time, &parts) != 1 ||
        strftime(text, CERTIFICATE_TIME_SIZE, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0)
        snprintf(text, CERTIFICATE_TIME_SIZE, "an unreadable date");
    return text;
}

static int check_times(const struct named_file *file, const X509 *leaf)
{
    char when[CERTIFICATE_TIME_SIZE];

    // An unreadable time compares as 0.
    if (X509_cmp_current_time(X509_get0_notAfter(leaf)) <= 0) {
        file_complain(file, "the certificate in %s expired on %s; renew it", file->path,
                      certificate_time_text(X509_get0_notAfter(leaf), when));
        return -EINVAL;
    }
    if (X509_cmp_current_time(X509_get0_notBefore(leaf)) >= 0) {
        file_complain(file, "the certificate in %s is not valid before %s; check this machine's clock",
                      file->path, certificate_time_text(X509_get0_notBefore(leaf), when));
        return -EINVAL;
    }
    return 0;
}

static bool is_served_curve(const char *group)
{
    return strcmp(group, "prime256v1") == 0 || strcmp(group, "secp384r1") == 0 ||
           strcmp(group, "secp521r1") == 0;
}

static int check_rsa(const struct named_file *file, const EVP_PKEY *key)
{
    int bits = EVP_PKEY_get_bits(key);

    if (bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX)
        return 0;
    file_complain(file,
                  "the certificate in %s has an RSA key of %d bits, which is too %s; use one of %d bits or "
                  "more, or ECDSA P-256",
                  file->path, bits, bits < RSA_BITS_MIN ? "small" : "large", RSA_BITS_MIN);
    return -EINVAL;
}

static int check_key(const struct named_file *file, X509 *leaf)
{
    EVP_PKEY *key = X509_get0_pubkey(leaf);
    const char *kind = "unknown";
    char group[64] = "";

    if (key != NULL && EVP_PKEY_is_a(key, "RSA"))
        return check_rsa(file, key);
    if (key != NULL)
        kind = EVP_PKEY_is_a(key, "EC") ? "ECDSA" : EVP_PKEY_get0_type_name(key);
    if (key != NULL && EVP_PKEY_is_a(key, "EC"))
        EVP_PKEY_get_group_name(key, group, sizeof(group), NULL);
    ERR_clear_error();
    if (key != NULL && (EVP_PKEY_is_a(key, "ED25519") || is_served_curve(group)))
        return 0;
    file_complain(file,
                  "the certificate in %s has a key of type %s%s%s, which is not served; use RSA of %d bits "
                  "or more, ECDSA P-256, "
                  "P-384 or P-521, or Ed25519",
                  file->path, kind != NULL ? kind : "unknown", group[0] != '\0' ? " " : "", group,
                  RSA_BITS_MIN);
    return -EINVAL;
}

// RFC 5280 §4.2.1.3 and §4.2.1.12. Without an extension everything is allowed.
static int check_usage(const struct named_file *file, X509 *leaf)
{
    if ((X509_get_extension_flags(leaf) & EXFLAG_INVALID) != 0) {
        file_complain(file, "the certificate in %s has extensions that OpenSSL can't read; ask for a new one",
                      file->path);
        return -EINVAL;
    }
    if ((X509_get_extended_key_usage(leaf) & (XKU_SSL_SERVER | XKU_ANYEKU)) == 0) {
        file_complain(file,
                      "the certificate in %s is not for servers: its extended key usage lacks serverAuth; "
                      "ask for a server's "
                      "certificate",
                      file->path);
        return -EINVAL;
    }
    if ((X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE) == 0) {
        file_complain(file,
                      "the certificate in %s may not sign handshakes: its key usage lacks digitalSignature; "
                      "ask for a server's "
                      "certificate",
                      file->path);
        return -EINVAL;
    }
    return 0;
}

// The certificate of the key; NULL with a line in the report when there is none.
static X509 *find_leaf(const struct certificate_parts *parts)
{
    for (int i = 0; i < sk_X509_num(parts->certificates); i++) {
        X509 *certificate = sk_X509_value(parts->certificates, i);

        switch (private_key_match(parts->private_key, certificate)) {
        case PRIVATE_KEY_MATCHES:
            return certificate;
        case PRIVATE_KEY_DAMAGED:
            file_complain(
                parts->key,
                "private key %s is damaged: its numbers do not belong together; copy the file again",
                parts->key->path);
            return NULL;
        case PRIVATE_KEY_DIFFERS:
            break;
        }
    }
    if (strcmp(parts->key->path, parts->chain->path) == 0)
        file_complain(parts->key,
                      "the private key in %s does not match the certificate in it; give the key that the "
                      "certificate was made for",
                      parts->key->path);
    else
        file_complain(parts->key,
                      "private key %s does not match the certificate in %s; give the key that the "
                      "certificate was made for",
                      parts->key->path, parts->chain->path);
    return NULL;
}

// ---- the object ----

struct material_bytes certificate_encode(const X509 *certificate)
{
    int size = i2d_X509(certificate, NULL);
    struct material_bytes bytes = {.size = size > 0 ? (size_t)size : 0};
    unsigned char *next;

    if (size <= 0)
        abort();
    next = bytes.data = memory_allocate(bytes.size);
    i2d_X509(certificate, &next);
    return bytes;
}

static int64_t seconds_of(const ASN1_TIME *time)
{
    struct tm parts;

    return ASN1_TIME_to_tm(time, &parts) == 1 ? (int64_t)timegm(&parts) : 0;
}

// As `openssl x509 -serial` prints it.
static char *print_serial(const X509 *certificate)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);
    const unsigned char *bytes = ASN1_STRING_get0_data(serial);
    size_t size = (size_t)ASN1_STRING_length(serial);
    bool is_negative = ASN1_STRING_type(serial) == V_ASN1_NEG_INTEGER;
    char *text = memory_array(2 * size + 4, 1);
    char *end = text;

    if (is_negative)
        *end++ = '-';
    if (size == 0)
        end += sprintf(end, "00");
    for (size_t i = 0; i < size; i++)
        end += sprintf(end, "%02X", bytes[i]);
    return text;
}

static bool must_staple(const X509 *certificate)
{
    TLS_FEATURE *features = X509_get_ext_d2i(certificate, NID_tlsfeature, NULL, NULL);
    bool is_promised = false;

    for (int i = 0; i < sk_ASN1_INTEGER_num(features); i++)
        is_promised = is_promised || ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == STATUS_REQUEST;
    TLS_FEATURE_free(features);
    return is_promised;
}

static bool is_plain_url(const char *text)
{
    if ((strncmp(text, "http://", 7) != 0 && strncmp(text, "https://", 8) != 0) ||
        strlen(text) > URL_LENGTH_MAX)
        return false;
    for (; *text != '\0'; text++) {
        if (*text <= ' ' || *text > '~')
            return false;
    }
    return true;
}

static char *find_responder(X509 *certificate)
{
    STACK_OF(OPENSSL_STRING) *urls = X509_get1_ocsp(certificate);
    char *responder = NULL;

    for (int i = 0; i < sk_OPENSSL_STRING_num(urls) && responder == NULL; i++) {
        if (!is_plain_url(sk_OPENSSL_STRING_value(urls, i)))
            continue;
        responder = memory_copy(sk_OPENSSL_STRING_value(urls, i));
    }
    X509_email_free(urls);
    return responder;
}

static void fill_names(struct certificate *certificate, const struct certificate_parts *parts,
                       const X509 *leaf)
{
    if (parts->name_count == 0) {
        names_of(leaf, &certificate->names, &certificate->name_count);
        return;
    }
    certificate->name_count = parts->name_count;
    certificate->names = memory_array(parts->name_count, sizeof(*certificate->names));
    for (size_t i = 0; i < parts->name_count; i++)
        certificate->names[i] = memory_copy(parts->names[i]);
}

static void fill_text(struct certificate *certificate, X509 *leaf)
{
    const EVP_PKEY *key = X509_get0_pubkey(leaf);

    certificate->subject = names_print(X509_get_subject_name(leaf));
    certificate->issuer = names_print(X509_get_issuer_name(leaf));
    certificate->serial = print_serial(leaf);
    certificate->not_before_s = seconds_of(X509_get0_notBefore(leaf));
    certificate->not_after_s = seconds_of(X509_get0_notAfter(leaf));
    certificate->kind = EVP_PKEY_is_a(key, "RSA")  ? CERTIFICATE_RSA
                        : EVP_PKEY_is_a(key, "EC") ? CERTIFICATE_ECDSA
                                                   : CERTIFICATE_EDDSA;
    certificate->key_bits = (unsigned)EVP_PKEY_get_bits(key);
    certificate->must_staple = must_staple(leaf);
    certificate->responder = find_responder(leaf);
}

static void fill_chain(struct certificate *certificate, const X509 *leaf, const struct chain *chain)
{
    certificate->leaf = certificate_encode(leaf);
    if (EVP_Digest(certificate->leaf.data, certificate->leaf.size, certificate->fingerprint, NULL,
                   EVP_sha256(), NULL) != 1)
        abort();
    for (size_t i = 0; i < sizeof(certificate->id); i++)
        certificate->id = certificate->id << 8 | certificate->fingerprint[i];
    certificate->intermediate_count = (size_t)sk_X509_num(chain->intermediates);
    certificate->intermediates =
        memory_array(certificate->intermediate_count, sizeof(*certificate->intermediates));
    for (size_t i = 0; i < certificate->intermediate_count; i++)
        certificate->intermediates[i] = certificate_encode(sk_X509_value(chain->intermediates, (int)i));
    if (chain->issuer != NULL)
        certificate->authority = certificate_encode(chain->issuer);
}

static struct certificate *fill(const struct certificate_parts *parts, X509 *leaf, const struct chain *chain)
{
    struct certificate *certificate = memory_allocate(sizeof(*certificate));

    fill_chain(certificate, leaf, chain);
    fill_names(certificate, parts, leaf);
    fill_text(certificate, leaf);
    ERR_clear_error();
    return certificate;
}

int certificate_make(const struct certificate_parts *parts, struct pool *pool, struct certificate **ret)
{
    X509 *leaf = parts->private_key != NULL ? find_leaf(parts) : NULL;
    bool is_matched = leaf != NULL;
    struct chain chain;
    int key, usage, times, signatures;

    if (leaf == NULL)
        leaf = sk_X509_value(parts->certificates, 0);
    key = check_key(parts->chain, leaf);
    usage = check_usage(parts->chain, leaf);
    times = check_times(parts->chain, leaf);
    chain_build(parts->chain, parts->certificates, leaf, pool, &chain);
    signatures = chain_check(parts->chain, leaf, &chain);
    if (is_matched && key == 0 && usage == 0 && times == 0 && signatures == 0)
        *ret = fill(parts, leaf, &chain);
    else
        is_matched = false;
    chain_finish(&chain);
    if (!is_matched)
        return -EINVAL;
    (*ret)->key = *parts->private_key;
    *parts->private_key = (struct material_bytes){0};
    return 0;
}

void certificate_destroy(struct certificate *certificate)
{
    if (certificate == NULL)
        return;
    for (size_t i = 0; i < certificate->intermediate_count; i++)
        free(certificate->intermediates[i].data);
    free(certificate->intermediates);
    names_free(certificate->names, certificate->name_count);
    free(certificate->subject);
    free(certificate->issuer);
    free(certificate->serial);
    free(certificate->responder);
    free(certificate->leaf.data);
    free(certificate->authority.data);
    private_key_finish(&certificate->key);
    free(certificate);
}
