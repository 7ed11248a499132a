// SPDX-License-Identifier: Apache-2.0
// The command `connections` of the admin socket: live connections, page by page from the workers.
#pragma once

#include <jansson.h>

struct master;
struct admin_client;

void admin_connections(struct master *master, struct admin_client *client, const json_t *request);
