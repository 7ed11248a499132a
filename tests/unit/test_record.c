// SPDX-License-Identifier: Apache-2.0
// The cipher table, the key schedule and the user record layer: against RFC 8448's trace, against a second
// implementation (tests/record_reference.h), and record by record against what the RFCs forbid.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/err.h>

#include "ringbolt/record.h"
#include "tests/record_reference.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define GUARD        64 // bytes ahead of and behind a record that nobody may touch

static const size_t sizes[] = {0,   1,   2,   15,  16,   17,   31,   32,   33,    63,    64,   65,
                               127, 128, 255, 256, 1399, 4095, 8192, 9000, 16367, 16383, 16384};

// Each test gets the same random-looking bytes.
static void fill(uint8_t *data, size_t size)
{
    uint32_t state = 2463534242;

    for (size_t i = 0; i < size; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        data[i] = (uint8_t)(state >> 24);
    }
}

static struct record_keys make_keys(enum record_version version, enum record_cipher cipher)
{
    struct record_keys keys = {.version = version, .cipher = cipher};

    if (version == RECORD_TLS13) {
        keys.secret_size = cipher == RECORD_AES_256_GCM ? 48 : 32;
        fill(keys.secret, keys.secret_size);
        assert_int_equal(record_keys_derive(&keys), 0);
    } else {
        fill(keys.key, record_cipher_key_size(cipher));
        fill(keys.iv, cipher == RECORD_CHACHA20_POLY1305 ? RECORD_IV_SIZE : 4);
    }
    return keys;
}

static bool has_explicit_nonce(const struct record_keys *keys)
{
    return keys->version == RECORD_TLS12 && keys->cipher != RECORD_CHACHA20_POLY1305;
}

static void for_each_cipher(void (*check)(const struct record_keys *keys))
{
    for (int version = 0; version < 2; version++)
        for (int cipher = 0; cipher < RECORD_CIPHER_COUNT; cipher++) {
            struct record_keys keys =
                make_keys(version == 0 ? RECORD_TLS12 : RECORD_TLS13, (enum record_cipher)cipher);
            check(&keys);
        }
}

// Opens one record that isn't ours, in memory of its exact size, so that a sanitizer sees what is read too far.
static int open_once(const struct record_keys *keys, const uint8_t *data, size_t size,
                     struct record_opened *opened, enum record_alert *alert, uint8_t *content)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    struct record_user opener;
    int result;

    memcpy(copy, data, size);
    record_user_init(&opener, keys, false);
    result = record_user_open(&opener, copy, size, opened, alert);
    if (result == 1 && content != NULL)
        memcpy(content, opened->payload, opened->length);
    assert_int_equal(opener.keys.sequence, keys->sequence + (result == 1));
    record_user_finish(&opener);
    assert_int_equal(ERR_peek_error(), 0);
    free(copy);
    return result;
}

static void assert_refused(const struct record_keys *keys, const uint8_t *data, size_t size,
                           enum record_alert expected)
{
    struct record_opened opened = {.consumed = 12345};
    enum record_alert alert = ALERT_NONE;

    assert_int_equal(open_once(keys, data, size, &opened, &alert, NULL), -1);
    assert_string_equal(record_alert_name(alert), record_alert_name(expected));
    assert_int_equal(opened.consumed, 12345);
}

// ---- the table ----

static void test_suites(void **state)
{
    static const struct {
        uint16_t suite;
        enum record_version version;
        enum record_cipher cipher;
        const char *digest;
    } known[] = {
        {0x1301, RECORD_TLS13, RECORD_AES_128_GCM, "SHA256"},
        {0x1302, RECORD_TLS13, RECORD_AES_256_GCM, "SHA384"},
        {0x1303, RECORD_TLS13, RECORD_CHACHA20_POLY1305, "SHA256"},
        {0xC02B, RECORD_TLS12, RECORD_AES_128_GCM, "SHA256"},
        {0xC02C, RECORD_TLS12, RECORD_AES_256_GCM, "SHA384"},
        {0xC02F, RECORD_TLS12, RECORD_AES_128_GCM, "SHA256"},
        {0xC030, RECORD_TLS12, RECORD_AES_256_GCM, "SHA384"},
        {0xCCA8, RECORD_TLS12, RECORD_CHACHA20_POLY1305, "SHA256"},
        {0xCCA9, RECORD_TLS12, RECORD_CHACHA20_POLY1305, "SHA256"},
    };
    enum record_version version = RECORD_TLS13;
    enum record_cipher cipher = RECORD_CIPHER_COUNT;
    const char *digest = "untouched";
    size_t found = 0;

    for (size_t i = 0; i < COUNT(known); i++) {
        assert_true(record_cipher_from_suite(known[i].suite, &version, &cipher, &digest));
        assert_int_equal(version, known[i].version);
        assert_int_equal(cipher, known[i].cipher);
        assert_string_equal(digest, known[i].digest);
    }
    // Nothing else: CBC, CCM, static RSA, DHE, NULL.
    digest = "untouched";
    for (unsigned suite = 0; suite <= UINT16_MAX; suite++) {
        const char *other = digest;
        found += record_cipher_from_suite((uint16_t)suite, &version, &cipher, &other);
        if (suite == 0x1304 || suite == 0xC013 || suite == 0x009C || suite == 0)
            assert_ptr_equal(other, digest);
    }
    assert_int_equal(found, COUNT(known));
}

