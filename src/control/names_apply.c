// SPDX-License-Identifier: Apache-2.0
// From the addresses that a name has now to the table of servers.
//
// An address keeps its server as long as it is there. One that the name has lost is SERVERS_GONE, and its server is given to another address
// only when none of its connections lives any more; until then, and as long as nobody needs the room, it finds its place again if it comes
// back, with the order that an operator gave.
#include "names.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/config/address.h"

#define SHOWN_MAX 8 // addresses in a line of the log

struct applying {
    struct servers *servers;
    struct stats *stats;
    const struct config_upstream *config;
    size_t upstream;
    const struct config_name *name;
    enum servers_order order;
    uint64_t now_ns;
    struct names_outcome *outcome;
    FILE *added;
    FILE *removed;
};

static size_t number_of(const struct applying *applying, size_t server)
{
    return servers_number(applying->servers, applying->upstream, server);
}

static void tell(FILE *list, size_t index, const struct config_address *address)
{
    char text[ADDRESS_TEXT_SIZE];

    address_text(address, text);
    if (list && index < SHOWN_MAX)
        fprintf(list, "%s%s", index > 0 ? ", " : "", text);
    else if (list && index == SHOWN_MAX)
        fputs(" and others", list);
}

static struct config_address address_of(const struct servers_site *site)
{
    return (struct config_address){.socket = site->address, .length = site->length};
}

static bool is_among(const struct config_address *address, const struct config_address *found, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (address_equal(address, &found[i]))
            return true;
    }
    return false;
}

// ---- those that went ----

static void remove_lost(struct applying *applying, const struct config_address *found, size_t count)
{
    for (size_t i = 0; i < applying->name->count; i++) {
        size_t number = number_of(applying, applying->name->first + i);
        struct servers_site site;
        struct config_address address;

        servers_site(applying->servers, number, &site);
        address = address_of(&site);
        if (site.presence != SERVERS_HERE)
            continue;
        if (is_among(&address, found, count)) {
            applying->outcome->here++;
            continue;
        }
        servers_set_site(applying->servers, applying->upstream, number, SERVERS_GONE, NULL);
        atomic_store(&servers_state(applying->servers, number)->changed_ns, applying->now_ns);
        tell(applying->removed, applying->outcome->removed++, &address);
    }
}

// ---- those that came ----

// Whether a server that is there has this address, of the name itself or not.
static bool is_taken(const struct applying *applying, const struct config_address *address)
{
    for (size_t i = 0; i < applying->config->server_count; i++) {
        const struct config_server *server = &applying->config->servers[i];
        struct servers_site site;
        struct config_address other = server->address;

        if (server->name) {
            servers_site(applying->servers, number_of(applying, i), &site);
            if (site.presence != SERVERS_HERE)
                continue;
            other = address_of(&site);
        }
        if (address_equal(&other, address))
            return true;
    }
    return false;
}

// How well a place suits an address: the address was there before, nobody ever was, or one that is gone for good, the longer the better.
// False: it does not.
static bool suits(const struct applying *applying, size_t number, const struct config_address *address,
                  uint64_t *ret_rank)
{
    const struct servers_state *state = servers_state(applying->servers, number);
    struct servers_site site;
    struct config_address before;

    servers_site(applying->servers, number, &site);
    before = address_of(&site);
    if (site.presence == SERVERS_HERE)
        return false;
    if (site.presence == SERVERS_EMPTY)
        *ret_rank = 1;
    else if (address_equal(&before, address))
        *ret_rank = 0;
    else if (servers_live(applying->servers, number) == 0)
        *ret_rank = 2 + atomic_load(&state->changed_ns);
    else
        return false;
    return true;
}

static void put(struct applying *applying, size_t number, const struct config_address *address, bool is_new)
{
    struct servers_state *state = servers_state(applying->servers, number);

    if (is_new) {
        char text[ADDRESS_TEXT_SIZE];

        address_text(address, text);
        (void)servers_set_order(state, applying->order, applying->now_ns);
        stats_renew_server(applying->stats, applying->config->name, number, text);
    }
    servers_join(state, applying->now_ns);
    servers_set_site(applying->servers, applying->upstream, number, SERVERS_HERE, address);
    applying->outcome->here++;
    tell(applying->added, applying->outcome->added++, address);
}

static void add(struct applying *applying, const struct config_address *address)
{
    uint64_t best_rank = UINT64_MAX;
    size_t best = 0;

    if (is_taken(applying, address))
        return;
    for (size_t i = 0; i < applying->name->count; i++) {
        size_t number = number_of(applying, applying->name->first + i);
        uint64_t rank;

        if (suits(applying, number, address, &rank) && rank < best_rank) {
            best_rank = rank;
            best = number;
        }
    }
    if (best_rank == UINT64_MAX)
        applying->outcome->left_out++;
    else
        put(applying, best, address, best_rank > 0);
}

// ---- all ----

void names_apply(struct servers *servers, struct stats *stats, const struct config *config, size_t upstream,
                 const struct config_name *name, enum servers_order order, const struct config_address *found,
                 size_t count, uint64_t now_ns, struct names_outcome *ret)
{
    struct applying applying = {.servers = servers,
                                .stats = stats,
                                .config = &config->upstreams[upstream],
                                .upstream = upstream,
                                .name = name,
                                .order = order,
                                .now_ns = now_ns,
                                .outcome = ret};
    struct config_address *addresses = calloc(count, sizeof(*addresses));
    size_t size;

    *ret = (struct names_outcome){.added_text = NULL};
    if (!addresses) // the next lookup will do
        return;
    applying.added = open_memstream(&ret->added_text, &size);
    applying.removed = open_memstream(&ret->removed_text, &size);
    for (size_t i = 0; i < count; i++) {
        addresses[i] = found[i];
        address_set_port(&addresses[i], name->port);
    }
    remove_lost(&applying, addresses, count);
    for (size_t i = 0; i < count; i++)
        add(&applying, &addresses[i]);
    if (applying.added)
        fclose(applying.added);
    if (applying.removed)
        fclose(applying.removed);
    free(addresses);
}

void names_outcome_finish(struct names_outcome *outcome)
{
    free(outcome->added_text);
    free(outcome->removed_text);
    outcome->added_text = outcome->removed_text = NULL;
}
