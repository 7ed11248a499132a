// SPDX-License-Identifier: Apache-2.0
// Reading a PROXY header: which of both it is, then the line of version 1 or the block of version 2.
#include "proxy_header.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#define V1_BEGIN       "PROXY "
#define V1_UNKNOWN     "UNKNOWN"
#define V1_TOKENS      5 // family, addresses, ports
#define V1_ADDRESS_MAX 39

const uint8_t proxy_header_signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                            0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

static enum proxy_header_status bad(const char **ret_why, const char *why)
{
    *ret_why = why;
    return PROXY_HEADER_BAD;
}

static bool begins(const uint8_t *data, size_t size, const void *with, size_t with_size)
{
    return memcmp(data, with, size < with_size ? size : with_size) == 0;
}

// ---- version 1 ----

struct token {
    const char *text;
    size_t length;
};

static bool token_is(const struct token *token, const char *text)
{
    return token->length == strlen(text) && memcmp(token->text, text, token->length) == 0;
}

// Cuts at single spaces. How many there are; more than `max` is max + 1.
static size_t split(const char *text, size_t length, struct token *tokens, size_t max)
{
    size_t count = 0;

    for (;;) {
        const char *space = memchr(text, ' ', length);
        size_t size = space ? (size_t)(space - text) : length;

        if (count == max)
            return max + 1;
        tokens[count++] = (struct token){.text = text, .length = size};
        if (!space)
            return count;
        text = space + 1;
        length -= size + 1;
    }
}

static bool read_address(const struct token *token, int family, uint8_t *ret)
{
    char text[V1_ADDRESS_MAX + 1];

    if (token->length == 0 || token->length > V1_ADDRESS_MAX || memchr(token->text, '\0', token->length))
        return false;
    memcpy(text, token->text, token->length);
    text[token->length] = '\0';
    return inet_pton(family, text, ret) == 1; // takes no leading zeroes in IPv4
}

static bool read_port(const struct token *token, uint16_t *ret)
{
    uint32_t port = 0;

    if (token->length == 0 || token->length > 5 || (token->text[0] == '0' && token->length > 1))
        return false;
    for (size_t i = 0; i < token->length; i++) {
        if (token->text[i] < '0' || token->text[i] > '9')
            return false;
        port = 10 * port + (uint32_t)(token->text[i] - '0');
    }
    *ret = (uint16_t)port;
    return port <= UINT16_MAX;
}

// The line between "PROXY " and CRLF.
static enum proxy_header_status read_line(const char *text, size_t length, struct proxy_addresses *ret,
                                          const char **ret_why)
{
    struct token tokens[V1_TOKENS];
    size_t count = split(text, length, tokens, V1_TOKENS);
    int family;

    if (token_is(&tokens[0], V1_UNKNOWN)) {
        ret->family = PROXY_FAMILY_UNSPEC; // and whatever follows is ignored
        return PROXY_HEADER_READ;
    }
    if (token_is(&tokens[0], "TCP4"))
        family = AF_INET;
    else if (token_is(&tokens[0], "TCP6"))
        family = AF_INET6;
    else
        return bad(ret_why, "version 1 with a family that is not TCP4, TCP6 or UNKNOWN");
    if (count != V1_TOKENS)
        return bad(ret_why, "version 1 without two addresses and two ports");
    ret->family = family == AF_INET ? PROXY_FAMILY_TCP4 : PROXY_FAMILY_TCP6;
    if (!read_address(&tokens[1], family, ret->source) || !read_address(&tokens[2], family, ret->destination))
        return bad(ret_why, "version 1 with a malformed address");
    if (!read_port(&tokens[3], &ret->source_port) || !read_port(&tokens[4], &ret->destination_port))
        return bad(ret_why, "version 1 with a malformed port");
    return PROXY_HEADER_READ;
}

static enum proxy_header_status parse_v1(const uint8_t *data, size_t size, struct proxy_header *ret,
                                         const char **ret_why)
{
    size_t most = size < PROXY_HEADER_V1_MAX ? size : PROXY_HEADER_V1_MAX;
    struct proxy_header header = {.version = 1};
    size_t end = strlen(V1_BEGIN);
    enum proxy_header_status status;

    while (end < most && data[end] != '\r' && data[end] != '\n')
        end++;
    if (end + 1 < most) {
        if (data[end] != '\r' || data[end + 1] != '\n')
            return bad(ret_why, "version 1 that does not end in CR LF");
        status = read_line((const char *)data + strlen(V1_BEGIN), end - strlen(V1_BEGIN), &header.addresses,
                           ret_why);
        header.size = end + 2;
        if (status == PROXY_HEADER_READ)
            *ret = header;
        return status;
    }
    if (end < most && data[end] == '\n')
        return bad(ret_why, "version 1 that does not end in CR LF");
    return size < PROXY_HEADER_V1_MAX ? PROXY_HEADER_MORE : bad(ret_why, "version 1 longer than 107 bytes");
}

