// SPDX-License-Identifier: Apache-2.0
// Sources: configured certificates, authorities, ticket keys and responses; what is new and right is served, what is wrong changes nothing.
#include "sources_world.h"

#include "sources_loader.h"

#define ROUNDS 50

#define LISTENER(tls) "listeners: [{name: web, address: \"127.0.0.1:443\", upstream: app, tls: {" tls "}}]"
#define ONE           LISTENER("certificates: [{chain: a.pem, key: a.key}]")

// ---- in the place of the C library's ----

#define TICK_NS 10000000

// Let time pass without waiting for it.
static uint64_t skew_s; // of the monotonic clock
static time_t wall_skew_s;

time_t time(time_t *ret)
{
    struct timespec now;

    assert_int_equal(syscall(SYS_clock_gettime, CLOCK_REALTIME, &now), 0);
    assert_null(ret);
    return now.tv_sec + wall_skew_s;
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
    int result = (int)syscall(SYS_clock_gettime, clock, ret);

    if (clock == CLOCK_MONOTONIC)
        ret->tv_sec += (time_t)skew_s;
    return result;
}

// A file system whose clock is coarse, so that what is written at once later looks the same.
int lstat(const char *path, struct stat *ret)
{
    int result = fstatat(AT_FDCWD, path, ret, AT_SYMLINK_NOFOLLOW);

    ret->st_mtim.tv_nsec +=
        1 - ret->st_mtim.tv_nsec % TICK_NS; // whole seconds would be another kind of file system
    ret->st_ctim.tv_nsec += 1 - ret->st_ctim.tv_nsec % TICK_NS;
    return result;
}

// ---- files ----

static void write_pair(const char *chain, const char *key, unsigned id)
{
    char text[32];

    snprintf(text, sizeof(text), "cert %04x\n", id);
    write_file(chain, text);
    snprintf(text, sizeof(text), "key %04x\n", id);
    write_file(key, text);
}

static void one_pair(void)
{
    write_pair("a.pem", "a.key", 1);
    world_load(ONE);
    assert_true(is_served(1));
}

// ---- loading ----

static void test_listeners_share_a_source(void **state)
{
    const struct served *served;

    write_pair("a.pem", "a.key", 1);
    write_pair("b.pem", "b.key", 2);
    world_load(
        "listeners:\n"
        "  - &web {name: web, address: \"127.0.0.1:443\", upstream: app, tls: {certificates: [{chain: b.pem, "
        "key: b.key}, {chain: a.pem, key: a.key}]}}\n"
        "  - {<<: *web, name: other, address: \"127.0.0.1:444\"}\n"
        "  - {<<: *web, name: third, address: \"127.0.0.1:445\", tls: {certificates: [{chain: a.pem, key: "
        "a.key}]}}\n");
    assert_int_equal(world.served_count, 2);
    assert_int_equal(world.loader->reads, 2);
    served = served_find(1);
    assert_int_equal(served->place_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(served->places[i].listener, i);
        assert_int_equal(served->places[i].rank, i < 2 ? 1 : 0);
    }
    assert_int_equal(served_find(2)->place_count, 2);
    assert_true(state_of(1).state.is_default);
    assert_true(state_of(2).state.is_default);
}

static void test_bad_files_keep_it_from_starting(void **state)
{
    write_pair("a.pem", "a.key", 1);
    write_file("a.key", "key 2");
    assert_int_equal(world_try_load(ONE, false), -EINVAL);
    assert_true(report_holds("test.yaml:1:"));
    assert_true(report_holds("does not match"));
    remove_file("a.pem");
    assert_int_equal(world_try_load(ONE, false), -EINVAL);
    assert_true(report_holds("cannot read"));
    assert_int_equal(log_count(""), 0); // it is the report's
}

// Whichever file was read first.
static void test_files_help_each_other(void **state)
{
    static const char *const orders[] = {
        LISTENER("certificates: [{chain: a.pem, key: a.key}, {chain: b.pem, key: b.key}]"),
        LISTENER("certificates: [{chain: b.pem, key: b.key}, {chain: a.pem, key: a.key}]"),
    };

    write_pair("a.pem", "a.key", 1);
    write_pair("b.pem", "b.key", 2);
    write_file("a.pem", "cert 1\nlacks");
    world_load(orders[0]);
    assert_int_equal(world.report.count, 1);
    assert_true(report_holds("intermediate"));
    write_file("b.pem", "cert 2\ngives");
    for (int i = 0; i < 2; i++) {
        is_given = false;
        world_load(orders[i]);
        assert_int_equal(world.report.count, 0);
        assert_int_equal(world.served_count, 2);
        assert_int_equal(sources_replaced(world.sources, "n1.example", NULL, 0), 0);
        check_with(NULL, true);
        assert_int_equal(world.element_count, 0);
    }
}