static void test_table(void **state)
{
    assert_int_equal(record_cipher_key_size(RECORD_AES_128_GCM), 16);
    assert_int_equal(record_cipher_key_size(RECORD_AES_256_GCM), 32);
    assert_int_equal(record_cipher_key_size(RECORD_CHACHA20_POLY1305), 32);
    assert_string_equal(record_cipher_name(RECORD_AES_128_GCM), "AES-128-GCM");
    // 2^24.5, rounded down: its square is 2^49.
    for (int cipher = RECORD_AES_128_GCM; cipher <= RECORD_AES_256_GCM; cipher++) {
        uint64_t limit = record_cipher_limit((enum record_cipher)cipher);
        assert_true(limit * limit <= UINT64_C(1) << 49 && (limit + 1) * (limit + 1) > UINT64_C(1) << 49);
    }
    assert_true(record_cipher_limit(RECORD_CHACHA20_POLY1305) == UINT64_MAX);
    assert_string_equal(record_alert_name(ALERT_CLOSE_NOTIFY), "close_notify");
    assert_string_equal(record_alert_name(ALERT_BAD_RECORD_MAC), "bad_record_mac");
    assert_string_equal(record_alert_name((enum record_alert)120), "no_application_protocol");
    for (int alert = 121; alert < 300; alert++)
        assert_string_equal(record_alert_name((enum record_alert)alert), "unknown");
    assert_string_equal(record_alert_name((enum record_alert) - 1), "unknown");
    assert_string_equal(record_alert_name((enum record_alert)1), "unknown");
}

static void test_init_again(void **state)
{
    struct record_keys keys = make_keys(RECORD_TLS13, RECORD_AES_128_GCM);
    struct record_keys before = keys;
    struct record_user sealer;
    uint8_t record[64] = {0};

    record_finish();
    record_finish();
    // Without algorithms: an error, and the keys stand.
    assert_int_equal(record_keys_derive(&keys), -EIO);
    assert_int_equal(record_keys_update(&keys), -EIO);
    assert_memory_equal(&keys, &before, sizeof(keys));
    record_user_init(&sealer, &keys, true);
    assert_int_equal(record_user_seal(&sealer, RECORD_DATA, record + 16, 10), -EIO);
    record_user_finish(&sealer);
    assert_int_equal(record_init(), 0);
    assert_int_equal(record_init(), 0);
    assert_int_equal(ERR_peek_error(), 0);
}

// ---- RFC 8448 §3, "Simple 1-RTT Handshake" ----

static size_t from_hex(const char *text, uint8_t *bytes)
{
    size_t count = 0;

    for (; *text != '\0'; text += 2) {
        unsigned value;
        assert_int_equal(sscanf(text, "%2x", &value), 1);
        bytes[count++] = (uint8_t)value;
    }
    return count;
}

struct trace {
    const char *secret;
    const char *key;
    const char *iv;
    uint64_t sequence; // of the first record
    const char *data;  // application data, 50 bytes counting up
    const char *alert; // close_notify, the next record
};

static const struct trace client_trace = {
    "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
    "17422dda596ed5d9acd890e3c63f5051",
    "5b78923dee08579033e523d9",
    0,
    "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f"
    "5a6292"
    "a2977014bd1e3deae63aeebb21694915e4",
    "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3",
};

