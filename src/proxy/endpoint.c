// SPDX-License-Identifier: Apache-2.0
#include "endpoint.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "ringbolt/log.h"
#include "ringbolt/socket.h"

// Ours to choose (RFC 8446 §5.4 and §4.6.3 set none). More of either in a row is an attack: they cost us work and the
// peer next to nothing.
#define KEY_UPDATES_MAX 32
#define EMPTIES_MAX     32
// Pieces shorter than this are moved together: cheaper than an entry of its own in sendmsg's vector.
#define PIECE_MIN 2048

#define PLAIN_HEADER_SIZE            5
#define HANDSHAKE_KEY_UPDATE         24 // RFC 8446 §4.6.3
#define HANDSHAKE_NEW_SESSION_TICKET 4
#define HANDSHAKE_HEADER_SIZE        4
#define TICKET_MAX                   (UINT32_C(4) + 4 + 1 + 255 + 2 + 65535 + 2 + 65534) // RFC 8446 §4.6.1

void endpoint_init(struct endpoint *endpoint, int fd, bool is_client)
{
    memset(endpoint, 0, sizeof(*endpoint));
    endpoint->fd = fd;
    endpoint->is_client = is_client;
    endpoint->alert_due = ALERT_NONE;
    ring_op_init(&endpoint->receive_op, NULL);
    ring_op_init(&endpoint->transmit_op, NULL);
}

void endpoint_protect(struct endpoint *endpoint, const struct record_keys *receive,
                      const struct record_keys *transmit, size_t payload_max)
{
    assert(payload_max > 0 && payload_max <= RECORD_PLAINTEXT_MAX);
    endpoint->payload_max = (uint16_t)payload_max;
    record_user_init(&endpoint->receive, receive, false);
    record_user_init(&endpoint->transmit, transmit, true);
    endpoint->receive_mode = ENDPOINT_USER;
    endpoint->transmit_mode = ENDPOINT_USER;
}

bool endpoint_is_tls(const struct endpoint *endpoint)
{
    return endpoint->transmit_mode != ENDPOINT_PLAIN;
}

static void await_no_ticket(struct endpoint *endpoint)
{
    engine_destroy(endpoint->tickets);
    endpoint->tickets = NULL;
}

void endpoint_finish(struct endpoint *endpoint)
{
    assert(!endpoint->receive_op.in_flight && !endpoint->transmit_op.in_flight);
    await_no_ticket(endpoint);
    free(endpoint->control);
    endpoint->control = NULL;
    if (!endpoint_is_tls(endpoint))
        return;
    record_user_finish(&endpoint->receive);
    record_user_finish(&endpoint->transmit);
}

void endpoint_rest(struct endpoint *endpoint)
{
    if (!endpoint_is_tls(endpoint))
        return;
    await_no_ticket(endpoint);
    record_user_rest(&endpoint->receive);
    record_user_rest(&endpoint->transmit);
}

// ---- what the peer sends ----

static struct endpoint_event goes_on(void)
{
    return (struct endpoint_event){.kind = ENDPOINT_GOES_ON, .alert = ALERT_NONE};
}

static struct endpoint_event broken(enum record_alert alert, const char *detail)
{
    return (struct endpoint_event){.kind = ENDPOINT_BROKEN, .alert = alert, .detail = detail};
}

// Records that bring nothing cost us work and the peer next to nothing.
static struct endpoint_event count_empty(struct endpoint *endpoint, const char *detail)
{
    return ++endpoint->empties > EMPTIES_MAX ? broken(ALERT_UNEXPECTED_MESSAGE, detail) : goes_on();
}

static struct endpoint_event on_alert(struct endpoint *endpoint, const uint8_t *payload, size_t length)
{
    enum record_alert alert;

    if (length != 2) // RFC 8446 §5.1: alerts are not fragmented nor coalesced
        return broken(ALERT_DECODE_ERROR, "alert of a wrong length");
    alert = payload[1];
    if (alert == ALERT_CLOSE_NOTIFY)
        return (struct endpoint_event){.kind = ENDPOINT_CLOSED, .alert = alert};
    // RFC 8446 §6.1: user_canceled goes ahead of close_notify. TLS 1.2 has other warnings, all harmless (RFC 5246 §7.2.2).
    if (alert == ALERT_USER_CANCELED || (endpoint->receive.keys.version == RECORD_TLS12 && payload[0] == 1))
        return count_empty(endpoint, "too many warning alerts in a row");
    return (struct endpoint_event){
        .kind = ENDPOINT_CANCELLED, .alert = alert, .detail = "peer sent a fatal alert"};
}

