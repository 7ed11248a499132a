// SPDX-License-Identifier: Apache-2.0
// A proxy that connections are handed to, without a ring, and connections as bytes, written here field by field and not by what is
// tested. For tests/unit/test_carry.c and tests/fuzz/fuzz_carry.c.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ringbolt/clock.h"
#include "src/proxy/carry.h"
#include "src/proxy/carry_format.h"
#include "src/proxy/connection.h"

#define CARRY_NOW_NS (1000 * CLOCK_NS_PER_S)

struct carry_world {
    struct config_route routes[2];
    struct config_listener listeners[3];
    struct config_server servers[2];
    struct config_upstream upstreams[2];
    struct config config;
    struct record_probe probe;
    struct tls_context *contexts[3];
    int sockets[3];
    struct buffer_pool *pool;
    struct admission *admission;
    struct servers *places;
    struct stats *stats;
    struct proxy *proxy;
};

static inline void carry_world_open(struct carry_world *world)
{
    struct proxy_setup setup;

    *world = (struct carry_world){
        .routes = {{.way = CONFIG_WAY_REJECT, .upstream = CONFIG_NO_UPSTREAM}, {.upstream = 1}},
        .listeners = {{.name = (char *)"web", .address.text = (char *)"192.0.2.1:443"},
                      {.name = (char *)"plain", .address.text = (char *)"192.0.2.1:80", .is_plain = true},
                      {.name = (char *)"moved",
                       .address.text = (char *)"192.0.2.1:81",
                       .redirect.is_on = true}},
        .servers = {{.address.text = (char *)"198.51.100.1:8080", .weight = 1, .max_connections = 1},
                    {.address.text = (char *)"198.51.100.2:8080", .weight = 1, .max_connections = 1}},
    };
    world->listeners[0].routes = world->routes;
    world->listeners[0].route_count = 2;
    world->listeners[0].hsts = (char *)"Strict-Transport-Security: max-age=1\r\n";
    world->upstreams[0] =
        (struct config_upstream){.name = (char *)"other", .servers = world->servers, .server_count = 1};
    world->upstreams[1] =
        (struct config_upstream){.name = (char *)"app", .servers = world->servers, .server_count = 2};
    world->config = (struct config){
        .workers = 1,
        .listeners = world->listeners,
        .listener_count = 3,
        .upstreams = world->upstreams,
        .upstream_count = 2,
        .limits = {.connections = 100, .memory = 4u << 20, .connections_per_client = 1},
        .timeouts = {.idle_ns = CLOCK_NS_PER_S, .half_closed_ns = CLOCK_NS_PER_S},
        .ktls = {.offload_after = 1},
    };
    world->config.limits.client_network.ipv4 = 32;
    world->config.limits.client_network.ipv6 = 64;
    world->pool = buffer_pool_create(4u << 20);
    world->admission = admission_create(&world->config);
    if (!world->pool || !world->admission || servers_create(&world->config, &world->places) < 0 ||
        stats_create(&world->config, &world->stats) < 0)
        abort();
    setup = (struct proxy_setup){.config = &world->config,
                                 .probe = &world->probe,
                                 .contexts = world->contexts,
                                 .listeners = world->sockets,
                                 .pool = world->pool,
                                 .admission = world->admission,
                                 .servers = world->places,
                                 .stats = world->stats};
    world->proxy = proxy_create(&setup, CARRY_NOW_NS);
    if (!world->proxy)
        abort();
}

// Nothing is left of the connections that were there.
static inline bool carry_world_is_empty(const struct carry_world *world)
{
    struct stats_listener counted;
    unsigned live = 0;

    for (size_t i = 0; i < 3; i++) {
        stats_sum_listener(world->stats, i, &counted);
        live += (unsigned)counted.connections;
    }
    for (size_t i = 0; i < 3; i++)
        live += servers_live(world->places, i);
    return live == 0 && buffer_pool_used(world->pool) == 0 && proxy_connection_count(world->proxy) == 0 &&
           world->proxy->awake_count == 0;
}

static inline void carry_world_close(struct carry_world *world)
{
    proxy_destroy(world->proxy);
    stats_destroy(world->stats);
    servers_destroy(world->places);
    admission_destroy(world->admission);
    buffer_pool_destroy(world->pool);
}

// ---- bytes ----

struct carry_bytes {
    uint8_t data[1 << 18];
    size_t size;
};

static inline void carry_number(struct carry_bytes *to, uint64_t number, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        to->data[to->size++] = (uint8_t)(number >> (8 * i));
}

static inline void carry_begin(struct carry_bytes *to, unsigned field, size_t size)
{
    carry_number(to, field, 2);
    carry_number(to, size, 4);
}

static inline void carry_text(struct carry_bytes *to, unsigned field, const char *text)
{
    carry_begin(to, field, strlen(text));
    memcpy(to->data + to->size, text, strlen(text));
    to->size += strlen(text);
}

static inline void carry_filler(struct carry_bytes *to, uint8_t seed, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to->data[to->size++] = (uint8_t)(seed + i * 7);
}

