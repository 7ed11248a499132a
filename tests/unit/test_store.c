// SPDX-License-Identifier: Apache-2.0
// Which certificate a client gets: by its name, by what signatures it takes, by rank, and when what is served changes while it
// shakes hands.
#include "tests/unit/visit.h"

#include <stdatomic.h>

static int set_up(void **state)
{
    must(record_init() == 0, "the record layer");
    return 0;
}

static int tear_down(void **state)
{
    record_finish();
    return 0;
}

static void gone(struct server *server, uint32_t slot)
{
    struct change change = {0};

    change_certificate_gone(&change, slot);
    apply(server->material, &change);
}

// ---- names ----

static void test_by_name(void **state)
{
    struct server server;
    SSL_CTX *client = client_context();
    uint64_t first, exact, wildcard, inner;

    server_init_empty(&server);
    first = server_serve(&server, 0, "P-256", "first.example");
    exact = server_serve(&server, 1, "P-256", "www.example.com second.example.com");
    wildcard = server_serve(&server, 2, "P-256", "*.example.com example.com");
    inner = server_serve(&server, 3, "P-256", "*.inner.example.com");
    server_start(&server);
    const struct {
        const char *sni;
        uint64_t id;
    } cases[] = {
        {"www.example.com", exact},
        {"WWW.Example.COM", exact},
        {"www.example.com.", exact},
        {"second.example.com", exact},
        {"other.example.com", wildcard},
        {"OTHER.example.com.", wildcard},
        {"example.com", wildcard},
        {"a.inner.example.com", inner},
        {"inner.example.com", wildcard},
        {"a.b.inner.example.com", first}, // a wildcard is one label
        {"first.example", first},
        {"unknown.example", first},
        {"com", first},
        {"xexample.com", first},
        {NULL, first},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(visit(&server, client, cases[i].sni).certificate, cases[i].id);
    server_finish(&server);
    SSL_CTX_free(client);
}

static void test_strict(void **state)
{
    struct server server;
    SSL_CTX *client = client_context();
    uint64_t id;

    server_init_empty(&server);
    server.listener.tls.strict_sni = true;
    server_start(&server);
    assert_refused(&server, client, "www.example", 112, "no certificate for this name");
    assert_refused(&server, client, NULL, 112, "client names no host");
    id = server_serve(&server, 0, "P-256", "www.example *.wild.example");
    assert_int_equal(visit(&server, client, "www.example").certificate, id);
    assert_int_equal(visit(&server, client, "any.wild.example").certificate, id);
    assert_refused(&server, client, "wild.example", 112, "no certificate for this name");
    assert_refused(&server, client, "www.example.org", 112, "no certificate for this name");
    assert_refused(&server, client, NULL, 112, "client names no host");
    server_finish(&server);
    SSL_CTX_free(client);
}

static void test_nothing_to_serve(void **state)
{
    struct server server;
    SSL_CTX *client = client_context();

    server_init_empty(&server);
    server_start(&server);
    assert_refused(&server, client, "www.example", 40, "no certificate at all");
    assert_refused(&server, client, NULL, 40, "no certificate at all");
    server_serve(&server, 9, "P-256", "www.example");
    visit(&server, client, NULL);
    gone(&server, 9);
    assert_refused(&server, client, NULL, 40, "no certificate at all");
    gone(&server, 9); // again, and one that never was
    gone(&server, 1000);
    server_finish(&server);
    SSL_CTX_free(client);
}

// ---- kinds ----

static void assert_kind(struct server *server, const char *sni, const char *signatures, uint64_t id,
                        int version)
{
    SSL_CTX *client = client_for(version);

    assert_int_equal(SSL_CTX_set1_sigalgs_list(client, signatures), 1);
    assert_int_equal(visit(server, client, sni).certificate, id);
    SSL_CTX_free(client);
}

#define RSA   "RSA-PSS+SHA256:RSA+SHA256"
#define ECDSA "ECDSA+SHA256"
#define EDDSA "ed25519"

static void test_by_kind(void **state)
{
    struct server server;
    uint64_t rsa, ecdsa, eddsa, named;

    server_init_empty(&server);
    rsa = server_serve(&server, 0, "RSA2048", "www.example");
    ecdsa = server_serve(&server, 1, "P-256", "www.example");
    eddsa = server_serve(&server, 2, "ED25519", "www.example");
    named = server_serve(&server, 3, "RSA2048", "named.example");
    assert_int_equal(material_certificate_count(server.material, 0), 4);
    server_start(&server);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX *client = client_for(version);

        for (int i = 0; i < 2; i++) {
            const char *sni = i == 0 ? "www.example" : NULL;

            assert_kind(&server, sni, RSA, rsa, version);
            assert_kind(&server, sni, ECDSA, ecdsa, version);
            assert_kind(&server, sni, EDDSA, eddsa, version);
            assert_int_not_equal(visit(&server, client, sni).certificate, named);
        }
        // No other name's certificate stands in for a kind that a name has not.
        assert_kind(&server, "named.example", ECDSA ":" RSA, named, version);
        assert_int_equal(SSL_CTX_set1_sigalgs_list(client, ECDSA), 1);
        assert_refused(&server, client, "named.example", 40,
                       version == TLS1_3_VERSION ? "no suitable signature algorithm"
                                                 : "no shared cipher suite");
        SSL_CTX_free(client);
    }
    server_finish(&server);
}

