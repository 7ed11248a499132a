// SPDX-License-Identifier: Apache-2.0
// The engine as client against our own engine as server, in every combination of version and cipher; keys and sequence numbers are proved by
// records that go both ways. Then servers that are not whom they should be.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/pem.h>

#include "tests/unit/handshake.h"

#define WIRE_SIZE 65536

static EVP_PKEY *ca_key;
static X509 *ca;
static char ca_file[] = "/tmp/ringbolt-engine-client-XXXXXX";

static int set_up(void **state)
{
    FILE *file;
    int fd = mkstemp(ca_file);

    must(record_init() == 0, "the record layer");
    ca_key = key_make("P-256");
    ca = certificate_of("A CA", ca_key, NULL, NULL);
    must(fd >= 0 && (file = fdopen(fd, "w")) != NULL && PEM_write_X509(file, ca) == 1 && fclose(file) == 0,
         "a file");
    return 0;
}

static int tear_down(void **state)
{
    unlink(ca_file);
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    record_finish();
    return 0;
}

// ---- both sides ----

struct both {
    struct server server;
    struct config_upstream upstream;
    struct config config;
    struct tls_upstreams *files;
    struct tls_context *context;
    struct engine *ends[2]; // client, server
    enum engine_status status[2];
    uint8_t wire[2][WIRE_SIZE]; // what is on its way to each
    size_t wire_size[2];
    X509 *certificate;
};

static void both_init(struct both *both, const char *subject, const char *name, bool verifies)
{
    struct loader *loader = loader_create(false);
    struct report report;
    EVP_PKEY *key = key_make("P-256");

    memset(both, 0, sizeof(*both));
    server_init_empty(&both->server);
    both->certificate = certificate_of(subject, key, ca, ca_key);
    serve(both->server.material, 0, both->certificate, key, NULL, "localhost");
    EVP_PKEY_free(key);
    both->upstream = (struct config_upstream){.name = (char *)"app"};
    both->upstream.tls =
        (struct config_server_tls){.is_on = true, .verifies = verifies, .name = (char *)name};
    both->upstream.tls.tls = both->server.listener.tls;
    both->upstream.tls.trust = (struct config_client_trust){
        .mode = CONFIG_CLIENT_AUTH_REQUIRED, .ca = ca_file, .is_for_servers = true};
    both->config.upstreams = &both->upstream;
    both->config.upstream_count = 1;
    report_init(&report, "c");
    must(tls_upstreams_load(&both->config, loader, &report, &both->files) == 0, "authorities");
    report_finish(&report);
    loader_destroy(loader);
}

static void both_start(struct both *both, const char *alpn)
{
    const struct engine_peer peer = {.name = both->upstream.tls.name, .alpn = alpn};

    server_start(&both->server);
    must(tls_context_create_client(&both->config, 0, both->files, &both->context) == 0, "a context");
    both->ends[0] = engine_create_client(both->context, &peer);
    both->ends[1] = engine_create_server(both->server.context);
    assert_non_null(both->ends[0]);
    assert_non_null(both->ends[1]);
}

static void both_finish(struct both *both)
{
    engine_destroy(both->ends[0]);
    engine_destroy(both->ends[1]);
    tls_context_destroy(both->context);
    tls_upstreams_destroy(both->files);
    server_finish(&both->server);
    X509_free(both->certificate);
}

static void feed(struct both *both, int side, size_t piece)
{
    size_t start = 0;

    do {
        size_t length = both->wire_size[side] - start;
        size_t eaten;

        if (piece > 0 && length > piece)
            length = piece;
        both->status[side] = engine_feed(both->ends[side], both->wire[side] + start, length, &eaten);
        assert_int_equal(ERR_peek_error(), 0);
        start += eaten;
    } while (both->status[side] == ENGINE_WANTS_INPUT && start < both->wire_size[side]);
    memmove(both->wire[side], both->wire[side] + start, both->wire_size[side] - start);
    both->wire_size[side] -= start;
}

static void both_run(struct both *both, size_t piece)
{
    for (int round = 0; round < 12; round++) {
        int side = round % 2;
        const uint8_t *output;
        size_t length;

        if (both->status[side] == ENGINE_WANTS_INPUT)
            feed(both, side, piece);
        while ((output = engine_output(both->ends[side], &length)) != NULL) {
            assert_true(both->wire_size[!side] + length <= WIRE_SIZE);
            memcpy(both->wire[!side] + both->wire_size[!side], output, length);
            both->wire_size[!side] += length;
            engine_output_sent(both->ends[side], length);
        }
    }
}

