// SPDX-License-Identifier: Apache-2.0
// What the clients of one thread share of OpenSSL.
#include "tls_setup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>

// Only what our record layer has, so that both kinds of records can be asked for the same.
#define CIPHERS_DEFAULT "ECDHE+AESGCM:ECDHE+CHACHA20"

// ---- sessions ----

bool tls_sessions_put(struct tls_setup *setup, SSL_SESSION *session)
{
    if (!setup->options->is_resuming || setup->session_count == TLS_SESSIONS_MAX ||
        !SSL_SESSION_is_resumable(session))
        return false;
    setup->sessions[setup->session_count++] = session;
    return true;
}

// A TLS 1.3 ticket is for one use (RFC 8446 §C.4); a TLS 1.2 session serves again and again.
SSL_SESSION *tls_sessions_take(struct tls_setup *setup)
{
    SSL_SESSION *session;

    while (setup->session_count > 0) {
        session = setup->sessions[setup->session_count - 1];
        if (SSL_SESSION_get_protocol_version(session) < TLS1_3_VERSION && SSL_SESSION_is_resumable(session) &&
            SSL_SESSION_up_ref(session) == 1)
            return session;
        setup->session_count--;
        if (SSL_SESSION_is_resumable(session))
            return session;
        SSL_SESSION_free(session);
    }
    return NULL;
}

// ---- settings ----

static int fail(char *why, size_t size, const char *what, const char *value)
{
    unsigned long error = ERR_peek_last_error();
    const char *reason = error != 0 ? ERR_reason_error_string(error) : NULL;

    snprintf(why, size, "%s%s%s%s%s", what, value != NULL ? " " : "", value != NULL ? value : "",
             reason != NULL ? ": " : "", reason != NULL ? reason : "");
    ERR_clear_error();
    return -1;
}

// Which of a server's certificates is wanted is said by the signatures that we accept.
static bool key_set(SSL_CTX *ssl, const char *key)
{
    bool is_rsa = strcmp(key, "rsa") == 0;
    const char *signatures = is_rsa ? "rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:RSA+SHA256:RSA+SHA384"
                                    : "ECDSA+SHA256:ECDSA+SHA384";

    return SSL_CTX_set1_sigalgs_list(ssl, signatures) == 1;
}

static int trust_set(SSL_CTX *ssl, const struct options *options, char *why, size_t size)
{
    if (options->is_insecure) {
        SSL_CTX_set_verify(ssl, SSL_VERIFY_NONE, NULL);
        return 0;
    }
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    if (options->ca == NULL)
        return SSL_CTX_set_default_verify_paths(ssl) == 1 ? 0
                                                          : fail(why, size, "no trusted authorities", NULL);
    if (SSL_CTX_load_verify_file(ssl, options->ca) != 1)
        return fail(why, size, "--ca", options->ca);
    return 0;
}

static int settings_apply(SSL_CTX *ssl, const struct options *options, char *why, size_t size)
{
    int min = options->version != 0 ? options->version : TLS1_2_VERSION;
    int max = options->version != 0 ? options->version : TLS1_3_VERSION;

    if (SSL_CTX_set_min_proto_version(ssl, min) != 1 || SSL_CTX_set_max_proto_version(ssl, max) != 1)
        return fail(why, size, "--tls", NULL);
    if (SSL_CTX_set_cipher_list(ssl, options->ciphers != NULL ? options->ciphers : CIPHERS_DEFAULT) != 1)
        return fail(why, size, "--ciphers", options->ciphers);
    if (options->ciphersuites != NULL && SSL_CTX_set_ciphersuites(ssl, options->ciphersuites) != 1)
        return fail(why, size, "--ciphersuites", options->ciphersuites);
    if (options->groups != NULL && SSL_CTX_set1_groups_list(ssl, options->groups) != 1)
        return fail(why, size, "--groups", options->groups);
    if (options->key != NULL && !key_set(ssl, options->key))
        return fail(why, size, "--key", options->key);
    if (options->alpn_size > 0 &&
        SSL_CTX_set_alpn_protos(ssl, options->alpn, (unsigned)options->alpn_size) != 0)
        return fail(why, size, "--alpn", NULL);
    return trust_set(ssl, options, why, size);
}

int tls_setup_create(const struct options *options, tls_room *room, struct tls_setup **ret, char *why,
                     size_t size)
{
    struct tls_setup *setup = calloc(1, sizeof(*setup));

    if (setup == NULL)
        return fail(why, size, "no memory", NULL);
    setup->options = options;
    setup->room = room;
    setup->library = OSSL_LIB_CTX_new();
    setup->ssl = setup->library != NULL ? SSL_CTX_new_ex(setup->library, NULL, TLS_client_method()) : NULL;
    setup->prf = setup->ssl != NULL ? EVP_KDF_fetch(setup->library, OSSL_KDF_NAME_TLS1_PRF, NULL) : NULL;
    setup->transport = tls_client_transport();
    if (setup->ssl == NULL || setup->prf == NULL || setup->transport == NULL) {
        fail(why, size, "OpenSSL could not be set up", NULL);
        tls_setup_destroy(setup);
        return -1;
    }
    if (settings_apply(setup->ssl, options, why, size) < 0) {
        tls_setup_destroy(setup);
        return -1;
    }
    SSL_CTX_set_options(setup->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(setup->ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(setup->ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(setup->ssl, tls_client_on_session);
    if (!options->is_openssl)
        SSL_CTX_set_keylog_callback(setup->ssl, tls_client_on_keylog);
    *ret = setup;
    return 0;
}

void tls_setup_destroy(struct tls_setup *setup)
{
    if (setup == NULL)
        return;
    while (setup->session_count > 0)
        SSL_SESSION_free(setup->sessions[--setup->session_count]);
    BIO_meth_free(setup->transport);
    EVP_KDF_free(setup->prf);
    SSL_CTX_free(setup->ssl);
    OSSL_LIB_CTX_free(setup->library);
    free(setup);
}
