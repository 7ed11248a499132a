// SPDX-License-Identifier: Apache-2.0
// Records that one endpoint opens and another seals again, in one buffer: whatever their sizes, versions and ciphers are, the
// plaintext stays the same and fits, and the beginning of the next record stays where it is. And what a server says after its handshake, in
// parts.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "src/proxy/endpoint.h"

#define ROUNDS 40

static struct buffer_pool *pool;

static int set_up(void **state)
{
    assert_int_equal(record_init(), 0);
    pool = buffer_pool_create(4 << 20);
    assert_non_null(pool);
    srandom(1);
    return 0;
}

static int tear_down(void **state)
{
    buffer_pool_destroy(pool);
    record_finish();
    return 0;
}

static unsigned below(unsigned limit)
{
    return (unsigned)random() % limit;
}

struct kind {
    enum record_version version;
    enum record_cipher cipher;
};

static const struct kind kinds[] = {{RECORD_TLS13, RECORD_AES_128_GCM},
                                    {RECORD_TLS13, RECORD_CHACHA20_POLY1305},
                                    {RECORD_TLS12, RECORD_AES_256_GCM},
                                    {RECORD_TLS12, RECORD_CHACHA20_POLY1305}};

static struct record_keys keys_of(const struct kind *kind, uint8_t seed)
{
    struct record_keys keys = {.version = kind->version, .cipher = kind->cipher, .secret_size = 32};

    memset(keys.key, seed, sizeof(keys.key));
    memset(keys.iv, seed + 1, sizeof(keys.iv));
    memset(keys.secret, seed + 2, 32);
    if (kind->version == RECORD_TLS12)
        keys.secret_size = 0;
    else
        assert_int_equal(record_keys_derive(&keys), 0);
    return keys;
}

// What a peer may send: how long the next record's content is.
static size_t size_of_next(int style)
{
    switch (style) {
    case 0:
        return RECORD_PLAINTEXT_MAX;
    case 1:
        return 1 + below(3);
    case 2:
        return 1 + below(1500);
    case 3:
        return below(4) ? 1 + below(RECORD_PLAINTEXT_MAX) : 1 + below(100);
    default:
        return below(2) ? RECORD_PLAINTEXT_MAX : 1 + below(40);
    }
}

// Fills data[room] with whole records and perhaps the beginning of one more; *ret_wire: how much.
static size_t fill(struct record_user *peer, uint8_t *data, size_t room, int style, uint8_t *plain, size_t *ret_wire)
{
    static uint8_t record[RECORD_WIRE_MAX + 64];
    size_t head = record_user_head(peer);
    size_t wire = 0;
    size_t count = 0;

    while (wire < room) {
        size_t length = size_of_next(style);
        int size;

        for (size_t i = 0; i < length; i++)
            plain[count + i] = (uint8_t)random();
        memcpy(record + head, plain + count, length);
        size = record_user_seal(peer, RECORD_DATA, record + head, length);
        assert_true(size > 0);
        if (wire + (size_t)size > room) { // only its beginning has come
            size_t part = below((unsigned)(room - wire + 1));

            memcpy(data + wire, record, part);
            wire += part;
            break;
        }
        memcpy(data + wire, record, (size_t)size);
        wire += (size_t)size;
        count += length;
    }
    *ret_wire = wire;
    return count;
}