static const struct trace server_trace = {
    "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
    "9f02283b6c9c07efc26bb9f2ac92e356",
    "cf782b88dd83549aadf1e984",
    1, // NewSessionTicket was 0
    "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fcc49c4b"
    "f2e5f0a2"
    "1c0047c2abf332540dd032e167c2955d",
    "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9",
};

static void check_trace(const struct trace *trace)
{
    struct record_keys keys = {.version = RECORD_TLS13, .cipher = RECORD_AES_128_GCM, .sequence = 99};
    uint8_t expected[128], sealed[GUARD + 128], content[50];
    uint8_t close_notify[] = {1, 0};
    struct record_user opener, sealer;
    struct record_opened opened;
    enum record_alert alert;
    size_t size;

    keys.secret_size = (uint8_t)from_hex(trace->secret, keys.secret);
    assert_int_equal(record_keys_derive(&keys), 0);
    assert_int_equal(keys.sequence, 0);
    from_hex(trace->key, expected);
    assert_memory_equal(keys.key, expected, 16);
    from_hex(trace->iv, expected);
    assert_memory_equal(keys.iv, expected, RECORD_IV_SIZE);

    keys.sequence = trace->sequence;
    record_user_init(&opener, &keys, false);
    record_user_init(&sealer, &keys, true);
    for (size_t i = 0; i < sizeof(content); i++)
        content[i] = (uint8_t)i;
    size = from_hex(trace->data, expected);
    memcpy(sealed + GUARD, content, sizeof(content));
    assert_int_equal(record_user_seal(&sealer, RECORD_DATA, sealed + GUARD, sizeof(content)), size);
    assert_memory_equal(sealed + GUARD - RECORD_HEADER_SIZE, expected, size);
    assert_int_equal(record_user_open(&opener, expected, size, &opened, &alert), 1);
    assert_int_equal(opened.type, RECORD_DATA);
    assert_int_equal(opened.length, sizeof(content));
    assert_memory_equal(opened.payload, content, sizeof(content));

    size = from_hex(trace->alert, expected);
    memcpy(sealed + GUARD, close_notify, sizeof(close_notify));
    assert_int_equal(record_user_seal(&sealer, RECORD_ALERT, sealed + GUARD, sizeof(close_notify)), size);
    assert_memory_equal(sealed + GUARD - RECORD_HEADER_SIZE, expected, size);
    assert_int_equal(record_user_open(&opener, expected, size, &opened, &alert), 1);
    assert_int_equal(opened.type, RECORD_ALERT);
    assert_memory_equal(opened.payload, close_notify, sizeof(close_notify));
    record_user_finish(&opener);
    record_user_finish(&sealer);
}

static void test_rfc8448(void **state)
{
    check_trace(&client_trace);
    check_trace(&server_trace);
}

// ---- round trips ----

static uint8_t arena[GUARD + RECORD_HEAD_MAX + RECORD_PLAINTEXT_MAX + RECORD_TAIL_MAX + GUARD];
static uint8_t expected_record[RECORD_WIRE_MAX + 4096];

// Seals, compares with the reference, opens, compares with the start; nothing outside the record changes.
static void check_round_trip(struct record_user *sealer, struct record_user *opener, enum record_type type,
                             size_t length)
{
    uint64_t sequence = sealer->keys.sequence;
    size_t head = record_user_head(sealer);
    size_t tail = record_user_tail(sealer);
    uint8_t *record = arena + GUARD, *payload = record + head;
    uint8_t text[RECORD_PLAINTEXT_MAX + 1], nonce[8];
    bool is_tls13 = sealer->keys.version == RECORD_TLS13;
    struct record_opened opened;
    enum record_alert alert = ALERT_NONE;
    size_t size = head + length + tail;

    fill(text, length);
    text[length] = (uint8_t)type;
    for (int i = 0; i < 8; i++)
        nonce[i] = (uint8_t)(sequence >> (56 - 8 * i));
    reference_seal(&sealer->keys, is_tls13 ? RECORD_DATA : type, nonce, text, length + is_tls13,
                   expected_record);

    memset(arena, 0xA5, sizeof(arena));
    memcpy(payload, text, length);
    assert_int_equal(record_user_seal(sealer, type, payload, length), size);
    assert_true(sealer->keys.sequence == sequence + 1);
    assert_memory_equal(record, expected_record, size);
    assert_int_equal(record_user_open(opener, record, size + (length & 1), &opened, &alert), 1);
    assert_int_equal(opened.type, type);
    assert_int_equal(opened.length, length);
    assert_int_equal(opened.consumed, size);
    assert_ptr_equal(opened.payload, payload);
    assert_memory_equal(payload, text, length);
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(arena[i], 0xA5);
        assert_int_equal(record[size + i], 0xA5);
    }
}

