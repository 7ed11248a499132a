// SPDX-License-Identifier: Apache-2.0
// The proxy of one worker: what all its connections share, and what happens by time.
#include "ringbolt/proxy.h"

#include <assert.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/random.h>

#include "connection.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"

#define CANCEL_AGAIN_NS (100 * CLOCK_NS_PER_MS)
#define LOOK_NS         (50 * CLOCK_NS_PER_MS)
#define LOOK_UNTIL_NS   (2 * CLOCK_NS_PER_S)
#define TRIM_NS         CLOCK_NS_PER_S
#define HELLO_NS        (300 * CLOCK_NS_PER_US)  // about what a step of a handshake takes
#define CROWD           16                    // connections whose memory is worth a look at the heap
#define DROP_NS         (5 * CLOCK_NS_PER_MS) // how soon a master is told again whose channel was full
#define STARVED_NS      (5 * CLOCK_NS_PER_MS) // how soon a flow that got no buffer tries again
#define STALLED_NS                                                                                           \
    (5 * CLOCK_NS_PER_S) // a send that waited so long may lose its connection when buffers run out

// A socket, which is one of several that its listener has, perhaps.
static void init_listener(struct proxy *proxy, size_t place, size_t index, int fd)
{
    const struct proxy_setup *setup = &proxy->setup;
    struct listener *listener = &proxy->listeners[place];

    *listener = (struct listener){.proxy = proxy,
                                  .config = &setup->config->listeners[index],
                                  .context = setup->contexts[index],
                                  .stats = stats_listener(setup->stats, setup->worker, index),
                                  .fd = fd,
                                  .acme = setup->acme ? setup->acme[index] : -1};
    ring_op_init(&listener->accept_op, NULL);
}

struct proxy *proxy_create(const struct proxy_setup *setup, uint64_t now_ns)
{
    const struct config *config = setup->config;
    struct proxy *proxy = calloc(1, sizeof(*proxy));

    if (!proxy)
        return NULL;
    proxy->setup = *setup;
    if (getrandom(&proxy->unique, sizeof(proxy->unique), 0) != sizeof(proxy->unique))
        proxy->unique = now_ns; // never, on kernels that we run on
    proxy->stats = stats_worker(setup->stats, setup->worker);
    proxy->ring = setup->ring;
    proxy->pool = setup->pool;
    proxy->now_ns = proxy->trimmed_ns = now_ns;
    timer_wheel_init(&proxy->wheel, now_ns);
    timer_init(&proxy->resume_timer);
    timer_init(&proxy->look_timer);
    timer_init(&proxy->retired_timer);
    timer_init(&proxy->queue_timer);
    timer_init(&proxy->refused_timer);
    timer_init(&proxy->news_timer);
    timer_init(&proxy->handover_timer);
    timer_init(&proxy->log_limit.timer);
    list_init(&proxy->connections);
    list_init(&proxy->handovers);
    list_init(&proxy->starved);
    list_init(&proxy->sending);
    list_init(&proxy->rested);
    list_init(&proxy->hellos);
    proxy->slabs = connection_slabs_create();
    proxy->listener_count = config->listener_count + setup->more_count;
    proxy->listeners = calloc(proxy->listener_count, sizeof(*proxy->listeners));
    proxy->upstreams = upstreams_create(config, setup->servers, setup->worker);
    proxy->queues = calloc(config->upstream_count + 1, sizeof(*proxy->queues));
    if (!proxy->slabs || !proxy->listeners || !proxy->upstreams || !proxy->queues || deposits_create(proxy) < 0) {
        proxy_destroy(proxy);
        return NULL;
    }
    for (size_t i = 0; i < config->upstream_count; i++)
        list_init(&proxy->queues[i]);
    for (size_t i = 0; i < proxy->listener_count; i++) {
        const struct proxy_socket *more =
            i < config->listener_count ? NULL : &setup->more[i - config->listener_count];

        init_listener(proxy, i, more ? more->listener : i, more ? more->fd : setup->listeners[i]);
    }
    return proxy;
}

