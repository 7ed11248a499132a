// SPDX-License-Identifier: Apache-2.0
// Any bytes are requests, the beginning of one, or none. Each gets one answer, the same however its bytes arrive, in which nothing of the
// request is more than an address: its lines are as many as ours, and a parser of HTTP responses ends where it ends.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "src/proxy/answer.h"

static const struct config_redirect redirects[] = {
    {.is_on = true, .port = 443},
    {.is_on = true, .port = 65535, .acme = (char *)"/acme"},
    {.is_on = true, .port = 443, .host = (char *)"[2001:db8::1]"},
};

static enum request_status read_in_steps(struct request *request, const char *bytes, size_t size, size_t step)
{
    enum request_status status = REQUEST_MORE;

    request_init(request);
    for (size_t got = 0; got < size && status == REQUEST_MORE;) {
        got = got + step < size ? got + step : size;
        status = request_read(request, bytes, got);
    }
    return status;
}

static int on_done(http_parser *parser)
{
    http_parser_pause(parser, 1);
    return 0;
}

// The answer is one response, no more and no less.
static void check_response(const char *text, size_t length, bool is_to_head)
{
    const http_parser_settings settings = {.on_message_complete = on_done};
    const char *end = memmem(text, length, "\r\n\r\n", 4);
    http_parser parser;
    size_t lines = 0;

    REQUIRE(end != NULL);
    for (const char *at = text; at < end; at++) {
        lines += *at == '\n';
        REQUIRE((unsigned char)*at >= ' ' || *at == '\r' || *at == '\n');
        REQUIRE((*at == '\r') == (at[1] == '\n'));
    }
    REQUIRE(lines >= 2 && lines <= 5);
    if (is_to_head)
        return;
    http_parser_init(&parser, HTTP_RESPONSE);
    REQUIRE(http_parser_execute(&parser, &settings, text, length) + 1 >= length);
    REQUIRE(HTTP_PARSER_ERRNO(&parser) == HPE_PAUSED);
}

static void check_answer(const struct config_redirect *redirect, enum request_status status,
                         const struct request *request, const char *bytes)
{
    static const char content[] = "token.thumbprint";
    char text[ANSWER_MAX];
    struct answer answer;
    size_t length;

    answer_choose(redirect, status, request, bytes, &answer);
    REQUIRE((answer.detail != NULL) == (answer.kind == ANSWER_BAD || answer.kind == ANSWER_TOO_LARGE));
    REQUIRE(answer.detail == NULL || answer.closes);
    REQUIRE(answer.kind != ANSWER_TOKEN || redirect->acme != NULL);
    REQUIRE(strspn(answer.token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") ==
            strlen(answer.token));
    length = answer_build(&answer, redirect, NULL, 0, 784111777, text);
    check_response(text, length, false);
    length = answer_build(&answer, redirect, content, strlen(content), 784111777, text);
    check_response(text, length, answer.is_head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *bytes = malloc(size + 1); // + 1: none is not NULL

    REQUIRE(bytes != NULL);
    memcpy(bytes, data, size);
    for (size_t at = 0; at < size;) {
        struct request request;
        struct request again;
        enum request_status status = read_in_steps(&request, bytes + at, size - at, size);

        for (size_t step = 1; step <= 64; step *= 4) {
            REQUIRE(read_in_steps(&again, bytes + at, size - at, step) == status);
            REQUIRE(status != REQUEST_READ || again.size == request.size);
            REQUIRE(status != REQUEST_READ ||
                    (again.host.at == request.host.at && again.host.length == request.host.length));
        }
        REQUIRE(request.size <= REQUEST_HEAD_MAX);
        REQUIRE(status != REQUEST_MORE || size - at < REQUEST_HEAD_MAX);
        if (status == REQUEST_MORE)
            break;
        for (size_t i = 0; i < sizeof(redirects) / sizeof(redirects[0]); i++)
            check_answer(&redirects[i], status, &request, bytes + at);
        if (status != REQUEST_READ)
            break;
        at += request.size;
    }
    free(bytes);
    return 0;
}
