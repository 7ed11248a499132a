// SPDX-License-Identifier: Apache-2.0
// Certificate folders: which files are pairs, what comes and goes, and what is left alone.
#include "sources_world.h"

#include "sources_loader.h"
#include "src/control/folder.h"

#define LISTENER(tls) "listeners: [{name: web, address: \"127.0.0.1:443\", upstream: app, tls: {" tls "}}]"
#define FOLDER        LISTENER("certificate_dir: d")
#define BOTH          LISTENER("certificates: [{chain: a.pem, key: a.key}], certificate_dir: d")
#define MANY          2000

static void write_chain(const char *name, unsigned id)
{
    char text[32];

    snprintf(text, sizeof(text), "cert %04x\n", id);
    write_file(name, text);
}

static void write_key(const char *name, unsigned id)
{
    char text[32];

    snprintf(text, sizeof(text), "key %04x\n", id);
    write_file(name, text);
}

// d/NAME.pem, d/NAME.key
static void write_pair(const char *name, unsigned id)
{
    char path[64];

    snprintf(path, sizeof(path), "d/%s.pem", name);
    write_chain(path, id);
    snprintf(path, sizeof(path), "d/%s.key", name);
    write_key(path, id);
}

static void remove_pair(const char *name)
{
    char path[64];

    snprintf(path, sizeof(path), "d/%s.pem", name);
    remove_file(path);
    snprintf(path, sizeof(path), "d/%s.key", name);
    remove_file(path);
}

static int set_up(void **state)
{
    if (world_set_up(state) < 0)
        return -1;
    make_folder("d");
    return 0;
}

// ---- names of files ----

static void assert_pair(const struct folder_pair *pair, const char *dir, const char *name, const char *key,
                        const char *ocsp)
{
    char path[PATH_MAX + 64];

    assert_string_equal(pair->name, name);
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_string_equal(pair->chain, path);
    snprintf(path, sizeof(path), "%s/%s", dir, key);
    assert_string_equal(pair->key, path);
    if (ocsp == NULL) {
        assert_null(pair->ocsp);
        return;
    }
    snprintf(path, sizeof(path), "%s/%s", dir, ocsp);
    assert_non_null(pair->ocsp);
    assert_string_equal(pair->ocsp, path);
}

static void test_names(void **state)
{
    static const char *const files[] = {
        "a.pem",  "a.key",      "a.ocsp", "b.crt",  "b.crt.key", "b.key",          "b.crt.ocsp", "c.cer",
        "c.key",  "d.pem",      ".e.pem", "#f.pem", "g.pem~",    ".g.pem.swp",     "#h.pem#",    "i.pem.bak",
        "README", "lonely.key", "..pem",  "4913",   "j.PEM",     "k.pem.dpkg-new",
    };
    static const struct {
        const char *name;
        const char *key;
        const char *ocsp;
    } pairs[] = {
        {"a.pem", "a.key", "a.ocsp"},
        {"b.crt", "b.crt.key", "b.crt.ocsp"},
        {"c.cer", "c.key", NULL},
        {"d.pem", "d.pem", NULL},
    };
    struct folder_list list;
    char dir[PATH_MAX + 256];
    char name[64];

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(name, sizeof(name), "d/%s", files[i]);
        write_file(name, "");
    }
    make_folder("d/..2026");
    make_folder("d/sub");
    make_folder("d/folder.pem");
    make_link("sub", "d/link");
    make_link("a.pem", "d/z.pem");
    strcpy(dir, in_root("d"));
    assert_int_equal(folder_list(dir, NULL, &list), 0);
    assert_int_equal(list.pair_count, 5);
    for (size_t i = 0; i < 4; i++)
        assert_pair(&list.pairs[i], dir, pairs[i].name, pairs[i].key, pairs[i].ocsp);
    assert_pair(&list.pairs[4], dir, "z.pem", "z.pem", NULL);
    assert_int_equal(list.folder_count, 3);
    assert_string_equal(list.folders[0], "folder.pem");
    assert_string_equal(list.folders[1], "link");
    assert_string_equal(list.folders[2], "sub");
    folder_list_finish(&list);
    assert_int_equal(folder_list(in_root("d/a.pem"), NULL, &list), -ENOTDIR);
    assert_int_equal(folder_list(in_root("nothing"), NULL, &list), -ENOENT);
}

