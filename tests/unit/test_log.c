// SPDX-License-Identifier: Apache-2.0
// The log's lines, byte by byte: every line goes through a pipe and is compared or parsed.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/secret.h"

#define TIME_LENGTH 24

static int pipe_fds[2];

static int setup(void **unused)
{
    (void)unused;
    return pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC);
}

static int teardown(void **unused)
{
    (void)unused;
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    log_setup(LOG_TEXT, LOG_INFO, STDERR_FILENO);
    log_process(NULL);
    return 0;
}

// What one log call wrote, with a terminating zero; its length. A pipe keeps no borders between writes, so the one
// newline at the end is what shows that it was one line.
static size_t take(char line[LOG_LINE_MAX + 1])
{
    ssize_t result = read(pipe_fds[0], line, LOG_LINE_MAX + 1);
    size_t length = result > 0 ? (size_t)result : 0;

    assert_true(result >= 0 || errno == EAGAIN);
    if (length > LOG_LINE_MAX) {
        fail_msg("a line of more than %d bytes", LOG_LINE_MAX);
        return 0;
    }
    line[length] = '\0';
    if (length > 0)
        assert_ptr_equal(strchr(line, '\n'), line + length - 1);
    return length;
}

// ---- a strict reader of one line of JSON (RFC 8259): what it refuses, somebody's parser will too ----

static bool json_utf8(const unsigned char **s)
{
    const unsigned char *p = *s;
    unsigned length = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;

    if (length == 0 || p[0] < 0x20 || p[0] == 0xc0 || p[0] == 0xc1 || p[0] > 0xf4)
        return false;
    for (unsigned i = 1; i < length; i++) {
        if (p[i] >> 6 != 2)
            return false;
    }
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return false;
    *s += length;
    return true;
}

static bool json_string(const unsigned char **s)
{
    if (*(*s)++ != '"')
        return false;
    while (**s != '"') {
        if (**s != '\\') {
            if (!json_utf8(s))
                return false;
        } else if ((*s)[1] == 'u') {
            if (strspn((const char *)*s + 2, "0123456789abcdef") < 4)
                return false;
            *s += 6;
        } else {
            if ((*s)[1] == '\0' || strchr("\"\\/bfnrt", (*s)[1]) == NULL)
                return false;
            *s += 2;
        }
    }
    (*s)++;
    return true;
}

static bool json_value(const unsigned char **s)
{
    static const char *const words[] = {"true", "false", "null"};
    char *end;

    if (**s == '"')
        return json_string(s);
    for (size_t i = 0; i < 3; i++) {
        if (strncmp((const char *)*s, words[i], strlen(words[i])) == 0) {
            *s += strlen(words[i]);
            return true;
        }
    }
    if (strspn((const char *)*s, "-+.e0123456789") == 0)
        return false;
    (void)strtod((const char *)*s, &end);
    *s = (const unsigned char *)end;
    return true;
}

static bool is_json_object(const char *line)
{
    const unsigned char *s = (const unsigned char *)line;

    if (*s++ != '{')
        return false;
    for (;;) {
        if (!json_string(&s) || *s++ != ':' || !json_value(&s))
            return false;
        if (*s == '}')
            return strcmp((const char *)s, "}\n") == 0;
        if (*s++ != ',')
            return false;
    }
}

// ---- formats ----

struct format_case {
    const char *name;
    struct log_field field;
    const char *text; // what stands behind "TIME info hello"
    const char *json; // what stands behind "message":"hello"
};

