// SPDX-License-Identifier: Apache-2.0
// The watch: each way in which files are replaced is told, whatever happens to the folders they lie in, and what is of no matter is not.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "ringbolt/clock.h"
#include "src/control/watch.h"
#include "skip.h"
#include "tests/unit/folder.h"

#define PATIENCE_NS (20 * CLOCK_NS_PER_S)
#define ASKED_MAX   256
#define TOLD_MAX    1024

static char root[PATH_MAX];
static struct loop *loop;
static struct watch *watch;
static const char *asked[ASKED_MAX]; // relative to root; ended by NULL
static char *told[TOLD_MAX];         // relative to root; "everything" for NULL
static size_t told_count;
static bool is_over;

// ---- in the place of the C library's ----

static int add_error;  // what inotify_add_watch fails with
static int init_error; // and inotify_init1
static uint64_t skew_ns;

int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
    if (add_error != 0) {
        errno = add_error;
        return -1;
    }
    return (int)syscall(SYS_inotify_add_watch, fd, path, mask);
}

int inotify_init1(int flags)
{
    if (init_error != 0) {
        errno = init_error;
        return -1;
    }
    return (int)syscall(SYS_inotify_init1, flags);
}

// Lets time pass without waiting for it.
int clock_gettime(clockid_t clock, struct timespec *ret)
{
    int result = (int)syscall(SYS_clock_gettime, clock, ret);

    if (clock == CLOCK_MONOTONIC)
        ret->tv_sec += (time_t)(skew_ns / CLOCK_NS_PER_S);
    return result;
}

// ---- files ----

static const char *in_root(const char *name)
{
    static char paths[4][2 * PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 4];
    int length = snprintf(path, sizeof(paths[0]), "%s%s%s", root, name[0] != '\0' ? "/" : "", name);

    assert_true(length > 0 && (size_t)length < sizeof(paths[0]));
    return path;
}

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(in_root(name), "w");

    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void make_folder(const char *name)
{
    assert_int_equal(mkdir(in_root(name), 0700), 0);
}

static void move(const char *from, const char *to)
{
    assert_int_equal(rename(in_root(from), in_root(to)), 0);
}

static void make_link(const char *target, const char *name)
{
    assert_int_equal(symlink(target, in_root(name)), 0);
}

// ---- the watch ----

static void ask(void)
{
    watch_begin(watch);
    for (size_t i = 0; asked[i] != NULL; i++)
        watch_folder(watch, in_root(asked[i]));
    watch_end(watch);
}

static void on_changed(void *owner, const char *folder)
{
    const char *name = "everything";

    if (folder != NULL) {
        assert_memory_equal(folder, root, strlen(root));
        name = folder[strlen(root)] == '/' ? folder + strlen(root) + 1 : "";
    }
    assert_true(told_count < TOLD_MAX);
    told[told_count++] = strdup(name);
    ask();
}

static void on_patience(void *owner)
{
    is_over = true;
}

static size_t count_told(const char *name)
{
    size_t count = 0;

    for (size_t i = 0; i < told_count; i++)
        count += strcmp(told[i], name) == 0;
    return count;
}

static void forget_told(void)
{
    while (told_count > 0)
        free(told[--told_count]);
}

// Until something is told of the folder.
static void expect(const char *name)
{
    struct loop_timer patience;

    is_over = false;
    loop_timer_init(&patience, on_patience, NULL);
    loop_timer_set(loop, &patience, clock_now_ns() + PATIENCE_NS);
    while (!is_over && count_told(name) == 0)
        assert_int_equal(loop_turn(loop), 0);
    loop_timer_stop(&patience);
    if (is_over)
        fail_msg("nothing was told of %s", name);
}

static bool is_asked(const char *name)
{
    for (size_t i = 0; asked[i] != NULL; i++) {
        if (strcmp(asked[i], name) == 0)
            return true;
    }
    return false;
}

// Says which folders are to be watched, and waits until the new ones are.
static void watch_these(const char *const *names)
{
    const char *added[ASKED_MAX];
    size_t added_count = 0;
    size_t count = 0;

    for (; names[count] != NULL; count++) {
        if (!is_asked(names[count]))
            added[added_count++] = names[count];
    }
    memcpy(asked, names, (count + 1) * sizeof(*asked));
    forget_told();
    ask();
    for (size_t i = 0; i < added_count; i++)
        expect(added[i]);
    forget_told();
}

