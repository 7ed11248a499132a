// SPDX-License-Identifier: Apache-2.0
// What is wrong, collected. Lines are kept in the order of their places, so that finding an identical one and
// printing them are cheap whatever the file does. What was read from the file goes through escape(): a line
// stays one line, and a terminal that shows it gets no control characters.
#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ringbolt/config.h"
#include "src/config/memory.h"

// Longer text loses its end: it holds somebody's value, not ours.
#define TEXT_MAX 600

void report_init(struct report *report, const char *file)
{
    *report = (struct report){.file = file != NULL ? memory_copy(file) : NULL};
}

void report_finish(struct report *report)
{
    for (size_t i = 0; i < report->count; i++)
        free(report->lines[i].text);
    free(report->lines);
    free(report->file);
    *report = (struct report){0};
}

// The length of the UTF-8 character that text starts with, 0 when it is none or a control character.
static size_t character_length(const char *text)
{
    const unsigned char *byte = (const unsigned char *)text;
    size_t length;

    if (byte[0] < 0x80)
        return byte[0] >= 0x20 && byte[0] != 0x7f;
    if (byte[0] >= 0xc2 && byte[0] <= 0xdf)
        length = 2;
    else if ((byte[0] & 0xf0) == 0xe0)
        length = 3;
    else if (byte[0] >= 0xf0 && byte[0] <= 0xf4)
        length = 4;
    else
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((byte[i] & 0xc0) != 0x80)
            return 0;
    }
    if (byte[0] == 0xc2 && byte[1] < 0xa0) // the C1 control characters
        return 0;
    return length;
}

static char *escape(const char *text)
{
    // Each byte becomes at most `\xNN`; then the ellipsis and the zero.
    char *escaped = memory_allocate(4 * TEXT_MAX + sizeof("…"));
    char *end = escaped;
    const char *from = text;

    while (*from != '\0') {
        size_t length = character_length(from);
        if ((size_t)(from - text) + (length > 0 ? length : 1) > TEXT_MAX) {
            end = stpcpy(end, "…");
            break;
        }
        if (length == 0) {
            end += sprintf(end, "\\x%02x", (unsigned char)*from++);
        } else {
            end = mempcpy(end, from, length);
            from += length;
        }
    }
    *end = '\0';
    return escaped;
}

static char *compose(const struct report *report, struct config_where where, bool is_warning,
                     const char *format, va_list arguments)
{
    const char *kind = is_warning ? "warning: " : "";
    char *raw = memory_print_list(format, arguments);
    char *text = escape(raw);
    char *line;

    free(raw);
    if (report->file == NULL)
        line = memory_print("%s%s", kind, text);
    else if (where.line == 0)
        line = memory_print("%s: %s%s", report->file, kind, text);
    else
        line = memory_print("%s:%u:%u: %s%s", report->file, where.line, where.column, kind, text);
    free(text);
    return line;
}

static int where_compare(struct config_where a, struct config_where b)
{
    if (a.line != b.line)
        return a.line < b.line ? -1 : 1;
    if (a.column != b.column)
        return a.column < b.column ? -1 : 1;
    return 0;
}

// Behind the last line whose place is not behind `where`.
static size_t find_position(const struct report *report, struct config_where where)
{
    size_t low = 0;
    size_t high = report->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (where_compare(report->lines[middle].where, where) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void add(struct report *report, struct config_where where, bool is_warning, const char *format,
                va_list arguments)
{
    size_t position = find_position(report, where);
    char *text = compose(report, where, is_warning, format, arguments);

    for (size_t i = position; i > 0 && where_compare(report->lines[i - 1].where, where) == 0; i--) {
        if (strcmp(report->lines[i - 1].text, text) == 0) {
            free(text);
            return;
        }
    }
    report->lines = memory_grow(report->lines, report->count, sizeof(*report->lines));
    memmove(report->lines + position + 1, report->lines + position,
            (report->count - position) * sizeof(*report->lines));
    report->lines[position] = (struct report_line){.text = text, .where = where, .is_warning = is_warning};
    report->count++;
    report->error_count += !is_warning;
}

void report_add(struct report *report, struct config_where where, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    add(report, where, false, format, arguments);
    va_end(arguments);
}

void report_warn(struct report *report, struct config_where where, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    add(report, where, true, format, arguments);
    va_end(arguments);
}

void report_print(struct report *report, FILE *to)
{
    for (size_t i = 0; i < report->count; i++)
        fprintf(to, "%s\n", report->lines[i].text);
}
