// SPDX-License-Identifier: Apache-2.0
// The user record layer: seals and opens records in place with an AEAD (RFC 8446 §5, RFC 5246 §6.2.3.3, RFC 5288, RFC 7905). The
// inner loop of the proxy. A payload aligned to 16 bytes is sealed about 2 % faster.
#include "ringbolt/record.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>

#include "src/record/aead.h"

#define EXPLICIT_NONCE_SIZE 8  // RFC 5288 §3
#define SALT_SIZE           4  // RFC 5288 §3
#define AAD_MAX             13 // RFC 5246 §6.2.3.3: sequence, type, version, length

static_assert(EXPLICIT_NONCE_SIZE + SALT_SIZE == RECORD_IV_SIZE, "salt and explicit nonce make the nonce");

static inline bool is_tls13(const struct record_keys *keys)
{
    return keys->version == RECORD_TLS13;
}

// The part of the nonce that is in the record itself: TLS 1.2 with GCM only (RFC 5288 §3; none in RFC 7905 §2).
static inline size_t explicit_size(const struct record_keys *keys)
{
    return is_tls13(keys) || keys->cipher == RECORD_CHACHA20_POLY1305 ? 0 : EXPLICIT_NONCE_SIZE;
}

static inline void put16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

// The iv xor the sequence number, padded on the left (RFC 8446 §5.3, RFC 7905 §2).
static inline void nonce_implicit(const struct record_keys *keys, uint8_t nonce[RECORD_IV_SIZE])
{
    uint64_t sequence = htobe64(keys->sequence);
    uint64_t low;

    memcpy(nonce, keys->iv, RECORD_IV_SIZE);
    memcpy(&low, nonce + 4, sizeof(low));
    low ^= sequence;
    memcpy(nonce + 4, &low, sizeof(low));
}

// Writes the explicit nonce of the next record that we send: base + sequence.
//
// Under one key no two records may have the same nonce, or GCM's authentication is lost (RFC 5288 §6.1). Ours
// differ because their sequence numbers do. The record before them was OpenSSL's: its Finished, number 0, whose explicit
// nonce is random (gcm_tls_iv_set_fixed() in providers/implementations/ciphers/ciphercommon_gcm.c) and would be counted up
// by one a record. With that nonce as the base we send just what OpenSSL would have sent, so the whole key sees one count
// of 2^64. With a base of 0 the random one could be a number that we reach: less than 2^24.5 / 2^64 over the life
// of a key. The kernel goes on from the same sum (record_kernel.c).
static inline void nonce_explicit(const struct record_keys *keys, uint8_t at[EXPLICIT_NONCE_SIZE])
{
    uint64_t base;
    uint64_t value;

    memcpy(&base, keys->iv + SALT_SIZE, sizeof(base));
    value = htobe64(be64toh(base) + keys->sequence);
    memcpy(at, &value, sizeof(value));
}

// The additional data of a record with `length` bytes of plaintext. Its size.
static inline size_t additional_data(const struct record_keys *keys, const uint8_t *header, size_t length,
                                  uint8_t aad[AAD_MAX])
{
    uint64_t sequence;

    if (is_tls13(keys)) { // RFC 8446 §5.2: the header as it is on the wire
        memcpy(aad, header, RECORD_HEADER_SIZE);
        return RECORD_HEADER_SIZE;
    }
    sequence = htobe64(keys->sequence);
    memcpy(aad, &sequence, sizeof(sequence));
    memcpy(aad + 8, header, 3);
    put16(aad + 11, length);
    return AAD_MAX;
}

static int start(struct record_user *record)
{
    record->context = record_cipher_aead(record->keys.cipher)
                          ->create(record->keys.cipher, record->keys.key, record->seals);
    return record->context == NULL ? -EIO : 0;
}

void record_user_init(struct record_user *record, const struct record_keys *keys, bool seals)
{
    *record = (struct record_user){.keys = *keys, .seals = seals};
}

void record_user_finish(struct record_user *record)
{
    record_user_rest(record);
    record_keys_wipe(&record->keys);
}

void record_user_rest(struct record_user *record)
{
    record_cipher_aead(record->keys.cipher)->destroy(record->context);
    record->context = NULL;
}

int record_user_update(struct record_user *record)
{
    int result = record_keys_update(&record->keys);

    if (result == 0)
        record_user_rest(record);
    return result;
}

