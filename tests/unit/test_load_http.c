// SPDX-License-Identifier: Apache-2.0
// How ringbolt-bench reads HTTP responses: each is fed whole, byte by byte and in pieces of every size.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/http.h"

#define BODY_MAX 4096

struct outcome {
    enum http_event event; // DONE, BAD, or WANTS_MORE: the response isn't over
    int status;
    bool is_close;
    char body[BODY_MAX];
    size_t body_size;
    size_t left; // bytes behind the response
};

// Each piece lies in memory of its own, so that a sanitizer sees what reads beyond it.
static struct outcome feed(const char *text, size_t length, size_t piece, bool is_ended)
{
    struct http http = {0};
    struct outcome outcome = {.event = HTTP_WANTS_MORE};
    size_t at = 0;

    http_start(&http);
    while (at < length && outcome.event == HTTP_WANTS_MORE) {
        size_t size = length - at < piece ? length - at : piece;
        uint8_t *data = malloc(size);
        size_t done = 0;

        assert_non_null(data);
        memcpy(data, text + at, size);
        do {
            const uint8_t *body = NULL;
            size_t body_size = 0, used = 0;

            outcome.event = http_feed(&http, data + done, size - done, &used, &body, &body_size);
            assert_true(used <= size - done);
            if (outcome.event == HTTP_DATA) {
                assert_true(body >= data && body + body_size <= data + size);
                assert_true(outcome.body_size + body_size <= BODY_MAX);
                memcpy(outcome.body + outcome.body_size, body, body_size);
                outcome.body_size += body_size;
            }
            done += used;
        } while (outcome.event == HTTP_DATA);
        at += done;
        free(data);
    }
    if (outcome.event == HTTP_WANTS_MORE && is_ended && http_end(&http))
        outcome.event = HTTP_DONE;
    outcome.status = http.status;
    outcome.is_close = http.is_close;
    outcome.left = length - at;
    if (outcome.event == HTTP_DONE)
        assert_int_equal(http.received, outcome.body_size);
    http_finish(&http);
    return outcome;
}

struct response {
    const char *text;
    enum http_event event;
    int status;
    const char *body;
    bool is_close;
    bool is_ended; // the stream ends behind it
};

static const struct response responses[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", HTTP_DONE, 200, "hello"},
    {"HTTP/1.1 200 OK\r\ncontent-length:5\r\nX: y\r\n\r\nhello", HTTP_DONE, 200, "hello"},
    {"HTTP/1.1 200 OK\r\nContent-Length: \t 5 \r\nContent-Length: 5\r\n\r\nhello", HTTP_DONE, 200, "hello"},
    {"HTTP/1.1 200\r\nContent-Length: 0\r\nConnection: CLOSE\r\n\r\n", HTTP_DONE, 200, "", true},
    {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", HTTP_DONE, 200, "x", true},
    {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", HTTP_DONE, 200, "x"},
    {"HTTP/1.1 204 No Content\r\n\r\n", HTTP_DONE, 204, ""},
    {"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", HTTP_DONE, 304, ""},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok", HTTP_DONE, 201,
     "ok"},
    {"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", HTTP_DONE, 404, "no"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", HTTP_WANTS_MORE, 200, "hello", false, true},
    {"HTTP/1.1 200 OK\r\n\r\nto the end", HTTP_DONE, 200, "to the end", true, true},
    {"HTTP/1.1 200 OK\r\n\r\nto the end", HTTP_WANTS_MORE, 200, "to the end", true, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
     HTTP_DONE, 200, "hello0123456789"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nTrailer: a\r\nOther: b\r\n\r\n",
     HTTP_DONE, 200, "x"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\nx\r\n0\r\n\r\n",
     HTTP_DONE, 200, "x"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", HTTP_WANTS_MORE, 200, "hello",
     false, true},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n", HTTP_BAD, 200, "hello"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", HTTP_BAD, 200, ""},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11112222333344445\r\n", HTTP_BAD, 200, ""},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", HTTP_BAD, 200, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\n", HTTP_BAD, 200, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", HTTP_BAD, 200, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", HTTP_BAD, 200, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", HTTP_BAD, 200, ""},
    {"HTTP/1.1 101 Switching Protocols\r\n\r\n", HTTP_BAD, 101, ""},
    {"HTTP/2 200\r\n\r\n", HTTP_BAD, 0, ""},
    {"HTTP/1.1 2x0 OK\r\n\r\n", HTTP_BAD, 0, ""},
    {"SSH-2.0-x\r\n\r\n", HTTP_BAD, 0, ""},
    {"\r\n\r\n", HTTP_BAD, 0, ""},
    {"HTTP/1.1 200 OK\r\nContent-Le", HTTP_WANTS_MORE, 0, "", false, true},
};

static void test_responses(void **state)
{
    for (size_t i = 0; i < sizeof(responses) / sizeof(responses[0]); i++) {
        const struct response *response = &responses[i];
        size_t length = strlen(response->text);

        for (size_t piece = 1; piece <= length; piece++) {
            struct outcome outcome = feed(response->text, length, piece, response->is_ended);

            if (outcome.event != response->event || outcome.status != response->status)
                print_message("# %s, pieces of %zu\n", response->text, piece);
            assert_int_equal(outcome.event, response->event);
            assert_int_equal(outcome.status, response->status);
            assert_int_equal(outcome.body_size, strlen(response->body));
            assert_memory_equal(outcome.body, response->body, outcome.body_size);
            if (outcome.event == HTTP_DONE) {
                assert_int_equal(outcome.is_close, response->is_close);
                assert_int_equal(outcome.left, 0);
            }
        }
    }
}

// What stands behind a response is left alone.
static void test_behind(void **state)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1";

    for (size_t piece = 1; piece < sizeof(text); piece++) {
        struct outcome outcome = feed(text, sizeof(text) - 1, piece, false);

        assert_int_equal(outcome.event, HTTP_DONE);
        assert_int_equal(outcome.left, strlen("HTTP/1.1"));
    }
}

static void test_head_too_large(void **state)
{
    char *text = malloc(2 * HTTP_HEAD_MAX);
    size_t length = (size_t)snprintf(text, 64, "HTTP/1.1 200 OK\r\nX: ");
    struct outcome outcome;

    assert_non_null(text);
    memset(text + length, 'x', 2 * HTTP_HEAD_MAX - length);
    outcome = feed(text, 2 * HTTP_HEAD_MAX, 1000, false);
    assert_int_equal(outcome.event, HTTP_BAD);
    outcome = feed(text, 2 * HTTP_HEAD_MAX, 2 * HTTP_HEAD_MAX, false);
    assert_int_equal(outcome.event, HTTP_BAD);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_behind),
        cmocka_unit_test(test_head_too_large),
    };

    return cmocka_run_group_tests_name("load_http", tests, NULL, NULL);
}
