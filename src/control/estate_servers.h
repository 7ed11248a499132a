// SPDX-License-Identifier: Apache-2.0
// What is known of servers, as it goes from a master to its successor: orders, health, slow start, by the names of upstreams and the addresses
// of servers. Where names lead is looked up anew.
#pragma once

#include "names.h"
#include "pack.h"
#include "ringbolt/config.h"
#include "ringbolt/servers.h"

// names: NULL, or whose orders go along. Servers that nothing is to be said of are left out.
void servers_pack(const struct config *config, const struct servers *servers, const struct names *names,
                  struct pack *pack);
// Into tables that nobody uses yet, or once more: then of a server that is not mentioned nothing has changed. What this configuration does not have is left out, and nobody is out whom nothing could bring back. All of it or, when it
// is not understood, nothing: false.
bool servers_unpack(const uint8_t *bytes, size_t size, const struct config *config, struct servers *servers,
                    struct names *names, uint64_t now_ns);
