// SPDX-License-Identifier: Apache-2.0
// Connections through the whole proxy in a simulated world: an OpenSSL client, a plaintext server, and a seed that decides
// who does what and when. What is asked of every run: each side gets an exact prefix of what the other sent; all of it and an
// orderly end when both were orderly; never an orderly end when one was not; and nothing is left in the end.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "ringbolt/clock.h"
#include "ringbolt/proxy.h"
#include "ringbolt/socket.h"
#include "src/proxy/connection.h"
#include "src/proxy/proxy_header.h"
#include "stage.h"
#include "world.h"

#define BYTES_MAX  300000
#define STEPS_MAX  200000
#define LEAST_POOL (1u << 20)

enum leaving { ORDERLY, TRUNCATES, RESETS };

struct client {
    struct peer *peer;
    SSL *ssl;
    BIO *in, *out;
    size_t to_send, sent, received;
    enum leaving leaving;
    size_t leaves_at; // bytes sent when it leaves (TRUNCATES, RESETS)
    bool reads_slowly, updates_keys, waits_for_all;
    bool is_handshaken, has_closed, has_left, saw_close_notify, saw_error, saw_end;
};

struct server {
    struct peer *peer;
    size_t to_send, sent, received;
    enum leaving leaving;
    size_t leaves_at;
    bool reads_slowly, waits_for_client;
    bool has_left, saw_end, saw_reset;
};

struct run {
    uint64_t seed;
    struct config config;
    struct config_listener listener;
    struct config_upstream upstream;
    struct config_server server_config;
    size_t pool_size; // 0: the least
    struct stage stage;
    struct client client;
    struct server server;
    enum world_dial dial;
    bool uses_updates;
    bool kernel_cannot_rekey;
    bool tries_headers;
    uint16_t announced; // the port that the client's PROXY header names; 0: none does
    bool is_header_bad;
    struct config_network network;
    uint8_t head[PROXY_HEADER_MAX]; // what the server got of a header
    size_t head_size;
    bool is_head_read;
};

static struct material *material;
static struct tls_context *context;
static struct config *tls_config;
static SSL_CTX *client_context;
static unsigned long offloads, orderly; // over all seeds
static struct certificate *certificate;

// Byte number `at` of a direction.
static uint8_t pattern(size_t at, uint8_t salt)
{
    return (uint8_t)(at * 131 + (at >> 8) * 7 + salt);
}

static void check(bool good, const struct run *run, const char *what)
{
    if (!good)
        fail_msg("seed %llu: %s", (unsigned long long)run->seed, what);
}

static size_t padding(SSL *ssl, int type, size_t length, void *argument)
{
    return world_below(3) == 0 ? world_below(200) : 0;
}

static size_t random_size(void)
{
    static const size_t scale[] = {2, 200, 5000, 20000, BYTES_MAX};

    return world_below(scale[world_below(5)]);
}

