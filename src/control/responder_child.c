// SPDX-License-Identifier: Apache-2.0
// One question to one OCSP responder: what the child does, and the only user of libcurl.
//
// The request goes by POST (RFC 6960 appendix A.1). GET, which RFC 5019 prefers for short requests, is for caches in between, and a cache is what
// a refresh ahead of time must not be answered by; besides, the request would be part of the path in base64, whose "//" many a
// server takes for "/".
#include "responder_fetch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "ringbolt/log.h"
#include "ringbolt-version.h"

#define REDIRECTS_MAX 2L

struct exchange {
    uint8_t bytes[FETCH_ANSWER_SIZE_MAX];
    size_t size;
    bool is_too_large;
    enum fetch_result result;
    char why[FETCH_WHY_SIZE];
};

// ---- HTTP ----

static size_t take(char *data, size_t one, size_t count, void *owner)
{
    struct exchange *exchange = owner;
    size_t size = one * count;

    if (size > sizeof(exchange->bytes) - exchange->size) {
        exchange->is_too_large = true;
        return 0;
    }
    memcpy(exchange->bytes + exchange->size, data, size);
    exchange->size += size;
    return size;
}

static void fail(struct exchange *exchange, enum fetch_result result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void fail(struct exchange *exchange, enum fetch_result result, const char *format, ...)
{
    va_list arguments;

    exchange->result = result;
    va_start(arguments, format);
    vsnprintf(exchange->why, sizeof(exchange->why), format, arguments);
    va_end(arguments);
}

// In words that are the same each time: libcurl's own hold milliseconds.
static void explain_curl(CURL *curl, CURLcode code, const struct fetch_heard *question,
                         struct exchange *exchange)
{
    long error = 0;

    switch (code) {
    case CURLE_WRITE_ERROR:
        if (exchange->is_too_large)
            fail(exchange, FETCH_REFUSED, "its answer is larger than %zu KiB", FETCH_ANSWER_SIZE_MAX / 1024);
        else
            fail(exchange, FETCH_FAILED, "%s", curl_easy_strerror(code));
        break;
    case CURLE_OUT_OF_MEMORY:
        fail(exchange, FETCH_FAILED, "%s", curl_easy_strerror(code));
        break;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        fail(exchange, FETCH_REFUSED, "its address, or what it redirects to, is no http:// address");
        break;
    case CURLE_TOO_MANY_REDIRECTS:
        fail(exchange, FETCH_REFUSED, "it redirects more than %ld times", REDIRECTS_MAX);
        break;
    case CURLE_OPERATION_TIMEDOUT:
        fail(exchange, FETCH_UNREACHABLE, "no answer within %g s", question->timeout_ms / 1000.0);
        break;
    case CURLE_COULDNT_CONNECT:
        curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &error);
        fail(exchange, FETCH_UNREACHABLE, "cannot connect%s%s", error != 0 ? ": " : "",
             error != 0 ? log_error_text((int)error) : "");
        break;
    case CURLE_COULDNT_RESOLVE_HOST:
        fail(exchange, FETCH_UNREACHABLE, "its host name is not found");
        break;
    default:
        fail(exchange, FETCH_UNREACHABLE, "%s", curl_easy_strerror(code));
        break;
    }
}

// A page for people, from a portal or a parked domain. Anything else is left to the check of the bytes.
static bool is_page(CURL *curl)
{
    const char *type = NULL;

    return curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type) == CURLE_OK && type != NULL &&
           strncasecmp(type, "text/", 5) == 0;
}

static void judge(CURL *curl, CURLcode code, const struct fetch_heard *question, struct exchange *exchange)
{
    long status = 0;

    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK)
        explain_curl(curl, code, question, exchange);
    else if (status != 200)
        fail(exchange, FETCH_REFUSED, "it answers with HTTP status %ld", status);
    else if (is_page(curl))
        fail(exchange, FETCH_REFUSED, "it answers with text, which is no OCSP response");
    else
        exchange->result = FETCH_ANSWERED;
}

static CURLcode set_up(CURL *curl, const struct fetch_heard *question, struct curl_slist *headers,
                       struct exchange *exchange)
{
    CURLcode code = CURLE_OK;

#define SET(option, value)                                                                                   \
    if (code == CURLE_OK)                                                                                    \
    code = curl_easy_setopt(curl, (option), (value))
    SET(CURLOPT_PROTOCOLS_STR, "http");
    SET(CURLOPT_REDIR_PROTOCOLS_STR, "http");
    SET(CURLOPT_FOLLOWLOCATION, 1L);
    SET(CURLOPT_MAXREDIRS, REDIRECTS_MAX);
    SET(CURLOPT_POSTREDIR, (long)CURL_REDIR_POST_ALL);
    SET(CURLOPT_URL, question->url);
    SET(CURLOPT_POSTFIELDSIZE, (long)question->request_size);
    SET(CURLOPT_POSTFIELDS, (const char *)question->request);
    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_USERAGENT, "ringbolt/" RINGBOLT_VERSION);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_TIMEOUT_MS, (long)question->timeout_ms);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)question->timeout_ms);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_WRITEFUNCTION, take);
    SET(CURLOPT_WRITEDATA, exchange);
#undef SET
    return code;
}

static struct curl_slist *headers_make(void)
{
    static const char *const lines[] = {
        "Content-Type: application/ocsp-request", "Accept: application/ocsp-response",
        "Expect:", // no "100-continue": some wait for it in vain
    };
    struct curl_slist *headers = NULL;

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct curl_slist *longer = curl_slist_append(headers, lines[i]);

        if (longer == NULL) {
            curl_slist_free_all(headers);
            return NULL;
        }
        headers = longer;
    }
    return headers;
}

static void ask(const struct fetch_heard *question, struct exchange *exchange)
{
    struct curl_slist *headers = NULL;
    CURL *curl = NULL;
    CURLcode code = curl_global_init(CURL_GLOBAL_NOTHING); // no TLS: http:// alone

    if (code == CURLE_OK && ((headers = headers_make()) == NULL || (curl = curl_easy_init()) == NULL))
        code = CURLE_OUT_OF_MEMORY;
    if (code == CURLE_OK)
        code = set_up(curl, question, headers, exchange);
    if (code != CURLE_OK) {
        fail(exchange, FETCH_FAILED, "libcurl: %s", curl_easy_strerror(code));
    } else {
        code = curl_easy_perform(curl);
        judge(curl, code, question, exchange);
    }
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    curl_global_cleanup();
}

_Noreturn void fetch_child(void)
{
    static struct fetch_heard question;
    static struct exchange exchange;
    int error;

    fetch_hear(&question, FETCH_COMMAND, "to ask an OCSP responder");
    error = fetch_confine("ringbolt-ocsp");
    if (error < 0)
        fail(&exchange, FETCH_FAILED, "its limits can't be set: %s", log_error_text(error));
    else
        ask(&question, &exchange);
    fetch_say(exchange.result, exchange.bytes, exchange.size, exchange.why);
}
