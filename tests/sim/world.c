// SPDX-License-Identifier: Apache-2.0
#include "world.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ringbolt/clock.h"
#include "ringbolt/socket.h"

#define SOCKETS_MAX  256
#define SOCKET_FIRST 100000 // far from any real descriptor
#define PIPE_SIZE    (1u << 20)
#define PENDING_MAX  1024
#define QUEUE_MAX    1024
#define IDLE_MAX     16

// One direction of a stream.
struct pipe {
    uint8_t *data;
    size_t used;
    size_t capacity;
    bool is_finished; // FIN behind the data
    bool is_reset;
};

struct peer {
    bool is_open; // the proxy has it open
    bool is_connected;
    bool is_waiting; // in an accept queue
    bool lingers;    // to close it is to reset it
    unsigned copies; // of its descriptor, with the same number, that were passed to others
    int listener;
    struct pipe in;  // into the proxy
    struct pipe out; // out of the proxy
    // kernel TLS
    bool is_attached;
    bool seals, opens;
    struct record_user sealer, opener;
    uint8_t opened[RECORD_WIRE_MAX]; // a record that was opened: what of it is not read yet
    size_t opened_at, opened_size;
    enum record_type opened_type;
    bool needs_key;
    bool has_error; // sk_err: fails the next send, as tls_err_abort() in net/tls/tls_sw.c does
};

enum kind { ACCEPT, CONNECT, RECEIVE, RECEIVE_IDLE, RECEIVE_MESSAGE, SEND, SEND_MESSAGE, POLL };

struct pending {
    struct ring *ring;
    enum kind kind;
    struct ring_op *op;
    int fd;
    void *data;
    size_t length;
    struct msghdr *message;
    int flags;
    unsigned events;
    bool is_cancelled;
};

struct ring {
    struct buffer_pool *pool;
};

static struct {
    uint64_t random;
    uint64_t now_ns;
    struct peer sockets[SOCKETS_MAX];
    struct pending pending[PENDING_MAX];
    unsigned pending_count;
    struct ring_completion queue[QUEUE_MAX];
    struct ring *queue_of[QUEUE_MAX]; // whose each is
    unsigned queue_count;
    enum world_dial dial;
    world_dialler *dialler; // NULL: dial says
    struct peer *dialled;
    unsigned offloads;
} world;

struct record_probe world_probe;
unsigned world_trouble;

// ---- chance and time ----

uint64_t world_random(void)
{
    world.random ^= world.random >> 12;
    world.random ^= world.random << 25;
    world.random ^= world.random >> 27;
    return world.random * 2685821657736338717ull;
}

uint64_t world_below(uint64_t below)
{
    return (world_random() >> 11) % below;
}

bool world_chance(unsigned percent)
{
    return world_below(100) < percent;
}

uint64_t world_now_ns(void)
{
    return world.now_ns;
}

void world_advance(uint64_t ns)
{
    world.now_ns += ns;
}

void world_begin(uint64_t seed)
{
    memset(&world, 0, sizeof(world));
    world.random = seed * 0x9E3779B97F4A7C15ull + 1;
    world.now_ns = CLOCK_NS_PER_S;
    world_trouble = 0;
    for (int i = 0; i < 8; i++)
        world_random();
}

// ---- sockets ----

static struct peer *socket_of(int fd)
{
    assert(fd >= SOCKET_FIRST && fd < SOCKET_FIRST + SOCKETS_MAX);
    return &world.sockets[fd - SOCKET_FIRST];
}

static int fd_of(const struct peer *peer)
{
    return SOCKET_FIRST + (int)(peer - world.sockets);
}

static struct peer *new_peer(void)
{
    for (unsigned i = 0; i < SOCKETS_MAX; i++) {
        struct peer *peer = &world.sockets[i];

        if (peer->in.data)
            continue; // never used twice in one world: a stale descriptor shows
        peer->in = (struct pipe){.data = malloc(PIPE_SIZE), .capacity = PIPE_SIZE};
        peer->out = (struct pipe){.data = malloc(PIPE_SIZE), .capacity = PIPE_SIZE};
        return peer;
    }
    abort();
}

