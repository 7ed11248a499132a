// SPDX-License-Identifier: Apache-2.0
// DIAL in the simulated world: several servers that accept, refuse or say nothing, a crowd of clients, and what is asked of every run:
// a server never has more connections than it may, nobody is tried twice for one client, clients are served in the order they came,
// whoever can be served is, and no place is lost.
#include <netinet/in.h>
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
#include "src/proxy/connection.h"
#include "stage.h"
#include "world.h"

#define SERVERS_MAX  4
#define VISITORS_MAX 24
#define PEERS_MAX    256
#define STEPS_MAX    200000
#define SECOND       CLOCK_NS_PER_S

struct visitor {
    struct peer *peer;
    SSL *ssl;
    BIO *in, *out;
    bool is_handshaken, has_asked, has_answer, saw_error, has_left;
    bool stays;        // with its answer
    unsigned answered; // the how manieth it was
};

// What stands behind an address; the address' port is its number.
struct server {
    enum world_dial answer;
    unsigned attempts;
    struct peer *live[VISITORS_MAX];
    unsigned live_count, live_most;
    const struct peer *asked[PEERS_MAX]; // those that attempts were for
};

static struct config config;
static struct config_listener listener;
static struct config_upstream upstream;
static struct config_server server_configs[SERVERS_MAX];
static char server_names[SERVERS_MAX][32];
static struct server servers[SERVERS_MAX];
static struct visitor visitors[VISITORS_MAX];
static unsigned visitor_count, answer_count;
static struct stage stage;

static struct material *material;
static struct tls_context *context;
static struct certificate *certificate;
static struct config *tls_config;
static SSL_CTX *client_context;

// ---- servers ----

// Who hangs is asked again and again.
static void note_attempt(struct server *server, const struct peer *peer)
{
    for (unsigned i = 0; i < server->attempts; i++) {
        if (server->asked[i] == peer)
            return;
    }
    assert_true(server->attempts < PEERS_MAX);
    server->asked[server->attempts++] = peer;
}

static enum world_dial answer(const struct sockaddr *address, struct peer *peer)
{
    struct server *server = &servers[((const struct sockaddr_in *)(const void *)address)->sin_port];

    note_attempt(server, peer);
    if (server->answer == WORLD_DIAL_ACCEPT) {
        assert_true(server->live_count < VISITORS_MAX);
        server->live[server->live_count++] = peer;
        if (server->live_count > server->live_most)
            server->live_most = server->live_count;
    }
    return server->answer;
}

// Sends back what comes, and forgets who has gone.
static void server_step(struct server *server)
{
    char data[64];

    for (unsigned i = 0; i < server->live_count; i++) {
        struct peer *peer = server->live[i];
        size_t length = peer_read(peer, data, sizeof(data));

        if (peer_was_reset(peer) || peer_is_at_end(peer)) {
            if (!peer_was_reset(peer))
                peer_finish(peer);
            server->live[i--] = server->live[--server->live_count];
        } else if (length > 0) {
            assert_int_equal(peer_write(peer, data, length), length);
        }
    }
}

// ---- visitors ----

static struct visitor *arrive(void)
{
    struct visitor *visitor = &visitors[visitor_count++];

    assert_true(visitor_count <= VISITORS_MAX);
    visitor->ssl = SSL_new(client_context);
    visitor->in = BIO_new(BIO_s_mem());
    visitor->out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(visitor->in, -1);
    SSL_set_bio(visitor->ssl, visitor->in, visitor->out);
    SSL_set_connect_state(visitor->ssl);
    visitor->peer = world_connect(STAGE_LISTENER);
    return visitor;
}

static void pump(struct visitor *visitor)
{
    char data[8192];
    size_t length = peer_read(visitor->peer, data, sizeof(data));
    int pending;

    if (length > 0)
        BIO_write(visitor->in, data, (int)length);
    while ((pending = BIO_read(visitor->out, data, sizeof(data))) > 0)
        assert_int_equal(peer_write(visitor->peer, data, (size_t)pending), pending);
}

