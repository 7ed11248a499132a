// SPDX-License-Identifier: Apache-2.0
// A child that executes this program again, with an internal command: nothing of the master's memory is left in it. It runs under the
// workers' account, with two descriptors and no standard error, which is the master's log, where no child may forge a line.
#pragma once

#include <sys/types.h>

#include "account.h"

// In a child just forked from `parent`: `in` and `out` become standard input and output, everything else is closed, privileges go, and the
// program is executed with `command`. Returns only when that failed: -errno and *ret_what. Standard input and output may be in
// place by then.
int spawn_become(const char *command, const struct account *account, pid_t parent, int in, int out,
                 const char **ret_what);