#define watch_these(...) (watch_these)((const char *const[]){__VA_ARGS__, NULL})

// Whatever was to be told of before is told now: events come in their order.
static void barrier(void)
{
    write_file("barrier/file", "x");
    expect("barrier");
}

static int set_up(void **state)
{
    const char *tmp = getenv("TMPDIR");
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/ringbolt-watch-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(path) == NULL || realpath(path, root) == NULL)
        return -1;
    make_folder("a");
    make_folder("a/b");
    make_folder("barrier");
    add_error = init_error = 0;
    skew_ns = 0;
    asked[0] = NULL;
    if (loop_create(&loop) < 0)
        return -1;
    return watch_create(loop, on_changed, NULL, &watch);
}

static int tear_down(void **state)
{
    watch_destroy(watch);
    loop_destroy(loop);
    forget_told();
    remove_all(root);
    return 0;
}

// ---- what is told ----

static void test_each_way(void **state)
{
    write_file("a/b/file", "1");
    make_link("file", "a/b/link");
    watch_these("a/b", "barrier");

    write_file("a/b/file", "2");
    expect("a/b");
    forget_told();

    write_file("barrier/new", "3");
    expect("barrier");
    forget_told();
    move("barrier/new", "a/b/file");
    expect("a/b");
    forget_told();

    make_link("other", "a/b/link.new");
    expect("a/b");
    forget_told();
    move("a/b/link.new", "a/b/link");
    expect("a/b");
    forget_told();

    make_folder("a/b/c");
    expect("a/b");
    forget_told();

    assert_int_equal(chmod(in_root("a/b/file"), 0), 0);
    expect("a/b");
    forget_told();

    assert_int_equal(unlink(in_root("a/b/file")), 0);
    expect("a/b");
}

static void test_reading_is_not_told(void **state)
{
    char byte;
    int fd;

    write_file("a/b/file", "1");
    watch_these("a/b", "barrier");
    fd = open(in_root("a/b/file"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, &byte, 1), 1);
    close(fd);
    barrier();
    assert_int_equal(count_told("a/b"), 0);
    assert_int_equal(count_told("everything"), 0);
}

static void test_once_for_many_events(void **state)
{
    watch_these("a/b", "barrier");
    for (int i = 0; i < 100; i++) {
        char name[32];

        snprintf(name, sizeof(name), "a/b/%d", i);
        write_file(name, "x");
    }
    barrier();
    assert_int_equal(count_told("a/b"), 1);
}

static void test_not_asked_for_any_more(void **state)
{
    watch_these("a/b", "barrier");
    watch_these("barrier");
    write_file("a/b/file", "x");
    barrier();
    assert_int_equal(count_told("a/b"), 0);
    // As an ancestor it is of interest only itself.
    watch_these("a", "barrier");
    watch_these("a/b", "barrier");
    write_file("a/file", "x");
    barrier();
    assert_int_equal(count_told("a"), 0);
    // And again by itself.
    watch_these("a", "a/b", "barrier");
    write_file("a/file", "y");
    expect("a");
    barrier();
    assert_int_equal(count_told("a/b"), 0);
}

// What comes between looking at files and watching them would be lost otherwise.
static void test_new_folder_counts_as_changed(void **state)
{
    watch_these("barrier");
    asked[0] = "a/b";
    asked[1] = "barrier";
    asked[2] = NULL;
    write_file("a/b/file", "x");
    ask();
    expect("a/b");
    assert_int_equal(count_told("barrier"), 0);
}

// ---- folders that come and go ----

static void test_removed_and_made_again(void **state)
{
    watch_these("a/b", "barrier");
    assert_int_equal(rmdir(in_root("a/b")), 0);
    make_folder("a/b");
    expect("a/b");
    barrier();
    forget_told();
    write_file("a/b/file", "x");
    expect("a/b");
}

static void test_removed_and_made_later(void **state)
{
    watch_these("a/b", "barrier");
    asked[0] = "a"; // the nearest that is there
    assert_int_equal(rmdir(in_root("a/b")), 0);
    expect("a/b");
    expect("a");
    forget_told();
    make_folder("a/b");
    expect("a");
    watch_these("a/b", "barrier");
    write_file("a/b/file", "x");
    expect("a/b");
}

