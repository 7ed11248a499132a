// SPDX-License-Identifier: Apache-2.0
// Routes in the engine: who is answered which protocol, who is rejected and how, and that a ticket changes nothing of it.
#include "tests/unit/handshake.h"

static struct server server;

static char *h2[] = {(char *)"h2"};
static char *web[] = {(char *)"http/1.1", (char *)"h2"};
static char *own[] = {(char *)"own", (char *)"http/1.1"};

// In the order of the file:
//   1 {sni: a.example, alpn: h2, upstream: 1}   2 {sni: a.example, upstream: 2}      3 {sni: b.example, alpn: [http/1.1, h2], upstream: 3}
//   4 {sni: no.example, reject: true}           5 {sni: pass.example, passthrough: 4}
static struct config_route routes[] = {
    {.upstream = 1, .alpn = h2, .alpn_count = 1},
    {.upstream = 2},
    {.upstream = 3, .alpn = web, .alpn_count = 2},
    {.way = CONFIG_WAY_REJECT, .upstream = CONFIG_NO_UPSTREAM},
    {.way = CONFIG_WAY_PASSTHROUGH, .upstream = 4},
};
static struct config_route_name names[] = {
    {.name = (char *)"a.example", .route = 0},    {.name = (char *)"a.example", .route = 1},
    {.name = (char *)"b.example", .route = 2},    {.name = (char *)"no.example", .route = 3},
    {.name = (char *)"pass.example", .route = 4},
};

static void use_upstream(size_t upstream)
{
    server.listener.upstream = upstream;
    server_start(&server);
}

static int set_up(void **state)
{
    must(record_init() == 0, "the record layer");
    server_init(&server, "P-256");
    server.listener.routes = routes;
    server.listener.route_count = sizeof(routes) / sizeof(routes[0]);
    server.listener.route_names = names;
    server.listener.route_name_count = sizeof(names) / sizeof(names[0]);
    server.listener.tls.alpn = own;
    server.listener.tls.alpn_count = 2;
    use_upstream(0);
    return 0;
}

static int tear_down(void **state)
{
    server_finish(&server);
    record_finish();
    return 0;
}

static SSL_CTX *client_of(int version)
{
    SSL_CTX *client = client_context();

    SSL_CTX_set_min_proto_version(client, version);
    SSL_CTX_set_max_proto_version(client, version);
    return client;
}

static void talk_as(struct talk *talk, SSL_CTX *client, const char *sni, const char *alpn,
                    SSL_SESSION *session)
{
    talk_init(talk, &server, client);
    if (sni[0] != '\0')
        SSL_set_tlsext_host_name(talk->client, sni);
    if (alpn[0] != '\0')
        SSL_set_alpn_protos(talk->client, (const uint8_t *)alpn, (unsigned)strlen(alpn));
    if (session != NULL)
        SSL_set_session(talk->client, session);
}

static size_t number_of(const struct config_route *route)
{
    return route != NULL ? (size_t)(route - routes) + 1 : 0;
}

// The session that the client may go on with.
static SSL_SESSION *assert_taken(SSL_CTX *client, const char *sni, const char *alpn, SSL_SESSION *session,
                                 size_t route, const char *chosen)
{
    struct engine_outcome outcome;
    SSL_SESSION *next;
    struct talk talk;

    talk_as(&talk, client, sni, alpn, session);
    outcome = talk_succeed(&talk);
    assert_int_equal(number_of(engine_route(talk.engine)), route);
    assert_false(engine_is_rejected(talk.engine));
    assert_string_equal(outcome.alpn, chosen);
    assert_int_equal(outcome.resumed, session != NULL);
    assert_keys_work(&talk, &outcome);
    SSL_shutdown(talk.client);
    next = SSL_get1_session(talk.client);
    talk_finish(&talk);
    return next;
}

#define HTTP  "\x08http/1.1"
#define H2    "\x02h2"
#define OTHER "\x05other"

static const struct {
    const char *sni, *alpn;
    size_t route;
    const char *chosen;
} cases[] = {
    {"a.example", H2, 1, "h2"},
    {"a.example", HTTP H2, 1, "h2"},
    {"A.EXAMPLE", HTTP, 2, "http/1.1"}, // by the listener's list
    {"a.example", "", 2, ""},
    {"b.example", H2, 3, "h2"},
    {"b.example", H2 HTTP, 3, "http/1.1"}, // the route's order
    {"c.example", HTTP, 0, "http/1.1"},
    {"c.example", "", 0, ""},
    {"", "\x03own", 0, "own"},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

static void test_routes(void **state)
{
    for (size_t i = 0; i < CASES; i++) {
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            SSL_CTX *client = client_of(version);

            SSL_SESSION_free(
                assert_taken(client, cases[i].sni, cases[i].alpn, NULL, cases[i].route, cases[i].chosen));
            SSL_CTX_free(client);
        }
    }
}

