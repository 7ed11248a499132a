// SPDX-License-Identifier: Apache-2.0
// What WATCHDOG=1 proves: the master's loop turns, and at least one worker has acted on a message since the last time. One worker that
// hangs is the master's own to kill and replace (supervise.c, 30 s), while the others go on serving: no reason for the manager to cut
// all connections. That every worker is silent for longer than that is one.
#include "service.h"

#include <inttypes.h>

#include "master.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"

#define WATCHDOG_PARTS     4                     // we look so often within WATCHDOG_USEC
#define RELOAD_PATIENCE_NS (60 * CLOCK_NS_PER_S) // a worker that does not act is killed before that
#define MARGIN_NS          (10 * CLOCK_NS_PER_S) // for what comes after the last connection

// ---- what is said ----

static void say_serving(struct master *master)
{
    notify_send(&master->service.notify, "READY=1\nSTATUS=Serving: %zu listeners, %u workers\n",
                master->config->listener_count, master->config->workers);
}

static void reload_acted(void *owner, unsigned late, unsigned first)
{
    struct master *master = owner;

    (void)late;
    (void)first;
    if (master->state == MASTER_SERVING)
        say_serving(master);
}

void service_reloading(struct master *master)
{
    struct service *service = &master->service;

    if (service->notify.length == 0 || master->state != MASTER_SERVING)
        return;
    messages_forget(&service->reloading); // one that is not over yet: both are with this one
    // systemd holds the time against its own to tell this reload from an earlier one (sd_notify(3)).
    notify_send(&service->notify, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\nSTATUS=Reloading\n",
                (uint64_t)(clock_now_ns() / CLOCK_NS_PER_US));
}

void service_reloaded(struct master *master)
{
    if (master->service.notify.length > 0 && master->state == MASTER_SERVING)
        messages_wait(master, &master->service.reloading, RELOAD_PATIENCE_NS, reload_acted, master);
}

void service_stopping(struct master *master, uint64_t within_ns)
{
    struct service *service = &master->service;

    messages_forget(&service->reloading);
    if (service->is_paused)
        return;
    // Without the last line a drain that the configuration allows would be cut by TimeoutStopSec=.
    notify_send(&service->notify,
                "STOPPING=1\nSTATUS=%s: %" PRIu64 " connections\nEXTEND_TIMEOUT_USEC=%" PRIu64 "\n",
                master->state == MASTER_DRAINING ? "Draining" : "Stopping", stats_connections(master->stats),
                (uint64_t)((within_ns + MARGIN_NS) / CLOCK_NS_PER_US));
}

// ---- watchdog ----

static bool is_answered(const struct master *master)
{
    if (!master->service.is_asked)
        return true;
    for (unsigned i = 0; i < master->config->workers; i++) {
        const struct process *process = &master->processes[i];

        // One that was started since counts: it has acted on the start.
        if (process->pid != 0 && process->is_ready &&
            (int32_t)(process->messages.acted - master->service.asked) >= 0)
            return true;
    }
    return false;
}

static void look(void *owner)
{
    struct master *master = owner;
    struct service *service = &master->service;
    bool is_well = master->state != MASTER_SERVING || is_answered(master);

    loop_timer_set(master->loop, &service->watchdog,
                   clock_now_ns() + service->notify.watchdog_ns / WATCHDOG_PARTS);
    if (is_well)
        notify_send(&service->notify, "WATCHDOG=1\n");
    else if (!service->is_silent)
        log_error("no worker answers, the service manager's watchdog is not served");
    service->is_silent = !is_well;
    if (master->state == MASTER_SERVING) {
        messages_send(master, WORKER_PING, 0);
        service->asked = master->messages.sequence;
        service->is_asked = true;
    }
}

// ---- life ----

void service_open(struct master *master)
{
    struct service *service = &master->service;

    service->is_paused = false;
    notify_open(&service->notify);
    if (master->succession.first_pid != 0)
        service->notify.relay = master->succession.first;
    loop_timer_init(&service->watchdog, look, master);
    if (service->notify.watchdog_ns > 0)
        look(master);
}

void service_ready(struct master *master)
{
    say_serving(master);
}

void service_pause(struct master *master)
{
    messages_forget(&master->service.reloading);
    master->service.is_paused = true;
    if (master->service.watchdog.handler)
        loop_timer_stop(&master->service.watchdog);
}

void service_resume(struct master *master)
{
    master->service.is_paused = false;
    say_serving(master);
    if (master->service.notify.watchdog_ns > 0)
        look(master);
}

void service_close(struct master *master)
{
    struct service *service = &master->service;

    messages_forget(&service->reloading);
    if (service->watchdog.handler)
        loop_timer_stop(&service->watchdog);
    notify_close(&service->notify);
}
