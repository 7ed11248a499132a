// SPDX-License-Identifier: Apache-2.0
// Quotas of CPU time, from made-up control groups.
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "folder.h"
#include "src/config/cpus.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void test_quota(void **state)
{
    static const struct {
        const char *text;
        unsigned cpus;
    } cases[] = {
        {"max 100000\n", 0},
        {"100000 100000\n", 1},
        {"100001 100000\n", 2},
        {"150000 100000\n", 2},
        {"200000 100000", 2},
        {"1000 100000\n", 1},
        {"1000 1000000\n", 1},
        {"18446744073709551615 1\n", UINT_MAX},
        {"18446744073709551616 1\n", 0},
        {"100000 0\n", 0},
        {"0 100000\n", 0},
        {"-100000 100000\n", 0},
        {"100000  100000\n", 0},
        {"100000 -1\n", 0},
        {"100000 100000 1\n", 0},
        {"100000\n", 0},
        {"100000 \n", 0},
        {"max\n", 0},
        {"\n", 0},
        {"", 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(cpus_of_quota(cases[i].text), cases[i].cpus);
}

// ---- trees ----

static char folder[] = "/tmp/ringbolt-cpus-XXXXXX";

static char *write_file(const char *name, const char *text)
{
    static char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    return path;
}

static void make_folder(const char *name)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static int make_tree(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    make_folder("pods");
    make_folder("pods/one");
    make_folder("pods/one/box");
    make_folder("free");
    make_folder("bad");
    write_file("pods/cpu.max", "800000 100000\n");
    write_file("pods/one/cpu.max", "250000 100000\n");
    write_file("pods/one/box/cpu.max", "max 100000\n");
    write_file("free/cpu.max", "max 100000\n");
    write_file("bad/cpu.max", "lots\n");
    return 0;
}

static int remove_tree(void **state)
{
    remove_all(folder);
    return 0;
}

static void test_groups(void **state)
{
    static const struct {
        const char *membership;
        unsigned cpus;
    } cases[] = {
        {"0::/pods/one/box\n", 3}, // the parent's
        {"0::/pods/one\n", 3},     // the least of several
        {"0::/pods\n", 8},
        {"12:cpu,cpuacct:/pods/one\n1:name=x:/\n0::/pods\n", 8}, // beside the first version's
        {"0::/free\n", 0},
        {"0::/bad\n", 0},
        {"0::/\n", 0}, // the machine's root has no cpu.max
        {"0::/pods/gone/away\n", 8},
        {"0::/../other\n", 0}, // outside of our namespace
        {"0::\n", 0},
        {"3:cpu:/pods\n", 0},
        {"", 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(cpus_granted(write_file("membership", cases[i].membership), folder), cases[i].cpus);
    assert_int_equal(cpus_granted("/nonexistent", folder), 0);
}

// A container whose tree is its own group, with the machine's path to it, or with its own.
static void test_own_root(void **state)
{
    write_file("cpu.max", "50000 100000\n");
    assert_int_equal(cpus_granted(write_file("membership", "0::/kube/pod/box\n"), folder), 1);
    assert_int_equal(cpus_granted(write_file("membership", "0::/\n"), folder), 1);
}

static void test_here(void **state)
{
    assert_true(cpus_usable() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quota),
        cmocka_unit_test_setup_teardown(test_groups, make_tree, NULL),
        cmocka_unit_test_setup_teardown(test_own_root, NULL, remove_tree),
        cmocka_unit_test(test_here),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
