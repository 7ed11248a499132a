// SPDX-License-Identifier: Apache-2.0
// How names find routes, inside the room.
#pragma once

#include "ringbolt/config.h"

// The names of routes that are for a host, or that cover a name of a route: "", "*", itself, the wildcard above it.
struct route_keys {
    const char *keys[4];
    size_t count;
    char exact[256];
    char wildcard[256];
};
void route_keys_find(const char *name, struct route_keys *ret);

// The place in listener->route_names where entries of this name begin, or would.
size_t route_first(const struct config_listener *listener, const char *name);