static void round_trips(const struct record_keys *keys)
{
    struct record_user sealer, opener;

    record_user_init(&sealer, keys, true);
    record_user_init(&opener, keys, false);
    assert_int_equal(record_user_head(&sealer), has_explicit_nonce(keys) ? 13 : 5);
    assert_int_equal(record_user_tail(&sealer), keys->version == RECORD_TLS13 ? 17 : 16);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        check_round_trip(&sealer, &opener, RECORD_DATA, sizes[i]);
        if (sizes[i] > 0)
            check_round_trip(&sealer, &opener, RECORD_HANDSHAKE, sizes[i]);
        if (i % 3 == 0)
            record_user_rest(&sealer);
        if (i % 4 == 0)
            record_user_rest(&opener);
    }
    check_round_trip(&sealer, &opener, RECORD_ALERT, 2);
    record_user_rest(&sealer);
    record_user_rest(&sealer);
    record_user_finish(&sealer);
    record_user_finish(&opener);
    // Nothing of the keys stays.
    assert_int_equal(sealer.keys.key[0] | sealer.keys.key[15] | sealer.keys.iv[0] | sealer.keys.secret[0], 0);
    assert_null(sealer.context);
}

static void test_round_trips(void **state)
{
    for_each_cipher(round_trips);
}

// Many records in one buffer, given in pieces: each prefix is "not yet" and stays as it was.
static void pieces(const struct record_keys *keys)
{
    uint8_t stream[600], copy[600];
    struct record_user sealer, opener;
    struct record_opened opened;
    enum record_alert alert;
    size_t end = 0, at = 0;

    record_user_init(&sealer, keys, true);
    record_user_init(&opener, keys, false);
    for (size_t i = 0; i < 4; i++) {
        size_t head = record_user_head(&sealer);
        memset(stream + end + head, 'a' + (int)i, i * 20);
        end += (size_t)record_user_seal(&sealer, RECORD_DATA, stream + end + head, i * 20);
    }
    memcpy(copy, stream, end);
    for (size_t i = 0; i < 4; i++) {
        size_t whole = record_user_head(&sealer) + i * 20 + record_user_tail(&sealer);
        for (size_t have = 0; have < whole; have++) {
            opened.consumed = 0;
            assert_int_equal(record_user_open(&opener, stream + at, have, &opened, &alert), 0);
            assert_int_equal(opened.consumed, have < RECORD_HEADER_SIZE ? RECORD_HEADER_SIZE : whole);
        }
        assert_memory_equal(stream + at, copy + at, whole);
        assert_int_equal(record_user_open(&opener, stream + at, end - at, &opened, &alert), 1);
        assert_int_equal(opened.length, i * 20);
        for (size_t j = 0; j < opened.length; j++)
            assert_int_equal(opened.payload[j], 'a' + (int)i);
        at += opened.consumed;
        assert_memory_equal(stream + at, copy + at, end - at);
    }
    assert_int_equal(at, end);
    record_user_finish(&sealer);
    record_user_finish(&opener);
}

static void test_pieces(void **state)
{
    for_each_cipher(pieces);
}

// ---- sequence numbers and nonces ----

static void sequences(const struct record_keys *keys)
{
    static const uint64_t starts[] = {
        1, 0xFF, 0xFFFF, 0xFFFFFFFE, 0x100000000, 0x7FFFFFFFFFFFFFFF, UINT64_MAX - 3};
    struct record_keys moved = *keys;
    struct record_user sealer, opener;
    struct record_opened opened;
    enum record_alert alert = ALERT_NONE;
    uint8_t *payload = arena + GUARD + RECORD_HEAD_MAX;

    for (size_t i = 0; i < COUNT(starts); i++) {
        moved.sequence = starts[i];
        record_user_init(&sealer, &moved, true);
        record_user_init(&opener, &moved, false);
        for (int j = 0; j < 3; j++)
            check_round_trip(&sealer, &opener, RECORD_DATA, 33);
        if (starts[i] == UINT64_MAX - 3) { // and no further
            memset(arena, 0xA5, sizeof(arena));
            assert_int_equal(record_user_seal(&sealer, RECORD_DATA, payload, 33), -EKEYEXPIRED);
            for (size_t j = 0; j < sizeof(arena); j++)
                assert_int_equal(arena[j], 0xA5);
            reference_seal(&opener.keys, RECORD_DATA, (const uint8_t[8]){0}, (const uint8_t *)"text\27", 5,
                           expected_record);
            assert_int_equal(record_user_open(&opener, expected_record, 100, &opened, &alert), -1);
            assert_int_equal(alert, ALERT_INTERNAL_ERROR);
        }
        record_user_finish(&sealer);
        record_user_finish(&opener);
    }
}