static void setup_client(struct run *run)
{
    static const char *const suites[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                         "TLS_CHACHA20_POLY1305_SHA256"};
    static const char *const ciphers[] = {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
                                          "ECDHE-ECDSA-CHACHA20-POLY1305"};
    struct client *client = &run->client;
    unsigned which = (unsigned)world_below(3);
    bool is_tls13 = world_chance(60);

    client->ssl = SSL_new(client_context);
    client->in = BIO_new(BIO_s_mem());
    client->out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(client->in, -1);
    SSL_set_bio(client->ssl, client->in, client->out);
    SSL_set_connect_state(client->ssl);
    SSL_set_ciphersuites(client->ssl, suites[which]);
    SSL_set_cipher_list(client->ssl, ciphers[which]);
    SSL_set_max_proto_version(client->ssl, is_tls13 ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_set_mode(client->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (is_tls13 && world_chance(50))
        SSL_set_record_padding_callback(client->ssl, padding);
    client->to_send = random_size();
    client->leaving = world_chance(75) ? ORDERLY : world_chance(50) ? TRUNCATES : RESETS;
    client->leaves_at = client->to_send ? world_below(client->to_send + 1) : 0;
    client->reads_slowly = world_chance(30);
    client->updates_keys = is_tls13 && world_chance(30);
    client->waits_for_all = world_chance(50);
    run->uses_updates = client->updates_keys;
}

// A header ahead of the client's first byte, or something else in its place. The world's pieces are small and random.
static void announce(struct run *run)
{
    struct proxy_addresses addresses = {.family = PROXY_FAMILY_TCP4, .source = {203, 0, 113, 7}};
    struct proxy_header_plan plan = {.version = world_chance(50) ? 1 : 2, .addresses = &addresses};
    static const uint8_t filling[3000];
    uint8_t header[PROXY_HEADER_MAX];
    size_t size;

    run->announced = addresses.source_port = (uint16_t)(1 + world_below(65535));
    plan.authority = (struct proxy_bytes){"a.example", world_below(10)};
    plan.certificate = (struct proxy_bytes){filling, world_below(sizeof(filling))};
    plan.has_ssl = world_chance(50);
    plan.has_checksum = world_chance(50);
    size = proxy_header_build(&plan, header, sizeof(header));
    run->is_header_bad = world_chance(10);
    if (run->is_header_bad)
        header[world_below(12)] ^= 0x80; // of "PROXY TCP4 2" and of the signature every bit counts
    BIO_write(run->client.out, header, (int)size);
}

// Who says for whom: before the client's bytes, to the server, both, or neither.
static void setup_headers(struct run *run)
{
    run->listener.proxy.is_required = true;
    if (world_chance(30)) {
        run->listener.proxy.mode = CONFIG_PROXY_IN_ANY;
        if (world_chance(50)) {
            const char *why;

            assert_int_equal(config_network_parse("192.0.2.0/24", &run->network, &why), 0);
            run->listener.proxy.networks = &run->network;
            run->listener.proxy.network_count = 1;
        }
        announce(run);
    }
    if (world_chance(30)) {
        run->upstream.proxy.mode = world_chance(50) ? CONFIG_PROXY_OUT_V1 : CONFIG_PROXY_OUT_V2;
        run->upstream.proxy.tlvs = (unsigned)world_below(2 * CONFIG_PROXY_TLV_CRC32C);
    }
}

static void setup(struct run *run)
{
    bool transmit = world_chance(50);
    bool receive = world_chance(50);
    bool rekey = world_chance(50);

    world_kernel_tls(transmit, receive, rekey);
    run->kernel_cannot_rekey = (transmit || receive) && !rekey;
    run->server_config = (struct config_server){.address.text = (char *)"server", .weight = 1};
    run->upstream =
        (struct config_upstream){.name = (char *)"app", .servers = &run->server_config, .server_count = 1};
    run->listener = (struct config_listener){.name = (char *)"test"};
    run->config = (struct config){
        .workers = 1,
        .listeners = &run->listener,
        .listener_count = 1,
        .upstreams = &run->upstream,
        .upstream_count = 1,
        .limits = {.connections = 100, .memory = LEAST_POOL},
        .timeouts = {.handshake_ns = 10 * CLOCK_NS_PER_S,
                     .connect_ns = CLOCK_NS_PER_S,
                     .idle_ns = 300 * CLOCK_NS_PER_S,
                     .half_closed_ns = 300 * CLOCK_NS_PER_S},
        .ktls = {.offload_after = world_chance(50) ? 0 : random_size()},
    };
    stage_open(&run->stage, &run->config, run->pool_size ? run->pool_size : LEAST_POOL, &context, material);
    world_trouble = world_chance(50) ? 0 : (unsigned)world_below(6);
    run->dial = world_chance(90) ? WORLD_DIAL_ACCEPT : world_chance(50) ? WORLD_DIAL_REFUSE : WORLD_DIAL_HANG;
    world_dial(run->dial);
    run->server.to_send = random_size();
    run->server.leaving = world_chance(75) ? ORDERLY : RESETS;
    run->server.leaves_at = run->server.to_send ? world_below(run->server.to_send + 1) : 0;
    run->server.reads_slowly = world_chance(30);
    run->server.waits_for_client = world_chance(50);
    setup_client(run);
    if (run->tries_headers)
        setup_headers(run);
    run->client.peer = world_connect(STAGE_LISTENER);
    if (world_chance(50))
        peer_capacity(run->client.peer, 20000 + world_below(100000), 20000 + world_below(100000));
}

// ---- the client ----

static void client_pump_out(struct client *client)
{
    char *data;
    long pending = BIO_get_mem_data(client->out, &data);
    size_t length = pending > 0 && !client->has_left
                        ? peer_write(client->peer, data,
                                     world_chance(50) ? (size_t)pending : 1 + world_below((uint64_t)pending))
                        : 0;
    char scratch[4096];

    while (length > 0) {
        int part = BIO_read(client->out, scratch, (int)(length < sizeof(scratch) ? length : sizeof(scratch)));

        length -= (size_t)part;
    }
}

static void client_pump_in(struct client *client)
{
    uint8_t data[30000];
    size_t length =
        peer_read(client->peer, data, client->reads_slowly ? 1 + world_below(3000) : sizeof(data));

    if (length > 0)
        BIO_write(client->in, data, (int)length);
}

static void client_read(struct run *run)
{
    struct client *client = &run->client;
    uint8_t data[8192];
    int length = SSL_read(client->ssl, data, sizeof(data));

    if (length > 0) {
        for (int i = 0; i < length; i++)
            check(data[i] == pattern(client->received + (size_t)i, 99), run, "the client got a wrong byte");
        client->received += (size_t)length;
        return;
    }
    switch (SSL_get_error(client->ssl, length)) {
    case SSL_ERROR_ZERO_RETURN:
        client->saw_close_notify = true;
        break;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        break;
    default:
        client->saw_error = true;
    }
    ERR_clear_error();
}

static void client_write(struct run *run)
{
    struct client *client = &run->client;
    uint8_t data[20000];
    size_t length = client->to_send - client->sent;
    int written;

    if (client->updates_keys && world_chance(5))
        SSL_key_update(client->ssl,
                       world_chance(50) ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
    if (length > sizeof(data))
        length = sizeof(data);
    if (world_chance(30))
        length = 1 + world_below(length);
    for (size_t i = 0; i < length; i++)
        data[i] = pattern(client->sent + i, 1);
    written = SSL_write(client->ssl, data, (int)length);
    if (written > 0)
        client->sent += (size_t)written;
    else if (SSL_get_error(client->ssl, written) == SSL_ERROR_SSL)
        client->saw_error = true;
    ERR_clear_error();
}

static void client_leave(struct client *client)
{
    if (client->leaving == RESETS)
        peer_reset(client->peer);
    else
        peer_finish(client->peer);
    client->has_left = true;
}

static void client_step(struct run *run)
{
    struct client *client = &run->client;

    if (client->has_left && client->leaving != ORDERLY)
        return;
    client_pump_in(client);
    if (!client->is_handshaken) {
        int result = SSL_do_handshake(client->ssl);

        client->is_handshaken = result == 1;
        if (result != 1 && SSL_get_error(client->ssl, result) == SSL_ERROR_SSL)
            client->saw_error = true;
        ERR_clear_error();
    } else if (!client->saw_error) {
        if (!client->saw_close_notify)
            client_read(run);
        if (client->sent < client->to_send && BIO_pending(client->out) < 60000)
            client_write(run);
        if (client->sent == client->to_send && !client->has_closed &&
            (!client->waits_for_all || client->saw_close_notify || client->received == run->server.to_send) &&
            client->leaving == ORDERLY) {
            SSL_shutdown(client->ssl);
            ERR_clear_error();
            client->has_closed = true;
        }
    }
    client_pump_out(client);
    client->saw_end =
        (peer_is_at_end(client->peer) && BIO_pending(client->in) == 0 && !SSL_has_pending(client->ssl)) ||
        peer_was_reset(client->peer);
    if (client->leaving != ORDERLY && client->is_handshaken && client->sent >= client->leaves_at &&
        world_chance(20) && BIO_pending(client->out) == 0)
        client_leave(client);
    // It closes its socket when it has nothing more to say and was told that there is nothing more to hear.
    if (client->leaving == ORDERLY && !client->has_left && BIO_pending(client->out) == 0 &&
        ((client->has_closed && client->saw_close_notify) || client->saw_error ||
         (client->saw_end && !client->saw_close_notify))) {
        peer_finish(client->peer);
        client->has_left = true;
    }
}

// ---- the server ----

// Before anything else the server gets a header that names the client. Takes it off the bytes; how many are left.
static size_t server_take_header(struct run *run, uint8_t *data, size_t length)
{
    struct proxy_header header;
    const char *why = "";
    size_t part = length < sizeof(run->head) - run->head_size ? length : sizeof(run->head) - run->head_size;
    size_t behind;

    if (run->is_head_read || run->upstream.proxy.mode == CONFIG_PROXY_OUT_OFF)
        return length;
    memcpy(run->head + run->head_size, data, part);
    switch (proxy_header_parse(run->head, run->head_size + part, &header, &why)) {
    case PROXY_HEADER_MORE:
        run->head_size += part;
        return 0;
    case PROXY_HEADER_READ:
        break;
    default:
        check(false, run, "the server got no good PROXY header");
    }
    check(header.version == (run->upstream.proxy.mode == CONFIG_PROXY_OUT_V1 ? 1 : 2), run, "the wrong version");
    check(header.addresses.family == PROXY_FAMILY_TCP4, run, "the wrong family");
    check(header.addresses.source[0] == (run->announced ? 203 : 192) &&
              (!run->announced || header.addresses.source_port == run->announced),
          run, "the header names somebody else");
    run->is_head_read = true;
    behind = run->head_size + length - header.size;
    memmove(data, data + length - behind, behind);
    return behind;
}

static void server_step(struct run *run)
{
    struct server *server = &run->server;
    uint8_t data[16384];
    size_t length;

    if (!server->peer)
        server->peer = world_dialled();
    if (!server->peer || (server->has_left && server->leaving == RESETS))
        return;
    length = peer_read(server->peer, data, server->reads_slowly ? 1 + world_below(2000) : sizeof(data));
    length = server_take_header(run, data, length);
    for (size_t i = 0; i < length; i++)
        check(data[i] == pattern(server->received + i, 1), run, "the server got a wrong byte");
    server->received += length;
    if (peer_is_at_end(server->peer) && !peer_was_reset(server->peer))
        server->saw_end = true;
    if (peer_was_reset(server->peer))
        server->saw_reset = true;
    if (server->has_left)
        return;
    length = server->to_send - server->sent;
    if (length > sizeof(data))
        length = sizeof(data);
    if (length > 0 && world_chance(60)) {
        length = 1 + world_below(length);
        for (size_t i = 0; i < length; i++)
            data[i] = pattern(server->sent + i, 99);
        server->sent += peer_write(server->peer, data, length);
    }
    if (server->leaving == RESETS && server->sent >= server->leaves_at && world_chance(10)) {
        peer_reset(server->peer);
        server->has_left = true;
    } else if (server->leaving == ORDERLY && server->sent == server->to_send &&
               (server->saw_end || server->saw_reset || (!server->waits_for_client && world_chance(2)))) {
        peer_finish(server->peer);
        server->has_left = true;
    }
}

// ---- a run ----

static bool is_over(const struct run *run)
{
    return proxy_connection_count(run->stage.proxy) == 0 && (run->client.saw_end || run->client.has_left) &&
           run->client.peer &&
           (run->client.is_handshaken || run->client.saw_error || run->client.has_left ||
            run->client.saw_end);
}

static void check_outcome(const struct run *run)
{
    const struct client *client = &run->client;
    const struct server *server = &run->server;
    bool is_orderly = client->leaving == ORDERLY && server->leaving == ORDERLY &&
                      run->dial == WORLD_DIAL_ACCEPT && !run->is_header_bad;
    // A kernel that can't change keys has to end a connection whose client changes them.
    bool may_stick = run->uses_updates && run->kernel_cannot_rekey;
    // In TLS 1.2 and 1.3 alike an orderly end is said with close_notify.
    bool complete = client->saw_close_notify && client->received == server->to_send &&
                    server->received == client->to_send && server->saw_end && !client->saw_error;

    if (getenv("RINGBOLT_SIM_SEED"))
        print_message("# client: to send %zu sent %zu received %zu leaving %d handshaken %d close_notify %d "
                      "error %d end %d left %d; "
                      "server: to send %zu sent %zu received %zu leaving %d left %d end %d reset %d; dial %d "
                      "trouble %u updates %d\n",
                      client->to_send, client->sent, client->received, client->leaving, client->is_handshaken,
                      client->saw_close_notify, client->saw_error, client->saw_end, client->has_left,
                      server->to_send, server->sent, server->received, server->leaving, server->has_left,
                      server->saw_end, server->saw_reset, run->dial, world_trouble, client->updates_keys);
    check(client->received <= server->sent, run, "the client got more than was sent");
    if (is_orderly && !may_stick && world_trouble == 0)
        check(complete, run, "both were orderly and something is missing");
    if (server->leaving == RESETS)
        check(!client->saw_close_notify, run, "the server reset and the client saw an orderly end");
    if (client->leaving == TRUNCATES && server->peer && !server->has_left)
        check(!server->saw_end, run, "the client truncated and the server saw an orderly end");
    if (client->saw_close_notify)
        check(client->received == server->to_send, run, "an orderly end before everything was there");
    if (server->saw_end && client->leaving == ORDERLY && !server->saw_reset)
        check(server->received == client->to_send, run, "the server saw the end before everything was there");
    if (run->is_header_bad)
        check(!client->is_handshaken && !server->peer, run, "a bad PROXY header was taken");
    if (run->dial != WORLD_DIAL_ACCEPT && client->leaving == ORDERLY && !run->is_header_bad)
        check(client->saw_error && !client->saw_close_notify, run, "no server and no error");
}

static void close_stage(struct run *run)
{
    const char *left = stage_close(&run->stage);

    check(!left, run, left);
}

static void run_seed(uint64_t seed)
{
    struct run run = {.seed = seed, .tries_headers = true};
    unsigned steps = 0;

    world_begin(seed);
    setup(&run);
    while (!is_over(&run) && steps++ < STEPS_MAX) {
        client_step(&run);
        server_step(&run);
        stage_step(&run.stage);
    }
    check(steps < STEPS_MAX, &run, "it does not come to an end");
    // What was still on its way.
    for (int i = 0; i < 200 && !run.client.has_left; i++)
        client_step(&run);
    for (int i = 0; i < 2000; i++)
        server_step(&run);
    proxy_drain(run.stage.proxy);
    for (steps = 0; !proxy_idle(run.stage.proxy) && steps < STEPS_MAX; steps++)
        stage_step(&run.stage);
    check_outcome(&run);
    check(proxy_idle(run.stage.proxy), &run, "the proxy is not idle in the end");
    close_stage(&run);
    SSL_free(run.client.ssl);
    offloads += world_offloads();
    orderly += run.client.saw_close_notify && run.server.saw_end;
    check(world_end(), &run, "something was left");
}

static void test_seeds(void **state)
{
    uint64_t last = stage_seeds(run_seed, 1500);

    if (last == 0)
        return;
    print_message("# %llu seeds, %lu directions moved into the kernel, %lu orderly ends\n",
                  (unsigned long long)last, offloads, orderly);
    assert_true(offloads >= last / 4 && orderly >= last / 4); // or the seeds test nothing
}

// After proxy_stop() or proxy_drain(): everything comes to its end and comes back.
static void finish(struct run *run)
{
    for (unsigned steps = 0; !proxy_idle(run->stage.proxy) && steps < STEPS_MAX; steps++)
        stage_step(&run->stage);
    check(proxy_idle(run->stage.proxy), run, "the proxy does not stop");
    close_stage(run);
}

// Shakes hands and gets a server; from then on nobody moves its client.
static void establish(struct run *run, const struct run *world_of)
{
    run->seed = world_of->seed;
    run->stage = world_of->stage;
    setup_client(run);
    run->client.leaving = ORDERLY;
    run->client.to_send = 0;
    run->client.waits_for_all = true;
    run->client.updates_keys = false;
    run->server = (struct server){.to_send = 200000, .leaving = ORDERLY, .waits_for_client = true};
    run->client.peer = world_connect(STAGE_LISTENER);
    peer_capacity(run->client.peer, 1 << 20, 20000);
    for (unsigned steps = 0; !run->server.peer && steps < STEPS_MAX; steps++) {
        client_step(run);
        server_step(run);
        stage_step(&run->stage);
    }
    check(run->server.peer != NULL, run, "no server was dialled");
}

// Many clients that read nothing of what their servers send: memory stays within its budget, those that stall for long give
// way, and a client that reads gets everything.
static void test_stalled_readers(void **state)
{
    enum { STALLED = 90 };
    static struct run runs[STALLED];
    struct run first = {.seed = 4711};
    struct run honest = {.seed = 4711};
    unsigned steps;

    memset(runs, 0, sizeof(runs));
    world_begin(first.seed);
    setup(&first);
    world_kernel_tls(false, false, false);
    world_trouble = 0;
    world_dial(WORLD_DIAL_ACCEPT);
    peer_reset(first.client.peer); // its client is not wanted here
    for (unsigned i = 0; i < STALLED; i++) {
        establish(&runs[i], &first);
        for (steps = 0; steps < 50; steps++) {
            server_step(&runs[i]);
            stage_step(&first.stage);
            check(buffer_pool_used(first.stage.pool) <= buffer_pool_budget(first.stage.pool), &first,
                  "over the budget");
        }
    }
    establish(&honest, &first);
    for (steps = 0; honest.client.received < honest.server.to_send && steps < STEPS_MAX; steps++) {
        client_step(&honest);
        server_step(&honest);
        stage_step(&first.stage);
    }
    check(honest.client.received == honest.server.to_send, &first, "a client that reads was starved");
    proxy_stop(first.stage.proxy);
    proxy_drain(first.stage.proxy);
    finish(&first);
    for (unsigned i = 0; i < STALLED; i++)
        SSL_free(runs[i].client.ssl);
    SSL_free(honest.client.ssl);
    SSL_free(first.client.ssl);
    check(world_end(), &first, "something was left");
}

// A client that sends faster than it is read: its flow, which never finds a record's boundary at the end of a receive, works its way
// up to a huge buffer all the same, and gives it up when others need the memory.
static void test_upload_grows_and_shrinks(void **state)
{
    enum { UPLOAD = 12000000, TAKEN_MAX = 64 };

    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct run first = {.seed = seed, .pool_size = 16u << 20};
        struct run run = {.seed = seed};
        struct buffer *taken[TAKEN_MAX];
        unsigned taken_count = 0;
        unsigned steps;
        const struct flow *up;
        bool was_huge = false;
        bool has_shrunk = false;

        world_begin(seed);
        setup(&first);
        world_kernel_tls(false, false, false);
        world_trouble = 0;
        world_dial(WORLD_DIAL_ACCEPT);
        peer_reset(first.client.peer); // its client is not wanted here
        establish(&run, &first);
        for (steps = 0; proxy_connection_count(first.stage.proxy) != 1 && steps < STEPS_MAX; steps++)
            stage_step(&first.stage);
        up = &list_entry(first.stage.proxy->connections.next, struct connection, node)->up;
        peer_capacity(run.client.peer, 1 << 20, 1 << 20);
        run.client.to_send = UPLOAD;
        run.client.reads_slowly = run.server.reads_slowly = false;
        for (steps = 0; run.server.received < UPLOAD && steps < STEPS_MAX; steps++) {
            bool is_pressed = taken_count > 0;

            client_step(&run);
            server_step(&run);
            if (steps % 40 == 0)
                stage_step(&first.stage);
            if (!up->buffer || up->kept == 0)
                continue;
            was_huge = was_huge || (!is_pressed && up->buffer->class == BUFFER_HUGE);
            has_shrunk = has_shrunk || (is_pressed && up->buffer->class == BUFFER_LARGE);
            check(!has_shrunk || up->buffer->class != BUFFER_HUGE, &run, "grew although memory is short");
            while (was_huge && taken_count < TAKEN_MAX &&
                   buffer_pool_used(first.stage.pool) <= buffer_pool_budget(first.stage.pool) / 2)
                check((taken[taken_count++] = buffer_take(first.stage.pool, BUFFER_LARGE)) != NULL, &run,
                      "no memory");
        }
        check(run.server.received == UPLOAD, &run, "not everything arrived");
        check(was_huge && has_shrunk, &run, "the buffer didn't grow, or didn't shrink");
        while (taken_count > 0)
            buffer_give(first.stage.pool, taken[--taken_count]);
        proxy_stop(first.stage.proxy);
        proxy_drain(first.stage.proxy);
        finish(&first);
        SSL_free(run.client.ssl);
        SSL_free(first.client.ssl);
        check(world_end(), &first, "something was left");
    }
}

// A client whose accept is done, and not heard of yet, when the word to stop comes: it is turned away, and nobody waits for it.
static void test_stop_meets_an_accept(void **state)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct run run = {.seed = seed};
        uint64_t began_ns;

        world_begin(seed);
        setup(&run); // with a client in the queue
        world_trouble = 0;
        for (int i = 0; i < 10; i++)
            (void)ring_wait(run.stage.ring, 0);
        proxy_stop(run.stage.proxy);
        began_ns = world_now_ns();
        for (unsigned steps = 0; !proxy_idle(run.stage.proxy) && steps < 1000; steps++)
            stage_step(&run.stage);
        check(proxy_idle(run.stage.proxy) && world_now_ns() - began_ns < CLOCK_NS_PER_S, &run,
              "it does not stop at once");
        close_stage(&run);
        SSL_free(run.client.ssl);
        check(world_end(), &run, "something was left");
    }
}

