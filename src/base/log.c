// SPDX-License-Identifier: Apache-2.0
// The log: builds one line in a buffer of LOG_LINE_MAX bytes and writes it at once. docs/logging.md describes the
// result for its readers.
#include "ringbolt/log.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ringbolt/clock.h"

// What may have to follow a line that was cut: the value's quote, the field that says so, brace and newline.
#define TEXT_TRUNCATED " truncated=true"
#define JSON_TRUNCATED ",\"truncated\":true"
#define LINE_RESERVE   24
#define PROCESS_MAX    32

_Static_assert(sizeof("\"" JSON_TRUNCATED "}\n") - 1 <= LINE_RESERVE,
               "a cut line must have room for its end");
_Static_assert(sizeof("\"" TEXT_TRUNCATED "\n") - 1 <= LINE_RESERVE, "a cut line must have room for its end");

struct line {
    size_t length;
    bool is_json;
    bool is_cut;
    char data[LOG_LINE_MAX];
};

static struct {
    enum log_format format;
    enum log_level level;
    int fd;
    bool is_journal;
    bool is_socket;
    bool blocks;   // it is a pipe that would block
    uint64_t lost; // lines since the last one that was written
    bool is_torn;  // the disk was full within a line: the next one must not run into what is there of it
    char process[PROCESS_MAX];
    void (*witness)(const char *text);
} state = {.format = LOG_TEXT, .level = LOG_INFO, .fd = STDERR_FILENO};

static const char *const level_names[] = {
    [LOG_ERROR] = "error", [LOG_WARNING] = "warning", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};

// What syslog(3) and journalctl -p call them.
static const char *const priorities[] = {
    [LOG_ERROR] = "<3>", [LOG_WARNING] = "<4>", [LOG_INFO] = "<6>", [LOG_DEBUG] = "<7>"};

static bool is_journal(const struct stat *status)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char own[64];

    snprintf(own, sizeof(own), "%ju:%ju", (uintmax_t)status->st_dev, (uintmax_t)status->st_ino);
    return stream && strcmp(stream, own) == 0;
}

// Who stops reading the log must not stop the program. Whether a pipe blocks is a property of its open file description, which others
// use as well: so it is opened once more, for us alone. False: that can't be done here.
static bool unblock(int fd)
{
    int descriptor_flags = fcntl(fd, F_GETFD);
    int status_flags = fcntl(fd, F_GETFL);
    char path[32];
    int own;

    if (status_flags < 0 || status_flags & O_NONBLOCK)
        return status_flags >= 0;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (own < 0)
        return false;
    (void)dup3(own, fd, descriptor_flags & FD_CLOEXEC ? O_CLOEXEC : 0);
    close(own);
    return true;
}

void log_setup(enum log_format format, enum log_level level, int fd)
{
    struct stat status = {0};

    (void)fstat(fd, &status);
    state.lost = 0;
    state.is_torn = false;
    state.is_socket = S_ISSOCK(status.st_mode);
    state.blocks = S_ISFIFO(status.st_mode) && !unblock(fd);
    state.format = format;
    state.level = level;
    state.fd = fd;
    state.is_journal = is_journal(&status);
}

void log_process(const char *name)
{
    snprintf(state.process, sizeof(state.process), "%s", name != NULL ? name : "");
}

bool log_enabled(enum log_level level)
{
    return level <= state.level;
}

const char *log_error_text(int error)
{
    static _Thread_local char text[64];

    return strerror_r(error < 0 ? (int)-(unsigned)error : error, text, sizeof(text));
}

// ---- appending; once a line is cut nothing more goes in ----

static bool put(struct line *line, const char *bytes, size_t length)
{
    if (line->is_cut || line->length + length > LOG_LINE_MAX - LINE_RESERVE) {
        line->is_cut = true;
        return false;
    }
    memcpy(line->data + line->length, bytes, length);
    line->length += length;
    return true;
}

static bool put_string(struct line *line, const char *string)
{
    return put(line, string, strlen(string));
}

// Into the reserve, which put() leaves free.
static void put_end(struct line *line, const char *string)
{
    size_t length = strlen(string);

    memcpy(line->data + line->length, string, length);
    line->length += length;
}

