// SPDX-License-Identifier: Apache-2.0
// Networks: every one is a prefix of IPv6, IPv4 as it is mapped there (RFC 4291 §2.5.5.2), so that a client is compared in one way
// however its listener sees it.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "ringbolt/config.h"

#define V4_BITS 32
#define V6_BITS 128

static void map_v4(uint8_t ret[static 16], const void *v4)
{
    memset(ret, 0, 10);
    memset(ret + 10, 0xff, 2);
    memcpy(ret + 12, v4, 4);
}

// How many bits count, of at most `max`. Digits alone, without zeroes in front.
static bool parse_bits(const char *text, unsigned max, unsigned *ret)
{
    size_t length = strlen(text);
    unsigned bits = 0;

    if (length == 0 || length > 3 || strspn(text, "0123456789") != length || (text[0] == '0' && length > 1))
        return false;
    for (; *text != '\0'; text++)
        bits = 10 * bits + (unsigned)(*text - '0');
    *ret = bits;
    return bits <= max;
}

// Whether the first `bits` bits are the same.
static bool is_alike(const uint8_t a[static 16], const uint8_t b[static 16], unsigned bits)
{
    unsigned rest = bits % 8;

    if (memcmp(a, b, bits / 8) != 0)
        return false;
    return rest == 0 || (a[bits / 8] ^ b[bits / 8]) >> (8 - rest) == 0;
}

static bool has_bits_behind(const struct config_network *network)
{
    for (unsigned bit = network->bits; bit < V6_BITS; bit++) {
        if (network->prefix[bit / 8] & 0x80 >> bit % 8)
            return true;
    }
    return false;
}

int config_network_parse(const char *text, struct config_network *ret, const char **ret_why)
{
    const char *slash = strchr(text, '/');
    size_t length = slash != NULL ? (size_t)(slash - text) : strlen(text);
    struct config_network network = {.bits = V6_BITS};
    char host[INET6_ADDRSTRLEN];
    uint8_t v4[4];
    unsigned bits;
    bool is_v4;

    *ret_why = "write an address or a network such as 192.0.2.0/24 or 2001:db8::/32";
    if (length >= sizeof(host))
        return -EINVAL;
    memcpy(host, text, length);
    host[length] = '\0';
    is_v4 = inet_pton(AF_INET, host, v4) == 1;
    if (is_v4)
        map_v4(network.prefix, v4);
    else if (inet_pton(AF_INET6, host, network.prefix) != 1)
        return -EINVAL;
    bits = is_v4 ? V4_BITS : V6_BITS;
    if (slash != NULL && !parse_bits(slash + 1, bits, &bits)) {
        *ret_why = is_v4 ? "behind the `/` stands a number from 0 to 32"
                         : "behind the `/` stands a number from 0 to 128";
        return -EINVAL;
    }
    network.bits = is_v4 ? V6_BITS - V4_BITS + bits : bits;
    if (has_bits_behind(&network)) {
        *ret_why = "the address has bits behind the network's own; write the network's first address";
        return -EINVAL;
    }
    *ret = network;
    return 0;
}

bool config_network_holds(const struct config_network *network, const struct sockaddr_storage *address)
{
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    uint8_t host[16];

    if (address->ss_family == AF_INET)
        map_v4(host, &((const struct sockaddr_in *)address)->sin_addr);
    else if (address->ss_family == AF_INET6)
        memcpy(host, &v6->sin6_addr, sizeof(host));
    else
        return false;
    return is_alike(host, network->prefix, network->bits);
}