void proxy_destroy(struct proxy *proxy)
{
    if (!proxy)
        return;
    assert(proxy->connection_count == 0 && list_empty(&proxy->handovers));
    log_limit_say(proxy);
    connection_slabs_destroy(proxy->slabs);
    shared_texts_finish(&proxy->texts);
    deposits_destroy(proxy);
    free(proxy->listeners);
    upstreams_destroy(proxy->upstreams);
    free(proxy->queues);
    free(proxy);
}

void proxy_start(struct proxy *proxy)
{
    for (size_t i = 0; i < proxy->listener_count; i++)
        listener_start(&proxy->listeners[i]);
    proxy->looks_until_ns = proxy->now_ns + LOOK_UNTIL_NS;
    timer_set(&proxy->wheel, &proxy->look_timer, proxy->now_ns + LOOK_NS);
}

// A worker that was killed leaves a ring behind which the kernel takes apart a little later. Until then its accept may be the one
// that is woken by a client (one waiter is, not all), and ours sleeps on. So for a while after the start the queues are looked at.
static void look_at_queues(struct proxy *proxy)
{
    for (size_t i = 0; i < proxy->listener_count; i++)
        listener_look(&proxy->listeners[i]);
    if (proxy->now_ns < proxy->looks_until_ns)
        timer_set(&proxy->wheel, &proxy->look_timer, proxy->now_ns + LOOK_NS);
}

// Again and again until none is in flight: a cancellation can be lost (see cancel_all() in connection.c).
static void cancel_accepts(struct proxy *proxy)
{
    bool is_done = true;

    for (size_t i = 0; i < proxy->listener_count; i++) {
        ring_cancel(proxy->ring, &proxy->listeners[i].accept_op);
        is_done &= !proxy->listeners[i].accept_op.in_flight;
    }
    if (!is_done)
        timer_set(&proxy->wheel, &proxy->resume_timer, proxy->now_ns + CANCEL_AGAIN_NS);
}

// Calls `act` for each connection; it may free the one that it is given, and no other.
static void for_each_connection(struct proxy *proxy, void (*act)(struct connection *connection))
{
    struct list *node = proxy->connections.next;

    while (node != &proxy->connections) {
        struct list *next = node->next;

        act(list_entry(node, struct connection, node));
        node = next;
    }
}

static void drain_connection(struct connection *connection)
{
    redirect_drain(connection);
    connection_reap(connection);
}

void proxy_pause(struct proxy *proxy, bool is_paused)
{
    if (proxy->is_paused == is_paused || proxy->is_draining)
        return;
    proxy->is_paused = is_paused;
    if (is_paused) {
        cancel_accepts(proxy);
        return;
    }
    proxy_start(proxy); // or, where an accept is still being cancelled, when that is over
}

void proxy_drain(struct proxy *proxy)
{
    if (proxy->is_draining)
        return;
    proxy->is_draining = true;
    cancel_accepts(proxy);
    for (size_t i = 0; i < proxy->listener_count; i++)
        listener_drain(&proxy->listeners[i]);
    for_each_connection(proxy, drain_connection);
}

static void stop_connection(struct connection *connection)
{
    connection_stop(connection);
    connection_reap(connection);
}

void proxy_stop(struct proxy *proxy)
{
    if (proxy->is_stopping)
        return;
    proxy->is_stopping = true;
    proxy->is_draining = true;
    cancel_accepts(proxy);
    handovers_stop(proxy); // before: what is on its way is one side's, and must be known to be
    for_each_connection(proxy, stop_connection);
}

bool proxy_pauses(const struct proxy *proxy)
{
    for (size_t i = 0; i < proxy->listener_count; i++) {
        if (proxy->listeners[i].accept_op.in_flight)
            return false;
    }
    return proxy->is_paused || proxy->is_draining;
}

bool proxy_idle(const struct proxy *proxy)
{
    return proxy_pauses(proxy) && proxy->is_draining && proxy->connection_count == 0 && list_empty(&proxy->handovers);
}

void proxy_time(struct proxy *proxy, uint64_t now_ns)
{
    proxy->now_ns = now_ns;
}

// ---- retired certificates ----

static void set_retired_timer(struct proxy *proxy, uint64_t at_ns)
{
    if (!timer_is_set(&proxy->retired_timer) || at_ns < proxy->retired_timer_ns) {
        proxy->retired_timer_ns = at_ns;
        timer_set(&proxy->wheel, &proxy->retired_timer, at_ns);
    }
}

