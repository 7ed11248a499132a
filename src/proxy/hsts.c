// SPDX-License-Identifier: Apache-2.0
// The header goes to the end of the head and not behind the status line: by then it is known whether the server sends one of its own, and
// nothing had to wait for that but one byte, the CR that may begin the empty line.
#include "hsts.h"

#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "hsts_head.h"

struct hsts {
    struct hsts_head head;
    bool has_begun; // something of the response has come
};

void hsts_start(struct connection *connection)
{
    const struct shared_text *alpn = connection->names.alpn;

    if (!connection->listener->hsts || connection->is_passed)
        return;
    if (alpn && strncmp(alpn->text, "http/1.", strlen("http/1.")) != 0)
        return;
    connection->hsts = malloc(sizeof(*connection->hsts));
    if (!connection->hsts)
        return;
    hsts_head_init(&connection->hsts->head);
    connection->hsts->has_begun = false;
}

bool hsts_has_begun(const struct connection *connection)
{
    return connection->hsts && connection->hsts->has_begun;
}

void hsts_finish(struct connection *connection)
{
    free(connection->hsts);
    connection->hsts = NULL;
}

// ---- what is to be passed on ----

// What came is in pieces, one for each record where we opened them. Most are passed on in one part, behind a CR at most; the one with the end of the
// head has two more.
struct passing {
    struct iovec parts[2 * BUFFER_PIECES_MAX + 2];
    unsigned count;
    size_t length;
    bool is_changed;
};

static void pass_part(struct passing *passing, const struct iovec *part)
{
    passing->parts[passing->count++] = *part;
    passing->length += part->iov_len;
}

static void pass_piece(struct connection *connection, struct passing *passing, const struct iovec *piece)
{
    struct hsts_parts parts;

    if (!connection->hsts) {
        pass_part(passing, piece);
        return;
    }
    hsts_head_pass(&connection->hsts->head, connection->listener->hsts, piece->iov_base, piece->iov_len,
                   &parts);
    for (unsigned i = 0; i < parts.count; i++)
        pass_part(passing, &parts.parts[i]);
    passing->is_changed |= !parts.is_as_was;
    if (parts.is_over)
        hsts_finish(connection);
}

// ---- the buffer that it goes on in ----

// As it lies where nobody has opened it but the kernel. False: there is no room for it in this buffer.
static bool write_received(struct flow *flow, struct buffer *buffer, const struct passing *passing)
{
    endpoint_layout(flow->destination, buffer);
    if (buffer_length(buffer) < passing->length)
        return false;
    buffer_fill(buffer, passing->parts, passing->count);
    return true;
}

// As it lies where we opened it, with the beginning of the next record behind it.
static bool write_opened(struct flow *flow, struct buffer *buffer, const struct passing *passing)
{
    size_t lead = endpoint_lead(flow->source, flow->destination, buffer->capacity);
    uint8_t *to = buffer->data + lead;

    if (lead + passing->length + flow->kept > buffer->capacity)
        return false;
    for (unsigned i = 0; i < passing->count; i++) {
        memcpy(to, passing->parts[i].iov_base, passing->parts[i].iov_len);
        to += passing->parts[i].iov_len;
    }
    if (flow->kept > 0)
        memcpy(to, flow->buffer->data + flow->kept_at, flow->kept);
    flow->kept_at = (uint32_t)(lead + passing->length);
    buffer->pieces[0] = (struct iovec){.iov_base = buffer->data + lead, .iov_len = passing->length};
    buffer->piece_count = 1;
    return true;
}

// Exchanges the flow's buffer for one that holds the parts (which may point into the old one). False: there is none.
static bool exchange(struct flow *flow, const struct passing *passing)
{
    struct buffer_pool *pool = flow->connection->proxy->pool;
    bool is_opened = flow->source->receive_mode == ENDPOINT_USER;

    for (enum buffer_class class = BUFFER_SMALL; class < BUFFER_CLASS_COUNT; class ++) {
        struct buffer *buffer = buffer_take(pool, class);

        if (!buffer)
            continue;
        if (is_opened ? write_opened(flow, buffer, passing) : write_received(flow, buffer, passing)) {
            buffer_give(pool, flow->buffer);
            flow->buffer = buffer;
            return true;
        }
        buffer_give(pool, buffer);
    }
    return false;
}

static bool deliver(struct flow *flow, const struct passing *passing)
{
    if (exchange(flow, passing))
        return true;
    connection_end(flow->connection, END_MEMORY, ALERT_NONE, "no buffer for Strict-Transport-Security");
    return false;
}

// ---- what passes ----

// No huge buffer is asked for until this is over, so that there is always a larger one.
bool hsts_pass(struct flow *flow)
{
    const struct buffer *buffer = flow->buffer;
    struct passing passing;

    passing.count = 0;
    passing.length = 0;
    passing.is_changed = false;
    flow->connection->hsts->has_begun = true;
    for (unsigned i = 0; i < buffer->piece_count; i++)
        pass_piece(flow->connection, &passing, &buffer->pieces[i]);
    if (flow->connection->hsts)
        flow->appetite = BUFFER_SMALL;
    if (!passing.is_changed)
        return true;
    return passing.length > 0 && deliver(flow, &passing);
}

bool hsts_flush(struct flow *flow)
{
    struct connection *connection = flow->connection;
    struct passing passing = {.parts = {{.iov_base = (char[]){'\r'}, .iov_len = 1}}, .count = 1, .length = 1};
    bool holds = hsts_head_holds(&connection->hsts->head);

    hsts_finish(connection);
    return holds && deliver(flow, &passing);
}
