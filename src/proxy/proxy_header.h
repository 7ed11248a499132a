// SPDX-License-Identifier: Apache-2.0
// The PROXY protocol's header (HAProxy's doc/proxy-protocol.txt, versions 1 and 2): what a proxy says of a client before the first byte
// that the client sent. Pure functions: no sockets, no allocation, nothing kept between calls. All bytes may be hostile.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define PROXY_HEADER_V1_MAX    107  // a line with its CRLF (§2.1)
#define PROXY_HEADER_V2_HEAD   16   // signature, version and command, family, length (§2.2)
#define PROXY_HEADER_MAX       4096 // that we read; the specification lets version 2 have 16 + 65535
#define PROXY_HEADER_OUT_MAX   (PROXY_HEADER_V2_HEAD + 65535)
#define PROXY_HEADER_PATH_SIZE 108 // of a unix address, filled up with zeroes

// Families of addresses that a header can tell, all of streams.
enum proxy_family { PROXY_FAMILY_UNSPEC, PROXY_FAMILY_TCP4, PROXY_FAMILY_TCP6, PROXY_FAMILY_UNIX };

// Where a connection came from and where it went to. Which members count says the family; with UNSPEC none.
struct proxy_addresses {
    enum proxy_family family;
    union {
        struct {
            uint8_t source[16]; // network byte order; of TCP4 the first four bytes
            uint8_t destination[16];
            uint16_t source_port; // host byte order
            uint16_t destination_port;
        };
        struct {
            uint8_t source_path[PROXY_HEADER_PATH_SIZE]; // not always ended by a zero
            uint8_t destination_path[PROXY_HEADER_PATH_SIZE];
        };
    };
};

// From what getpeername() and getsockname() gave. IPv4 addresses mapped into IPv6 become TCP4; what is no stream's address, or two of
// different families, UNSPEC.
void proxy_addresses_set(struct proxy_addresses *addresses, const struct sockaddr_storage *source,
                         const struct sockaddr_storage *destination);
// The source as a socket's address; of UNIX and UNSPEC only the family (AF_UNIX, AF_UNSPEC) counts.
void proxy_addresses_source(const struct proxy_addresses *addresses, struct sockaddr_storage *ret);

// ---- reading ----

enum proxy_header_status {
    PROXY_HEADER_MORE, // it may become a header: there is too little yet
    PROXY_HEADER_NONE, // these bytes begin no header
    PROXY_HEADER_BAD,  // they do, and it is wrong
    PROXY_HEADER_READ, // a whole one
};

struct proxy_header {
    uint8_t version;                  // 1 or 2
    bool is_local;                    // the proxy speaks for itself (LOCAL): the socket's own addresses count
    size_t size;                      // bytes of the header; what comes behind them is the client's
    struct proxy_addresses addresses; // UNSPEC: the socket's own addresses count
    const uint8_t *tlvs;              // in the bytes that were parsed; of a header with addresses alone
    size_t tlvs_size;
};

// Looks at the `size` bytes that have come so far. Never MORE with PROXY_HEADER_MAX bytes. Of a header that is READ all is checked:
// lengths, the checksum if there is one, that TLVs, those within PP2_TYPE_SSL too, fill their room exactly. BAD sets *ret_why (static
// words), READ fills *ret; both are untouched otherwise.
enum proxy_header_status proxy_header_parse(const uint8_t *data, size_t size, struct proxy_header *ret,
                                            const char **ret_why);

// §2.2 and §2.2.6
enum proxy_tlv_type {
    PROXY_TLV_ALPN = 0x01,
    PROXY_TLV_AUTHORITY = 0x02,
    PROXY_TLV_CRC32C = 0x03,
    PROXY_TLV_NOOP = 0x04,
    PROXY_TLV_UNIQUE_ID = 0x05,
    PROXY_TLV_SSL = 0x20,
    PROXY_TLV_SSL_VERSION = 0x21,
    PROXY_TLV_SSL_CN = 0x22,
    PROXY_TLV_SSL_CIPHER = 0x23,
    PROXY_TLV_SSL_SIG_ALG = 0x24,
    PROXY_TLV_SSL_KEY_ALG = 0x25,
    PROXY_TLV_SSL_CLIENT_CERT = 0x28, // DER; in the specification since 2025
};

#define PROXY_UNIQUE_ID_MAX 128 // §2.2.5

struct proxy_tlv {
    uint8_t type;
    uint16_t length;
    const uint8_t *value;
};

// What is still to be looked at. Begins with {header.tlvs, header.tlvs_size}, or with proxy_tlv_ssl().
struct proxy_tlvs {
    const uint8_t *next;
    size_t left;
};

enum proxy_tlv_status { PROXY_TLV_END, PROXY_TLV_FOUND, PROXY_TLV_BROKEN };

// The next one. BROKEN: it is longer than what is left.
enum proxy_tlv_status proxy_tlv_next(struct proxy_tlvs *tlvs, struct proxy_tlv *ret);

// Bits of the SSL TLV's first byte.
#define PROXY_CLIENT_SSL       0x01
#define PROXY_CLIENT_CERT_CONN 0x02 // a certificate in this handshake
#define PROXY_CLIENT_CERT_SESS 0x04 // or in one that its session goes back to

struct proxy_ssl {
    uint8_t client;  // PROXY_CLIENT_
    uint32_t verify; // 0: the client showed a certificate and it was found good
    struct proxy_tlvs tlvs;
};

// Takes a TLV of type SSL apart. False when it is too short for its fixed part.
bool proxy_tlv_ssl(const struct proxy_tlv *tlv, struct proxy_ssl *ret);

// ---- building ----

struct proxy_bytes {
    const void *data; // NULL: left out
    size_t size;
};

struct proxy_header_plan {
    uint8_t version; // 1: everything but the addresses is of no interest
    const struct proxy_addresses *addresses;
    struct proxy_bytes alpn;
    struct proxy_bytes authority;
    struct proxy_bytes unique_id; // at most PROXY_UNIQUE_ID_MAX
    bool has_ssl;                 // what follows counts
    uint8_t client;
    uint32_t verify;
    struct proxy_bytes ssl_version;
    struct proxy_bytes cipher;
    struct proxy_bytes name; // the client's common name, UTF-8
    struct proxy_bytes signature_algorithm;
    struct proxy_bytes key_algorithm;
    struct proxy_bytes certificate; // the client's, DER
    bool has_checksum;
};

// Writes the header to data[size] and returns its length; if `size` is less than that, what was written is of no use. 0: it would be
// longer than PROXY_HEADER_OUT_MAX.
size_t proxy_header_build(const struct proxy_header_plan *plan, uint8_t *data, size_t size);

// ---- inside ----

// CRC-32C (RFC 4960 appendix B) over data[size], as if the four bytes from `hole` on were zero.
uint32_t proxy_header_checksum(const uint8_t *data, size_t size, size_t hole);
extern const uint8_t proxy_header_signature[12]; // of version 2
