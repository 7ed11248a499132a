// SPDX-License-Identifier: Apache-2.0
// Connections that are moved between two proxies of one process again and again, on real rings and sockets: what the simulation can't show is
// what the kernel makes of a cancellation. With and without TLS; where the kernel has TLS, by it too.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "ringbolt/clock.h"
#include "src/proxy/carry.h"
#include "src/proxy/connection.h"
#include "src/tls/certificate.h"
#include "src/tls/change.h"

#define BYTES    (3u << 20)  // each way
#define BUFFER   (32 * 1024) // of sockets: so that sends block
#define LIMIT_NS (120 * CLOCK_NS_PER_S)

struct worker {
    struct ring *ring;
    struct buffer_pool *pool;
    struct admission *admission;
    struct servers *servers;
    struct stats *stats;
    struct proxy *proxy;
};

struct side {
    int fd;
    SSL *ssl; // NULL: plain
    size_t sent, received;
    bool is_shut, saw_end;
    size_t owed; // what SSL_write() wants again
};

static struct config *config;
static struct certificate *certificate;
static struct material *material;
static struct tls_context *context;
static struct record_probe probe;
static struct worker workers[2];
static int listening, serving;
static unsigned moved, by_kernel;
static struct connection *resting;

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 131 + (at >> 8) * 7);
}

static int listen_on(struct sockaddr_in *ret)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(*ret);
    int size = BUFFER;

    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 5) < 0 ||
        getsockname(fd, (struct sockaddr *)ret, &length) < 0)
        abort();
    return fd;
}

static bool open_worker(struct worker *worker)
{
    struct ring_options options = {.entries = 64};
    struct proxy_setup setup;
    const char *why;

    options.pool = worker->pool = buffer_pool_create(4u << 20);
    if (ring_create(&options, &worker->ring, &why) < 0) {
        fprintf(stderr, "%s\n", why);
        return false;
    }
    worker->admission = admission_create(config);
    if (servers_create(config, &worker->servers) < 0 || stats_create(config, &worker->stats) < 0)
        abort();
    setup = (struct proxy_setup){.config = config,
                                 .probe = &probe,
                                 .contexts = &context,
                                 .material = material,
                                 .listeners = &listening,
                                 .ring = worker->ring,
                                 .pool = worker->pool,
                                 .admission = worker->admission,
                                 .servers = worker->servers,
                                 .stats = worker->stats};
    worker->proxy = proxy_create(&setup, clock_now_ns());
    return worker->proxy != NULL;
}

static void close_worker(struct worker *worker)
{
    proxy_destroy(worker->proxy);
    stats_destroy(worker->stats);
    servers_destroy(worker->servers);
    admission_destroy(worker->admission);
    ring_destroy(worker->ring);
    assert_int_equal(buffer_pool_used(worker->pool), 0);
    buffer_pool_destroy(worker->pool);
}

static void turn(struct worker *worker)
{
    struct ring_completion completion;
    uint64_t wait_ns = proxy_wait_ns(worker->proxy, clock_now_ns());

    assert_int_equal(ring_wait(worker->ring, wait_ns < CLOCK_NS_PER_MS / 10 ? wait_ns : CLOCK_NS_PER_MS / 10),
                     0);
    proxy_time(worker->proxy, clock_now_ns());
    while (ring_next(worker->ring, &completion))
        completion.op->handler(completion.op, &completion);
    proxy_tick(worker->proxy, clock_now_ns());
}

// ---- the two ----

