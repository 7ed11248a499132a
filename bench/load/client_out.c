// SPDX-License-Identifier: Apache-2.0
// What a client sends: handshake flights, then records of content. One buffer is in flight and one may wait behind it.
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "client.h"
#include "ringbolt/socket.h"
#include "runner.h"
#include "work.h"

#define HANDSHAKE_KEY_UPDATE 24 // RFC 8446 §4.6.3
#define ALERT_LEVEL_WARNING  1
// So many records at most go out between two looks at the limit of the key.
#define RECORDS_AT_ONCE BUFFER_HUGE_RECORDS

static void on_sent(struct ring_op *op, const struct ring_completion *completion);

static bool is_openssl(const struct client *client)
{
    return client->runner->run->options->is_openssl;
}

// ---- a buffer that is filled ----

static size_t filled(const struct buffer *buffer)
{
    return buffer->piece_count > 0 ? buffer->pieces[0].iov_len : 0;
}

static bool filling_begin(struct client *client, enum buffer_class class)
{
    if (client->filling != NULL)
        return true;
    client->filling = buffer_take(client->runner->pool, class);
    if (client->filling == NULL) {
        client_end(client, FAILURE_INTERNAL, "no memory for what is to be sent");
        return false;
    }
    client->filling->pieces[0] = (struct iovec){.iov_base = client->filling->data};
    client->filling->piece_count = 1;
    client->filling_plain = 0;
    return true;
}

// Room for `size` bytes behind what is there; NULL when it doesn't fit.
static uint8_t *filling_room(struct client *client, size_t size)
{
    struct buffer *buffer = client->filling;

    return size <= buffer->capacity - filled(buffer) ? buffer->data + filled(buffer) : NULL;
}

uint8_t *client_room(void *owner, size_t size)
{
    struct client *client = owner;
    uint8_t *room;

    if (!filling_begin(client, BUFFER_LARGE))
        return NULL;
    room = filling_room(client, size);
    if (room != NULL)
        client->filling->pieces[0].iov_len += size;
    return room;
}

// ---- content ----

static uint64_t content_left(const struct client *client)
{
    return client->pattern_left == UINT64_MAX ? UINT64_MAX : client->text_left + client->pattern_left;
}

// The next bytes of what is to be sent, at most `size`. Those of the pattern are counted.
static size_t content_take(struct client *client, uint8_t *to, size_t size)
{
    size_t text = client->text_left < size ? client->text_left : size;
    size_t pattern = size - text < client->pattern_left ? size - text : (size_t)client->pattern_left;

    if (text > 0) { // there may be none at all
        memcpy(to, client->text, text);
        client->text += text;
        client->text_left -= text;
    }
    pattern_copy(&client->runner->run->pattern, client->pattern_at, to + text, pattern);
    client->pattern_at += pattern;
    if (client->pattern_left != UINT64_MAX)
        client->pattern_left -= pattern;
    client->filling_plain += pattern;
    return text + pattern;
}

// Seals one record of `length` bytes that stand at room + head. 0 or -EIO.
static int seal(struct client *client, enum record_type type, uint8_t *payload, size_t length)
{
    int size = record_user_seal(&client->transmit, type, payload, length);

    if (size < 0)
        return -EIO;
    client->filling->pieces[0].iov_len += (size_t)size;
    return 0;
}

static int fill_ours(struct client *client)
{
    size_t head = record_user_head(&client->transmit);
    size_t around = head + record_user_tail(&client->transmit);
    struct buffer *buffer = client->filling;
    int error = 0;

    while (error == 0 && content_left(client) > 0 && buffer->capacity - filled(buffer) > around) {
        uint8_t *payload = buffer->data + filled(buffer) + head;
        size_t room = buffer->capacity - filled(buffer) - around;
        uint64_t left = content_left(client);
        size_t most = room < RECORD_PLAINTEXT_MAX ? room : RECORD_PLAINTEXT_MAX;
        size_t length;

        if (left > most && most < RECORD_PLAINTEXT_MAX)
            break; // full records are cheaper
        length = content_take(client, payload, most);
        error = seal(client, RECORD_DATA, payload, length);
    }
    return error;
}

static int fill_openssl(struct client *client)
{
    uint8_t *scratch = client->runner->scratch;
    int error = 0;

    while (error == 0 && content_left(client) > 0 && filling_room(client, RECORD_WIRE_MAX) != NULL) {
        size_t length = content_take(client, scratch, RECORD_PLAINTEXT_MAX);

        error = tls_client_write(client->tls, scratch, length);
    }
    return error;
}

// A KeyUpdate that asks for none in return, then the new keys (RFC 8446 §4.6.3).
static int fill_key_update(struct client *client)
{
    static const uint8_t message[] = {HANDSHAKE_KEY_UPDATE, 0, 0, 1, 0};
    uint8_t *payload = client->filling->data + filled(client->filling) + record_user_head(&client->transmit);

    memcpy(payload, message, sizeof(message));
    client->is_key_update_due = false;
    return seal(client, RECORD_HANDSHAKE, payload, sizeof(message)) < 0
               ? -EIO
               : record_user_update(&client->transmit);
}

