// SPDX-License-Identifier: Apache-2.0
// The first process as long as it is a master, and what other masters have to do with it; keeper.h.
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keeper.h"
#include "master.h"
#include "ringbolt/log.h"

#define VERSION 1

// One item: a version, whether it is the keeper by now, its process id.
enum { AT_IS_KEPT = 1, AT_PID = 4, SIZE = 8 };

// ---- what the first process hears ----

void succession_first_hear(struct master *master)
{
    struct succession *succession = &master->succession;
    struct keeper_message message;

    while (succession->keeper >= 0 && keeper_hear(succession->keeper, &message) > 0) {
        if (succession->leader == 0)
            continue; // what a failed successor had said
        if (message.word == KEEPER_LEADS && message.pid > 0)
            succession->leader = message.pid;
        else if (message.word == KEEPER_ENDED && message.pid == succession->leader)
            (void)succession_reap(master, succession->leader, message.status);
        else if (message.word == KEEPER_SAYS)
            notify_send(&master->service.notify, "%s", message.text);
    }
}

static void on_keeper(void *owner, unsigned events)
{
    (void)events;
    succession_first_hear(owner);
}

int succession_first_open(struct master *master)
{
    struct succession *succession = &master->succession;
    int channel[2];
    int error;

    if (succession->first >= 0)
        return 0;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, channel) < 0)
        return -errno;
    error = prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 ? -errno : 0;
    if (error == 0)
        error = loop_watch(master->loop, &succession->keeper_watch, channel[0], EPOLLIN, on_keeper, master);
    if (error < 0) {
        close(channel[0]);
        close(channel[1]);
        return error;
    }
    succession->keeper = channel[0];
    succession->first = channel[1];
    return 0;
}

int succession_first_end(struct master *master, int status)
{
    struct succession *succession = &master->succession;
    const struct config *config = master->config;
    bool leads_another = succession->state == SUCCESSOR_RELEASED || succession->state == SUCCESSOR_LEADS;
    struct keeper_setup setup = {.fd = succession->keeper,
                                 .leader = succession->leader,
                                 .format = config->log.format,
                                 .level = config->log.level,
                                 .log_file = config->log.file,
                                 .notify_socket = start_variable("NOTIFY_SOCKET")};

    if (succession->first >= 0)
        close(succession->first);
    succession->first = -1;
    if (succession->keeper < 0 || !leads_another)
        return succession->first_pid != 0 && leads_another ? 0 : status;
    if (succession->has_leader_ended)
        return keeper_status(succession->leader_status);
    keeper_become(&setup);
}

// ---- what other masters say and hear ----

void succession_first_leads(struct master *master, pid_t pid)
{
    if (master->succession.first >= 0 && master->succession.first_pid != 0)
        keeper_say(master->succession.first, KEEPER_LEADS, pid, 0);
}

void succession_first_ended(struct master *master, pid_t pid, int status)
{
    if (master->succession.first >= 0 && master->succession.first_pid != 0)
        keeper_say(master->succession.first, KEEPER_ENDED, pid, status);
}

static void first_is_gone(struct master *master)
{
    struct succession *succession = &master->succession;

    loop_unwatch(master->loop, &succession->first_watch);
    close(succession->first);
    succession->first = -1;
    master->service.notify.relay = -1;
    succession->first_pid = 0; // the next one that is superseded is the first of those that are left
    if (!succession->is_kept)
        return; // it was a master that drained
    log_error("the keeper is gone, ending");
    master_stop(master);
}

void succession_first_kept(struct master *master)
{
    struct estate_item word = {.type = ESTATE_KEPT, .flags = ESTATE_OPTIONAL, .fd = -1};

    if (master->succession.first_pid == 0 || master->succession.is_kept)
        return;
    master->succession.is_kept = true;
    if (master->control->predecessor >= 0)
        (void)estate_send(master->control->predecessor, &word);
}

static void on_first(void *owner, unsigned events)
{
    struct master *master = owner;
    struct keeper_message message;
    int result = -EAGAIN;

    if ((events & EPOLLIN) != 0) {
        while ((result = keeper_hear(master->succession.first, &message)) > 0) {
            if (message.word != KEEPER_KEEPS)
                continue;
            if (!master->succession.is_kept)
                log_info("the first process is the keeper now", log_integer("pid", master->succession.first_pid));
            succession_first_kept(master);
        }
    }
    if (result == 0 || (events & (EPOLLHUP | EPOLLERR)) != 0)
        first_is_gone(master);
}

void succession_first_watch(struct master *master, bool is_leading)
{
    struct succession *succession = &master->succession;

    if (succession->first_watch.fd >= 0)
        (void)loop_events(master->loop, &succession->first_watch, is_leading ? EPOLLIN : 0);
}

int succession_first_inherit(struct master *master)
{
    struct succession *succession = &master->succession;
    struct estate_item *item = estate_find(master->control->inherited, ESTATE_KEEPER, NULL);
    int32_t pid;

    if (!item || item->fd < 0 || item->size != SIZE || item->bytes[0] != VERSION)
        return 0; // it is gone: we may become one
    memcpy(&pid, item->bytes + AT_PID, sizeof(pid));
    succession->first_pid = (pid_t)pid;
    succession->is_kept = item->bytes[AT_IS_KEPT] != 0;
    succession->first = estate_take_fd(item);
    return loop_watch(master->loop, &succession->first_watch, succession->first, 0, on_first, master);
}

int succession_first_leave(struct master *master, struct estate *ret)
{
    struct succession *succession = &master->succession;
    uint8_t bytes[SIZE] = {VERSION, [AT_IS_KEPT] = succession->is_kept};
    int32_t pid = (int32_t)(succession->first_pid != 0 ? succession->first_pid : getpid());

    memcpy(bytes + AT_PID, &pid, sizeof(pid));
    return succession->first < 0 ? 0
                                 : estate_add(ret, ESTATE_KEEPER, 0, bytes, sizeof(bytes), succession->first);
}
