// SPDX-License-Identifier: Apache-2.0
// What the values of a configuration become, from a file or the command line, or every line that is said about them.
#include "configs.h"

static const struct bad bad_values[] = {
    {"workers zero", BOTH "workers: 0\n",
     "c:3:10: `workers` cannot be `0`; write `auto` or a number from 1 to 1024\n"},
    {"workers many", BOTH "workers: 1025\n",
     "c:3:10: `workers` cannot be `1025`; write `auto` or a number from 1 to 1024\n"},
    {"workers negative", BOTH "workers: -1\n",
     "c:3:10: `workers` cannot be `-1`; write `auto` or a number from 1 to 1024\n"},
    {"workers octal", BOTH "workers: 010\n",
     "c:3:10: `workers` cannot be `010`; write `auto` or a number from 1 to 1024\n"},
    {"workers in words", BOTH "workers: two\n",
     "c:3:10: `workers` cannot be `two`; write `auto` or a number from 1 to 1024\n"},
    {"workers wrapping", BOTH "workers: 4294967297\n",
     "c:3:10: `workers` cannot be `4294967297`; write `auto` or a number from 1 to 1024\n"},
    {"connections zero", BOTH "limits: {connections: 0}\n",
     "c:3:23: `connections` cannot be `0`; write a number from 1 to 10000000\n"},
    {"connections many", BOTH "limits: {connections: 10000001}\n",
     "c:3:23: `connections` cannot be `10000001`; write a number from 1 to 10000000\n"},
    {"connections auto", BOTH "limits: {connections: auto}\n",
     "c:3:23: `connections` cannot be `auto`; write a number from 1 to 10000000\n"},
    {"connections with a fraction", BOTH "limits: {connections: 1.0}\n",
     "c:3:23: `connections` cannot be `1.0`; write a number from 1 to 10000000\n"},
    {"a rate that is none", BOTH "limits: {handshakes_per_second: 10/s, connections_per_client: -1}\n",
     "c:3:33: `handshakes_per_second` cannot be `10/s`; write a number from 0 to 1000000\n"
     "c:3:63: `connections_per_client` cannot be `-1`; write a number from 0 to 1000000\n"},
    {"a keepalive beyond the kernel's", IN_LISTENER "tcp: {keepalive: 32768s, user_timeout: 1.5s}}]\n",
     "c:3:18: `keepalive`: 32768s is too long; at most `32767s` are allowed\n"
     "c:3:40: `user_timeout` cannot be `1.5s`; write a time such as `500ms`, `10s`, `5m`, `2h` or `1d`\n"},
    {"a queue of nobody", IN_LISTENER "tcp: {backlog: 0, fast_open: 65536}}]\n",
     "c:3:16: `backlog` cannot be `0`; write a number from 1 to 65535\n"
     "c:3:30: `fast_open` cannot be `65536`; write a number from 0 to 65535\n"},
    {"a server has no queue of ours", IN_UPSTREAM "tcp: {backlog: 5}}]\n",
     "c:3:7: unknown key `backlog`; known here are keepalive, user_timeout and transparent\n"},
    {"TCP on a unix socket",
     APP "listeners: [{address: \"unix:/s\", upstream: app, tls: {certificates: [{chain: c, key: k}]},\n"
     "tcp: {keepalive: 1m}}]\n",
     "c:3:6: `tcp`: `unix:/s` is not a TCP address; remove it\n"},
    {"networks of no size", BOTH "limits: {client_network: {ipv4: 0, ipv6: 129}}\n",
     "c:3:33: `ipv4` cannot be `0`; write a number from 1 to 32\n"
     "c:3:42: `ipv6` cannot be `129`; write a number from 1 to 128\n"},
    {"memory below what workers need", BOTH "workers: 3\nlimits: {memory: 3145727}\n",
     "c:4:18: `memory`: 3145727 is too little for 3 workers; write at least `3m`\n"},
    {"memory for one", BOTH "workers: 1\nlimits: {memory: 0}\n",
     "c:4:18: `memory`: 0 is too little for 1 worker; write at least `1m`\n"},
    {"memory in megabytes", BOTH "limits: {memory: 256MB}\n", "c:3:18: `memory` cannot be `256MB`; " SIZE},
    {"memory overflowing", BOTH "limits: {memory: 17179869185g}\n",
     "c:3:18: `memory`: 17179869185g is too large; at most 2^63 - 1 bytes are allowed\n"},
    {"offload_after", BOTH "ktls: {offload_after: -1}\n", "c:3:23: `offload_after` cannot be `-1`; " SIZE},
    {"a time without unit", BOTH "timeouts: {idle: 10}\n", "c:3:18: `idle` cannot be `10`; " TIME},
    {"a time of none", BOTH "timeouts: {handshake: 0s}\n",
     "c:3:23: `handshake`: 0s is too short; write at least `1ms`\n"},
    {"a time too long", BOTH "timeouts: {connect: 366d}\n",
     "c:3:21: `connect`: 366d is too long; at most `365d` are allowed\n"},
    {"a time overflowing", BOTH "timeouts: {half_closed: 99999999999999999999h}\n",
     "c:3:25: `half_closed`: 99999999999999999999h is too long; at most `365d` are allowed\n"},
    {"rebalance", BOTH "rebalance: {threshold: 101, connections: 1, age: soon}\n",
     "c:3:24: `threshold` cannot be `101`; write a number from 0 to 100\n"
     "c:3:42: `connections` cannot be `1`; write a number from 2 to 10000000\n"
     "c:3:50: `age` cannot be `soon`; " TIME},
    {"survival", BOTH "survival: {connections: all}\n",
     "c:3:25: `connections` cannot be `all`; write a number from 0 to 10000000\n"},
    {"shutdown_timeout", BOTH "shutdown_timeout: never\n",
     "c:3:19: `shutdown_timeout` cannot be `never`; " TIME},
    {"a listener's port alone",
     APP "listeners: [{address: 8443, upstream: app, tls: {certificates: [{chain: c, key: k}]}}]\n",
     "c:2:23: `address` `8443`: " NO_HOST},
    {"a listener's name",
     APP
     "listeners: [{address: \"two.example:1\", upstream: app, tls: {certificates: [{chain: c, key: k}]}}]\n",
     "c:2:23: `address` `two.example:1`: the host must be an address, not a name: write `*:PORT`, "
     "`IPV4:PORT` or `[IPV6]:PORT`\n"},
    {"a server's port alone", WEB "upstreams: [{name: app, servers: [{address: 8080}]}]\n",
     "c:2:45: `address` `8080`: the host is missing; write HOST:PORT, such as 127.0.0.1:PORT\n"},
    {"a server's port zero", WEB "upstreams: [{name: app, servers: [{address: \"127.0.0.1:0\"}]}]\n",
     "c:2:45: `address` `127.0.0.1:0`: a server's port is a number from 1 to 65535\n"},
    {"a server everywhere", WEB "upstreams: [{name: app, servers: [{address: \"*:80\"}]}]\n",
     "c:2:45: `address` `*:80`: a server needs a host; write HOST:PORT\n"},
    {"a server's name without address",
     WEB "upstreams: [{name: app, servers: [{address: \"none.example:80\"}]}]\n",
     "c:2:45: `address` `none.example:80`: the host has no address that could be found (Name or service not "
     "known)\n"},
    {"a server twice",
     WEB "upstreams: [{name: app, servers: [{address: \"[::1]:80\"},\n {address: \"[::1]:80\"}]}]\n",
     "c:3:12: `[::1]:80` is a server of this upstream already, in line 2; remove one\n"},
    {"a server twice by an alias",
     WEB "upstreams: [{name: app, servers: [&s {address: \"[::1]:80\"},\n *s]}]\n",
     "c:3:2: `[::1]:80` is a server of this upstream already, in line 2; remove one\n"},
    {"a path too long for its directory",
     WEB "upstreams: [{name: app, servers: [{address: unix:1234567890123456789012345678901234567890"
         "1234567890123456789012345678901234567890123456789012345678901}]}]\n",
     "c:2:45: `address` `unix:1234567890123456789012345678901234567890"
     "1234567890123456789012345678901234567890123456789012345678901`: the path is too long for a socket; "
     "with its "
     "directory it may have 107 bytes (unix(7))\n"},
    {"an upstream that is not there",
     APP "listeners: [{address: \"*:1\", upstream: ap, tls: {certificates: [{chain: c, key: k}]}}]\n",
     "c:2:40: there is no upstream `ap`; known are `app`\n"},
    {"two upstreams of one name",
     WEB "upstreams:\n- {name: app, servers: [{address: \"[::1]:1\"}]}\n- {name: app, servers: [{address: "
         "\"[::1]:2\"}]}\n",
     "c:4:10: the upstream in line 3 is called `app` too; names must differ\n"},
    {"two listeners of one name",
     APP "listeners:\n- &l {name: a, address: \"*:1\", upstream: app, tls: {certificates: [{chain: c, key: "
         "k}]}}\n"
         "- {<<: *l, name: a, address: \"*:2\"}\n- {<<: *l, address: \"*:3\"}\n",
     "c:4:18: the listener in line 3 is called `a` too; names must differ\n"
     "c:5:3: the listener in line 3 is called `a` too; names must differ\n"},
    {"two listeners on one address",
     APP "listeners:\n- &l {address: \"*:1\", upstream: app, tls: {certificates: [{chain: c, key: k}]}}\n"
         "- {<<: *l, address: \"[::]:1\"}\n- {<<: *l, name: b}\n- *l\n",
     "c:4:21: `[::]:1` is the address of the listener in line 3 too; each needs its own\n"
     "c:5:3: `*:1` is the address of the listener in line 3 too; each needs its own\n"
     "c:6:3: `*:1` is the address of the listener in line 3 too; each needs its own\n"},
    {"two listeners on one path",
     APP "listeners:\n- &l {address: \"unix:a\", upstream: app, tls: {certificates: [{chain: c, key: k}]}}\n"
         "- {<<: *l, address: unix:/etc/rb/a}\n",
     "c:4:21: `unix:/etc/rb/a` is the address of the listener in line 3 too; each needs its own\n"},
    {"versions crossed",
     APP "listeners: [{address: \"*:1\", upstream: app, tls: {max_version: \"1.2\", min_version: \"1.3\", "
         "certificates: [{chain: c, key: k}]}}]\n",
     "c:2:84: `min_version` 1.3 is above `max_version` 1.2; raise the one or lower the other\n"},
    {"alpn twice",
     APP "listeners: [{address: \"*:1\", upstream: app, tls: {alpn: [h2, http/1.1, h2, h2], certificates: "
         "[{chain: c, key: k}]}}]\n",
     "c:2:72: `h2` stands in `alpn` twice; remove one\nc:2:76: `h2` stands in `alpn` twice; remove one\n"},
    {"alpn empty",
     APP "listeners: [{address: \"*:1\", upstream: app, tls: {alpn: [\"\"], certificates: [{chain: c, key: "
         "k}]}}]\n",
     "c:2:58: an entry of `alpn` must not be empty\n"},
    {"an alias brings its error along once",
     APP "listeners:\n- {address: \"*:1\", upstream: app, tls: &t {certificates: [{key: k}]}}\n"
         "- {address: \"*:2\", upstream: app, tls: *t}\n",
     "c:3:59: " NO_FILES},
};

