// SPDX-License-Identifier: Apache-2.0
// What a thread has used of the machine: CPU by getrusage(2), time in the run queue by /proc/thread-self/schedstat.
#include "usage.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

#include "ringbolt/clock.h"

#define BUSY_PERCENT 90
#define JUDGED_NS    (100 * CLOCK_NS_PER_MS) // less says nothing

static uint64_t time_ns(const struct timeval *time)
{
    return (uint64_t)time->tv_sec * CLOCK_NS_PER_S + (uint64_t)time->tv_usec * CLOCK_NS_PER_US;
}

void usage_read(struct run_usage *ret)
{
    struct rusage usage = {0};
    FILE *file = fopen("/proc/thread-self/schedstat", "re");
    uint64_t running;

    *ret = (struct run_usage){.wall_ns = clock_now_ns()};
    if (getrusage(RUSAGE_THREAD, &usage) == 0) {
        ret->user_ns = time_ns(&usage.ru_utime);
        ret->system_ns = time_ns(&usage.ru_stime);
    }
    if (file == NULL) // a kernel without CONFIG_SCHED_INFO
        return;
    if (fscanf(file, "%" SCNu64 " %" SCNu64, &running, &ret->waiting_ns) != 2)
        ret->waiting_ns = 0;
    fclose(file);
}

void usage_subtract(const struct run_usage *later, const struct run_usage *earlier, struct run_usage *ret)
{
    *ret = (struct run_usage){
        .wall_ns = later->wall_ns - earlier->wall_ns,
        .user_ns = later->user_ns - earlier->user_ns,
        .system_ns = later->system_ns - earlier->system_ns,
        .waiting_ns = later->waiting_ns - earlier->waiting_ns,
    };
}

enum usage_verdict usage_judge(const struct run_usage *usage)
{
    uint64_t busy_ns = usage->user_ns + usage->system_ns;

    if (usage->wall_ns < JUDGED_NS)
        return USAGE_FINE;
    if (busy_ns * 100 >= usage->wall_ns * BUSY_PERCENT)
        return USAGE_BUSY;
    if ((busy_ns + usage->waiting_ns) * 100 >= usage->wall_ns * BUSY_PERCENT)
        return USAGE_WAITING;
    return USAGE_FINE;
}
