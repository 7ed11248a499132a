// SPDX-License-Identifier: Apache-2.0
// What a master leaves, part by part: it comes out as it went in, and what is cut, changed or made up is refused whole.
#include "tests/unit/loader.h"

#include "ringbolt/clock.h"
#include "src/control/estate_secrets.h"
#include "src/control/estate_servers.h"
#include "src/control/generations.h"
#include "src/control/tickets.h"

#define NOW_NS (1000 * CLOCK_NS_PER_S)

// ---- bytes ----

static void test_pack(void **state)
{
    struct pack pack = {0};
    struct unpack unpack;
    char text[8];
    size_t size;

    (void)state;
    pack_number(&pack, 0x0102, 2);
    pack_number(&pack, UINT64_MAX, 8);
    pack_bytes(&pack, "", 0);
    pack_text(&pack, "hello");
    for (unsigned i = 0; i < 10000; i++)
        pack_number(&pack, i, 4);
    unpack = (struct unpack){.at = pack.data, .left = pack.size};
    assert_int_equal(pack.data[0], 2);
    assert_int_equal(unpack_number(&unpack, 2), 0x0102);
    assert_int_equal(unpack_number(&unpack, 8), UINT64_MAX);
    assert_null(unpack_bytes(&unpack, 10, &size));
    assert_int_equal(size, 0);
    assert_false(unpack.is_bad);
    unpack_text(&unpack, text, sizeof(text));
    assert_string_equal(text, "hello");
    for (unsigned i = 0; i < 10000; i++)
        assert_int_equal(unpack_number(&unpack, 4), i);
    assert_true(unpack_is_whole(&unpack));
    assert_int_equal(unpack_number(&unpack, 1), 0);
    assert_true(unpack.is_bad);
    pack_finish(&pack);
}

// Longer than it may be, without an end, with a zero within.
static void test_unpack_texts(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        bool is_good;
    } cases[] = {{"\3\0\0\0abc", 7, true}, {"\4\0\0\0abcd", 8, false},
                 {"\3\0\0\0ab", 6, false}, {"\3\0\0\0a\0c", 7, false},
                 {"\0\0\0\0", 4, false},   {"\377\377\377\377abc", 7, false},
                 {"\3\0\0", 3, false},     {"", 0, false}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint8_t *exact = malloc(cases[i].size + 1);
        struct unpack unpack = {.at = exact + 1, .left = cases[i].size};
        char text[4];

        memcpy(exact + 1, cases[i].bytes, cases[i].size);
        unpack_text(&unpack, text, sizeof(text));
        assert_int_equal(unpack_is_whole(&unpack), cases[i].is_good);
        assert_string_equal(text, cases[i].is_good ? "abc" : "");
        free(exact);
    }
}

// A copy of its exact size, for the sanitizer.
static uint8_t *exact_copy(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);

    memcpy(copy, bytes, size);
    return copy;
}

// ---- ticket keys ----

static void make_tickets(struct tickets *tickets, size_t count)
{
    tickets->keys = calloc(1, sizeof(*tickets->keys));
    tickets->keys->count = count;
    tickets->made_ns = NOW_NS - 1;
    for (size_t i = 0; i < count; i++) {
        must(ticket_key_make(&tickets->keys->keys[i]) == 0, "a key");
        tickets->replaced_ns[i] = i == 0 ? UINT64_MAX : NOW_NS - i;
    }
}

static bool unpack_tickets(const uint8_t *bytes, size_t size, struct tickets *ret)
{
    uint8_t *copy = exact_copy(bytes, size);
    bool is_good = tickets_unpack(copy, size, NOW_NS, ret);

    free(copy);
    return is_good;
}

