// SPDX-License-Identifier: Apache-2.0
// Sources with real certificates and the real loader, by themselves and driven by the watch.
#include "sources_world.h"

#include "certificates.h"
#include "ringbolt/clock.h"
#include "src/control/watch.h"

#define ROUNDS         50
#define WATCHED_ROUNDS 3
#define MANY           2000
#define PATIENCE_NS    (20 * CLOCK_NS_PER_S)

static EVP_PKEY *key;
static EVP_PKEY *other_key;
static EVP_PKEY *ca_key;
static X509 *ca;
static struct loop *loop;
static struct watch *watch;
static bool is_over;

static int make_keys(void **state)
{
    umask(077);
    key = key_make("P-256");
    other_key = key_make("P-256");
    ca_key = key_make("P-256");
    ca = certificate_of("Test CA", ca_key, NULL, NULL);
    return 0;
}

static int free_keys(void **state)
{
    EVP_PKEY_free(key);
    EVP_PKEY_free(other_key);
    EVP_PKEY_free(ca_key);
    X509_free(ca);
    return 0;
}

static uint64_t id_of(X509 *certificate)
{
    unsigned char digest[32];
    uint64_t id = 0;

    must(X509_digest(certificate, EVP_sha256(), digest, NULL) == 1, "a fingerprint");
    for (int i = 0; i < 8; i++)
        id = id << 8 | digest[i];
    return id;
}

static void truncate_file(const char *name)
{
    if (truncate(in_root(name), 0) < 0 && errno != ENOENT)
        fail();
}

// Writes a new certificate for the name. Returns its id. is_bad: its key is somebody else's.
static uint64_t write_pair(const char *chain, const char *key_name, const char *name, bool is_bad)
{
    X509 *certificate = certificate_of(name, key, ca, ca_key);
    uint64_t id = id_of(certificate);

    truncate_file(chain);
    certificate_append(in_root(chain), certificate);
    truncate_file(key_name);
    key_append(in_root(key_name), is_bad ? other_key : key);
    X509_free(certificate);
    return id;
}

// ---- three ways to replace a pair ----

static unsigned turn;

static uint64_t in_place(bool is_bad)
{
    return write_pair("live/fullchain.pem", "live/privkey.pem", "a.example", is_bad);
}

static uint64_t by_rename(bool is_bad)
{
    uint64_t id = write_pair("live/new.pem", "live/new.key", "a.example", is_bad);

    move("live/new.pem", "live/fullchain.pem");
    move("live/new.key", "live/privkey.pem");
    return id;
}

// As Kubernetes: the files are links into a folder, whose link is replaced.
static uint64_t by_link(bool is_bad)
{
    char folder[64];
    char chain[128];
    char key_name[128];
    uint64_t id;

    snprintf(folder, sizeof(folder), "live/..%u", ++turn);
    make_folder(folder);
    snprintf(chain, sizeof(chain), "%s/fullchain.pem", folder);
    snprintf(key_name, sizeof(key_name), "%s/privkey.pem", folder);
    id = write_pair(chain, key_name, "a.example", is_bad);
    make_link(folder + strlen("live/"), "live/..new");
    move("live/..new", "live/..data");
    return id;
}

static void link_files(void)
{
    make_link("..data/fullchain.pem", "live/fullchain.pem");
    make_link("..data/privkey.pem", "live/privkey.pem");
}

static const char config[] =
    "listeners: [{name: web, address: \"127.0.0.1:443\", upstream: app, tls: {certificates: "
    "[{chain: live/fullchain.pem, key: live/privkey.pem}]}}]";

static uint64_t start_with(uint64_t (*replace)(bool is_bad))
{
    uint64_t id;

    make_folder("live");
    if (replace == by_link)
        link_files();
    id = replace(false);
    world_load(config);
    assert_true(is_served(id));
    return id;
}

static void rotate(uint64_t (*replace)(bool is_bad))
{
    uint64_t id = start_with(replace);

    for (unsigned round = 0; round < ROUNDS; round++) {
        replace(true);
        check("live");
        assert_int_equal(world.element_count, 0);
        assert_int_equal(world.result.failed, 1);
        assert_true(is_served(id));
        id = replace(false);
        check("live");
        assert_true(is_served(id));
        assert_int_equal(world.served_count, 1);
        assert_int_equal(world.result.failed, 0);
    }
    assert_int_equal(log_count("error certificate is wrong"), ROUNDS);
    assert_int_equal(log_count("info certificate healed"), ROUNDS);
    assert_int_equal(log_count("info certificate replaced"), ROUNDS);
}

static void test_in_place(void **state)
{
    rotate(in_place);
}

static void test_rename(void **state)
{
    rotate(by_rename);
}

static void test_link(void **state)
{
    rotate(by_link);
}