bool world_end(void)
{
    bool good = world.pending_count == 0 && world.queue_count == 0;

    if (!good)
        fprintf(stderr, "%u operations pending, %u completions queued\n", world.pending_count, world.queue_count);
    for (unsigned i = 0; i < SOCKETS_MAX; i++) {
        struct peer *peer = &world.sockets[i];

        if (peer->is_open) {
            fprintf(stderr, "descriptor %d is still open\n", fd_of(peer));
            good = false;
        }
        if (peer->seals)
            record_user_finish(&peer->sealer);
        if (peer->opens)
            record_user_finish(&peer->opener);
        free(peer->in.data);
        free(peer->out.data);
    }
    return good;
}

struct peer *world_connect(int listener)
{
    struct peer *peer = new_peer();

    peer->is_waiting = true;
    peer->is_connected = true;
    peer->listener = listener;
    return peer;
}

void world_dial(enum world_dial answer)
{
    world.dial = answer;
}

void world_dial_by(world_dialler *dialler)
{
    world.dialler = dialler;
}

struct peer *world_dialled(void)
{
    struct peer *peer = world.dialled;

    world.dialled = NULL;
    return peer;
}

static size_t pipe_write(struct pipe *pipe, const void *data, size_t length)
{
    size_t room = pipe->capacity > pipe->used ? pipe->capacity - pipe->used : 0;

    if (length > room)
        length = room;
    memcpy(pipe->data + pipe->used, data, length);
    pipe->used += length;
    return length;
}

static size_t pipe_read(struct pipe *pipe, void *data, size_t length)
{
    if (length > pipe->used)
        length = pipe->used;
    memcpy(data, pipe->data, length);
    memmove(pipe->data, pipe->data + length, pipe->used - length);
    pipe->used -= length;
    return length;
}

size_t peer_write(struct peer *peer, const void *data, size_t length)
{
    assert(!peer->in.is_finished);
    return peer->in.is_reset ? length : pipe_write(&peer->in, data, length);
}

size_t peer_read(struct peer *peer, void *data, size_t length)
{
    return pipe_read(&peer->out, data, length);
}

void peer_finish(struct peer *peer)
{
    peer->in.is_finished = true;
}

void peer_reset(struct peer *peer)
{
    peer->in.is_reset = true;
    peer->out.used = 0;
}

bool peer_is_at_end(const struct peer *peer)
{
    return peer->out.is_finished && peer->out.used == 0;
}

bool peer_was_reset(const struct peer *peer)
{
    return peer->out.is_reset;
}

void peer_capacity(struct peer *peer, size_t in, size_t out)
{
    peer->in.capacity = in;
    peer->out.capacity = out;
}

void world_pass(int fd)
{
    assert(socket_of(fd)->is_open);
    socket_of(fd)->copies++;
}

int socket_open(int family)
{
    struct peer *peer;

    if (world_chance(world_trouble))
        return -EMFILE;
    peer = new_peer();
    peer->is_open = true;
    return fd_of(peer);
}

int socket_accept(int fd)
{
    for (unsigned i = 0; i < SOCKETS_MAX; i++) {
        struct peer *peer = &world.sockets[i];

        if (peer->is_waiting && peer->listener == fd) {
            peer->is_waiting = false;
            peer->is_open = true;
            return fd_of(peer);
        }
    }
    return -EAGAIN;
}

int socket_come_from(int fd, int family, const struct sockaddr_storage *client)
{
    return 0;
}

int socket_tune(int fd, unsigned keepalive_s, unsigned user_timeout_ms)
{
    return 0;
}

void socket_prepare(int fd)
{
    assert(socket_of(fd)->is_open);
}

int socket_shutdown(int fd)
{
    struct peer *peer = socket_of(fd);

    assert(peer->is_open);
    peer->out.is_finished = true;
    return 0;
}

void socket_clear_error(int fd)
{
    socket_of(fd)->has_error = false;
}

unsigned socket_unsent(int fd)
{
    return (unsigned)socket_of(fd)->out.used;
}

static world_sender *sender;

void world_send_by(world_sender *hook)
{
    sender = hook;
}

int socket_send_with(int fd, const struct iovec *parts, size_t part_count, const int *fds, size_t fd_count)
{
    if (world_chance(world_trouble))
        return -EAGAIN;
    assert(part_count == 1 && sender);
    for (size_t i = 0; i < fd_count; i++)
        world_pass(fds[i]);
    sender(fd, parts->iov_base, parts->iov_len, fds, fd_count);
    return 0;
}