static void test_tickets(void **state)
{
    static const size_t counts[] = {1, 2, TICKET_KEYS_MAX};

    (void)state;
    for (size_t i = 0; i < COUNT(counts); i++) {
        struct tickets tickets = {.keys = NULL};
        struct ticket_keys keys = {.count = 0};
        struct tickets got = {.keys = &keys};
        struct pack pack = {0};

        make_tickets(&tickets, counts[i]);
        tickets_pack(&tickets, &pack);
        for (size_t size = 0; size < pack.size; size++)
            assert_false(unpack_tickets(pack.data, size, &got));
        assert_int_equal(keys.count, 0);
        assert_true(unpack_tickets(pack.data, pack.size, &got));
        assert_int_equal(keys.count, counts[i]);
        assert_memory_equal(keys.keys, tickets.keys->keys, counts[i] * sizeof(keys.keys[0]));
        assert_memory_equal(got.replaced_ns, tickets.replaced_ns, counts[i] * sizeof(uint64_t));
        assert_int_equal(got.made_ns, tickets.made_ns);
        pack_number(&pack, 0, 1); // something more
        assert_false(unpack_tickets(pack.data, pack.size, &got));
        pack_finish(&pack);
        free(tickets.keys);
    }
}

static void test_bad_tickets(void **state)
{
    struct tickets tickets = {.keys = NULL};
    struct ticket_keys keys = {.count = 0};
    struct tickets got = {.keys = &keys};

    (void)state;
    for (unsigned bad = 0; bad < 9; bad++) {
        struct pack pack = {0};

        make_tickets(&tickets, 3);
        if (bad == 1)
            tickets.made_ns = NOW_NS + 1;
        else if (bad == 2)
            tickets.replaced_ns[0] = NOW_NS;
        else if (bad == 3)
            tickets.replaced_ns[1] = NOW_NS + 1;
        else if (bad == 4)
            tickets.replaced_ns[2] = tickets.replaced_ns[1] + 1;
        else if (bad == 5)
            tickets.keys->keys[0].size = 24;
        else if (bad == 6)
            tickets.keys->keys[2].size = 0;
        tickets_pack(&tickets, &pack);
        if (bad == 7)
            pack.data[0]++; // the version
        else if (bad == 8)
            pack.data[1] = 0; // no key
        assert_int_equal(unpack_tickets(pack.data, pack.size, &got), bad == 0);
        pack_finish(&pack);
        free(tickets.keys);
    }
}

// ---- generations ----

static bool unpack_generation(const struct pack *pack, size_t size, struct generation *ret)
{
    uint8_t *copy = exact_copy(pack->data, size);
    bool is_good = generation_unpack(copy, size, NOW_NS, ret);

    free(copy);
    return is_good;
}

static void test_generation(void **state)
{
    const struct generation good = {
        .pid = 4711, .release = "0.9.1", .started_ns = 5, .superseded_ns = NOW_NS, .until_ns = NOW_NS + 7};
    struct generation got;
    struct pack pack = {0};

    (void)state;
    generation_pack(&good, &pack);
    for (size_t size = 0; size < pack.size; size++)
        assert_false(unpack_generation(&pack, size, &got));
    assert_true(unpack_generation(&pack, pack.size, &got));
    assert_memory_equal(&got, &good, sizeof(got));
    pack.data[0]++; // the version
    assert_false(unpack_generation(&pack, pack.size, &got));
    pack.data[0]--;
    pack_number(&pack, 0, 1); // something more
    assert_false(unpack_generation(&pack, pack.size, &got));
    pack_finish(&pack);
}