// ---- what is understood ----

static void test_defaults(void **state)
{
    struct config *config = load(BOTH);
    const struct config_listener *listener = &config->listeners[0];

    check_defaults(config);
    assert_string_equal(config->file, "c");
    assert_int_equal(config->listener_count, 1);
    assert_string_equal(listener->name, "127.0.0.1:443");
    assert_string_equal(listener->address.text, "127.0.0.1:443");
    assert_int_equal(port_of(&listener->address), 443);
    assert_int_equal(listener->where.line, 1);
    assert_int_equal(listener->where.column, 13);
    assert_int_equal(listener->tls.where.column, 45);
    assert_int_equal(listener->tls.alpn_count, 0);
    assert_int_equal(listener->tls.certificate_count, 1);
    assert_string_equal(listener->tls.certificates[0].chain, "/etc/rb/c");
    assert_string_equal(listener->tls.certificates[0].key, "/etc/rb/k");
    assert_int_equal(listener->tls.certificates[0].chain_where.column, 69);
    assert_int_equal(listener->tls.certificates[0].key_where.column, 77);
    assert_int_equal(listener->upstream, 0);
    assert_int_equal(config->upstream_count, 1);
    assert_string_equal(config->upstreams[0].name, "app");
    assert_int_equal(config->upstreams[0].where.line, 2);
    assert_int_equal(config->upstreams[0].server_count, 1);
    assert_string_equal(config->upstreams[0].servers[0].address.text, "127.0.0.1:80");
    config_destroy(config);
    config_destroy(NULL);
}

