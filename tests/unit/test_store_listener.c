// SPDX-License-Identifier: Apache-2.0
// What listeners have beside certificates: OCSP responses, key logs, groups, an order of suites.
#include "tests/unit/visit.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

static int set_up(void **state)
{
    must(record_init() == 0, "the record layer");
    signal(SIGPIPE, SIG_IGN); // of key logs that nobody reads
    return 0;
}

static int tear_down(void **state)
{
    record_finish();
    return 0;
}

// ---- OCSP responses ----

// What a client gets that takes these signatures (NULL: any), or "".
static void assert_stapled(struct server *server, int version, const char *signatures, const char *response)
{
    SSL_CTX *client = client_for(version);
    const unsigned char *got;
    struct talk talk;
    long size;

    if (signatures != NULL)
        SSL_CTX_set1_sigalgs_list(client, signatures);
    SSL_CTX_set_tlsext_status_type(client, TLSEXT_STATUSTYPE_ocsp);
    talk_init(&talk, server, client);
    talk_succeed(&talk);
    size = SSL_get_tlsext_status_ocsp_resp(talk.client, &got);
    assert_int_equal(size, response[0] != '\0' ? (long)strlen(response) : -1);
    if (size > 0)
        assert_memory_equal(got, response, (size_t)size);
    talk_finish(&talk);
    SSL_CTX_free(client);
}

static void staple(struct server *server, uint32_t slot, const char *response, int64_t until_s)
{
    struct staple object = {.next_update_s = until_s};
    struct change change = {0};

    object.response.data = (uint8_t *)response;
    object.response.size = response != NULL ? strlen(response) : 0;
    change_staple(&change, slot, response != NULL ? &object : NULL);
    apply(server->material, &change);
}

static void test_staples(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        EVP_PKEY *key = key_make("P-256");
        X509 *certificate = certificate_of("localhost", key, NULL, NULL);
        SSL_CTX *client = client_for(version);
        struct server server;

        server_init_empty(&server);
        serve(server.material, 0, certificate, key, NULL, "localhost");
        server_serve(&server, 1, "P-256", "other.example");
        server_start(&server);
        assert_stapled(&server, version, NULL, "");
        staple(&server, 1, "another's", INT64_MAX);
        staple(&server, 99, "nobody's", INT64_MAX);
        assert_stapled(&server, version, NULL, "");
        staple(&server, 0, "good until the evening", time(NULL) + 3600);
        assert_stapled(&server, version, NULL, "good until the evening");
        visit(&server, client, NULL); // who doesn't ask
        clock_ahead_s = 3601;
        assert_stapled(&server, version, NULL, "");
        clock_ahead_s = 0;
        staple(&server, 0, "good for ever", INT64_MAX);
        assert_stapled(&server, version, NULL, "good for ever");
        // The same certificate under another name keeps it, another doesn't have it.
        serve(server.material, 0, certificate, key, NULL, "renamed.example");
        assert_stapled(&server, version, NULL, "good for ever");
        server_serve(&server, 0, "P-256", "localhost");
        assert_stapled(&server, version, NULL, "");
        staple(&server, 0, "its own", INT64_MAX);
        assert_stapled(&server, version, NULL, "its own");
        staple(&server, 0, NULL, 0);
        assert_stapled(&server, version, NULL, "");
        server_finish(&server);
        SSL_CTX_free(client);
        X509_free(certificate);
        EVP_PKEY_free(key);
    }
}

// Each certificate has its own.
static void test_staples_by_kind(void **state)
{
    static const char *const signatures[] = {"RSA-PSS+SHA256:RSA+SHA256", "ECDSA+SHA256"};
    static const char *const responses[] = {"about RSA", "about ECDSA"};

    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct server server;

        server_init(&server, "RSA2048 P-256");
        server_start(&server);
        for (uint32_t i = 0; i < 2; i++)
            staple(&server, i, responses[i], INT64_MAX);
        for (int i = 0; i < 2; i++)
            assert_stapled(&server, version, signatures[i], responses[i]);
        server_finish(&server);
    }
}

// ---- key log ----

static void test_keylog(void **state)
{
    static const char *const labels[] = {"CLIENT_RANDOM ", "CLIENT_HANDSHAKE_TRAFFIC_SECRET ",
                                         "SERVER_TRAFFIC_SECRET_0 "};
    int pipes[2];
    char text[8192];

    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX *client = client_for(version);
        struct server server;
        ssize_t size;

        assert_int_equal(pipe(pipes), 0);
        server_init(&server, "P-256");
        server.keylog = pipes[1];
        server_start(&server);
        visit(&server, client, NULL);
        close(pipes[1]);
        size = read(pipes[0], text, sizeof(text) - 1);
        assert_true(size > 0);
        text[size] = '\0';
        assert_int_equal(text[size - 1], '\n');
        for (int i = 0; i < 3; i++)
            assert_int_equal(strstr(text, labels[i]) != NULL, (i == 0) == (version == TLS1_2_VERSION));
        // A log that can't be written is no reason to refuse anybody.
        visit(&server, client, NULL);
        close(pipes[0]);
        server_finish(&server);
        SSL_CTX_free(client);
    }
}

// ---- groups, and whose order counts ----

static void test_groups(void **state)
{
    SSL_CTX *client = client_for(TLS1_3_VERSION);
    struct report report;
    struct server server;

    server_init(&server, "P-256");
    report_init(&report, "c.yaml");
    server.config.listeners = &server.listener;
    server.listener.tls.groups = (char *)"no-such-group:P-256:nor-this";
    assert_int_equal(tls_check(&server.config, &report), 0);
    assert_int_equal(report.count, 0); // a default
    server.listener.tls.groups_where = (struct config_where){3, 9};
    assert_int_equal(tls_check(&server.config, &report), 0);
    assert_int_equal(report.count, 2);
    assert_int_equal(report.error_count, 0);
    assert_non_null(strstr(report.lines[0].text, "has no group no-such-group: it is left out"));
    server_start(&server);
    SSL_CTX_set1_groups_list(client, "P-256");
    visit(&server, client, NULL);
    SSL_CTX_set1_groups_list(client, "X25519");
    assert_refused(&server, client, NULL, 40, "no suitable key share");
    server.listener.tls.groups = (char *)"no-such-group";
    assert_int_equal(tls_check(&server.config, &report), -EINVAL);
    assert_int_equal(report.error_count, 1);
    report_finish(&report);
    server_finish(&server);
    SSL_CTX_free(client);
}

static void test_whose_order(void **state)
{
    for (int prefers_server = 0; prefers_server < 2; prefers_server++) {
        SSL_CTX *client = client_for(TLS1_3_VERSION);
        struct server server;

        server_init(&server, "P-256");
        server.listener.tls.prefers_server = prefers_server;
        server_start(&server);
        SSL_CTX_set_ciphersuites(client, "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256");
        assert_int_equal(visit(&server, client, NULL).cipher,
                         prefers_server ? RECORD_AES_128_GCM : RECORD_AES_256_GCM);
        server.listener.tls.ciphersuites = (char *)"TLS_CHACHA20_POLY1305_SHA256";
        server_start(&server);
        assert_refused(&server, client, NULL, 40, "no shared cipher suite");
        server_finish(&server);
        SSL_CTX_free(client);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_staples), cmocka_unit_test(test_staples_by_kind), cmocka_unit_test(test_keylog),
        cmocka_unit_test(test_groups),  cmocka_unit_test(test_whose_order),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