size_t record_user_head(const struct record_user *record)
{
    return RECORD_HEADER_SIZE + explicit_size(&record->keys);
}

size_t record_user_tail(const struct record_user *record)
{
    return RECORD_TAG_SIZE + (is_tls13(&record->keys) ? 1 : 0);
}

int record_user_seal(struct record_user *record, enum record_type type, uint8_t *payload, size_t length)
{
    struct record_keys *keys = &record->keys;
    uint8_t nonce[RECORD_IV_SIZE], aad[AAD_MAX];
    size_t head = record_user_head(record);
    uint8_t *header = payload - head;
    size_t text_size = length;
    size_t aad_size;

    assert(record->seals && length <= RECORD_PLAINTEXT_MAX);
    if (keys->sequence == UINT64_MAX)
        return -EKEYEXPIRED;
    if (record->context == NULL && start(record) < 0)
        goto fail;

    if (is_tls13(keys)) {
        // RFC 8446 §5.2: the type goes behind the content, so that one pass covers both.
        payload[text_size++] = (uint8_t)type;
        type = RECORD_DATA;
    }
    header[0] = (uint8_t)type;
    put16(header + 1, RECORD_TLS12);
    put16(header + 3, head - RECORD_HEADER_SIZE + text_size + RECORD_TAG_SIZE);
    if (explicit_size(keys) != 0) {
        nonce_explicit(keys, header + RECORD_HEADER_SIZE);
        memcpy(nonce, keys->iv, SALT_SIZE);
        memcpy(nonce + SALT_SIZE, header + RECORD_HEADER_SIZE, EXPLICIT_NONCE_SIZE);
    } else {
        nonce_implicit(keys, nonce);
    }
    aad_size = additional_data(keys, header, text_size, aad);
    if (!record_cipher_aead(keys->cipher)->seal(record->context, nonce, aad, aad_size, payload, text_size))
        goto fail;
    keys->sequence++;
    return (int)(head + text_size + RECORD_TAG_SIZE);

fail:
    ERR_clear_error(); // or the next SSL_get_error() of another connection finds it
    return -EIO;
}

// Judges a header. ALERT_NONE and the length of the body, or the alert.
static enum record_alert check_header(const struct record_keys *keys, const uint8_t *header,
                                      size_t *ret_length)
{
    size_t length = (size_t)header[3] << 8 | header[4];
    size_t expansion = is_tls13(keys) ? 256 : explicit_size(keys) + RECORD_TAG_SIZE;

    // RFC 8446 §5, §5.2: after the handshake every record is protected, and looks like application data;
    // change_cipher_spec too is unexpected now.
    if (is_tls13(keys) && header[0] != RECORD_DATA)
        return ALERT_UNEXPECTED_MESSAGE;
    // TLS 1.2: a change_cipher_spec would begin a renegotiation, which isn't done; what is above 23 isn't known.
    if (header[0] < RECORD_ALERT || header[0] > RECORD_DATA)
        return ALERT_UNEXPECTED_MESSAGE;
    // RFC 5246 §6.2.1, RFC 8446 §5.2: "always 0x0303" for protected records (kernel TLS and OpenSSL insist too;
    // §5.1's "ignored" is about what comes before the version is agreed).
    if (header[1] != 3 || header[2] != 3)
        return ALERT_DECODE_ERROR;
    // RFC 8446 §5.2. TLS 1.2's own limit is 2^14 + 2048 (RFC 5246 §6.2.3), but what an AEAD suite
    // expands is fixed, so that anything above decrypts to more than 2^14 bytes: the same alert, before the body.
    if (length > RECORD_PLAINTEXT_MAX + expansion)
        return ALERT_RECORD_OVERFLOW;
    // Without a whole tag decryption fails (RFC 8446 §5.2, RFC 5246 §6.2.3.3).
    if (length < explicit_size(keys) + RECORD_TAG_SIZE)
        return ALERT_BAD_RECORD_MAC;
    *ret_length = length;
    return ALERT_NONE;
}

// The size of text[size] without the zero bytes at its end. Word by word, or stripping a record of nothing but
// padding would cost more than decrypting it. The text is authenticated, so its timing tells only the sender.
static size_t without_padding(const uint8_t *text, size_t size)
{
    uint64_t word;

    while (size >= sizeof(word)) {
        memcpy(&word, text + size - sizeof(word), sizeof(word));
        if (word != 0)
            break;
        size -= sizeof(word);
    }
    while (size > 0 && text[size - 1] == 0)
        size--;
    return size;
}

