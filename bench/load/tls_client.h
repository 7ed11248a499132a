// SPDX-License-Identifier: Apache-2.0
// The client's side of TLS by OpenSSL: a machine that eats bytes and yields bytes, without a socket. After the handshake it
// either gives up the keys to our record layer, or goes on and does the records too.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "options.h"
#include "ringbolt/record.h"
#include "tally.h"

// What the clients of one thread share: settings, trust, sessions to resume. Its own library context, since OpenSSL's locks
// don't bear threads.
struct tls_setup;

// Whatever bytes are to be sent get their room from here: `size` bytes, or NULL when there is none.
typedef uint8_t *tls_room(void *owner, size_t size);

// 0, or -1 with why[size] saying what is wrong with the options.
int tls_setup_create(const struct options *options, tls_room *room, struct tls_setup **ret, char *why,
                     size_t size);
void tls_setup_destroy(struct tls_setup *setup); // NULL is accepted

struct tls_client;

enum tls_status { TLS_WANTS_INPUT, TLS_DONE, TLS_FAILED };

// NULL when there is no memory. `owner` goes to the room function.
struct tls_client *tls_client_create(struct tls_setup *setup, void *owner);
void tls_client_destroy(struct tls_client *tls); // NULL is accepted

// Goes on with the handshake. Takes no byte behind the handshake's last record.
enum tls_status tls_client_step(struct tls_client *tls, const uint8_t *data, size_t length,
                                size_t *ret_eaten);
// After TLS_FAILED: FAILURE_HANDSHAKE_ALERT (*ret_alert came) or FAILURE_HANDSHAKE_REFUSED; words into text[size].
enum failure tls_client_failure(const struct tls_client *tls, uint8_t *ret_alert, char *text, size_t size);
// A flight was written to memory[length] by the last step: it is searched for the nonce of our Finished (RFC 5288 §3).
void tls_client_wrote(struct tls_client *tls, const uint8_t *flight, size_t length);

// After TLS_DONE.
void tls_client_describe(const struct tls_client *tls, struct negotiated *ret);
// The keys with their sequence numbers as they stand after what was eaten and written. 0, or -ENOTSUP: a suite that
// our record layer doesn't have.
int tls_client_keys(const struct tls_client *tls, struct record_keys *ret_receive,
                    struct record_keys *ret_transmit);

// Whether a session was offered for resumption, and whether one has come for next time.
bool tls_client_has_offered(const struct tls_client *tls);
bool tls_client_has_ticket(const struct tls_client *tls);
// Shows it bytes that our record layer opens, only so that it finds tickets in them. False: no use in showing it more.
bool tls_client_shadow(struct tls_client *tls, const uint8_t *data, size_t length);

// Records by OpenSSL. Reading: give it bytes, then read until there is none.
enum tls_read { TLS_READ_DATA, TLS_READ_NONE, TLS_READ_CLOSED, TLS_READ_ALERT, TLS_READ_BAD };
void tls_client_input(struct tls_client *tls, const uint8_t *data, size_t length);
enum tls_read tls_client_read(struct tls_client *tls, uint8_t *to, size_t size, size_t *ret_length,
                              uint8_t *ret_alert);
// Writes one record of data[length] (at most RECORD_PLAINTEXT_MAX). 0 or -EIO.
int tls_client_write(struct tls_client *tls, const uint8_t *data, size_t length);
int tls_client_close_notify(struct tls_client *tls);
