// SPDX-License-Identifier: Apache-2.0
#include "upstream.h"

#include <stdlib.h>
#include <string.h>

#include "balance.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/log_quota.h"

#define WEIGHT_UNIT 256 // what a weight of 1 counts as, so that a part of it can be told
#define TRIAL_SLACK_NS                                                                                       \
    CLOCK_NS_PER_S // a trial whose end nobody tells (its worker died) is over so long after its timeout

struct upstream {
    const struct config_upstream *config;
    bool may_go_out; // another server could do the work of one that is out
    uint64_t *identities;
    int64_t *turns;
};

struct upstreams {
    const struct config *config;
    struct servers *servers;
    unsigned worker;
    struct upstream *each;
    struct balance_candidate *candidates; // room for the servers of the largest upstream
    struct log_quota quota;               // of lines that say that servers are out, or back
};

// ---- life ----

static bool upstream_init(struct upstream *upstream, const struct config_upstream *config, unsigned worker)
{
    size_t working = 0;

    upstream->config = config;
    upstream->identities = calloc(config->server_count, sizeof(*upstream->identities));
    upstream->turns = calloc(config->server_count, sizeof(*upstream->turns));
    if (!upstream->identities || !upstream->turns)
        return false;
    for (size_t i = 0; i < config->server_count; i++) {
        const char *name = config->servers[i].address.text;

        upstream->identities[i] = balance_hash(name, strlen(name));
        // Of servers that are owed the same the first is taken: with a little more for another one each worker begins elsewhere.
        upstream->turns[i] = i == worker % config->server_count;
        working += config->servers[i].weight > 0;
    }
    upstream->may_go_out = working > 1;
    return true;
}

struct upstreams *upstreams_create(const struct config *config, struct servers *servers, unsigned worker)
{
    struct upstreams *upstreams = calloc(1, sizeof(*upstreams));
    size_t most = 1;

    if (!upstreams)
        return NULL;
    upstreams->config = config;
    upstreams->servers = servers;
    upstreams->worker = worker;
    upstreams->each = calloc(config->upstream_count + 1, sizeof(*upstreams->each));
    for (size_t i = 0; upstreams->each && i < config->upstream_count; i++) {
        if (!upstream_init(&upstreams->each[i], &config->upstreams[i], worker))
            goto failed;
        if (config->upstreams[i].server_count > most)
            most = config->upstreams[i].server_count;
    }
    upstreams->candidates = calloc(most + 1, sizeof(*upstreams->candidates));
    if (upstreams->each && upstreams->candidates)
        return upstreams;
failed:
    upstreams_destroy(upstreams);
    return NULL;
}

void upstreams_destroy(struct upstreams *upstreams)
{
    if (!upstreams)
        return;
    for (size_t i = 0; upstreams->each && i < upstreams->config->upstream_count; i++) {
        free(upstreams->each[i].identities);
        free(upstreams->each[i].turns);
    }
    free(upstreams->each);
    free(upstreams->candidates);
    free(upstreams);
}

// ---- who could take it ----

static bool was_tried(const struct upstream_wish *wish, size_t server)
{
    return wish->tried && (wish->tried[server / 64] >> (server % 64) & 1) != 0;
}

// Servers come in this order: those that are well, the backups that are well, then, when nobody is well, everybody.
struct level {
    bool is_backup;
    bool is_desperate; // health is not asked
};

static struct servers_state *state_of(const struct upstreams *upstreams, size_t upstream, size_t server)
{
    return servers_state(upstreams->servers, servers_number(upstreams->servers, upstream, server));
}

static bool is_candidate(const struct upstreams *upstreams, const struct upstream_wish *wish,
                         struct level level, size_t server)
{
    const struct config_server *config = &upstreams->each[wish->upstream].config->servers[server];
    const struct servers_state *state = state_of(upstreams, wish->upstream, server);

    return config->weight > 0 && config->is_backup == level.is_backup && !was_tried(wish, server) &&
           atomic_load(&state->order) == SERVERS_READY &&
           (level.is_desperate || servers_is_fit(state, wish->now_ns));
}

// Fills upstreams->candidates. Those that have as many connections as they may only set *is_full.
static size_t gather(struct upstreams *upstreams, const struct upstream_wish *wish, struct level level,
                     bool *is_full)
{
    const struct upstream *upstream = &upstreams->each[wish->upstream];
    bool asks_live = upstream->config->balance == CONFIG_LEAST_CONNECTIONS;
    size_t count = 0;

    for (size_t i = 0; i < upstream->config->server_count; i++) {
        const struct config_server *config = &upstream->config->servers[i];
        uint64_t live = 0;

        if (!is_candidate(upstreams, wish, level, i))
            continue;
        if (asks_live || config->max_connections > 0)
            live = servers_live(upstreams->servers, servers_number(upstreams->servers, wish->upstream, i));
        if (config->max_connections > 0 && live >= config->max_connections) {
            *is_full = true;
            continue;
        }
        upstreams->candidates[count++] = (struct balance_candidate){
            .server = i,
            .weight = servers_weight(state_of(upstreams, wish->upstream, i), &upstream->config->health,
                                     (uint64_t)config->weight * WEIGHT_UNIT, wish->now_ns),
            .live = live,
            .identity = upstream->identities[i],
            .turn = &upstream->turns[i],
        };
    }
    return count;
}

