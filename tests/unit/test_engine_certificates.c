// SPDX-License-Identifier: Apache-2.0
// What a server is told of both certificates: after a full handshake, after a resumed one, with names of every kind.
#include "src/tls/certificates.h"
#include "tests/unit/client_pki.h"

// The outcome is taken too, as it is in a connection.
static struct engine_certificates talk_certificates(struct server *server, SSL_CTX *client,
                                                    SSL_SESSION *session)
{
    static struct talk talk;
    struct engine_certificates certificates;
    struct engine_outcome outcome;

    talk_init(&talk, server, client);
    talk_name(&talk, "localhost");
    if (session != NULL)
        must(SSL_set_session(talk.client, session) == 1, "a session");
    assert_int_equal(talk_run(&talk), ENGINE_DONE);
    assert_int_equal(engine_certificates(talk.engine, &certificates), 0);
    assert_int_equal(engine_outcome(talk.engine, &outcome), 0);
    assert_int_equal(outcome.resumed, session != NULL);
    record_keys_wipe(&outcome.receive);
    record_keys_wipe(&outcome.transmit);
    talk_finish(&talk);
    return certificates;
}

static void test_told(void **state)
{
    EACH_VERSION(version)
    {
        X509 *alice = client_certificate("alice");
        struct material_bytes der = der_of(alice);
        SSL_CTX *client = client_with(version, alice);
        struct engine_certificates told;
        SSL_SESSION *session;
        struct server server;

        start(&server, CONFIG_CLIENT_AUTH_REQUIRED);
        trust(&server, (X509 *[]){pki.sub, NULL}, NULL);
        session = visit_for_session(&server, client, "localhost");
        for (int resumes = 0; resumes < 2; resumes++) {
            told = talk_certificates(&server, client, resumes ? session : NULL);
            assert_true(told.has_client);
            assert_string_equal(told.client_name, "alice");
            assert_int_equal(told.client_size, der.size);
            assert_memory_equal(told.client, der.data, der.size);
            if (resumes) {
                assert_null(told.signature);
                assert_string_equal(told.key, "");
            } else {
                assert_string_equal(told.signature, "ecdsa-with-SHA256");
                assert_string_equal(told.key, "EC256");
            }
            engine_certificates_finish(&told);
            assert_null(told.client);
            engine_certificates_finish(&told);
        }
        OPENSSL_free(der.data);
        SSL_SESSION_free(session);
        server_finish(&server);
        SSL_CTX_free(client);
    }
}

static void test_without(void **state)
{
    SSL_CTX *client = client_for(TLS1_3_VERSION);
    struct engine_certificates told;
    struct server server;

    start(&server, CONFIG_CLIENT_AUTH_OFF);
    told = talk_certificates(&server, client, NULL);
    assert_false(told.has_client);
    assert_null(told.client);
    assert_string_equal(told.client_name, "");
    assert_string_equal(told.key, "EC256");
    engine_certificates_finish(&told);
    server_finish(&server);
    SSL_CTX_free(client);
}

// The name of a certificate whose common names are these, each of so many bytes.
static void name_of(const char *const names[], const int sizes[], char ret[static 256])
{
    X509 *certificate = certificate_of("localhost", pki.server_key, NULL, NULL);
    X509_NAME *subject = X509_NAME_new();
    struct engine_certificates told;

    for (size_t i = 0; names[i] != NULL; i++)
        must(X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const unsigned char *)"Example", -1, -1,
                                        0) == 1 &&
                 X509_NAME_add_entry_by_NID(subject, NID_commonName, V_ASN1_UTF8STRING,
                                            (unsigned char *)(uintptr_t)names[i], sizes[i], -1, 0) == 1,
             names[i]);
    must(X509_set_subject_name(certificate, subject) == 1, "a subject");
    assert_int_equal(certificates_describe(certificate, NULL, &told), 0);
    memcpy(ret, told.client_name, 256);
    engine_certificates_finish(&told);
    X509_NAME_free(subject);
    X509_free(certificate);
}

static void test_names(void **state)
{
    static char text[300];
    char name[256];

    name_of((const char *[]){NULL}, NULL, name);
    assert_string_equal(name, "");
    name_of((const char *[]){"älice", "bob", NULL}, (int[]){6, 3}, name);
    assert_string_equal(name, "älice");
    // Whoever reads up to the zero byte would take this for somebody else.
    name_of((const char *[]){"alice\0.example", NULL}, (int[]){14}, name);
    assert_string_equal(name, "");
    memset(text, 'a', sizeof(text));
    name_of((const char *[]){text, NULL}, (int[]){255}, name);
    assert_int_equal(strlen(name), 255);
    name_of((const char *[]){text, NULL}, (int[]){256}, name);
    assert_string_equal(name, "");
}

static void test_keys(void **state)
{
    static const struct {
        const char *kind, *key, *signature;
    } cases[] = {
        {"P-384", "EC384", "ecdsa-with-SHA256"},
        {"RSA2048", "RSA2048", "RSA-SHA256"},
        {"ED25519", "ED25519", "ED25519"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        EVP_PKEY *key = key_make(cases[i].kind);
        X509 *certificate = certificate_of("localhost", key, NULL, NULL);
        struct engine_certificates told;

        assert_int_equal(certificates_describe(NULL, certificate, &told), 0);
        assert_string_equal(told.key, cases[i].key);
        assert_string_equal(told.signature, cases[i].signature);
        assert_false(told.has_client);
        engine_certificates_finish(&told);
        X509_free(certificate);
        EVP_PKEY_free(key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told),
        cmocka_unit_test(test_without),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_keys),
    };

    return cmocka_run_group_tests(tests, pki_set_up, pki_tear_down);
}
