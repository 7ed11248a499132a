// SPDX-License-Identifier: Apache-2.0
// What a ticket remembers of the client's certificate, and where it is good: nowhere that asks clients for something else.
#include "tests/unit/client_pki.h"

static bool resumes(struct server *server, SSL_CTX *client, SSL_SESSION *session)
{
    struct engine_outcome outcome = visit_again(server, client, "localhost", session, NULL);

    assert_string_equal(outcome.client_subject, "CN=alice");
    assert_int_equal(strlen(outcome.client_fingerprint), 64);
    return outcome.resumed;
}

static void test_resumed(void **state)
{
    EACH_VERSION(version)
    {
        SSL_CTX *client = client_with(version, client_certificate("alice"));
        SSL_SESSION *session;
        struct server server, other;

        start(&server, CONFIG_CLIENT_AUTH_REQUIRED);
        trust(&server, (X509 *[]){pki.sub, NULL}, NULL);
        start(&other, CONFIG_CLIENT_AUTH_REQUIRED);
        trust(&other, (X509 *[]){pki.sub, NULL}, NULL);
        session = visit_for_session(&server, client, "localhost");
        assert_true(resumes(&server, client, session));
        assert_true(resumes(&other, client, session));
        // Each of these makes it useless.
        trust(&other, (X509 *[]){pki.sub, NULL},
              (X509_CRL *[]){list_of(pki.sub, pki.sub_key, NULL, DAY_S), NULL});
        assert_false(resumes(&other, client, session));
        trust(&other, (X509 *[]){pki.sub, pki.stranger, NULL}, NULL);
        assert_false(resumes(&other, client, session));
        trust(&other, (X509 *[]){pki.sub, NULL}, NULL);
        assert_true(resumes(&other, client, session));
        other.listener.tls.client_auth.depth = 3;
        server_start(&other);
        assert_false(resumes(&other, client, session));
        other.listener.tls.client_auth.depth = 4;
        other.listener.tls.client_auth.mode = CONFIG_CLIENT_AUTH_OPTIONAL;
        server_start(&other);
        assert_false(resumes(&other, client, session));
        SSL_SESSION_free(session);
        server_finish(&other);
        server_finish(&server);
        SSL_CTX_free(client);
    }
}

// A session that began without a certificate, where none was asked for, leads nowhere that one is.
static void test_not_by_the_back_door(void **state)
{
    EACH_VERSION(version)
    {
        SSL_CTX *client = client_for(version);
        SSL_SESSION *session;
        struct server open, closed;
        struct talk talk;

        start(&open, CONFIG_CLIENT_AUTH_OFF);
        start(&closed, CONFIG_CLIENT_AUTH_REQUIRED);
        trust(&closed, (X509 *[]){pki.sub, NULL}, NULL);
        session = visit_for_session(&open, client, "localhost");
        talk_init(&talk, &closed, client);
        talk_name(&talk, "localhost");
        SSL_set_session(talk.client, session);
        assert_int_equal(talk_run(&talk), ENGINE_FAILED);
        assert_string_equal(engine_failure(talk.engine), "client shows no certificate");
        talk_finish(&talk);
        SSL_SESSION_free(session);
        server_finish(&closed);
        server_finish(&open);
        SSL_CTX_free(client);
    }
}

// The session outlives the client's certificate, but must not.
static void test_expired_behind_the_session(void **state)
{
    EACH_VERSION(version)
    {
        const struct wish wish = {"alice", pki.sub, pki.sub_key, .until_s = 1800, .purpose = "clientAuth"};
        SSL_CTX *client = client_with(version, make(&wish, pki.key));
        SSL_SESSION *session;
        struct server server;
        struct talk talk;

        start(&server, CONFIG_CLIENT_AUTH_REQUIRED);
        trust(&server, (X509 *[]){pki.sub, NULL}, NULL);
        session = visit_for_session(&server, client, "localhost");
        assert_true(resumes(&server, client, session));
        clock_ahead_s = 3600;
        talk_init(&talk, &server, client);
        talk_name(&talk, "localhost");
        SSL_set_session(talk.client, session);
        assert_int_equal(talk_run(&talk), ENGINE_FAILED);
        assert_string_equal(engine_failure(talk.engine),
                            "client certificate refused: certificate has expired (CN=alice)");
        clock_ahead_s = 0;
        talk_finish(&talk);
        SSL_SESSION_free(session);
        server_finish(&server);
        SSL_CTX_free(client);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resumed),
        cmocka_unit_test(test_not_by_the_back_door),
        cmocka_unit_test(test_expired_behind_the_session),
    };

    return cmocka_run_group_tests(tests, pki_set_up, pki_tear_down);
}
