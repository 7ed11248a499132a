// SPDX-License-Identifier: Apache-2.0
#include "towards.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

static char ca_file[] = "/tmp/ringbolt-sim-towards-XXXXXX";
static struct tls_upstreams *authorities;

static X509 *make_certificate(EVP_PKEY *key)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:localhost");
    X509 *own = X509_new();
    X509_NAME *name = X509_get_subject_name(own);

    X509_set_version(own, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(own), 1);
    X509_gmtime_adj(X509_getm_notBefore(own), -3600);
    X509_gmtime_adj(X509_getm_notAfter(own), 86400);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)"localhost", -1, -1, 0);
    X509_set_issuer_name(own, name);
    X509_set_pubkey(own, key);
    X509_add_ext(own, extension, -1);
    X509_EXTENSION_free(extension);
    if (X509_sign(own, key, EVP_sha256()) > 0)
        return own;
    X509_free(own);
    return NULL;
}

static bool make_server(SSL_CTX **ret)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *own = make_certificate(key);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    int fd = mkstemp(ca_file);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    bool is_made = own && file && PEM_write_X509(file, own) == 1 && fclose(file) == 0 &&
                   SSL_CTX_use_certificate(context, own) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1;

    SSL_CTX_set_num_tickets(context, 0);
    X509_free(own);
    EVP_PKEY_free(key);
    *ret = context;
    return is_made;
}

bool towards_make(struct config *config, struct report *report, SSL_CTX **ret_server,
                  struct tls_context **ret_context)
{
    struct config_server_tls *tls = &config->upstreams[0].tls;
    struct loader *loader = loader_create(false);
    bool is_made;

    *tls = (struct config_server_tls){
        .is_on = true,
        .verifies = true,
        .name = (char *)"localhost",
        .tls = config->listeners[0].tls,
        .trust = {.mode = CONFIG_CLIENT_AUTH_REQUIRED, .ca = ca_file, .is_for_servers = true},
    };
    tls->tls.certificates = NULL;
    tls->tls.certificate_count = 0;
    is_made = make_server(ret_server) && tls_upstreams_load(config, loader, report, &authorities) == 0 &&
              tls_context_create_client(config, 0, authorities, ret_context) == 0;
    unlink(ca_file);
    loader_destroy(loader);
    return is_made;
}
