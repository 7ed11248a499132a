// SPDX-License-Identifier: Apache-2.0
#include "safe.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "master.h"
#include "ringbolt/log.h"
#include "ringbolt/shared_memory.h"
#include "ringbolt/socket.h"

#define SPARE            256 // descriptors of the master's for all that is not for a worker or a listener
#define MESSAGES_AT_ONCE 64 // then the others have their turn

// ---- slots ----

static void put(struct safe *safe, uint32_t slot, const int fds[2])
{
    safe->fds[slot][0] = fds[0];
    safe->fds[slot][1] = fds[1];
}

static void take_out(struct safe *safe, uint32_t slot, bool reset)
{
    static const int nothing[2] = {-1, -1};

    socket_close(safe->fds[slot][0], reset);
    socket_close(safe->fds[slot][1], reset);
    put(safe, slot, nothing);
}

void safe_empty(struct safe *safe)
{
    for (uint32_t slot = 0; slot < safe->count; slot++)
        take_out(safe, slot, true);
}

// ---- what workers say ----

// The worker may be anybody's by now: all that it can spoil is what it deposited itself.
static void act(struct safe *safe, const struct deposit_message *message, struct socket_passed *passed)
{
    if (message->type == DEPOSIT_KEEP && message->count == 1 && message->slots[0] < safe->count) {
        take_out(safe, message->slots[0], false);
        if (passed->count == 2) {
            put(safe, message->slots[0], passed->fds);
            passed->count = 0;
        } else if (!safe->is_short) {
            safe->is_short = true;
            log_warning("too few descriptors to keep idle connections",
                        log_text("cure", "raise the limit of descriptors, or lower survival.connections"));
        }
    } else if (message->type == DEPOSIT_DROP && message->count <= DEPOSIT_DROPS_MAX) {
        for (uint32_t i = 0; i < message->count; i++) {
            if (message->slots[i] < safe->count)
                take_out(safe, message->slots[i], false);
        }
    }
}

static void close_channel(struct safe *safe)
{
    loop_unwatch(safe->master->loop, &safe->watch);
    if (safe->channel >= 0)
        close(safe->channel);
    safe->channel = -1;
}

// False: there is none, for now or for ever.
static bool hear(struct safe *safe)
{
    struct deposit_message message;
    struct iovec part = {.iov_base = &message, .iov_len = sizeof(message)};
    struct socket_passed passed;
    ssize_t length;

    if (safe->channel < 0)
        return false;
    length = socket_receive_with(safe->channel, &part, 1, &passed);
    if (length == -EAGAIN || length == -EINTR)
        return false;
    if (length <= 0) {
        if (length == 0)
            socket_passed_close(&passed);
        close_channel(safe); // it is dying, and SIGCHLD will tell how
        return false;
    }
    if (length == (ssize_t)sizeof(message))
        act(safe, &message, &passed);
    socket_passed_close(&passed);
    return true;
}

static void on_channel(void *owner, unsigned events)
{
    (void)events;
    for (unsigned i = 0; i < MESSAGES_AT_ONCE && hear(owner); i++)
        ;
}

// ---- a worker's life ----

int safe_open(struct safe *safe, int *ret)
{
    int channel[2];
    int error;

    *ret = -1;
    if (!safe->slots)
        return 0;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, channel) < 0)
        return -errno;
    error = loop_watch(safe->master->loop, &safe->watch, channel[0], EPOLLIN, on_channel, safe);
    if (error < 0) {
        close(channel[0]);
        close(channel[1]);
        return error;
    }
    safe->channel = channel[0];
    *ret = channel[1];
    return 0;
}

void safe_cancel(struct safe *safe)
{
    close_channel(safe);
}

struct deposit_room safe_room(struct master *master, unsigned index, int channel)
{
    const struct safe *own = &master->processes[index].safe;

    for (unsigned i = 0; i < master->config->workers; i++) {
        const struct safe *safe = &master->processes[i].safe;

        if (i != index)
            shared_memory_destroy(safe->slots, safe->count * sizeof(*safe->slots));
    }
    return (struct deposit_room){
        .slots = own->slots, .count = own->count, .channel = channel, .fds = own->fds};
}

uint64_t safe_bury(struct safe *safe, bool goes_on, uint64_t *kept)
{
    uint64_t count = 0;

    while (hear(safe)) // what it said before it died comes before its death
        ;
    close_channel(safe);
    for (uint32_t slot = 0; slot < safe->count; slot++) {
        struct deposit *deposit = &safe->slots[slot];
        bool is_idle = atomic_load_explicit(&deposit->size, memory_order_acquire) > 0;
        uint32_t listener = deposit->listener;

        if (safe->fds[slot][0] < 0)
            continue;
        if (!goes_on || !is_idle) {
            take_out(safe, slot, true);
            continue;
        }
        count++;
        if (kept && listener < safe->master->config->listener_count)
            kept[listener]++;
    }
    return count;
}

// ---- all of them ----

static uint64_t lower(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t safes_connections(const struct config *config)
{
    return lower(config->survival.connections, config->limits.connections);
}

uint64_t safes_descriptors_beside(const struct config *config)
{
    return SPARE + (uint64_t)config->workers * (config->listener_count + 2);
}

static uint32_t slots_each(const struct config *config)
{
    uint64_t most = safes_connections(config);
    uint64_t others = safes_descriptors_beside(config);
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    if (limit.rlim_cur != RLIM_INFINITY)
        most = lower(most, limit.rlim_cur > others ? (limit.rlim_cur - others) / 2 : 0);
    return (uint32_t)(most / config->workers);
}

static void init(struct safe *safe, struct master *master, uint32_t count)
{
    *safe = (struct safe){.master = master, .channel = -1, .watch = {.fd = -1}};
    if (count == 0)
        return;
    safe->slots = shared_memory_create(count * sizeof(*safe->slots));
    safe->fds = malloc(count * sizeof(*safe->fds));
    if (!safe->slots || !safe->fds) {
        log_warning("no memory to keep idle connections: they end with their worker");
        shared_memory_destroy(safe->slots, count * sizeof(*safe->slots));
        free(safe->fds);
        safe->slots = NULL;
        safe->fds = NULL;
        return;
    }
    safe->count = count;
    for (uint32_t slot = 0; slot < count; slot++)
        safe->fds[slot][0] = safe->fds[slot][1] = -1;
}

void safes_init(struct master *master)
{
    uint32_t count = slots_each(master->config);

    for (unsigned i = 0; i < master->config->workers; i++)
        init(&master->processes[i].safe, master, count);
}

void safes_finish(struct master *master)
{
    for (unsigned i = 0; master->processes && i < master->config->workers; i++) {
        struct safe *safe = &master->processes[i].safe;

        if (safe->channel >= 0)
            close(safe->channel); // the loop is gone
        if (!safe->slots)
            continue;
        safe_empty(safe);
        shared_memory_destroy(safe->slots, safe->count * sizeof(*safe->slots));
        free(safe->fds);
    }
}
