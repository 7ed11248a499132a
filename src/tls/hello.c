// SPDX-License-Identifier: Apache-2.0
// The ClientHello: what is refused before OpenSSL sees it, and what is noted of it for routes and the log.
#include "src/tls/hello.h"

#include <string.h>

#define MESSAGE_CLIENT_HELLO   1
#define NAME_TYPE_HOST         0
#define VERSION_MAJOR          3
#define VERSION_SSL3           0x0300
#define SSLV2_LENGTH_BIT       0x80
#define SSLV2_MSG_CLIENT_HELLO 1

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

// Collects up to `size` bytes of a header, and says how many of data[length] that took.
static size_t collect(uint8_t *header, uint8_t *count, size_t size, const uint8_t *data, size_t length)
{
    size_t taken = smaller(size - *count, length);

    memcpy(header + *count, data, taken);
    *count = (uint8_t)(*count + taken);
    return taken;
}

// The content of handshake records: messages, one after the other, wherever records begin and end.
static enum hello_verdict watch_messages(struct hello_guard *guard, const uint8_t *data, size_t length)
{
    while (length > 0) {
        size_t taken;

        if (guard->message_left > 0) {
            taken = smaller(guard->message_left, length);
            guard->message_left -= (uint32_t)taken;
            guard->is_hello_whole |= guard->message_left == 0;
        } else {
            const uint8_t *message = guard->message;

            taken = collect(guard->message, &guard->message_count, sizeof(guard->message), data, length);
            if (guard->message_count == sizeof(guard->message)) {
                guard->message_count = 0;
                guard->message_left = (uint32_t)message[1] << 16 | (uint32_t)message[2] << 8 | message[3];
                if (message[0] == MESSAGE_CLIENT_HELLO && guard->message_left > guard->size_max)
                    return HELLO_TOO_LARGE;
                guard->is_strange |= !guard->is_message_begun && message[0] != MESSAGE_CLIENT_HELLO;
                guard->is_message_begun = true;
                guard->is_hello_whole |= guard->message_left == 0;
            }
        }
        data += taken;
        length -= taken;
    }
    return HELLO_GOOD;
}

static void record_begin(struct hello_guard *guard, int version)
{
    guard->is_begun = true;
    guard->record_count = 0;
    guard->record_left = (uint16_t)(guard->record[3] << 8 | guard->record[4]);
    // RFC 8446 §5.1: no other records within a handshake message, and none that is empty
    if (!guard->is_hello_whole && (guard->record[0] != RECORD_HANDSHAKE || guard->record[1] != VERSION_MAJOR ||
                                   guard->record_left == 0 || guard->record_left > RECORD_PLAINTEXT_MAX))
        guard->is_strange = true;
    // In TLS 1.3 what is encrypted says so by its outer type, and a hello in clear text may follow the records that look
    // like data: 0-RTT answered by HelloRetryRequest.
    guard->is_over = guard->record[0] == RECORD_CHANGE_CIPHER_SPEC && version == RECORD_TLS12;
}

enum hello_verdict hello_watch(struct hello_guard *guard, int version, const uint8_t *data, size_t length)
{
    enum hello_verdict verdict = HELLO_GOOD;

    while (length > 0 && !guard->is_over && verdict == HELLO_GOOD) {
        size_t taken;

        if (guard->record_left > 0) {
            taken = smaller(guard->record_left, length);
            guard->record_left = (uint16_t)(guard->record_left - taken);
            if (guard->record[0] == RECORD_HANDSHAKE)
                verdict = watch_messages(guard, data, taken);
        } else {
            taken = collect(guard->record, &guard->record_count, RECORD_HEADER_SIZE, data, length);
            if (!guard->is_begun && guard->record_count >= 3 && (guard->record[0] & SSLV2_LENGTH_BIT) != 0 &&
                guard->record[2] == SSLV2_MSG_CLIENT_HELLO)
                return HELLO_SSLV2;
            if (guard->record_count == RECORD_HEADER_SIZE)
                record_begin(guard, version);
        }
        data += taken;
        length -= taken;
    }
    return verdict;
}

static uint16_t read_16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static bool is_host_character(uint8_t character)
{
    return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
           (character >= '0' && character <= '9') || character == '.' || character == '-' || character == '_';
}

// A list of one name, {type, length, name}: OpenSSL takes no other either.
bool hello_read_name(const uint8_t *data, size_t length, char *sni, size_t size)
{
    sni[0] = '\0';
    if (length < 5 || read_16(data) != length - 2 || data[2] != NAME_TYPE_HOST ||
        read_16(data + 3) != length - 5)
        return false;
    length = smaller(length - 5, size - 1);
    for (size_t i = 0; i < length; i++)
        sni[i] = (char)(is_host_character(data[5 + i]) ? data[5 + i] : '?');
    sni[length] = '\0';
    return true;
}

bool hello_read_protocols(const uint8_t *data, size_t length, const uint8_t **ret, size_t *ret_size)
{
    *ret = NULL;
    *ret_size = 0;
    if (length < 4 || read_16(data) != length - 2)
        return false;
    for (size_t at = 2; at < length; at += 1 + (size_t)data[at]) {
        if (data[at] == 0 || data[at] >= length - at)
            return false;
    }
    *ret = data + 2;
    *ret_size = length - 2;
    return true;
}

void hello_server_name(SSL *ssl, char *sni, size_t size)
{
    const uint8_t *data;
    size_t length;

    sni[0] = '\0';
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &length) == 1)
        (void)hello_read_name(data, length, sni, size);
}

void hello_protocols(SSL *ssl, const uint8_t **ret, size_t *ret_size)
{
    const uint8_t *data;
    size_t length;

    *ret = NULL;
    *ret_size = 0;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &data, &length) == 1)
        (void)hello_read_protocols(data, length, ret, ret_size);
}

uint16_t hello_version_max(SSL *ssl)
{
    uint16_t version_max = 0;
    const uint8_t *data;
    size_t length;

    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_supported_versions, &data, &length) != 1)
        return (uint16_t)SSL_client_hello_get0_legacy_version(ssl);
    // RFC 8446 §4.2.1: {length in one byte, versions}; values beyond TLS 1.3 are GREASE (RFC 8701) or drafts.
    for (size_t i = 1; i + 1 < length; i += 2) {
        uint16_t version = read_16(data + i);
        if (version >= VERSION_SSL3 && version <= RECORD_TLS13 && version > version_max)
            version_max = version;
    }
    return version_max;
}
