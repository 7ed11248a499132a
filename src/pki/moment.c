// SPDX-License-Identifier: Apache-2.0
// Moments: parsing and writing, with nothing of locales or time zones.
#include "src/pki/moment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define FORMS "a day as 2027-01-31 or a moment as 2027-01-31T12:00:00Z is needed"

// `count` digits and then `end` at *text, which moves behind both. -1 when it is something else.
static int take_number(const char **text, int count, char end)
{
    int number = 0;

    for (; count > 0; count--, (*text)++) {
        if (**text < '0' || **text > '9')
            return -1;
        number = number * 10 + (**text - '0');
    }
    if (**text != end)
        return -1;
    *text += end != '\0';
    return number;
}

// The numbers as they stand; false when a part is missing or something else is there.
static bool take_parts(const char *text, struct tm *parts)
{
    bool has_time = strlen(text) > 10;

    parts->tm_year = take_number(&text, 4, '-');
    parts->tm_mon = parts->tm_year < 0 ? -1 : take_number(&text, 2, '-');
    parts->tm_mday = parts->tm_mon < 0 ? -1 : take_number(&text, 2, has_time ? 'T' : '\0');
    if (!has_time)
        return parts->tm_mday >= 0;
    parts->tm_hour = parts->tm_mday < 0 ? -1 : take_number(&text, 2, ':');
    parts->tm_min = parts->tm_hour < 0 ? -1 : take_number(&text, 2, ':');
    parts->tm_sec = parts->tm_min < 0 ? -1 : take_number(&text, 2, 'Z');
    return parts->tm_sec >= 0 && *text == '\0';
}

int moment_parse(const char *text, time_t *ret, char why[static WHY_MAX])
{
    struct tm parts = {0};
    struct tm again;
    time_t moment;

    if (!take_parts(text, &parts))
        return why_set(why, FORMS);
    parts.tm_year -= 1900;
    parts.tm_mon -= 1;
    again = parts;
    moment = timegm(&again);
    if (again.tm_year != parts.tm_year || again.tm_mon != parts.tm_mon || again.tm_mday != parts.tm_mday ||
        again.tm_hour != parts.tm_hour || again.tm_min != parts.tm_min || again.tm_sec != parts.tm_sec)
        return why_set(why, "there is no such day or time; " FORMS);
    if (parts.tm_year < 70)
        return why_set(why, "1970 is the earliest year");
    *ret = moment;
    return 0;
}

int days_parse(const char *text, unsigned *ret, char why[static WHY_MAX])
{
    unsigned days = 0;

    for (const char *digit = text; *digit != '\0'; digit++) {
        if (*digit < '0' || *digit > '9' || days > DAYS_MAX) {
            days = 0;
            break;
        }
        days = days * 10 + (unsigned)(*digit - '0');
    }
    if (days < 1 || days > DAYS_MAX)
        return why_set(why, "a number of days from 1 to %d is needed", DAYS_MAX);
    *ret = days;
    return 0;
}

void moment_text(time_t moment, char text[static 32])
{
    struct tm parts;

    if (gmtime_r(&moment, &parts) == NULL || strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        snprintf(text, 32, "%" PRIdMAX, (intmax_t)moment);
}

int moment_from_asn1(const ASN1_TIME *time, time_t *ret)
{
    struct tm parts;

    if (time == NULL || ASN1_TIME_to_tm(time, &parts) != 1)
        return -EINVAL;
    *ret = timegm(&parts);
    return 0;
}
