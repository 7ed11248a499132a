// SPDX-License-Identifier: Apache-2.0
// What comes to a client: handshake flights, then records. An idle client holds no buffer.
#include <errno.h>
#include <string.h>

#include "client.h"
#include "ringbolt/clock.h"
#include "runner.h"
#include "work.h"

#define HANDSHAKE_HEADER_SIZE 4
#define HANDSHAKE_KEY_UPDATE  24 // RFC 8446 §4.6.3
#define IDLE_FULL             (BUFFER_SMALL_SIZE - RING_IDLE_MARGIN)

static void on_received(struct ring_op *op, const struct ring_completion *completion);

// ---- what was opened ----

// The stream is over, for TLS or for TCP.
static void peer_ended(struct client *client, bool is_orderly)
{
    const struct work *work = client->runner->work;

    if (client->state == CLIENT_OPEN)
        work->ended(client, is_orderly);
    else
        client_end_if_over(client); // close_notify is not insisted on where we have said goodbye first
}

static void on_alert(struct client *client, uint8_t level, uint8_t alert)
{
    bool is_warning = client->receive.keys.version == RECORD_TLS12 && level == 1;

    if (alert == ALERT_CLOSE_NOTIFY) {
        if (!client->is_peer_done) {
            client->is_peer_done = true;
            peer_ended(client, true);
        }
    } else if (alert != ALERT_USER_CANCELED && !is_warning) {
        client->runner->tally.alerts[alert]++;
        client_end(client, FAILURE_ALERT, record_alert_name((enum record_alert)alert));
    }
}

// Messages after the handshake (RFC 8446 §4.6): tickets are passed over (OpenSSL has had its look at them), KeyUpdate is
// followed. False when the protocol is broken.
static bool on_handshake(struct client *client, const uint8_t *data, size_t length)
{
    if (client->receive.keys.version == RECORD_TLS12)
        return true; // HelloRequest may be ignored (RFC 5246 §7.4.1.1)
    while (length > 0) {
        uint8_t *header = client->handshake_header;
        size_t take;

        if (client->handshake_skip > 0) {
            take = length < client->handshake_skip ? length : client->handshake_skip;
            client->handshake_skip -= (uint32_t)take;
            data += take;
            length -= take;
            continue;
        }
        header[client->handshake_header_size++] = *data++;
        length--;
        if (client->handshake_header_size < HANDSHAKE_HEADER_SIZE)
            continue;
        client->handshake_header_size = 0;
        client->handshake_skip = (uint32_t)header[1] << 16 | (uint32_t)header[2] << 8 | header[3];
        if (header[0] != HANDSHAKE_KEY_UPDATE)
            continue;
        if (client->handshake_skip != 1 || length != 1 || data[0] > 1) // it ends its record (RFC 8446 §5.1)
            return false;
        client->handshake_skip = 0;
        client->is_key_update_due = client->is_key_update_due || data[0] == 1;
        return record_user_update(&client->receive) == 0;
    }
    return true;
}

static void on_content(struct client *client, const uint8_t *data, size_t length)
{
    if (client->state == CLIENT_OPEN && client->runner->work->received != NULL)
        client->runner->work->received(client, data, length);
}

// Opens the whole records in data[length] with our record layer. How many bytes they take.
static size_t open_records(struct client *client, uint8_t *data, size_t length)
{
    size_t used = 0;

    while (client->state == CLIENT_OPEN || client->state == CLIENT_CLOSING) {
        enum record_alert alert = ALERT_NONE;
        struct record_opened opened;
        int result = client->is_peer_done
                         ? 0
                         : record_user_open(&client->receive, data + used, length - used, &opened, &alert);

        if (client->is_peer_done)
            return length; // nothing counts behind close_notify
        if (result == 0)
            break;
        if (result < 0) {
            client_end(client, FAILURE_BAD_RECORD, record_alert_name(alert));
            break;
        }
        used += opened.consumed;
        if (opened.type == RECORD_DATA)
            on_content(client, opened.payload, opened.length);
        else if (opened.type == RECORD_ALERT)
            on_alert(client, opened.payload[0], opened.payload[1]);
        else if (!on_handshake(client, opened.payload, opened.length))
            client_end(client, FAILURE_BAD_RECORD, "a message that has no place after the handshake");
    }
    return used;
}

