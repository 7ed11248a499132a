// SPDX-License-Identifier: Apache-2.0
// Which server a worker's connection goes to, by the table that it shares with others: weights, backups, health, orders, limits.
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/log_quota.h"
#include "src/proxy/upstream.h"

#define SERVERS 70 // more than a word of `tried` has bits
#define NONE    1000

static struct config_server server_configs[SERVERS];
static struct config_upstream upstream_configs[2];
static struct config config;
static struct servers *table;
static struct upstreams *workers[3];
static uint64_t now_ns;

static int set_up(void **state)
{
    static char names[SERVERS][32];

    memset(server_configs, 0, sizeof(server_configs));
    for (size_t i = 0; i < SERVERS; i++) {
        snprintf(names[i], sizeof(names[i]), "192.0.2.%zu:80", i);
        server_configs[i] = (struct config_server){.address.text = names[i], .weight = 1};
    }
    for (size_t i = 0; i < 2; i++)
        upstream_configs[i] =
            (struct config_upstream){.name = (char *)(i == 0 ? "app" : "other"),
                                     .servers = server_configs,
                                     .server_count = 3,
                                     .health = {.max_fails = 3, .fail_timeout_ns = 10 * CLOCK_NS_PER_S}};
    config = (struct config){.workers = 3,
                             .upstreams = upstream_configs,
                             .upstream_count = 2,
                             .timeouts.connect_ns = CLOCK_NS_PER_S};
    now_ns = 1000 * CLOCK_NS_PER_S;
    return 0;
}

// When the configuration is as the test wants it.
static void begin(void)
{
    assert_int_equal(servers_create(&config, &table), 0);
    for (unsigned i = 0; i < 3; i++) {
        workers[i] = upstreams_create(&config, table, i);
        assert_non_null(workers[i]);
    }
}

static int tear_down(void **state)
{
    for (unsigned i = 0; i < 3; i++) {
        upstreams_destroy(workers[i]);
        workers[i] = NULL;
    }
    servers_destroy(table);
    table = NULL;
    return 0;
}

static struct servers_state *state_of(size_t server)
{
    return servers_state(table, servers_number(table, 0, server));
}

// The server that a worker chooses for a client that has tried some; NONE: none. The place stays taken.
static size_t choose_for(unsigned worker, const char *client, const uint64_t *tried,
                         enum upstream_answer expected)
{
    struct upstream_wish wish = {.client = client, .tried = tried, .now_ns = now_ns};
    size_t server = NONE;

    assert_int_equal(upstream_choose(workers[worker], &wish, &server), expected);
    return server;
}

static size_t choose(unsigned worker)
{
    return choose_for(worker, "10.0.0.1:1", NULL, UPSTREAM_CHOSEN);
}

// The same for a connection that is over at once.
static size_t pass(unsigned worker)
{
    size_t server = choose(worker);

    upstream_give(workers[worker], 0, server);
    return server;
}

static void lose(size_t server, unsigned times)
{
    while (times-- > 0)
        upstream_failed(workers[times % 3], 0, server, "Connection refused", now_ns);
}

// How often each of the first servers gets one of `count` short connections.
static void count_passes(unsigned count, unsigned *got)
{
    memset(got, 0, 4 * sizeof(*got));
    while (count-- > 0)
        got[pass(0)]++;
}

static void test_weights(void **state)
{
    unsigned got[4];

    server_configs[0].weight = 0;
    server_configs[1].weight = 3;
    begin();
    count_passes(400, got);
    assert_int_equal(got[0], 0);
    assert_int_equal(got[1], 300);
    assert_int_equal(got[2], 100);
}

// Each worker begins with another server, so that a few connections at all of them don't meet at one.
static void test_workers_begin_apart(void **state)
{
    begin();
    assert_int_equal(pass(0) + pass(1) + pass(2), 0 + 1 + 2);
    for (unsigned i = 0; i < 3; i++) {
        unsigned seen = 0;

        for (unsigned j = 0; j < 3; j++)
            seen |= 1u << pass(i);
        assert_int_equal(seen, 7);
    }
}