// Nobody's process id, and times to come.
static void test_bad_generations(void **state)
{
    static const struct generation bad[] = {
        {.pid = 0, .release = "1", .started_ns = 1},
        {.pid = -1, .release = "1", .started_ns = 1},
        {.pid = 1, .release = "", .started_ns = 1},
        {.pid = 1, .release = "1", .started_ns = NOW_NS + 1},
        {.pid = 1, .release = "1", .started_ns = 1, .superseded_ns = NOW_NS + 1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct generation got;
        struct pack pack = {0};

        generation_pack(&bad[i], &pack);
        assert_false(unpack_generation(&pack, pack.size, &got));
        pack_finish(&pack);
    }
}

// ---- servers ----

static struct config_server server_configs[3];
static struct config_upstream upstream_config;
static struct config config;

static void configure(void)
{
    static const char *const texts[] = {"192.0.2.1:80", "192.0.2.2:80", "unix:/run/app"};

    for (size_t i = 0; i < 3; i++)
        server_configs[i] = (struct config_server){.address.text = (char *)texts[i], .weight = 1};
    upstream_config = (struct config_upstream){.name = (char *)"app",
                                               .servers = server_configs,
                                               .server_count = 3,
                                               .health = {.max_fails = 3,
                                                          .fail_timeout_ns = 10 * CLOCK_NS_PER_S,
                                                          .slow_start_ns = 60 * CLOCK_NS_PER_S}};
    config = (struct config){.workers = 1, .upstreams = &upstream_config, .upstream_count = 1};
}

static struct servers *make_servers(void)
{
    struct servers *servers;

    assert_int_equal(servers_create(&config, &servers), 0);
    return servers;
}

// The first one is to drain, the second one is out, the third one came back just now.
static void pack_busy(struct pack *pack)
{
    struct servers *servers = make_servers();
    const struct config_health *health = &upstream_config.health;

    (void)servers_set_order(servers_state(servers, 0), SERVERS_DRAIN, NOW_NS - 5);
    for (unsigned i = 0; i < 3; i++) {
        (void)servers_failed(servers_state(servers, 1), health, true, NOW_NS - 4);
        (void)servers_failed(servers_state(servers, 2), health, true, NOW_NS - 4);
    }
    (void)servers_succeeded(servers_state(servers, 2), health, NOW_NS - 3);
    servers_pack(&config, servers, NULL, pack);
    servers_destroy(servers);
}

static struct servers *unpack_servers(const uint8_t *bytes, size_t size, bool expected)
{
    struct servers *servers = make_servers();
    uint8_t *copy = exact_copy(bytes, size);

    assert_int_equal(servers_unpack(copy, size, &config, servers, NULL, NOW_NS), expected);
    free(copy);
    return servers;
}

static void test_servers(void **state)
{
    struct pack pack = {0};
    struct servers_state *server;
    struct servers *servers;

    (void)state;
    configure();
    pack_busy(&pack);
    servers = unpack_servers(pack.data, pack.size, true);
    server = servers_state(servers, 0);
    assert_int_equal(server->order, SERVERS_DRAIN);
    assert_int_equal(server->changed_ns, NOW_NS - 5);
    server = servers_state(servers, 1);
    assert_int_equal(server->is_out, 1);
    assert_int_equal(server->failures, 3);
    assert_int_equal(server->out_until_ns, NOW_NS - 4 + 10 * CLOCK_NS_PER_S);
    assert_false(servers_is_fit(server, NOW_NS));
    server = servers_state(servers, 2);
    assert_int_equal(server->is_out, 0);
    assert_true(servers_weight(server, &upstream_config.health, 1000, NOW_NS + CLOCK_NS_PER_S) < 100);
    servers_destroy(servers);
    pack_finish(&pack);
}

// Nothing is half taken over.
static void test_cut_servers(void **state)
{
    struct pack pack = {0};

    (void)state;
    configure();
    pack_busy(&pack);
    for (size_t size = 0; size < pack.size; size++) {
        struct servers *servers;
        bool is_whole = false;

        // Between two servers it may end.
        for (size_t end = 1, i = 0; i < 4 && !is_whole; i++) {
            is_whole = size == end;
            if (end + 9 <= pack.size)
                end += 1 + 4 + 3 + 4 + pack.data[end + 8] + 1 + 1 + 4 + 24;
        }
        servers = unpack_servers(pack.data, size, is_whole);
        if (!is_whole)
            assert_int_equal(servers_state(servers, 0)->order, SERVERS_READY);
        servers_destroy(servers);
    }
    pack_finish(&pack);
}

// Another configuration: others, in another order, with other rules.
static void test_other_servers(void **state)
{
    static const char *const texts[] = {"192.0.2.2:80", "192.0.2.9:80", "192.0.2.1:80"};
    struct pack pack = {0};
    struct servers *servers;

    (void)state;
    configure();
    pack_busy(&pack);
    for (size_t i = 0; i < 3; i++)
        server_configs[i].address.text = (char *)texts[i];
    upstream_config.health.fail_timeout_ns = CLOCK_NS_PER_S;
    servers = unpack_servers(pack.data, pack.size, true);
    assert_int_equal(servers_state(servers, 0)->is_out, 1);
    assert_int_equal(servers_state(servers, 0)->out_until_ns,
                     NOW_NS + CLOCK_NS_PER_S); // no longer than others
    assert_int_equal(servers_state(servers, 1)->order, SERVERS_READY);
    assert_int_equal(servers_state(servers, 2)->order, SERVERS_DRAIN);
    servers_destroy(servers);
    // Nothing could bring it back.
    upstream_config.health.max_fails = 0;
    servers = unpack_servers(pack.data, pack.size, true);
    assert_int_equal(servers_state(servers, 0)->is_out, 0);
    servers_destroy(servers);
    // Checks will.
    upstream_config.health.check = CONFIG_CHECK_TCP;
    servers = unpack_servers(pack.data, pack.size, true);
    assert_int_equal(servers_state(servers, 0)->is_out, 1);
    assert_int_equal(servers_state(servers, 0)->out_until_ns, UINT64_MAX);
    servers_destroy(servers);
    // One that is alone is never out.
    configure();
    upstream_config.servers = &server_configs[1];
    upstream_config.server_count = 1;
    servers = unpack_servers(pack.data, pack.size, true);
    assert_int_equal(servers_state(servers, 0)->is_out, 0);
    servers_destroy(servers);
    configure();
    upstream_config.name = (char *)"other";
    servers = unpack_servers(pack.data, pack.size, true);
    assert_int_equal(servers_state(servers, 0)->order, SERVERS_READY);
    servers_destroy(servers);
    pack_finish(&pack);
}

static void test_bad_servers(void **state)
{
    struct pack pack = {0};
    size_t at = 1 + 1 + 4 + 3 + 4 + strlen("192.0.2.1:80"); // of the first one's order
    const struct {
        size_t at;
        uint8_t value;
    } cases[] = {{0, 2},
                 {1, 0},
                 {1, 3},
                 {2, 200},
                 {at, 3},
                 {at + 1, 2},
                 {at + 2 + 4 + 7, 0x80},
                 {at + 2 + 4 + 16 + 7, 0x80}};

    (void)state;
    configure();
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct servers *servers;

        pack_busy(&pack);
        pack.data[cases[i].at] = cases[i].value;
        servers = unpack_servers(pack.data, pack.size, false);
        for (size_t j = 0; j < 3; j++) {
            assert_int_equal(servers_state(servers, j)->order, SERVERS_READY);
            assert_int_equal(servers_state(servers, j)->is_out, 0);
        }
        servers_destroy(servers);
        pack_finish(&pack);
    }
}

