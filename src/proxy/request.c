// SPDX-License-Identifier: Apache-2.0
#include "request.h"

#include <string.h>
#include <strings.h>

#define DONE 2 // on_headers_complete: the parser stops right behind the head

void request_init(struct request *request)
{
    *request = (struct request){0};
    http_parser_init(&request->parser, HTTP_REQUEST);
    request->parser.data = request;
}

// A piece that the parser found; pieces of one text follow each other, unless a header is folded.
static bool span_add(const struct request *request, struct request_span *span, const char *piece,
                     size_t length)
{
    uint32_t at = (uint32_t)(piece - request->bytes);

    if (span->length == 0)
        span->at = at;
    else if (span->at + span->length != at)
        return false;
    span->length += (uint32_t)length;
    return true;
}

static int on_target(http_parser *parser, const char *piece, size_t length)
{
    struct request *request = parser->data;

    return span_add(request, &request->target, piece, length) ? 0 : 1;
}

static int on_name(http_parser *parser, const char *piece, size_t length)
{
    struct request *request = parser->data;

    if (request->is_in_value)
        request->name = (struct request_span){0};
    request->is_in_value = false;
    return span_add(request, &request->name, piece, length) ? 0 : 1;
}

static int on_value(http_parser *parser, const char *piece, size_t length)
{
    static const char host[] = "host";
    struct request *request = parser->data;

    if (!request->is_in_value) {
        request->is_in_value = true;
        request->is_host = request->name.length == sizeof(host) - 1 &&
                           strncasecmp(request->bytes + request->name.at, host, sizeof(host) - 1) == 0;
        if (request->is_host && request->hosts++ > 0)
            return 1; // RFC 9112 §3.2
    }
    if (!request->is_host || length == 0)
        return 0;
    return span_add(request, &request->host, piece, length) ? 0 : 1; // a host has no use for a fold
}

static int on_end(http_parser *parser)
{
    struct request *request = parser->data;

    request->is_whole = true;
    request->is_get = parser->method == HTTP_GET;
    request->is_head = parser->method == HTTP_HEAD;
    request->is_connect = parser->method == HTTP_CONNECT;
    request->is_old = parser->http_minor == 0;
    request->has_body =
        parser->uses_transfer_encoding || ((parser->flags & F_CONTENTLENGTH) && parser->content_length > 0);
    request->wants_to_go_on = http_should_keep_alive(parser);
    return DONE;
}

static void trim(struct request *request)
{
    const char *host = request->bytes + request->host.at;

    while (request->host.length > 0 &&
           (host[request->host.length - 1] == ' ' || host[request->host.length - 1] == '\t'))
        request->host.length--;
}

enum request_status request_read(struct request *request, const char *bytes, size_t length)
{
    static const http_parser_settings settings = {
        .on_url = on_target,
        .on_header_field = on_name,
        .on_header_value = on_value,
        .on_headers_complete = on_end,
    };
    size_t most = length < REQUEST_HEAD_MAX ? length : REQUEST_HEAD_MAX;
    http_parser *parser = &request->parser;

    request->bytes = bytes;
    request->size +=
        (uint32_t)http_parser_execute(parser, &settings, bytes + request->size, most - request->size);
    if (HTTP_PARSER_ERRNO(parser) != HPE_OK)
        return REQUEST_BAD;
    if (!request->is_whole)
        return length >= REQUEST_HEAD_MAX ? REQUEST_TOO_LARGE : REQUEST_MORE;
    if (parser->http_major != 1 || parser->http_minor > 1)
        return REQUEST_BAD;
    trim(request);
    return REQUEST_READ;
}