// ---- version 2 ----

static uint16_t read_16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

enum { FAMILY_UNSPEC, FAMILY_INET, FAMILY_INET6, FAMILY_UNIX, FAMILY_COUNT };
enum { TRANSPORT_UNSPEC, TRANSPORT_STREAM, TRANSPORT_DATAGRAM, TRANSPORT_COUNT };

static const size_t block_sizes[] = {
    [PROXY_FAMILY_UNSPEC] = 0,
    [PROXY_FAMILY_TCP4] = 2 * 4 + 2 * 2,
    [PROXY_FAMILY_TCP6] = 2 * 16 + 2 * 2,
    [PROXY_FAMILY_UNIX] = (size_t)2 * PROXY_HEADER_PATH_SIZE,
};

static void read_block(const uint8_t *block, struct proxy_addresses *ret)
{
    size_t size = ret->family == PROXY_FAMILY_TCP4 ? 4 : 16;

    if (ret->family == PROXY_FAMILY_UNSPEC)
        return;
    if (ret->family == PROXY_FAMILY_UNIX) {
        memcpy(ret->source_path, block, PROXY_HEADER_PATH_SIZE);
        memcpy(ret->destination_path, block + PROXY_HEADER_PATH_SIZE, PROXY_HEADER_PATH_SIZE);
        return;
    }
    memcpy(ret->source, block, size);
    memcpy(ret->destination, block + size, size);
    ret->source_port = read_16(block + 2 * size);
    ret->destination_port = read_16(block + 2 * size + 2);
}

// The two bytes behind the signature. READ: they are good.
static enum proxy_header_status check_head(uint8_t command, uint8_t family, struct proxy_header *header,
                                           const char **ret_why)
{
    unsigned transport = family & 0x0f;

    family >>= 4;
    if (command >> 4 != 2)
        return bad(ret_why, "version 2's signature with another version");
    if ((command & 0x0f) > 1)
        return bad(ret_why, "version 2 with an unknown command");
    header->is_local = (command & 0x0f) == 0;
    if (header->is_local)
        return PROXY_HEADER_READ; // of LOCAL nothing but the length counts
    if (family >= FAMILY_COUNT || transport >= TRANSPORT_COUNT)
        return bad(ret_why, "version 2 with an unknown family or transport");
    if (transport == TRANSPORT_DATAGRAM)
        return bad(ret_why, "version 2 for datagrams, and this is a stream");
    if (transport == TRANSPORT_STREAM) // the families count alike here and in enum proxy_family
        header->addresses.family = (enum proxy_family)family;
    return PROXY_HEADER_READ;
}
_Static_assert(FAMILY_INET == (int)PROXY_FAMILY_TCP4 && FAMILY_INET6 == (int)PROXY_FAMILY_TCP6 &&
                   FAMILY_UNIX == (int)PROXY_FAMILY_UNIX,
               "families count alike");

static enum proxy_header_status check_ssl(const struct proxy_tlv *tlv, const char **ret_why)
{
    enum proxy_tlv_status status;
    struct proxy_ssl ssl;
    struct proxy_tlv inner;

    if (!proxy_tlv_ssl(tlv, &ssl))
        return bad(ret_why, "an SSL TLV too short for its fixed part");
    do {
        status = proxy_tlv_next(&ssl.tlvs, &inner);
    } while (status == PROXY_TLV_FOUND);
    return status == PROXY_TLV_END ? PROXY_HEADER_READ
                                   : bad(ret_why, "a TLV longer than the SSL TLV around it");
}

static enum proxy_header_status check_checksum(const uint8_t *data, size_t size, const struct proxy_tlv *tlv,
                                               const char **ret_why)
{
    uint32_t said;

    if (tlv->length != 4)
        return bad(ret_why, "a checksum that is not of four bytes");
    said = (uint32_t)read_16(tlv->value) << 16 | read_16(tlv->value + 2);
    if (proxy_header_checksum(data, size, (size_t)(tlv->value - data)) != said)
        return bad(ret_why, "a checksum that is wrong");
    return PROXY_HEADER_READ;
}

