// SPDX-License-Identifier: Apache-2.0
// Names of servers: what a lookup's answer does to the table of servers, what a worker makes of that while it changes, and answers of a child
// that is not to be trusted.
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "src/config/address.h"
#include "src/control/lookup.h"
#include "src/control/names.h"
#include "src/proxy/upstream.h"

#define ROOM         4 // of the name
#define SERVERS      (1 + ROOM)
#define PORT         80
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// Server 0 stands in the file, at 192.0.2.100; the others are of the name.
static struct config_server server_configs[SERVERS];
static struct config_name name;
static struct config_upstream upstream_config;
static struct config config;
static struct servers *table;
static struct stats *stats;
static struct upstreams *worker;
static uint64_t now_ns;

// 192.0.2.HOST
static struct config_address at(unsigned host, unsigned port)
{
    struct config_address address = {.length = sizeof(struct sockaddr_in)};
    struct sockaddr_in *socket = (struct sockaddr_in *)&address.socket;

    socket->sin_family = AF_INET;
    socket->sin_addr.s_addr = htonl(0xc0000200 + host);
    socket->sin_port = htons((uint16_t)port);
    return address;
}

static int set_up(void **state)
{
    (void)state;
    memset(server_configs, 0, sizeof(server_configs));
    name = (struct config_name){
        .text = (char *)"app.test:80", .host = (char *)"app.test", .port = PORT, .first = 1, .count = ROOM};
    for (size_t i = 0; i < SERVERS; i++)
        server_configs[i] = (struct config_server){.weight = 1, .name = i > 0 ? &name : NULL};
    server_configs[0].address = at(100, PORT);
    server_configs[0].address.text = (char *)"192.0.2.100:80";
    server_configs[0].weight = 0; // for others' sake
    server_configs[1].address = at(1, PORT);
    server_configs[1].address.text = (char *)"192.0.2.1:80";
    upstream_config =
        (struct config_upstream){.name = (char *)"app",
                                 .servers = server_configs,
                                 .server_count = SERVERS,
                                 .names = &name,
                                 .name_count = 1,
                                 .health = {.max_fails = 3, .fail_timeout_ns = 10 * CLOCK_NS_PER_S}};
    config = (struct config){.workers = 1,
                             .upstreams = &upstream_config,
                             .upstream_count = 1,
                             .timeouts.connect_ns = CLOCK_NS_PER_S};
    now_ns = 1000 * CLOCK_NS_PER_S;
    assert_int_equal(servers_create(&config, &table), 0);
    assert_int_equal(stats_create(&config, &stats), 0);
    worker = upstreams_create(&config, table, 0);
    assert_non_null(worker);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    upstreams_destroy(worker);
    servers_destroy(table);
    stats_destroy(stats);
    return 0;
}

// The name has these now: "1 2 7"; what changed: "+2 +7 -3".
static const char *apply(const char *hosts, enum servers_order order)
{
    static char text[256];
    struct config_address found[32];
    struct names_outcome outcome;
    size_t count = 0;
    char *end;

    for (unsigned long host = strtoul(hosts, &end, 10); end != hosts; host = strtoul(hosts, &end, 10)) {
        found[count++] = at((unsigned)host, 0);
        hosts = end;
    }
    now_ns += CLOCK_NS_PER_S;
    names_apply(table, stats, &config, 0, &name, order, found, count, now_ns, &outcome);
    snprintf(text, sizeof(text), "+[%s] -[%s] %zu", outcome.added_text, outcome.removed_text, outcome.here);
    if (outcome.left_out > 0)
        snprintf(text + strlen(text), 32, " without %zu", outcome.left_out);
    names_outcome_finish(&outcome);
    return text;
}

static struct servers_state *state_of(size_t server)
{
    return servers_state(table, server);
}

static enum upstream_answer choose(const char *client, size_t *ret)
{
    struct upstream_wish wish = {.client = client, .now_ns = now_ns};

    return upstream_choose(worker, &wish, ret);
}

// The host of the address that a connection is sent to; 0: there is none. The place stays taken.
static unsigned go(const char *client, size_t *ret)
{
    const struct config_server *server;
    unsigned host = 0;

    if (choose(client, ret) != UPSTREAM_CHOSEN)
        return 0;
    server = upstream_hold(worker, 0, *ret);
    assert_int_equal(address_port(&server->address), PORT);
    assert_int_equal(sscanf(server->address.text, "192.0.2.%u:80", &host), 1);
    assert_true(upstream_is_still(worker, 0, *ret, server));
    upstream_drop(server);
    return host;
}