static inline void carry_filled(struct carry_bytes *to, unsigned field, uint8_t seed, size_t size)
{
    carry_begin(to, field, size);
    carry_filler(to, seed, size);
}

static inline void carry_keys(struct carry_bytes *to, unsigned field, enum record_version version,
                              enum record_cipher cipher, uint8_t seed)
{
    size_t key_size = cipher == RECORD_AES_128_GCM ? 16 : 32;
    size_t secret_size = version == RECORD_TLS12 ? 0 : cipher == RECORD_AES_256_GCM ? 48 : 32;

    carry_begin(to, field, 2 + 1 + 8 + key_size + 12 + secret_size);
    carry_number(to, version, 2);
    carry_number(to, cipher, 1);
    carry_number(to, 1000u + seed, 8);
    carry_filler(to, seed, key_size + 12 + secret_size);
}

struct carry_side {
    uint8_t receive_mode, receive_why, transmit_mode, transmit_why, flags, sending;
    bool has_message;
};

static inline void carry_side(struct carry_bytes *to, unsigned field, const struct carry_side *side)
{
    carry_begin(to, field, 19);
    carry_number(to, side->receive_mode, 1);
    carry_number(to, side->receive_why, 1);
    carry_number(to, side->transmit_mode, 1);
    carry_number(to, side->transmit_why, 1);
    carry_number(to, side->flags, 1);
    carry_number(to, side->sending, 1);
    carry_number(to, 3, 1); // KeyUpdates
    carry_number(to, 4, 1); // empty records
    carry_number(to, side->has_message ? 2 : 0, 1);
    carry_number(to, side->has_message ? 0x0304 : 0, 4);
    carry_number(to, 0, 4);
    carry_number(to, side->transmit_mode == ENDPOINT_PLAIN ? 0 : 4096, 2);
}

static inline void carry_flow(struct carry_bytes *to, unsigned field, enum flow_state state,
                              unsigned appetite, bool is_closing, uint32_t sending, uint32_t needed)
{
    carry_begin(to, field, 19);
    carry_number(to, state, 1);
    carry_number(to, appetite, 1);
    carry_number(to, is_closing, 1);
    carry_number(to, 123456789012u + field, 8);
    carry_number(to, sending, 4);
    carry_number(to, needed, 4);
}

static inline void carry_head(struct carry_bytes *to, unsigned flags, unsigned route, const char *listener,
                              const char *name)
{
    to->size = 0;
    memcpy(to->data, "RBcn", 4);
    to->size = 4;
    carry_number(to, 1, 2);
    carry_number(to, 0, 2);
    carry_begin(to, 1, 70);
    carry_number(to, 0x1122334455667788, 8);
    carry_number(to, 0x99aabbccddeeff00, 8);
    for (uint64_t i = 1; i <= 4; i++) // accepted, handshaken, connected, active
        carry_number(to, i * CLOCK_NS_PER_S, 8);
    carry_number(to, 2000 * CLOCK_NS_PER_S, 8);
    carry_number(to, 0x0102030405060708, 8);
    carry_number(to, flags, 2);
    carry_number(to, route, 4);
    carry_text(to, 2, listener);
    carry_text(to, 3, name);
    carry_text(to, 4, "app");
    carry_text(to, 5, "198.51.100.2:8080");
    carry_text(to, 7, "203.0.113.7:51234");
}

#define CARRY_SAMPLES 5

// An idle one: TLS 1.3 with the client, opened here and sealed by the kernel, to a server without TLS.
static inline void carry_idle(struct carry_bytes *to)
{
    carry_head(to, CARRY_WANTS_HSTS | CARRY_IS_RESUMED, 2, "192.0.2.1:443", "web");
    carry_text(to, 10, "www.example.com");
    carry_text(to, 11, "http/1.1");
    carry_text(to, 12, "TLS_AES_128_GCM_SHA256");
    carry_text(to, 13, "CN=somebody");
    carry_text(to, 14, "ab:cd");
    carry_side(to, 20,
               &(struct carry_side){ENDPOINT_USER, ENDPOINT_WHY_FAILED, ENDPOINT_KERNEL, 0, CARRY_CAN_REKEY,
                                    0, false});
    carry_keys(to, 21, RECORD_TLS13, RECORD_AES_128_GCM, 1);
    carry_keys(to, 22, RECORD_TLS13, RECORD_AES_128_GCM, 2);
    carry_side(to, 25, &(struct carry_side){0});
    carry_flow(to, 30, FLOW_WAITING, BUFFER_LARGE, false, 0, 0);
    carry_flow(to, 35, FLOW_WAITING, BUFFER_SMALL, false, 0, 0);
}

