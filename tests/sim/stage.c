// SPDX-License-Identifier: Apache-2.0
#include "stage.h"

#include <stdlib.h>

#include "src/proxy/connection.h"
#include "src/tls/change.h"
#include "world.h"

void stage_open_revived(struct stage *stage, const struct config *config, size_t pool_size,
                        struct tls_context **contexts, struct tls_context **client_contexts,
                        const struct material *material, const struct deposit_room *room)
{
    static const int listeners[] = {STAGE_LISTENER};
    struct ring_options options = {.entries = 64};
    struct proxy_setup setup;
    const char *why;

    *stage = (struct stage){.config = config, .pool = buffer_pool_create(pool_size)};
    options.pool = stage->pool;
    stage->admission = admission_create(config);
    if (!stage->pool || !stage->admission || ring_create(&options, &stage->ring, &why) < 0 ||
        servers_create(config, &stage->servers) < 0 || stats_create(config, &stage->stats) < 0)
        abort();
    setup = (struct proxy_setup){
        .config = config,
        .probe = &world_probe,
        .contexts = contexts,
        .client_contexts = client_contexts,
        .material = material,
        .listeners = listeners,
        .ring = stage->ring,
        .pool = stage->pool,
        .admission = stage->admission,
        .servers = stage->servers,
        .stats = stage->stats,
        .deposits = room,
    };
    stage->proxy = proxy_create(&setup, world_now_ns());
    if (!stage->proxy)
        abort();
    proxy_revive(stage->proxy);
    proxy_start(stage->proxy);
}

void stage_open_towards(struct stage *stage, const struct config *config, size_t pool_size,
                        struct tls_context **contexts, struct tls_context **client_contexts,
                        const struct material *material)
{
    stage_open_revived(stage, config, pool_size, contexts, client_contexts, material, NULL);
}

void stage_open(struct stage *stage, const struct config *config, size_t pool_size,
                struct tls_context **contexts, const struct material *material)
{
    stage_open_towards(stage, config, pool_size, contexts, NULL, material);
}

void stage_turn(struct stage *stage)
{
    struct ring_completion completion;

    ring_wait(stage->ring, proxy_wait_ns(stage->proxy, world_now_ns()));
    proxy_time(stage->proxy, world_now_ns());
    while (ring_next(stage->ring, &completion))
        completion.op->handler(completion.op, &completion);
}

void stage_step(struct stage *stage)
{
    stage_turn(stage);
    proxy_tick(stage->proxy, world_now_ns());
}

void stage_kill(struct stage *stage)
{
    struct proxy *proxy = stage->proxy;

    world_kill(stage->ring);
    // Its memory goes too, and the sockets that nobody else has.
    while (!list_empty(&proxy->connections))
        connection_release(list_entry(proxy->connections.next, struct connection, node));
}

const char *stage_close(struct stage *stage)
{
    const char *left = NULL;
    size_t server = 0;
    uint64_t ended = 0;

    proxy_destroy(stage->proxy);
    for (size_t i = 0; i < stage->config->upstream_count; i++) {
        if (servers_queue_length(stage->servers, i) != 0)
            left = "somebody is still in a queue";
        for (size_t j = 0; j < stage->config->upstreams[i].server_count; j++) {
            if (servers_live(stage->servers, server++) != 0)
                left = "a place at a server was not given back";
        }
    }
    if (stats_connections(stage->stats) != 0)
        left = "the counters know of connections that are not there";
    stats_sum_listener(stage->stats, 0, &stage->counted);
    for (unsigned i = 0; i < STATS_ENDS; i++)
        ended += stage->counted.ends[i];
    stage->ended = ended;
    if (stage->counted.connections != 0 || (ended != stage->counted.accepted && !stage->hands_over))
        left = "not every connection that was accepted was counted as ended";
    stats_destroy(stage->stats);
    servers_destroy(stage->servers);
    admission_destroy(stage->admission);
    ring_destroy(stage->ring);
    if (buffer_pool_used(stage->pool) != 0)
        left = "a buffer did not come back";
    buffer_pool_destroy(stage->pool);
    return left;
}

bool stage_material(struct report *report, struct certificate **ret_certificate, struct material **ret)
{
    const struct material_place place = {0};
    struct ticket_keys keys = {.count = 1};
    struct change change = {0};
    bool is_made;

    if (certificate_develop(NULL, report, ret_certificate) < 0 || ticket_key_make(&keys.keys[0]) < 0)
        return false;
    change_certificate(&change, 0, *ret_certificate, &place, 1);
    change_ticket_keys(&change, &keys);
    *ret = material_create(1);
    is_made = *ret != NULL && material_apply(*ret, change.data, change.size) == 0;
    change_finish(&change);
    return is_made;
}

uint64_t stage_seeds(void (*run_seed)(uint64_t seed), uint64_t usual)
{
    const char *only = getenv("RINGBOLT_SIM_SEED");
    const char *count_text = getenv("RINGBOLT_SIM_COUNT");
    uint64_t last = count_text ? strtoull(count_text, NULL, 10) : usual;

    if (only) {
        run_seed(strtoull(only, NULL, 10));
        return 0;
    }
    for (uint64_t seed = 1; seed <= last; seed++)
        run_seed(seed);
    return last;
}
