// SPDX-License-Identifier: Apache-2.0
// The user record layer against OpenSSL's: after a handshake in memory ours takes the server's place in one direction or
// the other. What OpenSSL seals ours opens, and would have sealed to the same bytes; what ours seals OpenSSL reads.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "ringbolt/record.h"

static const struct {
    enum record_version version;
    enum record_cipher cipher;
    const char *name; // OpenSSL's
} suites[] = {
    {RECORD_TLS13, RECORD_AES_128_GCM, "TLS_AES_128_GCM_SHA256"},
    {RECORD_TLS13, RECORD_AES_256_GCM, "TLS_AES_256_GCM_SHA384"},
    {RECORD_TLS13, RECORD_CHACHA20_POLY1305, "TLS_CHACHA20_POLY1305_SHA256"},
    {RECORD_TLS12, RECORD_AES_128_GCM, "ECDHE-ECDSA-AES128-GCM-SHA256"},
    {RECORD_TLS12, RECORD_AES_256_GCM, "ECDHE-ECDSA-AES256-GCM-SHA384"},
    {RECORD_TLS12, RECORD_CHACHA20_POLY1305, "ECDHE-ECDSA-CHACHA20-POLY1305"},
};

static EVP_PKEY *key;
static X509 *certificate;

static int make_certificate(void **state)
{
    if (record_init() < 0)
        return -1;
    key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    certificate = X509_new();
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    return X509_sign(certificate, key, EVP_sha256()) > 0 ? 0 : -1;
}

static int free_certificate(void **state)
{
    X509_free(certificate);
    EVP_PKEY_free(key);
    record_finish();
    return 0;
}

struct session {
    SSL_CTX *server_context, *client_context;
    SSL *server, *client;
    BIO *server_out, *client_out;                // what either has sent and the other not yet got
    struct record_keys server_keys, client_keys; // to transmit, as they stand after the handshake
};

// The key log names the traffic secrets (RFC 8446 §7.1).
static void take_secret(const SSL *ssl, const char *line)
{
    struct session *session = SSL_get_app_data(ssl);
    struct record_keys *keys;
    const char *secret = strrchr(line, ' ') + 1;

    if (strncmp(line, "SERVER_TRAFFIC_SECRET_0 ", 24) == 0)
        keys = &session->server_keys;
    else if (strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) == 0)
        keys = &session->client_keys;
    else
        return;
    for (; *secret != '\0'; secret += 2) {
        unsigned value = 0;
        assert_int_equal(sscanf(secret, "%2x", &value), 1);
        keys->secret[keys->secret_size++] = (uint8_t)value;
    }
}

// RFC 5246 §6.3, with no MAC keys and an iv of 4 or 12 bytes.
static void derive_tls12(struct session *session, const char *digest)
{
    uint8_t master[48], block[2 * (RECORD_KEY_MAX + RECORD_IV_SIZE)], randoms[64];
    size_t key_size = record_cipher_key_size(session->server_keys.cipher);
    size_t iv_size = session->server_keys.cipher == RECORD_CHACHA20_POLY1305 ? RECORD_IV_SIZE : 4;
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS1-PRF", NULL);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, master, sizeof(master)),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, (char[]){"key expansion"}, 13),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, randoms, sizeof(randoms)),
        OSSL_PARAM_construct_end(),
    };
    const uint8_t *next = block;

    assert_int_equal(SSL_SESSION_get_master_key(SSL_get_session(session->server), master, 48), 48);
    assert_int_equal(SSL_get_server_random(session->server, randoms, 32), 32);
    assert_int_equal(SSL_get_client_random(session->server, randoms + 32, 32), 32);
    assert_int_equal(EVP_KDF_derive(context, block, 2 * (key_size + iv_size), params), 1);
    memcpy(session->client_keys.key, next, key_size);
    memcpy(session->server_keys.key, next += key_size, key_size);
    memcpy(session->client_keys.iv, next += key_size, iv_size);
    memcpy(session->server_keys.iv, next += iv_size, iv_size);
    // Finished was 0.
    session->client_keys.sequence = session->server_keys.sequence = 1;
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
}