static unsigned list_length(const struct list *list)
{
    unsigned length = 0;

    for (const struct list *node = list->next; node != list; node = node->next)
        length++;
    return length;
}

// A crowd that says hello at once doesn't hold up who is there already: in each turn one of them gets on, and all in the end.
static void test_crowd_takes_turns(void **state)
{
    enum { CROWD = 60 };
    static struct run crowd[CROWD];
    struct run first = {.seed = 99};
    struct run standing = {.seed = 99};
    unsigned longest = 0;
    unsigned greeted = 0;
    size_t received;
    unsigned steps;

    memset(crowd, 0, sizeof(crowd));
    world_begin(first.seed);
    setup(&first);
    world_trouble = 0;
    world_dial(WORLD_DIAL_ACCEPT);
    peer_reset(first.client.peer); // its client is not wanted here
    establish(&standing, &first);
    received = standing.client.received;
    for (unsigned i = 0; i < CROWD; i++) {
        crowd[i].seed = first.seed;
        setup_client(&crowd[i]);
        crowd[i].client.peer = world_connect(STAGE_LISTENER);
        peer_capacity(crowd[i].client.peer, 1 << 20, 1 << 20);
        (void)SSL_do_handshake(crowd[i].client.ssl);
        client_pump_out(&crowd[i].client);
    }
    for (steps = 0; greeted < CROWD && steps < STEPS_MAX; steps++) {
        unsigned waiting;

        client_step(&standing);
        server_step(&standing);
        stage_turn(&first.stage);
        waiting = list_length(&first.stage.proxy->hellos);
        longest = waiting > longest ? waiting : longest;
        proxy_tick(first.stage.proxy, world_now_ns());
        check(list_length(&first.stage.proxy->hellos) + 1 == waiting || waiting == 0, &first,
              "more than one handshake, or none, got on in a turn");
        greeted += waiting > 0;
    }
    check(greeted == CROWD && longest > 1, &first, "the crowd did not wait, or waits for ever");
    check(standing.client.received > received, &first, "who was there got nothing meanwhile");
    proxy_stop(first.stage.proxy); // some wait for their turn again
    finish(&first);
    for (unsigned i = 0; i < CROWD; i++)
        SSL_free(crowd[i].client.ssl);
    SSL_free(standing.client.ssl);
    SSL_free(first.client.ssl);
    check(world_end(), &first, "something was left");
}

