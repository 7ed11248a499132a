// SPDX-License-Identifier: Apache-2.0
// OpenSSL's client in conversation with an engine, in memory: what the tests of the engine share.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "ringbolt/clock.h"
#include "ringbolt/record.h"
#include "ringbolt/tls.h"
#include "tests/unit/certificates.h"

// ---- what is served ----

static inline void apply(struct material *material, struct change *change)
{
    must(material_apply(material, change->data, change->size) == 0, "a change");
    change_finish(change);
}

static inline enum certificate_kind kind_of(const EVP_PKEY *key)
{
    return EVP_PKEY_is_a(key, "RSA")  ? CERTIFICATE_RSA
           : EVP_PKEY_is_a(key, "EC") ? CERTIFICATE_ECDSA
                                      : CERTIFICATE_EDDSA;
}

static inline uint64_t id_of(X509 *certificate)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    uint64_t id = 0;

    must(X509_digest(certificate, EVP_sha256(), digest, NULL) == 1, "a digest");
    for (int i = 0; i < 8; i++)
        id = id << 8 | digest[i];
    return id;
}

static inline struct material_bytes der_of(X509 *certificate)
{
    struct material_bytes der = {NULL, 0};
    int size = i2d_X509(certificate, &der.data);

    must(size > 0, "DER");
    der.size = (size_t)size;
    return der;
}

// One certificate at rank `slot` of listener 0, for `names` (by spaces), instead of what the slot had.
static inline void serve(struct material *material, uint32_t slot, X509 *certificate, EVP_PKEY *key,
                         X509 *issuer, const char *names)
{
    const struct material_place place = {.listener = 0, .rank = slot};
    struct material_bytes issuer_der = {NULL, 0};
    struct certificate object = {.id = id_of(certificate), .kind = kind_of(key)};
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    char *text = strdup(names);
    char *name[16] = {NULL};
    struct change change = {0};
    char *rest = text;

    object.leaf = der_of(certificate);
    object.key.size = (size_t)i2d_PKCS8_PRIV_KEY_INFO(info, &object.key.data);
    if (issuer != NULL) {
        issuer_der = der_of(issuer);
        object.intermediates = &issuer_der;
        object.intermediate_count = 1;
    }
    object.names = name;
    while ((name[object.name_count] = strtok_r(rest, " ", &rest)) != NULL)
        object.name_count++;
    change_certificate(&change, slot, &object, &place, 1);
    apply(material, &change);
    PKCS8_PRIV_KEY_INFO_free(info);
    OPENSSL_free(object.leaf.data);
    OPENSSL_free(object.key.data);
    OPENSSL_free(issuer_der.data);
    free(text);
}

static inline void serve_ticket_keys(struct material *material, const struct ticket_key *keys, size_t count)
{
    struct ticket_keys list = {.count = count};
    struct change change = {0};

    memcpy(list.keys, keys, count * sizeof(*keys));
    change_ticket_keys(&change, &list);
    apply(material, &change);
}

// Of 32 or 16 bytes.
static inline struct ticket_key random_ticket_key(uint8_t size)
{
    struct ticket_key key = {.size = size};

    must(RAND_bytes(key.name, sizeof(key.name)) == 1 && RAND_bytes(key.hmac, size) == 1 &&
             RAND_bytes(key.aes, size) == 1,
         "a ticket key");
    return key;
}

// ---- the server's side ----

struct server {
    struct config_listener listener;
    struct config config;
    struct material *material;
    struct tls_context *context;
    int keylog;
};

// RSA keys take long to make: there is one for all servers.
static inline EVP_PKEY *server_key(const char *kind)
{
    static EVP_PKEY *rsa;

    if (strcmp(kind, "RSA2048") != 0)
        return key_make(kind);
    if (rsa == NULL)
        rsa = key_make(kind);
    EVP_PKEY_up_ref(rsa);
    return rsa;
}

// A certificate for `names` with a new key of its own in a slot. Its id.
static inline uint64_t server_serve(struct server *server, uint32_t slot, const char *kind, const char *names)
{
    EVP_PKEY *key = server_key(kind);
    X509 *certificate = certificate_of("localhost", key, NULL, NULL);
    uint64_t id = id_of(certificate);

    serve(server->material, slot, certificate, key, NULL, names);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return id;
}

