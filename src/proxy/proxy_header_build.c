// SPDX-License-Identifier: Apache-2.0
// Building a PROXY header, and what both ways share: addresses and the checksum.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "proxy_header.h"

// ---- addresses ----

// The bytes of an IPv4 address, also of one in IPv6's clothes; NULL for others.
static const uint8_t *as_v4(const struct sockaddr_storage *address, uint16_t *ret_port)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

    if (address->ss_family == AF_INET) {
        *ret_port = ntohs(v4->sin_port);
        return (const uint8_t *)&v4->sin_addr;
    }
    if (address->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        return NULL;
    *ret_port = ntohs(v6->sin6_port);
    return &v6->sin6_addr.s6_addr[12];
}

void proxy_addresses_set(struct proxy_addresses *addresses, const struct sockaddr_storage *source,
                         const struct sockaddr_storage *destination)
{
    struct proxy_addresses made = {.family = PROXY_FAMILY_UNSPEC};
    const uint8_t *from = as_v4(source, &made.source_port);
    const uint8_t *to = as_v4(destination, &made.destination_port);

    if (from && to) {
        made.family = PROXY_FAMILY_TCP4;
        memcpy(made.source, from, 4);
        memcpy(made.destination, to, 4);
    } else if (source->ss_family == AF_INET6 && destination->ss_family == AF_INET6) {
        const struct sockaddr_in6 *from_v6 = (const struct sockaddr_in6 *)source;
        const struct sockaddr_in6 *to_v6 = (const struct sockaddr_in6 *)destination;

        made.family = PROXY_FAMILY_TCP6;
        memcpy(made.source, &from_v6->sin6_addr, 16);
        memcpy(made.destination, &to_v6->sin6_addr, 16);
        made.source_port = ntohs(from_v6->sin6_port);
        made.destination_port = ntohs(to_v6->sin6_port);
    } else if (source->ss_family == AF_UNIX && destination->ss_family == AF_UNIX) {
        made = (struct proxy_addresses){.family = PROXY_FAMILY_UNIX};
        memcpy(made.source_path, ((const struct sockaddr_un *)source)->sun_path, PROXY_HEADER_PATH_SIZE);
        memcpy(made.destination_path, ((const struct sockaddr_un *)destination)->sun_path,
               PROXY_HEADER_PATH_SIZE);
    }
    *addresses = made;
}
_Static_assert(sizeof(((struct sockaddr_un *)0)->sun_path) == PROXY_HEADER_PATH_SIZE, "Linux's paths");

void proxy_addresses_source(const struct proxy_addresses *addresses, struct sockaddr_storage *ret)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

    memset(ret, 0, sizeof(*ret));
    switch (addresses->family) {
    case PROXY_FAMILY_TCP4:
        v4->sin_family = AF_INET;
        v4->sin_port = htons(addresses->source_port);
        memcpy(&v4->sin_addr, addresses->source, 4);
        break;
    case PROXY_FAMILY_TCP6:
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(addresses->source_port);
        memcpy(&v6->sin6_addr, addresses->source, 16);
        break;
    case PROXY_FAMILY_UNIX:
        ret->ss_family = AF_UNIX;
        break;
    case PROXY_FAMILY_UNSPEC:
        ret->ss_family = AF_UNSPEC;
    }
}

// ---- the checksum ----

// Half a byte at a time: a header is short, and a table for whole bytes would push better things out of the cache.
static uint32_t checksum_byte(uint32_t crc, uint8_t byte)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };

    crc ^= byte;
    crc = crc >> 4 ^ table[crc & 15];
    return crc >> 4 ^ table[crc & 15];
}

uint32_t proxy_header_checksum(const uint8_t *data, size_t size, size_t hole)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < size; i++)
        crc = checksum_byte(crc, i >= hole && i < hole + 4 ? 0 : data[i]);
    return ~crc;
}

// ---- building ----

// Counts on when there is no room, so that the length comes out in any case.
struct writer {
    uint8_t *data;
    size_t size;
    size_t length;
};

static void put(struct writer *writer, const void *bytes, size_t size)
{
    if (size > 0 && writer->length < writer->size && size <= writer->size - writer->length)
        memcpy(writer->data + writer->length, bytes, size);
    writer->length += size;
}

static void put_8(struct writer *writer, unsigned value)
{
    uint8_t byte = (uint8_t)value;

    put(writer, &byte, 1);
}

static void put_16(struct writer *writer, size_t value)
{
    put_8(writer, (unsigned)(value >> 8) & 0xff);
    put_8(writer, (unsigned)value & 0xff);
}

// Fills in a length once it is known.
static void patch_16(struct writer *writer, size_t at, size_t value)
{
    if (writer->size < 2 || at > writer->size - 2)
        return;
    writer->data[at] = (uint8_t)(value >> 8);
    writer->data[at + 1] = (uint8_t)value;
}

