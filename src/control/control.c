// SPDX-License-Identifier: Apache-2.0
// The master's life: start the workers, wait for signals, deaths and commands, end.
#include "ringbolt/control.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "confine.h"
#include "log_file.h"
#include "master.h"
#include "prepare.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/record.h"

#define ECHO_NS          CLOCK_NS_PER_S       // in which the same signal comes from two sides
#define STOP_PATIENCE_NS (5 * CLOCK_NS_PER_S) // from WORKER_STOP to SIGKILL

// ---- changes of state ----

// Both close the master's sockets: once the workers have ended theirs too, a new instance may take the addresses.

static void stop(struct master *master)
{
    master->state = MASTER_STOPPING;
    loop_timer_set(master->loop, &master->deadline, clock_now_ns() + STOP_PATIENCE_NS);
    service_stopping(master, STOP_PATIENCE_NS);
    messages_send(master, WORKER_STOP, 0);
    listening_close(&master->listening);
}

void master_drain(struct master *master)
{
    const struct config *config = master->config;

    if (master->state >= MASTER_DRAINING)
        return;
    succession_ending(master, false);
    log_info("draining", log_integer("connections", supervise_connections(master)),
             log_integer("timeout_ms", config->shutdown_timeout_ns / CLOCK_NS_PER_MS));
    master->state = MASTER_DRAINING;
    loop_timer_set(master->loop, &master->deadline, clock_now_ns() + config->shutdown_timeout_ns);
    service_stopping(master, config->shutdown_timeout_ns + STOP_PATIENCE_NS);
    messages_send(master, WORKER_DRAIN, 0);
    listening_close(&master->listening);
}

void master_stop(struct master *master)
{
    if (master->state == MASTER_STOPPING)
        return;
    succession_ending(master, true);
    log_info("stopping", log_integer("connections", supervise_connections(master)));
    stop(master);
}

static void deadline_passed(void *owner)
{
    struct master *master = owner;

    if (master->state == MASTER_DRAINING) {
        log_warning("shutdown_timeout is over, connections are cut",
                    log_integer("connections", supervise_connections(master)));
        master->status = 1;
        stop(master);
    } else {
        supervise_kill(master);
    }
}

void master_retire(struct master *master)
{
    if (master->state >= MASTER_DRAINING)
        return;
    master->state = MASTER_DRAINING;
    loop_timer_set(master->loop, &master->deadline, clock_now_ns() + master->config->shutdown_timeout_ns);
    messages_send(master, WORKER_DRAIN, 0);
    listening_close(&master->listening);
}

static void say_ready(struct master *master)
{
    char *addresses;

    master->state = MASTER_SERVING;
    addresses = listening_text(&master->listening);
    log_info("ready", log_text("listeners", addresses), log_integer("workers", master->config->workers),
             log_integer("pid", getpid()), log_text("aes_gcm", record_cipher_library(RECORD_AES_128_GCM)));
    free(addresses);
    service_ready(master);
    rebalance_start(master);
}

void master_lead(struct master *master)
{
    if (master->state != MASTER_STARTING)
        return;
    estate_forget_secrets(master->control->inherited);
    listening_lead(&master->listening);
    messages_send(master, WORKER_PAUSE, 0);
    service_open(master);
    say_ready(master);
    http_start(master->http);
    admin_pause(master->admin, false);
}

void master_check_ready(struct master *master)
{
    if (master->state == MASTER_STARTING && supervise_all_ready(master) && !succession_ready(master))
        say_ready(master);
}

// ---- signals ----

static void reap(struct master *master)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (!supervise_reap(master, pid, status) && !succession_reap(master, pid, status) &&
            !names_reap(master->names, pid, status) && !http_reap(master->http, pid, status) &&
            master->reload.responders)
            (void)responders_reap(master->reload.responders, pid, status);
    }
    if (master->state == MASTER_STARTING && master->status != 0)
        stop(master); // one could not start
}

static void succeed(struct master *master, enum succession_kind kind)
{
    const char *why = succession_begin(master, kind, NULL);

    if (why)
        log_warning(kind == SUCCESSION_UPGRADE ? "no upgrade" : "the changed configuration is not applied",
                    log_text("reason", why));
}

static void reload(struct master *master)
{
    struct reload_outcome outcome;

    if (master->state >= MASTER_STOPPING)
        return;
    service_reloading(master);
    reload_everything(master, false, NULL, NULL, &outcome);
    if (outcome.config == RELOAD_CONFIG_CHANGED)
        succeed(master, SUCCESSION_RELOAD);
    if (master->succession.state != SUCCESSOR_STARTING && master->succession.state != SUCCESSOR_WANTED)
        service_reloaded(master); // else the successor says it, or its failure does
}

static void on_signal(struct master *master, int number)
{
    if (number != SIGCHLD && succession_pass(master, number)) {
        if (number == SIGUSR1)
            log_file_reopen(master); // our workers write there too
        return;
    }
    switch (number) {
    case SIGTERM:
    case SIGQUIT:
        if (master->state < MASTER_DRAINING)
            master_drain(master);
        else
            master_stop(master);
        break;
    case SIGINT:
        master_stop(master);
        break;
    case SIGHUP:
        reload(master);
        break;
    case SIGUSR1:
        log_file_reopen(master);
        break;
    case SIGUSR2:
        succeed(master, SUCCESSION_UPGRADE);
        break;
    case SIGCHLD:
        reap(master);
        break;
    default:
        break;
    }
}

