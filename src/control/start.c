// SPDX-License-Identifier: Apache-2.0
// What the first start was like, so that it can be done again: arguments, environment, standard error, and the path of the program. The path is
// made absolute and its symbolic links are left as they are: where they lead when the time comes is what an upgrade is about.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ringbolt/control.h"
#include "src/worker/privileges.h"
#include "succession.h"
#include "system.h"

#define SELF        "/proc/self/exe"
#define NAME        "ringbolt"
#define VARIABLE    "RINGBOLT_PREDECESSOR"
#define CHANNEL     3
#define PROGRAM_MAX 4096

static struct {
    char **arguments;
    char **variables;
    char *program; // NULL: not known
    int error_output;
} start = {.error_output = -1};

// ---- the first start ----

static bool is_this(const char *path)
{
    struct stat own;
    struct stat other;

    return stat(SELF, &own) == 0 && stat(path, &other) == 0 && own.st_dev == other.st_dev &&
           own.st_ino == other.st_ino;
}

// A copy, absolute; NULL: no memory.
static char *absolute(const char *folder, size_t length, const char *name)
{
    char *current = folder[0] == '/' ? NULL : getcwd(NULL, 0);
    char *path = NULL;

    if (asprintf(&path, "%s%s%.*s%s%s", current ? current : "", current ? "/" : "", (int)length, folder,
                 length > 0 ? "/" : "", name) < 0)
        path = NULL;
    free(current);
    return path;
}

static char *find_in_path(const char *name)
{
    const char *folder = getenv("PATH");

    while (folder) {
        size_t length = strcspn(folder, ":");
        char *path = absolute(folder, length, name);

        if (path && is_this(path))
            return path;
        free(path);
        folder = folder[length] ? folder + length + 1 : NULL;
    }
    return NULL;
}

static char *find_program(const char *name)
{
    char path[PROGRAM_MAX];
    char *found = strchr(name, '/') ? absolute(name, 0, name) : find_in_path(name);
    ssize_t length;

    if (found && is_this(found))
        return found;
    free(found);
    length = readlink(SELF, path, sizeof(path) - 1); // whoever started us called us something else
    if (length <= 0)
        return NULL;
    path[length] = '\0';
    return strdup(path);
}

// Only the pointers: nobody changes the texts.
static char **copy_list(char **list)
{
    size_t count = 0;
    char **copy;

    while (list[count])
        count++;
    copy = calloc(count + 2, sizeof(*copy)); // there is room for one more
    if (!copy)
        abort();
    memcpy(copy, list, count * sizeof(*copy));
    return copy;
}

static bool is_ours(const char *variable)
{
    // Of the first process alone: its sockets are in the estate, and whose watchdog it is is known.
    static const char *const names[] = {
        "LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES=", "WATCHDOG_PID=", VARIABLE "="};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    }
    return false;
}

void control_remember(char **argv)
{
    size_t kept = 0;

    start.arguments = copy_list(argv);
    start.variables = copy_list(environ);
    for (size_t i = 0; start.variables[i]; i++) {
        if (!is_ours(start.variables[i]))
            start.variables[kept++] = start.variables[i];
    }
    start.variables[kept] = start.variables[kept + 1] = NULL;
    start.program = find_program(argv[0]);
    start.error_output = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    (void)prctl(PR_SET_NAME, NAME); // one that was executed by way of /proc would be called "exe"
}

// ---- from one master to the next ----

const char *start_program(void)
{
    return start.program;
}

const char *start_variable(const char *name)
{
    size_t length = strlen(name);

    for (size_t i = 0; start.variables && start.variables[i]; i++) {
        if (strncmp(start.variables[i], name, length) == 0 && start.variables[i][length] == '=')
            return start.variables[i] + length + 1;
    }
    return NULL;
}

bool start_is_known(enum succession_kind kind)
{
    return start.arguments && (kind == SUCCESSION_RELOAD || start.program);
}

int start_inherit(const struct estate *inherited)
{
    const struct estate_item *item = estate_find(inherited, ESTATE_PROGRAM, NULL);
    char *program;

    if (!item || item->size == 0 || item->size > PROGRAM_MAX || item->bytes[0] != '/' ||
        memchr(item->bytes, 0, item->size))
        return 0; // what we found ourselves will do
    program = strndup((const char *)item->bytes, item->size);
    if (!program)
        return -ENOMEM;
    free(start.program);
    start.program = program;
    return 0;
}

int start_leave(struct estate *ret)
{
    return start.program
               ? estate_add(ret, ESTATE_PROGRAM, ESTATE_OPTIONAL, start.program, strlen(start.program), -1)
               : 0;
}

static void reset_signals(void)
{
    sigset_t none;

    for (int number = 1; number < NSIG; number++)
        (void)signal(number, SIG_DFL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int arrange_descriptors(int channel)
{
    int keep[] = {CHANNEL};

    if (start.error_output >= 0 && dup2(start.error_output, STDERR_FILENO) < 0)
        return -errno;
    if (channel == CHANNEL ? fcntl(CHANNEL, F_SETFD, 0) < 0 : dup2(channel, CHANNEL) < 0)
        return -errno;
    system_keep_descriptors(keep, 1);
    return 0;
}

int start_again(enum succession_kind kind, int channel, pid_t parent, const char **ret_what)
{
    const char *program = kind == SUCCESSION_RELOAD ? SELF : start.program;
    char variable[64];
    size_t count = 0;
    int error;

    *ret_what = "its descriptors";
    reset_signals();
    error = arrange_descriptors(channel);
    if (error < 0)
        return error;
    // What the master kept of root's rights it has as a user without them only if they are handed down.
    *ret_what = "its capabilities";
    error = privileges_hand_down();
    if (error < 0)
        return error;
    snprintf(variable, sizeof(variable), VARIABLE "=%d:%d", CHANNEL, (int)parent);
    while (start.variables[count])
        count++;
    start.variables[count] = variable;
    *ret_what = program;
    execve(program, start.arguments, start.variables);
    return -errno;
}

int start_channel(pid_t *ret_predecessor)
{
    const char *text = getenv(VARIABLE);
    int type = 0;
    socklen_t length = sizeof(type);
    int predecessor = 0;
    int channel = -1;
    int end = 0;

    if (!text)
        return -1;
    // One that is somebody else's, who started something that started us, leads to no such socket.
    if (sscanf(text, "%d:%d%n", &channel, &predecessor, &end) < 2 || text[end] != '\0' ||
        channel <= STDERR_FILENO || getsockopt(channel, SOL_SOCKET, SO_TYPE, &type, &length) < 0 ||
        type != SOCK_SEQPACKET || fcntl(channel, F_SETFD, FD_CLOEXEC) < 0)
        channel = -1;
    (void)unsetenv(VARIABLE);
    *ret_predecessor = (pid_t)predecessor;
    return channel;
}