static unsigned pass(void)
{
    size_t server;
    unsigned host = go("10.0.0.1:1", &server);

    if (host > 0)
        upstream_give(worker, 0, server);
    return host;
}

// Who gets twelve connections: "1 2", each at least three.
static const char *shares(void)
{
    static char text[64];
    unsigned got[256] = {0};
    size_t length = 0;

    text[0] = '\0';
    for (unsigned i = 0; i < 12; i++)
        got[pass()]++;
    for (unsigned i = 0; i < COUNT(got); i++) {
        assert_true(got[i] == 0 || got[i] >= 3);
        if (got[i] > 0)
            length +=
                (size_t)snprintf(text + length, sizeof(text) - length, "%s%u", length > 0 ? " " : "", i);
    }
    return text;
}

// ---- answers ----

static void test_come_and_go(void **state)
{
    (void)state;
    assert_string_equal(shares(), "1");
    assert_int_equal(upstream_count(worker, 0), 2);
    assert_string_equal(apply("1", SERVERS_READY), "+[] -[] 1");
    assert_string_equal(apply("2 1 2", SERVERS_READY), "+[192.0.2.2:80] -[] 2");
    assert_string_equal(shares(), "1 2");
    assert_string_equal(apply("3 2", SERVERS_READY), "+[192.0.2.3:80] -[192.0.2.1:80] 2");
    assert_string_equal(shares(), "2 3");
    assert_string_equal(apply("1 2 3 4", SERVERS_READY), "+[192.0.2.1:80, 192.0.2.4:80] -[] 4");
    assert_string_equal(shares(), "1 2 3 4");
    assert_string_equal(apply("5", SERVERS_READY),
                        "+[192.0.2.5:80] -[192.0.2.1:80, 192.0.2.2:80, 192.0.2.3:80, 192.0.2.4:80] 1");
    assert_string_equal(shares(), "5");
}

// Who has a place keeps it; the others are left out until somebody goes.
static void test_too_many(void **state)
{
    (void)state;
    assert_string_equal(apply("9 8 7 6 1", SERVERS_READY),
                        "+[192.0.2.9:80, 192.0.2.8:80, 192.0.2.7:80] -[] 4 without 1");
    assert_string_equal(apply("6 1 7 8 9 5", SERVERS_READY), "+[] -[] 4 without 2");
    assert_string_equal(apply("5 7 8 9", SERVERS_READY), "+[192.0.2.5:80] -[192.0.2.1:80] 4");
}

// A server that is gone is given to nobody else while it has connections; it is its own again when its address comes back.
static void test_connections_keep_a_place(void **state)
{
    const struct config_server *held;
    size_t server;

    (void)state;
    assert_int_equal(go("10.0.0.1:1", &server), 1);
    held = upstream_hold(worker, 0, server);
    assert_string_equal(apply("2 3 4 5", SERVERS_READY),
                        "+[192.0.2.2:80, 192.0.2.3:80, 192.0.2.4:80] -[192.0.2.1:80] 3 without 1");
    assert_string_equal(shares(), "2 3 4");
    assert_string_equal(held->address.text, "192.0.2.1:80"); // what the log will say
    assert_false(upstream_is_still(worker, 0, server, held));
    assert_string_equal(apply("1 3 4", SERVERS_READY), "+[192.0.2.1:80] -[192.0.2.2:80] 3");
    assert_int_equal(servers_live(table, server), 1);
    assert_string_equal(apply("3 4", SERVERS_READY), "+[] -[192.0.2.1:80] 2");
    upstream_give(worker, 0, server);
    assert_string_equal(apply("3 4 6 7", SERVERS_READY), "+[192.0.2.6:80, 192.0.2.7:80] -[] 4");
    assert_string_equal(shares(), "3 4 6 7");
    upstream_drop(held);
}

// The one that is gone the longest makes room first.
static void test_oldest_first(void **state)
{
    struct stats_server sum;

    (void)state;
    (void)apply("1 2 3 4", SERVERS_READY);
    (void)apply("1 2 3", SERVERS_READY);
    (void)apply("1 2", SERVERS_READY);
    (void)apply("1 2 5", SERVERS_READY); // in the place of 4
    stats_add(&stats_server(stats, 0, 3)->connects, 7);
    assert_string_equal(apply("1 2 5 3", SERVERS_READY), "+[192.0.2.3:80] -[] 4");
    stats_sum_server(stats, 3, &sum);
    assert_int_equal(sum.connects, 7); // its own place
}

