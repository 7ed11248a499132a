// SPDX-License-Identifier: Apache-2.0
// An upstream's `tls`: defaults, whom a certificate must be for, and what is wrong with it.
#include "configs.h"

// Each fragment stands in line 3.
#define UPSTREAM(fragment)   IN_UPSTREAM fragment "}]\n"
#define SERVER_TLS(fragment) UPSTREAM("tls: {" fragment "}")

static void test_off(void **state)
{
    struct config *config = load(BOTH);

    assert_false(config->upstreams[0].tls.is_on);
    config_destroy(config);
}

static void test_defaults(void **state)
{
    struct config *config = load(SERVER_TLS(""));
    const struct config_server_tls *tls = &config->upstreams[0].tls;

    assert_true(tls->is_on);
    assert_true(tls->verifies);
    assert_true(tls->resumes);
    assert_null(tls->name);
    assert_null(tls->trust.ca);
    assert_int_equal(tls->tls.version_min, CONFIG_TLS12);
    assert_int_equal(tls->tls.version_max, CONFIG_TLS13);
    assert_string_equal(tls->tls.ciphersuites, config->listeners[0].tls.ciphersuites);
    assert_string_equal(tls->tls.ciphers, config->listeners[0].tls.ciphers);
    assert_int_equal(tls->tls.certificate_count, 0);
    assert_int_equal(tls->tls.alpn_count, 0);
    assert_string_equal(config->upstreams[0].servers[0].host, "127.0.0.1");
    config_destroy(config);
}

static void test_everything(void **state)
{
    struct config *config = load(SERVER_TLS("ca: ca.pem, crl: [a.crl, b.crl], name: Backend.Example, "
                                            "certificate: {chain: c.pem, passphrase: {env: P}}, alpn: [h2], "
                                            "min_version: 1.3, groups: X25519, resume: false"));
    const struct config_server_tls *tls = &config->upstreams[0].tls;

    assert_string_equal(tls->trust.ca, "/etc/rb/ca.pem");
    assert_int_equal(tls->trust.crl_count, 2);
    assert_false(tls->resumes);
    assert_true(tls->trust.is_for_servers);
    assert_string_equal(tls->name, "backend.example");
    assert_string_equal(tls->tls.certificates[0].chain, "/etc/rb/c.pem");
    assert_string_equal(tls->tls.certificates[0].key, "/etc/rb/c.pem");
    assert_string_equal(tls->tls.certificates[0].passphrase.env, "P");
    assert_string_equal(tls->tls.alpn[0], "h2");
    assert_int_equal(tls->tls.version_min, CONFIG_TLS13);
    config_destroy(config);
}

// Whom each server's certificate must be for.
static void test_hosts(void **state)
{
    struct config *config = load(WEB "upstreams: [{name: app, tls: {}, servers: [{address: "
                                     "'[2001:db8:0::1]:1'}, {address: 'two.example:2'}]}]\n");
    const struct config_upstream *upstream = &config->upstreams[0];

    assert_int_equal(upstream->server_count, 1 + 16);
    assert_string_equal(upstream->servers[0].host, "2001:db8::1");
    for (size_t i = 1; i < upstream->server_count; i++) // also of an address that is found later
        assert_string_equal(upstream->servers[i].host, "two.example");
    config_destroy(config);
}

static void test_warnings(void **state)
{
    config_destroy(load_warned(SERVER_TLS("verify: false"),
                               "c:3:15: warning: `verify: false` takes any certificate, so whoever is in "
                               "between reads and changes everything; "
                               "name the server's authority with `ca` instead\n"));
}

#define PLAIN "listeners: [{address: '*:1', upstream: app, tls: off}]\n"

static void test_plain_listener(void **state)
{
    struct config *config =
        load(PLAIN "upstreams: [{name: app, tls: {}, servers: [{address: '[::1]:1'}]}]\n");

    assert_true(config->listeners[0].is_plain);
    assert_true(config->listeners[0].never_terminates);
    assert_int_equal(config->listeners[0].tls.certificate_count, 0);
    config_destroy(config);
    config = load(BOTH);
    assert_false(config->listeners[0].is_plain);
    config_destroy(config);
    config_destroy(load_warned(
        PLAIN APP,
        "c:1:50: warning: nothing is encrypted here: the listener has `tls: off`, and its upstream "
        "`app` has no `tls`\n"));
}

static const struct bad bad_values[] = {
    {"off for an upstream", UPSTREAM("tls: off"),
     "c:3:6: `tls` must be a mapping with ca, crl, name, verify, resume, certificate, min_version, "
     "max_version, "
     "ciphers, ciphersuites, "
     "groups or alpn, not a single value\n"},
    {"routes without TLS", "listeners: [{address: '*:1', routes: [{upstream: app}], tls: off}]\n" APP,
     "c:1:38: `routes` go by what a ClientHello says, and with `tls: off` there is none; write `upstream: "
     "NAME`, or "
     "give the listener `tls`\n"},

    {"a word", UPSTREAM("tls: on"),
     "c:3:6: `tls` must be a mapping with ca, crl, name, verify, resume, certificate, min_version, "
     "max_version, "
     "ciphers, ciphersuites, "
     "groups or alpn, not a single value\n"},
    {"name", SERVER_TLS("name: '*.example'"),
     "c:3:13: `name` cannot be `*.example`: a certificate is for one name here; write it without `*`\n"},
    {"crl alone", SERVER_TLS("crl: [a.crl]"),
     "c:3:12: `crl` needs `ca`: the authority that signed the revocation list\n"},
    {"key alone", SERVER_TLS("certificate: {key: k}"),
     "c:3:20: `certificate` needs `chain` and `key`, or `chain` alone with the key in the same file\n"},
    {"an unknown key", SERVER_TLS("sni: a.example"),
     "c:3:7: unknown key `sni`; known here are ca, crl, name, verify, resume, certificate, min_version, "
     "max_version, "
     "ciphers, "
     "ciphersuites, groups and alpn\n"},
    {"versions", SERVER_TLS("min_version: 1.3, max_version: 1.2"),
     "c:3:20: `min_version` 1.3 is above `max_version` 1.2; raise the one or lower the other\n"},
    {"a socket without a name", WEB "upstreams: [{name: app, servers: [{address: 'unix:/a'}], tls: {}}]\n",
     "c:2:63: the server `unix:/a` has no name that its certificate could be checked for; write `name: HOST` "
     "in `tls`\n"},
    {"checked without TLS", UPSTREAM("health: {check: tls}"),
     "c:3:17: `check: tls` is for servers that speak TLS; write `check: tcp`, or give the upstream `tls`\n"},
    {"passed through",
     "listeners: [{address: '*:1', routes: [{passthrough: app}], tls: {}}]\n"
     "upstreams: [{name: app, servers: [{address: '[::1]:1'}], tls: {}}]\n",
     "c:1:53: `app` has `tls`, and a stream that is passed through has its own; write `upstream: app`, or "
     "pass it to an "
     "upstream without `tls`\n"},
};

int main(void)
{
    struct CMUnitTest tests[COUNT(bad_values) + 6] = {
        cmocka_unit_test(test_off),   cmocka_unit_test(test_defaults), cmocka_unit_test(test_everything),
        cmocka_unit_test(test_hosts), cmocka_unit_test(test_warnings), cmocka_unit_test(test_plain_listener),
    };
    size_t count = add_bad(tests, 6, bad_values, COUNT(bad_values));

    assert_int_equal(count, COUNT(tests));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
