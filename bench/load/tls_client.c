// SPDX-License-Identifier: Apache-2.0
// The client's side of TLS by OpenSSL, without a socket. With read_ahead off OpenSSL asks for a record's header and then for
// exactly its body, so it takes nothing behind the handshake's last record.
#include "tls_setup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "ringbolt/secret.h"

// ---- the transport ----

static int on_read(BIO *bio, char *data, size_t size, size_t *ret_count)
{
    struct tls_client *tls = BIO_get_data(bio);
    size_t count = size < tls->input_left ? size : tls->input_left;

    BIO_clear_retry_flags(bio);
    if (count == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    memcpy(data, tls->input, count);
    tls->input += count;
    tls->input_left -= count;
    *ret_count = count;
    return 1;
}

static int on_write(BIO *bio, const char *data, size_t size, size_t *ret_count)
{
    struct tls_client *tls = BIO_get_data(bio);
    uint8_t *room;

    BIO_clear_retry_flags(bio);
    if (!tls->is_shadow) {
        room = tls->setup->room(tls->owner, size);
        if (room == NULL)
            return 0;
        memcpy(room, data, size);
    }
    *ret_count = size;
    return 1;
}

static long on_control(BIO *bio, int command, long number, void *pointer)
{
    return command == BIO_CTRL_FLUSH;
}

BIO_METHOD *tls_client_transport(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "ringbolt-bench");

    if (method != NULL && BIO_meth_set_read_ex(method, on_read) == 1 &&
        BIO_meth_set_write_ex(method, on_write) == 1 && BIO_meth_set_ctrl(method, on_control) == 1)
        return method;
    BIO_meth_free(method);
    return NULL;
}

// ---- what OpenSSL tells on the way ----

int tls_client_on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_client *tls = SSL_get_app_data(ssl);

    tls->is_ticket_here = true;
    return tls_sessions_put(tls->setup, session);
}

void tls_client_on_keylog(const SSL *ssl, const char *line)
{
    struct tls_client *tls = SSL_get_app_data(ssl);

    secrets_keylog(&tls->secrets, line);
}

// struct secrets has the server's view: what we send it receives.
static void on_message(int is_sent, int version, int type, const void *data, size_t size, SSL *ssl,
                       void *argument)
{
    struct tls_client *tls = argument;
    const uint8_t *bytes = data;

    if (type == SSL3_RT_HEADER && size == RECORD_HEADER_SIZE) {
        secrets_record(&tls->secrets, is_sent ? RECORD_RECEIVE : RECORD_TRANSMIT, bytes[0]);
    } else if (type == SSL3_RT_ALERT && size == 2) {
        tls->alert = bytes[1];
        tls->is_alert_received = !is_sent;
    }
}

// ---- life ----

static bool name_set(SSL *ssl, const struct options *options)
{
    if (options->name == NULL)
        return true;
    if (options->is_name_address)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), options->name) == 1;
    return SSL_set_tlsext_host_name(ssl, options->name) == 1 && SSL_set1_host(ssl, options->name) == 1;
}

static void offer_session(struct tls_client *tls)
{
    SSL_SESSION *session = tls_sessions_take(tls->setup);

    if (session == NULL)
        return;
    tls->is_offered = SSL_set_session(tls->ssl, session) == 1;
    SSL_SESSION_free(session);
}

struct tls_client *tls_client_create(struct tls_setup *setup, void *owner)
{
    struct tls_client *tls = calloc(1, sizeof(*tls));
    BIO *transport;

    if (tls == NULL)
        return NULL;
    tls->setup = setup;
    tls->owner = owner;
    tls->ssl = SSL_new(setup->ssl);
    transport = BIO_new(setup->transport);
    if (tls->ssl == NULL || transport == NULL || SSL_set_app_data(tls->ssl, tls) != 1 ||
        !name_set(tls->ssl, setup->options)) {
        BIO_free(transport);
        tls_client_destroy(tls);
        ERR_clear_error();
        return NULL;
    }
    BIO_set_data(transport, tls);
    BIO_set_init(transport, 1);
    SSL_set_bio(tls->ssl, transport, transport); // owns it from here on
    SSL_set_msg_callback(tls->ssl, on_message);
    SSL_set_msg_callback_arg(tls->ssl, tls);
    SSL_set_connect_state(tls->ssl);
    offer_session(tls);
    return tls;
}