static void test_each_is_tried_once(void **state)
{
    uint64_t tried[SERVERS / 64 + 1] = {0};

    upstream_configs[0].server_count = SERVERS;
    begin();
    for (unsigned i = 0; i < SERVERS; i++) {
        size_t server = choose_for(0, "10.0.0.1:1", tried, UPSTREAM_CHOSEN);

        assert_false(tried[server / 64] >> (server % 64) & 1);
        tried[server / 64] |= UINT64_C(1) << (server % 64);
        upstream_give(workers[0], 0, server);
    }
    (void)choose_for(0, "10.0.0.1:1", tried, UPSTREAM_NONE);
}

// The load of all workers counts, not that of one's own alone.
static void test_least_connections(void **state)
{
    upstream_configs[0].balance = CONFIG_LEAST_CONNECTIONS;
    server_configs[1].weight = 2;
    begin();
    for (unsigned i = 0; i < 400; i++)
        (void)choose(i % 3);
    assert_int_equal(servers_live(table, 0), 100);
    assert_int_equal(servers_live(table, 1), 200);
    assert_int_equal(servers_live(table, 2), 100);
    // A worker dies: its connections are gone, and the next ones go where it had most.
    servers_forget(table, 0);
    assert_true(servers_live(table, 0) + servers_live(table, 1) + servers_live(table, 2) < 300);
    for (unsigned i = 0; i < 20; i++)
        upstream_give(workers[1], 0, 2);
    assert_int_equal(choose(2), 2);
}

static void test_source_hash(void **state)
{
    size_t home;
    uint64_t tried;
    unsigned got[4];

    upstream_configs[0].balance = CONFIG_SOURCE_HASH;
    begin();
    home = choose_for(0, "10.1.2.3:1000", NULL, UPSTREAM_CHOSEN);
    for (unsigned port = 1; port < 100; port++) {
        char client[32];

        snprintf(client, sizeof(client), "10.1.2.3:%u", port);
        assert_int_equal(choose_for(port % 3, client, NULL, UPSTREAM_CHOSEN), home);
    }
    tried = UINT64_C(1) << home;
    assert_int_not_equal(choose_for(0, "10.1.2.3:1000", &tried, UPSTREAM_CHOSEN), home);
    assert_int_equal(choose_for(0, "[2001:db8::1]:5", NULL, UPSTREAM_CHOSEN),
                     choose_for(1, "[2001:db8::1]:6", NULL, UPSTREAM_CHOSEN));
    // Clients at a unix address have no address of their own: in turn.
    memset(got, 0, sizeof(got));
    for (unsigned i = 0; i < 30; i++)
        got[choose_for(0, "unix", NULL, UPSTREAM_CHOSEN)]++;
    assert_int_equal(got[0], 10);
    assert_int_equal(got[1], 10);
}

static void test_backup(void **state)
{
    uint64_t tried = 1u << 0 | 1u << 1;

    server_configs[2].is_backup = true;
    begin();
    for (unsigned i = 0; i < 10; i++)
        assert_int_not_equal(pass(0), 2);
    assert_int_equal(choose_for(0, "10.0.0.1:1", &tried, UPSTREAM_CHOSEN), 2);
    lose(0, 3);
    assert_int_equal(pass(0), 1);
    lose(1, 3);
    assert_int_equal(pass(0), 2);
    // It fails too: then everybody is tried, the backup last.
    lose(2, 3);
    assert_int_not_equal(pass(0), 2);
    tried = 1;
    assert_int_equal(choose_for(0, "10.0.0.1:1", &tried, UPSTREAM_CHOSEN), 1);
    tried = 3;
    assert_int_equal(choose_for(0, "10.0.0.1:1", &tried, UPSTREAM_CHOSEN), 2);
    // One is well again: nobody else is asked.
    upstream_succeeded(workers[1], 0, 1, now_ns);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(pass(2), 1);
}

