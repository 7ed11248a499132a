// SPDX-License-Identifier: Apache-2.0
// The words of `ringbolt pki`: what its parsers take, refuse and suggest, and what becomes of a wish.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/x509v3.h>

#include "src/pki/altname.h"
#include "src/pki/authority.h"
#include "src/pki/database.h"
#include "src/pki/extension.h"
#include "src/pki/issue.h"
#include "src/pki/key.h"
#include "src/pki/moment.h"
#include "src/pki/passphrase.h"
#include "src/pki/plan.h"
#include "src/pki/subject.h"
#include "src/pki/wish.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void test_moments(void **state)
{
    static const struct {
        const char *text;
        time_t moment;
    } right[] = {
        {"1970-01-01", 0},
        {"2000-02-29", 951782400},
        {"2026-11-21T09:30:00Z", 1795253400},
        {"9999-12-31T23:59:59Z", MOMENT_MAX},
    };
    static const char *const wrong[] = {
        "",
        "2026",
        "2026-02-29",
        "2026-13-01",
        "2026-00-01",
        "1969-12-31",
        "2026-11-21T09:30:00",
        "2026-1-001",
        " 026-01-01",
        "2026-01-0x",
        "+026-01-01",
        "2026-01-01 00:00:00Z",
        "2026-11-21T24:00:01Z",
        "20261121093000Z",
        "-999-01-01",
        "2026--1-001",
        "2026-11-21T09:61:00Z",
        "10000-01-01",
    };
    char why[WHY_MAX];
    char text[32];
    time_t moment;

    for (size_t i = 0; i < COUNT(right); i++) {
        assert_int_equal(moment_parse(right[i].text, &moment, why), 0);
        assert_int_equal(moment, right[i].moment);
        moment_text(moment, text);
        assert_int_equal(strncmp(text, right[i].text, strlen(right[i].text)), 0);
    }
    for (size_t i = 0; i < COUNT(wrong); i++) {
        moment = 77;
        if (moment_parse(wrong[i], &moment, why) == 0)
            fail_msg("`%s` was taken for %lld", wrong[i], (long long)moment);
        assert_int_equal(moment, 77);
    }
}

static void test_days(void **state)
{
    static const char *const wrong[] = {"", "0", "-1", "+1", "1d", "36501", "99999999999999999999", " 1"};
    char why[WHY_MAX];
    unsigned days;

    assert_int_equal(days_parse("1", &days, why), 0);
    assert_int_equal(days, 1);
    assert_int_equal(days_parse("36500", &days, why), 0);
    assert_int_equal(days, 36500);
    for (size_t i = 0; i < COUNT(wrong); i++)
        assert_int_equal(days_parse(wrong[i], &days, why), -EINVAL);
}

static void test_key_kinds(void **state)
{
    static const struct {
        const char *text;
        const char *again;
    } right[] = {
        {"rsa", "rsa:3072"},      {"rsa:2048", "rsa:2048"}, {"rsa:8192", "rsa:8192"}, {"ec", "ec:P-256"},
        {"ec:p-384", "ec:P-384"}, {"ec:P-521", "ec:P-521"}, {"ed25519", "ed25519"},
    };
    static const char *const wrong[] = {"",          "RSA", "rsa:",     "rsa:2047",     "rsa:8193",
                                        "rsa:2048x", "ec:", "ec:P-192", "ec:secp256k1", "ed448",
                                        "rsa:-1",    "dsa"};
    char text[KEY_KIND_TEXT_MAX];
    char why[WHY_MAX];
    struct key_kind kind;

    for (size_t i = 0; i < COUNT(right); i++) {
        assert_int_equal(key_kind_parse(right[i].text, &kind, why), 0);
        key_kind_text(&kind, text);
        assert_string_equal(text, right[i].again);
    }
    for (size_t i = 0; i < COUNT(wrong); i++)
        assert_int_equal(key_kind_parse(wrong[i], &kind, why), -EINVAL);
}

