// SPDX-License-Identifier: Apache-2.0
// The PROXY header against vectors written by hand from the specification (HAProxy's doc/proxy-protocol.txt).
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#include "src/proxy/proxy_header.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SIGNATURE    "\r\n\r\n\0\r\nQUIT\n"
#define BLOCK_V4     "\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\xd2\x01\xbb" // 192.0.2.1:1234 to 198.51.100.2:443
#define BYTES(text)  (const uint8_t *)(text), sizeof(text) - 1

// The bytes in memory of exactly their size, so that a sanitizer sees who reads on.
static enum proxy_header_status parse(const void *data, size_t size, struct proxy_header *ret,
                                      const char **ret_why)
{
    static uint8_t *copy; // what ret points into lives until the next one

    free(copy);
    copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, data, size);
    return proxy_header_parse(copy, size, ret, ret_why);
}

static struct proxy_header read_whole(const uint8_t *data, size_t size)
{
    struct proxy_header header;
    const char *why = NULL;

    // However far it has come, it is the beginning of one.
    for (size_t part = 0; part < size; part++)
        assert_int_equal(parse(data, part, &header, &why), PROXY_HEADER_MORE);
    assert_int_equal(parse(data, size, &header, &why), PROXY_HEADER_READ);
    assert_int_equal(header.size, size);
    return header;
}

static void assert_v4(const struct proxy_addresses *addresses)
{
    static const uint8_t source[] = {192, 0, 2, 1};
    static const uint8_t destination[] = {198, 51, 100, 2};

    assert_int_equal(addresses->family, PROXY_FAMILY_TCP4);
    assert_memory_equal(addresses->source, source, 4);
    assert_memory_equal(addresses->destination, destination, 4);
    assert_int_equal(addresses->source_port, 1234);
    assert_int_equal(addresses->destination_port, 443);
}

// ---- version 1 ----

