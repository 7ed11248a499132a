// SPDX-License-Identifier: Apache-2.0
// OCSP responders: who is asked when, what is taken for an answer, what is said and what is kept. Real children ask a real server, which
// stands on the same loop.
#include "tests/unit/responder_world.h"

// ---- times ----

static void test_refresh_time(void **unused)
{
    static const struct {
        int64_t from_s;
        int64_t until_s;
        int64_t now_s;
        bool is_fresh;
        int64_t least_s;
        int64_t most_s;
    } cases[] = {
        {1000, 9000, 1000, true, 5000, 6000},  // halfway, and an eighth of its life for chance
        {1000, 9000, 4999, true, 5000, 6000},  // later
        {1000, 9000, 6001, true, 6750, 6750},  // old when it came: a quarter of what is left
        {1000, 9000, 8990, true, 8995, 8995},  // but not again and again
        {1000, 9000, 6001, false, 5000, 6000}, // from the disk: at once
        {0, 30 * 86400, 20 * 86400, true, 20 * 86400 + 3600, 20 * 86400 + 3600},
        {1000, 1001, 1001, true, 1006, 1006},      // no life left
        {5000, 5000, 1000, true, 5000, 5000},      // none at all, and clocks that differ
        {1000, INT64_MAX, 2000, true, 4700, 5600}, // no end: within the hour
    };

    (void)unused;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct staple staple = {.this_update_s = cases[i].from_s, .next_update_s = cases[i].until_s};
        int64_t least_s = INT64_MAX;
        int64_t most_s = INT64_MIN;

        for (unsigned j = 0; j < 200; j++) {
            int64_t at_s = refresh_time(&staple, cases[i].is_fresh, cases[i].now_s);

            least_s = at_s < least_s ? at_s : least_s;
            most_s = at_s > most_s ? at_s : most_s;
        }
        if (least_s < cases[i].least_s || most_s > cases[i].most_s)
            fail_msg("case %zu: from %lld to %lld", i, (long long)least_s, (long long)most_s);
        if (cases[i].most_s - cases[i].least_s > 100 && least_s == most_s)
            fail_msg("case %zu: always the same", i);
    }
}

static void test_retry(void **unused)
{
    (void)unused;
    responders_retry_ns = 30 * CLOCK_NS_PER_S;
    for (unsigned failures = 1; failures < 100; failures++) {
        uint64_t most_ns = failures < 8 ? (30 * CLOCK_NS_PER_S) << (failures - 1) : 3600 * CLOCK_NS_PER_S;
        uint64_t wait_ns = retry_after_ns(failures);

        most_ns = most_ns > 3600 * CLOCK_NS_PER_S ? 3600 * CLOCK_NS_PER_S : most_ns;
        assert_in_range(wait_ns, most_ns - most_ns / 4, most_ns);
    }
}

// ---- answers ----

