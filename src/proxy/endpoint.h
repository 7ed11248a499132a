// SPDX-License-Identifier: Apache-2.0
// One side of a connection: a socket and how its bytes are protected, each direction for itself. Works on memory and, for
// kernel TLS, with setsockopt; it starts no operation and knows neither flows nor connections.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ringbolt/buffer.h"
#include "ringbolt/record.h"
#include "ringbolt/ring.h"
#include "ringbolt/tls.h"

enum endpoint_mode {
    ENDPOINT_PLAIN,  // no TLS
    ENDPOINT_USER,   // records by record_user
    ENDPOINT_KERNEL, // records by the kernel
};

// Why a direction is not in the kernel; for the log.
enum endpoint_why {
    ENDPOINT_WHY_NONE,          // it is, or it is plain
    ENDPOINT_WHY_OFF,           // the configuration says so
    ENDPOINT_WHY_UNSUPPORTED,   // the kernel can't do this version, cipher and direction
    ENDPOINT_WHY_NOT_TCP,       // kernel TLS is for TCP sockets
    ENDPOINT_WHY_SMALL_RECORDS, // the peer takes only small records (RFC 6066 §4), the kernel makes full ones
    ENDPOINT_WHY_NOT_YET,       // fewer bytes than offload_after, or the boundary was not reached
    ENDPOINT_WHY_FAILED,        // the kernel refused; the reason is in the log at level debug
    ENDPOINT_WHY_COUNT,
};

const char *endpoint_why_text(enum endpoint_why why); // words.c

// What has to be told besides data. All of it fits one record.
#define ENDPOINT_CONTROL_MAX 8

enum endpoint_sending { // what control record is in transit
    ENDPOINT_SENDS_NOTHING,
    ENDPOINT_SENDS_KEY_UPDATE,
    ENDPOINT_SENDS_CLOSE,
    ENDPOINT_SENDS_ALERT,
};

struct endpoint {
    int fd;          // -1: none
    bool is_client;  // which member of its connection it is
    bool can_rekey;  // the kernel can replace keys
    uint8_t sending; // enum endpoint_sending
    uint8_t receive_mode;
    uint8_t transmit_mode;
    uint8_t receive_why;
    uint8_t transmit_why;
    uint8_t key_updates;  // from the peer, in a row, without data between
    uint8_t key_updates_new; // likewise, and not counted yet by whom the endpoint belongs to
    uint8_t empties;      // records that bring nothing in a row
    uint8_t message_size; // of a server's handshake message: bytes of its header that came,
    uint8_t message[4];   // these,
    uint32_t message_left; // and what is still to come and of no use to us
    uint16_t payload_max; // most plaintext in a record that the peer takes
    bool is_key_update_due;
    bool is_close_due;          // close_notify (if TLS), then shutdown
    bool is_shut;               // that is done
    bool is_offload_wanted[2];  // by enum record_direction: move into the kernel at the next chance
    uint8_t alert_due;          // enum record_alert; ALERT_NONE: none
    struct record_user receive; // keys, also of a kernel direction: KeyUpdate starts from them
    struct record_user transmit;
    struct ring_op receive_op;
    struct ring_op transmit_op;
    struct endpoint_control *control; // a control record in transit; NULL: there was none of late
    struct engine *tickets; // of a server: gets the first tickets that come, and goes; NULL: they are dropped
};

// A plain endpoint on a socket (or -1). The socket is the endpoint's from here on.
void endpoint_init(struct endpoint *endpoint, int fd, bool is_client);
// Both directions into the user record layer. The keys are copied.
// payload_max: most plaintext in a record that the peer takes, 512 to RECORD_PLAINTEXT_MAX.
void endpoint_protect(struct endpoint *endpoint, const struct record_keys *receive,
                      const struct record_keys *transmit, size_t payload_max);
// Wipes the keys. The socket must be closed and no operation in flight.
void endpoint_finish(struct endpoint *endpoint);
// Gives back what an idle endpoint does not need.
void endpoint_rest(struct endpoint *endpoint);
bool endpoint_is_tls(const struct endpoint *endpoint);

