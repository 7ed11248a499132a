// SPDX-License-Identifier: Apache-2.0
// A client that is played: one connection at a time, again and again if the work wants it.
//
//   CLOSED → CONNECT → HANDSHAKE → OPEN → CLOSING → CLOSED
//                  any of them → DYING → CLOSED
//
// client_end() is the only way to DYING: memory and socket go when no operation is in flight any more, and only then does
// the runner hear of it (runner_client_closed()). Nothing else refers to what is freed: operations have completed, the timer is
// cancelled, and handlers look at the state after each call that may have ended the client.
//
// client.c has its life, client_in.c what comes, client_out.c what goes.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <openssl/evp.h>

#include "http.h"
#include "ringbolt/buffer.h"
#include "ringbolt/record.h"
#include "ringbolt/ring.h"
#include "ringbolt/timer.h"
#include "tally.h"
#include "tls_client.h"

enum client_state {
    CLIENT_CLOSED,
    CLIENT_CONNECT,
    CLIENT_HANDSHAKE,
    CLIENT_OPEN,
    CLIENT_CLOSING, // we have said goodbye, or are about to, and wait for the server's
    CLIENT_DYING,
};

struct runner;

struct client {
    struct runner *runner;
    enum client_state state;
    int fd;
    struct ring_op receive_op;
    struct ring_op send_op; // connects, too
    struct timer timer;     // between connections: until the next try
    struct list node;       // among those that wait for work, or to be opened

    // protection
    struct tls_client *tls; // from the start until our records take over; with OpenSSL's records to the end
    struct record_user receive;
    struct record_user transmit;

    // what comes
    struct buffer *in;           // NULL while nothing is kept
    size_t in_size;              // bytes in it that were not taken yet
    bool is_greedy;              // reads into large buffers
    bool is_peer_done;           // close_notify has come
    bool is_peer_gone;           // and the end of the stream
    uint8_t handshake_header[4]; // of a message after the handshake, as far as it has come
    uint8_t handshake_header_size;
    uint32_t handshake_skip; // bytes of a message that we don't read

    // what goes: first a text, then a piece of the pattern
    const uint8_t *text;
    size_t text_left;
    uint64_t pattern_at;
    uint64_t pattern_left;  // UINT64_MAX: without end
    struct buffer *filling; // records that wait until those in flight are gone
    struct buffer *sending; // in flight
    uint64_t filling_plain; // bytes of the pattern in them
    uint64_t sending_plain;
    bool is_key_update_due;
    bool is_goodbye_due;
    bool is_goodbye_made;
    bool is_leaving;      // closes without a goodbye when all is sent
    bool is_failing;      // an alert goes out, then it ends
    bool is_send_broken;  // the server takes no more; what it still says tells why
    enum failure failure; // with is_failing

    // the work
    bool is_unit;        // one is going on
    bool is_tried;       // the first connection has succeeded or failed
    bool is_primer;      // a full handshake, only to get a ticket
    bool has_ticket;     // a session to resume has come
    bool is_done;        // no more connections
    bool is_bulk_upload; // of two halves, this one uploads
    uint64_t due_ns;     // when the unit was due, when it began
    uint64_t began_ns;
    uint64_t connect_ns; // when connecting began, when the handshake was over
    uint64_t opened_ns;
    uint64_t progress_ns; // when something last moved
    uint64_t received;    // bytes of this unit's content
    uint64_t stream_at;   // raw: where in the pattern the connection stands
    struct http http;
    EVP_MD_CTX *digest; // with --sha256
};

void client_init(struct client *client, struct runner *runner);
void client_finish(struct client *client); // it must be CLOSED

// CLOSED → CONNECT. What comes of it is told by runner_client_opened() or runner_client_closed().
void client_open(struct client *client);

// OPEN → CLOSING: sends what is left, close_notify and FIN, then waits for the server's. Harmless in other states.
void client_close(struct client *client);
// The same, but says no goodbye, waits for none, and reads nothing more.
void client_leave(struct client *client);

// Ends it with a failure that is counted, or FAILURE_NONE. Harmless when it is DYING or CLOSED.
void client_end(struct client *client, enum failure failure, const char *detail);
// Ends a CLOSING one when both sides have said all.
void client_end_if_over(struct client *client);
// What a handler does last: CLOSED when it is DYING and nothing is in flight.
void client_reap(struct client *client);
// The timer has gone off.
void client_timed_out(struct client *client);
// An error of the system on the connection.
void client_lost(struct client *client, int error);

// Something moved.
void client_progress(struct client *client);

// ---- what comes (client_in.c) ----

void client_receive(struct client *client);

// ---- what goes (client_out.c) ----

// Sends text[length] (which must stay) and behind it `pattern` bytes of the pattern from `at` on. Nothing else may be left to be sent.
void client_send(struct client *client, const void *text, size_t length, uint64_t at, uint64_t pattern);
// True when all that client_send() was given has been handed to the kernel.
bool client_has_sent(const struct client *client);
// Starts to send whatever is there.
void client_pump(struct client *client);
// Room for bytes that OpenSSL sends: a tls_room.
uint8_t *client_room(void *owner, size_t size);