ssize_t socket_receive_with(int fd, const struct iovec *parts, size_t part_count, struct socket_passed *ret)
{
    *ret = (struct socket_passed){.count = 0};
    return -EAGAIN;
}

void socket_passed_close(struct socket_passed *passed)
{
}

void socket_close(int fd, bool reset)
{
    struct peer *peer;

    if (fd < 0)
        return;
    peer = socket_of(fd);
    assert(peer->is_open);
    if (peer->copies > 0) {
        peer->copies--;
        peer->lingers |= reset; // SO_LINGER is the socket's: whoever closes it last resets it
        return;
    }
    reset |= peer->lingers;
    for (unsigned i = 0; i < world.pending_count; i++)
        assert(world.pending[i].fd != fd); // closing under an operation
    peer->is_open = false;
    // Linux sends a reset when unread bytes are thrown away (net/ipv4/tcp.c, __tcp_close()).
    if (reset || peer->in.used > 0 || peer->opened_size > peer->opened_at) {
        peer->out.is_reset = true;
        peer->out.used = 0;
    }
    peer->out.is_finished = true;
}

static int test_address(int fd, uint32_t host, struct sockaddr_storage *ret)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret;

    assert(socket_of(fd)->is_open);
    memset(ret, 0, sizeof(*ret));
    v4->sin_family = AF_INET;
    v4->sin_addr.s_addr = htonl(host);
    v4->sin_port = htons((uint16_t)(fd - SOCKET_FIRST + 1));
    return 0;
}

int socket_peer(int fd, struct sockaddr_storage *ret)
{
    return test_address(fd, WORLD_PEER, ret);
}

int socket_local(int fd, struct sockaddr_storage *ret)
{
    return test_address(fd, WORLD_LOCAL, ret);
}

// ---- kernel TLS ----

void world_kernel_tls(bool transmit, bool receive, bool rekey)
{
    memset(&world_probe, 0, sizeof(world_probe));
    for (int version = 0; version < 2; version++)
        for (int cipher = 0; cipher < RECORD_CIPHER_COUNT; cipher++) {
            world_probe.error[version][cipher][RECORD_TRANSMIT] = transmit ? 0 : -ENOENT;
            world_probe.error[version][cipher][RECORD_RECEIVE] = receive ? 0 : -ENOENT;
        }
    world_probe.rekey = rekey;
}

unsigned world_offloads(void)
{
    return world.offloads;
}

int record_kernel_attach(int fd)
{
    struct peer *peer = socket_of(fd);

    if (peer->is_attached)
        return -EEXIST;
    peer->is_attached = true;
    return 0;
}

static bool is_in_flight(int fd, bool receives)
{
    for (unsigned i = 0; i < world.pending_count; i++) {
        enum kind kind = world.pending[i].kind;
        bool is_send = kind == SEND || kind == SEND_MESSAGE;
        bool reads = !is_send &&
                     (kind != POLL || world.pending[i].events & POLLIN); // who waits for an end takes nothing

        if (world.pending[i].fd == fd && (receives ? reads : is_send))
            return true;
    }
    return false;
}

int record_kernel_set(int fd, enum record_direction direction, const struct record_keys *keys)
{
    struct peer *peer = socket_of(fd);
    bool seals = direction == RECORD_TRANSMIT;
    bool *has = seals ? &peer->seals : &peer->opens;
    struct record_user *record = seals ? &peer->sealer : &peer->opener;

    assert(peer->is_attached);
    assert(!is_in_flight(fd, !seals)); // the contract of endpoint_offload()
    if (*has && !world_probe.rekey)
        return -EBUSY;
    if (*has)
        record_user_finish(record);
    record_user_init(record, keys, seals);
    *has = true;
    peer->needs_key = seals ? peer->needs_key : false;
    world.offloads++;
    return 0;
}

int record_kernel_sequence(int fd, enum record_direction direction, const struct record_keys *keys,
                           uint64_t *ret_sequence)
{
    const struct peer *peer = socket_of(fd);

    *ret_sequence = direction == RECORD_TRANSMIT ? peer->sealer.keys.sequence : peer->opener.keys.sequence;
    return 0;
}

