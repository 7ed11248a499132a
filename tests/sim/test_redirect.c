// SPDX-License-Identifier: Apache-2.0
// Listeners that redirect, in the simulated world: requests in any pieces, clients that read slowly, reset, or leave within one. What is
// asked of every run: what comes back is the beginning of the right answers in the right order; all of them where the client was orderly and
// nothing failed; and nothing is left.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ringbolt/clock.h"
#include "ringbolt/proxy.h"
#include "src/proxy/answer.h"
#include "src/proxy/connection.h"
#include "stage.h"
#include "world.h"

#define STEPS_MAX 200000
#define TEXT_MAX  (120 * 9000)

struct run {
    uint64_t seed;
    struct config config;
    struct config_listener listener;
    struct stage stage;
    struct peer *peer;
    size_t to_send, sent, resets_at;
    size_t expected_length, received;
    bool resets, reads_slowly, takes_nothing, is_cut, is_stopped, has_left, saw_end, saw_reset;
};

static char requests[TEXT_MAX];
static char expected[TEXT_MAX];
static char answers[TEXT_MAX];
static unsigned long complete_runs;

static void check(bool good, const struct run *run, const char *what)
{
    if (!good)
        fail_msg("seed %llu: %s", (unsigned long long)run->seed, what);
}

static void setup(struct run *run)
{
    static struct tls_context *contexts[1]; // nobody asks for it

    run->listener = (struct config_listener){
        .name = (char *)"test", .upstream = CONFIG_NO_UPSTREAM, .redirect = {.is_on = true, .port = 8443}};
    run->config = (struct config){
        .workers = 1,
        .listeners = &run->listener,
        .listener_count = 1,
        .limits = {.connections = 100, .memory = 1u << 20},
        .timeouts = {.handshake_ns = 10 * CLOCK_NS_PER_S,
                     .idle_ns = 300 * CLOCK_NS_PER_S,
                     .half_closed_ns = 300 * CLOCK_NS_PER_S},
    };
    stage_open(&run->stage, &run->config, 1u << 20, contexts, NULL);
    run->peer = world_connect(STAGE_LISTENER);
}

// The date is the one thing that can't be foretold; it has a length of its own.
static void mask_dates(char *text, size_t length)
{
    static const char name[] = "Date: ";

    for (size_t at = 0; at + sizeof(name) <= length; at++) {
        if (memcmp(text + at, name, sizeof(name) - 1) != 0)
            continue;
        for (at += sizeof(name) - 1; at < length && text[at] != '\r'; at++)
            text[at] = '?';
    }
}

static size_t random_size(void)
{
    static const size_t scale[] = {2, 50, 500, 8000};

    return world_below(scale[world_below(4)]);
}

// One request and what it is answered. True when nothing follows it.
static bool add_request(struct run *run, unsigned number)
{
    static const char *const ends[] = {"Host: a.example\r\n\r\n",
                                       "Host: a.example\r\n\r\n",
                                       "Host: a.example\r\n\r\n",
                                       "Host: a.example\r\n\r\n",
                                       "Host: a.example\r\nConnection: close\r\n\r\n",
                                       "Host: a.example\r\nContent-Length: 100\r\n\r\n",
                                       "Host: a b\r\n\r\n"};
    char *begin = requests + run->to_send;
    size_t padding = random_size();
    struct request request;
    struct answer answer;
    char *at = begin + sprintf(begin, "GET /%u/", number);

    memset(at, 'x', padding);
    at += padding;
    at += sprintf(at, " HTTP/1.1\r\n%s", ends[world_below(world_chance(20) ? 7 : 4)]);
    run->to_send += (size_t)(at - begin);
    request_init(&request);
    answer_choose(&run->listener.redirect, request_read(&request, begin, (size_t)(at - begin)), &request,
                  begin, &answer);
    answer.closes |= number == 100;
    run->expected_length +=
        answer_build(&answer, &run->listener.redirect, NULL, 0, 784111777, expected + run->expected_length);
    return answer.closes;
}

