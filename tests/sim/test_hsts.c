// SPDX-License-Identifier: Apache-2.0
// Strict-Transport-Security in the simulated world: a server, in plaintext or TLS, whose stream begins with responses of HTTP/1, or with something
// else, in any pieces, and that may end or reset at any byte. What is asked of every run: the client gets an exact prefix of that stream with the
// header in its one place; all of it, and an orderly end, where both were orderly; never an orderly end where the server was not; and
// nothing is left.
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

#define STEPS_MAX 200000
#define TEXT_MAX  400000
#define HEADER    "Strict-Transport-Security: max-age=300\r\n"
#define NOWHERE   SIZE_MAX

enum ending { ORDERLY, TRUNCATES, RESETS };

struct run {
    uint64_t seed;
    struct config config;
    struct config_listener listener;
    struct config_upstream upstream;
    struct config_server server_config;
    struct stage stage;
    struct side client, server;
    bool is_server_tls;
    size_t text_size, place; // what the server says, and where the header goes
    size_t sent, received, asked;
    enum ending ending;
    size_t ends_at;
    size_t pause_at; // the server waits here until the client has what came before; NOWHERE: it doesn't
    unsigned paused;
};

static char text[TEXT_MAX];
static struct material *material;
static struct tls_context *context, *towards;
static struct config *tls_config;
static struct certificate *certificate;
static SSL_CTX *client_context, *server_context;
static unsigned long complete_runs, headers;

static void check(bool good, const struct run *run, const char *what)
{
    if (!good)
        fail_msg("seed %llu: %s", (unsigned long long)run->seed, what);
}

// ---- what the server says ----

static void add(struct run *run, const char *what)
{
    size_t length = strlen(what);

    memcpy(text + run->text_size, what, length);
    run->text_size += length;
}

static void add_some(struct run *run, size_t most, bool is_text)
{
    for (size_t left = world_below(most + 1); left > 0; left--)
        text[run->text_size++] = is_text ? (char)('a' + world_below(26)) : (char)world_random();
}

static void add_header(struct run *run, const char *name, size_t most, const char *end)
{
    add(run, name);
    add(run, ": ");
    add_some(run, most, true);
    add(run, end);
}

// The head of a response without the empty line.
static void add_head(struct run *run, const char *status, const char *end, size_t most)
{
    add(run, status);
    add(run, end);
    for (size_t count = world_below(4); count > 0; count--)
        add_header(run, world_chance(50) ? "X-Some" : "Strict-Transport", most, end);
}

static void add_body(struct run *run)
{
    static const size_t scale[] = {1, 100, 5000, 40000, 150000};

    add_some(run, scale[world_below(5)], false);
}

