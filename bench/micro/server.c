// SPDX-License-Identifier: Apache-2.0
// Material as the master would make it, from a certificate that was never in a file.
#include "server.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "micro.h"

static EVP_PKEY *make_key(const char *kind)
{
    bool is_rsa = strncmp(kind, "RSA", 3) == 0;
    EVP_PKEY *key = is_rsa ? EVP_RSA_gen((unsigned)atoi(kind + 3)) : EVP_EC_gen(kind);

    micro_need(key != NULL, "a key");
    return key;
}

static void extend(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&context);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    micro_need(extension != NULL && X509_add_ext(certificate, extension, -1) == 1, value);
    X509_EXTENSION_free(extension);
}

// issuer NULL: an authority, which signs itself.
static X509 *make_certificate(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
    X509 *certificate = X509_new();
    X509_NAME *subject = certificate != NULL ? X509_get_subject_name(certificate) : NULL;
    X509 *by = issuer != NULL ? issuer : certificate;

    micro_need(subject != NULL, "a certificate");
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set_int64(X509_get_serialNumber(certificate), 0x1234567890abcdef);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -300);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(by));
    X509_set_pubkey(certificate, key);
    extend(certificate, by, NID_basic_constraints, issuer != NULL ? "critical,CA:FALSE" : "critical,CA:TRUE");
    if (issuer != NULL)
        extend(certificate, by, NID_subject_alt_name, "DNS:localhost");
    extend(certificate, by, NID_subject_key_identifier, "hash");
    micro_need(X509_sign(certificate, issuer_key != NULL ? issuer_key : key, EVP_sha256()) > 0,
               "a signature");
    return certificate;
}

// The certificate as a change, applied.
static void serve(struct material *material, X509 *leaf, EVP_PKEY *key)
{
    const struct material_place place = {0};
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    char *name = (char *)"localhost";
    struct certificate certificate = {
        .id = 1,
        .names = &name,
        .name_count = 1,
        .not_before_s = 0,
        .not_after_s = INT64_MAX,
        .kind = EVP_PKEY_is_a(key, "RSA") ? CERTIFICATE_RSA : CERTIFICATE_ECDSA,
    };
    struct change change = {0};
    int leaf_size = i2d_X509(leaf, &certificate.leaf.data);
    int key_size = i2d_PKCS8_PRIV_KEY_INFO(info, &certificate.key.data);

    micro_need(leaf_size > 0 && key_size > 0, "DER");
    certificate.leaf.size = (size_t)leaf_size;
    certificate.key.size = (size_t)key_size;
    change_certificate(&change, 0, &certificate, &place, 1);
    micro_need(material_apply(material, change.data, change.size) == 0, "material");
    change_finish(&change);
    PKCS8_PRIV_KEY_INFO_free(info);
    OPENSSL_free(certificate.leaf.data);
    OPENSSL_free(certificate.key.data);
}

static void serve_ticket_key(struct material *material)
{
    struct ticket_keys keys = {.count = 1};
    struct change change = {0};

    micro_need(ticket_key_make(&keys.keys[0]) == 0, "a ticket key");
    change_ticket_keys(&change, &keys);
    micro_need(material_apply(material, change.data, change.size) == 0, "material");
    change_finish(&change);
}

void micro_server_init(struct micro_server *server, const char *kind)
{
    EVP_PKEY *authority_key = make_key("P-256");
    EVP_PKEY *key = make_key(kind);
    X509 *authority = make_certificate("Ringbolt micro CA", authority_key, NULL, NULL);
    X509 *leaf = make_certificate("localhost", key, authority, authority_key);
    struct report report;

    report_init(&report, NULL);
    *server = (struct micro_server){0};
    micro_need(config_quick("127.0.0.1:8443", "127.0.0.1:8080", NULL, NULL, &server->config, &report) == 0,
               "a configuration");
    server->material = material_create(1);
    micro_need(server->material != NULL, "material");
    serve(server->material, leaf, key);
    serve_ticket_key(server->material);
    tls_protect_keys(
        server->config->limits.connections); // as a worker does, so that keys lie where they do there
    micro_need(tls_context_create(
                   &(struct tls_context_options){
                       .config = server->config, .listener = 0, .material = server->material, .keylog = -1},
                   &server->context) == 0,
               "a context");
    report_finish(&report);
    X509_free(leaf);
    X509_free(authority);
    EVP_PKEY_free(key);
    EVP_PKEY_free(authority_key);
}

void micro_server_finish(struct micro_server *server)
{
    tls_context_destroy(server->context);
    material_destroy(server->material);
    config_destroy(server->config);
}
