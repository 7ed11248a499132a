// SPDX-License-Identifier: Apache-2.0
// Client certificates: who is let in, what the others are told and what the operator reads; lists of revoked ones, that change; and
// what of it a ticket remembers.
#include "tests/unit/visit.h"

// An authority, one below it, and keys that all share.
static struct {
    EVP_PKEY *root_key, *sub_key, *stranger_key, *key, *server_key;
    X509 *root, *sub, *stranger, *server;
} pki;

static struct ticket_key ticket_key;

// ---- certificates and lists ----

struct wish {
    const char *name;
    X509 *issuer; // NULL: signs itself
    EVP_PKEY *issuer_key;
    bool is_authority;
    long from_s, until_s; // 0: since an hour, for a day
    const char *purpose;  // extended key usage; NULL: none
};

static X509 *make(const struct wish *wish, EVP_PKEY *key)
{
    static long serial = 1000;
    EVP_PKEY *signer = wish->issuer_key != NULL ? wish->issuer_key : key;
    X509 *certificate = X509_new();
    X509 *issuer = wish->issuer != NULL ? wish->issuer : certificate;
    X509_NAME *name = X509_get_subject_name(certificate);

    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
    X509_gmtime_adj(X509_getm_notBefore(certificate), wish->from_s != 0 ? wish->from_s : -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), wish->until_s != 0 ? wish->until_s : DAY_S);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)wish->name, -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
    X509_set_pubkey(certificate, key);
    certificate_extend(certificate, issuer, NID_basic_constraints,
                       wish->is_authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (wish->is_authority)
        certificate_extend(certificate, issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
    certificate_extend(certificate, issuer, NID_subject_key_identifier, "hash");
    if (wish->purpose != NULL)
        certificate_extend(certificate, issuer, NID_ext_key_usage, wish->purpose);
    must(X509_sign(certificate, signer, EVP_sha256()) > 0, "a signature");
    return certificate;
}

static X509 *client_certificate(const char *name)
{
    return make(
        &(struct wish){.name = name, .issuer = pki.sub, .issuer_key = pki.sub_key, .purpose = "clientAuth"},
        pki.key);
}

// A list of one issuer, of nobody if `revoked` is NULL.
static X509_CRL *list_of(X509 *issuer, EVP_PKEY *key, X509 *revoked, long until_s)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *time = X509_gmtime_adj(NULL, -3600);

    X509_CRL_set_version(crl, X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer));
    X509_CRL_set1_lastUpdate(crl, time);
    X509_gmtime_adj(time, until_s);
    X509_CRL_set1_nextUpdate(crl, time);
    if (revoked != NULL) {
        X509_REVOKED *entry = X509_REVOKED_new();

        X509_gmtime_adj(time, -1800);
        X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(revoked));
        X509_REVOKED_set_revocationDate(entry, time);
        must(X509_CRL_add0_revoked(crl, entry) == 1, "an entry");
    }
    ASN1_TIME_free(time);
    must(X509_CRL_sign(crl, key, EVP_sha256()) > 0, "a signature");
    return crl;
}

static int set_up(void **state)
{
    must(record_init() == 0, "the record layer");
    ticket_key = random_ticket_key(32);
    pki.root_key = key_make("P-256");
    pki.sub_key = key_make("P-256");
    pki.stranger_key = key_make("P-256");
    pki.key = key_make("P-256");
    pki.server_key = key_make("P-256");
    pki.root = make(&(struct wish){.name = "Root", .is_authority = true}, pki.root_key);
    pki.sub = make(&(struct wish){"Sub", pki.root, pki.root_key, .is_authority = true}, pki.sub_key);
    pki.stranger = make(&(struct wish){.name = "Stranger", .is_authority = true}, pki.stranger_key);
    pki.server = certificate_of("localhost", pki.server_key, NULL, NULL);
    return 0;
}

static int tear_down(void **state)
{
    X509_free(pki.root);
    X509_free(pki.sub);
    X509_free(pki.stranger);
    X509_free(pki.server);
    EVP_PKEY_free(pki.root_key);
    EVP_PKEY_free(pki.sub_key);
    EVP_PKEY_free(pki.stranger_key);
    EVP_PKEY_free(pki.key);
    EVP_PKEY_free(pki.server_key);
    record_finish();
    return 0;
}

// ---- servers and clients ----