// Seals on one side, opens on the other, several times.
static void assert_flows(const struct record_keys *transmit, const struct record_keys *receive)
{
    struct record_user from, to;
    uint8_t buffer[512];

    record_user_init(&from, transmit, true);
    record_user_init(&to, receive, false);
    for (int i = 0; i < 3; i++) {
        size_t head = record_user_head(&from);
        int size;

        memcpy(buffer + head, "message", 7);
        size = record_user_seal(&from, RECORD_DATA, buffer + head, 7);
        assert_true(size > 0);
        assert_opens(&to, buffer, (size_t)size, "message");
    }
    record_user_finish(&from);
    record_user_finish(&to);
}

// ---- those that succeed ----

struct suite {
    enum config_tls_version version;
    const char *name;
    enum record_cipher cipher;
};

static const struct suite suites[] = {
    {CONFIG_TLS13, "TLS_AES_128_GCM_SHA256", RECORD_AES_128_GCM},
    {CONFIG_TLS13, "TLS_AES_256_GCM_SHA384", RECORD_AES_256_GCM},
    {CONFIG_TLS13, "TLS_CHACHA20_POLY1305_SHA256", RECORD_CHACHA20_POLY1305},
    {CONFIG_TLS12, "ECDHE-ECDSA-AES128-GCM-SHA256", RECORD_AES_128_GCM},
    {CONFIG_TLS12, "ECDHE-ECDSA-AES256-GCM-SHA384", RECORD_AES_256_GCM},
    {CONFIG_TLS12, "ECDHE-ECDSA-CHACHA20-POLY1305", RECORD_CHACHA20_POLY1305},
};

static void try_suite(const struct suite *suite, size_t piece, bool has_tickets)
{
    static char *alpn[] = {(char *)"h2"};
    struct ticket_key key = random_ticket_key(32);
    struct engine_outcome client, server;
    struct record_user receive;
    struct both both;

    both_init(&both, "localhost", "localhost", true);
    if (has_tickets)
        serve_ticket_keys(both.server.material, &key, 1);
    both.server.listener.tls.alpn = alpn;
    both.server.listener.tls.alpn_count = 1;
    both.upstream.tls.tls.version_min = both.upstream.tls.tls.version_max = suite->version;
    if (suite->version == CONFIG_TLS13)
        both.upstream.tls.tls.ciphersuites = (char *)suite->name;
    else
        both.upstream.tls.tls.ciphers = (char *)suite->name;
    both_start(&both, "h2");
    both_run(&both, piece);
    if (both.status[0] != ENGINE_DONE || both.status[1] != ENGINE_DONE)
        fail_msg("%s: %s; %s", suite->name, engine_failure(both.ends[0]), engine_failure(both.ends[1]));
    assert_string_equal(engine_sni(both.ends[1]), "localhost");
    assert_int_equal(engine_outcome(both.ends[0], &client), 0);
    assert_int_equal(engine_outcome(both.ends[1], &server), 0);
    assert_string_equal(client.suite_name, suite->name);
    assert_string_equal(client.alpn, "h2");
    assert_int_equal(client.cipher, suite->cipher);
    assert_int_equal(client.payload_max, RECORD_PLAINTEXT_MAX);
    assert_false(client.resumed);
    // What the server said after its handshake stands before us, and opens.
    record_user_init(&receive, &client.receive, false);
    for (size_t at = 0; at < both.wire_size[0];) {
        struct record_opened opened;
        enum record_alert alert;

        assert_int_equal(
            record_user_open(&receive, both.wire[0] + at, both.wire_size[0] - at, &opened, &alert), 1);
        assert_int_equal(opened.type, RECORD_HANDSHAKE);
        assert_int_equal(opened.payload[0], 4); // new_session_ticket
        at += opened.consumed;
    }
    assert_int_equal(both.wire_size[0] > 0, has_tickets && suite->version == CONFIG_TLS13);
    client.receive.sequence = receive.keys.sequence;
    record_user_finish(&receive);
    assert_flows(&client.transmit, &server.receive);
    assert_flows(&server.transmit, &client.receive);
    both_finish(&both);
}