static struct endpoint_event on_key_update(struct endpoint *endpoint, uint8_t request)
{
    int error;

    if (request > 1)
        return broken(ALERT_ILLEGAL_PARAMETER, "KeyUpdate with an unknown request");
    endpoint->key_updates_new++;
    if (++endpoint->key_updates > KEY_UPDATES_MAX)
        return broken(ALERT_UNEXPECTED_MESSAGE, "too many KeyUpdates in a row");
    if (!endpoint->can_rekey && (endpoint->receive_mode == ENDPOINT_KERNEL ||
                                 (request == 1 && endpoint->transmit_mode == ENDPOINT_KERNEL)))
        return (struct endpoint_event){.kind = ENDPOINT_STUCK,
                                       .alert = ALERT_INTERNAL_ERROR,
                                       .detail = "KeyUpdate, and this kernel cannot change keys"};
    error = record_user_update(&endpoint->receive);
    if (error == 0 && endpoint->receive_mode == ENDPOINT_KERNEL)
        error = record_kernel_set(endpoint->fd, RECORD_RECEIVE, &endpoint->receive.keys);
    if (error < 0)
        return broken(ALERT_INTERNAL_ERROR, "KeyUpdate could not be followed");
    if (request == 1)
        endpoint->is_key_update_due = true; // one answer serves several requests (RFC 8446 §4.6.3)
    return goes_on();
}

// The first record of tickets goes to who waits for it. One in parts is nothing that a server does for a reason: then there is none.
static void pass_tickets(struct endpoint *endpoint, const uint8_t *payload, size_t length, bool is_whole)
{
    if (endpoint->tickets && is_whole && endpoint->message_left == 0 && endpoint->message_size == 0)
        engine_take_tickets(endpoint->tickets, payload, length);
    await_no_ticket(endpoint);
}

// Messages of a server: tickets, several in a record or in parts (RFC 8446 §5.1), and KeyUpdate, which ends its record.
static struct endpoint_event on_server_handshake(struct endpoint *endpoint, const uint8_t *payload,
                                                 size_t length)
{
    const uint8_t *whole = payload;
    size_t size = length;
    bool begins = endpoint->message_left == 0 && endpoint->message_size == 0;

    while (length > 0) {
        size_t part = endpoint->message_left < length ? endpoint->message_left : length;
        uint32_t body;

        payload += part;
        length -= part;
        endpoint->message_left -= (uint32_t)part;
        if (length == 0)
            break;
        endpoint->message[endpoint->message_size++] = *payload++;
        length--;
        if (endpoint->message_size < HANDSHAKE_HEADER_SIZE)
            continue;
        endpoint->message_size = 0;
        body =
            (uint32_t)endpoint->message[1] << 16 | (uint32_t)endpoint->message[2] << 8 | endpoint->message[3];
        if (endpoint->message[0] == HANDSHAKE_KEY_UPDATE)
            return body == 1 && length == 1 ? on_key_update(endpoint, payload[0])
                                            : broken(ALERT_DECODE_ERROR, "KeyUpdate of a wrong length");
        if (endpoint->message[0] != HANDSHAKE_NEW_SESSION_TICKET)
            return broken(ALERT_UNEXPECTED_MESSAGE, "handshake message after the handshake");
        if (body > TICKET_MAX)
            return broken(ALERT_DECODE_ERROR, "session ticket too large");
        endpoint->message_left = body;
    }
    pass_tickets(endpoint, whole, size, begins);
    return count_empty(endpoint, "too many session tickets in a row");
}

// A server that asks for a new handshake may be left without (RFC 5246 §7.4.1.1).
static struct endpoint_event on_hello_request(struct endpoint *endpoint, const uint8_t *payload,
                                              size_t length)
{
    static const uint8_t request[HANDSHAKE_HEADER_SIZE] = {0};

    if (length != sizeof(request) || memcmp(payload, request, sizeof(request)) != 0)
        return broken(ALERT_UNEXPECTED_MESSAGE, "handshake message after the handshake");
    return count_empty(endpoint, "too many HelloRequests in a row");
}