static void test_developer_certificate(void **state)
{
    struct certificate *certificate = calloc(1, sizeof(*certificate));
    struct change change = {0};

    *certificate = (struct certificate){.id = 7,
                                        .not_after_s = INT64_MAX,
                                        .leaf = fake_bytes("leaf"),
                                        .key = fake_bytes("key"),
                                        .subject = strdup("CN=localhost")};
    fake_names(certificate, "localhost");
    report_init(&world.report, NULL);
    assert_int_equal(config_quick("127.0.0.1:443", "127.0.0.1:80", NULL, NULL, &world.config, &world.report),
                     0);
    assert_int_equal(
        sources_load(world.config, world.loader, certificate, false, &world.report, &world.sources), 0);
    sources_initial(world.sources, &change);
    apply(&change);
    change_finish(&change);
    assert_true(is_served(7));
    assert_null(state_of(7).state.file);
    check_with(NULL, true);
    assert_int_equal(world.element_count, 0);
    assert_int_equal(world.result.failed, 0);
}

// ---- replacing ----

// Something bad, then something good, as often as it takes to hit every moment of a coarse clock.
static void rotate(void (*replace)(unsigned round, bool is_bad))
{
    for (unsigned round = 2; round < 2 + ROUNDS; round++) {
        replace(round, true);
        check("");
        assert_true(is_served(round - 1));
        assert_int_equal(world.element_count, 0);
        assert_int_equal(world.result.failed, 1);
        assert_true(state_of(round - 1).has_problem);
        replace(round, false);
        check(NULL);
        assert_int_equal(world.served_count, 1);
        assert_true(is_served(round));
        assert_int_equal(slot_of(round), 0);
        assert_int_equal(world.result.changed, 1);
        assert_int_equal(world.result.failed, 0);
        assert_int_equal(problem_count(), 0);
    }
    assert_int_equal(log_count("error certificate is wrong"), ROUNDS);
    assert_int_equal(log_count("info certificate healed"), ROUNDS);
    assert_int_equal(log_count("info certificate replaced"), ROUNDS);
    assert_int_equal(log_count(""), 3 * ROUNDS);
}

static void replace_in_place(unsigned round, bool is_bad)
{
    write_pair("a.pem", "a.key", round);
    if (is_bad) // half of it
        write_file("a.key", "key ffff\n");
}

static void test_in_place(void **state)
{
    one_pair();
    rotate(replace_in_place);
}

static void replace_by_rename(unsigned round, bool is_bad)
{
    write_pair("new.pem", "new.key", round);
    move("new.pem", "a.pem");
    if (!is_bad)
        move("new.key", "a.key");
}

static void test_rename(void **state)
{
    one_pair();
    rotate(replace_by_rename);
}

// live/x/fullchain.pem -> ../../archive/x/fullchain2.pem
static void replace_by_link(unsigned round, bool is_bad)
{
    char chain[64];
    char key[64];
    char target[80];

    snprintf(chain, sizeof(chain), "archive/x/fullchain%u.pem", round);
    snprintf(key, sizeof(key), "archive/x/privkey%u.pem", round);
    write_pair(chain, key, round);
    snprintf(target, sizeof(target), "../../%s", chain);
    make_link(target, "live/x/new");
    move("live/x/new", "live/x/fullchain.pem");
    snprintf(target, sizeof(target), "../../%s", is_bad ? chain : key);
    make_link(target, "live/x/new");
    move("live/x/new", "live/x/privkey.pem");
}

static void test_certbot(void **state)
{
    make_folder("live");
    make_folder("live/x");
    make_folder("archive");
    make_folder("archive/x");
    replace_by_link(1, false);
    world_load(LISTENER("certificates: [{chain: live/x/fullchain.pem, key: live/x/privkey.pem}]"));
    assert_true(is_watched("live/x"));
    assert_true(is_watched("archive/x"));
    assert_int_equal(watched_count(), 2);
    for (unsigned round = 2; round < 2 + ROUNDS; round++) {
        replace_by_link(round, true);
        check("live/x");
        assert_true(is_served(round - 1));
        assert_int_equal(world.element_count, 0);
        replace_by_link(round, false);
        check("live/x");
        assert_true(is_served(round));
        assert_int_equal(world.served_count, 1);
    }
    assert_int_equal(log_count("certificate healed"), ROUNDS);
}

