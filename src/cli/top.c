// SPDX-License-Identifier: Apache-2.0
// `ringbolt top`: asks the master again and again and shows a frame of what it says, on the terminal's other screen, until q is pressed.
// A frame is one write, so that nothing flickers; whatever ends the command, the terminal is put back first.
#include "top.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "ringbolt/admin.h"
#include "ringbolt/clock.h"

#define PATIENCE_S   3  // with the master
#define HEIGHT_USUAL 24 // of a terminal that doesn't say
#define WIDTH_USUAL  80

// The other screen, without a cursor, without lines that go on in the next; and back.
#define ENTER "\033[?1049h\033[?25l\033[?7l"
#define LEAVE "\033[?7h\033[?25h\033[?1049l"

struct top {
    const char *path;
    json_t *now;
    json_t *before;
    const char *trouble; // static text; NULL: the master answers
    size_t skipped;      // lines that are scrolled away
    struct termios saved;
    int signals;
    bool is_over;
};

// ---- the master ----

// What the master says becomes `now`, and what that was `before`; or there is trouble.
static void ask(struct top *top)
{
    json_t *request = json_pack("{s:s}", "command", "status");
    json_t *answer = NULL;

    top->trouble = NULL;
    if (admin_call_within(top->path, request, PATIENCE_S, &answer, &top->trouble) == 0 &&
        !json_is_true(json_object_get(answer, "ok"))) {
        json_decref(answer);
        answer = NULL;
        top->trouble = "it refuses to say how it is: another version, perhaps";
    }
    json_decref(request);
    if (!answer)
        return;
    json_decref(top->before);
    top->before = top->now;
    top->now = answer;
}

// ---- the screen ----

static bool write_all(const char *data, size_t length)
{
    while (length > 0) {
        ssize_t written = write(STDOUT_FILENO, data, length);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        data += written;
        length -= (size_t)written;
    }
    return true;
}

static bool enter(struct top *top)
{
    struct termios raw;

    if (tcgetattr(STDIN_FILENO, &top->saved) < 0)
        return false;
    raw = top->saved;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    return tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0 && write_all(ENTER, strlen(ENTER));
}

static void leave(const struct top *top)
{
    (void)write_all(LEAVE, strlen(LEAVE));
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &top->saved);
}

// The first `width` characters of a line of UTF-8: how many bytes.
static size_t clip(const char *line, size_t length, size_t width)
{
    size_t at = 0;

    for (; at < length; at++) {
        bool is_character = ((unsigned char)line[at] & 0xc0) != 0x80;

        if (is_character && width-- == 0)
            break;
    }
    return at;
}

static void draw_line(FILE *to, const char *line, size_t length, size_t width)
{
    char mark = line[0];
    bool is_marked = mark == TOP_HEADING || mark == TOP_WARNING;

    line += is_marked;
    length = clip(line, length - is_marked, width);
    fprintf(to, "%s%.*s%s\033[K",
            mark == TOP_HEADING   ? "\033[1m"
            : mark == TOP_WARNING ? "\033[7m"
                                  : "",
            (int)length, line, is_marked ? "\033[0m" : "");
}

// Those lines that fit; the last one says how many don't.
static void draw_lines(struct top *top, FILE *to, const char *frame, const struct winsize *size)
{
    size_t height = size->ws_row > 0 ? size->ws_row : HEIGHT_USUAL;
    size_t width = size->ws_col > 0 ? size->ws_col : WIDTH_USUAL;
    size_t count = 0;
    size_t shown;
    size_t i = 0;

    for (const char *at = frame; *at; at++)
        count += *at == '\n';
    shown = count > height ? height - 1 : count;
    if (top->skipped > count - shown)
        top->skipped = count - shown;
    for (const char *line = frame; *line && i < top->skipped + shown; i++) {
        size_t length = strcspn(line, "\n");

        if (i >= top->skipped) {
            fputs(i > top->skipped ? "\r\n" : "", to);
            draw_line(to, line, length, width);
        }
        line += length + 1;
    }
    if (shown < count)
        fprintf(to, "%s\033[7m%.*s\033[0m\033[K", shown > 0 ? "\r\n" : "", (int)width,
                "more lines: up and down; q ends");
}

