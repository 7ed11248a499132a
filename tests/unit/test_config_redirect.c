// SPDX-License-Identifier: Apache-2.0
// Listeners that redirect, and Strict-Transport-Security, in the configuration.
#include "configs.h"

#define WEB_HSTS                                                                                             \
    "listeners: [{address: \"127.0.0.1:443\", tls: {certificates: [{chain: c, key: k}]}, upstream: app, hsts: {max_age: 1d}}]\n"
#define REDIRECT(inner) "listeners: [{address: \"127.0.0.1:80\",\nredirect: " inner "}]\n"

static void test_alone(void **state)
{
    static const char *const texts[] = {REDIRECT("{}"), REDIRECT(""), REDIRECT("{port: 443}")};

    for (size_t i = 0; i < COUNT(texts); i++) {
        struct config *config = load(texts[i]);

        assert_int_equal(config->upstream_count, 0);
        assert_true(config->listeners[0].redirect.is_on);
        assert_true(config->listeners[0].never_terminates);
        assert_int_equal(config->listeners[0].redirect.port, 443);
        assert_null(config->listeners[0].redirect.host);
        assert_null(config->listeners[0].redirect.acme);
        config_destroy(config);
    }
}

static void test_all(void **state)
{
    struct config *config = load(
        APP
        "listeners: [{address: \"127.0.0.1:443\", tls: {certificates: [{chain: c, key: k}]}, upstream: app},"
        "{address: \"127.0.0.1:80\", proxy_protocol: any, limits: {connections: 5},\n"
        "redirect: {host: \"[2001:db8::1]\", port: 8443, acme: acme}}]\n");

    assert_false(config->listeners[0].redirect.is_on);
    assert_string_equal(config->listeners[1].redirect.host, "[2001:db8::1]");
    assert_int_equal(config->listeners[1].redirect.port, 8443);
    assert_string_equal(config->listeners[1].redirect.acme, "/etc/rb/acme");
    assert_int_equal(config->listeners[1].proxy.mode, CONFIG_PROXY_IN_ANY);
    config_destroy(config);
}

static void test_hsts(void **state)
{
    static const struct {
        const char *text;
        const char *header;
    } cases[] = {
        {"{max_age: 365d}", "Strict-Transport-Security: max-age=31536000\r\n"},
        {"{max_age: 0s, include_subdomains: no}", "Strict-Transport-Security: max-age=0\r\n"},
        {"{max_age: 5m, include_subdomains: true}",
         "Strict-Transport-Security: max-age=300; includeSubDomains\r\n"},
        {"{max_age: 365d, include_subdomains: true, preload: true}",
         "Strict-Transport-Security: max-age=31536000; includeSubDomains; preload\r\n"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct config *config;
        char text[512];

        snprintf(text, sizeof(text), "%shsts: %s}]\n", IN_LISTENER, cases[i].text);
        config = load(text);
        assert_string_equal(config->listeners[0].hsts, cases[i].header);
        config_destroy(config);
    }
    // Towards servers with TLS too.
    config_destroy(
        load(WEB_HSTS "upstreams: [{name: app, tls: {}, servers: [{address: \"127.0.0.1:443\"}]}]\n"));
}

#define BESIDE "can't stand beside `redirect`: such a listener "
#define ALONE  "write a name or an address alone, IPv6 as `\"[2001:db8::1]\"`; the port goes into `port`\n"
static const struct bad bad_redirects[] = {
    {"a switch", REDIRECT("true"),
     "c:2:11: `redirect` must be a mapping with host, port or acme, not a single value\n"},
    {"an unknown key", REDIRECT("{to: a}"), "c:2:12: unknown key `to`; known here are host, port and acme\n"},
    {"tls too", REDIRECT("{}, tls: {certificates: [{chain: c, key: k}]}"),
     "c:2:15: `tls` " BESIDE "speaks plain HTTP; remove one of them\n"},
    {"an upstream too", APP "listeners: [{address: \"127.0.0.1:80\",\nredirect: {}, upstream: app}]\n",
     "c:3:15: `upstream` " BESIDE "answers by itself; remove one of them\n"},
    {"routes too", REDIRECT("{}, routes: [{reject: true}]"),
     "c:2:15: `routes` " BESIDE "answers by itself; remove one of them\n"},
    {"hsts too", REDIRECT("{}, hsts: {max_age: 1d}"),
     "c:2:15: `hsts` can't stand beside `redirect`: browsers believe it over TLS alone; remove one of "
     "them\n"},
    {"hsts without TLS",
     APP "listeners: [{address: \"*:1\", upstream: app, tls: off, hsts: {max_age: 1d}}]\n",
     "c:2:50: warning: nothing is encrypted here: the listener has `tls: off`, and its upstream `app` has no "
     "`tls`\n"
     "c:2:61: `hsts` is for clients that came over TLS (RFC 6797 §7.2); remove it\n"},
    {"hsts without an age", IN_LISTENER "hsts: {preload: true}}]\n",
     "c:3:7: required key `max_age` is missing; `hsts` needs it\n"},
    {"hsts for too long", IN_LISTENER "hsts: {max_age: 366d}}]\n",
     "c:3:17: `max_age`: 366d is too long; at most `365d` are allowed\n"},
    {"port 0", REDIRECT("{port: 0}"), "c:2:18: `port` cannot be `0`; write a number from 1 to 65535\n"},
    {"a port too large", REDIRECT("{port: 65536}"),
     "c:2:18: `port` cannot be `65536`; write a number from 1 to 65535\n"},
    {"a host with a port", REDIRECT("{host: \"a:443\"}"), "c:2:18: `host` cannot be `a:443`: " ALONE},
    {"an address without brackets", REDIRECT("{host: \"2001:db8::1\"}"),
     "c:2:18: `host` cannot be `2001:db8::1`: " ALONE},
    {"a URL", REDIRECT("{host: \"https://a\"}"), "c:2:18: `host` cannot be `https://a`: " ALONE},
    {"a wildcard", REDIRECT("{host: \"*.a.example\"}"),
     "c:2:18: `host` cannot be `*.a.example`: clients are sent to one host; leave `host` out to send each to "
     "the one "
     "that it asks for\n"},
    {"a host with a space", REDIRECT("{host: \"a b\"}"),
     "c:2:18: `host` cannot be `a b`: a host name consists of letters, digits, `-`, `_` and dots\n"},
    {"upstreams that only some need",
     "listeners: [{address: \"127.0.0.1:80\", redirect: {}}, {address: \"127.0.0.1:443\", upstream: app, "
     "tls: {certificates: [{chain: c, key: k}]}}]\n",
     "c:1:1: required key `upstreams` is missing" NEEDS},
};

int main(void)
{
    const struct CMUnitTest fixed[] = {cmocka_unit_test(test_alone), cmocka_unit_test(test_all),
                                       cmocka_unit_test(test_hsts)};
    struct CMUnitTest tests[COUNT(fixed) + COUNT(bad_redirects)];
    size_t count = COUNT(fixed);

    memcpy(tests, fixed, sizeof(fixed));
    count = add_bad(tests, count, bad_redirects, COUNT(bad_redirects));
    assert_int_equal(count, COUNT(tests));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
