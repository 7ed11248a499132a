// SPDX-License-Identifier: Apache-2.0
// The key schedules: by the RFCs' examples, beside the default provider on random input, and that libssl's handshakes go through them, or
// succeed without when the machine's policy keeps our provider out.
#include "tests/unit/handshake.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>

#include "src/record/hmac.h"
#include "src/record/provider.h"

#define ROUNDS 200

static const char *const digests[] = {"SHA2-256", "SHA2-384"};

// ---- examples ----

static struct hmac_bytes text(const char *words)
{
    return (struct hmac_bytes){(const uint8_t *)words, strlen(words)};
}

static void assert_hex(const uint8_t *bytes, const char *hex)
{
    for (size_t i = 0; hex[2 * i] != '\0'; i++) {
        char byte[3] = {hex[2 * i], hex[2 * i + 1], '\0'};

        assert_int_equal(bytes[i], strtoul(byte, NULL, 16));
    }
}

static void test_rfc4231(void **state)
{
    static const uint8_t long_key[131] = {[0 ... 130] = 0xaa};
    struct hmac_bytes message = text("what do ya want for nothing?");
    uint8_t mac[HMAC_SIZE_MAX];
    struct hmac hmac;

    hmac_key(&hmac, HMAC_SHA256, (const uint8_t *)"Jefe", 4); // test case 2
    for (int again = 0; again < 2; again++) {
        hmac_add(&hmac, message.data, 10);
        hmac_add(&hmac, message.data + 10, message.size - 10);
        hmac_end(&hmac, mac);
        assert_hex(mac, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
    hmac_key(&hmac, HMAC_SHA384, (const uint8_t *)"Jefe", 4);
    hmac_add(&hmac, message.data, message.size);
    hmac_end(&hmac, mac);
    assert_hex(mac, "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649");
    hmac_key(&hmac, HMAC_SHA256, long_key, sizeof(long_key)); // test case 6
    message = text("Test Using Larger Than Block-Size Key - Hash Key First");
    hmac_add(&hmac, message.data, message.size);
    hmac_end(&hmac, mac);
    assert_hex(mac, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void test_rfc8448(void **state)
{
    static const uint8_t zeros[32];
    uint8_t empty[32], secret[32], derived[32];

    SHA256((const uint8_t *)"", 0, empty);
    hkdf_extract(HMAC_SHA256, text(""), (struct hmac_bytes){zeros, 32}, secret);
    assert_hex(secret, "33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a");
    assert_true(hkdf_expand_label(HMAC_SHA256, (struct hmac_bytes){secret, 32}, text("tls13 "), text("derived"),
                                  (struct hmac_bytes){empty, 32}, derived, 32));
    assert_hex(derived, "6f2615a108c702c5678f54fc9dbab69716c076189c48250cebeac3576c3611ba");
}

// ---- beside the default provider ----

static struct hmac_bytes random_bytes(uint8_t *room, size_t size)
{
    must(size == 0 || RAND_bytes(room, (int)size) == 1, "random bytes");
    return (struct hmac_bytes){room, size};
}

static size_t below(size_t limit)
{
    uint32_t number;

    random_bytes((uint8_t *)&number, sizeof(number));
    return number % limit;
}

static int derive(const char *name, const char *query, const OSSL_PARAM *params, uint8_t *out, size_t size)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, name, query);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    int result;

    must(context != NULL, name);
    result = EVP_KDF_derive(context, out, size, params);
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
    ERR_clear_error();
    return result;
}

static void assert_same(const char *name, const OSSL_PARAM *params, size_t size)
{
    uint8_t ours[512] = {0}, theirs[512] = {0};

    assert_true(size <= sizeof(ours));
    assert_int_equal(derive(name, "provider=ringbolt", params, ours, size), 1);
    assert_int_equal(derive(name, "provider=default", params, theirs, size), 1);
    assert_memory_equal(ours, theirs, sizeof(ours));
}

static OSSL_PARAM octets(const char *key, struct hmac_bytes bytes)
{
    return OSSL_PARAM_construct_octet_string(key, (void *)bytes.data, bytes.size);
}

static void test_expand(void **state)
{
    uint8_t key[64], label[32], data[64];

    for (int i = 0; i < ROUNDS; i++) {
        int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
        size_t hash = below(2);
        OSSL_PARAM params[] = {
            OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
            OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)digests[hash], 0),
            octets(OSSL_KDF_PARAM_KEY, random_bytes(key, hash == 0 ? 32 : 48)),
            octets(OSSL_KDF_PARAM_PREFIX, text("tls13 ")),
            octets(OSSL_KDF_PARAM_LABEL, random_bytes(label, 1 + below(31))),
            octets(OSSL_KDF_PARAM_DATA, random_bytes(data, below(sizeof(data)))),
            OSSL_PARAM_construct_end(),
        };

        assert_same(OSSL_KDF_NAME_TLS1_3_KDF, params, 1 + below(255));
    }
}