static void setup_chances(struct run *run)
{
    unsigned count = 1 + (unsigned)world_below(world_chance(10) ? 110 : 12);

    world_trouble = world_chance(50) ? 0 : (unsigned)world_below(6);
    for (unsigned i = 1; i <= count; i++) {
        if (add_request(run, i))
            break;
    }
    run->resets = world_chance(20);
    run->resets_at = world_below(run->to_send + 1);
    run->reads_slowly = world_chance(30);
    run->takes_nothing = world_chance(5);
    run->is_cut = world_chance(20);
    if (run->is_cut)
        run->to_send = world_below(run->to_send + 1);
    if (run->takes_nothing || world_chance(50))
        peer_capacity(run->peer, 1000 + world_below(20000), 1000 + world_below(20000));
}

static void client_step(struct run *run)
{
    size_t length;

    if (!run->peer || (run->has_left && run->resets))
        return;
    if (!run->takes_nothing) {
        length = run->reads_slowly ? 1 + world_below(2000) : TEXT_MAX - run->received;
        if (length > TEXT_MAX - run->received)
            length = TEXT_MAX - run->received;
        run->received += peer_read(run->peer, answers + run->received, length);
    }
    run->saw_end |= peer_is_at_end(run->peer) && !peer_was_reset(run->peer);
    run->saw_reset |= peer_was_reset(run->peer);
    if (run->has_left)
        return;
    length = run->to_send - run->sent;
    if (length > 0 && world_chance(60)) {
        length = world_chance(30) ? 1 + world_below(length < 10 ? length : 10) : 1 + world_below(length);
        run->sent += peer_write(run->peer, requests + run->sent, length);
    }
    if (run->resets && run->sent >= run->resets_at && world_chance(20)) {
        peer_reset(run->peer);
        run->has_left = true;
    } else if (!run->resets && !run->takes_nothing && (run->sent == run->to_send || run->saw_end)) {
        peer_finish(run->peer);
        run->has_left = true;
    }
}

static void step(struct run *run)
{
    client_step(run);
    stage_step(&run->stage);
}

static void finish(struct run *run)
{
    const char *left;

    proxy_drain(run->stage.proxy);
    for (unsigned steps = 0; !proxy_idle(run->stage.proxy) && steps < STEPS_MAX; steps++)
        step(run);
    check(proxy_idle(run->stage.proxy), run, "the proxy is not idle in the end");
    for (int i = 0; i < 2000; i++)
        client_step(run);
    left = stage_close(&run->stage);
    check(!left, run, left);
}

static void check_outcome(const struct run *run)
{
    bool is_orderly =
        !run->resets && !run->is_cut && !run->is_stopped && !run->takes_nothing && world_trouble == 0;

    mask_dates(answers, run->received);
    mask_dates(expected, run->expected_length);
    check(run->received <= run->expected_length, run, "more was answered than was asked");
    check(memcmp(answers, expected, run->received) == 0, run, "a wrong answer");
    if (is_orderly)
        check(run->saw_end && run->received == run->expected_length, run, "an answer is missing");
}

static void run_seed(uint64_t seed)
{
    static struct run run;
    unsigned steps;

    run = (struct run){.seed = seed};
    world_begin(seed);
    setup(&run);
    setup_chances(&run);
    for (steps = 0; steps < STEPS_MAX; steps++) {
        step(&run);
        if (world_chance(1) && world_chance(2)) // in the midst of it
            proxy_stop(run.stage.proxy), run.is_stopped = true;
        // One that is accepted only while the proxy drains would be told that nothing follows.
        if (proxy_connection_count(run.stage.proxy) == 0 &&
            (run.saw_end || run.saw_reset || (run.has_left && run.resets) || run.takes_nothing ||
             run.is_stopped))
            break;
    }
    check(steps < STEPS_MAX, &run, "it does not come to an end");
    finish(&run);
    check_outcome(&run);
    complete_runs += run.saw_end && run.received == run.expected_length;
    check(world_end(), &run, "something was left");
}

static void test_seeds(void **state)
{
    uint64_t last = stage_seeds(run_seed, 1500);

    if (last == 0)
        return;
    print_message("# %llu seeds, %lu complete\n", (unsigned long long)last, complete_runs);
    assert_true(complete_runs >= last / 4); // or the seeds test nothing
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_seeds)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
