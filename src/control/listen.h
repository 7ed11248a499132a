// SPDX-License-Identifier: Apache-2.0
// The listening sockets: made before the first worker, kept as long as the master lives, so that a client in an accept
// queue survives the worker that should have taken it; and left to the successor, so that one survives the master too.
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

#include "activation.h"
#include "estate.h"
#include "ringbolt/config.h"
#include "ringbolt/proxy.h"
#include "unix_file.h"

enum listening_kind {     // numbers on the wire
    LISTENING_GROUP = 1,  // SO_REUSEPORT sockets of our own making: each has its queue, and needs a worker
    LISTENING_PASSED = 2, // by a service manager
    LISTENING_UNIX = 3,   // one for all workers
};

// Those of one listener.
struct listening_sockets {
    enum listening_kind kind;
    int *fds;
    unsigned count;
    bool is_inherited;     // from the predecessor
    char *text;            // the address with the real port
    struct unix_file file; // of a unix address
};

struct listening {
    const struct config *config;
    struct listening_sockets *sockets; // by listener
    int *firsts; // config->listener_count for each worker, in this order: of each its first one; -1: none
};

// A listener takes over the sockets in `inherited` (NULL: none) that have its address, or else those in `passed` (likewise), and makes its
// own where there are too few. What was passed and is nobody's is an error. 0, or -errno with the reason and the cure in the log.
int listening_open(struct listening *listening, const struct config *config, struct activation *passed,
                   struct estate *inherited);
// Closes what is open and removes the files of unix addresses. Harmless when done before, or on zeroed memory.
void listening_close(struct listening *listening);
// The first socket of each listener that one worker has.
const int *listening_of(const struct listening *listening, unsigned worker);
// Its further ones, where a listener has more sockets than there are workers. 0 and *ret (free() it), or -ENOMEM.
int listening_more(const struct listening *listening, unsigned worker, struct proxy_socket **ret,
                   size_t *ret_count);
// The address of one, with its real port; NULL: it is closed.
const char *listening_address(const struct listening *listening, size_t index);
// Every address, separated by spaces; the caller frees it. NULL: no memory.
char *listening_text(const struct listening *listening);

// ---- from one master to the next (listen_estate.c) ----

// Adds every socket to the estate. 0 or -errno.
int listening_leave(const struct listening *listening, struct estate *ret);
// Takes those of a configured address out of the estate. 1: taken (*ret has fds and kind), 0: there are none, or -errno.
int listening_inherit(struct estate *inherited, const struct config_address *address,
                      struct listening_sockets *ret);
// Whether the predecessor listens at this port, whatever the address.
bool listening_had_port(const struct estate *inherited, in_port_t port);
// We lead: options of inherited sockets become what the configuration says. Until then the predecessor serves with its own.
void listening_lead(struct listening *listening);
// The predecessor owns the files of unix addresses no more: those of inherited listeners are ours, those of listeners that are no more are
// removed.
void listening_own(struct listening *listening, const struct estate *inherited);
// The successor owns them: nothing is removed at the end.
void listening_disown(struct listening *listening);
