// SPDX-License-Identifier: Apache-2.0
// The half of the master that goes. Until LEAD is sent nothing of what it does is missed when the successor fails; until it releases the
// successor it can take everything back.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin_socket.h"
#include "log_file.h"
#include "master.h"
#include "ringbolt-version.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"

#define RETRY_NS   (10 * CLOCK_NS_PER_MS)
#define LATE_NS    CLOCK_NS_PER_S // from the end of file of a successor to its death
#define REASON_MAX 8192

#define LOOKS     5  // in a probation
#define LONGEST   12 // probations, while connections move
#define AGAIN_MAX 3  // times that a worker's hand-over is begun anew
#define AGAIN_NS  CLOCK_NS_PER_S

uint64_t succession_patience_ns = 60 * CLOCK_NS_PER_S;
uint64_t succession_probation_ns = 5 * CLOCK_NS_PER_S;

// ---- the outcome ----

static const char *what_of(const struct succession *succession)
{
    return succession->kind == SUCCESSION_UPGRADE ? "upgrade" : "reload";
}

// The reasons line by line, for `problems`.
static json_t *problems_json(const char *reason)
{
    json_t *problems = json_array();

    while (reason && *reason) {
        size_t length = strcspn(reason, "\n");
        char *line = strndup(reason, length);

        if (length > 0 && line)
            (void)json_array_append_new(problems, admin_text(line));
        free(line);
        reason += length + (reason[length] == '\n');
    }
    return problems;
}

// Who asked hears what came of it.
static void answer(struct master *master, const char *error)
{
    struct succession *succession = &master->succession;
    struct admin_client *asker = succession->asker;
    json_t *result;

    if (!asker)
        return;
    succession->asker = NULL;
    result = admin_held(asker);
    if (result && error) {
        (void)json_object_set_new(result, "ok", json_false());
        (void)json_object_set_new(result, "error", admin_text(error));
        (void)json_object_set_new(result, "successor_problems", problems_json(succession->reason));
    } else if (result) {
        (void)json_object_set_new(result, "pid", json_integer(succession->pid));
        (void)json_object_set_new(result, "version", json_string(succession->release));
        if (succession->kind == SUCCESSION_RELOAD)
            (void)json_object_set_new(result, "config", json_string("applied"));
    }
    admin_answer(asker, result);
}

static void forget_channel(struct master *master)
{
    struct succession *succession = &master->succession;

    loop_unwatch(master->loop, &succession->watch);
    if (succession->channel >= 0)
        close(succession->channel);
    succession->channel = -1;
    loop_timer_stop(&succession->retry);
    estate_finish(&succession->estate);
    succession->sent = 0;
}

// Serves again, which it did until a moment ago.
static void resume(struct master *master)
{
    struct sources_result result;

    master->state = MASTER_SERVING;
    master->succession.leader = 0;
    succession_first_leads(master, getpid());
    succession_first_watch(master, true);
    messages_send(master, WORKER_PAUSE, 0);
    supervise_fill(master);
    admin_pause(master->admin, false);
    http_start(master->http);
    service_resume(master);
    rebalance_start(master);
    reload_check(master, NULL, false, &result); // what changed while another looked
}

// The successor has failed, for a reason in words; we go on.
static void fail(struct master *master, const char *why)
{
    struct succession *succession = &master->succession;
    enum successor_state was = succession->state;
    char text[256];

    if (was != SUCCESSOR_WANTED && was != SUCCESSOR_STARTING && was != SUCCESSOR_LEADS)
        return;
    succession->state = SUCCESSOR_NONE;
    loop_timer_stop(&succession->patience);
    loop_timer_stop(&succession->again);
    forget_channel(master);
    if (succession->pid > 0)
        (void)kill(succession->pid, SIGKILL);
    log_error(master->state < MASTER_DRAINING ? "successor failed, going on" : "successor failed", log_text("for", what_of(succession)),
              log_integer("successor_pid", succession->pid), log_text("reason", why),
              log_text("said", succession->reason));
    snprintf(text, sizeof(text), "the successor failed, this ringbolt goes on: %s", why);
    answer(master, text);
    succession->pid = 0;
    free(succession->reason);
    succession->reason = NULL;
    estate_keep(master);
    if (master->state >= MASTER_DRAINING)
        return; // we are ending ourselves, and have closed our sockets
    if (was == SUCCESSOR_LEADS)
        resume(master);
    else
        service_reloaded(master);
}

