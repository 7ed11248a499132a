// SPDX-License-Identifier: Apache-2.0
// The upstreams as one worker sees them: which server a connection goes to next, by the table that all share (ringbolt/servers.h) and
// the rules of balance.h. No sockets here.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ringbolt/config.h"
#include "ringbolt/servers.h"

struct upstreams;

// What a connection wants.
struct upstream_wish {
    size_t upstream;
    const char *
        client; // the client's address as text, with its port: source_hash goes by what is before the last colon
    const uint64_t *tried; // a bit for each server of the upstream that was tried already; NULL: none
    uint64_t now_ns;
};

enum upstream_answer {
    UPSTREAM_CHOSEN, // *ret_server; a place there is taken, which upstream_give() returns
    UPSTREAM_FULL,   // all that it could go to have their max_connections
    UPSTREAM_NONE,   // there is none: all were tried, or take no connections
};

// NULL when there is no memory. `config` and `servers` must outlive it. worker: whose places it takes; round robin begins with another
// server in each.
struct upstreams *upstreams_create(const struct config *config, struct servers *servers, unsigned worker);
void upstreams_destroy(struct upstreams *upstreams); // NULL is accepted

// *ret_server is its index in the upstream's list.
enum upstream_answer upstream_choose(struct upstreams *upstreams, const struct upstream_wish *wish,
                                     size_t *ret_server);
void upstream_give(struct upstreams *upstreams, size_t upstream, size_t server);

// What became of connecting; says it when that changed the server's health, if not so many changed just now. error: -errno.
void upstream_failed(struct upstreams *upstreams, size_t upstream, size_t server, int error, uint64_t now_ns);
void upstream_succeeded(struct upstreams *upstreams, size_t upstream, size_t server, uint64_t now_ns);
// When upstreams_say_rest() has something to say of servers whose change was not said; 0: all were.
uint64_t upstreams_due_ns(const struct upstreams *upstreams);
void upstreams_say_rest(struct upstreams *upstreams, uint64_t now_ns);
