// SPDX-License-Identifier: Apache-2.0
#include "upstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "balance.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/log_quota.h"
#include "src/config/address.h"

#define WEIGHT_UNIT 256 // what a weight of 1 counts as, so that a part of it can be told
#define TRIAL_SLACK_NS                                                                                       \
    CLOCK_NS_PER_S // a trial whose end nobody tells (its worker died) is over so long after its timeout

// A server of a name with the address that it has, or had: connections that go there hold it.
struct held {
    struct config_server server; // host and name are the configuration's
    unsigned users;              // with the upstream itself, while it is there
    char text[ADDRESS_TEXT_SIZE];
};

// What is known of a server of a name.
struct seen {
    uint32_t version;
    struct held *held;      // NULL: it isn't there
    uint64_t slow_until_ns; // others are preferred until then
};

struct upstream {
    const struct config_upstream *config;
    bool may_go_out; // another server could do the work of one that is out
    uint64_t *identities;
    int64_t *turns;
    struct seen *seen; // NULL: no server has a name
    uint32_t changes;  // servers_site_changes() when that was looked at
};

struct upstreams {
    const struct config *config;
    struct servers *servers;
    unsigned worker;
    struct upstream *each;
    struct balance_candidate *candidates; // room for the servers of the largest upstream
    struct log_quota quota;               // of lines that say that servers are out, or back
};

// ---- names ----

static const struct config_server *config_of(const struct upstreams *upstreams, size_t upstream,
                                             size_t server)
{
    return &upstreams->each[upstream].config->servers[server];
}

static bool is_here(const struct upstream *upstream, size_t server)
{
    return !upstream->config->servers[server].name || upstream->seen[server].held;
}

// For the log.
static const char *text_of(const struct upstreams *upstreams, size_t upstream, size_t server)
{
    const struct seen *seen = upstreams->each[upstream].seen;

    if (seen && seen[server].held)
        return seen[server].held->text;
    return config_of(upstreams, upstream, server)->address.text;
}

void upstream_drop(const struct config_server *server)
{
    struct held *held = (struct held *)(uintptr_t)server; // its first member

    if (server && server->name && --held->users == 0)
        free(held);
}

static void forget(struct seen *seen)
{
    if (seen->held)
        upstream_drop(&seen->held->server);
    seen->held = NULL;
    seen->slow_until_ns = 0;
}

// A server of a name at the address of its site. NULL: no memory.
static struct held *make_held(const struct config_server *config, const struct servers_site *site)
{
    struct held *held = calloc(1, sizeof(*held));

    if (!held)
        return NULL;
    held->users = 1;
    held->server = *config;
    held->server.address = (struct config_address){.socket = site->address, .length = site->length};
    address_text(&held->server.address, held->text);
    held->server.address.text = held->text;
    return held;
}

// The address that a server of a name has now. False: no memory.
static bool see(struct upstreams *upstreams, size_t which, size_t server)
{
    struct upstream *upstream = &upstreams->each[which];
    struct seen *seen = &upstream->seen[server];
    struct servers_site site;

    servers_site(upstreams->servers, servers_number(upstreams->servers, which, server), &site);
    if (site.version == seen->version && seen->held)
        return true;
    forget(seen);
    seen->version = site.version;
    if (site.presence != SERVERS_HERE)
        return true;
    seen->held = make_held(&upstream->config->servers[server], &site);
    if (!seen->held)
        return false;
    upstream->identities[server] = balance_hash(seen->held->text, strlen(seen->held->text));
    return true;
}

// Looks at the sites again if one has changed.
static void refresh(struct upstreams *upstreams, size_t which)
{
    struct upstream *upstream = &upstreams->each[which];
    uint32_t changes = servers_site_changes(upstreams->servers, which);
    size_t working = 0;
    bool is_whole = true;

    if (!upstream->seen || upstream->changes == changes)
        return;
    for (size_t i = 0; i < upstream->config->server_count; i++) {
        if (upstream->config->servers[i].name)
            is_whole = see(upstreams, which, i) && is_whole;
        working += upstream->config->servers[i].weight > 0 && is_here(upstream, i);
    }
    upstream->may_go_out = working > 1;
    if (is_whole) // else there is no memory for one, which is there with the next look
        upstream->changes = changes;
}

const struct config_server *upstream_hold(struct upstreams *upstreams, size_t upstream, size_t server)
{
    const struct config_server *config = config_of(upstreams, upstream, server);
    struct held *held;

    if (!config->name)
        return config;
    held = upstreams->each[upstream].seen[server].held;
    held->users++;
    return &held->server;
}

