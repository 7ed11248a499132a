// SPDX-License-Identifier: Apache-2.0
// A thread: its loop, and how its clients come by their work.
#include "runner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "ringbolt/clock.h"
#include "usage.h"
#include "work.h"

#define OPENING_MAX  128 // kept connections in the handshake at once: more would only run into timeouts
#define LOOK_NS      (50 * CLOCK_NS_PER_MS) // the longest wait: a signal, or the start, is seen after that
#define LOOK_SOON_NS (2 * CLOCK_NS_PER_MS)  // ahead of the start
#define BARREN_MIN                                                                                           \
    10 // so many failures without one success, and three for each client, show that nothing works
#define RING_ENTRIES 1024

// ---- work for clients ----

static void begin(struct client *client, uint64_t due_ns)
{
    struct runner *runner = client->runner;

    client->is_unit = true;
    runner->units++;
    client->due_ns = due_ns;
    client->began_ns = runner->now_ns;
    client->received = 0;
    if (!runner->work->is_kept) {
        client_open(client);
        return;
    }
    client_progress(client);
    if (!timer_is_set(&client->timer))
        timer_set(&runner->wheel, &client->timer, runner->now_ns + runner->run->options->timeout_ns);
    runner->work->begin(client);
    client_reap(client);
}

static void dispatch(struct runner *runner)
{
    struct list *node;
    uint64_t due_ns;

    while (!runner->is_stopping && runner->opening < OPENING_MAX && (node = list_pop_front(&runner->to_open)))
        client_open(list_entry(node, struct client, node));
    while (runner->is_started && !runner->is_stopping && !list_empty(&runner->ready) &&
           pace_take(&runner->pace, runner->now_ns, &due_ns))
        begin(list_entry(list_pop_front(&runner->ready), struct client, node), due_ns);
}

// ---- the clock ----

static void look_for_start(struct runner *runner)
{
    const struct options *options = runner->run->options;
    uint64_t start_ns = atomic_load(&runner->run->start_ns);

    if (runner->is_started || start_ns == 0 || runner->now_ns < start_ns)
        return;
    runner->is_started = true;
    runner->measure_ns = start_ns + options->warm_up_ns;
    for (unsigned i = 0; runner->work->is_once && i < runner->count; i++) {
        record_user_rest(&runner->clients[i].receive);
        record_user_rest(&runner->clients[i].transmit);
    }
    runner->end_ns =
        options->duration_ns == UINT64_MAX ? UINT64_MAX : runner->measure_ns + options->duration_ns;
    // Threads take turns, so that a rate is even over all of them.
    pace_start(&runner->pace,
               start_ns + (options->rate > 0
                               ? (uint64_t)((double)CLOCK_NS_PER_S / options->rate * runner->index)
                               : 0),
               runner->end_ns, options->rate / options->threads,
               options->mode == MODE_IDLE ? 0 : runner->units_most);
}

// Units that were due and never began waited at least until now.
static void count_unsent(struct runner *runner)
{
    uint64_t first_ns;
    uint64_t owed = pace_owed(&runner->pace, runner->stopped_ns, &first_ns);
    uint64_t last_ns;

    if (owed == 0 || atomic_load(&runner->run->is_stopped))
        return;
    runner->tally.unsent = owed;
    if (first_ns < runner->measure_ns)
        return; // a server that is a whole warm-up behind has no latency to speak of
    last_ns = first_ns + (uint64_t)((double)(owed - 1) * runner->pace.interval_ns);
    histogram_add_row(&runner->tally.latency, runner->stopped_ns - last_ns, runner->stopped_ns - first_ns,
                      owed);
}

