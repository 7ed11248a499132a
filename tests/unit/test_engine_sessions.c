// SPDX-License-Identifier: Apache-2.0
// Sessions that a client's engine keeps and offers again: in both versions, and when it must not.
#include <time.h>

#include "tests/unit/both.h"

static time_t passed_s; // what the clock is ahead

// In place of libc's, for OpenSSL too.
time_t time(time_t *ret)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec += passed_s;
    if (ret != NULL)
        *ret = now.tv_sec;
    return now.tv_sec;
}

static struct ticket_key keys[1];

static void init(struct both *both, enum config_tls_version version)
{
    passed_s = 0;
    both_init(both, "localhost", "localhost", true);
    keys[0] = random_ticket_key(32);
    serve_ticket_keys(both->server.material, keys, 1);
    both->upstream.tls.tls.version_min = both->upstream.tls.tls.version_max = version;
}

// What came behind the handshake: opened as the record layer would, and given to who waits for it.
static bool take_tickets(struct both *both, const struct record_keys *keys_now)
{
    bool is_awaited = engine_awaits_ticket(both->ends[0]);
    struct record_user receive;

    record_user_init(&receive, keys_now, false);
    for (size_t at = 0; at < both->wire_size[0];) {
        struct record_opened opened;
        enum record_alert alert;

        assert_int_equal(
            record_user_open(&receive, both->wire[0] + at, both->wire_size[0] - at, &opened, &alert), 1);
        if (engine_awaits_ticket(both->ends[0]))
            engine_take_tickets(both->ends[0], opened.payload, opened.length);
        at += opened.consumed;
    }
    record_user_finish(&receive);
    return is_awaited;
}

// A handshake, and all that follows. True when it was resumed.
static bool run(struct both *both)
{
    struct engine_outcome client, server;

    both_run(both, 0);
    if (both->status[0] != ENGINE_DONE || both->status[1] != ENGINE_DONE)
        fail_msg("%s; %s", engine_failure(both->ends[0]), engine_failure(both->ends[1]));
    assert_int_equal(engine_outcome(both->ends[0], &client), 0);
    assert_int_equal(engine_outcome(both->ends[1], &server), 0);
    assert_int_equal(client.resumed, server.resumed);
    (void)take_tickets(both, &client.receive);
    assert_flows(&client.transmit, &server.receive);
    return client.resumed;
}

static const enum config_tls_version versions[] = {CONFIG_TLS12, CONFIG_TLS13};
#define EACH_VERSION(index) for (size_t index = 0; index < 2; index++)

static void test_resumed(void **state)
{
    EACH_VERSION(i)
    {
        struct both both;

        init(&both, versions[i]);
        both_start(&both, NULL);
        assert_false(run(&both));
        for (int times = 0; times < 3; times++) {
            both_again(&both, NULL, 0);
            assert_true(run(&both));
            assert_false(engine_awaits_ticket(both.ends[0]));
        }
        both_again(&both, NULL, 1); // another server
        assert_false(run(&both));
        both_again(&both, NULL, ENGINE_NO_SESSION);
        assert_false(run(&both));
        assert_false(engine_awaits_ticket(both.ends[0]));
        both_finish(&both);
    }
}

static void test_switched_off(void **state)
{
    EACH_VERSION(i)
    {
        struct both both;

        init(&both, versions[i]);
        both.upstream.tls.resumes = false;
        both_start(&both, NULL);
        for (int times = 0; times < 2; times++) {
            assert_false(run(&both));
            both_again(&both, NULL, 0);
        }
        both_finish(&both);
    }
}

// The server has other keys: the session is dropped, and the next one taken.
static void test_declined(void **state)
{
    EACH_VERSION(i)
    {
        struct both both;

        init(&both, versions[i]);
        both_start(&both, NULL);
        assert_false(run(&both));
        keys[0] = random_ticket_key(32);
        serve_ticket_keys(both.server.material, keys, 1);
        both_again(&both, NULL, 0);
        assert_false(run(&both));
        both_again(&both, NULL, 0);
        assert_true(run(&both));
        both_finish(&both);
    }
}

