// SPDX-License-Identifier: Apache-2.0
// The kernel record layer against our own, where the kernel has TLS (tests/guest); elsewhere it says that it skips.
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "ringbolt/record.h"

#define START 3 // sequence number that each test begins with

static struct record_probe probe;

// Blocking, but not for ever: a lost record fails a test, it doesn't hang it.
static void make_pair(int ret[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 10};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    ret[0] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(ret[0], (struct sockaddr *)&address, length), 0);
    ret[1] = accept(listener, NULL, NULL);
    assert_true(ret[1] >= 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(setsockopt(ret[i], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    close(listener);
}

static void close_pair(const int pair[2])
{
    close(pair[0]);
    close(pair[1]);
}

static bool has_explicit_nonce(const struct record_keys *keys)
{
    return keys->version == RECORD_TLS12 && keys->cipher != RECORD_CHACHA20_POLY1305;
}

// TLS 1.2 with GCM: the base of the explicit nonces is about to carry into its next byte.
static struct record_keys some_keys(enum record_version version, enum record_cipher cipher)
{
    struct record_keys keys = {.version = version, .cipher = cipher, .sequence = START};

    for (size_t i = 0; i < record_cipher_key_size(cipher); i++)
        keys.key[i] = (uint8_t)(i * 7 + 1);
    for (size_t i = 0; i < RECORD_IV_SIZE; i++)
        keys.iv[i] = (uint8_t)(i + 100);
    keys.iv[RECORD_IV_SIZE - 1] = 0xFB;
    if (version == RECORD_TLS13) {
        keys.secret_size = cipher == RECORD_AES_256_GCM ? 48 : 32;
        memset(keys.secret, 0x5C, keys.secret_size);
    }
    return keys;
}

static void read_all(int fd, uint8_t *data, size_t length)
{
    while (length > 0) {
        ssize_t part = recv(fd, data, length, 0);

        assert_true(part > 0);
        data += part;
        length -= (size_t)part;
    }
}

// Seals text and sends the record to fd.
static void send_sealed(int fd, struct record_user *sealer, enum record_type type, const void *text,
                        size_t length)
{
    static uint8_t record[RECORD_WIRE_MAX];
    size_t head = record_user_head(sealer);
    int size;

    memcpy(record + head, text, length);
    size = record_user_seal(sealer, type, record + head, length);
    assert_true(size > 0);
    assert_int_equal(send(fd, record, (size_t)size, MSG_NOSIGNAL), size);
}

static void attach_and_set(int fd, enum record_direction direction, const struct record_keys *keys)
{
    assert_int_equal(record_kernel_attach(fd), 0);
    assert_int_equal(record_kernel_set(fd, direction, keys), 0);
}

static uint64_t sequence_of(int fd, enum record_direction direction, const struct record_keys *keys)
{
    uint64_t sequence = 0;

    assert_int_equal(record_kernel_sequence(fd, direction, keys, &sequence), 0);
    return sequence;
}

// One record by recvmsg: its size, or -errno.
static ssize_t receive_record(int fd, void *data, size_t size, enum record_type *ret_type)
{
    _Alignas(8) uint8_t ancillary[RECORD_ANCILLARY_SIZE];
    struct iovec piece = {.iov_base = data, .iov_len = size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    ssize_t got;

    record_kernel_message_receive(&message, ancillary);
    got = recvmsg(fd, &message, 0);
    if (got < 0)
        return -errno;
    *ret_type = record_kernel_message_type(&message);
    return got;
}

static ssize_t send_record(int fd, enum record_type type, const void *data, size_t size)
{
    _Alignas(8) uint8_t ancillary[RECORD_ANCILLARY_SIZE];
    struct iovec piece = {.iov_base = (void *)data, .iov_len = size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};

    record_kernel_message_send(&message, ancillary, type);
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

// Ours sealed up to some sequence number, then the kernel goes on; our opener sees one unbroken stream, and in
// TLS 1.2 with GCM one unbroken count of explicit nonces.
static void check_transmit_goes_on(const struct record_keys *keys)
{
    static uint8_t sent[40000], wire[4 * RECORD_WIRE_MAX];
    struct record_user sealer, opener;
    struct record_opened opened;
    enum record_alert alert;
    size_t have = 0, used = 0, plain = 0;
    int pair[2];

    make_pair(pair);
    record_user_init(&sealer, keys, true);
    record_user_init(&opener, keys, false);
    for (size_t i = 0; i < sizeof(sent); i++)
        sent[i] = (uint8_t)(i * 31 + (i >> 8));
    send_sealed(pair[0], &sealer, RECORD_DATA, sent, 100);
    send_sealed(pair[0], &sealer, RECORD_DATA, sent + 100, 1000);
    attach_and_set(pair[0], RECORD_TRANSMIT, &sealer.keys);
    assert_int_equal(send(pair[0], sent + 1100, sizeof(sent) - 1100, 0), sizeof(sent) - 1100);
    // 38900 bytes are three records.
    assert_int_equal(sequence_of(pair[0], RECORD_TRANSMIT, keys), START + 2 + 3);

    while (plain < sizeof(sent)) {
        int result = record_user_open(&opener, wire + used, have - used, &opened, &alert);
        uint64_t nonce, base;

        assert_int_not_equal(result, -1);
        if (result == 0) {
            size_t missing = opened.consumed - (have - used);

            assert_true(have + missing <= sizeof(wire));
            read_all(pair[1], wire + have, missing);
            have += missing;
            continue;
        }
        assert_int_equal(opened.type, RECORD_DATA);
        assert_memory_equal(opened.payload, sent + plain, opened.length);
        memcpy(&nonce, wire + used + RECORD_HEADER_SIZE, sizeof(nonce));
        memcpy(&base, keys->iv + 4, sizeof(base));
        if (has_explicit_nonce(keys))
            assert_true(be64toh(nonce) == be64toh(base) + opener.keys.sequence - 1);
        plain += opened.length;
        used += opened.consumed;
    }
    assert_int_equal(opener.keys.sequence, START + 2 + 3);
    record_user_finish(&sealer);
    record_user_finish(&opener);
    close_pair(pair);
}

// Ours opened some records; the kernel takes over with one already queued and one half arrived.
static void check_receive_goes_on(const struct record_keys *keys)
{
    static uint8_t sent[RECORD_PLAINTEXT_MAX], record[RECORD_WIRE_MAX], received[RECORD_PLAINTEXT_MAX + 5000];
    struct record_user sealer, opener;
    struct record_opened opened;
    enum record_alert alert;
    size_t head;
    int pair[2], size;

    make_pair(pair);
    record_user_init(&sealer, keys, true);
    record_user_init(&opener, keys, false);
    head = record_user_head(&sealer);
    for (size_t i = 0; i < sizeof(sent); i++)
        sent[i] = (uint8_t)(i * 13 + (i >> 8));
    send_sealed(pair[1], &sealer, RECORD_DATA, sent, 100);
    read_all(pair[0], record, head + 100 + record_user_tail(&sealer));
    assert_int_equal(record_user_open(&opener, record, sizeof(record), &opened, &alert), 1);

    send_sealed(pair[1], &sealer, RECORD_DATA, sent, sizeof(sent));
    memcpy(record + head, sent, 5000);
    size = record_user_seal(&sealer, RECORD_DATA, record + head, 5000);
    assert_int_equal(send(pair[1], record, 1000, 0), 1000);
    attach_and_set(pair[0], RECORD_RECEIVE, &opener.keys);
    assert_int_equal(send(pair[1], record + 1000, (size_t)size - 1000, 0), size - 1000);
    read_all(pair[0], received, sizeof(received));
    assert_memory_equal(received, sent, sizeof(sent));
    assert_memory_equal(received + sizeof(sent), sent, 5000);
    assert_int_equal(sequence_of(pair[0], RECORD_RECEIVE, keys), START + 3);
    record_user_finish(&sealer);
    record_user_finish(&opener);
    close_pair(pair);
}

// Control records by ancillary data between two kernels; a plain read of one is EIO and leaves it there.
static void check_control(const struct record_keys *keys)
{
    static const uint8_t close_notify[] = {1, ALERT_CLOSE_NOTIFY};
    enum record_type type = RECORD_CHANGE_CIPHER_SPEC;
    uint8_t received[16];
    int pair[2];

    make_pair(pair);
    attach_and_set(pair[0], RECORD_TRANSMIT, keys);
    attach_and_set(pair[1], RECORD_RECEIVE, keys);
    assert_int_equal(send(pair[0], "data", 4, 0), 4);
    assert_int_equal(send_record(pair[0], RECORD_ALERT, close_notify, 2), 2);

    assert_int_equal(receive_record(pair[1], received, sizeof(received), &type), 4);
    assert_int_equal(type, RECORD_DATA);
    assert_memory_equal(received, "data", 4);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(recv(pair[1], received, sizeof(received), 0), -1);
        assert_int_equal(errno, EIO);
    }
    assert_int_equal(receive_record(pair[1], received, sizeof(received), &type), 2);
    assert_int_equal(type, RECORD_ALERT);
    assert_memory_equal(received, close_notify, 2);
    assert_int_equal(sequence_of(pair[0], RECORD_TRANSMIT, keys), START + 2);
    assert_int_equal(sequence_of(pair[1], RECORD_RECEIVE, keys), START + 2);
    close_pair(pair);
}

// Control records between the kernel and our own layer, both ways.
static void check_control_mixed(const struct record_keys *keys)
{
    static const uint8_t close_notify[] = {1, ALERT_CLOSE_NOTIFY}, key_update[] = {24, 0, 0, 1, 0};
    enum record_type type = RECORD_CHANGE_CIPHER_SPEC;
    struct record_user sealer, opener;
    struct record_opened opened;
    enum record_alert alert;
    uint8_t data[64];
    size_t whole;
    int pair[2];

    make_pair(pair);
    attach_and_set(pair[0], RECORD_TRANSMIT, keys);
    assert_int_equal(record_kernel_set(pair[0], RECORD_RECEIVE, keys), 0);
    record_user_init(&sealer, keys, true);
    record_user_init(&opener, keys, false);
    whole = record_user_head(&opener) + 2 + record_user_tail(&opener);

    assert_int_equal(send_record(pair[0], RECORD_ALERT, close_notify, 2), 2);
    read_all(pair[1], data, whole);
    assert_int_equal(record_user_open(&opener, data, whole, &opened, &alert), 1);
    assert_int_equal(opened.type, RECORD_ALERT);
    assert_memory_equal(opened.payload, close_notify, 2);

    send_sealed(pair[1], &sealer, RECORD_HANDSHAKE, key_update, sizeof(key_update));
    assert_int_equal(receive_record(pair[0], data, sizeof(data), &type), sizeof(key_update));
    assert_int_equal(type, RECORD_HANDSHAKE);
    assert_memory_equal(data, key_update, sizeof(key_update));
    record_user_finish(&sealer);
    record_user_finish(&opener);
    close_pair(pair);
}

// A record that isn't the next one: EBADMSG.
static void check_bad_tag(const struct record_keys *keys)
{
    struct record_keys later = *keys;
    struct record_user sealer;
    enum record_type type;
    uint8_t data[64];
    int pair[2];

    make_pair(pair);
    attach_and_set(pair[0], RECORD_RECEIVE, keys);
    later.sequence++;
    record_user_init(&sealer, &later, true);
    send_sealed(pair[1], &sealer, RECORD_DATA, "text", 4);
    assert_int_equal(receive_record(pair[0], data, sizeof(data), &type), -EBADMSG);
    record_user_finish(&sealer);
    close_pair(pair);
}

// A second key goes in, and works, exactly where the probe said so.
static void check_rekey(const struct record_keys *keys)
{
    bool is_tls13 = keys->version == RECORD_TLS13;
    int expected = probe.rekey && is_tls13 ? 0 : -EBUSY;
    struct record_user sealer, opener;
    struct record_opened opened;
    enum record_alert alert;
    uint8_t data[64];
    int pair[2];

    make_pair(pair);
    record_user_init(&sealer, keys, true);
    record_user_init(&opener, keys, false);
    attach_and_set(pair[0], RECORD_TRANSMIT, keys);
    assert_int_equal(record_kernel_set(pair[0], RECORD_RECEIVE, keys), 0);
    assert_int_equal(record_user_update(&sealer), is_tls13 ? 0 : -ENOTSUP);
    assert_int_equal(record_user_update(&opener), is_tls13 ? 0 : -ENOTSUP);
    assert_int_equal(record_kernel_set(pair[0], RECORD_TRANSMIT, &opener.keys), expected);
    assert_int_equal(record_kernel_set(pair[0], RECORD_RECEIVE, &sealer.keys), expected);
    if (expected == 0) {
        size_t whole = record_user_head(&opener) + 4 + record_user_tail(&opener);

        assert_int_equal(send(pair[0], "next", 4, 0), 4);
        read_all(pair[1], data, whole);
        assert_int_equal(record_user_open(&opener, data, whole, &opened, &alert), 1);
        send_sealed(pair[1], &sealer, RECORD_DATA, "next", 4);
        read_all(pair[0], data, 4);
        assert_memory_equal(data, "next", 4);
        assert_int_equal(sequence_of(pair[0], RECORD_TRANSMIT, keys), 1);
    }
    record_user_finish(&sealer);
    record_user_finish(&opener);
    close_pair(pair);
}

static void for_each_suite(void (*check)(const struct record_keys *keys))
{
    for (int version = 0; version < 2; version++)
        for (int cipher = 0; cipher < RECORD_CIPHER_COUNT; cipher++) {
            struct record_keys keys =
                some_keys(version == 0 ? RECORD_TLS12 : RECORD_TLS13, (enum record_cipher)cipher);

            if (probe.error[version][cipher][RECORD_TRANSMIT] || probe.error[version][cipher][RECORD_RECEIVE])
                printf("# skipped: %s of TLS 1.%d is not in this kernel\n", record_cipher_name(keys.cipher),
                       version + 2);
            else
                check(&keys);
        }
}

static void test_transmit_goes_on(void **state)
{
    for_each_suite(check_transmit_goes_on);
}

static void test_receive_goes_on(void **state)
{
    for_each_suite(check_receive_goes_on);
}

static void test_control(void **state)
{
    for_each_suite(check_control);
}

static void test_control_mixed(void **state)
{
    for_each_suite(check_control_mixed);
}

static void test_bad_tag(void **state)
{
    for_each_suite(check_bad_tag);
}

static void test_rekey(void **state)
{
    for_each_suite(check_rekey);
}

// Attached without a key, the socket is as before.
static void test_attach_is_harmless(void **state)
{
    int idle = socket(AF_INET, SOCK_STREAM, 0);
    char data[8];
    int pair[2];

    assert_int_equal(record_kernel_attach(idle), -ENOTCONN);
    close(idle);
    make_pair(pair);
    assert_int_equal(record_kernel_attach(pair[0]), 0);
    assert_int_equal(record_kernel_attach(pair[0]), -EEXIST);
    assert_int_equal(send(pair[0], "plain", 5, 0), 5);
    assert_int_equal(recv(pair[1], data, sizeof(data), 0), 5);
    assert_memory_equal(data, "plain", 5);
    close_pair(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attach_is_harmless),
        cmocka_unit_test(test_transmit_goes_on),
        cmocka_unit_test(test_receive_goes_on),
        cmocka_unit_test(test_control),
        cmocka_unit_test(test_control_mixed),
        cmocka_unit_test(test_bad_tag),
        cmocka_unit_test(test_rekey),
    };

    if (record_init() < 0)
        return 1;
    (void)record_kernel_probe(&probe);
    if (probe.attach_error != 0) {
        printf("1..0 # SKIP this kernel has no TLS (%s); tests/guest has one\n",
               strerror(-probe.attach_error));
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