static void test_out_and_back(void **state)
{
    unsigned got[4];

    begin();
    lose(1, 2);
    upstream_succeeded(workers[0], 0, 1, now_ns); // two in a row are not three
    lose(1, 2);
    assert_int_equal(atomic_load(&state_of(1)->is_out), 0);
    lose(1, 1);
    assert_int_equal(atomic_load(&state_of(1)->is_out), 1);
    assert_int_equal(atomic_load(&state_of(1)->changed_ns), now_ns);
    count_passes(100, got);
    assert_int_equal(got[1], 0);
    now_ns += 10 * CLOCK_NS_PER_S - 1;
    count_passes(100, got);
    assert_int_equal(got[1], 0);
    // One connection tries it, and as long as that is under way no other does.
    now_ns += 1;
    while (choose(0) != 1)
        ;
    count_passes(100, got);
    assert_int_equal(got[1], 0);
    assert_int_not_equal(pass(1), 1);
    // In vain.
    upstream_give(workers[0], 0, 1);
    lose(1, 1);
    count_passes(100, got);
    assert_int_equal(got[1], 0);
    now_ns += 10 * CLOCK_NS_PER_S;
    while (choose(2) != 1)
        ;
    upstream_succeeded(workers[2], 0, 1, now_ns);
    assert_int_equal(atomic_load(&state_of(1)->is_out), 0);
    count_passes(99, got);
    assert_int_equal(got[1], 33);
}

// The worker that made a trial died of something else.
static void test_trial_without_end(void **state)
{
    begin();
    lose(1, 3);
    now_ns += 10 * CLOCK_NS_PER_S;
    while (choose(0) != 1)
        ;
    servers_forget(table, 0);
    now_ns += config.timeouts.connect_ns + 2 * CLOCK_NS_PER_S;
    for (unsigned i = 0; i < 4 && atomic_load(&state_of(1)->trial_until_ns) < now_ns; i++)
        (void)choose(1);
    assert_true(atomic_load(&state_of(1)->trial_until_ns) > now_ns);
}

// With checks no client's connection is a trial.
static void test_checks_decide(void **state)
{
    unsigned got[4];

    upstream_configs[0].health.check = CONFIG_CHECK_TCP;
    begin();
    lose(1, 3);
    assert_int_equal(atomic_load(&state_of(1)->is_out), 1);
    now_ns += 3600 * CLOCK_NS_PER_S;
    count_passes(100, got);
    assert_int_equal(got[1], 0);
    upstream_succeeded(workers[0], 0, 1, now_ns);
    assert_int_equal(atomic_load(&state_of(1)->is_out), 1);
    assert_true(servers_set_health(state_of(1), false, now_ns));
    assert_false(servers_set_health(state_of(1), false, now_ns));
    count_passes(99, got);
    assert_int_equal(got[1], 33);
    assert_true(servers_set_health(state_of(2), true, now_ns));
    assert_false(servers_set_health(state_of(2), true, now_ns));
    count_passes(100, got);
    assert_int_equal(got[2], 0);
}

// Who comes back gets more and more, until it has all of its weight.
static void test_slow_start(void **state)
{
    unsigned got[4];
    unsigned before = 0;

    upstream_configs[0].health.slow_start_ns = 100 * CLOCK_NS_PER_S;
    begin();
    count_passes(300, got); // nobody was away
    assert_int_equal(got[1], 100);
    lose(1, 3);
    now_ns += 10 * CLOCK_NS_PER_S;
    while (choose(0) != 1)
        ;
    upstream_give(workers[0], 0, 1);
    upstream_succeeded(workers[0], 0, 1, now_ns);
    for (unsigned tenth = 1; tenth <= 10; tenth++) {
        now_ns += 10 * CLOCK_NS_PER_S;
        count_passes(2100, got);
        // Its share is tenth / (tenth + 20), with weights in whole steps.
        assert_true(got[1] >= 2100 * tenth / (tenth + 20) - 5 && got[1] <= 2100 * tenth / (tenth + 20) + 5);
        assert_true(got[1] > before);
        before = got[1];
    }
    assert_int_equal(got[1], 700);
    // The same after an operator had taken it out.
    servers_set_order(state_of(2), SERVERS_DRAIN, now_ns);
    servers_set_order(state_of(2), SERVERS_READY, now_ns);
    count_passes(1000, got);
    assert_true(got[2] < 5);
}

