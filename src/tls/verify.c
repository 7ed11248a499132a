// SPDX-License-Identifier: Apache-2.0
// Client certificates: OpenSSL builds and checks the chain; here it is told against what, and its verdict is put into words.
#include "src/tls/verify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "ringbolt/log.h"
#include "src/tls/engine.h"

// Some clients take no longer lists of authorities. It is only a hint for those that have several certificates (RFC 8446
// §4.2.4), so without room none are sent, which means: any.
#define NAMES_SIZE_MAX 16384
#define CHAIN_SIZE_MAX 65536 // of what a client may send
#define SUBJECT_MAX    160   // in the words of a failure

struct der {
    size_t size;
    uint8_t *data;
};

struct trust {
    unsigned uses;
    uint8_t digest[32];
    struct der *ders; // CAs, then CRLs
    size_t ca_count;
    size_t crl_count;
    X509_STORE *store; // the authorities at which a chain may end, and the lists; NULL until first used
    STACK_OF(X509) * between; // the authorities whose issuer is one of the others
    STACK_OF(X509_NAME) * names;
};

// ---- the object ----

struct trust *trust_create(const uint8_t digest[32], struct change_list cas, struct change_list crls)
{
    struct trust *trust = calloc(1, sizeof(*trust));
    size_t count = cas.count + crls.count;

    if (trust == NULL)
        return NULL;
    trust->uses = 1;
    trust->ca_count = cas.count;
    trust->crl_count = crls.count;
    memcpy(trust->digest, digest, sizeof(trust->digest));
    trust->ders = calloc(count + 1, sizeof(*trust->ders));
    for (size_t i = 0; trust->ders != NULL && i < count; i++) {
        struct change_bytes bytes = change_list_bytes(cas.count > 0 ? &cas : &crls);
        struct der *der = &trust->ders[i];

        der->data = malloc(bytes.size);
        if (der->data == NULL) {
            trust_give(trust);
            return NULL;
        }
        memcpy(der->data, bytes.data, bytes.size);
        der->size = bytes.size;
    }
    if (trust->ders == NULL) {
        trust_give(trust);
        return NULL;
    }
    return trust;
}

struct trust *trust_take(struct trust *trust)
{
    trust->uses++;
    return trust;
}

static void trust_unparse(struct trust *trust)
{
    X509_STORE_free(trust->store);
    sk_X509_pop_free(trust->between, X509_free);
    sk_X509_NAME_pop_free(trust->names, X509_NAME_free);
    trust->store = NULL;
    trust->between = NULL;
    trust->names = NULL;
}

void trust_give(struct trust *trust)
{
    if (trust == NULL || --trust->uses > 0)
        return;
    for (size_t i = 0; trust->ders != NULL && i < trust->ca_count + trust->crl_count; i++)
        free(trust->ders[i].data);
    free(trust->ders);
    trust_unparse(trust);
    free(trust);
}

bool trust_is(const struct trust *trust, const uint8_t digest[32])
{
    return trust != NULL && memcmp(trust->digest, digest, sizeof(trust->digest)) == 0;
}

// ---- parsed ----

static STACK_OF(X509) * parse_cas(const struct trust *trust)
{
    STACK_OF(X509) *cas = sk_X509_new_null();
    bool is_parsed = cas != NULL;

    for (size_t i = 0; is_parsed && i < trust->ca_count; i++) {
        const uint8_t *data = trust->ders[i].data;
        X509 *ca = d2i_X509(NULL, &data, (long)trust->ders[i].size);

        is_parsed = ca != NULL && sk_X509_push(cas, ca) > 0;
        if (!is_parsed)
            X509_free(ca);
    }
    if (is_parsed)
        return cas;
    sk_X509_pop_free(cas, X509_free);
    return NULL;
}

// Whether the issuer of `ca` is another one of them.
static bool is_between(X509 *ca, STACK_OF(X509) * cas)
{
    bool is_found = false;

    if (X509_check_issued(ca, ca) == X509_V_OK)
        return false;
    for (int i = 0; i < sk_X509_num(cas) && !is_found; i++) {
        X509 *issuer = sk_X509_value(cas, i);

        is_found = issuer != ca && X509_check_issued(issuer, ca) == X509_V_OK &&
                   X509_verify(ca, X509_get0_pubkey(issuer)) == 1;
    }
    ERR_clear_error();
    return is_found;
}

