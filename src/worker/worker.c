// SPDX-License-Identifier: Apache-2.0
// A worker's life: give up privileges, make the ring and the proxy on it, then wait, run completions, let time pass, until
// the master says that it is enough.
#include "ringbolt/worker.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "privileges.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/proxy.h"

#define RING_ENTRIES 1024

struct worker {
    const struct worker_setup *setup;
    struct buffer_pool *pool;
    struct ring *ring;
    struct tls_context **contexts;
    struct proxy *proxy;
    struct ring_op channel_op;
    char message;
    bool are_listeners_closed;
    bool is_orphan; // the master is gone
};

// ---- what the proxy tells and asks ----

static unsigned connections_elsewhere(void *owner)
{
    const struct worker *worker = owner;
    const struct worker_setup *setup = worker->setup;
    uint64_t total = 0;

    for (unsigned i = 0; i < setup->config->workers; i++) {
        if (i != setup->index)
            total += atomic_load_explicit(&setup->counters[i].connections_live, memory_order_relaxed);
    }
    return (unsigned)total;
}

static struct worker_counters *counters_of(void *owner)
{
    const struct worker *worker = owner;

    return &worker->setup->counters[worker->setup->index];
}

static void connections_changed(void *owner, unsigned live)
{
    atomic_store_explicit(&counters_of(owner)->connections_live, live, memory_order_relaxed);
}

static void connection_started(void *owner)
{
    atomic_fetch_add_explicit(&counters_of(owner)->connections_total, 1, memory_order_relaxed);
}

static void handshake_failed(void *owner)
{
    atomic_fetch_add_explicit(&counters_of(owner)->handshakes_failed, 1, memory_order_relaxed);
}

// ---- what the master says ----

static void listen_to_master(struct worker *worker)
{
    ring_receive(worker->ring, &worker->channel_op, worker->setup->channel, &worker->message,
                 sizeof(worker->message), 0);
}

// Nobody is to wait in a queue that nobody serves: the kernel refuses instead once the last descriptor is closed.
static void close_listeners(struct worker *worker)
{
    proxy_drain(worker->proxy);
    for (size_t i = 0; i < worker->setup->config->listener_count && !worker->are_listeners_closed; i++)
        close(worker->setup->listeners[i]);
    worker->are_listeners_closed = true;
}

static void on_message(struct ring_op *op, const struct ring_completion *completion)
{
    struct worker *worker = list_entry(op, struct worker, channel_op);

    if (completion->result == -EINTR || completion->result == -EAGAIN || completion->result == -ENOMEM) {
        listen_to_master(worker);
        return;
    }
    if (completion->result <= 0) {
        worker->is_orphan = true;
        return;
    }
    if (worker->message == WORKER_DRAIN)
        close_listeners(worker);
    else if (worker->message == WORKER_STOP)
        proxy_stop(worker->proxy);
    listen_to_master(worker);
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
        int error =
            tls_context_create(setup->config, i, setup->material, setup->ticket_keys, &worker->contexts[i]);

        if (error < 0)
            return error;
    }
    return 0;
}

static int worker_init(struct worker *worker)
{
    const struct worker_setup *setup = worker->setup;
    const struct config *config = setup->config;
    struct ring_options options = {.entries = RING_ENTRIES};
    struct proxy_setup proxy_setup;
    const char *what = "";
    int error;

    error = privileges_drop(setup->uid, setup->gid, &what);
    if (error < 0) {
        log_error("cannot give up privileges", log_text("step", what), log_errno(error));
        return error;
    }
    error = record_init();
    if (error < 0) {
        log_error("OpenSSL offers none of our ciphers");
        return error;
    }
    options.pool = worker->pool = buffer_pool_create(config->limits.memory / config->workers);
    if (!worker->pool) {
        log_error("no memory for relay buffers");
        return -ENOMEM;
    }
    error = ring_create(&options, &worker->ring, &what);
    if (error < 0) {
        log_error("no ring", log_text("reason", what), log_errno(error));
        return error;
    }
    error = make_contexts(worker);
    if (error < 0)
        return error; // said by tls_context_create()
    proxy_setup = (struct proxy_setup){
        .config = config,
        .probe = setup->probe,
        .contexts = worker->contexts,
        .listeners = setup->listeners,
        .ring = worker->ring,
        .pool = worker->pool,
        .seed = setup->index,
        .owner = worker,
        .connections_elsewhere = connections_elsewhere,
        .connections_changed = connections_changed,
        .connection_started = connection_started,
        .handshake_failed = handshake_failed,
    };
    worker->proxy = proxy_create(&proxy_setup, clock_now_ns());
    return worker->proxy ? 0 : -ENOMEM;
}

static int worker_loop(struct worker *worker)
{
    while (!proxy_idle(worker->proxy) && !worker->is_orphan) {
        struct ring_completion completion;
        int error = ring_wait(worker->ring, proxy_wait_ns(worker->proxy, clock_now_ns()));

        if (error < 0) {
            log_error("the ring is broken", log_errno(error));
            return 1;
        }
        proxy_time(worker->proxy, clock_now_ns());
        while (ring_next(worker->ring, &completion))
            completion.op->handler(completion.op, &completion);
        proxy_tick(worker->proxy);
    }
    return worker->is_orphan ? 1 : 0;
}

// The channel's receive is all that is still in flight.
static void close_channel(struct worker *worker)
{
    struct ring_completion completion;

    worker->is_orphan = true; // whatever it still brings, nothing is started on it
    while (worker->channel_op.in_flight) {
        ring_cancel(worker->ring,
                    &worker->channel_op); // again if it was lost: see cancel_all() in connection.c
        if (ring_wait(worker->ring, CLOCK_NS_PER_S / 10) < 0)
            break;
        while (ring_next(worker->ring, &completion))
            ;
    }
}

static void worker_finish(struct worker *worker)
{
    proxy_destroy(worker->proxy);
    for (size_t i = 0; worker->contexts && i < worker->setup->config->listener_count; i++)
        tls_context_destroy(worker->contexts[i]);
    free(worker->contexts);
    ring_destroy(worker->ring);
    buffer_pool_destroy(worker->pool);
    record_finish();
}

int worker_run(const struct worker_setup *setup)
{
    struct worker worker = {.setup = setup};
    const char ready = WORKER_READY;
    int status;

    if (worker_init(&worker) < 0) {
        worker_finish(&worker);
        return 1;
    }
    ring_op_init(&worker.channel_op, on_message);
    listen_to_master(&worker);
    proxy_start(worker.proxy);
    // Submits the accepts, so that `ready` is true when it is said.
    (void)ring_wait(worker.ring, 0);
    if (send(setup->channel, &ready, sizeof(ready), MSG_NOSIGNAL) < 0) {
        log_error("the master is gone", log_errno(errno));
        return 1;
    }
    status = worker_loop(&worker);
    if (worker.is_orphan) {
        log_error("the master is gone, this worker ends");
        return status; // connections are live: the kernel takes everything back
    }
    close_channel(&worker);
    worker_finish(&worker);
    return status;
}