void record_kernel_message_send(struct msghdr *message, void *ancillary, enum record_type type)
{
    *(uint8_t *)ancillary = (uint8_t)type;
    message->msg_control = ancillary;
    message->msg_controllen = 1;
}

void record_kernel_message_receive(struct msghdr *message, void *ancillary)
{
    *(uint8_t *)ancillary = RECORD_DATA;
    message->msg_control = ancillary;
    message->msg_controllen = 1;
}

enum record_type record_kernel_message_type(const struct msghdr *message)
{
    return *(const uint8_t *)message->msg_control;
}

int record_kernel_probe(struct record_probe *ret)
{
    *ret = world_probe;
    return 0;
}

bool record_probe_can(const struct record_probe *probe, enum record_version version, enum record_cipher cipher,
                      enum record_direction direction)
{
    return probe->error[version == RECORD_TLS13][cipher][direction] == 0;
}

// Has a record ready in peer->opened, if a whole one is there. 1, 0, or -errno.
static int kernel_open(struct peer *peer)
{
    uint8_t record[RECORD_WIRE_MAX];
    struct record_opened opened;
    enum record_alert alert;
    size_t size = peer->in.used < sizeof(record) ? peer->in.used : sizeof(record);
    int result;

    if (peer->opened_at < peer->opened_size)
        return 1;
    if (peer->needs_key)
        return -EKEYEXPIRED;
    memcpy(record, peer->in.data, size);
    result = record_user_open(&peer->opener, record, size, &opened, &alert);
    peer->has_error |= result < 0;
    if (result < 0)
        return alert == ALERT_RECORD_OVERFLOW ? -EMSGSIZE : alert == ALERT_BAD_RECORD_MAC ? -EBADMSG : -EINVAL;
    if (result == 0)
        return 0;
    pipe_read(&peer->in, record + 0, 0);
    memcpy(peer->opened, opened.payload, opened.length);
    peer->opened_at = 0;
    peer->opened_size = opened.length;
    peer->opened_type = opened.type;
    memmove(peer->in.data, peer->in.data + opened.consumed, peer->in.used - opened.consumed);
    peer->in.used -= opened.consumed;
    if (opened.type == RECORD_HANDSHAKE && world_probe.rekey)
        peer->needs_key = true; // Linux 6.14: until the next key is set
    return opened.length == 0 ? kernel_open(peer) : 1;
}

int socket_discard(int fd)
{
    struct peer *peer = socket_of(fd);
    size_t length = peer->in.used + peer->opened_size - peer->opened_at;

    assert(peer->is_open);
    peer->in.used = 0;
    peer->opened_at = peer->opened_size;
    if (length > 0)
        return (int)length;
    if (peer->in.is_reset)
        return -ECONNRESET;
    return peer->in.is_finished ? 0 : -EAGAIN;
}

// ---- the ring ----

int ring_create(const struct ring_options *options, struct ring **ret, const char **ret_why)
{
    static struct ring rings[2]; // of two workers
    struct ring *ring = rings[0].pool ? &rings[1] : &rings[0];

    assert(!ring->pool);
    ring->pool = options->pool;
    *ret = ring;
    return 0;
}

void ring_destroy(struct ring *ring)
{
    ring->pool = NULL;
}

void world_kill(struct ring *ring)
{
    for (unsigned i = 0; i < world.pending_count;) {
        if (world.pending[i].ring != ring) {
            i++;
            continue;
        }
        world.pending[i].op->in_flight = false;
        world.pending[i] = world.pending[--world.pending_count];
    }
    for (unsigned i = 0; i < world.queue_count;) {
        if (world.queue_of[i] != ring) {
            i++;
            continue;
        }
        world.queue[i].op->in_flight = false;
        buffer_give(ring->pool, world.queue[i].buffer);
        world.queue[i] = world.queue[--world.queue_count];
        world.queue_of[i] = world.queue_of[world.queue_count];
    }
}

void ring_probe(struct ring_probe *ret)
{
    memset(ret, 0, sizeof(*ret));
}

static void complete(struct ring *ring, struct ring_op *op, int result, struct buffer *buffer)
{
    assert(world.queue_count < QUEUE_MAX);
    world.queue_of[world.queue_count] = ring;
    world.queue[world.queue_count++] = (struct ring_completion){.op = op, .result = result, .buffer = buffer};
}

