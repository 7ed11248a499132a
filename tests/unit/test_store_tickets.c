// SPDX-License-Identifier: Apache-2.0
// Tickets: resumed wherever the keys are, across rotations, under both formats of keys; and not resumed when the certificate was
// retired, the name isn't served, or the time is over.
#include "tests/unit/visit.h"

static X509 *certificate; // what all servers serve as localhost
static EVP_PKEY *key;

static int set_up(void **state)
{
    must(record_init() == 0, "the record layer");
    key = key_make("P-256");
    certificate = certificate_of("localhost", key, NULL, NULL);
    return 0;
}

static int tear_down(void **state)
{
    X509_free(certificate);
    EVP_PKEY_free(key);
    record_finish();
    return 0;
}

// An instance of its own, with its own material.
static void start(struct server *server, const struct ticket_key *keys, size_t count)
{
    server_init_empty(server);
    serve(server->material, 0, certificate, key, NULL, "localhost");
    if (count > 0)
        serve_ticket_keys(server->material, keys, count);
    server_start(server);
}

static bool resumes(struct server *server, SSL_CTX *client, const char *sni, SSL_SESSION *session)
{
    struct engine_outcome outcome = visit_again(server, client, sni, session, NULL);

    assert_int_not_equal(outcome.certificate, 0);
    return outcome.resumed;
}

// In TLS 1.2 a client keeps its ticket unless it gets a new one.
static bool has_new_ticket(struct server *server, SSL_CTX *client, SSL_SESSION *session)
{
    const unsigned char *before, *after;
    size_t size_before, size_after;
    SSL_SESSION *next;
    bool is_new;

    visit_again(server, client, "localhost", session, &next);
    SSL_SESSION_get0_ticket(session, &before, &size_before);
    SSL_SESSION_get0_ticket(next, &after, &size_after);
    is_new = size_before != size_after || memcmp(before, after, size_after) != 0;
    SSL_SESSION_free(next);
    return is_new;
}

// ---- keys ----

static void test_shared_keys(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        for (uint8_t size = 16; size <= 32; size = (uint8_t)(size + 16)) {
            const struct ticket_key ticket_key = random_ticket_key(size);
            const struct ticket_key other = random_ticket_key(size);
            SSL_CTX *client = client_for(version);
            struct server here, there, stranger;
            struct engine_outcome outcome;
            SSL_SESSION *session;

            start(&here, &ticket_key, 1);
            start(&there, &ticket_key, 1);
            start(&stranger, &other, 1);
            session = visit_for_session(&here, client, "localhost");
            assert_non_null(session);
            outcome = visit_again(&there, client, "localhost", session, NULL);
            assert_true(outcome.resumed);
            assert_int_equal(outcome.certificate, id_of(certificate));
            assert_false(resumes(&stranger, client, "localhost", session));
            SSL_SESSION_free(session);
            server_finish(&stranger);
            server_finish(&there);
            server_finish(&here);
            SSL_CTX_free(client);
        }
    }
}

static void test_rotated_keys(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        const struct ticket_key old = random_ticket_key(32);
        const struct ticket_key new = random_ticket_key(16);
        const struct ticket_key both[] = {new, old};
        const struct ticket_key ahead[] = {old, new}; // known everywhere before it is used
        SSL_CTX *client = client_for(version);
        SSL_SESSION *session, *renewed;
        struct server server;

        start(&server, &old, 1);
        session = visit_for_session(&server, client, "localhost");
        serve_ticket_keys(server.material, ahead, 2);
        assert_true(resumes(&server, client, "localhost", session));
        assert_int_equal(has_new_ticket(&server, client, session), version == TLS1_3_VERSION);
        serve_ticket_keys(server.material, both, 2);
        assert_true(has_new_ticket(&server, client, session));
        assert_true(visit_again(&server, client, "localhost", session, &renewed).resumed);
        serve_ticket_keys(server.material, &new, 1);
        assert_false(resumes(&server, client, "localhost", session));
        assert_true(resumes(&server, client, "localhost", renewed));
        SSL_SESSION_free(renewed);
        SSL_SESSION_free(session);
        server_finish(&server);
        SSL_CTX_free(client);
    }
}

static void test_no_keys(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        const struct ticket_key ticket_key = random_ticket_key(32);
        SSL_CTX *client = client_for(version);
        SSL_SESSION *session;
        struct server server, other;

        start(&server, NULL, 0);
        assert_null(visit_for_session(&server, client, "localhost"));
        // Nor is one from elsewhere taken.
        start(&other, &ticket_key, 1);
        session = visit_for_session(&other, client, "localhost");
        assert_false(resumes(&server, client, "localhost", session));
        serve_ticket_keys(server.material, &ticket_key, 1);
        assert_true(resumes(&server, client, "localhost", session));
        SSL_SESSION_free(session);
        server_finish(&other);
        server_finish(&server);
        SSL_CTX_free(client);
    }
}