static void test_names_below(void **state)
{
    struct folder_list list;
    char dir[PATH_MAX + 256];
    static const char *const files[] = {
        "d/x/fullchain.pem", "d/x/privkey.pem", "d/x/cert.pem", "d/x/chain.pem", "d/x/README",
        "d/y/tls.crt",       "d/y/tls.key",     "d/y/ca.crt",   "d/y/other.pem", "d/y/tls.ocsp"};

    make_folder("d/x");
    make_folder("d/y");
    make_folder("d/y/deeper");
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        write_file(files[i], "");
    strcpy(dir, in_root("d"));
    assert_int_equal(folder_list(dir, "x", &list), 0);
    assert_int_equal(list.pair_count, 1);
    assert_int_equal(list.folder_count, 0);
    assert_pair(&list.pairs[0], dir, "x/fullchain.pem", "x/privkey.pem", NULL);
    folder_list_finish(&list);
    assert_int_equal(folder_list(dir, "y", &list), 0);
    assert_int_equal(list.pair_count, 1);
    assert_int_equal(list.folder_count, 0);
    assert_pair(&list.pairs[0], dir, "y/tls.crt", "y/tls.key", "y/tls.ocsp");
    folder_list_finish(&list);
    // The same when one of them is given itself.
    assert_int_equal(folder_list(in_root("d/x"), NULL, &list), 0);
    assert_int_equal(list.pair_count, 1);
    folder_list_finish(&list);
    assert_int_equal(folder_list(in_root("d/y"), NULL, &list), 0);
    assert_int_equal(list.pair_count, 2); // tls.crt and other.pem
    folder_list_finish(&list);
}

// ---- coming and going ----

static void test_added_and_removed(void **state)
{
    write_pair("b", 2);
    world_load(FOLDER);
    assert_int_equal(world.served_count, 1);
    assert_true(is_watched("d"));
    write_pair("a", 1);
    write_pair("c", 3);
    check("d");
    assert_int_equal(world.served_count, 3);
    assert_int_equal(world.result.changed, 2);
    assert_int_equal(world.element_count, 2); // the one between was not sent again
    assert_true(served_find(1)->places[0].rank < served_find(2)->places[0].rank);
    assert_true(served_find(2)->places[0].rank < served_find(3)->places[0].rank);
    assert_true(state_of(1).state.is_default);
    assert_false(state_of(2).state.is_default);
    assert_int_equal(log_count("info certificate added"), 2);
    remove_pair("a");
    check("d");
    assert_int_equal(world.served_count, 2);
    assert_int_equal(world.result.removed, 1);
    assert_false(is_served(1));
    assert_true(state_of(2).state.is_default);
    assert_int_equal(log_count_both("info certificate removed", "a.pem"), 1);
    assert_int_equal(sources_replaced(world.sources, "n1.example", NULL, 0), 1);
    // Its slot is given to the next.
    write_pair("e", 5);
    check(NULL);
    assert_int_equal(world.served_count, 3);
    assert_int_equal(slot_of(5), 1);
}

static void test_changed(void **state)
{
    write_pair("a", 1);
    write_pair("b", 2);
    world_load(FOLDER);
    write_pair("a", 3);
    check("d");
    assert_true(is_served(3));
    assert_int_equal(world.served_count, 2);
    assert_int_equal(world.element_count, 1);
    // Half of it: the last good one stays.
    write_key("d/a.key", 4);
    check("d");
    assert_int_equal(world.element_count, 0);
    assert_int_equal(world.result.failed, 1);
    assert_true(state_of(3).has_problem);
    write_chain("d/a.pem", 4);
    check("d");
    assert_true(is_served(4));
    assert_int_equal(log_count("error"), 1);
    assert_int_equal(log_count("info certificate healed"), 1);
}

// Its certificate or its key alone is gone.
static void test_half_gone(void **state)
{
    write_pair("a", 1);
    write_pair("b", 2);
    world_load(FOLDER);
    remove_file("d/a.pem");
    check("d");
    assert_true(is_served(1));
    assert_int_equal(world.result.failed, 1);
    write_chain("d/a.pem", 1);
    check("d");
    assert_int_equal(world.result.failed, 0);
    remove_file("d/a.key");
    check("d");
    assert_true(is_served(1));
    assert_int_equal(world.result.failed, 1);
    remove_file("d/a.pem");
    check("d");
    assert_false(is_served(1));
    assert_int_equal(problem_count(), 0);
    // A key that another certificate took over is no half.
    move("d/b.pem", "d/b.crt");
    check("d");
    assert_int_equal(world.served_count, 1);
    assert_int_equal(problem_count(), 0);
    assert_non_null(strstr(state_of(2).state.file, "b.crt"));
    // Nor does one file that holds both have halves.
    write_file("d/c.pem", "cert 3\nkey 3\n");
    check("d");
    assert_true(is_served(3));
    remove_file("d/c.pem");
    check("d");
    assert_false(is_served(3));
}

