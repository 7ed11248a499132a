// SPDX-License-Identifier: Apache-2.0
// The workers: forked, heard, replaced with patience, buried.
#include "supervise.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master.h"
#include "ringbolt/clock.h"
#include "ringbolt/listing.h"
#include "ringbolt/log.h"
#include "system.h"

#define QUICK_NS       CLOCK_NS_PER_S // a worker that dies younger is a sign of something that a restart won't cure
#define BACK_OFF_NS    (100 * CLOCK_NS_PER_MS)
#define BACK_OFF_LIMIT (5 * CLOCK_NS_PER_S)

uint64_t supervise_patience_ns = 30 * CLOCK_NS_PER_S;

// ---- in the child ----

static void reset_signals(void)
{
    // The master's business; see control.h.
    static const int ignored[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE};
    struct sigaction action;
    sigset_t none;

    for (int number = 1; number < NSIG; number++) {
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
            (void)signal(number, SIG_DFL);
    }
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        (void)signal(ignored[i], SIG_IGN);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

// A worker holds nothing of the master's: not the admin socket and its clients, not the channels (a worker learns of the
// master's death by their end of file), not the others' listening sockets.
static int keep_own_descriptors(const struct worker_setup *setup)
{
    size_t listeners = setup->config->listener_count;
    const struct deposit_room *room = setup->deposits;
    int *keep = malloc((3 * listeners + setup->more_count + 2 + 2 * (size_t)room->count) * sizeof(*keep));
    size_t count = 0;

    if (!keep)
        return -ENOMEM;
    keep[count++] = setup->channel;
    for (size_t i = 0; i < listeners; i++) {
        keep[count++] = setup->listeners[i];
        keep[count++] = setup->keylogs[i];
        keep[count++] = setup->acme[i];
    }
    for (size_t i = 0; i < setup->more_count; i++)
        keep[count++] = setup->more[i].fd;
    keep[count++] = room->channel;
    for (uint32_t slot = 0; slot < room->count; slot++) {
        if (room->fds[slot][0] >= 0) {
            keep[count++] = room->fds[slot][0];
            keep[count++] = room->fds[slot][1];
        }
    }
    system_keep_descriptors(keep, count);
    free(keep);
    return 0;
}

static _Noreturn void live_as_worker(struct master *master, unsigned index, int channel, int deposits,
                                     pid_t parent)
{
    char name[32];
    struct deposit_room room = safe_room(master, index, deposits);
    struct proxy_socket *more = NULL;
    struct worker_setup setup = {
        .index = index,
        .config = master->config,
        .material = master->material,
        .tls_upstreams = master->control->tls_upstreams,
        .keylogs = master->keylogs,
        .acme = master->acme,
        .sequence = master->messages.sequence,
        .probe = &master->probe,
        .sandbox = &master->sandbox,
        .listeners = listening_of(&master->listening, index),
        .channel = channel,
        .stats = master->stats,
        .listing = &master->listing[index],
        .servers = master->servers,
        .deposits = &room,
        .admission = master->admission,
        .uid = master->account.uid,
        .gid = master->account.gid,
        .is_paused = !succession_leads(master),
    };

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(1); // the master died before it could be watched
    reset_signals();
    snprintf(name, sizeof(name), "worker %u", index);
    log_process(name);
    loader_destroy(master->control->loader);    // it knows passphrases
    pack_finish(&master->control->development); // a key
    if (master->control->inherited)
        estate_finish(master->control->inherited); // likewise
    if (listening_more(&master->listening, index, &more, &setup.more_count) < 0)
        _exit(1);
    setup.more = more;
    if (keep_own_descriptors(&setup) < 0)
        _exit(1);
    _exit(worker_run(&setup));
}

// ---- hearing ----

// Takes one message. False when there is none.
static bool hear(struct process *process)
{
    struct worker_message message;
    ssize_t length;

    if (process->channel < 0)
        return false;
    do
        length = recv(process->channel, &message, sizeof(message), MSG_DONTWAIT);
    while (length < 0 && errno == EINTR);
    if (length < 0 && errno == EAGAIN)
        return false;
    if (length <= 0) {
        // It is dying, and SIGCHLD will tell how. Told nothing more, and not polled in vain.
        loop_unwatch(process->master->loop, &process->watch);
        close(process->channel);
        process->channel = -1;
        messages_drop(process);
        return false;
    }
    if (length != (ssize_t)sizeof(message))
        return true; // not ours; whatever it meant, there may be more
    if (message.type == WORKER_CHANGED) {
        messages_answered(process, message.sequence);
    } else if (message.type == WORKER_GIVEN || message.type == WORKER_GIVE_FAILED) {
        rebalance_given(process, &message);
        succession_given(process, message.sequence, message.type == WORKER_GIVE_FAILED, message.value);
    } else if (message.type == WORKER_FORBIDDEN && message.value <= INT_MAX) {
        process->forbidden = (int)message.value;
    } else if (message.type == WORKER_READY && !process->is_ready) {
        process->is_ready = true;
        process->messages.since_ns = clock_now_ns(); // it could not answer before
        supervise_expect(process);
        if (process->is_replacement)
            log_info("worker replaced", log_integer("worker", process->index),
                     log_integer("worker_pid", process->pid));
        master_check_ready(process->master);
    }
    return true;
}

static void on_channel(void *owner, unsigned events)
{
    struct process *process = owner;

    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        (void)hear(process);
    if ((events & EPOLLOUT) != 0 && process->channel >= 0)
        messages_writable(process);
}

static void on_retry(void *owner)
{
    messages_writable(owner);
}

// ---- patience ----

void supervise_expect(struct process *process)
{
    uint64_t at_ns = UINT64_MAX;

    if (process->pid != 0 && !process->is_killed) {
        if (!process->is_ready)
            at_ns = process->started_ns + supervise_patience_ns;
        else if (messages_owes(process))
            at_ns = process->messages.since_ns + supervise_patience_ns;
    }
    loop_timer_set(process->master->loop, &process->patience, at_ns);
}

void supervise_give_up(struct process *process, const char *why)
{
    if (process->pid == 0 || process->is_killed)
        return;
    log_error("worker killed", log_integer("worker", process->index), log_integer("worker_pid", process->pid),
              log_text("reason", why));
    process->is_killed = true;
    loop_timer_stop(&process->patience);
    if (process->master->state >= MASTER_DRAINING)
        process->master->status = 1; // connections are cut
    (void)kill(process->pid, SIGKILL);
}

static void patience_is_over(void *owner)
{
    struct process *process = owner;
    char why[96];

    snprintf(why, sizeof(why), "%s within %g s",
             process->is_ready ? "it has not acted on the master's message" : "it was not ready",
             (double)supervise_patience_ns / (double)CLOCK_NS_PER_S);
    supervise_give_up(process, why);
}

// ---- starting ----

int supervise_start(struct master *master, unsigned index)
{
    struct process *process = &master->processes[index];
    pid_t parent = getpid();
    int channel[2];
    int deposits;
    int error;
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, channel) < 0) {
        error = -errno;
        goto failed;
    }
    error = loop_watch(master->loop, &process->watch, channel[0], EPOLLIN, on_channel, process);
    if (error < 0)
        goto failed_channel;
    error = safe_open(&process->safe, &deposits);
    if (error < 0)
        goto failed_watch;
    pid = fork();
    if (pid == 0)
        live_as_worker(master, index, channel[1], deposits, parent);
    error = pid < 0 ? -errno : 0;
    if (deposits >= 0)
        close(deposits);
    if (error < 0) {
        safe_cancel(&process->safe);
        goto failed_watch;
    }
    close(channel[1]);
    process->pid = pid;
    process->channel = channel[0];
    process->is_ready = false;
    process->is_killed = false;
    process->gives = process->wants_again = false;
    process->gives_again = 0;
    process->forbidden = -1;
    process->started_ns = clock_now_ns();
    process->starts++;
    messages_begin(process);
    supervise_expect(process);
    return 0;
