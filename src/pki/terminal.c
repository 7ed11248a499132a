// SPDX-License-Identifier: Apache-2.0
// A question on the terminal whose answer is not shown.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "ringbolt/secret.h"
#include "src/pki/passphrase.h"

// Left alone, these would end or stop the process while the terminal shows nothing that is typed.
static const int caught[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGALRM};
#define CAUGHT_COUNT (sizeof(caught) / sizeof(caught[0]))

static volatile sig_atomic_t signal_seen;

static void on_signal(int number)
{
    signal_seen = number;
}

// One byte at a time: what is typed behind the line is somebody else's.
static int read_line(int fd, char *text, size_t size)
{
    size_t length = 0;
    char byte;

    for (;;) {
        ssize_t got = read(fd, &byte, 1);
        if (got < 0)
            return -errno;
        if (got == 0)
            return -ECANCELED;
        if (byte == '\n' || byte == '\r')
            break;
        if (length < size)
            text[length++] = byte;
    }
    secret_wipe(&byte, 1);
    if (length >= size)
        return -EMSGSIZE;
    text[length] = '\0';
    return memchr(text, '\0', length) != NULL ? -EINVAL : 0;
}

static int write_text(int fd, const char *text)
{
    size_t length = strlen(text);

    return write(fd, text, length) == (ssize_t)length ? 0 : -EIO;
}

static int ask_once(int fd, const char *question, char *text, size_t size)
{
    struct termios before;
    struct termios silent;
    int error;

    if (tcgetattr(fd, &before) < 0)
        return -errno;
    silent = before;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    silent.c_lflag |= ICANON | ISIG;
    if (tcsetattr(fd, TCSAFLUSH, &silent) < 0)
        return -errno;
    error = write_text(fd, question);
    if (error == 0)
        error = read_line(fd, text, size);
    while (tcsetattr(fd, TCSAFLUSH, &before) < 0 && errno == EINTR && signal_seen != SIGTTOU)
        ;
    (void)write_text(fd, "\n");
    return error;
}

int terminal_ask(const char *question, char *text, size_t size)
{
    struct sigaction action = {.sa_handler = on_signal}; // without SA_RESTART: read(2) shall return
    struct sigaction before[CAUGHT_COUNT];
    int seen;
    int error;
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return -ENXIO;
    do {
        signal_seen = 0;
        for (size_t i = 0; i < CAUGHT_COUNT; i++)
            sigaction(caught[i], &action, &before[i]);
        error = ask_once(fd, question, text, size);
        for (size_t i = 0; i < CAUGHT_COUNT; i++)
            sigaction(caught[i], &before[i], NULL);
        seen = signal_seen;
        if (seen != 0)
            raise(seen);
        // Still here: it was stopped and goes on, or ignores the signal.
    } while (error == -EINTR && seen != 0);
    close(fd);
    return error;
}