// What a control record, or a broken one, means.
enum endpoint_event_kind {
    ENDPOINT_GOES_ON,
    ENDPOINT_CLOSED,    // close_notify: the peer sends no more
    ENDPOINT_CANCELLED, // the peer sent a fatal alert (`alert`)
    ENDPOINT_BROKEN,    // the peer broke the protocol: send `alert`
    ENDPOINT_STUCK,     // the peer changed its keys and the kernel cannot follow: send `alert`
};

struct endpoint_event {
    enum endpoint_event_kind kind;
    enum record_alert alert;
    const char *detail; // static
};

// Opens the records in data[size] (part of buffer->data) in place (user mode). Fills buffer->pieces with the plaintext found,
// in order. Sets *ret_used to the bytes of whole records eaten (on an event other than GOES_ON the rest is of no interest) and
// *ret_needed to how many more bytes make the record at the end whole (0 at a boundary; when not even its header is there, what is
// missing of the header).
struct endpoint_event endpoint_open(struct endpoint *endpoint, struct buffer *buffer, uint8_t *data,
                                    size_t size, size_t *ret_used, size_t *ret_needed);
// The same for one record that is not data and that the kernel opened.
struct endpoint_event endpoint_control(struct endpoint *endpoint, enum record_type type,
                                       const uint8_t *payload, size_t length);
// What -errno of a receive on a kernel direction says about the peer. GOES_ON: it is not about TLS.
struct endpoint_event endpoint_kernel_error(int error);

// True when what ring_receive_idle() brings can be sealed in place.
bool endpoint_takes_idle(const struct endpoint *to);
// Prepares buffer->pieces to be received into so that what comes can be sealed in place for `to` (room around each
// record), or in one piece when `to` doesn't seal.
void endpoint_layout(const struct endpoint *to, struct buffer *buffer);
// How far from a buffer's beginning records are to be received that `from` opens and `to` seals again, in place: records that go out
// may take more room than those that came in. 0: not both do.
size_t endpoint_lead(const struct endpoint *from, const struct endpoint *to, size_t capacity);
// Seals what the pieces hold in place into one piece to send. Does nothing unless transmit is in user mode. The pieces are as
// endpoint_layout() has them, or, when `from` opened them, as endpoint_open() has left them behind endpoint_lead(); nothing at or behind
// `end` is touched. 0 or -errno.
int endpoint_seal(struct endpoint *endpoint, const struct endpoint *from, struct buffer *buffer,
                  const uint8_t *end);
// True when the key has protected all it may: a KeyUpdate is due (TLS 1.3), or the connection must end (TLS 1.2).
bool endpoint_is_worn(const struct endpoint *endpoint);
// Counts the records that the kernel made of `length` sent bytes, for endpoint_is_worn(); nothing in other modes.
void endpoint_count_sent(struct endpoint *endpoint, size_t length);

// Makes the control record of `type` with payload[length] (at most ENDPOINT_CONTROL_MAX) and starts to send it, in the clear in plain mode; its
// completion goes to transmit_op's handler as set. 0 or -errno.
int endpoint_send_control(struct ring *ring, struct endpoint *endpoint, enum record_type type,
                          const uint8_t *payload, size_t length);
// Counts what went out. True when it is complete; otherwise endpoint_control_go_on() starts the rest.
bool endpoint_control_sent(struct endpoint *endpoint, size_t length);
void endpoint_control_go_on(struct ring *ring, struct endpoint *endpoint);
// What of it is still to be sent: as it goes to the socket; under kernel TLS its content. *ret_size is 0 where none is in transit.
const uint8_t *endpoint_control_rest(const struct endpoint *endpoint, size_t *ret_size);
// The same record elsewhere: endpoint_control_go_on() sends it. rest[size] is as endpoint_control_rest() had it. 0 or -ENOMEM.
int endpoint_control_restore(struct endpoint *endpoint, enum endpoint_sending what, const uint8_t *rest, size_t size);
// After our KeyUpdate is out: the next transmit keys. 0 or -errno.
int endpoint_update_transmit(struct endpoint *endpoint);

// Moves one direction into the kernel. For transmit: everything sealed is on the wire; for receive: no receive is in
// flight and no byte of a record was read. 0, or -errno: the direction stays in user mode and the reason is set.
int endpoint_offload(struct endpoint *endpoint, enum record_direction direction);
