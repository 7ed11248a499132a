// SPDX-License-Identifier: Apache-2.0
// What the probe says of the kernel it runs on, whichever that is.
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "ringbolt/record.h"

static struct record_probe probe;

static bool kernel_has_tls(void)
{
    return probe.attach_error == 0;
}

static void test_probe_is_consistent(void **state)
{
    for (int version = 0; version < 2; version++)
        for (int cipher = 0; cipher < RECORD_CIPHER_COUNT; cipher++)
            for (int direction = 0; direction < 2; direction++) {
                int error = probe.error[version][cipher][direction];

                // Without kernel TLS every entry says why; with it, only a missing AEAD may fail.
                if (!kernel_has_tls())
                    assert_int_equal(error, probe.attach_error);
                else
                    assert_true(error == 0 || error == -ENOENT);
                assert_int_equal(record_probe_can(&probe, version ? RECORD_TLS13 : RECORD_TLS12,
                                                  (enum record_cipher)cipher,
                                                  (enum record_direction)direction),
                                 error == 0);
            }
    if (kernel_has_tls()) {
        assert_int_equal(probe.error[0][RECORD_AES_128_GCM][RECORD_TRANSMIT], 0);
        assert_int_equal(probe.error[1][RECORD_AES_256_GCM][RECORD_RECEIVE], 0);
    } else {
        assert_false(probe.rekey);
    }
}

static int count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;

    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

// The same answer each time, and no descriptor left behind.
static void test_probe_again(void **state)
{
    struct record_probe again;
    int before = count_descriptors();

    assert_int_equal(record_kernel_probe(&again), 0);
    assert_int_equal(again.attach_error, probe.attach_error);
    assert_memory_equal(again.error, probe.error, sizeof(again.error));
    assert_int_equal(again.rekey, probe.rekey);
    assert_int_equal(count_descriptors(), before);
}

// Out of descriptors, in every step of making the pair: the error is told, and nothing leaks.
static void test_probe_without_descriptors(void **state)
{
    int before = count_descriptors();

    for (int spare = 0; spare < 3; spare++) {
        struct record_probe starved;
        int taken[1024], count = 0, result;

        while (count < 1024 && (taken[count] = dup(STDERR_FILENO)) >= 0)
            count++;
        for (int i = 0; i < spare; i++)
            close(taken[--count]);
        result = record_kernel_probe(&starved);
        while (count > 0)
            close(taken[--count]);
        assert_int_equal(result, -EMFILE);
        assert_int_equal(starved.attach_error, -EMFILE);
        assert_int_equal(starved.error[1][RECORD_CHACHA20_POLY1305][RECORD_RECEIVE], -EMFILE);
        assert_false(starved.rekey);
        assert_int_equal(count_descriptors(), before);
    }
}

// On a socket without TCP_ULP, and on none.
static void test_errors(void **state)
{
    struct record_keys keys = {.version = RECORD_TLS13, .cipher = RECORD_AES_128_GCM};
    int idle = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint64_t sequence = 77;

    assert_int_equal(record_kernel_attach(-1), -EBADF);
    assert_int_equal(record_kernel_set(-1, RECORD_TRANSMIT, &keys), -EBADF);
    assert_int_equal(record_kernel_sequence(-1, RECORD_TRANSMIT, &keys, &sequence), -EBADF);
    assert_true(record_kernel_attach(idle) < 0);
    assert_true(record_kernel_set(idle, RECORD_RECEIVE, &keys) < 0);
    assert_true(record_kernel_sequence(idle, RECORD_RECEIVE, &keys, &sequence) < 0);
    assert_true(sequence == 77);
    close(idle);
}

// No ancillary data, or another's, is plain data; what was prepared for sending has the kernel's layout.
static void test_messages(void **state)
{
    _Alignas(8) uint8_t ancillary[RECORD_ANCILLARY_SIZE];
    struct msghdr message = {.msg_controllen = 0};
    struct cmsghdr *header;

    assert_int_equal(record_kernel_message_type(&message), RECORD_DATA);
    record_kernel_message_send(&message, ancillary, RECORD_ALERT);
    assert_ptr_equal(message.msg_control, ancillary);
    assert_int_equal(message.msg_controllen, RECORD_ANCILLARY_SIZE);
    header = CMSG_FIRSTHDR(&message);
    assert_int_equal(header->cmsg_level, 282); // SOL_TLS
    assert_int_equal(header->cmsg_type, 1);    // TLS_SET_RECORD_TYPE
    assert_int_equal(header->cmsg_len, CMSG_LEN(1));
    assert_int_equal(*CMSG_DATA(header), RECORD_ALERT);
    assert_int_equal(record_kernel_message_type(&message), RECORD_DATA);
    header->cmsg_type = 2; // TLS_GET_RECORD_TYPE
    assert_int_equal(record_kernel_message_type(&message), RECORD_ALERT);
    header->cmsg_level = SOL_SOCKET;
    assert_int_equal(record_kernel_message_type(&message), RECORD_DATA);
    record_kernel_message_receive(&message, ancillary);
    assert_ptr_equal(message.msg_control, ancillary);
    assert_int_equal(message.msg_controllen, RECORD_ANCILLARY_SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_probe_is_consistent),
        cmocka_unit_test(test_probe_again),
        cmocka_unit_test(test_probe_without_descriptors),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_messages),
    };
    struct rlimit limit = {256, 256};

    if (record_init() < 0 || setrlimit(RLIMIT_NOFILE, &limit) < 0 || record_kernel_probe(&probe) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
