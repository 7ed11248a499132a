// SPDX-License-Identifier: Apache-2.0
// Connections that are moved between two proxies, back and forth, at any moment: plain and TLS on both sides, relayed here and by the
// simulated kernel. What is asked of every run is what is asked of connections that stay: each side reads an exact prefix of what the other
// sent; all of it and an orderly end when both were orderly; and nothing is left in the end, on either side.
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
#include "side.h"
#include "src/proxy/carry.h"
#include "src/proxy/connection.h"
#include "src/tls/change.h"
#include "stage.h"
#include "towards.h"

#define BYTES_MAX 400000
#define STEPS_MAX 200000
#define HEADER    "Strict-Transport-Security: max-age=300\r\n"

struct talk {
    size_t to_send, sent, received;
};

struct run;

#define SLOTS 3

// What the master holds of a worker.
struct vault {
    struct deposit slots[SLOTS];
    int held[SLOTS][2]; // -1: nothing
    int fds[SLOTS][2];  // what the worker was given at its start
};

// One of the two workers.
struct worker {
    struct run *run;
    struct vault vault;
    struct config config;
    struct config_listener listener;
    struct config_upstream upstream;
    struct config_server server;
    struct stage stage;
};

struct run {
    uint64_t seed;
    struct worker workers[2];
    struct side client, server;
    struct talk down, up; // as their receivers have them
    bool updates_keys, has_header, header_is_read;
    bool client_resets, server_resets;
    size_t resets_at;
    bool is_silent, has_hsts;
    unsigned moves_percent;
    unsigned deaths_percent;
    bool was_cut; // by the death of a worker that was busy with it; or may be, because of it
    unsigned died;
    unsigned silences;        // steps that nobody says anything
    uint64_t accepted, ended; // in workers that died
    struct connection *resting; // one that is coming to rest, or is at rest
    struct worker *rests_at;
    bool is_at_rest;
    unsigned stays; // steps that it stays at rest
    unsigned moved;
    unsigned steps_without; // a connection
};

static struct material *material;
static struct tls_context *context, *towards;
static struct config *tls_config;
static struct certificate *certificate;
static SSL_CTX *client_context, *server_context;

// What the seeds have come across, so that they are known to test something.
static struct {
    unsigned long moved, refused, broken_off, resumed, left, orderly;
    unsigned long survived, cut;
    unsigned long sending, ready, kept, kernel, controls, half_closed, failed, headers, idle, parts;
} seen;

static void check(bool good, const struct run *run, const char *what)
{
    if (!good)
        fail_msg("seed %llu: %s", (unsigned long long)run->seed, what);
}

static uint8_t pattern(size_t at, uint8_t salt)
{
    return (uint8_t)(at * 131 + (at >> 8) * 7 + salt);
}

static size_t random_size(void)
{
    static const size_t scale[] = {2, 200, 5000, 20000, 100000, BYTES_MAX};

    return world_below(scale[world_below(6)]);
}

static size_t padding(SSL *ssl, int type, size_t length, void *argument)
{
    return world_below(3) == 0 ? world_below(200) : 0;
}

// ---- the world ----

static struct run *running;

static void let_go(int held[2], bool reset)
{
    socket_close(held[0], reset);
    socket_close(held[1], reset);
    held[0] = held[1] = -1;
}

// The channel of worker i is descriptor i.
static void hear_deposit(int fd, const void *data, size_t size, const int *fds, size_t fd_count)
{
    struct vault *vault = &running->workers[fd].vault;
    const struct deposit_message *message = data;

    check(size == sizeof(*message) && message->count > 0, running, "no message to the master");
    for (uint32_t i = 0; i < message->count; i++) {
        int *held = vault->held[message->slots[i]];

        check(message->slots[i] < SLOTS && (held[0] < 0) == (message->type == DEPOSIT_KEEP), running, "a slot is taken, or is not");
        if (message->type == DEPOSIT_KEEP) {
            check(fd_count == 2, running, "no sockets");
            memcpy(held, fds, sizeof(vault->held[0]));
            continue;
        }
        let_go(held, false);
    }
}

