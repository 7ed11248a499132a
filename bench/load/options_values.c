// SPDX-License-Identifier: Apache-2.0
// Values on the command line: from text to what they mean.
#include "options_values.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ringbolt/config.h"

#define ALPN_MAX 255

int options_wrong(const char *format, ...)
{
    va_list arguments;

    fputs("ringbolt-bench: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputs("; see ringbolt-bench --help\n", stderr);
    return -1;
}

int options_number(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < min || value > max)
        return options_wrong("--%s %s: it takes a number from %llu to %llu", option, text,
                             (unsigned long long)min, (unsigned long long)max);
    *ret = value;
    return 0;
}

int options_number_small(const char *option, const char *text, unsigned min, unsigned max, unsigned *ret)
{
    uint64_t value;

    if (options_number(option, text, min, max, &value) < 0)
        return -1;
    *ret = (unsigned)value;
    return 0;
}

int options_rate(const char *text, double *ret)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' || !isfinite(value) || value <= 0 || value > 1e8)
        return options_wrong("--rate %s: it takes units a second, more than 0", text);
    *ret = value;
    return 0;
}

int options_duration(const char *option, const char *text, bool may_be_zero, uint64_t *ret)
{
    if (may_be_zero && strcmp(text, "0") == 0) {
        *ret = 0;
        return 0;
    }
    if (config_time_parse(text, ret) < 0 || (*ret == 0 && !may_be_zero))
        return options_wrong("--%s %s: it takes a time such as 500ms, 10s or 5m", option, text);
    return 0;
}

int options_size(const char *option, const char *text, uint64_t *ret)
{
    if (config_size_parse(text, ret) < 0)
        return options_wrong("--%s %s: it takes a size such as 100, 64k, 1m or 2g", option, text);
    return 0;
}

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

int options_digest(const char *text, struct options *options)
{
    if (strlen(text) != 64 || strspn(text, "0123456789abcdefABCDEF") != 64)
        return options_wrong("--sha256 %s: it takes 64 hexadecimal digits", text);
    for (int i = 0; i < 32; i++)
        options->sha256[i] = (uint8_t)(hex(text[2 * i]) << 4 | hex(text[2 * i + 1]));
    options->has_sha256 = true;
    return 0;
}

// "h2,http/1.1" to its wire format (RFC 7301 §3.1).
int options_alpn(const char *text, struct options *options)
{
    size_t length = strlen(text);
    uint8_t *wire = malloc(length + 1);
    size_t start = 0;

    if (wire == NULL)
        return options_wrong("no memory");
    free(options->alpn);
    options->alpn = wire;
    options->alpn_size = length + 1;
    for (size_t i = 0; i <= length; i++) {
        if (i < length && text[i] != ',') {
            wire[i + 1] = (uint8_t)text[i];
            continue;
        }
        if (i == start || i - start > ALPN_MAX)
            return options_wrong("--alpn %s: it takes protocol names with commas between them", text);
        wire[start] = (uint8_t)(i - start);
        start = i + 1;
    }
    return 0;
}

// Text with \r \n \t \\ and \xHH in it.
int options_preamble(const char *text, struct options *options)
{
    char *to = malloc(strlen(text) + 1);
    size_t count = 0;

    if (to == NULL)
        return options_wrong("no memory");
    free(options->preamble);
    options->preamble = to;
    for (const char *at = text; *at != '\0'; at++) {
        if (*at != '\\') {
            to[count++] = *at;
            continue;
        }
        at++;
        if (*at == 'x' && hex(at[1]) >= 0 && hex(at[2]) >= 0) {
            to[count++] = (char)(hex(at[1]) << 4 | hex(at[2]));
            at += 2;
        } else if (*at == 'n' || *at == 'r' || *at == 't' || *at == '\\') {
            to[count++] = *at == 'n' ? '\n' : *at == 'r' ? '\r' : *at == 't' ? '\t' : '\\';
        } else {
            return options_wrong("--preamble %s: a backslash is followed by n, r, t, another one, or xHH",
                                 text);
        }
    }
    options->preamble_size = count;
    return 0;
}

int options_choice(const char *option, const char *text, const char *first, const char *second,
                   bool *ret_is_second)
{
    *ret_is_second = strcmp(text, second) == 0;
    if (*ret_is_second || strcmp(text, first) == 0)
        return 0;
    return options_wrong("--%s %s: it takes %s or %s", option, text, first, second);
}

int options_choose_version(const char *text, struct options *options)
{
    bool is_13;

    if (options_choice("tls", text, "1.2", "1.3", &is_13) < 0)
        return -1;
    options->version = is_13 ? 0x0304 : 0x0303;
    return 0;
}

int options_choose_key(const char *text, struct options *options)
{
    bool is_rsa;

    options->key = text;
    return options_choice("key", text, "ecdsa", "rsa", &is_rsa);
}
