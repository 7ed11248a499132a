// SPDX-License-Identifier: Apache-2.0
// Active health checks: the master connects to each server of the upstreams that ask for it, again and again, shakes hands where they ask
// for that too, and writes what it finds into the table of servers.
#pragma once

struct master;
struct checks;

// Plans the first check of each server, spread over its interval. 0 and master->checks (NULL where no upstream wants any), or -errno with a line in the log.
int checks_start(struct master *master);
void checks_finish(struct checks *checks); // before the loop goes; NULL is accepted