static const struct format_case format_cases[] = {
    {"plain text", {"k", LOG_FIELD_TEXT, {.text = "a/b:c-1.2"}}, " k=a/b:c-1.2", ",\"k\":\"a/b:c-1.2\""},
    {"empty text", {"k", LOG_FIELD_TEXT, {.text = ""}}, " k=\"\"", ",\"k\":\"\""},
    {"space", {"k", LOG_FIELD_TEXT, {.text = "a b"}}, " k=\"a b\"", ",\"k\":\"a b\""},
    {"equals", {"k", LOG_FIELD_TEXT, {.text = "a=b"}}, " k=\"a=b\"", ",\"k\":\"a=b\""},
    {"quote", {"k", LOG_FIELD_TEXT, {.text = "a\"b"}}, " k=\"a\\\"b\"", ",\"k\":\"a\\\"b\""},
    {"backslash", {"k", LOG_FIELD_TEXT, {.text = "a\\b"}}, " k=\"a\\\\b\"", ",\"k\":\"a\\\\b\""},
    {"a forged line",
     {"k", LOG_FIELD_TEXT, {.text = "a\nTIME info b\r\t"}},
     " k=\"a\\nTIME info b\\r\\t\"",
     ",\"k\":\"a\\nTIME info b\\r\\t\""},
    {"control bytes",
     {"k", LOG_FIELD_TEXT, {.text = "\x01\x1b[m\x7f"}},
     " k=\"\\u0001\\u001b[m\\u007f\"",
     ",\"k\":\"\\u0001\\u001b[m\\u007f\""},
    {"UTF-8",
     {"k",
      LOG_FIELD_TEXT,
      {.text = "b\xc3\xbc"
               "cher\xe2\x82\xac\xf0\x9f\x94\x91"}},
     " k=\"b\xc3\xbc"
     "cher\xe2\x82\xac\xf0\x9f\x94\x91\"",
     ",\"k\":\"b\xc3\xbc"
     "cher\xe2\x82\xac\xf0\x9f\x94\x91\""},
    {"not UTF-8",
     {"k", LOG_FIELD_TEXT, {.text = "\xff\xc3("}},
     " k=\"\\\\xff\\\\xc3(\"",
     ",\"k\":\"\\\\xff\\\\xc3(\""},
    {"cut short",
     {"k", LOG_FIELD_TEXT, {.text = "\xe2\x82"}},
     " k=\"\\\\xe2\\\\x82\"",
     ",\"k\":\"\\\\xe2\\\\x82\""},
    {"overlong",
     {"k", LOG_FIELD_TEXT, {.text = "\xc0\x8a\xe0\x80\x8a"}},
     " k=\"\\\\xc0\\\\x8a\\\\xe0\\\\x80\\\\x8a\"",
     ",\"k\":\"\\\\xc0\\\\x8a\\\\xe0\\\\x80\\\\x8a\""},
    {"surrogate",
     {"k", LOG_FIELD_TEXT, {.text = "\xed\xa0\x80"}},
     " k=\"\\\\xed\\\\xa0\\\\x80\"",
     ",\"k\":\"\\\\xed\\\\xa0\\\\x80\""},
    {"past Unicode",
     {"k", LOG_FIELD_TEXT, {.text = "\xf4\x90\x80\x80"}},
     " k=\"\\\\xf4\\\\x90\\\\x80\\\\x80\"",
     ",\"k\":\"\\\\xf4\\\\x90\\\\x80\\\\x80\""},
    {"C1, line separator, right-to-left override",
     {"k", LOG_FIELD_TEXT, {.text = "\xc2\x85\xe2\x80\xa8\xe2\x80\xae"}},
     " k=\"\\u0085\\u2028\\u202e\"",
     ",\"k\":\"\\u0085\\u2028\\u202e\""},
    {"no text", {"k", LOG_FIELD_TEXT, {.text = NULL}}, "", ""},
    {"no kind", {"k", LOG_FIELD_NONE, {.text = "x"}}, "", ""},
    {"zero", {"k", LOG_FIELD_INTEGER, {.integer = 0}}, " k=0", ",\"k\":0"},
    {"smallest",
     {"k", LOG_FIELD_INTEGER, {.integer = INT64_MIN}},
     " k=-9223372036854775808",
     ",\"k\":-9223372036854775808"},
    {"true", {"k", LOG_FIELD_BOOLEAN, {.boolean = true}}, " k=true", ",\"k\":true"},
    {"false", {"k", LOG_FIELD_BOOLEAN, {.boolean = false}}, " k=false", ",\"k\":false"},
    {"real", {"k", LOG_FIELD_REAL, {.real = 1.23456}}, " k=1.235", ",\"k\":1.235"},
    {"negative real", {"k", LOG_FIELD_REAL, {.real = -0.5}}, " k=-0.500", ",\"k\":-0.500"},
    {"huge real", {"k", LOG_FIELD_REAL, {.real = 1e300}}, " k=1.000000e+300", ",\"k\":1.000000e+300"},
    {"no number", {"k", LOG_FIELD_REAL, {.real = NAN}}, " k=nan", ",\"k\":null"},
    {"infinite", {"k", LOG_FIELD_REAL, {.real = -INFINITY}}, " k=-inf", ",\"k\":null"},
};