// A ticket from each route is good at each other one, and what counts there is what is asked for there.
static void test_resumption(void **state)
{
    // One certificate for all names: else tickets are not good for another name at all.
    server_serve(&server, 1, "P-256", "a.example b.example c.example");
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX *client = client_of(version);

        for (size_t i = 0; i + 1 < CASES; i++) {
            for (size_t j = 0; j + 1 < CASES; j++) {
                SSL_SESSION *session =
                    assert_taken(client, cases[i].sni, cases[i].alpn, NULL, cases[i].route, cases[i].chosen);

                SSL_SESSION_free(assert_taken(client, cases[j].sni, cases[j].alpn, session, cases[j].route,
                                              cases[j].chosen));
                SSL_SESSION_free(session);
            }
        }
        SSL_CTX_free(client);
    }
}

static void assert_refused(SSL_CTX *client, const char *sni, const char *alpn, SSL_SESSION *session,
                           bool is_rejected, size_t route, int alert, const char *words)
{
    struct talk talk;

    talk_as(&talk, client, sni, alpn, session);
    assert_int_equal(talk_run(&talk), ENGINE_FAILED);
    assert_string_equal(engine_failure(talk.engine), words);
    assert_int_equal(engine_is_rejected(talk.engine), is_rejected);
    assert_int_equal(number_of(engine_route(talk.engine)), route);
    assert_string_equal(engine_sni(talk.engine), sni);
    assert_int_equal(engine_alert(talk.engine), alert);
    assert_int_equal(talk.sent_size, 7); // nothing but the alert
    assert_int_equal(talk.sent[6], alert);
    talk_finish(&talk);
}

static void test_refusals(void **state)
{
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX *client = client_of(version);
        SSL_SESSION *session;

        use_upstream(0);
        session = assert_taken(client, "c.example", HTTP, NULL, 0, "http/1.1");
        assert_refused(client, "no.example", H2, NULL, true, 4, 112, "rejected by a route");
        assert_refused(client, "no.example", "", session, true, 4, 112, "rejected by a route");
        assert_refused(client, "pass.example", "", NULL, false, 5, 50,
                       "ClientHello in a form that is not passed through");
        use_upstream(CONFIG_NO_UPSTREAM);
        assert_refused(client, "c.example", HTTP, NULL, true, 0, 112, "no route for this name");
        assert_refused(client, "c.example", HTTP, session, true, 0, 112, "no route for this name");
        assert_refused(client, "", "", NULL, true, 0, 112, "no route for this name");
        assert_refused(client, "b.example", OTHER, NULL, true, 0, 120, "no route for these protocols");
        assert_refused(client, "b.example", "", NULL, true, 0, 120, "no route for these protocols");
        SSL_SESSION_free(session);
        SSL_CTX_free(client);
    }
    use_upstream(0);
}

// RFC 7301 §3.2, with the listener's list as before.
static void test_no_common_protocol(void **state)
{
    SSL_CTX *client = client_of(TLS1_3_VERSION);
    struct talk talk;

    talk_as(&talk, client, "c.example", OTHER, NULL);
    assert_int_equal(talk_run(&talk), ENGINE_FAILED);
    assert_string_equal(engine_failure(talk.engine), "no application protocol");
    assert_int_equal(engine_alert(talk.engine), 120);
    assert_false(engine_is_rejected(talk.engine));
    talk_finish(&talk);
    SSL_CTX_free(client);
}

// After HelloRetryRequest the client asks for another name: refused, whatever that would lead to.
static void test_second_hello_elsewhere(void **state)
{
    static const struct {
        const char *first, *second;
        bool is_refused;
    } names_asked[] = {{"b.example", "a.example", true},
                       {"c.example", "b.example", true},
                       {"c.example", "d.example", false}};

    for (size_t i = 0; i < 3; i++) {
        SSL_CTX *client = client_of(TLS1_3_VERSION);
        struct talk talk;
        uint8_t *name;

        assert_int_equal(SSL_CTX_set1_groups_list(client, "P-521:P-256"), 1);
        talk_as(&talk, client, names_asked[i].first, H2 HTTP, NULL);
        talk_client(&talk);
        talk_feed(&talk);
        talk_deliver(&talk);
        assert_int_equal(talk.status, ENGINE_WANTS_INPUT);
        talk_client(&talk);
        name = memmem(talk.left, talk.left_size, names_asked[i].first, 9);
        assert_non_null(name);
        memcpy(name, names_asked[i].second, 9);
        talk_feed(&talk);
        if (names_asked[i].is_refused) {
            assert_int_equal(talk.status, ENGINE_FAILED);
            assert_string_equal(engine_failure(talk.engine), "second ClientHello for another route");
            assert_int_equal(engine_alert(talk.engine), ALERT_ILLEGAL_PARAMETER);
        } else {
            assert_int_equal(talk.status, ENGINE_WANTS_INPUT);
        }
        talk_finish(&talk);
        SSL_CTX_free(client);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_no_common_protocol),
        cmocka_unit_test(test_second_hello_elsewhere),
        cmocka_unit_test(test_resumption), // the last: it serves another certificate
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
