// SPDX-License-Identifier: Apache-2.0
// A listener's `tls` but for its certificates: values that are good, worth a warning, or refused.
#include "configs.h"

// ---- suites and groups ----

static void test_choices(void **state)
{
    static const struct {
        const char *text;
        const char *ciphers, *ciphersuites, *groups; // NULL: the default
    } cases[] = {
        {TLS("ciphers: [ECDHE-RSA-AES256-GCM-SHA384, ECDHE-RSA-AES128-GCM-SHA256]"),
         "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256", NULL, NULL},
        {TLS("ciphers: \"ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256\""),
         "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256", NULL, NULL},
        {TLS("ciphers: ECDHE-ECDSA-CHACHA20-POLY1305"), "ECDHE-ECDSA-CHACHA20-POLY1305", NULL, NULL},
        {TLS("ciphers: [\"ECDHE-ECDSA-CHACHA20-POLY1305:ecdhe-rsa-chacha20-poly1305\", "
             "ECDHE-ECDSA-AES128-GCM-SHA256]"),
         "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256", NULL,
         NULL},
        {TLS("ciphers: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "
             "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "
             "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]"),
         CIPHERS, NULL, NULL},
        {TLS("ciphersuites: [TLS_CHACHA20_POLY1305_SHA256, tls_aes_128_gcm_sha256]"), NULL,
         "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256", NULL},
        {TLS("ciphersuites: \"TLS_AES_256_GCM_SHA384\""), NULL, "TLS_AES_256_GCM_SHA384", NULL},
        {TLS("groups: [x25519, prime256v1, secp384r1, secp521r1, X448, x25519mlkem768]"), NULL, NULL,
         "X25519:P-256:P-384:P-521:X448:X25519MLKEM768"},
        {TLS("groups: \"P-256:X25519\""), NULL, NULL, "P-256:X25519"},
        {TLS("groups: SECP256R1"), NULL, NULL, "P-256"},
        {TLS("profile: modern, ciphers: ECDHE-RSA-AES128-GCM-SHA256, groups: P-384"),
         "ECDHE-RSA-AES128-GCM-SHA256", NULL, "P-384"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct config *config = load(cases[i].text);
        const struct config_tls *tls = &config->listeners[0].tls;
        assert_string_equal(tls->ciphers, cases[i].ciphers != NULL ? cases[i].ciphers : CIPHERS);
        assert_string_equal(tls->ciphersuites,
                            cases[i].ciphersuites != NULL ? cases[i].ciphersuites : CIPHERSUITES);
        assert_string_equal(tls->groups, cases[i].groups != NULL ? cases[i].groups : GROUPS);
        assert_int_equal(tls->groups_where.line, cases[i].groups != NULL ? 3 : 0);
        config_destroy(config);
    }
}

static void test_profiles(void **state)
{
    static const struct {
        const char *text;
        enum config_tls_version min, max;
        bool prefers_server;
        const char *lines;
    } cases[] = {
        {TLS(""), CONFIG_TLS12, CONFIG_TLS13, true, ""},
        {TLS("profile: intermediate"), CONFIG_TLS12, CONFIG_TLS13, false, ""},
        {TLS("profile: modern"), CONFIG_TLS13, CONFIG_TLS13, false, ""},
        {TLS("profile: intermediate, min_version: 1.3"), CONFIG_TLS13, CONFIG_TLS13, false, ""},
        {TLS("profile: intermediate, max_version: 1.2"), CONFIG_TLS12, CONFIG_TLS12, false, ""},
        {TLS("profile: modern, min_version: \"1.3\""), CONFIG_TLS13, CONFIG_TLS13, false, ""},
        {TLS("profile: modern, min_version: \"1.2\""), CONFIG_TLS12, CONFIG_TLS13, false,
         "c:3:31: warning: `min_version` 1.2 counts, although `profile: modern` is for TLS 1.3 alone\n"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct config *config = load_warned(cases[i].text, cases[i].lines);
        const struct config_tls *tls = &config->listeners[0].tls;
        assert_int_equal(tls->version_min, cases[i].min);
        assert_int_equal(tls->version_max, cases[i].max);
        assert_int_equal(tls->prefers_server, cases[i].prefers_server);
        assert_string_equal(tls->ciphers, CIPHERS);
        assert_string_equal(tls->ciphersuites, CIPHERSUITES);
        assert_string_equal(tls->groups, GROUPS);
        config_destroy(config);
    }
}

#define CIPHERS_ALLOWED                                                                                      \
    "allowed are ECDHE-ECDSA-AES128-GCM-SHA256, ECDHE-RSA-AES128-GCM-SHA256, "                               \
    "ECDHE-ECDSA-AES256-GCM-SHA384, "                                                                        \
    "ECDHE-RSA-AES256-GCM-SHA384, ECDHE-ECDSA-CHACHA20-POLY1305, ECDHE-RSA-CHACHA20-POLY1305\n"
#define SUITES_ALLOWED                                                                                       \
    "allowed are TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256\n"
#define GROUPS_ALLOWED "allowed are X25519MLKEM768, X25519, P-256, P-384, P-521, X448\n"

static const struct bad bad_choices[] = {
    {"a suite without AEAD", TLS("ciphers: ECDHE-RSA-AES128-SHA256"),
     "c:3:10: `ciphers` cannot hold `ECDHE-RSA-AES128-SHA256`; " CIPHERS_ALLOWED},
    {"a suite without ECDHE", TLS("ciphers: [AES128-GCM-SHA256]"),
     "c:3:11: `ciphers` cannot hold `AES128-GCM-SHA256`; " CIPHERS_ALLOWED},
    {"a suite with DHE", TLS("ciphers: [TLS_DHE_RSA_WITH_AES_128_GCM_SHA256]"),
     "c:3:11: `ciphers` cannot hold `TLS_DHE_RSA_WITH_AES_128_GCM_SHA256`; " CIPHERS_ALLOWED},
    {"a suite with CCM", TLS("ciphers: [ECDHE-ECDSA-AES128-CCM]"),
     "c:3:11: `ciphers` cannot hold `ECDHE-ECDSA-AES128-CCM`; " CIPHERS_ALLOWED},
    {"OpenSSL's words", TLS("ciphers: \"HIGH:!aNULL\""),
     "c:3:10: `ciphers` cannot hold `HIGH`; " CIPHERS_ALLOWED
     "c:3:10: `ciphers` cannot hold `!aNULL`; " CIPHERS_ALLOWED},
    {"the beginning of a suite", TLS("ciphers: ECDHE-RSA-AES128-GCM"),
     "c:3:10: `ciphers` cannot hold `ECDHE-RSA-AES128-GCM`; " CIPHERS_ALLOWED},
    {"an empty name", TLS("ciphers: \"ECDHE-RSA-AES128-GCM-SHA256:\""),
     "c:3:10: `ciphers` cannot hold ``; " CIPHERS_ALLOWED},
    {"no suites", TLS("ciphers: []"), "c:3:10: `ciphers` is empty; it needs at least one entry\n"},
    {"nothing for suites", TLS("ciphers: "), "c:3:10: `ciphers` is empty; it needs at least one entry\n"},
    {"an empty text", TLS("ciphers: \"\""), "c:3:10: `ciphers` must not be empty\n"},
    {"a mapping of suites", TLS("ciphers: {a: b}"), "c:3:10: `ciphers` must be a list, not a mapping\n"},
    {"a suite twice, by two names",
     TLS("ciphers: [ECDHE-RSA-AES128-GCM-SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]"),
     "c:3:40: `ECDHE-RSA-AES128-GCM-SHA256` stands in `ciphers` twice; remove one\n"},
    {"a suite of TLS 1.3 among those of 1.2", TLS("ciphers: TLS_AES_128_GCM_SHA256"),
     "c:3:10: `TLS_AES_128_GCM_SHA256` does not belong in `ciphers`; write it in `ciphersuites`\n"},
    {"a suite of TLS 1.2 among those of 1.3", TLS("ciphersuites: [ECDHE-RSA-AES128-GCM-SHA256]"),
     "c:3:16: `ECDHE-RSA-AES128-GCM-SHA256` does not belong in `ciphersuites`; write it in `ciphers`\n"},
    {"a suite of TLS 1.3 with CCM", TLS("ciphersuites: TLS_AES_128_CCM_SHA256"),
     "c:3:15: `ciphersuites` cannot hold `TLS_AES_128_CCM_SHA256`; " SUITES_ALLOWED},
    {"an unknown group", TLS("groups: [P-192, brainpoolP256r1]"),
     "c:3:10: `groups` cannot hold `P-192`; " GROUPS_ALLOWED
     "c:3:17: `groups` cannot hold `brainpoolP256r1`; " GROUPS_ALLOWED},
    {"a finite field", TLS("groups: ffdhe2048"), "c:3:9: `groups` cannot hold `ffdhe2048`; " GROUPS_ALLOWED},
    {"a group twice", TLS("groups: \"P-256:secp256r1\""),
     "c:3:9: `P-256` stands in `groups` twice; remove one\n"},
    {"a profile", TLS("profile: old"), "c:3:10: `profile` must be modern or intermediate, not \"old\"\n"},
    {"modern before 1.3", TLS("profile: modern, max_version: 1.2"),
     "c:3:31: `max_version` 1.2 is below TLS 1.3, the only one of `profile: modern`; remove one of them\n"},
    {"a control character", TLS("groups: \"P-256\\n\""),
     "c:3:9: `groups` must not hold control characters, as in \"P-256\\x0a\"\n"},
    {"entries of the wrong kind", TLS("groups: [P-256, [P-384], {a: b}, ~, nonsense]"),
     "c:3:17: an entry of `groups` must be a single value, not a list\n"
     "c:3:26: an entry of `groups` must be a single value, not a mapping\n"
     "c:3:34: an entry of `groups` has no value; write one, or remove the entry\n"
     "c:3:37: `groups` cannot hold `nonsense`; " GROUPS_ALLOWED},
};

// ---- clients ----

static void test_client_auth(void **state)
{
    struct config *config = load(TLS("client_auth: {mode: required, ca: ca.pem}"));
    const struct config_client_trust *trust = &config->listeners[0].tls.client_auth;

    assert_int_equal(trust->mode, CONFIG_CLIENT_AUTH_REQUIRED);
    assert_string_equal(trust->ca, "/etc/rb/ca.pem");
    assert_int_equal(trust->ca_where.line, 3);
    assert_int_equal(trust->ca_where.column, 35);
    assert_int_equal(trust->crl_count, 0);
    assert_int_equal(trust->crl_where.line, 0);
    assert_int_equal(trust->depth, 4);
    config_destroy(config);

    config = load(TLS("client_auth: {mode: optional, ca: /ca, crl: a.crl, depth: 0}"));
    trust = &config->listeners[0].tls.client_auth;
    assert_int_equal(trust->mode, CONFIG_CLIENT_AUTH_OPTIONAL);
    assert_int_equal(trust->crl_count, 1);
    assert_string_equal(trust->crls[0], "/etc/rb/a.crl");
    assert_int_equal(trust->crl_where.column, 45);
    assert_int_equal(trust->depth, 0);
    config_destroy(config);

    config = load(TLS("client_auth: {mode: optional, ca: /ca, crl: [a.crl, /b.crl], depth: 16}"));
    trust = &config->listeners[0].tls.client_auth;
    assert_int_equal(trust->crl_count, 2);
    assert_string_equal(trust->crls[1], "/b.crl");
    assert_int_equal(trust->depth, 16);
    config_destroy(config);

    // Off is off, whatever else is left standing.
    config = load(TLS("client_auth: {mode: off, ca: /ca, crl: [a.crl], depth: 2}"));
    trust = &config->listeners[0].tls.client_auth;
    assert_int_equal(trust->mode, CONFIG_CLIENT_AUTH_OFF);
    assert_null(trust->ca);
    assert_int_equal(trust->crl_count, 0);
    config_destroy(config);
}

#define MODE "c:3:14: required key `mode` is missing; `client_auth` needs it\n"
#define CA                                                                                                   \
    "c:3:14: `client_auth` needs `ca`: a PEM file of the authorities that client certificates are checked "  \
    "against\n"

static const struct bad bad_clients[] = {
    {"a CA without a mode", TLS("client_auth: {ca: a}"), MODE},
    {"nothing", TLS("client_auth: {}"), MODE},
    {"a mode without a CA", TLS("client_auth: {mode: required}"), CA},
    {"an optional mode without a CA", TLS("client_auth: {mode: optional, crl: a}"), CA},
    {"a CA that is misspelled is not missing too", TLS("client_auth: {mode: required, cas: a}"),
     "c:3:31: unknown key `cas`; did you mean `ca`?\n"},
    {"a mode", TLS("client_auth: {mode: \"yes\", ca: a}"),
     "c:3:21: `mode` must be off, optional or required, not \"yes\"\n"},
    {"a word", TLS("client_auth: required"),
     "c:3:14: `client_auth` must be a mapping with mode, not a single value\n"},
    {"too deep", TLS("client_auth: {mode: off, depth: 17}"),
     "c:3:33: `depth` cannot be `17`; write a number from 0 to 16\n"},
    {"a negative depth", TLS("client_auth: {mode: required, ca: a, depth: -1}"),
     "c:3:45: `depth` cannot be `-1`; write a number from 0 to 16\n"},
    {"an octal depth", TLS("client_auth: {mode: required, ca: a, depth: 00}"),
     "c:3:45: `depth` cannot be `00`; write a number from 0 to 16\n"},
    {"a CRL twice", TLS("client_auth: {mode: required, ca: a, crl: [b, /etc/rb/b]}"),
     "c:3:47: `/etc/rb/b` stands in `crl` twice; remove one\n"},
    {"no CRL", TLS("client_auth: {mode: required, ca: a, crl: []}"),
     "c:3:43: `crl` is empty; it needs at least one entry\n"},
    {"a CA beside its section", TLS("ca: a"), "c:3:1: unknown key `ca` here; it belongs in `client_auth`\n"},
};

// ---- OCSP and the key log ----

static void test_ocsp(void **state)
{
    static const char *const responders[] = {
        "http://ocsp.example.com",      "http://ocsp.example.com/", "HTTP://ocsp.example.com:8080/a/b%20c",
        "http://192.0.2.1:80/path?q=1", "http://[2001:db8::1]/",    "http://[2001:db8::1]:8080",
        "http://localhost?a",
    };
    struct config *config = load(TLS("ocsp: {fetch: true, cache: c, timeout: 2s}"));
    const struct config_ocsp *ocsp = &config->listeners[0].tls.ocsp;
    char text[512];

    assert_true(ocsp->fetch);
    assert_string_equal(ocsp->cache, "/etc/rb/c");
    assert_null(ocsp->responder);
    assert_int_equal(ocsp->timeout_ns, 2 * SECOND_NS);
    assert_int_equal(ocsp->where.line, 3);
    assert_int_equal(ocsp->where.column, 7);
    config_destroy(config);
    for (size_t i = 0; i < COUNT(responders); i++) {
        snprintf(text, sizeof(text), TLS("ocsp: {fetch: yes, responder: \"%s\"}"), responders[i]);
        config = load(text);
        assert_string_equal(config->listeners[0].tls.ocsp.responder, responders[i]);
        config_destroy(config);
    }
    config = load_warned(TLS("ocsp: {responder: \"http://a/\", cache: b}"),
                         "c:3:19: warning: `responder` does nothing without `fetch: true`\n"
                         "c:3:39: warning: `cache` does nothing without `fetch: true`\n");
    assert_false(config->listeners[0].tls.ocsp.fetch);
    config_destroy(config);
    config = load(TLS("ocsp: "));
    assert_false(config->listeners[0].tls.ocsp.fetch);
    config_destroy(config);
}

static void test_keylog(void **state)
{
    struct config *config = load_warned(TLS("keylog: k.log"),
                                        "c:3:9: warning: `keylog` gives whoever can read /etc/rb/k.log every "
                                        "connection's traffic; remove it after debugging\n");

    assert_string_equal(config->listeners[0].tls.keylog, "/etc/rb/k.log");
    config_destroy(config);
}

#define RESPONDER(url, why)                                                                                  \
    TLS("ocsp: {fetch: true, responder: \"" url "\"}"), "c:3:32: `responder` cannot be `" url "`: " why "\n"
#define SCHEME "write a URL that begins with `http://`; responses are signed, so they need no TLS"
#define BLANKS "a URL holds no blanks, no `#`, and what is not ASCII as `%XX`"
#define HOST   "its host or port is not right; write `http://HOST/` or `http://HOST:PORT/`"

static const struct bad bad_ocsp[] = {
    {"https", RESPONDER("https://ocsp.example.com/", SCHEME)},
    {"no scheme", RESPONDER("ocsp.example.com", SCHEME)},
    {"a file", RESPONDER("file:///etc/passwd", SCHEME)},
    {"a blank", RESPONDER("http://a/b c", BLANKS)},
    {"a fragment", RESPONDER("http://a/#b", BLANKS)},
    {"not ASCII", RESPONDER("http://b\xc3\xbc"
                            "cher/",
                            BLANKS)},
    {"no host", RESPONDER("http://", HOST)},
    {"no host but a path", RESPONDER("http:///a", HOST)},
    {"no host but a port", RESPONDER("http://:80/", HOST)},
    {"a port too high", RESPONDER("http://a:65536/", HOST)},
    {"port zero", RESPONDER("http://a:0/", HOST)},
    {"no port behind the colon", RESPONDER("http://a:/", HOST)},
    {"somebody's name", RESPONDER("http://me:secret@a/", HOST)},
    {"an IPv6 address without brackets", RESPONDER("http://2001:db8::1/", HOST)},
    {"a host that is none", RESPONDER("http://a$b/", HOST)},
    {"a wildcard", RESPONDER("http://*/", HOST)},
    {"a socket", RESPONDER("http://unix:1/", HOST)},
    {"brackets without an address", RESPONDER("http://[a]/", HOST)},
    {"fetch", TLS("ocsp: {fetch: always}"),
     "c:3:15: `fetch` must be true, false, yes, no, on or off, not \"always\"\n"},
    {"no time", TLS("ocsp: {fetch: true, timeout: 0s}"),
     "c:3:30: `timeout`: 0s is too short; write at least `1ms`\n"},
    {"a long time", TLS("ocsp: {fetch: true, timeout: 11m}"),
     "c:3:30: `timeout`: 11m is too long; at most `10m` are allowed\n"},
    {"a path where the section is", TLS("ocsp: response.der"),
     "c:3:7: `ocsp` must be a mapping with fetch, cache, responder or timeout, not a single value\n"},
    {"a URL twice", TLS("responder: \"http://a/\""),
     "c:3:1: unknown key `responder` here; it belongs in `ocsp`\n"},
};

// ---- merges ----

static void test_merge_tls(void **state)
{
    struct config *config = load(
        "listeners:\n"
        "- address: '*:1'\n"
        "  upstream: app\n"
        "  tls: &tls\n"
        "    ciphers: [ECDHE-ECDSA-AES128-GCM-SHA256]\n"
        "    groups: &groups [P-256]\n"
        "    certificates: &certificates\n"
        "    - &certificate {chain: c, names: [a.example]}\n"
        "    client_auth: &auth {mode: required, ca: ca.pem, crl: a.crl, depth: 1}\n"
        "    ocsp: &ocsp {fetch: true, cache: d}\n"
        "- {address: '*:2', upstream: app, tls: {<<: *tls, ciphers: ECDHE-RSA-AES256-GCM-SHA384}}\n"
        "- {address: '*:3', upstream: app, tls: {<<: *tls, client_auth: {mode: off}}}\n"
        "- {address: '*:4', upstream: app, tls: {<<: *tls, client_auth: {<<: *auth, mode: optional}}}\n"
        "- {address: '*:5', upstream: app, tls: {<<: *tls, profile: modern, certificates: [{<<: "
        "*certificate, key: k, names: b.example}]}}\n"
        "- {address: '*:6', upstream: app, tls: {certificates: *certificates, groups: *groups, ocsp: {<<: "
        "*ocsp, timeout: 1s}}}\n" APP);
    const struct config_tls *tls[6];

    assert_int_equal(config->listener_count, COUNT(tls));
    for (size_t i = 0; i < COUNT(tls); i++) {
        tls[i] = &config->listeners[i].tls;
        assert_string_equal(tls[i]->groups, "P-256");
        assert_string_equal(tls[i]->ocsp.cache, "/etc/rb/d");
        assert_true(tls[i]->ocsp.fetch);
        assert_int_equal(tls[i]->certificate_count, 1);
        assert_string_equal(tls[i]->certificates[0].chain, "/etc/rb/c");
        assert_int_equal(tls[i]->certificates[0].chain_where.line, 8);
    }
    assert_string_equal(tls[0]->ciphers, "ECDHE-ECDSA-AES128-GCM-SHA256");
    assert_string_equal(tls[1]->ciphers, "ECDHE-RSA-AES256-GCM-SHA384");
    assert_string_equal(tls[1]->client_auth.ca, "/etc/rb/ca.pem");
    assert_int_equal(tls[2]->client_auth.mode, CONFIG_CLIENT_AUTH_OFF);
    assert_null(tls[2]->client_auth.ca);
    assert_string_equal(tls[2]->ciphers, "ECDHE-ECDSA-AES128-GCM-SHA256");
    assert_int_equal(tls[3]->client_auth.mode, CONFIG_CLIENT_AUTH_OPTIONAL);
    assert_int_equal(tls[3]->client_auth.depth, 1);
    assert_int_equal(tls[3]->client_auth.crl_count, 1);
    assert_int_equal(tls[4]->version_min, CONFIG_TLS13);
    assert_string_equal(tls[4]->certificates[0].key, "/etc/rb/k");
    assert_string_equal(tls[4]->certificates[0].names[0], "b.example");
    assert_string_equal(tls[3]->certificates[0].names[0], "a.example");
    assert_string_equal(tls[5]->ciphers, CIPHERS);
    assert_int_equal(tls[5]->client_auth.mode, CONFIG_CLIENT_AUTH_OFF);
    assert_int_equal(tls[5]->ocsp.timeout_ns, SECOND_NS);
    assert_int_equal(tls[0]->ocsp.timeout_ns, 10 * SECOND_NS);
    config_destroy(config);
}

// What a listener takes over by a merge is wrong where it was written, once; what the merged keys contradict is said too.
static void test_merge_tls_wrong(void **state)
{
    struct config *config;

    refuse(APP "listeners:\n"
               "- {address: '*:1', upstream: app, tls: &tls {groups: P-1, certificates: [{key: k}]}}\n"
               "- {address: '*:2', upstream: app, tls: {<<: *tls, groups: P-2}}\n",
           "c:3:54: `groups` cannot hold `P-1`; " GROUPS_ALLOWED "c:3:74: " NO_FILES
           "c:4:59: `groups` cannot hold `P-2`; " GROUPS_ALLOWED);
    refuse(BARE("<<: *nothing"),
           "c:3:5: `*nothing` names no anchor; write `&nothing` ahead of a value above\n");
    config = load_warned(
        APP "listeners:\n"
            "- {address: '*:1', upstream: app, tls: &tls {min_version: '1.2', certificates: [{chain: c}]}}\n"
            "- {address: '*:2', upstream: app, tls: {<<: *tls, profile: modern}}\n",
        "c:3:59: warning: `min_version` 1.2 counts, although `profile: modern` is for TLS 1.3 alone\n");
    assert_int_equal(config->listeners[1].tls.version_min, CONFIG_TLS12);
    config_destroy(config);
}

int main(void)
{
    const struct CMUnitTest fixed[] = {
        cmocka_unit_test(test_choices),         cmocka_unit_test(test_profiles),
        cmocka_unit_test(test_client_auth),     cmocka_unit_test(test_ocsp),
        cmocka_unit_test(test_keylog),          cmocka_unit_test(test_merge_tls),
        cmocka_unit_test(test_merge_tls_wrong),
    };
    struct CMUnitTest tests[COUNT(fixed) + COUNT(bad_choices) + COUNT(bad_clients) + COUNT(bad_ocsp)];
    size_t count = COUNT(fixed);

    memcpy(tests, fixed, sizeof(fixed));
    count = add_bad(tests, count, bad_choices, COUNT(bad_choices));
    count = add_bad(tests, count, bad_clients, COUNT(bad_clients));
    count = add_bad(tests, count, bad_ocsp, COUNT(bad_ocsp));
    assert_int_equal(count, COUNT(tests));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
