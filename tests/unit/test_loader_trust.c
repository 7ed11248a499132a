// SPDX-License-Identifier: Apache-2.0
// Client authorities with revocation lists, and keys of tickets.
#include "tests/unit/loader.h"

#include <time.h>

static EVP_PKEY *ca_key, *other_key;
static X509 *ca, *other, *leaf, *old;
static struct loader *loader;

// ---- files ----

static X509_CRL *crl_make(X509 *issuer, EVP_PKEY *key, long from_s, long until_s)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *from = X509_gmtime_adj(NULL, from_s);
    ASN1_TIME *until = until_s != 0 ? X509_gmtime_adj(NULL, until_s) : NULL;

    X509_CRL_set_version(crl, X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer));
    X509_CRL_set1_lastUpdate(crl, from);
    if (until != NULL)
        X509_CRL_set1_nextUpdate(crl, until);
    X509_CRL_sort(crl);
    must(X509_CRL_sign(crl, key, EVP_sha256()) > 0, "a CRL");
    ASN1_TIME_free(until);
    ASN1_TIME_free(from);
    return crl;
}

static void write_crl(const char *name, X509 *issuer, EVP_PKEY *key, long from_s, long until_s, bool is_der)
{
    X509_CRL *crl = crl_make(issuer, key, from_s, until_s);
    FILE *file = fopen(path_of(name), "a");

    must(file != NULL && (is_der ? i2d_X509_CRL_fp(file, crl) : PEM_write_X509_CRL(file, crl)) == 1, name);
    fclose(file);
    X509_CRL_free(crl);
}

