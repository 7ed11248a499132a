// SPDX-License-Identifier: Apache-2.0
// The user record layer, one record a unit: record_user_seal() and record_user_open() by cipher, version and size, and as their
// floor the cipher alone, by the fewest calls to EVP that protect a record.
//
// The records of a window lie behind each other in as much memory as a flow's buffer has, so that they come from the caches that they
// come from there.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "micro.h"
#include "ringbolt/record.h"

#define AREA_SIZE (128 * 1024)
#define SLOTS_MAX 256
#define ALIGNMENT 64
#define HEAD_ROOM ALIGNMENT // ahead of a payload, RECORD_HEAD_MAX of it used
#define FILL      0x5a

_Static_assert(HEAD_ROOM >= RECORD_HEAD_MAX, "room for a header");

enum { CIPHER, VERSION }; // of variant[]

struct record_bench {
    struct record_user seals;
    struct record_user opens;
    EVP_CIPHER_CTX *floor_seals; // the floor only
    EVP_CIPHER_CTX *floor_opens;
    uint64_t floor_sequence;
    uint8_t *area;
    size_t stride;
    size_t slots;
    size_t size;
};

static uint8_t *slot(const struct record_bench *bench, size_t index)
{
    return bench->area + index * bench->stride + HEAD_ROOM;
}

// ---- our record layer ----

static void seal(void *state, size_t count)
{
    struct record_bench *bench = state;

    for (size_t i = 0; i < count; i++) {
        if (record_user_seal(&bench->seals, RECORD_DATA, slot(bench, i), bench->size) < 0)
            abort();
    }
}

static void open_all(void *state, size_t count)
{
    struct record_bench *bench = state;
    size_t head = record_user_head(&bench->opens);
    size_t whole = head + bench->size + record_user_tail(&bench->opens);
    struct record_opened opened;
    enum record_alert alert;

    for (size_t i = 0; i < count; i++) {
        if (record_user_open(&bench->opens, slot(bench, i) - head, whole, &opened, &alert) != 1)
            abort();
    }
}

// ---- the floor ----

static bool floor_start(EVP_CIPHER_CTX *context, uint64_t sequence)
{
    static const uint8_t header[RECORD_HEADER_SIZE] = {RECORD_DATA, 3, 3};
    uint8_t nonce[RECORD_IV_SIZE] = {0};
    int done;

    memcpy(nonce, &sequence, sizeof(sequence));
    return EVP_CipherInit_ex2(context, NULL, NULL, nonce, -1, NULL) == 1 &&
           EVP_CipherUpdate(context, NULL, &done, header, sizeof(header)) == 1;
}

static void floor_seal(void *state, size_t count)
{
    struct record_bench *bench = state;

    for (size_t i = 0; i < count; i++) {
        uint8_t *text = slot(bench, i);
        OSSL_PARAM tag[] = {
            OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, text + bench->size, RECORD_TAG_SIZE),
            OSSL_PARAM_END};
        int done;

        if (!floor_start(bench->floor_seals, bench->floor_sequence + i) ||
            EVP_EncryptUpdate(bench->floor_seals, text, &done, text, (int)bench->size) != 1 ||
            EVP_EncryptFinal_ex(bench->floor_seals, text + bench->size, &done) != 1 ||
            EVP_CIPHER_CTX_get_params(bench->floor_seals, tag) != 1)
            abort();
    }
}

static void floor_open(void *state, size_t count)
{
    struct record_bench *bench = state;

    for (size_t i = 0; i < count; i++) {
        uint8_t *text = slot(bench, i);
        const OSSL_PARAM tag[] = {
            OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, text + bench->size, RECORD_TAG_SIZE),
            OSSL_PARAM_END};
        int done;

        if (!floor_start(bench->floor_opens, bench->floor_sequence + i) ||
            EVP_CIPHER_CTX_set_params(bench->floor_opens, tag) != 1 ||
            EVP_DecryptUpdate(bench->floor_opens, text, &done, text, (int)bench->size) != 1 ||
            EVP_DecryptFinal_ex(bench->floor_opens, text + bench->size, &done) != 1)
            abort();
    }
}

// ---- the benchmark ----

static struct record_bench *make(const struct benchmark *benchmark)
{
    struct record_bench *bench = calloc(1, sizeof(*bench));
    void *area = NULL;

