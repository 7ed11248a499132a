// SPDX-License-Identifier: Apache-2.0
#include "checks.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "check_talk.h"
#include "master.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/log_quota.h"
#include "ringbolt/socket.h"
#include "src/config/address.h"

// One server's. While fd is open a check is under way and the timer is its limit; else it is when the next one begins.
struct check {
    struct checks *checks;
    const struct config_upstream *upstream;
    const struct config_server *server;
    struct servers_state *state;
    size_t number;
    struct servers_site site; // of a server with a name: where it is, as of the last check
    int fd; // -1: none
    struct check_talk *talk; // what is said once it is connected; NULL: not yet, or nothing
    struct loop_watch watch;
    struct loop_timer timer;
    uint64_t begun_ns;
    unsigned streak; // results in a row that speak against what is held of it
    bool was_out;    // what was held of it then
};

struct checks {
    struct loop *loop;
    const struct config_upstream *upstreams;
    struct tls_context **contexts; // by upstream; NULL: no handshakes there
    size_t context_count;
    const struct servers *servers;
    struct log_quota quota; // of lines that say what was found
    struct loop_timer quota_timer;
    size_t count;
    struct check each[];
};

// ---- where the server is ----

// False: its name has no address for it. Where it has another one than before, what was found before says nothing.
static bool find_address(struct check *check, struct config_address *ret)
{
    uint32_t before = check->site.version;

    *ret = check->server->address;
    if (!check->server->name)
        return true;
    servers_site(check->checks->servers, check->number, &check->site);
    if (check->site.version != before)
        check->streak = 0;
    *ret = (struct config_address){.socket = check->site.address, .length = check->site.length};
    return check->site.presence == SERVERS_HERE;
}

// Whether it is still there.
static bool is_as_found(const struct check *check)
{
    return !check->server->name ||
           servers_site_version(check->checks->servers, check->number) == check->site.version;
}

// ---- results ----

static void on_quota(void *owner)
{
    struct checks *checks = owner;
    uint64_t count = log_quota_rest(&checks->quota, clock_now_ns());

    if (count > 0)
        log_warning("more servers went out or came back", log_integer("count", count),
                    log_integer("seconds", LOG_QUOTA_NS / CLOCK_NS_PER_S));
}

static void say(const struct check *check, bool is_out, const char *why)
{
    struct log_field upstream = log_text("upstream", check->upstream->name);
    struct config_address found = {.socket = check->site.address};
    char text[ADDRESS_TEXT_SIZE];
    struct log_field server = log_text("server", check->server->address.text);
    struct checks *checks = check->checks;

    if (check->server->name) {
        address_text(&found, text);
        server = log_text("server", text);
    }
    if (!log_quota_take(&checks->quota, clock_now_ns()))
        loop_timer_set(checks->loop, &checks->quota_timer, log_quota_due_ns(&checks->quota));
    else if (is_out)
        log_warning("server is out", upstream, server,
                    log_integer("failed_checks", check->upstream->health.fall), log_text("error", why));
    else
        log_info("server is back", upstream, server);
}

// why: NULL: it was good.
static void judge(struct check *check, const char *why)
{
    const struct config_health *health = &check->upstream->health;
    bool is_out = atomic_load(&check->state->is_out) != 0;
    bool is_good = why == NULL;

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
        say(check, !is_out, why);
}

// orderly: the server may have to read what was said to it. Else with a reset, so that no port has to rest after each check.
static void finish(struct check *check, bool orderly)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t next_ns = check->begun_ns + check->upstream->health.interval_ns;

    loop_unwatch(check->checks->loop, &check->watch);
    if (check->fd >= 0 && orderly)
        (void)socket_shutdown(check->fd);
    socket_close(check->fd, !orderly);
    check->fd = -1;
    loop_timer_set(check->checks->loop, &check->timer, next_ns > now_ns ? next_ns : now_ns);
}

static void stop_talking(struct check *check)
{
    check_talk_destroy(check->talk);
    check->talk = NULL;
}

static void end(struct check *check, const char *why)
{
    finish(check, check->talk != NULL);
    // Who was told to be left alone meanwhile is.
    if (atomic_load(&check->state->order) != SERVERS_DOWN && is_as_found(check))
        judge(check, why);
    stop_talking(check);
}

static void end_by_error(struct check *check, int error)
{
    end(check, error != 0 ? log_error_text(error) : NULL);
}

