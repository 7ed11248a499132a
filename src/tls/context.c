// SPDX-License-Identifier: Apache-2.0
// A listener's OpenSSL state: which protocol versions, suites, groups and certificates it serves. Only what the record layer
// (and the kernel) can go on with is negotiated.
#include "src/tls/context.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "src/tls/engine.h"
#include "src/tls/material.h"

// AES-128 first: it costs a third less, and its strength is not what breaks. A client that puts ChaCha20 first, as
// phones without AES instructions do, gets it (SSL_OP_PRIORITIZE_CHACHA).
#define SUITES_TLS13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define SUITES_TLS12                                                                                         \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"               \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define GROUPS         "X25519:P-256:P-384"
#define GROUP_HYBRID   "X25519MLKEM768" // OpenSSL 3.5 has it
#define SESSION_LIFE_S (2L * 60 * 60)
#define TICKETS        2

static bool set_protocol(SSL_CTX *ssl, const struct config_tls *config)
{
    uint64_t options = SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                       SSL_OP_PRIORITIZE_CHACHA;

    SSL_CTX_set_options(ssl, options);
    SSL_CTX_clear_options(ssl, SSL_OP_ENABLE_KTLS | SSL_OP_NO_TICKET); // openssl.cnf may have set them
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_read_ahead(ssl, 0); // so that no byte behind the handshake is taken
    SSL_CTX_set_verify(ssl, SSL_VERIFY_NONE, NULL);
    return SSL_CTX_set_min_proto_version(ssl, (int)config->version_min) == 1 &&
           SSL_CTX_set_max_proto_version(ssl, (int)config->version_max) == 1 &&
           SSL_CTX_set_ciphersuites(ssl, SUITES_TLS13) == 1 &&
           SSL_CTX_set_cipher_list(ssl, SUITES_TLS12) == 1 &&
           (SSL_CTX_set1_groups_list(ssl, GROUP_HYBRID ":" GROUPS) == 1 ||
            SSL_CTX_set1_groups_list(ssl, GROUPS) == 1);
}

// Sessions live in the clients' tickets alone, so every worker resumes them. A ticket is good for its listener only: the
// session id context, from its name, tells them apart.
static bool set_sessions(SSL_CTX *ssl, const char *listener, const uint8_t *ticket_keys)
{
    uint8_t id[EVP_MAX_MD_SIZE];
    uint8_t keys[TICKET_KEYS_SIZE];
    size_t id_size;
    bool is_set;

    static_assert(SSL_MAX_SID_CTX_LENGTH == 32, "SHA-256 fits");
    memcpy(keys, ticket_keys, sizeof(keys)); // OpenSSL's parameter is not const
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(ssl, SESSION_LIFE_S);
    is_set = EVP_Q_digest(NULL, "SHA256", NULL, listener, strlen(listener), id, &id_size) == 1 &&
             SSL_CTX_set_session_id_context(ssl, id, (unsigned)id_size) == 1 &&
             SSL_CTX_set_tlsext_ticket_keys(ssl, keys, sizeof(keys)) == 1 &&
             SSL_CTX_set_num_tickets(ssl, TICKETS) == 1 && SSL_CTX_set_max_early_data(ssl, 0) == 1;
    OPENSSL_cleanse(keys, sizeof(keys));
    return is_set;
}

static bool set_certificates(SSL_CTX *ssl, const struct material_listener *listener)
{
    for (size_t i = 0; i < listener->pair_count; i++) {
        if (!material_install(ssl, &listener->pairs[i]))
            return false;
    }
    return listener->pair_count > 0;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_size, const unsigned char *in,
                   unsigned in_size, void *argument)
{
    const struct tls_context *context = argument;
    unsigned char *chosen;

    // RFC 7301 §3.2: without a common protocol no_application_protocol, fatal.
    if (SSL_select_next_proto(&chosen, out_size, context->alpn, context->alpn_size, in, in_size) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static bool set_alpn(struct tls_context *context, const struct config_tls *config)
{
    size_t size = 0;
    uint8_t *next;

    if (config->alpn_count == 0)
        return true;
    for (size_t i = 0; i < config->alpn_count; i++)
        size += 1 + strlen(config->alpn[i]);
    next = context->alpn = malloc(size);
    if (next == NULL)
        return false;
    context->alpn_size = (unsigned)size;
    for (size_t i = 0; i < config->alpn_count; i++) {
        size_t length = strlen(config->alpn[i]);

        assert(length >= 1 && length <= 255);
        *next++ = (uint8_t)length;
        next = mempcpy(next, config->alpn[i], length);
    }
    SSL_CTX_set_alpn_select_cb(context->ssl, on_alpn, context);
    return true;
}

int tls_context_create(const struct config *config, size_t listener, const struct material *material,
                       const uint8_t *ticket_keys, struct tls_context **ret)
{
    const struct config_listener *listening = &config->listeners[listener];
    struct tls_context *context = calloc(1, sizeof(*context));
    const char *reason;

    assert(listener < config->listener_count && listener < material->listener_count);
    if (context != NULL) {
        context->ssl = SSL_CTX_new(TLS_server_method());
        context->prf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_TLS1_PRF, NULL);
        context->transport = engine_transport_create();
    }
    if (context != NULL && context->ssl != NULL && context->prf != NULL && context->transport != NULL &&
        set_protocol(context->ssl, &listening->tls) &&
        set_sessions(context->ssl, listening->name, ticket_keys) &&
        set_certificates(context->ssl, &material->listeners[listener]) &&
        set_alpn(context, &listening->tls)) {
        engine_observe(context->ssl);
        ERR_clear_error(); // of the group that this OpenSSL may not have
        *ret = context;
        return 0;
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
    EVP_KDF_free(context->prf);
    BIO_meth_free(context->transport);
    free(context->alpn);
    free(context);
}
