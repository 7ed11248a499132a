// SPDX-License-Identifier: Apache-2.0
// Which files make a certificate, and the host names that it may be given.
#include "configs.h"

static void test_certificates(void **state)
{
    static const struct {
        const char *text;
        const char *chain, *key, *pkcs12, *env, *file, *ocsp;
        unsigned chain_column, key_column;
    } cases[] = {
        {CERTIFICATE("chain: c, key: k"), "/etc/rb/c", "/etc/rb/k", NULL, NULL, NULL, NULL, 8, 16},
        {CERTIFICATE("chain: c"), "/etc/rb/c", "/etc/rb/c", NULL, NULL, NULL, NULL, 8, 8},
        {CERTIFICATE("pkcs12: /p"), NULL, NULL, "/p", NULL, NULL, NULL, 9, 9},
        {CERTIFICATE("pkcs12: p, passphrase: {env: PASS}"), NULL, NULL, "/etc/rb/p", "PASS", NULL, NULL, 9,
         9},
        {CERTIFICATE("chain: c, passphrase: {file: f}"), "/etc/rb/c", "/etc/rb/c", NULL, NULL, "/etc/rb/f",
         NULL, 8, 8},
        {CERTIFICATE("key: k, chain: c, ocsp: o"), "/etc/rb/c", "/etc/rb/k", NULL, NULL, NULL, "/etc/rb/o",
         16, 6},
    };
#define SAME(a, b) assert_true((a) == NULL ? (b) == NULL : (b) != NULL && strcmp(a, b) == 0)

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct config *config = load(cases[i].text);
        const struct config_certificate *certificate = &config->listeners[0].tls.certificates[0];
        assert_int_equal(config->listeners[0].tls.certificate_count, 1);
        SAME(cases[i].chain, certificate->chain);
        SAME(cases[i].key, certificate->key);
        SAME(cases[i].pkcs12, certificate->pkcs12);
        SAME(cases[i].env, certificate->passphrase.env);
        SAME(cases[i].file, certificate->passphrase.file);
        SAME(cases[i].ocsp, certificate->ocsp);
        assert_int_equal(certificate->chain_where.line, 3);
        assert_int_equal(certificate->chain_where.column, cases[i].chain_column);
        assert_int_equal(certificate->key_where.line, 3);
        assert_int_equal(certificate->key_where.column, cases[i].key_column);
        assert_int_equal(certificate->ocsp_where.line, cases[i].ocsp != NULL ? 3 : 0);
        assert_int_equal(certificate->name_count, 0);
        config_destroy(config);
    }
}

static void test_certificate_dir(void **state)
{
    struct config *config = load(BARE("certificate_dir: d/e"));
    const struct config_tls *tls = &config->listeners[0].tls;

    assert_string_equal(tls->certificate_dir, "/etc/rb/d/e");
    assert_int_equal(tls->certificate_dir_where.line, 3);
    assert_int_equal(tls->certificate_dir_where.column, 18);
    assert_int_equal(tls->certificate_count, 0);
    config_destroy(config);

    config = load(TLS("certificate_dir: /d, strict_sni: on"));
    tls = &config->listeners[0].tls;
    assert_string_equal(tls->certificate_dir, "/d");
    assert_int_equal(tls->certificate_count, 1);
    assert_true(tls->strict_sni);
    config_destroy(config);
}

#define LABEL_63 "a23456789012345678901234567890123456789012345678901234567890123"

static void test_names_of_certificates(void **state)
{
    static const char *const names[][2] = {
        {"example.com", "example.com"},
        {"EXAMPLE.com", "example.com"},
        {"*.Example.COM", "*.example.com"},
        {"localhost", "localhost"},
        {"*.local", "*.local"},
        {"xn--bcher-kva.example", "xn--bcher-kva.example"},
        {"_dmarc.example", "_dmarc.example"},
        {"1.2.3.4.example", "1.2.3.4.example"},
        {"1e1", "1e1"},
        {LABEL_63 "." LABEL_63 "." LABEL_63 "." LABEL_63, NULL}, // 255 bytes
        {LABEL_63 "." LABEL_63 "." LABEL_63 ".a23456789012345678901234567890123456789012345678901234567890a",
         LABEL_63 "." LABEL_63 "." LABEL_63 ".a23456789012345678901234567890123456789012345678901234567890a"},
    };
    char text[1024];

    for (size_t i = 0; i < COUNT(names); i++) {
        struct config *config;
        const struct config_certificate *certificate;
        snprintf(text, sizeof(text), CERTIFICATE("chain: c, names: [\"%s\"]"), names[i][0]);
        if (names[i][1] == NULL) {
            char lines[1024];
            snprintf(lines, sizeof(lines),
                     "c:3:19: `names` cannot hold `%s`: a name has at most 253 characters\n", names[i][0]);
            refuse(text, lines);
            continue;
        }
        config = load(text);
        certificate = &config->listeners[0].tls.certificates[0];
        assert_int_equal(certificate->name_count, 1);
        assert_string_equal(certificate->names[0], names[i][1]);
        config_destroy(config);
    }
}

#define NAME(text, column, why)                                                                              \
    CERTIFICATE("chain: c, names: \"" text "\""), "c:3:" column ": `names` cannot hold `" text "`: " why "\n"