static struct endpoint_event on_handshake(struct endpoint *endpoint, const uint8_t *payload, size_t length)
{
    size_t body;

    if (!endpoint->is_client)
        return endpoint->receive.keys.version == RECORD_TLS12
                   ? on_hello_request(endpoint, payload, length)
                   : on_server_handshake(endpoint, payload, length);

    if (endpoint->receive.keys.version == RECORD_TLS12)
        return broken(ALERT_NO_RENEGOTIATION, "renegotiation");
    if (length < HANDSHAKE_HEADER_SIZE)
        return broken(ALERT_UNEXPECTED_MESSAGE, "fragmented handshake message");
    body = (size_t)payload[1] << 16 | (size_t)payload[2] << 8 | payload[3];
    if (payload[0] != HANDSHAKE_KEY_UPDATE)
        return broken(ALERT_UNEXPECTED_MESSAGE, "handshake message after the handshake");
    // RFC 8446 §5.1: a KeyUpdate ends its record, because the next one has other keys.
    if (body != 1 || length != HANDSHAKE_HEADER_SIZE + 1)
        return broken(ALERT_DECODE_ERROR, "KeyUpdate of a wrong length");
    return on_key_update(endpoint, payload[HANDSHAKE_HEADER_SIZE]);
}

struct endpoint_event endpoint_control(struct endpoint *endpoint, enum record_type type,
                                       const uint8_t *payload, size_t length)
{
    switch (type) {
    case RECORD_ALERT:
        return on_alert(endpoint, payload, length);
    case RECORD_HANDSHAKE:
        return on_handshake(endpoint, payload, length);
    default:
        return broken(ALERT_UNEXPECTED_MESSAGE, "record of an unexpected type");
    }
}

struct endpoint_event endpoint_kernel_error(int error)
{
    // net/tls/tls_sw.c: tls_rx_msg_size(), decrypt_internal()
    switch (error) {
    case -EBADMSG:
        return broken(ALERT_BAD_RECORD_MAC, "bad record MAC");
    case -EMSGSIZE:
        return broken(ALERT_RECORD_OVERFLOW, "record too long");
    case -EINVAL:
        return broken(ALERT_DECODE_ERROR, "record with a wrong version or type");
    default:
        return goes_on();
    }
}

// Appends plaintext that lies behind all pieces so far, moving it next to the last one where that is cheaper.
static void append_piece(struct buffer *buffer, uint8_t *payload, size_t length)
{
    struct iovec *last = buffer->piece_count > 0 ? &buffer->pieces[buffer->piece_count - 1] : NULL;

    if (last && (length < PIECE_MIN || buffer->piece_count == BUFFER_PIECES_MAX)) {
        memmove((uint8_t *)last->iov_base + last->iov_len, payload, length);
        last->iov_len += length;
        return;
    }
    buffer->pieces[buffer->piece_count++] = (struct iovec){.iov_base = payload, .iov_len = length};
}

struct endpoint_event endpoint_open(struct endpoint *endpoint, struct buffer *buffer, uint8_t *data,
                                    size_t size, size_t *ret_used, size_t *ret_needed)
{
    struct endpoint_event event = goes_on();
    size_t used = 0;

    *ret_needed = 0;
    while (used < size && event.kind == ENDPOINT_GOES_ON) {
        struct record_opened record;
        enum record_alert alert;
        int result = record_user_open(&endpoint->receive, data + used, size - used, &record, &alert);

        if (result < 0) {
            event = broken(alert, alert == ALERT_BAD_RECORD_MAC ? "bad record MAC" : "malformed record");
            break;
        }
        if (result == 0) {
            *ret_needed = record.consumed - (size - used);
            break;
        }
        used += record.consumed;
        if (record.type != RECORD_DATA) {
            event = endpoint_control(endpoint, record.type, record.payload, record.length);
        } else if (record.length > 0) {
            endpoint->key_updates = 0;
            endpoint->empties = 0;
            append_piece(buffer, record.payload, record.length);
        } else {
            event = count_empty(endpoint, "too many empty records in a row");
        }
    }
    *ret_used = used;
    return event;
}

