// SPDX-License-Identifier: Apache-2.0
// What clients do once they are connected: a table of what happens when. All but `begin` may be NULL.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client.h"
#include "options.h"

struct run;

struct work {
    // connections are opened first, and last; a unit begins on an open one. Else a unit begins with connecting
    bool is_kept;
    bool is_once;                         // a connection that ends is not opened again
    bool is_bulk;                         // large buffers; what is going on at the end is cut
    void (*begin)(struct client *client); // the client is OPEN
    void (*received)(struct client *client, const uint8_t *data, size_t length); // content
    void (*sent)(struct client *client); // all of client_send() is with the kernel
    // The server has ended its stream, with close_notify or without. The client is OPEN.
    void (*ended)(struct client *client, bool is_orderly);
    void (*closed)(struct client *client); // both have said goodbye, or it has left as it was told to
};

extern const struct work work_handshakes;  // work_handshakes.c
extern const struct work work_churn;       // work_http.c
extern const struct work work_requests;    //
extern const struct work work_transfer;    // download, upload and both by HTTP
extern const struct work work_idle;        //
extern const struct work work_echo;        // work_raw.c
extern const struct work work_stream_down; //
extern const struct work work_stream_up;   //
extern const struct work work_stream_both; //

const struct work *work_of(const struct options *options);

// Makes run->get and run->put. 0 or -ENOMEM.
int work_http_prepare(struct run *run);
