// SPDX-License-Identifier: Apache-2.0
// Routes: which one takes a client, and what of them is refused.
#include "configs.h"

// Each route's fragment stands in a line of its own, from line 4 on.
#define TWO                                                                                                  \
    "upstreams: [{name: app, servers: [{address: \"127.0.0.1:80\"}]}, {name: other, servers: [{address: "    \
    "\"127.0.0.1:81\"}]}]\n"
#define HEAD                     TWO "listeners: [{address: \"*:1\", tls: {certificates: [{chain: c, key: k}]},\n routes: [\n"
#define ROUTES(fragments)        HEAD fragments "]}]\n"
#define WITH_UPSTREAM(fragments) HEAD fragments "], upstream: app}]\n"

// ---- who takes whom ----

static size_t chosen_by(const struct config *config, const char *sni, const char *alpn)
{
    const struct config_listener *listener = &config->listeners[0];
    const struct config_route *route =
        config_route_choose(listener, sni, (const uint8_t *)alpn, strlen(alpn));

    return route != NULL ? (size_t)(route - listener->routes) + 1 : 0;
}

#define H2   "\x02h2"
#define HTTP "\x08http/1.1"

static void test_choices(void **state)
{
    struct config *config = load(ROUTES("{sni: a.example, upstream: app},\n"
                                        "{sni: [B.Example, \"*.b.example\"], alpn: h2, upstream: other},\n"
                                        "{sni: \"*.b.example\", upstream: app},\n"
                                        "{sni: x.c.example, reject: true},\n"
                                        "{sni: \"*.c.example\", passthrough: other},\n"
                                        "{sni: c.example, alpn: [http/1.1, h2], upstream: app},\n"
                                        "{sni: \"*\", alpn: acme-tls/1, passthrough: app},\n"
                                        "{alpn: mqtt, upstream: other},\n"));
    static const struct {
        const char *sni, *alpn;
        size_t route; // 0: none
    } cases[] = {
        {"a.example", "", 1},
        {"A.eXaMpLe", H2, 1},
        {"a.example.", "", 1},
        {"a.example..", "", 0}, // no host has that name
        {"aa.example", "", 0},
        {".example", "", 0},
        {"example", "", 0},
        {"", "", 0},
        {".", "", 0},
        {"b.example", H2, 2},
        {"b.example", HTTP H2, 2},
        {"b.example", HTTP, 0},
        {"b.example", "", 0},
        {"1.b.example", H2, 2},
        {"1.b.example", HTTP, 3},
        {"1.B.EXAMPLE.", "", 3},
        {"2.1.b.example", "", 0}, // a wildcard is for one label
        {"x.c.example", "", 4},
        {"y.c.example", "", 5},
        {"c.example", H2, 6},
        {"c.example", "\x03h2c", 0},
        {"c.example", "\x02h3", 0},
        {"anybody",
         "\x0a"
         "acme-tls/1",
         7},
        {"192.0.2.1",
         "\x0a"
         "acme-tls/1",
         7}, // it is a name like any other, if a client sends it
        {"",
         "\x0a"
         "acme-tls/1",
         0},
        {"", "\x04mqtt", 8},
        {"anybody", "\x04mqtt", 8},
        {"a.example", "\x04mqtt", 1}, // the first in the file
        {"anybody", "\x04mqt", 0},    // a length that lies
        {"anybody", "\xffmqtt", 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t route = chosen_by(config, cases[i].sni, cases[i].alpn);

        if (route != cases[i].route)
            fail_msg("%s: route %zu instead of %zu", cases[i].sni, route, cases[i].route);
    }
    assert_true(config->listeners[0].has_passthrough);
    assert_false(config->listeners[0].never_terminates);
    assert_true(config->listeners[0].upstream == CONFIG_NO_UPSTREAM);
    assert_int_equal(config->listeners[0].routes[1].upstream, 1);
    assert_true(config->listeners[0].routes[3].upstream == CONFIG_NO_UPSTREAM);
    config_destroy(config);
}

static void test_known_names(void **state)
{
    struct config *config = load(ROUTES("{sni: [a, b], alpn: h2, reject: true},\n"
                                        "{sni: [b, \"*.c\"], alpn: http/1.1, upstream: app}\n"));
    static const char *const known[] = {"b", "B.", "a.c"};
    static const char *const unknown[] = {"a", "c", "b.a.c", "d", ""};

    for (size_t i = 0; i < COUNT(known); i++)
        assert_true(config_route_knows(&config->listeners[0], known[i]));
    for (size_t i = 0; i < COUNT(unknown); i++)
        assert_false(config_route_knows(&config->listeners[0], unknown[i]));
    config_destroy(config);
}

static void test_long_names(void **state)
{
    struct config *config =
        load(ROUTES("{sni: \"*.example\", upstream: app}, {sni: \"*\", upstream: other}\n"));
    char name[300];

    memset(name, 'a', sizeof(name));
    strcpy(name + 245, ".example"); // 253 characters
    assert_int_equal(chosen_by(config, name, ""), 1);
    memset(name, 'a', sizeof(name));
    strcpy(name + 246, ".example");
    assert_int_equal(chosen_by(config, name, ""), 2);
    config_destroy(config);
}

static void test_defaults(void **state)
{
    struct config *config = load(BOTH);

    assert_int_equal(config->listeners[0].route_count, 0);
    assert_false(config->listeners[0].has_passthrough || config->listeners[0].never_terminates);
    assert_int_equal(chosen_by(config, "a", ""), 0);
    assert_false(config_route_knows(&config->listeners[0], "a"));
    config_destroy(config);
    config = load(WITH_UPSTREAM("{sni: a, reject: yes}\n"));
    assert_int_equal(config->listeners[0].upstream, 0);
    assert_int_equal(chosen_by(config, "a", ""), 1);
    assert_int_equal(chosen_by(config, "b", ""), 0);
    assert_false(config_route_knows(&config->listeners[0], "a")); // nowhere, that is
    assert_false(config_route_knows(&config->listeners[0], "b"));
    config_destroy(config);
}

// Who decrypts nothing needs no certificate.
static void test_without_certificates(void **state)
{
    struct config *config = load(
        TWO "listeners: [{address: \"*:1\", tls: {}, routes: [{sni: a, passthrough: app}, {reject: on}]}]\n");

    assert_true(config->listeners[0].never_terminates);
    assert_int_equal(config->listeners[0].tls.certificate_count, 0);
    config_destroy(config);
    refuse(TWO
           "listeners: [{address: \"*:1\", tls: {}, routes: [{sni: a, passthrough: app}], upstream: app}]\n",
           "c:2:35: `tls` needs `certificates` or `certificate_dir`\n");
}

static void test_alpn_choose(void **state)
{
    static char *const ours[] = {(char *)"h2", (char *)"http/1.1"};

    assert_string_equal(config_alpn_choose(ours, 2, (const uint8_t *)HTTP H2, 12), "h2");
    assert_string_equal(config_alpn_choose(ours, 2, (const uint8_t *)HTTP, 9), "http/1.1");
    assert_null(config_alpn_choose(ours, 2, (const uint8_t *)HTTP, 8)); // cut off
    assert_null(config_alpn_choose(ours, 2, NULL, 0));
    assert_null(config_alpn_choose(ours, 0, (const uint8_t *)H2, 3));
}

static void test_hello_sizes(void **state)
{
    struct config *config = load(ROOT("limits: {client_hello: 1k}"));

    assert_int_equal(config->limits.client_hello, 1024);
    config_destroy(config);
    config = load(ROOT("limits: {client_hello: 64k}"));
    assert_int_equal(config->limits.client_hello, 65536);
    config_destroy(config);
}

// ---- what works and should be changed ----

static void test_warnings(void **state)
{
    static const char *const cases[][2] = {
        {ROUTES("{sni: a.x, upstream: app},\n{sni: [a.x, b.x], upstream: other}\n"),
         "c:5:8: warning: no client gets here by `a.x`: the route in line 4 takes it before\n"},
        {ROUTES("{sni: \"*.x\", upstream: app},\n{sni: [y, a.x], upstream: other}\n"),
         "c:5:11: warning: no client gets here by `a.x`: the route in line 4 takes it before\n"},
        {ROUTES("{sni: \"*.x\", alpn: [h2, http/1.1], upstream: app},\n{sni: [y, a.x], alpn: h2, upstream: "
                "other}\n"),
         "c:5:11: warning: no client gets here by `a.x`: the route in line 4 takes it before\n"},
        // Others come by the other protocol, or by none.
        {ROUTES(
             "{sni: \"*.x\", alpn: h2, upstream: app},\n{sni: a.x, alpn: [h2, http/1.1], upstream: other}\n"),
         ""},
        {ROUTES("{sni: \"*.x\", alpn: h2, upstream: app},\n{sni: a.x, upstream: other}\n"), ""},
        {ROUTES("{sni: a.x, upstream: app},\n{sni: \"*.x\", upstream: other},\n{sni: \"*\", reject: "
                "true},\n{upstream: app}\n"),
         ""},
        {WITH_UPSTREAM("{sni: \"*\", upstream: app}\n"), ""},
        {WITH_UPSTREAM("{sni: a, reject: true},\n{upstream: other}\n"),
         "c:6:14: warning: no client gets to the listener's own `upstream`: the route in line 5 takes all of "
         "them\n"},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        config_destroy(load_warned(cases[i][0], cases[i][1]));
}

#define DEAD(line, by)                                                                                       \
    "c:" line ": no client gets to this route: the one in line " by                                          \
    " takes all that it is for; put this one before it, or remove it\n"

static const struct bad bad_routes[] = {
    {"no way", ROUTES("{sni: a}\n"),
     "c:4:1: a route needs `upstream: NAME`, `passthrough: NAME` or `reject: true`\n"},
    {"a way that is none", ROUTES("{sni: a, reject: false}\n"),
     "c:4:1: a route needs `upstream: NAME`, `passthrough: NAME` or `reject: true`\n"},
    {"two ways", ROUTES("{sni: a, upstream: app, passthrough: app}\n"),
     "c:4:1: a route leads one way; write one of `upstream`, `passthrough` and `reject`\n"},
    {"two ways, one of which is nowhere", ROUTES("{sni: a, upstream: app, reject: true}\n"),
     "c:4:1: a route leads one way; write one of `upstream`, `passthrough` and `reject`\n"},
    {"an unknown upstream", ROUTES("{sni: a, upstream: ap}\n"),
     "c:4:20: there is no upstream `ap`; known are `app`, `other`\n"},
    {"an unknown upstream to pass to", ROUTES("{sni: a, passthrough: ap}\n"),
     "c:4:23: there is no upstream `ap`; known are `app`, `other`\n"},
    {"an unknown key", ROUTES("{name: a, upstream: app}\n"),
     "c:4:2: unknown key `name`; known here are sni, alpn, upstream, passthrough and reject\n"},
    {"no routes", ROUTES(""), "c:3:10: `routes` is empty; it needs at least one entry\n"},
    {"an address", ROUTES("{sni: 192.0.2.1, upstream: app}\n"),
     "c:4:7: `sni` cannot hold `192.0.2.1`: clients do not ask for addresses by name (RFC 6066 §3); write a "
     "host name\n"},
    {"an address of IPv6", ROUTES("{sni: \"2001:db8::1\", upstream: app}\n"),
     "c:4:7: `sni` cannot hold `2001:db8::1`: write the host's name alone, without a port; clients do not "
     "ask for addresses (RFC 6066 §3)\n"},
    {"a dot at the end", ROUTES("{sni: a.example., upstream: app}\n"),
     "c:4:7: `sni` cannot hold `a.example.`: a name has no empty part: no dot at its beginning or end, nor "
     "two in a row\n"},
    {"a wildcard within", ROUTES("{sni: [b, a.*.example], upstream: app}\n"),
     "c:4:11: `sni` cannot hold `a.*.example`: a `*` stands for the whole first part of a name; write "
     "`*.example.com`\n"},
    {"a name twice", ROUTES("{sni: [a, b, A], upstream: app}\n"),
     "c:4:14: `a` stands in `sni` twice; remove one\n"},
    {"a protocol twice", ROUTES("{alpn: [h2, h2], upstream: app}\n"),
     "c:4:13: `h2` stands in `alpn` twice; remove one\n"},
    {"names that another took", ROUTES("{sni: [a, b], upstream: app},\n{sni: a, reject: true}\n"),
     DEAD("5:1", "4")},
    {"a name that a wildcard took",
     ROUTES("{sni: \"*.x\", upstream: app},\n{sni: a.x, alpn: h2, reject: true}\n"), DEAD("5:1", "4")},
    {"a wildcard that a wildcard took",
     ROUTES("{sni: \"*.x\", upstream: app},\n{sni: \"*.X\", reject: true}\n"), DEAD("5:1", "4")},
    {"names that any name took",
     ROUTES("{sni: \"*\", upstream: app},\n{sni: a.x, reject: true},\n{upstream: app}\n"), DEAD("5:1", "4")},
    {"everybody before others",
     ROUTES("{upstream: app},\n{sni: a.x, reject: true},\n{sni: \"*\", upstream: app},\n{alpn: h2, upstream: "
            "app}\n"),
     DEAD("5:1", "4") DEAD("6:1", "4") DEAD("7:1", "4")},
    {"protocols that another took",
     ROUTES("{alpn: [h2, http/1.1], upstream: app},\n{sni: a, alpn: http/1.1, upstream: other}\n"),
     DEAD("5:1", "4")},
    {"neither upstream nor routes",
     TWO "listeners: [{address: \"*:1\", tls: {certificates: [{chain: c, key: k}]}}]\n",
     "c:2:13: required key `upstream` is missing; an entry of `listeners` needs it, or `routes`\n"},
    {"a hello too small", ROOT("limits: {client_hello: 1023}"),
     "c:3:24: `client_hello` cannot be 1023; write a size from `1k` to `64k`\n"},
    {"a hello too large", ROOT("limits: {client_hello: 65k}"),
     "c:3:24: `client_hello` cannot be 65k; write a size from `1k` to `64k`\n"},
};

int main(void)
{
    const struct CMUnitTest fixed[] = {
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_known_names),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_without_certificates),
        cmocka_unit_test(test_alpn_choose),
        cmocka_unit_test(test_hello_sizes),
        cmocka_unit_test(test_warnings),
    };
    struct CMUnitTest tests[COUNT(fixed) + COUNT(bad_routes)];
    size_t count = COUNT(fixed);

    memcpy(tests, fixed, sizeof(fixed));
    count = add_bad(tests, count, bad_routes, COUNT(bad_routes));
    assert_int_equal(count, COUNT(tests));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