static void test_everything(void **state)
{
    struct config *config =
        load("workers: 7\n"
             "user: www\n"
             "shutdown_timeout: 0s\n"
             "log: {level: debug, format: json, access: off, failures_per_second: 7, sample: 3}\n"
             "ktls: {transmit: off, receive: required, offload_after: 256k}\n"
             "limits: {connections: 10000000, memory: 7m, handshakes_per_second: 1000000, connections_per_client: 3,\n"
             "         handshakes_per_second_per_client: 4, client_network: {ipv4: 24, ipv6: 56}}\n"
             "timeouts: {handshake: 1ms, connect: 2s, idle: 365d, half_closed: 3m}\n"
             "listeners:\n"
             "- name: one\n"
             "  address: '*:443'\n"
             "  limits: {connections: 9}\n"
             "  tcp: {keepalive: 1500ms, user_timeout: 30s, backlog: 7, fast_open: 8}\n"
             "  tls:\n"
             "    min_version: 1.3\n"
             "    max_version: \"1.3\"\n"
             "    alpn: [h2, http/1.1]\n"
             "    certificates:\n"
             "    - chain: /a/c.pem\n"
             "      key: sub/k.pem\n"
             "    - {chain: c2, key: k2}\n"
             "  upstream: second\n"
             "- {name: two, address: 'unix:run/s', upstream: first,\n"
             "   tls: {max_version: '1.2', certificates: [{chain: c, key: k}]}}\n"
             "upstreams:\n"
             "- {name: first, tcp: {keepalive: 2m, user_timeout: 1ms, transparent: yes}, balance: round_robin, servers: [{address: 'unix:/run/b'}]}\n"
             "- {name: second, servers: [{address: '[::1]:1'}, {address: '127.0.0.1:2'}]}\n"
             "sandbox: {seccomp: required, landlock: off, io_uring: auto}\n"
             "rebalance: {threshold: 0, connections: 2, age: 3s}\n"
             "survival: {connections: 0}\n");
    const struct config_tls *tls = &config->listeners[0].tls;

    assert_int_equal(config->workers, 7);
    assert_string_equal(config->user, "www");
    assert_int_equal(config->user_where.line, 2);
    assert_int_equal(config->user_where.column, 7);
    assert_int_equal(config->shutdown_timeout_ns, 0);
    assert_int_equal(config->log.level, LOG_DEBUG);
    assert_int_equal(config->log.format, LOG_JSON);
    assert_false(config->log.access);
    assert_int_equal(config->log.failures_per_second, 7);
    assert_int_equal(config->log.sample, 3);
    assert_int_equal(config->ktls.transmit, CONFIG_KTLS_OFF);
    assert_int_equal(config->ktls.receive, CONFIG_KTLS_REQUIRED);
    assert_int_equal(config->ktls.offload_after, 262144);
    assert_int_equal(config->rebalance.threshold, 0);
    assert_int_equal(config->rebalance.connections, 2);
    assert_int_equal(config->rebalance.age_ns, 3 * SECOND_NS);
    assert_int_equal(config->survival.connections, 0);
    assert_int_equal(config->sandbox.seccomp, CONFIG_SANDBOX_REQUIRED);
    assert_int_equal(config->sandbox.landlock, CONFIG_SANDBOX_OFF);
    assert_int_equal(config->sandbox.io_uring, CONFIG_SANDBOX_AUTO);
    assert_int_equal(config->limits.connections, 10000000);
    assert_int_equal(config->limits.memory, 7u << 20);
    assert_int_equal(config->limits.handshakes_per_second, 1000000);
    assert_int_equal(config->limits.connections_per_client, 3);
    assert_int_equal(config->limits.handshakes_per_second_per_client, 4);
    assert_int_equal(config->limits.client_network.ipv4, 24);
    assert_int_equal(config->limits.client_network.ipv6, 56);
    assert_int_equal(config->listeners[0].connections, 9);
    assert_int_equal(config->listeners[1].connections, 0);
    assert_int_equal(config->listeners[0].tcp.keepalive_s, 2);
    assert_int_equal(config->listeners[0].tcp.user_timeout_ms, 30000);
    assert_int_equal(config->listeners[0].backlog, 7);
    assert_int_equal(config->listeners[0].fast_open, 8);
    assert_int_equal(config->listeners[1].tcp.keepalive_s, 0);
    assert_int_equal(config->listeners[1].backlog, 65535);
    assert_int_equal(config->listeners[1].fast_open, 0);
    assert_int_equal(config->upstreams[0].tcp.keepalive_s, 120);
    assert_int_equal(config->upstreams[0].tcp.user_timeout_ms, 1);
    assert_int_equal(config->upstreams[1].tcp.user_timeout_ms, 0);
    assert_true(config->upstreams[0].tcp.is_transparent);
    assert_false(config->upstreams[1].tcp.is_transparent);
    assert_int_equal(config->timeouts.handshake_ns, 1000000);
    assert_int_equal(config->timeouts.connect_ns, 2 * SECOND_NS);
    assert_int_equal(config->timeouts.idle_ns, 365 * 86400 * SECOND_NS);
    assert_int_equal(config->timeouts.half_closed_ns, 180 * SECOND_NS);
    assert_int_equal(config->listener_count, 2);
    assert_string_equal(config->listeners[0].name, "one");
    assert_int_equal(config->listeners[0].upstream, 1);
    assert_int_equal(tls->version_min, CONFIG_TLS13);
    assert_int_equal(tls->version_max, CONFIG_TLS13);
    assert_int_equal(tls->where.line, 15);
    assert_int_equal(tls->alpn_count, 2);
    assert_string_equal(tls->alpn[0], "h2");
    assert_string_equal(tls->alpn[1], "http/1.1");
    assert_int_equal(tls->certificate_count, 2);
    assert_string_equal(tls->certificates[0].chain, "/a/c.pem");
    assert_string_equal(tls->certificates[0].key, "/etc/rb/sub/k.pem");
    assert_int_equal(tls->certificates[0].key_where.line, 20);
    assert_string_equal(tls->certificates[1].chain, "/etc/rb/c2");
    assert_int_equal(config->listeners[1].tls.version_max, CONFIG_TLS12);
    assert_int_equal(config->listeners[1].upstream, 0);
    assert_string_equal(((const struct sockaddr_un *)&config->listeners[1].address.socket)->sun_path,
                        "/etc/rb/run/s");
    assert_string_equal(config->listeners[1].address.text, "unix:run/s");
    assert_int_equal(config->upstreams[0].servers[0].address.socket.ss_family, AF_UNIX);
    assert_int_equal(config->upstreams[1].servers[0].address.socket.ss_family, AF_INET6);
    assert_int_equal(port_of(&config->upstreams[1].servers[1].address), 2);
    config_destroy(config);
}

