// SPDX-License-Identifier: Apache-2.0
#include "estate_servers.h"

#include <string.h>

#include "ringbolt/clock.h"
#include "src/config/address.h"

#define PACK_VERSION 1
#define TEXT_SIZE    4096 // of an upstream; an address with its path is shorter

enum kind { KIND_SERVER = 1, KIND_NAME };

// One of either kind.
struct entry {
    enum kind kind;
    char upstream[TEXT_SIZE];
    char text[TEXT_SIZE]; // the server's address, or the name as it was written
    enum servers_order order;
    bool is_out;
    uint32_t failures;
    uint64_t changed_ns;
    uint64_t out_until_ns;
    uint64_t returned_ns;
};

// Its address; NULL: it has none now.
static const char *text_of(const struct config_server *server, const struct servers *servers, size_t number,
                           char text[static ADDRESS_TEXT_SIZE])
{
    struct servers_site site;
    struct config_address address;

    if (!server->name)
        return server->address.text;
    servers_site(servers, number, &site);
    if (site.presence != SERVERS_HERE)
        return NULL;
    address = (struct config_address){.socket = site.address, .length = site.length};
    address_text(&address, text);
    return text;
}

// ---- packing ----

static void begin(struct pack *pack, enum kind kind, const char *upstream, const char *text, uint32_t order)
{
    if (pack->size == 0)
        pack_number(pack, PACK_VERSION, 1);
    pack_number(pack, kind, 1);
    pack_text(pack, upstream);
    pack_text(pack, text);
    pack_number(pack, order, 1);
}

static void pack_server(struct pack *pack, const struct config_upstream *upstream, const char *text,
                        struct servers_state *state)
{
    uint32_t order = atomic_load(&state->order);
    uint32_t is_out = atomic_load(&state->is_out);
    uint32_t failures = atomic_load(&state->failures);
    uint64_t changed_ns = atomic_load(&state->changed_ns);

    // The workers can write it too: what it can't be, nobody is to hear of.
    if (order > SERVERS_DOWN || is_out > 1 || (order == 0 && is_out == 0 && failures == 0 && changed_ns == 0))
        return;
    begin(pack, KIND_SERVER, upstream->name, text, order);
    pack_number(pack, is_out, 1);
    pack_number(pack, failures, 4);
    pack_number(pack, changed_ns, 8);
    pack_number(pack, atomic_load(&state->out_until_ns), 8);
    pack_number(pack, atomic_load(&state->returned_ns), 8);
}

void servers_pack(const struct config *config, const struct servers *servers, const struct names *names,
                  struct pack *pack)
{
    for (size_t i = 0; i < config->upstream_count; i++) {
        const struct config_upstream *upstream = &config->upstreams[i];

        for (size_t j = 0; j < upstream->name_count; j++) {
            // Also SERVERS_READY, which may be news; before its servers, which may have orders of their own.
            begin(pack, KIND_NAME, upstream->name, upstream->names[j].text,
                  names_order(names, &upstream->names[j]));
        }
        for (size_t j = 0; j < upstream->server_count; j++) {
            size_t number = servers_number(servers, i, j);
            char text[ADDRESS_TEXT_SIZE];
            const char *address = text_of(&upstream->servers[j], servers, number, text);

            if (address)
                pack_server(pack, upstream, address, servers_state(servers, number));
        }
    }
}

// ---- taking apart ----

struct reading {
    const struct config *config; // NULL: it is only looked whether all is well
    struct servers *servers;
    struct names *names;
    uint64_t now_ns;
};

// Whether another server could do the work of this one if it is out (upstream.c).
static bool may_be_out(const struct reading *reading, size_t upstream)
{
    const struct config_upstream *config = &reading->config->upstreams[upstream];
    size_t working = 0;

    for (size_t i = 0; i < config->server_count; i++) {
        char text[ADDRESS_TEXT_SIZE];

        working += config->servers[i].weight > 0 &&
                   text_of(&config->servers[i], reading->servers,
                           servers_number(reading->servers, upstream, i), text) != NULL;
    }
    return working > 1;
}

