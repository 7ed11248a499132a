// SPDX-License-Identifier: Apache-2.0
// The arithmetic of choosing a server: shares, order, and who moves when a server goes.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "src/proxy/balance.h"

#define SERVERS_MAX 16

struct group {
    struct balance_candidate candidates[SERVERS_MAX];
    int64_t turns[SERVERS_MAX];
    unsigned got[SERVERS_MAX];
    size_t count;
};

static void make(struct group *group, const unsigned *weights, size_t count)
{
    memset(group, 0, sizeof(*group));
    group->count = count;
    for (size_t i = 0; i < count; i++) {
        char name[32];
        int length = snprintf(name, sizeof(name), "192.0.2.%zu:80", i + 1);

        group->candidates[i] = (struct balance_candidate){.server = i,
                                                          .weight = weights[i],
                                                          .identity = balance_hash(name, (size_t)length),
                                                          .turn = &group->turns[i]};
    }
}

// ---- in turn ----

static void test_round_robin_is_smooth(void **state)
{
    static const size_t order[] = {0, 0, 1, 0, 2, 0, 0}; // as nginx has it for 5, 1, 1
    struct group group;

    make(&group, (const unsigned[]){5, 1, 1}, 3);
    for (unsigned i = 0; i < 70; i++)
        assert_int_equal(balance_round_robin(group.candidates, 3), order[i % 7]);
}

static void test_round_robin_is_exact(void **state)
{
    static const unsigned weights[] = {1, 2, 3, 50, 256, 7};
    unsigned total = 1 + 2 + 3 + 50 + 256 + 7;
    struct group group;

    make(&group, weights, 6);
    for (unsigned i = 0; i < 10 * total; i++)
        group.got[balance_round_robin(group.candidates, 6)]++;
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(group.got[i], 10 * weights[i]);
}

// A server that comes and goes gets its share of the turns it was there for, and no burst to make up for the others.
static void test_round_robin_with_absence(void **state)
{
    struct group group;
    unsigned in_a_row = 0;

    make(&group, (const unsigned[]){1, 1, 1, 1}, 4);
    for (unsigned i = 0; i < 300; i++)
        group.got[balance_round_robin(group.candidates, 3)]++;
    for (unsigned i = 0; i < 400; i++) {
        size_t chosen = balance_round_robin(group.candidates, 4);

        in_a_row = chosen == 3 ? in_a_row + 1 : 0;
        assert_true(in_a_row < 3);
        group.got[chosen]++;
    }
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(group.got[i], 200);
    assert_int_equal(group.got[3], 100);
}

// ---- the fewest connections ----

static void test_least_connections_fills_by_weight(void **state)
{
    static const unsigned weights[] = {1, 2, 4, 1};
    struct group group;

    make(&group, weights, 4);
    for (unsigned i = 0; i < 800; i++)
        group.candidates[balance_least_connections(group.candidates, 4)].live++;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(group.candidates[i].live, 100 * weights[i]);
    // One is relieved: the next ones are its.
    group.candidates[2].live -= 10;
    for (unsigned i = 0; i < 10; i++) {
        size_t chosen = balance_least_connections(group.candidates, 4);

        assert_int_equal(chosen, 2);
        group.candidates[chosen].live++;
    }
}

// Idle servers take turns, so that short connections are not all the first one's.
static void test_least_connections_when_idle(void **state)
{
    struct group group;

    make(&group, (const unsigned[]){1, 1, 1}, 3);
    for (unsigned i = 0; i < 300; i++)
        group.got[balance_least_connections(group.candidates, 3)]++;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(group.got[i], 100);
}

// ---- by the client's address ----

#define CLIENTS 40000

static uint64_t client(unsigned number)
{
    char text[32];
    int length = snprintf(text, sizeof(text), "10.%u.%u.%u", number >> 16, number >> 8 & 255, number & 255);

    return balance_hash(text, (size_t)length);
}

// Within five standard deviations of what chance would do.
static void check_share(unsigned got, unsigned of, double share)
{
    double expected = of * share;
    double deviation = sqrt(of * share * (1 - share));

    if (fabs(got - expected) > 5 * deviation)
        fail_msg("%u of %u are not a share of %g", got, of, share);
}

static void test_source_hash_shares(void **state)
{
    static const unsigned weights[] = {1, 1, 2, 4, 8};
    struct group group;

    make(&group, weights, 5);
    for (unsigned i = 0; i < CLIENTS; i++)
        group.got[balance_source_hash(group.candidates, 5, client(i))]++;
    for (size_t i = 0; i < 5; i++)
        check_share(group.got[i], CLIENTS, weights[i] / 16.0);
}

// What one loses moves, and only that; to the others by their weights.
static void test_source_hash_is_consistent(void **state)
{
    static const unsigned weights[] = {1, 3, 2, 2};
    static size_t before[CLIENTS];
    struct group group;
    struct group smaller;
    unsigned moved = 0;

    make(&group, weights, 4);
    for (unsigned i = 0; i < CLIENTS; i++)
        before[i] = balance_source_hash(group.candidates, 4, client(i));
    // The second goes, and the rest stand in another order.
    make(&smaller, weights, 4);
    smaller.candidates[1] = smaller.candidates[3];
    for (unsigned i = 0; i < CLIENTS; i++) {
        size_t now = smaller.candidates[balance_source_hash(smaller.candidates, 3, client(i))].server;

        if (before[i] != 1) {
            assert_int_equal(now, before[i]);
            continue;
        }
        moved++;
        smaller.got[now]++;
    }
    check_share(moved, CLIENTS, 3.0 / 8);
    check_share(smaller.got[0], moved, 1.0 / 5);
    check_share(smaller.got[2], moved, 2.0 / 5);
    check_share(smaller.got[3], moved, 2.0 / 5);
    // It comes back with less weight: it gets some of its own again, and nobody else's move.
    group.candidates[1].weight = 1;
    for (unsigned i = 0; i < CLIENTS; i++) {
        size_t now = group.candidates[balance_source_hash(group.candidates, 4, client(i))].server;

        assert_true(now == before[i] || before[i] == 1);
        group.got[now]++;
    }
    check_share(group.got[1], CLIENTS, 1.0 / 6);
}

// A thousand servers: no two clients that differ in a bit go the same way more often than chance has it.
static void test_hash_spreads(void **state)
{
    unsigned ones[64] = {0};
    unsigned flipped = 0;

    for (unsigned i = 0; i < CLIENTS; i++) {
        uint64_t hash = client(i);

        flipped += (unsigned)__builtin_popcountll(hash ^ client(i ^ 1));
        for (unsigned bit = 0; bit < 64; bit++)
            ones[bit] += hash >> bit & 1;
    }
    for (unsigned bit = 0; bit < 64; bit++)
        check_share(ones[bit], CLIENTS, 0.5);
    check_share(flipped / 2, CLIENTS * 32, 0.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_robin_is_smooth),
        cmocka_unit_test(test_round_robin_is_exact),
        cmocka_unit_test(test_round_robin_with_absence),
        cmocka_unit_test(test_least_connections_fills_by_weight),
        cmocka_unit_test(test_least_connections_when_idle),
        cmocka_unit_test(test_source_hash_shares),
        cmocka_unit_test(test_source_hash_is_consistent),
        cmocka_unit_test(test_hash_spreads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