static SSL_CTX *make_context(const SSL_METHOD *method, size_t suite)
{
    SSL_CTX *context = SSL_CTX_new(method);
    int version = (int)suites[suite].version;

    assert_non_null(context);
    assert_true(SSL_CTX_set_min_proto_version(context, version) &&
                SSL_CTX_set_max_proto_version(context, version));
    if (suites[suite].version == RECORD_TLS13)
        assert_true(SSL_CTX_set_ciphersuites(context, suites[suite].name));
    else
        assert_true(SSL_CTX_set_cipher_list(context, suites[suite].name));
    SSL_CTX_set_num_tickets(context, 0);
    return context;
}

// The last record of what the server sent is its Finished: in TLS 1.2 with GCM its explicit nonce is the base of ours.
static void take_base(struct session *session)
{
    const uint8_t *data;
    size_t size = (size_t)BIO_get_mem_data(session->server_out, &data), at = 0, last = 0;

    while (at + RECORD_HEADER_SIZE <= size) {
        last = at;
        at += RECORD_HEADER_SIZE + ((size_t)data[at + 3] << 8 | data[at + 4]);
    }
    assert_int_equal(at, size);
    assert_int_equal(data[last], RECORD_HANDSHAKE);
    assert_int_equal(data[last + 4], 8 + 16 + 16); // RFC 5246 §7.4.9: 4 bytes of header, 12 of verify_data
    memcpy(session->server_keys.iv + 4, data + last + RECORD_HEADER_SIZE, 8);
}

// With `block` above 0 the server pads its records to multiples of it.
static void connect_padded(struct session *session, size_t suite, size_t block)
{
    const char *digest = NULL;
    uint16_t id;
    int done = 0;

    memset(session, 0, sizeof(*session));
    session->server_context = make_context(TLS_server_method(), suite);
    session->client_context = make_context(TLS_client_method(), suite);
    assert_true(SSL_CTX_use_certificate(session->server_context, certificate) &&
                SSL_CTX_use_PrivateKey(session->server_context, key));
    SSL_CTX_set_keylog_callback(session->server_context, take_secret);
    session->server = SSL_new(session->server_context);
    session->client = SSL_new(session->client_context);
    // Before the handshake: OpenSSL 3.2 and later do not look again.
    assert_true(block == 0 || SSL_set_block_padding(session->server, block) == 1);
    session->server_out = BIO_new(BIO_s_mem());
    session->client_out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(session->server_out, -1);
    BIO_set_mem_eof_return(session->client_out, -1);
    SSL_set_app_data(session->server, session);
    SSL_set_accept_state(session->server);
    SSL_set_connect_state(session->client);
    BIO_up_ref(session->server_out); // each belongs to both, as reader and as writer
    BIO_up_ref(session->client_out);
    SSL_set_bio(session->server, session->client_out, session->server_out);
    SSL_set_bio(session->client, session->server_out, session->client_out);
    for (int i = 0; i < 4 && done != 2; i++) {
        bool client_done = SSL_do_handshake(session->client) == 1;
        bool server_done = SSL_do_handshake(session->server) == 1;

        if (server_done && suites[suite].version == RECORD_TLS12 &&
            suites[suite].cipher != RECORD_CHACHA20_POLY1305)
            take_base(session);
        done = client_done + server_done;
        if (server_done && !client_done)
            done += SSL_do_handshake(session->client) == 1;
    }
    assert_int_equal(done, 2);

    id = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(session->server));
    assert_true(
        record_cipher_from_suite(id, &session->server_keys.version, &session->server_keys.cipher, &digest));
    assert_int_equal(session->server_keys.version, suites[suite].version);
    assert_int_equal(session->server_keys.cipher, suites[suite].cipher);
    session->client_keys.version = session->server_keys.version;
    session->client_keys.cipher = session->server_keys.cipher;
    if (session->server_keys.version == RECORD_TLS12) {
        derive_tls12(session, digest);
    } else {
        assert_int_equal(record_keys_derive(&session->server_keys), 0);
        assert_int_equal(record_keys_derive(&session->client_keys), 0);
    }
    assert_int_equal(BIO_pending(session->server_out) + BIO_pending(session->client_out), 0);
}

