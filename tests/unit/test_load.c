// SPDX-License-Identifier: Apache-2.0
// The parts of ringbolt-bench that compute: histograms against exact quantiles, the moments of a fixed rate, the pattern.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "bench/load/histogram.h"
#include "bench/load/pace.h"
#include "bench/load/pattern.h"
#include "bench/load/tally.h"

#define SECOND 1000000000ull

// ---- histogram ----

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

// The quantile by the same rule, from the sorted values.
static uint64_t exact_quantile(const uint64_t *sorted, size_t count, unsigned parts)
{
    size_t rank = (count * parts + 9999) / 10000;

    return sorted[rank > 0 ? rank - 1 : 0];
}

// Every quantile lies at or above the exact one, by less than one part in 256.
static void check_quantiles(uint64_t *values, size_t count)
{
    struct histogram *histogram = calloc(1, sizeof(*histogram));
    double sum = 0;

    assert_non_null(histogram);
    for (size_t i = 0; i < count; i++) {
        histogram_add(histogram, values[i]);
        sum += (double)values[i];
    }
    qsort(values, count, sizeof(*values), compare);
    for (unsigned parts = 0; parts <= 10000; parts++) {
        uint64_t exact = exact_quantile(values, count, parts);
        uint64_t found = histogram_quantile(histogram, parts);

        assert_in_range(found, exact, exact + exact / 256);
    }
    assert_int_equal(histogram->count, count);
    assert_int_equal(histogram->min, values[0]);
    assert_int_equal(histogram->max, values[count - 1]);
    assert_int_equal(histogram_quantile(histogram, 10000), values[count - 1]);
    assert_true(histogram_mean(histogram) > sum / (double)count * 0.999999 &&
                histogram_mean(histogram) < sum / (double)count * 1.000001 + 1);
    free(histogram);
}

static void test_histogram_quantiles(void **state)
{
    enum { COUNT = 20000 };
    static uint64_t values[COUNT];
    uint64_t random = 1;

    for (unsigned bits = 1; bits <= 42; bits++) {
        for (size_t i = 0; i < COUNT; i++)
            values[i] = next_random(&random) >> (64 - bits);
        check_quantiles(values, COUNT);
    }
    // All orders of magnitude at once, as latencies with a long tail are.
    for (size_t i = 0; i < COUNT; i++)
        values[i] = next_random(&random) >> (22 + next_random(&random) % 42);
    check_quantiles(values, COUNT);
}

static void test_histogram_few(void **state)
{
    uint64_t one[] = {123456789};
    uint64_t two[] = {1, 4398046511103};
    uint64_t edges[] = {0, 1, 255, 256, 257, 511, 512, 513, 1023, 1024, 65535, 65536};
    struct histogram *histogram = calloc(1, sizeof(*histogram));

    assert_non_null(histogram);
    assert_int_equal(histogram_quantile(histogram, 5000), 0);
    assert_true(histogram_mean(histogram) == 0);
    free(histogram);
    check_quantiles(one, 1);
    check_quantiles(two, 2);
    check_quantiles(edges, sizeof(edges) / sizeof(edges[0]));
}

// Too large for any bucket: the maximum is still exact.
static void test_histogram_overflow(void **state)
{
    struct histogram *histogram = calloc(1, sizeof(*histogram));

    assert_non_null(histogram);
    histogram_add(histogram, 5);
    histogram_add(histogram, UINT64_MAX);
    assert_int_equal(histogram->max, UINT64_MAX);
    assert_int_equal(histogram_quantile(histogram, 5000), 5);
    assert_int_equal(histogram_quantile(histogram, 9999), UINT64_MAX);
    free(histogram);
}

static void test_histogram_merge(void **state)
{
    struct histogram *parts = calloc(3, sizeof(*parts));
    struct histogram *whole = calloc(1, sizeof(*whole));
    uint64_t random = 7;

    assert_non_null(parts);
    assert_non_null(whole);
    for (int i = 0; i < 10000; i++) {
        uint64_t value = next_random(&random) >> 30;

        histogram_add(&parts[i % 2], value);
        histogram_add(whole, value);
    }
    histogram_merge(&parts[2], &parts[0]);
    histogram_merge(&parts[2], &parts[1]);
    assert_int_equal(parts[2].count, whole->count);
    assert_int_equal(parts[2].min, whole->min);
    assert_int_equal(parts[2].max, whole->max);
    assert_memory_equal(parts[2].buckets, whole->buckets, sizeof(whole->buckets));
    free(parts);
    free(whole);
}

