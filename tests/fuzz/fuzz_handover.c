// SPDX-License-Identifier: Apache-2.0
// A worker that another one says anything to, while they hand connections over: each connection stays one side's, and lives there.
// The input: a byte (0: we take, 1: we give), then messages: u16 length (little endian), a byte (descriptors that come along), the message.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fuzz.h"
#include "ringbolt/log.h"
#include "ringbolt/secret.h"
#include "src/proxy/handover.h"

#define FAKES_MAX 64

// ---- connections that are pretended ----

enum fate { NONE, LIVES, RESTS, AT_REST, AWAY };

static struct fake {
    struct connection connection; // first
    enum fate fate;
    connection_rested *rested;
    void *context;
    int fds[2];
} fakes[FAKES_MAX];
static unsigned fake_count;
static struct proxy proxy;
static struct stats_worker stats;
static const struct config config;
static unsigned ended;

static struct fake *fake_of(const struct connection *connection)
{
    return (struct fake *)(uintptr_t)connection;
}

static struct fake *add(enum fate fate)
{
    struct fake *fake = &fakes[fake_count++];

    *fake = (struct fake){.connection = {.proxy = &proxy, .state = CONNECTION_RELAY}, .fate = fate, .fds = {-1, -1}};
    list_push_back(&proxy.connections, &fake->connection.node);
    proxy.connection_count++;
    return fake;
}

bool proxy_pauses(const struct proxy *of)
{
    return of->is_paused || of->is_draining;
}

bool connection_can_move(const struct connection *connection)
{
    return fake_of(connection)->fate == LIVES;
}

void connection_rest(struct connection *connection, connection_rested *rested, void *context)
{
    struct fake *fake = fake_of(connection);

    REQUIRE(fake->fate == LIVES);
    fake->fate = RESTS;
    fake->rested = rested;
    fake->context = context;
}

void connection_resume(struct connection *connection)
{
    struct fake *fake = fake_of(connection);

    REQUIRE(fake->fate == RESTS || fake->fate == AT_REST);
    fake->fate = LIVES;
}

void connection_release(struct connection *connection)
{
    struct fake *fake = fake_of(connection);

    REQUIRE(fake->fate == AT_REST);
    fake->fate = AWAY;
    handovers_forget(connection);
    list_remove(&connection->node);
    proxy.connection_count--;
    for (int i = 0; i < 2; i++) {
        if (fake->fds[i] >= 0)
            close(fake->fds[i]);
    }
}

int carry_pack(const struct connection *connection, struct carried *ret)
{
    REQUIRE(fake_of(connection)->fate == AT_REST);
    *ret = (struct carried){.bytes = secret_take(100), .size = 100, .fds = {0, 0}};
    return 0;
}

void carried_finish(struct carried *carried)
{
    secret_give(carried->bytes);
    *carried = (struct carried){.fds = {-1, -1}};
}

int carry_read(struct proxy *into, const uint8_t *bytes, size_t size, const int fds[2], struct connection **ret,
               const char **ret_why)
{
    struct fake *fake;
    unsigned sum = 0;

    REQUIRE(into == &proxy && size > 0 && size <= CARRY_SIZE_MAX);
    for (size_t i = 0; i < size; i++)
        sum += bytes[i]; // all of it is there
    *ret_why = "it is odd";
    if (sum % 2 || fake_count == FAKES_MAX)
        return -EPROTO;
    fake = add(AT_REST);
    fake->fds[0] = fds[0];
    fake->fds[1] = fds[1];
    *ret = &fake->connection;
    return 0;
}

// ---- one dialogue ----

static void on_ended(void *owner, const struct handover_outcome *outcome)
{
    (void)owner;
    (void)outcome;
    ended++;
}

static void run(struct handover *handover, int fd)
{
    static uint8_t sink[HANDOVER_HEAD + HANDOVER_BODY_MAX];
    struct iovec part = {.iov_base = sink, .iov_len = sizeof(sink)};
    struct socket_passed passed;

    for (unsigned i = 0; i < fake_count; i++) {
        if (fakes[i].fate == RESTS) {
            fakes[i].fate = AT_REST;
            fakes[i].rested(&fakes[i].connection, fakes[i].context, true);
        }
    }
    handover->is_readable = true;
    if (!handover->is_over) {
        if (handover->is_giver)
            give_run(handover);
        else
            take_run(handover);
    }
    while (socket_receive_with(fd, &part, 1, &passed) > 0)
        socket_passed_close(&passed);
}

static struct handover *begin(bool is_giver, int fd)
{
    struct handover_order order = {.most = HANDOVER_ALL};

    if (!is_giver) {
        REQUIRE(proxy_take(&proxy, fd) == 0);
    } else {
        for (unsigned i = 0; i < 3; i++)
            (void)add(LIVES);
        REQUIRE(proxy_give(&proxy, fd, &order, on_ended, NULL) == 0);
    }
    return list_entry(proxy.handovers.next, struct handover, node);
}

static void end(struct handover *handover)
{
    handovers_stop(&proxy);
    REQUIRE(handover->is_over);
    list_remove(&handover->node);
    close(handover->fd);
    free(handover);
    for (unsigned i = 0; i < fake_count; i++) {
        REQUIRE(fakes[i].fate == LIVES || fakes[i].fate == AWAY);
        if (fakes[i].fate == LIVES)
            fakes[i].fate = AT_REST, connection_release(&fakes[i].connection);
    }
    REQUIRE(proxy.connection_count == 0 && list_empty(&proxy.connections));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct handover *handover;
    bool is_giver;
    int fds[2];

    if (size == 0 || size > 1 << 20)
        return 0;
    log_setup(LOG_TEXT, LOG_ERROR, STDERR_FILENO);
    proxy = (struct proxy){.setup.config = &config, .stats = &stats, .is_paused = true, .now_ns = 1};
    list_init(&proxy.connections);
    list_init(&proxy.handovers);
    fake_count = ended = 0;
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    is_giver = data[0] % 2;
    handover = begin(is_giver, fds[0]);
    run(handover, fds[1]);
    for (data++, size--; size >= 3;) {
        size_t length = (size_t)data[0] | (size_t)data[1] << 8;
        size_t descriptors = data[2] % (SOCKET_PASS_MAX + 1);
        const int none[] = {fds[1], fds[1]};
        struct iovec part = {.iov_base = (void *)(uintptr_t)(data + 3)};

        part.iov_len = length < size - 3 ? length : size - 3;
        (void)socket_send_with(fds[1], &part, 1, none, descriptors);
        data += 3 + part.iov_len;
        size -= 3 + part.iov_len;
        run(handover, fds[1]);
        run(handover, fds[1]);
    }
    end(handover);
    REQUIRE(ended == is_giver);
    close(fds[1]);
    return 0;
}
