// SPDX-License-Identifier: Apache-2.0
// A worker's life: give up privileges, make the ring and the proxy on it, then wait, run completions, let time pass, until
// the master says that it is enough.
#include "ringbolt/worker.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "channel.h"
#include "privileges.h"
#include "ringbolt/clock.h"
#include "ringbolt/handover.h"
#include "ringbolt/listing.h"
#include "ringbolt/log.h"
#include "ringbolt/proxy.h"
#include "ringbolt/secret.h"
#include "sandbox.h"

#define RING_ENTRIES      1024
#define DESCRIPTORS_SPARE 16 // for what is opened in passing
#define GATHER_NS         (50 * CLOCK_NS_PER_US)
#define TIMEOUT_MS_MAX    31536000000 // 365 days: later than that is never, and may be added to a time

struct worker {
    const struct worker_setup *setup;
    struct buffer_pool *pool;
    struct ring *ring;
    struct ring_counts counted; // what of its counts is in the counters already
    struct tls_context **contexts;
    struct tls_context **client_contexts; // by upstream; NULL: it has no `tls`
    struct proxy *proxy;
    struct channel channel;
    struct channel_owner channel_owner;
    bool are_listeners_closed;
    bool is_failed; // what the master said could not be done
};

// ---- what the master says ----

// Nobody is to wait in a queue that nobody serves: the kernel refuses instead once the last descriptor is closed.
static void close_listeners(struct worker *worker)
{
    proxy_drain(worker->proxy);
    for (size_t i = 0; i < worker->setup->config->listener_count && !worker->are_listeners_closed; i++)
        close(worker->setup->listeners[i]);
    for (size_t i = 0; i < worker->setup->more_count && !worker->are_listeners_closed; i++)
        close(worker->setup->more[i].fd);
    worker->are_listeners_closed = true;
}

// The change is in a file in memory that nobody can alter any more. 0 or -errno.
static int apply_change(struct worker *worker, int fd, uint64_t size)
{
    off_t there = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1; // fstat(3) may be a call that takes paths, which is forbidden
    void *data;
    int error;

    if (there <= 0 || (uint64_t)there != size || size > SIZE_MAX)
        return -EBADMSG;
    data = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        return -errno;
    secret_protect(data, (size_t)size);
    error = material_apply(worker->setup->material, data, (size_t)size);
    munmap(data, (size_t)size);
    return error;
}

static void drain_retired(struct worker *worker, uint64_t timeout_ms)
{
    if (timeout_ms > TIMEOUT_MS_MAX)
        timeout_ms = TIMEOUT_MS_MAX;
    proxy_time(worker->proxy, clock_now_ns());
    proxy_drain_retired(worker->proxy, timeout_ms * CLOCK_NS_PER_MS);
}

static void tell_given(struct worker *worker, const struct handover_outcome *outcome)
{
    struct worker_message message = {.type = outcome->broken ? WORKER_GIVE_FAILED : WORKER_GIVEN,
                                     .sequence = outcome->is_all,
                                     .value = (uint64_t)outcome->given << 32 | outcome->kept};
    int error = channel_say(&worker->channel, &message);

    if (error < 0)
        log_warning("the master takes no messages", log_errno(error));
}

static void on_given(void *owner, const struct handover_outcome *outcome)
{
    tell_given(owner, outcome);
}

static void give(struct worker *worker, uint64_t value, int fd)
{
    bool is_all = value == UINT64_MAX;
    struct handover_order order = {.most = is_all ? HANDOVER_ALL : (uint32_t)value,
                                   .age_ns = is_all ? 0 : (value >> 32) * CLOCK_NS_PER_MS};
    int error = fd >= 0 ? proxy_give(worker->proxy, fd, &order, on_given, worker) : -EBADF;
    struct handover_outcome none = {.is_all = is_all, .broken = "it could not begin"};

    if (error == 0)
        return;
    log_warning("cannot hand over connections", log_errno(error));
    tell_given(worker, &none);
}

static void take(struct worker *worker, int fd)
{
    int error = fd >= 0 ? proxy_take(worker->proxy, fd) : -EBADF;

    if (error < 0) // the giver sees the end of file, and keeps what it has
        log_warning("cannot take over connections", log_errno(error));
}