bool upstream_is_still(const struct upstreams *upstreams, size_t upstream, size_t server,
                       const struct config_server *held)
{
    const struct seen *seen = upstreams->each[upstream].seen;

    return !held->name || (seen[server].held && &seen[server].held->server == held);
}

static int family_of(const struct upstream *upstream, size_t server)
{
    return upstream->seen[server].held->server.address.socket.ss_family;
}

bool upstream_has_other_family(const struct upstreams *upstreams, size_t upstream,
                               const struct config_server *held)
{
    const struct upstream *which = &upstreams->each[upstream];

    for (size_t i = 0; held->name && i < held->name->count; i++) {
        size_t server = held->name->first + i;

        if (is_here(which, server) && family_of(which, server) != held->address.socket.ss_family)
            return true;
    }
    return false;
}

void upstream_overtaken(struct upstreams *upstreams, size_t upstream, size_t server,
                        const struct config_server *held, uint64_t now_ns)
{
    const struct upstream *which = &upstreams->each[upstream];

    if (upstream_is_still(upstreams, upstream, server, held))
        which->seen[server].slow_until_ns = now_ns + which->config->health.fail_timeout_ns;
}

size_t upstream_count(const struct upstreams *upstreams, size_t upstream)
{
    const struct upstream *which = &upstreams->each[upstream];
    size_t count = 0;

    for (size_t i = 0; i < which->config->server_count; i++)
        count += is_here(which, i);
    return count;
}

// ---- life ----