static void check_time(const char *time)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:dd.dddZ";

    for (size_t i = 0; i < TIME_LENGTH; i++) {
        if (shape[i] == 'd')
            assert_in_range(time[i], '0', '9');
        else
            assert_int_equal(time[i], shape[i]);
    }
}

static void formats(void **unused)
{
    char line[LOG_LINE_MAX + 1];
    char expected[LOG_LINE_MAX + 1];

    (void)unused;
    for (size_t i = 0; i < sizeof(format_cases) / sizeof(format_cases[0]); i++) {
        const struct format_case *c = &format_cases[i];

        log_setup(LOG_TEXT, LOG_INFO, pipe_fds[1]);
        log_info("hello", c->field);
        take(line);
        check_time(line);
        snprintf(expected, sizeof(expected), " info hello%s\n", c->text);
        if (strcmp(line + TIME_LENGTH, expected) != 0)
            fail_msg("%s: got %s, not %s", c->name, line + TIME_LENGTH, expected);

        log_setup(LOG_JSON, LOG_INFO, pipe_fds[1]);
        log_info("hello", c->field);
        take(line);
        assert_memory_equal(line, "{\"time\":\"", 9);
        check_time(line + 9);
        snprintf(expected, sizeof(expected), "\",\"level\":\"info\",\"message\":\"hello\"%s}\n", c->json);
        if (strcmp(line + 9 + TIME_LENGTH, expected) != 0)
            fail_msg("%s: got %s, not %s", c->name, line + 9 + TIME_LENGTH, expected);
        assert_true(is_json_object(line));
    }
}

static void several_fields_and_process(void **unused)
{
    char line[LOG_LINE_MAX + 1];

    (void)unused;
    log_setup(LOG_TEXT, LOG_DEBUG, pipe_fds[1]);
    log_process("worker 3");
    log_warning("two words", log_text("a", "x"), log_text("left_out", NULL), log_integer("b", -2));
    take(line);
    assert_string_equal(line + TIME_LENGTH, " warning two words process=\"worker 3\" a=x b=-2\n");

    log_setup(LOG_JSON, LOG_DEBUG, pipe_fds[1]);
    log_process("0123456789012345678901234567890123456789"); // 31 characters of it stay
    log_debug("m", log_boolean("c", true));
    take(line);
    assert_string_equal(line + 9 + TIME_LENGTH,
                        "\",\"level\":\"debug\",\"message\":\"m\","
                        "\"process\":\"0123456789012345678901234567890\",\"c\":true}\n");

    log_setup(LOG_TEXT, LOG_DEBUG, pipe_fds[1]);
    log_process(NULL);
    log_error("failed", log_errno(-ECONNREFUSED), log_integer("n", 1));
    take(line);
    assert_string_equal(line + TIME_LENGTH, " error failed error=\"Connection refused\" n=1\n");
}

static void levels(void **unused)
{
    char line[LOG_LINE_MAX + 1];

    (void)unused;
    for (enum log_level least = LOG_ERROR; least <= LOG_DEBUG; least++) {
        log_setup(LOG_TEXT, least, pipe_fds[1]);
        for (enum log_level level = LOG_ERROR; level <= LOG_DEBUG; level++) {
            log_line(level, "m");
            assert_int_equal(log_enabled(level), level <= least);
            assert_int_equal(take(line) > 0, level <= least);
            log_write(level, "m", NULL, 0);
            assert_int_equal(take(line) > 0, level <= least);
        }
    }
}

