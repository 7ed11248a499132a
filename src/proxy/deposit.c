// SPDX-License-Identifier: Apache-2.0
// Idle connections are deposited with the master (ringbolt/deposit.h), where the kernel has all that they need but what is in a slot.
//
//     awake ──2 s without a byte──▶ at rest ──what it is, in its slot──▶ asleep ──a byte, or its end──▶ awake
//
// Asleep it waits for its sockets by polls, which take nothing out of them; awake by receives as ever. So it comes to rest first, which cancels those: only
// then is it certain that no byte has left a socket and is nowhere else.
#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "carry.h"
#include "connection.h"
#include "connection_header.h"
#include "ringbolt/clock.h"
#include "ringbolt/deposit.h"
#include "ringbolt/log.h"
#include "ringbolt/socket.h"

#define AGAIN_NS CLOCK_NS_PER_S // the channel was full: the next try

static struct deposit *slot_of(const struct connection *connection)
{
    return &connection->proxy->deposits.room.slots[connection->deposit - 1];
}

// ---- slots ----

static void push(uint32_t *stack, uint32_t *count, uint32_t slot)
{
    stack[(*count)++] = slot;
}

int deposits_create(struct proxy *proxy)
{
    struct deposits *deposits = &proxy->deposits;

    if (!proxy->setup.deposits || proxy->setup.deposits->count == 0)
        return 0;
    deposits->room = *proxy->setup.deposits;
    deposits->free = calloc(deposits->room.count, sizeof(*deposits->free));
    deposits->dropped = calloc(deposits->room.count, sizeof(*deposits->dropped));
    if (!deposits->free || !deposits->dropped)
        return -ENOMEM;
    for (uint32_t slot = deposits->room.count; slot-- > 0;) {
        if (deposits->room.fds[slot][0] < 0)
            push(deposits->free, &deposits->free_count, slot);
    }
    return 0;
}

void deposits_destroy(struct proxy *proxy)
{
    free(proxy->deposits.free);
    free(proxy->deposits.dropped);
}

// ---- what the master is told ----

static int tell(const struct deposits *deposits, const struct deposit_message *message, const int *fds)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = sizeof(*message)};

    return socket_send_with(deposits->room.channel, &part, 1, fds, fds ? 2 : 0);
}

// Slots come to be free again in the order in which the master hears of them.
void deposits_tell(struct proxy *proxy)
{
    struct deposits *deposits = &proxy->deposits;

    while (deposits->dropped_count > 0) {
        struct deposit_message message = {.type = DEPOSIT_DROP};

        while (message.count < DEPOSIT_DROPS_MAX && message.count < deposits->dropped_count) {
            message.slots[message.count] = deposits->dropped[deposits->dropped_count - 1 - message.count];
            message.count++;
        }
        if (tell(deposits, &message, NULL) < 0)
            return; // at the next turn
        deposits->dropped_count -= message.count;
        for (uint32_t i = 0; i < message.count; i++)
            push(deposits->free, &deposits->free_count, message.slots[i]);
    }
}

// ---- asleep, awake ----

void deposit_wake(struct connection *connection)
{
    if (!connection->is_asleep)
        return;
    connection->is_asleep = false;
    // What is done next is for the kernel to see after this, whenever this process ends.
    atomic_store_explicit(&slot_of(connection)->size, 0, memory_order_release);
    stats_add(&connection->proxy->stats->deposited, (uint64_t)-1);
}

static void fall_asleep(struct connection *connection, uint32_t size)
{
    connection->is_asleep = true;
    atomic_store_explicit(&slot_of(connection)->size, size, memory_order_release);
    stats_add(&connection->proxy->stats->deposited, 1);
}

void deposit_end(struct connection *connection)
{
    struct deposits *deposits = &connection->proxy->deposits;

    if (connection->deposit == 0)
        return;
    deposit_wake(connection);
    push(deposits->dropped, &deposits->dropped_count, connection->deposit - 1);
    connection->deposit = 0;
}

// ---- to be deposited ----

static bool is_in_kernel(const struct endpoint *endpoint)
{
    return endpoint->receive_mode != ENDPOINT_USER && endpoint->transmit_mode != ENDPOINT_USER;
}

static bool has_nothing_to_say(const struct endpoint *endpoint)
{
    return endpoint->sending == ENDPOINT_SENDS_NOTHING && endpoint->alert_due == ALERT_NONE &&
           !endpoint->is_key_update_due && endpoint->is_close_due <= endpoint->is_shut;
}

static bool waits(const struct flow *flow)
{
    return flow->kept == 0 && !flow->is_closing && (flow->state == FLOW_WAITING || flow->state == FLOW_ENDED);
}