// It ends, and what the master still has is what it was not told of: its channel was full.
static void empty_vault(struct worker *worker)
{
    struct vault *vault = &worker->vault;
    unsigned held = 0;

    for (unsigned i = 0; i < SLOTS; i++) {
        if (vault->held[i][0] < 0)
            continue;
        held++;
        let_go(vault->held[i], false);
    }
    check(held == worker->stage.proxy->deposits.dropped_count, worker->run, "the master was not told all");
}

static void open_stage(struct worker *worker)
{
    struct vault *vault = &worker->vault;
    struct deposit_room room = {
        .slots = vault->slots, .count = SLOTS, .channel = (int)(worker - worker->run->workers), .fds = vault->fds};

    memcpy(vault->fds, vault->held, sizeof(vault->held));
    for (unsigned i = 0; i < SLOTS; i++) {
        if (vault->held[i][0] >= 0) {
            world_pass(vault->held[i][0]);
            world_pass(vault->held[i][1]);
        }
    }
    stage_open_revived(&worker->stage, &worker->config, 4u << 20, &context,
                       worker->upstream.tls.is_on ? &towards : NULL, material, &room);
    worker->stage.hands_over = true;
}

static void open_worker(struct run *run, struct worker *worker, bool is_client_plain, bool is_server_plain)
{
    static const enum config_ktls modes[] = {CONFIG_KTLS_AUTO, CONFIG_KTLS_AUTO, CONFIG_KTLS_OFF};

    worker->run = run;
    worker->server =
        (struct config_server){.address.text = (char *)"server", .weight = 1, .max_connections = 1};
    worker->upstream =
        (struct config_upstream){.name = (char *)"app", .servers = &worker->server, .server_count = 1};
    if (!is_server_plain)
        worker->upstream.tls = tls_config->upstreams[0].tls;
    if (run->has_header)
        worker->upstream.proxy.mode = CONFIG_PROXY_OUT_V1;
    worker->listener = (struct config_listener){.name = (char *)"test", .is_plain = is_client_plain};
    worker->listener.hsts = run->has_hsts ? (char *)HEADER : NULL;
    worker->config = (struct config){
        .workers = 1,
        .listeners = &worker->listener,
        .listener_count = 1,
        .upstreams = &worker->upstream,
        .upstream_count = 1,
        .log = {.access = getenv("RINGBOLT_SIM_SEED") != NULL, .sample = 1},
        .limits = {.connections = 100, .memory = 4u << 20, .connections_per_client = 1},
        .timeouts = {.handshake_ns = 10 * CLOCK_NS_PER_S,
                     .connect_ns = CLOCK_NS_PER_S,
                     .idle_ns = 300 * CLOCK_NS_PER_S,
                     .half_closed_ns = 300 * CLOCK_NS_PER_S},
        .ktls = {.transmit = modes[world_below(3)],
                 .receive = modes[world_below(3)],
                 .offload_after = world_chance(50) ? 0 : random_size()},
    };
    worker->config.limits.client_network.ipv4 = 32;
    worker->config.limits.client_network.ipv6 = 64;
    memset(worker->vault.held, -1, sizeof(worker->vault.held));
    open_stage(worker);
}