// Whoever signals the whole group reaches the first process, which passes it on, and us: a second TERM would stop what the first one drains.
static bool is_echo(struct master *master, const struct signalfd_siginfo *info)
{
    struct succession *succession = &master->succession;
    uint64_t now_ns = clock_now_ns();
    pid_t sender = (pid_t)info->ssi_pid;
    bool is_passed =
        sender != 0 && (sender == succession->first_pid || sender == master->control->predecessor_pid);
    bool is;

    if (info->ssi_signo != SIGTERM && info->ssi_signo != SIGQUIT)
        return false;
    is = succession->term_ns != 0 && now_ns - succession->term_ns < ECHO_NS &&
         sender != succession->term_sender && (is_passed || succession->term_was_passed);
    succession->term_ns = now_ns;
    succession->term_sender = sender;
    succession->term_was_passed = is_passed;
    return is;
}

static void read_signals(void *owner, unsigned events)
{
    struct master *master = owner;
    struct signalfd_siginfo info;

    (void)events;
    while (read(master->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
        if (!is_echo(master, &info))
            on_signal(master, (int)info.ssi_signo);
}

static int open_signals(struct master *master)
{
    static const int watched[] = {SIGTERM, SIGQUIT, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD};
    sigset_t set;
    int error = 0;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++) {
        sigaddset(&set, watched[i]);
        // Whoever started us may have had it ignored (nohup, a shell's background job): it would not be delivered, and
        // with SIGCHLD ignored no child could be waited for.
        (void)signal(watched[i], SIG_DFL);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        error = -errno;
    if (error == 0 && (master->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)) < 0)
        error = -errno;
    if (error == 0)
        error =
            loop_watch(master->loop, &master->signals_watch, master->signals, EPOLLIN, read_signals, master);
    if (error < 0)
        log_error("cannot receive signals", log_errno(error));
    return error;
}

// ---- life ----

static int open_loop(struct master *master)
{
    int error = loop_create(&master->loop);

    if (error < 0)
        log_error("cannot wait for events", log_errno(error));
    return error;
}

static int serve(struct master *master)
{
    while (supervise_alive(master) > 0 || master->state == MASTER_SERVING ||
           master->state == MASTER_SUPERSEDED) {
        int error = loop_turn(master->loop);

        if (error < 0) {
            log_error("cannot wait for events", log_errno(error));
            return 1;
        }
    }
    if (master->succession.state != SUCCESSOR_RELEASED)
        log_info("stopped", log_integer("status", master->status));
    else
        log_info("superseded master ends", log_integer("pid", getpid()));
    return master->status;
}

static int start_and_serve(struct master *master)
{
    for (unsigned i = 0; i < master->config->workers && master->status == 0; i++) {
        if (supervise_start(master, i) < 0)
            master->status = 1;
    }
    if (master->status != 0)
        stop(master);
    else if (succession_leads(master))
        http_start(master->http);
    return serve(master);
}

static void master_finish(struct master *master)
{
    service_close(master);
    succession_finish(master);
    rebalance_stop(master);
    admin_close(master->admin);
    names_finish(master->names);
    http_close(master->http);
    checks_finish(master->checks);
    reload_finish(master);
    listening_close(&master->listening);
    activation_close(&master->passed);
    if (master->loop)
        loop_unwatch(master->loop, &master->signals_watch);
    if (master->signals >= 0)
        close(master->signals);
    loop_destroy(master->loop); // it still knows the timers of the processes
    prepare_undo(master);
}

int control_run(struct control *control)
{
    struct master master = {.control = control,
                            .config = control->config,
                            .started_ns = clock_now_ns(),
                            .signals = -1,
                            .signals_watch = {.fd = -1},
                            .state = MASTER_STARTING};
    int status = 1;

    loop_timer_init(&master.deadline, deadline_passed, &master);
    messages_init(&master.messages);
    estate_start(&master);
    succession_init(&master);
    rebalance_init(&master);
    // Before anything of ours could get the number of a descriptor that is claimed to be passed and is not.
    if (activation_open(&master.passed) < 0 || open_loop(&master) < 0) {
        activation_close(&master.passed);
        return 1;
    }
    if (succession_leads(&master))
        service_open(&master);
    status = prepare(&master);
    if (status != 0)
        goto out;
    status = 1;
    estate_take_counters(&master);
    // The sockets before the first secret is written down anywhere or a child is forked: another instance may serve here.
    if (open_signals(&master) < 0 || succession_watch(&master) < 0 ||
        listening_open(&master.listening, master.config, &master.passed, control->inherited) < 0 ||
        admin_open(&master) < 0 || http_open(&master) < 0 || reload_load(&master) < 0 ||
        reload_start(&master) < 0 || checks_start(&master) < 0 || names_start(&master) < 0)
        goto out;
    estate_take_servers(&master);
    estate_settle(&master);
    confine_master(&master);
    status = start_and_serve(&master);
out:
    if (!succession_leads(&master))
        (void)control_failed(control, NULL);
    master_finish(&master);
    return succession_first_end(&master, status);
}
