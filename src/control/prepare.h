// SPDX-License-Identifier: Apache-2.0
// What the master needs before it opens a socket: the workers' account, what the kernel can do, memory, keylog files.
#pragma once

struct master;

// The exit status: 0 to go on; 1, or 3 when it is the configuration's fault; the reason is in the log.
int prepare(struct master *master);
void prepare_undo(struct master *master); // whatever of it was done; wipes