static void test_sequences(void **state)
{
    for_each_cipher(sequences);
}

// A record opens at its own place only: not before, not later, not twice.
static void order(const struct record_keys *keys)
{
    struct record_keys moved = *keys;
    size_t size;

    moved.sequence = 5;
    size = reference_seal(&moved, RECORD_DATA, (const uint8_t[8]){9}, (const uint8_t *)"text\27", 5,
                          expected_record);
    for (moved.sequence = 3; moved.sequence < 8; moved.sequence++)
        if (moved.sequence != 5)
            assert_refused(&moved, expected_record, size, ALERT_BAD_RECORD_MAC);
}

static void test_order(void **state)
{
    for_each_cipher(order);
}

static uint64_t explicit_nonce(const uint8_t *record)
{
    uint64_t value = 0;

    for (int i = 0; i < 8; i++)
        value = value << 8 | record[RECORD_HEADER_SIZE + i];
    return value;
}

// What goes into TLS 1.2's records with GCM: base + sequence, so that under one key no nonce comes twice, also
// across a rest, and also where the base is so high that the sum wraps.
static void test_explicit_nonces(void **state)
{
    static const uint64_t bases[] = {0, 1, 0x1122334455667788, UINT64_MAX - 2};

    for (size_t i = 0; i < COUNT(bases); i++) {
        struct record_keys keys = make_keys(RECORD_TLS12, RECORD_AES_128_GCM);
        struct record_user sealer, opener;
        struct record_opened opened;
        enum record_alert alert;

        for (int j = 0; j < 8; j++)
            keys.iv[4 + j] = (uint8_t)(bases[i] >> (56 - 8 * j));
        keys.sequence = 1;
        record_user_init(&sealer, &keys, true);
        memset(keys.iv + 4, 0x77, 8); // of no meaning when opening
        record_user_init(&opener, &keys, false);
        for (uint64_t sequence = 1; sequence < 20; sequence++) {
            uint8_t record[64] = {0};
            int size = record_user_seal(&sealer, RECORD_DATA, record + 13, 20);

            assert_int_equal(size, 49);
            assert_true(explicit_nonce(record) == bases[i] + sequence);
            assert_int_equal(record_user_open(&opener, record, (size_t)size, &opened, &alert), 1);
            assert_int_equal(opened.length, 20);
            if (sequence % 5 == 0)
                record_user_rest(&sealer);
        }
        record_user_finish(&sealer);
        record_user_finish(&opener);
    }
}

// The peer may choose any explicit nonce (RFC 5288 §3).
static void test_peer_nonces(void **state)
{
    static const uint8_t nonces[][8] = {{0},
                                        {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF},
                                        {0, 0, 0, 0, 0, 0, 0, 1},
                                        {0x80, 1, 2, 3, 4, 5, 6, 7}};
    struct record_keys keys = make_keys(RECORD_TLS12, RECORD_AES_256_GCM);
    uint8_t content[8];

    for (size_t i = 0; i < COUNT(nonces); i++) {
        struct record_opened opened;
        enum record_alert alert;
        size_t size =
            reference_seal(&keys, RECORD_DATA, nonces[i], (const uint8_t *)"content", 7, expected_record);

        assert_int_equal(open_once(&keys, expected_record, size, &opened, &alert, content), 1);
        assert_memory_equal(content, "content", 7);
    }
}

// ---- what a peer may not send ----

