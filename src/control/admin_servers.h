// SPDX-License-Identifier: Apache-2.0
// The command `server` of the admin socket: the table of servers, and an operator's orders for one of them.
#pragma once

#include <jansson.h>

struct master;
struct admin_client;

// An upstream with its servers, as the list has it. NULL: no memory.
json_t *admin_servers_upstream(const struct master *master, size_t upstream);

// A request `server`: lists, or sets the state of the server that it names. Answers.
void admin_servers(struct master *master, struct admin_client *client, const json_t *request);
