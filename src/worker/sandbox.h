// SPDX-License-Identifier: Apache-2.0
// A worker's way into its sandbox (ringbolt/sandbox.h says what that is).
#pragma once

#include "ringbolt/sandbox.h"

// Enters it, but for the ring, which was made with its restrictions. `acme` and `channel` as in struct worker_setup. 0, or -errno with
// *ret_what (static text) naming the step; the process must not go on then.
int sandbox_enter(const struct sandbox *sandbox, const struct config *config, const int *acme, int channel,
                  const char **ret_what);