static void test_answered_and_kept(void **unused)
{
    struct certificate *certificate;
    struct material_bytes request;
    struct stat info;

    (void)unused;
    server_listen();
    server.manner = HOLD;
    world_start();
    certificate = want_of(3, "a.example");
    until(server.held_count == 1);
    assert_non_null(strstr(server.head, "POST /ocsp HTTP/1.1\r\n"));
    assert_non_null(strstr(server.head, "Content-Type: application/ocsp-request\r\n"));
    assert_non_null(strstr(server.head, "User-Agent: ringbolt/"));
    assert_null(strstr(server.head, "Expect:"));
    assert_int_equal(staple_request(certificate, &request), 0);
    assert_int_equal(server.held[0].request_size, request.size);
    assert_memory_equal(server.held[0].request, request.data, request.size);
    server_release(GOOD);
    until(told[3].good == 1);
    assert_int_equal(told[3].id, certificate->id);
    assert_int_equal(told[3].none, 0);
    assert_int_equal(stat(cache, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0700);
    assert_int_equal(stat(kept_path(certificate), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    // The same again changes nothing.
    responders_want(responders, 3, certificate, ocsp, NULL);
    // After a restart, with nobody there: at once, before anything is asked.
    world_stop();
    server_close();
    world_start();
    responders_want(responders, 3, certificate, ocsp, NULL);
    assert_int_equal(told[3].good, 2);
    assert_int_equal(logged("\"warning\"", ""), 0);
    free(request.data);
    certificate_destroy(certificate);
}

// What is kept is believed no more than what a responder says.
static void test_kept_is_checked(void **unused)
{
    struct certificate *certificate;
    FILE *file;

    (void)unused;
    server_listen();
    world_start();
    certificate = want_of(0, "a.example");
    until(told[0].good == 1);
    world_stop();
    file = fopen(kept_path(certificate), "r+");
    must(file != NULL && fseek(file, -1, SEEK_END) == 0 && fputc(0x55, file) == 0x55 && fclose(file) == 0,
         "a file");
    world_start();
    responders_want(responders, 0, certificate, ocsp, NULL);
    assert_int_equal(told[0].good, 1);
    until(told[0].good == 2);
    assert_int_equal(server.asked, 2);
    certificate_destroy(certificate);
}

// Bad answers: why, and where that is said.
static void test_bad_answers(void **unused)
{
    static const struct {
        enum manner manner;
        unsigned redirects;
        const char *why;
        const char *message;
    } cases[] = {
        {REVOKED, 0, "revoked", "certificate is revoked"},
        {UNKNOWN, 0, "unknown", "no OCSP response for a certificate"},
        {TAMPERED, 0, "signed", "no OCSP response for a certificate"},
        {ENDED, 0, "out of date", "no OCSP response for a certificate"},
        {TRY_LATER, 0, "try later", "no OCSP response for a certificate"},
        {OTHER, 0, "another certificate", "no OCSP response for a certificate"},
        {GARBAGE, 0, "no OCSP response in DER", "no OCSP response for a certificate"},
        {EMPTY, 0, "empty", "no OCSP response for a certificate"},
        {LARGE, 0, "larger than 64 KiB", "no answer from an OCSP responder"},
        {PAGE, 0, "text", "no answer from an OCSP responder"},
        {STATUS_500, 0, "HTTP status 500", "no answer from an OCSP responder"},
        {CLOSE, 0, "", "no answer from an OCSP responder"},
        {REDIRECT, 3, "redirects more than 2 times", "no answer from an OCSP responder"},
        {REDIRECT_FILE, 1, "no http:// address", "no answer from an OCSP responder"},
    };

    (void)unused;
    server_listen();
    world_start();
    for (uint32_t i = 0; i < COUNT(cases); i++) {
        struct certificate *certificate;
        unsigned before = logged(cases[i].message, "");
        struct stat info;

        server.manner = cases[i].manner;
        server.redirects = cases[i].redirects;
        certificate = want_of(i, "a.example");
        until(told[i].none >= 1);
        if (strstr(told[i].why, cases[i].why) == NULL || told[i].good > 0)
            fail_msg("%s: told %s", cases[i].why, told[i].why);
        if (logged(cases[i].message, cases[i].why) == 0 || logged(cases[i].message, "") <= before)
            fail_msg("%s: not said", cases[i].why);
        assert_int_equal(stat(kept_path(certificate), &info), -1);
        responders_forget(responders, i);
        until(responders->count == 0); // a child that asks again is under way, perhaps
        certificate_destroy(certificate);
    }
    assert_int_equal(logged("\"error\"", ""), 1);
    assert_int_equal(logged("\"error\"", "certificate is revoked"), 1);
}

static void test_redirected_twice(void **unused)
{
    struct certificate *certificate;

    (void)unused;
    server_listen();
    world_start();
    server.manner = REDIRECT;
    server.redirects = 2;
    certificate = want_of(0, "a.example");
    until(told[0].good == 1);
    assert_int_equal(server.asked, 3);
    assert_int_equal(told[0].none, 0);
    certificate_destroy(certificate);
}

// ---- patience ----

static void test_bad_then_good(void **unused)
{
    struct certificate *certificate;

    (void)unused;
    server_listen();
    world_start();
    server.manner = GARBAGE;
    certificate = want_of(0, "a.example");
    until(told[0].none == 4);
    assert_int_equal(server.asked, 4);
    assert_int_equal(logged("\"warning\"", ""), 1); // the same each time
    server.manner = UNKNOWN;
    until(logged("\"warning\"", "unknown") == 1);
    assert_int_equal(logged("\"warning\"", ""), 2);
    server.manner = GOOD;
    until(told[0].good == 1);
    assert_int_equal(logged("OCSP response for a certificate again", "a.example"), 1);
    certificate_destroy(certificate);
}

// It was good, and is kept; then it is revoked.
static void test_revoked_later(void **unused)
{
    struct certificate *certificate;
    struct stat info;

    (void)unused;
    server_listen();
    world_start();
    server.manner = SHORT;
    certificate = want_of(0, "a.example");
    until(told[0].good == 1);
    assert_int_equal(stat(kept_path(certificate), &info), 0);
    server.manner = REVOKED;
    until(told[0].none == 1); // asked ahead of its end
    assert_true(time(NULL) < told[0].next_update_s || told[0].next_update_s == 0);
    assert_int_equal(stat(kept_path(certificate), &info), -1);
    until(told[0].none == 3);
    assert_int_equal(logged("\"error\"", "certificate is revoked"), 1);
    certificate_destroy(certificate);
}

static void test_refreshed_ahead(void **unused)
{
    struct certificate *certificate;
    int64_t first_s;

    (void)unused;
    server_listen();
    world_start();
    server.manner = SHORT;
    certificate = want_of(0, "a.example");
    until(told[0].good == 1);
    first_s = told[0].next_update_s;
    until(told[0].good == 2);
    assert_true(told[0].next_update_s > first_s);
    assert_int_equal(told[0].none, 0);
    certificate_destroy(certificate);
}

// A responder that is down is one responder's trouble: one asks for all of its certificates, and when it is back all are served.
static void test_down_and_back(void **unused)
{
    struct certificate *certificates[8];

    (void)unused;
    world_start();
    for (uint32_t i = 0; i < COUNT(certificates); i++)
        certificates[i] = want_of(i, "a.example");
    for (uint32_t i = 0; i < COUNT(certificates); i++)
        until(told[i].none >= 1);
    assert_non_null(strstr(told[7].why, "cannot connect: Connection refused"));
    until(responders->list[0]->failures >= 6);
    assert_int_equal(logged("\"warning\"", ""), 1);
    assert_int_equal(logged("no answer from an OCSP responder", server.url), 1);
    assert_true(responders->list[0]->asking <= 1);
    // Who comes now hears why nothing is there, and nobody is asked for it out of turn.
    certificate_destroy(want_of(20, "late.example"));
    assert_int_equal(told[20].none, 1);
    server_listen();
    for (uint32_t i = 0; i < COUNT(certificates); i++)
        until(told[i].good == 1);
    until(told[20].good == 1);
    assert_int_equal(logged("OCSP responder answers again", server.url), 1);
    for (uint32_t i = 0; i < COUNT(certificates); i++)
        certificate_destroy(certificates[i]);
}

// Those that asked at the same time tell of one failure, not of many.
static void test_down_for_many(void **unused)
{
    (void)unused;
    responders_retry_ns = 1000 * CLOCK_NS_PER_S;
    world_start();
    for (uint32_t i = 0; i < FETCHES_MAX; i++)
        certificate_destroy(want_of(i, "a.example"));
    // On a slow day the first is back before the last has gone, which then doesn't go.
    until(responders->count > 0 &&
          (responders->list[0]->asking == FETCHES_MAX || responders->list[0]->failures > 0));
    until(responders->list[0]->asking == 0);
    assert_int_equal(responders->list[0]->failures, 1);
}

static unsigned children(void)
{
    char path[64];
    FILE *file;
    unsigned count = 0;
    int pid;

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
    file = fopen(path, "r");
    while (file != NULL && fscanf(file, "%d", &pid) == 1)
        count++;
    if (file != NULL)
        fclose(file);
    return count;
}

static unsigned good_count(void)
{
    unsigned count = 0;

    for (size_t i = 0; i < SLOTS; i++)
        count += told[i].good;
    return count;
}

static void test_many(void **unused)
{
    struct certificate *certificates[30];
    unsigned most = 0;
    uint64_t began_ns = clock_now_ns();

    (void)unused;
    server_listen();
    world_start();
    server.manner = HOLD;
    for (uint32_t i = 0; i < COUNT(certificates); i++)
        certificates[i] = want_of(i, "a.example");
    while (good_count() < COUNT(certificates)) {
        assert_int_equal(loop_turn(loop), 0);
        most = children() > most ? children() : most;
        // Nobody is answered before as many ask as may, or nobody is left to ask.
        if (server.held_count == FETCHES_MAX || server.asked == COUNT(certificates))
            server_release(GOOD);
    }
    assert_int_equal(most, FETCHES_MAX);
    assert_int_equal(server.asked, COUNT(certificates));
    // Twenty at once, then ten a second: a lower bound, which a slow machine can't break.
    assert_true(clock_now_ns() - began_ns >= 8 * (CLOCK_NS_PER_S / 10));
    for (uint32_t i = 0; i < COUNT(certificates); i++)
        certificate_destroy(certificates[i]);
}

static void test_late(void **unused)
{
    (void)unused;
    server_listen();
    ocsp->timeout_ns = 100 * CLOCK_NS_PER_MS;
    world_start();
    server.manner = HOLD;
    certificate_destroy(want_of(0, "a.example"));
    until(told[0].none == 1);
    assert_string_equal(told[0].why, "no answer within 0.1 s");
}

// ---- coming and going ----

static void test_forgotten(void **unused)
{
    struct certificate *certificate;
    struct stat info;

    (void)unused;
    server_listen();
    world_start();
    certificate = want_of(0, "a.example");
    until(told[0].good == 1);
    responders_forget(responders, 0);
    assert_int_equal(stat(kept_path(certificate), &info), -1);
    certificate_destroy(certificate);
    // While it is being asked: nobody hears of it.
    server.manner = HOLD;
    certificate_destroy(want_of(1, "b.example"));
    until(server.held_count == 1);
    responders_forget(responders, 1);
    responders_forget(responders, 1);
    responders_forget(responders, 60000);
    server_release(GOOD);
    until(responders->count == 0);
    assert_int_equal(told[1].good + told[1].none, 0);
}

static void test_replaced(void **unused)
{
    struct certificate *old;
    struct certificate *new;

    (void)unused;
    server_listen();
    world_start();
    server.manner = HOLD;
    old = want_of(0, "a.example");
    until(server.held_count == 1);
    server.manner = GOOD;
    new = want_of(0, "a.example");
    until(told[0].good == 1);
    server_release(GOOD);
    until(responders->list[0]->users == 1);
    assert_int_equal(told[0].good, 1);
    assert_int_equal(told[0].id, new->id);
    certificate_destroy(old);
    certificate_destroy(new);
}

// With a child under way: world_tear_down() looks whether it is gone.
static void test_destroyed_while_asking(void **unused)
{
    (void)unused;
    server_listen();
    world_start();
    server.manner = HOLD;
    certificate_destroy(want_of(0, "a.example"));
    until(server.held_count == 1);
    world_stop();
    responders_destroy(NULL);
}

// ---- what can't be ----

static void test_nobody_to_ask(void **unused)
{
    struct certificate *certificate = subject_make("a.example", NULL);

    (void)unused;
    world_start();
    responders_want(responders, 0, certificate, ocsp, NULL);
    assert_int_equal(told[0].none, 1);
    assert_non_null(strstr(told[0].why, "names no OCSP responder"));
    responders_want(responders, 1, certificate, ocsp, NULL);
    assert_int_equal(logged("\"info\"", "names no OCSP responder"), 1); // once is enough
    certificate->must_staple = true;
    responders_want(responders, 2, certificate, ocsp, NULL);
    assert_int_equal(logged("\"warning\"", "names no OCSP responder"), 1);
    certificate_destroy(certificate);
}

static void test_responder_of_the_configuration(void **unused)
{
    struct certificate *certificate = subject_make("a.example", "http://127.0.0.1:1/");

    (void)unused;
    server_listen();
    ocsp->responder = server.url;
    world_start();
    responders_want(responders, 0, certificate, ocsp, NULL);
    until(told[0].good == 1);
    certificate_destroy(certificate);
}

static void test_issuer_unknown(void **unused)
{
    struct certificate *certificate = subject_make("a.example", server.url);

    (void)unused;
    server_listen();
    world_start();
    free(certificate->authority.data);
    certificate->authority = (struct material_bytes){0};
    responders_want(responders, 0, certificate, ocsp, NULL);
    until(told[0].none == 1);
    assert_non_null(strstr(told[0].why, "issuer is not known"));
    assert_int_equal(server.asked, 0);
    certificate_destroy(certificate);
}

static void test_bad_addresses(void **unused)
{
    static const char *const urls[] = {
        "https://127.0.0.1:1/", "file:///etc/passwd", "ldap://127.0.0.1/", "http://", "::", ""};

    (void)unused;
    world_start();
    for (uint32_t i = 0; i < COUNT(urls); i++) {
        struct certificate *certificate = subject_make("a.example", urls[i]);

        responders_want(responders, i, certificate, ocsp, NULL);
        until(told[i].none >= 1);
        if (strstr(told[i].why, "http://") == NULL)
            fail_msg("%s: %s", urls[i], told[i].why);
        certificate_destroy(certificate);
    }
}

// A disk that can't be written to is said once, and nothing else fails.
static void test_cache_fails(void **unused)
{
    (void)unused;
    server_listen();
    snprintf(cache, sizeof(cache), "%s/missing/cache", folder);
    world_start();
    assert_int_equal(logged("\"warning\"", "can't be kept on disk"), 1);
    certificate_destroy(want_of(0, "a.example"));
    certificate_destroy(want_of(1, "b.example"));
    until(told[0].good == 1 && told[1].good == 1);
    assert_int_equal(logged("\"warning\"", ""), 1);
    // It heals by itself.
    cache[strlen(cache) - strlen("/cache")] = '\0';
    assert_int_equal(mkdir(cache, 0700), 0);
    strcat(cache, "/cache");
    certificate_destroy(want_of(2, "c.example"));
    until(told[2].good == 1);
    assert_int_equal(logged("OCSP responses are kept on disk again", ""), 1);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refresh_time),
        cmocka_unit_test(test_retry),
        TEST(test_answered_and_kept),
        TEST(test_kept_is_checked),
        TEST(test_bad_answers),
        TEST(test_redirected_twice),
        TEST(test_bad_then_good),
        TEST(test_revoked_later),
        TEST(test_refreshed_ahead),
        TEST(test_down_and_back),
        TEST(test_down_for_many),
        TEST(test_many),
        TEST(test_late),
        TEST(test_forgotten),
        TEST(test_replaced),
        TEST(test_destroyed_while_asking),
        TEST(test_nobody_to_ask),
        TEST(test_responder_of_the_configuration),
        TEST(test_issuer_unknown),
        TEST(test_bad_addresses),
        TEST(test_cache_fails),
    };
    int failed;

    if (world_is_child(argc, argv))
        fetch_child();
    world_make_keys();
    failed = cmocka_run_group_tests_name("responder", tests, NULL, NULL);
    world_free_keys();
    return failed;
}