static int set_up(void **state)
{
    size_t size;
    uint8_t *bytes;

    folder_make();
    ca_key = key_make("P-256");
    other_key = key_make("P-256");
    ca = certificate_of("Clients CA", ca_key, NULL, NULL);
    other = certificate_of("Other CA", other_key, NULL, NULL);
    leaf = certificate_of("localhost", other_key, ca, ca_key);
    old = certificate_make(&(struct certificate_wish){
        .name = "Old CA", .key = ca_key, .is_authority = true, .from_s = -2 * DAY_S, .until_s = -DAY_S});
    write_chain("ca.pem", ca, NULL);
    write_chain("two.pem", ca, other, ca, NULL);
    write_chain("leaf.pem", leaf, NULL);
    write_chain("with-leaf.pem", ca, leaf, NULL);
    write_chain("old.pem", old, ca, NULL);
    write_certificate_der("ca.der", ca);
    key_append(path_of("ca.key"), ca_key);
    write_crl("ca.crl", ca, ca_key, -60, 3600, false);
    write_crl("ca.crl.der", ca, ca_key, -60, 7200, true);
    write_crl("other.crl", other, other_key, -60, 1800, false);
    write_crl("both.crl", ca, ca_key, -60, 3600, false);
    write_crl("both.crl", other, other_key, -60, 1800, false);
    write_crl("forever.crl", ca, ca_key, -60, 0, false);
    write_crl("forged.crl", ca, other_key, -60, 3600, false);
    write_crl("outdated.crl", ca, ca_key, -7200, -3600, false);
    write_crl("early.crl", ca, ca_key, 3600, 7200, false);
    bytes = read_whole("ca.crl", &size);
    write_file("cut.crl", bytes, size - 30);
    free(bytes);
    write_text("damaged.crl", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n");
    write_text("prose.crl", "nothing was revoked\n");
    loader = loader_create(false);
    return 0;
}

static int tear_down(void **state)
{
    loader_destroy(loader);
    folder_remove();
    X509_free(old);
    X509_free(leaf);
    X509_free(other);
    X509_free(ca);
    EVP_PKEY_free(other_key);
    EVP_PKEY_free(ca_key);
    return 0;
}

// ---- one load ----

struct trust_load {
    char *crls[2];
    struct config_client_trust source;
    struct report report;
    struct client_trust *trust;
};

static int load_trust(struct trust_load *load, const char *bundle, const char *crl, const char *crl_2)
{
    int result;

    *load = (struct trust_load){
        .source = {.mode = CONFIG_CLIENT_AUTH_REQUIRED, .ca_where = {3, 5}, .crl_where = {4, 7}}};
    load->source.ca = path_of(bundle);
    load->source.crls = load->crls;
    if (crl != NULL)
        load->crls[load->source.crl_count++] = path_of(crl);
    if (crl_2 != NULL)
        load->crls[load->source.crl_count++] = path_of(crl_2);
    report_init(&load->report, "test.yaml");
    result = loader_trust(loader, &load->source, &load->report, &load->trust);
    assert_int_equal(ERR_peek_error(), 0);
    assert_true((result == 0) == (load->trust != NULL));
    return result;
}

static void trust_finish(struct trust_load *load)
{
    client_trust_destroy(load->trust);
    report_finish(&load->report);
}

static void test_good(void **state)
{
    static const struct {
        const char *bundle, *crl, *crl_2;
        size_t cas, crls;
        int64_t until_s; // 0: none
    } cases[] = {
        {"ca.pem", NULL, NULL, 1, 0, 0},
        {"two.pem", NULL, NULL, 2, 0, 0},
        {"ca.pem", "ca.crl", NULL, 1, 1, 3600},
        {"ca.pem", "ca.crl.der", NULL, 1, 1, 7200},
        {"ca.pem", "ca.crl.der", "ca.crl", 1, 2, 3600},
        {"ca.pem", "ca.crl", "ca.crl", 1, 1, 3600},
        {"two.pem", "ca.crl", "other.crl", 2, 2, 1800},
        {"two.pem", "both.crl", NULL, 2, 2, 1800},
        {"ca.pem", "forever.crl", NULL, 1, 1, 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct trust_load load;

        load_trust(&load, cases[i].bundle, cases[i].crl, cases[i].crl_2);
        expect_silence(&load.report, cases[i].bundle);
        assert_int_equal(load.trust->ca_count, cases[i].cas);
        assert_int_equal(load.trust->crl_count, cases[i].crls);
        if (cases[i].until_s == 0)
            assert_true(load.trust->next_update_s == INT64_MAX);
        else // the files were made some seconds ago
            assert_in_range(time(NULL) + cases[i].until_s - load.trust->next_update_s, 0, 600);
        trust_finish(&load);
    }
}

// The same files give the same, others others.
static void test_digest(void **state)
{
    static const struct {
        const char *bundle, *crl;
    } cases[] = {{"ca.pem", NULL},
                 {"two.pem", NULL},
                 {"ca.pem", "ca.crl"},
                 {"ca.pem", "ca.crl.der"},
                 {"two.pem", "both.crl"}};
    uint8_t digests[COUNT(cases)][32];

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct trust_load first, second;

        load_trust(&first, cases[i].bundle, cases[i].crl, NULL);
        load_trust(&second, cases[i].bundle, cases[i].crl, NULL);
        assert_memory_equal(first.trust->digest, second.trust->digest, 32);
        memcpy(digests[i], first.trust->digest, 32);
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(digests[j], digests[i], 32);
        trust_finish(&second);
        trust_finish(&first);
    }
}

static const struct {
    const char *bundle, *crl;
    const char *line;
} refusals[] = {
    {"none.pem", NULL,
     "test.yaml:3:5: cannot read bundle of client authorities %/none.pem: No such file or directory; give a "
     "PEM file with the "
     "certificates of the authorities that issue client certificates"},
    {"leaf.pem", NULL,
     "test.yaml:3:5: %/leaf.pem holds no authority's certificate (basic constraints CA:TRUE); give a PEM "
     "file"},
    {"ca.der", NULL,
     "test.yaml:3:5: bundle of client authorities %/ca.der is DER, not PEM; convert it with `openssl x509"},
    {"ca.key", NULL, "test.yaml:3:5: %/ca.key holds a private key and no certificate; give a PEM file with"},
    {"ca.pem", "none.crl",
     "test.yaml:4:7: cannot read revocation list %/none.crl: No such file or directory; give a CRL that the "
     "authority published"},
    {"ca.pem", "prose.crl",
     "test.yaml:4:7: %/prose.crl is not a revocation list, neither PEM (-----BEGIN X509 CRL-----) nor DER; "
     "give a CRL"},
    {"ca.pem", "damaged.crl", "test.yaml:4:7: revocation list 1 in %/damaged.crl is damaged; fetch it again"},
    {"ca.pem", "cut.crl",
     "test.yaml:4:7: revocation list 1 in %/cut.crl is cut off in the middle; fetch it again"},
    {"ca.pem", "other.crl",
     "test.yaml:4:7: no authority of the bundle signed the revocation list in %/other.crl (issuer CN=Other "
     "CA); add that"},
    {"ca.pem", "both.crl",
     "no authority of the bundle signed the revocation list in %/both.crl (issuer CN=Other CA)"},
    {"ca.pem", "forged.crl",
     "no authority of the bundle signed the revocation list in %/forged.crl (issuer CN=Clients CA)"},
    {"ca.pem", "outdated.crl",
     "test.yaml:4:7: the revocation list in %/outdated.crl is out of date since 20"},
    {"ca.pem", "early.crl", "test.yaml:4:7: the revocation list in %/early.crl is not valid before 20"},
};

static void test_refused(void **state)
{
    for (size_t i = 0; i < COUNT(refusals); i++) {
        struct trust_load load;

        assert_int_equal(load_trust(&load, refusals[i].bundle, refusals[i].crl, NULL), -EINVAL);
        expect_line(&load.report, refusals[i].line, refusals[i].bundle);
        assert_int_equal(load.report.error_count, 1);
        trust_finish(&load);
    }
}

static void test_warned(void **state)
{
    struct trust_load load;

    assert_int_equal(load_trust(&load, "with-leaf.pem", NULL, NULL), 0);
    expect_line(&load.report,
                "test.yaml:3:5: warning: CN=localhost in %/with-leaf.pem is not the certificate of an "
                "authority, so no client",
                "leaf");
    trust_finish(&load);
    assert_int_equal(load_trust(&load, "old.pem", NULL, NULL), 0);
    expect_line(
        &load.report,
        "test.yaml:3:5: warning: the authority CN=Old CA in %/old.pem has expired, so its clients are",
        "old");
    trust_finish(&load);
    assert_int_equal(load_trust(&load, "two.pem", "ca.crl", NULL), 0);
    assert_int_equal(load.report.count, 1);
    expect_line(&load.report,
                "test.yaml:4:7: warning: no revocation list is from the authority CN=Other CA of %/two.pem, "
                "so what it issued is "
                "refused; add its list",
                "missing list");
    trust_finish(&load);
}

// ---- keys of tickets ----

// 1, 2, 3 … so that each part can be told.
static void write_ticket_key(const char *name, size_t size, bool is_text, const char *end)
{
    uint8_t bytes[96];
    char text[160] = "";

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i + 1);
    if (!is_text) {
        write_file(name, bytes, size);
        return;
    }
    EVP_EncodeBlock((unsigned char *)text, bytes, (int)size);
    strcat(text, end);
    write_text(name, text);
}