// ---- what we send ----

bool endpoint_takes_idle(const struct endpoint *to)
{
    return to->transmit_mode != ENDPOINT_USER || to->payload_max >= BUFFER_SMALL_SIZE;
}

void endpoint_layout(const struct endpoint *to, struct buffer *buffer)
{
    size_t head;
    size_t stride;
    unsigned count;

    if (to->transmit_mode != ENDPOINT_USER) {
        size_t whole = buffer->capacity - buffer->capacity % RECORD_PLAINTEXT_MAX;

        // Kernel TLS makes full records of multiples of 16 KiB.
        buffer->pieces[0] =
            (struct iovec){.iov_base = buffer->data, .iov_len = whole ? whole : buffer->capacity};
        buffer->piece_count = 1;
        return;
    }
    head = record_user_head(&to->transmit);
    if (buffer->class == BUFFER_SMALL) {
        size_t room = BUFFER_SMALL_SIZE - RING_IDLE_MARGIN;

        buffer->pieces[0] = (struct iovec){.iov_base = buffer->data + RING_IDLE_HEAD,
                                           .iov_len = room < to->payload_max ? room : to->payload_max};
        buffer->piece_count = 1;
        return;
    }
    stride = head + to->payload_max + record_user_tail(&to->transmit);
    count = (unsigned)(buffer->capacity / stride);
    if (count > BUFFER_PIECES_MAX)
        count = BUFFER_PIECES_MAX;
    for (unsigned i = 0; i < count; i++)
        buffer->pieces[i] =
            (struct iovec){.iov_base = buffer->data + i * stride + head, .iov_len = to->payload_max};
    buffer->piece_count = (uint16_t)count;
}
_Static_assert(RING_IDLE_HEAD >= RECORD_HEAD_MAX, "room for a record header");
_Static_assert(RING_IDLE_MARGIN - RING_IDLE_HEAD >= RECORD_TAIL_MAX, "room for type and tag");
_Static_assert(BUFFER_LARGE_SIZE - BUFFER_LARGE_RECORDS * RECORD_PLAINTEXT_MAX >=
                   BUFFER_HUGE_RECORDS * (RECORD_HEAD_MAX + RECORD_TAIL_MAX),
               "both sizes take their records with all that goes around them");

// What a record of the size `payload` adds to it.
static size_t seal_overhead(const struct endpoint *to)
{
    return record_user_head(&to->transmit) + record_user_tail(&to->transmit);
}

size_t endpoint_lead(const struct endpoint *from, const struct endpoint *to, size_t capacity)
{
    if (from->receive_mode != ENDPOINT_USER || to->transmit_mode != ENDPOINT_USER)
        return 0;
    // For each record that can be made of a full buffer, and one: then what is sealed never reaches what is still to be moved, even
    // where the plaintext lies without a gap.
    return (capacity / to->payload_max + 1) * seal_overhead(to);
}

// Whether the pieces have room around as they lie. Then record n ends before piece n + 1 begins, however the plaintext is
// cut: none takes less of it than a piece holds.
static bool is_loose(const struct endpoint *to, const struct buffer *buffer, const uint8_t *end)
{
    size_t overhead = seal_overhead(to);
    size_t tail = record_user_tail(&to->transmit);

    for (unsigned i = 0; i < buffer->piece_count; i++) {
        const struct iovec *piece = &buffer->pieces[i];
        const uint8_t *behind = (const uint8_t *)piece->iov_base + piece->iov_len;
        bool is_last = i + 1 == buffer->piece_count;
        size_t gap = is_last ? (size_t)(end - behind) : (size_t)((const uint8_t *)piece[1].iov_base - behind);

        if (piece->iov_len > to->payload_max || gap < (is_last ? tail : overhead))
            return false;
    }
    return true;
}

// Moves the next `length` bytes of plaintext to `to`. What is there already is not moved.
static void gather(const struct buffer *buffer, unsigned *piece, size_t *offset, uint8_t *to, size_t length)
{
    while (length > 0) {
        const struct iovec *from = &buffer->pieces[*piece];
        size_t part = from->iov_len - *offset < length ? from->iov_len - *offset : length;
        uint8_t *bytes = (uint8_t *)from->iov_base + *offset;

        if (bytes != to)
            memmove(to, bytes, part);
        to += part;
        length -= part;
        *offset += part;
        if (*offset == from->iov_len) {
            (*piece)++;
            *offset = 0;
        }
    }
}

