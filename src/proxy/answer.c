// SPDX-License-Identifier: Apache-2.0
#include "answer.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define HTTP_PORT_DIGITS 5
#define LETTERS          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS           "0123456789"

static const char acme_path[] = "/.well-known/acme-challenge/"; // RFC 8555 §8.3

// How many of the first bytes are among the characters.
static size_t span(const char *text, size_t length, const char *characters)
{
    size_t at = 0;

    while (at < length && text[at] != '\0' && strchr(characters, text[at]) != NULL)
        at++;
    return at;
}

// ---- host[:port] ----

// The length of the address in brackets at the beginning; 0: there is none.
static size_t bracketed(const char *text, size_t length)
{
    const char *end = memchr(text, ']', length);
    char inner[INET6_ADDRSTRLEN];
    struct in6_addr address;
    size_t size = end != NULL ? (size_t)(end - text) - 1 : 0;

    if (end == NULL || size == 0 || size >= sizeof(inner))
        return 0;
    memcpy(inner, text + 1, size);
    inner[size] = '\0';
    return inet_pton(AF_INET6, inner, &address) == 1 ? size + 2 : 0;
}

// The length of the host that text[length] begins with; 0: it is no host, or what follows is no port. Of what a name may consist of
// by RFC 3986 §3.2.2 only that is taken which host names have (RFC 1123 §2.1, and the underscore).
static size_t host_length(const char *text, size_t length)
{
    size_t host;

    if (length == 0)
        return 0;
    host = text[0] == '[' ? bracketed(text, length) : span(text, length, LETTERS DIGITS "-._");
    if (host == 0 || host > ANSWER_HOST_MAX)
        return 0;
    if (host == length)
        return host;
    text += host + 1;
    length -= host + 1;
    if (text[-1] != ':' || length > HTTP_PORT_DIGITS || span(text, length, DIGITS) < length)
        return 0;
    return host;
}

// ---- the target (RFC 9112 §3.2) ----

// Bytes that would end the line, or that are none of the web's. What is above ASCII comes back as it came.
static bool is_clean(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];

        if (byte <= ' ' || byte == 0x7f)
            return false;
    }
    return true;
}

static bool begins(const char *text, size_t length, const char *with)
{
    return length >= strlen(with) && strncasecmp(text, with, strlen(with)) == 0;
}

// The absolute form names the host itself, which counts (§3.2.2).
static void take_absolute(struct answer *answer, size_t scheme)
{
    const char *authority = answer->target + scheme;
    size_t left = answer->target_length - scheme;
    size_t length = 0;

    while (length < left && strchr("/?#", authority[length]) == NULL)
        length++;
    answer->host = authority;
    answer->host_length = length;
    answer->target = authority + length;
    answer->target_length = left - length;
}

// What is wrong with it; NULL: nothing.
static const char *take_target(struct answer *answer)
{
    if (!is_clean(answer->target, answer->target_length))
        return "a request target with bytes that none may have";
    if (begins(answer->target, answer->target_length, "http://"))
        take_absolute(answer, strlen("http://"));
    else if (begins(answer->target, answer->target_length, "https://"))
        take_absolute(answer, strlen("https://"));
    else if (answer->target_length == 1 && answer->target[0] == '*')
        answer->target_length = 0; // OPTIONS for the server as a whole
    else if (answer->target_length == 0 || answer->target[0] != '/')
        return "a request target that is no path";
    return NULL;
}

// ---- what it gets ----

static bool asks_for_token(const struct answer *answer)
{
    return answer->target_length >= sizeof(acme_path) - 1 &&
           memcmp(answer->target, acme_path, sizeof(acme_path) - 1) == 0;
}

static void take_token(struct answer *answer)
{
    const char *token = answer->target + sizeof(acme_path) - 1;
    size_t length = answer->target_length - (sizeof(acme_path) - 1);

    answer->kind = ANSWER_TOKEN;
    if (length > ANSWER_TOKEN_MAX || span(token, length, LETTERS DIGITS "-_") < length)
        return;
    memcpy(answer->token, token, length);
    answer->token[length] = '\0';
}