#define WHOLE  "a `*` stands for the whole first part of a name; write `*.example.com`"
#define EMPTY  "a name has no empty part: no dot at its beginning or end, nor two in a row"
#define HYPHEN "a part of a name between dots neither begins nor ends with `-`"
#define LETTER "a host name consists of letters, digits, `-`, `_` and dots"
#define NUMBER "clients do not ask for addresses by name (RFC 6066 §3); write a host name"
#define PORT   "write the host's name alone, without a port; clients do not ask for addresses (RFC 6066 §3)"

static const struct bad bad_certificates[] = {
    {"a wildcard alone", NAME("*", "18", WHOLE)},
    {"a wildcard as a part of the first part", NAME("a*.example", "18", WHOLE)},
    {"a wildcard further on", NAME("a.*.example", "18", WHOLE)},
    {"two wildcards", NAME("*.*.example", "18", WHOLE)},
    {"a wildcard of nothing", NAME("*.", "18", EMPTY)},
    {"a dot at the end", NAME("example.com.", "18", EMPTY)},
    {"a dot at the beginning", NAME(".example.com", "18", EMPTY)},
    {"two dots", NAME("example..com", "18", EMPTY)},
    {"a hyphen first", NAME("-a.example", "18", HYPHEN)},
    {"a hyphen last", NAME("a-.example", "18", HYPHEN)},
    {"a blank", NAME("a b.example", "18", LETTER)},
    {"a URL", NAME("example/", "18", LETTER)},
    {"not ASCII", NAME("b\xc3\xbc"
                       "cher.example",
                       "18", "write an international name in its ASCII form, `xn--…`")},
    {"an address", NAME("192.0.2.1", "18", NUMBER)},
    {"a number", NAME("example.1", "18", NUMBER)},
    {"an IPv6 address", NAME("2001:db8::1", "18", PORT)},
    {"a port", NAME("example.com:443", "18", PORT)},
    {"a long part", NAME(LABEL_63 "4", "18", "a part of a name between dots has at most 63 characters")},
    {"a name twice", CERTIFICATE("chain: c, names: [a.example, A.EXAMPLE]"),
     "c:3:30: `a.example` stands in `names` twice; remove one\n"},
    {"no names", CERTIFICATE("chain: c, names: []"),
     "c:3:18: `names` is empty; it needs at least one entry\n"},
    {"neither chain nor pkcs12", CERTIFICATE("key: k"), "c:2:66: " NO_FILES},
    {"only names", CERTIFICATE("names: a"), "c:2:66: " NO_FILES},
    {"a chain that is wrong is not missing too", CERTIFICATE("chain: [c], key: k"),
     "c:3:8: `chain` must be a single value, not a list\n"},
    {"a chain that is misspelled is not missing too", CERTIFICATE("chian: c, key: k"),
     "c:3:1: unknown key `chian`; did you mean `chain`?\n"},
    {"pkcs12 and chain", CERTIFICATE("chain: c, pkcs12: p"),
     "c:3:19: a PKCS#12 file holds the certificate and its key; remove `chain` and `key`, or `pkcs12`\n"},
    {"pkcs12 and key", CERTIFICATE("pkcs12: p, key: k"),
     "c:3:9: a PKCS#12 file holds the certificate and its key; remove `chain` and `key`, or `pkcs12`\n"},
    {"passphrase as it is", CERTIFICATE("chain: c, passphrase: secret"),
     "c:3:23: `passphrase` must be a mapping with env or file, not a single value\n"},
    {"two passphrases", CERTIFICATE("chain: c, passphrase: {env: A, file: b}"),
     "c:3:23: `passphrase` takes `env` or `file`, not both\n"},
    {"no passphrase", CERTIFICATE("chain: c, passphrase: {}"),
     "c:3:23: `passphrase` is empty; write `env: NAME` or `file: PATH`, or remove it\n"},
    {"nothing for a passphrase", CERTIFICATE("chain: c, passphrase: "),
     "c:3:23: `passphrase` is empty; write `env: NAME` or `file: PATH`, or remove it\n"},
    {"an unknown way to a passphrase", CERTIFICATE("chain: c, passphrase: {command: a}"),
     "c:3:24: unknown key `command`; known here are env and file\n"},
    {"a variable's name", CERTIFICATE("chain: c, passphrase: {env: A=b}"),
     "c:3:29: `env` is the name of an environment variable, which holds no `=`\n"},
    {"neither certificates nor a folder", BARE("strict_sni: true"),
     "c:2:50: `tls` needs `certificates` or `certificate_dir`\n"},
    {"certificates that are wrong are not missing too", BARE("certificates: c.pem"),
     "c:3:15: `certificates` must be a list, not a single value\n"},
    {"a folder with an empty name", BARE("certificate_dir: \"\""),
     "c:3:18: `certificate_dir` must not be empty\n"},
    {"strict_sni", TLS("strict_sni: maybe"),
     "c:3:13: `strict_sni` must be true, false, yes, no, on or off, not \"maybe\"\n"},
};

int main(void)
{
    const struct CMUnitTest fixed[] = {
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_certificate_dir),
        cmocka_unit_test(test_names_of_certificates),
    };
    struct CMUnitTest tests[COUNT(fixed) + COUNT(bad_certificates)];
    size_t count = COUNT(fixed);

    memcpy(tests, fixed, sizeof(fixed));
    count = add_bad(tests, count, bad_certificates, COUNT(bad_certificates));
    assert_int_equal(count, COUNT(tests));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