static void start(struct ring_op *op, struct pending pending)
{
    assert(!op->in_flight);
    op->in_flight = true;
    pending.op = op;
    if (world_chance(world_trouble)) {
        complete(pending.ring, op, world_chance(50) ? -EAGAIN : -ENOMEM, NULL);
        return;
    }
    assert(world.pending_count < PENDING_MAX);
    world.pending[world.pending_count++] = pending;
}

void ring_accept(struct ring *ring, struct ring_op *op, int fd)
{
    start(op, (struct pending){.ring = ring, .kind = ACCEPT, .fd = fd});
}

void ring_connect(struct ring *ring, struct ring_op *op, int fd, const struct sockaddr *address, socklen_t length)
{
    start(op, (struct pending){.ring = ring, .kind = CONNECT, .fd = fd, .data = (void *)address});
}

void ring_receive(struct ring *ring, struct ring_op *op, int fd, void *data, size_t length, int flags)
{
    assert(length > 0);
    start(op, (struct pending){.ring = ring, .kind = RECEIVE, .fd = fd, .data = data, .length = length, .flags = flags});
}

void ring_receive_idle(struct ring *ring, struct ring_op *op, int fd)
{
    start(op, (struct pending){.ring = ring, .kind = RECEIVE_IDLE, .fd = fd});
}

void ring_receive_message(struct ring *ring, struct ring_op *op, int fd, struct msghdr *message, int flags)
{
    start(op, (struct pending){.ring = ring, .kind = RECEIVE_MESSAGE, .fd = fd, .message = message, .flags = flags});
}

void ring_send(struct ring *ring, struct ring_op *op, int fd, const void *data, size_t length, int flags)
{
    assert(length > 0);
    start(op, (struct pending){.ring = ring, .kind = SEND, .fd = fd, .data = (void *)data, .length = length});
}

void ring_send_message(struct ring *ring, struct ring_op *op, int fd, const struct msghdr *message, int flags)
{
    start(op, (struct pending){.ring = ring, .kind = SEND_MESSAGE, .fd = fd, .message = (struct msghdr *)message});
}

void ring_poll(struct ring *ring, struct ring_op *op, int fd, unsigned events)
{
    start(op, (struct pending){.ring = ring, .kind = POLL, .fd = fd, .events = events});
}

void ring_cancel(struct ring *ring, struct ring_op *op)
{
    if (world_chance(world_trouble))
        return; // lost: it met the operation just as it ran
    for (unsigned i = 0; i < world.pending_count; i++)
        if (world.pending[i].op == op)
            world.pending[i].is_cancelled = true;
}

unsigned ring_idle_ready(struct ring *ring)
{
    size_t left = buffer_pool_budget(ring->pool) - buffer_pool_used(ring->pool);

    return left / BUFFER_SMALL_SIZE > IDLE_MAX ? IDLE_MAX : (unsigned)(left / BUFFER_SMALL_SIZE);
}

// Sometimes less than there is, as a network does.
static size_t some_of(size_t length)
{
    return length > 1 && world_chance(40) ? 1 + world_below(length) : length;
}

static size_t scatter(const struct msghdr *message, const uint8_t *data, size_t length)
{
    size_t done = 0;

    for (size_t i = 0; i < message->msg_iovlen && done < length; i++) {
        size_t part = message->msg_iov[i].iov_len < length - done ? message->msg_iov[i].iov_len : length - done;

        memcpy(message->msg_iov[i].iov_base, data + done, part);
        done += part;
    }
    return done;
}

static size_t message_size(const struct msghdr *message)
{
    size_t size = 0;

    for (size_t i = 0; i < message->msg_iovlen; i++)
        size += message->msg_iov[i].iov_len;
    return size;
}

#define BLOCKED INT32_MIN

