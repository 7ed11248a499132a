// SPDX-License-Identifier: Apache-2.0
// Who is let in: limits over all workers, by listener and by the client's network.
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "ringbolt/admission.h"
#include "ringbolt/clock.h"

#define WORKERS   3
#define LISTENERS 2
#define START_NS  (1000 * CLOCK_NS_PER_S)

static struct config_listener listeners[LISTENERS];
static struct config config;

static struct admission *create(unsigned live_max, unsigned rate_max)
{
    struct admission *admission;

    config = (struct config){.workers = WORKERS,
                             .listeners = listeners,
                             .listener_count = LISTENERS,
                             .limits = {.connections = 1000,
                                        .connections_per_client = live_max,
                                        .handshakes_per_second_per_client = rate_max,
                                        .client_network = {.ipv4 = 32, .ipv6 = 64}}};
    listeners[0].connections = listeners[1].connections = 0;
    admission = admission_create(&config);
    assert_non_null(admission);
    return admission;
}

static enum admission_refusal enter(struct admission *admission, unsigned worker, const char *text,
                                    uint64_t now_ns, uint32_t *ret_place)
{
    struct sockaddr_storage address = {.ss_family = AF_INET};

    if (inet_pton(AF_INET, text, &((struct sockaddr_in *)&address)->sin_addr) != 1) {
        address.ss_family = AF_INET6;
        assert_int_equal(inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)&address)->sin6_addr), 1);
    }
    return admission_client_enter(admission, worker, (struct sockaddr *)&address, now_ns, ret_place);
}

static void test_connections_of_a_client(void **state)
{
    struct admission *admission = create(4, 0);
    uint32_t places[4];
    uint32_t place;

    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(enter(admission, i % WORKERS, "192.0.2.1", START_NS, &places[i]), ADMISSION_GRANTED);
        assert_int_not_equal(places[i], ADMISSION_UNCOUNTED);
    }
    for (unsigned worker = 0; worker < WORKERS; worker++) {
        assert_int_equal(enter(admission, worker, "192.0.2.1", START_NS, &place), ADMISSION_CLIENT_CONNECTIONS);
        assert_int_equal(place, ADMISSION_UNCOUNTED);
    }
    assert_int_equal(enter(admission, 0, "192.0.2.2", START_NS, &place), ADMISSION_GRANTED);
    admission_client_leave(admission, 1, places[1]);
    assert_int_equal(enter(admission, 2, "192.0.2.1", START_NS, &place), ADMISSION_GRANTED);
    assert_int_equal(enter(admission, 2, "192.0.2.1", START_NS, &place), ADMISSION_CLIENT_CONNECTIONS);
    admission_forget(admission, 0); // had two of them
    assert_int_equal(enter(admission, 0, "192.0.2.1", START_NS, &place), ADMISSION_GRANTED);
    assert_int_equal(enter(admission, 0, "192.0.2.1", START_NS, &place), ADMISSION_GRANTED);
    assert_int_equal(enter(admission, 0, "192.0.2.1", START_NS, &place), ADMISSION_CLIENT_CONNECTIONS);
    admission_destroy(admission);
}

struct network {
    const char *one;
    const char *other;
    unsigned ipv4;
    unsigned ipv6;
    bool is_same;
};