struct end {
    time_t passed_s;      // between the first handshake and the second
    time_t certificate_s; // the certificate's end
    time_t trusted_s;     // the revocation list's
    bool is_resumed;
};

static const struct end ends[] = {
    {3500, 86400, 86400, true}, {3700, 86400, 86400, false}, {500, 600, 86400, true},
    {700, 600, 86400, false},   {500, 86400, 600, true},     {700, 86400, 600, false},
};

// Whatever ends first: an hour, the certificate, the list. (The second handshake does not verify, so that it is seen whether there is one.)
static void test_ends(void **state)
{
    EACH_VERSION(i)
    for (size_t j = 0; j < sizeof(ends) / sizeof(ends[0]); j++) {
        struct both both;

        init(&both, versions[i]);
        X509_gmtime_adj(X509_getm_notAfter(both.certificate), ends[j].certificate_s);
        X509_sign(both.certificate, ca_key, EVP_sha256());
        serve(both.server.material, 0, both.certificate, both.key, NULL, "localhost");
        both_start(&both, NULL);
        both.context->trusted_until_s = time(NULL) + ends[j].trusted_s;
        assert_false(run(&both));
        passed_s = ends[j].passed_s;
        SSL_CTX_set_verify(both.context->ssl, SSL_VERIFY_NONE, NULL);
        both_again(&both, NULL, 0);
        assert_int_equal(run(&both), ends[j].is_resumed);
        both_finish(&both);
    }
}

// Those who wait hold much memory: few may, and what they held comes back.
static void test_few_wait(void **state)
{
    struct engine *waiting[SESSIONS_WAITING_MAX] = {0};
    struct engine_outcome outcome;
    struct both both;

    init(&both, CONFIG_TLS13);
    both_start(&both, NULL);
    for (size_t i = 0; i < SESSIONS_WAITING_MAX + 2; i++) {
        both_run(&both, 0);
        assert_int_equal(both.status[0], ENGINE_DONE);
        assert_int_equal(engine_outcome(both.ends[0], &outcome), 0);
        assert_int_equal(engine_awaits_ticket(both.ends[0]), i < SESSIONS_WAITING_MAX);
        if (i < SESSIONS_WAITING_MAX) {
            waiting[i] = both.ends[0];
            both.ends[0] = NULL;
        }
        both_again(&both, NULL, 0);
    }
    engine_destroy(waiting[0]);
    assert_false(run(&both)); // waited, and got one
    both_again(&both, NULL, 0);
    assert_true(run(&both));
    engine_destroy(waiting[1]);
    both_finish(&both);
}

// What a server calls a ticket is looked at by OpenSSL, and can do no more than be none.
static void test_bad_tickets(void **state)
{
    static const uint8_t bad[][12] = {
        {4, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1}, {4, 0, 0, 0}, {4, 255, 255, 255}, {24, 0, 0, 1, 1}, {0}};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct engine_outcome outcome;
        struct both both;

        init(&both, CONFIG_TLS13);
        both_start(&both, NULL);
        both_run(&both, 0);
        assert_int_equal(engine_outcome(both.ends[0], &outcome), 0);
        assert_true(engine_awaits_ticket(both.ends[0]));
        engine_take_tickets(both.ends[0], bad[i], i == 4 ? 0 : sizeof(bad[i]));
        assert_false(engine_awaits_ticket(both.ends[0]));
        assert_int_equal(ERR_peek_error(), 0);
        both_again(&both, NULL, 0);
        assert_false(run(&both));
        both_finish(&both);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resumed),  cmocka_unit_test(test_switched_off),
        cmocka_unit_test(test_declined), cmocka_unit_test(test_ends),
        cmocka_unit_test(test_few_wait), cmocka_unit_test(test_bad_tickets),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
