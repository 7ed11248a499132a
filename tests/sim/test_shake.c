// SPDX-License-Identifier: Apache-2.0
// Servers that are spoken to in TLS, in the simulated world: OpenSSL on both sides, and a server that may stop, reset, talk nonsense, refuse, be
// somebody else or say nothing, at any byte. What is asked of every run: each side gets an exact prefix of what the other sent; all of it and an
// orderly end when both were orderly; never an orderly end, nor a byte of the other's, when the handshake failed; and nothing is left.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/ssl.h>

#include "ringbolt/clock.h"
#include "ringbolt/proxy.h"
#include "side.h"
#include "src/proxy/connection.h"
#include "stage.h"
#include "towards.h"

#define BYTES_MAX 100000
#define STEPS_MAX 200000
// An ECDSA signature is sometimes a little shorter.
#define SIGNATURE_VARIES 8

// What is wrong with the server.
enum way { WELL, STOPS, FINISHES, RESETS, SPOILS, REFUSES, IS_ANOTHER, TALKS_PLAIN, WAYS };

struct talk {
    size_t to_send, sent, received;
};

struct run {
    uint64_t seed;
    struct config config;
    struct config_listener listener;
    struct config_upstream upstream;
    struct config_server server_config[2];
    struct stage stage;
    struct side client, server;
    struct talk down, up; // as their receivers have them
    enum way way;
    size_t at;       // the byte of the server's at which it goes wrong
    bool has_header; // a PROXY header is ahead of the server's handshake
    bool has_another; // a second server, with which all is well
    bool header_is_read;
    bool client_resets;
    size_t client_resets_at;
};

static struct material *material;
static struct tls_context *context, *towards;
static struct config *tls_config;
static struct certificate *certificate;
static SSL_CTX *client_context, *server_context, *other_context;
static unsigned long orderly, failed_handshakes;

static void check(bool good, const struct run *run, const char *what)
{
    if (!good)
        fail_msg("seed %llu, way %d at %zu: %s", (unsigned long long)run->seed, run->way, run->at, what);
}

static uint8_t pattern(size_t at, uint8_t salt)
{
    return (uint8_t)(at * 131 + (at >> 8) * 7 + salt);
}

static size_t random_size(void)
{
    static const size_t scale[] = {2, 200, 5000, 20000, BYTES_MAX};

    return world_below(scale[world_below(5)]);
}

static void setup(struct run *run, bool is_tls13)
{
    struct peer *peer;

    for (size_t i = 0; i < 2; i++)
        run->server_config[i] =
            (struct config_server){.address.text = (char *)(i == 0 ? "server" : "another"), .weight = 1};
    run->upstream = (struct config_upstream){.name = (char *)"app",
                                             .servers = run->server_config,
                                             .server_count = run->has_another ? 2 : 1};
    run->upstream.tls = tls_config->upstreams[0].tls;
    if (run->way == IS_ANOTHER)
        run->upstream.tls.name = (char *)"other.example";
    if (run->has_header)
        run->upstream.proxy.mode = CONFIG_PROXY_OUT_V1;
    run->listener = (struct config_listener){.name = (char *)"test"};
    run->config = (struct config){
        .workers = 1,
        .listeners = &run->listener,
        .listener_count = 1,
        .upstreams = &run->upstream,
        .upstream_count = 1,
        .limits = {.connections = 100, .memory = 1u << 20},
        .timeouts = {.handshake_ns = 10 * CLOCK_NS_PER_S,
                     .connect_ns = CLOCK_NS_PER_S,
                     .idle_ns = 300 * CLOCK_NS_PER_S,
                     .half_closed_ns = 300 * CLOCK_NS_PER_S},
        .ktls = {.offload_after = world_chance(50) ? 0 : random_size()},
    };
    stage_open_towards(&run->stage, &run->config, 1u << 20, &context, &towards, material);
    world_dial(WORLD_DIAL_ACCEPT);
    side_open(&run->client, client_context, false);
    run->client.peer = peer = world_connect(STAGE_LISTENER);
    if (world_chance(50))
        peer_capacity(peer, 20000 + world_below(100000), 20000 + world_below(100000));
    side_open(&run->server,
              run->way == TALKS_PLAIN ? NULL
              : run->way == REFUSES   ? other_context
                                      : server_context,
              true);
    if (run->server.ssl)
        SSL_set_max_proto_version(run->server.ssl,
                                  is_tls13 || run->way == REFUSES ? TLS1_3_VERSION : TLS1_2_VERSION);
    if (run->way == SPOILS)
        run->server.spoils_at = run->at;
    else if (run->way == STOPS || run->way == FINISHES || run->way == RESETS)
        run->server.stops_at = run->at;
}