static void leave(struct visitor *visitor)
{
    if (visitor->has_left)
        return;
    if (!visitor->saw_error && visitor->is_handshaken)
        SSL_shutdown(visitor->ssl);
    ERR_clear_error();
    pump(visitor);
    peer_finish(visitor->peer);
    visitor->has_left = true;
}

static void note(struct visitor *visitor, int result)
{
    int error = SSL_get_error(visitor->ssl, result);

    if (result <= 0 && error != SSL_ERROR_WANT_READ)
        visitor->saw_error = true;
    ERR_clear_error();
}

static void visitor_step(struct visitor *visitor)
{
    char data[64];
    int result;

    if (visitor->has_left)
        return;
    pump(visitor);
    if (!visitor->is_handshaken) {
        result = SSL_do_handshake(visitor->ssl);
        visitor->is_handshaken = result == 1;
        note(visitor, result);
    } else if (!visitor->has_answer) {
        if (!visitor->has_asked)
            SSL_write(visitor->ssl, "hello", 5);
        visitor->has_asked = true;
        result = SSL_read(visitor->ssl, data, sizeof(data));
        note(visitor, result);
        if (result > 0) {
            visitor->has_answer = true;
            visitor->answered = ++answer_count;
        }
    }
    pump(visitor);
    if (visitor->saw_error || peer_was_reset(visitor->peer) || (visitor->has_answer && !visitor->stays))
        leave(visitor);
}

// ---- the run ----

// Servers that accept, with room for `most` each, and a queue.
static void prepare(uint64_t seed, size_t count, unsigned most, unsigned queue_size)
{
    world_begin(seed);
    world_kernel_tls(false, false, false);
    world_dial_by(answer);
    memset(servers, 0, sizeof(servers));
    memset(visitors, 0, sizeof(visitors));
    visitor_count = answer_count = 0;
    for (size_t i = 0; i < count; i++) {
        snprintf(server_names[i], sizeof(server_names[i]), "server-%zu", i);
        server_configs[i] =
            (struct config_server){.address.text = server_names[i], .weight = 1, .max_connections = most};
        ((struct sockaddr_in *)&server_configs[i].address.socket)->sin_port = (in_port_t)i;
    }
    upstream = (struct config_upstream){.name = (char *)"app",
                                        .servers = server_configs,
                                        .server_count = count,
                                        .health = {.max_fails = 3, .fail_timeout_ns = 1000 * SECOND},
                                        .queue = {.size = queue_size, .timeout_ns = 20 * SECOND}};
    listener = (struct config_listener){.name = (char *)"test"};
    config = (struct config){
        .workers = 2,
        .listeners = &listener,
        .listener_count = 1,
        .upstreams = &upstream,
        .upstream_count = 1,
        .limits = {.connections = 100, .memory = 1u << 20},
        .timeouts = {.handshake_ns = 1000 * SECOND,
                     .connect_ns = SECOND,
                     .idle_ns = 1000 * SECOND,
                     .half_closed_ns = 1000 * SECOND},
    };
}

static uint64_t failures_of(size_t server)
{
    struct stats_server sum;

    stats_sum_server(stage.stats, server, &sum);
    return stats_get(&sum.failures);
}

// Afterwards: all are of one name, the even ones at addresses of IPv4, the odd ones of IPv6, and the other family is tried beside one
// that has not answered for a tenth of a second.
static void prepare_families(void)
{
    static struct config_name name;

    name = (struct config_name){.text = (char *)"name", .count = upstream.server_count};
    for (size_t i = 0; i < upstream.server_count; i++) {
        server_configs[i].name = &name;
        server_configs[i].address.length = sizeof(struct sockaddr_in6);
        server_configs[i].address.socket.ss_family = i % 2 ? AF_INET6 : AF_INET;
    }
    upstream.names = &name;
    upstream.name_count = 1;
    upstream.resolve.attempt_delay_ns = SECOND / 10;
}

static void open_proxy(void)
{
    stage_open(&stage, &config, 2u << 20, &context, material);
}