static int fill_goodbye(struct client *client)
{
    uint8_t *payload;

    client->is_goodbye_made = true;
    if (is_openssl(client))
        return tls_client_close_notify(client->tls);
    payload = client->filling->data + filled(client->filling) + record_user_head(&client->transmit);
    payload[0] = ALERT_LEVEL_WARNING;
    payload[1] = ALERT_CLOSE_NOTIFY;
    return seal(client, RECORD_ALERT, payload, 2);
}

static enum buffer_class class_for(const struct client *client)
{
    uint64_t left = content_left(client);

    if (is_openssl(client) ||
        (left > BUFFER_SMALL_SIZE / 2 && left <= BUFFER_LARGE_RECORDS * RECORD_PLAINTEXT_MAX))
        return BUFFER_LARGE;
    return left <= BUFFER_SMALL_SIZE / 2 ? BUFFER_SMALL : BUFFER_HUGE;
}

// Fills a buffer with what is due. False when nothing is, or the client has ended.
static bool fill(struct client *client)
{
    bool is_ours = !is_openssl(client);
    int error = 0;

    if (client->state < CLIENT_OPEN)
        return client->filling != NULL; // a flight of the handshake, if there is one
    if (is_ours && client->transmit.keys.version == RECORD_TLS13 &&
        client->transmit.keys.sequence + RECORDS_AT_ONCE > record_cipher_limit(client->transmit.keys.cipher))
        client->is_key_update_due = true;
    if (client->filling == NULL && content_left(client) == 0 && !client->is_key_update_due &&
        (!client->is_goodbye_due || client->is_goodbye_made))
        return false;
    // A buffer that holds something else already (the handshake's last flight) has room for a small request.
    if (!filling_begin(client, class_for(client)))
        return false;
    if (is_ours && client->is_key_update_due)
        error = fill_key_update(client);
    if (error == 0)
        error = is_ours ? fill_ours(client) : fill_openssl(client);
    if (error == 0 && content_left(client) == 0 && client->is_goodbye_due && !client->is_goodbye_made &&
        filling_room(client, RECORD_HEAD_MAX + 2 + RECORD_TAIL_MAX) != NULL)
        error = fill_goodbye(client);
    if (error < 0)
        client_end(client, FAILURE_INTERNAL, "a record could not be sealed");
    return error == 0;
}

// ---- sending ----

static void transmit(struct client *client)
{
    struct iovec *piece = &client->sending->pieces[0];

    client->send_op.handler = on_sent;
    ring_send(client->runner->ring, &client->send_op, client->fd, piece->iov_base, piece->iov_len, 0);
}

void client_pump(struct client *client)
{
    if (client->state == CLIENT_DYING || client->sending != NULL || client->is_send_broken)
        return;
    if (!fill(client))
        return;
    client->sending = client->filling;
    client->sending_plain = client->filling_plain;
    client->filling = NULL;
    client->filling_plain = 0;
    if (filled(client->sending) > 0) {
        transmit(client);
        return;
    }
    buffer_give(client->runner->pool, client->sending); // OpenSSL had nothing to say
    client->sending = NULL;
}

void client_send(struct client *client, const void *text, size_t length, uint64_t at, uint64_t pattern)
{
    assert(client->text_left == 0 && client->pattern_left == 0);
    client->text = text;
    client->text_left = length;
    client->pattern_at = at;
    client->pattern_left = pattern;
    client_pump(client);
}

bool client_has_sent(const struct client *client)
{
    return client->text_left == 0 && client->pattern_left == 0 && client->filling == NULL &&
           client->sending == NULL;
}

// All of a buffer is with the kernel.
static void sent(struct client *client)
{
    struct runner *runner = client->runner;
    uint64_t plain = client->sending_plain;

    buffer_give(runner->pool, client->sending);
    client->sending = NULL;
    client->sending_plain = 0;
    runner_count_sent(runner, plain);
    if (client->is_failing) {
        client_end(client, FAILURE_NONE, NULL);
        return;
    }
    if (client->is_leaving) {
        client_pump(client);
        client_end_if_over(client);
        return;
    }
    if (client->is_goodbye_made && client->filling == NULL) {
        socket_shutdown(client->fd); // an error will show when we read
        client_end_if_over(client);
        return;
    }
    if (plain > 0 && client->state == CLIENT_OPEN && client_has_sent(client) && runner->work->sent != NULL)
        runner->work->sent(client);
    client_pump(client);
}

static void on_sent(struct ring_op *op, const struct ring_completion *completion)
{
    struct client *client = list_entry(op, struct client, send_op);
    int result = completion->result;

    if (result == -EAGAIN || result == -EINTR || result == -ENOMEM)
        result = 0; // the kernel was short of something for a moment
    if (client->state == CLIENT_DYING) {
        client_reap(client);
        return;
    }
    if (result < 0) {
        // What the server says last tells more: an alert may wait to be read.
        client->is_send_broken = true;
        client->text_left = 0;
        client->pattern_left = 0;
        buffer_give(client->runner->pool, client->sending);
        client->sending = NULL;
        if (!client->receive_op.in_flight && !client->is_peer_gone)
            client_lost(client, result);
        client_end_if_over(client);
    } else {
        client_progress(client);
        buffer_consume(client->sending, (size_t)result);
        if (client->sending->piece_count > 0)
            transmit(client);
        else
            sent(client);
    }
    client_reap(client);
}
