// SPDX-License-Identifier: Apache-2.0
#include "ringbolt/servers.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "ringbolt/clock.h"
#include "ringbolt/shared_memory.h"

#define TAKE_TRIES 4
#define LINE       64 // of the cache

_Static_assert(sizeof(struct servers_state) == 2 * LINE, "a server's state has its lines for itself");

// An address that changes under its readers: the version is odd meanwhile.
#define SITE_WORDS 4
#define SITE_TRIES 10000

struct site {
    _Atomic uint32_t version;
    _Atomic uint32_t presence;          // enum servers_presence
    _Atomic uint64_t words[SITE_WORDS]; // a struct sockaddr_in or sockaddr_in6
    char padding[24];
};

_Static_assert(sizeof(struct site) == LINE, "a site has its line for itself");
_Static_assert(sizeof(struct sockaddr_in6) <= SITE_WORDS * sizeof(uint64_t),
               "a site has room for an address");

struct servers {
    unsigned workers;
    size_t server_count;
    size_t upstream_count;
    size_t row;     // places in a worker's row: servers, then queues, then what fills the line
    size_t *firsts; // by upstream: its first server's number
    struct servers_state *states;
    struct site *sites;        // by server
    _Atomic uint32_t *changes; // of sites, by upstream
    _Atomic uint32_t *places; // a row for each worker
    struct stats *stats;      // NULL: places are nobody else's business
    void *memory;
    size_t size;
};

// ---- life ----

static size_t row_of(size_t places)
{
    const size_t in_line = LINE / sizeof(uint32_t);

    return (places + in_line - 1) / in_line * in_line;
}

static void fill_sites(struct servers *servers, const struct config *config)
{
    for (size_t i = 0; i < config->upstream_count; i++) {
        for (size_t j = 0; j < config->upstreams[i].server_count; j++) {
            const struct config_server *server = &config->upstreams[i].servers[j];

            if (server->name && server->address.length > 0)
                servers_set_site(servers, i, servers_number(servers, i, j), SERVERS_HERE, &server->address);
        }
    }
}

int servers_create(const struct config *config, struct servers **ret)
{
    struct servers *servers = calloc(1, sizeof(*servers));

    if (!servers)
        return -ENOMEM;
    servers->firsts = calloc(config->upstream_count + 1, sizeof(*servers->firsts));
    if (!servers->firsts)
        goto failed;
    for (size_t i = 0; i < config->upstream_count; i++) {
        servers->firsts[i] = servers->server_count;
        servers->server_count += config->upstreams[i].server_count;
    }
    servers->upstream_count = config->upstream_count;
    servers->workers = config->workers;
    servers->row = row_of(servers->server_count + servers->upstream_count + 1);
    servers->size = servers->server_count * (sizeof(*servers->states) + sizeof(*servers->sites)) +
                    servers->workers * servers->row * sizeof(uint32_t) +
                    servers->upstream_count * sizeof(uint32_t);
    servers->memory = shared_memory_create(servers->size);
    if (!servers->memory)
        goto failed;
    servers->states = servers->memory;
    servers->sites = (struct site *)(servers->states + servers->server_count);
    servers->places = (_Atomic uint32_t *)(servers->sites + servers->server_count);
    servers->changes = servers->places + servers->workers * servers->row;
    fill_sites(servers, config);
    *ret = servers;
    return 0;
failed:
    free(servers->firsts);
    free(servers);
    return -ENOMEM;
}

void servers_destroy(struct servers *servers)
{
    if (!servers)
        return;
    shared_memory_destroy(servers->memory, servers->size);
    free(servers->firsts);
    free(servers);
}

size_t servers_number(const struct servers *servers, size_t upstream, size_t server)
{
    return servers->firsts[upstream] + server;
}

struct servers_state *servers_state(const struct servers *servers, size_t number)
{
    return &servers->states[number];
}

// ---- places ----

static _Atomic uint32_t *place_of(const struct servers *servers, unsigned worker, size_t column)
{
    return &servers->places[worker * servers->row + column];
}

static unsigned count(const struct servers *servers, size_t column)
{
    unsigned total = 0;

    for (unsigned i = 0; i < servers->workers; i++)
        total += atomic_load(place_of(servers, i, column));
    return total;
}

void servers_count_in(struct servers *servers, struct stats *stats)
{
    servers->stats = stats;
}