static const char *choose(const struct config_redirect *redirect, const struct request *request,
                          const char *bytes, struct answer *answer)
{
    const char *fault;

    if (request->is_connect)
        return "CONNECT, which is for proxies";
    if (request->hosts == 0 && !(request->is_old && redirect->host != NULL))
        return "no Host header";
    answer->host = bytes + request->host.at;
    answer->host_length = request->host.length;
    if (request->hosts > 0 && host_length(answer->host, answer->host_length) == 0)
        return "a Host header that is no host";
    answer->target = bytes + request->target.at;
    answer->target_length = request->target.length;
    fault = take_target(answer);
    if (fault != NULL)
        return fault;
    if (redirect->host != NULL) {
        answer->host = redirect->host;
        answer->host_length = strlen(redirect->host);
    }
    answer->host_length = host_length(answer->host, answer->host_length); // without its port
    if (answer->host_length == 0)
        return "a request target whose host is none";
    if (redirect->acme != NULL && (request->is_get || request->is_head) && asks_for_token(answer))
        take_token(answer);
    return NULL;
}

void answer_choose(const struct config_redirect *redirect, enum request_status status,
                   const struct request *request, const char *bytes, struct answer *ret)
{
    *ret = (struct answer){.kind = ANSWER_REDIRECTS, .is_head = request->is_head, .is_old = request->is_old};
    if (status == REQUEST_TOO_LARGE) {
        ret->kind = ANSWER_TOO_LARGE;
        ret->detail = "a request head of more than 8 KiB";
    } else {
        ret->detail = status == REQUEST_READ ? choose(redirect, request, bytes, ret) : "no HTTP/1 request";
        if (ret->detail != NULL)
            ret->kind = ANSWER_BAD;
    }
    ret->closes = ret->detail != NULL || request->has_body || !request->wants_to_go_on;
}

// ---- writing ----

struct writer {
    char *text;
    size_t length;
};

static void put(struct writer *writer, const char *bytes, size_t length)
{
    assert(length <= ANSWER_MAX - writer->length); // ANSWER_MAX adds up what there can be
    if (length > 0)
        memcpy(writer->text + writer->length, bytes, length);
    writer->length += length;
}

static void put_text(struct writer *writer, const char *text)
{
    put(writer, text, strlen(text));
}

// RFC 9110 §5.6.7. Not strftime(): it would follow a locale.
static void put_date(struct writer *writer, int64_t now_s)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = (time_t)now_s;
    char line[64];
    struct tm tm;

    if (gmtime_r(&now, &tm) == NULL)
        return;
    snprintf(line, sizeof(line), "Date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n", days[tm.tm_wday],
             tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
    put_text(writer, line);
}

static const char *status_line(const struct answer *answer, bool has_content)
{
    switch (answer->kind) {
    case ANSWER_REDIRECTS:
        return "HTTP/1.1 308 Permanent Redirect\r\n"; // RFC 9110 §15.4.9: the method stays what it is
    case ANSWER_TOKEN:
        return has_content ? "HTTP/1.1 200 OK\r\n" : "HTTP/1.1 404 Not Found\r\n";
    case ANSWER_TOO_LARGE:
        return "HTTP/1.1 431 Request Header Fields Too Large\r\n";
    default:
        return "HTTP/1.1 400 Bad Request\r\n";
    }
}

static void put_location(struct writer *writer, const struct answer *answer,
                         const struct config_redirect *redirect)
{
    char port[16];

    put_text(writer, "Location: https://");
    put(writer, answer->host, answer->host_length);
    if (redirect->port != 443) {
        snprintf(port, sizeof(port), ":%u", redirect->port);
        put_text(writer, port);
    }
    if (answer->target_length == 0 || answer->target[0] != '/')
        put_text(writer, "/"); // a bare host, or a query right behind it
    put(writer, answer->target, answer->target_length);
    put_text(writer, "\r\n");
}

size_t answer_build(const struct answer *answer, const struct config_redirect *redirect, const char *content,
                    size_t length, int64_t now_s, char text[static ANSWER_MAX])
{
    struct writer writer = {.text = text};
    bool has_content = answer->kind == ANSWER_TOKEN && content != NULL;
    char line[64];

    put_text(&writer, status_line(answer, has_content));
    put_date(&writer, now_s);
    if (answer->kind == ANSWER_REDIRECTS)
        put_location(&writer, answer, redirect);
    if (has_content)
        put_text(&writer, "Content-Type: application/octet-stream\r\nCache-Control: no-store\r\n");
    snprintf(line, sizeof(line), "Content-Length: %zu\r\n", has_content ? length : 0);
    put_text(&writer, line);
    if (answer->closes)
        put_text(&writer, "Connection: close\r\n");
    else if (answer->is_old)
        put_text(&writer, "Connection: keep-alive\r\n");
    put_text(&writer, "\r\n");
    if (has_content && !answer->is_head)
        put(&writer, content, length);
    return writer.length;
}
