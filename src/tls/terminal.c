// SPDX-License-Identifier: Apache-2.0
// A question on the terminal whose answer is not shown.
#include "src/tls/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "ringbolt/secret.h"

// Left alone, these would end or stop the process while the terminal shows nothing that is typed.
static const int caught[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGTSTP, SIGTTIN, SIGTTOU};
#define CAUGHT_COUNT (sizeof(caught) / sizeof(caught[0]))

static volatile sig_atomic_t signal_seen;

static void on_signal(int number)
{
    signal_seen = number;
}

struct disposition {
    struct sigaction actions[CAUGHT_COUNT];
    sigset_t mask;
    sigset_t waiting; // the mask while an answer is waited for
};

// The terminal sends these for what this process does to it: they can't come at a bad moment, and must not be held back.
static bool is_answer(int number)
{
    return number == SIGTTIN || number == SIGTTOU;
}

// Signals come only while an answer is waited for: none is missed between a look at signal_seen and the wait. What the process ignores, it
// goes on ignoring. What it blocks, to fetch it elsewhere, has to be seen here: nobody fetches while this waits.
static void signals_catch(struct disposition *before)
{
    struct sigaction action = {.sa_handler = on_signal}; // without SA_RESTART: read(2) shall return
    sigset_t held, open;

    sigemptyset(&held);
    sigemptyset(&open);
    sigprocmask(SIG_BLOCK, NULL, &before->mask);
    before->waiting = before->mask;
    for (size_t i = 0; i < CAUGHT_COUNT; i++) {
        sigaction(caught[i], NULL, &before->actions[i]);
        if (before->actions[i].sa_handler == SIG_IGN)
            continue;
        sigaddset(is_answer(caught[i]) ? &open : &held, caught[i]);
        sigdelset(&before->waiting, caught[i]);
    }
    sigprocmask(SIG_BLOCK, &held, NULL);
    sigprocmask(SIG_UNBLOCK, &open, NULL);
    for (size_t i = 0; i < CAUGHT_COUNT; i++) {
        if (before->actions[i].sa_handler != SIG_IGN)
            sigaction(caught[i], &action, NULL);
    }
}

static void signals_restore(const struct disposition *before)
{
    for (size_t i = 0; i < CAUGHT_COUNT; i++)
        sigaction(caught[i], &before->actions[i], NULL);
    sigprocmask(SIG_SETMASK, &before->mask, NULL);
}

static bool is_stop(int number)
{
    return number == SIGTSTP || number == SIGTTIN || number == SIGTTOU;
}

// One byte at a time: what is typed behind the line is somebody else's.
static int read_line(int fd, char *text, size_t size, const sigset_t *waiting)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    size_t length = 0;
    ssize_t got = -1;
    char byte;

    while (ppoll(&poll_fd, 1, NULL, waiting) >= 0 && (got = read(fd, &byte, 1)) == 1 && byte != '\n' &&
           byte != '\r') {
        if (length < size)
            text[length++] = byte;
        got = -1; // unless the next read(2) says something else
    }
    if (got < 0)
        return -errno;
    secret_wipe(&byte, sizeof(byte));
    if (got == 0)
        return -ECANCELED;
    if (length >= size)
        return -EMSGSIZE;
    text[length] = '\0';
    return 0;
}

static int write_text(int fd, const char *text)
{
    size_t length = strlen(text);

    return write(fd, text, length) == (ssize_t)length ? 0 : -EIO;
}

static int ask_once(int fd, const char *question, char *text, size_t size, const sigset_t *waiting)
{
    struct termios before;
    struct termios silent;
    int result;

    if (tcgetattr(fd, &before) < 0)
        return -errno;
    silent = before;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    silent.c_lflag |= ICANON | ISIG;
    if (tcsetattr(fd, TCSAFLUSH, &silent) < 0)
        return -errno;
    result = write_text(fd, question);
    if (result == 0)
        result = read_line(fd, text, size, waiting);
    while (tcsetattr(fd, TCSAFLUSH, &before) < 0 && errno == EINTR && signal_seen != SIGTTOU)
        ;
    (void)write_text(fd, "\n");
    return result;
}

int terminal_question(const char *question, char *text, size_t size)
{
    struct disposition before;
    int result;
    int seen;
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return -ENXIO;
    do {
        signal_seen = 0;
        signals_catch(&before);
        result = ask_once(fd, question, text, size, &before.waiting);
        seen = signal_seen;
        signals_restore(&before);
        if (seen != 0)
            raise(seen);
        // Still here: it was stopped and goes on, or the signal waits for somebody else.
        if (seen != 0 && !is_stop(seen))
            result = -ECANCELED;
    } while (result == -EINTR && seen != 0);
    close(fd);
    if (result < 0)
        secret_wipe(text, size);
    return result;
}