// Each bit of a record flipped: the header's by the rules, the rest by the tag.
static void tampering(const struct record_keys *keys)
{
    static const uint8_t text[] = "some content\27";
    uint8_t record[64];
    size_t size = reference_seal(keys, RECORD_DATA, (const uint8_t[8]){4, 5}, text, sizeof(text) - 1, record);
    struct record_opened opened;
    enum record_alert alert;

    assert_int_equal(open_once(keys, record, size, &opened, &alert, NULL), 1);
    for (size_t bit = 0; bit < size * 8; bit++) {
        size_t at = bit / 8;
        uint8_t before = record[at];

        record[at] ^= (uint8_t)(1 << bit % 8);
        if (at == 0) // in TLS 1.2 an alert's type is only refused by the tag
            assert_refused(keys, record, size,
                           keys->version == RECORD_TLS12 &&
                                   (record[0] == RECORD_ALERT || record[0] == RECORD_HANDSHAKE)
                               ? ALERT_BAD_RECORD_MAC
                               : ALERT_UNEXPECTED_MESSAGE);
        else if (at == 1 || at == 2)
            assert_refused(keys, record, size, ALERT_DECODE_ERROR);
        else if (at >= RECORD_HEADER_SIZE)
            assert_refused(keys, record, size, ALERT_BAD_RECORD_MAC);
        record[at] = before;
    }
    // Shorter by the header: the tag is in the wrong place. Longer: the record isn't whole yet.
    for (uint8_t length = 0; length < record[4]; length++) {
        uint8_t before = record[4];

        record[4] = length;
        assert_refused(keys, record, size, ALERT_BAD_RECORD_MAC);
        record[4] = before;
    }
    record[4]++;
    assert_int_equal(open_once(keys, record, size, &opened, &alert, NULL), 0);
    assert_int_equal(opened.consumed, size + 1);
}

static void test_tampering(void **state)
{
    for_each_cipher(tampering);
}

// What isn't authentic is not left in the buffer.
static void unauthentic(const struct record_keys *keys)
{
    static const uint8_t text[] = "some content\27";
    uint8_t record[64];
    size_t size = reference_seal(keys, RECORD_DATA, (const uint8_t[8]){4, 5}, text, sizeof(text) - 1, record);
    struct record_opened opened;
    struct record_user opener;
    enum record_alert alert;

    record[size - 1] ^= 1;
    record_user_init(&opener, keys, false);
    assert_int_equal(record_user_open(&opener, record, size, &opened, &alert), -1);
    assert_null(memmem(record, size, "some", 4));
    assert_null(memmem(record, size, "content", 7));
    record_user_finish(&opener);
}

static void test_unauthentic(void **state)
{
    for_each_cipher(unauthentic);
}

// The header alone decides, before the body is there.
static void headers(const struct record_keys *keys)
{
    bool is_tls13 = keys->version == RECORD_TLS13;
    size_t longest = RECORD_PLAINTEXT_MAX + (is_tls13 ? 256 : has_explicit_nonce(keys) ? 24 : 16);
    size_t shortest = has_explicit_nonce(keys) ? 24 : 16;
    struct record_opened opened;
    enum record_alert alert;

    for (int type = 0; type < 256; type++) {
        uint8_t header[] = {(uint8_t)type, 3, 3, 0, 100};
        bool is_expected =
            type == RECORD_DATA || (!is_tls13 && (type == RECORD_ALERT || type == RECORD_HANDSHAKE));

        if (is_expected)
            assert_int_equal(open_once(keys, header, sizeof(header), &opened, &alert, NULL), 0);
        else
            assert_refused(keys, header, sizeof(header), ALERT_UNEXPECTED_MESSAGE);
    }
    for (unsigned version = 0; version <= UINT16_MAX; version += version < 0x400 ? 1 : 0x101) {
        uint8_t header[] = {RECORD_DATA, (uint8_t)(version >> 8), (uint8_t)version, 0, 100};

        if (version != 0x0303)
            assert_refused(keys, header, sizeof(header), ALERT_DECODE_ERROR);
    }
    for (size_t length = 0; length <= UINT16_MAX; length++) {
        uint8_t header[] = {RECORD_DATA, 3, 3, (uint8_t)(length >> 8), (uint8_t)length};

        if (length > longest)
            assert_refused(keys, header, sizeof(header), ALERT_RECORD_OVERFLOW);
        else if (length < shortest)
            assert_refused(keys, header, sizeof(header), ALERT_BAD_RECORD_MAC);
        else if (length < shortest + 100 || length > longest - 100) {
            assert_int_equal(open_once(keys, header, sizeof(header), &opened, &alert, NULL), 0);
            assert_int_equal(opened.consumed, RECORD_HEADER_SIZE + length);
            assert_true(opened.consumed <= RECORD_WIRE_MAX);
        }
    }
}