// Whatever is changed in a ticket, it is ignored.
static void test_damaged_tickets(void **state)
{
    const struct ticket_key ticket_key = random_ticket_key(32);
    SSL_CTX *client = client_for(TLS1_2_VERSION);
    struct server server;
    SSL_SESSION *session;
    const unsigned char *ticket;
    size_t size;

    start(&server, &ticket_key, 1);
    session = visit_for_session(&server, client, "localhost");
    SSL_SESSION_get0_ticket(session, &ticket, &size);
    assert_true(size > 100);
    for (size_t i = 0; i < size; i += i < 40 ? 1 : 7) {
        unsigned char *bytes = (unsigned char *)ticket; // the session's own

        bytes[i] ^= 0x10;
        assert_false(resumes(&server, client, "localhost", session));
        bytes[i] ^= 0x10;
    }
    assert_true(resumes(&server, client, "localhost", session));
    SSL_SESSION_free(session);
    server_finish(&server);
    SSL_CTX_free(client);
}

// ---- sessions that are no longer good ----

static void retire(struct server *server, uint64_t id)
{
    struct change change = {0};

    change_retire(&change, &id, 1);
    apply(server->material, &change);
}

static void test_retired(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        const struct ticket_key ticket_key = random_ticket_key(32);
        SSL_CTX *client = client_for(version);
        SSL_SESSION *session;
        struct server server;
        uint64_t id;

        start(&server, &ticket_key, 1);
        session = visit_for_session(&server, client, "localhost");
        id = server_serve(&server, 0, "P-256", "localhost");
        assert_int_not_equal(id, id_of(certificate));
        // Replaced is not retired.
        assert_true(resumes(&server, client, "localhost", session));
        retire(&server, 12345);
        retire(&server, UINT64_MAX);
        assert_true(resumes(&server, client, "localhost", session));
        retire(&server, id_of(certificate));
        retire(&server, id_of(certificate));
        assert_true(material_is_retired(server.material, id_of(certificate)));
        assert_true(material_is_retired(server.material, 12345));
        assert_false(material_is_retired(server.material, id));
        assert_false(resumes(&server, client, "localhost", session));
        // Who serves it again means it.
        serve(server.material, 0, certificate, key, NULL, "localhost");
        assert_false(material_is_retired(server.material, id_of(certificate)));
        assert_true(resumes(&server, client, "localhost", session));
        SSL_SESSION_free(session);
        server_finish(&server);
        SSL_CTX_free(client);
    }
}

// A ticket for a ticket goes on under the certificate that the first handshake showed.
static void test_retired_behind_a_resumption(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        const struct ticket_key first = random_ticket_key(32);
        const struct ticket_key second = random_ticket_key(32);
        const struct ticket_key both[] = {second, first};
        SSL_CTX *client = client_for(version);
        SSL_SESSION *session, *next;
        struct engine_outcome outcome;
        struct server server;

        start(&server, &first, 1);
        session = visit_for_session(&server, client, "localhost");
        server_serve(&server, 0, "P-256", "localhost");
        serve_ticket_keys(server.material, both, 2);
        outcome = visit_again(&server, client, "localhost", session, &next);
        assert_true(outcome.resumed);
        assert_int_equal(outcome.certificate, id_of(certificate));
        assert_true(resumes(&server, client, "localhost", next));
        retire(&server, id_of(certificate));
        assert_false(resumes(&server, client, "localhost", next));
        SSL_SESSION_free(next);
        SSL_SESSION_free(session);
        server_finish(&server);
        SSL_CTX_free(client);
    }
}

// The client thinks that it is fresh.
static bool resumes_after(struct server *server, SSL_CTX *client, SSL_SESSION *session, time_t seconds,
                          SSL_SESSION **ret_next)
{
    bool is_resumed;

    clock_ahead_s = seconds;
#if OPENSSL_VERSION_NUMBER >= 0x30400000L
    SSL_SESSION_set_time_ex(session, time(NULL));
#else
    SSL_SESSION_set_time(session, (long)time(NULL));
#endif
    is_resumed = visit_again(server, client, "localhost", session, ret_next).resumed;
    clock_ahead_s = 0;
    return is_resumed;
}