// With nobody else to do its work a server is never out.
static void test_one_alone_stays(void **state)
{
    server_configs[1].weight = server_configs[2].weight = 0;
    begin();
    lose(0, 100);
    assert_int_equal(atomic_load(&state_of(0)->is_out), 0);
    assert_int_equal(pass(0), 0);
}

static void test_max_fails_zero(void **state)
{
    upstream_configs[0].health.max_fails = 0;
    begin();
    lose(0, 100);
    assert_int_equal(atomic_load(&state_of(0)->is_out), 0);
}

static void test_orders(void **state)
{
    begin();
    assert_true(servers_set_order(state_of(0), SERVERS_DRAIN, now_ns));
    assert_false(servers_set_order(state_of(0), SERVERS_DRAIN, now_ns));
    assert_true(servers_set_order(state_of(1), SERVERS_DOWN, now_ns));
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(pass(0), 2);
    // Who was drained is not tried even when all others are out.
    lose(2, 3);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(pass(0), 2);
    assert_true(servers_set_order(state_of(2), SERVERS_DRAIN, now_ns));
    (void)choose_for(0, "10.0.0.1:1", NULL, UPSTREAM_NONE);
    // From down it comes back as well as new, from drain as it was.
    lose(1, 3);
    assert_true(servers_set_order(state_of(1), SERVERS_READY, now_ns));
    assert_true(servers_set_order(state_of(2), SERVERS_READY, now_ns));
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(pass(0), 1);
    // The other upstream has its own table, though its servers are the same.
    assert_int_equal(atomic_load(&servers_state(table, servers_number(table, 1, 0))->order), SERVERS_READY);
}

static void test_limits(void **state)
{
    size_t chosen[4];

    server_configs[0].max_connections = 1;
    server_configs[1].max_connections = 2;
    server_configs[2].max_connections = 1;
    server_configs[2].is_backup = true;
    begin();
    for (unsigned i = 0; i < 3; i++)
        assert_true((chosen[i] = choose(i)) < 2);
    assert_int_equal(chosen[0] + chosen[1] + chosen[2], 0 + 1 + 1);
    assert_int_equal(choose(0), 2); // who is full can't be had
    (void)choose_for(1, "10.0.0.1:1", NULL, UPSTREAM_FULL);
    // Who is out is no help: it is waited for who is well.
    lose(0, 3);
    upstream_give(workers[chosen[0] == 0 ? 0 : chosen[1] == 0 ? 1 : 2], 0, 0);
    (void)choose_for(1, "10.0.0.1:1", NULL, UPSTREAM_FULL);
    upstream_give(workers[0], 0, 2);
    assert_int_equal(choose(1), 2);
}

// One process that takes and gives as fast as it can, and counts who else holds a place. The exit status: 0, never more than there are.
static int struggle(unsigned worker, unsigned most, _Atomic unsigned *holders)
{
    int status = 0;

    for (unsigned round = 0; round < 20000; round++) {
        if (!servers_take(table, worker, 0, most))
            continue;
        if (atomic_fetch_add(holders, 1) + 1 > most)
            status = 1;
        atomic_fetch_sub(holders, 1);
        servers_give(table, worker, 0);
    }
    return status;
}

