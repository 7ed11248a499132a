// SPDX-License-Identifier: Apache-2.0
// One of the two that a proxy stands between, with TLS (OpenSSL's) or without: what a simulated client or server says and hears.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "world.h"

struct side {
    struct peer *peer; // NULL: not there yet, nothing happens
    SSL *ssl;          // NULL: plain
    BIO *in, *out;     // what came and was not read, and what is to be sent
    bool reads_slowly;
    size_t written;   // bytes that left for the proxy
    size_t stops_at;  // as many are sent at most
    size_t spoils_at; // from this one on they are noise
    bool is_handshaken;
    size_t handshake_size; // how many of them were the handshake
    bool has_closed;       // has said its orderly end
    bool has_left;         // its socket is closed, in one direction at least
    bool saw_close_notify; // with TLS
    bool saw_error;
    bool saw_end, saw_reset; // of the socket, with all that came before it read
};

// `context` NULL: plain. It accepts where the context is a server's, else it connects.
void side_open(struct side *side, SSL_CTX *context, bool is_server);
// Bytes between socket and TLS, and a step of the handshake.
void side_step(struct side *side);
// A line in the clear ahead of everything, as the one that names the client: *is_over once all of it was taken, which is returned.
bool side_skip_line(struct side *side, bool *is_over);
// What came: bytes, 0 at the end or when there is nothing.
size_t side_read(struct side *side, uint8_t *data, size_t size);
// How much was taken. Only when side_may_write().
size_t side_write(struct side *side, const uint8_t *data, size_t length);
bool side_may_write(const struct side *side);
// Nothing is left of what was written.
bool side_is_drained(const struct side *side);
// Whoever was orderly would close the socket now: both have said their end, or the other one broke off.
bool side_is_over(const struct side *side);
void side_finish(struct side *side); // the orderly end: close_notify, if there is TLS
void side_leave(struct side *side);  // FIN
void side_reset(struct side *side);
void side_close(struct side *side); // frees