static void step(void)
{
    for (unsigned i = 0; i < visitor_count; i++)
        visitor_step(&visitors[i]);
    for (size_t i = 0; i < upstream.server_count; i++)
        server_step(&servers[i]);
    stage_step(&stage);
    for (size_t i = 0; i < upstream.server_count; i++) {
        unsigned most = server_configs[i].max_connections;

        // The server may hear of an end a little later than we count it.
        assert_true(most == 0 || servers_live(stage.servers, i) <= most);
    }
}

#define step_until(condition)                                                                                \
    do {                                                                                                     \
        unsigned steps_ = 0;                                                                                 \
        while (!(condition) && steps_++ < STEPS_MAX)                                                         \
            step();                                                                                          \
        assert_true(condition);                                                                              \
    } while (0)

// The only connection that has come to its end, as the log would call it; its client was told and has not left.
static const char *end_of_any(void)
{
    for (struct list *node = stage.proxy->connections.next; node != &stage.proxy->connections;
         node = node->next) {
        const struct connection *connection = list_entry(node, struct connection, node);

        if (connection->end != END_NONE)
            return connection_end_text(connection->end);
    }
    return "none";
}

static void close_proxy(void)
{
    proxy_stop(stage.proxy);
    for (unsigned steps = 0; !proxy_idle(stage.proxy) && steps < STEPS_MAX; steps++) {
        stage_step(&stage);
        for (size_t i = 0; i < upstream.server_count; i++)
            server_step(&servers[i]);
    }
    assert_true(proxy_idle(stage.proxy));
    assert_null(stage_close(&stage));
    for (unsigned i = 0; i < visitor_count; i++)
        SSL_free(visitors[i].ssl);
    assert_true(world_end());
}

// ---- retry ----

// One refuses, one says nothing: everybody is served, and each of these was asked at most once for each.
static void test_next_server_is_tried(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        prepare(seed, 4, 0, 0);
        upstream.health.max_fails = 0;
        servers[0].answer = WORLD_DIAL_REFUSE;
        servers[1].answer = WORLD_DIAL_HANG;
        servers[2].answer = servers[3].answer = WORLD_DIAL_ACCEPT;
        open_proxy();
        for (unsigned i = 0; i < 12; i++)
            (void)arrive();
        step_until(answer_count == 12);
        assert_true(servers[0].attempts > 0 && servers[0].attempts <= 12);
        assert_true(servers[1].attempts > 0 && servers[1].attempts <= 12);
        assert_int_equal(servers[2].attempts + servers[3].attempts, 12);
        close_proxy();
    }
}

static void test_nobody_accepts(void **state)
{
    struct visitor *visitor;

    prepare(7, 4, 0, 0);
    for (size_t i = 0; i < 4; i++)
        servers[i].answer = i % 2 ? WORLD_DIAL_HANG : WORLD_DIAL_REFUSE;
    open_proxy();
    visitor = arrive();
    step_until(visitor->saw_error);
    assert_true(world_now_ns() >= 2 * SECOND); // those that hang had their time
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(servers[i].attempts, 1);
    close_proxy();
}

// One family says nothing, and there is all the time in the world: everybody is served by the other one, and that is no failure.
static void test_other_family(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        unsigned dead = seed % 2;

        prepare(seed, 2, 0, 0);
        prepare_families();
        config.timeouts.connect_ns = 900 * SECOND;
        upstream.health.fail_timeout_ns = seed % 3 * SECOND;
        servers[dead].answer = WORLD_DIAL_HANG;
        servers[!dead].answer = WORLD_DIAL_ACCEPT;
        open_proxy();
        for (unsigned i = 0; i < 8; i++)
            (void)arrive();
        step_until(answer_count == 8);
        assert_true(servers[dead].attempts > 0);
        assert_int_equal(servers[!dead].attempts, 8);
        step_until(servers_live(stage.servers, dead) == 0);
        assert_int_equal(failures_of(dead), 0);
        assert_true(world_now_ns() < 100 * SECOND);
        close_proxy();
    }
}