// ---- ranks ----

static void test_by_rank(void **state)
{
    struct server server;
    SSL_CTX *client = client_context();
    uint64_t id[4];

    server_init_empty(&server);
    id[3] = server_serve(&server, 3, "P-256", "www.example *.example");
    id[1] = server_serve(&server, 1, "P-256", "www.example b.example");
    id[2] = server_serve(&server, 2, "P-256", "www.example *.example");
    server_start(&server);
    assert_int_equal(visit(&server, client, "www.example").certificate, id[1]);
    assert_int_equal(visit(&server, client, "a.example").certificate, id[2]);
    assert_int_equal(visit(&server, client, NULL).certificate, id[1]);
    gone(&server, 1);
    assert_int_equal(visit(&server, client, "www.example").certificate, id[2]);
    assert_int_equal(visit(&server, client, "b.example").certificate, id[2]); // the wildcard's
    assert_int_equal(visit(&server, client, NULL).certificate, id[2]);
    id[0] = server_serve(&server, 0, "P-256", "c.example");
    assert_int_equal(visit(&server, client, "www.example").certificate, id[2]);
    assert_int_equal(visit(&server, client, NULL).certificate, id[0]);
    gone(&server, 0);
    gone(&server, 2);
    assert_int_equal(visit(&server, client, "www.example").certificate, id[3]);
    assert_int_equal(visit(&server, client, NULL).certificate, id[3]);
    assert_int_equal(material_certificate_count(server.material, 0), 1);
    server_finish(&server);
    SSL_CTX_free(client);
}

// ---- chains ----

static void test_chain_sent(void **state)
{
    EVP_PKEY *authority_key = key_make("P-256");
    X509 *authority = certificate_of("an intermediate CA", authority_key, NULL, NULL);
    EVP_PKEY *key = key_make("P-256");
    X509 *leaf = certificate_of("localhost", key, authority, authority_key);
    SSL_CTX *client = client_context();
    struct server server;
    struct talk talk;

    server_init_empty(&server);
    serve(server.material, 0, leaf, key, authority, "localhost");
    serve(server.material, 1, leaf, key, authority, "other.example"); // shares it
    server_start(&server);
    for (int i = 0; i < 3; i++) {
        talk_init(&talk, &server, client);
        talk_name(&talk, i == 1 ? "other.example" : "localhost");
        talk_succeed(&talk);
        assert_int_equal(sk_X509_num(SSL_get_peer_cert_chain(talk.client)), 2);
        assert_int_equal(X509_cmp(sk_X509_value(SSL_get_peer_cert_chain(talk.client), 1), authority), 0);
        talk_finish(&talk);
        if (i == 1)
            gone(&server, 1);
    }
    server_finish(&server);
    SSL_CTX_free(client);
    X509_free(leaf);
    X509_free(authority);
    EVP_PKEY_free(key);
    EVP_PKEY_free(authority_key);
}

// ---- what changes ----