// ---- passphrases ----

static unsigned answers;

static void count_answer(void *owner, const char *path, const char *phrase, size_t length)
{
    (void)owner;
    assert_string_equal(path, answers == 0 ? "/etc/a.key" : "/etc/b.key");
    assert_memory_equal(phrase, answers == 0 ? "secret" : "other", length);
    answers++;
}

static void test_passphrases(void **state)
{
    struct loader *before = loader_create(false);
    struct loader *after = loader_create(false);
    struct pack pack = {0};

    (void)state;
    passphrases_pack(before, &pack);
    assert_int_equal(pack.size, 0); // nothing was asked
    assert_int_equal(loader_answer(before, "/etc/a.key", "", 0), -EINVAL);
    assert_int_equal(loader_answer(before, "/etc/a.key", "wrong", 5), 0);
    assert_int_equal(loader_answer(before, "/etc/a.key", "secret", 6), 0);
    assert_int_equal(loader_answer(before, "/etc/b.key", "other", 5), 0);
    passphrases_pack(before, &pack);
    for (size_t size = 0; size < pack.size; size++) {
        uint8_t *copy = exact_copy(pack.data, size);
        bool is_between = size == 1 || size == 1 + 4 + 10 + 4 + 6;

        assert_int_equal(passphrases_unpack(after, copy, size), is_between);
        free(copy);
    }
    assert_true(passphrases_unpack(after, pack.data, pack.size));
    answers = 0;
    loader_answers(after, count_answer, NULL);
    assert_int_equal(answers, 2);
    pack_finish(&pack);
    loader_destroy(before);
    loader_destroy(after);
}