static void test_headers(void **state)
{
    for_each_cipher(headers);
}

static uint8_t inner[RECORD_WIRE_MAX];

// TLS 1.3: content, type and any number of zero bytes (RFC 8446 §5.4).
static void check_padded(const struct record_keys *keys, size_t length, size_t padding)
{
    uint8_t content[RECORD_PLAINTEXT_MAX];
    struct record_opened opened;
    enum record_alert alert = ALERT_NONE;
    size_t size = length + 1 + padding;

    fill(inner, length);
    if (length > 0)
        inner[length - 1] = 0; // a zero at the end of the content is no padding
    inner[length] = RECORD_DATA;
    memset(inner + length + 1, 0, padding);
    size = reference_seal(keys, RECORD_DATA, NULL, inner, size, expected_record);
    if (length + padding > RECORD_PLAINTEXT_MAX) {
        assert_refused(keys, expected_record, size, ALERT_RECORD_OVERFLOW);
        return;
    }
    assert_int_equal(open_once(keys, expected_record, size, &opened, &alert, content), 1);
    assert_int_equal(opened.length, length);
    assert_int_equal(opened.consumed, size);
    assert_memory_equal(content, inner, length);
}

static void test_padding(void **state)
{
    for (int cipher = 0; cipher < RECORD_CIPHER_COUNT; cipher++) {
        struct record_keys keys = make_keys(RECORD_TLS13, (enum record_cipher)cipher);

        for (size_t padding = 0; padding < 70; padding++)
            for (size_t length = 0; length < 20; length += length < 3 ? 1 : 5)
                check_padded(&keys, length, padding);
        for (size_t padding = 16300; padding <= 16384 + 239; padding++)
            check_padded(&keys, 0, padding);
        check_padded(&keys, 16383, 1);
        check_padded(&keys, 16384, 0);
        check_padded(&keys, 16384, 1);
        check_padded(&keys, 16385, 0);
        check_padded(&keys, 8000, 8384);
        check_padded(&keys, 8000, 8385);
    }
}

// Sealed as it should be, but with content that may not be.
static void test_inner_types(void **state)
{
    struct record_keys keys = make_keys(RECORD_TLS13, RECORD_AES_128_GCM);
    struct record_opened opened;
    enum record_alert alert;
    size_t size;

    for (int type = 1; type < 256; type++) {
        uint8_t text[] = {1, 0, (uint8_t)type, 0, 0};

        size = reference_seal(&keys, RECORD_DATA, NULL, text, sizeof(text), expected_record);
        if (type >= RECORD_ALERT && type <= RECORD_DATA) {
            assert_int_equal(open_once(&keys, expected_record, size, &opened, &alert, NULL), 1);
            assert_int_equal(opened.type, type);
            assert_int_equal(opened.length, 2);
        } else { // change_cipher_spec too
            assert_refused(&keys, expected_record, size, ALERT_UNEXPECTED_MESSAGE);
        }
    }
    memset(inner, 0, sizeof(inner));
    for (size_t zeros = 0; zeros <= 16385; zeros += zeros < 40 ? 1 : 545) {
        size = reference_seal(&keys, RECORD_DATA, NULL, inner, zeros, expected_record);
        assert_refused(&keys, expected_record, size, ALERT_UNEXPECTED_MESSAGE);
    }
    size = reference_seal(&keys, RECORD_DATA, NULL, inner, 16385, expected_record);
    assert_refused(&keys, expected_record, size, ALERT_UNEXPECTED_MESSAGE);
    size = reference_seal(&keys, RECORD_DATA, NULL, inner, 16386, expected_record);
    assert_refused(&keys, expected_record, size, ALERT_RECORD_OVERFLOW);
}

