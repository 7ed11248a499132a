// SPDX-License-Identifier: Apache-2.0
// Client certificates: who is let in, what the others are told and what the operator reads; and lists of revoked ones, that change.
#include "tests/unit/client_pki.h"

// ---- who is let in ----

static void test_modes(void **state)
{
    EACH_VERSION(version)
    {
        for (int mode = CONFIG_CLIENT_AUTH_OFF; mode <= CONFIG_CLIENT_AUTH_REQUIRED; mode++) {
            SSL_CTX *with = client_with(version, client_certificate("alice"));
            SSL_CTX *without = client_for(version);
            struct engine_outcome outcome;
            struct server server;

            start(&server, (enum config_client_auth)mode);
            trust(&server, (X509 *[]){pki.root, NULL}, NULL);
            outcome = visit(&server, with, "localhost");
            assert_string_equal(outcome.client_subject, mode == CONFIG_CLIENT_AUTH_OFF ? "" : "CN=alice");
            assert_int_equal(strlen(outcome.client_fingerprint), mode == CONFIG_CLIENT_AUTH_OFF ? 0 : 64);
            if (mode == CONFIG_CLIENT_AUTH_REQUIRED) {
                assert_refused(&server, without, "localhost", version == TLS1_3_VERSION ? 116 : 40,
                               "client shows no certificate");
            } else {
                outcome = visit(&server, without, "localhost");
                assert_string_equal(outcome.client_subject, "");
                assert_string_equal(outcome.client_fingerprint, "");
            }
            server_finish(&server);
            SSL_CTX_free(without);
            SSL_CTX_free(with);
        }
    }
}

static void test_refused(void **state)
{
    EACH_VERSION(version)
    {
        const struct {
            struct wish wish;
            int alert;
            const char *words;
        } cases[] = {
            {{"x", pki.stranger, pki.stranger_key}, 48, "issuer not trusted (CN=x)"},
            {{"x", NULL, NULL}, 48, "issuer not trusted (CN=x)"},
            {{"x", pki.sub, pki.sub_key, .from_s = -7200, .until_s = -3600},
             45,
             "certificate has expired (CN=x)"},
            {{"x", pki.sub, pki.sub_key, .from_s = 3600}, 42, "certificate is not yet valid (CN=x)"},
            {{"x", pki.sub, pki.sub_key, .purpose = "serverAuth"},
             43,
             "unsuitable certificate purpose (CN=x)"},
            {{"x", pki.sub, pki.stranger_key}, 51, "certificate signature failure (CN=x)"},
        };
        struct server server;

        start(&server, CONFIG_CLIENT_AUTH_OPTIONAL);
        trust(&server, (X509 *[]){pki.root, NULL}, NULL);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            char words[128] = "client certificate refused: ";

            strcat(words, cases[i].words);
            assert_turned_away(&server, version, make(&cases[i].wish, pki.key), cases[i].alert, words);
        }
        server_finish(&server);
    }
}

static void test_weak_key(void **state)
{
    EVP_PKEY *key = key_make("RSA1024");
    X509 *weak = make(&(struct wish){"weak", pki.sub, pki.sub_key}, key);

    EACH_VERSION(version)
    {
        SSL_CTX *client = client_for(version);
        struct server server;

        SSL_CTX_set_security_level(client, 0);
        must(SSL_CTX_use_certificate(client, weak) == 1 && SSL_CTX_use_PrivateKey(client, key) == 1,
             "a client");
        SSL_CTX_add1_chain_cert(client, pki.sub);
        start(&server, CONFIG_CLIENT_AUTH_REQUIRED);
        trust(&server, (X509 *[]){pki.root, NULL}, NULL);
        assert_refused(&server, client, "localhost", 42,
                       "client certificate refused: EE certificate key too weak (CN=weak)");
        server_finish(&server);
        SSL_CTX_free(client);
    }
    X509_free(weak);
    EVP_PKEY_free(key);
}

