// SPDX-License-Identifier: Apache-2.0
// What clients and their work tell the thread: bytes, units, failures, and what a client does next.
#include "ringbolt/clock.h"
#include "runner.h"
#include "work.h"

#define AGAIN_NS (100 * CLOCK_NS_PER_MS) // a client that failed waits before it tries again

void runner_fail(struct runner *runner, enum failure failure, const char *detail)
{
    tally_fail(&runner->tally, failure, detail);
}

void runner_count_received(struct runner *runner, uint64_t bytes)
{
    runner->tally.received_all += bytes;
    if (runner_is_measured(runner, runner->now_ns))
        runner->tally.received += bytes;
}

void runner_count_sent(struct runner *runner, uint64_t bytes)
{
    runner->tally.sent_all += bytes;
    if (runner_is_measured(runner, runner->now_ns))
        runner->tally.sent += bytes;
}

// The first connection of a client has come to something.
static void tried(struct client *client)
{
    if (client->is_tried)
        return;
    client->is_tried = true;
    client->runner->untried--;
}

static void unit_over(struct client *client)
{
    client->is_unit = false;
    client->runner->units--;
}

void runner_unit_done(struct client *client, uint64_t end_ns)
{
    struct runner *runner = client->runner;
    struct tally *tally = &runner->tally;

    unit_over(client);
    if (client->is_primer) {
        tally->primers++;
        pace_untake(&runner->pace);
        return;
    }
    tally->units_all++;
    if (runner_is_measured(runner, end_ns))
        tally->units++;
    // By when it was due: one that is still going on when the time is up has its place in the latencies too.
    if (!runner->is_started || client->due_ns < runner->measure_ns || client->due_ns >= runner->end_ns)
        return;
    histogram_add(&tally->latency, end_ns - client->due_ns);
    if (runner->run->options->rate > 0)
        histogram_add(&tally->service, end_ns - client->began_ns);
}

static void count_barren(struct runner *runner)
{
    if (runner->tally.units_all == 0)
        runner->barren++;
}

void runner_unit_failed(struct client *client, enum failure failure, const char *detail)
{
    runner_fail(client->runner, failure, detail);
    unit_over(client);
    count_barren(client->runner);
}

void runner_client_done(struct client *client)
{
    if (client->is_done)
        return;
    client->is_done = true;
    client->runner->live--;
}

void runner_client_ready(struct client *client)
{
    if (client->runner->is_stopping)
        client_close(client);
    else
        list_push_back(&client->runner->ready, &client->node);
}

void runner_client_opened(struct client *client)
{
    struct runner *runner = client->runner;
    struct negotiated negotiated;

    tls_client_describe(client->tls, &negotiated);
    tally_handshake(&runner->tally, &negotiated);
    if (runner->work->is_kept || runner_is_measured(runner, runner->now_ns))
        histogram_add(&runner->tally.handshake, runner->now_ns - client->connect_ns);
    tried(client);
    if (runner->run->options->is_resuming && !negotiated.is_resumed) {
        if (tls_client_has_offered(client->tls)) {
            client_end(client, FAILURE_NOT_RESUMED, NULL);
            return;
        }
        client->is_primer = true;
    }
    if (runner->work->is_kept)
        runner_client_ready(client);
    else
        runner->work->begin(client);
}

void runner_client_closed(struct client *client, bool has_failed)
{
    struct runner *runner = client->runner;
    bool was_open = client->opened_ns != 0;

    tried(client);
    list_remove(&client->node);
    if (client->is_unit)
        unit_over(client); // failed, or cut
    if (!has_failed && client->is_primer && !client->has_ticket) {
        runner_fail(runner, FAILURE_NO_TICKET, NULL);
        has_failed = true;
    }
    if (runner->is_stopping || runner->work->is_once) {
        runner_client_done(client);
        return;
    }
    if (has_failed) {
        count_barren(runner);
        timer_set(&runner->wheel, &client->timer, runner->now_ns + AGAIN_NS);
        return;
    }
    if (runner->work->is_kept && was_open)
        runner->tally.reconnects++;
    list_push_back(runner->work->is_kept ? &runner->to_open : &runner->ready, &client->node);
}