// Connections that our workers were done with, ever.
static uint64_t moved(const struct master *master)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < master->config->workers; i++) {
        const struct stats_worker *worker = stats_worker(master->stats, i);

        total += stats_get(&worker->given) + stats_get(&worker->not_taken) + stats_get(&worker->kept);
    }
    return total;
}

// As long as connections move we could go on with the rest of them: those that only may come to move some day are not waited for.
static void look_at_probation(struct master *master)
{
    struct succession *succession = &master->succession;
    uint64_t now_ns = clock_now_ns();
    uint64_t since_ns = now_ns - succession->leads_ns;
    uint64_t before = succession->moved;

    succession->moved = moved(master);
    if (since_ns < succession_probation_ns ||
        (succession->moved != before && since_ns < LONGEST * succession_probation_ns))
        loop_timer_set(master->loop, &succession->patience, now_ns + succession_probation_ns / LOOKS);
    else
        succession_release(master);
}

static void patience_is_over(void *owner)
{
    struct master *master = owner;
    struct succession *succession = &master->succession;
    char why[96];

    if (succession->state == SUCCESSOR_LEADS && succession->channel >= 0) {
        look_at_probation(master);
        return;
    }
    if (succession->state != SUCCESSOR_WANTED && succession->channel < 0)
        snprintf(why, sizeof(why), "it closed the channel to its predecessor");
    else
        snprintf(why, sizeof(why), "it was not ready within %g s",
                 (double)succession_patience_ns / (double)CLOCK_NS_PER_S);
    fail(master, why);
}

// ---- what it is sent ----

static void send_more(struct master *master)
{
    struct succession *succession = &master->succession;
    int error = 0;

    while (error == 0 && succession->channel >= 0 && succession->sent < succession->estate.count) {
        struct estate_item *item = &succession->estate.items[succession->sent];

        error = estate_send(succession->channel, item);
        if (error == 0) {
            estate_item_finish(item);
            succession->sent++;
        }
    }
    if (error == -EAGAIN)
        (void)loop_events(master->loop, &succession->watch, EPOLLIN | EPOLLOUT);
    else if (error == -ENOBUFS || error == -ENOMEM || error == -ETOOMANYREFS || error == -EMFILE)
        loop_timer_set(master->loop, &succession->retry, clock_now_ns() + RETRY_NS);
    else if (error == 0 && succession->channel >= 0)
        (void)loop_events(master->loop, &succession->watch, EPOLLIN);
    // Any other: it is dying, and the end of file says so.
}

static void on_retry(void *owner)
{
    send_more(owner);
}

void succession_say(struct master *master, enum estate_type type, const void *bytes, size_t size, int fd)
{
    struct succession *succession = &master->succession;

    if (estate_add(&succession->estate, type, ESTATE_CLOSE, bytes, size, fd) < 0)
        log_error("no memory for a word to the successor");
    send_more(master);
}

static bool say_estate(struct master *master)
{
    struct succession *succession = &master->succession;
    uint8_t hello[4 + sizeof(RINGBOLT_VERSION)];
    uint32_t version = SUCCESSION_VERSION;

    memcpy(hello, &version, sizeof(version));
    memcpy(hello + sizeof(version), RINGBOLT_VERSION, sizeof(RINGBOLT_VERSION));
    if (estate_add(&succession->estate, ESTATE_HELLO, 0, hello, sizeof(hello) - 1, -1) < 0 ||
        estate_collect(master, &succession->estate) < 0 ||
        estate_add(&succession->estate, ESTATE_END, 0, NULL, 0, -1) < 0)
        return false;
    send_more(master);
    return true;
}

