// SPDX-License-Identifier: Apache-2.0
// Changes as they are applied: ten thousand certificates, a cache that is smaller than that, bytes that are no change, certificates
// that OpenSSL doesn't take.
#include "tests/unit/visit.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ringbolt/log.h"
#include "src/tls/hot.h"
#include "src/tls/material.h"

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

// A certificate and its key as a change wants them. `object` points into the rest.
struct pair {
    struct certificate object;
    char *names[1];
    struct material_bytes issuer;
};

static void pair_init(struct pair *pair, const char *kind, char *name)
{
    EVP_PKEY *issuer_key = key_make("P-256");
    X509 *issuer = certificate_of("an intermediate CA", issuer_key, NULL, NULL);
    EVP_PKEY *key = server_key(kind);
    X509 *leaf = certificate_of("localhost", key, issuer, issuer_key);
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);

    *pair = (struct pair){.object = {.kind = kind_of(key), .id = id_of(leaf), .name_count = 1}};
    pair->names[0] = name;
    pair->object.names = pair->names;
    pair->object.leaf = der_of(leaf);
    pair->object.key.size = (size_t)i2d_PKCS8_PRIV_KEY_INFO(info, &pair->object.key.data);
    pair->issuer = der_of(issuer);
    pair->object.intermediates = &pair->issuer;
    pair->object.intermediate_count = 1;
    PKCS8_PRIV_KEY_INFO_free(info);
    X509_free(leaf);
    EVP_PKEY_free(key);
    X509_free(issuer);
    EVP_PKEY_free(issuer_key);
}

static void pair_finish(struct pair *pair)
{
    OPENSSL_free(pair->object.leaf.data);
    OPENSSL_free(pair->object.key.data);
    OPENSSL_free(pair->issuer.data);
}

// A handshake's certificate by the outcome alone: many slots serve the same bytes here under different ids.
static uint64_t id_for(struct server *server, SSL_CTX *client, const char *sni)
{
    static struct talk talk;
    uint64_t id;

    talk_init(&talk, server, client);
    talk_name(&talk, sni);
    id = talk_succeed(&talk).certificate;
    talk_finish(&talk);
    return id;
}

// ---- many ----

#define MANY 10000

static void change_many(struct change *change, struct pair *pair, uint32_t slot, uint64_t id)
{
    const struct material_place place = {.listener = 0, .rank = slot};
    char name[32];

    snprintf(name, sizeof(name), "host-%u.example", slot);
    pair->names[0] = name;
    pair->object.id = id;
    change_certificate(change, slot, &pair->object, &place, 1);
}

static void test_ten_thousand(void **state)
{
    SSL_CTX *client = client_context();
    struct material_choice choice;
    struct server server;
    struct change change = {0};
    struct pair pair;
    char name[32];

    server_init_empty(&server);
    server_start(&server);
    pair_init(&pair, "P-256", NULL);
    for (uint32_t slot = 0; slot < MANY; slot++)
        change_many(&change, &pair, slot, 1 + slot);
    apply(server.material, &change);
    assert_int_equal(material_certificate_count(server.material, 0), MANY);
    assert_int_equal(server.material->intermediates.count, 1);
    for (uint32_t slot = 0; slot < MANY; slot++) {
        snprintf(name, sizeof(name), "HOST-%u.example", slot);
        assert_int_equal(material_choose(server.material, 0, name, &choice), MATERIAL_BY_NAME);
        assert_int_equal(choice.numbers[CERTIFICATE_ECDSA], slot);
        assert_int_equal(choice.slots[CERTIFICATE_ECDSA]->id, 1 + slot);
        assert_null(choice.slots[CERTIFICATE_RSA]);
    }
    // More than are kept parsed; the default stays.
    id_for(&server, client, NULL);
    for (uint32_t i = 0; i < HOT_MAX + 100; i++) {
        snprintf(name, sizeof(name), "host-%u.example", 100 + i);
        assert_int_equal(id_for(&server, client, name), 101 + i);
    }
    assert_int_equal(server.material->hot_count, HOT_MAX + 1);
    assert_non_null(server.material->slots[0]->hot);
    assert_null(server.material->slots[100]->hot);
    assert_int_equal(id_for(&server, client, "host-100.example"), 101);
    // Every other one goes, some come anew.
    for (uint32_t slot = 0; slot < MANY; slot += 2)
        change_certificate_gone(&change, slot);
    for (uint32_t slot = 1; slot < MANY; slot += 4)
        change_many(&change, &pair, slot, 1000000 + slot);
    apply(server.material, &change);
    assert_int_equal(material_certificate_count(server.material, 0), MANY / 2);
    for (uint32_t slot = 0; slot < MANY; slot++) {
        bool is_there = slot % 2 == 1;

        snprintf(name, sizeof(name), "host-%u.example", slot);
        assert_int_equal(material_choose(server.material, 0, name, &choice),
                         is_there ? MATERIAL_BY_NAME : MATERIAL_BY_DEFAULT);
        assert_int_equal(choice.slots[CERTIFICATE_ECDSA]->id, !is_there       ? 1000001
                                                              : slot % 4 == 1 ? 1000000 + slot
                                                                              : 1 + slot);
    }
    assert_int_equal(id_for(&server, client, NULL), 1000001);
    for (uint32_t slot = 0; slot < MANY; slot++)
        change_certificate_gone(&change, slot);
    apply(server.material, &change);
    assert_int_equal(material_certificate_count(server.material, 0), 0);
    assert_int_equal(server.material->intermediates.count, 0);
    assert_int_equal(server.material->hot_count, 0);
    assert_int_equal(server.material->hot_default_count, 0);
    pair_finish(&pair);
    server_finish(&server);
    SSL_CTX_free(client);
}