static bool upstream_init(struct upstream *upstream, const struct config_upstream *config, unsigned worker)
{
    size_t working = 0;

    upstream->config = config;
    upstream->identities = calloc(config->server_count, sizeof(*upstream->identities));
    upstream->turns = calloc(config->server_count, sizeof(*upstream->turns));
    if (config->name_count > 0)
        upstream->seen = calloc(config->server_count, sizeof(*upstream->seen));
    if (!upstream->identities || !upstream->turns || (config->name_count > 0 && !upstream->seen))
        return false;
    for (size_t i = 0; i < config->server_count; i++) {
        const char *name = config->servers[i].address.text;

        if (name)
            upstream->identities[i] = balance_hash(name, strlen(name));
        // Of servers that are owed the same the first is taken: with a little more for another one each worker begins elsewhere.
        upstream->turns[i] = i == worker % config->server_count;
        working += config->servers[i].weight > 0 &&
                   !config->servers[i].name; // those that have one are counted by refresh()
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
        refresh(upstreams, i);
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
        for (size_t j = 0; upstreams->each[i].seen && j < upstreams->config->upstreams[i].server_count; j++)
            forget(&upstreams->each[i].seen[j]);
        free(upstreams->each[i].seen);
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
    bool takes_slow;   // those too that were overtaken
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

    const struct upstream *upstream = &upstreams->each[wish->upstream];

    if (!is_here(upstream, server) ||
        (wish->name && (config->name != wish->name || family_of(upstream, server) != wish->family)) ||
        (config->name && !level.takes_slow && upstream->seen[server].slow_until_ns > wish->now_ns))
        return false;
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

// Until when a trial is under way if nobody tells how it ended.
static uint64_t trial_until(const struct config *config, const struct upstream_wish *wish)
{
    uint64_t shake_ns = config->upstreams[wish->upstream].tls.is_on ? config->timeouts.handshake_ns : 0;

    return wish->now_ns + config->timeouts.connect_ns + shake_ns + TRIAL_SLACK_NS;
}

// Other workers choose at the same time: a place, or the right to try a server that is out, may be gone by now.
static bool claim(struct upstreams *upstreams, const struct upstream_wish *wish, struct level level,
                  size_t server, bool *is_full)
{
    const struct config *config = upstreams->config;
    struct servers_state *state = state_of(upstreams, wish->upstream, server);
    const struct seen *seen = upstreams->each[wish->upstream].seen;
    size_t number = servers_number(upstreams->servers, wish->upstream, server);

    if (!servers_take(upstreams->servers, upstreams->worker, number,
                      config->upstreams[wish->upstream].servers[server].max_connections)) {
        *is_full = true;
        return false;
    }
    if (seen && servers_site_version(upstreams->servers, number) != seen[server].version) {
        // It left just now. If its name has another address in its place, the next level finds that.
        servers_give(upstreams->servers, upstreams->worker, number);
        return false;
    }
    if (level.is_desperate || atomic_load(&state->is_out) == 0 ||
        servers_try(state, wish->now_ns, trial_until(config, wish)))
        return true;
    servers_give(upstreams->servers, upstreams->worker, number);
    return false;
}

enum upstream_answer upstream_choose(struct upstreams *upstreams, const struct upstream_wish *wish,
                                     size_t *ret_server)
{
    static const struct level levels[] = {
        {false, false, false}, {false, false, true}, {true, false, false},
        {true, false, true},   {false, true, true},  {true, true, true},
    };
    bool is_full = false;

    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        size_t count;

        // Who is well and full is waited for; who is out is no help.
        if (levels[i].is_desperate && (is_full || wish->name))
            break;
        refresh(upstreams, wish->upstream);
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

// ---- those that come from another worker ----

static bool is_text(const char *text, const char *wanted, size_t length)
{
    return strlen(text) == length && memcmp(text, wanted, length) == 0;
}

// Of a name, at its address now or, if nobody has taken its place since, its last one.
static int adopt_named(struct upstreams *upstreams, size_t which, size_t server,
                       const struct upstream_adopted *wanted, const struct config_server **ret_held)
{
    const struct config_server *config = config_of(upstreams, which, server);
    size_t number = servers_number(upstreams->servers, which, server);
    struct seen *seen = &upstreams->each[which].seen[server];
    char text[ADDRESS_TEXT_SIZE];
    struct servers_site site;
    struct held *held;

    servers_site(upstreams->servers, number, &site);
    if (site.presence == SERVERS_EMPTY)
        return -ENOENT;
    address_text(&(struct config_address){.socket = site.address, .length = site.length}, text);
    if (!is_text(text, wanted->text, wanted->length))
        return -ENOENT;
    (void)servers_take(upstreams->servers, upstreams->worker, number, 0);
    held = seen->held && seen->version == site.version ? seen->held : make_held(config, &site);
    if (!held || servers_site_version(upstreams->servers, number) != site.version) {
        int error = held ? -ENOENT : -ENOMEM;

        if (held && held != seen->held)
            upstream_drop(&held->server);
        servers_give(upstreams->servers, upstreams->worker, number);
        return error;
    }
    if (held == seen->held)
        held->users++;
    *ret_held = &held->server;
    return 0;
}

static int adopt_server(struct upstreams *upstreams, size_t which, size_t server,
                        const struct upstream_adopted *wanted, const struct config_server **ret_held)
{
    const struct config_server *config = config_of(upstreams, which, server);

    if (config->name)
        return adopt_named(upstreams, which, server, wanted, ret_held);
    if (!is_text(config->address.text, wanted->text, wanted->length))
        return -ENOENT;
    (void)servers_take(upstreams->servers, upstreams->worker,
                       servers_number(upstreams->servers, which, server), 0);
    *ret_held = config;
    return 0;
}

// Servers of the same name come first: an address may stand there twice.
static bool is_preferred(const struct config_server *config, const struct upstream_adopted *wanted)
{
    if (!config->name || !wanted->name)
        return !config->name && !wanted->name;
    return is_text(config->name->text, wanted->name, wanted->name_length);
}

int upstream_adopt(struct upstreams *upstreams, size_t upstream, const struct upstream_adopted *wanted,
                   size_t *ret_server, const struct config_server **ret_held)
{
    size_t count = upstreams->each[upstream].config->server_count;

    for (int prefers = 1; prefers >= 0; prefers--) {
        for (size_t i = 0; i < count; i++) {
            int error;

            if (is_preferred(config_of(upstreams, upstream, i), wanted) != (bool)prefers)
                continue;
            error = adopt_server(upstreams, upstream, i, wanted, ret_held);
            *ret_server = i;
            if (error != -ENOENT)
                return error;
        }
    }
    return -ENOENT;
}

// ---- what became of it ----

void upstream_failed(struct upstreams *upstreams, size_t upstream, size_t server, const char *why,
                     uint64_t now_ns)
{
    const struct upstream *which = &upstreams->each[upstream];
    const struct config_health *health = &which->config->health;

    if (servers_failed(state_of(upstreams, upstream, server), health, which->may_go_out, now_ns) &&
        log_quota_take(&upstreams->quota, now_ns))
        log_warning("server is out", log_text("upstream", which->config->name),
                    log_text("server", text_of(upstreams, upstream, server)),
                    log_integer("failures", health->max_fails), log_text("error", why),
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
                 log_text("server", text_of(upstreams, upstream, server)));
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