static void stop(struct runner *runner)
{
    struct run_usage usage;

    runner->stopped_ns = runner->now_ns;
    runner->window_ns = !runner->is_measuring ? 0 : runner->now_ns - runner->measure_ns;
    if (runner->run->options->duration_ns < runner->window_ns)
        runner->window_ns = runner->run->options->duration_ns;
    usage_read(&usage);
    if (runner->is_measuring)
        usage_subtract(&usage, &runner->usage_start, &runner->usage);
    run_say_over(runner->run, runner->open);
    if (runner->is_started)
        count_unsent(runner);
    runner->is_stopping = true;
    for (unsigned i = 0; i < runner->count; i++) {
        struct client *client = &runner->clients[i];

        if (client->state == CLIENT_CLOSED) {
            list_remove(&client->node);
            timer_cancel(&runner->wheel, &client->timer);
            runner_client_done(client);
        } else if (client->is_unit && runner->work->is_bulk) {
            runner->tally.cut++;
            client_end(client, FAILURE_NONE, NULL);
            client_reap(client);
        } else if (!client->is_unit && client->state == CLIENT_OPEN) {
            list_remove(&client->node);
            client_close(client);
            client_reap(client);
        } else if (runner->work->is_kept && client->state < CLIENT_OPEN) {
            client_end(client, FAILURE_NONE, NULL);
            client_reap(client);
        } // else it finishes what it does
    }
}

// Idle connections prove at the end that they are alive: one unit each.
static bool begin_checks(struct runner *runner)
{
    const struct options *options = runner->run->options;
    bool is_due = options->is_checking_alive && !runner->is_checking;

    if (!is_due)
        return false;
    runner->is_checking = true;
    runner->end_ns = UINT64_MAX;
    pace_start(&runner->pace, runner->now_ns, UINT64_MAX, 0, runner->open);
    return true;
}

static bool is_at_end(struct runner *runner)
{
    bool is_all_done = pace_next_ns(&runner->pace) == UINT64_MAX && runner->units == 0;

    if (atomic_load(&runner->run->is_stopped))
        return true;
    if (runner->barren >= BARREN_MIN && runner->barren >= 3 * runner->count)
        runner->has_given_up = true;
    if (runner->has_given_up)
        return true;
    if (!runner->is_started)
        return false;
    // Without a rate the pace ends with the last unit of --count; with one, the run lasts its time.
    return runner->now_ns >= runner->end_ns ||
           (is_all_done && (runner->is_checking || runner->units_most != UINT64_MAX));
}

static void look_at_clock(struct runner *runner)
{
    look_for_start(runner);
    if (runner->is_started && !runner->is_measuring && runner->now_ns >= runner->measure_ns) {
        runner->is_measuring = true;
        usage_read(&runner->usage_start);
    }
    if (runner->is_stopping || !is_at_end(runner))
        return;
    if (!atomic_load(&runner->run->is_stopped)) {
        dispatch(runner); // what was due by now, and finds a free client, begins
        if (begin_checks(runner))
            return;
    }
    stop(runner);
}

static uint64_t wait_of(struct runner *runner)
{
    uint64_t wait_ns = timer_wheel_wait_ns(&runner->wheel, runner->now_ns);
    uint64_t most_ns = runner->is_started || runner->untried > 0 ? LOOK_NS : LOOK_SOON_NS;
    uint64_t start_ns = atomic_load(&runner->run->start_ns);
    uint64_t next_ns;

    if (wait_ns > most_ns)
        wait_ns = most_ns;
    if (!runner->is_started && start_ns > runner->now_ns && start_ns - runner->now_ns < wait_ns)
        return start_ns - runner->now_ns;
    if (!runner->is_started || runner->is_stopping)
        return wait_ns;
    if (runner->end_ns - runner->now_ns < wait_ns)
        wait_ns = runner->end_ns - runner->now_ns;
    if (!list_empty(&runner->ready)) {
        next_ns = pace_next_ns(&runner->pace);
        if (next_ns <= runner->now_ns)
            return 0;
        if (next_ns - runner->now_ns < wait_ns)
            wait_ns = next_ns - runner->now_ns;
    }
    return wait_ns;
}

// ---- the loop ----

static void run_timers(struct runner *runner)
{
    struct list expired;
    struct list *node;

    list_init(&expired);
    timer_wheel_expired(&runner->wheel, runner->now_ns, &expired);
    while ((node = list_pop_front(&expired))) {
        struct client *client = list_entry(list_entry(node, struct timer, node), struct client, timer);

        if (client->state == CLIENT_CLOSED)
            list_push_back(runner->work->is_kept ? &runner->to_open : &runner->ready, &client->node);
        else
            client_timed_out(client);
    }
}

