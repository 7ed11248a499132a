// SPDX-License-Identifier: Apache-2.0
// The master's life: prepare, start the workers, wait for signals and deaths, end.
#include "ringbolt/control.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/secret.h"
#include "supervise.h"
#include "system.h"

#define STOP_PATIENCE_NS (5 * CLOCK_NS_PER_S) // from WORKER_STOP to SIGKILL

int control_check(const struct config *config, struct report *report)
{
    struct account account;

    return account_find(config, &account, report);
}

// ---- changes of state ----

// Both close the master's sockets: once the workers have ended theirs too, a new instance may take the addresses.

static void stop(struct master *master)
{
    master->state = MASTER_STOPPING;
    master->deadline_ns = clock_now_ns() + STOP_PATIENCE_NS;
    supervise_tell(master, WORKER_STOP);
    listening_close(&master->listening);
}

static void drain(struct master *master)
{
    const struct config *config = master->config;

    log_info("draining", log_integer("connections", supervise_connections(master)),
             log_integer("timeout_ms", config->shutdown_timeout_ns / CLOCK_NS_PER_MS));
    master->state = MASTER_DRAINING;
    master->deadline_ns = clock_now_ns() + config->shutdown_timeout_ns;
    supervise_tell(master, WORKER_DRAIN);
    listening_close(&master->listening);
}

static void stop_on_signal(struct master *master)
{
    if (master->state == MASTER_STOPPING)
        return;
    log_info("stopping", log_integer("connections", supervise_connections(master)));
    stop(master);
}

static void deadline_passed(struct master *master)
{
    if (master->state == MASTER_DRAINING) {
        log_warning("shutdown_timeout is over, connections are cut",
                    log_integer("connections", supervise_connections(master)));
        master->status = 1;
        stop(master);
    } else {
        master->deadline_ns = UINT64_MAX;
        supervise_kill(master);
    }
}

static void check_ready(struct master *master)
{
    char *addresses;

    if (master->state != MASTER_STARTING || !supervise_all_ready(master))
        return;
    master->state = MASTER_SERVING;
    addresses = listening_text(&master->listening);
    log_info("ready", log_text("listeners", addresses), log_integer("workers", master->config->workers),
             log_integer("pid", getpid()));
    free(addresses);
}

// ---- events ----

static void on_signal(struct master *master, int number)
{
    switch (number) {
    case SIGTERM:
    case SIGQUIT:
        if (master->state < MASTER_DRAINING)
            drain(master);
        else
            stop_on_signal(master);
        break;
    case SIGINT:
        stop_on_signal(master);
        break;
    case SIGHUP:
        log_warning("HUP is ignored: this version of ringbolt can't reload, restart it");
        break;
    case SIGUSR2:
        log_warning("USR2 is ignored: this version of ringbolt can't be upgraded while it runs, restart it");
        break;
    case SIGCHLD:
        if (supervise_reap(master) && master->state == MASTER_STARTING)
            stop(master);
        break;
    default:
        break;
    }
}

