// SPDX-License-Identifier: Apache-2.0
// Material: certificate chains and private keys, checked for all that could keep a listener from serving them, so that
// what is wrong shows at start (and in `ringbolt check`), with its cure, and not in some client's handshake.
#include "src/tls/material.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "src/tls/pem.h"

#define RSA_BITS_MIN       2048
#define SECURITY_LEVEL_MIN 2
#define DIGEST_BITS_MIN    100 // SHA-1 is good for 63, SHA-224 for 112
#define NAME_MAX_SIZE      96
#define TIME_MAX_SIZE      32

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count > 0 ? count : 1, size);

    if (memory == NULL)
        abort();
    return memory;
}

// ---- the chain ----

static const char *subject_of(const X509 *certificate, char text[NAME_MAX_SIZE])
{
    return X509_NAME_oneline(X509_get_subject_name(certificate), text, NAME_MAX_SIZE);
}

static bool is_issued_by(X509 *certificate, X509 *issuer)
{
    // Names alone don't tell a renewed authority from the old one.
    bool is_issued = X509_check_issued(issuer, certificate) == X509_V_OK &&
                     X509_verify(certificate, X509_get0_pubkey(issuer)) == 1;

    ERR_clear_error();
    return is_issued;
}

// Clients may refuse a chain in which a certificate doesn't certify the one before it (RFC 5246 §7.4.2).
static int chain_check_order(STACK_OF(X509) * chain, const struct pem_file *pem)
{
    char issued_name[NAME_MAX_SIZE];
    char issuer_name[NAME_MAX_SIZE];

    for (int i = 1; i < sk_X509_num(chain); i++) {
        X509 *issued = sk_X509_value(chain, i - 1);
        X509 *issuer = sk_X509_value(chain, i);

        if (is_issued_by(issued, issuer))
            continue;
        report_add(pem->report, pem->where,
                   "%s: certificate %d (%s) did not issue the one before it (%s); put the server's "
                   "certificate first, then the issuer of each behind it",
                   pem->path, i + 1, subject_of(issuer, issuer_name), subject_of(issued, issued_name));
        return -EINVAL;
    }
    return 0;
}

static const char *time_text(const ASN1_TIME *time, char text[TIME_MAX_SIZE])
{
    struct tm parts;

    if (ASN1_TIME_to_tm(time, &parts) != 1 ||
        strftime(text, TIME_MAX_SIZE, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0)
        snprintf(text, TIME_MAX_SIZE, "an unreadable date");
    return text;
}

static int chain_check_times(STACK_OF(X509) * chain, const struct pem_file *pem)
{
    const X509 *leaf = sk_X509_value(chain, 0);
    char name[NAME_MAX_SIZE];
    char when[TIME_MAX_SIZE];

    for (int i = 1; i < sk_X509_num(chain); i++) {
        // Some chains carry an expired cross-signed certificate on purpose, for old clients.
        if (X509_cmp_current_time(X509_get0_notAfter(sk_X509_value(chain, i))) < 0)
            log_warning("an intermediate certificate has expired", log_text("file", pem->path),
                        log_text("subject", subject_of(sk_X509_value(chain, i), name)));
    }
    if (X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0) {
        report_add(pem->report, pem->where, "the certificate in %s expired on %s; renew it", pem->path,
                   time_text(X509_get0_notAfter(leaf), when));
        return -EINVAL;
    }
    if (X509_cmp_current_time(X509_get0_notBefore(leaf)) > 0) {
        report_add(pem->report, pem->where,
                   "the certificate in %s is not valid before %s; check this machine's clock", pem->path,
                   time_text(X509_get0_notBefore(leaf), when));
        return -EINVAL;
    }
    return 0;
}

static const char *key_type(const EVP_PKEY *key)
{
    return EVP_PKEY_is_a(key, "EC") ? "ECDSA" : EVP_PKEY_get0_type_name(key);
}

static bool is_served_curve(const char *group)
{
    return strcmp(group, "prime256v1") == 0 || strcmp(group, "secp384r1") == 0 ||
           strcmp(group, "secp521r1") == 0;
}

static int chain_check_key(STACK_OF(X509) * chain, const struct pem_file *pem)
{
    EVP_PKEY *key = X509_get0_pubkey(sk_X509_value(chain, 0));
    char group[64] = "";

    if (key != NULL && EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) < RSA_BITS_MIN) {
        report_add(pem->report, pem->where,
                   "the certificate in %s has an RSA key of %d bits, which is too small; use one of %d bits "
                   "or more, or ECDSA P-256",
                   pem->path, EVP_PKEY_get_bits(key), RSA_BITS_MIN);
        return -EINVAL;
    }
    if (key != NULL && EVP_PKEY_is_a(key, "EC"))
        EVP_PKEY_get_group_name(key, group, sizeof(group), NULL);
    ERR_clear_error();
    if (key != NULL && (EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_is_a(key, "ED25519") || is_served_curve(group)))
        return 0;
    report_add(pem->report, pem->where,
               "the certificate in %s has a key of type %s%s%s, which is not served; use RSA of %d bits or "
               "more, ECDSA P-256, P-384 or P-521, or Ed25519",
               pem->path, key != NULL ? key_type(key) : "unknown", group[0] != '\0' ? " " : "", group,
               RSA_BITS_MIN);
    return -EINVAL;
}

