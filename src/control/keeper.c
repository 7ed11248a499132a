// SPDX-License-Identifier: Apache-2.0
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "notify.h"
#include "src/worker/privileges.h"
#include "system.h"

#define PROGRAM   "/proc/self/exe"
#define NAME      "ringbolt"
#define ARGUMENTS KEEPER_ARGUMENTS

// ---- messages ----

#define HEAD offsetof(struct keeper_message, text)

static void say(int fd, const struct keeper_message *message, size_t length)
{
    while (send(fd, message, HEAD + length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EINTR)
        ;
}

void keeper_say(int fd, enum keeper_word word, pid_t pid, int status)
{
    struct keeper_message message = {.word = word, .pid = (int32_t)pid, .status = status};

    say(fd, &message, 0);
}

void keeper_say_text(int fd, const char *text)
{
    struct keeper_message message = {.word = KEEPER_SAYS};
    size_t length = strnlen(text, sizeof(message.text) - 1);

    memcpy(message.text, text, length);
    say(fd, &message, length);
}

int keeper_hear(int fd, struct keeper_message *ret)
{
    ssize_t length;

    *ret = (struct keeper_message){0};
    do
        length = recv(fd, ret, sizeof(*ret) - 1, MSG_DONTWAIT); // the zero stays behind the text
    while ((length < 0 && errno == EINTR) || (length > 0 && length < (ssize_t)HEAD));
    if (length < 0)
        return errno == EAGAIN ? -EAGAIN : 0;
    return length > 0;
}

int keeper_status(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// ---- the keeper ----

struct keeper {
    struct keeper_setup setup;
    int signals;
    struct notify notify;
    bool has_ended; // the leading master
    int status;     // of its end
};

static void set_up_log(const struct keeper *keeper)
{
    // Opened for each line: whoever rotates it need not know of us.
    int fd = keeper->setup.log_file
                 ? open(keeper->setup.log_file, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
                 : -1;

    if (fd >= 0) {
        (void)dup3(fd, STDERR_FILENO, 0);
        close(fd);
    }
    log_setup(keeper->setup.format, keeper->setup.level, STDERR_FILENO);
}

// Standard error is not to hold a file that was moved away.
static void let_go_of_log(void)
{
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    (void)dup3(fd, STDERR_FILENO, 0);
    close(fd);
}

static void leader_ended(struct keeper *keeper, int status)
{
    keeper->has_ended = true;
    keeper->status = status;
    set_up_log(keeper);
    if (WIFSIGNALED(status))
        log_error("the master that led was killed", log_integer("pid", keeper->setup.leader),
                  log_integer("signal", WTERMSIG(status)));
    else
        log_debug("the master that led has ended", log_integer("pid", keeper->setup.leader),
                  log_integer("status", WEXITSTATUS(status)));
}

static void listen_to_masters(struct keeper *keeper)
{
    struct keeper_message message;

    while (keeper_hear(keeper->setup.fd, &message) > 0) {
        if (message.word == KEEPER_LEADS && message.pid > 0) {
            keeper->setup.leader = message.pid;
            keeper_say(keeper->setup.fd, KEEPER_KEEPS, 0, 0);
        } else if (message.word == KEEPER_ENDED && message.pid == keeper->setup.leader) {
            leader_ended(keeper, message.status);
        } else if (message.word == KEEPER_SAYS) {
            notify_send(&keeper->notify, "%s", message.text);
        }
    }
}

// False when nobody is left.
static bool reap(struct keeper *keeper)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        listen_to_masters(keeper); // who leads may have changed since
        if (pid == keeper->setup.leader && !keeper->has_ended)
            leader_ended(keeper, status);
    }
    return pid == 0 || errno != ECHILD;
}

// True when it is enough.
static bool act(struct keeper *keeper, int number)
{
    listen_to_masters(keeper);
    if (number == SIGCHLD)
        return false;
    if (number == SIGUSR1 && keeper->setup.log_file)
        let_go_of_log();
    if (!keeper->has_ended)
        (void)kill(keeper->setup.leader, number);
    // Those that still drain see that we are gone, and end.
    return keeper->has_ended && (number == SIGTERM || number == SIGINT || number == SIGQUIT);
}

static bool read_signals(struct keeper *keeper)
{
    struct signalfd_siginfo info;

    while (read(keeper->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (act(keeper, (int)info.ssi_signo))
            return true;
    }
    return false;
}

static int open_signals(void)
{
    static const int watched[] = {SIGTERM, SIGQUIT, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
        sigaddset(&set, watched[i]);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static int keep(struct keeper *keeper)
{
    struct pollfd polls[] = {{.fd = keeper->signals, .events = POLLIN},
                             {.fd = keeper->setup.fd, .events = POLLIN}};

    keeper_say(keeper->setup.fd, KEEPER_KEEPS, 0, 0);
    for (;;) {
        listen_to_masters(keeper);
        if (!reap(keeper)) // also those that ended before we were here
            break;
        // Others may have connections to drain after an orderly end. After any other a supervisor is to start anew at once.
        if (keeper->has_ended && !WIFEXITED(keeper->status))
            break;
        if (read_signals(keeper))
            break;
        if (poll(polls, 2, -1) < 0 && errno != EINTR)
            break;
        if ((polls[1].revents & (POLLHUP | POLLERR)) != 0 && (polls[1].revents & POLLIN) == 0)
            polls[1].fd = -1; // no master is left; those that are children yet are waited for
    }
    return keeper->has_ended ? keeper_status(keeper->status) : 1;
}

static _Noreturn void live(const struct keeper_setup *setup)
{
    struct keeper keeper = {.setup = *setup};
    int keep_open[] = {setup->fd};

    (void)prctl(PR_SET_NAME, NAME);
    (void)fcntl(setup->fd, F_SETFD, FD_CLOEXEC);
    system_keep_descriptors(keep_open, 1);
    // Signals may be sent to who has the same user; nothing else is done.
    (void)privileges_keep(0);
    (void)privileges_hide();
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    set_up_log(&keeper);
    notify_open(&keeper.notify);
    keeper.signals = open_signals();
    if (keeper.signals < 0) {
        log_error("the keeper cannot receive signals", log_errno(keeper.signals));
        _exit(1);
    }
    exit(keep(&keeper));
}

// ---- becoming it ----

void keeper_become(const struct keeper_setup *setup)
{
    char numbers[4][16];
    char name[] = NAME;
    char command[] = KEEPER_COMMAND;
    char none[] = "";
    char *arguments[ARGUMENTS + 1] = {name,
                                      command,
                                      numbers[0],
                                      numbers[1],
                                      numbers[2],
                                      numbers[3],
                                      setup->log_file ? strdup(setup->log_file) : none,
                                      NULL};

    snprintf(numbers[0], sizeof(numbers[0]), "%d", setup->fd);
    snprintf(numbers[1], sizeof(numbers[1]), "%d", (int)setup->leader);
    snprintf(numbers[2], sizeof(numbers[2]), "%d", (int)setup->format);
    snprintf(numbers[3], sizeof(numbers[3]), "%d", (int)setup->level);
    (void)fcntl(setup->fd, F_SETFD, 0);
    if (setup->notify_socket)
        (void)setenv("NOTIFY_SOCKET", setup->notify_socket, 1);
    if (arguments[6])
        (void)execv(PROGRAM, arguments);
    // It only costs the memory that this process has.
    log_warning("the keeper stays in the memory of a master", log_errno(errno));
    live(setup);
}

void keeper_main(char **argv)
{
    struct keeper_setup setup = {
        .fd = atoi(argv[2]),
        .leader = (pid_t)atoi(argv[3]),
        .format = atoi(argv[4]) == LOG_JSON ? LOG_JSON : LOG_TEXT,
        .level = (enum log_level)atoi(argv[5]),
        .log_file = argv[6][0] ? argv[6] : NULL,
    };
    int type = 0;
    socklen_t length = sizeof(type);

    if (setup.leader <= 0 || setup.level > LOG_DEBUG ||
        getsockopt(setup.fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type != SOCK_SEQPACKET) {
        fprintf(stderr, "ringbolt: keeper: this command is for ringbolt itself\n");
        exit(2);
    }
    live(&setup);
}
