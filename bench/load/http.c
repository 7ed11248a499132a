// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 responses, bytes in, events out.
#include "http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CHUNK_LINE_MAX 256

void http_finish(struct http *http)
{
    free(http->text);
    *http = (struct http){0};
}

void http_start(struct http *http)
{
    http_finish(http);
    http->length = UINT64_MAX;
}

// ---- text that may come in pieces ----

// Where a text that ends with `end` is over in what was collected and data[length] together; 0 when it isn't. *ret_used is
// how much of the data belongs to it. The text is in http->text then, or is the data itself when nothing had been collected.
static size_t text_take(struct http *http, const char *end, const uint8_t *data, size_t length, size_t max,
                        size_t *ret_used, const char **ret_text, bool *ret_is_bad)
{
    size_t end_size = strlen(end);
    size_t take = length < max - http->text_size ? length : max - http->text_size;
    const char *found;
    char *text;

    if (http->text_size == 0 && (found = memmem(data, take, end, end_size)) != NULL) {
        *ret_text = (const char *)data;
        *ret_used = (size_t)(found - (const char *)data) + end_size;
        return *ret_used;
    }
    text = realloc(http->text, http->text_size + take + 1);
    if (text == NULL) {
        *ret_is_bad = true;
        return 0;
    }
    http->text = text;
    memcpy(text + http->text_size, data, take);
    found = memmem(text, http->text_size + take, end, end_size);
    if (found != NULL) {
        size_t size = (size_t)(found - text) + end_size;

        *ret_used = size - http->text_size;
        *ret_text = text;
        return size;
    }
    http->text_size += take;
    *ret_used = take;
    *ret_is_bad = http->text_size == max;
    return 0;
}

static void text_drop(struct http *http)
{
    free(http->text);
    http->text = NULL;
    http->text_size = 0;
}

// ---- the head ----

