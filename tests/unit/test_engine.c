// SPDX-License-Identifier: Apache-2.0
// Handshakes that succeed: OpenSSL's client against the engine in every combination of version, suite and certificate. That
// keys and sequence numbers are right is proved by data that goes both ways through the record layer.
#include "tests/unit/handshake.h"

static struct server server; // RSA and ECDSA

static int set_up(void **state)
{
    must(record_init() == 0, "the record layer");
    server_init(&server, "RSA2048 P-256");
    server_start(&server);
    return 0;
}

static int tear_down(void **state)
{
    server_finish(&server);
    record_finish();
    return 0;
}

// ---- every combination ----

struct suite {
    int version;
    const char *name;
    enum record_cipher cipher;
    const char *certificate; // NULL: the suite says
};

static const struct suite suites[] = {
    {TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", RECORD_AES_128_GCM, "RSA2048"},
    {TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", RECORD_AES_256_GCM, "RSA2048"},
    {TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256", RECORD_CHACHA20_POLY1305, "RSA2048"},
    {TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", RECORD_AES_128_GCM, "P-256"},
    {TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", RECORD_AES_256_GCM, "P-384"},
    {TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256", RECORD_CHACHA20_POLY1305, "P-521"},
    {TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", RECORD_AES_128_GCM, "ED25519"},
    {TLS1_2_VERSION, "ECDHE-RSA-AES128-GCM-SHA256", RECORD_AES_128_GCM, "RSA2048"},
    {TLS1_2_VERSION, "ECDHE-RSA-AES256-GCM-SHA384", RECORD_AES_256_GCM, "RSA2048"},
    {TLS1_2_VERSION, "ECDHE-RSA-CHACHA20-POLY1305", RECORD_CHACHA20_POLY1305, "RSA2048"},
    {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", RECORD_AES_128_GCM, "P-256"},
    {TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384", RECORD_AES_256_GCM, "P-384"},
    {TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", RECORD_CHACHA20_POLY1305, "P-521"},
    {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", RECORD_AES_128_GCM, "ED25519"},
};

#define SUITE_COUNT (sizeof(suites) / sizeof(suites[0]))

static SSL_CTX *client_of(int version, const char *suite)
{
    SSL_CTX *client = client_context();

    SSL_CTX_set_min_proto_version(client, version);
    SSL_CTX_set_max_proto_version(client, version);
    if (suite != NULL)
        must((version == TLS1_3_VERSION ? SSL_CTX_set_ciphersuites : SSL_CTX_set_cipher_list)(client,
                                                                                              suite) == 1,
             suite);
    return client;
}

// In TLS 1.2 with GCM the nonces that we send go on where OpenSSL's Finished began: after change_cipher_spec, in a record of
// 8 + 16 + 16 bytes.
static void assert_nonce_goes_on(const struct talk *talk, const struct engine_outcome *outcome)
{
    static const uint8_t mark[] = {20, 3, 3, 0, 1, 1, 22, 3, 3, 0, 40};
    static const uint8_t zero[8];
    const uint8_t *found = memmem(talk->sent, talk->sent_size, mark, sizeof(mark));

    if (outcome->version == RECORD_TLS13 || outcome->cipher == RECORD_CHACHA20_POLY1305)
        return;
    assert_non_null(found);
    assert_memory_equal(outcome->transmit.iv + 4, found + sizeof(mark), 8);
    assert_memory_not_equal(outcome->transmit.iv + 4, zero, 8);
    assert_memory_equal(outcome->receive.iv + 4, zero, 8);
}

static void assert_suite(const struct suite *suite, size_t piece)
{
    struct server own;
    SSL_CTX *client = client_of(suite->version, suite->name);
    struct engine_outcome outcome;
    struct talk talk;

    server_init(&own, suite->certificate);
    server_start(&own);
    talk_init(&talk, &own, client);
    talk.piece = piece;
    outcome = talk_succeed(&talk);
    assert_int_equal(outcome.version, suite->version);
    assert_int_equal(outcome.cipher, suite->cipher);
    assert_string_equal(outcome.suite_name, suite->name);
    assert_string_equal(outcome.version_name, suite->version == TLS1_3_VERSION ? "TLSv1.3" : "TLSv1.2");
    assert_false(outcome.resumed);
    assert_int_equal(outcome.payload_max, RECORD_PLAINTEXT_MAX);
    assert_string_equal(outcome.sni, "");
    assert_string_equal(outcome.alpn, "");
    // TLS 1.3: two tickets under the keys; TLS 1.2: Finished in both directions.
    assert_int_equal(outcome.transmit.sequence, suite->version == TLS1_3_VERSION ? 2 : 1);
    assert_int_equal(outcome.receive.sequence, suite->version == TLS1_3_VERSION ? 0 : 1);
    assert_nonce_goes_on(&talk, &outcome);
    assert_keys_work(&talk, &outcome);
    talk_finish(&talk);
    server_finish(&own);
    SSL_CTX_free(client);
}

static void test_every_combination(void **state)
{
    for (size_t i = 0; i < SUITE_COUNT; i++)
        assert_suite(&suites[i], 0);
}

static void test_byte_by_byte(void **state)
{
    for (size_t i = 0; i < SUITE_COUNT; i++)
        assert_suite(&suites[i], 1);
}

// ---- what the client sends behind its Finished ----

static void test_request_with_finished(void **state)
{
    for (size_t piece = 0; piece < 40; piece += 13) {
        SSL_CTX *client = client_of(TLS1_3_VERSION, NULL);
        struct engine_outcome outcome;
        struct talk talk;

        talk_init(&talk, &server, client);
        talk.piece = piece;
        talk.request = "GET / HTTP/1.1\r\n\r\n";
        outcome = talk_succeed(&talk);
        assert_int_equal(talk.left_size, strlen(talk.request) + RECORD_HEADER_SIZE + 1 + RECORD_TAG_SIZE);
        assert_keys_work(&talk, &outcome);
        talk_finish(&talk);
        SSL_CTX_free(client);
    }
}

// ---- resumption ----

// A full handshake at `from`, and the session that the client keeps of it.
static SSL_SESSION *session_of(struct server *from, SSL_CTX *client)
{
    struct engine_outcome outcome;
    SSL_SESSION *session;
    struct talk talk;

    talk_init(&talk, from, client);
    outcome = talk_succeed(&talk);
    assert_false(outcome.resumed);
    assert_keys_work(&talk, &outcome);
    SSL_shutdown(talk.client); // or it would call the session bad
    session = SSL_get1_session(talk.client);
    assert_int_equal(SSL_SESSION_is_resumable(session), 1);
    talk_finish(&talk);
    return session;
}

static bool resumes(struct server *from, struct server *at, int version, bool asks_early)
{
    SSL_CTX *client = client_of(version, NULL);
    SSL_SESSION *session = session_of(from, client);
    struct engine_outcome outcome;
    struct talk talk;

    talk_init(&talk, at, client);
    SSL_set_session(talk.client, session);
    if (asks_early)
        talk.request = "asked at once";
    outcome = talk_succeed(&talk);
    if (outcome.resumed) {
        assert_int_equal(outcome.transmit.sequence, 1); // TLS 1.3: one ticket, TLS 1.2: Finished
        assert_int_equal(outcome.receive.sequence, version == TLS1_3_VERSION ? 0 : 1);
        assert_nonce_goes_on(&talk, &outcome);
    }
    assert_int_equal(SSL_session_reused(talk.client), outcome.resumed);
    assert_keys_work(&talk, &outcome);
    talk_finish(&talk);
    SSL_SESSION_free(session);
    SSL_CTX_free(client);
    return outcome.resumed;
}

// A server of the same configuration and material, as another worker has it, or another listener.
static void make_twin(const struct server *original, const char *listener, struct server *twin)
{
    *twin = *original;
    twin->listener.name = (char *)listener;
    twin->context = NULL;
    server_start(twin);
}

static void test_resumed_at_another_worker(void **state)
{
    struct server twin;

    make_twin(&server, "another listener", &twin);
    assert_true(resumes(&server, &twin, TLS1_3_VERSION, false));
    assert_true(resumes(&server, &twin, TLS1_2_VERSION, false));
    // Finished comes last from the client here, and data right behind it, in TLS 1.2 too.
    assert_true(resumes(&server, &twin, TLS1_3_VERSION, true));
    assert_true(resumes(&server, &twin, TLS1_2_VERSION, true));
    tls_context_destroy(twin.context);
}

static void test_not_resumed_under_other_keys(void **state)
{
    struct server stranger;

    server_init(&stranger, "RSA2048 P-256");
    server_start(&stranger);
    assert_false(resumes(&server, &stranger, TLS1_3_VERSION, false));
    assert_false(resumes(&server, &stranger, TLS1_2_VERSION, false));
    server_finish(&stranger);
}

// A client that sends 0-RTT data although no ticket allows it: they are skipped (RFC 8446 §4.2.10).
static void test_early_data_refused(void **state)
{
    SSL_CTX *client = client_of(TLS1_3_VERSION, NULL);
    SSL_SESSION *session = session_of(&server, client);
    struct engine_outcome outcome;
    struct talk talk;
    size_t written = 0;

    talk_init(&talk, &server, client);
    assert_int_equal(SSL_SESSION_get_max_early_data(session), 0);
    SSL_SESSION_set_max_early_data(session, 1000);
    SSL_set_session(talk.client, session);
    assert_int_equal(SSL_write_early_data(talk.client, "early", 5, &written), 1);
    outcome = talk_succeed(&talk);
    assert_int_equal(SSL_get_early_data_status(talk.client), SSL_EARLY_DATA_REJECTED);
    assert_true(outcome.resumed);
    assert_keys_work(&talk, &outcome);
    talk_finish(&talk);
    SSL_SESSION_free(session);
    SSL_CTX_free(client);
}

// ---- names ----

static void test_alpn(void **state)
{
    static const struct {
        const char *ours[3];
        const char *theirs; // RFC 7301 §3.1
        const char *chosen;
    } cases[] = {
        {{"h2", "http/1.1"}, "\x08http/1.1\x02h2", "h2"}, // our order
        {{"h2", "http/1.1"}, "\x08http/1.1", "http/1.1"},
        {{"h2"}, "", ""},
        {{NULL}, "\x02h2", ""},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct server own;
        SSL_CTX *client = client_context();
        struct engine_outcome outcome;
        struct talk talk;

        make_twin(&server, "test", &own);
        own.listener.tls.alpn = (char **)cases[i].ours;
        while (cases[i].ours[own.listener.tls.alpn_count] != NULL)
            own.listener.tls.alpn_count++;
        server_start(&own);
        if (cases[i].theirs[0] != '\0')
            SSL_CTX_set_alpn_protos(client, (const uint8_t *)cases[i].theirs,
                                    (unsigned)strlen(cases[i].theirs));
        talk_init(&talk, &own, client);
        outcome = talk_succeed(&talk);
        assert_string_equal(outcome.alpn, cases[i].chosen);
        talk_finish(&talk);
        SSL_CTX_free(client);
        tls_context_destroy(own.context);
    }
}

static void assert_sni(const char *sent, const char *seen)
{
    SSL_CTX *client = client_context();
    struct engine_outcome outcome;
    struct talk talk;

    talk_init(&talk, &server, client);
    assert_string_equal(engine_sni(talk.engine), "");
    assert_int_equal(SSL_set_tlsext_host_name(talk.client, sent), 1);
    talk_client(&talk);
    talk_feed(&talk);
    assert_string_equal(engine_sni(talk.engine), seen);
    talk_deliver(&talk);
    outcome = talk_succeed(&talk);
    assert_string_equal(outcome.sni, seen);
    talk_finish(&talk);
    SSL_CTX_free(client);
}

static void test_sni(void **state)
{
    char longest[256];

    memset(longest, 'a', 255);
    longest[255] = '\0';
    assert_sni("Www.Example-1_2.com", "Www.Example-1_2.com");
    assert_sni("bad\nhost\x1b[31m=\"1\"", "bad?host??31m??1?");
    assert_sni("caf\xc3\xa9", "caf??");
    assert_sni(longest, longest);
}

// ---- choices ----

static struct engine_outcome outcome_with(struct server *with, SSL_CTX *client)
{
    struct engine_outcome outcome;
    struct talk talk;

    talk_init(&talk, with, client);
    outcome = talk_succeed(&talk);
    assert_keys_work(&talk, &outcome);
    talk_finish(&talk);
    SSL_CTX_free(client);
    return outcome;
}

static void test_suite_preference(void **state)
{
    static const struct {
        int version;
        const char *offered;
        enum record_cipher chosen;
    } cases[] = {
        {TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256",
         RECORD_AES_128_GCM},
        {TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256", RECORD_CHACHA20_POLY1305},
        {TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256", RECORD_AES_256_GCM},
        {TLS1_2_VERSION, "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256", RECORD_AES_128_GCM},
        {TLS1_2_VERSION, "ECDHE-RSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256", RECORD_CHACHA20_POLY1305},
        {TLS1_2_VERSION, "ECDHE-RSA-AES128-SHA256:AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384",
         RECORD_AES_256_GCM},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(outcome_with(&server, client_of(cases[i].version, cases[i].offered)).cipher,
                         cases[i].chosen);
}

static void test_certificate_by_client(void **state)
{
    static const struct {
        const char *signatures;
        int key;
    } cases[] = {{"RSA-PSS+SHA256:RSA+SHA256", EVP_PKEY_RSA}, {"ECDSA+SHA256", EVP_PKEY_EC}};

    for (size_t i = 0; i < 2; i++) {
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            SSL_CTX *client = client_of(version, NULL);
            X509 *certificate;
            struct talk talk;

            assert_int_equal(SSL_CTX_set1_sigalgs_list(client, cases[i].signatures), 1);
            talk_init(&talk, &server, client);
            talk_succeed(&talk);
            certificate = SSL_get1_peer_certificate(talk.client);
            assert_int_equal(EVP_PKEY_get_base_id(X509_get0_pubkey(certificate)), cases[i].key);
            X509_free(certificate);
            talk_finish(&talk);
            SSL_CTX_free(client);
        }
    }
}

static void test_version_bounds(void **state)
{
    struct server own;

    make_twin(&server, "test", &own);
    own.listener.tls.version_max = CONFIG_TLS12;
    server_start(&own);
    assert_int_equal(outcome_with(&own, client_context()).version, RECORD_TLS12);
    own.listener.tls.version_min = own.listener.tls.version_max = CONFIG_TLS13;
    server_start(&own);
    assert_int_equal(outcome_with(&own, client_context()).version, RECORD_TLS13);
    tls_context_destroy(own.context);
}

// The client's first key share is of a group that we don't do (RFC 8446 §4.1.4).
static void test_hello_retry(void **state)
{
    SSL_CTX *client = client_of(TLS1_3_VERSION, NULL);
    struct engine_outcome outcome;
    struct talk talk;

    assert_int_equal(SSL_CTX_set1_groups_list(client, "P-521:P-384"), 1);
    talk_init(&talk, &server, client);
    SSL_set_tlsext_host_name(talk.client, "retry.example");
    talk.piece = 1;
    outcome = talk_succeed(&talk);
    assert_string_equal(outcome.sni, "retry.example");
    assert_int_equal(outcome.transmit.sequence, 2);
    assert_keys_work(&talk, &outcome);
    talk_finish(&talk);
    SSL_CTX_free(client);
}

static void test_groups(void **state)
{
    static const char *const groups[] = {"X25519", "P-256", "P-384", "X448:X25519"};

    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            SSL_CTX *client = client_of(version, NULL);

            assert_int_equal(SSL_CTX_set1_groups_list(client, groups[i]), 1);
            outcome_with(&server, client);
        }
    }
}

static void test_small_records_asked_for(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX *client = client_of(version, NULL);

        SSL_CTX_set_tlsext_max_fragment_length(client, TLSEXT_max_fragment_length_1024);
        assert_int_equal(outcome_with(&server, client).payload_max, 1024);
    }
}

static void test_output_by_bytes(void **state)
{
    SSL_CTX *client = client_context();
    const uint8_t *output, *again;
    size_t length, rest;
    struct talk talk;

    talk_init(&talk, &server, client);
    assert_null(engine_output(talk.engine, &length));
    assert_int_equal(length, 0);
    talk_client(&talk);
    talk_feed(&talk);
    output = engine_output(talk.engine, &length);
    assert_true(length > 100);
    engine_output_sent(talk.engine, 0);
    assert_ptr_equal(engine_output(talk.engine, &rest), output);
    assert_int_equal(rest, length);
    engine_output_sent(talk.engine, 1);
    again = engine_output(talk.engine, &rest);
    assert_ptr_equal(again, output + 1);
    assert_int_equal(rest, length - 1);
    engine_output_sent(talk.engine, rest);
    engine_output(talk.engine, &rest);
    assert_int_equal(rest, 0);
    // Nothing new to eat: nothing new to send.
    assert_int_equal(engine_feed(talk.engine, NULL, 0, &rest), ENGINE_WANTS_INPUT);
    assert_int_equal(rest, 0);
    talk_finish(&talk);
    SSL_CTX_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_combination),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_request_with_finished),
        cmocka_unit_test(test_resumed_at_another_worker),
        cmocka_unit_test(test_not_resumed_under_other_keys),
        cmocka_unit_test(test_early_data_refused),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_sni),
        cmocka_unit_test(test_suite_preference),
        cmocka_unit_test(test_certificate_by_client),
        cmocka_unit_test(test_version_bounds),
        cmocka_unit_test(test_hello_retry),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_small_records_asked_for),
        cmocka_unit_test(test_output_by_bytes),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
