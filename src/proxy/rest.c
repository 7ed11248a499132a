// SPDX-License-Identifier: Apache-2.0
// How a connection in RELAY comes to rest, so that it can be moved to another worker, and goes on.
#include "connection.h"

bool connection_can_move(const struct connection *connection)
{
    return false;
}

void connection_rest(struct connection *connection, connection_rested *rested, void *context)
{
    rested(connection, context, false);
}

void connection_resume(struct connection *connection)
{
}

void connection_release(struct connection *connection)
{
}

void rest_check(struct connection *connection)
{
}

void rest_leave(struct connection *connection)
{
}

void rest_timer(struct connection *connection)
{
}

void rest_tell(struct proxy *proxy)
{
}