// The one that was late answers as it is overtaken, or just before: one of them has each connection, and no place is lost.
static void test_close_race(void **state)
{
    for (uint64_t seed = 1; seed <= 150; seed++) {
        prepare(seed, 2, 0, 0);
        prepare_families();
        servers[0].answer = servers[1].answer = WORLD_DIAL_HANG;
        open_proxy();
        for (unsigned i = 0; i < 6; i++)
            (void)arrive();
        for (unsigned steps = 0; steps < STEPS_MAX && answer_count < 6; steps++) {
            if (world_chance(2))
                servers[world_below(2)].answer = world_chance(50) ? WORLD_DIAL_ACCEPT : WORLD_DIAL_HANG;
            step();
            if (world_now_ns() > SECOND / 2)
                servers[seed % 2].answer = WORLD_DIAL_ACCEPT;
        }
        assert_int_equal(answer_count, 6);
        step_until(proxy_connection_count(stage.proxy) == 0);
        for (unsigned i = 0; i < 2; i++) {
            assert_int_equal(servers_live(stage.servers, i), 0);
            assert_int_equal(failures_of(i), 0);
        }
        close_proxy();
    }
}

// After three failures in a row nobody goes there any more.
static void test_out(void **state)
{
    prepare(3, 3, 0, 0);
    servers[1].answer = WORLD_DIAL_REFUSE;
    servers[0].answer = servers[2].answer = WORLD_DIAL_ACCEPT;
    open_proxy();
    for (unsigned i = 0; i < 20; i++) {
        (void)arrive();
        step_until(answer_count == i + 1);
    }
    assert_int_equal(servers[1].attempts, 3);
    assert_int_equal(servers[0].attempts + servers[2].attempts, 20);
    close_proxy();
}

// Nobody takes connections by command: said at once.
static void test_all_drained(void **state)
{
    struct visitor *visitor;

    prepare(4, 2, 0, 5);
    servers[0].answer = servers[1].answer = WORLD_DIAL_ACCEPT;
    open_proxy();
    servers_set_order(servers_state(stage.servers, 0), SERVERS_DRAIN, world_now_ns());
    servers_set_order(servers_state(stage.servers, 1), SERVERS_DOWN, world_now_ns());
    visitor = arrive();
    step_until(strcmp(end_of_any(), "server_unreachable") == 0);
    step_until(visitor->saw_error);
    assert_int_equal(servers[0].attempts + servers[1].attempts, 0);
    close_proxy();
}

// ---- the queue ----

static void test_queue_is_served_in_order(void **state)
{
    struct visitor *late;

    for (uint64_t seed = 1; seed <= 10; seed++) {
        prepare(seed, 1, 1, 5);
        servers[0].answer = WORLD_DIAL_ACCEPT;
        open_proxy();
        arrive()->stays = true;
        step_until(answer_count == 1);
        for (unsigned i = 0; i < 5; i++) {
            (void)arrive();
            step_until(servers_queue_length(stage.servers, 0) == i + 1);
        }
        late = arrive();
        step_until(strcmp(end_of_any(), "servers_full") == 0);
        step_until(late->saw_error);
        assert_int_equal(answer_count, 1);
        leave(&visitors[0]);
        step_until(answer_count == 6);
        for (unsigned i = 0; i < 6; i++)
            assert_int_equal(visitors[i].answered, i + 1);
        assert_int_equal(servers[0].live_most, 1);
        close_proxy();
    }
}

static void test_full_without_a_queue(void **state)
{
    struct visitor *visitor;

    prepare(5, 2, 1, 0);
    servers[0].answer = servers[1].answer = WORLD_DIAL_ACCEPT;
    open_proxy();
    for (unsigned i = 0; i < 2; i++) {
        arrive()->stays = true;
        step_until(answer_count == i + 1);
    }
    visitor = arrive();
    step_until(strcmp(end_of_any(), "servers_full") == 0);
    step_until(visitor->saw_error);
    close_proxy();
}