// Its health as far as this configuration has something that could end it.
static void set_health(const struct reading *reading, size_t upstream, struct servers_state *state,
                       const struct entry *entry)
{
    const struct config_health *health = &reading->config->upstreams[upstream].health;
    uint64_t latest_ns = reading->now_ns + health->fail_timeout_ns;

    if (health->check == CONFIG_CHECK_OFF && (health->max_fails == 0 || !may_be_out(reading, upstream)))
        return;
    atomic_store(&state->failures, entry->failures);
    if (health->check != CONFIG_CHECK_OFF)
        atomic_store(&state->out_until_ns, UINT64_MAX);
    else
        atomic_store(&state->out_until_ns, entry->out_until_ns < latest_ns ? entry->out_until_ns : latest_ns);
    atomic_store(&state->is_out, entry->is_out);
}

static void apply_server(const struct reading *reading, size_t upstream, const struct entry *entry)
{
    const struct config_upstream *config = &reading->config->upstreams[upstream];

    for (size_t i = 0; i < config->server_count; i++) {
        size_t number = servers_number(reading->servers, upstream, i);
        struct servers_state *state = servers_state(reading->servers, number);
        char text[ADDRESS_TEXT_SIZE];
        const char *address = text_of(&config->servers[i], reading->servers, number, text);

        if (!address || strcmp(address, entry->text) != 0)
            continue;
        atomic_store(&state->order, entry->order);
        atomic_store(&state->changed_ns, entry->changed_ns);
        atomic_store(&state->returned_ns, entry->returned_ns);
        set_health(reading, upstream, state, entry);
        return;
    }
}

static void apply_name(const struct reading *reading, size_t upstream, const struct entry *entry)
{
    const struct config_upstream *config = &reading->config->upstreams[upstream];

    for (size_t i = 0; i < config->name_count; i++) {
        if (strcmp(config->names[i].text, entry->text) == 0)
            (void)names_set_order(reading->names, &config->names[i], entry->order);
    }
}

static void apply(const struct reading *reading, const struct entry *entry)
{
    for (size_t i = 0; i < reading->config->upstream_count; i++) {
        if (strcmp(reading->config->upstreams[i].name, entry->upstream) != 0)
            continue;
        if (entry->kind == KIND_SERVER)
            apply_server(reading, i, entry);
        else
            apply_name(reading, i, entry);
        return;
    }
}

// Both masters have the same clock.
static bool read_entry(struct unpack *unpack, uint64_t now_ns, struct entry *ret)
{
    uint64_t kind = unpack_number(unpack, 1);
    uint64_t order;
    uint64_t is_out = 0;

    unpack_text(unpack, ret->upstream, sizeof(ret->upstream));
    unpack_text(unpack, ret->text, sizeof(ret->text));
    order = unpack_number(unpack, 1);
    if (kind == KIND_SERVER) {
        is_out = unpack_number(unpack, 1);
        ret->failures = (uint32_t)unpack_number(unpack, 4);
        ret->changed_ns = unpack_number(unpack, 8);
        ret->out_until_ns = unpack_number(unpack, 8);
        ret->returned_ns = unpack_number(unpack, 8);
        unpack->is_bad |= ret->changed_ns > now_ns || ret->returned_ns > now_ns;
    }
    unpack->is_bad |= (kind != KIND_SERVER && kind != KIND_NAME) || order > SERVERS_DOWN || is_out > 1;
    if (unpack->is_bad)
        return false;
    ret->kind = (enum kind)kind;
    ret->order = (enum servers_order)order;
    ret->is_out = is_out != 0;
    return true;
}

static bool read_all(struct unpack unpack, const struct reading *reading)
{
    struct entry entry;

    if (unpack_number(&unpack, 1) != PACK_VERSION)
        return false;
    while (unpack.left > 0 && read_entry(&unpack, reading->now_ns, &entry)) {
        if (reading->config)
            apply(reading, &entry);
    }
    return unpack_is_whole(&unpack);
}

bool servers_unpack(const uint8_t *bytes, size_t size, const struct config *config, struct servers *servers,
                    struct names *names, uint64_t now_ns)
{
    const struct unpack unpack = {.at = bytes, .left = size};
    const struct reading look = {.now_ns = now_ns};
    const struct reading reading = {.config = config, .servers = servers, .names = names, .now_ns = now_ns};

    return read_all(unpack, &look) && read_all(unpack, &reading);
}