// Never are there more than may be, and in the end no place is lost.
static void test_limit_between_processes(void **state)
{
    _Atomic unsigned *holders =
        mmap(NULL, sizeof(*holders), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t children[3];

    assert_true(holders != MAP_FAILED);
    begin();
    for (unsigned i = 0; i < 3; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0)
            _exit(struggle(i, 2, holders));
    }
    for (unsigned i = 0; i < 3; i++) {
        int status;

        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(servers_live(table, 0), 0);
    munmap((void *)holders, sizeof(*holders));
}

static void test_queue_places(void **state)
{
    begin();
    assert_false(servers_queue_take(table, 0, 0, 0));
    assert_true(servers_queue_take(table, 0, 0, 2));
    assert_true(servers_queue_take(table, 1, 0, 2));
    assert_false(servers_queue_take(table, 2, 0, 2));
    assert_true(servers_queue_take(table, 2, 1, 2)); // the other upstream's
    assert_int_equal(servers_queue_length(table, 0), 2);
    servers_forget(table, 1);
    assert_int_equal(servers_queue_length(table, 0), 1);
    servers_queue_give(table, 0, 0);
    assert_int_equal(servers_queue_length(table, 0), 0);
    assert_int_equal(servers_live(table, 0), 0);
}

// ---- those that come from another worker ----

// The server, a place of which is taken; NONE: there is none.
static size_t adopt(const char *text, const char *name, const struct config_server **ret_held)
{
    struct upstream_adopted wanted = {
        .text = text, .length = strlen(text), .name = name, .name_length = name ? strlen(name) : 0};
    size_t server = NONE;
    int error = upstream_adopt(workers[1], 0, &wanted, &server, ret_held);

    assert_true(error == 0 || error == -ENOENT);
    return error == 0 ? server : NONE;
}

static void let_go(size_t server, const struct config_server *held)
{
    upstream_drop(held);
    upstream_give(workers[1], 0, server);
}

static void test_adopt(void **state)
{
    const struct config_server *held;

    server_configs[1].max_connections = 1;
    begin();
    for (unsigned i = 0; i < 2; i++) { // though it is full
        assert_int_equal(adopt("192.0.2.1:80", NULL, &held), 1);
        assert_ptr_equal(held, &server_configs[1]);
    }
    assert_int_equal(servers_live(table, 1), 2);
    assert_int_equal(adopt("192.0.2.5:80", NULL, &held), NONE); // not one of this upstream
    assert_int_equal(adopt("192.0.2.1:8", NULL, &held), NONE);
    assert_int_equal(adopt("", NULL, &held), NONE);
    assert_int_equal(servers_live(table, 1), 2);
}

static void set_site(size_t server, enum servers_presence presence, uint8_t last)
{
    struct config_address address = {.length = sizeof(struct sockaddr_in)};
    struct sockaddr_in *in = (struct sockaddr_in *)&address.socket;

    in->sin_family = AF_INET;
    in->sin_port = htons(80);
    in->sin_addr.s_addr = htonl(0xc0000200u + last);
    servers_set_site(table, 0, servers_number(table, 0, server), presence, &address);
}

static void test_adopt_named(void **state)
{
    static struct config_name names[2] = {{.text = (char *)"a.example:80", .first = 1, .count = 1},
                                          {.text = (char *)"b.example:80", .first = 2, .count = 1}};
    const struct config_server *held;

    upstream_configs[0].names = names;
    upstream_configs[0].name_count = 2;
    for (size_t i = 0; i < 2; i++) {
        server_configs[1 + i].name = &names[i];
        server_configs[1 + i].address.text = NULL;
    }
    upstream_configs[1].server_count = 1;
    begin();
    assert_int_equal(adopt("192.0.2.9:80", "a.example:80", &held), NONE);
    // The same address by both names: it is the one by which it was found.
    set_site(1, SERVERS_HERE, 9);
    set_site(2, SERVERS_HERE, 9);
    for (unsigned i = 0; i < 2; i++) { // not looked at yet by this worker; and looked at
        assert_int_equal(adopt("192.0.2.9:80", "b.example:80", &held), 2);
        assert_string_equal(held->address.text, "192.0.2.9:80");
        assert_ptr_equal(held->name, &names[1]);
        let_go(2, held);
        (void)upstream_count(workers[1], 0);
        upstream_give(workers[1], 0, choose(1));
    }
    // In the file it has no name: any that is at the address.
    assert_int_equal(adopt("192.0.2.9:80", NULL, &held), 1);
    let_go(1, held);
    // What stands in the file is found by a name that has gone.
    assert_int_equal(adopt("192.0.2.0:80", "c.example:80", &held), 0);
    let_go(0, held);
    // Its name has lost it, and nobody has its place yet; and then somebody has.
    set_site(2, SERVERS_GONE, 9);
    assert_int_equal(adopt("192.0.2.9:80", "b.example:80", &held), 2);
    assert_string_equal(held->address.text, "192.0.2.9:80");
    assert_int_equal(servers_live(table, 2), 1);
    let_go(2, held);
    set_site(1, SERVERS_HERE, 8);
    set_site(2, SERVERS_HERE, 7);
    assert_int_equal(adopt("192.0.2.9:80", "b.example:80", &held), NONE);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(servers_live(table, i), 0);
}

#define test_of(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

// Lines of the log that begin with the level and message; all that was written is taken.
static unsigned lines_of(int fd, const char *what)
{
    static char text[1 << 16];
    ssize_t length = read(fd, text, sizeof(text) - 1);
    unsigned count = 0;

    text[length > 0 ? length : 0] = '\0';
    for (const char *at = text; (at = strstr(at, what)); at++)
        count++;
    return count;
}

// Many servers that come and go fill no log: some are named, the rest is a number, said when the interval is over.
static void test_flapping_is_summarised(void **state)
{
    int fds[2];
    unsigned count;

    upstream_configs[0].server_count = SERVERS;
    upstream_configs[0].health.max_fails = 1;
    begin();
    assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    log_setup(LOG_TEXT, LOG_INFO, fds[1]);
    assert_int_equal(upstreams_due_ns(workers[0]), 0);
    for (size_t i = 0; i < SERVERS; i++)
        upstream_failed(workers[0], 0, i, "Connection refused", now_ns);
    count = lines_of(fds[0], "server is out");
    assert_int_equal(count, LOG_QUOTA_LINES);
    assert_int_equal(upstreams_due_ns(workers[0]), now_ns + LOG_QUOTA_NS);
    upstreams_say_rest(workers[0], now_ns + LOG_QUOTA_NS - 1);
    assert_int_equal(lines_of(fds[0], "servers"), 0);
    now_ns += LOG_QUOTA_NS;
    upstream_succeeded(workers[0], 0, 0, now_ns); // the last interval's are to be said first
    assert_int_equal(lines_of(fds[0], "server is back"), 0);
    upstreams_say_rest(workers[0], now_ns);
    assert_int_equal(lines_of(fds[0], "more servers went out or came back count=51 seconds=10"), 1);
    assert_int_equal(upstreams_due_ns(workers[0]), 0);
    upstream_succeeded(workers[0], 0, 1, now_ns);
    assert_int_equal(lines_of(fds[0], "server is back"), 1);
    upstreams_say_rest(workers[0], now_ns + LOG_QUOTA_NS);
    assert_int_equal(lines_of(fds[0], "servers"), 0); // nothing was withheld
    log_setup(LOG_TEXT, LOG_ERROR, 2);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_of(test_weights),
        test_of(test_workers_begin_apart),
        test_of(test_each_is_tried_once),
        test_of(test_least_connections),
        test_of(test_source_hash),
        test_of(test_backup),
        test_of(test_out_and_back),
        test_of(test_trial_without_end),
        test_of(test_checks_decide),
        test_of(test_slow_start),
        test_of(test_one_alone_stays),
        test_of(test_max_fails_zero),
        test_of(test_orders),
        test_of(test_limits),
        test_of(test_limit_between_processes),
        test_of(test_queue_places),
        test_of(test_adopt),
        test_of(test_adopt_named),
        test_of(test_flapping_is_summarised),
    };

    log_setup(LOG_TEXT, LOG_ERROR, STDERR_FILENO);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