// Connections under a retired certificate go on until their time is over, and then end.
static void test_retired(void **state)
{
    struct run first = {.seed = 42};
    struct run second = {.seed = 42};
    struct change change = {0};
    uint64_t deadline_ns;
    unsigned steps;

    world_begin(first.seed);
    setup(&first);
    world_trouble = 0;
    world_dial(WORLD_DIAL_ACCEPT);
    peer_reset(first.client.peer); // its client is not wanted here
    establish(&second, &first);
    for (steps = 0;
         (proxy_connection_count(first.stage.proxy) != 1 || second.client.received == 0) && steps < STEPS_MAX;
         steps++) {
        client_step(&second);
        server_step(&second);
        stage_step(&first.stage);
    }
    second.client.reads_slowly = true;
    change_retire(&change, &certificate->id, 1);
    assert_int_equal(material_apply(material, change.data, change.size), 0);
    change_finish(&change);
    deadline_ns = world_now_ns() + CLOCK_NS_PER_S;
    proxy_drain_retired(first.stage.proxy, CLOCK_NS_PER_S);
    while (world_now_ns() + 100 * CLOCK_NS_PER_MS < deadline_ns) {
        stage_step(&first.stage);
        check(proxy_connection_count(first.stage.proxy) == 1, &first, "ended before its time");
    }
    for (steps = 0; proxy_connection_count(first.stage.proxy) > 0 && steps < STEPS_MAX; steps++)
        stage_step(&first.stage);
    check(world_now_ns() >= deadline_ns, &first, "ended too early");
    check(world_now_ns() < deadline_ns + 10 * CLOCK_NS_PER_S, &first, "a retired connection goes on");
    proxy_stop(first.stage.proxy);
    finish(&first);
    SSL_free(second.client.ssl);
    SSL_free(first.client.ssl);
    check(world_end(), &first, "something was left");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seeds), cmocka_unit_test(test_stalled_readers),
        cmocka_unit_test(test_upload_grows_and_shrinks),
        cmocka_unit_test(test_stop_meets_an_accept),
        cmocka_unit_test(test_crowd_takes_turns),
        cmocka_unit_test(test_retired), // the last: its certificate stays retired
    };
    struct tls_context_options options;
    struct report report;

    report_init(&report, NULL);
    if (record_init() < 0 ||
        config_quick("127.0.0.1:1", "127.0.0.1:2", NULL, NULL, &tls_config, &report) < 0 ||
        !stage_material(&report, &certificate, &material))
        return 1;
    options = (struct tls_context_options){.config = tls_config, .material = material, .keylog = -1};
    if (tls_context_create(&options, &context) < 0)
        return 1;
    log_setup(LOG_TEXT, getenv("RINGBOLT_SIM_SEED") ? LOG_DEBUG : LOG_ERROR, 2);
    client_context = SSL_CTX_new(TLS_client_method());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