// Queues are a generation's own.
static uint64_t before(const struct servers *servers, size_t column)
{
    return servers->stats && column < servers->server_count ? stats_places_before(servers->stats, column) : 0;
}

// Only this worker writes either.
static void write_down(const struct servers *servers, unsigned worker, size_t column)
{
    if (servers->stats && column < servers->server_count)
        stats_set(&stats_server(servers->stats, worker, column)->places,
                  atomic_load(place_of(servers, worker, column)));
}

// First the place is taken, then it is counted: of two workers that take the last one at least one sees both. Who sees too many
// steps back, and looks again, since the other may have done the same.
static bool take(struct servers *servers, unsigned worker, size_t column, unsigned most)
{
    _Atomic uint32_t *own = place_of(servers, worker, column);

    for (unsigned tries = 0; tries < TAKE_TRIES; tries++) {
        atomic_fetch_add(own, 1);
        if (most == 0 || before(servers, column) + count(servers, column) <= most) {
            write_down(servers, worker, column);
            return true;
        }
        atomic_fetch_sub(own, 1);
        if (before(servers, column) + count(servers, column) >= most)
            break;
    }
    return false;
}

static void give(struct servers *servers, unsigned worker, size_t column)
{
    atomic_fetch_sub(place_of(servers, worker, column), 1);
    write_down(servers, worker, column);
}

bool servers_take(struct servers *servers, unsigned worker, size_t number, unsigned most)
{
    return take(servers, worker, number, most);
}

void servers_give(struct servers *servers, unsigned worker, size_t number)
{
    give(servers, worker, number);
}

unsigned servers_live(const struct servers *servers, size_t number)
{
    return count(servers, number) + (unsigned)before(servers, number);
}

bool servers_queue_take(struct servers *servers, unsigned worker, size_t upstream, unsigned most)
{
    return most > 0 && take(servers, worker, servers->server_count + upstream, most);
}

void servers_queue_give(struct servers *servers, unsigned worker, size_t upstream)
{
    give(servers, worker, servers->server_count + upstream);
}

unsigned servers_queue_length(const struct servers *servers, size_t upstream)
{
    return count(servers, servers->server_count + upstream);
}

void servers_forget(struct servers *servers, unsigned worker)
{
    for (size_t i = 0; i < servers->row; i++)
        atomic_store(place_of(servers, worker, i), 0);
}

// ---- health ----

bool servers_is_fit(const struct servers_state *state, uint64_t now_ns)
{
    return atomic_load(&state->is_out) == 0 ||
           (atomic_load(&state->out_until_ns) <= now_ns && atomic_load(&state->trial_until_ns) <= now_ns);
}

bool servers_try(struct servers_state *state, uint64_t now_ns, uint64_t until_ns)
{
    uint64_t before = atomic_load(&state->trial_until_ns);

    return before <= now_ns && atomic_compare_exchange_strong(&state->trial_until_ns, &before, until_ns);
}

bool servers_failed(struct servers_state *state, const struct config_health *health, bool may_go_out,
                    uint64_t now_ns)
{
    uint32_t failures = atomic_fetch_add(&state->failures, 1) + 1;
    uint32_t in = 0;
    bool has_changed = false;

    if (health->max_fails > 0 && may_go_out &&
        (failures >= health->max_fails || atomic_load(&state->is_out) != 0)) {
        // Before it goes out, so that nobody takes it for one whose time is over.
        atomic_store(&state->out_until_ns,
                     health->check == CONFIG_CHECK_OFF ? now_ns + health->fail_timeout_ns : UINT64_MAX);
        has_changed = atomic_compare_exchange_strong(&state->is_out, &in, 1);
        if (has_changed)
            atomic_store(&state->changed_ns, now_ns);
    }
    atomic_store(&state->trial_until_ns, 0);
    return has_changed;
}

// The one who changes it from out to well.
static bool come_back(struct servers_state *state, uint64_t now_ns)
{
    uint32_t out = 1;

    if (atomic_load(&state->is_out) == 0 || !atomic_compare_exchange_strong(&state->is_out, &out, 0))
        return false;
    atomic_store(&state->trial_until_ns, 0);
    atomic_store(&state->changed_ns, now_ns);
    atomic_store(&state->returned_ns, now_ns);
    return true;
}