int endpoint_seal(struct endpoint *endpoint, const struct endpoint *from, struct buffer *buffer,
                  const uint8_t *end)
{
    size_t left = buffer_length(buffer);
    size_t offset = 0;
    unsigned piece = 0;
    uint8_t *begin;
    uint8_t *next;

    if (endpoint->transmit_mode != ENDPOINT_USER || buffer->piece_count == 0)
        return 0;
    // What was received in the clear lies as endpoint_layout() had it.
    begin = buffer->data;
    if (from->receive_mode != ENDPOINT_USER || is_loose(endpoint, buffer, end))
        begin = (uint8_t *)buffer->pieces[0].iov_base - record_user_head(&endpoint->transmit);
    for (next = begin; left > 0;) {
        size_t length = left < endpoint->payload_max ? left : endpoint->payload_max;
        uint8_t *payload = next + record_user_head(&endpoint->transmit);
        const uint8_t *until = payload + length + record_user_tail(&endpoint->transmit);
        int size;

        // By the lead this can't be. If it were, plaintext would be overwritten that is still to be sent.
        if (until > end)
            return -ENOBUFS;
        gather(buffer, &piece, &offset, payload, length);
        left -= length;
        if (left > 0 && until > (uint8_t *)buffer->pieces[piece].iov_base + offset)
            return -ENOBUFS;
        size = record_user_seal(&endpoint->transmit, RECORD_DATA, payload, length);
        if (size < 0)
            return size;
        next += size;
    }
    buffer->pieces[0] = (struct iovec){.iov_base = begin, .iov_len = (size_t)(next - begin)};
    buffer->piece_count = 1;
    return 0;
}

bool endpoint_is_worn(const struct endpoint *endpoint)
{
    return endpoint_is_tls(endpoint) &&
           endpoint->transmit.keys.sequence >= record_cipher_limit(endpoint->transmit.keys.cipher);
}

void endpoint_count_sent(struct endpoint *endpoint, size_t length)
{
    // Nobody enforces the limit under kernel TLS. The kernel ends a record with each send, so this never counts too few.
    if (endpoint->transmit_mode == ENDPOINT_KERNEL)
        endpoint->transmit.keys.sequence += (length + RECORD_PLAINTEXT_MAX - 1) / RECORD_PLAINTEXT_MAX;
}

// A control record in transit: few connections have one at a time, so it is no part of the endpoint.
struct endpoint_control {
    size_t sent;
    size_t length;
    uint8_t bytes[RECORD_HEAD_MAX + ENDPOINT_CONTROL_MAX + RECORD_TAIL_MAX];
    struct iovec piece;
    struct msghdr message;
    _Alignas(8) uint8_t ancillary[RECORD_ANCILLARY_SIZE];
};

_Static_assert(PLAIN_HEADER_SIZE <= RECORD_HEAD_MAX && ENDPOINT_CONTROL_MAX < 256,
               "a record in the clear fits too");

static void control_start(struct ring *ring, struct endpoint *endpoint)
{
    struct endpoint_control *control = endpoint->control;

    if (endpoint->transmit_mode == ENDPOINT_KERNEL)
        ring_send_message(ring, &endpoint->transmit_op, endpoint->fd, &control->message, 0);
    else
        ring_send(ring, &endpoint->transmit_op, endpoint->fd, control->bytes + control->sent,
                  control->length - control->sent, 0);
}

// Under kernel TLS.
static void make_message(struct endpoint_control *control, enum record_type type)
{
    control->piece = (struct iovec){.iov_base = control->bytes, .iov_len = control->length};
    control->message = (struct msghdr){.msg_iov = &control->piece, .msg_iovlen = 1};
    record_kernel_message_send(&control->message, control->ancillary, type);
}

// A record ahead of any key (RFC 8446 §5.1). Its size.
static size_t plain_record(uint8_t *to, enum record_type type, const uint8_t *payload, size_t length)
{
    const uint8_t header[PLAIN_HEADER_SIZE] = {(uint8_t)type, 3, 3, 0, (uint8_t)length};

    memcpy(to, header, sizeof(header));
    memcpy(to + sizeof(header), payload, length);
    return sizeof(header) + length;
}

