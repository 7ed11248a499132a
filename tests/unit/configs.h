// SPDX-License-Identifier: Apache-2.0
// What the tests of the configuration share: the smallest files, how one is loaded or refused, tables of bad ones.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "ringbolt/config.h"
#include "src/config/parse.h"
#include "src/config/schema_config.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SECOND_NS    UINT64_C(1000000000)

// What every file needs, in a line each.
#define WEB                                                                                                  \
    "listeners: [{address: \"127.0.0.1:443\", tls: {certificates: [{chain: c, key: k}]}, upstream: app}]\n"
#define APP  "upstreams: [{name: app, servers: [{address: \"127.0.0.1:80\"}]}]\n"
#define BOTH WEB APP

// "two.example" has two addresses, one of them twice; "none.example" has none.
static inline int resolve(const char *host, struct config_address *ret, size_t max, size_t *ret_count)
{
    const uint32_t hosts[] = {0xc0000202, 0xc0000201};
    struct sockaddr_in *socket;

    if (strcmp(host, "two.example") != 0)
        return EAI_NONAME;
    assert_true(max >= COUNT(hosts));
    for (size_t i = 0; i < COUNT(hosts); i++) {
        ret[i] = (struct config_address){.length = sizeof(*socket)};
        socket = (struct sockaddr_in *)&ret[i].socket;
        socket->sin_family = AF_INET;
        socket->sin_addr.s_addr = htonl(hosts[i]);
    }
    *ret_count = COUNT(hosts);
    return 0;
}

static inline char *report_text(struct report *report)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);

    assert_non_null(file);
    report_print(report, file);
    assert_int_equal(fclose(file), 0);
    return text;
}

// The configuration that `text` becomes; the test fails with what is said against it.
static inline struct config *load(const char *text)
{
    struct config *config = NULL;
    struct report report;

    report_init(&report, "c");
    if (config_parse_with(text, strlen(text), "/etc/rb", resolve, &config, &report) != 0)
        fail_msg("%s", report_text(&report));
    assert_int_equal(report.count, 0);
    report_finish(&report);
    return config;
}

static inline void refuse_bytes(const char *text, size_t length, const char *lines)
{
    struct config *untouched = (struct config *)&untouched;
    struct config *config = untouched;
    struct report report;
    char *said;

    report_init(&report, "c");
    assert_int_equal(config_parse_with(text, length, "/etc/rb", resolve, &config, &report), -EINVAL);
    assert_ptr_equal(config, untouched);
    said = report_text(&report);
    assert_non_null(said);
    if (strcmp(said, lines) != 0) { // cmocka would cut a long report
        fputs("said:\n", stderr);
        fputs(said, stderr);
        fprintf(stderr, "expected:\n%s", lines);
    }
    assert_true(strcmp(said, lines) == 0);
    free(said);
    report_finish(&report);
}

static inline void refuse(const char *text, const char *lines)
{
    refuse_bytes(text, strlen(text), lines);
}

#define IN_LISTENER                                                                                          \
    APP "listeners: [{address: \"*:1\", upstream: app, tls: {certificates: [{chain: c, key: k}]},\n"
#define IN_TLS      APP "listeners: [{address: \"*:1\", upstream: app, tls: {certificates: [{chain: c, key: k}],\n"
#define IN_UPSTREAM WEB "upstreams: [{name: app, servers: [{address: \"127.0.0.1:80\"}],\n"
#define IN_SERVER   WEB "upstreams: [{name: app, servers: [{address: \"127.0.0.1:80\",\n"

struct bad {
    const char *name;
    const char *text;
    const char *lines;
};

static inline void test_bad(void **state)
{
    const struct bad *bad = *state;

    refuse(bad->text, bad->lines);
}

static inline size_t add_bad(struct CMUnitTest *tests, size_t count, const struct bad *bad, size_t bad_count)
{
    for (size_t i = 0; i < bad_count; i++)
        tests[count++] = (struct CMUnitTest){
            .name = bad[i].name, .test_func = test_bad, .initial_state = (void *)(uintptr_t)&bad[i]};
    return count;
}

#define NEEDS "; the configuration needs it\n"
#define TIME  "write a time such as `500ms`, `10s`, `5m`, `2h` or `1d`\n"
#define SIZE  "write a size such as `65536`, `64k`, `1m` or `2g`\n"
#define NO_FILES                                                                                             \
    "an entry of `certificates` needs `chain` and `key`, `chain` alone with the key in the same file, or "   \
    "`pkcs12`\n"
#define NO_HOST                                                                                              \
    "the host is missing; write `*:PORT` for every address or `127.0.0.1:PORT` for this machine only\n"
#define NOTHING                                                                                              \
    "c:1:1: required key `listeners` is missing" NEEDS "c:1:1: required key `upstreams` is missing" NEEDS
#define ROOT_KEYS                                                                                            \
    "workers, user, shutdown_timeout, log, ktls, sandbox, limits, timeouts, rebalance, survival, tickets, admin, "                         \
    "listeners and upstreams\n"

// ---- more helpers ----

