// SPDX-License-Identifier: Apache-2.0
// From the status document to Prometheus' text: escapes, buckets, documents in which something is missing.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "src/control/http.h"

static char *metrics_of(json_t *status)
{
    size_t length = 0;
    char *text = http_metrics(status, &length);

    assert_non_null(text);
    assert_int_equal(strlen(text), length);
    json_decref(status);
    return text;
}

static void expect(const char *text, const char *line)
{
    char whole[512];

    snprintf(whole, sizeof(whole), "\n%s\n", line);
    if (!strstr(text, whole))
        fail_msg("`%s` is not in\n%s", line, text);
}

static void test_escapes(void **state)
{
    char *text =
        metrics_of(json_pack("{s:[{s:s, s:i}]}", "listeners", "name", "a\"b\\c\nd\t\xc3\xa4", "accepted", 3));

    expect(text, "ringbolt_connections_total{listener=\"a\\\"b\\\\c\\nd\t\xc3\xa4\"} 3");
    free(text);
}

static void test_buckets(void **state)
{
    char *text = metrics_of(json_pack("{s:[{s:s, s:{s:[f, f], s:[i, i, i], s:i, s:f}}]}", "listeners", "name",
                                      "web", "duration_seconds", "bounds_s", 0.5, 10.0, "counts", 2, 0, 5,
                                      "count", 7, "sum_s", 0.03));

    expect(text, "# TYPE ringbolt_connection_duration_seconds histogram");
    expect(text, "ringbolt_connection_duration_seconds_bucket{listener=\"web\",le=\"0.5\"} 2");
    expect(text, "ringbolt_connection_duration_seconds_bucket{listener=\"web\",le=\"10\"} 2");
    expect(text, "ringbolt_connection_duration_seconds_bucket{listener=\"web\",le=\"+Inf\"} 7");
    expect(text, "ringbolt_connection_duration_seconds_sum{listener=\"web\"} 0.03");
    expect(text, "ringbolt_connection_duration_seconds_count{listener=\"web\"} 7");
    free(text);
}

static void test_states(void **state)
{
    char *text = metrics_of(json_pack(
        "{s:[{s:i, s:s, s:n}, {s:i, s:s, s:f}], s:[{s:s, s:[{s:s, s:s, s:s}]}]}", "workers", "worker", 0,
        "state", "dead", "cpu_s", "worker", 1, "state", "ready", "cpu_s", 1.5, "upstreams", "name", "app",
        "servers", "address", "[::1]:80", "state", "drain", "health", "up"));

    expect(text, "ringbolt_worker_ready{worker=\"0\"} 0");
    expect(text, "ringbolt_worker_ready{worker=\"1\"} 1");
    expect(text, "ringbolt_worker_cpu_seconds_total{worker=\"1\"} 1.5");
    assert_null(strstr(text, "ringbolt_worker_cpu_seconds_total{worker=\"0\"}")); // nobody knows
    expect(text, "ringbolt_server_ready{upstream=\"app\",server=\"[::1]:80\"} 0");
    expect(text, "ringbolt_server_up{upstream=\"app\",server=\"[::1]:80\"} 1");
    free(text);
}

static void test_nothing(void **state)
{
    char *text = metrics_of(json_object());

    expect(text, "ringbolt_ready 0");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_nothing),
    };

    return cmocka_run_group_tests_name("http_metrics", tests, NULL, NULL);
}