static void start(struct server *server, enum config_client_auth mode)
{
    server_init_empty(server);
    serve(server->material, 0, pki.server, pki.server_key, NULL, "localhost");
    serve_ticket_keys(server->material, &ticket_key, 1);
    server->listener.tls.client_auth.mode = mode;
    server->listener.tls.client_auth.depth = 4;
    server_start(server);
}

// Trust in `cas`, with lists; both end with a NULL. The lists are freed.
static void trust(struct server *server, X509 *const cas[], X509_CRL *const crls[])
{
    struct material_bytes ca[4], crl[4];
    struct client_trust object = {.cas = ca, .crls = crl, .next_update_s = INT64_MAX};
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    struct change change = {0};

    EVP_DigestInit_ex(digest, EVP_sha256(), NULL);
    for (; cas[object.ca_count] != NULL; object.ca_count++) {
        ca[object.ca_count] = der_of(cas[object.ca_count]);
        EVP_DigestUpdate(digest, ca[object.ca_count].data, ca[object.ca_count].size);
    }
    for (; crls != NULL && crls[object.crl_count] != NULL; object.crl_count++) {
        struct material_bytes *der = &crl[object.crl_count];

        der->data = NULL;
        der->size = (size_t)i2d_X509_CRL(crls[object.crl_count], &der->data);
        EVP_DigestUpdate(digest, der->data, der->size);
    }
    EVP_DigestFinal_ex(digest, object.digest, NULL);
    EVP_MD_CTX_free(digest);
    change_trust(&change, 0, &object);
    apply(server->material, &change);
    for (size_t i = 0; i < object.ca_count; i++)
        OPENSSL_free(ca[i].data);
    for (size_t i = 0; i < object.crl_count; i++) {
        OPENSSL_free(crl[i].data);
        X509_CRL_free(crls[i]);
    }
}

// A client that shows this certificate, with the one below the root. Owns it.
static SSL_CTX *client_with(int version, X509 *certificate)
{
    SSL_CTX *client = client_for(version);

    if (certificate == NULL)
        return client;
    must(SSL_CTX_use_certificate(client, certificate) == 1 && SSL_CTX_use_PrivateKey(client, pki.key) == 1 &&
             SSL_CTX_add1_chain_cert(client, pki.sub) == 1,
         "a client's certificate");
    X509_free(certificate);
    return client;
}

static void assert_turned_away(struct server *server, int version, X509 *certificate, int alert,
                               const char *words)
{
    SSL_CTX *client = client_with(version, certificate);

    assert_refused(server, client, "localhost", alert, words);
    SSL_CTX_free(client);
}

static void assert_let_in(struct server *server, int version, X509 *certificate)
{
    SSL_CTX *client = client_with(version, certificate);

    visit(server, client, "localhost");
    SSL_CTX_free(client);
}

#define EACH_VERSION(version) for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)

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
            {{"x", pki.stranger, pki.stranger_key}, 48, "no authority of ours issued it (CN=x)"},
            {{"x", NULL, NULL}, 48, "no authority of ours issued it (CN=x)"},
            {{"x", pki.sub, pki.sub_key, .from_s = -7200, .until_s = -3600},
             45,
             "certificate has expired (CN=x)"},
            {{"x", pki.sub, pki.sub_key, .from_s = 3600}, 42, "certificate is not yet valid (CN=x)"},
            {{"x", pki.sub, pki.sub_key, .purpose = "serverAuth"}, 43, "not meant for clients (CN=x)"},
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
        assert_turned_away(
            &server, version, client_certificate("x"), 48,
            "client certificate refused: no authority of ours issued it (CN=x, through CN=Sub)");
        trust(&server, (X509 *[]){pki.root, NULL}, NULL);
        assert_let_in(&server, version, client_certificate("x"));
        trust(&server, (X509 *[]){pki.stranger, NULL}, NULL);
        assert_turned_away(
            &server, version, client_certificate("x"), 48,
            "client certificate refused: no authority of ours issued it (CN=x, through CN=Sub)");
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
                       "client certificate refused: no authority of ours issued it (CN=short)");
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

// ---- tickets ----

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
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_weak_key),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_no_trust_yet),
        cmocka_unit_test(test_authorities_named),
        cmocka_unit_test(test_chain_not_sent),
        cmocka_unit_test(test_subjects),
        cmocka_unit_test(test_revoked),
        cmocka_unit_test(test_revoked_during_the_handshake),
        cmocka_unit_test(test_resumed),
        cmocka_unit_test(test_not_by_the_back_door),
        cmocka_unit_test(test_expired_behind_the_session),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
