// SPDX-License-Identifier: Apache-2.0
#include "ringbolt/listing.h"

#include <stdio.h>
#include <string.h>

#include "connection.h"

static void copy_text(char *to, size_t size, const char *text)
{
    size_t length = text ? strnlen(text, size - 1) : 0;

    memcpy(to, text ? text : "", length);
    to[length] = '\0';
}

static void describe(const struct connection *connection, struct listing_entry *entry)
{
    const struct connection_names *names = &connection->names;
    const struct proxy *proxy = connection->proxy;
    const struct config *config = proxy->setup.config;
    const char *sni = names->sni           ? names->sni->text
                      : connection->engine ? engine_sni(connection->engine)
                                           : NULL;

    *entry = (struct listing_entry){
        .id = connection->id,
        .age_ns = proxy->now_ns - connection->accepted_ns,
        .idle_ns = proxy->now_ns - connection->active_ns,
        .bytes_in = connection->up.bytes,
        .bytes_out = connection->down.bytes,
        .listener = (uint32_t)listener_index(proxy, connection->listener),
        .upstream = LISTING_NONE,
        .server = LISTING_NONE,
        .state = connection->state,
        .is_resumed = names->resumed,
        .modes = {[STATS_CLIENT] = {[RECORD_RECEIVE] = connection->client.receive_mode,
                                    [RECORD_TRANSMIT] = connection->client.transmit_mode},
                  [STATS_SERVER] = {[RECORD_RECEIVE] = connection->server.receive_mode,
                                    [RECORD_TRANSMIT] = connection->server.transmit_mode}},
    };
    if (connection->handshaken_ns != 0 && connection->upstream != CONFIG_NO_UPSTREAM)
        entry->upstream = (uint32_t)connection->upstream;
    if (connection->connected)
        entry->server = (uint32_t)(connection->connected - config->upstreams[connection->upstream].servers);
    copy_text(entry->client, sizeof(entry->client), connection->peer);
    copy_text(entry->sni, sizeof(entry->sni), sni);
    copy_text(entry->alpn, sizeof(entry->alpn), names->alpn ? names->alpn->text : NULL);
    copy_text(entry->tls, sizeof(entry->tls), names->version);
    copy_text(entry->cipher, sizeof(entry->cipher), names->suite);
    copy_text(entry->server_tls, sizeof(entry->server_tls), connection->server_version);
}

void proxy_list(struct proxy *proxy, bool from_start, struct listing_page *page)
{
    struct list *end = &proxy->connections;

    if (from_start || !proxy->listed)
        proxy->listed = from_start ? end->next : end;
    for (page->count = 0; page->count < LISTING_PAGE && proxy->listed != end;
         proxy->listed = proxy->listed->next)
        describe(list_entry(proxy->listed, struct connection, node), &page->entries[page->count++]);
    page->has_more = proxy->listed != end;
}