// More defaults than the cache has room for: all of them stay, and the others still have theirs.
static void test_many_listeners(void **state)
{
    enum { LISTENERS = HOT_MAX + 200 };
    struct material *material = material_create(LISTENERS);
    struct change change = {0};
    struct pair pair;

    pair_init(&pair, "P-256", (char *)"localhost");
    for (uint32_t i = 0; i < 2 * LISTENERS; i++) {
        const struct material_place place = {.listener = i % LISTENERS, .rank = i};

        change_certificate(&change, i, &pair.object, &place, 1);
    }
    apply(material, &change);
    for (uint32_t i = 0; i < 2 * LISTENERS; i++)
        assert_non_null(hot_get(material, material->slots[i]));
    assert_int_equal(material->hot_default_count, LISTENERS);
    assert_int_equal(material->hot_count, LISTENERS + HOT_MAX);
    for (uint32_t i = 0; i < LISTENERS; i++)
        assert_non_null(material->slots[i]->hot);
    for (uint32_t i = 0; i < LISTENERS; i++)
        change_certificate_gone(&change, i); // now the others are the defaults
    apply(material, &change);
    assert_int_equal(material->hot_default_count, HOT_MAX);
    assert_int_equal(material->hot_count, HOT_MAX);
    pair_finish(&pair);
    material_destroy(material);
}

// ---- in a worker ----

