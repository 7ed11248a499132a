// SPDX-License-Identifier: Apache-2.0
// Measuring: CPU time of this thread in the windows of a benchmark, in rounds of equal count.
#include <stdlib.h>
#include <time.h>

#include "micro.h"

#define CALIBRATION_NS 2000000 // enough to say how many units make a round
#define EMPTY_WINDOWS  1001

struct micro {
    uint64_t ns; // in windows
    uint64_t windows;
};

static uint64_t cpu_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

__attribute__((noinline)) void micro_window(micro_work *work, void *state, size_t count)
{
    work(state, count);
    __asm__ volatile("" ::: "memory");
}

void micro_measure(struct micro *micro, micro_work *work, void *state, size_t count)
{
    uint64_t began_ns;

    if (micro == NULL) {
        work(state, count);
        return;
    }
    began_ns = cpu_ns();
    micro_window(work, state, count);
    micro->ns += cpu_ns() - began_ns;
    micro->windows++;
}

// ---- rounds ----

static int compare(const void *left, const void *right)
{
    double difference = *(const double *)left - *(const double *)right;

    return difference < 0 ? -1 : difference > 0;
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void no_work(void *state, size_t count)
{
}

// What a window with nothing in it takes: that is the clock's own cost, and is taken off.
static double empty_window_ns(void)
{
    static double cost = -1;
    double costs[EMPTY_WINDOWS];

    if (cost >= 0)
        return cost;
    for (size_t i = 0; i < EMPTY_WINDOWS; i++) {
        struct micro micro = {0};

        micro_measure(&micro, no_work, NULL, 0);
        costs[i] = (double)micro.ns;
    }
    cost = median(costs, EMPTY_WINDOWS);
    return cost;
}

static double net_ns(const struct micro *micro)
{
    double ns = (double)micro->ns - (double)micro->windows * empty_window_ns();

    return ns > 0 ? ns : 0;
}

static double run_ns(const struct benchmark *benchmark, void *state, size_t count)
{
    struct micro micro = {0};

    benchmark->kind->run(state, &micro, count);
    return net_ns(&micro);
}

// How many units take `ns`, from ever larger trials.
static size_t calibrate(const struct benchmark *benchmark, void *state, double ns)
{
    size_t count = 1;
    double taken;

    while ((taken = run_ns(benchmark, state, count)) < CALIBRATION_NS && count < SIZE_MAX / 2)
        count *= 2;
    count = (size_t)((double)count * ns / taken);
    return count > 0 ? count : 1;
}

void measure(const struct benchmark *benchmark, void *state, const struct measure_options *options,
             struct measured *ret)
{
    size_t count = calibrate(benchmark, state, options->seconds * 1e9 / options->rounds);
    double *ns = calloc(options->rounds, sizeof(*ns));

    micro_need(ns != NULL, "memory");
    for (unsigned i = 0; i < options->rounds; i++)
        ns[i] = run_ns(benchmark, state, count) / (double)count;
    ret->count = (uint64_t)count * options->rounds;
    ret->rounds = options->rounds;
    ret->ns_median = median(ns, options->rounds);
    ret->ns_min = ns[0]; // sorted by now
    ret->ns_max = ns[options->rounds - 1];
    free(ns);
}

void measure_count(const struct benchmark *benchmark, void *state, size_t warm, size_t count)
{
    struct micro micro = {0};

    if (warm > 0)
        benchmark->kind->run(state, NULL, warm);
    benchmark->kind->run(state, &micro, count);
}

const char *measure_check(const struct benchmark *benchmark, void *state)
{
    struct micro micro = {0};

    return benchmark->kind->check(state, &micro);
}
