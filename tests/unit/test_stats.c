// SPDX-License-Identifier: Apache-2.0
// Counters: each worker's part is its own, sums, a worker that dies, histograms, words.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "ringbolt/clock.h"
#include "ringbolt/stats.h"

static struct config_listener listeners[2];
static struct config_server servers[2];
static struct config_upstream upstreams[] = {{.servers = servers, .server_count = 2},
                                             {.servers = servers, .server_count = 1}};
static const struct config config = {
    .workers = 3, .listeners = listeners, .listener_count = 2, .upstreams = upstreams, .upstream_count = 2};

static struct stats *make(void)
{
    struct stats *stats;

    assert_int_equal(stats_create(&config, &stats), 0);
    return stats;
}

// Fills every word that there is with a number of its own: parts that overlap show.
static void test_parts(void **state)
{
    struct stats *stats = make();
    uint64_t number = 1;

    for (int pass = 0; pass < 2; pass++) {
        for (unsigned worker = 0; worker < 3; worker++) {
            struct {
                void *part;
                size_t size;
            } parts[] = {
                {stats_worker(stats, worker), sizeof(struct stats_worker)},
                {stats_listener(stats, worker, 0), sizeof(struct stats_listener)},
                {stats_listener(stats, worker, 1), sizeof(struct stats_listener)},
                {stats_upstream(stats, worker, 0), sizeof(struct stats_upstream)},
                {stats_upstream(stats, worker, 1), sizeof(struct stats_upstream)},
                {stats_server(stats, worker, 0), sizeof(struct stats_server)},
                {stats_server(stats, worker, 1), sizeof(struct stats_server)},
                {stats_server(stats, worker, 2), sizeof(struct stats_server)},
            };

            assert_int_equal((uintptr_t)parts[0].part % 64, 0); // no line of the cache is two workers'
            for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
                stats_word *words = parts[i].part;

                for (size_t j = 0; j < parts[i].size / sizeof(*words); j++, number++) {
                    if (pass == 0)
                        stats_set(&words[j], number);
                    else
                        assert_int_equal(stats_get(&words[j]), number);
                }
            }
        }
        number = 1;
    }
    stats_destroy(stats);
}

static void test_sums(void **state)
{
    struct stats *stats = make();
    struct stats_listener listener;
    struct stats_upstream upstream;
    struct stats_server server;
    struct stats_worker worker;

    for (unsigned i = 0; i < 3; i++) {
        stats_add(&stats_listener(stats, i, 1)->bytes_out, 100 + i);
        stats_add(&stats_upstream(stats, i, 1)->ends[2], 10 + i);
        stats_add(&stats_server(stats, i, 2)->bytes_in, 1 + i);
        stats_add(&stats_worker(stats, i)->starved, 1);
        stats_set(&stats_worker(stats, i)->connections, 7);
    }
    stats_sum_listener(stats, 1, &listener);
    stats_sum_upstream(stats, 1, &upstream);
    stats_sum_server(stats, 2, &server);
    stats_sum_workers(stats, &worker);
    assert_int_equal(listener.bytes_out, 303);
    assert_int_equal(upstream.ends[2], 33);
    assert_int_equal(server.bytes_in, 6);
    assert_int_equal(worker.starved, 3);
    assert_int_equal(stats_connections(stats), 21);
    stats_sum_listener(stats, 0, &listener);
    assert_int_equal(listener.bytes_out, 0);
    stats_destroy(stats);
}

// What a process counts that is gone stays; what it had is lost, and counted as that.
static void test_death(void **state)
{
    struct stats *stats = make();
    struct stats_listener sum;
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        struct stats_listener *own = stats_listener(stats, 1, 0);

        stats_add(&own->accepted, 5);
        stats_add(&own->connections, 5);
        stats_add(&own->ends[1], 2);
        stats_add(&own->connections, (uint64_t)-2);
        stats_set(&stats_worker(stats, 1)->connections, 3);
        stats_set(&stats_worker(stats, 1)->buffers, 4096);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    stats_set(&stats_worker(stats, 2)->connections, 4); // another's
    stats_sum_listener(stats, 0, &sum);
    assert_int_equal(sum.connections, 3);
    assert_int_equal(stats_forget(stats, 1, NULL), 3);
    stats_sum_listener(stats, 0, &sum);
    assert_int_equal(sum.accepted, 5);
    assert_int_equal(sum.connections, 0);
    assert_int_equal(sum.ends[1], 2);
    assert_int_equal(sum.ends[STATS_END_LOST], 3);
    assert_int_equal(stats_worker(stats, 1)->buffers, 0);
    assert_int_equal(stats_connections(stats), 4);
    assert_int_equal(stats_forget(stats, 1, NULL), 0); // once
    stats_sum_listener(stats, 0, &sum);
    assert_int_equal(sum.ends[STATS_END_LOST], 3);
    stats_destroy(stats);
}

static void test_histogram(void **state)
{
    for (enum stats_scale scale = STATS_SHORT; scale <= STATS_LONG; scale++) {
        const uint64_t *bounds = stats_bounds(scale);
        struct stats_histogram histogram = {0};
        uint64_t sum = 0;

        for (size_t i = 0; i < STATS_BOUNDS; i++) {
            assert_true(i == 0 || bounds[i] > bounds[i - 1]);
            stats_observe(&histogram, scale, bounds[i]);     // belongs to it
            stats_observe(&histogram, scale, bounds[i] + 1); // and this one no more
            sum += 2 * bounds[i] + 1;
        }
        assert_int_equal(histogram.counts[0], 1);
        for (size_t i = 1; i < STATS_BOUNDS; i++)
            assert_int_equal(histogram.counts[i], 2);
        assert_int_equal(histogram.counts[STATS_BOUNDS], 1);
        stats_observe(&histogram, scale, 0);
        assert_int_equal(histogram.counts[0], 2);
        assert_int_equal(histogram.sum_ns, sum);
    }
}

static void test_words(void **state)
{
    const char *reason;

    assert_null(stats_end_name(0));
    assert_string_equal(stats_end_name(1), "done");
    assert_string_equal(stats_end_name(STATS_END_LOST), "worker_died");
    assert_null(stats_end_name(STATS_END_LOST - 1));
    for (unsigned i = 0; i < STATS_SUITES; i++)
        assert_int_equal(stats_suite_find(stats_suite(i)->name), i);
    assert_int_equal(stats_suite_find(NULL), STATS_SUITES - 1);
    assert_int_equal(stats_suite_find("TLS_AES_128_CCM_SHA256"), STATS_SUITES - 1);
    for (unsigned i = 0; i < STATS_LIMITS; i++)
        assert_non_null(stats_limit_name((enum stats_limit)i));
    assert_string_equal(stats_layer_name(0, &reason), "kernel");
    assert_string_equal(reason, "");
    assert_string_equal(stats_layer_name(1, &reason), "user");
    assert_string_equal(reason, "off");
    assert_null(stats_layer_name(STATS_LAYERS, &reason));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),     cmocka_unit_test(test_sums),  cmocka_unit_test(test_death),
        cmocka_unit_test(test_histogram), cmocka_unit_test(test_words),
    };

    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
