// SPDX-License-Identifier: Apache-2.0
// Streams that are passed through, in the simulated world: a ClientHello in any pieces, then whatever the two sides say. What is asked
// of every run: each side gets an exact prefix of what the other sent, the ClientHello included; all of it and an end where both ended; no
// orderly end at the server when the client was cut off; an alert where no server said anything; and nothing is left.
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
#include "src/proxy/connection.h"
#include "stage.h"
#include "tests/unit/hellos.h"
#include "world.h"

#define BYTES_MAX 300000
#define STEPS_MAX 200000

struct side {
    struct peer *peer;
    struct bytes *hello; // NULL: sends none ahead
    size_t to_send, sent, received;
    bool resets, reads_slowly, waits_for_end;
    size_t resets_at;
    bool has_left, saw_end, saw_reset;
    bool is_alerted; // what it got begins as an alert of the proxy's does, and no server's stream
};

struct run {
    uint64_t seed;
    struct config config;
    struct config_listener listener;
    struct config_upstream upstreams[2];
    struct config_server servers[2];
    struct stage stage;
    struct side client, server;
    enum world_dial dial;
};

static struct material *material;
static struct tls_context *context;
static struct config *tls_config;
static struct certificate *certificate;
static unsigned long complete_runs, alerts;
static struct bytes hello;

static void check(bool good, const struct run *run, const char *what)
{
    if (!good)
        fail_msg("seed %llu: %s", (unsigned long long)run->seed, what);
}

// internal_error, in the clear (RFC 8446 §5.1).
static const uint8_t alert[] = {21, 3, 3, 0, 2, 2, 80};

static uint8_t byte_of(const struct side *sender, size_t at, uint8_t salt)
{
    if (sender->hello != NULL && at < sender->hello->size)
        return sender->hello->data[at];
    return (uint8_t)(at * 131 + (at >> 8) * 7 + salt);
}

static size_t random_size(void)
{
    static const size_t scale[] = {2, 200, 5000, 20000, BYTES_MAX};

    return world_below(scale[world_below(5)]);
}

// pass.example goes to upstream 1, the rest would be terminated.
static struct config_route routes[] = {{.way = CONFIG_WAY_REJECT, .upstream = CONFIG_NO_UPSTREAM},
                                       {.way = CONFIG_WAY_PASSTHROUGH, .upstream = 1}};
static struct config_route_name names[] = {{.name = (char *)"no.example", .route = 0},
                                           {.name = (char *)"pass.example", .route = 1}};

static void set_routes(struct config_listener *listener)
{
    listener->routes = routes;
    listener->route_count = 2;
    listener->route_names = names;
    listener->route_name_count = 2;
    listener->has_passthrough = true;
}

static void setup(struct run *run)
{
    world_kernel_tls(true, true, true);
    for (size_t i = 0; i < 2; i++) {
        run->servers[i] = (struct config_server){.address.text = (char *)"server", .weight = 1};
        run->upstreams[i] =
            (struct config_upstream){.name = (char *)"app", .servers = &run->servers[i], .server_count = 1};
    }
    run->listener = (struct config_listener){.name = (char *)"test"};
    set_routes(&run->listener);
    run->config = (struct config){
        .workers = 1,
        .listeners = &run->listener,
        .listener_count = 1,
        .upstreams = run->upstreams,
        .upstream_count = 2,
        .limits = {.connections = 100, .client_hello = 16384, .memory = 1u << 20},
        .timeouts = {.handshake_ns = 10 * CLOCK_NS_PER_S,
                     .connect_ns = CLOCK_NS_PER_S,
                     .idle_ns = 300 * CLOCK_NS_PER_S,
                     .half_closed_ns = 300 * CLOCK_NS_PER_S},
        .ktls = {.transmit = CONFIG_KTLS_REQUIRED,
                 .receive = CONFIG_KTLS_REQUIRED}, // it is none of their business
    };
    stage_open(&run->stage, &run->config, 1u << 20, &context, material);
    run->client.hello = &hello;
    run->client.peer = world_connect(STAGE_LISTENER);
}