// ---- whom it gets ----

static size_t pick(const struct upstreams *upstreams, const struct upstream_wish *wish, size_t count)
{
    const char *colon =
        strrchr(wish->client, ':'); // none: at a unix address, where clients have no addresses

    switch (upstreams->each[wish->upstream].config->balance) {
    case CONFIG_LEAST_CONNECTIONS:
        return balance_least_connections(upstreams->candidates, count);
    case CONFIG_SOURCE_HASH:
        if (colon)
            return balance_source_hash(upstreams->candidates, count,
                                       balance_hash(wish->client, (size_t)(colon - wish->client)));
        return balance_round_robin(upstreams->candidates, count);
    default:
        return balance_round_robin(upstreams->candidates, count);
    }
}

// Other workers choose at the same time: a place, or the right to try a server that is out, may be gone by now.
static bool claim(struct upstreams *upstreams, const struct upstream_wish *wish, struct level level,
                  size_t server, bool *is_full)
{
    const struct config *config = upstreams->config;
    struct servers_state *state = state_of(upstreams, wish->upstream, server);
    size_t number = servers_number(upstreams->servers, wish->upstream, server);

    if (!servers_take(upstreams->servers, upstreams->worker, number,
                      config->upstreams[wish->upstream].servers[server].max_connections)) {
        *is_full = true;
        return false;
    }
    if (level.is_desperate || atomic_load(&state->is_out) == 0 ||
        servers_try(state, wish->now_ns, wish->now_ns + config->timeouts.connect_ns + TRIAL_SLACK_NS))
        return true;
    servers_give(upstreams->servers, upstreams->worker, number);
    return false;
}

enum upstream_answer upstream_choose(struct upstreams *upstreams, const struct upstream_wish *wish,
                                     size_t *ret_server)
{
    static const struct level levels[] = {{false, false}, {true, false}, {false, true}, {true, true}};
    bool is_full = false;

    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        size_t count;

        // Who is well and full is waited for; who is out is no help.
        if (is_full && levels[i].is_desperate)
            break;
        count = gather(upstreams, wish, levels[i], &is_full);
        while (count > 0) {
            size_t picked = pick(upstreams, wish, count);
            size_t server = upstreams->candidates[picked].server;

            if (claim(upstreams, wish, levels[i], server, &is_full)) {
                *ret_server = server;
                return UPSTREAM_CHOSEN;
            }
            upstreams->candidates[picked] = upstreams->candidates[--count];
        }
    }
    return is_full ? UPSTREAM_FULL : UPSTREAM_NONE;
}

void upstream_give(struct upstreams *upstreams, size_t upstream, size_t server)
{
    servers_give(upstreams->servers, upstreams->worker, servers_number(upstreams->servers, upstream, server));
}

// ---- what became of it ----

void upstream_failed(struct upstreams *upstreams, size_t upstream, size_t server, int error, uint64_t now_ns)
{
    const struct upstream *which = &upstreams->each[upstream];
    const struct config_health *health = &which->config->health;

    if (servers_failed(state_of(upstreams, upstream, server), health, which->may_go_out, now_ns) &&
        log_quota_take(&upstreams->quota, now_ns))
        log_warning("server is out", log_text("upstream", which->config->name),
                    log_text("server", which->config->servers[server].address.text),
                    log_integer("failures", health->max_fails), log_errno(error),
                    health->check == CONFIG_CHECK_OFF
                        ? log_integer("retry_ms", health->fail_timeout_ns / CLOCK_NS_PER_MS)
                        : (struct log_field){.kind = LOG_FIELD_NONE});
}

void upstream_succeeded(struct upstreams *upstreams, size_t upstream, size_t server, uint64_t now_ns)
{
    const struct upstream *which = &upstreams->each[upstream];

    if (servers_succeeded(state_of(upstreams, upstream, server), &which->config->health, now_ns) &&
        log_quota_take(&upstreams->quota, now_ns))
        log_info("server is back", log_text("upstream", which->config->name),
                 log_text("server", which->config->servers[server].address.text));
}

uint64_t upstreams_due_ns(const struct upstreams *upstreams)
{
    return log_quota_due_ns(&upstreams->quota);
}

void upstreams_say_rest(struct upstreams *upstreams, uint64_t now_ns)
{
    uint64_t count = log_quota_rest(&upstreams->quota, now_ns);

    if (count > 0)
        log_warning("more servers went out or came back", log_integer("count", count),
                    log_integer("seconds", LOG_QUOTA_NS / CLOCK_NS_PER_S));
}