static void setup(struct run *run)
{
    static const char *const suites[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                         "TLS_CHACHA20_POLY1305_SHA256"};
    static const char *const ciphers[] = {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
                                          "ECDHE-ECDSA-CHACHA20-POLY1305"};
    bool is_client_plain = world_chance(25);
    bool is_server_plain = world_chance(50);
    bool is_tls13 = world_chance(60);
    bool rekeys = world_chance(60);

    world_kernel_tls(world_chance(50), world_chance(50), rekeys);
    run->has_header = world_chance(20);
    running = run;
    world_send_by(hear_deposit);
    for (unsigned i = 0; i < 2; i++)
        open_worker(run, &run->workers[i], is_client_plain, is_server_plain);
    world_dial(WORLD_DIAL_ACCEPT);
    side_open(&run->client, is_client_plain ? NULL : client_context, false);
    side_open(&run->server, is_server_plain ? NULL : server_context, true);
    if (run->client.ssl) {
        unsigned which = (unsigned)world_below(3);

        SSL_set_ciphersuites(run->client.ssl, suites[which]);
        SSL_set_cipher_list(run->client.ssl, ciphers[which]);
        SSL_set_max_proto_version(run->client.ssl, is_tls13 ? TLS1_3_VERSION : TLS1_2_VERSION);
        if (is_tls13 && world_chance(50))
            SSL_set_record_padding_callback(run->client.ssl, padding);
    }
    if (run->server.ssl)
        SSL_set_max_proto_version(run->server.ssl, world_chance(60) ? TLS1_3_VERSION : TLS1_2_VERSION);
    run->updates_keys =
        (rekeys || (world_probe.error[1][0][0] && world_probe.error[1][0][1])) && world_chance(40);
    run->down.to_send = random_size();
    run->up.to_send = random_size();
    run->client.reads_slowly = world_chance(30);
    run->server.reads_slowly = world_chance(30);
    run->client_resets = world_chance(10);
    run->server_resets = !run->client_resets && world_chance(10);
    run->resets_at = world_below(BYTES_MAX);
    run->moves_percent = world_chance(30) ? 70 : 1 + (unsigned)world_below(30);
    run->client.peer = world_connect(STAGE_LISTENER);
    if (world_chance(60))
        peer_capacity(run->client.peer, 20000 + world_below(100000), 20000 + world_below(100000));
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

static void say(struct run *run, struct side *side, struct talk *talk, uint8_t salt)
{
    uint8_t data[16384];
    size_t length = talk->to_send - talk->sent < sizeof(data) ? talk->to_send - talk->sent : sizeof(data);

    if (length == 0 || !side_may_write(side) || world_chance(40))
        return;
    if (run->updates_keys && side->ssl && SSL_version(side->ssl) == TLS1_3_VERSION && world_chance(10))
        SSL_key_update(side->ssl, world_chance(50) ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
    length = 1 + world_below(length);
    for (size_t i = 0; i < length; i++)
        data[i] = pattern(talk->sent + i, salt);
    talk->sent += side_write(side, data, length);
}

// Says its end when it has said all, in the way that it has.
static void leave(struct side *side, const struct talk *talk)
{
    if (!side->ssl && talk->sent == talk->to_send && side_is_drained(side) && !side->has_left) {
        side->has_closed = true;
        side_leave(side);
    } else if (side->ssl && side->is_handshaken && !side->has_closed && talk->sent == talk->to_send) {
        side_finish(side);
    } else if (side->ssl && side_is_over(side)) {
        side_leave(side);
    }
}

static void side_go_on(struct run *run, struct side *side, struct talk *in, uint8_t in_salt, struct talk *out,
                       uint8_t out_salt, bool resets)
{
    if (side->has_left && resets && !side->has_closed)
        return;
    side_step(side);
    if (run->is_silent || run->silences > 0)
        return;
    hear(run, side, in, in_salt);
    say(run, side, out, out_salt);
    if (resets && (side->is_handshaken || !side->ssl) && !side->has_left &&
        out->sent + in->received >= run->resets_at && world_chance(20)) {
        side_reset(side);
        return;
    }
    leave(side, out);
}

static void sides_step(struct run *run)
{
    side_go_on(run, &run->client, &run->down, 99, &run->up, 1, run->client_resets);
    if (!run->server.peer)
        run->server.peer = world_dialled();
    if (run->server.peer && (!run->has_header || side_skip_line(&run->server, &run->header_is_read)))
        side_go_on(run, &run->server, &run->up, 1, &run->down, 99, run->server_resets);
}

// ---- moving ----

static void note_endpoint(const struct endpoint *endpoint)
{
    seen.kernel += endpoint->receive_mode == ENDPOINT_KERNEL || endpoint->transmit_mode == ENDPOINT_KERNEL;
    seen.controls += endpoint->sending != ENDPOINT_SENDS_NOTHING;
}

static void note_flow(const struct flow *flow)
{
    seen.sending += flow->state == FLOW_SENDING;
    seen.ready += flow->state == FLOW_READY;
    seen.failed += flow->state == FLOW_FAILED;
    seen.kept += flow->buffer && flow->kept > 0;
    seen.parts += flow->state == FLOW_SENDING && flow->buffer->piece_count > 1;
    seen.idle += flow->state == FLOW_WAITING && !flow->buffer;
}

static void note(const struct connection *connection)
{
    note_endpoint(&connection->client);
    note_endpoint(&connection->server);
    note_flow(&connection->up);
    note_flow(&connection->down);
    seen.half_closed += connection->is_half_closed;
    seen.headers += connection->header != NULL;
}

static struct worker *other_of(struct worker *worker)
{
    return worker == &worker->run->workers[0] ? &worker->run->workers[1] : &worker->run->workers[0];
}

static void resume(struct worker *worker, struct connection *connection)
{
    proxy_time(worker->stage.proxy, world_now_ns());
    connection_resume(connection);
}

// A connection as bytes is the same as before, once it was bytes.
static void check_same(const struct run *run, const struct carried *before,
                       const struct connection *connection)
{
    struct carried after;

    check(carry_pack(connection, &after) == 0, run, "no memory");
    check(after.size == before->size, run, "it is not what it was");
    carried_finish(&after);
}

static void move(struct worker *from, struct connection *connection)
{
    struct run *run = from->run;
    struct worker *to = other_of(from);
    struct carried carried;
    struct connection *there = NULL;
    const char *why = NULL;
    uint64_t id = connection->id;
    uint64_t unique = connection->unique;

    note(connection);
    check(carry_pack(connection, &carried) == 0, run, "no memory");
    if (world_chance(10)) { // cut, and refused
        size_t size = world_below(carried.size);

        check(carry_read(to->stage.proxy, carried.bytes, size, carried.fds, &there, &why) < 0 && why, run,
              "half a connection was taken");
        seen.refused++;
        carried_finish(&carried);
        resume(from, connection);
        return;
    }
    proxy_time(to->stage.proxy, world_now_ns());
    if (carry_read(to->stage.proxy, carried.bytes, carried.size, carried.fds, &there, &why) < 0)
        fail_msg("seed %llu: refused: %s", (unsigned long long)run->seed, why);
    world_pass(carried.fds[0]);
    world_pass(carried.fds[1]);
    check_same(run, &carried, there);
    carried_finish(&carried);
    if (world_chance(15)) { // adopted, and never told to begin
        resume(from, connection);
        connection_release(there);
        seen.broken_off++;
        return;
    }
    check(there->id == id && there->unique == unique, run, "another connection");
    connection_release(connection);
    resume(to, there);
    seen.moved++;
    run->moved++;
}

static void rested(struct connection *connection, void *data, bool is_at_rest)
{
    struct worker *worker = data;
    struct run *run = worker->run;

    check(run->resting == connection && !run->is_at_rest, run, "told twice, or of another one");
    if (is_at_rest) {
        run->is_at_rest = true;
        run->stays = world_chance(70) ? 0 : (unsigned)world_below(20);
    } else {
        run->resting = NULL;
        seen.left++;
    }
}

static struct connection *find(struct worker *worker)
{
    struct proxy *proxy = worker->stage.proxy;

    return list_empty(&proxy->connections) ? NULL
                                           : list_entry(proxy->connections.next, struct connection, node);
}

static void move_step(struct run *run)
{
    if (run->resting && run->is_at_rest && run->stays-- == 0) {
        struct connection *connection = run->resting;

        run->resting = NULL;
        run->is_at_rest = false;
        if (world_chance(10)) {
            seen.resumed++;
            resume(run->rests_at, connection);
        } else {
            move(run->rests_at, connection);
        }
        return;
    }
    if (run->resting && !run->is_at_rest && world_chance(2)) { // never mind
        struct connection *connection = run->resting;

        run->resting = NULL;
        seen.resumed++;
        resume(run->rests_at, connection);
        return;
    }
    if (run->resting || !world_chance(run->moves_percent))
        return;
    for (unsigned i = 0; i < 2; i++) {
        struct worker *worker = &run->workers[i];
        struct connection *connection = find(worker);

        if (!connection || !connection_can_move(connection))
            continue;
        run->resting = connection;
        run->rests_at = worker;
        proxy_time(worker->stage.proxy, world_now_ns());
        connection_rest(connection, rested, worker);
        return;
    }
}

// ---- dying ----

static void check_bare(const struct run *run, const struct vault *vault, const struct endpoint *endpoint)
{
    const struct record_keys *keys = &endpoint->transmit.keys;

    for (unsigned i = 0; i < SLOTS && keys->key[0] != 0; i++)
        check(!memmem(vault->slots[i].bytes, sizeof(vault->slots[i].bytes), keys->key, record_cipher_key_size(keys->cipher)),
              run, "a key is in a slot");
}

// What the worker says of its connections is what it last said; what it did afterwards it has not done.
static void die(struct worker *worker)
{
    struct run *run = worker->run;
    struct vault *vault = &worker->vault;
    struct connection *connection = find(worker);
    bool survives = connection && connection->is_asleep;
    uint32_t sizes[SLOTS];

    for (unsigned i = 0; i < SLOTS; i++)
        sizes[i] = vault->slots[i].size;
    if (run->resting && run->rests_at == worker) {
        run->resting = NULL;
        run->is_at_rest = false;
    }
    if (survives) {
        check_bare(run, vault, &connection->client);
        check_bare(run, vault, &connection->server);
    }
    stage_kill(&worker->stage);
    (void)stage_close(&worker->stage);
    run->accepted += worker->stage.counted.accepted;
    run->ended += worker->stage.ended + (connection && !survives);
    for (unsigned i = 0; i < SLOTS; i++) {
        vault->slots[i].size = sizes[i];
        if (vault->held[i][0] < 0 || sizes[i] > 0)
            continue;
        let_go(vault->held[i], true);
    }
    open_stage(worker);
    check(proxy_connection_count(worker->stage.proxy) == survives, run, "it survives, or does not");
    seen.survived += survives;
    seen.cut += connection && !survives;
    run->was_cut |= connection && (!survives || run->updates_keys); // the next keys can't be made any more
    run->died++;
}

static void death_step(struct run *run)
{
    if (run->deaths_percent == 0)
        return;
    if (run->silences > 0)
        run->silences--;
    else if (world_chance(4))
        run->silences = 20 + (unsigned)world_below(150);
    for (unsigned i = 0; i < 2; i++) {
        struct worker *worker = &run->workers[i];
        struct connection *connection = find(worker);

        // One that is busy is hardly ever chosen: most should live to see a second death.
        if (connection && connection->state == CONNECTION_RELAY && !worker->stage.proxy->is_draining &&
            world_chance(run->deaths_percent) && (connection->is_asleep || (!run->is_silent && world_chance(3))))
            die(worker);
    }
}

// ---- a run ----

static unsigned count(const struct run *run)
{
    return proxy_connection_count(run->workers[0].stage.proxy) +
           proxy_connection_count(run->workers[1].stage.proxy);
}

// A client that came and left at once is still to be accepted.
static bool is_over(struct run *run)
{
    run->steps_without = count(run) == 0 ? run->steps_without + 1 : 0;
    return (run->server.peer || run->steps_without > 100) && run->steps_without > 0 &&
           (run->client.saw_end || run->client.saw_reset || run->client.has_left || run->was_cut); // in the midst of a record, perhaps
}

static void check_outcome(const struct run *run)
{
    const struct side *client = &run->client, *server = &run->server;
    bool client_heard = client->ssl ? client->saw_close_notify : client->saw_end;
    bool server_heard = server->ssl ? server->saw_close_notify : server->saw_end;
    bool is_complete = client_heard && server_heard && run->down.received == run->down.to_send &&
                       run->up.received == run->up.to_send && !client->saw_error && !server->saw_error;
    bool is_orderly = !run->client_resets && !run->server_resets && !run->was_cut;

    if (getenv("RINGBOLT_SIM_SEED") || (is_orderly && !is_complete))
        print_message(
            "# moved %u died %u; client: tls %d handshaken %d close_notify %d error %d end %d reset %d left %d; "
            "server: tls %d "
            "handshaken %d close_notify %d error %d end %d reset %d left %d; down %zu/%zu/%zu up %zu/%zu/%zu "
            "trouble %u\n",
            run->moved, run->died, client->ssl != NULL, client->is_handshaken, client->saw_close_notify,
            client->saw_error, client->saw_end, client->saw_reset, client->has_left, server->ssl != NULL,
            server->is_handshaken, server->saw_close_notify, server->saw_error, server->saw_end,
            server->saw_reset, server->has_left, run->down.received, run->down.sent, run->down.to_send,
            run->up.received, run->up.sent, run->up.to_send, world_trouble);
    check(run->down.received <= run->down.sent && run->up.received <= run->up.sent, run,
          "more came than was sent");
    if (is_orderly)
        check(is_complete, run, "both were orderly and something is missing");
    if (client_heard && !client->saw_reset && is_orderly)
        check(run->down.received == run->down.to_send, run,
              "the client saw an orderly end before everything was there");
    if (server_heard && !server->saw_reset && is_orderly)
        check(run->up.received == run->up.to_send, run,
              "the server saw an orderly end before everything was there");
    seen.orderly += is_complete;
}

static void close_workers(struct run *run)
{
    uint64_t accepted = run->accepted;
    uint64_t ended = run->ended;

    for (unsigned i = 0; i < 2; i++) {
        struct stage *stage = &run->workers[i].stage;
        const char *left;

        empty_vault(&run->workers[i]);
        left = stage_close(stage);
        check(!left, run, left);
        accepted += stage->counted.accepted;
        ended += stage->ended;
    }
    check(accepted == 1 && ended == 1, run, "a connection was counted otherwise than once");
}

static void step(struct run *run)
{
    sides_step(run);
    stage_step(&run->workers[0].stage);
    stage_step(&run->workers[1].stage);
    move_step(run);
    death_step(run);
}

static void run_seed(uint64_t seed)
{
    static struct run run;
    unsigned trouble;
    unsigned steps = 0;

    run = (struct run){.seed = seed};
    world_begin(seed);
    setup(&run);
    if (world_chance(50)) {
        run.moves_percent = world_chance(50) ? 0 : 1;
        run.deaths_percent = 1 + (unsigned)world_below(3);
    }
    trouble = world_chance(60) ? 0 : (unsigned)world_below(6);
    while (!is_over(&run) && steps++ < STEPS_MAX) {
        step(&run);
        if (run.server.peer && (run.server.is_handshaken || !run.server.ssl) && world_trouble == 0)
            world_trouble = trouble; // before, it would only fail the dialling
    }
    check(steps < STEPS_MAX, &run, "it does not come to an end");
    run.deaths_percent = run.silences = 0;
    for (int i = 0; i < 2000 && !(run.client.saw_end && run.server.saw_end); i++) // what was still on its way
        sides_step(&run);
    for (unsigned i = 0; i < 2; i++)
        proxy_drain(run.workers[i].stage.proxy);
    for (steps = 0; steps < STEPS_MAX &&
                    !(proxy_idle(run.workers[0].stage.proxy) && proxy_idle(run.workers[1].stage.proxy));
         steps++)
        step(&run);
    check_outcome(&run);
    close_workers(&run);
    side_close(&run.client);
    side_close(&run.server);
    check(world_end(), &run, "something was left");
}

// Until both have shaken hands, and all that was on its way has arrived.
static void establish(struct run *run)
{
    unsigned steps = 0;

    run->is_silent = true;
    while (steps++ < STEPS_MAX && (!run->server.peer || (run->client.ssl && !run->client.is_handshaken) ||
                                   (run->server.ssl && !run->server.is_handshaken)))
        step(run);
    for (int i = 0; i < 20; i++)
        step(run);
    check(count(run) == 1, run, "there is no connection");
}

static void finish(struct run *run)
{
    unsigned steps = 0;

    for (unsigned i = 0; i < 2; i++)
        proxy_stop(run->workers[i].stage.proxy);
    while (steps++ < STEPS_MAX &&
           !(proxy_idle(run->workers[0].stage.proxy) && proxy_idle(run->workers[1].stage.proxy)))
        step(run);
    check(steps < STEPS_MAX, run, "it does not stop");
    for (unsigned i = 0; i < 2; i++) {
        const char *left;

        empty_vault(&run->workers[i]);
        left = stage_close(&run->workers[i].stage);
        check(!left, run, left);
    }
    side_close(&run->client);
    side_close(&run->server);
    check(world_end(), run, "something was left");
}

// Both are told to stop while it is being moved: it ends, wherever it is.
static void test_stop(void **state)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        static struct run run;

        run = (struct run){.seed = seed};
        world_begin(seed);
        setup(&run);
        run.moves_percent = 70;
        for (uint64_t steps = world_below(400); steps > 0; steps--)
            step(&run);
        finish(&run);
    }
}