// tls.crt -> ..data/tls.crt, ..data -> ..2026_x
static void replace_by_folder(unsigned round, bool is_bad)
{
    char name[32];
    char chain[64];
    char key[64];

    snprintf(name, sizeof(name), "..2026_%u%s", round, is_bad ? "bad" : "");
    snprintf(chain, sizeof(chain), "s/%s", name);
    make_folder(chain);
    snprintf(chain, sizeof(chain), "s/%s/tls.crt", name);
    snprintf(key, sizeof(key), "s/%s/tls.key", name);
    write_pair(chain, key, round);
    if (is_bad)
        write_file(key, "");
    make_link(name, "s/..data_tmp");
    move("s/..data_tmp", "s/..data");
}

static void test_kubernetes(void **state)
{
    char now[64];

    make_folder("s");
    replace_by_folder(1, false);
    make_link("..data/tls.crt", "s/tls.crt");
    make_link("..data/tls.key", "s/tls.key");
    world_load(LISTENER("certificates: [{chain: s/tls.crt, key: s/tls.key}]"));
    for (unsigned round = 2; round < 2 + ROUNDS; round++) {
        replace_by_folder(round, true);
        check("s");
        assert_true(is_served(round - 1));
        assert_int_equal(world.element_count, 0);
        replace_by_folder(round, false);
        check("s");
        assert_true(is_served(round));
        assert_int_equal(world.served_count, 1);
        assert_true(is_watched("s"));
        snprintf(now, sizeof(now), "s/..2026_%u", round);
        assert_true(is_watched(now));
        assert_int_equal(watched_count(), 2);
    }
}

static void test_same_content_is_no_change(void **state)
{
    one_pair();
    write_pair("a.pem", "a.key", 1);
    check("");
    assert_int_equal(world.element_count, 0);
    assert_int_equal(world.result.changed, 0);
    check_with(NULL, true);
    assert_int_equal(world.element_count, 0);
    assert_int_equal(log_count(""), 0);
    // Another chain under the same certificate is one, and nobody's id is given up by it.
    write_file("a.pem", "cert 1\nlink x\n");
    check("");
    assert_int_equal(world.result.changed, 1);
    assert_int_equal(sources_replaced(world.sources, "n1.example", NULL, 0), 0);
}

// Until what is written later can't be mistaken for what was written now, even by a coarse clock.
static void let_grow_old(const char *name)
{
    struct timespec now;
    struct stat stat;

    assert_int_equal(lstat(in_root(name), &stat), 0);
    do
        clock_gettime(CLOCK_REALTIME, &now);
    while ((now.tv_sec - stat.st_ctim.tv_sec) * 1000000000 + now.tv_nsec - stat.st_ctim.tv_nsec < 25000000);
}

static void test_unchanged_files_are_not_read(void **state)
{
    unsigned reads;

    write_pair("a.pem", "a.key", 1);
    let_grow_old("a.key");
    world_load(ONE);
    reads = world.loader->reads;
    check("");
    check(NULL);
    check("elsewhere");
    assert_int_equal(world.loader->reads, reads);
    check_with("", true);
    assert_int_equal(world.loader->reads, reads + 1);
}

static void test_only_where_it_happened(void **state)
{
    make_folder("b");
    write_pair("a.pem", "a.key", 1);
    write_pair("b/b.pem", "b/b.key", 2);
    world_load(LISTENER("certificates: [{chain: a.pem, key: a.key}, {chain: b/b.pem, key: b/b.key}]"));
    write_pair("a.pem", "a.key", 3);
    write_pair("b/b.pem", "b/b.key", 4);
    check("b");
    assert_true(is_served(1));
    assert_true(is_served(4));
    check("");
    assert_true(is_served(3));
}

// A file that changes while it is read is read again.
static unsigned changes_left;

static void change_key(void)
{
    if (changes_left == 0)
        return;
    write_file("a.key", --changes_left > 0 ? "key 0" : "key 2");
}