// From one file for both to two, and a response beside it.
static void test_files_move(void **state)
{
    write_file("d/a.pem", "cert 1\nkey 1\n");
    world_load(FOLDER);
    write_pair("a", 2);
    check("d");
    assert_true(is_served(2));
    write_file("d/a.ocsp", "ocsp 2 100");
    check("d");
    assert_int_not_equal(served_find(2)->staple_next_update_s, 0);
    move("d/a.key", "d/a.pem.key");
    check("d");
    assert_true(is_served(2));
    assert_int_equal(problem_count(), 0);
    assert_int_equal(served_find(2)->sent, 2); // in this slot: 1, then 2
    assert_int_not_equal(served_find(2)->staple_next_update_s, 0);
    remove_file("d/a.ocsp");
    check("d");
    assert_int_equal(problem_count(), 0);
}

static void test_bad_pairs(void **state)
{
    write_pair("a", 1);
    write_pair("b", 2);
    write_key("d/b.key", 3);
    assert_int_equal(world_try_load(FOLDER, true), -EINVAL); // for `check` it is an error
    world_load(FOLDER);
    assert_int_equal(world.served_count, 1);
    assert_true(report_holds("warning: private key"));
    assert_int_equal(problem_count(), 1);
    check(NULL);
    assert_int_equal(log_count(""), 0); // the report told it already
    write_key("d/b.key", 2);
    check("d");
    assert_true(is_served(2));
    assert_int_equal(log_count("info certificate healed"), 1);
    // Never good, and gone again: nobody need know.
    write_file("d/c.pem", "nonsense");
    check("d");
    assert_int_equal(log_count("error certificate is wrong"), 1);
    remove_file("d/c.pem");
    log_forget();
    check("d");
    assert_int_equal(log_count(""), 0);
    assert_int_equal(problem_count(), 0);
}

static void test_nothing_good(void **state)
{
    assert_int_equal(world_try_load(FOLDER, false), -EINVAL);
    assert_true(report_holds("has no certificate"));
    write_pair("b", 2);
    write_key("d/b.key", 3);
    assert_int_equal(world_try_load(FOLDER, false), -EINVAL);
    remove_all(in_root("d"));
    assert_int_equal(world_try_load(FOLDER, false), -EINVAL);
    assert_true(report_holds("cannot list"));
}

// ---- folders below ----

static void write_below(const char *name, unsigned id)
{
    char path[64];

    snprintf(path, sizeof(path), "d/%s/tls.crt", name);
    write_chain(path, id);
    snprintf(path, sizeof(path), "d/%s/tls.key", name);
    write_key(path, id);
}

static void test_below(void **state)
{
    make_folder("d/x");
    make_folder("d/x-");
    make_folder("d/y");
    write_below("x", 1);
    write_below("x-", 2);
    write_below("y", 3);
    write_pair("x", 4);
    world_load(FOLDER);
    assert_int_equal(world.served_count, 4);
    assert_int_equal(watched_count(), 4);
    write_below("x", 5);
    check("d/x");
    assert_true(is_served(5));
    assert_int_equal(world.element_count, 1);
    make_folder("d/z"); // first the folder
    check("d");
    assert_int_equal(world.element_count, 0);
    assert_true(is_watched("d/z"));
    write_below("z", 6); // then its files
    check("d/z");
    assert_true(is_served(6));
    remove_all(in_root("d/x"));
    check("d");
    assert_false(is_served(5));
    assert_int_equal(world.result.removed, 1);
    assert_int_equal(world.served_count, 4);
    assert_false(is_watched("d/x"));
    remove_file("d/y/tls.crt");
    remove_file("d/y/tls.key");
    check("d/y");
    assert_false(is_served(3));
    assert_int_equal(world.served_count, 3);
    assert_int_equal(problem_count(), 0);
}

