// SPDX-License-Identifier: Apache-2.0
// A run: starts the threads, gives them the same clock, shows how far they are, and adds up what they counted.
#include "run.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "progress.h"
#include "ringbolt/clock.h"
#include "runner.h"
#include "work.h"

#define DESCRIPTORS_SPARE 64
#define START_AFTER_NS    (10 * CLOCK_NS_PER_MS) // so that every thread sees the moment ahead of it
#define PROGRESS_NS       (250 * CLOCK_NS_PER_MS)

static struct run *running; // for the signal handler

static void on_signal(int number)
{
    atomic_store(&running->is_stopped, true); // the threads look at it, and then the run is over as usual
}

static void signals_set(struct run *run)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_RESETHAND};

    running = run;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static int raise_descriptors(const struct options *options, char *why, size_t size)
{
    rlim_t needed = (rlim_t)options->connections + 4 * options->threads + DESCRIPTORS_SPARE;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= needed)
        return 0;
    limit.rlim_cur = limit.rlim_max < needed ? limit.rlim_max : needed;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= needed)
        return 0;
    snprintf(
        why, size,
        "%u connections need %llu open files, and the limit is %llu: raise it (ulimit -Hn), or give fewer "
        "--connections",
        options->connections, (unsigned long long)needed, (unsigned long long)limit.rlim_max);
    return -1;
}

// ---- what threads say ----

void run_say_ready(struct run *run, unsigned open)
{
    pthread_mutex_lock(&run->lock);
    run->ready++;
    run->open_at_start += open;
    pthread_cond_signal(&run->changed);
    pthread_mutex_unlock(&run->lock);
}

void run_say_over(struct run *run, unsigned open)
{
    pthread_mutex_lock(&run->lock);
    run->over++;
    run->open_at_end += open;
    pthread_cond_signal(&run->changed);
    pthread_mutex_unlock(&run->lock);
}

// ---- waiting for them ----

static void notify(const struct run *run, const char *line)
{
    ssize_t written = 0;

    if (run->options->notify_fd >= 0)
        written = write(run->options->notify_fd, line, strlen(line));
    (void)written; // whoever asked for it has gone
}

// Sleeps until something changes, until_ns comes, or the progress line is due. The lock is held.
static void sleep_until(struct run *run, uint64_t until_ns)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t at_ns = now_ns + PROGRESS_NS < until_ns ? now_ns + PROGRESS_NS : until_ns;
    struct timespec at = {.tv_sec = (time_t)(at_ns / CLOCK_NS_PER_S),
                          .tv_nsec = (long)(at_ns % CLOCK_NS_PER_S)};

    pthread_cond_timedwait(&run->changed, &run->lock, &at);
}

// Until all threads are ready; then the clock starts. False when one is over before that.
static bool wait_for_ready(struct run *run, struct progress *progress)
{
    unsigned threads = run->options->threads;
    char line[64];

    while (run->ready < threads && run->over == 0 && !atomic_load(&run->is_stopped)) {
        sleep_until(run, UINT64_MAX);
        progress_show(progress, run, PROGRESS_OPENING);
    }
    if (run->ready < threads)
        return false;
    snprintf(line, sizeof(line), "open %u\n", run->open_at_start);
    notify(run, line);
    atomic_store(&run->start_ns, clock_now_ns() + START_AFTER_NS);
    return true;
}

static void wait_for_end(struct run *run, struct progress *progress)
{
    uint64_t measure_ns = atomic_load(&run->start_ns) + run->options->warm_up_ns;
    bool is_measuring = false;

    while (run->over < run->options->threads) {
        if (!is_measuring && clock_now_ns() >= measure_ns) {
            is_measuring = true;
            notify(run, "measure\n");
        }
        sleep_until(run, is_measuring ? UINT64_MAX : measure_ns);
        progress_show(progress, run, is_measuring ? PROGRESS_MEASURING : PROGRESS_WARM_UP);
    }
    notify(run, "end\n");
}

// ---- beginning and end ----