int endpoint_send_control(struct ring *ring, struct endpoint *endpoint, enum record_type type,
                          const uint8_t *payload, size_t length)
{
    struct endpoint_control *control = endpoint->control;
    size_t head;
    int size;

    assert(length <= ENDPOINT_CONTROL_MAX);
    if (!control)
        control = endpoint->control = malloc(sizeof(*control));
    if (!control)
        return -ENOMEM;
    control->sent = 0;
    if (endpoint->transmit_mode == ENDPOINT_KERNEL) {
        memcpy(control->bytes, payload, length);
        control->length = length;
        make_message(control, type);
    } else if (endpoint->transmit_mode == ENDPOINT_PLAIN) {
        control->length = plain_record(control->bytes, type, payload, length);
    } else {
        head = record_user_head(&endpoint->transmit);
        memcpy(control->bytes + head, payload, length);
        size = record_user_seal(&endpoint->transmit, type, control->bytes + head, length);
        if (size < 0)
            return size;
        control->length = (size_t)size;
    }
    control_start(ring, endpoint);
    return 0;
}

void endpoint_control_go_on(struct ring *ring, struct endpoint *endpoint)
{
    control_start(ring, endpoint);
}

bool endpoint_control_sent(struct endpoint *endpoint, size_t length)
{
    struct endpoint_control *control = endpoint->control;

    control->sent += length;
    // The kernel takes a control record whole or not at all: length is 0 or all of it.
    if (control->sent < control->length)
        return false;
    free(control);
    endpoint->control = NULL;
    return true;
}

const uint8_t *endpoint_control_rest(const struct endpoint *endpoint, size_t *ret_size)
{
    const struct endpoint_control *control = endpoint->control;

    *ret_size = 0;
    if (endpoint->sending == ENDPOINT_SENDS_NOTHING)
        return NULL;
    *ret_size = control->length - control->sent;
    return control->bytes + control->sent;
}

int endpoint_control_restore(struct endpoint *endpoint, enum endpoint_sending what, const uint8_t *rest,
                             size_t size)
{
    struct endpoint_control *control = malloc(sizeof(*control));

    if (!control)
        return -ENOMEM;
    assert(size <= sizeof(control->bytes));
    control->sent = 0;
    control->length = size;
    memcpy(control->bytes, rest, size);
    make_message(control, what == ENDPOINT_SENDS_KEY_UPDATE ? RECORD_HANDSHAKE : RECORD_ALERT);
    endpoint->control = control;
    endpoint->sending = (uint8_t)what;
    return 0;
}

int endpoint_update_transmit(struct endpoint *endpoint)
{
    int error = record_user_update(&endpoint->transmit);

    if (error == 0 && endpoint->transmit_mode == ENDPOINT_KERNEL)
        error = record_kernel_set(endpoint->fd, RECORD_TRANSMIT, &endpoint->transmit.keys);
    return error;
}

// ---- into the kernel ----

int endpoint_offload(struct endpoint *endpoint, enum record_direction direction)
{
    bool receives = direction == RECORD_RECEIVE;
    struct record_user *record = receives ? &endpoint->receive : &endpoint->transmit;
    uint8_t *mode = receives ? &endpoint->receive_mode : &endpoint->transmit_mode;
    uint8_t *why = receives ? &endpoint->receive_why : &endpoint->transmit_why;
    int error = 0;

    assert(*mode == ENDPOINT_USER);
    endpoint->is_offload_wanted[direction] = false;
    if (endpoint->receive_mode != ENDPOINT_KERNEL && endpoint->transmit_mode != ENDPOINT_KERNEL)
        error = record_kernel_attach(endpoint->fd);
    if (error == 0 || error == -EEXIST) // attached for the other direction, whose key was then refused
        error = record_kernel_set(endpoint->fd, direction, &record->keys);
    if (error < 0) {
        *why = ENDPOINT_WHY_FAILED;
        log_debug("kernel refuses a direction", log_text("direction", receives ? "receive" : "transmit"),
                  log_errno(error));
        return error;
    }
    record_user_rest(record);
    *mode = ENDPOINT_KERNEL;
    *why = ENDPOINT_WHY_NONE;
    return 0;
}
