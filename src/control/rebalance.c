// SPDX-License-Identifier: Apache-2.0
#include "rebalance.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/socket.h>
#include <unistd.h>

#include "master.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"

#define LOOK_NS   CLOCK_NS_PER_S
#define VAIN_NS   (10 * CLOCK_NS_PER_S) // nothing could be moved: it will hardly be otherwise at once
#define BROKEN_NS (60 * CLOCK_NS_PER_S)
#define MOST      1000 // connections in one dialogue; then the workers are looked at anew

static void look_in(struct master *master, uint64_t wait_ns)
{
    loop_timer_set(master->loop, &master->rebalance.timer, clock_now_ns() + wait_ns);
}

static uint64_t count_of(const struct process *process)
{
    return stats_get(&stats_worker(process->master->stats, process->index)->connections);
}

// The worker with most connections, and the one with fewest. False: not all of them are there.
static bool find_ends(struct master *master, struct process **ret_fullest, struct process **ret_emptiest)
{
    *ret_fullest = *ret_emptiest = &master->processes[0];
    for (unsigned i = 0; i < master->config->workers; i++) {
        struct process *process = &master->processes[i];

        if (process->pid == 0 || !process->is_ready || process->is_killed)
            return false;
        if (count_of(process) > count_of(*ret_fullest))
            *ret_fullest = process;
        if (count_of(process) < count_of(*ret_emptiest))
            *ret_emptiest = process;
    }
    return true;
}

// How many are to move; 0: they are even enough.
static uint64_t how_many(const struct master *master, uint64_t fullest, uint64_t emptiest)
{
    uint64_t difference = fullest > emptiest ? fullest - emptiest : 0;

    if (difference < master->config->rebalance.connections ||
        difference * 100 < fullest * master->config->rebalance.threshold)
        return 0;
    return difference / 2 < MOST ? difference / 2 : MOST;
}

// 0, or -errno: neither was told, or both will see the end of the other's descriptor.
static int begin(struct master *master, struct process *giver, struct process *taker, uint64_t count)
{
    uint64_t age_ms = master->config->rebalance.age_ns / CLOCK_NS_PER_MS;
    int pair[2];
    int error;

    // UINT64_MAX says something else; nobody waits for a connection that is older than 49 days.
    if (age_ms >= UINT32_MAX)
        age_ms = UINT32_MAX - 1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    error = messages_tell(taker, WORKER_TAKE, 0, pair[0]);
    if (error < 0) {
        close(pair[1]);
        return error;
    }
    return messages_tell(giver, WORKER_GIVE, age_ms << 32 | count, pair[1]);
}

static void look(void *owner)
{
    struct master *master = owner;
    struct rebalance *rebalance = &master->rebalance;
    struct process *fullest;
    struct process *emptiest;
    uint64_t count;
    int error;

    if (master->state != MASTER_SERVING)
        return;
    look_in(master, LOOK_NS);
    if (rebalance->giver || !find_ends(master, &fullest, &emptiest))
        return;
    count = how_many(master, count_of(fullest), count_of(emptiest));
    if (count == 0)
        return;
    error = begin(master, fullest, emptiest, count);
    if (error < 0) {
        log_warning("cannot move connections between workers", log_errno(error));
        look_in(master, VAIN_NS);
        return;
    }
    rebalance->giver = fullest;
    rebalance->taker = emptiest;
}

void rebalance_given(struct process *process, const struct worker_message *message)
{
    struct master *master = process->master;
    struct rebalance *rebalance = &master->rebalance;
    bool is_broken = message->type == WORKER_GIVE_FAILED;
    uint32_t given = (uint32_t)(message->value >> 32);
    uint32_t kept = (uint32_t)message->value;

    if (rebalance->giver != process || message->sequence != 0)
        return;
    if (given > 0 || kept > 0 || is_broken)
        log_line(is_broken ? LOG_WARNING : LOG_INFO,
                 is_broken ? "moving connections between workers broke" : "connections moved between workers",
                 log_integer("from", process->index), log_integer("to", rebalance->taker->index),
                 log_integer("given", given), log_integer("kept", kept));
    rebalance->giver = rebalance->taker = NULL;
    if (master->state == MASTER_SERVING)
        look_in(master, is_broken ? BROKEN_NS : given == 0 ? VAIN_NS : LOOK_NS);
}

void rebalance_died(struct process *process)
{
    struct rebalance *rebalance = &process->master->rebalance;

    if (rebalance->giver == process) // a taker's death the giver tells
        rebalance->giver = rebalance->taker = NULL;
}

void rebalance_init(struct master *master)
{
    loop_timer_init(&master->rebalance.timer, look, master);
}

void rebalance_start(struct master *master)
{
    if (master->config->workers > 1 && master->config->rebalance.threshold > 0)
        look_in(master, LOOK_NS);
}

void rebalance_stop(struct master *master)
{
    loop_timer_stop(&master->rebalance.timer);
}
