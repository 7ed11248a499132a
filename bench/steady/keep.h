// SPDX-License-Identifier: Apache-2.0
// The end in front of the proxy: keeps so many connections of each kind, and tells what happens to them.
#pragma once

#include <stdbool.h>

#include <netinet/in.h>
#include <openssl/ssl.h>

#include "client.h"

struct keep_options {
    struct sockaddr_in address;  // of the proxy
    unsigned counts[KIND_COUNT]; // connections; of KIND_VISIT: new ones in a second
    unsigned rate;               // of a stream, bytes a second
    unsigned interval_ms;        // between questions of echo and rekey
    unsigned idle_ms;            // and of idle, on average
    unsigned half_ms;            // how long half-closed ones last, about
    unsigned drip_ms;            // between two bytes of drip
    unsigned hang_s;             // what is silent for so long is over
    unsigned at_once;            // handshakes, in the beginning
    unsigned sources;            // addresses that connections come from: 127.0.0.1 and so on
    int version;                 // TLS1_2_VERSION, TLS1_3_VERSION; 0: both
    bool is_proxied;             // each connection begins with a header of the PROXY protocol
};

struct keep {
    struct loop loop;
    struct loop_member input, beat; // beat: a descriptor of nobody's, for its moments alone
    struct keep_options options;
    SSL_CTX *ssl_12, *ssl_13;
    struct client *first;
    struct window *window;
    unsigned wanted[KIND_COUNT]; // not begun yet
    unsigned opening;            // under way to CLIENT_TALKING
    uint64_t opened, lasting;    // how many ever were in CLIENT_TALKING; how many there are to be at once
    uint64_t next_id, visit_ns, beats;
    bool is_ready, is_ending;
    char line[256];
    size_t line_size;
};

// Commands on standard input: "mark NAME" prints the window since the last mark, "end" ends all connections in order, prints the last one
// ("end"), and then the program is over. An exit status: 1 when there was a fault after the last mark.
int keep_run(const struct keep_options *options);

// Of clients: its handshake is over; it has ended, well or with a fault.
void keep_opened(struct keep *keep);
void keep_gone(struct keep *keep, struct client *client, bool was_open);
SSL_CTX *keep_ssl(struct keep *keep, enum client_kind kind, uint64_t id);
