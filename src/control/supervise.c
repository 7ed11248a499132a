// SPDX-License-Identifier: Apache-2.0
// The workers: forked, heard, replaced with patience, buried.
#include "supervise.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ringbolt/clock.h"
#include "ringbolt/log.h"

#define QUICK_NS       CLOCK_NS_PER_S // a worker that dies younger is a sign of something that a restart won't cure
#define BACK_OFF_NS    (100 * CLOCK_NS_PER_MS)
#define BACK_OFF_LIMIT (5 * CLOCK_NS_PER_S)

// ---- in the child ----

static void reset_signals(void)
{
    // The master's business; see control.h.
    static const int ignored[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR2, SIGPIPE};
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

static _Noreturn void live_as_worker(struct master *master, unsigned index, int channel, pid_t parent)
{
    char name[32];
    struct worker_setup setup = {
        .index = index,
        .config = master->config,
        .material = master->material,
        .ticket_keys = master->ticket_keys,
        .probe = &master->probe,
        .listeners = listening_of(&master->listening, index),
        .channel = channel,
        .counters = master->counters,
        .uid = master->account.uid,
        .gid = master->account.gid,
    };

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(1); // the master died before it could be watched
    reset_signals();
    snprintf(name, sizeof(name), "worker %u", index);
    log_process(name);
    close(master->signals);
    // The master's ends of the channels too: a worker learns of the master's death by their end of file.
    for (unsigned i = 0; i < master->config->workers; i++) {
        if (master->processes[i].channel >= 0)
            close(master->processes[i].channel);
    }
    listening_keep(&master->listening, index);
    _exit(worker_run(&setup));
}

// ---- starting ----

int supervise_start(struct master *master, unsigned index)
{
    struct process *process = &master->processes[index];
    pid_t parent = getpid();
    int channel[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, channel) < 0) {
        log_error("cannot start a worker", log_integer("worker", index), log_errno(errno));
        return -errno;
    }
    process->channel = channel[0];
    pid = fork();
    if (pid == 0)
        live_as_worker(master, index, channel[1], parent);
    close(channel[1]);
    if (pid < 0) {
        int error = -errno;

        close(channel[0]);
        process->channel = -1;
        log_error("cannot start a worker", log_integer("worker", index), log_errno(error));
        return error;
    }
    process->pid = pid;
    process->is_ready = false;
    process->is_killed = false;
    process->started_ns = clock_now_ns();
    process->restart_ns = UINT64_MAX;
    return 0;
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
    process->restart_ns = clock_now_ns() + wait_ns;
    process->is_replacement = true;
    return wait_ns;
}

void supervise_replace(struct master *master, uint64_t now_ns)
{
    for (unsigned i = 0; i < master->config->workers; i++) {
        struct process *process = &master->processes[i];

        if (master->state == MASTER_SERVING && process->pid == 0 && process->restart_ns <= now_ns &&
            supervise_start(master, i) < 0)
            (void)plan_replacement(process, true);
    }
}

uint64_t supervise_next_ns(const struct master *master)
{
    uint64_t next_ns = UINT64_MAX;

    for (unsigned i = 0; master->state == MASTER_SERVING && i < master->config->workers; i++) {
        if (master->processes[i].pid == 0 && master->processes[i].restart_ns < next_ns)
            next_ns = master->processes[i].restart_ns;
    }
    return next_ns;
}

// ---- hearing and telling ----

void supervise_hear(struct master *master, unsigned index)
{
    struct process *process = &master->processes[index];
    char message;
    ssize_t length = recv(process->channel, &message, sizeof(message), 0);

    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0) {
        // It is dying, and SIGCHLD will tell how. Told nothing more, and not polled in vain.
        close(process->channel);
        process->channel = -1;
        return;
    }
    if (message != WORKER_READY || process->is_ready)
        return;
    process->is_ready = true;
    if (process->is_replacement)
        log_info("worker replaced", log_integer("worker", index), log_integer("worker_pid", process->pid));
}

void supervise_tell(struct master *master, enum worker_message message)
{
    const char byte = (char)message;

    for (unsigned i = 0; i < master->config->workers; i++) {
        // A worker that can't be told is dying or hangs; the deadlines take care of both.
        if (master->processes[i].channel >= 0)
            (void)send(master->processes[i].channel, &byte, sizeof(byte), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
}

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

// ---- death ----

static void say_death(enum log_level level, const char *message, unsigned index, pid_t pid, int status,
                      uint64_t lost, struct log_field retry)
{
    char name[32] = "";

    if (WIFSIGNALED(status)) {
        const char *abbreviation = sigabbrev_np(WTERMSIG(status));

        if (abbreviation)
            snprintf(name, sizeof(name), "SIG%s", abbreviation);
        else
            snprintf(name, sizeof(name), "%d", WTERMSIG(status));
    }
    log_line(level, message, log_integer("worker", index), log_integer("worker_pid", pid),
             log_text("signal", name[0] ? name : NULL),
             WIFEXITED(status) ? log_integer("status", WEXITSTATUS(status))
                               : (struct log_field){.kind = LOG_FIELD_NONE},
             log_integer("connections_lost", lost), retry);
}

static void bury(struct master *master, unsigned index, int status)
{
    struct process *process = &master->processes[index];
    struct log_field none = {.kind = LOG_FIELD_NONE};
    uint64_t lost = atomic_exchange(&master->counters[index].connections_live, 0);
    bool was_quick = clock_now_ns() - process->started_ns < QUICK_NS;
    bool is_orderly = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    pid_t pid = process->pid;

    if (process->channel >= 0)
        close(process->channel);
    process->channel = -1;
    process->pid = 0;
    process->restart_ns = UINT64_MAX;
    if (master->state == MASTER_SERVING) {
        uint64_t wait_ns = plan_replacement(process, was_quick);

        say_death(LOG_ERROR, "worker died", index, pid, status, lost,
                  log_integer("retry_ms", wait_ns / CLOCK_NS_PER_MS));
    } else if (master->state == MASTER_STARTING) {
        say_death(LOG_ERROR, "worker could not start", index, pid, status, lost, none);
        master->status = 1;
    } else if (!is_orderly && !process->is_killed) {
        say_death(LOG_ERROR, "worker died", index, pid, status, lost, none);
        master->status = 1;
    } else {
        log_debug("worker ended", log_integer("worker", index), log_integer("worker_pid", pid));
    }
}

bool supervise_reap(struct master *master)
{
    bool is_any = false;

    // Each by its number: children of another part of the program are not ours to collect.
    for (unsigned i = 0; i < master->config->workers; i++) {
        int status;

        if (master->processes[i].pid != 0 && waitpid(master->processes[i].pid, &status, WNOHANG) > 0) {
            bury(master, i, status);
            is_any = true;
        }
    }
    return is_any;
}

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
        total += atomic_load(&master->counters[i].connections_live);
    return total;
}
