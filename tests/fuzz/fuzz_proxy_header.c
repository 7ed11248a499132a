// SPDX-License-Identifier: Apache-2.0
// Any bytes are a PROXY header, the beginning of one, a wrong one or none; what is a header lies within the bytes, all of it, comes out
// the same however its bytes arrive, and can be built again.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "src/proxy/proxy_header.h"

// Addresses are filled in as far as their family says; the rest is zero, so they can be compared.
static bool is_same(const struct proxy_addresses *a, const struct proxy_addresses *b)
{
    size_t size = a->family == PROXY_FAMILY_TCP4 ? 4 : 16;

    if (a->family != b->family)
        return false;
    if (a->family == PROXY_FAMILY_UNSPEC)
        return true;
    if (a->family == PROXY_FAMILY_UNIX)
        return memcmp(a->source_path, b->source_path, PROXY_HEADER_PATH_SIZE) == 0 &&
               memcmp(a->destination_path, b->destination_path, PROXY_HEADER_PATH_SIZE) == 0;
    return memcmp(a->source, b->source, size) == 0 && memcmp(a->destination, b->destination, size) == 0 &&
           a->source_port == b->source_port && a->destination_port == b->destination_port;
}

static void check_tlvs(const struct proxy_header *header, const uint8_t *data)
{
    struct proxy_tlvs tlvs = {.next = header->tlvs, .left = header->tlvs_size};
    enum proxy_tlv_status status;
    struct proxy_tlv tlv;

    while ((status = proxy_tlv_next(&tlvs, &tlv)) == PROXY_TLV_FOUND) {
        struct proxy_ssl ssl;

        REQUIRE(tlv.value >= data && tlv.value + tlv.length <= data + header->size);
        REQUIRE(tlv.type != PROXY_TLV_UNIQUE_ID || tlv.length <= PROXY_UNIQUE_ID_MAX);
        if (tlv.type != PROXY_TLV_SSL)
            continue;
        REQUIRE(proxy_tlv_ssl(&tlv, &ssl));
        while ((status = proxy_tlv_next(&ssl.tlvs, &tlv)) == PROXY_TLV_FOUND)
            REQUIRE(tlv.value + tlv.length <= data + header->size);
        REQUIRE(status == PROXY_TLV_END);
    }
    REQUIRE(status == PROXY_TLV_END);
}

static void check_built(const struct proxy_header *header, uint8_t version)
{
    struct proxy_header_plan plan = {
        .version = version, .addresses = &header->addresses, .has_checksum = true};
    uint8_t bytes[512];
    size_t size = proxy_header_build(&plan, bytes, sizeof(bytes));
    struct proxy_header again;
    const char *why;

    REQUIRE(size > 0 && size <= sizeof(bytes));
    REQUIRE(proxy_header_build(&plan, NULL, 0) == size);
    REQUIRE(proxy_header_parse(bytes, size, &again, &why) == PROXY_HEADER_READ);
    REQUIRE(again.version == version && again.size == size);
    if (version == 2 || header->addresses.family != PROXY_FAMILY_UNIX)
        REQUIRE(is_same(&again.addresses, &header->addresses));
    else
        REQUIRE(again.addresses.family == PROXY_FAMILY_UNSPEC);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header header = {0};
    struct proxy_header early = {0};
    const char *why = NULL;
    enum proxy_header_status status = proxy_header_parse(data, size, &header, &why);

    REQUIRE((status == PROXY_HEADER_BAD) == (why != NULL));
    REQUIRE(status != PROXY_HEADER_MORE || size < PROXY_HEADER_MAX);
    // With fewer bytes nothing else is said of it, only less.
    for (size_t part = 0; part < size && part <= PROXY_HEADER_MAX; part += part < 300 ? 1 : 97) {
        enum proxy_header_status then = proxy_header_parse(data, part, &early, &why);

        REQUIRE(then == PROXY_HEADER_MORE || then == status);
        REQUIRE(then != PROXY_HEADER_READ || (early.size == header.size && early.size <= part));
    }
    if (status != PROXY_HEADER_READ)
        return 0;
    REQUIRE(header.size <= size && header.size <= PROXY_HEADER_MAX);
    REQUIRE(header.version == 1 ? header.size <= PROXY_HEADER_V1_MAX : header.version == 2);
    check_tlvs(&header, data);
    check_built(&header, 1);
    check_built(&header, 2);
    return 0;
}
