// SPDX-License-Identifier: Apache-2.0
// Upstreams: how servers are chosen, their weights and limits, health and queue.
#include "configs.h"

// Each fragment stands in line 3.
#define UPSTREAM(fragment) IN_UPSTREAM fragment "}]\n"
#define SERVER(fragment)   IN_SERVER fragment "}]}]\n"

static void test_defaults(void **state)
{
    struct config *config = load(BOTH);
    const struct config_upstream *upstream = &config->upstreams[0];

    assert_int_equal(upstream->balance, CONFIG_ROUND_ROBIN);
    assert_int_equal(upstream->health.max_fails, 3);
    assert_int_equal(upstream->health.fail_timeout_ns, 10 * SECOND_NS);
    assert_int_equal(upstream->health.check, CONFIG_CHECK_OFF);
    assert_int_equal(upstream->health.interval_ns, 2 * SECOND_NS);
    assert_int_equal(upstream->health.timeout_ns, 2 * SECOND_NS);
    assert_int_equal(upstream->health.rise, 2);
    assert_int_equal(upstream->health.fall, 3);
    assert_int_equal(upstream->health.slow_start_ns, 0);
    assert_int_equal(upstream->queue.size, 0);
    assert_int_equal(upstream->queue.timeout_ns, 5 * SECOND_NS);
    assert_int_equal(upstream->servers[0].weight, 1);
    assert_false(upstream->servers[0].is_backup);
    assert_int_equal(upstream->servers[0].max_connections, 0);
    assert_int_equal(upstream->resolve.interval_ns, 10 * SECOND_NS);
    assert_int_equal(upstream->resolve.timeout_ns, 5 * SECOND_NS);
    assert_false(upstream->resolve.is_optional);
    assert_int_equal(upstream->resolve.attempt_delay_ns, SECOND_NS / 4);
    assert_int_equal(upstream->name_count, 0);
    config_destroy(config);
}

#define RESOLVE(address, keys)                                                                               \
    WEB "upstreams: [{name: app, servers: [{address: '" address "'}],\n resolve: {" keys "}}]\n"

static void test_resolve(void **state)
{
    struct config *config = load(RESOLVE(
        "two.example:2", "interval: 100ms, timeout: 1ms, attempt_delay: 0s, addresses: 3, required: on"));
    const struct config_upstream *upstream = &config->upstreams[0];

    assert_int_equal(upstream->resolve.interval_ns, SECOND_NS / 10);
    assert_int_equal(upstream->resolve.timeout_ns, SECOND_NS / 1000);
    assert_int_equal(upstream->resolve.attempt_delay_ns, 0);
    assert_int_equal(upstream->server_count, 3);
    config_destroy(config);
    config = load(RESOLVE("two.example:2", "interval: 0s"));
    assert_int_equal(config->upstreams[0].resolve.interval_ns, 0);
    config_destroy(config);
    config = load_warned(RESOLVE("none.example:2", "required: off"),
                         "c:2:45: warning: `address` `none.example:2`: the host has no address yet (Name or "
                         "service not known)\n");
    assert_int_equal(config->upstreams[0].server_count, 16);
    config_destroy(config);
    config = load_warned(RESOLVE("two.example:2", "addresses: 1"),
                         "c:2:45: warning: `address` `two.example:2`: the host has 2 addresses or more, of "
                         "which 1 are used; raise `addresses` in `resolve`\n");
    assert_int_equal(config->upstreams[0].server_count, 1);
    config_destroy(config);
    config = load_warned(RESOLVE("127.0.0.1:2", "addresses: 1"),
                         "c:3:11: warning: `resolve` does nothing where no server has a host name\n");
    config_destroy(config);
}

