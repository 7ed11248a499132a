// SPDX-License-Identifier: Apache-2.0
// What a check says to a server that it has connected to: the PROXY header that the server expects, and where TLS is checked a whole handshake,
// verified as those of connections are. A machine that eats and yields bytes on a socket that doesn't block. What a server sends is
// bounded, and a step does little work: the master has other things to do.
#pragma once

#include "ringbolt/config.h"
#include "ringbolt/tls.h"

struct check_talk;

enum check_talk_status {
    CHECK_TALK_WAITS, // for *ret_events
    CHECK_TALK_GOOD,  // all was said, and the answers were right
    CHECK_TALK_BAD,   // check_talk_why() says why
};

// Whether a server of this upstream is to be spoken to at all.
bool check_talk_is_wanted(const struct config_upstream *upstream);

// NULL when there is no memory. context: of the upstream, where `check` is `tls`. What it is given must outlive it.
struct check_talk *check_talk_create(const struct config_upstream *upstream,
                                     const struct config_server *server, struct tls_context *context);
void check_talk_destroy(struct check_talk *talk); // NULL is accepted

// Does what can be done now. *ret_events: EPOLLIN or EPOLLOUT.
enum check_talk_status check_talk_step(struct check_talk *talk, int fd, unsigned *ret_events);
const char *check_talk_why(const struct check_talk *talk); // good as long as the talk