// ---- truncation ----

static const char *const truncated_ends[] = {
    [LOG_TEXT] = " truncated=true\n", [LOG_JSON] = ",\"truncated\":true}\n"};

static bool ends_with(const char *line, const char *end)
{
    size_t length = strlen(line);

    return length >= strlen(end) && strcmp(line + length - strlen(end), end) == 0;
}

// A value of every length around the border, from characters of one to six bytes: never too long, always whole, and
// marked exactly when something is missing.
static void check_border(enum log_format format, const char *unit, const char *unit_out)
{
    char *value = malloc(2 * LOG_LINE_MAX);
    char line[LOG_LINE_MAX + 1];
    char whole[3 * LOG_LINE_MAX];
    size_t longest = 0;

    log_setup(format, LOG_INFO, pipe_fds[1]);
    for (size_t count = 600; count < 4200;
         count += count % 100 < 90 && count < 3900 && unit[1] == '\0' ? 7 : 1) {
        size_t used = 0;
        size_t out = 0;

        for (size_t i = 0; i < count && used + strlen(unit) < 2 * LOG_LINE_MAX && out + 8 < sizeof(whole);
             i++) {
            used += (size_t)sprintf(value + used, "%s", unit);
            out += (size_t)sprintf(whole + out, "%s", unit_out);
        }
        log_info("m", log_text("k", value), log_integer("last", 12345));
        size_t length = take(line);

        longest = length > longest ? length : longest;
        assert_int_equal(ends_with(line, truncated_ends[format]),
                         strstr(line, format == LOG_JSON ? "\"last\":12345}" : " last=12345\n") == NULL);
        if (!ends_with(line, truncated_ends[format]))
            assert_non_null(strstr(line, whole));
        if (format == LOG_JSON)
            assert_true(is_json_object(line));
        else if (ends_with(line, truncated_ends[format]) && strchr(line, '"') != NULL &&
                 strstr(line, " last=") == NULL)
            assert_true(ends_with(line, "\" truncated=true\n")); // quotes are closed
    }
    assert_in_range(longest, LOG_LINE_MAX - 32, LOG_LINE_MAX); // the border was met
    free(value);
}

static void truncation(void **unused)
{
    (void)unused;
    check_border(LOG_TEXT, "a", "a");
    check_border(LOG_TEXT, "a b", "a b");
    check_border(LOG_TEXT, "\xff", "\\\\xff");
    check_border(LOG_TEXT, "\xe2\x82\xac", "\xe2\x82\xac");
    check_border(LOG_JSON, "a", "a");
    check_border(LOG_JSON, "\"", "\\\"");
    check_border(LOG_JSON, "\xff", "\\\\xff");
    check_border(LOG_JSON, "\x01", "\\u0001");
    check_border(LOG_JSON, "\xe2\x82\xac", "\xe2\x82\xac");
}

static void truncation_by_many_fields(void **unused)
{
    static char key[300];
    struct log_field fields[1000];
    char message[2 * LOG_LINE_MAX];
    char line[LOG_LINE_MAX + 1];

    (void)unused;
    memset(key, 'k', sizeof(key) - 1);
    memset(message, 'm', sizeof(message) - 1);
    message[sizeof(message) - 1] = '\0';
    for (enum log_format format = LOG_TEXT; format <= LOG_JSON; format++) {
        log_setup(format, LOG_INFO, pipe_fds[1]);
        for (size_t key_length = 1; key_length < sizeof(key); key_length++) {
            for (size_t i = 0; i < 1000; i++)
                fields[i] = log_integer(key + sizeof(key) - 1 - key_length, 77);
            log_write(LOG_INFO, "m", fields, 1000);
            take(line);
            assert_true(ends_with(line, truncated_ends[format]));
            assert_true(format == LOG_JSON ? strstr(line, ":77,\"truncated\"") != NULL
                                           : strstr(line, "=77 truncated") != NULL);
            if (format == LOG_JSON)
                assert_true(is_json_object(line));
        }
        log_process("worker 1");
        log_info(message, log_integer("n", 1));
        take(line);
        assert_true(ends_with(line, truncated_ends[format]));
        assert_null(strstr(line, "process"));
        log_process(NULL);
    }
}