// A busy one, re-encrypted: to the client sealed bytes with part of a record behind them, to the server a half-sent KeyUpdate and plaintext
// behind that.
static inline void carry_busy(struct carry_bytes *to)
{
    carry_head(to, CARRY_IS_SERVER_RESUMED, 0, "192.0.2.1:443", "web");
    carry_text(to, 12, "TLS_CHACHA20_POLY1305_SHA256");
    carry_text(to, 15, "ECDHE-RSA-AES256-GCM-SHA384");
    carry_side(to, 20,
               &(struct carry_side){ENDPOINT_USER, ENDPOINT_WHY_FAILED, ENDPOINT_USER, ENDPOINT_WHY_FAILED,
                                    CARRY_IS_KEY_UPDATE_DUE, 0, false});
    carry_keys(to, 21, RECORD_TLS13, RECORD_CHACHA20_POLY1305, 1);
    carry_keys(to, 22, RECORD_TLS13, RECORD_CHACHA20_POLY1305, 2);
    carry_side(to, 25,
               &(struct carry_side){ENDPOINT_USER, ENDPOINT_WHY_FAILED, ENDPOINT_USER, ENDPOINT_WHY_FAILED, 0,
                                    ENDPOINT_SENDS_KEY_UPDATE, true});
    carry_keys(to, 26, RECORD_TLS12, RECORD_AES_256_GCM, 3);
    carry_keys(to, 27, RECORD_TLS12, RECORD_AES_256_GCM, 4);
    carry_filled(to, 28, 50, 17);
    carry_flow(to, 30, FLOW_READY, BUFFER_LARGE, true, 0, 900);
    carry_filled(to, 31, 60, 20000);
    carry_filled(to, 32, 70, 300);
    carry_flow(to, 35, FLOW_SENDING, BUFFER_HUGE, false, 16384, 2);
    carry_filled(to, 36, 80, 9000);
    carry_filled(to, 37, 90, 3);
}

// Without TLS on both sides: a PROXY header is on its way to the server, and what follows it waits.
static inline void carry_plain(struct carry_bytes *to)
{
    carry_head(to, CARRY_IS_PROXIED, 0, "192.0.2.1:80", "plain");
    carry_text(to, 8, "192.0.2.99:1234");
    carry_text(to, 9, "an-id");
    carry_filled(to, 16, 'P', 100);
    carry_side(to, 20, &(struct carry_side){0});
    carry_side(to, 25, &(struct carry_side){0});
    carry_flow(to, 30, FLOW_READY, BUFFER_SMALL, false, 0, 0);
    carry_filled(to, 31, 1, 3000);
    carry_flow(to, 35, FLOW_WAITING, BUFFER_SMALL, false, 0, 0);
}

// Passed through, and half-closed.
static inline void carry_passed(struct carry_bytes *to)
{
    carry_head(to, CARRY_IS_PASSED | CARRY_IS_HALF_CLOSED | CARRY_IS_SERVER_LOST, 0, "192.0.2.1:443", "web");
    carry_text(to, 10, "www.example.com");
    carry_side(to, 20, &(struct carry_side){0});
    carry_side(to, 25, &(struct carry_side){.flags = CARRY_IS_SHUT | CARRY_IS_CLOSE_DUE});
    carry_flow(to, 30, FLOW_ENDED, BUFFER_SMALL, false, 0, 0);
    carry_flow(to, 35, FLOW_SENDING, BUFFER_SMALL, false, 100, 0);
    carry_filled(to, 36, 1, 60);
}

// The kernel has both directions of both sides; the server takes nothing any more, and close_notify is on its way to the client.
static inline void carry_kernel(struct carry_bytes *to)
{
    carry_head(to, CARRY_IS_HALF_CLOSED, 0, "192.0.2.1:443", "web");
    carry_text(to, 12, "TLS_AES_256_GCM_SHA384");
    carry_text(to, 15, "TLS_AES_128_GCM_SHA256");
    carry_side(to, 20,
               &(struct carry_side){ENDPOINT_KERNEL, 0, ENDPOINT_KERNEL, 0, CARRY_IS_CLOSE_DUE,
                                    ENDPOINT_SENDS_CLOSE, false});
    carry_keys(to, 21, RECORD_TLS13, RECORD_AES_256_GCM, 1);
    carry_keys(to, 22, RECORD_TLS13, RECORD_AES_256_GCM, 2);
    carry_filled(to, 23, 1, 2);
    carry_side(to, 25, &(struct carry_side){ENDPOINT_KERNEL, 0, ENDPOINT_KERNEL, 0, 0, 0, false});
    carry_keys(to, 26, RECORD_TLS13, RECORD_AES_128_GCM, 3);
    carry_keys(to, 27, RECORD_TLS13, RECORD_AES_128_GCM, 4);
    carry_flow(to, 30, FLOW_FAILED, BUFFER_SMALL, false, 0, 0);
    carry_flow(to, 35, FLOW_ENDED, BUFFER_SMALL, false, 0, 0);
}

static inline void carry_sample(unsigned number, struct carry_bytes *to)
{
    static void (*const samples[CARRY_SAMPLES])(struct carry_bytes *) = {carry_idle, carry_busy, carry_plain,
                                                                         carry_passed, carry_kernel};

    samples[number](to);
}
