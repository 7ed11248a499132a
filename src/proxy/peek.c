// SPDX-License-Identifier: Apache-2.0
// HELLO on listeners that pass some streams through: the ClientHello is looked at as it came, and kept, until it says where the connection
// goes. Most come whole with the first bytes and stay in the buffer that these came in. Of others a copy grows with what was sent, so that
// a client that is slow with it holds no more of our memory than of its own.
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "ringbolt/hello.h"

// What a buffer takes: a ClientHello of 64 KiB, or one of 16 KiB in records of a byte each.
#define KEPT_MAX BUFFER_LARGE_SIZE

struct peek {
    struct hello_view view;
    uint8_t *kept; // all that came, if it wasn't enough at first; NULL: nothing
    size_t kept_length;
    size_t kept_size;
};

static bool keep(struct peek *peek, const struct iovec *piece)
{
    size_t needed = peek->kept_length + piece->iov_len;
    size_t size = peek->kept_size > 0 ? peek->kept_size : 512;
    uint8_t *kept = peek->kept;

    while (size < needed)
        size *= 2;
    if (size != peek->kept_size)
        kept = realloc(peek->kept, size);
    if (!kept)
        return false;
    peek->kept = kept;
    peek->kept_size = size;
    memcpy(peek->kept + peek->kept_length, piece->iov_base, piece->iov_len);
    peek->kept_length = needed;
    return true;
}

// Everything that came in one buffer, for whoever goes on with it.
static struct buffer *take_kept(struct connection *connection)
{
    const struct peek *peek = connection->peek;
    enum buffer_class class = peek->kept_length <= BUFFER_SMALL_SIZE ? BUFFER_SMALL : BUFFER_LARGE;
    struct buffer *buffer = buffer_take(connection->proxy->pool, class);

    if (!buffer)
        return NULL;
    memcpy(buffer->data, peek->kept, peek->kept_length);
    buffer->pieces[0] = (struct iovec){.iov_base = buffer->data, .iov_len = peek->kept_length};
    buffer->piece_count = 1;
    return buffer;
}

static enum peek_verdict decide(struct connection *connection, enum hello_status status)
{
    const struct hello_view *view = &connection->peek->view;
    const struct config_route *route;

    if (status != HELLO_IS_WHOLE)
        return PEEK_TERMINATES; // the engine says what is wrong with it
    route = config_route_choose(connection->listener, view->sni, view->alpn, view->alpn_size);
    if (!route || route->way != CONFIG_WAY_PASSTHROUGH)
        return PEEK_TERMINATES;
    connection->route = route;
    connection->upstream = route->upstream;
    connection->names.sni = shared_text_take(&connection->proxy->texts, view->sni);
    return PEEK_PASSES;
}

static enum hello_status look(struct peek *peek, const struct iovec *piece)
{
    if (!peek->kept)
        return hello_view_look(&peek->view, piece->iov_base, piece->iov_len);
    return hello_view_look(&peek->view, peek->kept, peek->kept_length);
}

static enum peek_verdict take(struct connection *connection, struct buffer **buffer)
{
    struct peek *peek = connection->peek;
    struct iovec piece = (*buffer)->pieces[0];
    enum hello_status status;
    enum peek_verdict verdict;

    if (peek->kept && !keep(peek, &piece))
        return PEEK_NO_MEMORY;
    status = look(peek, &piece);
    // As long as the next bytes fit, whatever they are.
    if (status == HELLO_WANTS_MORE && peek->kept_length + BUFFER_SMALL_SIZE <= KEPT_MAX) {
        if (!peek->kept && !keep(peek, &piece))
            return PEEK_NO_MEMORY;
        return PEEK_WANTS_INPUT;
    }
    verdict = decide(connection, status);
    if (peek->kept) {
        buffer_give(connection->proxy->pool, *buffer);
        *buffer = take_kept(connection);
    }
    peek_finish(connection);
    return *buffer ? verdict : PEEK_NO_MEMORY;
}

enum peek_verdict peek_take(struct connection *connection, struct buffer **buffer)
{
    enum peek_verdict verdict = PEEK_NO_MEMORY;

    if (!connection->peek) {
        connection->peek = calloc(1, sizeof(*connection->peek));
        if (connection->peek)
            connection->peek->view.guard.size_max =
                (uint32_t)connection->proxy->setup.config->limits.client_hello;
    }
    if (connection->peek)
        verdict = take(connection, buffer);
    if (verdict == PEEK_WANTS_INPUT || verdict == PEEK_NO_MEMORY) {
        buffer_give(connection->proxy->pool, *buffer);
        *buffer = NULL;
    }
    return verdict;
}

void peek_finish(struct connection *connection)
{
    struct peek *peek = connection->peek;

    if (!peek)
        return;
    hello_view_finish(&peek->view);
    free(peek->kept);
    free(peek);
    connection->peek = NULL;
}