static void try_once(const struct kind *in, const struct kind *out, size_t payload_max, enum buffer_class class, int style)
{
    static uint8_t plain[BUFFER_HUGE_SIZE + RECORD_PLAINTEXT_MAX];
    static uint8_t kept[RECORD_WIRE_MAX];
    struct record_keys in_keys = keys_of(in, 1), out_keys = keys_of(out, 7), other = keys_of(out, 9);
    struct buffer *buffer = buffer_take(pool, class);
    struct endpoint from, to;
    struct record_user peer, reader;
    struct endpoint_event event;
    size_t lead, wire, count, used, needed, kept_at, kept_size, at = 0;

    assert_non_null(buffer);
    endpoint_init(&from, -1, true);
    endpoint_init(&to, -1, false);
    endpoint_protect(&from, &in_keys, &other, RECORD_PLAINTEXT_MAX);
    endpoint_protect(&to, &other, &out_keys, payload_max);
    record_user_init(&peer, &in_keys, true);
    record_user_init(&reader, &out_keys, false);
    lead = endpoint_lead(&from, &to, buffer->capacity);
    // What the ring receives for an idle flow has a lead of its own.
    if (class == BUFFER_SMALL && endpoint_takes_idle(&to) && below(2))
        lead = RING_IDLE_HEAD;
    count = fill(&peer, buffer->data + lead,
                 lead == RING_IDLE_HEAD ? BUFFER_SMALL_SIZE - RING_IDLE_MARGIN : buffer->capacity - lead, style, plain, &wire);
    event = endpoint_open(&from, buffer, buffer->data + lead, wire, &used, &needed);
    assert_int_equal(event.kind, ENDPOINT_GOES_ON);
    assert_int_equal(buffer_length(buffer), count);
    kept_at = lead + used;
    kept_size = wire - used;
    memcpy(kept, buffer->data + kept_at, kept_size);
    assert_int_equal(endpoint_seal(&to, &from, buffer, buffer->data + (kept_size > 0 ? kept_at : buffer->capacity)), 0);
    assert_memory_equal(kept, buffer->data + kept_at, kept_size);
    if (count > 0) {
        uint8_t *data = buffer->pieces[0].iov_base;
        size_t size = buffer->pieces[0].iov_len;

        assert_int_equal(buffer->piece_count, 1);
        assert_true(data >= buffer->data && data + size <= buffer->data + (kept_size > 0 ? kept_at : buffer->capacity));
        while (size > 0) {
            struct record_opened opened;
            enum record_alert alert;

            assert_int_equal(record_user_open(&reader, data, size, &opened, &alert), 1);
            assert_true(opened.length <= payload_max && opened.length > 0);
            assert_memory_equal(opened.payload, plain + at, opened.length);
            at += opened.length;
            data += opened.consumed;
            size -= opened.consumed;
        }
    }
    assert_int_equal(at, count);
    record_user_finish(&peer);
    record_user_finish(&reader);
    endpoint_finish(&from);
    endpoint_finish(&to);
    buffer_give(pool, buffer);
}

static void test_open_and_seal(void **state)
{
    static const size_t payloads[] = {512, 1024, 2048, 4096, RECORD_PLAINTEXT_MAX};
    size_t kind_count = sizeof(kinds) / sizeof(kinds[0]);

    for (unsigned round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < kind_count * kind_count; i++)
            try_once(&kinds[i / kind_count], &kinds[i % kind_count], payloads[below(5)],
                     below(8) == 0 ? BUFFER_HUGE
                     : below(2)    ? BUFFER_LARGE
                                   : BUFFER_SMALL,
                     (int)below(5));
    }
}

// ---- what a server says after its handshake ----

static void init_server(struct endpoint *server, const struct kind *kind)
{
    struct record_keys keys = keys_of(kind, 3);

    endpoint_init(server, -1, false);
    endpoint_protect(server, &keys, &keys, RECORD_PLAINTEXT_MAX);
}

// Two tickets and a KeyUpdate, cut anywhere; the KeyUpdate alone must be whole and end its record.
static void test_tickets_in_parts(void **state)
{
    uint8_t messages[2 * (4 + 300)] = {0};

    for (size_t i = 0; i < 2; i++) {
        messages[i * 304] = 4;
        messages[i * 304 + 2] = 300 >> 8;
        messages[i * 304 + 3] = 300 & 255;
        memset(messages + i * 304 + 4, 24, 300); // would be KeyUpdates
    }
    for (unsigned round = 0; round < 200; round++) {
        static const uint8_t update[] = {24, 0, 0, 1, 0};
        struct endpoint server;
        size_t at = 0;
        int parts = 0;

        init_server(&server, &kinds[0]);
        while (at < sizeof(messages)) {
            size_t length = 1 + below(400);

            if (length > sizeof(messages) - at)
                length = sizeof(messages) - at;
            if (++parts > 30)
                break;
            assert_int_equal(endpoint_control(&server, RECORD_HANDSHAKE, messages + at, length).kind, ENDPOINT_GOES_ON);
            at += length;
        }
        if (at == sizeof(messages))
            assert_int_equal(endpoint_control(&server, RECORD_HANDSHAKE, update, sizeof(update)).kind, ENDPOINT_GOES_ON);
        assert_int_equal(server.key_updates, at == sizeof(messages));
        endpoint_finish(&server);
    }
}