static void test_changed_while_read(void **state)
{
    one_pair();
    world.loader->while_reading = change_key;
    write_file("a.pem", "cert 2\n");
    changes_left = 2;
    check("");
    assert_true(is_served(2));
    assert_int_equal(log_count("error"), 0);
    // One that never stands still is looked at again with the next occasion.
    write_file("a.pem", "cert 3\n");
    changes_left = 100;
    check("");
    assert_true(is_served(2));
    changes_left = 0;
    check("");
    assert_int_equal(log_count("error"), 1);
    write_file("a.key", "key 3");
    check("");
    assert_true(is_served(3));
}

// ---- what is wrong ----

static void test_said_once(void **state)
{
    one_pair();
    write_file("a.key", "key 2");
    for (int i = 0; i < 5; i++) {
        check(i % 2 == 0 ? NULL : "");
        assert_int_equal(world.result.failed, 1);
        write_file("a.key", "key 2"); // as wrong as before
    }
    check_with(NULL, true);
    assert_int_equal(log_count(""), 1);
    assert_int_equal(log_count_both("error certificate is wrong", "does not match"), 1);
    assert_int_equal(log_count("serving=0000000000000001"), 1);
    remove_file("a.key"); // another reason
    check("");
    check("");
    assert_int_equal(log_count(""), 2);
    write_pair("a.pem", "a.key", 1); // as before all that
    check("");
    assert_int_equal(world.element_count, 0);
    assert_int_equal(log_count("info certificate healed"), 1);
    assert_int_equal(log_count(""), 3);
    assert_int_equal(world.result.failed, 0);
}

static void test_vanished_files(void **state)
{
    make_folder("d");
    write_pair("d/a.pem", "d/a.key", 1);
    world_load(LISTENER("certificates: [{chain: d/a.pem, key: d/a.key}]"));
    assert_true(is_watched("d"));
    move("d", "e");
    check("d");
    assert_true(is_served(1));
    assert_true(state_of(1).has_problem);
    assert_int_equal(problem_count(), 1);
    assert_false(is_watched("d"));
    assert_true(is_watched("")); // where it would come back
    make_folder("d");
    check("");
    assert_true(is_watched("d"));
    write_pair("d/a.pem", "d/a.key", 2);
    check("d");
    assert_true(is_served(2));
    assert_int_equal(problem_count(), 0);
}

// Wherever a path leads, what is served stays, and the place where it would come back is watched.
static void test_odd_paths(void **state)
{
    char target[PATH_MAX + 64];

    make_folder("d");
    make_folder("e");
    write_pair("e/a.pem", "e/a.key", 1);
    snprintf(target, sizeof(target), "%s/d//./../e/../e/a.pem", world.root);
    make_link(target, "d/a.pem");
    make_link("../e/a.key", "d/a.key");
    world_load(LISTENER("certificates: [{chain: d/a.pem, key: d/a.key}]"));
    assert_true(is_watched("d"));
    assert_true(is_watched("e"));
    assert_int_equal(watched_count(), 2);

    remove_file("d/a.pem");
    make_link("a.pem", "d/a.pem"); // to itself
    check("d");
    assert_int_equal(world.result.failed, 1);
    assert_true(is_watched("d"));
    remove_file("d/a.pem");
    make_link("../e/a.key/a.pem", "d/a.pem"); // through a file
    check("d");
    assert_int_equal(world.result.failed, 1);
    assert_true(is_watched("e"));
    remove_file("d/a.pem");
    make_link("../f/g/h/a.pem", "d/a.pem"); // to where nothing is yet
    check("d");
    assert_int_equal(world.result.failed, 1);
    assert_true(is_watched(""));
    remove_file("d/a.pem");
    make_link("../e", "d/a.pem"); // to a folder
    check("d");
    assert_int_equal(world.result.failed, 1);
    assert_true(is_served(1));
    remove_file("d/a.pem");
    make_link("../e/a.pem", "d/a.pem");
    check("d");
    assert_int_equal(world.result.failed, 0);
    assert_int_equal(world.element_count, 0);
    assert_int_equal(watched_count(), 2);
}

static void test_expired_and_not(void **state)
{
    one_pair();
    write_file("a.pem", "cert 2\nends -5\n");
    write_file("a.key", "key 2");
    check("");
    assert_true(is_served(1));
    assert_int_equal(log_count("has expired"), 1);
    write_file("a.pem", "cert 2\nends 1000\n");
    check("");
    assert_true(is_served(2));
}