static void test_extract(void **state)
{
    uint8_t key[64], salt[64];

    for (int i = 0; i < ROUNDS; i++) {
        int mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
        size_t hash = below(2);
        OSSL_PARAM params[7], *next = params;

        *next++ = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode);
        *next++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)digests[hash], 0);
        *next++ = octets(OSSL_KDF_PARAM_PREFIX, text("tls13 "));
        *next++ = octets(OSSL_KDF_PARAM_LABEL, text("derived"));
        if (i % 2 == 0)
            *next++ = octets(OSSL_KDF_PARAM_KEY, random_bytes(key, 1 + below(sizeof(key))));
        if (i % 3 == 0)
            *next++ = octets(OSSL_KDF_PARAM_SALT, random_bytes(salt, hash == 0 ? 32 : 48));
        *next = OSSL_PARAM_construct_end();
        assert_same(OSSL_KDF_NAME_TLS1_3_KDF, params, hash == 0 ? 32 : 48);
    }
}

static void test_prf(void **state)
{
    uint8_t secret[256], seeds[3][64];

    for (int i = 0; i < ROUNDS; i++) {
        OSSL_PARAM params[] = {
            OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)digests[below(2)], 0),
            octets(OSSL_KDF_PARAM_SECRET, random_bytes(secret, 1 + below(sizeof(secret)))),
            octets(OSSL_KDF_PARAM_SEED, random_bytes(seeds[0], 1 + below(sizeof(seeds[0])))),
            octets(OSSL_KDF_PARAM_SEED, random_bytes(seeds[1], 1 + below(sizeof(seeds[1])))),
            octets(OSSL_KDF_PARAM_SEED, random_bytes(seeds[2], 1 + below(sizeof(seeds[2])))),
            OSSL_PARAM_construct_end(),
        };

        assert_same(OSSL_KDF_NAME_TLS1_PRF, params, 1 + below(300));
    }
}

static void test_mac(void **state)
{
    uint8_t key[200], message[300], ours[64], theirs[64];

    for (int i = 0; i < ROUNDS; i++) {
        const char *digest = digests[below(2)];
        struct hmac_bytes secret = random_bytes(key, 1 + below(sizeof(key)));
        struct hmac_bytes data = random_bytes(message, below(sizeof(message)));
        size_t our_size = 0, their_size = 0;

        assert_non_null(EVP_Q_mac(NULL, "HMAC", "provider=ringbolt", digest, NULL, secret.data, secret.size,
                                  data.data, data.size, ours, sizeof(ours), &our_size));
        assert_non_null(EVP_Q_mac(NULL, "HMAC", "provider=default", digest, NULL, secret.data, secret.size,
                                  data.data, data.size, theirs, sizeof(theirs), &their_size));
        assert_int_equal(our_size, their_size);
        assert_memory_equal(ours, theirs, our_size);
    }
}

// As libssl checks the binders of pre-shared keys: by way of a key, and of copies of contexts.
static void test_mac_signs(void **state)
{
    static const char *const queries[] = {PROVIDER_QUERY, "provider=default"};
    uint8_t key[32], message[100], macs[2][64];
    size_t size;

    random_bytes(key, sizeof(key));
    random_bytes(message, sizeof(message));
    for (int i = 0; i < 2; i++) {
        EVP_PKEY *mac_key = EVP_PKEY_new_raw_private_key_ex(NULL, "HMAC", queries[i], key, sizeof(key));
        EVP_MD_CTX *context = EVP_MD_CTX_new();

        assert_int_equal(EVP_DigestSignInit_ex(context, NULL, "SHA2-256", NULL, queries[i], mac_key, NULL), 1);
        assert_int_equal(EVP_DigestSignUpdate(context, message, sizeof(message)), 1);
        size = sizeof(macs[i]);
        assert_int_equal(EVP_DigestSignFinal(context, macs[i], &size), 1);
        assert_int_equal(size, 32);
        EVP_MD_CTX_free(context);
        EVP_PKEY_free(mac_key);
    }
    assert_memory_equal(macs[0], macs[1], 32);
}

// ---- what isn't understood is refused ----