static void test_queue_timeout(void **state)
{
    struct visitor *visitor;
    uint64_t began_ns;

    prepare(6, 1, 1, 5);
    servers[0].answer = WORLD_DIAL_ACCEPT;
    open_proxy();
    arrive()->stays = true;
    step_until(answer_count == 1);
    visitor = arrive();
    step_until(servers_queue_length(stage.servers, 0) == 1);
    began_ns = world_now_ns();
    step_until(strcmp(end_of_any(), "queue_timeout") == 0);
    assert_true(world_now_ns() - began_ns >= 19 * SECOND && world_now_ns() - began_ns < 21 * SECOND);
    step_until(visitor->saw_error);
    assert_int_equal(servers_queue_length(stage.servers, 0), 0);
    close_proxy();
}

// The place is another worker's, and nobody tells us when it becomes free.
static void test_queue_across_workers(void **state)
{
    uint64_t freed_ns;

    prepare(8, 1, 1, 5);
    servers[0].answer = WORLD_DIAL_ACCEPT;
    open_proxy();
    assert_true(servers_take(stage.servers, 1, 0, 1));
    (void)arrive();
    step_until(servers_queue_length(stage.servers, 0) == 1);
    servers_give(stage.servers, 1, 0);
    freed_ns = world_now_ns();
    step_until(servers_queue_length(stage.servers, 0) == 0);
    assert_true(world_now_ns() - freed_ns < SECOND / 10);
    step_until(answer_count == 1);
    close_proxy();
}

// Who leaves while it waits has no place any more: those behind it are served, and no server hears of it.
static void test_waiting_client_leaves(void **state)
{
    enum { FINISHES, CLOSES, RESETS, WAYS };

    for (unsigned i = 0; i < 3 * WAYS; i++) {
        unsigned way = i % WAYS;
        struct visitor *leaver, *next;
        uint64_t began_ns;

        prepare(i + 1, 1, 1, 2);
        servers[0].answer = WORLD_DIAL_ACCEPT;
        open_proxy();
        arrive()->stays = true;
        step_until(answer_count == 1);
        leaver = arrive();
        step_until(leaver->has_asked && servers_queue_length(stage.servers, 0) == 1);
        next = arrive();
        step_until(servers_queue_length(stage.servers, 0) == 2);
        began_ns = world_now_ns();
        if (way == CLOSES) {
            leave(leaver);
        } else {
            leaver->has_left = true;
            way == RESETS ? peer_reset(leaver->peer) : peer_finish(leaver->peer);
        }
        step_until(servers_queue_length(stage.servers, 0) == 1);
        assert_true(world_now_ns() - began_ns < SECOND);
        assert_string_equal(end_of_any(),
                            way == RESETS ? "none" : "client_left"); // a reset leaves nothing to wait for
        (void)arrive();                                              // the place is there for another
        step_until(servers_queue_length(stage.servers, 0) == 2);
        leave(&visitors[0]);
        step_until(answer_count == 3);
        assert_int_equal(next->answered, 2);
        assert_int_equal(servers[0].attempts, 3);
        close_proxy();
    }
}

// Without TLS the end of what a client sends is no sign that it left. It is waited for, and has its answer.
static void test_waiting_plain_client_half_closes(void **state)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct peer *plain;
        char answered[8];
        size_t length = 0;

        prepare(seed, 1, 1, 2);
        listener.is_plain = true;
        servers[0].answer = WORLD_DIAL_ACCEPT;
        open_proxy();
        assert_true(servers_take(stage.servers, 1, 0, 1));
        plain = world_connect(STAGE_LISTENER);
        assert_int_equal(peer_write(plain, "hello", 5), 5);
        peer_finish(plain);
        step_until(servers_queue_length(stage.servers, 0) == 1);
        for (unsigned i = 0; i < 100; i++)
            step();
        assert_int_equal(servers_queue_length(stage.servers, 0), 1);
        servers_give(stage.servers, 1, 0);
        step_until((length += peer_read(plain, answered + length, 5 - length)) == 5);
        assert_memory_equal(answered, "hello", 5);
        step_until(peer_is_at_end(plain) && !peer_was_reset(plain));

        plain = world_connect(STAGE_LISTENER); // but a reset is
        assert_true(servers_take(stage.servers, 1, 0, 1));
        step_until(servers_queue_length(stage.servers, 0) == 1);
        peer_reset(plain);
        step_until(servers_queue_length(stage.servers, 0) == 0);
        servers_give(stage.servers, 1, 0);
        close_proxy();
    }
}