// ---- the steps ----

// Version, process id, release.
static void hello(struct master *master, const struct estate_item *item)
{
    struct succession *succession = &master->succession;
    uint32_t version;
    int32_t pid;
    size_t length = item->size - 8;

    if (item->size < 8 || length >= sizeof(succession->release) || succession->sent > 0) {
        fail(master, "its first word is none");
        return;
    }
    memcpy(&version, item->bytes, sizeof(version));
    memcpy(&pid, item->bytes + 4, sizeof(pid));
    memcpy(succession->release, item->bytes + 8, length);
    succession->release[length] = '\0';
    if (version != SUCCESSION_VERSION)
        fail(master, "its release speaks another version of this protocol: restart in place of upgrading");
    else if (pid != (int32_t)succession->pid)
        fail(master, "it is a child of the program that was executed: a script has to end with exec");
    else if (!say_estate(master))
        fail(master, "no memory for what it is to have");
}

static void ready(struct master *master)
{
    struct succession *succession = &master->succession;
    uint32_t workers = master->config->workers;

    if (succession->state != SUCCESSOR_STARTING)
        return;
    succession->state = SUCCESSOR_LEADS;
    succession->leader = succession->pid;
    master->state = MASTER_SUPERSEDED;
    messages_send(master, WORKER_PAUSE, 1);
    admin_pause(master->admin, true);
    http_pause(master->http);
    service_pause(master);
    succession_first_watch(master, false); // what it says is for who leads
    (void)estate_orders(master, &succession->estate); // it has those from when it began
    succession_say(master, ESTATE_LEAD, &workers, sizeof(workers), -1);
    // Whoever reads this may end us: the successor goes on alone.
    log_info("successor is ready", log_text("for", what_of(succession)),
             log_integer("successor_pid", succession->pid), log_text("version", succession->release),
             log_integer("ms", (clock_now_ns() - succession->began_ns) / CLOCK_NS_PER_MS));
    succession->leads_ns = clock_now_ns();
    succession->moved = moved(master);
    look_at_probation(master);
    answer(master, NULL);
}

void succession_release(struct master *master)
{
    struct succession *succession = &master->succession;
    uint8_t until[8];

    if (succession->state != SUCCESSOR_LEADS)
        return;
    succession->state = SUCCESSOR_RELEASED;
    loop_timer_stop(&succession->patience);
    listening_disown(&master->listening);
    admin_disown(master->admin);
    http_disown(master->http);
    admin_close(master->admin);
    master->admin = NULL;
    log_info("superseded, what is live is drained", log_integer("successor_pid", succession->pid),
             log_integer("connections", supervise_connections(master)),
             log_integer("timeout_ms", master->config->shutdown_timeout_ns / CLOCK_NS_PER_MS));
    generations_until(master, until);
    succession_say(master, ESTATE_RELEASED, until, sizeof(until), -1);
    master_retire(master);
}

// A worker's number, with the socket to the one that takes its connections over.
static void give(struct master *master, struct estate_item *item)
{
    struct succession *succession = &master->succession;
    uint32_t index;

    if (item->size != sizeof(index) || item->fd < 0 ||
        (succession->state != SUCCESSOR_LEADS && succession->state != SUCCESSOR_RELEASED))
        return;
    memcpy(&index, item->bytes, sizeof(index));
    if (index >= master->config->workers || master->processes[index].gives)
        return;
    succession->told++;
    master->processes[index].gives = true;
    if (messages_tell(&master->processes[index], WORKER_GIVE, UINT64_MAX, estate_take_fd(item)) < 0)
        succession_given(&master->processes[index], 1, true, 0);
}