// ---- a check ----

// Says what there is to say as far as it goes.
static void talk(struct check *check)
{
    unsigned events = 0;

    switch (check_talk_step(check->talk, check->fd, &events)) {
    case CHECK_TALK_GOOD:
        end(check, NULL);
        break;
    case CHECK_TALK_BAD:
        end(check, check_talk_why(check->talk));
        break;
    default:
        if (loop_events(check->checks->loop, &check->watch, events) == 0)
            break;
        finish(check, false); // that says nothing of the server
        stop_talking(check);
    }
}

static void connected(struct check *check)
{
    size_t upstream = (size_t)(check->upstream - check->checks->upstreams);

    if (!check_talk_is_wanted(check->upstream)) {
        end(check, NULL);
        return;
    }
    check->talk = check_talk_create(check->upstream, check->server, check->checks->contexts[upstream]);
    if (check->talk)
        talk(check);
    else
        finish(check, false);
}

static void on_event(void *owner, unsigned events)
{
    struct check *check = owner;
    int error = 0;
    socklen_t length = sizeof(error);

    (void)events;
    if (check->talk) {
        talk(check);
        return;
    }
    if (getsockopt(check->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        error = errno;
    if (error != 0)
        end_by_error(check, error);
    else
        connected(check);
}

static void begin(struct check *check)
{
    struct config_address address;
    bool is_there = find_address(check, &address);

    check->begun_ns = clock_now_ns();
    if (atomic_load(&check->state->order) == SERVERS_DOWN || !is_there)
        check->streak = 0;
    else
        check->fd = socket_open(address.socket.ss_family);
    // Nobody is to ask, or there is no descriptor left: that says nothing of the server.
    if (check->fd < 0)
        finish(check, false);
    else if (connect(check->fd, (const struct sockaddr *)&address.socket, address.length) < 0 &&
             errno != EINPROGRESS)
        end_by_error(check, errno);
    else if (loop_watch(check->checks->loop, &check->watch, check->fd, EPOLLOUT, on_event, check) < 0)
        finish(check, false); // likewise
    else                      // a unix socket is connected at once, which is an event too
        loop_timer_set(check->checks->loop, &check->timer,
                       check->begun_ns + check->upstream->health.timeout_ns);
}

static void on_timer(void *owner)
{
    struct check *check = owner;

    if (check->fd < 0)
        begin(check);
    else
        end(check, check->talk && check->upstream->health.check == CONFIG_CHECK_TLS
                       ? "the handshake with the server took too long"
                       : log_error_text(ETIMEDOUT));
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
        .number = servers_number(master->servers, upstream, server),
        .fd = -1,
        .watch = {.fd = -1}};
    loop_timer_init(&check->timer, on_timer, check);
    loop_timer_set(checks->loop, &check->timer,
                   clock_now_ns() + config->health.interval_ns / count * checks->count);
    checks->count++;
}

static int make_contexts(struct master *master)
{
    const struct config *config = master->config;
    struct checks *checks = master->checks;
    int error = 0;

    checks->contexts = calloc(config->upstream_count, sizeof(struct tls_context *));
    if (!checks->contexts) {
        log_error("no memory for the servers' checks");
        return -ENOMEM;
    }
    checks->context_count = config->upstream_count;
    for (size_t i = 0; i < config->upstream_count && error == 0; i++) {
        if (config->upstreams[i].health.check == CONFIG_CHECK_TLS)
            error =
                tls_context_create_client(config, i, master->control->tls_upstreams, &checks->contexts[i]);
    }
    return error;
}

int checks_start(struct master *master)
{
    const struct config *config = master->config;
    size_t count = count_checks(config);
    int error;

    if (count == 0)
        return 0;
    master->checks = calloc(1, sizeof(*master->checks) + count * sizeof(master->checks->each[0]));
    if (!master->checks) {
        log_error("no memory for the servers' checks");
        return -ENOMEM;
    }
    master->checks->loop = master->loop;
    master->checks->servers = master->servers;
    loop_timer_init(&master->checks->quota_timer, on_quota, master->checks);
    master->checks->upstreams = config->upstreams;
    error = make_contexts(master);
    if (error < 0)
        return error;
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
        check_talk_destroy(check->talk);
    }
    for (size_t i = 0; i < checks->context_count; i++)
        tls_context_destroy(checks->contexts[i]);
    free(checks->contexts);
    free(checks);
}