// Silence is counted from the last byte, however often it is moved, or its worker dies, meanwhile.
static void test_idle(void **state)
{
    unsigned died = 0;

    for (uint64_t seed = 1; seed <= 50; seed++) {
        static struct run run;
        uint64_t began_ns;
        unsigned steps = 0;

        run = (struct run){.seed = seed};
        world_begin(seed);
        setup(&run);
        run.moves_percent = 0;
        establish(&run);
        began_ns = world_now_ns();
        run.moves_percent = seed % 2 == 0 ? 30 : 1;
        run.deaths_percent = 2;
        while (count(&run) == 1 && steps++ < STEPS_MAX)
            step(&run);
        check(world_now_ns() - began_ns > 290 * CLOCK_NS_PER_S &&
                  world_now_ns() - began_ns < 310 * CLOCK_NS_PER_S,
              &run, "it ended too early, or too late");
        check(seed % 2 != 0 || run.moved > 100, &run, "it was not moved");
        died += run.died;
        finish(&run);
    }
    assert_true(died > 50);
}

static void move_often(struct run *run)
{
    unsigned moved = run->moved;

    run->moves_percent = 50;
    for (unsigned steps = 0; run->moved < moved + 3 && steps < 1000; steps++)
        step(run);
    check(run->moved >= moved + 3, run, "it was not moved");
    run->moves_percent = 0;
    for (unsigned steps = 0; run->resting && steps < 1000; steps++)
        step(run);
}