// OpenSSL's security level refuses these only in some versions, clients in all.
static int chain_check_signatures(STACK_OF(X509) * chain, const struct pem_file *pem)
{
    for (int i = 0; i < sk_X509_num(chain); i++) {
        X509 *certificate = sk_X509_value(chain, i);
        int bits = 0;
        int digest = NID_undef;

        // Nobody looks at the signature of a root on itself.
        if ((X509_get_extension_flags(certificate) & EXFLAG_SS) != 0 ||
            X509_get_signature_info(certificate, &digest, NULL, &bits, NULL) != 1 || bits >= DIGEST_BITS_MIN)
            continue;
        report_add(
            pem->report, pem->where,
            "certificate %d in %s is signed with %s, which clients refuse; ask for one signed with SHA-256",
            i + 1, pem->path, OBJ_nid2sn(digest));
        return -EINVAL;
    }
    return 0;
}

// Looks at everything, so that one run says everything.
static int chain_check(STACK_OF(X509) * chain, const struct pem_file *pem)
{
    int key = chain_check_key(chain, pem);
    int signatures = chain_check_signatures(chain, pem);
    int order = chain_check_order(chain, pem);
    int times = chain_check_times(chain, pem);

    return key < 0 || signatures < 0 || order < 0 || times < 0 ? -EINVAL : 0;
}

// ---- chain and key ----

static int pair_check_match(const struct material_pair *pair, const struct pem_file *chain,
                            const struct pem_file *key)
{
    if (X509_check_private_key(pair->certificate, pair->key) == 1)
        return 0;
    for (int i = 0; i < sk_X509_num(pair->intermediates); i++) {
        if (X509_check_private_key(sk_X509_value(pair->intermediates, i), pair->key) != 1)
            continue;
        report_add(chain->report, chain->where,
                   "private key %s belongs to certificate %d in %s; put the server's certificate first, then "
                   "the issuer of each behind it",
                   key->path, i + 2, chain->path);
        ERR_clear_error();
        return -EINVAL;
    }
    report_add(key->report, key->where,
               "private key %s does not match the certificate in %s; give the key that the certificate was "
               "made for",
               key->path, chain->path);
    ERR_clear_error();
    return -EINVAL;
}

// The last word is OpenSSL's: what it would refuse when the listener starts.
static int pair_check_served(const struct material_pair *pair, const struct pem_file *chain)
{
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
    const char *reason;
    int result = 0;

    if (ssl == NULL)
        abort();
    if (!material_install(ssl, pair)) {
        reason = ERR_reason_error_string(ERR_peek_error());
        report_add(chain->report, chain->where,
                   "%s cannot be served: %s; ask for a chain whose keys are RSA of %d bits or more, or ECDSA",
                   chain->path, reason != NULL ? reason : "unknown error", RSA_BITS_MIN);
        result = -EINVAL;
    }
    ERR_clear_error();
    SSL_CTX_free(ssl);
    return result;
}