// Links to folders that are replaced.
static void test_below_by_link(void **state)
{
    make_folder("v1");
    make_folder("v2");
    write_chain("v1/tls.crt", 1);
    write_key("v1/tls.key", 1);
    write_chain("v2/tls.crt", 2);
    write_key("v2/tls.key", 2);
    make_link("../v1", "d/x");
    write_pair("a", 3);
    world_load(FOLDER);
    assert_true(is_served(1));
    assert_true(is_watched("v1"));
    make_link("../v2", "d/new");
    move("d/new", "d/x");
    check("d");
    assert_true(is_served(2));
    assert_false(is_served(1));
    assert_true(is_watched("v2"));
    assert_false(is_watched("v1"));
    write_chain("v2/tls.crt", 4);
    write_key("v2/tls.key", 4);
    check("v2");
    assert_true(is_served(4));
}

// ---- folders that fail ----

static void test_folder_gone(void **state)
{
    write_pair("a", 1);
    write_pair("b", 2);
    world_load(FOLDER);
    move("d", "e");
    for (int i = 0; i < 3; i++)
        check(i == 0 ? "d" : NULL);
    assert_int_equal(world.served_count, 2);
    assert_int_equal(world.element_count, 0);
    assert_int_equal(world.result.failed, 1);
    assert_int_equal(problem_count(), 1);
    assert_int_equal(log_count("error certificate folder is wrong"), 1);
    assert_int_equal(log_count(""), 1);
    assert_true(is_watched(""));
    assert_false(is_watched("d"));
    // It comes back with one of them, changed.
    make_folder("d");
    write_pair("a", 3);
    check("");
    assert_int_equal(world.served_count, 1);
    assert_true(is_served(3));
    assert_int_equal(log_count("info certificate folder healed"), 1);
    assert_int_equal(problem_count(), 0);
    assert_true(is_watched("d"));
}

static bool is_unreadable;

// In the place of the C library's: root, who runs tests too, reads everything.
DIR *opendir(const char *path)
{
    int fd = -1;

    if (is_unreadable)
        errno = EACCES;
    else
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fdopendir(fd) : NULL;
}

static void test_folder_unreadable(void **state)
{
    make_folder("d/x");
    write_below("x", 1);
    world_load(FOLDER);
    is_unreadable = true;
    check("d");
    assert_int_equal(world.served_count, 1);
    assert_int_equal(world.element_count, 0);
    assert_int_equal(log_count("error certificate folder is wrong"), 1);
    assert_int_equal(log_count_both("cannot list", "Permission denied"), 1);
    // What happens meanwhile counts when it can be read again.
    write_below("x", 2);
    check("d/x");
    assert_int_equal(world.element_count, 0);
    is_unreadable = false;
    check("d");
    assert_int_equal(log_count("info certificate folder healed"), 1);
    assert_true(is_served(2));
}

// A listener that would be left without any keeps what it has.
static void test_everything_gone(void **state)
{
    write_pair("a", 1);
    write_pair("b", 2);
    world_load(FOLDER);
    remove_pair("a");
    remove_pair("b");
    check("d");
    check(NULL);
    assert_int_equal(world.served_count, 2);
    assert_int_equal(world.result.removed, 0);
    assert_int_equal(log_count("error certificate folder is wrong"), 1);
    assert_int_equal(problem_count(), 1);
    // Something that is no good doesn't help.
    write_file("d/c.pem", "nonsense");
    check("d");
    assert_int_equal(world.served_count, 2);
    write_pair("c", 3);
    check("d");
    assert_int_equal(world.served_count, 1);
    assert_true(is_served(3));
    assert_int_equal(world.result.removed, 2);
    assert_int_equal(problem_count(), 0);
}

static void test_everything_gone_beside_configured_ones(void **state)
{
    write_chain("a.pem", 1);
    write_key("a.key", 1);
    write_pair("b", 2);
    world_load(BOTH);
    assert_int_equal(world.served_count, 2);
    assert_true(served_find(1)->places[0].rank < served_find(2)->places[0].rank);
    remove_pair("b");
    check("d");
    assert_int_equal(world.served_count, 1);
    assert_int_equal(problem_count(), 0);
}

// ---- names that meet ----