// An address that stands in the file too is the file's, wherever that says so.
static void test_name_and_address(void **state)
{
    struct config *config =
        load(WEB "upstreams: [{name: app, servers: [{address: 'two.example:2'}, {address: "
                 "'192.0.2.1:2', weight: 7}]}]\n");
    const struct config_upstream *upstream = &config->upstreams[0];

    assert_int_equal(upstream->server_count, 17);
    assert_string_equal(upstream->servers[0].address.text, "192.0.2.2:2");
    assert_null(upstream->servers[1].address.text);
    assert_string_equal(upstream->servers[16].address.text, "192.0.2.1:2");
    assert_int_equal(upstream->servers[16].weight, 7);
    assert_null(upstream->servers[16].name);
    config_destroy(config);
}

static void test_everything(void **state)
{
    struct config *config =
        load(WEB "upstreams:\n"
                 "- name: app\n"
                 "  balance: least_connections\n"
                 "  health: {max_fails: 0, fail_timeout: 365d}\n"
                 "  queue: {size: 1000000, timeout: 1ms}\n"
                 "  servers:\n"
                 "  - {address: '127.0.0.1:1', weight: 0, backup: no}\n"
                 "  - {address: 'two.example:2', weight: 256, backup: true, max_connections: 9}\n"
                 "- {name: b, balance: source_hash, servers: [{address: '[::1]:1'}],\n"
                 "   health: {check: tcp, interval: 100ms, timeout: 1ms, rise: 1000, fall: 1, "
                 "slow_start: 1m}}\n");
    const struct config_upstream *upstream = &config->upstreams[0];

    assert_int_equal(upstream->balance, CONFIG_LEAST_CONNECTIONS);
    assert_int_equal(upstream->health.max_fails, 0);
    assert_int_equal(upstream->health.fail_timeout_ns, 365 * 86400 * SECOND_NS);
    assert_int_equal(upstream->queue.size, 1000000);
    assert_int_equal(upstream->queue.timeout_ns, SECOND_NS / 1000);
    // A name's addresses are servers each, and alike.
    assert_int_equal(upstream->server_count, 1 + 16);
    assert_int_equal(upstream->servers[0].weight, 0);
    assert_null(upstream->servers[0].name);
    assert_int_equal(upstream->name_count, 1);
    assert_string_equal(upstream->names[0].text, "two.example:2");
    assert_string_equal(upstream->names[0].host, "two.example");
    assert_int_equal(upstream->names[0].port, 2);
    assert_int_equal(upstream->names[0].first, 1);
    assert_int_equal(upstream->names[0].count, 16);
    for (size_t i = 1; i < 17; i++) {
        assert_ptr_equal(upstream->servers[i].name, &upstream->names[0]);
        assert_true((upstream->servers[i].address.length > 0) == (i < 3));
        assert_int_equal(upstream->servers[i].weight, 256);
        assert_true(upstream->servers[i].is_backup);
        assert_int_equal(upstream->servers[i].max_connections, 9);
    }
    assert_string_not_equal(upstream->servers[1].address.text, upstream->servers[2].address.text);
    assert_int_equal(config->upstreams[1].balance, CONFIG_SOURCE_HASH);
    assert_int_equal(config->upstreams[1].health.check, CONFIG_CHECK_TCP);
    assert_int_equal(config->upstreams[1].health.interval_ns, SECOND_NS / 10);
    assert_int_equal(config->upstreams[1].health.timeout_ns, SECOND_NS / 1000);
    assert_int_equal(config->upstreams[1].health.rise, 1000);
    assert_int_equal(config->upstreams[1].health.fall, 1);
    assert_int_equal(config->upstreams[1].health.slow_start_ns, 60 * SECOND_NS);
    config_destroy(config);
    config = load_warned(
        UPSTREAM("queue: {size: 5}"),
        "c:3:8: warning: `queue` does nothing where no server has `max_connections`; give them one\n");
    config_destroy(config);
}