// An address that another server has is that one's.
static void test_taken(void **state)
{
    (void)state;
    assert_string_equal(apply("100 1", SERVERS_READY), "+[] -[] 1");
    assert_string_equal(apply("100", SERVERS_READY), "+[] -[192.0.2.1:80] 0");
    assert_int_equal(pass(), 0);
}

// ---- health, orders, weights ----

// Who joins is well, whatever was here before; who comes back too.
static void test_health_is_an_addresss_own(void **state)
{
    struct stats_server sum;

    (void)state;
    (void)apply("1 2", SERVERS_READY);
    assert_string_equal(shares(), "1 2");
    for (unsigned i = 0; i < 3; i++)
        upstream_failed(worker, 0, 1, "Connection refused", now_ns);
    stats_add(&stats_server(stats, 0, 1)->failures, 3);
    assert_int_equal(atomic_load(&state_of(1)->is_out), 1);
    assert_string_equal(shares(), "2");
    (void)apply("2", SERVERS_READY);
    (void)apply("2 1", SERVERS_READY);
    assert_string_equal(shares(), "1 2");
    stats_sum_server(stats, 1, &sum);
    assert_int_equal(sum.failures, 3);
    (void)apply("3 4 5 2", SERVERS_READY); // somebody else in the place of 1
    stats_sum_server(stats, 1, &sum);
    assert_int_equal(sum.failures, 0);
}

// One that is alone is never out, also when it was not alone before.
static void test_alone(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        upstream_failed(worker, 0, 1, "Connection refused", now_ns);
    assert_int_equal(pass(), 1);
    assert_int_equal(atomic_load(&state_of(1)->is_out), 0);
    (void)apply("1 2", SERVERS_READY);
    assert_string_equal(shares(), "1 2");
    upstream_failed(worker, 0, 1, "Connection refused", now_ns);
    assert_int_equal(atomic_load(&state_of(1)->is_out), 1);
}

static void test_orders(void **state)
{
    (void)state;
    (void)apply("1 2", SERVERS_READY);
    (void)servers_set_order(state_of(2), SERVERS_DRAIN, now_ns);
    assert_string_equal(shares(), "1");
    (void)apply("1", SERVERS_READY);
    (void)apply("1 2", SERVERS_READY);
    assert_string_equal(shares(), "1"); // it is still drained
    (void)apply("1 3 4 5", SERVERS_READY);
    assert_string_equal(shares(), "1 3 4 5"); // the order was for 2
    (void)apply("1 6", SERVERS_DRAIN);
    assert_string_equal(shares(), "1"); // the name is drained: so is who comes
}

static void test_slow_start(void **state)
{
    unsigned got[256] = {0};

    (void)state;
    upstream_config.health.slow_start_ns = 100 * CLOCK_NS_PER_S;
    (void)apply("1 2", SERVERS_READY);
    now_ns += 50 * CLOCK_NS_PER_S;
    for (unsigned i = 0; i < 30; i++)
        got[pass()]++;
    assert_int_equal(got[1], 20);
    assert_int_equal(got[2], 10);
}

// Only the clients of the one that goes move, and they come back with it.
static void test_source_hash(void **state)
{
    char client[32];
    unsigned homes[200];
    size_t server;
    unsigned moved = 0;

    (void)state;
    upstream_config.balance = CONFIG_SOURCE_HASH;
    (void)apply("1 2 3 4", SERVERS_READY);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < COUNT(homes); i++) {
            unsigned host;

            snprintf(client, sizeof(client), "10.0.%u.%u:7", i / 100, i % 100);
            host = go(client, &server);
            upstream_give(worker, 0, server);
            if (round == 0)
                homes[i] = host;
            else if (round == 1 && homes[i] == 3)
                moved += host == 1 || host == 2 || host == 4;
            else
                assert_int_equal(host, homes[i]);
        }
        // In the second round without 3; in the third all are in other places.
        (void)apply(round == 0 ? "1 2 4" : "5 6 7 8", SERVERS_READY);
        if (round == 1)
            (void)apply("3 4 1 2", SERVERS_READY);
    }
    assert_true(moved > 20);
}

