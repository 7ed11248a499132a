// SPDX-License-Identifier: Apache-2.0
// What dial.c and race.c share. race.c is happy eyeballs (RFC 8305) as a proxy can have them: when the server at hand has not taken the connection
// within `resolve.attempt_delay`, and its name has an address of the other family, that one is tried beside it. The first one to succeed is kept.
#pragma once

#include "connection.h"

// ---- dial.c ----

// A socket to connect to the server with. -errno: said in the log, and nothing of the server.
int dial_open(struct connection *connection, const struct config_server *server);
// Not again for this connection. False: there is no memory to remember that, and it has ended.
bool dial_cross_out(struct connection *connection, size_t server);
// What became of an attempt, for the server's health; one that accepts where a handshake is to follow has yet to show that it is well.
void dial_refused(struct connection *connection, const struct config_server *held, size_t server, int error);
void dial_accepted(struct connection *connection, const struct config_server *held, size_t server);
void dial_give(struct connection *connection, size_t server); // a place
void dial_next(struct connection *connection);                // nobody is being tried: the next server
void dial_stands(struct connection *connection); // `dialling` has taken the connection on server.fd

// ---- race.c ----

// When the other family's turn is if the server at hand has not taken the connection by then; UINT64_MAX: there is none.
uint64_t race_delay_ns(const struct connection *connection);
// It is its turn. Sets the connection's timer in any case.
void race_begin(struct connection *connection);
// There is another attempt, and nobody has stopped it.
bool race_is_on(const struct connection *connection);
// A time limit is over, while there is another attempt.
void race_timed_out(struct connection *connection);
// The server at hand has refused. True: the other attempt goes on.
bool race_goes_on(struct connection *connection);
// The server at hand has answered, one way or the other. True: the other one was faster, and takes its place.
bool race_is_lost(struct connection *connection);
// The server at hand has taken the connection, or the connection is over: no other attempt is of use. Harmless when there is none.
void race_stop(struct connection *connection);