// Decimal (or hexadecimal) digits at the start of text[size]; false when there is none or they overflow.
static bool number_parse(const char *text, size_t size, unsigned base, uint64_t *ret, size_t *ret_digits)
{
    uint64_t number = 0;
    size_t i = 0;

    for (; i < size; i++) {
        char c = text[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                : base;

        if (digit >= base)
            break;
        if (number > (UINT64_MAX - digit) / base)
            return false;
        number = number * base + digit;
    }
    *ret = number;
    *ret_digits = i;
    return i > 0;
}

static bool field_is(const char *line, size_t size, const char *name, const char **ret_value,
                     size_t *ret_value_size)
{
    size_t name_size = strlen(name);

    if (size <= name_size || line[name_size] != ':' || strncasecmp(line, name, name_size) != 0)
        return false;
    line += name_size + 1;
    size -= name_size + 1;
    while (size > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        size--;
    }
    while (size > 0 && (line[size - 1] == ' ' || line[size - 1] == '\t'))
        size--;
    *ret_value = line;
    *ret_value_size = size;
    return true;
}

static bool value_is(const char *value, size_t size, const char *word)
{
    return size == strlen(word) && strncasecmp(value, word, size) == 0;
}

// One field. False when it makes the response one that can't be framed.
static bool field_take(struct http *http, const char *line, size_t size, bool *is_chunked)
{
    const char *value;
    size_t value_size;
    uint64_t length;
    size_t digits;

    if (field_is(line, size, "content-length", &value, &value_size)) {
        if (!number_parse(value, value_size, 10, &length, &digits) || digits != value_size ||
            (http->length != UINT64_MAX && http->length != length))
            return false;
        http->length = length;
    } else if (field_is(line, size, "transfer-encoding", &value, &value_size)) {
        *is_chunked = value_is(value, value_size, "chunked");
        return *is_chunked;
    } else if (field_is(line, size, "connection", &value, &value_size)) {
        if (value_is(value, value_size, "close"))
            http->is_close = true;
        else if (value_is(value, value_size, "keep-alive"))
            http->is_close = false;
    }
    return true;
}

// "HTTP/1.1 200 OK". HTTP/1.0 closes unless it says otherwise.
static bool status_take(struct http *http, const char *line, size_t size)
{
    uint64_t status;
    size_t digits;

    if (size < 12 || strncmp(line, "HTTP/1.", 7) != 0 || line[8] != ' ' ||
        !number_parse(line + 9, 3, 10, &status, &digits) || digits != 3)
        return false;
    http->status = (int)status;
    http->is_close = line[7] == '0';
    return true;
}

// A whole head. False: bad.
static bool head_take(struct http *http, const char *text, size_t size)
{
    const char *end = text + size - 2; // the empty line's
    bool is_chunked = false;
    bool is_first = true;

    while (text < end) {
        const char *line_end = memmem(text, (size_t)(end - text), "\r\n", 2);
        size_t line = (size_t)(line_end - text);

        if (is_first ? !status_take(http, text, line) : !field_take(http, text, line, &is_chunked))
            return false;
        is_first = false;
        text += line + 2;
    }
    http->received = 0;
    http->is_chunk_started = http->is_last_chunk = false;
    if (http->status < 200) { // an interim response: the real one follows (RFC 9110 §15.2)
        http->length = UINT64_MAX;
        return http->status != 101;
    }
    if (http->status == 204 || http->status == 304) // no body (RFC 9112 §6.3)
        http->length = 0;
    else if (is_chunked)
        http->length = UINT64_MAX;
    http->left = http->length;
    http->state = is_chunked && http->length != 0 ? HTTP_BODY_CHUNKED
                  : http->length != UINT64_MAX    ? HTTP_BODY_LENGTH
                                                  : HTTP_BODY_TO_END;
    if (http->state == HTTP_BODY_TO_END)
        http->is_close = true;
    return true;
}

// ---- the body ----

// One step through the chunked coding (RFC 9112 §7.1): a size line, or data. Trailer fields are skipped.
static enum http_event chunk_step(struct http *http, const uint8_t *data, size_t length, size_t *ret_used,
                                  const uint8_t **ret_body, size_t *ret_body_size)
{
    const char *line;
    bool is_bad = false;
    size_t size, digits;

    if (http->is_chunk_started && http->left > 0) {
        *ret_body = data;
        *ret_used = *ret_body_size = length < http->left ? length : (size_t)http->left;
        http->left -= *ret_used;
        http->received += *ret_used;
        return HTTP_DATA;
    }
    size = text_take(http, "\r\n", data, length, CHUNK_LINE_MAX, ret_used, &line, &is_bad);
    if (is_bad)
        return HTTP_BAD;
    if (size == 0)
        return HTTP_WANTS_MORE;
    if (http->is_last_chunk) { // a trailer field, or the empty line that ends it all
        if (size == 2)
            http->state = HTTP_OVER;
    } else if (http->is_chunk_started) { // the line end behind a chunk's data
        if (size != 2)
            return HTTP_BAD;
        http->is_chunk_started = false;
    } else {
        if (!number_parse(line, size, 16, &http->left, &digits))
            return HTTP_BAD;
        http->is_chunk_started = http->left > 0;
        http->is_last_chunk = http->left == 0;
    }
    text_drop(http);
    return HTTP_WANTS_MORE;
}

static enum http_event body_step(struct http *http, const uint8_t *data, size_t length, size_t *ret_used,
                                 const uint8_t **ret_body, size_t *ret_body_size)
{
    size_t size = http->state == HTTP_BODY_LENGTH && http->left < length ? (size_t)http->left : length;

    *ret_body = data;
    *ret_used = *ret_body_size = size;
    http->received += size;
    if (http->state == HTTP_BODY_LENGTH)
        http->left -= size;
    return HTTP_DATA;
}

static enum http_event head_step(struct http *http, const uint8_t *data, size_t length, size_t *ret_used)
{
    const char *text = NULL;
    bool is_bad = false;
    size_t size = text_take(http, "\r\n\r\n", data, length, HTTP_HEAD_MAX, ret_used, &text, &is_bad);

    if (is_bad || (size > 0 && !head_take(http, text, size)))
        return HTTP_BAD;
    if (size > 0)
        text_drop(http);
    return HTTP_WANTS_MORE;
}

enum http_event http_feed(struct http *http, const uint8_t *data, size_t length, size_t *ret_used,
                          const uint8_t **ret_body, size_t *ret_body_size)
{
    size_t used = 0;
    enum http_event event;

    for (;;) {
        size_t step = 0;

        if (http->state == HTTP_BODY_LENGTH && http->left == 0)
            http->state = HTTP_OVER;
        if (http->state == HTTP_OVER || used == length) {
            *ret_used = used;
            return http->state == HTTP_OVER ? HTTP_DONE : HTTP_WANTS_MORE;
        }
        if (http->state == HTTP_HEAD)
            event = head_step(http, data + used, length - used, &step);
        else if (http->state == HTTP_BODY_CHUNKED)
            event = chunk_step(http, data + used, length - used, &step, ret_body, ret_body_size);
        else
            event = body_step(http, data + used, length - used, &step, ret_body, ret_body_size);
        used += step;
        if (event != HTTP_WANTS_MORE) {
            *ret_used = used;
            return event;
        }
    }
}

bool http_end(struct http *http)
{
    if (http->state != HTTP_BODY_TO_END)
        return false;
    http->state = HTTP_OVER;
    return true;
}