// Files that differ from BOTH in nothing but their spelling.
static void test_spellings(void **state)
{
    static const char *const texts[] = {
        "\xef\xbb\xbf" BOTH,
        "%YAML 1.1\n---\n" BOTH "...\n",
        BOTH "log:\n",
        BOTH "log: ~\nktls: {}\nlimits:\n# memory: 1m\ntimeouts: null\n",
        BOTH "workers: auto\n",
        BOTH "\"workers\": 'auto'\n",
        BOTH "log: {access: on}\n",
        BOTH "log: {access: yes}\nktls: {transmit: auto, receive: \"auto\", offload_after: 0k}\n",
        APP "listeners: [{address: \"127.0.0.1:443\", upstream: app, tls: {alpn: [], certificates: [{chain: "
            "c, key: k}]}}]\n",
        APP "listeners: [{address: \"127.0.0.1:443\", upstream: app, tls: {alpn: ~, certificates: [{chain: "
            "c, key: k}]}}]\r\n",
    };

    for (size_t i = 0; i < COUNT(texts); i++) {
        struct config *config = load(texts[i]);
        check_defaults(config);
        assert_string_equal(config->listeners[0].name, "127.0.0.1:443");
        assert_int_equal(config->listeners[0].tls.alpn_count, 0);
        config_destroy(config);
    }
}

