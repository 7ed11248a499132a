// SPDX-License-Identifier: Apache-2.0
#include "hsts_head.h"

#include <string.h>
#include <strings.h>

static const char name[] = "strict-transport-security";
#define NAME_LENGTH (sizeof(name) - 1)

static int on_message(http_parser *parser)
{
    struct hsts_head *head = parser->data;

    head->is_servers_own = false; // what a 1xx said counts for nothing
    head->is_in_value = true;
    return 0;
}

static int on_name(http_parser *parser, const char *piece, size_t length)
{
    struct hsts_head *head = parser->data;

    if (head->is_in_value) {
        head->is_in_value = head->is_other = false;
        head->matched = 0;
    }
    if (head->is_other || length > NAME_LENGTH - head->matched ||
        strncasecmp(piece, name + head->matched, length) != 0)
        head->is_other = true;
    else
        head->matched += (uint8_t)length;
    return 0;
}

static int on_value(http_parser *parser, const char *piece, size_t length)
{
    struct hsts_head *head = parser->data;

    if (!head->is_in_value && !head->is_other && head->matched == NAME_LENGTH)
        head->is_servers_own = true;
    head->is_in_value = true;
    return 0;
}

static int on_end(http_parser *parser)
{
    struct hsts_head *head = parser->data;

    if (parser->status_code >= 200 || parser->status_code == 101) {
        head->is_found = true;
        http_parser_pause(parser, 1); // at the last byte of the empty line
    }
    return 0;
}

void hsts_head_init(struct hsts_head *head)
{
    *head = (struct hsts_head){0};
    http_parser_init(&head->parser, HTTP_RESPONSE);
    head->parser.data = head;
}

enum verdict { MORE, HERE, NOWHERE };

// What came ahead of bytes[at]; of -1: ahead of the CR that is held.
static char byte_before(const struct hsts_head *head, const char *bytes, int64_t at)
{
    if (at > 0)
        return bytes[at - 1];
    return at == 0 && head->holds ? '\r' : head->before;
}

// HERE: the header goes ahead of *ret_at, where the empty line begins; -1: that is the CR which is held.
static enum verdict look(struct hsts_head *head, const char *bytes, size_t length, int64_t *ret_at)
{
    static const http_parser_settings settings = {
        .on_message_begin = on_message,
        .on_header_field = on_name,
        .on_header_value = on_value,
        .on_headers_complete = on_end,
    };
    size_t at = http_parser_execute(&head->parser, &settings, bytes, length);
    bool has_cr;

    if (!head->is_found)
        return HTTP_PARSER_ERRNO(&head->parser) == HPE_OK ? MORE : NOWHERE;
    if (head->is_servers_own || head->parser.status_code < 200 || head->parser.http_major != 1 ||
        at >= length || bytes[at] != '\n')
        return NOWHERE;
    has_cr = at > 0 ? bytes[at - 1] == '\r' : head->holds;
    *ret_at = (int64_t)at - has_cr;
    // The parser lets a CR within the status line stand for its end.
    return byte_before(head, bytes, *ret_at) == '\n' ? HERE : NOWHERE;
}

static void add(struct hsts_parts *parts, const void *bytes, size_t length)
{
    if (length == 0)
        return;
    parts->parts[parts->count++] = (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
    parts->length += length;
}

void hsts_head_pass(struct hsts_head *head, const char *header, const char *bytes, size_t length,
                    struct hsts_parts *ret)
{
    bool held = head->holds;
    int64_t at = 0;
    enum verdict verdict;

    *ret = (struct hsts_parts){0};
    if (length == 0)
        return; // to the parser it would be the end
    verdict = look(head, bytes, length, &at);
    if (verdict == MORE) {
        bool holds = bytes[length - 1] == '\r';

        head->before = byte_before(head, bytes, (int64_t)length - holds);
        head->holds = holds;
    } else {
        head->holds = false;
    }
    ret->is_over = verdict != MORE;
    ret->is_as_was = verdict != HERE && !held && !head->holds;
    if (verdict == HERE && at < 0)
        add(ret, header, strlen(header));
    if (held)
        add(ret, "\r", 1);
    if (verdict == HERE && at >= 0) {
        add(ret, bytes, (size_t)at);
        add(ret, header, strlen(header));
        add(ret, bytes + at, length - (size_t)at);
    } else {
        add(ret, bytes, length - head->holds);
    }
}

bool hsts_head_holds(const struct hsts_head *head)
{
    return head->holds;
}
