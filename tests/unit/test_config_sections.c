// SPDX-License-Identifier: Apache-2.0
// Session tickets and the admin socket.
#include "configs.h"

static void test_tickets(void **state)
{
    struct config *config = load(ROOT("tickets: {keys: [a, /b], lifetime: 7d}"));

    assert_int_equal(config->tickets.key_count, 2);
    assert_string_equal(config->tickets.keys[0], "/etc/rb/a");
    assert_string_equal(config->tickets.keys[1], "/b");
    assert_int_equal(config->tickets.key_wheres[1].line, 3);
    assert_int_equal(config->tickets.key_wheres[1].column, 21);
    assert_int_equal(config->tickets.lifetime_ns, 7 * 86400 * SECOND_NS);
    config_destroy(config);

    config = load(ROOT("tickets: {keys: a}"));
    assert_int_equal(config->tickets.key_count, 1);
    config_destroy(config);

    config = load(ROOT("tickets: {rotate: 1s, lifetime: 60s}"));
    assert_int_equal(config->tickets.rotate_ns, SECOND_NS);
    assert_int_equal(config->tickets.lifetime_ns, 60 * SECOND_NS);
    config_destroy(config);

    config = load(ROOT("tickets: {rotate: 365d, lifetime: 1s}"));
    assert_int_equal(config->tickets.rotate_ns, 365 * 86400 * SECOND_NS);
    config_destroy(config);

    config = load_warned(
        ROOT("tickets: {rotate: 1s, keys: a}"),
        "c:3:19: warning: `rotate` does nothing where `keys` names files; replace them to change the key\n");
    config_destroy(config);
    config = load(ROOT("tickets:"));
    check_defaults(config);
    config_destroy(config);
}

static void test_http(void **state)
{
    struct config *config = load(BOTH);

    assert_null(config->admin.http.text);
    config_destroy(config);
    config = load(ROOT("admin: {http: off}"));
    assert_null(config->admin.http.text);
    config_destroy(config);
    config = load(ROOT("admin: {http: \"[::1]:9464\"}"));
    assert_string_equal(config->admin.http.text, "[::1]:9464");
    assert_int_equal(config->admin.http.socket.ss_family, AF_INET6);
    config_destroy(config);
}

static void test_admin(void **state)
{
    struct config *config = load(ROOT("admin: {socket: run/a.sock}"));
    char *lines;
    char *text;

    assert_string_equal(config->admin.socket, "/etc/rb/run/a.sock");
    assert_false(config->admin.is_default);
    assert_int_equal(config->admin.where.line, 3);
    assert_int_equal(config->admin.where.column, 17);
    config_destroy(config);
    // Text that is no file has no default.
    config = load(BOTH);
    assert_null(config->admin.socket);
    assert_false(config->admin.is_default);
    config_destroy(config);
    config = load(ROOT("admin: {socket: off}"));
    assert_null(config->admin.socket);
    config_destroy(config);
    // sun_path has room for 107 bytes and the zero.
    text = repeat(BOTH "admin: {socket: ", "s", 107 - strlen("/etc/rb/"), "}\n");
    config = load(text);
    assert_int_equal(strlen(config->admin.socket), 107);
    config_destroy(config);
    free(text);
    text = repeat(BOTH "admin: {socket: ", "s", 108 - strlen("/etc/rb/"), "}\n");
    lines =
        repeat("c:3:17: `socket` `", "s", 108 - strlen("/etc/rb/"),
               "`: the path is too long for a socket; with its directory it may have 107 bytes (unix(7))\n");
    refuse(text, lines);
    free(lines);
    free(text);
}

#define KEYS_60                                                                                              \
    "`lifetime` is more than 60 times `rotate`, and so many keys are not kept; write a `rotate` of at "      \
    "least "

static const struct bad bad_sections[] = {
    {"a lifetime too long", ROOT("tickets: {lifetime: 8d}"),
     "c:3:21: `lifetime`: 8d is too long; at most `7d` are allowed\n"},
    {"a lifetime too short", ROOT("tickets: {lifetime: 999ms}"),
     "c:3:21: `lifetime`: 999ms is too short; write at least `1s`\n"},
    {"a rotation too short", ROOT("tickets: {rotate: 0s}"),
     "c:3:19: `rotate`: 0s is too short; write at least `1s`\n"},
    {"more keys than are kept", ROOT("tickets: {rotate: 1h, lifetime: 7d}"), "c:3:19: " KEYS_60 "`10080s`\n"},
    {"one more key than is kept", ROOT("tickets: {rotate: 1s, lifetime: 60060ms}"),
     "c:3:19: " KEYS_60 "`2s`\n"},
    {"more keys than are kept, by the default's lifetime", ROOT("tickets: {rotate: 1s}"),
     "c:3:19: " KEYS_60 "`1440s`\n"},
    {"a key twice", ROOT("tickets: {keys: [a, b, a]}"), "c:3:24: `a` stands in `keys` twice; remove one\n"},
    {"no keys", ROOT("tickets: {keys: []}"), "c:3:17: `keys` is empty; it needs at least one entry\n"},
    {"a number of keys", ROOT("tickets: {keys: {a: b}}"), "c:3:17: `keys` must be a list, not a mapping\n"},
    {"an admin socket as an address", ROOT("admin: {socket: unix:/run/a}"),
     "c:3:17: `socket` is a path; write it without `unix:`\n"},
    {"an admin socket that clients connect to",
     APP "admin: {socket: a}\nlisteners: [{address: \"unix:/etc/rb/a\", upstream: app, tls: {certificates: "
         "[{chain: c, key: k}]}}]\n",
     "c:3:23: `unix:/etc/rb/a` is the admin socket's path (`admin.socket`); each needs its own\n"},
    {"metrics at a path", ROOT("admin: {http: \"unix:/run/a\"}"),
     "c:3:15: `http` `unix:/run/a`: metrics are served over TCP; write HOST:PORT, or off\n"},
    {"metrics without a port", ROOT("admin: {http: \"127.0.0.1\"}"),
     "c:3:15: `http` `127.0.0.1`: the port is missing; write HOST:PORT or unix:/path\n"},
    {"metrics where clients connect", APP "admin: {http: \"127.0.0.1:443\"}\n" WEB,
     "c:3:23: `127.0.0.1:443` is where metrics are served (`admin.http`); each needs its own\n"},
    {"a word for admin", ROOT("admin: off"),
     "c:3:8: `admin` must be a mapping with socket or http, not a single value\n"},
};

int main(void)
{
    const struct CMUnitTest fixed[] = {
        cmocka_unit_test(test_tickets),
        cmocka_unit_test(test_admin),
        cmocka_unit_test(test_http),
    };
    struct CMUnitTest tests[COUNT(fixed) + COUNT(bad_sections)];
    size_t count = COUNT(fixed);

    memcpy(tests, fixed, sizeof(fixed));
    count = add_bad(tests, count, bad_sections, COUNT(bad_sections));
    assert_int_equal(count, COUNT(tests));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