static void read_openssl(struct client *client, const uint8_t *data, size_t length)
{
    uint8_t *scratch = client->runner->scratch;

    tls_client_input(client->tls, data, length);
    while ((client->state == CLIENT_OPEN || client->state == CLIENT_CLOSING) && !client->is_peer_done) {
        uint8_t alert = 0;
        size_t size = 0;

        switch (tls_client_read(client->tls, scratch, RECORD_PLAINTEXT_MAX, &size, &alert)) {
        case TLS_READ_NONE:
            return;
        case TLS_READ_DATA:
            on_content(client, scratch, size);
            break;
        case TLS_READ_CLOSED:
            on_alert(client, 1, ALERT_CLOSE_NOTIFY);
            return;
        case TLS_READ_ALERT:
            client->runner->tally.alerts[alert]++;
            client_end(client, FAILURE_ALERT, record_alert_name((enum record_alert)alert));
            return;
        default:
            client_end(client, FAILURE_BAD_RECORD, "OpenSSL refused a record");
            return;
        }
    }
}

// ---- the handshake ----

static void handshake_failed(struct client *client)
{
    char text[TALLY_DETAIL_SIZE];
    uint8_t alert;
    enum failure failure = tls_client_failure(client->tls, &alert, text, sizeof(text));

    if (failure == FAILURE_HANDSHAKE_ALERT)
        client->runner->tally.handshake_alerts[alert]++;
    client_pump(client); // our alert
    if (client->sending == NULL || failure == FAILURE_HANDSHAKE_ALERT) {
        client_end(client, failure, text);
        return;
    }
    runner_fail(client->runner, failure, text);
    client->is_failing = true;
    client->failure = failure;
}

static void drop_openssl(struct client *client)
{
    tls_client_destroy(client->tls);
    client->tls = NULL;
}

// Bytes that our record layer is about to open may hold the ticket that is waited for.
static void look_for_ticket(struct client *client, const uint8_t *data, size_t length)
{
    bool is_useful;

    if (client->tls == NULL || length == 0)
        return;
    is_useful = tls_client_shadow(client->tls, data, length);
    client->has_ticket = tls_client_has_ticket(client->tls);
    if (!is_useful)
        drop_openssl(client);
}

static void handshake_done(struct client *client)
{
    const struct options *options = client->runner->run->options;
    struct record_keys receive, transmit;

    if (!options->is_openssl) {
        if (tls_client_keys(client->tls, &receive, &transmit) < 0) {
            client_end(client, FAILURE_INTERNAL, "our record layer lacks the suite; use --records openssl");
            return;
        }
        record_user_init(&client->receive, &receive, false);
        record_user_init(&client->transmit, &transmit, true);
        record_keys_wipe(&receive);
        record_keys_wipe(&transmit);
    }
    client->state = CLIENT_OPEN;
    client->opened_ns = client->runner->now_ns;
    client->runner->opening--;
    client->runner->open++;
    runner_client_opened(client);
    client->has_ticket = tls_client_has_ticket(client->tls);
    // Only what may still have to be looked through for a ticket keeps OpenSSL's object.
    if (!options->is_openssl && (!options->is_resuming || client->has_ticket))
        drop_openssl(client);
}

static size_t handshake_bytes(struct client *client, const uint8_t *data, size_t length)
{
    size_t before = client->filling != NULL ? client->filling->pieces[0].iov_len : 0;
    size_t eaten;
    enum tls_status status = tls_client_step(client->tls, data, length, &eaten);

    if (client->state != CLIENT_HANDSHAKE) // no memory for what it wrote
        return length;
    if (client->filling != NULL)
        tls_client_wrote(client->tls, client->filling->data + before,
                         client->filling->pieces[0].iov_len - before);
    if (status == TLS_FAILED)
        handshake_failed(client);
    else if (status == TLS_DONE)
        handshake_done(client);
    client_pump(client);
    return eaten;
}

// ---- bytes ----