static void test_port_zero(void **state)
{
    struct config *config =
        load(APP "listeners:\n"
                 "- &l {address: \"*:0\", upstream: app, tls: {certificates: [{chain: c, key: k}]}}\n"
                 "- *l\n");

    assert_int_equal(config->listener_count, 2);
    config_destroy(config);
}

static void test_names(void **state)
{
    static const char *const expected[] = {"192.0.2.1:81", "192.0.2.1:80", "192.0.2.2:80", "192.0.2.2:81"};
    struct config *config = load(WEB "upstreams: [{name: app, servers: [{address: \"192.0.2.1:81\"}, "
                                     "{address: \"192.0.2.1:80\"}, {address: \"two.example:80\"}, "
                                     "{address: \"two.example:81\"}]}]\n");
    const struct config_upstream *upstream = &config->upstreams[0];
    size_t found = 0;

    assert_int_equal(upstream->server_count, 2 + 2 * 16); // each name has room for more
    for (size_t i = 0; i < upstream->server_count; i++) {
        char text[ADDRESS_TEXT_SIZE];
        if (upstream->servers[i].address.length == 0)
            continue;
        address_text(&upstream->servers[i].address, text);
        assert_true(found < COUNT(expected));
        assert_string_equal(text, expected[found]);
        assert_string_equal(upstream->servers[i].address.text, expected[found++]);
    }
    assert_int_equal(found, COUNT(expected));
    config_destroy(config);
}