static void any_bytes(void **unused)
{
    uint64_t seed = 88172645463325252ull; // xorshift64: the same values each time
    char line[LOG_LINE_MAX + 1];
    char value[6000];

    (void)unused;
    for (unsigned round = 0; round < 3000; round++) {
        size_t length = 0;

        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        size_t wanted = seed % (round % 10 == 0 ? sizeof(value) : 40);
        while (length < wanted) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            char byte =
                (char)(round % 2 == 0 ? seed
                                      : 0x80 | (seed & 0x7f)); // high bytes meet UTF-8's rules more often
            if (byte != '\0')
                value[length++] = byte;
        }
        value[length] = '\0';
        log_setup(LOG_JSON, LOG_INFO, pipe_fds[1]);
        log_info("m", log_text("k", value), log_text("l", value));
        assert_in_range(take(line), 1, LOG_LINE_MAX);
        if (!is_json_object(line))
            fail_msg("round %u is no JSON: %s", round, line);

        log_setup(LOG_TEXT, LOG_INFO, pipe_fds[1]);
        log_info("m", log_text("k", value));
        size_t end = take(line) - 1;
        for (size_t i = 0; i < end; i++)
            assert_true((unsigned char)line[i] >= 0x20 && line[i] != 0x7f);
        const unsigned char *quoted = (const unsigned char *)line + TIME_LENGTH + strlen(" info m k=");
        if (*quoted == '"') // what text quotes is a JSON string
            assert_true(json_string(&quoted) &&
                        (*quoted == '\n' || strcmp((const char *)quoted, truncated_ends[0]) == 0));
    }
}

// ---- the rest ----

static void lost_lines_do_no_harm(void **unused)
{
    char line[LOG_LINE_MAX + 1];
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

    (void)unused;
    assert_true(full >= 0);
    log_setup(LOG_TEXT, LOG_INFO, full);
    errno = EDOM;
    log_info("lost");
    assert_int_equal(errno, EDOM);
    log_setup(LOG_TEXT, LOG_INFO, -1);
    log_info("lost");
    close(full);
    log_setup(LOG_TEXT, LOG_INFO, pipe_fds[1]);
    log_info("kept");
    take(line);
    assert_string_equal(line + TIME_LENGTH, " info kept\n");
}

static void error_texts(void **unused)
{
    (void)unused;
    assert_string_equal(log_error_text(ENOENT), "No such file or directory");
    assert_string_equal(log_error_text(-ENOENT), "No such file or directory");
    assert_string_equal(log_error_text(12345), "Unknown error 12345");
    assert_non_null(log_error_text(INT_MIN));
}

// The date arithmetic is ours, so it is compared with the C library's at the present time and the text's own bounds.
static void clocks(void **unused)
{
    char before[CLOCK_TEXT_SIZE];
    char text[CLOCK_TEXT_SIZE];
    char after[CLOCK_TEXT_SIZE];
    uint64_t first = clock_now_ns();
    time_t now = time(NULL);

    (void)unused;
    strftime(before, sizeof(before), "%Y-%m-%dT%H:%M:%S", gmtime(&now));
    clock_wall_text(text, sizeof(text));
    now = time(NULL) + 1; // time(2) may lag behind clock_gettime(2) by a tick
    strftime(after, sizeof(after), "%Y-%m-%dT%H:%M:%S", gmtime(&now));
    check_time(text);
    assert_int_equal(strlen(text), TIME_LENGTH);
    assert_true(strncmp(before, text, 19) <= 0 && strncmp(text, after, 19) <= 0);
    assert_true(clock_now_ns() >= first && first > 0);
}