void tls_client_destroy(struct tls_client *tls)
{
    if (tls == NULL)
        return;
    if (tls->ssl != NULL)
        SSL_set_shutdown(tls->ssl,
                         SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); // else the session counts as bad
    SSL_free(tls->ssl);
    secrets_wipe(&tls->secrets);
    free(tls);
}

// ---- the handshake ----

enum tls_status tls_client_step(struct tls_client *tls, const uint8_t *data, size_t length, size_t *ret_eaten)
{
    int result;
    int error;

    tls_client_input(tls, data, length);
    ERR_clear_error();
    result = SSL_do_handshake(tls->ssl);
    error = result == 1 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, result);
    *ret_eaten = length - tls->input_left;
    if (error == SSL_ERROR_NONE)
        return TLS_DONE;
    return error == SSL_ERROR_WANT_READ ? TLS_WANTS_INPUT : TLS_FAILED;
}

enum failure tls_client_failure(const struct tls_client *tls, uint8_t *ret_alert, char *text, size_t size)
{
    long verified = SSL_get_verify_result(tls->ssl);
    unsigned long error = ERR_peek_error();
    const char *reason = error != 0 ? ERR_reason_error_string(error) : NULL;

    ERR_clear_error();
    *ret_alert = tls->alert;
    if (tls->is_alert_received) {
        snprintf(text, size, "%s", record_alert_name((enum record_alert)tls->alert));
        return FAILURE_HANDSHAKE_ALERT;
    }
    if (verified != X509_V_OK)
        snprintf(text, size, "certificate: %s; see --ca, --name and --insecure",
                 X509_verify_cert_error_string(verified));
    else
        snprintf(text, size, "%s", reason != NULL ? reason : "no memory");
    return FAILURE_HANDSHAKE_REFUSED;
}

void tls_client_wrote(struct tls_client *tls, const uint8_t *flight, size_t length)
{
    if (length > 0 && !tls->setup->options->is_openssl)
        secrets_sent(&tls->secrets, flight, length);
}

static void describe_key(const X509 *certificate, char *text, size_t size)
{
    EVP_PKEY *key = certificate != NULL ? X509_get0_pubkey(certificate) : NULL;
    int type = key != NULL ? EVP_PKEY_get_base_id(key) : EVP_PKEY_NONE;
    char group[16] = "";

    if (type == EVP_PKEY_RSA || type == EVP_PKEY_RSA_PSS) {
        snprintf(text, size, "RSA%s-%d", type == EVP_PKEY_RSA ? "" : "-PSS", EVP_PKEY_get_bits(key));
    } else if (type == EVP_PKEY_EC) {
        EVP_PKEY_get_group_name(key, group, sizeof(group), NULL);
        snprintf(text, size, "ECDSA %s",
                 strcmp(group, "prime256v1") == 0  ? "P-256"
                 : strcmp(group, "secp384r1") == 0 ? "P-384"
                 : strcmp(group, "secp521r1") == 0 ? "P-521"
                                                   : group);
    } else {
        snprintf(text, size, "%s", type != EVP_PKEY_NONE ? OBJ_nid2sn(type) : "none");
    }
}

static void describe_group(SSL *ssl, char *text, size_t size)
{
    long group = SSL_get_negotiated_group(ssl);
    const char *name = group > 0 && !(group & TLSEXT_nid_unknown) ? OBJ_nid2sn((int)group) : NULL;

    if (group > 0 && name == NULL)
        snprintf(text, size, "0x%04lx", (unsigned long)group & 0xffff);
    else
        snprintf(text, size, "%s", name == NULL ? "none" : strcmp(name, "prime256v1") == 0 ? "P-256" : name);
}

