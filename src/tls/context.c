// SPDX-License-Identifier: Apache-2.0
// A listener's OpenSSL state: which protocol versions, suites, groups and certificates it serves. Only what the record layer
// (and the kernel) can go on with is negotiated.
#include "src/tls/context.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "ringbolt/log.h"
#include "src/record/provider.h"
#include "src/tls/engine.h"
#include "src/tls/groups.h"
#include "src/tls/material.h"
#include "src/tls/routing.h"
#include "src/tls/serving.h"
#include "src/tls/sessions.h"
#include "src/tls/tickets.h"
#include "src/tls/verify.h"

// RSA of 2048 bits or more and no SHA-1 signatures in whole chains, ours and clients'. The library's default differs between
// versions and distributions.
#define SECURITY_LEVEL_MIN 2

bool context_set_protocol(SSL_CTX *ssl, const struct config_tls *config)
{
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_clear_options(ssl, SSL_OP_ENABLE_KTLS | SSL_OP_NO_TICKET); // openssl.cnf may have set them
    // A client that puts ChaCha20 first, as phones without AES instructions do, gets it whatever we prefer.
    SSL_CTX_clear_options(ssl, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    if (config->prefers_server)
        SSL_CTX_set_options(ssl, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_read_ahead(ssl, 0); // so that no byte behind the handshake is taken
    if (SSL_CTX_get_security_level(ssl) < SECURITY_LEVEL_MIN)
        SSL_CTX_set_security_level(ssl, SECURITY_LEVEL_MIN);
    return SSL_CTX_set_min_proto_version(ssl, (int)config->version_min) == 1 &&
           SSL_CTX_set_max_proto_version(ssl, (int)config->version_max) == 1 &&
           SSL_CTX_set_ciphersuites(ssl, config->ciphersuites) == 1 &&
           SSL_CTX_set_cipher_list(ssl, config->ciphers) == 1 && groups_set(ssl, config);
}

int context_refresh(struct tls_context *context)
{
    struct trust *trust = context->material->listeners[context->listener].trust;
    int result;

    // Most listeners share no object with anybody, so the pointer says whether it is another one.
    if (trust == context->trust)
        return 0;
    result = verify_trust(context->ssl, &context->config->tls.client_auth, trust);
    if (result < 0)
        return result;
    trust_give(context->trust);
    context->trust = trust != NULL ? trust_take(trust) : NULL;
    return 0;
}

static bool set_up(struct tls_context *context, const struct config *config)
{
    const struct config_tls *tls = &context->config->tls;

    context->ssl = SSL_CTX_new_ex(NULL, provider_serves() ? PROVIDER_QUERY : NULL, TLS_server_method());
    context->prf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_TLS1_PRF, PROVIDER_QUERY);
    context->transport = engine_transport_create();
    if (context->ssl == NULL || context->prf == NULL || context->transport == NULL ||
        !context_set_protocol(context->ssl, tls) || !tickets_configure(context, config->tickets.lifetime_ns))
        return false;
    routing_configure(context->ssl);
    verify_configure(context->ssl, &tls->client_auth);
    serving_configure(context->ssl);
    engine_observe(context);
    return verify_trust(context->ssl, &tls->client_auth, NULL) == 0 && context_refresh(context) == 0;
}

int tls_context_create(const struct tls_context_options *options, struct tls_context **ret)
{
    const struct config_listener *listening = &options->config->listeners[options->listener];
    struct tls_context *context = calloc(1, sizeof(*context));
    const char *reason;

    assert(options->listener < options->config->listener_count &&
           options->listener < options->material->listener_count);
    if (context != NULL) {
        context->config = listening;
        context->listener = options->listener;
        context->material = options->material;
        context->is_strict = listening->tls.strict_sni;
        context->keylog = options->keylog;
        context->hello_size_max = (uint32_t)options->config->limits.client_hello;
        tls_protect_keys(options->config->limits.connections);
        if (set_up(context, options->config)) {
            ERR_clear_error(); // of groups that this OpenSSL may not have
            *ret = context;
            return 0;
        }
    }
    reason = ERR_reason_error_string(ERR_peek_last_error());
    log_error("cannot set up TLS for a listener", log_text("listener", listening->name),
              log_text("reason", reason != NULL ? reason : "out of memory"));
    ERR_clear_error();
    tls_context_destroy(context);
    return -EIO;
}

void tls_context_destroy(struct tls_context *context)
{
    if (context == NULL)
        return;
    SSL_CTX_free(context->ssl);
    sessions_destroy(context->sessions);
    trust_give(context->trust);
    EVP_KDF_free(context->prf);
    EVP_CIPHER_free(context->aes_128);
    EVP_CIPHER_free(context->aes_256);
    BIO_meth_free(context->transport);
    free(context);
}
