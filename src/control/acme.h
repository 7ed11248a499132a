// SPDX-License-Identifier: Apache-2.0
// The folders in which ACME clients put their tokens (listeners[].redirect.acme). The master opens each once, and the workers look into it
// by that descriptor alone: they need no right on the way to it, and it is the one place where they open anything.
#pragma once

#include "ringbolt/config.h"

// Adds what is wrong with them to the report. 0 or -EINVAL.
int acme_check(const struct config *config, struct report *report);
// config->listener_count descriptors, -1 for listeners without a folder; acme_close() them. 0 and *ret, or -errno, with a line in the
// log.
int acme_open(const struct config *config, int **ret);
void acme_close(const struct config *config, int *folders); // NULL is accepted
