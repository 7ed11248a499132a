// SPDX-License-Identifier: Apache-2.0
// Opening records that a peer chose. The first byte of an input says which version, cipher and way:
//   raw     the other bytes are what came from the network; hardly anything is ever authentic
//   sealed  the other bytes are content, padding and a place to damage: the record is sealed as a malicious peer that
//           has the keys would, so that everything behind the tag is reached; what must come out is
//           worked out here a second time, and compared
#include <openssl/err.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ringbolt/record.h"
#include "tests/record_reference.h"

#define TEXT_MAX  (RECORD_PLAINTEXT_MAX + 512) // beyond what may be
#define GUARD     0xA5
#define CHECK(ok) ((ok) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t size;
};

static unsigned take(struct input *input, unsigned bytes)
{
    unsigned value = 0;

    for (; bytes > 0; bytes--) {
        value = value << 8 | (input->size > 0 ? *input->data : 0);
        input->data += input->size > 0;
        input->size -= input->size > 0;
    }
    return value;
}

static bool is_open_failure(int alert)
{
    return alert == ALERT_UNEXPECTED_MESSAGE || alert == ALERT_BAD_RECORD_MAC ||
           alert == ALERT_RECORD_OVERFLOW || alert == ALERT_DECODE_ERROR;
}

// What holds of every call, whatever came in. The return value of record_user_open().
static int open_checked(struct record_user *opener, uint8_t *data, size_t size, struct record_opened *opened,
                        enum record_alert *alert)
{
    uint64_t sequence = opener->keys.sequence;
    int result;

    *alert = ALERT_NONE;
    memset(opened, 0, sizeof(*opened));
    result = record_user_open(opener, data, size, opened, alert);
    CHECK(result == -1 || result == 0 || result == 1);
    CHECK(opener->keys.sequence == sequence + (result == 1));
    CHECK(ERR_peek_error() == 0);
    if (result == -1)
        CHECK(is_open_failure((int)*alert) && opened->consumed == 0);
    if (result == 0)
        CHECK(opened->consumed > size && opened->consumed <= RECORD_WIRE_MAX);
    if (result == 1) {
        CHECK(opened->consumed <= size && opened->length <= RECORD_PLAINTEXT_MAX);
        CHECK(opened->payload >= data + RECORD_HEADER_SIZE);
        CHECK(opened->payload + opened->length + RECORD_TAG_SIZE <= data + opened->consumed);
        CHECK(opened->type >= RECORD_ALERT && opened->type <= RECORD_DATA);
        CHECK(opened->type == RECORD_DATA || opened->length > 0);
        CHECK(opened->type != RECORD_ALERT || opened->length == 2);
    }
    return result;
}

static void open_raw(const struct record_keys *keys, struct input input)
{
    uint8_t *copy = malloc(input.size + 1);
    struct record_opened opened;
    struct record_user opener;
    enum record_alert alert;
    size_t at = 0;

    CHECK(copy != NULL);
    memcpy(copy, input.data, input.size);
    record_user_init(&opener, keys, false);
    while (open_checked(&opener, copy + at, input.size - at, &opened, &alert) == 1)
        at += opened.consumed;
    record_user_finish(&opener);
    free(copy);
}

// The rules of RFC 8446 §5 and RFC 5246 §6.2 once more, for an authentic record: the alert, or ALERT_NONE.
static enum record_alert judge(const struct record_keys *keys, uint8_t type, const uint8_t *text, size_t size,
                               uint8_t *ret_type, size_t *ret_length)
{
    size_t length = size;

    if (keys->version == RECORD_TLS13) {
        if (size > RECORD_PLAINTEXT_MAX + 256 - RECORD_TAG_SIZE || size > RECORD_PLAINTEXT_MAX + 1)
            return ALERT_RECORD_OVERFLOW;
        while (length > 0 && text[length - 1] == 0)
            length--;
        if (length == 0)
            return ALERT_UNEXPECTED_MESSAGE;
        type = text[--length];
    }
    if (type != RECORD_ALERT && type != RECORD_HANDSHAKE && type != RECORD_DATA)
        return ALERT_UNEXPECTED_MESSAGE;
    if (length > RECORD_PLAINTEXT_MAX)
        return ALERT_RECORD_OVERFLOW;
    if (type != RECORD_DATA && length == 0)
        return ALERT_UNEXPECTED_MESSAGE;
    if (type == RECORD_ALERT && length != 2)
        return ALERT_DECODE_ERROR;
    *ret_type = type;
    *ret_length = length;
    return ALERT_NONE;
}

static void open_sealed(const struct record_keys *keys, struct input input)
{
    static uint8_t text[TEXT_MAX], record[TEXT_MAX + 64];
    unsigned damage_at = take(&input, 2), damage = take(&input, 1), cut = take(&input, 2),
             repeat = take(&input, 2);
    unsigned padding = take(&input, 2) % TEXT_MAX;
    uint8_t type = keys->version == RECORD_TLS13 ? RECORD_DATA : (uint8_t)take(&input, 1);
    size_t length = input.size < TEXT_MAX ? input.size : TEXT_MAX, size, authentic = 0;
    struct record_opened opened;
    struct record_user opener;
    enum record_alert alert, expected;
    uint8_t *copy, expected_type = 0;
    int result;

    memcpy(text, input.data, length);
    if (length > 0) // small inputs make long records too
        for (repeat %= TEXT_MAX; length < repeat; length++)
            text[length] = text[length - input.size];
    if (padding > TEXT_MAX - length)
        padding = (unsigned)(TEXT_MAX - length);
    memset(text + length, 0, padding);
    length += padding;
    expected = judge(keys, type, text, length, &expected_type, &authentic);
    size = reference_seal(keys, type, (const uint8_t *)"explicit", text, length, record);
    record[damage_at % size] ^= (uint8_t)damage;
    copy = malloc(size); // of its exact size, for the sanitizer
    CHECK(copy != NULL);
    memcpy(copy, record, size);

    // First a part of it: judged by its header at most, and left as it is.
    record_user_init(&opener, keys, false);
    result = open_checked(&opener, copy, cut % size, &opened, &alert);
    CHECK(result == 0 || damage != 0 || (expected != ALERT_NONE && cut % size >= RECORD_HEADER_SIZE));
    if (result == 0) {
        CHECK(memcmp(copy, record, size) == 0);
        result = open_checked(&opener, copy, size, &opened, &alert);
    }
    if (damage != 0) {
        // Only a header that announces more than came is no failure yet.
        CHECK(result == -1 || (result == 0 && opened.consumed > size));
    } else if (expected != ALERT_NONE) {
        CHECK(result == -1 && alert == expected);
    } else {
        CHECK(result == 1 && opened.consumed == size && opened.type == expected_type &&
              opened.length == authentic);
        CHECK(memcmp(opened.payload, text, authentic) == 0);
    }
    record_user_finish(&opener);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    unsigned choice = take(&input, 1);
    struct record_keys keys = {
        .version = choice & 1 ? RECORD_TLS13 : RECORD_TLS12,
        .cipher = (enum record_cipher)((choice >> 1 & 3) % RECORD_CIPHER_COUNT),
        .key = "a key of thirty-two bytes or so",
        .iv = "twelve bytes",
        .sequence = choice >> 4,
    };

    CHECK(record_init() == 0);
    if (choice & 8)
        open_sealed(&keys, input);
    else
        open_raw(&keys, input);
    return 0;
}