static void test_names(void **state)
{
    static const struct {
        const char *text;
        const char *is;
    } right[] = {
        {"localhost", "DNS:localhost"},
        {"*.example.com", "DNS:*.example.com"},
        {"_srv.under_score.example", "DNS:_srv.under_score.example"},
        {"127.0.0.1", "IP:127.0.0.1"},
        {"::1", "IP:::1"},
        {"IP:2001:db8:0::1", "IP:2001:db8::1"},
        {"me@example.com", "email:me@example.com"},
        {"EMAIL:me@example.com", "email:me@example.com"},
        {"https://example.com/a?b=c", "URI:https://example.com/a?b=c"},
        {"spiffe://trust/x", "URI:spiffe://trust/x"},
        {"URI:urn:uuid:1234", "URI:urn:uuid:1234"},
        {"dns:1.2.3.4.5", "DNS:1.2.3.4.5"},
    };
    static const char *const wrong[] = {
        "",
        "DNS:",
        "a..b",
        "a.",
        ".a",
        "a b",
        "-a.example",
        "a-.example",
        "*",
        "a.*.b",
        "f*.b",
        "b\xc3\xbc.de",
        "IP:1.2.3",
        "IP:x",
        "email:nobody",
        "@example.com",
        "me@",
        "me@a b",
        "URI:none",
        "URI:1:x",
        "https://a b/",
        "https://a/<b>",
        "a/b",
        "256.1.1.1:80",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example",
    };
    char text[ALTNAME_TEXT_MAX];
    char why[WHY_MAX];
    GENERAL_NAME *name;

    for (size_t i = 0; i < COUNT(right); i++) {
        assert_int_equal(altname_parse(right[i].text, &name, why), 0);
        altname_text(name, text);
        assert_string_equal(text, right[i].is);
        GENERAL_NAME_free(name);
    }
    for (size_t i = 0; i < COUNT(wrong); i++) {
        if (altname_parse(wrong[i], &name, why) == 0)
            fail_msg("`%s` was taken", wrong[i]);
    }
    assert_true(altname_is_host("localhost") && altname_is_host("::1"));
    assert_false(altname_is_host("two words") || altname_is_host("") || altname_is_host("a@b"));
}

static void test_urls(void **state)
{
    static const char *const wrong[] = {"",         "nowhere",     "http://",           "http:///x",
                                        "ftp://x/", "http://a b/", "file:///etc/passwd"};
    char why[WHY_MAX];

    assert_int_equal(uri_check("http://ca.example/a.crl", why), 0);
    assert_int_equal(uri_check("LDAP://ca.example/cn=x", why), 0);
    for (size_t i = 0; i < COUNT(wrong); i++)
        assert_int_equal(uri_check(wrong[i], why), -EINVAL);
}

static void test_subjects(void **state)
{
    static const struct {
        const char *text;
        const char *is;
    } right[] = {
        {"CN=localhost", "CN=localhost"},
        {"O=Example, CN=localhost", "O=Example, CN=localhost"},
        {"  cn = x ", "CN=x"},
        {"/C=DE/O=Two, Words/CN=x", "C=DE, O=\"Two, Words\", CN=x"},
        {"O=Comma\\, Ltd.,CN=a\\\\b", "O=\"Comma, Ltd.\", CN=a\\\\b"},
        {"CN=B\xc3\xbc"
         "cher",
         "CN=B\xc3\xbc"
         "cher"},
        {"DC=com,DC=example", "DC=com, DC=example"},
    };
    static const char *const wrong[] = {
        "CN",      "CN=",
        "XX=1",    "C=DEU",
        "C=D1",    "CN=\xff",
        "CN=a\nb", "O=a,,CN=b",
        "=x",      "CN=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    char text[SUBJECT_TEXT_MAX];
    char why[WHY_MAX];
    X509_NAME *name;

    for (size_t i = 0; i < COUNT(right); i++) {
        assert_int_equal(subject_parse(right[i].text, &name, why), 0);
        subject_text(name, text);
        assert_string_equal(text, right[i].is);
        X509_NAME_free(name);
    }
    for (size_t i = 0; i < COUNT(wrong); i++) {
        if (subject_parse(wrong[i], &name, why) == 0)
            fail_msg("`%s` was taken", wrong[i]);
    }
    assert_int_equal(subject_parse("emailAdress=x@y", &name, why), -EINVAL);
    assert_non_null(strstr(why, "did you mean emailAddress?"));
}

static void test_passphrase_sources(void **state)
{
    static const char *const wrong[] = {"",       "env:",    "file:",   "pass:secret",
                                        "secret", "prompt:", "env:A=B", "stdin"};
    struct passphrase_source source;
    char why[WHY_MAX];

    assert_int_equal(passphrase_source_parse("env:HOME", &source, why), 0);
    assert_int_equal(source.kind, PASSPHRASE_ENV);
    assert_int_equal(passphrase_source_parse("file:/a", &source, why), 0);
    assert_string_equal(source.where, "/a");
    assert_int_equal(passphrase_source_parse("prompt", &source, why), 0);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(passphrase_source_parse(wrong[i], &source, why), -EINVAL);
        assert_null(strstr(why, "secret"));
    }
}

