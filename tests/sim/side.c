// SPDX-License-Identifier: Apache-2.0
#include "side.h"

#include <openssl/err.h>

#define PENDING_MAX 60000 // of what is to be sent, before more is made

void side_open(struct side *side, SSL_CTX *context, bool is_server)
{
    *side = (struct side){
        .in = BIO_new(BIO_s_mem()), .out = BIO_new(BIO_s_mem()), .stops_at = SIZE_MAX, .spoils_at = SIZE_MAX};
    BIO_set_mem_eof_return(side->in, -1);
    if (!context)
        return;
    side->ssl = SSL_new(context);
    SSL_set_bio(side->ssl, side->in, side->out);
    SSL_set_mode(side->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (is_server)
        SSL_set_accept_state(side->ssl);
    else
        SSL_set_connect_state(side->ssl);
}

void side_close(struct side *side)
{
    if (side->ssl) {
        SSL_free(side->ssl);
    } else {
        BIO_free(side->in);
        BIO_free(side->out);
    }
}

static void pump_in(struct side *side)
{
    uint8_t data[30000];
    size_t length = peer_read(side->peer, data, side->reads_slowly ? 1 + world_below(3000) : sizeof(data));

    if (length > 0)
        BIO_write(side->in, data, (int)length);
    side->saw_reset |= peer_was_reset(side->peer);
    side->saw_end |= peer_is_at_end(side->peer) && !peer_was_reset(side->peer) &&
                     BIO_ctrl_pending(side->in) == 0 && !(side->ssl && SSL_has_pending(side->ssl));
}

static void pump_out(struct side *side)
{
    uint8_t data[16384];
    size_t most = side->stops_at - side->written;
    size_t pending = BIO_ctrl_pending(side->out);
    size_t length;
    char *begin;

    if (side->has_left || pending == 0 || most == 0)
        return;
    BIO_get_mem_data(side->out, &begin);
    length = pending < sizeof(data) ? pending : sizeof(data);
    length = length < most ? length : most;
    length = world_chance(50) ? length : 1 + world_below(length);
    for (size_t i = 0; i < length; i++)
        data[i] = side->written + i < side->spoils_at ? (uint8_t)begin[i] : (uint8_t)world_random();
    length = peer_write(side->peer, data, length);
    side->written += length;
    while (length > 0)
        length -= (size_t)BIO_read(side->out, data, (int)length);
}

static void note(struct side *side, int result)
{
    switch (SSL_get_error(side->ssl, result)) {
    case SSL_ERROR_ZERO_RETURN:
        side->saw_close_notify = true;
        break;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        break;
    default:
        side->saw_error = true;
    }
    ERR_clear_error();
}

void side_step(struct side *side)
{
    if (!side->peer)
        return;
    pump_in(side);
    if (side->ssl && !side->is_handshaken && !side->saw_error) {
        int result = SSL_do_handshake(side->ssl);

        side->is_handshaken = result == 1;
        if (result != 1)
            note(side, result);
        else
            side->handshake_size = side->written + BIO_ctrl_pending(side->out);
    }
    pump_out(side);
}

bool side_skip_line(struct side *side, bool *is_over)
{
    char byte;

    while (!*is_over && peer_read(side->peer, &byte, 1) == 1)
        *is_over = byte == '\n';
    return *is_over;
}

size_t side_read(struct side *side, uint8_t *data, size_t size)
{
    int length;

    if (!side->ssl) {
        length = BIO_read(side->in, data, (int)size);
        return length > 0 ? (size_t)length : 0;
    }
    if (!side->is_handshaken || side->saw_error || side->saw_close_notify)
        return 0;
    length = SSL_read(side->ssl, data, (int)size);
    if (length <= 0)
        note(side, length);
    return length > 0 ? (size_t)length : 0;
}

bool side_may_write(const struct side *side)
{
    return side->peer && (!side->ssl || side->is_handshaken) && !side->saw_error && !side->has_closed &&
           !side->has_left && BIO_ctrl_pending(side->out) < PENDING_MAX;
}

size_t side_write(struct side *side, const uint8_t *data, size_t length)
{
    int written =
        side->ssl ? SSL_write(side->ssl, data, (int)length) : BIO_write(side->out, data, (int)length);

    if (written <= 0 && side->ssl)
        note(side, written);
    return written > 0 ? (size_t)written : 0;
}

bool side_is_over(const struct side *side)
{
    bool has_heard_all = side->ssl ? side->saw_close_notify : side->saw_end;

    return side_is_drained(side) && ((side->has_closed && has_heard_all) || side->saw_error ||
                                     side->saw_reset || (side->saw_end && !has_heard_all));
}

bool side_is_drained(const struct side *side)
{
    return BIO_ctrl_pending(side->out) == 0;
}

void side_finish(struct side *side)
{
    if (side->ssl && side->is_handshaken && !side->saw_error)
        SSL_shutdown(side->ssl);
    ERR_clear_error();
    side->has_closed = true;
}

void side_leave(struct side *side)
{
    if (side->peer && !side->has_left)
        peer_finish(side->peer);
    side->has_left = true;
}

void side_reset(struct side *side)
{
    if (side->peer)
        peer_reset(side->peer);
    side->has_left = true;
}
