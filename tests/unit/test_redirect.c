// SPDX-License-Identifier: Apache-2.0
// Requests that are redirected, whole and byte by byte: what each is answered, and that nothing of it gets into the answer where it would be
// more than an address.
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/proxy/answer.h"
#include "src/proxy/token.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define DATE         "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
#define MOMENT       784111777
#define LONG_HOST    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct config_redirect plain = {.is_on = true, .port = 443};
static const struct config_redirect other_port = {.is_on = true, .port = 8443};
static const struct config_redirect forced = {.is_on = true, .port = 443, .host = (char *)"www.example"};
static const struct config_redirect acme = {.is_on = true, .port = 443, .acme = (char *)"/acme"};

// Reads the request as it comes in pieces of `step` bytes, each time in memory of exactly their size.
static enum request_status feed(struct request *request, char **bytes, const char *text, size_t length,
                                size_t step)
{
    enum request_status status = REQUEST_MORE;

    request_init(request);
    *bytes = NULL;
    for (size_t got = 0; got < length && status == REQUEST_MORE;) {
        got = got + step < length ? got + step : length;
        free(*bytes);
        *bytes = malloc(got);
        assert_non_null(*bytes);
        memcpy(*bytes, text, got);
        status = request_read(request, *bytes, got);
    }
    return status;
}

static char *answer_to(const struct config_redirect *redirect, const char *text, size_t length, size_t step,
                       struct answer *answer)
{
    static char out[ANSWER_MAX + 1];
    struct request request;
    char *bytes;
    enum request_status status = feed(&request, &bytes, text, length, step);

    assert_int_not_equal(status, REQUEST_MORE);
    answer_choose(redirect, status, &request, bytes, answer);
    out[answer_build(answer, redirect, NULL, 0, MOMENT, out)] = '\0';
    free(bytes);
    return out;
}

static void expect(const struct config_redirect *redirect, const char *text, size_t length,
                   const char *answer)
{
    struct answer choice;

    for (size_t step = 1; step <= length; step = step < 7 ? step + 1 : step * 3)
        assert_string_equal(answer_to(redirect, text, length, step, &choice), answer);
    assert_string_equal(answer_to(redirect, text, length, length, &choice), answer);
}

// ---- what is redirected ----

#define TO(location)                                                                                         \
    "HTTP/1.1 308 Permanent Redirect\r\n" DATE "Location: " location "\r\nContent-Length: 0\r\n"
#define GOES_ON "\r\n"
#define CLOSES  "Connection: close\r\n\r\n"

