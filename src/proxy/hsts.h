// SPDX-License-Identifier: Apache-2.0
// Strict-Transport-Security in the first final response of each connection of HTTP/1: what passes in the flow down is looked at until then.
#pragma once

#include <stdbool.h>

struct connection;
struct flow;
struct hsts;

// RELAY begins. Without memory there is none.
void hsts_start(struct connection *connection);
// It is in the midst of the response: what it remembers of it can't be told elsewhere.
bool hsts_has_begun(const struct connection *connection);
// What the flow is to deliver is in its buffer, in one piece or more: puts in what is to be put in. False: nothing is left to deliver for now, or the
// connection had to end.
bool hsts_pass(struct flow *flow);
// The server has ended: true if there is something to deliver still, which is in the flow's buffer.
bool hsts_flush(struct flow *flow);
void hsts_finish(struct connection *connection);