// The successor makes another pair for each worker that wants one, with another of its workers at the other end.
static void ask_again(void *owner)
{
    struct master *master = owner;
    struct succession *succession = &master->succession;

    for (unsigned i = 0; i < master->config->workers; i++) {
        struct process *process = &master->processes[i];
        struct estate_item word = {.type = ESTATE_GIVE,
                                   .flags = ESTATE_OPTIONAL,
                                   .bytes = (uint8_t *)&process->index,
                                   .size = sizeof(process->index),
                                   .fd = -1};

        if (!process->wants_again)
            continue;
        process->wants_again = false;
        if (process->pid != 0 && succession->channel >= 0)
            (void)estate_send(succession->channel, &word); // it reads all the time: there is room
    }
}

// Whether it may be that another try succeeds: neither has that worker died, nor the other master.
static bool may_give_again(const struct process *process)
{
    const struct succession *succession = &process->master->succession;

    return process->pid != 0 && process->channel >= 0 && succession->channel >= 0 &&
           (succession->state == SUCCESSOR_LEADS || succession->state == SUCCESSOR_RELEASED) &&
           process->gives_again < AGAIN_MAX;
}

void succession_given(struct process *process, uint32_t sequence, bool is_failed, uint64_t value)
{
    struct master *master = process->master;
    struct succession *succession = &master->succession;
    bool is_again = is_failed && may_give_again(process);

    if (!process->gives || sequence != 1)
        return;
    process->gives = false;
    succession->given += value >> 32;
    if (is_failed && succession->state != SUCCESSOR_NONE)
        log_warning("handing connections over broke", log_integer("worker", process->index),
                    log_boolean("again", is_again));
    if (is_again) {
        succession->told--;
        process->gives_again++;
        process->wants_again = true;
        loop_timer_set(master->loop, &succession->again, clock_now_ns() + AGAIN_NS);
        return;
    }
    succession->done++;
    succession->kept += (uint32_t)value;
    if (succession->done == succession->told && succession->told == master->config->workers)
        log_info("all connections handed over", log_integer("successor_pid", succession->pid),
                 log_integer("given", succession->given), log_integer("kept", succession->kept));
}

static void take_reason(struct succession *succession, const struct estate_item *item)
{
    if (succession->reason || item->size > REASON_MAX)
        return;
    succession->reason = strndup((const char *)item->bytes, item->size);
}

// Our successor is to end, and so are we.
static void end_as_well(struct master *master, bool at_once)
{
    if (master->succession.state != SUCCESSOR_LEADS && master->succession.state != SUCCESSOR_RELEASED)
        return;
    succession_release(master);
    succession_ending(master, at_once);
    if (at_once)
        master_stop(master);
}

static void hear(struct master *master, struct estate_item *item)
{
    struct succession *succession = &master->succession;

    switch (item->type) {
    case ESTATE_HELLO:
        hello(master, item);
        break;
    case ESTATE_READY:
        ready(master);
        break;
    case ESTATE_COUNTERS:
        estate_take_block(master, item); // what it counts is not lost if it dies young
        break;
    case ESTATE_FAILED:
        take_reason(succession, item); // its end will follow
        break;
    case ESTATE_SERVERS:
    case ESTATE_RETIRED:
        estate_take_orders(master, item); // they hold if we have to go on
        break;
    case ESTATE_GIVE:
        give(master, item);
        break;
    case ESTATE_RELEASE:
        succession_release(master);
        break;
    case ESTATE_DRAIN:
        end_as_well(master, false);
        break;
    case ESTATE_STOP:
        end_as_well(master, true);
        break;
    case ESTATE_KEPT:
        succession_first_kept(master);
        break;
    case ESTATE_REOPEN:
        if (succession->keeper < 0) // else the signal was ours, and we have
            log_file_reopen(master);
        break;
    default:
        if ((item->flags & ESTATE_OPTIONAL) == 0)
            fail(master, "it said what this release does not understand");
    }
}