static void test_replaced(void **state)
{
    struct server server;
    SSL_CTX *client = client_context();
    uint64_t id;

    server_init_empty(&server);
    server_start(&server);
    for (int i = 0; i < 20; i++) {
        id = server_serve(&server, 0, i % 2 == 0 ? "P-256" : "ED25519",
                          i % 3 == 0 ? "www.example" : "www.example x.example");
        assert_int_equal(visit(&server, client, "www.example").certificate, id);
        assert_int_equal(visit(&server, client, NULL).certificate, id);
        assert_int_equal(material_certificate_count(server.material, 0), 1);
    }
    server_finish(&server);
    SSL_CTX_free(client);
}

// Between the server's flight and the client's answer: the handshake ends under the certificate that the client saw.
static void test_replaced_behind_the_flight(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        for (int is_removed = 0; is_removed < 2; is_removed++) {
            SSL_CTX *client = client_for(version);
            struct engine_outcome outcome;
            struct server server;
            struct talk talk;
            uint64_t id;

            server_init_empty(&server);
            id = server_serve(&server, 0, "P-256", "www.example");
            server_start(&server);
            talk_init(&talk, &server, client);
            talk_client(&talk);
            talk_feed(&talk);
            if (is_removed)
                gone(&server, 0);
            else
                server_serve(&server, 0, "P-256", "www.example");
            talk_deliver(&talk);
            outcome = talk_succeed(&talk);
            assert_int_equal(outcome.certificate, id);
            assert_keys_work(&talk, &outcome);
            talk_finish(&talk);
            server_finish(&server);
            SSL_CTX_free(client);
        }
    }
}

// Between the two hellos of a client whose first key share was of no use: it gets what is served now.
static void test_replaced_between_hellos(void **state)
{
    SSL_CTX *client = client_for(TLS1_3_VERSION);
    struct engine_outcome outcome;
    struct server server;
    struct talk talk;
    uint64_t id;

    assert_int_equal(SSL_CTX_set1_groups_list(client, "P-521:P-256"), 1);
    server_init_empty(&server);
    server_serve(&server, 0, "P-256", "www.example");
    server_start(&server);
    talk_init(&talk, &server, client);
    talk_client(&talk);
    talk_feed(&talk);
    talk_deliver(&talk);
    id = server_serve(&server, 0, "RSA2048", "www.example");
    outcome = talk_succeed(&talk);
    assert_int_equal(outcome.certificate, id);
    assert_int_equal(id_of(SSL_get0_peer_certificate(talk.client)), id);
    assert_keys_work(&talk, &outcome);
    talk_finish(&talk);

    talk_init(&talk, &server, client);
    talk_client(&talk);
    talk_feed(&talk);
    talk_deliver(&talk);
    gone(&server, 0);
    assert_int_equal(talk_run(&talk), ENGINE_FAILED);
    assert_string_equal(engine_failure(talk.engine), "no certificate at all");
    talk_finish(&talk);
    server_finish(&server);
    SSL_CTX_free(client);
}

// ---- counters ----

static void test_counted(void **state)
{
    static _Atomic uint64_t used[8];
    SSL_CTX *client = client_for(TLS1_2_VERSION);
    SSL_SESSION *session;
    struct server server;

    server_init(&server, "RSA2048 P-256");
    server_serve(&server, 7, "P-256", "seven.example");
    server_start(&server);
    visit(&server, client, "seven.example"); // before anybody counts
    material_count(server.material, used);
    for (int i = 0; i < 3; i++)
        visit(&server, client, "seven.example");
    visit(&server, client, "localhost");
    session = visit_for_session(&server, client, "seven.example");
    assert_true(visit_again(&server, client, "seven.example", session, NULL).resumed);
    SSL_SESSION_free(session);
    assert_refused(&server, (SSL_CTX_set_cipher_list(client, "AES128-SHA256"), client), "seven.example", 40,
                   "no shared cipher suite");
    assert_int_equal(atomic_load(&used[7]), 4);
    assert_int_equal(atomic_load(&used[0]) + atomic_load(&used[1]), 1);
    server_finish(&server);
    SSL_CTX_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_name),
        cmocka_unit_test(test_strict),
        cmocka_unit_test(test_nothing_to_serve),
        cmocka_unit_test(test_by_kind),
        cmocka_unit_test(test_by_rank),
        cmocka_unit_test(test_chain_sent),
        cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_replaced_behind_the_flight),
        cmocka_unit_test(test_replaced_between_hellos),
        cmocka_unit_test(test_counted),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
