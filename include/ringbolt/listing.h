// SPDX-License-Identifier: Apache-2.0
// The live connections as `ringbolt connections` shows them. A worker is asked for a page at a time, which takes it some hundred microseconds
// however many connections it has, and writes it into memory that it shares with the master. One listing at a time: a new one ends the one before.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define LISTING_PAGE 256        // connections
#define LISTING_NONE UINT32_MAX // instead of an index

// One connection. Texts end in a zero, and are cut if need be; empty: none, or not known yet.
struct listing_entry {
    uint64_t id;
    uint64_t age_ns;
    uint64_t idle_ns; // since a byte moved last
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint32_t listener; // indices into the configuration
    uint32_t upstream; // LISTING_NONE: not known yet, or none
    uint32_t server;   // likewise
    uint8_t state;
    uint8_t is_resumed;
    uint8_t modes[2][2]; // by side (enum stats_side) and enum record_direction
    char client[56];
    char sni[256];
    char alpn[32];
    char tls[16];
    char cipher[48];
    char server_tls[16];
};

struct listing_page {
    uint32_t count;
    uint32_t has_more; // others follow
    struct listing_entry entries[LISTING_PAGE];
};

struct proxy;

// Fills the page with the connections that follow those of the page before, or with the first ones. What comes and goes meanwhile is
// listed or not; no connection is listed twice.
void proxy_list(struct proxy *proxy, bool from_start, struct listing_page *page);

// "relay" and the like; NULL: there is no such state.
const char *listing_state_name(unsigned state);
// "kernel", "user", or NULL: plain.
const char *listing_mode_name(unsigned mode);
