// SPDX-License-Identifier: Apache-2.0
// What PROXY headers have to do with a connection: what one said of it (header_in.c), what one will say (header_out.c), and what of
// both the log line tells in the end. Most connections have none; a connection keeps one only as long as something in it is needed.
#pragma once

#include "connection.h"
#include "proxy_header.h"

struct header_facts {
    struct proxy_addresses addresses; // UNSPEC: the socket's own count
    uint8_t unique_id_size;           // 0: none came
    uint8_t unique_id[PROXY_UNIQUE_ID_MAX];
};

struct header_out {
    size_t size;
    size_t sent;
    uint8_t bytes[];
};

struct connection_header {
    char via[56];               // the socket's own address; "": a header named no other
    char *unique_id;            // what came, as text for the log; NULL: none
    struct header_facts *facts; // until the handshake is over
    struct header_out *out;     // until it is sent
};

// The connection's, made if it has none. NULL: no memory.
struct connection_header *connection_header_take(struct connection *connection);
// Keeps what an incoming header says. 0 or -ENOMEM.
int connection_header_keep(struct connection *connection, const struct proxy_header *said);
// Lets go of it if nothing is left in it.
void connection_header_trim(struct connection *connection);
// What we call this connection, unlike any other of any worker.
void connection_header_make_unique_id(const struct connection *connection, char text[static UNIQUE_ID_TEXT]);

// header_out.c: whose servers it goes to.
const struct config_upstream *header_out_upstream(const struct connection *connection);
