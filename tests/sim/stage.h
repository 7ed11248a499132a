// SPDX-License-Identifier: Apache-2.0
// A proxy on the world, with all that a worker would give it, and what the simulations share around it.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ringbolt/admission.h"
#include "ringbolt/buffer.h"
#include "ringbolt/config.h"
#include "ringbolt/proxy.h"
#include "ringbolt/ring.h"
#include "ringbolt/servers.h"
#include "ringbolt/stats.h"
#include "src/tls/certificate.h"

#define STAGE_LISTENER 3 // the one listening socket

struct stage {
    const struct config *config;
    struct buffer_pool *pool;
    struct ring *ring;
    struct servers *servers;
    struct admission *admission;
    struct proxy *proxy;
    struct stats *stats;
    bool hands_over;               // set: connections may end elsewhere than they began
    uint64_t ended;                // how many have, once stage_close() was called
    struct stats_listener counted; // what the listener has counted, once stage_close() was called
};

// Makes everything and starts the proxy. config, contexts (one for each listener) and material must outlive it.
void stage_open(struct stage *stage, const struct config *config, size_t pool_size,
                struct tls_context **contexts, const struct material *material);
// The same where servers are spoken to in TLS: a context for each upstream, NULL for those that aren't.
void stage_open_towards(struct stage *stage, const struct config *config, size_t pool_size,
                        struct tls_context **contexts, struct tls_context **client_contexts,
                        const struct material *material);
// The same for one that may deposit connections, and whose predecessor has perhaps.
void stage_open_revived(struct stage *stage, const struct config *config, size_t pool_size,
                        struct tls_context **contexts, struct tls_context **client_contexts,
                        const struct material *material, const struct deposit_room *room);
// It is killed: all that it had is gone. Then stage_close(). Connections are in RELAY.
void stage_kill(struct stage *stage);
// A turn of the worker's loop without what comes last in it, proxy_tick(); and all of it.
void stage_turn(struct stage *stage);
void stage_step(struct stage *stage);
// The proxy must be idle. What was left behind, in words, or NULL.
const char *stage_close(struct stage *stage);

// What a master would have loaded: one certificate and one ticket key. False: there was no memory.
bool stage_material(struct report *report, struct certificate **ret_certificate, struct material **ret);

// Runs seeds 1 to `usual`, or as many as RINGBOLT_SIM_COUNT says, or the one of RINGBOLT_SIM_SEED. How many there were; 0: that one.
uint64_t stage_seeds(void (*run_seed)(uint64_t seed), uint64_t usual);