// An authority need not be a root: who names an intermediate one trusts it. But if its issuer is named too, chains go on to
// that one, or the intermediate one could not be found on its issuer's revocation list.
static bool add_cas(struct trust *trust, STACK_OF(X509) * cas)
{
    size_t names_size = 0;
    bool is_added = true;

    for (int i = 0; is_added && i < sk_X509_num(cas); i++) {
        X509 *ca = sk_X509_value(cas, i);
        X509_NAME *name = X509_NAME_dup(X509_get_subject_name(ca));

        is_added = name != NULL && sk_X509_NAME_push(trust->names, name) > 0;
        if (!is_added)
            X509_NAME_free(name);
        else if (is_between(ca, cas))
            is_added = X509_add_cert(trust->between, ca, X509_ADD_FLAG_UP_REF) == 1;
        else
            is_added = X509_STORE_add_cert(trust->store, ca) == 1;
        names_size += is_added ? 2 + (size_t)i2d_X509_NAME(name, NULL) : 0;
    }
    while (names_size > NAMES_SIZE_MAX && sk_X509_NAME_num(trust->names) > 0)
        X509_NAME_free(sk_X509_NAME_pop(trust->names));
    return is_added;
}

static bool add_crl(struct trust *trust, const struct der *der)
{
    const uint8_t *data = der->data;
    X509_CRL *crl = d2i_X509_CRL(NULL, &data, (long)der->size);
    bool is_added = crl != NULL && X509_STORE_add_crl(trust->store, crl) == 1;

    X509_CRL_free(crl);
    return is_added;
}

// The loader has seen all of it parse, so what doesn't here is lack of memory; then nothing is kept.
static bool trust_parse(struct trust *trust)
{
    unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN;
    STACK_OF(X509) * cas;
    bool is_parsed;

    if (trust->store != NULL)
        return true;
    cas = parse_cas(trust);
    trust->store = X509_STORE_new();
    trust->between = sk_X509_new_null();
    trust->names = sk_X509_NAME_new_null();
    is_parsed = cas != NULL && trust->store != NULL && trust->between != NULL && trust->names != NULL &&
                add_cas(trust, cas);
    for (size_t i = 0; is_parsed && i < trust->crl_count; i++)
        is_parsed = add_crl(trust, &trust->ders[trust->ca_count + i]);
    if (trust->crl_count > 0)
        flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
    is_parsed = is_parsed && X509_STORE_set_flags(trust->store, flags) == 1;
    if (!is_parsed)
        trust_unparse(trust);
    sk_X509_pop_free(cas, X509_free);
    return is_parsed;
}

// ---- words ----

static void print_name(const X509_NAME *name, char *text, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int length = 0;

    text[0] = '\0';
    if (bio != NULL && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0) {
        length = BIO_read(bio, text, (int)size - 1);
        text[length > 0 ? length : 0] = '\0';
        if (BIO_pending(bio) > 0)
            memcpy(text + size - 4, "...", 4);
    }
    BIO_free(bio);
    ERR_clear_error();
}

void verify_describe(const X509 *certificate, char *subject, size_t subject_size, char *fingerprint)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;

    print_name(X509_get_subject_name(certificate), subject, subject_size);
    if (X509_digest(certificate, EVP_sha256(), digest, &size) != 1)
        size = 0;
    for (unsigned i = 0; i < size; i++)
        snprintf(fingerprint + (size_t)2 * i, 3, "%02x", digest[i]);
    fingerprint[(size_t)2 * size] = '\0';
}

// NULL when OpenSSL's own words do.
static const char *verdict_text(int error)
{
    switch (error) {
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        return "issuer not trusted";
    case X509_V_ERR_UNABLE_TO_GET_CRL:
        return "no revocation list of its issuer";
    case X509_V_ERR_CRL_HAS_EXPIRED:
        return "revocation list out of date";
    default:
        return NULL;
    }
}

// The trust anchor itself need be on no list: of an intermediate authority, only its issuer could have one, whom nobody named.
static bool is_forgiven(X509_STORE_CTX *check)
{
    int depth = X509_STORE_CTX_get_error_depth(check);

    return X509_STORE_CTX_get_error(check) == X509_V_ERR_UNABLE_TO_GET_CRL && depth > 0 &&
           depth == sk_X509_num(X509_STORE_CTX_get0_chain(check)) - 1;
}

