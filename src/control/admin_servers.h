// SPDX-License-Identifier: Apache-2.0
// The command `server` of the admin socket: the table of servers, and an operator's orders for one of them.
#pragma once

#include <jansson.h>

struct master;
struct admin_client;

// Adds what else is to be told of a server to what the list says of it. 0; -1: no memory.
typedef int admin_servers_more(const struct master *master, size_t upstream, size_t server, json_t *json);

// An upstream with its servers, as the list has it; `more` (may be NULL) is called for each of these. NULL: no memory.
json_t *admin_servers_upstream(const struct master *master, size_t upstream, admin_servers_more *more);

// Where a server is, or was when its name lost that address. Null if there is none, or no such server.
json_t *admin_servers_address(const struct master *master, size_t upstream, size_t server);

// A request `server`: lists, or sets the state of the server that it names. Answers.
void admin_servers(struct master *master, struct admin_client *client, const json_t *request);