static void test_conflicts(void **state)
{
    write_file("a.pem", "cert 1\nname x.example\nname y.example\n");
    write_key("a.key", 1);
    write_file("d/b.pem", "cert 2\nkey 2\nname x.example\n");
    write_file("d/c.pem", "cert 3\nkey 3\nname x.example\nkind rsa\n");
    write_file("d/d.pem", "cert 1\nkey 1\nname y.example\n"); // the same as a.pem
    world_load(BOTH);
    assert_true(report_holds("a.pem is served"));
    assert_true(report_holds("d/b.pem is not"));
    assert_false(report_holds("c.pem"));
    assert_false(report_holds("d/d.pem"));
    check_with(NULL, true);
    assert_int_equal(log_count("two certificates"), 0); // it was said
    write_file("d/e.pem", "cert 5\nkey 5\nname y.example\n");
    check("d");
    assert_int_equal(log_count_both("warning two certificates for one name", "d/e.pem is not"), 1);
    write_pair("f", 6);
    check("d");
    assert_int_equal(log_count("two certificates"), 1);
    remove_file("d/e.pem");
    check("d");
    write_file("d/e.pem", "cert 5\nkey 5\nname y.example\n");
    check("d");
    assert_int_equal(log_count("two certificates"), 2);
}

static void test_two_listeners_share_a_folder(void **state)
{
    write_pair("a", 1);
    write_pair("b", 2);
    world_load("listeners:\n"
               "  - &web {name: web, address: \"127.0.0.1:443\", upstream: app, tls: {certificate_dir: d}}\n"
               "  - {<<: *web, name: other, address: \"127.0.0.1:444\"}\n");
    assert_int_equal(world.served_count, 2);
    assert_int_equal(world.loader->reads, 2);
    assert_int_equal(served_find(1)->place_count, 2);
    assert_int_equal(served_find(1)->places[1].listener, 1);
    assert_int_equal(world.report.count, 0);
}

// ---- many ----

static void test_many(void **state)
{
    char name[32];
    unsigned reads;

    for (unsigned i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "n%05u", 2 * i);
        write_pair(name, i + 1);
    }
    world_load(FOLDER);
    assert_int_equal(world.served_count, MANY);
    assert_int_equal(watched_count(), 1);
    check(NULL); // what was young is old now
    reads = world.loader->reads;
    write_pair("n00777", 0xa000); // new
    write_pair("n00778", 0xa001); // changed
    write_key("d/n00780.key", 0xa002);
    check("d");
    assert_true(world.loader->reads - reads >= 3);
    assert_true(world.loader->reads - reads < MANY / 2);
    assert_int_equal(world.served_count, MANY + 1);
    assert_int_equal(world.element_count, 2);
    assert_true(is_served(0xa000));
    assert_true(is_served(0xa001));
    assert_true(served_find(0xa000)->places[0].rank < served_find(0xa001)->places[0].rank);
    assert_int_equal(problem_count(), 1);
    // Always in the same place, until there is no room between the ranks.
    for (unsigned i = 0; i < 30; i++) {
        snprintf(name, sizeof(name), "n00777%02u", i);
        write_pair(name, 0xb000 + i);
        check("d");
        assert_true(served_find(0xb000 + i)->places[0].rank < served_find(0xa001)->places[0].rank);
        assert_true(served_find(0xb000 + i)->places[0].rank >
                    served_find(i == 0 ? 0xa000 : 0xb000 + i - 1)->places[0].rank);
    }
    assert_int_equal(world.served_count, MANY + 31);
    for (unsigned i = 1; i < MANY; i++) {
        snprintf(name, sizeof(name), "n%05u", 2 * i);
        remove_pair(name);
    }
    check("d");
    assert_int_equal(world.served_count, 32);
    assert_int_equal(world.result.removed, MANY - 1);
}

static void test_many_below(void **state)
{
    char name[32];
    unsigned reads;

    for (unsigned i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "d/n%u", i);
        make_folder(name);
        write_below(name + 2, i + 1);
    }
    world_load(FOLDER);
    assert_int_equal(world.served_count, MANY);
    assert_int_equal(watched_count(), MANY + 1);
    reads = world.loader->reads;
    write_below("n777", 0xa000);
    check("d/n777");
    assert_int_equal(world.loader->reads - reads, 1);
    assert_true(is_served(0xa000));
    assert_int_equal(world.element_count, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_names),
        TEST(test_names_below),
        TEST(test_added_and_removed),
        TEST(test_changed),
        TEST(test_half_gone),
        TEST(test_files_move),
        TEST(test_bad_pairs),
        TEST(test_nothing_good),
        TEST(test_below),
        TEST(test_below_by_link),
        TEST(test_folder_gone),
        TEST(test_folder_unreadable),
        TEST(test_everything_gone),
        TEST(test_everything_gone_beside_configured_ones),
        TEST(test_conflicts),
        TEST(test_two_listeners_share_a_folder),
        TEST(test_many),
        TEST(test_many_below),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