failed_watch:
    loop_unwatch(master->loop, &process->watch);
failed_channel:
    close(channel[0]);
    close(channel[1]);
failed:
    log_error("cannot start a worker", log_integer("worker", index), log_errno(error));
    return error;
}

static uint64_t back_off_ns(unsigned quick_deaths)
{
    uint64_t wait_ns = BACK_OFF_NS;

    if (quick_deaths < 2)
        return 0; // once may be chance
    for (unsigned i = 2; i < quick_deaths && wait_ns < BACK_OFF_LIMIT; i++)
        wait_ns *= 2;
    return wait_ns < BACK_OFF_LIMIT ? wait_ns : BACK_OFF_LIMIT;
}

// Returns how long the replacement will have to wait.
static uint64_t plan_replacement(struct process *process, bool was_quick)
{
    uint64_t wait_ns;

    process->quick_deaths = was_quick ? process->quick_deaths + 1 : 0;
    wait_ns = back_off_ns(process->quick_deaths);
    process->is_replacement = true;
    loop_timer_set(process->master->loop, &process->restart, clock_now_ns() + wait_ns);
    return wait_ns;
}

static void replace(void *owner)
{
    struct process *process = owner;

    if (process->pid != 0)
        return;
    if (process->master->state != MASTER_SERVING)
        safe_empty(&process->safe); // no worker comes for it, or not soon enough
    else if (supervise_start(process->master, process->index) < 0)
        (void)plan_replacement(process, true);
}

void supervise_fill(struct master *master)
{
    for (unsigned i = 0; i < master->config->workers; i++)
        replace(&master->processes[i]);
}

void supervise_init(struct master *master)
{
    for (unsigned i = 0; i < master->config->workers; i++) {
        struct process *process = &master->processes[i];

        *process = (struct process){
            .master = master, .index = i, .channel = -1, .watch = {.fd = -1}, .forbidden = -1};
        loop_timer_init(&process->patience, patience_is_over, process);
        loop_timer_init(&process->restart, replace, process);
        loop_timer_init(&process->retry, on_retry, process);
        messages_begin(process);
    }
    safes_init(master);
}

// ---- death ----