static void on_channel(void *owner, unsigned events)
{
    struct master *master = owner;
    struct succession *succession = &master->succession;
    const char *why = NULL;
    int result = 1;

    if ((events & EPOLLOUT) != 0)
        send_more(master);
    while (result > 0 && succession->channel >= 0) {
        struct estate_item item = {.fd = -1};

        result = estate_receive(succession->channel, &item, &why);
        if (result > 0)
            hear(master, &item);
        estate_item_finish(&item);
    }
    if (result == -EAGAIN || succession->channel < 0)
        return;
    // It is dying, perhaps: how, its end will tell.
    forget_channel(master);
    if (succession->state == SUCCESSOR_STARTING || succession->state == SUCCESSOR_LEADS)
        loop_timer_set(master->loop, &succession->patience, clock_now_ns() + LATE_NS);
}

// ---- beginning ----

static int start_child(struct master *master)
{
    struct succession *succession = &master->succession;
    pid_t parent = getpid();
    const char *what = "";
    int channel[2];
    int error = succession_first_open(master);

    if (error < 0)
        return error;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, channel) < 0)
        return -errno;
    error = loop_watch(master->loop, &succession->watch, channel[0], EPOLLIN, on_channel, master);
    if (error == 0) {
        succession->pid = fork();
        if (succession->pid == 0) {
            error = start_again(succession->kind, channel[1], parent, &what);
            log_error("cannot execute the successor", log_text("step", what), log_errno(error));
            _exit(127);
        }
        if (succession->pid < 0) {
            error = -errno;
            succession->pid = 0;
            loop_unwatch(master->loop, &succession->watch);
        }
    }
    close(channel[1]);
    if (error < 0)
        close(channel[0]);
    else
        succession->channel = channel[0];
    return error;
}

static void start_now(struct master *master)
{
    struct succession *succession = &master->succession;
    char why[128];
    int error;

    succession->state = SUCCESSOR_STARTING;
    succession->sent = 0;
    error = start_child(master);
    if (error < 0) {
        snprintf(why, sizeof(why), "it could not be started: %s", log_error_text(error));
        fail(master, why);
        return;
    }
    log_info("successor started", log_text("for", what_of(succession)),
             log_integer("successor_pid", succession->pid),
             log_text("program", succession->kind == SUCCESSION_UPGRADE ? start_program() : NULL));
}

static const char *why_not(const struct master *master, enum succession_kind kind)
{
    switch (master->state) {
    case MASTER_STARTING:
        return "this ringbolt is starting";
    case MASTER_SUPERSEDED:
        return "a successor leads already";
    case MASTER_DRAINING:
        return "this ringbolt is draining";
    case MASTER_STOPPING:
        return "this ringbolt is stopping";
    case MASTER_SERVING:
        break;
    }
    if (master->succession.state != SUCCESSOR_NONE)
        return "a successor is being started";
    if (!start_is_known(kind))
        return "how this process was started is not known";
    return NULL;
}

const char *succession_begin(struct master *master, enum succession_kind kind, struct admin_client *asker)
{
    struct succession *succession = &master->succession;
    const char *why = why_not(master, kind);

    if (why)
        return why;
    succession->kind = kind;
    succession->asker = asker;
    succession->began_ns = clock_now_ns();
    succession->release[0] = '\0';
    succession->told = succession->done = 0;
    succession->given = succession->kept = 0;
    for (unsigned i = 0; i < master->config->workers; i++) {
        master->processes[i].wants_again = false;
        master->processes[i].gives_again = 0;
    }
    loop_timer_set(master->loop, &succession->patience, succession->began_ns + succession_patience_ns);
    if (succession->is_owner) {
        start_now(master);
    } else {
        succession->state = SUCCESSOR_WANTED;
        succession_ask_release(master);
    }
    return NULL;
}

void succession_released(struct master *master)
{
    if (master->succession.state == SUCCESSOR_WANTED)
        start_now(master);
}

void succession_forget(struct master *master, const struct admin_client *client)
{
    if (master->succession.asker == client)
        master->succession.asker = NULL;
}

// ---- the end of a process ----

static void leader_ended(struct master *master, int status)
{
    struct succession *succession = &master->succession;

    succession->has_leader_ended = true;
    succession->leader_status = status;
    if (!WIFEXITED(status)) {
        log_error("the master that led was killed", log_integer("successor_pid", succession->leader),
                  log_integer("signal", WTERMSIG(status)));
        master_stop(master); // a supervisor is to start anew at once
    }
}