static void connect_session(struct session *session, size_t suite)
{
    connect_padded(session, suite, 0);
}

static void disconnect(struct session *session)
{
    SSL_free(session->server);
    SSL_free(session->client);
    SSL_CTX_free(session->server_context);
    SSL_CTX_free(session->client_context);
    ERR_clear_error();
}

static uint8_t wire[5 * RECORD_WIRE_MAX];
static uint8_t text[RECORD_PLAINTEXT_MAX];

static size_t fetch(BIO *from)
{
    int size = BIO_read(from, wire, sizeof(wire));

    assert_true(size > 0);
    return (size_t)size;
}

static struct record_opened open_next(struct record_user *opener, uint8_t *data, size_t size,
                                      enum record_type type)
{
    struct record_opened opened = {.length = 0};
    enum record_alert alert = ALERT_NONE;

    assert_int_equal(record_user_open(opener, data, size, &opened, &alert), 1);
    assert_int_equal(opened.type, type);
    return opened;
}

// The server's OpenSSL seals; ours opens, and ours in its place would have sent the same bytes.
static void check_from_openssl(struct session *session, size_t length)
{
    static uint8_t ours[RECORD_WIRE_MAX];
    struct record_user sealer, opener;
    struct record_opened opened;
    size_t head, size;

    record_user_init(&sealer, &session->server_keys, true);
    record_user_init(&opener, &session->server_keys, false);
    head = record_user_head(&sealer);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(SSL_write(session->server, text, (int)length), length);
        size = fetch(session->server_out);
        memcpy(ours + head, text, length);
        assert_int_equal(record_user_seal(&sealer, RECORD_DATA, ours + head, length), size);
        assert_memory_equal(ours, wire, size);
        opened = open_next(&opener, wire, size, RECORD_DATA);
        assert_int_equal(opened.length, length);
        assert_memory_equal(opened.payload, text, length);
        assert_int_equal(opened.consumed, size);
    }
    session->server_keys = opener.keys;
    record_user_finish(&sealer);
    record_user_finish(&opener);
}

// Ours seals in the client's place; the server's OpenSSL reads.
static void check_to_openssl(struct session *session, struct record_user *sealer, size_t length)
{
    uint8_t read[RECORD_PLAINTEXT_MAX];
    size_t head = record_user_head(sealer);
    int size;

    memcpy(wire + head, text, length);
    size = record_user_seal(sealer, RECORD_DATA, wire + head, length);
    assert_true(size > 0);
    assert_int_equal(BIO_write(session->client_out, wire, size), size);
    assert_int_equal(SSL_read(session->server, read, sizeof(read)), length);
    assert_memory_equal(read, text, length);
}

static void test_data(void **state)
{
    static const size_t sizes[] = {1, 15, 16, 17, 500, 16383, 16384};

    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)(i * 7 + (i >> 8));
    for (size_t suite = 0; suite < sizeof(suites) / sizeof(suites[0]); suite++) {
        struct record_user sealer;
        struct session session;

        connect_session(&session, suite);
        record_user_init(&sealer, &session.client_keys, true);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            check_from_openssl(&session, sizes[i]);
            check_to_openssl(&session, &sealer, sizes[i]);
        }
        record_user_finish(&sealer);
        disconnect(&session);
    }
}

