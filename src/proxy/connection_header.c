// SPDX-License-Identifier: Apache-2.0
#include "connection_header.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct connection_header *connection_header_take(struct connection *connection)
{
    if (!connection->header)
        connection->header = calloc(1, sizeof(*connection->header));
    return connection->header;
}

void connection_header_destroy(struct connection_header *header)
{
    if (!header)
        return;
    free(header->unique_id);
    free(header->facts);
    free(header->out);
    free(header);
}

void connection_header_trim(struct connection *connection)
{
    struct connection_header *header = connection->header;

    if (!header || header->via[0] != '\0' || header->unique_id || header->facts || header->out)
        return;
    connection_header_destroy(header);
    connection->header = NULL;
}

// An id may be any bytes: those that are all printable stand as they are, others in hexadecimal.
static char *unique_id_text(const uint8_t *id, size_t size)
{
    bool is_printable = true;
    char *text = malloc(2 * size + 1);

    for (size_t i = 0; i < size; i++)
        is_printable &= id[i] > ' ' && id[i] < 0x7f;
    if (!text)
        return NULL;
    for (size_t i = 0; i < size && !is_printable; i++)
        snprintf(text + 2 * i, 3, "%02x", id[i]);
    if (is_printable) {
        memcpy(text, id, size);
        text[size] = '\0';
    }
    return text;
}

static int keep_unique_id(struct connection_header *header, const struct proxy_header *said)
{
    struct proxy_tlvs tlvs = {.next = said->tlvs, .left = said->tlvs_size};
    struct proxy_tlv tlv;

    while (proxy_tlv_next(&tlvs, &tlv) == PROXY_TLV_FOUND) {
        if (tlv.type != PROXY_TLV_UNIQUE_ID || tlv.length == 0 || header->unique_id)
            continue;
        header->unique_id = unique_id_text(tlv.value, tlv.length);
        if (!header->unique_id)
            return -ENOMEM;
        header->facts->unique_id_size = (uint8_t)tlv.length; // at most 128: proxy_header_parse() has looked
        memcpy(header->facts->unique_id, tlv.value, tlv.length);
    }
    return 0;
}

int connection_header_keep(struct connection *connection, const struct proxy_header *said)
{
    struct connection_header *header = connection_header_take(connection);

    if (!header)
        return -ENOMEM;
    header->facts = calloc(1, sizeof(*header->facts));
    if (!header->facts)
        return -ENOMEM;
    header->facts->addresses = said->addresses;
    return keep_unique_id(header, said);
}

const char *connection_header_via(const struct connection *connection)
{
    return connection->header && connection->header->via[0] != '\0' ? connection->header->via : NULL;
}

void connection_header_make_unique_id(const struct connection *connection, char text[static UNIQUE_ID_TEXT])
{
    snprintf(text, UNIQUE_ID_TEXT, "%016" PRIx64 "%016" PRIx64, connection->unique, connection->id);
}

static bool tells_unique_id(const struct config_proxy_to *proxy)
{
    return proxy->mode == CONFIG_PROXY_OUT_V2 && (proxy->tlvs & CONFIG_PROXY_TLV_UNIQUE_ID);
}

const char *connection_header_unique_id(const struct connection *connection, char text[static UNIQUE_ID_TEXT])
{
    if (connection->header && connection->header->unique_id)
        return connection->header->unique_id;
    if (!connection->connected || !tells_unique_id(&header_out_upstream(connection)->proxy))
        return NULL;
    connection_header_make_unique_id(connection, text);
    return text;
}