static bool is_retired(const struct connection *connection)
{
    return connection->names.certificate != 0 &&
           material_is_retired(connection->proxy->setup.material, connection->names.certificate);
}

void proxy_check_retired(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;

    uint64_t at_ns = proxy->retired_ns > proxy->now_ns ? proxy->retired_ns : proxy->now_ns;

    if (!is_retired(connection))
        return;
    if (connection->retired_ns == 0 || at_ns < connection->retired_ns)
        connection->retired_ns = at_ns; // never later than an earlier word had it
    set_retired_timer(proxy, connection->retired_ns);
}

void proxy_keep_retired(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;

    if (connection->retired_ns == 0 && is_retired(connection)) // the giver had not heard of it: it has as long as any
        connection->retired_ns = proxy->retired_ns > proxy->now_ns
                                     ? proxy->retired_ns
                                     : proxy->now_ns + proxy->setup.config->shutdown_timeout_ns;
    if (connection->retired_ns != 0)
        set_retired_timer(proxy, connection->retired_ns);
}

void proxy_drain_retired(struct proxy *proxy, uint64_t timeout_ns)
{
    proxy->retired_ns = proxy->now_ns + timeout_ns;
    for_each_connection(proxy, proxy_check_retired);
}

static void end_retired(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;

    if (connection->retired_ns == 0 || connection->end != END_NONE || connection->halt == HALT_REACHED)
        return;
    if (connection->retired_ns > proxy->now_ns) {
        set_retired_timer(proxy, connection->retired_ns);
        return;
    }
    connection_end(connection, END_RETIRED, ALERT_NONE, NULL);
    connection_reap(connection);
}

// ---- time ----

static void resume_listeners(struct proxy *proxy)
{
    for (size_t i = 0; i < proxy->listener_count; i++) {
        if (proxy->listeners[i].is_paused)
            listener_start(&proxy->listeners[i]);
    }
}

static void run_timers(struct proxy *proxy)
{
    struct list expired;
    struct list *node;

    list_init(&expired);
    timer_wheel_expired(&proxy->wheel, proxy->now_ns, &expired);
    // A handler may cancel a timer that waits in `expired`: then it is not there any more.
    while ((node = list_pop_front(&expired))) {
        struct timer *timer = list_entry(node, struct timer, node);

        if (timer == &proxy->resume_timer && (proxy->is_draining || proxy->is_paused))
            cancel_accepts(proxy);
        else if (timer == &proxy->resume_timer)
            resume_listeners(proxy);
        else if (timer == &proxy->look_timer)
            look_at_queues(proxy);
        else if (timer == &proxy->refused_timer)
            listener_say_refused(proxy);
        else if (timer == &proxy->news_timer)
            upstreams_say_rest(proxy->upstreams, proxy->now_ns);
        else if (timer == &proxy->handover_timer)
            handovers_look(proxy);
        else if (timer == &proxy->log_limit.timer)
            log_limit_say(proxy);
        else if (timer == &proxy->retired_timer)
            for_each_connection(proxy, end_retired);
        else if (timer == &proxy->queue_timer)
            proxy->is_queue_due = true;
        else
            connection_on_timer(list_entry(timer, struct connection, timer));
    }
}

// No buffer is left and somebody needs one: the connection whose peer has taken nothing for the longest time goes.
static void shed_stalled(struct proxy *proxy)
{
    struct flow *flow;
    struct connection *connection;

    if (list_empty(&proxy->sending))
        return;
    flow = list_entry(proxy->sending.next, struct flow, node);
    if (proxy->now_ns - flow->sending_since_ns < STALLED_NS)
        return;
    connection = flow->connection;
    connection_end(connection, END_MEMORY, ALERT_NONE, "buffers ran out and this peer takes nothing");
    if (connection->state != CONNECTION_DYING)
        connection_enter(connection, CONNECTION_DYING); // at once: the buffer is what is wanted
    connection_reap(connection);
}

void proxy_starve(struct proxy *proxy, struct flow *flow)
{
    stats_add(&proxy->stats->starved, 1);
    list_push_back(&proxy->starved, &flow->node);
}