    micro_need(bench != NULL && posix_memalign(&area, ALIGNMENT, AREA_SIZE) == 0, "memory");
    memset(area, FILL, AREA_SIZE);
    bench->area = area;
    bench->size = benchmark->bytes;
    bench->stride = (HEAD_ROOM + bench->size + RECORD_TAIL_MAX + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    bench->slots = AREA_SIZE / bench->stride < SLOTS_MAX ? AREA_SIZE / bench->stride : SLOTS_MAX;
    return bench;
}

static void *set_up(const struct benchmark *benchmark, const char **ret_why)
{
    struct record_bench *bench = make(benchmark);
    struct record_keys keys = {
        .version = (enum record_version)benchmark->variant[VERSION],
        .cipher = (enum record_cipher)benchmark->variant[CIPHER],
    };

    memset(keys.key, 1, sizeof(keys.key));
    memset(keys.iv, 2, sizeof(keys.iv));
    record_user_init(&bench->seals, &keys, true);
    record_user_init(&bench->opens, &keys, false);
    return bench;
}

static EVP_CIPHER_CTX *floor_context(int cipher, int encrypts)
{
    static const char *const names[RECORD_CIPHER_COUNT] = {"AES-128-GCM", "AES-256-GCM", "ChaCha20-Poly1305"};
    EVP_CIPHER *algorithm = EVP_CIPHER_fetch(NULL, names[cipher], NULL);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    uint8_t key[RECORD_KEY_MAX];

    memset(key, 1, sizeof(key));
    micro_need(algorithm != NULL && context != NULL &&
                   EVP_CipherInit_ex2(context, algorithm, key, NULL, encrypts, NULL) == 1,
               "a cipher");
    EVP_CIPHER_free(algorithm);
    return context;
}

static void *set_up_floor(const struct benchmark *benchmark, const char **ret_why)
{
    struct record_bench *bench = make(benchmark);

    bench->floor_seals = floor_context(benchmark->variant[CIPHER], 1);
    bench->floor_opens = floor_context(benchmark->variant[CIPHER], 0);
    return bench;
}

static size_t chunk(const struct record_bench *bench, size_t count)
{
    return count < bench->slots ? count : bench->slots;
}

static void run_seal(void *state, struct micro *micro, size_t count)
{
    for (size_t now; count > 0; count -= now) {
        now = chunk(state, count);
        micro_measure(micro, seal, state, now);
    }
}

static void run_open(void *state, struct micro *micro, size_t count)
{
    for (size_t now; count > 0; count -= now) {
        now = chunk(state, count);
        seal(state, now);
        micro_measure(micro, open_all, state, now);
    }
}

static void run_floor_seal(void *state, struct micro *micro, size_t count)
{
    struct record_bench *bench = state;

    for (size_t now; count > 0; count -= now) {
        now = chunk(bench, count);
        micro_measure(micro, floor_seal, bench, now);
        bench->floor_sequence += now;
    }
}

static void run_floor_open(void *state, struct micro *micro, size_t count)
{
    struct record_bench *bench = state;

    for (size_t now; count > 0; count -= now) {
        now = chunk(bench, count);
        floor_seal(bench, now);
        micro_measure(micro, floor_open, bench, now);
        bench->floor_sequence += now;
    }
}

// ---- checks: what was sealed is not what it was, and opens to it ----

static bool is_plain(const struct record_bench *bench, size_t count)
{
    for (size_t i = 0; i < count * bench->size; i++) {
        if (slot(bench, i / bench->size)[i % bench->size] != FILL)
            return false;
    }
    return true;
}

static const char *check_pair(struct record_bench *bench, struct micro *micro, micro_work *sealing,
                              micro_work *opening)
{
    size_t count = chunk(bench, 3);

    for (size_t i = 0; i < bench->slots; i++)
        memset(slot(bench, i), FILL, bench->size);
    micro_measure(micro, sealing, bench, count);
    for (size_t i = 0; i < count; i++) {
        const uint8_t *text = slot(bench, i);

        if (text[0] == FILL && memcmp(text, text + 1, bench->size - 1) == 0)
            return "what was sealed is still plain";
    }
    micro_measure(micro, opening, bench, count);
    return is_plain(bench, count) ? NULL : "what was opened is not what was sealed";
}

static const char *check(void *state, struct micro *micro)
{
    struct record_bench *bench = state;

    bench->opens.keys.sequence = bench->seals.keys.sequence;
    return check_pair(bench, micro, seal, open_all);
}

static const char *check_floor(void *state, struct micro *micro)
{
    return check_pair(state, micro, floor_seal, floor_open);
}

static void tear_down(void *state)
{
    struct record_bench *bench = state;

    record_user_finish(&bench->seals);
    record_user_finish(&bench->opens);
    EVP_CIPHER_CTX_free(bench->floor_seals);
    EVP_CIPHER_CTX_free(bench->floor_opens);
    free(bench->area);
    free(bench);
}

static const struct benchmark_kind kinds[] = {
    {set_up, run_seal, check, tear_down},
    {set_up, run_open, check, tear_down},
};
static const struct benchmark_kind floors[] = {
    {set_up_floor, run_floor_seal, check_floor, tear_down},
    {set_up_floor, run_floor_open, check_floor, tear_down},
};
static const char *const verbs[] = {"seal", "open"};

static void add(struct catalogue *catalogue, int verb, int cipher, int version, size_t size)
{
    struct benchmark benchmark = {
        .kind = version != 0 ? &kinds[verb] : &floors[verb],
        .bytes = size,
        .variant = {[CIPHER] = cipher, [VERSION] = version},
    };
    const char *name = record_cipher_name((enum record_cipher)cipher);

    if (version == 0)
        snprintf(benchmark.name, sizeof(benchmark.name), "evp/%s/%s/%zu", verbs[verb], name, size);
    else
        snprintf(benchmark.name, sizeof(benchmark.name), "record/%s/%s/%s/%zu", verbs[verb], name,
                 version == RECORD_TLS13 ? "13" : "12", size);
    catalogue_add(catalogue, &benchmark);
}

void record_register(struct catalogue *catalogue)
{
    static const size_t sizes[] = {16, 256, 1024, 4096, RECORD_PLAINTEXT_MAX};
    static const int versions[] = {RECORD_TLS13, RECORD_TLS12, 0}; // 0: the floor

    for (int verb = 0; verb < 2; verb++) {
        for (int cipher = 0; cipher < RECORD_CIPHER_COUNT; cipher++) {
            for (size_t size = 0; size < sizeof(sizes) / sizeof(sizes[0]); size++) {
                for (int version = 0; version < 3; version++)
                    add(catalogue, verb, cipher, versions[version], sizes[size]);
            }
        }
    }
}