static void test_suites(void **state)
{
    for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
        try_suite(&suites[i], 0, false);
        try_suite(&suites[i], 0, true);
        try_suite(&suites[i], 3, true);
    }
}

// ---- those that don't ----

struct refusal {
    const char *subject;
    const char *name;
    bool verifies;
    const char *failure; // how it begins; NULL: it succeeds
};

static const struct refusal refusals[] = {
    {"localhost", "other.example", true, "server certificate refused: not for other.example ("},
    {"localhost", "127.0.0.1", true, "server certificate refused: not for 127.0.0.1 ("},
    {"localhost", "::1", true, "server certificate refused: not for ::1 ("},
    {"localhost", "other.example", false, NULL},
    {"localhost", "127.0.0.1", false, NULL},
    {"localhost", NULL, false, NULL},
};

static void test_refusals(void **state)
{
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        const struct refusal *refusal = &refusals[i];
        struct both both;

        both_init(&both, refusal->subject, refusal->name, refusal->verifies);
        both_start(&both, NULL);
        both_run(&both, 0);
        if (refusal->failure == NULL) {
            assert_int_equal(both.status[0], ENGINE_DONE);
            assert_false(engine_is_untrusted(both.ends[0]));
        } else {
            assert_int_equal(both.status[0], ENGINE_FAILED);
            assert_true(engine_is_untrusted(both.ends[0]));
            assert_memory_equal(engine_failure(both.ends[0]), refusal->failure, strlen(refusal->failure));
            assert_int_equal(both.status[1], ENGINE_FAILED); // by our alert
        }
        both_finish(&both);
    }
}

static void test_unknown_authority(void **state)
{
    X509 *right = ca;
    EVP_PKEY *right_key = ca_key;
    struct both both;

    ca_key = key_make("P-256");
    ca = certificate_of("Another CA", ca_key, NULL, NULL);
    both_init(&both, "localhost", "localhost", true); // what is served is by that one, what is trusted stays
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    ca = right;
    ca_key = right_key;
    both_start(&both, NULL);
    both_run(&both, 0);
    assert_int_equal(both.status[0], ENGINE_FAILED);
    assert_true(engine_is_untrusted(both.ends[0]));
    assert_memory_equal(engine_failure(both.ends[0]), "server certificate refused: issuer not trusted (", 48);
    both_finish(&both);
}

static void test_no_version_in_common(void **state)
{
    struct both both;

    both_init(&both, "localhost", "localhost", true);
    both.server.listener.tls.version_max = CONFIG_TLS12;
    both.upstream.tls.tls.version_min = CONFIG_TLS13;
    both_start(&both, NULL);
    both_run(&both, 0);
    assert_int_equal(both.status[0], ENGINE_FAILED);
    assert_false(engine_is_untrusted(both.ends[0]));
    assert_string_equal(engine_failure(both.ends[0]), "server sent alert protocol_version");
    both_finish(&both);
}

// Bytes that are no TLS: an end, whatever they are.
static void test_garbage(void **state)
{
    static const char *const texts[] = {"HTTP/1.1 400 Bad Request\r\n\r\n", "220 mail ESMTP\r\n",
                                        "\x16\x03\x03\xff\xff\x02 and so on", "\x15\x03\x03\x00\x02\x02\x28",
                                        "\x17\x03\x03\x00\x01\x01"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct both both;
        size_t eaten;
        size_t length = i == 3 ? 7 : i == 4 ? 6 : strlen(texts[i]);

        both_init(&both, "localhost", "localhost", true);
        both_start(&both, NULL);
        assert_int_equal(engine_feed(both.ends[0], NULL, 0, &eaten), ENGINE_WANTS_INPUT);
        assert_int_equal(engine_feed(both.ends[0], (const uint8_t *)texts[i], length, &eaten), ENGINE_FAILED);
        assert_true(engine_failure(both.ends[0])[0] != '\0');
        if (i < 2)
            assert_string_equal(engine_failure(both.ends[0]), "server does not speak TLS");
        if (i == 3)
            assert_string_equal(engine_failure(both.ends[0]), "server sent alert handshake_failure");
        both_finish(&both);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suites),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_unknown_authority),
        cmocka_unit_test(test_no_version_in_common),
        cmocka_unit_test(test_garbage),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