static void quit_blocking(int fd)
{
    int size = BUFFER;

    fcntl(fd, F_SETFL, O_NONBLOCK);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static long side_read(struct side *side, uint8_t *data, size_t size)
{
    long length = side->ssl ? SSL_read(side->ssl, data, (int)size) : recv(side->fd, data, size, 0);

    if (side->ssl && length <= 0) {
        int error = SSL_get_error(side->ssl, (int)length);

        ERR_clear_error();
        assert_true(error == SSL_ERROR_ZERO_RETURN || error == SSL_ERROR_WANT_READ ||
                    error == SSL_ERROR_WANT_WRITE);
        return error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
    }
    assert_true(length >= 0 || errno == EAGAIN);
    return length;
}

static void side_write(struct side *side)
{
    uint8_t data[20000];
    size_t length = side->owed ? side->owed : 1 + (size_t)random() % sizeof(data);
    long written;

    if (length > BYTES - side->sent)
        length = BYTES - side->sent;
    for (size_t i = 0; i < length; i++)
        data[i] = pattern(side->sent + i);
    written =
        side->ssl ? SSL_write(side->ssl, data, (int)length) : send(side->fd, data, length, MSG_NOSIGNAL);
    side->owed = side->ssl && written <= 0 ? length : 0;
    if (side->ssl && written <= 0) {
        int error = SSL_get_error(side->ssl, (int)written);

        ERR_clear_error();
        assert_true(error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE);
        return;
    }
    assert_true(written >= 0 || errno == EAGAIN);
    side->sent += written > 0 ? (size_t)written : 0;
}

// Each does something now and then, so that buffers run full and empty.
static void side_step(struct side *side)
{
    uint8_t data[30000];
    long length = -1;

    if (!side->saw_end && random() % 3 == 0)
        length = side_read(side, data, 1 + (size_t)random() % sizeof(data));
    for (long i = 0; i < length; i++)
        if (data[i] != pattern(side->received + (size_t)i))
            fail_msg("a wrong byte at %zu", side->received + (size_t)i);
    side->received += length > 0 ? (size_t)length : 0;
    side->saw_end |= length == 0;
    if (side->sent < BYTES && random() % 3 == 0)
        side_write(side);
    if (side->sent == BYTES && !side->is_shut) {
        if (side->ssl)
            SSL_shutdown(side->ssl);
        else
            shutdown(side->fd, SHUT_WR);
        side->is_shut = true;
    }
}

// ---- moving ----

static void rested(struct connection *connection, void *data, bool is_at_rest)
{
    struct worker *from = data;
    struct worker *to = from == &workers[0] ? &workers[1] : &workers[0];
    struct connection *there = NULL;
    struct carried carried;
    const char *why = "";
    int fds[2];

    resting = NULL;
    if (!is_at_rest)
        return;
    if (endpoint_is_tls(&connection->client) &&
        record_probe_can(&probe, connection->client.transmit.keys.version,
                         connection->client.transmit.keys.cipher, RECORD_TRANSMIT)) {
        assert_int_equal(connection->client.transmit_mode, ENDPOINT_KERNEL);
        by_kernel++;
    }
    assert_int_equal(carry_pack(connection, &carried), 0);
    for (unsigned i = 0; i < 2; i++)
        fds[i] = fcntl(carried.fds[i], F_DUPFD_CLOEXEC, 0);
    proxy_time(to->proxy, clock_now_ns());
    if (carry_read(to->proxy, carried.bytes, carried.size, fds, &there, &why) < 0)
        fail_msg("refused: %s", why);
    carried_finish(&carried);
    connection_release(connection);
    connection_resume(there);
    moved++;
}

static void move_step(void)
{
    for (unsigned i = 0; i < 2 && !resting; i++) {
        struct list *connections = &workers[i].proxy->connections;
        struct connection *connection =
            list_empty(connections) ? NULL : list_entry(connections->next, struct connection, node);

        if (!connection || !connection_can_move(connection))
            continue;
        resting = connection;
        proxy_time(workers[i].proxy, clock_now_ns());
        connection_rest(connection, rested, &workers[i]);
        return;
    }
}

// ---- a run ----

static void run(bool is_tls)
{
    SSL_CTX *client_context = SSL_CTX_new(TLS_client_method());
    struct side client = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct side server = {.fd = -1};
    struct sockaddr_in address;
    uint64_t began_ns = clock_now_ns();

    listening = listen_on(&address);
    config->listeners[0].is_plain = !is_tls;
    for (unsigned i = 0; i < 2; i++) {
        assert_true(open_worker(&workers[i]));
        proxy_start(workers[i].proxy);
    }
    assert_int_equal(connect(client.fd, (struct sockaddr *)&address, sizeof(address)), 0);
    quit_blocking(client.fd);
    if (is_tls) {
        client.ssl = SSL_new(client_context);
        SSL_set_fd(client.ssl, client.fd);
        SSL_set_connect_state(client.ssl);
        SSL_set_mode(client.ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    moved = 0;
    while (!client.saw_end || !server.saw_end || !client.is_shut || !server.is_shut) {
        if (clock_now_ns() - began_ns > LIMIT_NS)
            fail_msg("it does not get on: client %zu %zu, server %zu %zu, moved %u", client.sent,
                     client.received, server.sent, server.received, moved);
        turn(&workers[0]);
        turn(&workers[1]);
        if (random() % 3 == 0)
            move_step();
        side_step(&client);
        if (server.fd >= 0) {
            side_step(&server);
        } else if ((server.fd = accept(serving, NULL, NULL)) >= 0) {
            quit_blocking(server.fd);
        }
    }
    assert_int_equal(client.received, BYTES);
    assert_int_equal(server.received, BYTES);
    assert_true(moved > 50);
    SSL_free(client.ssl);
    SSL_CTX_free(client_context);
    close(client.fd);
    close(server.fd);
    for (unsigned i = 0; i < 2; i++)
        proxy_stop(workers[i].proxy);
    while (!proxy_idle(workers[0].proxy) || !proxy_idle(workers[1].proxy)) {
        assert_true(clock_now_ns() - began_ns < LIMIT_NS);
        turn(&workers[0]);
        turn(&workers[1]);
        if (resting) { // nobody ends it while it is at rest
            struct connection *connection = resting;

            resting = NULL;
            connection_resume(connection);
        }
    }
    for (unsigned i = 0; i < 2; i++)
        close_worker(&workers[i]);
    close(listening);
}

static void test_plain(void **state)
{
    run(false);
}

static void test_tls(void **state)
{
    run(true);
    print_message("# moved %u times, %u of them with the kernel's TLS\n", moved, by_kernel);
}

static bool make_material(struct report *report)
{
    const struct material_place place = {0};
    struct ticket_keys keys = {.count = 1};
    struct change change = {0};
    bool is_made;

    if (certificate_develop(NULL, report, &certificate) < 0 || ticket_key_make(&keys.keys[0]) < 0)
        return false;
    change_certificate(&change, 0, certificate, &place, 1);
    change_ticket_keys(&change, &keys);
    material = material_create(1);
    is_made = material != NULL && material_apply(material, change.data, change.size) == 0;
    change_finish(&change);
    return is_made;
}

static int set_up(void **state)
{
    struct tls_context_options options;
    struct sockaddr_in address;
    struct report report;
    char text[32];

    report_init(&report, NULL);
    serving = listen_on(&address);
    snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(address.sin_port));
    log_setup(LOG_TEXT, LOG_ERROR, 2);
    if (record_init() < 0 || config_quick("127.0.0.1:1", text, NULL, NULL, &config, &report) < 0 ||
        !make_material(&report))
        return -1;
    config->workers = 1;
    (void)record_kernel_probe(&probe);
    options = (struct tls_context_options){.config = config, .material = material, .keylog = -1};
    report_finish(&report);
    return tls_context_create(&options, &context);
}

static int tear_down(void **state)
{
    tls_context_destroy(context);
    material_destroy(material);
    certificate_destroy(certificate);
    config_destroy(config);
    record_finish();
    close(serving);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_tls),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