// Those that wait end at once when the worker is told to stop.
static void test_stop_meets_a_queue(void **state)
{
    prepare(9, 1, 1, 5);
    servers[0].answer = WORLD_DIAL_ACCEPT;
    open_proxy();
    arrive()->stays = true;
    step_until(answer_count == 1);
    for (unsigned i = 0; i < 3; i++)
        (void)arrive();
    step_until(servers_queue_length(stage.servers, 0) == 3);
    close_proxy();
}

// ---- everything by chance ----

static void run_seed(uint64_t seed)
{
    static const enum world_dial answers[] = {WORLD_DIAL_ACCEPT, WORLD_DIAL_ACCEPT, WORLD_DIAL_REFUSE,
                                              WORLD_DIAL_HANG};
    unsigned steps;

    prepare(seed, 0, 0, 0);
    prepare(seed, 1 + world_below(SERVERS_MAX), (unsigned)world_below(4), (unsigned)world_below(6));
    upstream.balance = (enum config_balance)world_below(3);
    upstream.health.max_fails = (unsigned)world_below(4);
    upstream.health.fail_timeout_ns = world_below(5 * SECOND);
    for (size_t i = 0; i < upstream.server_count; i++)
        server_configs[i].is_backup = world_chance(20);
    if (world_chance(60))
        prepare_families();
    open_proxy();
    world_trouble = world_chance(50) ? 0 : (unsigned)world_below(4);
    for (steps = 0; steps < 600; steps++) {
        size_t which = world_below(upstream.server_count);

        if (world_chance(10))
            servers[which].answer = answers[world_below(4)];
        if (world_chance(2))
            servers_set_order(servers_state(stage.servers, which), (enum servers_order)world_below(3),
                              world_now_ns());
        if (upstream.name_count > 0 && world_chance(3))
            servers_set_site(stage.servers, 0, which, world_chance(50) ? SERVERS_GONE : SERVERS_HERE, NULL);
        if (world_chance(8) && visitor_count < VISITORS_MAX)
            arrive()->stays = world_chance(50);
        if (visitor_count > 0 && world_chance(5)) {
            struct visitor *visitor = &visitors[world_below(visitor_count)];

            if (visitor->has_answer || world_chance(30))
                leave(visitor);
        }
        step();
    }
    // All is well again: whoever is still there is served, or was refused.
    for (size_t i = 0; i < upstream.server_count; i++) {
        servers[i].answer = WORLD_DIAL_ACCEPT;
        servers_set_order(servers_state(stage.servers, i), SERVERS_READY, world_now_ns());
        if (upstream.name_count > 0)
            servers_set_site(stage.servers, 0, i, SERVERS_HERE, NULL);
    }
    for (unsigned i = 0; i < visitor_count && world_chance(80); i++)
        visitors[i].stays = false;
    for (steps = 0; steps < 3000 && proxy_connection_count(stage.proxy) > 0; steps++)
        step();
    close_proxy();
}

static void test_seeds(void **state)
{
    (void)stage_seeds(run_seed, 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next_server_is_tried),
        cmocka_unit_test(test_nobody_accepts),
        cmocka_unit_test(test_other_family),
        cmocka_unit_test(test_close_race),
        cmocka_unit_test(test_out),
        cmocka_unit_test(test_all_drained),
        cmocka_unit_test(test_queue_is_served_in_order),
        cmocka_unit_test(test_full_without_a_queue),
        cmocka_unit_test(test_queue_timeout),
        cmocka_unit_test(test_queue_across_workers),
        cmocka_unit_test(test_waiting_client_leaves),
        cmocka_unit_test(test_waiting_plain_client_half_closes),
        cmocka_unit_test(test_stop_meets_a_queue),
        cmocka_unit_test(test_seeds),
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