// Takes type and padding off text[*length] (TLS 1.3). ALERT_NONE or the alert.
static enum record_alert unwrap(const uint8_t *text, size_t *length, uint8_t *type)
{
    size_t size;

    if (*length > RECORD_PLAINTEXT_MAX + 1) // RFC 8446 §5.4: padding included
        return ALERT_RECORD_OVERFLOW;
    size = without_padding(text, *length);
    if (size == 0) // RFC 8446 §5.4
        return ALERT_UNEXPECTED_MESSAGE;
    *type = text[size - 1];
    *length = size - 1;
    // RFC 8446 §5: a protected change_cipher_spec is unexpected, as is an unknown type.
    return *type < RECORD_ALERT || *type > RECORD_DATA ? ALERT_UNEXPECTED_MESSAGE : ALERT_NONE;
}

// What a record of that type may hold. ALERT_NONE or the alert.
static enum record_alert check_content(uint8_t type, size_t length)
{
    if (type == RECORD_DATA)
        return ALERT_NONE;
    // RFC 8446 §5.4, RFC 5246 §6.2.1: only application data may be empty.
    if (length == 0)
        return ALERT_UNEXPECTED_MESSAGE;
    // RFC 8446 §5.1: exactly one alert a record. TLS 1.2 would allow to split and join them; nobody does.
    if (type == RECORD_ALERT && length != 2)
        return ALERT_DECODE_ERROR;
    return ALERT_NONE;
}

// Decrypts a whole record with a body of `length` bytes. ALERT_NONE or the alert; on failure the text is wiped: nobody may
// see what isn't authentic.
static enum record_alert open_body(struct record_user *record, uint8_t *header, size_t length,
                                   struct record_opened *opened)
{
    const struct record_keys *keys = &record->keys;
    size_t sent = explicit_size(keys); // of the nonce
    uint8_t *text = header + RECORD_HEADER_SIZE + sent;
    size_t text_size = length - sent - RECORD_TAG_SIZE;
    uint8_t nonce[RECORD_IV_SIZE], aad[AAD_MAX], type = header[0];
    enum record_alert alert;
    size_t aad_size;

    // RFC 8446 §5.3: sequence numbers don't wrap.
    if (keys->sequence == UINT64_MAX || (record->context == NULL && start(record) < 0))
        return ALERT_INTERNAL_ERROR;
    if (sent != 0) { // as the peer chose it (RFC 5288 §3)
        memcpy(nonce, keys->iv, SALT_SIZE);
        memcpy(nonce + SALT_SIZE, header + RECORD_HEADER_SIZE, EXPLICIT_NONCE_SIZE);
    } else {
        nonce_implicit(keys, nonce);
    }
    aad_size = additional_data(keys, header, text_size, aad);
    alert = record_cipher_aead(keys->cipher)->open(record->context, nonce, aad, aad_size, text, text_size);
    if (alert != ALERT_NONE) {
        OPENSSL_cleanse(text, text_size);
        return alert;
    }
    if (is_tls13(keys))
        alert = unwrap(text, &text_size, &type);
    if (alert == ALERT_NONE)
        alert = check_content(type, text_size);
    if (alert != ALERT_NONE)
        return alert;
    *opened = (struct record_opened){
        .type = type, .payload = text, .length = text_size, .consumed = RECORD_HEADER_SIZE + length};
    return ALERT_NONE;
}

int record_user_open(struct record_user *record, uint8_t *data, size_t size, struct record_opened *ret,
                     enum record_alert *ret_alert)
{
    enum record_alert alert;
    size_t length = 0;

    assert(!record->seals);
    if (size < RECORD_HEADER_SIZE) {
        ret->consumed = RECORD_HEADER_SIZE;
        return 0;
    }
    alert = check_header(&record->keys, data, &length);
    if (alert == ALERT_NONE && size - RECORD_HEADER_SIZE < length) {
        ret->consumed = RECORD_HEADER_SIZE + length;
        return 0;
    }
    if (alert == ALERT_NONE)
        alert = open_body(record, data, length, ret);
    if (alert != ALERT_NONE) {
        ERR_clear_error(); // or the next SSL_get_error() of another connection finds it
        *ret_alert = alert;
        return -1;
    }
    record->keys.sequence++;
    return 1;
}