static void test_v1(void **state)
{
    struct proxy_header header = read_whole(BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n"));
    uint8_t address[16];
    const char *why;

    assert_int_equal(header.version, 1);
    assert_false(header.is_local);
    assert_v4(&header.addresses);
    header = read_whole(BYTES("PROXY TCP6 2001:db8::1 2001:DB8::2 0 65535\r\n"));
    assert_int_equal(header.addresses.family, PROXY_FAMILY_TCP6);
    inet_pton(AF_INET6, "2001:db8::1", address);
    assert_memory_equal(header.addresses.source, address, 16);
    inet_pton(AF_INET6, "2001:db8::2", address);
    assert_memory_equal(header.addresses.destination, address, 16);
    assert_int_equal(header.addresses.source_port, 0);
    assert_int_equal(header.addresses.destination_port, 65535);
    header = read_whole(BYTES("PROXY UNKNOWN\r\n"));
    assert_int_equal(header.addresses.family, PROXY_FAMILY_UNSPEC);
    // The worst case of the specification: 107 bytes.
    header = read_whole(BYTES("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                              "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"));
    assert_int_equal(header.size, PROXY_HEADER_V1_MAX);
    assert_int_equal(header.addresses.family, PROXY_FAMILY_UNSPEC);
    read_whole(BYTES("PROXY UNKNOWN any thing may  stand here, it is ignored\r\n"));
    // What comes behind is not touched.
    assert_int_equal(
        parse(BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n\x16\x03\x01"), &header, &why),
        PROXY_HEADER_READ);
    assert_int_equal(header.size, strlen("PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n"));
    assert_v4(&header.addresses);
}

// ---- version 2 ----

static void test_v2(void **state)
{
    struct proxy_header header = read_whole(BYTES(SIGNATURE "\x21\x11\x00\x0c" BLOCK_V4));
    struct sockaddr_storage source;

    assert_int_equal(header.version, 2);
    assert_false(header.is_local);
    assert_v4(&header.addresses);
    assert_int_equal(header.tlvs_size, 0);
    proxy_addresses_source(&header.addresses, &source);
    assert_int_equal(source.ss_family, AF_INET);
    assert_int_equal(ntohl(((struct sockaddr_in *)&source)->sin_addr.s_addr), 0xc0000201);
    assert_int_equal(ntohs(((struct sockaddr_in *)&source)->sin_port), 1234);

    header = read_whole(BYTES(SIGNATURE "\x21\x21\x00\x24"
                                        "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
                                        "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x04\xd2\x01\xbb"));
    assert_int_equal(header.addresses.family, PROXY_FAMILY_TCP6);
    assert_int_equal(header.addresses.source[15], 1);
    assert_int_equal(header.addresses.destination[15], 2);
    assert_int_equal(header.addresses.source_port, 1234);
    assert_int_equal(header.addresses.destination_port, 443);
    proxy_addresses_source(&header.addresses, &source);
    assert_int_equal(source.ss_family, AF_INET6);
    assert_int_equal(ntohs(((struct sockaddr_in6 *)&source)->sin6_port), 1234);
}

static void test_v2_unix(void **state)
{
    uint8_t bytes[PROXY_HEADER_V2_HEAD + 216] = SIGNATURE "\x21\x31\x00\xd8";
    struct proxy_header header;

    strcpy((char *)bytes + 16, "/run/a");
    strcpy((char *)bytes + 16 + 108, "/run/b");
    header = read_whole(bytes, sizeof(bytes));
    assert_int_equal(header.addresses.family, PROXY_FAMILY_UNIX);
    assert_string_equal(header.addresses.source_path, "/run/a");
    assert_string_equal(header.addresses.destination_path, "/run/b");
}

// §2.2: of LOCAL the length counts and nothing else; UNSPEC, in either half of the byte, leaves the socket's addresses.
static void test_v2_without_addresses(void **state)
{
    struct proxy_header header = read_whole(BYTES(SIGNATURE "\x20\x00\x00\x00"));

    assert_true(header.is_local);
    assert_int_equal(header.addresses.family, PROXY_FAMILY_UNSPEC);
    header = read_whole(BYTES(SIGNATURE "\x20\x11\x00\x0c" BLOCK_V4));
    assert_true(header.is_local);
    assert_int_equal(header.addresses.family, PROXY_FAMILY_UNSPEC);
    assert_int_equal(header.tlvs_size, 0);
    read_whole(BYTES(SIGNATURE "\x20\xff\x00\x03???"));
    header = read_whole(BYTES(SIGNATURE "\x21\x00\x00\x05hello"));
    assert_false(header.is_local);
    assert_int_equal(header.addresses.family, PROXY_FAMILY_UNSPEC);
    assert_int_equal(header.tlvs_size, 0);
    header = read_whole(BYTES(SIGNATURE "\x21\x10\x00\x0c" BLOCK_V4));
    assert_int_equal(header.addresses.family, PROXY_FAMILY_UNSPEC);
    header = read_whole(BYTES(SIGNATURE "\x21\x01\x00\x00"));
    assert_int_equal(header.addresses.family, PROXY_FAMILY_UNSPEC);
}

static void assert_next(struct proxy_tlvs *tlvs, uint8_t type, const char *value)
{
    struct proxy_tlv tlv;

    assert_int_equal(proxy_tlv_next(tlvs, &tlv), PROXY_TLV_FOUND);
    assert_int_equal(tlv.type, type);
    assert_int_equal(tlv.length, strlen(value));
    assert_memory_equal(tlv.value, value, strlen(value));
}

static void test_tlvs(void **state)
{
    struct proxy_header header =
        read_whole(BYTES(SIGNATURE "\x21\x11\x00\x46" BLOCK_V4 "\x01\x00\x02h2"
                                   "\x02\x00\x09"
                                   "a.example"
                                   "\x20\x00\x20\x07\x00\x00\x00\x00\x21\x00\x07TLSv1.3\x22\x00\x05"
                                   "alice\x28\x00\x06\x30\x04\x02\x02\x01\x02"
                                   "\x04\x00\x00\xe0\x00\x00"));
    struct proxy_tlvs tlvs = {header.tlvs, header.tlvs_size};
    struct proxy_tlv tlv;
    struct proxy_ssl ssl;

    assert_v4(&header.addresses);
    assert_next(&tlvs, PROXY_TLV_ALPN, "h2");
    assert_next(&tlvs, PROXY_TLV_AUTHORITY, "a.example");
    assert_int_equal(proxy_tlv_next(&tlvs, &tlv), PROXY_TLV_FOUND);
    assert_int_equal(tlv.type, PROXY_TLV_SSL);
    assert_true(proxy_tlv_ssl(&tlv, &ssl));
    assert_int_equal(ssl.client, PROXY_CLIENT_SSL | PROXY_CLIENT_CERT_CONN | PROXY_CLIENT_CERT_SESS);
    assert_int_equal(ssl.verify, 0);
    assert_next(&ssl.tlvs, PROXY_TLV_SSL_VERSION, "TLSv1.3");
    assert_next(&ssl.tlvs, PROXY_TLV_SSL_CN, "alice");
    assert_next(&ssl.tlvs, PROXY_TLV_SSL_CLIENT_CERT, "\x30\x04\x02\x02\x01\x02");
    assert_int_equal(proxy_tlv_next(&ssl.tlvs, &tlv), PROXY_TLV_END);
    assert_next(&tlvs, PROXY_TLV_NOOP, "");
    assert_next(&tlvs, 0xe0, "");
    assert_int_equal(proxy_tlv_next(&tlvs, &tlv), PROXY_TLV_END);
    assert_int_equal(proxy_tlv_next(&tlvs, &tlv), PROXY_TLV_END);
}

// The checksum of RFC 3720 §B.4's examples, and in a header.
static void test_checksum(void **state)
{
    uint8_t bytes[32];

    assert_int_equal(proxy_header_checksum(BYTES("123456789"), SIZE_MAX - 4), 0xe3069283);
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(proxy_header_checksum(bytes, 32, SIZE_MAX - 4), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(proxy_header_checksum(bytes, 32, SIZE_MAX - 4), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    assert_int_equal(proxy_header_checksum(bytes, 32, SIZE_MAX - 4), 0x46dd794e);
    memcpy(bytes, "1234\0\0\0\0", 8);
    assert_int_equal(proxy_header_checksum((const uint8_t *)"1234????", 8, 4),
                     proxy_header_checksum(bytes, 8, SIZE_MAX - 4));
    // A header whose checksum another implementation has reckoned.
    read_whole(BYTES(SIGNATURE "\x21\x11\x00\x18" BLOCK_V4 "\x01\x00\x02h2\x03\x00\x04\x09\x17\x4f\xa6"));
}

// ---- what is wrong ----

struct wrong {
    const char *name;
    const uint8_t *data;
    size_t size;
    const char *why; // NULL: no header at all
};

#define V1_FAMILY  "version 1 with a family that is not TCP4, TCP6 or UNKNOWN"
#define V1_COUNT   "version 1 without two addresses and two ports"
#define V1_ADDRESS "version 1 with a malformed address"
#define V1_PORT    "version 1 with a malformed port"
#define V1_END     "version 1 that does not end in CR LF"
#define V1_LONG    "version 1 longer than 107 bytes"
#define V2_FAMILY  "version 2 with an unknown family or transport"
#define TLV_LONG   "a TLV longer than the header"

static const struct wrong wrongs[] = {
    {"a TLS record", BYTES("\x16\x03\x01\x02\x00"), NULL},
    {"POST", BYTES("PO"), NULL},
    {"small letters", BYTES("p"), NULL},
    {"another blank", BYTES("PROXY\t"), NULL},
    {"almost the signature", BYTES("\r\n\r\n\0\r\nQUIT "), NULL},
    {"a family of its own", BYTES("PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n"), V1_FAMILY},
    {"a family in small letters", BYTES("PROXY tcp4 192.0.2.1 198.51.100.2 1 2\r\n"), V1_FAMILY},
    {"UNKNOWN and more", BYTES("PROXY UNKNOWN6\r\n"), V1_FAMILY},
    {"nothing", BYTES("PROXY \r\n"), V1_FAMILY},
    {"two blanks", BYTES("PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n"), V1_FAMILY},
    {"two blanks later", BYTES("PROXY TCP4 192.0.2.1  198.51.100.2 1 2\r\n"), V1_COUNT},
    {"a blank at the end", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n"), V1_COUNT},
    {"one port", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n"), V1_COUNT},
    {"no address", BYTES("PROXY TCP4  198.51.100.2 1 2\r\n"), V1_ADDRESS},
    {"the other family", BYTES("PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n"), V1_ADDRESS},
    {"the other family's name", BYTES("PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n"), V1_ADDRESS},
    {"a heading zero", BYTES("PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n"), V1_ADDRESS},
    {"256", BYTES("PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n"), V1_ADDRESS},
    {"a zero byte", BYTES("PROXY TCP4 192.0.2.1\0 198.51.100.2 1 2\r\n"), V1_ADDRESS},
    {"an address too long", BYTES("PROXY TCP6 0000:0000:0000:0000:0000:0000:0000:00001 2001:db8::2 1 2\r\n"),
     V1_ADDRESS},
    {"a zone", BYTES("PROXY TCP6 fe80::1%1 2001:db8::2 1 2\r\n"), V1_ADDRESS},
    {"a port too large", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n"), V1_PORT},
    {"a port much too large", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 1 4294967297\r\n"), V1_PORT},
    {"a port with a zero", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n"), V1_PORT},
    {"a port with a sign", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n"), V1_PORT},
    {"a lone LF", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n"), V1_END},
    {"a lone CR", BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 1 2\rx"), V1_END},
    {"108 bytes",
     BYTES("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535 \r\n"),
     V1_LONG},
    {"another version", BYTES(SIGNATURE "\x31\x11\x00\x0c" BLOCK_V4),
     "version 2's signature with another version"},
    {"another command", BYTES(SIGNATURE "\x22\x11\x00\x0c" BLOCK_V4), "version 2 with an unknown command"},
    {"another family", BYTES(SIGNATURE "\x21\x41\x00\x0c" BLOCK_V4), V2_FAMILY},
    {"another transport", BYTES(SIGNATURE "\x21\x13\x00\x0c" BLOCK_V4), V2_FAMILY},
    {"UDP over IPv4", BYTES(SIGNATURE "\x21\x12\x00\x0c" BLOCK_V4),
     "version 2 for datagrams, and this is a stream"},
    {"UDP over IPv6, from its first bytes", BYTES(SIGNATURE "\x21\x22\x00\x24"),
     "version 2 for datagrams, and this is a stream"},
    {"too short for IPv4", BYTES(SIGNATURE "\x21\x11\x00\x0b" BLOCK_V4),
     "version 2 too short for its addresses"},
    {"too short for IPv6", BYTES(SIGNATURE "\x21\x21\x00\x23"), "version 2 too short for its addresses"},
    {"too short for unix", BYTES(SIGNATURE "\x21\x31\x00\xd7"), "version 2 too short for its addresses"},
    {"one byte more than we take", BYTES(SIGNATURE "\x21\x11\x0f\xf1"), "version 2 longer than 4096 bytes"},
    {"LOCAL and endless", BYTES(SIGNATURE "\x20\x00\xff\xff"), "version 2 longer than 4096 bytes"},
    {"half a TLV", BYTES(SIGNATURE "\x21\x11\x00\x0e" BLOCK_V4 "\x01\x00"), TLV_LONG},
    {"a TLV too long", BYTES(SIGNATURE "\x21\x11\x00\x11" BLOCK_V4 "\x01\x00\x03h2"), TLV_LONG},
    {"an SSL TLV too short", BYTES(SIGNATURE "\x21\x11\x00\x13" BLOCK_V4 "\x20\x00\x04\x01\x00\x00\x00"),
     "an SSL TLV too short for its fixed part"},
    {"a TLV too long inside",
     BYTES(SIGNATURE "\x21\x11\x00\x18" BLOCK_V4 "\x20\x00\x09\x01\x00\x00\x00\x01\x21\x00\x02x"),
     "a TLV longer than the SSL TLV around it"},
    {"a wrong checksum",
     BYTES(SIGNATURE "\x21\x11\x00\x18" BLOCK_V4 "\x01\x00\x02h2\x03\x00\x04\x09\x17\x4f\xa7"),
     "a checksum that is wrong"},
    {"a checksum of a wrong length", BYTES(SIGNATURE "\x21\x11\x00\x11" BLOCK_V4 "\x03\x00\x02\x00\x00"),
     "a checksum that is not of four bytes"},
};

static void test_wrong(void **state)
{
    for (size_t i = 0; i < COUNT(wrongs); i++) {
        const struct wrong *wrong = &wrongs[i];
        enum proxy_header_status expected = wrong->why ? PROXY_HEADER_BAD : PROXY_HEADER_NONE;
        struct proxy_header header;
        const char *why = NULL;

        if (parse(wrong->data, wrong->size, &header, &why) != expected)
            fail_msg("%s", wrong->name);
        if (wrong->why)
            assert_string_equal(why, wrong->why);
        // Never taken on the way there.
        for (size_t part = 0; part < wrong->size; part++) {
            enum proxy_header_status status = parse(wrong->data, part, &header, &why);

            assert_true(status == PROXY_HEADER_MORE || status == expected);
        }
    }
}

static void test_largest(void **state)
{
    static uint8_t bytes[PROXY_HEADER_MAX] = SIGNATURE "\x21\x11\x0f\xf0" BLOCK_V4 "\x04\x0f\xe1";
    struct proxy_header header = read_whole(bytes, sizeof(bytes));

    assert_int_equal(header.tlvs_size, PROXY_HEADER_MAX - 28);
    // Two checksums, and an id that is too long, in the same room.
    memcpy(bytes + 28, "\x03\x00\x04\0\0\0\0\x03\x00\x04\0\0\0\0\x04\x0f\xd3", 17);
    {
        uint32_t crc = proxy_header_checksum(bytes, sizeof(bytes), 31);
        const char *why = NULL;

        for (int i = 0; i < 4; i++)
            bytes[31 + i] = (uint8_t)(crc >> (24 - 8 * i));
        assert_int_equal(parse(bytes, sizeof(bytes), &header, &why), PROXY_HEADER_BAD);
        assert_string_equal(why, "two checksums");
        memcpy(bytes + 28, "\x05\x00\x81", 3);
        memcpy(bytes + 31 + 129, "\x04\x0f\x5d", 3);
        assert_int_equal(parse(bytes, sizeof(bytes), &header, &why), PROXY_HEADER_BAD);
        assert_string_equal(why, "a unique id longer than 128 bytes");
        memcpy(bytes + 28, "\x05\x00\x80", 3);
        memcpy(bytes + 31 + 128, "\x04\x0f\x5e", 3);
        assert_int_equal(parse(bytes, sizeof(bytes), &header, &why), PROXY_HEADER_READ);
    }
}

// ---- building ----

static void assert_built(const struct proxy_header_plan *plan, const uint8_t *expected, size_t size)
{
    uint8_t bytes[1024];

    assert_int_equal(proxy_header_build(plan, NULL, 0), size);
    memset(bytes, 0xaa, sizeof(bytes));
    assert_int_equal(proxy_header_build(plan, bytes, size), size);
    assert_memory_equal(bytes, expected, size);
    assert_int_equal(bytes[size], 0xaa);
    // With less room nothing is written behind it.
    for (size_t room = 0; room < size; room++) {
        memset(bytes, 0xaa, sizeof(bytes));
        assert_int_equal(proxy_header_build(plan, bytes, room), size);
        assert_int_equal(bytes[room], 0xaa);
    }
}

static struct proxy_addresses some_v4(void)
{
    return (struct proxy_addresses){.family = PROXY_FAMILY_TCP4,
                                    .source = {192, 0, 2, 1},
                                    .destination = {198, 51, 100, 2},
                                    .source_port = 1234,
                                    .destination_port = 443};
}

static void test_build_v1(void **state)
{
    struct proxy_addresses addresses = some_v4();
    struct proxy_header_plan plan = {.version = 1, .addresses = &addresses, .alpn = {"h2", 2}};

    assert_built(&plan, BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n"));
    addresses =
        (struct proxy_addresses){.family = PROXY_FAMILY_TCP6, .source = {0x20, 1}, .destination = {0x20, 2}};
    addresses.source_port = 65535;
    assert_built(&plan, BYTES("PROXY TCP6 2001:: 2002:: 65535 0\r\n"));
    memset(addresses.source, 0xff, 16);
    memset(addresses.destination, 0xff, 16);
    addresses.destination_port = 65535;
    assert_int_equal(proxy_header_build(&plan, NULL, 0), 104);
    addresses.family = PROXY_FAMILY_UNSPEC;
    assert_built(&plan, BYTES("PROXY UNKNOWN\r\n"));
    addresses.family = PROXY_FAMILY_UNIX;
    assert_built(&plan, BYTES("PROXY UNKNOWN\r\n"));
}

static void test_build_v2(void **state)
{
    struct proxy_addresses addresses = some_v4();
    struct proxy_header_plan plan = {.version = 2, .addresses = &addresses};

    assert_built(&plan, BYTES(SIGNATURE "\x21\x11\x00\x0c" BLOCK_V4));
    plan.alpn = (struct proxy_bytes){"h2", 2};
    plan.has_checksum = true;
    assert_built(&plan,
                 BYTES(SIGNATURE "\x21\x11\x00\x18" BLOCK_V4 "\x01\x00\x02h2\x03\x00\x04\x09\x17\x4f\xa6"));
    plan.has_checksum = false;
    plan.authority = (struct proxy_bytes){"a.example", 9};
    plan.unique_id = (struct proxy_bytes){"\0\x01", 2};
    plan.has_ssl = true;
    plan.client = PROXY_CLIENT_SSL;
    plan.verify = 1;
    plan.ssl_version = (struct proxy_bytes){"TLSv1.2", 7};
    plan.name = (struct proxy_bytes){"x", 1};
    plan.certificate = (struct proxy_bytes){"", 0};
    assert_built(&plan,
                 BYTES(SIGNATURE
                       "\x21\x11\x00\x3b" BLOCK_V4 "\x01\x00\x02h2"
                       "\x02\x00\x09"
                       "a.example"
                       "\x05\x00\x02\x00\x01"
                       "\x20\x00\x16\x01\x00\x00\x00\x01\x21\x00\x07TLSv1.2\x22\x00\x01x\x28\x00\x00"));
    addresses.family = PROXY_FAMILY_UNSPEC;
    plan = (struct proxy_header_plan){.version = 2, .addresses = &addresses};
    assert_built(&plan, BYTES(SIGNATURE "\x21\x00\x00\x00"));
}

static void test_build_too_large(void **state)
{
    static uint8_t bytes[PROXY_HEADER_OUT_MAX + 1];
    struct proxy_addresses addresses = some_v4();
    struct proxy_header_plan plan = {.version = 2, .addresses = &addresses, .has_ssl = true};
    size_t most = 65535 - 12 - 3 - 5 - 3;

    plan.certificate = (struct proxy_bytes){bytes, most};
    assert_int_equal(proxy_header_build(&plan, NULL, 0), PROXY_HEADER_OUT_MAX);
    plan.certificate.size = most + 1;
    assert_int_equal(proxy_header_build(&plan, NULL, 0), 0);
}

static void test_addresses_of_sockets(void **state)
{
    struct sockaddr_storage a = {.ss_family = AF_INET6};
    struct sockaddr_storage b = {.ss_family = AF_INET6};
    struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)&a;
    struct sockaddr_in6 *b6 = (struct sockaddr_in6 *)&b;
    struct proxy_addresses addresses;
    struct sockaddr_storage again;

    inet_pton(AF_INET6, "::ffff:192.0.2.1", &a6->sin6_addr);
    inet_pton(AF_INET6, "::ffff:198.51.100.2", &b6->sin6_addr);
    a6->sin6_port = htons(1234);
    b6->sin6_port = htons(443);
    proxy_addresses_set(&addresses, &a, &b);
    assert_v4(&addresses);
    inet_pton(AF_INET6, "2001:db8::1", &a6->sin6_addr);
    inet_pton(AF_INET6, "2001:db8::2", &b6->sin6_addr);
    proxy_addresses_set(&addresses, &a, &b);
    assert_int_equal(addresses.family, PROXY_FAMILY_TCP6);
    proxy_addresses_source(&addresses, &again);
    assert_memory_equal(&again, &a, sizeof(a));
    b.ss_family = AF_INET;
    proxy_addresses_set(&addresses, &a, &b);
    assert_int_equal(addresses.family, PROXY_FAMILY_UNSPEC);
    a = (struct sockaddr_storage){.ss_family = AF_UNIX};
    b = (struct sockaddr_storage){.ss_family = AF_UNIX};
    strcpy(((struct sockaddr_un *)&b)->sun_path, "/run/b");
    proxy_addresses_set(&addresses, &a, &b);
    assert_int_equal(addresses.family, PROXY_FAMILY_UNIX);
    assert_string_equal(addresses.destination_path, "/run/b");
    assert_int_equal(addresses.source_path[0], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v1),
        cmocka_unit_test(test_v2),
        cmocka_unit_test(test_v2_unix),
        cmocka_unit_test(test_v2_without_addresses),
        cmocka_unit_test(test_tlvs),
        cmocka_unit_test(test_checksum),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_build_v1),
        cmocka_unit_test(test_build_v2),
        cmocka_unit_test(test_build_too_large),
        cmocka_unit_test(test_addresses_of_sockets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