static void test_networks(void **state)
{
    static const struct network networks[] = {
        {"192.0.2.1", "192.0.2.1", 32, 64, true},
        {"192.0.2.1", "192.0.2.2", 32, 64, false},
        {"192.0.2.1", "192.0.2.254", 24, 64, true},
        {"192.0.2.1", "192.0.3.1", 24, 64, false},
        {"1.2.3.4", "127.0.0.1", 1, 64, true},
        {"1.2.3.4", "128.0.0.1", 1, 64, false},
        {"2001:db8::1", "2001:db8::ffff:1", 32, 64, true},
        {"2001:db8::1", "2001:db8:0:1::1", 32, 64, false},
        {"2001:db8::1", "2001:db8:0:1::1", 32, 63, true},
        {"2001:db8::1", "2001:db8::2", 32, 128, false},
        {"2001:db8::2", "2001:db8::3", 32, 127, true},
        {"2001:db8::1", "2001:db9::1", 32, 31, true},
        {"::ffff:192.0.2.1", "192.0.2.1", 32, 64, true},
        {"::ffff:192.0.2.1", "::ffff:192.0.2.2", 32, 64, false},
        {"0.0.0.0", "::", 32, 64, false},
    };
    uint32_t place;

    for (size_t i = 0; i < sizeof(networks) / sizeof(networks[0]); i++) {
        const struct network *network = &networks[i];
        struct admission *admission = create(1, 0);
        enum admission_refusal refusal;

        config.limits.client_network.ipv4 = network->ipv4;
        config.limits.client_network.ipv6 = network->ipv6;
        assert_int_equal(enter(admission, 0, network->one, START_NS, &place), ADMISSION_GRANTED);
        refusal = enter(admission, 0, network->other, START_NS, &place);
        if ((refusal == ADMISSION_CLIENT_CONNECTIONS) != network->is_same)
            fail_msg("%s and %s with %u, %u", network->one, network->other, network->ipv4, network->ipv6);
        admission_destroy(admission);
    }
}

// So many a second as are allowed, whichever workers they come to, and however often the client tries.
static void test_rate_of_a_client(void **state)
{
    struct admission *admission = create(0, 10);
    unsigned granted = 0;
    uint32_t place;

    for (unsigned i = 0; i < 10000; i++) { // for ten seconds, one each millisecond
        enum admission_refusal refusal =
            enter(admission, i % WORKERS, "192.0.2.1", START_NS + i * CLOCK_NS_PER_MS, &place);

        if (refusal == ADMISSION_GRANTED) {
            granted++;
            admission_client_leave(admission, i % WORKERS, place);
        } else {
            assert_int_equal(refusal, ADMISSION_CLIENT_RATE);
        }
        if (i == 999)
            assert_int_equal(granted, 10);
    }
    assert_in_range(granted, 90, 110);
    // After two seconds of silence all of it may come at once, and no more.
    for (unsigned i = 0; i < 12; i++) {
        enum admission_refusal refusal = enter(admission, 0, "192.0.2.1", START_NS + 12 * CLOCK_NS_PER_S, &place);

        assert_int_equal(refusal, i < 10 ? ADMISSION_GRANTED : ADMISSION_CLIENT_RATE);
    }
    admission_destroy(admission);
}

static void test_listener(void **state)
{
    struct admission *admission = create(0, 0);

    listeners[1].connections = 2;
    admission_enter(admission, 0, 1, START_NS);
    assert_int_equal(admission_full(admission, 1, START_NS), ADMISSION_OPEN);
    admission_enter(admission, 2, 1, START_NS);
    assert_int_equal(admission_full(admission, 1, START_NS), ADMISSION_FULL_LISTENER);
    assert_int_equal(admission_full(admission, 0, START_NS), ADMISSION_OPEN);
    admission_leave(admission, 0, 1);
    assert_int_equal(admission_full(admission, 1, START_NS), ADMISSION_OPEN);
    admission_enter(admission, 0, 1, START_NS);
    admission_forget(admission, 2);
    assert_int_equal(admission_full(admission, 1, START_NS), ADMISSION_OPEN);
    admission_destroy(admission);
}

static void test_rate_of_all(void **state)
{
    struct admission *admission = create(0, 0);

    config.limits.handshakes_per_second = 6;
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(admission_full(admission, i % LISTENERS, START_NS), ADMISSION_OPEN);
        admission_enter(admission, i % WORKERS, i % LISTENERS, START_NS);
        admission_leave(admission, i % WORKERS, i % LISTENERS); // that they are gone changes nothing
    }
    assert_int_equal(admission_full(admission, 0, START_NS), ADMISSION_FULL_RATE);
    assert_int_equal(admission_full(admission, 1, START_NS + 900 * CLOCK_NS_PER_MS), ADMISSION_FULL_RATE);
    // Half of the second behind that one lies within the last second.
    assert_int_equal(admission_full(admission, 0, START_NS + 1500 * CLOCK_NS_PER_MS), ADMISSION_OPEN);
    for (unsigned i = 0; i < 3; i++)
        admission_enter(admission, 0, 0, START_NS + 1500 * CLOCK_NS_PER_MS);
    assert_int_equal(admission_full(admission, 0, START_NS + 1500 * CLOCK_NS_PER_MS), ADMISSION_FULL_RATE);
    admission_destroy(admission);
}

