// SPDX-License-Identifier: Apache-2.0
// What the master makes sure of before it starts workers, and gives up itself.
#pragma once

#include <stdint.h>

struct config;
struct master;

// Finds out which parts of the workers' sandbox can be had (master->sandbox), and says so in the log. 0, or -ENOTSUP: one that is
// required can't.
int confine_probe(struct master *master);

// The capabilities that workers keep, if we have them: a PRIVILEGE() each.
uint64_t confine_worker_keeps(const struct config *config);

// Once everything is open that takes more: gives up the capabilities that a master which serves does not need, the way back to
// them, and core dumps. What can't be given up is said and no reason not to serve.
void confine_master(const struct master *master);