static void test_close_notify(void **state)
{
    for (size_t suite = 0; suite < sizeof(suites) / sizeof(suites[0]); suite++) {
        struct record_user sealer, opener;
        struct record_opened opened;
        struct session session;
        uint8_t byte;
        int size;

        connect_session(&session, suite);
        record_user_init(&opener, &session.server_keys, false);
        record_user_init(&sealer, &session.client_keys, true);
        SSL_shutdown(session.server);
        opened = open_next(&opener, wire, fetch(session.server_out), RECORD_ALERT);
        assert_int_equal(opened.length, 2);
        assert_int_equal(opened.payload[1], ALERT_CLOSE_NOTIFY);

        memcpy(wire + record_user_head(&sealer), (uint8_t[]){1, ALERT_CLOSE_NOTIFY}, 2);
        size = record_user_seal(&sealer, RECORD_ALERT, wire + record_user_head(&sealer), 2);
        assert_int_equal(BIO_write(session.client_out, wire, size), size);
        assert_int_equal(SSL_read(session.server, &byte, 1), 0);
        assert_int_equal(SSL_get_error(session.server, 0), SSL_ERROR_ZERO_RETURN);
        record_user_finish(&opener);
        record_user_finish(&sealer);
        disconnect(&session);
    }
}

// RFC 8446 §4.6.3, both ways, several times: OpenSSL's updates are followed, ours are understood.
static void test_key_update(void **state)
{
    for (size_t suite = 0; suite < 3; suite++) {
        struct record_user sealer, opener;
        struct record_opened opened;
        struct session session;

        connect_session(&session, suite);
        record_user_init(&opener, &session.server_keys, false);
        record_user_init(&sealer, &session.client_keys, true);
        for (int i = 0; i < 4; i++) {
            uint8_t key_update[] = {24, 0, 0, 1, 0}, head = (uint8_t)record_user_head(&sealer);
            int size;

            assert_int_equal(SSL_key_update(session.server, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
            assert_int_equal(SSL_do_handshake(session.server), 1);
            opened = open_next(&opener, wire, fetch(session.server_out), RECORD_HANDSHAKE);
            assert_int_equal(opened.length, sizeof(key_update));
            assert_memory_equal(opened.payload, key_update, sizeof(key_update));
            assert_int_equal(record_user_update(&opener), 0);
            session.server_keys = opener.keys;
            check_from_openssl(&session, 100);
            opener.keys = session.server_keys;

            memcpy(wire + head, key_update, sizeof(key_update));
            size = record_user_seal(&sealer, RECORD_HANDSHAKE, wire + head, sizeof(key_update));
            assert_int_equal(BIO_write(session.client_out, wire, size), size);
            assert_int_equal(record_user_update(&sealer), 0);
            check_to_openssl(&session, &sealer, 100);
        }
        record_user_finish(&opener);
        record_user_finish(&sealer);
        disconnect(&session);
    }
}

static void test_padding(void **state)
{
    for (size_t suite = 0; suite < 3; suite++) {
        struct record_user opener;
        struct record_opened opened;
        struct session session;

        connect_padded(&session, suite, 512);
        record_user_init(&opener, &session.server_keys, false);
        for (int length = 1; length < 1100; length += 49) {
            size_t size;

            assert_int_equal(SSL_write(session.server, text, length), length);
            size = fetch(session.server_out);
            assert_int_equal((size - RECORD_HEADER_SIZE - RECORD_TAG_SIZE) % 512, 0);
            opened = open_next(&opener, wire, size, RECORD_DATA);
            assert_int_equal(opened.length, length);
            assert_memory_equal(opened.payload, text, (size_t)length);
        }
        record_user_finish(&opener);
        disconnect(&session);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_close_notify),
        cmocka_unit_test(test_key_update),
        cmocka_unit_test(test_padding),
    };

    return cmocka_run_group_tests(tests, make_certificate, free_certificate);
}