// ---- two families ----

// Server 2 of the name at an address of IPv6, 1 and 3 at those of IPv4.
static void use_both_families(void)
{
    struct config_address address = {.length = sizeof(struct sockaddr_in6)};
    struct sockaddr_in6 *socket = (struct sockaddr_in6 *)&address.socket;

    (void)apply("1 2 3", SERVERS_READY);
    socket->sin6_family = AF_INET6;
    socket->sin6_addr = in6addr_loopback;
    socket->sin6_port = htons(PORT);
    servers_set_site(table, 0, 2, SERVERS_HERE, &address);
}

static enum upstream_answer choose_family(int family, const uint64_t *tried, size_t *ret)
{
    struct upstream_wish wish = {
        .client = "10.0.0.1:1", .tried = tried, .name = &name, .family = family, .now_ns = now_ns};

    return upstream_choose(worker, &wish, ret);
}

static void test_families(void **state)
{
    const struct config_server *held;
    uint64_t tried = 0;
    size_t server;

    (void)state;
    server_configs[0].weight = 1;
    use_both_families();
    assert_int_equal(choose_family(AF_INET6, NULL, &server), UPSTREAM_CHOSEN);
    assert_int_equal(server, 2);
    held = upstream_hold(worker, 0, 2);
    assert_string_equal(held->address.text, "[::1]:80");
    assert_true(upstream_has_other_family(worker, 0, held));
    upstream_drop(held);
    for (unsigned i = 0; i < 2; i++) { // never server 0, which is of no name
        assert_int_equal(choose_family(AF_INET, &tried, &server), UPSTREAM_CHOSEN);
        assert_true(server == 1 || server == 3);
        tried |= UINT64_C(1) << server;
    }
    assert_int_equal(choose_family(AF_INET, &tried, &server), UPSTREAM_NONE);
    // One that is out is not tried beside another.
    for (unsigned i = 0; i < 3; i++)
        upstream_failed(worker, 0, 2, "Connection refused", now_ns);
    assert_int_equal(choose_family(AF_INET6, NULL, &server), UPSTREAM_NONE);
    servers_set_site(table, 0, 2, SERVERS_GONE, NULL);
    assert_int_equal(choose_family(AF_INET6, NULL, &server), UPSTREAM_NONE);
    held = upstream_hold(worker, 0, 1);
    assert_false(upstream_has_other_family(worker, 0, held));
    upstream_drop(held);
}

// Who was overtaken is passed over for fail_timeout, unless there is nobody else.
static void test_overtaken(void **state)
{
    const struct config_server *held;

    (void)state;
    (void)apply("1 2", SERVERS_READY);
    assert_string_equal(shares(), "1 2");
    held = upstream_hold(worker, 0, 1);
    upstream_overtaken(worker, 0, 1, held, now_ns);
    assert_string_equal(shares(), "2");
    assert_int_equal(atomic_load(&state_of(1)->failures), 0);
    (void)servers_set_order(state_of(2), SERVERS_DRAIN, now_ns);
    assert_string_equal(shares(), "1");
    (void)servers_set_order(state_of(2), SERVERS_READY, now_ns);
    now_ns += 10 * CLOCK_NS_PER_S;
    assert_string_equal(shares(), "1 2");
    // It is the address that was, not its place.
    (void)apply("2", SERVERS_READY);
    (void)apply("2 3 4 5", SERVERS_READY);
    assert_string_equal(shares(), "2 3 4 5");
    upstream_overtaken(worker, 0, 1, held, now_ns);
    assert_string_equal(shares(), "2 3 4 5");
    upstream_drop(held);
}

// ---- at the same time ----

// The last place of a server that is being given to another address: whoever has it knows whose it is.
static void test_changed_while_chosen(void **state)
{
    size_t server;

    (void)state;
    (void)apply("1 2", SERVERS_READY);
    assert_int_not_equal(pass(), 0); // the worker has seen both
    servers_set_site(table, 0, 1, SERVERS_GONE, NULL);
    servers_set_site(table, 0, 2, SERVERS_GONE, NULL);
    assert_int_equal(choose("10.0.0.1:1", &server), UPSTREAM_NONE);
    for (size_t i = 0; i < SERVERS; i++)
        assert_int_equal(servers_live(table, i), 0);
}