// `count` times `piece` between two texts; the caller frees it.
static inline char *repeat(const char *before, const char *piece, size_t count, const char *after)
{
    char *text = malloc(strlen(before) + count * strlen(piece) + strlen(after) + 1);
    char *end = stpcpy(text, before);

    while (count-- > 0)
        end = stpcpy(end, piece);
    strcpy(end, after);
    return text;
}

#define CIPHERS                                                                                              \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"               \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERSUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS       "X25519MLKEM768:X25519:P-256:P-384"

static inline void check_tls_defaults(const struct config_tls *tls)
{
    assert_int_equal(tls->version_min, CONFIG_TLS12);
    assert_int_equal(tls->version_max, CONFIG_TLS13);
    assert_string_equal(tls->ciphers, CIPHERS);
    assert_string_equal(tls->ciphersuites, CIPHERSUITES);
    assert_string_equal(tls->groups, GROUPS);
    assert_true(tls->prefers_server);
    assert_null(tls->certificate_dir);
    assert_false(tls->strict_sni);
    assert_int_equal(tls->client_auth.mode, CONFIG_CLIENT_AUTH_OFF);
    assert_null(tls->client_auth.ca);
    assert_int_equal(tls->client_auth.crl_count, 0);
    assert_int_equal(tls->client_auth.depth, 4);
    assert_false(tls->ocsp.fetch);
    assert_null(tls->ocsp.cache);
    assert_null(tls->ocsp.responder);
    assert_int_equal(tls->ocsp.timeout_ns, 10 * SECOND_NS);
    assert_null(tls->keylog);
}

static inline unsigned cpu_count(void)
{
    cpu_set_t cpus;

    assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
    return (unsigned)CPU_COUNT(&cpus);
}

static inline uint16_t port_of(const struct config_address *address)
{
    return address_port(address);
}

static inline void check_defaults(const struct config *config)
{
    assert_int_equal(config->workers, cpu_count());
    assert_null(config->user);
    assert_int_equal(config->shutdown_timeout_ns, 30 * SECOND_NS);
    assert_int_equal(config->log.level, LOG_INFO);
    assert_int_equal(config->log.format, LOG_TEXT);
    assert_true(config->log.access);
    assert_int_equal(config->ktls.transmit, CONFIG_KTLS_AUTO);
    assert_int_equal(config->ktls.receive, CONFIG_KTLS_AUTO);
    assert_int_equal(config->ktls.offload_after, 0);
    assert_int_equal(config->limits.connections, 100000);
    assert_int_equal(config->limits.client_hello, 16384);
    assert_int_equal(config->limits.memory, 256u << 20);
    assert_int_equal(config->timeouts.handshake_ns, 10 * SECOND_NS);
    assert_int_equal(config->timeouts.connect_ns, 5 * SECOND_NS);
    assert_int_equal(config->timeouts.idle_ns, 300 * SECOND_NS);
    assert_int_equal(config->timeouts.half_closed_ns, 30 * SECOND_NS);
    assert_int_equal(config->rebalance.threshold, 25);
    assert_int_equal(config->rebalance.connections, 64);
    assert_int_equal(config->rebalance.age_ns, 10 * SECOND_NS);
    assert_int_equal(config->survival.connections, 16384);
    assert_int_equal(config->tickets.key_count, 0);
    assert_int_equal(config->tickets.rotate_ns, 12 * 3600 * SECOND_NS);
    assert_int_equal(config->tickets.lifetime_ns, 24 * 3600 * SECOND_NS);
    assert_int_equal(config->admin.where.line, 0);
    check_tls_defaults(&config->listeners[0].tls);
}
static inline char *make_folder(void)
{
    const char *base = getenv("TMPDIR");
    char *path;

    assert_true(asprintf(&path, "%s/ringbolt-config-XXXXXX", base != NULL ? base : "/tmp") > 0);
    assert_non_null(mkdtemp(path));
    return path;
}

static inline char *write_file(const char *folder, const char *name, const char *text)
{
    char *path;
    FILE *file;

    assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
    file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    return path;
}

// ---- fragments ----

// Each fragment stands in line 3.
#define TLS(fragment) IN_TLS fragment "}}]\n"
#define CERTIFICATE(fragment)                                                                                \
    APP "listeners: [{address: \"*:1\", upstream: app, tls: {certificates: [{\n" fragment "}]}}]\n"
#define BARE(fragment) APP "listeners: [{address: \"*:1\", upstream: app, tls: {\n" fragment "}}]\n"
#define ROOT(fragment) BOTH fragment "\n"

// The configuration that `text` becomes, and what is said of it all the same.
static inline struct config *load_warned(const char *text, const char *lines)
{
    struct config *config = NULL;
    struct report report;
    char *said;

    report_init(&report, "c");
    if (config_parse_with(text, strlen(text), "/etc/rb", resolve, &config, &report) != 0)
        fail_msg("%s", report_text(&report));
    assert_int_equal(report.error_count, 0);
    said = report_text(&report);
    assert_string_equal(said, lines);
    free(said);
    report_finish(&report);
    return config;
}