// What time alone makes good is found by a look over everything, although no file has changed.
static void test_not_valid_yet(void **state)
{
    int64_t begin_s = time(NULL) + 1000;
    char text[64];

    one_pair();
    snprintf(text, sizeof(text), "cert 2\nbegins %lld\n", (long long)begin_s);
    write_file("a.pem", text);
    write_file("a.key", "key 2");
    check("");
    assert_true(is_served(1));
    let_grow_old("a.key");
    check("");
    wall_skew_s += 1000;
    check("");
    assert_true(is_served(1));
    check(NULL);
    assert_true(is_served(2));
    assert_int_equal(log_count("error"), 1);
}

static void test_warnings_are_said(void **state)
{
    one_pair();
    write_file("a.pem", "cert 2\nwarning beware\n");
    write_file("a.key", "key 2");
    check("");
    assert_int_equal(log_count_both("warning files could be better", "beware"), 1);
    check_with(NULL, true);
    assert_int_equal(log_count("beware"), 1);
}

// ---- OCSP ----

#define STAPLED LISTENER("certificates: [{chain: a.pem, key: a.key, ocsp: a.ocsp}]")

static void test_staple_from_file(void **state)
{
    write_pair("a.pem", "a.key", 1);
    write_file("a.ocsp", "ocsp 1 1000");
    world_load(STAPLED);
    assert_int_not_equal(served_find(1)->staple_next_update_s, 0);
    assert_false(state_of(1).has_staple_problem);

    // A bad one is said, and what is good goes on.
    write_file("a.ocsp", "nonsense");
    check("");
    assert_int_equal(world.element_count, 0);
    assert_int_equal(world.result.failed, 1);
    assert_int_equal(problem_count(), 1);
    assert_int_equal(log_count("error OCSP response is wrong"), 1);
    write_file("a.ocsp", "ocsp 1 2000");
    check("");
    assert_int_equal(world.element_count, 1);
    assert_int_equal(log_count("info OCSP response healed"), 1);

    // Another certificate: what was said of the old one is nobody's.
    write_pair("a.pem", "a.key", 2);
    check("");
    assert_int_equal(served_find(2)->staple_next_update_s, 0);
    assert_true(state_of(2).has_staple_problem);
    write_file("a.ocsp", "ocsp 2 2000");
    check("");
    assert_int_not_equal(served_find(2)->staple_next_update_s, 0);
    assert_false(state_of(2).has_staple_problem);
}

static void test_staple_at_start(void **state)
{
    write_pair("a.pem", "a.key", 1);
    assert_int_equal(world_try_load(STAPLED, false), -EINVAL); // it is missing
    write_file("a.ocsp", "ocsp 1 -1");
    assert_int_equal(world_try_load(STAPLED, true), -EINVAL);
    world_load(STAPLED);
    assert_true(report_holds("warning: "));
    assert_int_equal(served_find(1)->staple_next_update_s, 0);
}

static void test_staple_ends(void **state)
{
    write_pair("a.pem", "a.key", 1);
    write_file("a.ocsp", "ocsp 1 1000");
    world_load(STAPLED);
    assert_int_not_equal(served_find(1)->staple_next_update_s, 0);
    write_file("a.ocsp", "ocsp 1 -1"); // the fake's files don't age
    check_time();
    assert_int_not_equal(served_find(1)->staple_next_update_s, 0);
    wall_skew_s += 1001;
    check_time();
    assert_int_equal(served_find(1)->staple_next_update_s, 0);
    assert_int_equal(log_count("warning OCSP response has ended"), 1);
    assert_int_equal(log_count("error OCSP response is wrong"), 1);
    assert_true(state_of(1).has_staple_problem);
}

static void staple(uint64_t id, struct staple *response, const char *problem)
{
    struct change change = {0};

    sources_staple(world.sources, 0, id, response, problem, &change);
    apply(&change);
    change_finish(&change);
}

#define FETCHED LISTENER("certificates: [{chain: a.pem, key: a.key}], ocsp: {fetch: true}")