// ---- values ----

// The length of the UTF-8 sequence at `s` and its code point, or 0 when there is none (RFC 3629 §4: no overlong forms,
// no surrogates, nothing past U+10FFFF). The terminating zero is no continuation byte, so nothing is read past it.
static size_t utf8_decode(const unsigned char *s, uint32_t *ret_code)
{
    size_t length = s[0] < 0x80   ? 1
                    : s[0] < 0xc2 ? 0
                    : s[0] < 0xe0 ? 2
                    : s[0] < 0xf0 ? 3
                    : s[0] < 0xf5 ? 4
                                  : 0;
    uint32_t code = length < 2 ? s[0] : s[0] & (0x7fu >> length);

    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3f);
    }
    if ((length == 3 && code < 0x800) || (length == 4 && (code < 0x10000 || code > 0x10ffff)) ||
        (code >= 0xd800 && code <= 0xdfff))
        return 0;
    *ret_code = code;
    return length;
}

// Characters that change how a terminal or an editor shows what stands around them: C0 and C1 controls, DEL, line and
// paragraph separators, bidirectional overrides and isolates, the byte order mark.
static bool is_disguise(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code <= 0x9f) || code == 0x200e || code == 0x200f ||
           (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) || code == 0xfeff;
}

// One character of a value, escaped where it must be, whole or not at all. What stands in quotes is a JSON string in
// both formats; a byte that is no UTF-8 becomes four characters of it, a backslash and xHH. Returns how many bytes of the value it
// was; 0 when the line is full.
static size_t put_character(struct line *line, const unsigned char *s)
{
    uint32_t code = 0;
    size_t length = utf8_decode(s, &code);
    char escape[16];

    if (length == 0)
        snprintf(escape, sizeof(escape), "\\\\x%02x", s[0]);
    else if (code == '"' || code == '\\')
        snprintf(escape, sizeof(escape), "\\%c", (char)code);
    else if (code == '\n' || code == '\r' || code == '\t')
        snprintf(escape, sizeof(escape), "\\%c", code == '\n' ? 'n' : code == '\r' ? 'r' : 't');
    else if (is_disguise(code)) // all of them lie in the basic plane: four digits
        snprintf(escape, sizeof(escape), "\\u%04x", code);
    else
        return put(line, (const char *)s, length) ? length : 0;
    if (!put_string(line, escape))
        return 0;
    return length > 0 ? length : 1;
}

static void put_characters(struct line *line, const char *value)
{
    const unsigned char *s = (const unsigned char *)value;
    size_t length;

    while (*s != '\0' && (length = put_character(line, s)) > 0)
        s += length;
}

// Whether a value can stand without quotes in a text line: not empty, and only printable ASCII without space, quote,
// backslash and equals sign.
static bool is_plain(const char *value)
{
    size_t i;

    // What lies behind LOG_LINE_MAX never gets into the line, so it need not be looked at.
    for (i = 0; value[i] != '\0' && i < LOG_LINE_MAX; i++) {
        if (value[i] <= ' ' || value[i] > '~' || value[i] == '"' || value[i] == '\\' || value[i] == '=')
            return false;
    }
    return i > 0;
}

// A text value keeps what fits of it, so that the most interesting part of a huge name is still seen. False when not
// even its beginning fits.
static bool put_text(struct line *line, const char *value)
{
    bool is_quoted = line->is_json || !is_plain(value);
    size_t start;

    if (is_quoted && !put(line, "\"", 1))
        return false;
    start = line->length;
    put_characters(line, value);
    if (line->is_cut && line->length == start)
        return false;
    if (is_quoted)
        put_end(line, "\"");
    return true;
}

