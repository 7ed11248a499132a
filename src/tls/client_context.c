// SPDX-License-Identifier: Apache-2.0
// Handshakes in which we are the client: towards an upstream's servers. OpenSSL builds and checks the chain and the name; here it is told
// against what, and its verdict is put into words.
#include "src/tls/client_context.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "ringbolt/log.h"
#include "src/record/provider.h"
#include "src/tls/context.h"
#include "src/tls/engine.h"
#include "src/tls/server_files.h"
#include "src/tls/sessions.h"
#include "src/tls/verify.h"

#define CHAIN_SIZE_MAX 65536 // of what a server may send
#define SUBJECT_MAX    160   // in the words of a failure
#define ALPN_LIST_MAX  ((size_t)64 * 256)

// ---- words ----

static void describe(int error, const char *name, char *text, size_t size)
{
    switch (error) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        snprintf(text, size, "not for %s", name);
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        snprintf(text, size, "self-signed and not trusted");
        break;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        snprintf(text, size, "issuer not trusted");
        break;
    case X509_V_ERR_UNABLE_TO_GET_CRL:
        snprintf(text, size, "no revocation list of its issuer");
        break;
    case X509_V_ERR_CRL_HAS_EXPIRED:
        snprintf(text, size, "revocation list out of date");
        break;
    default:
        snprintf(text, size, "%s", X509_verify_cert_error_string(error));
    }
}

// Of the authority itself that a chain ends at, only its own issuer could have a list, whom nobody named.
static bool is_forgiven(X509_STORE_CTX *check)
{
    int depth = X509_STORE_CTX_get_error_depth(check);

    return X509_STORE_CTX_get_error(check) == X509_V_ERR_UNABLE_TO_GET_CRL && depth > 0 &&
           depth == sk_X509_num(X509_STORE_CTX_get0_chain(check)) - 1;
}

static int on_verify(int is_good, X509_STORE_CTX *check)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(check, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct handshake *handshake = SSL_get_app_data(ssl);
    char fingerprint[65];
    char subject[SUBJECT_MAX];
    char words[ENGINE_SNI_MAX + 64];

    if (is_good)
        return 1;
    if (is_forgiven(check)) {
        X509_STORE_CTX_set_error(check, X509_V_OK);
        return 1;
    }
    describe(X509_STORE_CTX_get_error(check), handshake->name, words, sizeof(words));
    verify_describe(X509_STORE_CTX_get0_cert(check), subject, sizeof(subject), fingerprint);
    snprintf(handshake->failure, sizeof(handshake->failure), "server certificate refused: %.256s (%s)", words,
             subject);
    handshake->is_untrusted = true;
    return 0;
}

// ---- contexts ----

static EVP_PKEY *parse_key(const struct material_bytes *key)
{
    const uint8_t *data = key->data;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &data, (long)key->size);
    EVP_PKEY *parsed = info != NULL ? EVP_PKCS82PKEY(info) : NULL;

    PKCS8_PRIV_KEY_INFO_free(info);
    return parsed;
}

static bool set_certificate(SSL_CTX *ssl, const struct server_files *files)
{
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
    bool is_set;

    if (files->certificates == NULL)
        return true;
    chain = sk_X509_dup(files->certificates);
    key = parse_key(&files->key);
    if (chain != NULL)
        (void)sk_X509_shift(chain);
    is_set = chain != NULL && key != NULL &&
             SSL_CTX_use_cert_and_key(ssl, sk_X509_value(files->certificates, 0), key, chain, 1) == 1;
    EVP_PKEY_free(key);
    sk_X509_free(chain);
    return is_set;
}

// The list as it stands on the wire (RFC 7301 §3.1).
static bool set_alpn(SSL_CTX *ssl, const struct config_tls *config)
{
    uint8_t list[ALPN_LIST_MAX];
    size_t size = 0;

    for (size_t i = 0; i < config->alpn_count; i++) {
        size_t length = strlen(config->alpn[i]);

        assert(length <= 255 && size + 1 + length <= sizeof(list));
        list[size++] = (uint8_t)length;
        memcpy(list + size, config->alpn[i], length);
        size += length;
    }
    return size == 0 || SSL_CTX_set_alpn_protos(ssl, list, (unsigned)size) == 0; // 0: success
}