// Reads up to `room` bytes into data. Bytes, -errno, or BLOCKED.
static int read_stream(struct peer *peer, uint8_t *data, size_t room, uint8_t *type)
{
    size_t total = 0;

    if (!peer->opens) {
        if (peer->in.used > 0)
            return (int)pipe_read(&peer->in, data, some_of(room < peer->in.used ? room : peer->in.used));
    } else {
        while (total < room) {
            int result = kernel_open(peer);
            size_t part;

            if (result < 0 && total == 0)
                return result;
            if (result <= 0)
                break;
            if (peer->opened_type != RECORD_DATA && (!type || total > 0)) {
                if (total == 0)
                    return -EIO;
                break;
            }
            if (type)
                *type = peer->opened_type;
            part = peer->opened_size - peer->opened_at < room - total ? peer->opened_size - peer->opened_at : room - total;
            memcpy(data + total, peer->opened + peer->opened_at, part);
            peer->opened_at += part;
            total += part;
            if (type && *type != RECORD_DATA)
                break;
        }
        if (total > 0)
            return (int)total;
    }
    if (peer->in.is_reset)
        return -ECONNRESET;
    return peer->in.is_finished ? 0 : BLOCKED;
}

static int write_stream(struct peer *peer, const uint8_t *data, size_t length, enum record_type type)
{
    uint8_t record[RECORD_HEAD_MAX + RECORD_PLAINTEXT_MAX + RECORD_TAIL_MAX];
    size_t room = peer->out.capacity > peer->out.used ? peer->out.capacity - peer->out.used : 0;
    size_t done = 0;

    if (peer->has_error)
        return -EBADMSG;
    if (peer->in.is_reset)
        return world_chance(50) ? -EPIPE : -ECONNRESET;
    if (peer->out.is_finished)
        return -EPIPE;
    if (!peer->seals) {
        if (room == 0)
            return BLOCKED;
        return (int)pipe_write(&peer->out, data, some_of(length < room ? length : room));
    }
    // A kernel record is taken whole.
    while (done < length) {
        size_t part = length - done < RECORD_PLAINTEXT_MAX ? length - done : RECORD_PLAINTEXT_MAX;
        size_t head = record_user_head(&peer->sealer);
        int size;

        if (room < part + RECORD_HEAD_MAX + RECORD_TAIL_MAX)
            break;
        memcpy(record + head, data + done, part);
        size = record_user_seal(&peer->sealer, type, record + head, part);
        assert(size > 0);
        room -= pipe_write(&peer->out, record, (size_t)size);
        done += part;
    }
    return done > 0 ? (int)done : BLOCKED;
}

static int run_receive(struct ring *ring, struct pending *pending, struct buffer **ret_buffer)
{
    static uint8_t scratch[BUFFER_HUGE_SIZE];
    struct peer *peer = socket_of(pending->fd);
    struct buffer *buffer;
    uint8_t *type = NULL;
    size_t room;
    int result;

    switch (pending->kind) {
    case RECEIVE_IDLE:
        room = BUFFER_SMALL_SIZE - RING_IDLE_MARGIN;
        break;
    case RECEIVE:
        room = pending->length;
        break;
    default:
        room = message_size(pending->message);
        if (pending->message->msg_control)
            type = pending->message->msg_control;
    }
    if (pending->kind == RECEIVE_IDLE && (world_chance(world_trouble) || ring_idle_ready(ring) == 0) && peer->in.used > 0)
        return -ENOBUFS;
    result = read_stream(peer, scratch, room < sizeof(scratch) ? room : sizeof(scratch), type);
    if (result == BLOCKED)
        return pending->flags & MSG_DONTWAIT ? -EAGAIN : BLOCKED;
    if (result <= 0)
        return result;
    if (pending->kind == RECEIVE) {
        memcpy(pending->data, scratch, (size_t)result);
    } else if (pending->kind == RECEIVE_MESSAGE) {
        scatter(pending->message, scratch, (size_t)result);
    } else {
        buffer = buffer_take(ring->pool, BUFFER_SMALL);
        assert(buffer);
        memcpy(buffer->data + RING_IDLE_HEAD, scratch, (size_t)result);
        buffer->pieces[0] = (struct iovec){.iov_base = buffer->data + RING_IDLE_HEAD, .iov_len = (size_t)result};
        buffer->piece_count = 1;
        *ret_buffer = buffer;
    }
    return result;
}