static void test_histogram_row(void **state)
{
    struct histogram *histogram = calloc(1, sizeof(*histogram));

    assert_non_null(histogram);
    histogram_add_row(histogram, 100, 200, 101);
    assert_int_equal(histogram->count, 101);
    assert_int_equal(histogram->min, 100);
    assert_int_equal(histogram->max, 200);
    assert_int_equal(histogram_quantile(histogram, 5000), 150);
    histogram_add_row(histogram, 7, 9, 0);
    assert_int_equal(histogram->count, 101);
    histogram_add_row(histogram, 7, 9, 1);
    assert_int_equal(histogram->min, 7);
    free(histogram);
}

// ---- pace ----

static void test_pace_rate(void **state)
{
    struct pace pace;
    uint64_t due, first;
    uint64_t start = 5 * SECOND;

    pace_start(&pace, start, start + SECOND, 1000, UINT64_MAX);
    assert_false(pace_take(&pace, start - 1, &due));
    assert_int_equal(pace_next_ns(&pace), start);
    assert_true(pace_take(&pace, start, &due));
    assert_int_equal(due, start);
    assert_false(pace_take(&pace, start + 999999, &due));
    // Late by ten units: each keeps its own moment.
    for (int i = 1; i <= 10; i++) {
        assert_true(pace_take(&pace, start + 10 * SECOND / 1000, &due));
        assert_int_equal(due, start + (uint64_t)i * SECOND / 1000);
    }
    assert_false(pace_take(&pace, start + 10 * SECOND / 1000, &due));
    assert_int_equal(pace_owed(&pace, start + 20 * SECOND / 1000, &first), 9);
    assert_int_equal(first, start + 11 * SECOND / 1000);
    assert_int_equal(pace_owed(&pace, start + 10 * SECOND / 1000, &first), 0);
    // None is due at the end or behind it, however late one looks.
    for (int i = 11; i < 1000; i++)
        assert_true(pace_take(&pace, start + 100 * SECOND, &due));
    assert_int_equal(due, start + 999 * SECOND / 1000);
    assert_false(pace_take(&pace, start + 100 * SECOND, &due));
    assert_int_equal(pace_next_ns(&pace), UINT64_MAX);
    assert_int_equal(pace_owed(&pace, start + 100 * SECOND, &first), 0);
}

// A third of a nanosecond over a million units would add up to a third of a millisecond.
static void test_pace_does_not_drift(void **state)
{
    struct pace pace;
    uint64_t due = 0;

    pace_start(&pace, SECOND, UINT64_MAX, 3000000, UINT64_MAX);
    for (int i = 0; i <= 3000000; i++)
        assert_true(pace_take(&pace, UINT64_MAX - 1, &due));
    assert_in_range(due, 2 * SECOND - 1, 2 * SECOND + 1);
}

static void test_pace_without_rate(void **state)
{
    struct pace pace;
    uint64_t due, first;

    pace_start(&pace, SECOND, 2 * SECOND, 0, UINT64_MAX);
    assert_false(pace_take(&pace, SECOND - 1, &due));
    assert_true(pace_take(&pace, SECOND + 77, &due));
    assert_int_equal(due, SECOND + 77);
    assert_int_equal(pace_owed(&pace, 2 * SECOND, &first), 0);
    assert_false(pace_take(&pace, 2 * SECOND, &due));
}