// Lends the check the authorities in between, as if the client had sent them.
static int on_check(X509_STORE_CTX *check, void *argument)
{
    const struct trust *trust = argument;
    STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(check);
    STACK_OF(X509) * untrusted;
    int result;

    if (sk_X509_num(trust->between) == 0)
        return X509_verify_cert(check);
    untrusted = sent != NULL ? sk_X509_dup(sent) : sk_X509_new_null();
    if (untrusted == NULL || X509_add_certs(untrusted, trust->between, X509_ADD_FLAG_DEFAULT) != 1) {
        sk_X509_free(untrusted);
        X509_STORE_CTX_set_error(check, X509_V_ERR_OUT_OF_MEM);
        return 0;
    }
    X509_STORE_CTX_set0_untrusted(check, untrusted);
    result = X509_verify_cert(check);
    X509_STORE_CTX_set0_untrusted(check, sent);
    sk_X509_free(untrusted);
    return result;
}

static int on_verify(int is_good, X509_STORE_CTX *check)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(check, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct handshake *handshake = SSL_get_app_data(ssl);
    const X509 *leaf = X509_STORE_CTX_get0_cert(check);
    const X509 *wrong = X509_STORE_CTX_get_current_cert(check);
    const char *words = verdict_text(X509_STORE_CTX_get_error(check));
    char subject[SUBJECT_MAX];
    char authority[SUBJECT_MAX];

    if (is_good)
        return 1;
    if (is_forgiven(check)) {
        X509_STORE_CTX_set_error(check, X509_V_OK);
        return 1;
    }
    if (words == NULL)
        words = X509_verify_cert_error_string(X509_STORE_CTX_get_error(check));
    print_name(X509_get_subject_name(leaf), subject, sizeof(subject));
    if (wrong == NULL || wrong == leaf || X509_STORE_CTX_get_error_depth(check) == 0) {
        snprintf(handshake->failure, sizeof(handshake->failure), "client certificate refused: %s (%s)", words,
                 subject);
    } else {
        print_name(X509_get_subject_name(wrong), authority, sizeof(authority));
        snprintf(handshake->failure, sizeof(handshake->failure),
                 "client certificate refused: %s (%s, through %s)", words, subject, authority);
    }
    return 0;
}

// ---- contexts ----

void verify_configure(SSL_CTX *ssl, const struct config_client_trust *config)
{
    static const int modes[] = {
        [CONFIG_CLIENT_AUTH_OFF] = SSL_VERIFY_NONE,
        [CONFIG_CLIENT_AUTH_OPTIONAL] = SSL_VERIFY_PEER,
        [CONFIG_CLIENT_AUTH_REQUIRED] = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
    };

    SSL_CTX_set_verify(ssl, modes[config->mode], on_verify);
    SSL_CTX_set_verify_depth(ssl, (int)config->depth);
    SSL_CTX_set_max_cert_list(ssl, CHAIN_SIZE_MAX);
}

// Listeners that ask clients for the same take each other's tickets, here and at other instances; nothing else may be in it.
static bool bind_tickets(SSL_CTX *ssl, const struct config_client_trust *config, const struct trust *trust)
{
    uint8_t facts[16 + 2 + 32] = "ringbolt tickets";
    uint8_t id[EVP_MAX_MD_SIZE];
    size_t id_size;

    if (config->mode != CONFIG_CLIENT_AUTH_OFF) {
        facts[16] = (uint8_t)config->mode;
        facts[17] = (uint8_t)config->depth;
        if (trust != NULL)
            memcpy(facts + 18, trust->digest, sizeof(trust->digest));
    }
    return EVP_Q_digest(NULL, "SHA256", NULL, facts, sizeof(facts), id, &id_size) == 1 &&
           SSL_CTX_set_session_id_context(ssl, id, (unsigned)id_size) == 1;
}

int verify_trust(SSL_CTX *ssl, const struct config_client_trust *config, struct trust *trust)
{
    X509_STORE *none;
    STACK_OF(X509_NAME) * names;

    if (config->mode == CONFIG_CLIENT_AUTH_OFF)
        return bind_tickets(ssl, config, NULL) ? 0 : -ENOMEM;
    if (trust == NULL) {
        none = X509_STORE_new();
        if (none == NULL)
            return -ENOMEM;
        SSL_CTX_set_cert_store(ssl, none);
        SSL_CTX_set_cert_verify_callback(ssl, NULL, NULL);
        return bind_tickets(ssl, config, NULL) ? 0 : -ENOMEM;
    }
    names = trust_parse(trust) ? SSL_dup_CA_list(trust->names) : NULL;
    if (names == NULL || !bind_tickets(ssl, config, trust)) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        ERR_clear_error();
        return -ENOMEM;
    }
    SSL_CTX_set1_cert_store(ssl, trust->store);
    SSL_CTX_set_cert_verify_callback(ssl, on_check, trust);
    SSL_CTX_set_client_CA_list(ssl, names); // owns them from here on
    return 0;
}