static int run_send(struct pending *pending)
{
    static uint8_t scratch[BUFFER_HUGE_SIZE];
    struct peer *peer = socket_of(pending->fd);
    enum record_type type = RECORD_DATA;
    size_t length = 0;

    if (pending->kind == SEND)
        return write_stream(peer, pending->data, pending->length, type);
    for (size_t i = 0; i < pending->message->msg_iovlen; i++) {
        const struct iovec *piece = &pending->message->msg_iov[i];

        memcpy(scratch + length, piece->iov_base, piece->iov_len);
        length += piece->iov_len;
    }
    if (pending->message->msg_control) {
        assert(peer->seals);
        type = record_kernel_message_type(pending->message);
    }
    return write_stream(peer, scratch, length, type);
}

static int run_connect(struct pending *pending)
{
    struct peer *peer = socket_of(pending->fd);

    switch (world.dialler ? world.dialler(pending->data, peer) : world.dial) {
    case WORLD_DIAL_REFUSE:
        return -ECONNREFUSED;
    case WORLD_DIAL_HANG:
        return BLOCKED;
    default:
        peer->is_connected = true;
        world.dialled = peer;
        return 0;
    }
}

// What poll(2) says of TCP (net/ipv4/tcp.c, tcp_poll()). Nobody has to ask for an error, or the end of both directions.
static int run_poll(const struct pending *pending)
{
    const struct peer *peer = socket_of(pending->fd);
    unsigned events = 0;

    if (peer->in.used > 0 || peer->opened_at < peer->opened_size)
        events |= POLLIN;
    if (peer->in.is_finished)
        events |= POLLIN | POLLRDHUP;
    if (peer->in.is_finished && peer->out.is_finished)
        events |= POLLHUP;
    if (peer->in.is_reset)
        events |= POLLIN | POLLRDHUP | POLLHUP | POLLERR;
    events &= pending->events | POLLHUP | POLLERR;
    return events ? (int)events : BLOCKED;
}

static int run(struct ring *ring, struct pending *pending, struct buffer **ret_buffer)
{
    int result;

    if (pending->is_cancelled)
        return -ECANCELED;
    switch (pending->kind) {
    case ACCEPT:
        result = socket_accept(pending->fd);
        return result == -EAGAIN ? BLOCKED : result;
    case CONNECT:
        return run_connect(pending);
    case SEND:
    case SEND_MESSAGE:
        return run_send(pending);
    case POLL:
        return run_poll(pending);
    default:
        return run_receive(ring, pending, ret_buffer);
    }
}

// Each pending operation gets its chance in a random order; some are left for the next time. Whether one completed.
static bool progress(struct ring *ring)
{
    bool moved = false;

    for (unsigned tries = world.pending_count * 2; tries > 0 && world.pending_count > 0; tries--) {
        unsigned at = (unsigned)world_below(world.pending_count);
        struct pending pending = world.pending[at];
        struct buffer *buffer = NULL;
        int result;

        if (pending.ring != ring || world_chance(30))
            continue;
        result = run(ring, &pending, &buffer);
        if (result == BLOCKED)
            continue;
        world.pending[at] = world.pending[--world.pending_count];
        complete(ring, pending.op, result, buffer);
        moved = true;
    }
    return moved;
}

void ring_submit(struct ring *ring)
{
    progress(ring);
}

static unsigned queue_length(const struct ring *ring)
{
    unsigned length = 0;

    for (unsigned i = 0; i < world.queue_count; i++)
        length += world.queue_of[i] == ring;
    return length;
}

int ring_wait(struct ring *ring, uint64_t wait_ns)
{
    bool moved = progress(ring);

    if (!moved && queue_length(ring) == 0)
        world.now_ns += wait_ns < 50 * CLOCK_NS_PER_MS ? wait_ns : 50 * CLOCK_NS_PER_MS;
    else
        world.now_ns += world_below(CLOCK_NS_PER_MS);
    return 0;
}

bool ring_next(struct ring *ring, struct ring_completion *ret)
{
    unsigned length = queue_length(ring);
    unsigned skip;
    unsigned at = 0;

    if (length == 0)
        return false;
    for (skip = (unsigned)world_below(length); skip > 0 || world.queue_of[at] != ring; at++) // any order
        skip -= world.queue_of[at] == ring;
    *ret = world.queue[at];
    world.queue[at] = world.queue[--world.queue_count];
    world.queue_of[at] = world.queue_of[world.queue_count];
    ret->op->in_flight = false;
    return true;
}