// As the configuration has it by default, and nothing to serve.
static inline void server_init_empty(struct server *server)
{
    *server = (struct server){.listener.name = (char *)"test", .keylog = -1};
    server->listener.tls.version_min = CONFIG_TLS12;
    server->listener.tls.version_max = CONFIG_TLS13;
    server->listener.tls.ciphers =
        (char *)"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
                "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
    server->listener.tls.ciphersuites =
        (char *)"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
    server->listener.tls.groups = (char *)"X25519MLKEM768:X25519:P-256:P-384";
    server->listener.tls.prefers_server = true;
    server->config.listener_count = 1;
    server->config.limits.connections = 1000;
    server->config.limits.client_hello = 32768;
    server->config.tickets.lifetime_ns = 24 * 3600 * CLOCK_NS_PER_S;
    server->material = material_create(1);
    must(server->material != NULL, "material");
}

// A server with a certificate for localhost of each of `kinds` (as key_make() knows them, by spaces), and a ticket key; server_start()
// it.
static inline void server_init(struct server *server, const char *kinds)
{
    struct ticket_key key = random_ticket_key(32);
    char kind[3][16];
    int count = sscanf(kinds, "%15s %15s %15s", kind[0], kind[1], kind[2]);

    server_init_empty(server);
    for (int i = 0; i < count; i++)
        server_serve(server, (uint32_t)i, kind[i], "localhost");
    serve_ticket_keys(server->material, &key, 1);
}

static inline void server_start(struct server *server)
{
    const struct tls_context_options options = {
        .config = &server->config,
        .listener = 0,
        .material = server->material,
        .keylog = server->keylog,
    };

    server->config.listeners = &server->listener; // it may have been copied
    tls_context_destroy(server->context);
    server->context = NULL;
    must(tls_context_create(&options, &server->context) == 0, "a context");
}

static inline void server_finish(struct server *server)
{
    tls_context_destroy(server->context);
    material_destroy(server->material);
}

// ---- a conversation ----

#define TALK_SIZE 65536

struct talk {
    struct engine *engine;
    SSL *client; // NULL: the test makes the bytes
    BIO *to_client;
    BIO *from_client;
    size_t piece;        // the engine is fed at most so many bytes at once; 0: all
    const char *request; // what the client sends as soon as it may
    bool is_requested;
    int client_result; // of its SSL_do_handshake()
    enum engine_status status;
    uint8_t left[TALK_SIZE]; // what came for the engine and isn't eaten
    size_t left_size;
    uint8_t sent[TALK_SIZE]; // all that the engine yielded
    size_t sent_size;
};

static inline SSL_CTX *client_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());

    must(context != NULL, "a client");
    return context;
}

// The context may be given back at once.
static inline void talk_init(struct talk *talk, struct server *server, SSL_CTX *client)
{
    memset(talk, 0, sizeof(*talk));
    talk->engine = engine_create_server(server->context);
    must(talk->engine != NULL, "an engine");
    if (client == NULL)
        return;
    talk->client = SSL_new(client);
    talk->to_client = BIO_new(BIO_s_mem());
    talk->from_client = BIO_new(BIO_s_mem());
    must(talk->client != NULL && talk->to_client != NULL && talk->from_client != NULL, "a client");
    SSL_set_bio(talk->client, talk->to_client, talk->from_client);
    SSL_set_connect_state(talk->client);
}

static inline void talk_finish(struct talk *talk)
{
    SSL_free(talk->client);
    engine_destroy(talk->engine);
}

// Feeds what is left, and checks what must hold after every call.
static inline void talk_feed(struct talk *talk)
{
    size_t start = 0;

    do {
        size_t length = talk->left_size - start;
        size_t eaten = SIZE_MAX;

        if (talk->piece > 0 && length > talk->piece)
            length = talk->piece;
        talk->status = engine_feed(talk->engine, talk->left + start, length, &eaten);
        assert_int_equal(ERR_peek_error(), 0);
        assert_true(eaten <= length);
        if (talk->status == ENGINE_WANTS_INPUT)
            assert_int_equal(eaten, length);
        start += eaten;
    } while (talk->status == ENGINE_WANTS_INPUT && start < talk->left_size);
    memmove(talk->left, talk->left + start, talk->left_size - start);
    talk->left_size -= start;
}

