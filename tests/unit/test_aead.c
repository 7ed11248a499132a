// SPDX-License-Identifier: Apache-2.0
// libipsec-mb beside OpenSSL: the same bytes from both for every length, and neither takes what was changed. (All other tests of the
// record layer run with whichever of the two record_init() has chosen.)
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/record/aead.h"

#define AREA     (2 * 16384 + 4096)
#define AAD_MAX  13
#define TEXT_MAX (RECORD_PLAINTEXT_MAX + 256)

static bool has_vector;

static const struct aead *vector(void)
{
#ifdef RINGBOLT_IPSEC_MB
    return &aead_vector;
#else
    return NULL;
#endif
}

static void fill(uint8_t *data, size_t size, uint32_t state)
{
    for (size_t i = 0; i < size; i++) {
        state = state * 1664525 + 1013904223;
        data[i] = (uint8_t)(state >> 24);
    }
}

// One text by both, each opened by the other, at the very end of a page behind which nothing may be read or written.
static void check_one(void *const contexts[2][2], size_t length, size_t aad_size, uint8_t *end)
{
    static uint8_t text[TEXT_MAX], sealed[TEXT_MAX + RECORD_TAG_SIZE];
    const struct aead *const aeads[2] = {&aead_evp, vector()};
    uint8_t nonce[RECORD_IV_SIZE], aad[AAD_MAX], *at = end - length - RECORD_TAG_SIZE;
    size_t size = length + RECORD_TAG_SIZE;

    fill(text, length, (uint32_t)length);
    fill(nonce, sizeof(nonce), (uint32_t)length + 1);
    fill(aad, sizeof(aad), (uint32_t)length + 2);
    memcpy(sealed, text, length);
    assert_true(aeads[0]->seal(contexts[0][1], nonce, aad, aad_size, sealed, length));
    for (int which = 0; which < 2; which++) {
        memset(end - size - 1, 0x5A, 1);
        memcpy(at, text, length);
        assert_true(aeads[which]->seal(contexts[which][1], nonce, aad, aad_size, at, length));
        assert_memory_equal(at, sealed, size);
        assert_int_equal(aeads[!which]->open(contexts[!which][0], nonce, aad, aad_size, at, length),
                         ALERT_NONE);
        assert_memory_equal(at, text, length);
        assert_int_equal(end[-(ptrdiff_t)size - 1], 0x5A);
    }
}

static void check_changed(void *context, size_t length)
{
    uint8_t text[512], nonce[RECORD_IV_SIZE] = {1}, aad[5] = {2};
    uint8_t *const changed[] = {
        text, text + length - 1, text + length, text + length + RECORD_TAG_SIZE - 1, nonce, aad};
    uint8_t whole[512];

    fill(text, length, 7);
    assert_true(vector()->seal(context, nonce, aad, sizeof(aad), text, length));
    memcpy(whole, text, sizeof(whole));
    for (size_t i = 0; i < sizeof(changed) / sizeof(changed[0]); i++)
        for (int bit = 0; bit < 8; bit++) {
            memcpy(text, whole, sizeof(whole));
            *changed[i] ^= (uint8_t)(1 << bit);
            assert_int_equal(vector()->open(context, nonce, aad, sizeof(aad), text, length),
                             ALERT_BAD_RECORD_MAC);
            if (changed[i] == nonce || changed[i] == aad)
                *changed[i] ^= (uint8_t)(1 << bit);
        }
    memcpy(text, whole, sizeof(whole));
    assert_int_equal(vector()->open(context, nonce, aad, sizeof(aad), text, length), ALERT_NONE);
}

static void test_same_bytes(void **state)
{
    long page = sysconf(_SC_PAGESIZE);
    uint8_t *area, *end;

    if (!has_vector)
        skip();
    area = mmap(NULL, AREA + (size_t)page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(area != MAP_FAILED);
    end = area + AREA;
    assert_int_equal(mprotect(end, (size_t)page, PROT_NONE), 0);
    for (enum record_cipher cipher = RECORD_AES_128_GCM; cipher <= RECORD_AES_256_GCM; cipher++) {
        uint8_t key[RECORD_KEY_MAX];
        void *contexts[2][2];

        fill(key, sizeof(key), 99 + cipher);
        for (int seals = 0; seals < 2; seals++) {
            contexts[0][seals] = aead_evp.create(cipher, key, seals);
            contexts[1][seals] = vector()->create(cipher, key, seals);
            assert_non_null(contexts[0][seals]);
            assert_non_null(contexts[1][seals]);
        }
        for (size_t length = 0; length <= 1100; length++)
            check_one(contexts, length, length % 2 ? 5 : AAD_MAX, end);
        for (size_t length = 16384 - 70; length <= TEXT_MAX; length++)
            check_one(contexts, length, length % 2 ? 5 : AAD_MAX, end);
        check_changed(contexts[1][0], 1);
        check_changed(contexts[1][0], 300);
        for (int seals = 0; seals < 2; seals++) {
            aead_evp.destroy(contexts[0][seals]);
            vector()->destroy(contexts[1][seals]);
        }
    }
    munmap(area, AREA + (size_t)page);
}

// Whoever is chosen for AES-GCM; ChaCha20 is OpenSSL's alone.
static void test_choice(void **state)
{
    assert_ptr_equal(record_cipher_aead(RECORD_CHACHA20_POLY1305), &aead_evp);
    assert_ptr_equal(record_cipher_aead(RECORD_AES_128_GCM), has_vector ? vector() : &aead_evp);
    assert_ptr_equal(record_cipher_aead(RECORD_AES_256_GCM), record_cipher_aead(RECORD_AES_128_GCM));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_choice)};

    if (record_init() < 0)
        return 1;
#ifdef RINGBOLT_IPSEC_MB
    has_vector = aead_vector_init();
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