static void content_sizes(const struct record_keys *keys)
{
    static const struct {
        uint8_t type;
        size_t length;
        enum record_alert expected;
    } cases[] = {
        {RECORD_DATA, 0, ALERT_NONE},
        {RECORD_HANDSHAKE, 0, ALERT_UNEXPECTED_MESSAGE},
        {RECORD_HANDSHAKE, 1, ALERT_NONE},
        {RECORD_HANDSHAKE, 16384, ALERT_NONE},
        {RECORD_ALERT, 0, ALERT_UNEXPECTED_MESSAGE},
        {RECORD_ALERT, 1, ALERT_DECODE_ERROR},
        {RECORD_ALERT, 2, ALERT_NONE},
        {RECORD_ALERT, 3, ALERT_DECODE_ERROR},
        {RECORD_ALERT, 4, ALERT_DECODE_ERROR},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        bool is_tls13 = keys->version == RECORD_TLS13;
        struct record_opened opened;
        enum record_alert alert;
        size_t size;

        memset(inner, 1, cases[i].length);
        inner[cases[i].length] = cases[i].type;
        size = reference_seal(keys, is_tls13 ? RECORD_DATA : cases[i].type, (const uint8_t[8]){0}, inner,
                              cases[i].length + is_tls13, expected_record);
        if (cases[i].expected != ALERT_NONE) {
            assert_refused(keys, expected_record, size, cases[i].expected);
            continue;
        }
        assert_int_equal(open_once(keys, expected_record, size, &opened, &alert, NULL), 1);
        assert_int_equal(opened.type, cases[i].type);
        assert_int_equal(opened.length, cases[i].length);
    }
}

static void test_content_sizes(void **state)
{
    for_each_cipher(content_sizes);
}

// ---- KeyUpdate ----

static void test_key_update(void **state)
{
    for (int cipher = 0; cipher < RECORD_CIPHER_COUNT; cipher++) {
        struct record_keys keys = make_keys(RECORD_TLS13, (enum record_cipher)cipher);
        struct record_user sealer, opener;

        record_user_init(&sealer, &keys, true);
        record_user_init(&opener, &keys, false);
        for (int generation = 0; generation < 20; generation++) {
            struct record_keys old = sealer.keys;
            size_t size;

            for (int i = 0; i < generation % 3; i++)
                check_round_trip(&sealer, &opener, RECORD_DATA, 100);
            assert_int_equal(record_user_update(&sealer), 0);
            assert_int_equal(record_user_update(&opener), 0);
            assert_true(sealer.keys.sequence == 0);
            assert_int_not_equal(memcmp(sealer.keys.key, old.key, 16), 0);
            assert_int_not_equal(memcmp(sealer.keys.iv, old.iv, RECORD_IV_SIZE), 0);
            assert_int_not_equal(memcmp(sealer.keys.secret, old.secret, 32), 0);
            // What the old key sealed is not accepted any more.
            old.sequence = 0;
            size = reference_seal(&old, RECORD_DATA, NULL, (const uint8_t *)"old\27", 4, expected_record);
            assert_refused(&opener.keys, expected_record, size, ALERT_BAD_RECORD_MAC);
        }
        record_user_finish(&sealer);
        record_user_finish(&opener);
    }
}

static void test_key_update_refused(void **state)
{
    struct record_keys keys = make_keys(RECORD_TLS12, RECORD_AES_128_GCM), before = keys;
    struct record_user sealer;

    record_user_init(&sealer, &keys, true);
    assert_int_equal(record_user_update(&sealer), -ENOTSUP);
    assert_memory_equal(&sealer.keys, &before, sizeof(before));
    record_user_finish(&sealer);
    assert_int_equal(record_keys_derive(&keys), -EIO);
    keys = make_keys(RECORD_TLS13, RECORD_AES_128_GCM);
    keys.secret_size = 20;
    before = keys;
    assert_int_equal(record_keys_derive(&keys), -EIO);
    assert_int_equal(record_keys_update(&keys), -EIO);
    assert_memory_equal(&keys, &before, sizeof(before));
    record_keys_wipe(&keys);
    for (size_t i = 0; i < sizeof(keys); i++)
        assert_int_equal(((const uint8_t *)&keys)[i], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suites),          cmocka_unit_test(test_table),
        cmocka_unit_test(test_init_again),      cmocka_unit_test(test_rfc8448),
        cmocka_unit_test(test_round_trips),     cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_sequences),       cmocka_unit_test(test_order),
        cmocka_unit_test(test_explicit_nonces), cmocka_unit_test(test_peer_nonces),
        cmocka_unit_test(test_tampering),       cmocka_unit_test(test_unauthentic),
        cmocka_unit_test(test_headers),         cmocka_unit_test(test_padding),
        cmocka_unit_test(test_inner_types),     cmocka_unit_test(test_content_sizes),
        cmocka_unit_test(test_key_update),      cmocka_unit_test(test_key_update_refused),
    };
    int failed;

    if (record_init() < 0)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    record_finish();
    return failed;
}
