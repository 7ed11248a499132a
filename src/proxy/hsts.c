// SPDX-License-Identifier: Apache-2.0
// The header goes to the end of the head and not behind the status line: by then it is known whether the server sends one of its own, and
// nothing had to wait for that but one byte, the CR that may begin the empty line.
#include "hsts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "hsts_head.h"

struct hsts {
    struct hsts_head head;
};

void hsts_start(struct connection *connection)
{
    const struct shared_text *alpn = connection->names.alpn;

    if (!connection->listener->hsts || connection->is_passed ||
        connection->server.receive_mode == ENDPOINT_USER)
        return;
    if (alpn && strncmp(alpn->text, "http/1.", strlen("http/1.")) != 0)
        return;
    connection->hsts = malloc(sizeof(*connection->hsts));
    if (connection->hsts)
        hsts_head_init(&connection->hsts->head);
}

void hsts_finish(struct connection *connection)
{
    free(connection->hsts);
    connection->hsts = NULL;
}

// ---- writing pieces ----

// Fills the pieces that endpoint_layout() made; they are large enough.
static void fill(struct buffer *buffer, const struct hsts_parts *parts)
{
    unsigned piece = 0;
    size_t used = 0;

    for (unsigned i = 0; i < parts->count; i++) {
        const uint8_t *from = parts->parts[i].iov_base;
        size_t left = parts->parts[i].iov_len;

        while (left > 0) {
            size_t length = buffer->pieces[piece].iov_len - used;

            if (length > left)
                length = left;
            memcpy((uint8_t *)buffer->pieces[piece].iov_base + used, from, length);
            from += length;
            left -= length;
            used += length;
            if (used == buffer->pieces[piece].iov_len && ++piece < buffer->piece_count)
                used = 0;
        }
    }
    if (piece < buffer->piece_count) {
        buffer->pieces[piece].iov_len = used;
        buffer->piece_count = (uint16_t)(piece + (used > 0));
    }
}

// Exchanges the flow's buffer for one that holds the parts (which may point into the old one). False: there is none.
static bool exchange(struct flow *flow, const struct hsts_parts *parts)
{
    struct buffer_pool *pool = flow->connection->proxy->pool;

    for (enum buffer_class class = BUFFER_SMALL; class < BUFFER_CLASS_COUNT; class ++) {
        struct buffer *buffer = buffer_take(pool, class);

        if (!buffer)
            continue;
        endpoint_layout(flow->destination, buffer);
        if (buffer_length(buffer) < parts->length) {
            buffer_give(pool, buffer);
            continue;
        }
        fill(buffer, parts);
        buffer_give(pool, flow->buffer);
        flow->buffer = buffer;
        return true;
    }
    return false;
}

// ---- what passes ----

static bool deliver(struct flow *flow, const struct hsts_parts *parts)
{
    if (exchange(flow, parts))
        return true;
    connection_end(flow->connection, END_MEMORY, ALERT_NONE, "no buffer for Strict-Transport-Security");
    return false;
}

// What comes from the server needs no opening by us, so it is in one piece, of a small buffer: nothing larger is asked for until this is over.
bool hsts_pass(struct flow *flow)
{
    struct connection *connection = flow->connection;
    const struct iovec *piece = &flow->buffer->pieces[0];
    struct hsts_parts parts;

    assert(flow->buffer->piece_count == 1 && flow->kept == 0);
    hsts_head_pass(&connection->hsts->head, connection->listener->hsts, piece->iov_base, piece->iov_len,
                   &parts);
    if (parts.is_over)
        hsts_finish(connection);
    else
        flow->appetite = BUFFER_SMALL;
    if (parts.is_as_was)
        return true;
    return parts.length > 0 && deliver(flow, &parts);
}

bool hsts_flush(struct flow *flow)
{
    struct connection *connection = flow->connection;
    struct hsts_parts parts = {
        .parts = {{.iov_base = (char[]){'\r'}, .iov_len = 1}}, .count = 1, .length = 1};
    bool holds = hsts_head_holds(&connection->hsts->head);

    hsts_finish(connection);
    return holds && deliver(flow, &parts);
}
