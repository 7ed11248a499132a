// SPDX-License-Identifier: Apache-2.0
#include "admin_connections.h"

#include <stdlib.h>

#include "admin.h"
#include "admin_socket.h"
#include "master.h"
#include "ringbolt/clock.h"
#include "ringbolt/listing.h"
#include "ringbolt/stats.h"

#define LIMIT_DEFAULT 1000
#define LIMIT_MAX     10000

static json_t *text_or_null(const char *text)
{
    return text && text[0] ? admin_text(text) : json_null();
}

static json_t *mode_json(const struct listing_entry *entry, enum stats_side side,
                         enum record_direction direction)
{
    return text_or_null(listing_mode_name(entry->modes[side][direction]));
}

static json_t *server_json(const struct config *config, const struct listing_entry *entry)
{
    const struct config_upstream *upstream =
        entry->upstream < config->upstream_count ? &config->upstreams[entry->upstream] : NULL;

    return upstream && entry->server < upstream->server_count
               ? admin_text(upstream->servers[entry->server].address.text)
               : json_null();
}

static double seconds_of(uint64_t ns)
{
    return (double)ns / (double)CLOCK_NS_PER_S;
}

// What a worker says is looked at with care: its texts may lack their end, its numbers may be any.
static json_t *entry_json(const struct config *config, unsigned worker, struct listing_entry *entry)
{
    const char *state = listing_state_name(entry->state);
    json_t *json;

    entry->client[sizeof(entry->client) - 1] = entry->sni[sizeof(entry->sni) - 1] = '\0';
    entry->alpn[sizeof(entry->alpn) - 1] = entry->tls[sizeof(entry->tls) - 1] = '\0';
    entry->cipher[sizeof(entry->cipher) - 1] = entry->server_tls[sizeof(entry->server_tls) - 1] = '\0';
    json = json_pack(
        "{s:i, s:I, s:o, s:o, s:s, s:f, s:f, s:I, s:I, s:o, s:o, s:o, s:o, s:b}", "worker", (int)worker, "id",
        (json_int_t)entry->id, "client", text_or_null(entry->client), "listener",
        entry->listener < config->listener_count ? admin_text(config->listeners[entry->listener].name)
                                                 : json_null(),
        "state", state ? state : "unknown", "age_s", seconds_of(entry->age_ns), "idle_s",
        seconds_of(entry->idle_ns), "bytes_in", (json_int_t)entry->bytes_in, "bytes_out",
        (json_int_t)entry->bytes_out, "sni", text_or_null(entry->sni), "alpn", text_or_null(entry->alpn),
        "tls", text_or_null(entry->tls), "cipher", text_or_null(entry->cipher), "resumed",
        (int)entry->is_resumed);
    if (json_object_update_new(json,
                               json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "record_tx",
                                         mode_json(entry, STATS_CLIENT, RECORD_TRANSMIT), "record_rx",
                                         mode_json(entry, STATS_CLIENT, RECORD_RECEIVE), "upstream",
                                         entry->upstream < config->upstream_count
                                             ? admin_text(config->upstreams[entry->upstream].name)
                                             : json_null(),
                                         "server", server_json(config, entry), "server_tls",
                                         text_or_null(entry->server_tls), "server_record_tx",
                                         mode_json(entry, STATS_SERVER, RECORD_TRANSMIT), "server_record_rx",
                                         mode_json(entry, STATS_SERVER, RECORD_RECEIVE))) == 0)
        return json;
    json_decref(json);
    return NULL;
}

// Takes what the workers have written. True when there may be more to ask for.
static bool take_pages(struct master *master, json_t *result)
{
    size_t limit = (size_t)json_integer_value(json_object_get(result, "limit"));
    json_t *array = json_object_get(result, "connections");
    struct listing_entry entry;
    bool has_more = false;
    bool is_full = false;

    for (unsigned i = 0; i < master->config->workers; i++) {
        const struct listing_page *page = &master->listing[i];
        uint32_t count = page->count < LISTING_PAGE ? page->count : LISTING_PAGE;

        if (master->processes[i].pid == 0)
            continue; // what stands there is nobody's
        for (uint32_t j = 0; j < count; j++) {
            if (json_array_size(array) == limit) {
                is_full = true;
                break;
            }
            entry = page->entries[j];
            (void)json_array_append_new(array, entry_json(master->config, i, &entry));
        }
        has_more |= page->has_more != 0;
    }
    (void)json_object_set_new(result, "more", json_boolean(is_full || has_more));
    return has_more && json_array_size(array) < limit;
}

// Whoever began last has the workers' pages: an earlier one ends with what it has.
static bool go_on(struct master *master, json_t *result)
{
    if (json_integer_value(json_object_get(result, "run")) != (json_int_t)master->listing_run)
        return false;
    if (!take_pages(master, result))
        return false;
    messages_send(master, WORKER_LIST, 0);
    return true;
}

void admin_connections(struct master *master, struct admin_client *client, const json_t *request)
{
    const json_t *limit = json_object_get(request, "limit");
    json_int_t most = limit ? json_integer_value(limit) : LIMIT_DEFAULT;

    if (limit && (!json_is_integer(limit) || most < 1 || most > LIMIT_MAX)) {
        admin_refuse(client, "`limit` is a number from 1 to %d", LIMIT_MAX);
        return;
    }
    for (unsigned i = 0; i < master->config->workers; i++)
        master->listing[i].count = master->listing[i].has_more = 0; // of one that does not act
    messages_send(master, WORKER_LIST, 1);
    admin_wait_while(master, client,
                     json_pack("{s:b, s:I, s:I, s:I, s:b, s:[]}", "ok", 1, "live",
                               (json_int_t)stats_connections(master->stats), "limit", most, "run",
                               (json_int_t)++master->listing_run, "more", 1, "connections"),
                     go_on);
}