static int prepare(struct run *run, char *why, size_t size)
{
    const struct options *options = run->options;
    pthread_condattr_t attributes;
    int error = pattern_init(&run->pattern, options->pattern_file);

    if (error < 0) {
        snprintf(why, size, "--pattern %s: %s", options->pattern_file != NULL ? options->pattern_file : "",
                 error == -ENODATA ? "the file is empty" : strerror(-error));
        return -1;
    }
    if (work_http_prepare(run) < 0 ||
        (run->runners = calloc(options->threads, sizeof(*run->runners))) == NULL) {
        snprintf(why, size, "no memory");
        return -1;
    }
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&run->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return raise_descriptors(options, why, size);
}

static unsigned threads_start(struct run *run)
{
    const struct options *options = run->options;
    unsigned threads = options->threads;

    for (unsigned i = 0; i < threads; i++) {
        struct runner *runner = &run->runners[i];

        runner->run = run;
        runner->work = work_of(options);
        runner->index = i;
        runner->count = options->connections / threads + (i < options->connections % threads);
        runner->units_most = options->count == UINT64_MAX
                                 ? UINT64_MAX
                                 : options->count / threads + (i < options->count % threads);
        if (pthread_create(&runner->thread, NULL, runner_main, runner) != 0)
            return i;
    }
    return threads;
}

// The sum of all threads. NULL when there is no memory.
static struct run_result *sum_up(const struct run *run, double seconds_opening)
{
    unsigned threads = run->options->threads;
    struct run_result *result = calloc(1, sizeof(*result));
    uint64_t window_ns = 0;

    if (result == NULL || (result->usages = calloc(threads, sizeof(*result->usages))) == NULL) {
        free(result);
        return NULL;
    }
    for (unsigned i = 0; i < threads; i++) {
        const struct runner *runner = &run->runners[i];

        tally_merge(&result->tally, &runner->tally);
        result->usages[i] = runner->usage;
        result->has_given_up = result->has_given_up || runner->has_given_up;
        if (runner->window_ns > window_ns)
            window_ns = runner->window_ns;
    }
    result->seconds = (double)window_ns / (double)CLOCK_NS_PER_S;
    result->seconds_opening = seconds_opening;
    result->open_at_start = run->open_at_start;
    result->open_at_end = run->open_at_end;
    result->is_interrupted = atomic_load(&run->is_stopped);
    memcpy(result->begun_text, run->begun_text, sizeof(result->begun_text));
    return result;
}

static double threads_wait(struct run *run, unsigned started)
{
    struct progress progress;
    double seconds_opening = 0;

    progress_start(&progress);
    pthread_mutex_lock(&run->lock);
    if (started < run->options->threads)
        atomic_store(&run->is_stopped, true);
    else if (wait_for_ready(run, &progress)) {
        seconds_opening = (double)(clock_now_ns() - run->begun_ns) / (double)CLOCK_NS_PER_S;
        wait_for_end(run, &progress);
    } else {
        atomic_store(&run->is_stopped, true); // one could not begin: the others need not either
    }
    pthread_mutex_unlock(&run->lock);
    for (unsigned i = 0; i < started; i++)
        pthread_join(run->runners[i].thread, NULL);
    progress_end(&progress);
    return seconds_opening;
}

static int run_threads(struct run *run, struct run_result **ret, char *why, size_t size)
{
    double seconds_opening;
    unsigned started;

    signals_set(run);
    clock_wall_text(run->begun_text, sizeof(run->begun_text));
    run->begun_ns = clock_now_ns();
    started = threads_start(run);
    seconds_opening = threads_wait(run, started);
    for (unsigned i = 0; i < started; i++) {
        if (run->runners[i].error < 0) {
            snprintf(why, size, "%s", run->runners[i].why);
            return -1;
        }
    }
    *ret = started == run->options->threads ? sum_up(run, seconds_opening) : NULL;
    if (*ret != NULL)
        return 0;
    snprintf(why, size, started < run->options->threads ? "no more threads can be had" : "no memory");
    return -1;
}

int run_all(const struct options *options, struct run_result **ret, char *why, size_t size)
{
    static struct run run = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct run_result *result = NULL;
    int error;

    run.options = options;
    error = prepare(&run, why, size);
    if (error == 0)
        error = run_threads(&run, &result, why, size);
    free(run.runners);
    free(run.get);
    free(run.put);
    pattern_finish(&run.pattern);
    if (error == 0)
        *ret = result;
    return error;
}

void run_result_destroy(struct run_result *result)
{
    if (result == NULL)
        return;
    free(result->usages);
    free(result);
}