// Never a version whose key isn't its own, at whichever moment somebody looks.
static void test_half_written(void **state)
{
    uint64_t id = start_with(in_place);
    X509 *certificate = certificate_of("a.example", other_key, ca, ca_key);
    uint64_t next = id_of(certificate);
    const char *const files[] = {"live/fullchain.pem", "live/privkey.pem"};

    for (size_t i = 0; i < 2; i++) {
        truncate_file(files[i]);
        check("live");
        assert_true(is_served(id));
        if (i == 0)
            certificate_append(in_root(files[i]), certificate);
        else
            key_append(in_root(files[i]), other_key);
        check("live");
        assert_true(is_served(i == 0 ? id : next));
    }
    X509_free(certificate);
}

// ---- driven by the watch ----

static void add_folder(void *owner, const char *folder)
{
    watch_folder(watch, folder);
}

static void watch_again(void)
{
    watch_begin(watch);
    sources_folders(world.sources, add_folder, NULL);
    watch_end(watch);
}

static void on_changed(void *owner, const char *folder)
{
    struct change change = {0};

    sources_check(world.sources, folder, false, &change, &world.result);
    apply(&change);
    change_finish(&change);
    watch_again();
}

static void on_patience(void *owner)
{
    is_over = true;
}

static void wait_until_served(uint64_t id)
{
    struct loop_timer patience;

    is_over = false;
    loop_timer_init(&patience, on_patience, NULL);
    loop_timer_set(loop, &patience, clock_now_ns() + PATIENCE_NS);
    while (!is_over && !is_served(id))
        assert_int_equal(loop_turn(loop), 0);
    loop_timer_stop(&patience);
    assert_false(is_over);
}

static void wait_until_failed(unsigned count)
{
    struct loop_timer patience;

    is_over = false;
    loop_timer_init(&patience, on_patience, NULL);
    loop_timer_set(loop, &patience, clock_now_ns() + PATIENCE_NS);
    while (!is_over && log_count("error certificate is wrong") < count)
        assert_int_equal(loop_turn(loop), 0);
    loop_timer_stop(&patience);
    assert_false(is_over);
}

static void start_watch(void)
{
    assert_int_equal(loop_create(&loop), 0);
    assert_int_equal(watch_create(loop, on_changed, NULL, &watch), 0);
    watch_again();
}

static void stop_watch(void)
{
    watch_destroy(watch);
    loop_destroy(loop);
}

static void rotate_watched(uint64_t (*replace)(bool is_bad))
{
    uint64_t id = start_with(replace);

    start_watch();
    for (unsigned round = 1; round <= WATCHED_ROUNDS; round++) {
        replace(true);
        wait_until_failed(round);
        assert_true(is_served(id));
        id = replace(false);
        wait_until_served(id);
    }
    assert_int_equal(log_count("info certificate replaced"), WATCHED_ROUNDS);
    stop_watch();
}

static void test_watch_in_place(void **state)
{
    rotate_watched(in_place);
}

static void test_watch_rename(void **state)
{
    rotate_watched(by_rename);
}

static void test_watch_link(void **state)
{
    rotate_watched(by_link);
}

// The folder goes, comes back empty, and is filled.
static void test_watch_folder_replaced(void **state)
{
    uint64_t id = start_with(in_place);

    start_watch();
    for (unsigned round = 1; round <= WATCHED_ROUNDS; round++) {
        remove_all(in_root("live"));
        wait_until_failed(round);
        assert_true(is_served(id));
        make_folder("live");
        id = in_place(false);
        wait_until_served(id);
    }
    // Another one in its place at once.
    make_folder("next");
    id = write_pair("next/fullchain.pem", "next/privkey.pem", "a.example", false);
    move("live", "last");
    move("next", "live");
    wait_until_served(id);
    stop_watch();
}

// ---- many ----

static void test_many(void **state)
{
    char chain[64];
    char key_name[64];
    char name[64];
    uint64_t id;

    make_folder("d");
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(chain, sizeof(chain), "d/n%u.pem", i);
        snprintf(key_name, sizeof(key_name), "d/n%u.key", i);
        snprintf(name, sizeof(name), "n%u.example", i);
        write_pair(chain, key_name, name, false);
    }
    world_load(
        "listeners: [{name: web, address: \"127.0.0.1:443\", upstream: app, tls: {certificate_dir: d}}]");
    assert_int_equal(world.served_count, MANY);
    start_watch();
    id = write_pair("d/n777.pem", "d/n777.key", "n777.example", false);
    wait_until_served(id);
    id = write_pair("d/new.pem", "d/new.key", "new.example", false);
    wait_until_served(id);
    assert_int_equal(world.served_count, MANY + 1);
    stop_watch();
    assert_int_equal(log_count("error"), 0);
    assert_int_equal(problem_count(), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_in_place),       TEST(test_rename),
        TEST(test_link),           TEST(test_half_written),
        TEST(test_watch_in_place), TEST(test_watch_rename),
        TEST(test_watch_link),     TEST(test_watch_folder_replaced),
        TEST(test_many),
    };

    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
