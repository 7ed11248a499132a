// SPDX-License-Identifier: Apache-2.0
// Sessions with servers, so that a connection need not verify what an earlier one has: one for each server of an upstream, in each worker.
//
// A session is kept only from a handshake in which the server was verified, and offered to the same server, by the same name, under the same
// settings. It ends with whatever ends first: an hour, what the server said, a certificate of its chain, a revocation list. What a resumed
// connection is given in turn is not taken, so there is a whole handshake at least that often. A session that was offered and not taken
// is dropped.
//
// In TLS 1.3 tickets come when the handshake is over, so the SSL object that can read them is kept until the first one. That costs tens of kilobytes, so
// only SESSIONS_WAITING_MAX connections of a server do that at once, and only while there is no session.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <openssl/ssl.h>

#include "src/tls/engine.h"

#define SESSIONS_WAITING_MAX 2

struct sessions;

// NULL when there is no memory.
struct sessions *sessions_create(size_t server_count);
void sessions_destroy(struct sessions *sessions); // NULL is accepted; wipes

// Drops all of them; what handshakes that began before still bring is not kept either.
void sessions_forget(struct sessions *sessions);

// Sets up a context whose handshakes keep theirs.
void sessions_configure(SSL_CTX *ssl);

// For a new handshake with handshake->server: offers the session with it, if there is one.
void sessions_offer(struct handshake *handshake, SSL *ssl);

// The handshake has succeeded. True: the next ticket is wanted; sessions_wait_no_more() when it came, or won't.
bool sessions_succeeded(struct handshake *handshake, SSL *ssl);
void sessions_failed(struct handshake *handshake); // harmless of a server's, as the next
void sessions_wait_no_more(struct handshake *handshake);
