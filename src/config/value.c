// SPDX-License-Identifier: Apache-2.0
// Times and sizes: a whole number and a unit.
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "ringbolt/config.h"

struct unit {
    const char *suffix;
    uint64_t factor;
};

#define SECOND_NS UINT64_C(1000000000)

static const struct unit time_units[] = {
    {"ms", SECOND_NS / 1000},     {"s", SECOND_NS}, {"m", 60 * SECOND_NS}, {"h", 3600 * SECOND_NS},
    {"d", 24 * 3600 * SECOND_NS}, {NULL, 0},
};
static const struct unit size_units[] = {
    {"", 1}, {"k", UINT64_C(1) << 10}, {"m", UINT64_C(1) << 20}, {"g", UINT64_C(1) << 30}, {NULL, 0},
};

static int parse(const char *text, const struct unit *units, uint64_t *ret)
{
    uint64_t value = 0;
    bool is_over = false;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++)
        is_over |= __builtin_mul_overflow(value, 10, &value) ||
                   __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value);
    if (at == text)
        return -EINVAL;
    for (; units->suffix != NULL; units++) {
        if (strcmp(units->suffix, at) != 0)
            continue;
        // Signed arithmetic with either is safe too.
        if (is_over || __builtin_mul_overflow(value, units->factor, &value) || value > INT64_MAX)
            return -ERANGE;
        *ret = value;
        return 0;
    }
    return -EINVAL;
}

int config_time_parse(const char *text, uint64_t *ret_ns)
{
    return parse(text, time_units, ret_ns);
}

int config_size_parse(const char *text, uint64_t *ret_bytes)
{
    return parse(text, size_units, ret_bytes);
}