// Takes what it can of data[length], of which the first `kept` bytes have been seen before.
static size_t take_bytes(struct client *client, uint8_t *data, size_t kept, size_t length)
{
    size_t used = 0;

    if (client->state == CLIENT_HANDSHAKE && !client->is_failing)
        kept = used = handshake_bytes(client, data, length);
    if ((client->state != CLIENT_OPEN && client->state != CLIENT_CLOSING) || client->is_leaving)
        return length;
    if (client->runner->run->options->is_openssl) {
        read_openssl(client, data + used, length - used);
        client->has_ticket = client->has_ticket || tls_client_has_ticket(client->tls);
        used = length;
    } else {
        look_for_ticket(client, data + kept, length - kept);
        used += open_records(client, data + used, length - used);
    }
    if (client->state != CLIENT_DYING)
        client_pump(client); // a KeyUpdate to answer, or what OpenSSL has to say
    return used;
}

// Keeps the beginning of a record for when the rest comes.
static void keep(struct client *client, const uint8_t *data, size_t length)
{
    struct buffer *buffer = client->in;

    if (buffer == NULL || length + RECORD_WIRE_MAX > buffer->capacity) {
        buffer =
            buffer_take(client->runner->pool, client->runner->work->is_bulk ? BUFFER_HUGE : BUFFER_LARGE);
        if (buffer == NULL) {
            client_end(client, FAILURE_INTERNAL, "no memory for what is received");
            return;
        }
    }
    memmove(buffer->data, data, length);
    if (buffer != client->in)
        buffer_give(client->runner->pool, client->in);
    client->in = buffer;
    client->in_size = length;
}

static void took(struct client *client, const uint8_t *data, size_t used, size_t length)
{
    if (client->state == CLIENT_DYING)
        return;
    client->in_size = 0;
    if (used < length) {
        keep(client, data + used, length - used);
    } else if (!client->is_greedy) {
        buffer_give(client->runner->pool, client->in);
        client->in = NULL;
    }
    if (client->state != CLIENT_DYING && !client->is_peer_gone && !client->is_leaving)
        client_receive(client);
}

static void bytes_came(struct client *client, struct buffer *idle, size_t size)
{
    size_t kept = client->in_size;
    uint8_t *data;

    client_progress(client);
    if (idle != NULL) {
        data = idle->pieces[0].iov_base;
        client->is_greedy = client->runner->work->is_bulk || size >= IDLE_FULL;
        took(client, data, take_bytes(client, data, 0, size), size);
        buffer_give(client->runner->pool, idle);
        return;
    }
    data = client->in->data;
    client->is_greedy = client->runner->work->is_bulk || size >= IDLE_FULL;
    took(client, data, take_bytes(client, data, kept, kept + size), kept + size);
}

static void stream_ended(struct client *client)
{
    client->is_peer_gone = true;
    if (client->is_failing)
        client_end(client, FAILURE_NONE, NULL);
    else if (client->state == CLIENT_HANDSHAKE)
        client_end(client, FAILURE_HANDSHAKE_CLOSED, NULL);
    else if (client->state == CLIENT_CLOSING || !client->is_peer_done) // else the work has heard of it
        peer_ended(client, false);
}

// ---- receiving ----

void client_receive(struct client *client)
{
    struct runner *runner = client->runner;

    client->receive_op.handler = on_received;
    if (client->in == NULL && client->is_greedy) {
        client->in = buffer_take(runner->pool, runner->work->is_bulk ? BUFFER_HUGE : BUFFER_LARGE);
        client->in_size = 0;
    }
    if (client->in == NULL)
        ring_receive_idle(runner->ring, &client->receive_op, client->fd);
    else
        ring_receive(runner->ring, &client->receive_op, client->fd, client->in->data + client->in_size,
                     client->in->capacity - client->in_size, 0);
}

static void on_received(struct ring_op *op, const struct ring_completion *completion)
{
    struct client *client = list_entry(op, struct client, receive_op);
    int result = completion->result;

    if (client->state == CLIENT_DYING)
        buffer_give(client->runner->pool, completion->buffer);
    else if (result > 0)
        bytes_came(client, completion->buffer, (size_t)result);
    else if (result == 0)
        stream_ended(client);
    else if (result == -ENOBUFS || result == -EAGAIN || result == -EINTR || result == -ENOMEM)
        client_receive(client); // the kernel was short of something, which is there again at the next round
    else
        client_lost(client, result);
    client_reap(client);
}