static void test_pace_count(void **state)
{
    struct pace pace;
    uint64_t due, first;

    pace_start(&pace, SECOND, UINT64_MAX, 0, 2);
    assert_true(pace_take(&pace, SECOND, &due));
    pace_untake(&pace);
    assert_true(pace_take(&pace, SECOND, &due));
    assert_true(pace_take(&pace, SECOND, &due));
    assert_false(pace_take(&pace, SECOND, &due));
    assert_int_equal(pace_next_ns(&pace), UINT64_MAX);
    pace_start(&pace, SECOND, UINT64_MAX, 10, 3);
    assert_int_equal(pace_owed(&pace, 100 * SECOND, &first), 3);
}

// ---- pattern ----

static void test_pattern(void **state)
{
    struct pattern pattern;
    static uint8_t first[3 * PATTERN_BUILT_IN_SIZE], second[100000];

    assert_int_equal(pattern_init(&pattern, NULL), 0);
    pattern_copy(&pattern, 0, first, sizeof(first));
    for (uint64_t at = 0; at < 60000; at += 7919) {
        pattern_copy(&pattern, at, second, sizeof(second));
        assert_memory_equal(second, first + at, sizeof(second));
        assert_true(pattern_equals(&pattern, at, second, sizeof(second)));
        // What lies elsewhere doesn't fit, not even a power of two away.
        for (unsigned bits = 4; bits < 16; bits++)
            assert_false(pattern_equals(&pattern, at + (1u << bits), second, sizeof(second)));
        second[sizeof(second) - 1] ^= 1;
        assert_false(pattern_equals(&pattern, at, second, sizeof(second)));
    }
    assert_true(pattern_equals(&pattern, 12345, NULL, 0));
    pattern_finish(&pattern);
}

static void test_pattern_missing_file(void **state)
{
    struct pattern pattern;

    assert_true(pattern_init(&pattern, "/nonexistent/pattern") < 0);
}

// ---- tally ----

static void test_tally_merge(void **state)
{
    struct tally *tallies = calloc(2, sizeof(*tallies));
    struct negotiated one = {.version = "TLSv1.3", .suite = "A", .group = "X25519", .key = "RSA-2048"};
    struct negotiated other = one;

    assert_non_null(tallies);
    other.is_resumed = true;
    tally_handshake(&tallies[0], &one);
    tally_handshake(&tallies[0], &other);
    tally_handshake(&tallies[1], &other);
    tally_fail(&tallies[1], FAILURE_RESET, "first");
    tally_fail(&tallies[1], FAILURE_RESET, "second");
    tally_fail(&tallies[1], FAILURE_TIMEOUT, NULL);
    tallies[1].units_all = 3;
    tally_merge(&tallies[0], &tallies[1]);
    assert_int_equal(tallies[0].handshakes, 3);
    assert_int_equal(tallies[0].kind_count, 2);
    assert_int_equal(tallies[0].kinds[0].count, 1);
    assert_int_equal(tallies[0].kinds[1].count, 2);
    assert_int_equal(tally_failures(&tallies[0]), 3);
    assert_int_equal(tallies[0].failures[FAILURE_RESET], 2);
    assert_string_equal(tallies[0].details[FAILURE_RESET], "first");
    assert_int_equal(tallies[0].units_all, 3);
    free(tallies);
}

// JSON's keys and the table's words: each failure has its own.
static void test_failure_names(void **state)
{
    for (int i = 0; i < FAILURE_COUNT; i++) {
        assert_non_null(failure_name((enum failure)i));
        assert_non_null(failure_words((enum failure)i));
        for (int j = 0; j < i; j++)
            assert_string_not_equal(failure_name((enum failure)i), failure_name((enum failure)j));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histogram_quantiles),  cmocka_unit_test(test_histogram_few),
        cmocka_unit_test(test_histogram_overflow),   cmocka_unit_test(test_histogram_merge),
        cmocka_unit_test(test_histogram_row),        cmocka_unit_test(test_pace_rate),
        cmocka_unit_test(test_pace_does_not_drift),  cmocka_unit_test(test_pace_without_rate),
        cmocka_unit_test(test_pace_count),           cmocka_unit_test(test_pattern),
        cmocka_unit_test(test_pattern_missing_file), cmocka_unit_test(test_tally_merge),
        cmocka_unit_test(test_failure_names),
    };

    return cmocka_run_group_tests_name("load", tests, NULL, NULL);
}
