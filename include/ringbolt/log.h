// SPDX-License-Identifier: Apache-2.0
// The log: one line an event on one descriptor (standard error unless told), as text
// (`TIME LEVEL message key=value …`) or as JSON (one object a line: time, level, message, then the same
// keys). Every line is one write(2) of at most LOG_LINE_MAX bytes, so lines of several processes don't mix;
// a line that would be longer loses its end and says so with a last field truncated=true. A write that fails
// (full disk, closed pipe) loses that line and nothing else, and so does a pipe or socket whose reader stands still: nothing ever waits for
// who reads the log. How many lines a process has lost is said by its next one that is written.
//
// Values come from the network: in text they are quoted when they hold anything but plain printable
// characters; control bytes and bytes that are not UTF-8 are escaped, in both formats. So no peer
// can forge a line.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINE_MAX 4096

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

enum log_field_kind { LOG_FIELD_NONE, LOG_FIELD_TEXT, LOG_FIELD_INTEGER, LOG_FIELD_BOOLEAN, LOG_FIELD_REAL };

// One key and value. A field of kind LOG_FIELD_NONE, or a NULL text, is left out of the line.
struct log_field {
    const char *key; // a plain identifier
    enum log_field_kind kind;
    union {
        const char *text;
        int64_t integer;
        bool boolean;
        double real; // printed with three decimals
    };
};

#define log_text(k, v)    ((struct log_field){.key = (k), .kind = LOG_FIELD_TEXT, .text = (v)})
#define log_integer(k, v) ((struct log_field){.key = (k), .kind = LOG_FIELD_INTEGER, .integer = (int64_t)(v)})
#define log_boolean(k, v) ((struct log_field){.key = (k), .kind = LOG_FIELD_BOOLEAN, .boolean = (v)})
#define log_real(k, v)    ((struct log_field){.key = (k), .kind = LOG_FIELD_REAL, .real = (v)})
// The error -errno or errno as "error=Connection refused".
#define log_errno(e) log_text("error", log_error_text(e))

// Sets format, level and descriptor for this process and its later children. Before the first call: text,
// LOG_INFO, standard error. Where the descriptor leads to systemd's journal (JOURNAL_STREAM has its device and inode) lines begin
// with their level as sd-daemon(3) has it, "<4>"; the journal takes that off and keeps it.
void log_setup(enum log_format format, enum log_level level, int fd);

// Names the process that writes: a field `process` ("worker 3") on each later line; NULL for none. The text is copied
// (at most 31 characters).
void log_process(const char *name);

bool log_enabled(enum log_level level);

// Writes one line. `message` is plain text of ours, lower case, without a full stop.
void log_write(enum log_level level, const char *message, const struct log_field *fields, size_t count);

// Calls `witness` (NULL: nobody) with each line of level LOG_ERROR beside writing it: message and fields as text, without time and level.
void log_witness(void (*witness)(const char *text));

// strerror for either sign; the text is static storage, one for each thread.
const char *log_error_text(int error);

#define log_line(level, message, ...)                                                                        \
    do {                                                                                                     \
        if (log_enabled(level)) {                                                                            \
            const struct log_field log_fields_[] = {{.key = NULL}, ##__VA_ARGS__};                           \
            log_write((level), (message), log_fields_ + 1,                                                   \
                      sizeof(log_fields_) / sizeof(log_fields_[0]) - 1);                                     \
        }                                                                                                    \
    } while (0)

// log_info("listening", log_text("address", a), log_integer("workers", n));
#define log_error(message, ...)   log_line(LOG_ERROR, message, ##__VA_ARGS__)
#define log_warning(message, ...) log_line(LOG_WARNING, message, ##__VA_ARGS__)
#define log_info(message, ...)    log_line(LOG_INFO, message, ##__VA_ARGS__)
#define log_debug(message, ...)   log_line(LOG_DEBUG, message, ##__VA_ARGS__)