// ---- files ----

static void test_file(void **state)
{
    char *folder = make_folder();
    char *path = write_file(folder, "a.yaml", BOTH);
    struct config *config = NULL;
    char expected[PATH_MAX];
    struct report report;
    char *before = getcwd(NULL, 0);

    report_init(&report, path);
    assert_int_equal(config_load(path, &config, &report), 0);
    assert_string_equal(config->file, path);
    // Only root can have a socket there.
    if (geteuid() == 0)
        assert_string_equal(config->admin.socket, "/run/ringbolt/admin.sock");
    else
        assert_null(config->admin.socket);
    assert_int_equal(config->admin.is_default, geteuid() == 0);
    snprintf(expected, sizeof(expected), "%s/c", folder);
    assert_string_equal(config->listeners[0].tls.certificates[0].chain, expected);
    config_destroy(config);

    // A path relative to the working directory.
    assert_int_equal(chdir(folder), 0);
    free(folder);
    folder = getcwd(NULL, 0); // /tmp may be a link
    snprintf(expected, sizeof(expected), "%s/a.yaml", folder);
    assert_int_equal(config_load("a.yaml", &config, &report), 0);
    assert_string_equal(config->file, expected);
    snprintf(expected, sizeof(expected), "%s/k", folder);
    assert_string_equal(config->listeners[0].tls.certificates[0].key, expected);
    config_destroy(config);
    assert_int_equal(report.count, 0);
    report_finish(&report);

    assert_int_equal(chdir(before), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
    free(before);
    free(path);
    free(folder);
}

static void test_file_admin(void **state)
{
    static const char *const sockets[][2] = {{"off", NULL}, {"/a", "/a"}, {"\"./off\"", "/off"}};
    char *folder = make_folder();

    for (size_t i = 0; i < COUNT(sockets); i++) {
        struct config *config = NULL;
        struct report report;
        char text[512];
        char *path;
        snprintf(text, sizeof(text), "admin: {socket: %s}\n" BOTH, sockets[i][0]);
        path = write_file(folder, "a.yaml", text);
        report_init(&report, path);
        assert_int_equal(config_load(path, &config, &report), 0);
        assert_false(config->admin.is_default);
        if (sockets[i][1] == NULL)
            assert_null(config->admin.socket);
        else
            assert_non_null(strstr(config->admin.socket, sockets[i][1]));
        config_destroy(config);
        report_finish(&report);
        assert_int_equal(unlink(path), 0);
        free(path);
    }
    assert_int_equal(rmdir(folder), 0);
    free(folder);
}

static void refuse_file(const char *path, int error, const char *lines)
{
    struct config *config = NULL;
    struct report report;
    char *said;

    report_init(&report, "f");
    assert_int_equal(config_load(path, &config, &report), error);
    assert_null(config);
    said = report_text(&report);
    assert_string_equal(said, lines);
    free(said);
    report_finish(&report);
}

static void test_file_refused(void **state)
{
    char *folder = make_folder();
    char *path = write_file(folder, "a.yaml", WEB);
    char *huge;

    refuse_file(path, -EINVAL, "f:1:1: required key `upstreams` is missing" NEEDS);
    assert_int_equal(truncate(path, (16 << 20) + 1), 0);
    refuse_file(path, -EINVAL, "f: larger than the 16 MiB that a configuration may have\n");
    assert_int_equal(unlink(path), 0);
    refuse_file(path, -ENOENT, "f: cannot be read: No such file or directory\n");
    free(path);
    refuse_file(folder, -EISDIR, "f: cannot be read: Is a directory\n");
    assert_true(asprintf(&huge, "%s/no/such/folder", folder) > 0);
    refuse_file(huge, -ENOENT, "f: cannot be read: No such file or directory\n");
    free(huge);
    assert_int_equal(rmdir(folder), 0);
    free(folder);
}

// ---- the command line ----

static void test_quick(void **state)
{
    struct config *config = NULL;
    char *directory = getcwd(NULL, 0);
    struct report report;
    char *expected;

    report_init(&report, NULL);
    assert_int_equal(config_quick("*:8443", "127.0.0.1:8080", NULL, NULL, &config, &report), 0);
    check_defaults(config);
    assert_string_equal(config->file, "command line");
    assert_int_equal(config->listener_count, 1);
    assert_string_equal(config->listeners[0].name, "*:8443");
    assert_int_equal(config->listeners[0].address.socket.ss_family, AF_INET6);
    assert_int_equal(config->listeners[0].where.line, 0);
    assert_int_equal(config->listeners[0].upstream, 0);
    assert_int_equal(config->listeners[0].tls.certificate_count, 0);
    assert_null(config->admin.socket);
    assert_int_equal(config->upstream_count, 1);
    assert_int_equal(config->upstreams[0].server_count, 1);
    assert_string_equal(config->upstreams[0].servers[0].address.text, "127.0.0.1:8080");
    config_destroy(config);

    assert_int_equal(config_quick("localhost:1", "unix:b", "c.pem", "/k.pem", &config, &report), 0);
    assert_int_equal(config->listeners[0].tls.certificate_count, 1);
    assert_true(asprintf(&expected, "%s/c.pem", directory) > 0);
    assert_string_equal(config->listeners[0].tls.certificates[0].chain, expected);
    free(expected);
    assert_string_equal(config->listeners[0].tls.certificates[0].key, "/k.pem");
    assert_true(asprintf(&expected, "%s/b", directory) > 0);
    assert_string_equal(
        ((const struct sockaddr_un *)&config->upstreams[0].servers[0].address.socket)->sun_path, expected);
    free(expected);
    config_destroy(config);
    assert_int_equal(report.count, 0);
    report_finish(&report);
    free(directory);
}

static void test_quick_refused(void **state)
{
    static const struct {
        const char *listen, *to, *chain, *key, *lines;
    } cases[] = {
        {"8443", "127.0.0.1:1", NULL, NULL, "command line: --listen `8443`: " NO_HOST},
        {":8443", "127.0.0.1:1", NULL, NULL, "command line: --listen `:8443`: " NO_HOST},
        {"*:8443", "8080", NULL, NULL,
         "command line: --to `8080`: the host is missing; write HOST:PORT, such as 127.0.0.1:PORT\n"},
        {"*:8443", "http://127.0.0.1:80", NULL, NULL,
         "command line: --to `http://127.0.0.1:80`: this is a URL; write HOST:PORT alone\n"},
        {"x", "\x1b\xff:1", NULL, NULL,
         "command line: --to `\\x1b\\xff:1`: the host is neither an address nor a name\n"
         "command line: --listen `x`: the port is missing; write HOST:PORT or unix:/path\n"},
        {"*:8443", "127.0.0.1:1", "c", NULL,
         "command line: --cert and --key go together; give both or neither\n"},
        {"*:8443", "127.0.0.1:1", NULL, "k",
         "command line: --cert and --key go together; give both or neither\n"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct config *config = NULL;
        struct report report;
        char *said;
        report_init(&report, "command line");
        assert_int_equal(
            config_quick(cases[i].listen, cases[i].to, cases[i].chain, cases[i].key, &config, &report),
            -EINVAL);
        assert_null(config);
        said = report_text(&report);
        assert_string_equal(said, cases[i].lines);
        free(said);
        report_finish(&report);
    }
}

int main(void)
{
    const struct CMUnitTest fixed[] = {
        cmocka_unit_test(test_defaults),   cmocka_unit_test(test_everything),
        cmocka_unit_test(test_spellings),  cmocka_unit_test(test_port_zero),
        cmocka_unit_test(test_names),      cmocka_unit_test(test_file),
        cmocka_unit_test(test_file_admin), cmocka_unit_test(test_file_refused),
        cmocka_unit_test(test_quick),      cmocka_unit_test(test_quick_refused),
    };
    struct CMUnitTest tests[COUNT(fixed) + COUNT(bad_values)];
    size_t count = COUNT(fixed);

    memcpy(tests, fixed, sizeof(fixed));
    count = add_bad(tests, count, bad_values, COUNT(bad_values));
    assert_int_equal(count, COUNT(tests));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