bool succession_reap(struct master *master, pid_t pid, int status)
{
    struct succession *succession = &master->succession;
    char why[96];

    succession_first_hear(master); // another may lead since
    if (pid != succession->pid && pid != succession->leader)
        return false;
    if (pid == succession->pid && succession->channel >= 0)
        on_channel(master, EPOLLIN); // its last words
    if (pid == succession->pid &&
        (succession->state == SUCCESSOR_STARTING || succession->state == SUCCESSOR_LEADS)) {
        succession->pid = 0;
        if (WIFSIGNALED(status))
            snprintf(why, sizeof(why), "it was killed by signal %d", WTERMSIG(status));
        else
            snprintf(why, sizeof(why), "it ended with status %d", WEXITSTATUS(status));
        fail(master, why);
        return true;
    }
    if (pid == succession->pid && succession->state == SUCCESSOR_RELEASED) {
        succession->pid = 0;
        succession_first_ended(master, pid, status);
    }
    if (pid == succession->leader && succession->first_pid == 0)
        leader_ended(master, status);
    return true;
}

bool succession_pass(const struct master *master, int number)
{
    const struct succession *succession = &master->succession;
    pid_t to = succession->first_pid == 0 ? succession->leader : succession->pid;

    if ((succession->state != SUCCESSOR_LEADS && succession->state != SUCCESSOR_RELEASED) || to <= 0 ||
        succession->has_leader_ended)
        return false;
    (void)kill(to, number);
    return true;
}

// ---- life ----

void succession_init(struct master *master)
{
    struct succession *succession = &master->succession;

    *succession = (struct succession){.channel = -1,
                                      .watch = {.fd = -1},
                                      .predecessor_watch = {.fd = -1},
                                      .first = -1,
                                      .first_watch = {.fd = -1},
                                      .keeper = -1,
                                      .keeper_watch = {.fd = -1},
                                      .is_leading = !master->control->inherited,
                                      .is_owner = !master->control->inherited};
    loop_timer_init(&succession->patience, patience_is_over, master);
    loop_timer_init(&succession->retry, on_retry, master);
    loop_timer_init(&succession->again, ask_again, master);
}

// Before we end ourselves: a successor that does not lead yet has nothing to lead.
static void abandon(struct master *master)
{
    struct succession *succession = &master->succession;

    if (succession->state != SUCCESSOR_WANTED && succession->state != SUCCESSOR_STARTING)
        return;
    succession->state = SUCCESSOR_NONE;
    loop_timer_stop(&succession->patience);
    forget_channel(master);
    if (succession->pid > 0) {
        (void)kill(succession->pid, SIGKILL);
        while (waitpid(succession->pid, NULL, 0) < 0 && errno == EINTR)
            ;
        log_info("successor abandoned", log_integer("successor_pid", succession->pid));
    }
    succession->pid = 0;
    answer(master, "this ringbolt was told to end");
}

void succession_ending(struct master *master, bool at_once)
{
    struct succession *succession = &master->succession;

    abandon(master);
    if (master->control->predecessor >= 0 && succession->is_leading) {
        struct estate_item word = {.type = at_once ? ESTATE_STOP : ESTATE_DRAIN, .fd = -1};

        if (!succession->is_owner)
            succession_own(master);
        (void)estate_send(master->control->predecessor, &word);
    }
}

void succession_finish(struct master *master)
{
    struct succession *succession = &master->succession;

    abandon(master);
    forget_channel(master);
    loop_timer_stop(&succession->patience);
    loop_timer_stop(&succession->again);
    free(succession->reason);
    succession->reason = NULL;
    loop_unwatch(master->loop, &succession->predecessor_watch);
    loop_unwatch(master->loop, &succession->first_watch);
    loop_unwatch(master->loop, &succession->keeper_watch);
}
