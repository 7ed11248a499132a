// SPDX-License-Identifier: Apache-2.0
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "src/worker/privileges.h"
#include "system.h"

#define PROGRAM      "/proc/self/exe"
#define VARIABLE_MAX 16

// Passphrases may stand in the environment: only what a lookup or a proxy needs goes along.
static char **environment_make(char *variables[VARIABLE_MAX + 1])
{
    static const char *const kept[] = {"http_proxy=",   "all_proxy=",     "ALL_PROXY=",    "no_proxy=",
                                       "NO_PROXY=",     "RES_OPTIONS=",   "LOCALDOMAIN=",  "LD_LIBRARY_PATH=",
                                       "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS=", "TSAN_OPTIONS="};
    size_t count = 0;

    for (char **variable = environ; *variable != NULL && count < VARIABLE_MAX; variable++) {
        for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
            if (strncmp(*variable, kept[i], strlen(kept[i])) == 0) {
                variables[count++] = *variable;
                break;
            }
        }
    }
    variables[count] = NULL;
    return variables;
}

// As for a worker: who stops the master stops its children by way of it.
static void reset_signals(void)
{
    static const int ignored[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE};
    sigset_t none;

    (void)signal(SIGCHLD, SIG_DFL);
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        (void)signal(ignored[i], SIG_IGN);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int keep_only(int in, int out)
{
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    int keep[] = {-1};

    if (nothing < 0)
        return -errno;
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(nothing, STDERR_FILENO) < 0)
        return -errno;
    system_keep_descriptors(keep, 1);
    return 0;
}

int spawn_become(const char *command, const struct account *account, pid_t parent, int in, int out,
                 const char **ret_what)
{
    char name[] = "ringbolt";
    char *arguments[] = {name, (char *)(uintptr_t)command, NULL};
    char *variables[VARIABLE_MAX + 1];
    int error;

    *ret_what = "its descriptors";
    reset_signals();
    error = keep_only(in, out);
    if (error == 0 && chdir("/") < 0)
        error = -errno;
    if (error == 0)
        error = privileges_drop(account->uid, account->gid, false, ret_what); // also: ends with the parent
    if (error < 0)
        return error;
    if (getppid() != parent)
        _exit(1);
    *ret_what = PROGRAM;
    execve(PROGRAM, arguments, environment_make(variables));
    return -errno;
}