static SSL_CTX *make(const struct tls_context *context, const struct server_files *files)
{
    const struct config_tls *tls = &context->upstream->tls.tls;
    SSL_CTX *ssl = SSL_CTX_new_ex(NULL, provider_serves() ? PROVIDER_QUERY : NULL, TLS_client_method());

    if (ssl == NULL || !context_set_protocol(ssl, tls) || !set_alpn(ssl, tls) ||
        !set_certificate(ssl, files)) {
        SSL_CTX_free(ssl);
        return NULL;
    }
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    if (context->sessions != NULL)
        sessions_configure(ssl);
    SSL_CTX_set_max_cert_list(ssl, CHAIN_SIZE_MAX);
    if (files->store != NULL) {
        SSL_CTX_set1_cert_store(ssl, files->store);
        SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, on_verify);
    } else {
        SSL_CTX_set_verify(ssl, SSL_VERIFY_NONE, NULL);
    }
    return ssl;
}

// Makes the SSL_CTX of the files as they are now. False, with everything as it was: no memory, or OpenSSL will not have them.
static bool take_files(struct tls_context *context)
{
    const struct server_files *files = server_files_of(context->files, context->upstream_number);
    SSL_CTX *ssl = make(context, files);

    if (ssl == NULL)
        return false;
    SSL_CTX_free(context->ssl); // handshakes under way have it, until they end
    context->ssl = ssl;
    context->files_version = files->version;
    context->trusted_until_s = files->trusted_until_s;
    engine_observe(context);
    return true;
}

static bool set_up(struct tls_context *context)
{
    const struct config_upstream *towards = context->upstream;

    context->prf =
        EVP_KDF_fetch(NULL, OSSL_KDF_NAME_TLS1_PRF, provider_serves() ? PROVIDER_QUERY : NULL);
    context->transport = engine_transport_create();
    if (towards->tls.resumes)
        context->sessions = sessions_create(towards->server_count);
    return context->prf != NULL && context->transport != NULL &&
           (context->sessions != NULL || !towards->tls.resumes) && take_files(context);
}

static void complain(const struct tls_context *context, const struct config_upstream *towards)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    log_error(context != NULL && context->ssl != NULL ? "cannot take over an upstream's TLS files"
                                                      : "cannot set up TLS for an upstream",
              log_text("upstream", towards->name),
              log_text("reason", reason != NULL ? reason : "out of memory"));
    ERR_clear_error();
}

int tls_context_create_client(const struct config *config, size_t upstream,
                              const struct tls_upstreams *upstreams, struct tls_context **ret)
{
    const struct config_upstream *towards = &config->upstreams[upstream];
    struct tls_context *context = calloc(1, sizeof(*context));

    assert(upstream < config->upstream_count && towards->tls.is_on);
    if (context != NULL) {
        context->upstream = towards;
        context->upstream_number = upstream;
        context->files = upstreams;
        context->keylog = -1;
        if (set_up(context)) {
            ERR_clear_error();
            *ret = context;
            return 0;
        }
    }
    complain(context, towards);
    tls_context_destroy(context);
    return -EIO;
}

void client_refresh(struct tls_context *context)
{
    uint64_t version = server_files_of(context->files, context->upstream_number)->version;

    if (version == context->files_version)
        return;
    if (!take_files(context))
        complain(context, context->upstream);
    else if (context->sessions != NULL)
        sessions_forget(context->sessions);
    context->files_version = version; // what could not be taken over now is not tried at each handshake
    ERR_clear_error();
}

// ---- handshakes ----

static bool is_ip_address(const char *text)
{
    struct in6_addr address;

    return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
}

// What the client and we agreed upon is what it will speak with the server too.
static bool offer(SSL *ssl, const char *protocol)
{
    uint8_t list[1 + 255];
    size_t length = protocol != NULL ? strlen(protocol) : 0;

    if (length == 0 || length > 255)
        return true;
    list[0] = (uint8_t)length;
    memcpy(list + 1, protocol, length);
    return SSL_set_alpn_protos(ssl, list, (unsigned)length + 1) == 0; // 0: success
}

bool client_prepare(const struct tls_context *context, SSL *ssl, const struct engine_peer *peer)
{
    const struct config_server_tls *config = &context->upstream->tls;

    if (config->tls.alpn_count == 0 && !offer(ssl, peer->alpn))
        return false;
    if (peer->name == NULL)
        return true;
    if (is_ip_address(peer->name))
        return !config->verifies || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), peer->name) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(ssl, peer->name) == 1 &&
           (!config->verifies || SSL_set1_host(ssl, peer->name) == 1);
}