static void setup_chances(struct run *run)
{
    static const size_t paddings[] = {0, 1200, 2000, 5000, 15000};
    static const size_t pieces[] = {1, 5, 100, 1400, 16384};
    struct side *sides[] = {&run->client, &run->server};

    hello.size = 0;
    put_hello(&hello, "pass.example", world_chance(50) ? "\x02h2" : NULL, paddings[world_below(5)],
              pieces[world_below(5)]);
    world_trouble = world_chance(50) ? 0 : (unsigned)world_below(6);
    run->dial = world_chance(90) ? WORLD_DIAL_ACCEPT : world_chance(50) ? WORLD_DIAL_REFUSE : WORLD_DIAL_HANG;
    world_dial(run->dial);
    for (size_t i = 0; i < 2; i++) {
        sides[i]->to_send = random_size();
        sides[i]->resets = world_chance(20);
        sides[i]->reads_slowly = world_chance(30);
        sides[i]->waits_for_end = i == 1 && world_chance(50);
    }
    run->client.to_send += hello.size;
    run->client.resets_at = world_below(run->client.to_send + 1);
    run->server.resets_at = world_below(run->server.to_send + 1);
    if (world_chance(50))
        peer_capacity(run->client.peer, 20000 + world_below(100000), 20000 + world_below(100000));
}

static void side_step(struct run *run, struct side *side, const struct side *other, uint8_t salt)
{
    static uint8_t data[20000];
    uint8_t their_salt = (uint8_t)(100 - salt);
    size_t length;

    if (!side->peer || (side->has_left && side->resets))
        return;
    length = peer_read(side->peer, data, side->reads_slowly ? 1 + world_below(2000) : sizeof(data));
    side->is_alerted |= side == &run->client && length > 0 && side->received == 0 && data[0] == alert[0];
    check(!side->is_alerted || side->received + length <= sizeof(alert), run, "more than an alert");
    for (size_t i = 0; i < length; i++)
        check(data[i] == (side->is_alerted ? alert[side->received + i]
                                           : byte_of(other, side->received + i, their_salt)),
              run, "a wrong byte");
    side->received += length;
    side->saw_end |= peer_is_at_end(side->peer) && !peer_was_reset(side->peer);
    side->saw_reset |= peer_was_reset(side->peer);
    if (side->has_left)
        return;
    length = side->to_send - side->sent < sizeof(data) ? side->to_send - side->sent : sizeof(data);
    if (length > 0 && world_chance(60)) {
        length = world_chance(30) ? 1 + world_below(length < 10 ? length : 10) : 1 + world_below(length);
        for (size_t i = 0; i < length; i++)
            data[i] = byte_of(side, side->sent + i, salt);
        side->sent += peer_write(side->peer, data, length);
    }
    if (side->resets && side->sent >= side->resets_at && world_chance(20)) {
        peer_reset(side->peer);
        side->has_left = true;
    } else if (!side->resets && side->sent == side->to_send &&
               (!side->waits_for_end || side->saw_end || side->saw_reset)) {
        peer_finish(side->peer);
        side->has_left = true;
    }
}

static void step(struct run *run)
{
    if (!run->server.peer)
        run->server.peer = world_dialled();
    side_step(run, &run->client, &run->server, 1);
    side_step(run, &run->server, &run->client, 99);
    stage_step(&run->stage);
}

static void finish(struct run *run)
{
    const char *left;

    proxy_drain(run->stage.proxy);
    for (unsigned steps = 0; !proxy_idle(run->stage.proxy) && steps < STEPS_MAX; steps++)
        step(run);
    check(proxy_idle(run->stage.proxy), run, "the proxy is not idle in the end");
    for (int i = 0; i < 2000; i++) {
        side_step(run, &run->client, &run->server, 1);
        side_step(run, &run->server, &run->client, 99);
    }
    left = stage_close(&run->stage);
    check(!left, run, left);
}

static void check_outcome(const struct run *run)
{
    const struct side *client = &run->client;
    const struct side *server = &run->server;
    bool is_orderly = !client->resets && !server->resets && run->dial == WORLD_DIAL_ACCEPT;

    check((client->is_alerted || client->received <= server->sent) && server->received <= client->sent, run,
          "more came than was sent");
    if (run->dial != WORLD_DIAL_ACCEPT && !client->resets && world_trouble == 0)
        check(client->is_alerted, run, "no server, and the client was not told");
    if (client->is_alerted)
        check(client->received == sizeof(alert) && client->saw_end, run,
              "an alert in parts, or without an end");
    alerts += client->is_alerted;
    if (is_orderly && world_trouble == 0)
        check(client->saw_end && server->saw_end && client->received == server->to_send &&
                  server->received == client->to_send,
              run, "both were orderly and something is missing");
    if (server->saw_end && !client->resets)
        check(server->received == client->to_send, run, "the server saw the end before everything was there");
    if (client->resets && server->peer && !server->has_left)
        check(!server->saw_end, run, "the client reset and the server saw an orderly end");
    check(run->stage.counted.ends[END_REJECTED] == 0, run, "rejected");
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
        if (proxy_connection_count(run.stage.proxy) == 0 &&
            (run.client.saw_end || run.client.saw_reset || run.client.has_left))
            break;
    }
    check(steps < STEPS_MAX, &run, "it does not come to an end");
    finish(&run);
    check_outcome(&run);
    complete_runs += run.client.saw_end && run.server.saw_end && run.client.received == run.server.to_send;
    check(world_end(), &run, "something was left");
}

