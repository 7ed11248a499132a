// SPDX-License-Identifier: Apache-2.0
// Time: the monotonic clock for everything that runs, the wall clock as text for the log.
#include "ringbolt/clock.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

#define SECONDS_PER_DAY 86400

struct date {
    unsigned year;
    unsigned month;
    unsigned day;
};

uint64_t clock_now_ns(void)
{
    struct timespec now;
    int result = clock_gettime(CLOCK_MONOTONIC, &now);

    assert(result == 0);
    return (uint64_t)now.tv_sec * CLOCK_NS_PER_S + (uint64_t)now.tv_nsec;
}

// The proleptic Gregorian date of a day count since 1970-01-01. Not gmtime_r(): glibc's opens the time zone's file at
// its first call, and a sandboxed worker can open nothing. Years are counted from March, so that the leap day is the
// last of its year; an era is the 400 years after which the calendar repeats.
static struct date date_from_days(uint64_t days)
{
    uint64_t shifted = days + 719468; // days from 0000-03-01 to 1970-01-01
    uint64_t era = shifted / 146097;
    unsigned day_of_era = (unsigned)(shifted % 146097);
    unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month_from_march = (5 * day_of_year + 2) / 153;
    unsigned month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;

    return (struct date){
        .year = (unsigned)(era * 400) + year_of_era + (month <= 2),
        .month = month,
        .day = day_of_year - (153 * month_from_march + 2) / 5 + 1,
    };
}

void clock_wall_text(char *text, size_t size)
{
    struct timespec now;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    struct date date;
    unsigned second;

    assert(result == 0 && size >= CLOCK_TEXT_SIZE);
    if (now.tv_sec < 0) // before 1970: a machine without a clock
        now.tv_sec = 0;
    date = date_from_days((uint64_t)now.tv_sec / SECONDS_PER_DAY);
    second = (unsigned)((uint64_t)now.tv_sec % SECONDS_PER_DAY);
    snprintf(text, size, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", date.year % 10000, date.month, date.day,
             second / 3600, second / 60 % 60, second % 60, (unsigned)(now.tv_nsec / 1000000) % 1000);
}