static void publish(struct runner *runner)
{
    const struct tally *tally = &runner->tally;
    struct run_progress *progress = &runner->progress;

    atomic_store_explicit(&progress->units, tally->units_all, memory_order_relaxed);
    atomic_store_explicit(&progress->bytes, tally->received_all + tally->sent_all, memory_order_relaxed);
    atomic_store_explicit(&progress->open, runner->open, memory_order_relaxed);
    atomic_store_explicit(&progress->failures, tally_failures(tally), memory_order_relaxed);
}

static void loop(struct runner *runner)
{
    struct ring_completion completion;
    bool has_said_ready = false;

    while (runner->live > 0) {
        dispatch(runner);
        runner->error = ring_wait(runner->ring, wait_of(runner));
        if (runner->error < 0) {
            snprintf(runner->why, sizeof(runner->why), "io_uring: %s", strerror(-runner->error));
            return;
        }
        runner->now_ns = clock_now_ns();
        while (ring_next(runner->ring, &completion)) {
            completion.op->handler(completion.op, &completion);
            runner->now_ns = clock_now_ns();
        }
        run_timers(runner);
        publish(runner);
        if (!has_said_ready && (runner->untried == 0 || !runner->work->is_kept)) {
            has_said_ready = true;
            run_say_ready(runner->run, runner->open);
        }
        look_at_clock(runner);
    }
    if (!runner->is_stopping)
        stop(runner); // every connection has ended before the time
}

// ---- life ----

// Enough for each client's worst: a buffer in each direction, another that is being filled, and the ring's own.
static size_t pool_size(const struct runner *runner)
{
    const struct options *options = runner->run->options;
    size_t spare = (size_t)64 << 20;

    if (options->mode == MODE_IDLE) // few are in the handshake at once, and the rest hold nothing
        return spare + 4 * OPENING_MAX * (size_t)BUFFER_LARGE_SIZE;
    return spare + (size_t)runner->count * 3 * (runner->work->is_bulk ? BUFFER_HUGE_SIZE : BUFFER_LARGE_SIZE);
}

static int set_up(struct runner *runner)
{
    struct ring_options options = {.entries = RING_ENTRIES};
    const char *why = "no memory";

    runner->error = -ENOMEM;
    runner->pool = buffer_pool_create(pool_size(runner));
    runner->clients = calloc(runner->count, sizeof(*runner->clients));
    runner->scratch = malloc(RECORD_PLAINTEXT_MAX);
    options.pool = runner->pool;
    if (runner->pool != NULL && runner->clients != NULL && runner->scratch != NULL)
        runner->error = ring_create(&options, &runner->ring, &why);
    if (runner->error < 0) {
        snprintf(runner->why, sizeof(runner->why), "%s", why);
        return -1;
    }
    if (tls_setup_create(runner->run->options, client_room, &runner->tls, runner->why, sizeof(runner->why)) <
        0) {
        runner->error = -EINVAL;
        return -1;
    }
    return 0;
}

static void take_down(struct runner *runner)
{
    tls_setup_destroy(runner->tls);
    ring_destroy(runner->ring);
    buffer_pool_destroy(runner->pool);
    free(runner->scratch);
    free(runner->clients);
    OPENSSL_thread_stop();
}

void *runner_main(void *argument)
{
    struct runner *runner = argument;
    bool is_half = runner->run->options->mode == MODE_BOTH;

    list_init(&runner->ready);
    list_init(&runner->to_open);
    if (set_up(runner) == 0) {
        runner->now_ns = clock_now_ns();
        runner->live = runner->untried = runner->count;
        timer_wheel_init(&runner->wheel, runner->now_ns);
        for (unsigned i = 0; i < runner->count; i++) {
            client_init(&runner->clients[i], runner);
            runner->clients[i].is_bulk_upload = is_half && (i + runner->index) % 2 == 1;
            list_push_back(runner->work->is_kept ? &runner->to_open : &runner->ready,
                           &runner->clients[i].node);
        }
        loop(runner);
        for (unsigned i = 0; i < runner->count && runner->live == 0; i++)
            client_finish(&runner->clients[i]);
        publish(runner);
    }
    if (runner->error < 0) // the others need not wait for this one
        run_say_over(runner->run, 0);
    if (runner->live == 0)
        take_down(runner); // else operations are in flight, and the process ends anyway
    return NULL;
}
