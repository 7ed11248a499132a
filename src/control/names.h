// SPDX-License-Identifier: Apache-2.0
// Servers' host names while the master runs: looked up again and again, and what is found goes into the table of servers. Each lookup is a
// child process (lookup.h), a few at a time.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ringbolt/config.h"
#include "ringbolt/servers.h"
#include "ringbolt/stats.h"

struct master;
struct names;

// Plans the first lookup of each name, spread over its interval; of those that have no address yet it is now. 0 and master->names (NULL where no
// server has a name), or -ENOMEM.
int names_start(struct master *master);
void names_finish(struct names *names); // kills the children; NULL is accepted

// All of them, as soon as may be. NULL is accepted.
void names_look_up(struct names *names);
// A child has ended. False when it was none of ours. NULL is accepted.
bool names_reap(struct names *names, int pid, int status);

// What an operator wants of a name: of all its servers, and of those that it gets later. True when one of them changes.
bool names_set_order(struct names *names, const struct config_name *name, enum servers_order order);

// What names_set_order() said last; NULL is accepted.
enum servers_order names_order(const struct names *names, const struct config_name *name);

// Addresses that a name has.
size_t names_count(const struct names *names, const struct config_name *name);
// Why it could not be looked up the last time; NULL: it could.
const char *names_problem(const struct names *names, const struct config_name *name);

// ---- into the table (names_apply.c) ----

// What became of an answer. The texts are allocated, NULL when there is no memory.
struct names_outcome {
    size_t added;
    size_t removed;
    size_t here;      // afterwards
    size_t left_out;  // addresses that there is no room for
    char *added_text; // "192.0.2.1:80, 192.0.2.2:80"
    char *removed_text;
};

// The name has these addresses now (ports not set; count 1 or more). An address that another server of the upstream has is left to that one.
void names_apply(struct servers *servers, struct stats *stats, const struct config *config, size_t upstream,
                 const struct config_name *name, enum servers_order order, const struct config_address *found,
                 size_t count, uint64_t now_ns, struct names_outcome *ret);
void names_outcome_finish(struct names_outcome *outcome);
