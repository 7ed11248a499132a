// SPDX-License-Identifier: Apache-2.0
// The heap for secrets: pieces of every size, wiped when given back, in memory that is locked and left out of core dumps, with and
// without the right to lock it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ringbolt/secret.h"
#include "skip.h"

static bool is_filled(const uint8_t *memory, size_t size, uint8_t with)
{
    for (size_t i = 0; i < size; i++) {
        if (memory[i] != with)
            return false;
    }
    return true;
}

static void test_sizes(void **state)
{
    for (size_t size = 1; size < 100000; size += size < 9000 ? 1 : 997) {
        uint8_t *piece = secret_take(size);

        assert_non_null(piece);
        assert_int_equal((uintptr_t)piece % 16, 0);
        assert_true(is_filled(piece, size, 0));
        memset(piece, 0xa5, size);
        secret_give(piece);
    }
    secret_give(NULL);
}

// Pieces of mixed sizes, taken and given in a random but repeatable order: none overlaps another, all begin zeroed.
static void test_many(void **state)
{
    enum { COUNT = 4000 };
    static struct {
        uint8_t *data;
        size_t size;
    } pieces[COUNT];
    unsigned seed = 7;

    for (size_t step = 0; step < 20 * COUNT; step++) {
        size_t i = (size_t)rand_r(&seed) % COUNT;

        if (pieces[i].data != NULL) {
            assert_true(is_filled(pieces[i].data, pieces[i].size, (uint8_t)i));
            secret_give(pieces[i].data);
            pieces[i].data = NULL;
        } else {
            pieces[i].size = 1 + (size_t)rand_r(&seed) % (rand_r(&seed) % 50 == 0 ? 20000 : 2500);
            pieces[i].data = secret_take(pieces[i].size);
            assert_non_null(pieces[i].data);
            assert_true(is_filled(pieces[i].data, pieces[i].size, 0));
            memset(pieces[i].data, (uint8_t)i, pieces[i].size);
        }
    }
    for (size_t i = 0; i < COUNT; i++)
        secret_give(pieces[i].data);
}

static void test_wiped(void **state)
{
    uint8_t *stays = secret_take(200); // keeps the block mapped
    uint8_t *goes = secret_take(200);

    memset(goes, 0xa5, 200);
    secret_give(goes);
    assert_true(is_filled(goes + sizeof(void *), 200 - sizeof(void *), 0)); // in front stands the chain
    assert_true(memchr(goes, 0xa5, sizeof(void *)) == NULL);
    secret_give(stays);
}

static void test_absurd_sizes(void **state)
{
    assert_null(secret_take(SIZE_MAX));
    assert_null(secret_take(SIZE_MAX - 4096));
    assert_null(secret_take(SIZE_MAX / 2));
}

// Whether the mapping at `address` has the flag ("lo": locked, "dd": not dumped), by /proc/self/smaps.
static bool has_flag(const void *address, const char *flag)
{
    FILE *smaps = fopen("/proc/self/smaps", "r");
    unsigned long start, end;
    bool is_there = false;
    bool is_found = false;
    char line[512];

    assert_non_null(smaps);
    while (fgets(line, sizeof(line), smaps) != NULL && !is_found) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            is_there = (uintptr_t)address >= start && (uintptr_t)address < end;
        else if (is_there && strncmp(line, "VmFlags:", 8) == 0)
            is_found = strstr(line, flag) != NULL;
    }
    fclose(smaps);
    return is_found;
}

// Runs it in a child. The exit status is what it returns.
static int in_child(int (*work)(void *), void *argument)
{
    pid_t child = fork();
    int status;

    if (child == 0)
        _exit(work(argument));
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int forked(void *piece)
{
    bool was_locked = has_flag(piece, " lo");

    secret_relock();
    return (was_locked ? 2 : 0) | (has_flag(piece, " lo") ? 1 : 0);
}

static void test_locked_and_relocked(void **state)
{
    uint8_t *small = secret_take(100);
    uint8_t *large = secret_take(100000);

    assert_true(has_flag(small, " dd"));
    assert_true(has_flag(large, " dd"));
    if (!has_flag(small, " lo")) // a machine where nothing may be locked
        skip_because("nothing may be locked into memory here");
    assert_true(has_flag(large, " lo"));
    assert_int_equal(in_child(forked, small), 1);
    assert_int_equal(in_child(forked, large), 1);
    secret_give(small);
    secret_give(large);
}

static int without_limit(void *argument)
{
    const struct rlimit none = {0, 0};
    uint8_t *piece;

    if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 || (geteuid() == 0 && setuid(65534) < 0))
        return 2;
    secret_relock();
    piece = secret_take(50000);
    if (piece == NULL || has_flag(piece, " lo") || !has_flag(piece, " dd"))
        return 1;
    memset(piece, 1, 50000);
    secret_give(piece);
    return 0;
}

static void test_without_the_right_to_lock(void **state)
{
    assert_int_equal(in_child(without_limit, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_wiped),
        cmocka_unit_test(test_absurd_sizes),
        cmocka_unit_test(test_locked_and_relocked),
        cmocka_unit_test(test_without_the_right_to_lock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