static void read_signals(struct master *master)
{
    struct signalfd_siginfo info;

    while (read(master->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
        on_signal(master, (int)info.ssi_signo);
}

static int wait_ms(const struct master *master, uint64_t now_ns)
{
    uint64_t next_ns = supervise_next_ns(master);

    if (master->deadline_ns < next_ns)
        next_ns = master->deadline_ns;
    if (next_ns == UINT64_MAX)
        return -1;
    if (next_ns <= now_ns)
        return 0;
    next_ns = (next_ns - now_ns + CLOCK_NS_PER_MS - 1) / CLOCK_NS_PER_MS; // up: never awake too early
    return next_ns > 3600000 ? 3600000 : (int)next_ns;
}

// polls: the signals and, behind them, a channel for each worker.
static int serve(struct master *master, struct pollfd *polls)
{
    unsigned workers = master->config->workers;

    while (supervise_alive(master) > 0 || master->state == MASTER_SERVING) {
        uint64_t now_ns;

        polls[0] = (struct pollfd){.fd = master->signals, .events = POLLIN};
        for (unsigned i = 0; i < workers; i++)
            polls[i + 1] = (struct pollfd){.fd = master->processes[i].channel, .events = POLLIN};
        if (poll(polls, workers + 1, wait_ms(master, clock_now_ns())) < 0 && errno != EINTR &&
            errno != EAGAIN && errno != ENOMEM) {
            log_error("cannot wait for events", log_errno(errno));
            return 1;
        }
        // What a worker said before it died comes before its death.
        for (unsigned i = 0; i < workers; i++) {
            if (polls[i + 1].revents != 0 && master->processes[i].channel == polls[i + 1].fd)
                supervise_hear(master, i);
        }
        check_ready(master);
        if (polls[0].revents != 0)
            read_signals(master);
        now_ns = clock_now_ns();
        if (master->deadline_ns <= now_ns)
            deadline_passed(master);
        supervise_replace(master, now_ns);
    }
    log_info("stopped", log_integer("status", master->status));
    return master->status;
}

static int start_and_serve(struct master *master)
{
    struct pollfd *polls = calloc(master->config->workers + 1, sizeof(*polls));
    int status;

    if (!polls) {
        log_error("no memory");
        return 1;
    }
    for (unsigned i = 0; i < master->config->workers && master->status == 0; i++) {
        if (supervise_start(master, i) < 0)
            master->status = 1;
    }
    if (master->status != 0)
        stop(master);
    status = serve(master, polls);
    free(polls);
    return status;
}

// ---- preparation ----

static int open_signals(void)
{
    static const int watched[] = {SIGTERM, SIGQUIT, SIGINT, SIGHUP, SIGUSR2, SIGCHLD};
    sigset_t set;
    int fd;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++) {
        sigaddset(&set, watched[i]);
        // Whoever started us may have had it ignored (nohup, a shell's background job): it would not be delivered, and
        // with SIGCHLD ignored no child could be waited for.
        (void)signal(watched[i], SIG_DFL);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int find_account(struct master *master)
{
    struct report report;
    int error;

    report_init(&report, master->config->file);
    error = account_find(master->config, &master->account, &report);
    for (size_t i = 0; i < report.count; i++)
        log_error("bad configuration", log_text("reason", report.lines[i].text));
    report_finish(&report);
    if (error < 0)
        return error;
    if (master->account.is_ignored)
        log_warning("user is ignored: only root can become another", log_text("user", master->config->user),
                    log_text("cure", "start as root, or leave `user` out"));
    if (geteuid() == 0 && master->account.uid == 0)
        log_warning("workers stay root", log_text("cure", "set `user` to an account without privileges"));
    return 0;
}

static int make_memory(struct master *master)
{
    unsigned workers = master->config->workers;
    size_t size = workers * sizeof(*master->counters);

    master->counters = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (master->counters == MAP_FAILED)
        master->counters = NULL;
    master->processes = calloc(workers, sizeof(*master->processes));
    master->ticket_keys = secret_alloc(TICKET_KEYS_SIZE);
    if (!master->counters || !master->processes || !master->ticket_keys) {
        log_error("no memory");
        return -ENOMEM;
    }
    for (unsigned i = 0; i < workers; i++)
        master->processes[i] = (struct process){.channel = -1, .restart_ns = UINT64_MAX};
    if (ticket_keys_make(master->ticket_keys) < 0) {
        log_error("no random bytes for ticket keys");
        return -EIO;
    }
    return 0;
}

static void master_finish(struct master *master)
{
    listening_close(&master->listening);
    secret_free(master->ticket_keys, TICKET_KEYS_SIZE);
    free(master->processes);
    if (master->counters)
        munmap(master->counters, master->config->workers * sizeof(*master->counters));
    if (master->signals >= 0)
        close(master->signals);
}

int control_run(const struct config *config, const struct material *material)
{
    struct master master = {.config = config,
                            .material = material,
                            .signals = -1,
                            .state = MASTER_STARTING,
                            .deadline_ns = UINT64_MAX};
    int status = 1;

    if (find_account(&master) < 0)
        return 3;
    system_raise_descriptors(config);
    if (system_check_ring() < 0 || system_probe_ktls(config, &master.probe) < 0 || make_memory(&master) < 0)
        goto out;
    master.signals = open_signals();
    if (master.signals < 0) {
        log_error("cannot receive signals", log_errno(master.signals));
        goto out;
    }
    if (listening_open(&master.listening, config) < 0)
        goto out;
    status = start_and_serve(&master);
out:
    master_finish(&master);
    return status;
}
