// SPDX-License-Identifier: Apache-2.0
// What holds each process, for the command `status` of the admin socket.
#pragma once

#include <jansson.h>

struct master;

// An array with an object for the master and one for each worker that lives. NULL: no memory.
json_t *admin_sandbox(const struct master *master);
