// SPDX-License-Identifier: Apache-2.0
// What the child that asks gives up before it meets a responder. Its memory holds no secret; this is about what it could reach. Under an
// account of its own kind it can read few files anyway; where Ringbolt was started by somebody who is not root, it is
// the same account as the master's, and Landlock (Linux 5.13) keeps it from key files and from the memory of others.
#include "responder_fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ringbolt/compat.h"

#define CPU_S_MAX 10
#define MEMORY_MAX                                                                                           \
    ((rlim_t)256 << 20) // of addresses; libraries and the stack of a thread that resolves names among them
#define STACK_MAX       ((rlim_t)1 << 20)
#define DESCRIPTORS_MAX 64

// Everything about files that the first version of Landlock knows: LANDLOCK_ACCESS_FS_EXECUTE to LANDLOCK_ACCESS_FS_MAKE_SYM.
#define FILE_RIGHTS ((UINT64_C(1) << 13) - 1)

static int limit(int resource, rlim_t most)
{
    struct rlimit value = {.rlim_cur = most, .rlim_max = most};
    struct rlimit now;

    // What is lower already can't be raised, and need not be.
    if (getrlimit(resource, &now) == 0 && now.rlim_max < most)
        value.rlim_cur = value.rlim_max = now.rlim_max;
    return setrlimit(resource, &value) < 0 ? -errno : 0;
}

static int limit_all(void)
{
    static const struct {
        int resource;
        rlim_t most;
    } limits[] = {
        {RLIMIT_CPU, CPU_S_MAX},   {RLIMIT_FSIZE, 0}, {RLIMIT_CORE, 0}, {RLIMIT_NOFILE, DESCRIPTORS_MAX},
        {RLIMIT_STACK, STACK_MAX}, // also what threads get
        {RLIMIT_MEMLOCK, 0},
    };
    int error = 0;

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]) && error == 0; i++)
        error = limit(limits[i].resource, limits[i].most);
    if (error == 0 && !IS_SANITIZED)
        error = limit(RLIMIT_AS, MEMORY_MAX);
    return error;
}

// What the C library reads to look up a name, and libraries that it loads for that. What is not there is skipped.
static void allow_reading(int ruleset)
{
    static const char *const paths[] = {
        "/etc/resolv.conf", "/etc/hosts",     "/etc/host.conf", "/etc/nsswitch.conf",
        "/etc/gai.conf",    "/etc/services",  "/etc/protocols", "/etc/ld.so.cache",
        "/etc/ld.so.conf",  "/etc/localtime", "/lib",           "/lib64",
        "/usr/lib",         "/usr/lib64",     "/usr/local/lib", "/dev/urandom",
        "/dev/null"};

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct landlock_path_beneath_attr rule = {.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE};

        rule.parent_fd = open(paths[i], O_PATH | O_CLOEXEC);
        if (rule.parent_fd < 0)
            continue;
        (void)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
        close(rule.parent_fd);
    }
}

// Best effort: a kernel without Landlock is no reason not to staple.
static void lock_files(void)
{
    struct landlock_ruleset_attr attributes = {.handled_access_fs = FILE_RIGHTS};
    // The first version's size, whatever these headers have.
    int ruleset =
        (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes.handled_access_fs), 0);

    if (ruleset < 0)
        return;
    allow_reading(ruleset);
    // Also keeps it from tracing, and reading the memory of, every process that is not confined with it.
    (void)syscall(SYS_landlock_restrict_self, ruleset, 0);
    close(ruleset);
}

int fetch_confine(const char *name)
{
    int error = limit_all();

    if (error < 0)
        return error;
    (void)prctl(PR_SET_NAME, name); // instead of "exe"
    lock_files();
    return 0;
}