static void test_redirects(void **state)
{
    static const struct {
        const char *request;
        const char *answer;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", TO("https://a.example/") GOES_ON},
        {"GET / HTTP/1.1\r\nHost: a.example:80\r\n\r\n", TO("https://a.example/") GOES_ON},
        {"GET / HTTP/1.1\r\nHost: a.example:\r\n\r\n", TO("https://a.example/") GOES_ON},
        {"GET / HTTP/1.1\r\nHOST:a.example \t \r\n\r\n", TO("https://a.example/") GOES_ON},
        {"GET / HTTP/1.1\r\nX: y\r\nEmpty:\r\nHost: a_b-C.example\r\nHostile: x\r\n\r\n",
         TO("https://a_b-C.example/") GOES_ON},
        {"GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n", TO("https://[2001:db8::1]/") GOES_ON},
        {"GET / HTTP/1.1\r\nHost: 192.0.2.1:8080\r\n\r\n", TO("https://192.0.2.1/") GOES_ON},
        {"GET /\"<>\\^`{|}\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", TO("https://a/\"<>\\^`{|}\xc3\xa4") GOES_ON},
        {"GET /a/../b//%2e%0d%0a?c=d&e=/? HTTP/1.1\r\nHost: a\r\n\r\n",
         TO("https://a/a/../b//%2e%0d%0a?c=d&e=/?") GOES_ON},
        {"GET //evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n", TO("https://a//evil.example/") GOES_ON},
        {"GET /?u=http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", TO("https://a/?u=http://b/") GOES_ON},
        {"GET http://b.example:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n", TO("https://b.example/x?y") GOES_ON},
        {"GET http://b.example HTTP/1.1\r\nHost: a\r\n\r\n", TO("https://b.example/") GOES_ON},
        {"GET http://b.example?y HTTP/1.1\r\nHost: a\r\n\r\n", TO("https://b.example/?y") GOES_ON},
        {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", TO("https://a/") GOES_ON},
        {"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", TO("https://a/x") GOES_ON},
        {"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", TO("https://a/x") GOES_ON},
        {"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", TO("https://a/x") CLOSES},
        {"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         TO("https://a/x") CLOSES},
        {"DELETE /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", TO("https://a/x") CLOSES},
        {"GET / HTTP/1.0\r\nHost: a\r\n\r\n", TO("https://a/") CLOSES},
        {"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
         TO("https://a/") "Connection: keep-alive\r\n\r\n"},
        {"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
         TO("https://a/ws") GOES_ON},
        {"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", TO("https://a/") GOES_ON},
        {"GET / HTTP/1.1\nHost: a\n\n", TO("https://a/") GOES_ON},
        {"GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: a\r\n\r\n",
         TO("https://a/.well-known/acme-challenge/x") GOES_ON},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        expect(&plain, cases[i].request, strlen(cases[i].request), cases[i].answer);
    expect(&other_port, cases[0].request, strlen(cases[0].request), TO("https://a.example:8443/") GOES_ON);
    expect(&other_port, cases[5].request, strlen(cases[5].request),
           TO("https://[2001:db8::1]:8443/") GOES_ON);
    expect(&forced, cases[0].request, strlen(cases[0].request), TO("https://www.example/") GOES_ON);
    expect(&forced, cases[11].request, strlen(cases[11].request), TO("https://www.example/x?y") GOES_ON);
    expect(&forced, "GET /a HTTP/1.0\r\n\r\n", 19, TO("https://www.example/a") CLOSES);
}

// ---- what is not ----

static void test_bad(void **state)
{
#define BAD "HTTP/1.1 400 Bad Request\r\n" DATE "Content-Length: 0\r\nConnection: close\r\n\r\n"
    static const struct {
        const char *text;
        size_t length;
    } cases[] = {
#define CASE(text) {text, sizeof(text) - 1}
#define HOST(host) CASE("GET / HTTP/1.1\r\nHost: " host "\r\n\r\n")
        HOST(""),
        HOST("a b"),
        HOST("a\tb"),
        HOST("a\rb"),
        HOST("a\r\n b"),
        HOST("a\0b"),
        HOST("user@a"),
        HOST("user:80@a"),
        HOST("a/b"),
        HOST("a?b"),
        HOST("a#b"),
        HOST("a\\b"),
        HOST("a%0d%0ab"),
        HOST("a,b"),
        HOST("a;b"),
        HOST("\"a\""),
        HOST("<a>"),
        HOST("a:b"),
        HOST("a:80:80"),
        HOST("a:123456"),
        HOST(":80"),
        HOST("[::1"),
        HOST("[]"),
        HOST("[x]"),
        HOST("[::1]x"),
        HOST("[::1%25eth0]"),
        HOST("2001:db8::1"),
        HOST("\xc3\xa4.example"),
        HOST(LONG_HOST LONG_HOST LONG_HOST LONG_HOST),
        CASE("GET / HTTP/1.1\r\n\r\n"),
        CASE("GET / HTTP/1.0\r\n\r\n"),
        CASE("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        CASE("GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        CASE("GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        CASE("GET / HTTP/1.1\r\nHost: a\r\nX\0Y: a\r\n\r\n"),
        CASE("GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        CASE("GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
        CASE("GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
        CASE("GET /\r\n\r\n"),
        CASE("GET  / HTTP/1.1 x\r\nHost: a\r\n\r\n"),
        CASE("GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n"),
        CASE("GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n"),
        CASE("GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n"),
        CASE("GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n"),
        CASE("GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
        CASE("GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        CASE("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"),
        CASE("GET http://u@b/x HTTP/1.1\r\nHost: a\r\n\r\n"),
        CASE("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
        CASE("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
        CASE("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        CASE("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        CASE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        CASE("HTTP/1.1 200 OK\r\n\r\n"),
        CASE("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        CASE("get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct answer choice;

        expect(&plain, cases[i].text, cases[i].length, BAD);
        (void)answer_to(&plain, cases[i].text, cases[i].length, cases[i].length, &choice);
        assert_non_null(choice.detail);
        assert_true(choice.closes);
    }
}

static void test_size(void **state)
{
    static const char end[] = " HTTP/1.1\r\nHost: a\r\n\r\n";
    char text[REQUEST_HEAD_MAX + 64];
    struct answer choice;
    const char *answer;

    // The longest head, and one byte more. The rest of a byte stream may follow either.
    for (size_t more = 0; more <= 1; more++) {
        size_t length = REQUEST_HEAD_MAX + more;

        memset(text, 'x', sizeof(text));
        memcpy(text, "GET /", 5);
        memcpy(text + length - (sizeof(end) - 1), end, sizeof(end) - 1);
        for (size_t step = 1; step <= sizeof(text); step += 100) {
            answer = answer_to(&plain, text, length + 20, step, &choice);
            assert_int_equal(strncmp(answer, more ? "HTTP/1.1 431 " : "HTTP/1.1 308 ", 13), 0);
            assert_int_equal(choice.closes, more);
        }
    }
    memset(text, '\n', sizeof(text)); // empty lines ahead of a request are no way round it
    assert_int_equal(strncmp(answer_to(&plain, text, sizeof(text), 1, &choice), "HTTP/1.1 431 ", 13), 0);
}

static void test_pipeline(void **state)
{
    static const char two[] = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: b\r\n\r\n";
    struct request request;
    struct answer choice;

    request_init(&request);
    assert_int_equal(request_read(&request, two, sizeof(two) - 1), REQUEST_READ);
    assert_int_equal(request.size, strlen(two) / 2);
    answer_choose(&plain, REQUEST_READ, &request, two, &choice);
    assert_int_equal(choice.target_length, 2);
    assert_memory_equal(choice.target, "/1", 2);
    request_init(&request);
    assert_int_equal(request_read(&request, two + strlen(two) / 2, strlen(two) / 2), REQUEST_READ);
    answer_choose(&plain, REQUEST_READ, &request, two + strlen(two) / 2, &choice);
    assert_memory_equal(choice.host, "b", 1);
}

// ---- tokens ----

static void test_token_names(void **state)
{
    static const struct {
        const char *method;
        const char *path;  // behind the folder's
        const char *token; // NULL: redirected
    } cases[] = {
        {"GET", "abc-_XYZ019", "abc-_XYZ019"},
        {"HEAD", "a", "a"},
        {"POST", "a", NULL},
        {"GET", "", ""},
        {"GET", "..", ""},
        {"GET", ".", ""},
        {"GET", "a.b", ""},
        {"GET", "a/b", ""},
        {"GET", "../a", ""},
        {"GET", "%61", ""},
        {"GET", "a?b", ""},
        {"GET", "a#b", ""},
        {"GET", LONG_HOST LONG_HOST, LONG_HOST LONG_HOST},
        {"GET", LONG_HOST LONG_HOST "a", ""},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct answer choice;
        char text[512];

        snprintf(text, sizeof(text), "%s /.well-known/acme-challenge/%s HTTP/1.1\r\nHost: a\r\n\r\n",
                 cases[i].method, cases[i].path);
        (void)answer_to(&acme, text, strlen(text), 1, &choice);
        assert_int_equal(choice.kind, cases[i].token ? ANSWER_TOKEN : ANSWER_REDIRECTS);
        assert_string_equal(choice.token, cases[i].token ? cases[i].token : "");
    }
}

static void test_token_answers(void **state)
{
    char text[ANSWER_MAX + 1];
    char content[ANSWER_CONTENT_MAX];
    struct answer choice = {.kind = ANSWER_TOKEN, .token = "a"};

    text[answer_build(&choice, &acme, "a.b", 3, MOMENT, text)] = '\0';
    assert_string_equal(text, "HTTP/1.1 200 OK\r\n" DATE
                              "Content-Type: application/octet-stream\r\nCache-Control: no-store\r\n"
                              "Content-Length: 3\r\n\r\na.b");
    choice.is_head = true;
    text[answer_build(&choice, &acme, "a.b", 3, MOMENT, text)] = '\0';
    assert_non_null(strstr(text, "Content-Length: 3\r\n\r\n"));
    assert_null(strstr(text, "a.b"));
    text[answer_build(&choice, &acme, NULL, 0, MOMENT, text)] = '\0';
    assert_string_equal(text, "HTTP/1.1 404 Not Found\r\n" DATE "Content-Length: 0\r\n\r\n");
    memset(content, 'x', sizeof(content));
    choice.is_head = false;
    assert_true(answer_build(&choice, &acme, content, sizeof(content), MOMENT, text) > sizeof(content));
}

static void write_file(int folder, const char *name, size_t size)
{
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL, 0644);

    assert_true(fd >= 0);
    while (size-- > 0)
        assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
}

static void test_token_files(void **state)
{
    char path[] = "/tmp/ringbolt-token-XXXXXX";
    char content[ANSWER_CONTENT_MAX];
    int root;
    int folder;

    assert_non_null(mkdtemp(path));
    root = open(path, O_PATH | O_DIRECTORY);
    assert_true(root >= 0);
    assert_int_equal(token_read(root, "a", content, sizeof(content)), -ENOENT); // before the client was there
    assert_int_equal(mkdirat(root, ".well-known", 0755), 0);
    assert_int_equal(mkdirat(root, ".well-known/acme-challenge", 0755), 0);
    folder = openat(root, ".well-known/acme-challenge", O_PATH | O_DIRECTORY);
    assert_true(folder >= 0);
    assert_int_equal(token_read(root, "a", content, sizeof(content)), -ENOENT);
    write_file(folder, "a", 5);
    assert_int_equal(token_read(root, "a", content, sizeof(content)), 5);
    assert_memory_equal(content, "xxxxx", 5);
    write_file(folder, "empty", 0);
    assert_int_equal(token_read(root, "empty", content, sizeof(content)), 0);
    write_file(folder, "largest", sizeof(content));
    assert_int_equal(token_read(root, "largest", content, sizeof(content)), sizeof(content));
    write_file(folder, "larger", sizeof(content) + 1);
    assert_int_equal(token_read(root, "larger", content, sizeof(content)), -ENOENT);
    assert_int_equal(symlinkat("a", folder, "link"), 0);
    assert_int_equal(token_read(root, "link", content, sizeof(content)), -ENOENT);
    assert_int_equal(mkdirat(folder, "folder", 0755), 0);
    assert_int_equal(token_read(root, "folder", content, sizeof(content)), -ENOENT);
    assert_int_equal(mkfifoat(folder, "fifo", 0644), 0);
    assert_int_equal(token_read(root, "fifo", content, sizeof(content)), -ENOENT);
    assert_int_equal(token_read(root, "", content, sizeof(content)), -ENOENT);
    // The whole folder as a link
    write_file(root, "outside", 1);
    assert_int_equal(renameat(root, ".well-known/acme-challenge", root, "moved"), 0);
    assert_int_equal(symlinkat("../moved", root, ".well-known/acme-challenge"), 0);
    assert_int_equal(token_read(root, "a", content, sizeof(content)), -ENOENT);
    assert_int_equal(unlinkat(root, ".well-known/acme-challenge", 0), 0);
    for (const char *const *name =
             (const char *const[]){"a", "empty", "largest", "larger", "link", "fifo", NULL};
         *name; name++)
        assert_int_equal(unlinkat(folder, *name, 0), 0);
    assert_int_equal(unlinkat(folder, "folder", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(root, "moved", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(root, "outside", 0), 0);
    assert_int_equal(unlinkat(root, ".well-known", AT_REMOVEDIR), 0);
    close(folder);
    close(root);
    assert_int_equal(rmdir(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_redirects),   cmocka_unit_test(test_bad),
        cmocka_unit_test(test_size),        cmocka_unit_test(test_pipeline),
        cmocka_unit_test(test_token_names), cmocka_unit_test(test_token_answers),
        cmocka_unit_test(test_token_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
