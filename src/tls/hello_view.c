// SPDX-License-Identifier: Apache-2.0
// A ClientHello on the wire: the guard follows the records until the message is whole, then it is put together, if it has to be, and taken
// apart (RFC 8446 §4.1.2). No length is trusted: each is compared with what is there before anything is read.
#include "ringbolt/hello.h"

#include <stdlib.h>
#include <string.h>

#include "src/tls/hello.h"

#define MESSAGE_HEADER_SIZE 4
#define RANDOM_SIZE         32
#define SESSION_ID_MAX      32

// What is left of a span. Whoever reads too far gets zeroes, and is_short stays.
struct reader {
    const uint8_t *data;
    size_t left;
    bool is_short;
};

static struct reader read_span(struct reader *reader, size_t length)
{
    struct reader span = {.data = reader->data};

    if (length > reader->left) {
        reader->is_short = true;
        reader->left = 0;
        return span;
    }
    span.left = length;
    reader->data += length;
    reader->left -= length;
    return span;
}

static size_t read_number(struct reader *reader, size_t bytes)
{
    struct reader span = read_span(reader, bytes);
    size_t number = 0;

    for (size_t i = 0; i < span.left; i++)
        number = number << 8 | span.data[i];
    return number;
}

// With its length of so many bytes ahead.
static struct reader read_vector(struct reader *reader, size_t length_bytes)
{
    size_t length = read_number(reader, length_bytes);

    return read_span(reader, length);
}

static enum hello_status bad(struct hello_view *view, const char *reason)
{
    view->reason = reason;
    return HELLO_IS_BAD;
}

static enum hello_status parse_extensions(struct hello_view *view, struct reader extensions)
{
    bool has_name = false;
    bool has_protocols = false;

    while (extensions.left > 0) {
        size_t type = read_number(&extensions, 2);
        struct reader value = read_vector(&extensions, 2);

        if (extensions.is_short)
            return bad(view, "malformed extensions in a ClientHello");
        if (type == TLSEXT_TYPE_server_name) {
            if (has_name || !hello_read_name(value.data, value.left, view->sni, sizeof(view->sni)))
                return bad(view, "malformed server name in a ClientHello");
            has_name = true;
        } else if (type == TLSEXT_TYPE_application_layer_protocol_negotiation) {
            if (has_protocols || !hello_read_protocols(value.data, value.left, &view->alpn, &view->alpn_size))
                return bad(view, "malformed ALPN in a ClientHello");
            has_protocols = true;
        }
    }
    return HELLO_IS_WHOLE;
}

static enum hello_status parse(struct hello_view *view, struct reader message)
{
    struct reader extensions = {0};
    struct reader session;
    struct reader suites;
    struct reader compressions;

    read_span(&message, 2 + RANDOM_SIZE); // behind legacy_version
    session = read_vector(&message, 1);
    suites = read_vector(&message, 2);
    compressions = read_vector(&message, 1);
    if (message.left > 0) // TLS 1.2 may have none
        extensions = read_vector(&message, 2);
    if (message.is_short || message.left > 0 || session.left > SESSION_ID_MAX || suites.left < 2 ||
        suites.left % 2 != 0 || compressions.left == 0)
        return bad(view, "malformed ClientHello");
    return parse_extensions(view, extensions);
}

// Copies the first bytes of the message from its records. How many of `size` were there.
static size_t gather(const uint8_t *wire, size_t length, uint8_t *message, size_t size)
{
    struct reader records = {.data = wire, .left = length};
    size_t done = 0;

    while (done < size && records.left > 0) {
        struct reader content;
        size_t part;

        read_span(&records, RECORD_HEADER_SIZE - 2);
        part = read_number(&records, 2);
        content = read_span(&records, part < records.left ? part : records.left);
        part = content.left < size - done ? content.left : size - done;
        memcpy(message + done, content.data, part);
        done += part;
    }
    return done;
}

// Finds the message, whose header says how long it is, and puts it together if it came in several records.
static bool find_message(struct hello_view *view, const uint8_t *wire, size_t length, struct reader *ret)
{
    struct reader record = {.data = wire, .left = length};
    uint8_t header[MESSAGE_HEADER_SIZE];
    size_t size;

    if (gather(wire, length, header, sizeof(header)) < sizeof(header))
        return false;
    size = MESSAGE_HEADER_SIZE + ((size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3]);
    read_span(&record, RECORD_HEADER_SIZE - 2);
    if (read_number(&record, 2) < size) {
        view->assembled = malloc(size);
        if (view->assembled == NULL)
            return false;
        record =
            (struct reader){.data = view->assembled, .left = gather(wire, length, view->assembled, size)};
    }
    *ret = read_span(&record, size);
    read_span(ret, MESSAGE_HEADER_SIZE);
    return !record.is_short;
}

enum hello_status hello_view_look(struct hello_view *view, const uint8_t *wire, size_t length)
{
    enum hello_verdict verdict;
    struct reader message;

    verdict = hello_watch(&view->guard, 0, wire + view->seen, length - view->seen);
    view->seen = length;
    if (verdict != HELLO_GOOD && !view->guard.is_hello_whole) // else it is about what follows
        return bad(view, verdict == HELLO_SSLV2 ? "SSLv2-style ClientHello" : "ClientHello too large");
    if (view->guard.is_strange)
        return bad(view, "not a ClientHello");
    if (!view->guard.is_hello_whole)
        return HELLO_WANTS_MORE;
    if (!find_message(view, wire, length, &message))
        return bad(view, "no memory for a ClientHello");
    return parse(view, message);
}

void hello_view_finish(struct hello_view *view)
{
    free(view->assembled);
    view->assembled = NULL;
}