// An encrypted key that nobody has to be asked for.
static void test_passphrase_opens(void **state)
{
    EVP_PKEY *key = key_make("P-256");
    X509 *certificate = certificate_of("localhost", key, NULL, NULL);
    struct loader *loader = loader_create(false);
    struct load load;
    FILE *file;

    (void)state;
    write_chain("own.pem", certificate, NULL);
    file = fopen(path_of("own.key"), "w");
    must(file && PEM_write_PKCS8PrivateKey(file, key, EVP_aes_256_cbc(), "secret", 6, NULL, NULL) == 1,
         "a key");
    fclose(file);
    assert_int_equal(load_pair(&load, loader, "own.pem", "own.key"), -EINVAL);
    load_finish(&load);
    assert_int_equal(loader_answer(loader, path_of("own.key"), "secret", 6), 0);
    assert_int_equal(load_pair(&load, loader, "own.pem", "own.key"), 0);
    load_finish(&load);
    loader_destroy(loader);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

// ---- the development certificate ----

static void test_development(void **state)
{
    struct certificate *certificate = NULL;
    struct certificate *again;
    struct pack pack = {0};
    struct report report;

    (void)state;
    report_init(&report, NULL);
    assert_int_equal(certificate_develop(NULL, &report, &certificate), 0);
    development_pack(certificate, &pack);
    again = development_unpack(pack.data, pack.size, &report);
    assert_non_null(again);
    assert_memory_equal(again->fingerprint, certificate->fingerprint, 32);
    assert_int_equal(again->key.size, certificate->key.size);
    assert_memory_equal(again->key.data, certificate->key.data, certificate->key.size);
    assert_int_equal(again->authority.size, certificate->authority.size);
    certificate_destroy(again);
    for (size_t size = 0; size < pack.size; size++) {
        uint8_t *copy = exact_copy(pack.data, size);

        assert_null(development_unpack(copy, size, &report));
        free(copy);
    }
    pack.data[pack.size - 1] ^= 1; // of the key
    assert_null(development_unpack(pack.data, pack.size, &report));
    pack.data[pack.size - 1] ^= 1;
    pack.data[60] ^= 1; // of the certificate
    again = development_unpack(pack.data, pack.size, &report);
    if (again) // it may still be one, but not the same
        assert_memory_not_equal(again->fingerprint, certificate->fingerprint, 32);
    certificate_destroy(again);
    pack_finish(&pack);
    certificate_destroy(certificate);
    report_finish(&report);
}

static int set_up(void **state)
{
    (void)state;
    folder_make();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    folder_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pack),          cmocka_unit_test(test_unpack_texts),
        cmocka_unit_test(test_tickets),       cmocka_unit_test(test_bad_tickets),
        cmocka_unit_test(test_generation),
        cmocka_unit_test(test_bad_generations),
        cmocka_unit_test(test_servers),       cmocka_unit_test(test_cut_servers),
        cmocka_unit_test(test_other_servers), cmocka_unit_test(test_bad_servers),
        cmocka_unit_test(test_passphrases),   cmocka_unit_test(test_passphrase_opens),
        cmocka_unit_test(test_development),
    };

    return cmocka_run_group_tests_name("estate_parts", tests, set_up, tear_down);
}