// Many more networks than there are places: whoever is connected stays counted, and nothing is lost when they go.
static void test_many_networks(void **state)
{
    enum { NETWORKS = 20000 };
    static uint32_t places[NETWORKS];
    struct admission *admission = create(1, 0);
    unsigned uncounted = 0;
    char text[32];
    uint32_t place;

    for (unsigned i = 0; i < NETWORKS; i++) {
        snprintf(text, sizeof(text), "10.0.%u.%u", i / 256, i % 256);
        assert_int_equal(enter(admission, 0, text, START_NS, &places[i]), ADMISSION_GRANTED);
        uncounted += places[i] == ADMISSION_UNCOUNTED;
        if (places[i] != ADMISSION_UNCOUNTED)
            assert_int_equal(enter(admission, 1, text, START_NS, &place), ADMISSION_CLIENT_CONNECTIONS);
        if (i == 999) // as many as limits.connections allows
            assert_int_equal(uncounted, 0);
    }
    assert_in_range(uncounted, NETWORKS - 4096, NETWORKS);
    for (unsigned i = 0; i < NETWORKS; i++)
        admission_client_leave(admission, 0, places[i]);
    for (unsigned i = 0; i < NETWORKS; i++) {
        snprintf(text, sizeof(text), "10.0.%u.%u", i / 256, i % 256);
        assert_int_equal(enter(admission, 0, text, START_NS, &place), ADMISSION_GRANTED);
        assert_int_not_equal(place, ADMISSION_UNCOUNTED);
        admission_client_leave(admission, 0, place);
    }
    admission_destroy(admission);
}

static void test_unix_sockets_have_no_network(void **state)
{
    struct admission *admission = create(1, 1);
    struct sockaddr_storage address = {.ss_family = AF_UNIX};
    uint32_t place;

    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(admission_client_enter(admission, 0, (struct sockaddr *)&address, START_NS, &place),
                         ADMISSION_GRANTED);
        assert_int_equal(place, ADMISSION_UNCOUNTED);
    }
    admission_destroy(admission);
}

// One that comes from another worker counts although its network has as many as it may, and makes no rate.
static void test_adopt(void **state)
{
    struct admission *admission = create(1, 1);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000201u)};
    uint32_t places[2];
    uint32_t place;

    assert_int_equal(enter(admission, 0, "192.0.2.1", START_NS, &place), ADMISSION_GRANTED);
    for (unsigned i = 0; i < 2; i++)
        places[i] = admission_client_adopt(admission, 1, (struct sockaddr *)&address);
    admission_client_leave(admission, 0, place);
    admission_client_leave(admission, 1, places[0]);
    assert_int_equal(enter(admission, 2, "192.0.2.1", START_NS + 9 * CLOCK_NS_PER_S, &place),
                     ADMISSION_CLIENT_CONNECTIONS);
    admission_client_leave(admission, 1, places[1]);
    assert_int_equal(enter(admission, 2, "192.0.2.1", START_NS + 9 * CLOCK_NS_PER_S, &place), ADMISSION_GRANTED);
    listeners[0].connections = 1;
    admission_adopt(admission, 1, 0);
    admission_adopt(admission, 1, 0);
    admission_leave(admission, 1, 0);
    assert_int_equal(admission_full(admission, 0, START_NS), ADMISSION_FULL_LISTENER);
    admission_leave(admission, 1, 0);
    assert_int_equal(admission_full(admission, 0, START_NS), ADMISSION_OPEN);
    address.sin_family = AF_UNIX;
    assert_int_equal(admission_client_adopt(admission, 1, (struct sockaddr *)&address), ADMISSION_UNCOUNTED);
    admission_destroy(admission);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adopt),
        cmocka_unit_test(test_connections_of_a_client),
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_rate_of_a_client),
        cmocka_unit_test(test_listener),
        cmocka_unit_test(test_rate_of_all),
        cmocka_unit_test(test_many_networks),
        cmocka_unit_test(test_unix_sockets_have_no_network),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