static bool is_idle(const struct connection *connection)
{
    const struct connection_header *header = connection->header;

    return is_in_kernel(&connection->client) && is_in_kernel(&connection->server) &&
           has_nothing_to_say(&connection->client) && has_nothing_to_say(&connection->server) &&
           waits(&connection->up) && waits(&connection->down) && !(header && header->out);
}

// The master has its sockets, or gets them now.
static bool keep(struct connection *connection)
{
    struct deposits *deposits = &connection->proxy->deposits;
    const int fds[2] = {connection->client.fd, connection->server.fd};
    struct deposit_message message = {.type = DEPOSIT_KEEP, .count = 1};

    if (connection->deposit != 0)
        return true;
    if (deposits->free_count == 0)
        return false; // it tries again when it has moved
    message.slots[0] = deposits->free[deposits->free_count - 1];
    if (tell(deposits, &message, fds) < 0) {
        deposits->again_ns = connection->proxy->now_ns + AGAIN_NS;
        connection->is_deposit_due = true;
        return false;
    }
    deposits->free_count--;
    connection->deposit = message.slots[0] + 1;
    return true;
}

static void on_rested(struct connection *connection, void *context, bool is_at_rest)
{
    struct proxy *proxy = connection->proxy;
    struct deposit *slot;
    size_t size;

    (void)context;
    if (!is_at_rest)
        return;
    if (is_idle(connection) && keep(connection)) {
        slot = slot_of(connection);
        slot->listener = (uint32_t)listener_index(proxy, connection->listener);
        size = carry_pack_bare(connection, slot->bytes, sizeof(slot->bytes));
        if (size > 0)
            fall_asleep(connection, (uint32_t)size);
    }
    connection_resume(connection);
    handovers_came(proxy); // a dialogue may have passed it over meanwhile
}

// What is cheap to know beforehand.
static bool may_be_deposited(const struct connection *connection)
{
    const struct proxy *proxy = connection->proxy;

    return proxy->deposits.room.count > 0 && !connection->is_asleep && !proxy->is_stopping &&
           is_in_kernel(&connection->client) && is_in_kernel(&connection->server) &&
           (connection->deposit != 0 || proxy->deposits.free_count > 0) && connection_can_move(connection);
}

void deposit_offer(struct connection *connection)
{
    struct proxy *proxy = connection->proxy;

    if (may_be_deposited(connection) && proxy->now_ns < proxy->deposits.again_ns) {
        timer_set(&proxy->wheel, &connection->timer, proxy->deposits.again_ns); // comes back here
        return;
    }
    connection->is_deposit_due = false;
    if (may_be_deposited(connection))
        connection_rest(connection, on_rested, NULL);
}

// ---- those that a worker before left ----

// NULL and static words: nothing can be made of it.
static struct connection *revive(struct proxy *proxy, uint32_t slot, const char **ret_why)
{
    struct deposit *deposit = &proxy->deposits.room.slots[slot];
    uint32_t size = atomic_load_explicit(&deposit->size, memory_order_acquire);
    int *fds = proxy->deposits.room.fds[slot];
    struct connection *connection = NULL;

    // If this is what ends the process, its successor won't try it again.
    atomic_store_explicit(&deposit->size, 0, memory_order_release);
    *ret_why = "its slot has nothing of it";
    if (size == 0 || size > sizeof(deposit->bytes) ||
        carry_read(proxy, deposit->bytes, size, fds, &connection, ret_why) < 0)
        return NULL;
    *ret_why = "it was not idle";
    if (!is_idle(connection)) {
        connection_release(connection); // and its sockets are closed
        fds[0] = fds[1] = -1;
        return NULL;
    }
    connection->deposit = slot + 1;
    fall_asleep(connection, size);
    return connection;
}

void proxy_revive(struct proxy *proxy)
{
    struct deposits *deposits = &proxy->deposits;
    uint32_t revived = 0;
    uint32_t lost = 0;
    const char *why = NULL;

    for (uint32_t slot = 0; slot < deposits->room.count; slot++) {
        int *fds = deposits->room.fds[slot];
        struct connection *connection;

        if (fds[0] < 0)
            continue;
        connection = revive(proxy, slot, &why);
        if (connection) {
            revived++;
            if (proxy->next_id <= connection->id)
                proxy->next_id = connection->id + 1;
            connection_resume(connection);
            continue;
        }
        lost++;
        stats_lose(proxy->setup.stats, proxy->setup.worker, deposits->room.slots[slot].listener);
        socket_close(fds[0], true);
        socket_close(fds[1], true);
        push(deposits->dropped, &deposits->dropped_count, slot);
    }
    stats_add(&proxy->stats->revived, revived);
    if (revived > 0 || lost > 0)
        log_line(lost > 0 ? LOG_WARNING : LOG_INFO, "connections of the worker before go on",
                 log_integer("connections", revived), log_integer("lost", lost),
                 log_text("reason", lost > 0 ? why : NULL));
    deposits_tell(proxy);
}