static void test_refused(void **state)
{
    static const uint8_t key[32];
    int expand = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    int both = EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND;
    struct hmac_bytes secret = {key, sizeof(key)};
    OSSL_PARAM mode = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &expand);
    OSSL_PARAM digest = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0);
    OSSL_PARAM key_param = octets(OSSL_KDF_PARAM_KEY, secret);
    OSSL_PARAM end = OSSL_PARAM_construct_end();
    const struct {
        OSSL_PARAM params[5];
        size_t size;
        int result;
    } cases[] = {
        {{mode, digest, key_param, end}, 32, 1},
        {{mode, digest, key_param, end}, 255 * 32 + 1, 0},
        {{mode, key_param, end}, 32, 0},
        {{digest, key_param, end}, 32, 0},
        {{mode, digest, end}, 32, 0},
        {{OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &both), digest, key_param, end}, 32, 0},
        {{mode, OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA1", 0), key_param, end}, 32, 0},
        {{mode, digest, key_param, octets("of-another-kind", secret), end}, 32, 0},
        {{mode, digest, key_param, octets(OSSL_KDF_PARAM_LABEL, (struct hmac_bytes){(const uint8_t[250]){0}, 250}), end}, 32, 0},
    };
    static uint8_t out[255 * 32 + 1];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(derive(OSSL_KDF_NAME_TLS1_3_KDF, "provider=ringbolt", cases[i].params, out, cases[i].size),
                         cases[i].result);
    assert_null(EVP_Q_mac(NULL, "HMAC", "provider=ringbolt", "SHA1", NULL, key, 32, key, 32, out, 64, NULL));
    ERR_clear_error();
}

// ---- handshakes ----

// Who asks for nothing special gets nothing of ours: this HMAC knows two hash functions only.
static void test_others_are_untouched(void **state)
{
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_TLS1_3_KDF, NULL);

    assert_string_equal(OSSL_PROVIDER_get0_name(EVP_MAC_get0_provider(mac)), "default");
    assert_string_equal(OSSL_PROVIDER_get0_name(EVP_KDF_get0_provider(kdf)), "default");
    EVP_MAC_free(mac);
    EVP_KDF_free(kdf);
}

struct heard {
    int count[3];
};

static void on_secret(void *argument, enum provider_secret which, const uint8_t *secret, size_t size)
{
    struct heard *heard = argument;

    heard->count[which]++;
}

static void expand_label(const char *label)
{
    static const uint8_t key[32];
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    uint8_t out[32];
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
        octets(OSSL_KDF_PARAM_KEY, (struct hmac_bytes){key, 32}),
        octets(OSSL_KDF_PARAM_PREFIX, text("tls13 ")),
        octets(OSSL_KDF_PARAM_LABEL, text(label)),
        OSSL_PARAM_construct_end(),
    };

    assert_int_equal(derive(OSSL_KDF_NAME_TLS1_3_KDF, PROVIDER_QUERY, params, out, sizeof(out)), 1);
}

static void test_watch(void **state)
{
    struct heard heard = {{0}};

    expand_label("c ap traffic");
    provider_watch(on_secret, &heard);
    expand_label("c ap traffic");
    expand_label("s ap traffic");
    expand_label("s hs traffic");
    expand_label("s ap traffic ");
    provider_watch(NULL, NULL);
    expand_label("s ap traffic");
    assert_int_equal(heard.count[PROVIDER_CLIENT_TRAFFIC], 1);
    assert_int_equal(heard.count[PROVIDER_SERVER_TRAFFIC], 1);
    assert_int_equal(heard.count[PROVIDER_KEY_BLOCK], 0);
}

static void assert_handshakes(void)
{
    static const int versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};
    static struct talk talk;
    struct server server;

    server_init(&server, "P-256");
    server_start(&server);
    for (size_t i = 0; i < 2; i++) {
        SSL_CTX *client = client_context();
        struct engine_outcome outcome;

        SSL_CTX_set_min_proto_version(client, versions[i]);
        SSL_CTX_set_max_proto_version(client, versions[i]);
        talk_init(&talk, &server, client);
        outcome = talk_succeed(&talk);
        assert_int_equal(outcome.version, versions[i]);
        assert_keys_work(&talk, &outcome);
        talk_finish(&talk);
        SSL_CTX_free(client);
    }
    server_finish(&server);
}

static void test_handshakes(void **state)
{
    assert_true(provider_serves());
    assert_handshakes();
}

// A machine may prescribe its provider, as it does for FIPS.
static void test_policy(void **state)
{
    record_finish();
    assert_int_equal(EVP_set_default_properties(NULL, "provider=default"), 1);
    assert_int_equal(record_init(), 0);
    assert_false(provider_serves());
    assert_handshakes();
    record_finish();
    assert_int_equal(EVP_set_default_properties(NULL, ""), 1);
    assert_int_equal(record_init(), 0);
    assert_true(provider_serves());
    assert_handshakes();
}

static int set_up(void **state)
{
    must(record_init() == 0, "the record layer");
    return 0;
}

static int tear_down(void **state)
{
    record_finish();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc4231),
        cmocka_unit_test(test_rfc8448),
        cmocka_unit_test(test_expand),
        cmocka_unit_test(test_extract),
        cmocka_unit_test(test_prf),
        cmocka_unit_test(test_mac),
        cmocka_unit_test(test_mac_signs),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_others_are_untouched),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_handshakes),
        cmocka_unit_test(test_policy),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