bool servers_succeeded(struct servers_state *state, const struct config_health *health, uint64_t now_ns)
{
    // The line of a server that is well is written as rarely as can be.
    if (atomic_load(&state->failures) != 0)
        atomic_store(&state->failures, 0);
    return health->check == CONFIG_CHECK_OFF && come_back(state, now_ns);
}

bool servers_set_health(struct servers_state *state, bool is_out, uint64_t now_ns)
{
    uint32_t in = 0;

    atomic_store(&state->failures, 0);
    if (!is_out)
        return come_back(state, now_ns);
    atomic_store(&state->out_until_ns, UINT64_MAX);
    if (!atomic_compare_exchange_strong(&state->is_out, &in, 1))
        return false;
    atomic_store(&state->changed_ns, now_ns);
    return true;
}

uint64_t servers_weight(const struct servers_state *state, const struct config_health *health, uint64_t whole,
                        uint64_t now_ns)
{
    uint64_t returned_ns = atomic_load(&state->returned_ns);
    uint64_t slow_ms = health->slow_start_ns / CLOCK_NS_PER_MS;
    uint64_t gone_ms;
    uint64_t part;

    if (returned_ns == 0 || slow_ms == 0)
        return whole;
    gone_ms = now_ns > returned_ns ? (now_ns - returned_ns) / CLOCK_NS_PER_MS : 0; // clocks of two processes
    if (gone_ms >= slow_ms)
        return whole;
    part = whole * gone_ms / slow_ms;
    return part > 0 ? part : 1;
}

// ---- sites ----

static socklen_t length_of(int family)
{
    return family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

// Everything here is sequentially consistent: the promise at servers_set_site() rests on one order of versions and places.
void servers_site(const struct servers *servers, size_t number, struct servers_site *ret)
{
    const struct site *site = &servers->sites[number];

    for (unsigned tries = 0; tries < SITE_TRIES; tries++) {
        uint64_t words[SITE_WORDS];

        *ret = (struct servers_site){.version = atomic_load(&site->version)};
        ret->presence = (enum servers_presence)atomic_load(&site->presence);
        for (size_t i = 0; i < SITE_WORDS; i++)
            words[i] = atomic_load(&site->words[i]);
        if (ret->version % 2 != 0 || atomic_load(&site->version) != ret->version)
            continue;
        if (ret->presence == SERVERS_EMPTY)
            return;
        memcpy(&ret->address, words, sizeof(words));
        ret->length = length_of(ret->address.ss_family);
        return;
    }
    *ret = (struct servers_site){.presence = SERVERS_EMPTY}; // the master died as it wrote: so will we
}

uint32_t servers_site_version(const struct servers *servers, size_t number)
{
    return atomic_load(&servers->sites[number].version);
}

uint32_t servers_site_changes(const struct servers *servers, size_t upstream)
{
    return atomic_load(&servers->changes[upstream]);
}

void servers_set_site(struct servers *servers, size_t upstream, size_t number, enum servers_presence presence,
                      const struct config_address *address)
{
    struct site *site = &servers->sites[number];
    uint64_t words[SITE_WORDS] = {0};

    atomic_fetch_add(&site->version, 1);
    atomic_store(&site->presence, presence);
    if (address) {
        memcpy(words, &address->socket, length_of(address->socket.ss_family));
        for (size_t i = 0; i < SITE_WORDS; i++)
            atomic_store(&site->words[i], words[i]);
    }
    atomic_fetch_add(&site->version, 1);
    atomic_fetch_add(&servers->changes[upstream], 1);
}

void servers_join(struct servers_state *state, uint64_t now_ns)
{
    // Nobody has asked for its health meanwhile.
    atomic_store(&state->failures, 0);
    atomic_store(&state->is_out, 0);
    atomic_store(&state->trial_until_ns, 0);
    atomic_store(&state->returned_ns, now_ns);
    atomic_store(&state->changed_ns, now_ns);
}

// ---- orders ----

bool servers_set_order(struct servers_state *state, enum servers_order order, uint64_t now_ns)
{
    uint32_t before = atomic_load(&state->order);

    if (before == (uint32_t)order)
        return false;
    if (before == SERVERS_DOWN) {
        // Nobody has asked for its health meanwhile.
        atomic_store(&state->failures, 0);
        atomic_store(&state->is_out, 0);
    }
    if (order == SERVERS_READY)
        atomic_store(&state->returned_ns, now_ns);
    atomic_store(&state->changed_ns, now_ns);
    atomic_store(&state->order, order);
    return true;
}
