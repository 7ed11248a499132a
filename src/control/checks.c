// SPDX-License-Identifier: Apache-2.0
#include "checks.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "master.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/log_quota.h"
#include "ringbolt/socket.h"

// One server's. While fd is open a check is under way and the timer is its limit; else it is when the next one begins.
struct check {
    struct checks *checks;
    const struct config_upstream *upstream;
    const struct config_server *server;
    struct servers_state *state;
    int fd; // -1: none
    struct loop_watch watch;
    struct loop_timer timer;
    uint64_t begun_ns;
    unsigned streak; // results in a row that speak against what is held of it
    bool was_out;    // what was held of it then
};

struct checks {
    struct loop *loop;
    struct log_quota quota; // of lines that say what was found
    struct loop_timer quota_timer;
    size_t count;
    struct check each[];
};

// ---- results ----

static void on_quota(void *owner)
{
    struct checks *checks = owner;
    uint64_t count = log_quota_rest(&checks->quota, clock_now_ns());

    if (count > 0)
        log_warning("more servers went out or came back", log_integer("count", count),
                    log_integer("seconds", LOG_QUOTA_NS / CLOCK_NS_PER_S));
}

static void say(const struct check *check, bool is_out, int error)
{
    struct log_field upstream = log_text("upstream", check->upstream->name);
    struct log_field server = log_text("server", check->server->address.text);
    struct checks *checks = check->checks;

    if (!log_quota_take(&checks->quota, clock_now_ns()))
        loop_timer_set(checks->loop, &checks->quota_timer, log_quota_due_ns(&checks->quota));
    else if (is_out)
        log_warning("server is out", upstream, server,
                    log_integer("failed_checks", check->upstream->health.fall), log_errno(error));
    else
        log_info("server is back", upstream, server);
}

static void judge(struct check *check, int error)
{
    const struct config_health *health = &check->upstream->health;
    bool is_out = atomic_load(&check->state->is_out) != 0;
    bool is_good = error == 0;

    if (is_out != check->was_out || is_good != is_out)
        check->streak = 0; // others changed it, or it is as it was held to be
    check->was_out = is_out;
    if (is_good != is_out)
        return;
    if (++check->streak < (is_out ? health->rise : health->fall))
        return;
    check->streak = 0;
    check->was_out = !is_out;
    if (servers_set_health(check->state, !is_out, clock_now_ns()))
        say(check, !is_out, error);
}

static void finish(struct check *check)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t next_ns = check->begun_ns + check->upstream->health.interval_ns;

    loop_unwatch(check->checks->loop, &check->watch);
    // With a reset: no port has to rest after each check.
    socket_close(check->fd, true);
    check->fd = -1;
    loop_timer_set(check->checks->loop, &check->timer, next_ns > now_ns ? next_ns : now_ns);
}

static void end(struct check *check, int error)
{
    finish(check);
    // Who was told to be left alone meanwhile is.
    if (atomic_load(&check->state->order) != SERVERS_DOWN)
        judge(check, error);
}

// ---- a check ----

static void on_event(void *owner, unsigned events)
{
    struct check *check = owner;
    int error = 0;
    socklen_t length = sizeof(error);

    (void)events;
    if (getsockopt(check->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        error = errno;
    end(check, error);
}

static void begin(struct check *check)
{
    const struct config_address *address = &check->server->address;

    check->begun_ns = clock_now_ns();
    if (atomic_load(&check->state->order) == SERVERS_DOWN)
        check->streak = 0;
    else
        check->fd = socket_open(address->socket.ss_family);
    // Nobody is to ask, or there is no descriptor left: that says nothing of the server.
    if (check->fd < 0)
        finish(check);
    else if (connect(check->fd, (const struct sockaddr *)&address->socket, address->length) == 0)
        end(check, 0);
    else if (errno != EINPROGRESS)
        end(check, errno);
    else if (loop_watch(check->checks->loop, &check->watch, check->fd, EPOLLOUT, on_event, check) < 0)
        finish(check); // likewise
    else
        loop_timer_set(check->checks->loop, &check->timer,
                       check->begun_ns + check->upstream->health.timeout_ns);
}

static void on_timer(void *owner)
{
    struct check *check = owner;

    if (check->fd < 0)
        begin(check);
    else
        end(check, ETIMEDOUT);
}

// ---- life ----

static size_t count_checks(const struct config *config)
{
    size_t count = 0;

    for (size_t i = 0; i < config->upstream_count; i++) {
        if (config->upstreams[i].health.check != CONFIG_CHECK_OFF)
            count += config->upstreams[i].server_count;
    }
    return count;
}

static void add(struct master *master, size_t upstream, size_t server, size_t count)
{
    struct checks *checks = master->checks;
    struct check *check = &checks->each[checks->count];
    const struct config_upstream *config = &master->config->upstreams[upstream];

    *check = (struct check){
        .checks = checks,
        .upstream = config,
        .server = &config->servers[server],
        .state = servers_state(master->servers, servers_number(master->servers, upstream, server)),
        .fd = -1,
        .watch = {.fd = -1}};
    loop_timer_init(&check->timer, on_timer, check);
    loop_timer_set(checks->loop, &check->timer,
                   clock_now_ns() + config->health.interval_ns / count * checks->count);
    checks->count++;
}

int checks_start(struct master *master)
{
    const struct config *config = master->config;
    size_t count = count_checks(config);

    if (count == 0)
        return 0;
    master->checks = calloc(1, sizeof(*master->checks) + count * sizeof(master->checks->each[0]));
    if (!master->checks) {
        log_error("no memory for the servers' checks");
        return -ENOMEM;
    }
    master->checks->loop = master->loop;
    loop_timer_init(&master->checks->quota_timer, on_quota, master->checks);
    for (size_t i = 0; i < config->upstream_count; i++) {
        for (size_t j = 0;
             j < config->upstreams[i].server_count && config->upstreams[i].health.check != CONFIG_CHECK_OFF;
             j++)
            add(master, i, j, count);
    }
    return 0;
}

void checks_finish(struct checks *checks)
{
    if (!checks)
        return;
    loop_timer_stop(&checks->quota_timer);
    for (size_t i = 0; i < checks->count; i++) {
        struct check *check = &checks->each[i];

        loop_timer_stop(&check->timer);
        loop_unwatch(checks->loop, &check->watch);
        socket_close(check->fd, true);
    }
    free(checks);
}