static void test_depth(void **state)
{
    EACH_VERSION(version)
    {
        struct server server;

        start(&server, CONFIG_CLIENT_AUTH_REQUIRED);
        trust(&server, (X509 *[]){pki.root, NULL}, NULL);
        server.listener.tls.client_auth.depth = 1;
        server_start(&server);
        assert_let_in(&server, version, client_certificate("x"));
        server.listener.tls.client_auth.depth = 0;
        server_start(&server);
        assert_turned_away(&server, version, client_certificate("x"), 48,
                           "client certificate refused: certificate chain too long (CN=x, through CN=Sub)");
        // An authority need not be a root.
        trust(&server, (X509 *[]){pki.sub, NULL}, NULL);
        assert_let_in(&server, version, client_certificate("x"));
        server_finish(&server);
    }
}

static void test_no_trust_yet(void **state)
{
    EACH_VERSION(version)
    {
        struct server server;

        start(&server, CONFIG_CLIENT_AUTH_REQUIRED);
        assert_turned_away(&server, version, client_certificate("x"), 48,
                           "client certificate refused: issuer not trusted (CN=x, through CN=Sub)");
        trust(&server, (X509 *[]){pki.root, NULL}, NULL);
        assert_let_in(&server, version, client_certificate("x"));
        trust(&server, (X509 *[]){pki.stranger, NULL}, NULL);
        assert_turned_away(&server, version, client_certificate("x"), 48,
                           "client certificate refused: issuer not trusted (CN=x, through CN=Sub)");
        server_finish(&server);
    }
}

static void test_authorities_named(void **state)
{
    struct server server;

    EACH_VERSION(version)
    {
        SSL_CTX *client = client_for(version);
        const STACK_OF(X509_NAME) * names;
        struct talk talk;

        start(&server, CONFIG_CLIENT_AUTH_OPTIONAL);
        trust(&server, (X509 *[]){pki.root, pki.stranger, NULL}, NULL);
        talk_init(&talk, &server, client);
        talk_succeed(&talk);
        names = SSL_get0_peer_CA_list(talk.client);
        assert_int_equal(sk_X509_NAME_num(names), 2);
        assert_int_equal(X509_NAME_cmp(sk_X509_NAME_value(names, 0), X509_get_subject_name(pki.root)), 0);
        talk_finish(&talk);
        server_finish(&server);
        SSL_CTX_free(client);
    }
}

// An intermediate authority that the client doesn't send is taken from the configuration.
static void test_chain_not_sent(void **state)
{
    EACH_VERSION(version)
    {
        X509 *certificate = client_certificate("short");
        SSL_CTX *client = client_for(version);
        struct server server;

        must(SSL_CTX_use_certificate(client, certificate) == 1 &&
                 SSL_CTX_use_PrivateKey(client, pki.key) == 1,
             "a client");
        start(&server, CONFIG_CLIENT_AUTH_REQUIRED);
        trust(&server, (X509 *[]){pki.root, NULL}, NULL);
        assert_refused(&server, client, "localhost", 48,
                       "client certificate refused: issuer not trusted (CN=short)");
        trust(&server, (X509 *[]){pki.sub, pki.stranger, pki.root, NULL}, NULL);
        assert_string_equal(visit(&server, client, "localhost").client_subject, "CN=short");
        // At an authority that is no root, beside roots.
        trust(&server, (X509 *[]){pki.stranger, pki.sub, NULL}, NULL);
        assert_string_equal(visit(&server, client, "localhost").client_subject, "CN=short");
        server_finish(&server);
        SSL_CTX_free(client);
        X509_free(certificate);
    }
}

// Names come from the network: they are ASCII, and end somewhere.
static void test_subjects(void **state)
{
    char longest[65] = "";
    struct engine_outcome outcome;
    struct server server;
    SSL_CTX *client;

    start(&server, CONFIG_CLIENT_AUTH_REQUIRED);
    trust(&server, (X509 *[]){pki.root, NULL}, NULL);
    client = client_with(TLS1_3_VERSION, client_certificate("J\xc3\xbcrgen, \"J\"\n"));
    outcome = visit(&server, client, "localhost");
    assert_string_equal(outcome.client_subject, "CN=J\\C3\\BCrgen\\, \\\"J\\\"\\0A");
    SSL_CTX_free(client);
    for (int i = 0; i < 32; i++)
        strcat(longest, "\xc3\xa9"); // 64 bytes, of which each needs three
    client = client_with(TLS1_3_VERSION, client_certificate(longest));
    outcome = visit(&server, client, "localhost");
    assert_int_equal(strlen(outcome.client_subject), 3 + 64 * 3);
    SSL_CTX_free(client);
    server_finish(&server);
}