static void test_seeds(void **state)
{
    uint64_t last = stage_seeds(run_seed, 1500);

    if (last == 0)
        return;
    print_message("# %llu seeds, %lu complete, %lu alerts\n", (unsigned long long)last, complete_runs,
                  alerts);
    assert_true(complete_runs >= last / 4 && alerts >= last / 30); // or the seeds test nothing
}

// Until the proxy has said its last word to the client, and what that was.
static void run_out(struct run *run, uint8_t answer[static 64], size_t *ret_length)
{
    size_t length = 0;

    world_trouble = 0;
    for (unsigned steps = 0; proxy_connection_count(run->stage.proxy) > 0 || steps < 10; steps++) {
        check(steps < STEPS_MAX, run, "it does not come to an end");
        stage_step(&run->stage);
        length += peer_read(run->client.peer, answer + length, 64 - length);
        if (peer_is_at_end(run->client.peer))
            peer_finish(run->client.peer);
    }
    *ret_length = length;
    run->client.peer = NULL; // nothing more of it
    finish(run);
    check(world_end(), run, "something was left");
}

// What can't be passed through gets what it gets from the engine.
static void test_refused(void **state)
{
    static const struct {
        const char *name, *bytes;
        size_t padding, piece;
        int alert; // -1: none
    } cases[] = {
        {"no.example", NULL, 0, 16384, 112},
        {"no.example", NULL, 5000, 1, 112},
        {"pass.example", NULL, 17000, 16384, 47},
        {"pass.example", NULL, 17000, 1, 47},
        {NULL, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 0, 0, -1},
        {NULL, "SSH-2.0-OpenSSH_9.2\r\n", 0, 0, -1},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        static struct run run;
        uint8_t answer[64];
        size_t length;

        run = (struct run){.seed = i + 1};
        world_begin(run.seed);
        setup(&run);
        hello.size = 0;
        if (cases[i].bytes)
            put(&hello, cases[i].bytes, strlen(cases[i].bytes));
        else
            put_hello(&hello, cases[i].name, NULL, cases[i].padding, cases[i].piece);
        assert_int_equal(peer_write(run.client.peer, hello.data, hello.size), hello.size);
        run_out(&run, answer, &length);
        if (length != (cases[i].alert < 0 ? 0 : 7))
            fail_msg("case %zu: %zu bytes", i, length);
        if (cases[i].alert >= 0)
            assert_int_equal(answer[6], cases[i].alert);
        assert_int_equal(run.stage.counted.ends[END_REJECTED], cases[i].alert == 112);
        assert_int_equal(run.stage.counted.ends[END_HANDSHAKE_FAILED], cases[i].alert != 112);
        assert_null(world_dialled());
    }
}

// Half a hello, and then nothing: the handshake's time is all it gets.
static void test_timeout(void **state)
{
    for (size_t part = 0; part < 3; part++) {
        static struct run run;
        uint8_t answer[64];
        uint64_t began_ns;
        size_t length;

        run = (struct run){.seed = part + 1};
        world_begin(run.seed);
        setup(&run);
        hello.size = 0;
        put_hello(&hello, "pass.example", NULL, 9000, 16384);
        assert_int_equal(peer_write(run.client.peer, hello.data, part * 4500), part * 4500);
        began_ns = world_now_ns();
        run_out(&run, answer, &length);
        assert_int_equal(length, 0);
        assert_true(world_now_ns() - began_ns >= 10 * CLOCK_NS_PER_S);
        assert_true(world_now_ns() - began_ns < 20 * CLOCK_NS_PER_S);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_seeds),
    };
    struct tls_context_options options;
    struct report report;

    report_init(&report, NULL);
    if (record_init() < 0 ||
        config_quick("127.0.0.1:1", "127.0.0.1:2", NULL, NULL, &tls_config, &report) < 0 ||
        !stage_material(&report, &certificate, &material))
        return 1;
    log_setup(LOG_TEXT, getenv("RINGBOLT_SIM_SEED") ? LOG_DEBUG : LOG_ERROR, 2);
    free(tls_config->listeners[0].routes);
    set_routes(&tls_config->listeners[0]); // the engine has the same
    options = (struct tls_context_options){.config = tls_config, .material = material, .keylog = -1};
    if (tls_context_create(&options, &context) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