static void expect_run(const uint8_t *bytes, size_t size, unsigned first)
{
    for (size_t i = 0; i < size; i++)
        assert_int_equal(bytes[i], first + i);
}

static void test_ticket_keys(void **state)
{
    static const struct {
        size_t size;
        bool is_text;
        const char *end;
        size_t half;
        unsigned hmac, aes; // where they begin, from 1
    } cases[] = {
        {48, false, "", 16, 33, 17}, {80, false, "", 32, 17, 49},    {80, true, "\n", 32, 49, 17},
        {80, true, "", 32, 49, 17},  {80, true, "\r\n", 32, 49, 17}, {48, true, "\n", 16, 33, 17},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ticket_key key;
        struct report report;

        report_init(&report, "test.yaml");
        write_ticket_key("ticket.key", cases[i].size, cases[i].is_text, cases[i].end);
        assert_int_equal(
            loader_ticket_key(loader, path_of("ticket.key"), (struct config_where){9, 2}, &report, &key), 0);
        expect_silence(&report, "ticket.key");
        assert_int_equal(key.size, cases[i].half);
        expect_run(key.name, 16, 1);
        expect_run(key.hmac, cases[i].half, cases[i].hmac);
        expect_run(key.aes, cases[i].half, cases[i].aes);
        report_finish(&report);
    }
}

static void test_ticket_keys_refused(void **state)
{
    static const struct {
        const char *text; // NULL: so many bytes
        size_t size;
        bool is_text;
    } cases[] = {
        {NULL, 47, false}, {NULL, 49, false},  {NULL, 79, false},        {NULL, 81, false},
        {NULL, 79, true},  {NULL, 96, true},   {"not base64", 0, false}, {"AAAA\nAAAA\n", 0, false},
        {"\n", 0, false},  {"====", 0, false},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ticket_key key = {.size = 77};
        struct report report;

        report_init(&report, "test.yaml");
        if (cases[i].text != NULL)
            write_text("bad.key", cases[i].text);
        else
            write_ticket_key("bad.key", cases[i].size, cases[i].is_text, "\n");
        assert_int_equal(
            loader_ticket_key(loader, path_of("bad.key"), (struct config_where){9, 2}, &report, &key),
            -EINVAL);
        expect_line(&report,
                    "test.yaml:9:2: ticket key %/bad.key is neither 48 or 80 bytes nor one line of base64 of "
                    "as many; make one with "
                    "`openssl rand -out FILE 80`",
                    "bad.key");
        assert_int_equal(key.size, 77);
        report_finish(&report);
    }
}

static void test_ticket_key_mode(void **state)
{
    struct ticket_key key;
    struct report report;

    report_init(&report, "test.yaml");
    write_ticket_key("open.key", 80, false, "");
    must(chmod(path_of("open.key"), 0644) == 0, "chmod");
    assert_int_equal(
        loader_ticket_key(loader, path_of("open.key"), (struct config_where){9, 2}, &report, &key), 0);
    expect_line(&report, "test.yaml:9:2: warning: ticket key %/open.key can be read by others", "open.key");
    report_finish(&report);
}

static void test_ticket_key_made(void **state)
{
    static const uint8_t zeros[32];
    struct ticket_key one = {0}, other_one = {0};

    assert_int_equal(ticket_key_make(&one), 0);
    assert_int_equal(ticket_key_make(&other_one), 0);
    assert_int_equal(one.size, 32);
    assert_memory_not_equal(one.name, other_one.name, 16);
    assert_memory_not_equal(one.hmac, other_one.hmac, 32);
    assert_memory_not_equal(one.aes, other_one.aes, 32);
    assert_memory_not_equal(one.name, zeros, 16);
    assert_memory_not_equal(one.hmac, zeros, 32);
    assert_memory_not_equal(one.aes, zeros, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_warned),
        cmocka_unit_test(test_ticket_keys),
        cmocka_unit_test(test_ticket_keys_refused),
        cmocka_unit_test(test_ticket_key_mode),
        cmocka_unit_test(test_ticket_key_made),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