static void put_tlv(struct writer *writer, enum proxy_tlv_type type, struct proxy_bytes value)
{
    if (!value.data)
        return;
    put_8(writer, type);
    put_16(writer, value.size);
    put(writer, value.data, value.size);
}

static void put_ssl(struct writer *writer, const struct proxy_header_plan *plan)
{
    size_t begin = writer->length;

    put_8(writer, PROXY_TLV_SSL);
    put_16(writer, 0);
    put_8(writer, plan->client);
    put_16(writer, plan->verify >> 16);
    put_16(writer, plan->verify & 0xffff);
    put_tlv(writer, PROXY_TLV_SSL_VERSION, plan->ssl_version);
    put_tlv(writer, PROXY_TLV_SSL_CIPHER, plan->cipher);
    put_tlv(writer, PROXY_TLV_SSL_CN, plan->name);
    put_tlv(writer, PROXY_TLV_SSL_SIG_ALG, plan->signature_algorithm);
    put_tlv(writer, PROXY_TLV_SSL_KEY_ALG, plan->key_algorithm);
    put_tlv(writer, PROXY_TLV_SSL_CLIENT_CERT, plan->certificate);
    patch_16(writer, begin + 1, writer->length - begin - 3);
}

static void put_addresses(struct writer *writer, const struct proxy_addresses *addresses)
{
    size_t size = addresses->family == PROXY_FAMILY_TCP4 ? 4 : 16;

    if (addresses->family == PROXY_FAMILY_UNSPEC)
        return;
    if (addresses->family == PROXY_FAMILY_UNIX) {
        put(writer, addresses->source_path, PROXY_HEADER_PATH_SIZE);
        put(writer, addresses->destination_path, PROXY_HEADER_PATH_SIZE);
        return;
    }
    put(writer, addresses->source, size);
    put(writer, addresses->destination, size);
    put_16(writer, addresses->source_port);
    put_16(writer, addresses->destination_port);
}

static size_t build_v2(const struct proxy_header_plan *plan, uint8_t *data, size_t size)
{
    static const uint8_t families[] = {[PROXY_FAMILY_UNSPEC] = 0x00,
                                       [PROXY_FAMILY_TCP4] = 0x11,
                                       [PROXY_FAMILY_TCP6] = 0x21,
                                       [PROXY_FAMILY_UNIX] = 0x31};
    static const uint8_t zeroes[4];
    struct writer writer = {.data = data, .size = size};
    size_t hole;

    put(&writer, proxy_header_signature, sizeof(proxy_header_signature));
    put_8(&writer, 0x21);
    put_8(&writer, families[plan->addresses->family]);
    put_16(&writer, 0);
    put_addresses(&writer, plan->addresses);
    put_tlv(&writer, PROXY_TLV_ALPN, plan->alpn);
    put_tlv(&writer, PROXY_TLV_AUTHORITY, plan->authority);
    put_tlv(&writer, PROXY_TLV_UNIQUE_ID, plan->unique_id);
    if (plan->has_ssl)
        put_ssl(&writer, plan);
    if (plan->has_checksum)
        put_tlv(&writer, PROXY_TLV_CRC32C, (struct proxy_bytes){zeroes, sizeof(zeroes)});
    if (writer.length > PROXY_HEADER_OUT_MAX)
        return 0;
    patch_16(&writer, 14, writer.length - PROXY_HEADER_V2_HEAD);
    if (plan->has_checksum && writer.length <= size) {
        uint32_t crc;

        hole = writer.length - 4;
        crc = proxy_header_checksum(data, writer.length, hole);
        patch_16(&writer, hole, crc >> 16);
        patch_16(&writer, hole + 2, crc & 0xffff);
    }
    return writer.length;
}

static size_t build_v1(const struct proxy_addresses *addresses, uint8_t *data, size_t size)
{
    struct writer writer = {.data = data, .size = size};
    int family = addresses->family == PROXY_FAMILY_TCP4 ? AF_INET : AF_INET6;
    char source[INET6_ADDRSTRLEN] = "";
    char destination[INET6_ADDRSTRLEN] = "";
    char line[PROXY_HEADER_V1_MAX + 1] = "PROXY UNKNOWN\r\n";
    int length = (int)strlen(line);

    if (addresses->family == PROXY_FAMILY_TCP4 || addresses->family == PROXY_FAMILY_TCP6) {
        inet_ntop(family, addresses->source, source, sizeof(source));
        inet_ntop(family, addresses->destination, destination, sizeof(destination));
        length = snprintf(line, sizeof(line), "PROXY %s %s %s %u %u\r\n", family == AF_INET ? "TCP4" : "TCP6",
                          source, destination, addresses->source_port, addresses->destination_port);
    }
    put(&writer, line, (size_t)length);
    return writer.length;
}

size_t proxy_header_build(const struct proxy_header_plan *plan, uint8_t *data, size_t size)
{
    return plan->version == 1 ? build_v1(plan->addresses, data, size) : build_v2(plan, data, size);
}
