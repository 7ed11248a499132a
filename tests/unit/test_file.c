// SPDX-License-Identifier: Apache-2.0
// Files as a whole: what is read and refused, and that writing takes a name only when it may and when all is there.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ringbolt/file.h"

static char folder[PATH_MAX];
static bool is_old_file_system; // one without files of no name

// In the place of the C library's. Only here a file system can be chosen.
int openat(int directory, const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list arguments;

    if (flags & (O_CREAT | O_TMPFILE)) {
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    if (is_old_file_system && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return (int)syscall(SYS_openat, directory, path, flags, mode);
}

static const char *in_folder(const char *name)
{
    static char path[PATH_MAX + NAME_MAX + 8];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(folder, sizeof(folder), "%s/ringbolt-file-XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int make_old_folder(void **state)
{
    is_old_file_system = true;
    return make_folder(state);
}

static int remove_folder(void **state)
{
    DIR *listing = opendir(folder);
    const struct dirent *entry;

    is_old_file_system = false;
    while (listing && (entry = readdir(listing)))
        (void)unlinkat(dirfd(listing), entry->d_name, entry->d_type == DT_DIR ? AT_REMOVEDIR : 0);
    if (listing)
        closedir(listing);
    return rmdir(folder);
}

static unsigned count_files(void)
{
    DIR *listing = opendir(folder);
    const struct dirent *entry;
    unsigned count = 0;

    assert_non_null(listing);
    while ((entry = readdir(listing)))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(listing);
    return count;
}

static void assert_content(const char *name, const char *expected)
{
    uint8_t *data;
    size_t size;

    assert_int_equal(file_read(in_folder(name), 1 << 20, &data, &size), 0);
    assert_int_equal(size, strlen(expected));
    assert_string_equal((char *)data, expected);
    free(data);
}

static mode_t mode_of(const char *name)
{
    struct stat status;

    assert_int_equal(stat(in_folder(name), &status), 0);
    return status.st_mode & 07777;
}

static void test_write_new(void **state)
{
    mode_t mask = umask(077);

    assert_int_equal(file_write(in_folder("a"), "hello", 5, 0644, FILE_NEW), 0);
    umask(0);
    assert_int_equal(file_write(in_folder("b"), "", 0, 0600, FILE_NEW), 0);
    umask(mask);
    assert_content("a", "hello");
    assert_content("b", "");
    assert_int_equal(mode_of("a"), 0644);
    assert_int_equal(mode_of("b"), 0600);
    assert_int_equal(file_write(in_folder("a"), "other", 5, 0600, FILE_NEW), -EEXIST);
    assert_content("a", "hello");
    assert_int_equal(count_files(), 2);
}

static void test_new_takes_no_name_that_is_taken(void **state)
{
    assert_int_equal(symlink("nowhere", in_folder("link")), 0);
    assert_int_equal(mkdir(in_folder("sub"), 0700), 0);
    assert_int_equal(file_write(in_folder("link"), "x", 1, 0600, FILE_NEW), -EEXIST);
    assert_int_equal(file_write(in_folder("sub"), "x", 1, 0600, FILE_NEW), -EEXIST);
    assert_int_equal(access(in_folder("nowhere"), F_OK), -1);
    assert_int_equal(count_files(), 2);
}

static void test_replace(void **state)
{
    struct stat before;
    struct stat after;
    int fd;

    assert_int_equal(file_write(in_folder("a"), "one", 3, 0644, FILE_REPLACE), 0);
    fd = open(in_folder("a"), O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(file_write(in_folder("a"), "second", 6, 0600, FILE_REPLACE), 0);
    assert_content("a", "second");
    assert_int_equal(mode_of("a"), 0600);
    // Whoever has the old file open keeps it whole.
    assert_int_equal(fstat(fd, &before), 0);
    assert_int_equal(stat(in_folder("a"), &after), 0);
    assert_int_not_equal(before.st_ino, after.st_ino);
    assert_int_equal(before.st_size, 3);
    close(fd);
    assert_int_equal(count_files(), 1);
}

static void test_replace_only_regular_files(void **state)
{
    assert_int_equal(symlink("target", in_folder("link")), 0);
    assert_int_equal(mkdir(in_folder("sub"), 0700), 0);
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    assert_int_equal(file_write(in_folder("link"), "x", 1, 0600, FILE_REPLACE), -ELOOP);
    assert_int_equal(file_write(in_folder("sub"), "x", 1, 0600, FILE_REPLACE), -EISDIR);
    assert_int_equal(file_write(in_folder("pipe"), "x", 1, 0600, FILE_REPLACE), -EINVAL);
    assert_int_equal(count_files(), 3);
}

static void test_bad_paths(void **state)
{
    char longer[NAME_MAX + 2];

    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(file_write(in_folder("no/a"), "x", 1, 0600, FILE_NEW), -ENOENT);
    assert_int_equal(file_write(in_folder(""), "x", 1, 0600, FILE_NEW), -EISDIR);
    assert_int_equal(file_write("", "x", 1, 0600, FILE_NEW), -ENOENT);
    assert_int_equal(file_write(in_folder(longer), "x", 1, 0600, FILE_NEW), -ENAMETOOLONG);
    longer[NAME_MAX] = '\0';
    assert_int_equal(file_write(in_folder(longer), "x", 1, 0600, FILE_NEW), 0);
    assert_int_equal(file_write(in_folder(longer), "y", 1, 0600, FILE_REPLACE), 0);
    assert_int_equal(count_files(), 1);
}

// A full disk as far as one process can have one of its own: the limit on a file's size.
static void test_no_space(void **state)
{
    static char data[8192];
    struct rlimit old;
    struct rlimit limit;

    assert_int_equal(file_write(in_folder("a"), "old", 3, 0600, FILE_NEW), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(file_write(in_folder("b"), data, sizeof(data), 0600, FILE_NEW), -EFBIG);
    assert_int_equal(file_write(in_folder("a"), data, sizeof(data), 0600, FILE_REPLACE), -EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_content("a", "old");
    assert_int_equal(count_files(), 1);
}

// Two files that change together: when the second one can't be written, the first one is as it was.
static void test_together(void **state)
{
    struct file_draft *first;
    struct file_draft *second;

    assert_int_equal(file_write(in_folder("a"), "old", 3, 0600, FILE_NEW), 0);
    assert_int_equal(file_prepare(in_folder("a"), "new", 3, 0600, FILE_REPLACE, &first), 0);
    assert_int_equal(file_prepare(in_folder("no/b"), "new", 3, 0600, FILE_NEW, &second), -ENOENT);
    file_discard(first);
    file_discard(NULL);
    assert_content("a", "old");
    assert_int_equal(count_files(), 1);

    assert_int_equal(file_prepare(in_folder("a"), "new", 3, 0600, FILE_REPLACE, &first), 0);
    assert_int_equal(file_prepare(in_folder("b"), "new", 3, 0644, FILE_NEW, &second), 0);
    assert_content("a", "old");
    assert_int_equal(access(in_folder("b"), F_OK), -1);
    assert_int_equal(file_publish(first, FILE_REPLACE), 0);
    assert_int_equal(file_publish(second, FILE_NEW), 0);
    assert_content("a", "new");
    assert_content("b", "new");
    assert_int_equal(count_files(), 2);

    // The name is taken in between.
    assert_int_equal(file_prepare(in_folder("c"), "late", 4, 0600, FILE_NEW, &first), 0);
    assert_int_equal(file_write(in_folder("c"), "early", 5, 0600, FILE_NEW), 0);
    assert_int_equal(file_publish(first, FILE_NEW), -EEXIST);
    assert_content("c", "early");
    assert_int_equal(count_files(), 3);
}

// Of many that want one name at once, one gets it.
static void test_race(void **state)
{
    int won = 0;

    for (int i = 0; i < 16; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            _exit(file_write(in_folder("a"), "whole", 5, 0600, FILE_NEW) == 0 ? 7 : 0);
    }
    for (int i = 0; i < 16; i++) {
        int status;
        assert_true(wait(&status) > 0);
        assert_true(WIFEXITED(status));
        won += WEXITSTATUS(status) == 7;
    }
    assert_int_equal(won, 1);
    assert_content("a", "whole");
    assert_int_equal(count_files(), 1);
}

static void test_read_refuses(void **state)
{
    uint8_t *data = NULL;
    size_t size = 77;

    assert_int_equal(file_write(in_folder("a"), "12345678", 8, 0600, FILE_NEW), 0);
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    assert_int_equal(file_read(in_folder("a"), 7, &data, &size), -EFBIG);
    assert_int_equal(file_read(in_folder("no"), 7, &data, &size), -ENOENT);
    assert_int_equal(file_read(folder, 7, &data, &size), -EISDIR);
    assert_int_equal(file_read(in_folder("pipe"), 7, &data, &size), -EINVAL);
    assert_int_equal(file_read("/dev/zero", 7, &data, &size), -EINVAL);
    assert_null(data);
    assert_int_equal(size, 77);
    assert_int_equal(file_read(in_folder("a"), 8, &data, &size), 0);
    assert_int_equal(size, 8);
    free(data);
}

static void test_read_secret(void **state)
{
    uint8_t *data;
    size_t size;

    assert_int_equal(file_write(in_folder("a"), "secret", 6, 0600, FILE_NEW), 0);
    assert_int_equal(file_read_secret(in_folder("a"), 100, &data, &size), 0);
    assert_int_equal(size, 6);
    assert_string_equal((char *)data, "secret");
    file_free_secret(data, size);
    file_free_secret(NULL, 0);
    assert_int_equal(file_write(in_folder("b"), "", 0, 0600, FILE_NEW), 0);
    assert_int_equal(file_read_secret(in_folder("b"), 0, &data, &size), 0);
    assert_int_equal(size, 0);
    file_free_secret(data, size);
}

// On a file system as it should be, and on an old one.
#define BOTH(test)                                                                                           \
    cmocka_unit_test_setup_teardown(test, make_folder, remove_folder),                                       \
        cmocka_unit_test_setup_teardown(test, make_old_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_write_new),
        BOTH(test_new_takes_no_name_that_is_taken),
        BOTH(test_replace),
        BOTH(test_replace_only_regular_files),
        BOTH(test_bad_paths),
        BOTH(test_no_space),
        BOTH(test_together),
        BOTH(test_race),
        cmocka_unit_test_setup_teardown(test_read_refuses, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_read_secret, make_folder, remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