#define CHANGES 200000

static void *write_sites(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < CHANGES; i++) {
        struct config_address address = {.length = sizeof(struct sockaddr_in6)};
        struct sockaddr_in6 *socket = (struct sockaddr_in6 *)&address.socket;

        socket->sin6_family = AF_INET6;
        memset(&socket->sin6_addr, (int)(i % 251), sizeof(socket->sin6_addr));
        socket->sin6_scope_id = (i % 251) * 0x01010101u;
        servers_set_site(table, 0, 1, i % 3 == 0 ? SERVERS_GONE : SERVERS_HERE, &address);
    }
    return NULL;
}

// However fast it changes, what is read was written in one go.
static void test_never_torn(void **state)
{
    pthread_t writer;
    uint32_t last = 0;
    unsigned seen = 0;

    (void)state;
    assert_int_equal(pthread_create(&writer, NULL, write_sites, NULL), 0);
    while (servers_site_version(table, 1) < 2 * CHANGES) {
        struct servers_site site;
        const struct sockaddr_in6 *socket = (const struct sockaddr_in6 *)&site.address;

        servers_site(table, 1, &site);
        assert_true(site.version >= last || site.presence == SERVERS_EMPTY);
        last = site.version > last ? site.version : last;
        if (site.presence == SERVERS_EMPTY || site.address.ss_family != AF_INET6)
            continue;
        seen++;
        for (size_t i = 0; i < sizeof(socket->sin6_addr); i++)
            assert_int_equal(socket->sin6_addr.s6_addr[i], socket->sin6_addr.s6_addr[0]);
        assert_int_equal(socket->sin6_scope_id, socket->sin6_addr.s6_addr[0] * 0x01010101u);
        // The first is the configuration's, then each change is one of ours.
        assert_int_equal(site.presence, (site.version / 2 - 2) % 3 == 0 ? SERVERS_GONE : SERVERS_HERE);
    }
    pthread_join(writer, NULL);
    assert_true(seen > 0);
}

// ---- the child's answers ----

static bool read_answer(const void *bytes, size_t size, enum fetch_result result, size_t *ret_count)
{
    static struct config_address found[LOOKUP_MAX];
    struct fetch_answer answer = {.result = result, .bytes = bytes, .size = size};

    return lookup_read(&answer, found, ret_count);
}

static void test_hostile_answers(void **state)
{
    static struct lookup_address many[LOOKUP_MAX + 1];
    size_t count = 77;

    (void)state;
    for (size_t i = 0; i < COUNT(many); i++)
        many[i] = (struct lookup_address){.family = i % 2 ? AF_INET : AF_INET6, .bytes = {(uint8_t)(i / 2)}};
    assert_false(read_answer(many, 0, FETCH_ANSWERED, &count));
    assert_false(read_answer(many, 1, FETCH_ANSWERED, &count));
    assert_false(read_answer(many, sizeof(many[0]) + 1, FETCH_ANSWERED, &count));
    assert_false(read_answer(many, sizeof(many), FETCH_ANSWERED, &count));
    assert_false(read_answer(many, sizeof(many[0]), FETCH_REFUSED, &count));
    many[1].family = AF_UNIX;
    assert_false(read_answer(many, 3 * sizeof(many[0]), FETCH_ANSWERED, &count));
    assert_int_equal(count, 77);
    many[1].family = AF_INET;
    assert_true(read_answer(many, LOOKUP_MAX * sizeof(many[0]), FETCH_ANSWERED, &count));
    assert_int_equal(count, LOOKUP_MAX);
    many[2] = many[3] = many[1];
    assert_true(read_answer(many, 4 * sizeof(many[0]), FETCH_ANSWERED, &count));
    assert_int_equal(count, 2);
}

#define test_of(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_of(test_come_and_go),
        test_of(test_too_many),
        test_of(test_connections_keep_a_place),
        test_of(test_oldest_first),
        test_of(test_taken),
        test_of(test_health_is_an_addresss_own),
        test_of(test_alone),
        test_of(test_orders),
        test_of(test_slow_start),
        test_of(test_source_hash),
        test_of(test_families),
        test_of(test_overtaken),
        test_of(test_changed_while_chosen),
        test_of(test_never_torn),
        test_of(test_hostile_answers),
    };

    log_setup(LOG_TEXT, LOG_ERROR, STDERR_FILENO);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