static void test_staple_from_responder(void **state)
{
    write_pair("a.pem", "a.key", 1);
    world_load(FETCHED);
    assert_non_null(state_of(1).state.fetch);
    staple(1, NULL, "nobody answers");
    assert_true(state_of(1).has_staple_problem);
    staple(1, fake_staple(100), NULL);
    assert_int_not_equal(served_find(1)->staple_next_update_s, 0);
    assert_false(state_of(1).has_staple_problem);
    staple(1, NULL, "nobody answers"); // the one in service is good until its end
    assert_int_not_equal(served_find(1)->staple_next_update_s, 0);
    staple(1, NULL, STAPLE_REVOKED); // now it says what is known to be wrong
    assert_int_equal(served_find(1)->staple_next_update_s, 0);
    staple(2, fake_staple(100), NULL); // of a version that was
    assert_int_equal(world.element_count, 0);
    write_pair("a.pem", "a.key", 2);
    check("");
    assert_int_equal(served_find(2)->staple_next_update_s, 0);
    staple(1, fake_staple(100), NULL);
    assert_int_equal(world.element_count, 0);
}

static void must_staple(unsigned id)
{
    char text[64];

    snprintf(text, sizeof(text), "cert %x\nmust_staple\n", id);
    write_file("a.pem", text);
    snprintf(text, sizeof(text), "key %x\n", id);
    write_file("a.key", text);
}

static void test_must_staple_waits_for_a_responder(void **state)
{
    must_staple(1);
    world_load(FETCHED);
    assert_true(is_served(1)); // better than nothing
    must_staple(2);
    check("");
    assert_true(is_served(1));
    assert_int_equal(world.element_count, 0);
    assert_non_null(state_of(1).state.pending);
    assert_int_not_equal(sources_due_ns(world.sources), UINT64_MAX);
    check(NULL);
    staple(2, NULL, "nobody answers");
    assert_true(is_served(1));
    staple(2, fake_staple(100), NULL);
    assert_true(is_served(2));
    assert_int_not_equal(served_find(2)->staple_next_update_s, 0);
    assert_null(state_of(2).state.pending);
    assert_int_equal(sources_due_ns(world.sources), UINT64_MAX);
    assert_int_equal(log_count("error"), 0);
}

static void test_must_staple_waits_for_a_file(void **state)
{
    must_staple(1);
    write_file("a.ocsp", "ocsp 1 1000");
    world_load(STAPLED);
    must_staple(2);
    check("");
    assert_true(is_served(1));
    write_file("a.ocsp", "ocsp 2 1000");
    check("");
    assert_true(is_served(2));
    assert_int_not_equal(served_find(2)->staple_next_update_s, 0);
    // Both at once need no waiting.
    must_staple(3);
    write_file("a.ocsp", "ocsp 3 1000");
    check("");
    assert_true(is_served(3));
    assert_int_not_equal(served_find(3)->staple_next_update_s, 0);
    // The older files again: nobody waits any more.
    must_staple(4);
    check("");
    must_staple(3);
    check("");
    assert_true(is_served(3));
    assert_int_equal(sources_due_ns(world.sources), UINT64_MAX);
    assert_int_equal(log_count("error"), 0);
}

static void test_must_staple_waits_not_for_ever(void **state)
{
    must_staple(1);
    world_load(FETCHED);
    must_staple(2);
    check("");
    skew_s += 6;
    must_staple(3); // which doesn't put it off
    check("");
    assert_true(is_served(1));
    skew_s += 5;
    check_time();
    assert_true(is_served(3));
    assert_int_equal(log_count("error certificate must be stapled"), 1);
    staple(2, fake_staple(100), NULL);
    assert_int_equal(world.element_count, 0);
}

static void test_must_staple_does_not_wait_under_an_ended_one(void **state)
{
    write_file("a.pem", "cert 1\nends 1000\n");
    write_file("a.key", "key 1");
    world_load(FETCHED);
    wall_skew_s += 1001;
    must_staple(2);
    check("");
    assert_true(is_served(2));
}

static void test_must_staple_without_means(void **state)
{
    must_staple(1);
    world_load(ONE);
    assert_true(report_holds("must be stapled"));
    assert_true(state_of(1).has_staple_problem);
    must_staple(2);
    check("");
    assert_true(is_served(2));
    assert_int_equal(log_count("error certificate must be stapled"), 1);
}

// ---- authorities and ticket keys ----