void tls_client_describe(const struct tls_client *tls, struct negotiated *ret)
{
    const unsigned char *alpn;
    unsigned alpn_size;

    *ret = (struct negotiated){
        .version = SSL_get_version(tls->ssl),
        .suite = SSL_CIPHER_get_name(SSL_get_current_cipher(tls->ssl)),
        .is_resumed = SSL_session_reused(tls->ssl) == 1,
    };
    describe_group(tls->ssl, ret->group, sizeof(ret->group));
    describe_key(SSL_get0_peer_certificate(tls->ssl), ret->key, sizeof(ret->key));
    SSL_get0_alpn_selected(tls->ssl, &alpn, &alpn_size);
    snprintf(ret->alpn, sizeof(ret->alpn), "%.*s", (int)alpn_size, alpn_size > 0 ? (const char *)alpn : "");
    ERR_clear_error();
}

int tls_client_keys(const struct tls_client *tls, struct record_keys *ret_receive,
                    struct record_keys *ret_transmit)
{
    struct record_keys receive, transmit;

    // Bytes behind Finished in one record would be lost with the SSL object; TLS 1.3 forbids them.
    if (SSL_has_pending(tls->ssl) ||
        secrets_keys(&tls->secrets, tls->ssl, tls->setup->prf, &transmit, &receive) < 0) {
        ERR_clear_error();
        return -ENOTSUP;
    }
    // The explicit nonce counts on from our Finished; secrets.c has put it with the server's side.
    if (transmit.version == RECORD_TLS12 && transmit.cipher != RECORD_CHACHA20_POLY1305)
        memcpy(transmit.iv + 4, tls->secrets.nonce_sent, sizeof(tls->secrets.nonce_sent));
    *ret_receive = receive;
    *ret_transmit = transmit;
    record_keys_wipe(&receive);
    record_keys_wipe(&transmit);
    return 0;
}

bool tls_client_has_offered(const struct tls_client *tls)
{
    return tls->is_offered;
}

bool tls_client_has_ticket(const struct tls_client *tls)
{
    return tls->is_ticket_here;
}

bool tls_client_shadow(struct tls_client *tls, const uint8_t *data, size_t length)
{
    uint8_t scratch[4096];
    enum tls_read read;
    size_t size;
    uint8_t alert;

    tls->is_shadow = true;
    tls_client_input(tls, data, length);
    do
        read = tls_client_read(tls, scratch, sizeof(scratch), &size, &alert);
    while (read == TLS_READ_DATA && !tls->is_ticket_here);
    secret_wipe(scratch, sizeof(scratch));
    return read <= TLS_READ_NONE && !tls->is_ticket_here;
}

// ---- records by OpenSSL ----

void tls_client_input(struct tls_client *tls, const uint8_t *data, size_t length)
{
    tls->input = data;
    tls->input_left = length;
}

enum tls_read tls_client_read(struct tls_client *tls, uint8_t *to, size_t size, size_t *ret_length,
                              uint8_t *ret_alert)
{
    int result;
    int error;

    ERR_clear_error();
    result = SSL_read_ex(tls->ssl, to, size, ret_length);
    if (result == 1)
        return TLS_READ_DATA;
    error = SSL_get_error(tls->ssl, result);
    ERR_clear_error();
    if (error == SSL_ERROR_WANT_READ)
        return TLS_READ_NONE;
    if (error == SSL_ERROR_ZERO_RETURN)
        return TLS_READ_CLOSED;
    *ret_alert = tls->alert;
    return tls->is_alert_received ? TLS_READ_ALERT : TLS_READ_BAD;
}

int tls_client_write(struct tls_client *tls, const uint8_t *data, size_t length)
{
    size_t written;

    ERR_clear_error();
    if (SSL_write_ex(tls->ssl, data, length, &written) == 1 && written == length)
        return 0;
    ERR_clear_error();
    return -EIO;
}

int tls_client_close_notify(struct tls_client *tls)
{
    ERR_clear_error();
    if (SSL_shutdown(tls->ssl) >= 0)
        return 0;
    ERR_clear_error();
    return -EIO;
}
