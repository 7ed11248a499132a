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
    // the client's address as text, with its port: source_hash goes by what is before the last colon
    const char *client;
    const uint64_t *tried; // a bit for each server of the upstream that was tried already; NULL: none
    // NULL: any server. Else only those of this name with an address of `family`, and none that is out
    const struct config_name *name;
    int family;
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

// The server with its address as it was when it was chosen: it stays until upstream_drop(), whatever becomes of its name.
const struct config_server *upstream_hold(struct upstreams *upstreams, size_t upstream, size_t server);
void upstream_drop(const struct config_server *server); // NULL is accepted
// A server by its address as text and, where it has one, its host name's; neither is terminated.
struct upstream_adopted {
    const char *text;
    size_t length;
    const char *name; // NULL: none
    size_t name_length;
};

// Takes a place at that server, though it has as many as it may, and holds it: one that its name has lost a moment ago is still known. 0,
// -ENOENT (there is none), -ENOMEM.
int upstream_adopt(struct upstreams *upstreams, size_t upstream, const struct upstream_adopted *wanted,
                   size_t *ret_server, const struct config_server **ret_held);
// Whether the server is still at this address.
bool upstream_is_still(const struct upstreams *upstreams, size_t upstream, size_t server,
                       const struct config_server *held);
// Whether its name has an address of the other family.
bool upstream_has_other_family(const struct upstreams *upstreams, size_t upstream,
                               const struct config_server *held);
// Another server of its name has taken a connection that was sent there before: for health.fail_timeout this worker prefers others.
void upstream_overtaken(struct upstreams *upstreams, size_t upstream, size_t server,
                        const struct config_server *held, uint64_t now_ns);
size_t upstream_count(const struct upstreams *upstreams, size_t upstream); // servers that are there

// What became of connecting, and of shaking hands where servers speak TLS; says it when that changed the server's health, if not so many
// changed just now. why: for the log.
void upstream_failed(struct upstreams *upstreams, size_t upstream, size_t server, const char *why,
                     uint64_t now_ns);
void upstream_succeeded(struct upstreams *upstreams, size_t upstream, size_t server, uint64_t now_ns);
// When upstreams_say_rest() has something to say of servers whose change was not said; 0: all were.
uint64_t upstreams_due_ns(const struct upstreams *upstreams);
void upstreams_say_rest(struct upstreams *upstreams, uint64_t now_ns);