static bool on_message(void *owner, const struct worker_message *message, int *fd)
{
    struct worker *worker = owner;
    int error = 0;

    switch (message->type) {
    case WORKER_DRAIN:
        close_listeners(worker);
        break;
    case WORKER_STOP:
        proxy_stop(worker->proxy);
        break;
    case WORKER_CHANGE:
        error = apply_change(worker, *fd, message->value);
        break;
    case WORKER_PING:
        break; // the channel answers
    case WORKER_LOG:
        error = dup3(*fd, STDERR_FILENO, 0) < 0 ? -errno : 0;
        break;
    case WORKER_LIST:
        proxy_list(worker->proxy, message->value == 1, worker->setup->listing);
        break;
    case WORKER_DRAIN_RETIRED:
        drain_retired(worker, message->value);
        break;
    case WORKER_GIVE:
        give(worker, message->value, *fd);
        *fd = -1;
        break;
    case WORKER_TAKE:
        take(worker, *fd);
        *fd = -1;
        break;
    case WORKER_PAUSE:
        proxy_pause(worker->proxy, message->value != 0);
        break;
    default:
        error = -EBADMSG;
    }
    if (error == 0)
        return true;
    // Certificates that differ from the other workers' would be worse: the replacement inherits what is right.
    log_error("cannot do what the master says, this worker ends", log_integer("message", message->type),
              log_errno(error));
    worker->is_failed = true;
    return false;
}

// ---- life ----

static int make_contexts(struct worker *worker)
{
    const struct worker_setup *setup = worker->setup;
    size_t count = setup->config->listener_count;

    worker->contexts = calloc(count, sizeof(*worker->contexts));
    if (!worker->contexts)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        struct tls_context_options options = {
            .config = setup->config, .listener = i, .material = setup->material, .keylog = setup->keylogs[i]};
        int error = tls_context_create(&options, &worker->contexts[i]);

        if (error < 0)
            return error;
    }
    return 0;
}

static bool is_transparent(const struct config *config)
{
    for (size_t i = 0; i < config->upstream_count; i++) {
        if (config->upstreams[i].tcp.is_transparent)
            return true;
    }
    return false;
}

static int make_client_contexts(struct worker *worker)
{
    const struct config *config = worker->setup->config;

    worker->client_contexts = calloc(config->upstream_count + 1, sizeof(struct tls_context *));
    if (!worker->client_contexts)
        return -ENOMEM;
    for (size_t i = 0; i < config->upstream_count; i++) {
        int error = config->upstreams[i].tls.is_on
                        ? tls_context_create_client(config, i, worker->setup->tls_upstreams,
                                                    &worker->client_contexts[i])
                        : 0;

        if (error < 0)
            return error;
    }
    return 0;
}