static void test_trust(void **state)
{
    write_pair("a.pem", "a.key", 1);
    write_file("ca.pem", "ca one");
    write_file("crl.pem", "ca crl1");
    world_load(
        "listeners:\n"
        "  - &web {name: web, address: \"127.0.0.1:443\", upstream: app, tls: {certificates: [{chain: a.pem, "
        "key: a.key}], client_auth: {mode: required, ca: ca.pem, crl: [crl.pem]}}}\n"
        "  - {<<: *web, name: other, address: \"127.0.0.1:444\"}\n");
    assert_int_equal(world.trust_sent, 2);
    write_file("ca.pem", "ca two");
    write_file("crl.pem", "nonsense");
    check("");
    assert_int_equal(world.trust_sent, 2); // all or nothing
    assert_int_equal(world.result.failed, 1);
    assert_int_equal(log_count("error client authorities are wrong"), 1);
    write_file("crl.pem", "ca crl2");
    check("");
    assert_int_equal(world.trust_sent, 4);
    assert_string_equal((char *)world.trust[1] + 10, "ca crl2");
    assert_int_equal(log_count("info client authorities healed"), 1);
    write_file("crl.pem", "ca crl2");
    check("");
    assert_int_equal(world.trust_sent, 4);
}

// Of TLS towards servers: read once more after the start, for they may have changed since they were loaded.
static void test_servers(void **state)
{
    write_pair("a.pem", "a.key", 1);
    write_file("ca.pem", "servers 1");
    world.upstream_keys = ", tls: {ca: ca.pem}";
    world.servers = 1;
    world_load(ONE);
    sources_servers(world.sources, NULL);
    check("");
    assert_int_equal(world.servers_sent, 0);
    write_file("ca.pem", "servers 2");
    check("");
    assert_int_equal(world.servers_sent, 1);
    assert_int_equal(world.servers, 2);
    assert_int_equal(world.result.changed, 1);
    write_file("ca.pem", "nonsense");
    check("");
    check("");
    assert_int_equal(world.result.failed, 1);
    assert_int_equal(world.servers, 2);
    assert_int_equal(log_count("error files of TLS towards servers are wrong"), 1);
    remove_file("ca.pem");
    check("");
    assert_int_equal(world.result.failed, 1);
    write_file("ca.pem", "servers 2");
    check(NULL);
    assert_int_equal(log_count("info files of TLS towards servers healed"), 1);
    assert_int_equal(world.servers_sent, 1);
    check_with(NULL, true); // by force: the same is nothing new
    assert_int_equal(world.servers_sent, 1);
    assert_int_equal(world.result.changed, 0);
}

static void test_servers_changed_at_the_start(void **state)
{
    write_pair("a.pem", "a.key", 1);
    write_file("ca.pem", "servers 2");
    world.upstream_keys = ", tls: {ca: ca.pem}";
    world.servers = 1; // what was loaded
    world_load(ONE);
    sources_servers(world.sources, NULL);
    check(NULL);
    assert_int_equal(world.servers, 2);
}

static void test_ticket_keys(void **state)
{
    write_pair("a.pem", "a.key", 1);
    write_file("t1", "ticket 1");
    write_file("t2", "ticket 2");
    world_load(ONE "\ntickets: {keys: [t1, t2]}");
    assert_int_equal(world.ticket_count, 2);
    write_file("t1", "ticket 3");
    remove_file("t2");
    check("");
    assert_int_equal(world.tickets_sent, 1);
    assert_int_equal(log_count("error ticket keys are wrong"), 1);
    write_file("t2", "ticket 2");
    check("");
    assert_int_equal(world.tickets_sent, 2);
    assert_int_equal(world.ticket_name[0], 3);
    check_with(NULL, true);
    assert_int_equal(world.tickets_sent, 2);
}

// ---- history, expiry ----

static void test_replaced(void **state)
{
    uint64_t ids[4] = {0};

    write_file("a.pem", "cert aabbccdd00112233\nname one.example\nname *.two.example\n");
    write_file("a.key", "key aabbccdd00112233");
    world_load(ONE);
    assert_int_equal(sources_replaced(world.sources, "one.example", ids, 4), 0);
    write_pair("a.pem", "a.key", 2);
    check("");
    assert_int_equal(sources_replaced(world.sources, "one.example", ids, 4), 1);
    assert_int_equal(ids[0], 0xaabbccdd00112233);
    assert_int_equal(sources_replaced(world.sources, "ONE.example", ids, 4), 1);
    assert_int_equal(sources_replaced(world.sources, "*.two.example", ids, 0), 1);
    assert_int_equal(sources_replaced(world.sources, "x.two.example", ids, 4), 0);
    assert_int_equal(sources_replaced(world.sources, "aabbccdd", ids, 4), 1);
    assert_int_equal(sources_replaced(world.sources, "AA:BB:CC:DD:00", ids, 4), 1);
    assert_int_equal(sources_replaced(world.sources, "aabbccd", ids, 4), 0);
    assert_int_equal(sources_replaced(world.sources, "aabbccde", ids, 4), 0);
    assert_int_equal(sources_replaced(world.sources, "n2.example", ids, 4), 0);
    // The old one again: it is not to be retired.
    write_file("a.pem", "cert aabbccdd00112233\nname one.example\n");
    write_file("a.key", "key aabbccdd00112233");
    check("");
    assert_int_equal(sources_replaced(world.sources, "one.example", ids, 4), 0);
    assert_int_equal(sources_replaced(world.sources, "n2.example", ids, 4), 1);
    write_file("a.pem", "cert 5\nname n2.example\n");
    write_file("a.key", "key 5");
    check("");
    write_pair("a.pem", "a.key", 6);
    check("");
    assert_int_equal(sources_replaced(world.sources, "n2.example", ids, 4), 2);
    assert_int_equal(sources_replaced(world.sources, "n2.example", ids, 1), 2);
}