// ---- revocation ----

static void test_revoked(void **state)
{
    EACH_VERSION(version)
    {
        X509 *bad = client_certificate("bad");
        struct server server;

        start(&server, CONFIG_CLIENT_AUTH_REQUIRED);
        trust(&server, (X509 *[]){pki.root, pki.sub, NULL},
              (X509_CRL *[]){list_of(pki.sub, pki.sub_key, bad, DAY_S),
                             list_of(pki.root, pki.root_key, NULL, DAY_S), NULL});
        assert_let_in(&server, version, client_certificate("good"));
        X509_up_ref(bad);
        assert_turned_away(&server, version, bad, 44,
                           "client certificate refused: certificate revoked (CN=bad)");
        // The authority itself.
        trust(&server, (X509 *[]){pki.root, pki.sub, NULL},
              (X509_CRL *[]){list_of(pki.sub, pki.sub_key, NULL, DAY_S),
                             list_of(pki.root, pki.root_key, pki.sub, DAY_S), NULL});
        assert_turned_away(&server, version, client_certificate("good"), 44,
                           "client certificate refused: certificate revoked (CN=good, through CN=Sub)");
        // No list for what the intermediate authority issued.
        trust(&server, (X509 *[]){pki.root, NULL},
              (X509_CRL *[]){list_of(pki.root, pki.root_key, NULL, DAY_S), NULL});
        assert_turned_away(&server, version, client_certificate("good"), 48,
                           "client certificate refused: no revocation list of its issuer (CN=good)");
        // No list for the one that is trusted: who should have made it?
        trust(&server, (X509 *[]){pki.sub, NULL},
              (X509_CRL *[]){list_of(pki.sub, pki.sub_key, bad, DAY_S), NULL});
        assert_let_in(&server, version, client_certificate("good"));
        assert_turned_away(&server, version, bad, 44,
                           "client certificate refused: certificate revoked (CN=bad)");
        // A list that ends while it is used.
        trust(&server, (X509 *[]){pki.sub, NULL},
              (X509_CRL *[]){list_of(pki.sub, pki.sub_key, NULL, 3600), NULL});
        assert_let_in(&server, version, client_certificate("good"));
        clock_ahead_s = 7200;
        assert_turned_away(&server, version, client_certificate("good"), 45,
                           "client certificate refused: revocation list out of date (CN=good)");
        clock_ahead_s = 0;
        server_finish(&server);
    }
}

// Between the server's flight and the client's certificate.
static void test_revoked_during_the_handshake(void **state)
{
    EACH_VERSION(version)
    {
        X509 *bad = client_certificate("bad");
        struct server server;
        struct talk talk;
        SSL_CTX *client;

        start(&server, CONFIG_CLIENT_AUTH_REQUIRED);
        trust(&server, (X509 *[]){pki.sub, NULL},
              (X509_CRL *[]){list_of(pki.sub, pki.sub_key, NULL, DAY_S), NULL});
        X509_up_ref(bad);
        client = client_with(version, bad);
        talk_init(&talk, &server, client);
        talk_client(&talk);
        talk_feed(&talk);
        trust(&server, (X509 *[]){pki.sub, NULL},
              (X509_CRL *[]){list_of(pki.sub, pki.sub_key, bad, DAY_S), NULL});
        assert_turned_away(&server, version, NULL, version == TLS1_3_VERSION ? 116 : 40,
                           "client shows no certificate");
        talk_deliver(&talk);
        assert_int_equal(talk_run(&talk), ENGINE_FAILED);
        assert_string_equal(engine_failure(talk.engine),
                            "client certificate refused: certificate revoked (CN=bad)");
        talk_finish(&talk);
        server_finish(&server);
        SSL_CTX_free(client);
        X509_free(bad);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_modes),          cmocka_unit_test(test_refused),
        cmocka_unit_test(test_weak_key),       cmocka_unit_test(test_depth),
        cmocka_unit_test(test_no_trust_yet),   cmocka_unit_test(test_authorities_named),
        cmocka_unit_test(test_chain_not_sent), cmocka_unit_test(test_subjects),
        cmocka_unit_test(test_revoked),        cmocka_unit_test(test_revoked_during_the_handshake),
    };

    return cmocka_run_group_tests(tests, pki_set_up, pki_tear_down);
}