// ---- the two ----

static void hear(struct run *run, struct side *side, struct talk *talk, uint8_t salt)
{
    uint8_t data[16384];
    size_t length = side_read(side, data, sizeof(data));

    for (size_t i = 0; i < length; i++)
        check(data[i] == pattern(talk->received + i, salt), run, "a wrong byte");
    talk->received += length;
}

static void say(struct side *side, struct talk *talk, uint8_t salt)
{
    uint8_t data[16384];
    size_t length = talk->to_send - talk->sent < sizeof(data) ? talk->to_send - talk->sent : sizeof(data);

    if (length == 0 || !side_may_write(side) || world_chance(40))
        return;
    length = 1 + world_below(length);
    for (size_t i = 0; i < length; i++)
        data[i] = pattern(talk->sent + i, salt);
    talk->sent += side_write(side, data, length);
}

static void client_step(struct run *run)
{
    struct side *client = &run->client;

    if (client->has_left && run->client_resets)
        return;
    side_step(client);
    hear(run, client, &run->down, 99);
    say(client, &run->up, 1);
    if (client->is_handshaken && !client->has_closed && run->up.sent == run->up.to_send)
        side_finish(client);
    if (run->client_resets && client->is_handshaken && run->up.sent >= run->client_resets_at &&
        world_chance(20))
        side_reset(client);
    else if (side_is_over(client))
        side_leave(client);
}

