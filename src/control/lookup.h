// SPDX-License-Identifier: Apache-2.0
// One lookup of a host name, by a child process that is started and held as those that ask OCSP responders are (responder_fetch.h): a lookup
// may take long, the C library's can't be interrupted, and what it reads comes from the network.
#pragma once

#include "responder_fetch.h"
#include "src/config/address.h"

#define LOOKUP_COMMAND "look-up" // the internal command
#define LOOKUP_MAX     256       // addresses in an answer

// What the child answers: so many of these.
struct lookup_address {
    uint32_t family; // AF_INET or AF_INET6
    uint32_t scope;  // of a link-local address of IPv6
    uint8_t bytes[16];
};

// Starts one. As fetch_start().
int lookup_start(struct fetch *fetch, const struct account *account, const char *host, uint64_t timeout_ns);
// The addresses in an answer, their ports and texts not set, each once. False: it is no proper answer, or holds none.
bool lookup_read(const struct fetch_answer *answer, struct config_address ret[static LOOKUP_MAX],
                 size_t *ret_count);

// The internal command (lookup_child.c).
_Noreturn void lookup_child(void);