static const struct bad bad_values[] = {
    {"weight", SERVER("weight: 257"), "c:3:9: `weight` cannot be `257`; write a number from 0 to 256\n"},
    {"weight below nothing", SERVER("weight: -1"),
     "c:3:9: `weight` cannot be `-1`; write a number from 0 to 256\n"},
    {"weights of nothing",
     WEB "upstreams: [{name: app, servers: [{address: '[::1]:1', weight: 0}, {address: '[::1]:2', weight: "
         "0}]}]\n",
     "c:2:34: every server has `weight` 0, so none would take a connection; give one a weight from 1 to "
     "256\n"},
    {"backup", SERVER("backup: 1"), "c:3:9: `backup` must be true, false, yes, no, on or off, not \"1\"\n"},
    {"max_connections", SERVER("max_connections: 10000001"),
     "c:3:18: `max_connections` cannot be `10000001`; write a number from 0 to 10000000\n"},
    {"max_fails", UPSTREAM("health: {max_fails: 1001}"),
     "c:3:21: `max_fails` cannot be `1001`; write a number from 0 to 1000\n"},
    {"fail_timeout", UPSTREAM("health: {fail_timeout: 0s}"),
     "c:3:24: `fail_timeout`: 0s is too short; write at least `1ms`\n"},
    {"fail_timeout in words", UPSTREAM("health: {fail_timeout: soon}"),
     "c:3:24: `fail_timeout` cannot be `soon`; " TIME},
    {"check", UPSTREAM("health: {check: http}"), "c:3:17: `check` must be off, tcp or tls, not \"http\"\n"},
    {"interval", UPSTREAM("health: {interval: 99ms}"),
     "c:3:20: `interval`: 99ms is too short; write at least `100ms`\n"},
    {"rise", UPSTREAM("health: {rise: 0}"), "c:3:16: `rise` cannot be `0`; write a number from 1 to 1000\n"},
    {"fall", UPSTREAM("health: {fall: x}"), "c:3:16: `fall` cannot be `x`; write a number from 1 to 1000\n"},
    {"a queue's size", UPSTREAM("queue: {size: 1000001}"),
     "c:3:15: `size` cannot be `1000001`; write a number from 0 to 1000000\n"},
    {"a queue's timeout", UPSTREAM("queue: {timeout: 0s}"),
     "c:3:18: `timeout`: 0s is too short; write at least `1ms`\n"},
    {"resolve too often", RESOLVE("two.example:2", "interval: 99ms"),
     "c:3:22: `interval`: 99ms is too short; write at least `100ms`\n"},
    {"resolve in words", RESOLVE("two.example:2", "interval: never"),
     "c:3:22: `interval` cannot be `never`; " TIME},
    {"resolve without time", RESOLVE("two.example:2", "timeout: 0s"),
     "c:3:21: `timeout`: 0s is too short; write at least `1ms`\n"},
    {"resolve with a strange delay", RESOLVE("two.example:2", "attempt_delay: -1"),
     "c:3:27: `attempt_delay` cannot be `-1`; " TIME},
    {"resolve for none", RESOLVE("two.example:2", "addresses: 0"),
     "c:3:23: `addresses` cannot be `0`; write a number from 1 to 64\n"},
    {"resolve for too many", RESOLVE("two.example:2", "addresses: 65"),
     "c:3:23: `addresses` cannot be `65`; write a number from 1 to 64\n"},
    {"a name without an address", RESOLVE("none.example:2", "required: on"),
     "c:2:45: `address` `none.example:2`: the host has no address that could be found (Name or service not "
     "known)\n"},
    {"a queue that is a number", UPSTREAM("queue: 5"),
     "c:3:8: `queue` must be a mapping with size or timeout, not a single value\n"},
};

int main(void)
{
    struct CMUnitTest tests[COUNT(bad_values) + 4] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_everything),
        cmocka_unit_test(test_resolve),
        cmocka_unit_test(test_name_and_address),
    };
    size_t count = add_bad(tests, 4, bad_values, COUNT(bad_values));

    assert_int_equal(count, COUNT(tests));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