// For how many connections there are descriptors, one for the client and one for the server.
static unsigned connections_most(const struct worker *worker)
{
    int next = dup(worker->setup->channel); // all below are in use, but for a few
    struct rlimit limit;

    if (next >= 0)
        close(next);
    if (next < 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return 0;
    if (limit.rlim_cur < (rlim_t)next + DESCRIPTORS_SPARE + 2)
        return 1;
    return (unsigned)((limit.rlim_cur - (rlim_t)next - DESCRIPTORS_SPARE) / 2);
}

static int make_ring(struct worker *worker)
{
    const struct worker_setup *setup = worker->setup;
    struct ring_options options = {
        .entries = RING_ENTRIES, .gather_ns = GATHER_NS, .is_restricted = setup->sandbox->has_ring};
    const char *why = "";
    int error;

    options.pool = worker->pool = buffer_pool_create(setup->config->limits.memory / setup->config->workers);
    if (!worker->pool) {
        log_error("no memory for relay buffers");
        return -ENOMEM;
    }
    error = ring_create(&options, &worker->ring, &why);
    if (error < 0)
        log_error("no ring", log_text("reason", why), log_errno(error));
    return error;
}

static int give_up_privileges(const struct worker_setup *setup)
{
    const char *step = "";
    int error = privileges_drop(setup->uid, setup->gid, is_transparent(setup->config), &step);

    if (error < 0) {
        log_error("cannot give up privileges", log_text("step", step), log_errno(error));
        return error;
    }
    error = privileges_hide();
    if (error < 0)
        log_error("cannot forbid core dumps", log_errno(error));
    return error;
}

static int worker_init(struct worker *worker)
{
    const struct worker_setup *setup = worker->setup;
    const struct config *config = setup->config;
    struct proxy_setup proxy_setup;
    const char *what = "";
    int error;

    // While root may still lock what it likes. Newer kernels count a ring among that, for all processes of the account together.
    material_forked(setup->material);
    tls_protect_keys(config->limits.connections);
    error = make_ring(worker);
    if (error == 0)
        error = give_up_privileges(setup);
    if (error < 0)
        return error;
    error = record_init();
    if (error < 0) {
        log_error("OpenSSL offers none of our ciphers");
        return error;
    }
    error = make_contexts(worker);
    if (error == 0)
        error = make_client_contexts(worker);
    if (error < 0)
        return error; // said by tls_context_create()
    proxy_setup = (struct proxy_setup){
        .config = config,
        .probe = setup->probe,
        .contexts = worker->contexts,
        .client_contexts = worker->client_contexts,
        .material = setup->material,
        .listeners = setup->listeners,
        .more = setup->more,
        .more_count = setup->more_count,
        .acme = setup->acme,
        .ring = worker->ring,
        .pool = worker->pool,
        .admission = setup->admission,
        .servers = setup->servers,
        .stats = setup->stats,
        .deposits = setup->deposits,
        .worker = setup->index,
        .connections_most = connections_most(worker),
    };
    worker->proxy = proxy_create(&proxy_setup, clock_now_ns());
    if (!worker->proxy)
        return -ENOMEM;
    worker->channel_owner = (struct channel_owner){.owner = worker, .message = on_message};
    error =
        channel_init(&worker->channel, worker->ring, setup->channel, setup->sequence, &worker->channel_owner);
    if (error < 0) {
        log_error("no descriptor left to start with", log_errno(error));
        return error;
    }
    // Everything that it takes to serve is there.
    error = sandbox_enter(setup->sandbox, config, setup->acme, setup->channel, &what);
    if (error < 0)
        log_error("cannot enter the sandbox", log_text("step", what), log_errno(error),
                  log_text("cure", "see docs/security.md; `sandbox` of the configuration can turn parts of it off"));
    return error;
}

static void count(struct worker *worker)
{
    struct stats_worker *own = stats_worker(worker->setup->stats, worker->setup->index);
    struct ring_counts now = ring_counts(worker->ring);

    stats_set(&own->buffers, buffer_pool_used(worker->pool));
    stats_add(&own->overflows, now.overflows - worker->counted.overflows);
    stats_add(&own->refused, now.refused - worker->counted.refused);
    worker->counted = now;
}

static int worker_loop(struct worker *worker)
{
    while (!proxy_idle(worker->proxy) && !worker->channel.is_over) {
        struct ring_completion completion;
        int error = ring_wait(worker->ring, proxy_wait_ns(worker->proxy, clock_now_ns()));

        if (error < 0) {
            log_error("the ring is broken", log_errno(error));
            return 1;
        }
        proxy_time(worker->proxy, clock_now_ns());
        while (ring_next(worker->ring, &completion))
            completion.op->handler(completion.op, &completion);
        proxy_tick(worker->proxy, clock_now_ns());
        count(worker);
    }
    return worker->channel.is_over ? 1 : 0;
}

static void worker_finish(struct worker *worker)
{
    proxy_destroy(worker->proxy);
    for (size_t i = 0; worker->contexts && i < worker->setup->config->listener_count; i++)
        tls_context_destroy(worker->contexts[i]);
    free(worker->contexts);
    for (size_t i = 0; worker->client_contexts && i < worker->setup->config->upstream_count; i++)
        tls_context_destroy(worker->client_contexts[i]);
    free(worker->client_contexts);
    ring_destroy(worker->ring);
    buffer_pool_destroy(worker->pool);
    record_finish();
}

int worker_run(const struct worker_setup *setup)
{
    struct worker worker = {.setup = setup};
    int status;
    int error;

    if (worker_init(&worker) < 0) {
        worker_finish(&worker);
        return 1;
    }
    channel_start(&worker.channel);
    proxy_revive(worker.proxy);
    if (setup->is_paused)
        proxy_pause(worker.proxy, true);
    else
        proxy_start(worker.proxy);
    // Submits the accepts, so that `ready` is true when it is said.
    (void)ring_wait(worker.ring, 0);
    error = channel_say_ready(&worker.channel);
    if (error < 0) {
        log_error("the master is gone", log_errno(error));
        return 1;
    }
    status = worker_loop(&worker);
    if (worker.channel.is_over) {
        if (!worker.is_failed)
            log_error("the master is gone, this worker ends");
        return status; // connections are live: the kernel takes everything back
    }
    channel_finish(&worker.channel);
    worker_finish(&worker);
    return status;
}