// Reads all there is and counts the lines of the test, and those that it is told were lost.
static void read_all(int fd, unsigned long *lines, unsigned long *lost)
{
    static char data[1 << 20];
    size_t size = 0;
    ssize_t length;

    while ((length = read(fd, data + size, sizeof(data) - 1 - size)) > 0)
        size += (size_t)length;
    data[size] = '\0';
    for (char *line = strtok(data, "\n"); line; line = strtok(NULL, "\n")) {
        const char *count = strstr(line, " warning log lines lost count=");

        if (count)
            *lost += strtoul(strchr(count, '=') + 1, NULL, 10);
        else if (strstr(line, " info a line of some length"))
            ++*lines;
        else
            fail_msg("no line of ours: %s", line);
    }
}

// A reader that takes nothing, and then everything: nothing waits for it, and what was lost is counted. fds: read end, write end.
static void stand_still(const int fds[2])
{
    unsigned long lines = 0, lost = 0;

    log_setup(LOG_TEXT, LOG_INFO, fds[1]);
    for (int i = 0; i < 5000; i++) // much more than a pipe or a socket takes
        log_info("a line of some length, so that it is soon full", log_integer("number", i));
    (void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
    read_all(fds[0], &lines, &lost);
    assert_true(lines > 5 && lines + lost < 5000);
    log_info("a line of some length: there is room again");
    read_all(fds[0], &lines, &lost);
    assert_int_equal(lines + lost, 5001);
    log_setup(LOG_TEXT, LOG_INFO, STDERR_FILENO);
}

static void pipe_that_nobody_reads(void **unused)
{
    int fds[2];
    int other;

    (void)unused;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0); // blocks
    other = dup(fds[1]);
    stand_still(fds);
    assert_int_equal(fcntl(other, F_GETFL) & O_NONBLOCK, 0); // others who write there are not meddled with
    assert_int_equal(fcntl(fds[1], F_GETFD), FD_CLOEXEC);
    close(other);
    close(fds[0]);
    close(fds[1]);
}

static void socket_that_nobody_reads(void **unused)
{
    int fds[2];

    (void)unused;
    for (int kind = 0; kind < 2; kind++) {
        assert_int_equal(socketpair(AF_UNIX, kind == 0 ? SOCK_STREAM : SOCK_DGRAM, 0, fds), 0);
        stand_still(fds);
        close(fds[0]);
        log_setup(LOG_TEXT, LOG_INFO, fds[1]);
        log_info("nobody is there: lost, and no SIGPIPE");
        log_setup(LOG_TEXT, LOG_INFO, STDERR_FILENO);
        close(fds[1]);
    }
}

static void secrets(void **unused)
{
    unsigned char stack[64];
    unsigned char *memory = secret_alloc(5000);

    (void)unused;
    assert_non_null(memory);
    assert_int_equal((uintptr_t)memory % (uintptr_t)sysconf(_SC_PAGESIZE), 0);
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(memory[i], 0);
    memset(memory, 0xaa, 5000);
    secret_wipe(memory, 4999);
    assert_int_equal(memory[4998], 0);
    assert_int_equal(memory[4999], 0xaa);
    secret_free(memory, 5000);

    memset(stack, 1, sizeof(stack));
    secret_wipe(stack, sizeof(stack));
    for (size_t i = 0; i < sizeof(stack); i++)
        assert_int_equal(stack[i], 0);
    secret_wipe(NULL, 0);
    secret_free(NULL, 10);
    assert_null(secret_alloc(0));
    assert_null(secret_alloc(SIZE_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(formats, setup, teardown),
        cmocka_unit_test_setup_teardown(several_fields_and_process, setup, teardown),
        cmocka_unit_test_setup_teardown(levels, setup, teardown),
        cmocka_unit_test_setup_teardown(truncation, setup, teardown),
        cmocka_unit_test_setup_teardown(truncation_by_many_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(any_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(lost_lines_do_no_harm, setup, teardown),
        cmocka_unit_test(error_texts),
        cmocka_unit_test(pipe_that_nobody_reads),
        cmocka_unit_test(socket_that_nobody_reads),
        cmocka_unit_test(clocks),
        cmocka_unit_test(secrets),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
