// SPDX-License-Identifier: Apache-2.0
// Authorities, client certificates and revocation lists made while the tests run, and servers that trust them.
#pragma once

#include "tests/unit/visit.h"

// An authority, one below it, and keys that all share.
static struct {
    EVP_PKEY *root_key, *sub_key, *stranger_key, *key, *server_key;
    X509 *root, *sub, *stranger, *server;
} pki;

static struct ticket_key ticket_key;

// ---- certificates and lists ----

struct wish {
    const char *name;
    X509 *issuer; // NULL: signs itself
    EVP_PKEY *issuer_key;
    bool is_authority;
    long from_s, until_s; // 0: since an hour, for a day
    const char *purpose;  // extended key usage; NULL: none
};

static inline X509 *make(const struct wish *wish, EVP_PKEY *key)
{
    static long serial = 1000;
    EVP_PKEY *signer = wish->issuer_key != NULL ? wish->issuer_key : key;
    X509 *certificate = X509_new();
    X509 *issuer = wish->issuer != NULL ? wish->issuer : certificate;
    X509_NAME *name = X509_get_subject_name(certificate);

    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
    X509_gmtime_adj(X509_getm_notBefore(certificate), wish->from_s != 0 ? wish->from_s : -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), wish->until_s != 0 ? wish->until_s : DAY_S);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)wish->name, -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
    X509_set_pubkey(certificate, key);
    certificate_extend(certificate, issuer, NID_basic_constraints,
                       wish->is_authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (wish->is_authority)
        certificate_extend(certificate, issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
    certificate_extend(certificate, issuer, NID_subject_key_identifier, "hash");
    if (wish->purpose != NULL)
        certificate_extend(certificate, issuer, NID_ext_key_usage, wish->purpose);
    must(X509_sign(certificate, signer, EVP_sha256()) > 0, "a signature");
    return certificate;
}

static inline X509 *client_certificate(const char *name)
{
    return make(
        &(struct wish){.name = name, .issuer = pki.sub, .issuer_key = pki.sub_key, .purpose = "clientAuth"},
        pki.key);
}

// A list of one issuer, of nobody if `revoked` is NULL.
static inline X509_CRL *list_of(X509 *issuer, EVP_PKEY *key, X509 *revoked, long until_s)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *time = X509_gmtime_adj(NULL, -3600);

    X509_CRL_set_version(crl, X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer));
    X509_CRL_set1_lastUpdate(crl, time);
    X509_gmtime_adj(time, until_s);
    X509_CRL_set1_nextUpdate(crl, time);
    if (revoked != NULL) {
        X509_REVOKED *entry = X509_REVOKED_new();

        X509_gmtime_adj(time, -1800);
        X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(revoked));
        X509_REVOKED_set_revocationDate(entry, time);
        must(X509_CRL_add0_revoked(crl, entry) == 1, "an entry");
    }
    ASN1_TIME_free(time);
    must(X509_CRL_sign(crl, key, EVP_sha256()) > 0, "a signature");
    return crl;
}

static inline int pki_set_up(void **state)
{
    must(record_init() == 0, "the record layer");
    ticket_key = random_ticket_key(32);
    pki.root_key = key_make("P-256");
    pki.sub_key = key_make("P-256");
    pki.stranger_key = key_make("P-256");
    pki.key = key_make("P-256");
    pki.server_key = key_make("P-256");
    pki.root = make(&(struct wish){.name = "Root", .is_authority = true}, pki.root_key);
    pki.sub = make(&(struct wish){"Sub", pki.root, pki.root_key, .is_authority = true}, pki.sub_key);
    pki.stranger = make(&(struct wish){.name = "Stranger", .is_authority = true}, pki.stranger_key);
    pki.server = certificate_of("localhost", pki.server_key, NULL, NULL);
    return 0;
}

static inline int pki_tear_down(void **state)
{
    X509_free(pki.root);
    X509_free(pki.sub);
    X509_free(pki.stranger);
    X509_free(pki.server);
    EVP_PKEY_free(pki.root_key);
    EVP_PKEY_free(pki.sub_key);
    EVP_PKEY_free(pki.stranger_key);
    EVP_PKEY_free(pki.key);
    EVP_PKEY_free(pki.server_key);
    record_finish();
    return 0;
}

// ---- servers and clients ----

static inline void start(struct server *server, enum config_client_auth mode)
{
    server_init_empty(server);
    serve(server->material, 0, pki.server, pki.server_key, NULL, "localhost");
    serve_ticket_keys(server->material, &ticket_key, 1);
    server->listener.tls.client_auth.mode = mode;
    server->listener.tls.client_auth.depth = 4;
    server_start(server);
}

// Trust in `cas`, with lists; both end with a NULL. The lists are freed.
static inline void trust(struct server *server, X509 *const cas[], X509_CRL *const crls[])
{
    struct material_bytes ca[4], crl[4];
    struct client_trust object = {.cas = ca, .crls = crl, .next_update_s = INT64_MAX};
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    struct change change = {0};

    EVP_DigestInit_ex(digest, EVP_sha256(), NULL);
    for (; cas[object.ca_count] != NULL; object.ca_count++) {
        ca[object.ca_count] = der_of(cas[object.ca_count]);
        EVP_DigestUpdate(digest, ca[object.ca_count].data, ca[object.ca_count].size);
    }
    for (; crls != NULL && crls[object.crl_count] != NULL; object.crl_count++) {
        struct material_bytes *der = &crl[object.crl_count];

        der->data = NULL;
        der->size = (size_t)i2d_X509_CRL(crls[object.crl_count], &der->data);
        EVP_DigestUpdate(digest, der->data, der->size);
    }
    EVP_DigestFinal_ex(digest, object.digest, NULL);
    EVP_MD_CTX_free(digest);
    change_trust(&change, 0, &object);
    apply(server->material, &change);
    for (size_t i = 0; i < object.ca_count; i++)
        OPENSSL_free(ca[i].data);
    for (size_t i = 0; i < object.crl_count; i++) {
        OPENSSL_free(crl[i].data);
        X509_CRL_free(crls[i]);
    }
}

// A client that shows this certificate, with the one below the root. Owns it.
static inline SSL_CTX *client_with(int version, X509 *certificate)
{
    SSL_CTX *client = client_for(version);

    if (certificate == NULL)
        return client;
    must(SSL_CTX_use_certificate(client, certificate) == 1 && SSL_CTX_use_PrivateKey(client, pki.key) == 1 &&
             SSL_CTX_add1_chain_cert(client, pki.sub) == 1,
         "a client's certificate");
    X509_free(certificate);
    return client;
}

static inline void assert_turned_away(struct server *server, int version, X509 *certificate, int alert,
                                      const char *words)
{
    SSL_CTX *client = client_with(version, certificate);

    assert_refused(server, client, "localhost", alert, words);
    SSL_CTX_free(client);
}

static inline void assert_let_in(struct server *server, int version, X509 *certificate)
{
    SSL_CTX *client = client_with(version, certificate);

    visit(server, client, "localhost");
    SSL_CTX_free(client);
}

#define EACH_VERSION(version) for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)
