// SPDX-License-Identifier: Apache-2.0
// A worker that is told to accept nobody for a while, and to go on, on a real ring: whoever it had accepted in between is served, the others wait, and none is
// lost.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/proxy.h"

#define CLIENTS 200

static struct config *config;
static struct record_probe probe;
static struct tls_context *context; // none: clients speak no TLS
static struct buffer_pool *pool;
static struct ring *ring;
static struct admission *admission;
static struct servers *servers;
static struct stats *stats;
static struct proxy *proxy;
static struct sockaddr_in address;
static int listening;
static int serving;
static int clients[CLIENTS];
static unsigned client_count;

static int listen_on(struct sockaddr_in *ret)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t length = sizeof(*ret);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
    assert_int_equal(listen(fd, CLIENTS), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)ret, &length), 0);
    return fd;
}

static int set_up(void **unused)
{
    struct ring_options options = {.entries = 64};
    struct sockaddr_in server;
    struct proxy_setup setup;
    struct report report;
    char text[512];
    const char *why;

    (void)unused;
    listening = listen_on(&address);
    serving = listen_on(&server);
    snprintf(text, sizeof(text),
             "workers: 1\nlisteners: [{address: '127.0.0.1:1', tls: off, upstream: u}]\n"
             "upstreams: [{name: u, servers: [{address: '127.0.0.1:%u'}]}]\n",
             ntohs(server.sin_port));
    report_init(&report, NULL);
    assert_int_equal(config_parse(text, strlen(text), "/", &config, &report), 0);
    report_finish(&report);
    options.pool = pool = buffer_pool_create(4u << 20);
    assert_int_equal(ring_create(&options, &ring, &why), 0);
    admission = admission_create(config);
    assert_non_null(admission);
    assert_int_equal(servers_create(config, &servers), 0);
    assert_int_equal(stats_create(config, &stats), 0);
    setup = (struct proxy_setup){.config = config,
                                 .probe = &probe,
                                 .contexts = &context,
                                 .listeners = &listening,
                                 .ring = ring,
                                 .pool = pool,
                                 .admission = admission,
                                 .servers = servers,
                                 .stats = stats};
    proxy = proxy_create(&setup, clock_now_ns());
    assert_non_null(proxy);
    proxy_start(proxy);
    client_count = 0;
    return 0;
}

static void turn(void)
{
    struct ring_completion completion;

    assert_int_equal(ring_wait(ring, CLOCK_NS_PER_MS / 10), 0);
    proxy_time(proxy, clock_now_ns());
    while (ring_next(ring, &completion))
        completion.op->handler(completion.op, &completion);
    proxy_tick(proxy, clock_now_ns());
}

static int tear_down(void **unused)
{
    (void)unused;
    proxy_stop(proxy);
    while (!proxy_idle(proxy))
        turn();
    proxy_destroy(proxy);
    while (client_count > 0)
        close(clients[--client_count]);
    stats_destroy(stats);
    servers_destroy(servers);
    admission_destroy(admission);
    ring_destroy(ring);
    buffer_pool_destroy(pool);
    config_destroy(config);
    close(listening);
    close(serving);
    return 0;
}

static void come(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    clients[client_count++] = fd;
}

static void run_until(unsigned connections)
{
    while (proxy_connection_count(proxy) < connections)
        turn();
    assert_int_equal(proxy_connection_count(proxy), connections);
}

static void waits_and_goes_on(void **unused)
{
    (void)unused;
    come();
    run_until(1);
    proxy_pause(proxy, true);
    while (!proxy_pauses(proxy))
        turn();
    for (unsigned i = 0; i < 5; i++)
        come();
    for (unsigned i = 0; i < 300; i++) // longer than any timer that might start it again by mistake
        turn();
    assert_int_equal(proxy_connection_count(proxy), 1);
    proxy_pause(proxy, false);
    run_until(6);
}

// At once taken back, again and again, while clients come: whether the accept was cancelled, or had just brought one.
static void to_and_fro(void **unused)
{
    (void)unused;
    while (client_count < CLIENTS) {
        come();
        proxy_pause(proxy, random() % 2);
        if (random() % 2)
            turn();
        proxy_pause(proxy, random() % 2);
        turn();
    }
    proxy_pause(proxy, false);
    run_until(CLIENTS);
    // Every one is served: its bytes reach a server.
    for (unsigned i = 0, heard = 0; heard < CLIENTS; i++) {
        int fd = accept4(serving, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        heard += fd >= 0;
        if (fd >= 0)
            close(fd);
        turn();
    }
}

// A drain while it pauses takes who waits, as every drain does.
static void drain_takes_who_waits(void **unused)
{
    (void)unused;
    proxy_pause(proxy, true);
    while (!proxy_pauses(proxy))
        turn();
    come();
    proxy_drain(proxy);
    run_until(1);
}

#define test_of(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_of(waits_and_goes_on),
        test_of(to_and_fro),
        test_of(drain_takes_who_waits),
    };

    log_setup(LOG_TEXT, LOG_ERROR, STDERR_FILENO);
    return cmocka_run_group_tests_name("pause", tests, NULL, NULL);
}