static int pair_load(struct material_pair *pair, const struct config_certificate *config,
                     struct report *report)
{
    struct pem_file chain = {.report = report, .where = config->chain_where, .path = config->chain};
    struct pem_file key = {.report = report, .where = config->key_where, .path = config->key};
    int chain_result = pem_read_chain(&chain, &pair->intermediates);
    int key_result = pem_read_key(&key, &pair->key);

    if (chain_result == 0) {
        chain_result = chain_check(pair->intermediates, &chain);
        pair->certificate = sk_X509_shift(pair->intermediates);
    }
    if (pair->certificate != NULL && pair->key != NULL && pair_check_match(pair, &chain, &key) < 0)
        key_result = -EINVAL;
    return chain_result < 0 || key_result < 0 ? -EINVAL : pair_check_served(pair, &chain);
}

// ---- listeners ----

// Which certificate a client gets follows from the signatures it offers, so each type serves once.
static int listener_check_types(const struct material_listener *listener, const struct config_tls *config,
                                struct report *report)
{
    bool is_seen[3] = {false}; // RSA, ECDSA, Ed25519
    int result = 0;

    for (size_t i = 0; i < listener->pair_count; i++) {
        const EVP_PKEY *key = listener->pairs[i].key;
        bool *is_type_seen = &is_seen[EVP_PKEY_is_a(key, "RSA") ? 0 : EVP_PKEY_is_a(key, "EC") ? 1 : 2];

        if (*is_type_seen) {
            report_add(report, config->certificates[i].chain_where,
                       "%s is a second %s certificate in this listener; leave one of each key type: choosing "
                       "by server name (SNI) is not supported by this version",
                       config->certificates[i].chain, key_type(key));
            result = -EINVAL;
        }
        *is_type_seen = true;
    }
    return result;
}

static int listener_load(struct material_listener *listener, const struct config_tls *config,
                         struct report *report)
{
    int result = 0;

    material_listener_init(listener, config->certificate_count);
    for (size_t i = 0; i < config->certificate_count; i++) {
        if (pair_load(&listener->pairs[i], &config->certificates[i], report) < 0)
            result = -EINVAL;
    }
    return result == 0 ? listener_check_types(listener, config, report) : result;
}

int material_load(const struct config *config, struct material **ret, struct report *report)
{
    struct material *material = material_create(config->listener_count);
    int result = 0;

    for (size_t i = 0; i < config->listener_count; i++) {
        if (listener_load(&material->listeners[i], &config->listeners[i].tls, report) < 0)
            result = -EINVAL;
    }
    if (result < 0)
        material_destroy(material);
    else
        *ret = material;
    return result;
}

bool material_install(SSL_CTX *ssl, const struct material_pair *pair)
{
    if (SSL_CTX_get_security_level(ssl) < SECURITY_LEVEL_MIN)
        SSL_CTX_set_security_level(ssl, SECURITY_LEVEL_MIN);
    return SSL_CTX_use_cert_and_key(ssl, pair->certificate, pair->key, pair->intermediates, 0) == 1;
}

// ---- the object ----

struct material *material_create(size_t listener_count)
{
    struct material *material = allocate(1, sizeof(*material));

    material->listeners = allocate(listener_count, sizeof(*material->listeners));
    material->listener_count = listener_count;
    return material;
}

void material_listener_init(struct material_listener *listener, size_t pair_count)
{
    listener->pairs = allocate(pair_count, sizeof(*listener->pairs));
    listener->pair_count = pair_count;
}

void material_destroy(struct material *material)
{
    if (material == NULL)
        return;
    for (size_t i = 0; i < material->listener_count; i++) {
        struct material_listener *listener = &material->listeners[i];

        for (size_t j = 0; j < listener->pair_count; j++) {
            X509_free(listener->pairs[j].certificate);
            EVP_PKEY_free(listener->pairs[j].key);
            sk_X509_pop_free(listener->pairs[j].intermediates, X509_free);
        }
        free(listener->pairs);
    }
    free(material->listeners);
    free(material);
}

int ticket_keys_make(uint8_t *keys)
{
    return getentropy(keys, TICKET_KEYS_SIZE) == 0 ? 0 : -EIO;
}