static void test_forked(void **state)
{
    struct server server;
    pid_t child;
    int status;

    server_init(&server, "RSA2048 P-256");
    child = fork();
    if (child == 0) {
        SSL_CTX *client = client_context();

        material_forked(server.material);
        server_start(&server);
        visit(&server, client, "localhost");
        server_serve(&server, 0, "P-256", "localhost");
        visit(&server, client, "localhost");
        server_finish(&server);
        SSL_CTX_free(client);
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    server_finish(&server);
}

// ---- bytes that are no change ----

// One of each element.
static void change_all(struct change *change, struct pair *pair)
{
    const struct material_place places[] = {{0, 0}, {1, 7}, {0, 3}};
    const struct staple staple = {.response = {(uint8_t *)"response", 8}, .next_update_s = INT64_MAX};
    struct ticket_keys keys = {.count = 2, .keys = {random_ticket_key(16), random_ticket_key(32)}};
    struct client_trust trust = {.cas = &pair->issuer, .ca_count = 1, .next_update_s = INT64_MAX};
    const uint64_t ids[] = {7, 3, 7, UINT64_MAX};

    change_certificate(change, 5, &pair->object, places, 3);
    change_certificate(change, 2, &pair->object, places, 1);
    change_staple(change, 5, &staple);
    change_certificate_gone(change, 2);
    change_trust(change, 1, &trust);
    change_ticket_keys(change, &keys);
    change_retire(change, ids, 4);
}

static void assert_nothing(struct material *material)
{
    assert_int_equal(material_certificate_count(material, 0), 0);
    assert_int_equal(material_certificate_count(material, 1), 0);
    assert_int_equal(material->intermediates.count, 0);
    assert_int_equal(material->retired_count, 0);
    assert_null(material->ticket_keys);
    assert_null(material->listeners[1].trust);
}

static void test_cut_off(void **state)
{
    struct material *material = material_create(2);
    struct change change = {0};
    struct pair pair;
    int good = 0;

    pair_init(&pair, "P-256", (char *)"localhost");
    change_all(&change, &pair);
    for (size_t size = 1; size < change.size; size++) {
        int result = material_apply(material, change.data, size);

        assert_true(result == 0 || result == -EBADMSG);
        good += result == 0; // it ends between two elements
        if (result < 0 && good == 0)
            assert_nothing(material);
    }
    assert_int_equal(good, 6);
    assert_int_equal(material_apply(material, change.data, change.size), 0);
    assert_int_equal(material_certificate_count(material, 0), 2);
    assert_int_equal(material_certificate_count(material, 1), 1);
    assert_true(material_is_retired(material, 7));
    assert_true(material_is_retired(material, 3));
    assert_true(material_is_retired(material, UINT64_MAX));
    assert_false(material_is_retired(material, 0));
    assert_int_equal(material->retired_count, 3);
    assert_int_equal(material_apply(material, NULL, 0), 0);
    change_finish(&change);
    pair_finish(&pair);
    material_destroy(material);
}

static void test_foreign_listener(void **state)
{
    const struct material_place places[] = {{0, 0}, {2, 0}};
    struct client_trust trust = {.ca_count = 1};
    struct material *material = material_create(2);
    struct change change = {0};
    struct pair pair;

    pair_init(&pair, "P-256", (char *)"localhost");
    change_certificate(&change, 0, &pair.object, places, 1);
    change_certificate(&change, 1, &pair.object, places, 2);
    assert_int_equal(material_apply(material, change.data, change.size), -EBADMSG);
    assert_nothing(material);
    change_finish(&change);
    change = (struct change){0};
    trust.cas = &pair.issuer;
    change_certificate(&change, 0, &pair.object, places, 1);
    change_trust(&change, 2, &trust);
    assert_int_equal(material_apply(material, change.data, change.size), -EBADMSG);
    assert_nothing(material);
    change_finish(&change);
    pair_finish(&pair);
    material_destroy(material);
}

// Whatever is in the bytes: applied or not, and what is then served serves or fails a handshake.
static void test_mutated(void **state)
{
    SSL_CTX *client = client_context();
    struct change change = {0};
    unsigned seed = 11;
    struct pair pair;

    pair_init(&pair, "P-256", (char *)"localhost");
    change_all(&change, &pair);
    log_setup(LOG_TEXT, LOG_ERROR, -1); // it would say much
    for (int round = 0; round < 600; round++) {
        uint8_t *bytes = malloc(change.size); // of its own, so that sanitizers see each byte beyond
        struct server server;
        struct talk talk;

        must(bytes != NULL, "memory");
        memcpy(bytes, change.data, change.size);
        for (int i = rand_r(&seed) % 3; i >= 0; i--)
            bytes[(size_t)rand_r(&seed) % change.size] =
                (uint8_t)(rand_r(&seed) % 4 == 0 ? 0 : rand_r(&seed));
        server_init_empty(&server);
        material_destroy(server.material);
        server.material = material_create(2);
        if (material_apply(server.material, bytes, change.size) == -EBADMSG)
            assert_nothing(server.material);
        free(bytes);
        server_start(&server);
        talk_init(&talk, &server, client);
        talk_name(&talk, "localhost");
        talk_run(&talk);
        talk_finish(&talk);
        server_finish(&server);
    }
    log_setup(LOG_TEXT, LOG_INFO, STDERR_FILENO);
    change_finish(&change);
    pair_finish(&pair);
    SSL_CTX_free(client);
}

// ---- what OpenSSL doesn't take ----

static void test_broken_certificate(void **state)
{
    const struct material_place place = {0, 0};
    SSL_CTX *client = client_context();
    struct server server;
    struct change change = {0};
    struct pair pair, other;
    ssize_t log_size;
    char log[4096];
    int pipes[2];

    assert_int_equal(pipe(pipes), 0);
    log_setup(LOG_TEXT, LOG_ERROR, pipes[1]);
    server_init_empty(&server);
    server_start(&server);
    pair_init(&pair, "P-256", (char *)"localhost");
    pair_init(&other, "P-256", (char *)"localhost");
    for (int broken = 0; broken < 4; broken++) {
        struct certificate object = pair.object;
        uint8_t junk[] = {0x30, 3, 2, 1, 1};
        struct material_bytes bytes = {junk, sizeof(junk)};

        if (broken == 0)
            object.leaf = bytes;
        else if (broken == 1)
            object.key = bytes;
        else if (broken == 2)
            object.intermediates = &bytes;
        else
            object.key = other.object.key; // another certificate's
        change_certificate(&change, 0, &object, &place, 1);
        apply(server.material, &change);
        for (int i = 0; i < 2; i++)
            assert_refused(&server, client, NULL, 80, "no certificate can be used");
        log_size = read(pipes[0], log, sizeof(log)); // once for all
        assert_true(log_size > 0);
        assert_ptr_equal(memchr(log, '\n', (size_t)log_size), log + log_size - 1);
        assert_non_null(memmem(log, (size_t)log_size, "a certificate can't be used", 27));
    }
    log_setup(LOG_TEXT, LOG_INFO, STDERR_FILENO);
    close(pipes[0]);
    close(pipes[1]);
    // What is left serves.
    server_serve(&server, 1, "RSA2048", "localhost");
    visit(&server, client, "localhost");
    pair_finish(&other);
    pair_finish(&pair);
    server_finish(&server);
    SSL_CTX_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ten_thousand),
        cmocka_unit_test(test_many_listeners),
        cmocka_unit_test(test_forked),
        cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_foreign_listener),
        cmocka_unit_test(test_mutated),
        cmocka_unit_test(test_broken_certificate),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