struct message {
    const char *name;
    struct kind kind;
    uint8_t bytes[12];
    size_t size;
    enum endpoint_event_kind result;
};

static const struct message messages[] = {
    {"KeyUpdate", {RECORD_TLS13, RECORD_AES_128_GCM}, {24, 0, 0, 1, 1}, 5, ENDPOINT_GOES_ON},
    {"KeyUpdate with more behind", {RECORD_TLS13, RECORD_AES_128_GCM}, {24, 0, 0, 1, 0, 4}, 6, ENDPOINT_BROKEN},
    {"KeyUpdate cut off", {RECORD_TLS13, RECORD_AES_128_GCM}, {24, 0, 0, 1}, 4, ENDPOINT_BROKEN},
    {"KeyUpdate too long", {RECORD_TLS13, RECORD_AES_128_GCM}, {24, 0, 0, 2, 0, 0}, 6, ENDPOINT_BROKEN},
    {"KeyUpdate with another request", {RECORD_TLS13, RECORD_AES_128_GCM}, {24, 0, 0, 1, 2}, 5, ENDPOINT_BROKEN},
    {"CertificateRequest", {RECORD_TLS13, RECORD_AES_128_GCM}, {13, 0, 0, 1, 0}, 5, ENDPOINT_BROKEN},
    {"HelloRequest in TLS 1.3", {RECORD_TLS13, RECORD_AES_128_GCM}, {0, 0, 0, 0}, 4, ENDPOINT_BROKEN},
    {"a ticket of no length", {RECORD_TLS13, RECORD_AES_128_GCM}, {4, 0, 0, 0}, 4, ENDPOINT_GOES_ON},
    {"a ticket of 16 MiB", {RECORD_TLS13, RECORD_AES_128_GCM}, {4, 255, 255, 255}, 4, ENDPOINT_BROKEN},
    {"HelloRequest", {RECORD_TLS12, RECORD_AES_128_GCM}, {0, 0, 0, 0}, 4, ENDPOINT_GOES_ON},
    {"HelloRequest with more behind", {RECORD_TLS12, RECORD_AES_128_GCM}, {0, 0, 0, 0, 0}, 5, ENDPOINT_BROKEN},
    {"a ticket in TLS 1.2", {RECORD_TLS12, RECORD_AES_128_GCM}, {4, 0, 0, 0}, 4, ENDPOINT_BROKEN},
};

static void test_messages(void **state)
{
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        const struct message *message = &messages[i];
        struct endpoint server;

        init_server(&server, &message->kind);
        if (endpoint_control(&server, RECORD_HANDSHAKE, message->bytes, message->size).kind != message->result)
            fail_msg("%s", message->name);
        endpoint_finish(&server);
    }
}

// Work that costs a server nothing has an end.
static void test_floods(void **state)
{
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        struct endpoint_event event = {.kind = ENDPOINT_GOES_ON};
        struct endpoint server;
        int count = 0;

        if (messages[i].result != ENDPOINT_GOES_ON)
            continue;
        init_server(&server, &messages[i].kind);
        while (event.kind == ENDPOINT_GOES_ON && ++count < 100)
            event = endpoint_control(&server, RECORD_HANDSHAKE, messages[i].bytes, messages[i].size);
        assert_int_equal(event.kind, ENDPOINT_BROKEN);
        endpoint_finish(&server);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_and_seal),
        cmocka_unit_test(test_tickets_in_parts),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_floods),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