static void write_text(struct run *run)
{
    const char *end = world_chance(80) ? "\r\n" : "\n";
    size_t most = world_chance(80) ? 60 : 20000;

    run->place = NOWHERE;
    for (uint64_t count = world_chance(70) ? 0 : 1 + world_below(3); count > 0; count--) {
        add_head(run, "HTTP/1.1 103 Early Hints", end, 60);
        if (world_chance(30))
            add(run, "strict-transport-security: max-age=1\r\n"); // of no meaning there
        add(run, end);
    }
    switch (world_below(10)) {
    case 0: // its own
        add_head(run, "HTTP/1.1 200 OK", end, most);
        add_header(run, world_chance(50) ? "strict-transport-security" : "Strict-Transport-SECURITY", 20,
                   end);
        add(run, end);
        break;
    case 1: // another protocol follows
        add(run, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 "
                 "OK\r\n\r\n");
        break;
    case 2: // not HTTP
        add(run, world_chance(50) ? "220 mail.example ESMTP\r\n\r\n" : "\r\n\r\nHTTP/1.1 200 OK\r");
        break;
    case 3: // it comes to no end
        add_head(run, "HTTP/1.1 200 OK", end, most);
        add(run, world_chance(50) ? "\r" : "");
        return;
    default:
        add_head(run, world_chance(50) ? "HTTP/1.1 200 OK" : "HTTP/1.0 404 Not Found", end, most);
        run->place = run->text_size;
        add(run, end);
        break;
    }
    add_body(run);
    if (world_chance(30)) { // the next response is no concern of ours
        add(run, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        add_body(run);
    }
}

// Byte number `at` of what the client is to get.
static char expected(const struct run *run, size_t at)
{
    if (at < run->place)
        return text[at];
    return at - run->place < strlen(HEADER) ? HEADER[at - run->place] : text[at - strlen(HEADER)];
}

static size_t expected_size(const struct run *run)
{
    return run->text_size + (run->place == NOWHERE ? 0 : strlen(HEADER));
}

// ---- a run ----

static void setup(struct run *run)
{
    struct tls_context **client_contexts = run->is_server_tls ? &towards : NULL;

    run->server_config = (struct config_server){.address.text = (char *)"server", .weight = 1};
    run->upstream =
        (struct config_upstream){.name = (char *)"app", .servers = &run->server_config, .server_count = 1};
    run->upstream.tls = tls_config->upstreams[0].tls;
    run->listener = (struct config_listener){.name = (char *)"test", .hsts = (char *)HEADER};
    run->config = (struct config){
        .workers = 1,
        .listeners = &run->listener,
        .listener_count = 1,
        .upstreams = &run->upstream,
        .upstream_count = 1,
        .limits = {.connections = 100, .memory = 2u << 20},
        .timeouts = {.handshake_ns = 10 * CLOCK_NS_PER_S,
                     .connect_ns = CLOCK_NS_PER_S,
                     .idle_ns = 300 * CLOCK_NS_PER_S,
                     .half_closed_ns = 300 * CLOCK_NS_PER_S},
        .ktls = {.offload_after = world_chance(50) ? 0 : world_below(50000)},
    };
    stage_open_towards(&run->stage, &run->config, 2u << 20, &context, client_contexts, material);
    world_dial(WORLD_DIAL_ACCEPT);
    side_open(&run->client, client_context, false);
    run->client.peer = world_connect(STAGE_LISTENER);
    side_open(&run->server, run->is_server_tls ? server_context : NULL, true);
    run->sent = run->received = run->asked = 0;
    run->pause_at = NOWHERE;
    run->paused = 0;
}

static void client_step(struct run *run)
{
    struct side *client = &run->client;
    uint8_t data[16384];
    size_t length;

    side_step(client);
    length = side_read(client, data, sizeof(data));
    check(run->received + length <= expected_size(run), run, "more came than is to come");
    for (size_t i = 0; i < length; i++)
        check((char)data[i] == expected(run, run->received + i), run, "a wrong byte");
    run->received += length;
    if (run->asked < 100 && side_may_write(client))
        run->asked += side_write(client, (const uint8_t *)"GET / HTTP/1.1\r\n\r\n", 18);
    if (client->saw_close_notify && !client->has_closed)
        side_finish(client);
    if (side_is_over(client))
        side_leave(client);
}

static void server_step(struct run *run)
{
    struct side *server = &run->server;
    size_t end = run->ending == ORDERLY ? run->text_size : run->ends_at;
    uint8_t data[4096];
    size_t length;

    if (!server->peer)
        server->peer = world_dialled();
    if (!server->peer || (server->has_left && run->ending == RESETS))
        return;
    side_step(server);
    (void)side_read(server, data, sizeof(data));
    if (run->sent < run->pause_at && end > run->pause_at)
        end = run->pause_at;
    else if (run->sent == run->pause_at && run->paused++ < 30)
        return; // it has time to get there
    length = end - run->sent;
    length = length < 16384 ? length : 16384;
    if (length > 0 && side_may_write(server) && (run->pause_at != NOWHERE || world_chance(60))) {
        if (run->pause_at == NOWHERE && world_chance(70))
            length = world_chance(50) ? 1 + world_below(length) : 1 + world_below(length < 8 ? length : 8);
        run->sent += side_write(server, (const uint8_t *)text + run->sent, length);
    }
    side_step(server);
    if (run->sent < end || !side_is_drained(server) || end == run->pause_at ||
        (server->ssl && !server->is_handshaken))
        return;
    if (run->ending == RESETS)
        side_reset(server);
    else if (run->ending == TRUNCATES)
        side_leave(server);
    else if (!server->has_closed)
        side_finish(server);
    else if (!server->ssl || side_is_over(server))
        side_leave(server);
}

static void go(struct run *run)
{
    const char *left;
    unsigned steps;

    for (steps = 0; steps < STEPS_MAX; steps++) {
        client_step(run);
        server_step(run);
        stage_step(&run->stage);
        if (proxy_connection_count(run->stage.proxy) == 0 &&
            (run->client.saw_end || run->client.saw_reset || run->client.has_left))
            break;
    }
    check(steps < STEPS_MAX, run, "it does not come to an end");
    for (int i = 0; i < 200; i++)
        client_step(run);
    proxy_drain(run->stage.proxy);
    for (steps = 0; !proxy_idle(run->stage.proxy) && steps < STEPS_MAX; steps++)
        stage_step(&run->stage);
    check(proxy_idle(run->stage.proxy), run, "the proxy is not idle in the end");
    left = stage_close(&run->stage);
    check(!left, run, left);
}

static void finish(struct run *run)
{
    bool is_whole = run->received == expected_size(run);
    bool is_orderly =
        run->ending == ORDERLY || (run->ending == TRUNCATES && !run->is_server_tls); // a FIN is an end then

    if (getenv("RINGBOLT_SIM_SEED"))
        print_message("# text %zu place %zu tls %d ending %d at %zu; sent %zu received %zu close_notify %d "
                      "error %d end %d reset %d trouble %u\n",
                      run->text_size, run->place, run->is_server_tls, run->ending, run->ends_at, run->sent,
                      run->received, run->client.saw_close_notify, run->client.saw_error, run->client.saw_end,
                      run->client.saw_reset, world_trouble);
    if (world_trouble == 0 && run->ending == ORDERLY)
        check(is_whole && run->client.saw_close_notify, run, "something is missing");
    if (world_trouble == 0 && !is_orderly)
        check(run->client.saw_error, run, "the client was not told");
    if (!is_orderly)
        check(!run->client.saw_close_notify, run, "an orderly end where the server had none");
    complete_runs += is_whole && run->client.saw_close_notify;
    headers += run->place != NOWHERE && run->received >= run->place + strlen(HEADER);
    side_close(&run->client);
    side_close(&run->server);
    check(world_end(), run, "something was left");
}

static void run_seed(uint64_t seed)
{
    static struct run run;

    run = (struct run){.seed = seed};
    world_begin(seed);
    world_kernel_tls(world_chance(50), world_chance(50), true);
    run.is_server_tls = world_chance(60);
    write_text(&run);
    run.ending = world_chance(70) ? ORDERLY : world_chance(50) ? TRUNCATES : RESETS;
    run.ends_at = world_below((world_chance(50) && run.text_size > 400 ? 400 : run.text_size) + 1);
    setup(&run);
    SSL_set_max_proto_version(run.client.ssl, world_chance(60) ? TLS1_3_VERSION : TLS1_2_VERSION);
    if (world_chance(20)) // 512 bytes a record
        SSL_set_tlsext_max_fragment_length(run.client.ssl, TLSEXT_max_fragment_length_512);
    if (run.is_server_tls)
        SSL_set_max_proto_version(run.server.ssl, world_chance(60) ? TLS1_3_VERSION : TLS1_2_VERSION);
    if (world_chance(50))
        peer_capacity(run.client.peer, 20000 + world_below(100000), 20000 + world_below(100000));
    run.client.reads_slowly = world_chance(20);
    world_trouble = world_chance(60) ? 0 : (unsigned)world_below(6);
    go(&run);
    finish(&run);
}

static void test_seeds(void **state)
{
    uint64_t last;

    complete_runs = headers = 0;
    last = stage_seeds(run_seed, 600);
    if (last == 0)
        return;
    print_message("# %llu seeds, %lu complete, %lu with a header of ours\n", (unsigned long long)last,
                  complete_runs, headers);
    assert_true(complete_runs >= last / 3 && headers >= last / 4); // or the seeds test nothing
}

// Everything up to each byte is there before the rest comes.
static void test_each_byte(void **state)
{
    static const struct {
        const char *before, *behind;
    } cases[] = {{"HTTP/1.1 200 OK\r\nA: b\r\n", "\r\nbody"},
                 {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\n", "\nHTTP/1.1 200 OK\r\n\r\n"}};
    static struct run run;

    for (size_t which = 0; which < 2 * sizeof(cases) / sizeof(cases[0]); which++) {
        size_t number = which / 2;
        size_t length = strlen(cases[number].before) + strlen(cases[number].behind);

        for (size_t at = 1; at < length; at++) {
            run = (struct run){.seed = at, .is_server_tls = which % 2};
            world_begin(run.seed);
            world_kernel_tls(at % 2, at % 2, true);
            add(&run, cases[number].before);
            run.place = run.text_size;
            add(&run, cases[number].behind);
            setup(&run);
            run.pause_at = at;
            go(&run);
            finish(&run);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_byte), cmocka_unit_test(test_seeds)};
    struct tls_context_options options;
    struct report report;

    report_init(&report, NULL);
    if (record_init() < 0 ||
        config_quick("127.0.0.1:1", "127.0.0.1:2", NULL, NULL, &tls_config, &report) < 0 ||
        !stage_material(&report, &certificate, &material) ||
        !towards_make(tls_config, &report, &server_context, &towards))
        return 1;
    options = (struct tls_context_options){.config = tls_config, .material = material, .keylog = -1};
    if (tls_context_create(&options, &context) < 0)
        return 1;
    log_setup(LOG_TEXT, getenv("RINGBOLT_SIM_SEED") ? LOG_DEBUG : LOG_ERROR, 2);
    client_context = SSL_CTX_new(TLS_client_method());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