static void test_renamed_and_replaced(void **state)
{
    make_folder("a/b2");
    watch_these("a/b", "barrier");
    move("a/b", "a/b1");
    move("a/b2", "a/b");
    expect("a/b");
    barrier();
    forget_told();
    write_file("a/b1/file", "x");
    barrier();
    assert_int_equal(count_told("a/b"), 0);
    write_file("a/b/file", "x");
    expect("a/b");
}

static void test_ancestor_replaced(void **state)
{
    make_folder("a2");
    make_folder("a2/b");
    watch_these("a/b", "barrier");
    move("a", "a1");
    move("a2", "a");
    expect("a/b");
    barrier();
    forget_told();
    write_file("a1/b/file", "x");
    barrier();
    assert_int_equal(count_told("a/b"), 0);
    write_file("a/b/file", "x");
    expect("a/b");
}

// By whichever path a folder was asked for.
static void test_same_folder_twice(void **state)
{
    make_link("a", "also");
    watch_these("a/b", "also/b", "barrier");
    write_file("a/b/file", "x");
    expect("a/b");
    expect("also/b");
    watch_these("also/b", "barrier");
    write_file("a/b/file", "y");
    expect("also/b");
    assert_int_equal(count_told("a/b"), 0);
}

// ---- limits ----

static void test_many_folders(void **state)
{
    static char names[200][16];

    for (int i = 0; i < 200; i++) {
        snprintf(names[i], sizeof(names[i]), "a/%d", i);
        make_folder(names[i]);
        asked[i] = names[i];
    }
    asked[200] = NULL;
    ask();
    expect("everything");
    assert_int_equal(told_count, 1);
    forget_told();
    write_file("a/77/file", "x");
    expect("a/77");
    assert_int_equal(told_count, 1);
}

static void test_overflow(void **state)
{
    FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
    int max = 0;

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &max), 1);
    fclose(file);
    if (max > 1000000)
        skip_because("this machine allows too many watches to use them up");
    watch_these("a/b", "barrier");
    write_file("a/b/0", "x");
    for (int i = 0; i < max; i++)
        move(i % 2 == 0 ? "a/b/0" : "a/b/1", i % 2 == 0 ? "a/b/1" : "a/b/0");
    expect("everything");
    forget_told();
    write_file("a/b/2", "x");
    expect("a/b");
}

static void test_watch_limit(void **state)
{
    watch_these("barrier");
    add_error = ENOSPC;
    asked[0] = "a/b";
    asked[1] = "barrier";
    asked[2] = NULL;
    ask();
    for (int i = 0; i < 3; i++) {
        forget_told();
        skew_ns += 5 * CLOCK_NS_PER_S;
        expect("everything");
    }
    // Somebody has raised it: from now on each change is told again, and everything every minute.
    add_error = 0;
    forget_told();
    skew_ns += 5 * CLOCK_NS_PER_S;
    expect("everything");
    expect("a/b");
    forget_told();
    skew_ns += 50 * CLOCK_NS_PER_S;
    write_file("a/b/file", "x");
    expect("a/b");
    assert_int_equal(count_told("everything"), 0);
    skew_ns += 10 * CLOCK_NS_PER_S;
    expect("everything");
}

static void test_no_inotify(void **state)
{
    watch_destroy(watch);
    init_error = EMFILE;
    assert_int_equal(watch_create(loop, on_changed, NULL, &watch), 0);
    asked[0] = "a/b";
    asked[1] = NULL;
    ask();
    for (int i = 0; i < 3; i++) {
        forget_told();
        skew_ns += 5 * CLOCK_NS_PER_S;
        expect("everything");
    }
}

static void test_look_over(void **state)
{
    watch_these("a/b", "barrier");
    for (int i = 0; i < 3; i++) {
        skew_ns += 40 * CLOCK_NS_PER_S;
        barrier(); // what happens does not put it off
        assert_int_equal(count_told("everything"), 0);
        forget_told();
        skew_ns += 20 * CLOCK_NS_PER_S;
        expect("everything");
        forget_told();
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_each_way),
        TEST(test_reading_is_not_told),
        TEST(test_once_for_many_events),
        TEST(test_not_asked_for_any_more),
        TEST(test_new_folder_counts_as_changed),
        TEST(test_removed_and_made_again),
        TEST(test_removed_and_made_later),
        TEST(test_renamed_and_replaced),
        TEST(test_ancestor_replaced),
        TEST(test_same_folder_twice),
        TEST(test_many_folders),
        TEST(test_overflow),
        TEST(test_watch_limit),
        TEST(test_no_inotify),
        TEST(test_look_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