static void test_paths(void **state)
{
    static const struct {
        const char *path;
        const char *beside;
    } cases[] = {
        {"ca.pem", "ca.db"},           {"/a/ca-chain.pem", "/a/ca.db"},
        {"./x.y.crt", "./x.y.db"},     {"plain", "plain.db"},
        {"/a.pem/ca", "/a.pem/ca.db"}, {"/a/.pem", "/a/.pem.db"},
        {"-chain.pem", "-chain.db"},   {"a.cert", "a.db"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        char *beside = path_beside(cases[i].path, ".db");
        assert_string_equal(beside, cases[i].beside);
        free(beside);
    }
}

static void test_reasons(void **state)
{
    enum reason reason;
    char why[WHY_MAX];

    assert_int_equal(reason_parse("keycompromise", &reason, why), 0);
    assert_int_equal(reason, REASON_KEY_COMPROMISE);
    assert_string_equal(reason_word(reason), "keyCompromise");
    assert_int_equal(reason_parse("removeFromCRL", &reason, why),
                     -EINVAL); // for delta CRLs, which nobody makes here
    assert_string_equal(reason_word(REASON_NONE), "-");
}

// ---- wishes ----

static void test_validity(void **state)
{
    const time_t now = 1800000000;
    const struct validity issuer = {.not_before = now - 100, .not_after = now + 10 * DAY_SECONDS};
    struct wish wish = {.profile = PROFILE_SERVER};
    struct validity validity;

    assert_int_equal(validity_resolve(&wish, NULL, now, &validity), 0);
    assert_int_equal(validity.not_before, now - BACKDATE_SECONDS);
    assert_int_equal(validity.not_after, validity.not_before + 397 * DAY_SECONDS - 1);
    // Nobody said how long: no longer than the issuer, and not from before it.
    assert_int_equal(validity_resolve(&wish, &issuer, now, &validity), 0);
    assert_int_equal(validity.not_before, issuer.not_before);
    assert_int_equal(validity.not_after, issuer.not_after);
    wish.days = 11;
    assert_int_equal(validity_resolve(&wish, &issuer, now, &validity), -ERANGE);
    wish.days = 9;
    assert_int_equal(validity_resolve(&wish, &issuer, now, &validity), 0);
    assert_int_equal(validity.not_after - validity.not_before, 9 * DAY_SECONDS - 1);
    wish.days = 0;
    wish.not_after = issuer.not_after + 1;
    assert_int_equal(validity_resolve(&wish, &issuer, now, &validity), -ERANGE);
    wish.not_after = 0;
    wish.not_before = issuer.not_after + 1;
    assert_int_equal(validity_resolve(&wish, &issuer, now, &validity), -ERANGE);
    // The year 10000 can't be written.
    wish = (struct wish){.profile = PROFILE_CA, .not_before = MOMENT_MAX - 5};
    assert_int_equal(validity_resolve(&wish, NULL, now, &validity), 0);
    assert_int_equal(validity.not_after, MOMENT_MAX);
}

static void count_complaints(void *context, const char *key, const char *why)
{
    ++*(int *)context;
}

static void test_a_server_is_its_common_name(void **state)
{
    static const struct subject_attribute common_name = {"CN", NID_commonName};
    char why[WHY_MAX];
    struct wish wish;
    int complaints = 0;

    wish_init(&wish);
    wish.profile = PROFILE_SERVER;
    assert_int_equal(subject_add(wish.subject, &common_name, "two words", why), 0);
    wish_complete(&wish);
    wish_check(&wish, false, count_complaints, &complaints);
    assert_int_equal(complaints, 1);
    wish_finish(&wish);

    wish_init(&wish);
    wish.profile = PROFILE_SERVER;
    complaints = 0;
    assert_int_equal(subject_add(wish.subject, &common_name, "host.example", why), 0);
    wish_complete(&wish);
    wish_check(&wish, false, count_complaints, &complaints);
    assert_int_equal(complaints, 0);
    assert_int_equal(sk_GENERAL_NAME_num(wish.names), 1);
    wish_finish(&wish);
}

// The extensions of a certificate are those of the wish, and compare() sees each that differs.
static void test_extensions_compare(void **state)
{
    STACK_OF(X509_EXTENSION) * extensions;
    STACK_OF(X509_EXTENSION) * others;
    struct key_kind kind;
    char why[WHY_MAX];
    struct issue issue = {.label = "test"};
    X509 *certificate;
    EVP_PKEY *key;
    struct wish wish;
    int nid = 0;

    wish_init(&wish);
    wish.profile = PROFILE_SERVER;
    assert_int_equal(names_add("a.example", &wish.names, why), 0);
    assert_int_equal(key_kind_parse("ec", &kind, why), 0);
    assert_int_equal(key_make(&kind, "test", &key), STATUS_OK);
    assert_int_equal(validity_resolve(&wish, NULL, time(NULL), &issue.validity), 0);
    assert_int_equal(extensions_make(&wish, key, NULL, &extensions), STATUS_OK);
    issue.subject = wish.subject;
    issue.key = issue.issuer_key = key;
    issue.extensions = extensions;
    assert_int_equal(certificate_issue(&issue, &certificate), STATUS_OK);
    assert_true(extensions_equal(certificate, extensions, &nid));

    assert_int_equal(names_add("b.example", &wish.names, why), 0);
    assert_int_equal(extensions_make(&wish, key, NULL, &others), STATUS_OK);
    assert_false(extensions_equal(certificate, others, &nid));
    assert_int_equal(nid, NID_subject_alt_name);
    sk_X509_EXTENSION_pop_free(others, X509_EXTENSION_free);

    // One too few in the wish is as wrong as one too many.
    X509_EXTENSION_free(sk_X509_EXTENSION_pop(extensions));
    assert_false(extensions_equal(certificate, extensions, &nid));
    assert_int_equal(nid, NID_authority_key_identifier);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_free(certificate);
    EVP_PKEY_free(key);
    wish_finish(&wish);
}

// ---- plans ----

static void assert_plan(const char *text, enum status expected, const char *says)
{
    struct report report;
    struct plan plan;
    enum status status;

    report_init(&report, "f");
    status = plan_parse(text, strlen(text), "/nowhere", &plan, &report);
    if (status != expected)
        fail_msg("%s: status %d, `%s`", text, (int)status, report.count > 0 ? report.lines[0].text : "");
    if (says != NULL && (report.count != 1 || strcmp(report.lines[0].text, says) != 0))
        fail_msg("%s: %zu lines, `%s`", text, report.count, report.count > 0 ? report.lines[0].text : "");
    plan_finish(&plan);
    report_finish(&report);
}

#define ROOT "authorities: [ { name: r, subject: { CN: R } } ]\n"

static void test_plans(void **state)
{
    assert_plan(ROOT, STATUS_OK, NULL);
    assert_plan(ROOT "certificates: []\n", STATUS_OK, NULL);
    assert_plan("common: { x: [ &a { CN: R } ], y: z }\nauthorities: [ { name: r, subject: *a } ]\n",
                STATUS_OK, NULL);
    assert_plan(ROOT "certificates: [ { name: r, issuer: r, names: x } ]\n", STATUS_FILE,
                "f:2:25: `name: r`: this is taken already, in line 1");
    assert_plan(ROOT "certificates: [ { name: c, issuer: R, names: x } ]\n", STATUS_FILE,
                "f:2:36: `issuer: R`: there is no such authority; did you mean `r`?");
    assert_plan(ROOT "certificates: [ { name: c, issuer: other, names: x } ]\n", STATUS_FILE,
                "f:2:36: `issuer: other`: there is no such authority; an entry of `authorities` is needed");
    assert_plan(
        ROOT "certificates: [ { name: c, issuer: r, names: x, profile: ca } ]\n", STATUS_FILE,
        "f:2:58: `profile: ca`: server, client, peer (both) or ocsp is needed; an authority stands under "
        "`authorities`");
    assert_plan(ROOT "certificates: [ { name: c, issuer: r, names: x, days: 1, not_after: 2099-01-01 } ]\n",
                STATUS_FILE, "f:2:69: `not_after`: days and not_after exclude each other; remove one");
    assert_plan(ROOT "certificates: [ { name: c, issuer: r, names: x, passphrase: {} } ]\n", STATUS_FILE,
                "f:2:61: `passphrase` needs one of `env: NAME`, `file: PATH` and `prompt: true`");
}

static void test_the_order_of_plans(void **state)
{
    static const char text[] = "authorities:\n"
                               "  - { name: c, issuer: b, subject: { CN: c } }\n"
                               "  - { name: b, issuer: a, subject: { CN: b } }\n"
                               "  - { name: a, subject: { CN: a } }\n"
                               "certificates:\n"
                               "  - { name: d, issuer: b, names: d }\n";
    struct report report;
    struct plan plan;

    report_init(&report, "f");
    assert_int_equal(plan_parse(text, strlen(text), "/", &plan, &report), STATUS_OK);
    assert_int_equal(plan.count, 4);
    for (size_t i = 0; i < plan.count; i++) {
        bool is_before = plan.order[i]->issuer == NULL;
        for (size_t j = 0; j < i; j++)
            is_before |= plan.order[j] == plan.order[i]->issuer;
        assert_true(is_before);
    }
    assert_int_equal(plan.entities[0].wish.path_length, 0);
    assert_int_equal(plan.entities[1].wish.path_length, 1);
    assert_int_equal(plan.entities[2].wish.path_length, PATH_LENGTH_NONE);
    plan_finish(&plan);
    report_finish(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moments),
        cmocka_unit_test(test_days),
        cmocka_unit_test(test_key_kinds),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_subjects),
        cmocka_unit_test(test_passphrase_sources),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_validity),
        cmocka_unit_test(test_a_server_is_its_common_name),
        cmocka_unit_test(test_extensions_compare),
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_the_order_of_plans),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