static void test_lifetime(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        const struct ticket_key ticket_key = random_ticket_key(32);
        SSL_CTX *client = client_for(version);
        SSL_SESSION *session;
        struct server server;

        start(&server, &ticket_key, 1);
        server.config.tickets.lifetime_ns = 10000 * CLOCK_NS_PER_S;
        server_start(&server);
        session = visit_for_session(&server, client, "localhost");
        assert_int_equal(SSL_SESSION_get_ticket_lifetime_hint(session), 10000);
        assert_true(resumes_after(&server, client, session, 9000, NULL));
        assert_false(resumes_after(&server, client, session, 11000, NULL));
        SSL_SESSION_free(session);
        server_finish(&server);
        SSL_CTX_free(client);
    }
}

// Tickets for tickets come to an end, however long each lives.
static void test_lifetime_of_a_chain(void **state)
{
    const struct ticket_key ticket_key = random_ticket_key(32);
    SSL_CTX *client = client_for(TLS1_3_VERSION);
    SSL_SESSION *session, *next;
    struct server server;

    start(&server, &ticket_key, 1);
    server.config.tickets.lifetime_ns = 3 * 24 * 3600 * CLOCK_NS_PER_S;
    server_start(&server);
    session = visit_for_session(&server, client, "localhost");
    for (int day = 2; day <= 6; day += 2) {
        assert_true(resumes_after(&server, client, session, day * DAY_S, &next));
        SSL_SESSION_free(session);
        session = next;
    }
    assert_false(resumes_after(&server, client, session, 8 * DAY_S, NULL));
    // Given by a clock that is far ahead of ours.
    assert_false(resumes_after(&server, client, session, -DAY_S, NULL));
    SSL_SESSION_free(session);
    server_finish(&server);
    SSL_CTX_free(client);
}

// ---- where a ticket is good ----

static void test_other_names(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        const struct ticket_key ticket_key = random_ticket_key(32);
        SSL_CTX *client = client_for(version);
        SSL_SESSION *named, *unnamed;
        struct server server, renewed, foreign;

        start(&server, &ticket_key, 1);
        named = visit_for_session(&server, client, "localhost");
        unnamed = visit_for_session(&server, client, NULL);
        assert_true(resumes(&server, client, NULL, unnamed));

        // Another instance that has the name already under a new certificate.
        start(&renewed, &ticket_key, 1);
        server_serve(&renewed, 0, "P-256", "localhost");
        assert_true(resumes(&renewed, client, "localhost", named));
        // It knows what it showed before; so many renewals later it doesn't.
        assert_true(resumes(&renewed, client, NULL, unnamed));
        for (int i = 0; i < 4; i++)
            server_serve(&renewed, 0, "P-256", "localhost");
        assert_false(resumes(&renewed, client, NULL, unnamed));
        assert_true(resumes(&renewed, client, "localhost", named));

        // A listener that has nothing to do with that name, though it has the keys.
        server_init_empty(&foreign);
        serve_ticket_keys(foreign.material, &ticket_key, 1);
        server_serve(&foreign, 0, "P-256", "foreign.example");
        server_start(&foreign);
        assert_false(resumes(&foreign, client, "localhost", named));
        assert_false(resumes(&foreign, client, NULL, unnamed));
        SSL_SESSION_free(named);
        SSL_SESSION_free(unnamed);
        server_finish(&foreign);
        server_finish(&renewed);
        server_finish(&server);
        SSL_CTX_free(client);
    }
}

// A ticket is no way around strict_sni.
static void test_strict(void **state)
{
    const struct ticket_key ticket_key = random_ticket_key(32);
    SSL_CTX *client = client_for(TLS1_3_VERSION);
    SSL_SESSION *session;
    struct server server;
    struct talk talk;

    start(&server, &ticket_key, 1);
    session = visit_for_session(&server, client, NULL);
    server.listener.tls.strict_sni = true;
    server_start(&server);
    talk_init(&talk, &server, client);
    SSL_set_session(talk.client, session);
    assert_int_equal(talk_run(&talk), ENGINE_FAILED);
    assert_string_equal(engine_failure(talk.engine), "client names no host");
    talk_finish(&talk);
    SSL_SESSION_free(session);
    server_finish(&server);
    SSL_CTX_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_keys), cmocka_unit_test(test_rotated_keys),
        cmocka_unit_test(test_no_keys),     cmocka_unit_test(test_damaged_tickets),
        cmocka_unit_test(test_retired),     cmocka_unit_test(test_retired_behind_a_resumption),
        cmocka_unit_test(test_lifetime),    cmocka_unit_test(test_lifetime_of_a_chain),
        cmocka_unit_test(test_other_names), cmocka_unit_test(test_strict),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