static bool put_real(struct line *line, double value)
{
    char text[64];

    if (!isfinite(value)) // JSON has no word for it
        return put_string(line, line->is_json ? "null" : isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
    snprintf(text, sizeof(text), value > -1e15 && value < 1e15 ? "%.3f" : "%.6e", value);
    return put_string(line, text);
}

static bool put_value(struct line *line, const struct log_field *field)
{
    char text[32];

    switch (field->kind) {
    case LOG_FIELD_TEXT:
        return put_text(line, field->text);
    case LOG_FIELD_INTEGER:
        snprintf(text, sizeof(text), "%lld", (long long)field->integer);
        return put_string(line, text);
    case LOG_FIELD_BOOLEAN:
        return put_string(line, field->boolean ? "true" : "false");
    case LOG_FIELD_REAL:
        return put_real(line, field->real);
    case LOG_FIELD_NONE:
        break;
    }
    return true;
}

// A field that can't even begin, and a number that doesn't fit whole, is taken out again.
static void put_field(struct line *line, const struct log_field *field)
{
    size_t start = line->length;

    if (field->kind == LOG_FIELD_NONE || (field->kind == LOG_FIELD_TEXT && field->text == NULL))
        return;
    if (!put_string(line, line->is_json ? ",\"" : " ") || !put_string(line, field->key) ||
        !put_string(line, line->is_json ? "\":" : "=") || !put_value(line, field))
        line->length = start;
}

static void put_head(struct line *line, enum log_level level, const char *message)
{
    char time[CLOCK_TEXT_SIZE];

    clock_wall_text(time, sizeof(time));
    if (state.is_journal)
        put_string(line, priorities[level]);
    if (line->is_json)
        put_string(line, "{\"time\":\"");
    put_string(line, time);
    put_string(line, line->is_json ? "\",\"level\":\"" : " ");
    put_string(line, level_names[level]);
    put_string(line, line->is_json ? "\",\"message\":\"" : " ");
    put_characters(line, message);
    if (line->is_json)
        put_end(line, "\"");
    if (state.process[0] != '\0')
        put_field(line, &log_text("process", state.process));
}

static void build(struct line *line, enum log_level level, const char *message,
                  const struct log_field *fields, size_t count)
{
    line->length = 0;
    line->is_cut = false;
    line->is_json = state.format == LOG_JSON;
    put_head(line, level, message);
    for (size_t i = 0; i < count && !line->is_cut; i++)
        put_field(line, &fields[i]);
    if (line->is_cut)
        put_end(line, line->is_json ? JSON_TRUNCATED : TEXT_TRUNCATED);
    put_end(line, line->is_json ? "}\n" : "\n");
}

// False: it is lost.
static bool emit(const struct line *line)
{
    struct pollfd room = {.fd = state.fd, .events = POLLOUT};
    ssize_t written;

    do {
        if (state.blocks && poll(&room, 1, 0) == 0)
            return false;
        if (state.is_torn && write(state.fd, "\n", 1) == 1)
            state.is_torn = false;
        written = state.is_socket ? send(state.fd, line->data, line->length, MSG_DONTWAIT | MSG_NOSIGNAL)
                                  : write(state.fd, line->data, line->length);
    } while (written < 0 && errno == EINTR);
    if (written <= 0)
        return false;
    state.is_torn = (size_t)written < line->length;
    return !state.is_torn;
}

static void tell_witness(const char *message, const struct log_field *fields, size_t count)
{
    struct line line = {.length = 0};

    put_characters(&line, message);
    for (size_t i = 0; i < count && !line.is_cut; i++)
        put_field(&line, &fields[i]);
    put_end(&line, line.is_cut ? TEXT_TRUNCATED : "");
    line.data[line.length] = '\0';
    state.witness(line.data);
}

void log_witness(void (*witness)(const char *text))
{
    state.witness = witness;
}

void log_write(enum log_level level, const char *message, const struct log_field *fields, size_t count)
{
    const struct log_field lost = log_integer("count", state.lost);
    struct line line;
    int saved = errno;

    if (!log_enabled(level))
        return;
    if (state.lost > 0) {
        build(&line, LOG_WARNING, "log lines lost", &lost, 1);
        if (emit(&line))
            state.lost = 0;
    }
    build(&line, level, message, fields, count);
    if (!emit(&line))
        state.lost++;
    if (state.witness && level == LOG_ERROR)
        tell_witness(message, fields, count);
    errno = saved;
}
