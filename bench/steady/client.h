// SPDX-License-Identifier: Apache-2.0
// One connection through the proxy, of a kind. It knows what must come, and says at once when something else does, or nothing.
#pragma once

#include "talk.h"
#include "window.h"

struct keep;

enum client_state { CLIENT_CONNECTING, CLIENT_HANDSHAKE, CLIENT_TALKING, CLIENT_ENDING };

struct client {
    struct talk talk; // first
    struct keep *keep;
    struct client *previous, *next; // in the list of all
    enum client_kind kind;
    enum client_state state;
    uint64_t id, random;
    uint64_t begun_ns;
    uint64_t heard_ns;    // the last byte, or what begun that one is waited for
    uint64_t asked_ns;    // the moment that the question was due which has no answer; 0: none
    uint64_t next_ns;     // when the next thing is due, with kinds that have a beat
    uint64_t pause_ns;    // the longest in this window
    uint64_t said_at_end; // what we had sent with END or our end
    unsigned turns;
    bool has_bye, is_rekeying;
};

// Connects. Counts itself in the window, and is freed by itself when it is over: keep_gone() is told.
int client_create(struct keep *keep, enum client_kind kind);
void client_destroy(struct client *client);

// It is to say END, when it can, and to be heard to the end.
void client_end(struct client *client);
// Called now and then: a connection that owes something and has been silent for too long is over.
void client_look(struct client *client);
// The longest pause of the window, also the one that lasts; begins anew.
uint64_t client_pause_take(struct client *client);