// Until the client has heard exactly this.
static void expect(struct run *run, const char *text)
{
    uint8_t heard[1000];
    size_t length = 0;

    for (unsigned steps = 0; length < strlen(text) && steps < 2000; steps++) {
        step(run);
        length += side_read(&run->client, heard + length, sizeof(heard) - length);
    }
    check(length == strlen(text) && memcmp(heard, text, length) == 0, run, "the client heard something else");
}

static bool can_move(struct run *run)
{
    for (unsigned i = 0; i < 2; i++) {
        struct connection *connection = find(&run->workers[i]);

        if (connection && connection_can_move(connection))
            return true;
    }
    return false;
}

// The header of Strict-Transport-Security comes in its place although the connection was moved before the response began; in the midst of its
// head it stays where it is.
static void test_hsts(void **state)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        static struct run run;

        run = (struct run){.seed = seed, .has_hsts = true};
        world_begin(seed);
        setup(&run);
        run.moves_percent = 0;
        if (!run.client.ssl || run.server.ssl || run.has_header) {
            finish(&run);
            continue;
        }
        establish(&run);
        move_often(&run);
        BIO_puts(run.server.out, "HTTP/1.1 200 OK\r\nContent-");
        expect(&run, "HTTP/1.1 200 OK\r\nContent-");
        check(!can_move(&run), &run, "it can move in the midst of a head");
        BIO_puts(run.server.out, "Length: 1\r\n\r\nx");
        expect(&run, "Length: 1\r\n" HEADER "\r\nx");
        move_often(&run);
        BIO_puts(run.server.out, "HTTP/1.1 200 OK\r\n\r\n");
        expect(&run, "HTTP/1.1 200 OK\r\n\r\n");
        finish(&run);
    }
}