static void server_step(struct run *run)
{
    struct side *server = &run->server;

    if (!server->peer)
        server->peer = world_dialled();
    if (!server->peer || (server->has_left && run->way == RESETS) || (run->has_header && !side_skip_line(&run->server, &run->header_is_read)))
        return;
    if (run->way == TALKS_PLAIN && server->written == 0 && side_is_drained(server))
        BIO_puts(server->out, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    side_step(server);
    if (run->way == TALKS_PLAIN) {
        if (side_is_drained(server))
            side_leave(server);
        return;
    }
    hear(run, server, &run->up, 1);
    say(server, &run->down, 99);
    if (server->written >= server->stops_at && run->way == RESETS) {
        side_reset(server);
    } else if (server->written >= server->stops_at && run->way == FINISHES) {
        side_leave(server);
    } else if (server->is_handshaken && !server->has_closed && run->down.sent == run->down.to_send) {
        side_finish(server);
    } else if (side_is_over(server)) {
        side_leave(server);
    }
}

static void step(struct run *run)
{
    client_step(run);
    server_step(run);
    stage_step(&run->stage);
}

static bool is_over(const struct run *run)
{
    return proxy_connection_count(run->stage.proxy) == 0 &&
           (run->client.saw_end || run->client.saw_reset || run->client.has_left);
}

static void go(struct run *run)
{
    const char *left;
    unsigned steps = 0;

    while (!is_over(run) && steps++ < STEPS_MAX)
        step(run);
    check(steps < STEPS_MAX, run, "it does not come to an end");
    for (int i = 0; i < 200; i++) { // what was still on its way
        client_step(run);
        server_step(run);
    }
    proxy_drain(run->stage.proxy);
    for (steps = 0; !proxy_idle(run->stage.proxy) && steps < STEPS_MAX; steps++)
        stage_step(&run->stage);
    check(proxy_idle(run->stage.proxy), run, "the proxy is not idle in the end");
    left = stage_close(&run->stage);
    check(!left, run, left);
}

static void check_outcome(const struct run *run)
{
    const struct side *client = &run->client, *server = &run->server;
    bool is_cut = run->way != WELL;
    bool is_complete = client->saw_close_notify && server->saw_close_notify &&
                       run->down.received == run->down.to_send && run->up.received == run->up.to_send &&
                       !client->saw_error && !server->saw_error;

    if (getenv("RINGBOLT_SIM_SEED"))
        print_message("# way %d at %zu; client: handshaken %d close_notify %d error %d end %d reset %d; "
                      "server: handshaken %d close_notify %d "
                      "error %d end %d reset %d written %zu; down %zu/%zu/%zu up %zu/%zu/%zu trouble %u\n",
                      run->way, run->at, client->is_handshaken, client->saw_close_notify, client->saw_error,
                      client->saw_end, client->saw_reset, server->is_handshaken, server->saw_close_notify,
                      server->saw_error, server->saw_end, server->saw_reset, server->written,
                      run->down.received, run->down.sent, run->down.to_send, run->up.received, run->up.sent,
                      run->up.to_send, world_trouble);
    check(run->down.received <= run->down.sent && run->up.received <= run->up.sent, run,
          "more came than was sent");
    if (!is_cut && !run->client_resets && world_trouble == 0)
        check(is_complete, run, "both were orderly and something is missing");
    if (client->saw_close_notify)
        check(run->down.received == run->down.to_send, run,
              "the client saw an orderly end before everything was there");
    if (server->saw_close_notify)
        check(run->up.received == run->up.to_send, run,
              "the server saw an orderly end before everything was there");
    if (run->client_resets && client->has_left && !client->has_closed)
        check(!server->saw_close_notify, run, "the client reset and the server saw an orderly end");
    // Who never shook hands hears nothing of the other, and the client is told.
    if (run->way == REFUSES || run->way == IS_ANOTHER || run->way == TALKS_PLAIN) {
        check(run->up.received == 0 && run->down.received == 0 && !client->saw_close_notify, run,
              "a server that failed was spoken to");
        if (!run->client_resets && world_trouble == 0)
            check(client->saw_error && client->is_handshaken, run, "the client was not told");
    }
    if (is_cut && !client->saw_close_notify && !run->client_resets && world_trouble == 0)
        check(client->saw_error || (run->way == STOPS && server->is_handshaken && client->saw_end), run,
              "cut off, and the client was not told");
    orderly += is_complete;
    failed_handshakes += is_cut && !server->is_handshaken;
}

static void finish(struct run *run)
{
    check_outcome(run);
    side_close(&run->client);
    side_close(&run->server);
    check(world_end(), run, "something was left");
}

static void run_seed(uint64_t seed)
{
    static struct run run;
    bool is_tls13;

    run = (struct run){.seed = seed};
    world_begin(seed);
    world_kernel_tls(world_chance(50), world_chance(50), true);
    is_tls13 = world_chance(60);
    run.way = world_chance(40) ? WELL : (enum way)world_below(WAYS);
    run.at = world_below(world_chance(70) ? 2000 : 30000);
    run.has_header = world_chance(30);
    run.client_resets = world_chance(15);
    run.down.to_send = random_size();
    run.up.to_send = random_size();
    run.client_resets_at = world_below(run.up.to_send + 1);
    setup(&run, is_tls13);
    world_trouble = world_chance(60) ? 0 : (unsigned)world_below(6);
    run.client.reads_slowly = world_chance(30);
    run.server.reads_slowly = world_chance(30);
    go(&run);
    finish(&run);
}

static void test_seeds(void **state)
{
    uint64_t last;

    orderly = failed_handshakes = 0;
    last = stage_seeds(run_seed, 600);
    if (last == 0)
        return;
    print_message("# %llu seeds, %lu orderly ends, %lu failed handshakes\n", (unsigned long long)last,
                  orderly, failed_handshakes);
    assert_true(orderly >= last / 5 && failed_handshakes >= last / 20); // or the seeds test nothing
}

// The server goes away at each byte of its handshake, in turns with FIN and with a reset, or talks nonsense from there on.
static void test_each_byte(void **state)
{
    static const enum way ways[] = {FINISHES, RESETS, SPOILS};
    static struct run run;

    for (unsigned version = 0; version < 2; version++) {
        size_t length = 1;

        for (size_t at = 0; at < length; at++) {
            run = (struct run){.seed = at + 1, .way = ways[at % 3], .at = at};
            world_begin(run.seed);
            world_kernel_tls(false, false, false);
            run.up.to_send = run.down.to_send = 10;
            setup(&run, version == 1);
            if (at == 0) { // once to see how long it is
                run.way = WELL;
                run.server.stops_at = SIZE_MAX;
                while (!run.server.is_handshaken)
                    step(&run);
                assert_true(run.server.handshake_size > 300);
                length = run.server.handshake_size - SIGNATURE_VARIES;
            }
            go(&run);
            if (at > 0) {
                check(!run.client.saw_close_notify && run.client.saw_error && run.client.is_handshaken, &run,
                      "the client was not told");
                check(run.down.received == 0 && run.up.received == 0, &run, "something was relayed");
            }
            finish(&run);
        }
    }
}

// The proxy has gone to the next server: the first one is out of it.
static void change_servers_if_due(struct run *run, bool is_tls13)
{
    struct peer *next = run->server.peer ? world_dialled() : NULL;

    if (!next)
        return;
    if (!run->server.has_left)
        side_leave(&run->server);
    side_close(&run->server);
    run->way = WELL;
    run->header_is_read = false;
    side_open(&run->server, server_context, true);
    SSL_set_max_proto_version(run->server.ssl, is_tls13 ? TLS1_3_VERSION : TLS1_2_VERSION);
    run->server.peer = next;
}

// A server that leaves at a byte of its handshake, or falls silent there, is left for another one, and nothing of it is noticed.
static void test_another(void **state)
{
    static const enum way ways[] = {FINISHES, RESETS, STOPS};

    for (size_t at = 0; at < 400; at += 7) {
        static struct run run;
        bool is_tls13 = at % 2;

        run = (struct run){.seed = at + 1, .way = ways[at % 3], .at = at, .has_another = true};
        world_begin(run.seed);
        world_kernel_tls(false, false, false);
        run.has_header = world_chance(50);
        run.up.to_send = run.down.to_send = random_size();
        setup(&run, is_tls13);
        for (unsigned steps = 0; !is_over(&run) && steps < STEPS_MAX; steps++) {
            change_servers_if_due(&run, is_tls13);
            step(&run);
        }
        check(run.way == WELL, &run, "no other server was tried");
        go(&run);
        finish(&run);
    }
}

// Silence, from the beginning or in the midst of it, takes no longer than a handshake may.
static void test_silence(void **state)
{
    for (size_t at = 0; at < 400; at += 133) {
        static struct run run;
        uint64_t began_ns;

        run = (struct run){.seed = at + 1, .way = STOPS, .at = at};
        world_begin(run.seed);
        world_kernel_tls(false, false, false);
        setup(&run, true);
        began_ns = world_now_ns();
        while (!run.client.saw_error && world_now_ns() - began_ns < 100 * CLOCK_NS_PER_S)
            step(&run);
        assert_true(world_now_ns() - began_ns >= 9 * CLOCK_NS_PER_S &&
                    world_now_ns() - began_ns < 15 * CLOCK_NS_PER_S);
        go(&run);
        finish(&run);
    }
}

// As the server has it, but for a suite that nobody offers.
static bool make_other(void)
{
    other_context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_min_proto_version(other_context, TLS1_3_VERSION);
    return SSL_CTX_set_ciphersuites(other_context, "TLS_AES_128_CCM_SHA256") == 1 &&
           SSL_CTX_use_certificate(other_context, SSL_CTX_get0_certificate(server_context)) == 1 &&
           SSL_CTX_use_PrivateKey(other_context, SSL_CTX_get0_privatekey(server_context)) == 1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_byte),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_another),
        cmocka_unit_test(test_seeds),
    };
    struct tls_context_options options;
    struct report report;

    report_init(&report, NULL);
    if (record_init() < 0 ||
        config_quick("127.0.0.1:1", "127.0.0.1:2", NULL, NULL, &tls_config, &report) < 0 ||
        !stage_material(&report, &certificate, &material) ||
        !towards_make(tls_config, &report, &server_context, &towards) || !make_other())
        return 1;
    options = (struct tls_context_options){.config = tls_config, .material = material, .keylog = -1};
    if (tls_context_create(&options, &context) < 0)
        return 1;
    log_setup(LOG_TEXT, getenv("RINGBOLT_SIM_SEED") ? LOG_DEBUG : LOG_ERROR, 2);
    client_context = SSL_CTX_new(TLS_client_method());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