static bool draw(struct top *top)
{
    struct winsize size = {0};
    char *frame = top_frame(top->now, top->before, top->trouble);
    char *text = NULL;
    size_t length = 0;
    FILE *to = open_memstream(&text, &length);
    bool is_good;

    if (!to)
        abort();
    (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    fputs("\033[H", to);
    draw_lines(top, to, frame, &size);
    fputs("\033[J", to);
    is_good = fclose(to) == 0 && write_all(text, length);
    free(text);
    free(frame);
    return is_good;
}

// ---- what happens ----

// Keys that came together: letters, and the arrows as ESC [ A and ESC [ B. False: nobody will press one any more.
static bool take_keys(struct top *top)
{
    char keys[64];
    ssize_t count = read(STDIN_FILENO, keys, sizeof(keys));

    if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN))
        return false;
    for (ssize_t i = 0; i < count; i++) {
        bool is_arrow = i + 2 < count && keys[i] == '\033' && (keys[i + 1] == '[' || keys[i + 1] == 'O');
        char key = is_arrow ? keys[i += 2] : keys[i];

        if (!is_arrow && (key == 'q' || key == 'Q'))
            top->is_over = true;
        if (key == (is_arrow ? 'B' : 'j'))
            top->skipped++;
        if (key == (is_arrow ? 'A' : 'k') && top->skipped > 0)
            top->skipped--;
    }
    return true;
}

// To sleep as any program, and to draw anew when woken.
static bool suspend(struct top *top)
{
    leave(top);
    (void)raise(SIGSTOP);
    return enter(top);
}

// False: the terminal is lost.
static bool take_signal(struct top *top)
{
    struct signalfd_siginfo signal;

    if (read(top->signals, &signal, sizeof(signal)) != sizeof(signal))
        return true;
    if (signal.ssi_signo == SIGTSTP)
        return suspend(top);
    if (signal.ssi_signo != SIGWINCH && signal.ssi_signo != SIGCONT)
        top->is_over = true;
    return true;
}

// Until there is something to do, at most until then. False: the terminal is lost.
static bool wait_until(struct top *top, uint64_t until_ns)
{
    struct pollfd polled[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = top->signals, .events = POLLIN}};
    uint64_t now_ns = clock_now_ns();

    if (poll(polled, 2, now_ns < until_ns ? (int)((until_ns - now_ns) / CLOCK_NS_PER_MS) + 1 : 0) <= 0)
        return true;
    if (polled[1].revents != 0 && !take_signal(top))
        return false;
    return polled[0].revents == 0 || take_keys(top);
}

static enum cli_status show(struct top *top, uint64_t delay_ns)
{
    uint64_t next_ns = clock_now_ns() + delay_ns;
    bool is_good = enter(top);

    while (is_good && !top->is_over) {
        is_good = draw(top) && wait_until(top, next_ns);
        if (clock_now_ns() >= next_ns) {
            ask(top);
            next_ns = clock_now_ns() + delay_ns;
        }
    }
    leave(top);
    return is_good ? CLI_OK : CLI_FAILED;
}

// Those that would end the command, or stop it, come as something to read.
static int catch_signals(void)
{
    static const int numbers[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGCONT, SIGWINCH};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaddset(&set, numbers[i]);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

// ---- one frame ----

static void print_once(const struct top *top)
{
    char *frame = top_frame(top->now, top->before, top->trouble);

    for (const char *at = frame; *at; at++) {
        if (*at != TOP_HEADING && *at != TOP_WARNING)
            putchar(*at);
    }
    free(frame);
}

static void sleep_ns(uint64_t ns)
{
    struct timespec left = {.tv_sec = (time_t)(ns / CLOCK_NS_PER_S), .tv_nsec = (long)(ns % CLOCK_NS_PER_S)};

    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

static bool is_screen(void)
{
    const char *terminal = getenv("TERM");

    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && terminal && terminal[0] &&
           strcmp(terminal, "dumb") != 0;
}

// ---- the command ----

static enum cli_status run(struct top *top, const struct cli_options *options)
{
    ask(top);
    if (!top->trouble && options->once) {
        sleep_ns(options->delay_ns);
        ask(top);
    }
    if (top->trouble) {
        fprintf(stderr, "ringbolt: top: ");
        cli_print_text(stderr, top->path);
        fprintf(stderr, ": %s\n", top->trouble);
        return CLI_FAILED;
    }
    if (options->once) {
        print_once(top);
        return CLI_OK;
    }
    top->signals = catch_signals();
    if (top->signals < 0) {
        fprintf(stderr, "ringbolt: top: no descriptor for signals: %s\n", strerror(errno));
        return CLI_FAILED;
    }
    return show(top, options->delay_ns);
}

enum cli_status cli_top(const struct cli_options *options)
{
    struct top top = {.signals = -1};
    char *path = NULL;
    enum cli_status status;

    if (!options->once && !is_screen()) {
        fprintf(stderr, "ringbolt: top: this is no terminal that can draw; take --once for one frame, or "
                        "ringbolt status\n");
        return CLI_FAILED;
    }
    status = cli_socket(options, &path);
    if (status != CLI_OK)
        return status;
    top.path = path;
    status = run(&top, options);
    if (top.signals >= 0)
        close(top.signals);
    json_decref(top.now);
    json_decref(top.before);
    free(path);
    return status;
}
