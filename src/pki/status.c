// SPDX-License-Identifier: Apache-2.0
// Complaints and results. Texts may hold what a file or a certificate says, so nothing reaches a terminal that would
// control it.
#include "src/pki/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

// Writes the text with everything but printable ASCII and UTF-8 above the C1 control characters as \xNN.
static void put_escaped(FILE *to, const char *text)
{
    const unsigned char *byte = (const unsigned char *)text;

    for (; *byte != '\0'; byte++) {
        if (byte[0] < 0x20 || byte[0] == 0x7f)
            fprintf(to, "\\x%02x", byte[0]);
        else if (byte[0] == 0xc2 && byte[1] >= 0x80 && byte[1] < 0xa0)
            fprintf(to, "\\x%02x\\x%02x", byte[0], byte[1]), byte++;
        else
            putc(byte[0], to);
    }
}

static void put(FILE *to, const char *format, va_list arguments)
{
    char *text = NULL;

    if (vasprintf(&text, format, arguments) < 0)
        abort();
    put_escaped(to, text);
    free(text);
}

enum status complain(enum status status, const char *format, ...)
{
    va_list arguments;

    fputs("ringbolt pki: ", stderr);
    va_start(arguments, format);
    put(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return status;
}

enum status complain_openssl(const char *format, ...)
{
    unsigned long error = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(error);
    va_list arguments;

    fputs("ringbolt pki: ", stderr);
    va_start(arguments, format);
    put(stderr, format, arguments);
    va_end(arguments);
    // A system's error has no reason string.
    if (reason == NULL && ERR_SYSTEM_ERROR(error))
        reason = strerror(ERR_GET_REASON(error));
    fprintf(stderr, ": OpenSSL says %s\n", reason ? reason : "nothing");
    ERR_clear_error();
    return STATUS_FAILED;
}

enum status complain_usage(const char *verb, const char *format, ...)
{
    va_list arguments;

    fputs("ringbolt pki: ", stderr);
    va_start(arguments, format);
    put(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "; see ringbolt pki %s%s--help\n", verb ? verb : "", verb ? " " : "");
    return STATUS_USAGE;
}

void say(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    put(stdout, format, arguments);
    va_end(arguments);
    putchar('\n');
}

int why_set(char why[static WHY_MAX], const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(why, WHY_MAX, format, arguments);
    va_end(arguments);
    return -EINVAL;
}
