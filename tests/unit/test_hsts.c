// SPDX-License-Identifier: Apache-2.0
// Strict-Transport-Security in streams of responses, whole and cut at every place: it comes once, at the right place, and nothing else changes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/proxy/hsts_head.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define HEADER       "Strict-Transport-Security: max-age=31536000\r\n"

struct stream {
    struct hsts_head head;
    bool is_over;
    char text[8192];
    size_t length;
};

static void pass(struct stream *stream, const char *bytes, size_t length)
{
    struct hsts_parts parts = {.parts = {{.iov_base = (void *)(uintptr_t)bytes, .iov_len = length}},
                               .count = 1};
    char *copy = malloc(length + 1); // so that a sanitizer sees who reads on

    assert_non_null(copy);
    memcpy(copy, bytes, length);
    if (!stream->is_over)
        hsts_head_pass(&stream->head, HEADER, copy, length, &parts);
    stream->is_over |= parts.is_over;
    for (unsigned i = 0; i < parts.count; i++) {
        assert_true(stream->length + parts.parts[i].iov_len <= sizeof(stream->text));
        memcpy(stream->text + stream->length, parts.parts[i].iov_base, parts.parts[i].iov_len);
        stream->length += parts.parts[i].iov_len;
    }
    free(copy);
}

static void expect(const char *what, size_t length, const size_t *cuts, size_t count, const char *expected,
                   size_t expected_length)
{
    struct stream stream = {.is_over = false};
    size_t at = 0;

    hsts_head_init(&stream.head);
    for (size_t i = 0; i <= count; i++) {
        size_t end = i < count ? cuts[i] : length;

        pass(&stream, what + at, end - at);
        at = end;
    }
    if (!stream.is_over && hsts_head_holds(&stream.head))
        stream.text[stream.length++] = '\r';
    assert_int_equal(stream.length, expected_length);
    assert_memory_equal(stream.text, expected, expected_length);
}

static void expect_each(const char *what, size_t length, const char *expected, size_t expected_length)
{
    size_t cuts[256];

    assert_true(length <= COUNT(cuts));
    for (size_t one = 0; one <= length; one++) {
        for (size_t other = one; other <= length; other++)
            expect(what, length, (size_t[]){one, other}, 2, expected, expected_length);
    }
    for (size_t i = 0; i < length; i++)
        cuts[i] = i;
    expect(what, length, cuts, length, expected, expected_length);
}

#define TEXT(text) text, sizeof(text) - 1

static void test_put_in(void **state)
{
    expect_each(TEXT("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody\r\n\r\n"),
                TEXT("HTTP/1.1 200 OK\r\nA: b\r\n" HEADER "\r\nbody\r\n\r\n"));
    expect_each(TEXT("HTTP/1.1 200 OK\r\n\r\n"), TEXT("HTTP/1.1 200 OK\r\n" HEADER "\r\n"));
    expect_each(TEXT("HTTP/1.0 404\r\nA:\r\n\r\nx"), TEXT("HTTP/1.0 404\r\nA:\r\n" HEADER "\r\nx"));
    expect_each(TEXT("HTTP/1.1 200 OK\nA: b\n\nbody"), TEXT("HTTP/1.1 200 OK\nA: b\n" HEADER "\nbody"));
    expect_each(
        TEXT("HTTP/1.1 304 N\r\nStrict-Transport-Securit: x\r\nXStrict-Transport-Security: y\r\n\r\n"),
        TEXT("HTTP/1.1 304 N\r\nStrict-Transport-Securit: x\r\nXStrict-Transport-Security: y\r\n" HEADER
             "\r\n"));
    expect_each(
        TEXT("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n\r\nb"),
        TEXT("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n" HEADER
             "\r\nb"));
    expect_each(
        TEXT("HTTP/1.1 103 E\r\nStrict-Transport-Security: a\r\n\r\nHTTP/1.1 200 OK\r\n\r\nb"),
        TEXT("HTTP/1.1 103 E\r\nStrict-Transport-Security: a\r\n\r\nHTTP/1.1 200 OK\r\n" HEADER "\r\nb"));
    // The first alone.
    expect_each(TEXT("HTTP/1.1 204 N\r\n\r\nHTTP/1.1 204 N\r\n\r\n"),
                TEXT("HTTP/1.1 204 N\r\n" HEADER "\r\nHTTP/1.1 204 N\r\n\r\n"));
}

static void test_left_alone(void **state)
{
    static const struct {
        const char *text;
        size_t length;
    } cases[] = {
        {TEXT("HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=0\r\n\r\nbody")},
        {TEXT("HTTP/1.1 200 OK\r\nsTRICT-tRANSPORT-sECURITY:\r\nA: b\r\n\r\nbody")},
        {TEXT("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
              "Upgrade\r\n\r\n\x81\x01x\r\n\r\n")},
        {TEXT("HTTP/2.0 200 OK\r\nA: b\r\n\r\n")},
        {TEXT("ICY 200 OK\r\nA: b\r\n\r\n")},
        {TEXT("220 mail ESMTP\r\n\r\n")},
        {TEXT("SSH-2.0-x\r\n\r\n")},
        {TEXT("\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\r\n\r\n")},
        {TEXT("+OK\r\n\r\n")},
        {TEXT("\r")},
        {TEXT("\r\r\r\n\r")},
        {TEXT("HTTP/1.1 200 OK\r\nA: b")},
        {TEXT("HTTP/1.1 200 OK\r\nA: b\r\n\r")},
        {TEXT("HTTP/1.1 200 OK\r\nA: b\r\n\rx\r\n\r\n")},
        {TEXT("HTTP/1.1 200 OK\r\nA b\r\n\r\n")},
        {TEXT("HTTP/1.1 20x OK\r\nA: b\r\n\r\n")},
        {TEXT("HTTP/1.1 200 OK\r\nA\0: b\r\n\r\n")},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        expect_each(cases[i].text, cases[i].length, cases[i].text, cases[i].length);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_in),
        cmocka_unit_test(test_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