// A connection under a retired certificate ends when it was told to, wherever it is then; and not before.
static void test_retired(void **state)
{
    struct change change = {0};
    unsigned moved = 0;

    change_retire(&change, &certificate->id, 1);
    assert_int_equal(material_apply(material, change.data, change.size), 0);
    for (uint64_t seed = 1; seed <= 40; seed++) {
        static struct run run;
        uint64_t deadline_ns;
        unsigned steps = 0;

        run = (struct run){.seed = seed};
        world_begin(seed);
        setup(&run);
        for (unsigned i = 0; i < 2; i++) { // while they shake hands it is too early
            run.workers[i].config.shutdown_timeout_ns = 30 * CLOCK_NS_PER_S;
            proxy_drain_retired(run.workers[i].stage.proxy, 100 * CLOCK_NS_PER_S);
        }
        run.moves_percent = 0;
        if (!run.client.ssl) {
            finish(&run);
            continue;
        }
        establish(&run);
        deadline_ns = world_now_ns() + 2 * CLOCK_NS_PER_S;
        proxy_drain_retired(run.workers[find(&run.workers[0]) ? 0 : 1].stage.proxy, 2 * CLOCK_NS_PER_S);
        run.moves_percent = 20;
        while (count(&run) == 1 && steps++ < STEPS_MAX) {
            step(&run);
            check(world_now_ns() >= deadline_ns || count(&run) == 1, &run, "ended before its time");
        }
        check(world_now_ns() < deadline_ns + 10 * CLOCK_NS_PER_S, &run, "a retired connection goes on");
        moved += run.moved;
        finish(&run);
    }
    change_finish(&change);
    assert_true(moved > 100);
}

static void test_seeds(void **state)
{
    uint64_t last;

    memset(&seen, 0, sizeof(seen));
    last = stage_seeds(run_seed, 700);
    if (last == 0)
        return;
    print_message("# %llu seeds: moved %lu, refused %lu, broken off %lu, resumed %lu, left on their way %lu; "
                  "orderly %lu\n",
                  (unsigned long long)last, seen.moved, seen.refused, seen.broken_off, seen.resumed,
                  seen.left, seen.orderly);
    print_message("# workers died: survived %lu, cut %lu\n", seen.survived, seen.cut);
    print_message("# of those offered: sending %lu (in parts %lu), ready %lu, with part of a record %lu, in "
                  "the kernel %lu, "
                  "control records %lu, half-closed %lu, failed %lu, PROXY headers %lu, idle %lu\n",
                  seen.sending, seen.parts, seen.ready, seen.kept, seen.kernel, seen.controls,
                  seen.half_closed, seen.failed, seen.headers, seen.idle);
    assert_true(seen.orderly >= last / 2 && seen.moved >= 2 * last && seen.survived >= last / 20 && seen.cut > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop),    cmocka_unit_test(test_idle),
        cmocka_unit_test(test_hsts),    cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_retired), // the last: its certificate stays retired
    };
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