// What the engine yields goes to the client and into sent, in odd portions.
static inline void talk_deliver(struct talk *talk)
{
    const uint8_t *output;
    size_t length;

    while ((output = engine_output(talk->engine, &length)) != NULL && length > 0) {
        size_t portion = length > 997 ? 997 : length;

        assert_true(talk->sent_size + portion <= sizeof(talk->sent));
        memcpy(talk->sent + talk->sent_size, output, portion);
        talk->sent_size += portion;
        if (talk->to_client != NULL)
            BIO_write(talk->to_client, output, (int)portion);
        engine_output_sent(talk->engine, portion);
    }
    assert_int_equal(length, 0);
}

// Lets the client work and takes what it sends.
static inline void talk_client(struct talk *talk)
{
    int count;

    talk->client_result = SSL_do_handshake(talk->client);
    if (talk->client_result == 1 && talk->request != NULL && !talk->is_requested) {
        int length = (int)strlen(talk->request);

        talk->is_requested = true;
        assert_int_equal(SSL_write(talk->client, talk->request, length), length);
    }
    ERR_clear_error(); // the client's; the engine must leave none of its own
    count = BIO_read(talk->from_client, talk->left + talk->left_size, (int)(TALK_SIZE - talk->left_size));
    talk->left_size += count > 0 ? (size_t)count : 0;
}

// Until both are done, or one has failed, or nothing moves any more.
static inline enum engine_status talk_run(struct talk *talk)
{
    for (int round = 0; round < 10; round++) {
        talk_client(talk);
        if (talk->status == ENGINE_WANTS_INPUT)
            talk_feed(talk);
        talk_deliver(talk);
        if (talk->status == ENGINE_DONE && talk->client_result == 1)
            break;
    }
    return talk->status;
}

// ---- what came of it ----

static inline void assert_opens(struct record_user *record, uint8_t *data, size_t size, const char *text)
{
    struct record_opened opened;
    enum record_alert alert = ALERT_NONE;

    if (record_user_open(record, data, size, &opened, &alert) != 1)
        fail_msg("record %llu does not open: alert %d", (unsigned long long)record->keys.sequence, alert);
    assert_int_equal(opened.type, RECORD_DATA);
    assert_int_equal(opened.length, strlen(text));
    assert_memory_equal(opened.payload, text, opened.length);
    assert_int_equal(opened.consumed, size);
}

// What the client writes opens, what is sealed the client reads; several times, so that the sequence numbers are right and go
// on rightly. The engine is destroyed before, as the proxy does.
static inline void assert_keys_work(struct talk *talk, const struct engine_outcome *outcome)
{
    struct record_user receive, transmit;
    uint8_t buffer[512];

    engine_destroy(talk->engine);
    talk->engine = NULL;
    record_user_init(&receive, &outcome->receive, false);
    record_user_init(&transmit, &outcome->transmit, true);
    if (talk->request != NULL)
        assert_opens(&receive, talk->left, talk->left_size, talk->request);
    for (int i = 0; i < 3; i++) {
        char text[32];
        int length = snprintf(text, sizeof(text), "message %d", i);
        size_t head = record_user_head(&transmit);
        int size;

        assert_int_equal(SSL_write(talk->client, text, length), length);
        size = BIO_read(talk->from_client, buffer, sizeof(buffer));
        assert_true(size > 0);
        assert_opens(&receive, buffer, (size_t)size, text);
        memcpy(buffer + head, text, (size_t)length);
        size = record_user_seal(&transmit, RECORD_DATA, buffer + head, (size_t)length);
        assert_true(size > 0);
        assert_int_equal(BIO_write(talk->to_client, buffer, size), size);
        memset(buffer, 0, sizeof(buffer));
        assert_int_equal(SSL_read(talk->client, buffer, sizeof(buffer)), length);
        assert_memory_equal(buffer, text, (size_t)length);
    }
    record_user_finish(&transmit);
    record_user_finish(&receive);
}

// A handshake that succeeds, and its outcome; record_keys_wipe() is left out in tests.
static inline struct engine_outcome talk_succeed(struct talk *talk)
{
    struct engine_outcome outcome;

    if (talk_run(talk) != ENGINE_DONE)
        fail_msg("handshake: status %d, %s", talk->status, engine_failure(talk->engine));
    assert_int_equal(talk->client_result, 1);
    assert_int_equal(engine_outcome(talk->engine, &outcome), 0);
    assert_int_equal(ERR_peek_error(), 0);
    return outcome;
}