static void test_expiry(void **state)
{
    int64_t now_s = time(NULL);

    write_file("a.pem", "cert 1\nends 1900000\n"); // just under 22 days, of 112
    write_file("a.key", "key 1");
    write_file("b.pem", "cert 2\nends 8640000\n");
    write_file("b.key", "key 2");
    world_load(LISTENER("certificates: [{chain: a.pem, key: a.key}, {chain: b.pem, key: b.key}]"));
    sources_warn_expiry(world.sources, now_s);
    assert_int_equal(log_count(""), 0);
    now_s += 86400;
    sources_warn_expiry(world.sources, now_s);
    sources_warn_expiry(world.sources, now_s + 3600);
    assert_int_equal(log_count_both("warning certificate expires soon", "a.pem"), 1);
    assert_int_equal(log_count("days_left=20"), 1);
    sources_warn_expiry(world.sources, now_s + 86400);
    assert_int_equal(log_count(""), 2);
    now_s += 30 * 86400;
    sources_warn_expiry(world.sources, now_s);
    assert_int_equal(log_count_both("error certificate has expired", "a.pem"), 1);
    assert_int_equal(log_count("b.pem"), 0);
    write_pair("a.pem", "a.key", 3);
    check("");
    log_forget();
    sources_warn_expiry(world.sources, time(NULL));
    assert_int_equal(log_count(""), 0);
}

// The last third of a short life.
static void test_expiry_of_short_lives(void **state)
{
    write_pair("a.pem", "a.key", 1);              // 180 days, 90 of them left
    write_file("b.pem", "cert 2\nends 864000\n"); // 10 days of 100
    write_file("b.key", "key 2");
    world_load(LISTENER("certificates: [{chain: a.pem, key: a.key}, {chain: b.pem, key: b.key}]"));
    sources_warn_expiry(world.sources, time(NULL) - 12 * 86400);
    assert_int_equal(log_count(""), 0);
    sources_warn_expiry(world.sources, time(NULL));
    assert_int_equal(log_count("b.pem"), 1);
    assert_int_equal(log_count(""), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_listeners_share_a_source),
        TEST(test_bad_files_keep_it_from_starting),
        TEST(test_files_help_each_other),
        TEST(test_developer_certificate),
        TEST(test_in_place),
        TEST(test_rename),
        TEST(test_certbot),
        TEST(test_kubernetes),
        TEST(test_same_content_is_no_change),
        TEST(test_unchanged_files_are_not_read),
        TEST(test_only_where_it_happened),
        TEST(test_changed_while_read),
        TEST(test_said_once),
        TEST(test_vanished_files),
        TEST(test_odd_paths),
        TEST(test_expired_and_not),
        TEST(test_not_valid_yet),
        TEST(test_warnings_are_said),
        TEST(test_staple_from_file),
        TEST(test_staple_at_start),
        TEST(test_staple_ends),
        TEST(test_staple_from_responder),
        TEST(test_must_staple_waits_for_a_responder),
        TEST(test_must_staple_waits_for_a_file),
        TEST(test_must_staple_waits_not_for_ever),
        TEST(test_must_staple_does_not_wait_under_an_ended_one),
        TEST(test_must_staple_without_means),
        TEST(test_trust),
        TEST(test_servers),
        TEST(test_servers_changed_at_the_start),
        TEST(test_ticket_keys),
        TEST(test_replaced),
        TEST(test_expiry),
        TEST(test_expiry_of_short_lives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