// Those that got no buffer try again, the longest-waiting first, as many as there are buffers.
static void feed_starved(struct proxy *proxy)
{
    unsigned ready = ring_idle_ready(proxy->ring);
    struct list waiting;
    struct list *node;

    list_init(&waiting);
    list_splice_back(&waiting, &proxy->starved);
    if (ready == 0)
        shed_stalled(proxy);
    while (ready-- > 0 && (node = list_pop_front(&waiting))) {
        struct flow *flow = list_entry(node, struct flow, node);
        struct connection *connection = flow->connection;

        if (connection->state == CONNECTION_HEADER)
            header_in_retry(connection);
        else if (connection->state == CONNECTION_ANSWER)
            redirect_retry(connection);
        else if (connection->state == CONNECTION_HELLO)
            handshake_retry(connection);
        else if (connection->state == CONNECTION_SHAKE)
            shake_retry(connection);
        else
            flow_retry(flow);
        connection_reap(connection);
    }
    list_splice_back(&waiting, &proxy->starved);
    list_splice_back(&proxy->starved, &waiting);
}

// Handshakes and cipher contexts leave OpenSSL's memory with the allocator; after a crowd has gone, or to rest, it is worth giving back.
static bool is_crowd_gone(const struct proxy *proxy)
{
    return proxy->awake_peak >= CROWD && proxy->awake_count <= proxy->awake_peak / 2;
}

static void trim(struct proxy *proxy)
{
    proxy->trimmed_ns = proxy->now_ns;
    buffer_pool_trim(proxy->pool);
    if (is_crowd_gone(proxy)) {
        malloc_trim(0);
        proxy->awake_peak = proxy->awake_count;
    }
}

static void go_on(struct connection *connection)
{
    if (connection->state == CONNECTION_SHAKE)
        shake_go_on(connection);
    else
        handshake_go_on(connection);
}

// The connections that stand must not wait for a crowd that comes: a step of one handshake, then the ring is looked at again. When a turn of
// the others took long by itself, handshakes get half as long, so that they go on.
static void run_hellos(struct proxy *proxy, uint64_t turn_ns)
{
    uint64_t budget = 1 + turn_ns / 2 / HELLO_NS;
    struct list *node;

    while (budget-- > 0 && (node = list_pop_front(&proxy->hellos))) {
        ring_submit(proxy->ring); // what the others send leaves before, not after
        go_on(list_entry(node, struct flow, node)->connection);
    }
}

void proxy_tick(struct proxy *proxy, uint64_t now_ns)
{
    uint64_t turn_ns = now_ns - proxy->now_ns;

    proxy->now_ns = now_ns;
    rest_tell(proxy);
    run_hellos(proxy, turn_ns);
    run_timers(proxy);
    if (!list_empty(&proxy->starved))
        feed_starved(proxy);
    if (proxy->is_queue_due)
        dial_run_queues(proxy);
    if (proxy->is_handover_due || (proxy->is_draining && !list_empty(&proxy->handovers)))
        handovers_run(proxy);
    if (proxy->deposits.dropped_count > 0)
        deposits_tell(proxy);
    if (upstreams_due_ns(proxy->upstreams) != 0 && !timer_is_set(&proxy->news_timer))
        timer_set(&proxy->wheel, &proxy->news_timer, upstreams_due_ns(proxy->upstreams));
    if (proxy->now_ns - proxy->trimmed_ns >= TRIM_NS)
        trim(proxy);
}

uint64_t proxy_wait_ns(const struct proxy *proxy, uint64_t now_ns)
{
    uint64_t wait_ns = timer_wheel_wait_ns(&proxy->wheel, now_ns);

    if (!list_empty(&proxy->hellos) || !list_empty(&proxy->rested) || proxy->is_queue_due || proxy->is_handover_due)
        return 0;
    // Memory that a burst took goes back although nothing happens any more.
    if (wait_ns > TRIM_NS && (!buffer_pool_is_trimmed(proxy->pool) || is_crowd_gone(proxy)))
        wait_ns = TRIM_NS;
    if (proxy->deposits.dropped_count > 0 && wait_ns > DROP_NS)
        wait_ns = DROP_NS;
    if (!list_empty(&proxy->starved) && wait_ns > STARVED_NS)
        return STARVED_NS;
    return wait_ns;
}

unsigned proxy_connection_count(const struct proxy *proxy)
{
    return proxy->connection_count;
}