void supervise_kill(struct master *master)
{
    for (unsigned i = 0; i < master->config->workers; i++) {
        struct process *process = &master->processes[i];

        if (process->pid == 0)
            continue;
        log_warning("worker does not end, killed", log_integer("worker", i),
                    log_integer("worker_pid", process->pid));
        process->is_killed = true;
        master->status = 1;
        (void)kill(process->pid, SIGKILL);
    }
}

// What became of a dead worker's connections.
struct left {
    uint64_t lost;
    uint64_t kept; // they go on in the worker that takes its place
};

static void say_death(enum log_level level, const char *message, const struct process *process, pid_t pid,
                      int status, const struct left *left, struct log_field retry)
{
    char name[32] = "";
    char call[32] = "";

    if (WIFSIGNALED(status)) {
        const char *abbreviation = sigabbrev_np(WTERMSIG(status));

        if (abbreviation)
            snprintf(name, sizeof(name), "SIG%s", abbreviation);
        else
            snprintf(name, sizeof(name), "%d", WTERMSIG(status));
    }
    if (process->forbidden >= 0)
        sandbox_call_name(process->forbidden, call, sizeof(call));
    log_line(level, message, log_integer("worker", process->index), log_integer("worker_pid", pid),
             log_text("signal", name[0] ? name : NULL), log_text("system_call", call[0] ? call : NULL),
             WIFEXITED(status) ? log_integer("status", WEXITSTATUS(status))
                               : (struct log_field){.kind = LOG_FIELD_NONE},
             log_integer("connections_lost", left->lost),
             process->safe.slots ? log_integer("connections_kept", left->kept)
                                 : (struct log_field){.kind = LOG_FIELD_NONE},
             retry);
}

static bool is_quick(const struct process *process)
{
    return clock_now_ns() - process->started_ns < QUICK_NS;
}

static void say_and_plan(struct process *process, pid_t pid, int status, const struct left *left)
{
    struct master *master = process->master;
    struct log_field none = {.kind = LOG_FIELD_NONE};
    bool was_quick = is_quick(process);
    bool is_orderly = WIFEXITED(status) && WEXITSTATUS(status) == 0;

    if (master->state == MASTER_SERVING) {
        uint64_t wait_ns = plan_replacement(process, was_quick);

        say_death(LOG_ERROR, "worker died", process, pid, status, left,
                  log_integer("retry_ms", wait_ns / CLOCK_NS_PER_MS));
    } else if (master->state == MASTER_STARTING) {
        say_death(LOG_ERROR, "worker could not start", process, pid, status, left, none);
        master->status = 1;
    } else if (!is_orderly && !process->is_killed) {
        say_death(LOG_ERROR, "worker died", process, pid, status, left, none);
        master->status = 1;
    } else {
        log_debug("worker ended", log_integer("worker", process->index), log_integer("worker_pid", pid));
    }
}

// What it has deposited may be what kills it: not a third time. And whoever broke into it may have written that.
static bool may_go_on(const struct process *process, int status)
{
    return process->master->state == MASTER_SERVING && process->forbidden < 0 &&
           !(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) &&
           !(is_quick(process) && process->quick_deaths > 0);
}

static struct left take_stock(struct process *process, int status)
{
    struct master *master = process->master;
    uint64_t *kept = calloc(master->config->listener_count, sizeof(*kept)); // NULL: the count of the lost is too high
    struct left left;

    left.kept = safe_bury(&process->safe, may_go_on(process, status), kept);
    left.lost = stats_forget(master->stats, process->index, kept);
    free(kept);
    return left;
}

static void bury(struct process *process, int status)
{
    struct master *master = process->master;
    pid_t pid = process->pid;
    struct left left;

    while (hear(process)) // what it said before it died comes before its death
        ;
    left = take_stock(process, status);
    servers_forget(master->servers, process->index);
    admission_forget(master->admission, process->index);
    loop_unwatch(master->loop, &process->watch);
    if (process->channel >= 0)
        close(process->channel);
    process->channel = -1;
    process->pid = 0;
    loop_timer_stop(&process->patience);
    rebalance_died(process);
    succession_given(process, 1, true, 0);
    say_and_plan(process, pid, status, &left);
    messages_drop(process);
}

bool supervise_reap(struct master *master, pid_t pid, int status)
{
    for (unsigned i = 0; i < master->config->workers; i++) {
        if (master->processes[i].pid == pid) {
            bury(&master->processes[i], status);
            return true;
        }
    }
    return false;
}

// ---- sums ----

unsigned supervise_alive(const struct master *master)
{
    unsigned alive = 0;

    for (unsigned i = 0; i < master->config->workers; i++)
        alive += master->processes[i].pid != 0;
    return alive;
}

bool supervise_all_ready(const struct master *master)
{
    for (unsigned i = 0; i < master->config->workers; i++) {
        if (!master->processes[i].is_ready)
            return false;
    }
    return true;
}

uint64_t supervise_connections(const struct master *master)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < master->config->workers; i++)
        total += stats_get(&stats_worker(master->stats, i)->connections);
    return total;
}