static enum proxy_header_status check_tlvs(const uint8_t *data, const struct proxy_header *header,
                                           const char **ret_why)
{
    struct proxy_tlvs tlvs = {.next = header->tlvs, .left = header->tlvs_size};
    enum proxy_header_status status = PROXY_HEADER_READ;
    enum proxy_tlv_status found;
    bool has_checksum = false;
    struct proxy_tlv tlv;

    while ((found = proxy_tlv_next(&tlvs, &tlv)) == PROXY_TLV_FOUND && status == PROXY_HEADER_READ) {
        if (tlv.type == PROXY_TLV_SSL) {
            status = check_ssl(&tlv, ret_why);
        } else if (tlv.type == PROXY_TLV_UNIQUE_ID && tlv.length > PROXY_UNIQUE_ID_MAX) {
            status = bad(ret_why, "a unique id longer than 128 bytes");
        } else if (tlv.type == PROXY_TLV_CRC32C) {
            status = has_checksum ? bad(ret_why, "two checksums")
                                  : check_checksum(data, header->size, &tlv, ret_why);
            has_checksum = true;
        }
    }
    return found == PROXY_TLV_BROKEN ? bad(ret_why, "a TLV longer than the header") : status;
}

static enum proxy_header_status parse_v2(const uint8_t *data, size_t size, struct proxy_header *ret,
                                         const char **ret_why)
{
    struct proxy_header header = {.version = 2};
    enum proxy_header_status status;
    size_t block;
    size_t length;

    if (size < PROXY_HEADER_V2_HEAD)
        return PROXY_HEADER_MORE;
    status = check_head(data[12], data[13], &header, ret_why);
    if (status != PROXY_HEADER_READ)
        return status;
    length = read_16(data + 14);
    block = block_sizes[header.addresses.family];
    if (length < block)
        return bad(ret_why, "version 2 too short for its addresses");
    if (length > PROXY_HEADER_MAX - PROXY_HEADER_V2_HEAD)
        return bad(ret_why, "version 2 longer than 4096 bytes");
    header.size = PROXY_HEADER_V2_HEAD + length;
    if (size < header.size)
        return PROXY_HEADER_MORE;
    read_block(data + PROXY_HEADER_V2_HEAD, &header.addresses);
    // Where there are no addresses of a known size, nobody knows where the TLVs would begin.
    if (header.addresses.family != PROXY_FAMILY_UNSPEC) {
        header.tlvs = data + PROXY_HEADER_V2_HEAD + block;
        header.tlvs_size = length - block;
        status = check_tlvs(data, &header, ret_why);
    }
    if (status == PROXY_HEADER_READ)
        *ret = header;
    return status;
}

enum proxy_header_status proxy_header_parse(const uint8_t *data, size_t size, struct proxy_header *ret,
                                            const char **ret_why)
{
    if (size == 0)
        return PROXY_HEADER_MORE;
    if (begins(data, size, V1_BEGIN, strlen(V1_BEGIN)))
        return size < strlen(V1_BEGIN) ? PROXY_HEADER_MORE : parse_v1(data, size, ret, ret_why);
    if (begins(data, size, proxy_header_signature, sizeof(proxy_header_signature)))
        return parse_v2(data, size, ret, ret_why);
    return PROXY_HEADER_NONE;
}

// ---- TLVs ----

enum proxy_tlv_status proxy_tlv_next(struct proxy_tlvs *tlvs, struct proxy_tlv *ret)
{
    size_t length;

    if (tlvs->left == 0)
        return PROXY_TLV_END;
    if (tlvs->left < 3)
        return PROXY_TLV_BROKEN;
    length = read_16(tlvs->next + 1);
    if (length > tlvs->left - 3)
        return PROXY_TLV_BROKEN;
    *ret = (struct proxy_tlv){.type = tlvs->next[0], .length = (uint16_t)length, .value = tlvs->next + 3};
    tlvs->next += 3 + length;
    tlvs->left -= 3 + length;
    return PROXY_TLV_FOUND;
}

bool proxy_tlv_ssl(const struct proxy_tlv *tlv, struct proxy_ssl *ret)
{
    if (tlv->length < 5)
        return false;
    *ret = (struct proxy_ssl){
        .client = tlv->value[0],
        .verify = (uint32_t)read_16(tlv->value + 1) << 16 | read_16(tlv->value + 3),
        .tlvs = {.next = tlv->value + 5, .left = tlv->length - 5u},
    };
    return true;
}
