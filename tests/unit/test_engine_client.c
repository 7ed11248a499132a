// SPDX-License-Identifier: Apache-2.0
// The engine as client against our own engine as server, in every combination of version and cipher; keys and sequence numbers are proved by
// records that go both ways. Then servers that are not whom they should be.
#include "tests/unit/both.h"

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
