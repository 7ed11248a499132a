// SPDX-License-Identifier: Apache-2.0
// The dialogue of two workers, each with a real ring, over connections that are pretended: what is offered is given or kept, once, whatever the
// other side says, does not say, or becomes of it.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <cmocka.h>

#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "ringbolt/secret.h"
#include "src/proxy/handover.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define FAKES_MAX    256

// ---- connections that are pretended: rest.c, carry.c ----

enum fate { LIVES, RESTS, AT_REST, AWAY };

struct fake {
    struct connection connection; // first
    enum fate fate;
    connection_rested *rested;
    void *context;
    size_t size; // of its bytes
    int fds[2];
    unsigned resumed;
};

struct side {
    struct proxy proxy;
    struct stats_worker stats;
    struct buffer_pool *pool;
    struct fake *fakes[FAKES_MAX];
    unsigned count;
    struct handover_outcome outcome;
    unsigned ended;
};

static struct side giver;
static struct side taker;
static const struct config config;
static bool is_restless;  // connections don't come to rest
static bool has_no_memory;
static const char *refusal; // the taker's

static struct fake *fake_of(const struct connection *connection)
{
    return (struct fake *)(uintptr_t)connection;
}

static struct fake *add(struct side *side, size_t size)
{
    struct fake *fake = calloc(1, sizeof(*fake));

    assert_non_null(fake);
    assert_true(side->count < FAKES_MAX);
    side->fakes[side->count++] = fake;
    fake->connection.proxy = &side->proxy;
    fake->connection.state = CONNECTION_RELAY;
    fake->connection.id = side->count;
    fake->size = size;
    fake->fds[0] = fake->fds[1] = -1;
    list_push_back(&side->proxy.connections, &fake->connection.node);
    side->proxy.connection_count++;
    return fake;
}

static struct fake *add_living(struct side *side, size_t size)
{
    struct fake *fake = add(side, size);

    for (int i = 0; i < 2; i++) {
        fake->fds[i] = memfd_create("test", MFD_CLOEXEC);
        assert_true(fake->fds[i] >= 0);
        assert_int_equal(ftruncate(fake->fds[i], (off_t)(10 * fake->connection.id) + i), 0);
    }
    return fake;
}

bool proxy_pauses(const struct proxy *of)
{
    return of->is_paused || of->is_draining;
}

bool connection_can_move(const struct connection *connection)
{
    return connection->state == CONNECTION_RELAY && fake_of(connection)->fate == LIVES;
}

void connection_rest(struct connection *connection, connection_rested *rested, void *context)
{
    struct fake *fake = fake_of(connection);

    assert_int_equal(fake->fate, LIVES);
    fake->fate = RESTS;
    fake->rested = rested;
    fake->context = context;
}

void connection_resume(struct connection *connection)
{
    struct fake *fake = fake_of(connection);

    assert_true(fake->fate == RESTS || fake->fate == AT_REST);
    fake->fate = LIVES;
    fake->resumed++;
}

void connection_release(struct connection *connection)
{
    struct fake *fake = fake_of(connection);

    assert_int_equal(fake->fate, AT_REST);
    fake->fate = AWAY;
    handovers_forget(connection);
    list_remove(&connection->node);
    connection->proxy->connection_count--;
    close(fake->fds[0]);
    close(fake->fds[1]);
}

static uint8_t byte_at(size_t size, size_t i)
{
    return (uint8_t)(size * 31 + i * 7 + i / 251);
}

int carry_pack(const struct connection *connection, struct carried *ret)
{
    const struct fake *fake = fake_of(connection);

    assert_int_equal(fake->fate, AT_REST);
    if (has_no_memory)
        return -ENOMEM;
    *ret = (struct carried){.bytes = secret_take(fake->size), .size = fake->size, .fds = {fake->fds[0], fake->fds[1]}};
    for (size_t i = 0; i < fake->size; i++)
        ret->bytes[i] = byte_at(fake->size, i);
    return 0;
}

void carried_finish(struct carried *carried)
{
    secret_give(carried->bytes);
    *carried = (struct carried){.fds = {-1, -1}};
}

int carry_read(struct proxy *proxy, const uint8_t *bytes, size_t size, const int fds[2], struct connection **ret,
               const char **ret_why)
{
    struct side *side = proxy == &giver.proxy ? &giver : &taker;
    struct fake *fake;

    *ret_why = refusal;
    if (refusal)
        return -ENOENT;
    for (size_t i = 0; i < size; i++)
        assert_int_equal(bytes[i], byte_at(size, i));
    fake = add(side, size);
    fake->fate = AT_REST;
    fake->fds[0] = fds[0];
    fake->fds[1] = fds[1];
    *ret = &fake->connection;
    return 0;
}

// ---- the two ----

static void side_init(struct side *side)
{
    struct ring_options options = {.entries = 64};
    const char *why;

    memset(side, 0, sizeof(*side));
    options.pool = side->pool = buffer_pool_create((uint64_t)4 << 20);
    assert_int_equal(ring_create(&options, &side->proxy.ring, &why), 0);
    side->proxy.setup.config = &config;
    side->proxy.stats = &side->stats;
    side->proxy.now_ns = clock_now_ns();
    timer_wheel_init(&side->proxy.wheel, side->proxy.now_ns);
    timer_init(&side->proxy.handover_timer);
    list_init(&side->proxy.connections);
    list_init(&side->proxy.handovers);
    side->proxy.is_paused = true; // accepts nobody
}

static void turn(struct side *side)
{
    struct proxy *proxy = &side->proxy;
    struct ring_completion completion;
    struct list expired;

    assert_int_equal(ring_wait(proxy->ring, CLOCK_NS_PER_MS), 0);
    proxy->now_ns = clock_now_ns();
    while (ring_next(proxy->ring, &completion))
        completion.op->handler(completion.op, &completion);
    for (unsigned i = 0; i < side->count; i++) {
        struct fake *fake = side->fakes[i];

        if (fake->fate == RESTS && !is_restless) {
            fake->fate = AT_REST;
            fake->rested(&fake->connection, fake->context, true);
        }
    }
    list_init(&expired);
    timer_wheel_expired(&proxy->wheel, proxy->now_ns, &expired);
    if (list_pop_front(&expired))
        handovers_look(proxy);
    if (proxy->is_handover_due)
        handovers_run(proxy);
}

static void side_finish(struct side *side)
{
    handovers_stop(&side->proxy);
    while (!list_empty(&side->proxy.handovers))
        turn(side);
    ring_destroy(side->proxy.ring);
    buffer_pool_destroy(side->pool);
    for (unsigned i = 0; i < side->count; i++) {
        if (side->fakes[i]->fate != AWAY && side->fakes[i]->fds[0] >= 0) {
            close(side->fakes[i]->fds[0]);
            close(side->fakes[i]->fds[1]);
        }
        free(side->fakes[i]);
    }
}

static int set_up(void **unused)
{
    (void)unused;
    is_restless = has_no_memory = false;
    refusal = NULL;
    handover_patience_ns = 3600 * CLOCK_NS_PER_S;
    side_init(&giver);
    side_init(&taker);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    side_finish(&giver);
    side_finish(&taker);
    return 0;
}

static void on_ended(void *owner, const struct handover_outcome *outcome)
{
    struct side *side = owner;

    side->outcome = *outcome;
    side->ended++;
}

static void pair(int ret[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ret), 0);
}

static void give_at(int fd, uint32_t most, uint64_t age_ns)
{
    struct handover_order order = {.most = most, .age_ns = age_ns};

    assert_int_equal(proxy_give(&giver.proxy, fd, &order, on_ended, &giver), 0);
}

static void begin(uint32_t most)
{
    int fds[2];

    pair(fds);
    give_at(fds[0], most, 0);
    assert_int_equal(proxy_take(&taker.proxy, fds[1]), 0);
}

static void run_until_ended(unsigned ended)
{
    while (giver.ended < ended || !list_empty(&taker.proxy.handovers)) {
        turn(&giver);
        turn(&taker);
    }
    assert_int_equal(giver.ended, ended);
}

static unsigned count_fate(const struct side *side, enum fate fate)
{
    unsigned count = 0;

    for (unsigned i = 0; i < side->count; i++)
        count += side->fakes[i]->fate == fate;
    return count;
}

// ---- in good order ----

static void gives_all(void **unused)
{
    static const size_t sizes[] = {1, 100, HANDOVER_BODY_MAX - 1, HANDOVER_BODY_MAX, HANDOVER_BODY_MAX + 1, 500000};

    (void)unused;
    for (unsigned i = 0; i < 100; i++)
        add_living(&giver, sizes[i % COUNT(sizes)]);
    begin(HANDOVER_ALL);
    run_until_ended(1);
    assert_null(giver.outcome.broken);
    assert_true(giver.outcome.is_all);
    assert_int_equal(giver.outcome.given, 100);
    assert_int_equal(giver.outcome.kept, 0);
    assert_int_equal(count_fate(&giver, AWAY), 100);
    assert_int_equal(taker.count, 100);
    for (unsigned i = 0; i < 100; i++) {
        struct fake *fake = taker.fakes[i];
        struct stat facts;

        assert_int_equal(fake->fate, LIVES);
        assert_int_equal(fake->resumed, 1);
        assert_int_equal(fake->size, sizes[i % COUNT(sizes)]); // in their order
        for (int j = 0; j < 2; j++) {
            assert_int_equal(fstat(fake->fds[j], &facts), 0);
            assert_int_equal(facts.st_size, 10 * (i + 1) + (unsigned)j);
        }
    }
    assert_int_equal(stats_get(&giver.stats.given), 100);
    assert_int_equal(stats_get(&taker.stats.taken), 100);
    assert_true(stats_get(&giver.stats.pause.sum_ns) > 0);
}

// So many, of those that are old enough, and not those that can't move.
static void gives_some(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 10; i++) {
        struct fake *fake = add_living(&giver, 10);

        fake->connection.accepted_ns = i % 2 ? giver.proxy.now_ns : giver.proxy.now_ns - 1000 * CLOCK_NS_PER_S;
        if (i == 0)
            fake->connection.state = CONNECTION_SHAKE;
    }
    int fds[2];
    pair(fds);
    give_at(fds[0], 3, 999 * CLOCK_NS_PER_S);
    assert_int_equal(proxy_take(&taker.proxy, fds[1]), 0);
    run_until_ended(1);
    assert_int_equal(giver.outcome.given, 3);
    assert_int_equal(giver.fakes[2]->fate, AWAY);
    assert_int_equal(giver.fakes[4]->fate, AWAY);
    assert_int_equal(giver.fakes[6]->fate, AWAY);
    begin(100); // all that can
    run_until_ended(2);
    assert_int_equal(giver.outcome.given, 6);
    assert_int_equal(giver.fakes[0]->fate, LIVES);
}

// Those that come to RELAY later are given too; the dialogue is over when none is left that could.
static void gives_who_comes(void **unused)
{
    struct fake *late;
    struct fake *last;

    (void)unused;
    add_living(&giver, 10);
    late = add_living(&giver, 20);
    last = add_living(&giver, 30);
    late->connection.state = CONNECTION_HELLO;
    last->connection.state = CONNECTION_ANSWER; // has its answer, and ends by itself
    begin(HANDOVER_ALL);
    while (taker.count < 1 || taker.fakes[0]->fate != LIVES) {
        turn(&giver);
        turn(&taker);
    }
    late->connection.state = CONNECTION_RELAY;
    handovers_came(&giver.proxy);
    run_until_ended(1);
    assert_int_equal(giver.outcome.given, 2);
    assert_int_equal(last->fate, LIVES);
}

static void several_at_once(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 90; i++)
        add_living(&giver, 40000);
    for (unsigned i = 0; i < 3; i++)
        begin(30);
    run_until_ended(3);
    assert_int_equal(count_fate(&taker, LIVES), 90);
    assert_int_equal(stats_get(&giver.stats.given), 90);
}

// ---- what is not taken ----

static void refused_ones_stay(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 40; i++)
        add_living(&giver, 10);
    refusal = "its listener is not here";
    begin(HANDOVER_ALL);
    run_until_ended(1);
    assert_null(giver.outcome.broken);
    assert_int_equal(giver.outcome.given, 0);
    assert_int_equal(giver.outcome.kept, 40);
    assert_int_equal(count_fate(&giver, LIVES), 40);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(giver.fakes[i]->resumed, 1); // asked once
    assert_int_equal(stats_get(&giver.stats.not_taken), 40);
    assert_int_equal(stats_get(&giver.stats.kept), 0);
}

static void no_memory_to_pack(void **unused)
{
    (void)unused;
    add_living(&giver, 10);
    has_no_memory = true;
    begin(HANDOVER_ALL);
    run_until_ended(1);
    assert_int_equal(giver.outcome.kept, 1);
    assert_int_equal(giver.fakes[0]->fate, LIVES);
    assert_int_equal(stats_get(&giver.stats.kept), 1);
}

static void taker_is_full(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 10; i++)
        add_living(&giver, 10);
    taker.proxy.setup.connections_most = 4;
    begin(HANDOVER_ALL);
    run_until_ended(1);
    assert_int_equal(giver.outcome.given, 4);
    assert_int_equal(giver.outcome.kept, 6);
}

// RLIMIT_NOFILE: the kernel drops what there is no number for.
static void no_descriptors_left(void **unused)
{
    struct rlimit before;
    struct rlimit low;
    int lowest;
    int spare;

    (void)unused;
    for (unsigned i = 0; i < 5; i++)
        add_living(&giver, 10);
    lowest = dup(0);
    close(lowest);
    begin(HANDOVER_ALL);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    spare = dup(0);
    close(spare);
    low.rlim_cur = (rlim_t)spare + 1; // for one
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    run_until_ended(1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_null(giver.outcome.broken);
    assert_int_equal(giver.outcome.kept, 5);
    assert_int_equal(count_fate(&giver, LIVES), 5);
    assert_int_equal(dup(0), lowest); // and none is lost
    close(lowest);
}

static void draining_taker(void **unused)
{
    (void)unused;
    add_living(&giver, 10);
    add_living(&taker, 10);
    taker.proxy.is_draining = true;
    begin(HANDOVER_ALL);
    run_until_ended(1);
    assert_int_equal(giver.outcome.kept, 1);
    assert_int_equal(giver.fakes[0]->fate, LIVES);
}

static void restless_ones_stay(void **unused)
{
    (void)unused;
    handover_patience_ns = 30 * CLOCK_NS_PER_MS;
    add_living(&giver, 10);
    is_restless = true;
    begin(HANDOVER_ALL);
    run_until_ended(1);
    assert_null(giver.outcome.broken);
    assert_int_equal(giver.outcome.kept, 1);
    assert_int_equal(giver.fakes[0]->fate, LIVES);
}

// ---- words by hand ----

struct word {
    uint32_t type;
    uint32_t number;
    uint64_t size;
    size_t body; // bytes of it
    unsigned descriptors;
};

static void say(int fd, struct word word)
{
    static uint8_t body[HANDOVER_BODY_MAX + 1];
    uint8_t head[HANDOVER_HEAD];
    struct handover_message message = {
        .type = (enum handover_type)word.type, .number = word.number, .size = word.size};
    struct iovec parts[] = {{.iov_base = head, .iov_len = sizeof(head)}, {.iov_base = body, .iov_len = word.body}};
    int fds[] = {0, 0};

    for (size_t i = 0; i < sizeof(body); i++)
        body[i] = word.type == HANDOVER_BYTES ? byte_at(word.body, i) : 'x';
    handover_message_head(&message, head);
    assert_int_equal(socket_send_with(fd, parts, 2, fds, word.descriptors), 0);
}

// Runs `side` until the other end has a message of this type. Its number.
static uint32_t await(struct side *side, int fd, enum handover_type type)
{
    static uint8_t data[HANDOVER_HEAD + HANDOVER_BODY_MAX];
    struct iovec part = {.iov_base = data, .iov_len = sizeof(data)};
    struct handover_message message;
    struct socket_passed passed;
    ssize_t length;

    for (;;) {
        length = socket_receive_with(fd, &part, 1, &passed);
        if (length == -EAGAIN) {
            turn(side);
            continue;
        }
        assert_true(length > 0);
        assert_true(handover_message_parse(data, (size_t)length, passed.count, passed.is_cut, &message));
        socket_passed_close(&passed);
        if (message.type == type)
            return message.number;
    }
}

static const struct word hello = {HANDOVER_HELLO, CARRY_VERSION, CARRY_VERSION, 3, 0};

static void run_giver(void)
{
    while (giver.ended == 0 || !list_empty(&giver.proxy.handovers))
        turn(&giver);
}

static void run_taker(void)
{
    while (!list_empty(&taker.proxy.handovers))
        turn(&taker);
}

// ---- a taker that is none ----

static void assert_all_kept(unsigned count)
{
    assert_non_null(giver.outcome.broken);
    assert_int_equal(giver.ended, 1);
    assert_int_equal(giver.outcome.given, 0);
    assert_int_equal(count_fate(&giver, LIVES), count);
    assert_int_equal(count_fate(&taker, LIVES), 0);
}

static void silent_taker(void **unused)
{
    int fds[2];

    (void)unused;
    handover_patience_ns = 20 * CLOCK_NS_PER_MS;
    add_living(&giver, 10);
    pair(fds);
    give_at(fds[0], 5, 0);
    run_giver();
    assert_all_kept(1);
    assert_int_equal(giver.fakes[0]->resumed, 0); // it never was to rest
    close(fds[1]);
}

static void taker_falls_silent(void **unused)
{
    int fds[2];

    (void)unused;
    handover_patience_ns = 20 * CLOCK_NS_PER_MS;
    for (unsigned i = 0; i < 40; i++)
        add_living(&giver, 50000); // more than the socket holds
    pair(fds);
    give_at(fds[0], HANDOVER_ALL, 0);
    say(fds[1], hello);
    run_giver();
    assert_all_kept(40);
    assert_int_equal(giver.outcome.kept, HANDOVER_OFFERS);
    close(fds[1]);
}

// It answers for one while the others wait for longer than anybody's patience: that is no silence.
static void busy_taker(void **unused)
{
    struct handover *handover;
    int fds[2];

    (void)unused;
    for (unsigned i = 0; i < 3; i++)
        add_living(&giver, 10);
    pair(fds);
    give_at(fds[0], HANDOVER_ALL, 0);
    say(fds[1], hello);
    for (unsigned i = 0; i < 3; i++)
        (void)await(&giver, fds[1], HANDOVER_OFFER);
    handover = list_entry(giver.proxy.handovers.next, struct handover, node);
    handover_patience_ns = 0;
    handover->since_ns = UINT64_MAX; // it has just been heard
    for (unsigned i = 0; i < 10; i++)
        turn(&giver);
    assert_int_equal(giver.ended, 0);
    handover_patience_ns = 3600 * CLOCK_NS_PER_S;
    say(fds[1], (struct word){.type = HANDOVER_ACCEPT, .number = 2});
    assert_int_equal(await(&giver, fds[1], HANDOVER_GO), 2);
    handover_patience_ns = 0; // from now on it is silent
    run_giver();
    assert_non_null(giver.outcome.broken);
    assert_int_equal(giver.outcome.given, 1);
    assert_int_equal(giver.outcome.kept, 2);
    close(fds[1]);
}

// It has taken one, and is gone when the others are offered.
static void taker_goes(void **unused)
{
    int fds[2];

    (void)unused;
    for (unsigned i = 0; i < 3; i++)
        add_living(&giver, 10);
    pair(fds);
    give_at(fds[0], HANDOVER_ALL, 0);
    say(fds[1], hello);
    for (unsigned i = 0; i < 3; i++)
        (void)await(&giver, fds[1], HANDOVER_OFFER);
    say(fds[1], (struct word){.type = HANDOVER_ACCEPT, .number = 2});
    assert_int_equal(await(&giver, fds[1], HANDOVER_GO), 2);
    close(fds[1]);
    run_giver();
    assert_non_null(giver.outcome.broken);
    assert_int_equal(giver.outcome.given, 1);
    assert_int_equal(giver.outcome.kept, 2);
    assert_int_equal(giver.fakes[1]->fate, AWAY);
    assert_int_equal(count_fate(&giver, LIVES), 2);
}

static void taker_knows_no_version(void **unused)
{
    int fds[2];

    (void)unused;
    add_living(&giver, 10);
    pair(fds);
    give_at(fds[0], HANDOVER_ALL, 0);
    say(fds[1], (struct word){HANDOVER_HELLO, 0, 0, 3, 0});
    run_giver();
    assert_all_kept(1);
    close(fds[1]);
}

static void nonsense_of_takers(void **unused)
{
    static const struct word words[] = {
        {HANDOVER_HELLO, CARRY_VERSION, CARRY_VERSION, 3, 0}, // twice
        {HANDOVER_ACCEPT, 99, 0, 0, 0},
        {HANDOVER_REFUSE, 99, 0, 3, 0},
        {HANDOVER_REFUSE, 1, 0, 0, 0}, // no word why
        {HANDOVER_ACCEPT, 0, 0, 0, 0},
        {HANDOVER_ACCEPT, 1, 0, 0, 2}, // descriptors
        {HANDOVER_GO, 1, 0, 0, 0},
        {HANDOVER_END, 0, 0, 0, 0},
        {HANDOVER_OFFER, 1, 10, 0, 2},
        {0, 0, 0, 0, 0},
        {77, 1, 0, 0, 0},
    };

    (void)unused;
    for (size_t i = 0; i < COUNT(words); i++) {
        int fds[2];

        if (i > 0)
            (void)set_up(NULL);
        add_living(&giver, 10);
        pair(fds);
        give_at(fds[0], HANDOVER_ALL, 0);
        say(fds[1], hello);
        (void)await(&giver, fds[1], HANDOVER_BYTES);
        say(fds[1], words[i]);
        run_giver();
        assert_all_kept(1);
        close(fds[1]);
        if (i + 1 < COUNT(words))
            (void)tear_down(NULL);
    }
}

// The worker stops: everything is one side's at once.
static void giver_stops(void **unused)
{
    int fds[2];

    (void)unused;
    add_living(&giver, 10);
    pair(fds);
    give_at(fds[0], HANDOVER_ALL, 0);
    say(fds[1], hello);
    (void)await(&giver, fds[1], HANDOVER_BYTES);
    handovers_stop(&giver.proxy);
    assert_all_kept(1);
    run_giver();
    close(fds[1]);
}

// ---- a giver that is none ----

// Begins to take; two are offered and accepted, the first of them is told to go.
static int taker_with_two(void)
{
    int fds[2];

    pair(fds);
    assert_int_equal(proxy_take(&taker.proxy, fds[1]), 0);
    say(fds[0], hello);
    (void)await(&taker, fds[0], HANDOVER_HELLO);
    for (uint32_t number = 1; number <= 2; number++) {
        say(fds[0], (struct word){HANDOVER_OFFER, number, 10, 0, 2});
        say(fds[0], (struct word){HANDOVER_BYTES, number, 0, 10, 0});
        assert_int_equal(await(&taker, fds[0], HANDOVER_ACCEPT), number);
    }
    say(fds[0], (struct word){.type = HANDOVER_GO, .number = 1});
    return fds[0];
}

static void assert_first_lives_alone(void)
{
    assert_int_equal(taker.count, 2);
    assert_int_equal(taker.fakes[0]->fate, LIVES);
    assert_int_equal(taker.fakes[1]->fate, AWAY);
    assert_int_equal(stats_get(&taker.stats.taken), 1);
}

static void giver_goes(void **unused)
{
    int fd = taker_with_two();

    (void)unused;
    close(fd); // GO is not read yet
    run_taker();
    assert_first_lives_alone();
}

// Its end of file comes with an error, since it has not read what was said to it; GO stands behind that error.
static void giver_goes_without_reading(void **unused)
{
    int fd = taker_with_two();

    (void)unused;
    say(fd, (struct word){HANDOVER_OFFER, 3, 10, 0, 2});
    say(fd, (struct word){HANDOVER_BYTES, 3, 0, 10, 0});
    while (taker.count < 3)
        turn(&taker);
    turn(&taker); // it has said ACCEPT
    say(fd, (struct word){.type = HANDOVER_GO, .number = 3});
    close(fd);
    run_taker();
    assert_int_equal(taker.fakes[0]->fate, LIVES);
    assert_int_equal(taker.fakes[1]->fate, AWAY);
    assert_int_equal(taker.fakes[2]->fate, LIVES);
}

static void taker_stops(void **unused)
{
    int fd = taker_with_two();
    struct iovec part = {.iov_base = (char[]){"word"}, .iov_len = 4};

    (void)unused;
    handovers_stop(&taker.proxy); // the giver counts on its GO
    assert_first_lives_alone();
    assert_int_equal(socket_send_with(fd, &part, 1, NULL, 0), -EPIPE); // and says no other
    run_taker();
    close(fd);
}

static void silent_giver(void **unused)
{
    int fd;

    (void)unused;
    fd = taker_with_two();
    handover_patience_ns = 10 * CLOCK_NS_PER_MS;
    run_taker();
    assert_first_lives_alone();
    close(fd);
}

static void nonsense_of_givers(void **unused)
{
    static const struct word words[] = {
        {HANDOVER_HELLO, CARRY_VERSION, CARRY_VERSION, 3, 0}, // twice
        {HANDOVER_GO, 3, 0, 0, 0},
        {HANDOVER_GO, 1, 0, 0, 0}, // again
        {HANDOVER_ACCEPT, 2, 0, 0, 0},
        {HANDOVER_REFUSE, 2, 0, 3, 0},
        {HANDOVER_OFFER, 2, 10, 0, 2}, // a number that was there
        {HANDOVER_OFFER, 3, 0, 0, 2},
        {HANDOVER_OFFER, 3, CARRY_SIZE_MAX + 1, 0, 2},
        {HANDOVER_OFFER, 3, 10, 0, 1},
        {HANDOVER_OFFER, 3, 10, 0, 0},
        {HANDOVER_OFFER, 3, 10, 1, 2},
        {HANDOVER_BYTES, 3, 0, 10, 0}, // of nothing
        {HANDOVER_BYTES, 2, 10, 10, 0},
        {HANDOVER_BYTES, 2, 0, 0, 0},
        {HANDOVER_BYTES, 2, 0, HANDOVER_BODY_MAX + 1, 0},
        {HANDOVER_END, 1, 0, 0, 0},
        {0, 0, 0, 0, 0},
        {UINT32_MAX, 1, 0, 0, 0},
    };

    (void)unused;
    for (size_t i = 0; i < COUNT(words); i++) {
        int fd;

        if (i > 0)
            (void)set_up(NULL);
        fd = taker_with_two();
        say(fd, words[i]);
        run_taker();
        assert_first_lives_alone();
        close(fd);
        if (i + 1 < COUNT(words))
            (void)tear_down(NULL);
    }
}

static void bytes_out_of_place(void **unused)
{
    static const struct word words[] = {
        {HANDOVER_BYTES, 3, 1, 10, 0},
        {HANDOVER_BYTES, 3, 0, 101, 0},
        {HANDOVER_BYTES, 4, 0, 10, 0},
        {HANDOVER_OFFER, 4, 10, 0, 2}, // the one before is not whole
    };

    (void)unused;
    for (size_t i = 0; i < COUNT(words); i++) {
        int fd;

        if (i > 0)
            (void)set_up(NULL);
        fd = taker_with_two();
        say(fd, (struct word){HANDOVER_OFFER, 3, 100, 0, 2});
        say(fd, words[i]);
        run_taker();
        assert_first_lives_alone();
        close(fd);
        if (i + 1 < COUNT(words))
            (void)tear_down(NULL);
    }
}

// ---- one that takes and gives at once: connections of two predecessors ago ----

// So many come to the giver, out of the test's own end of a dialogue.
static void come(int fd, uint32_t first, uint32_t count)
{
    for (uint32_t number = first; number < first + count; number++) {
        say(fd, (struct word){HANDOVER_OFFER, number, 10, 0, 2});
        say(fd, (struct word){HANDOVER_BYTES, number, 0, 10, 0});
        assert_int_equal(await(&giver, fd, HANDOVER_ACCEPT), number);
        say(fd, (struct word){.type = HANDOVER_GO, .number = number});
    }
}

static int giver_takes(void)
{
    int fds[2];

    pair(fds);
    assert_int_equal(proxy_take(&giver.proxy, fds[1]), 0);
    say(fds[0], hello);
    (void)await(&giver, fds[0], HANDOVER_HELLO);
    return fds[0];
}

// Nothing is left to give, but more comes: the dialogue goes on until nobody gives to the giver any more.
static void passed_on(void **unused)
{
    int fd = giver_takes();

    (void)unused;
    for (unsigned i = 0; i < 3; i++)
        add_living(&giver, 10);
    begin(HANDOVER_ALL);
    while (count_fate(&taker, LIVES) < 3) {
        turn(&giver);
        turn(&taker);
    }
    come(fd, 1, 2);
    giver.proxy.is_draining = true; // which changes nothing of that
    come(fd, 3, 2);
    while (count_fate(&taker, LIVES) < 7) {
        assert_int_equal(giver.ended, 0);
        turn(&giver);
        turn(&taker);
    }
    come(fd, 5, 1);
    assert_int_equal(giver.ended, 0);
    say(fd, (struct word){.type = HANDOVER_END});
    run_until_ended(1);
    assert_null(giver.outcome.broken);
    assert_int_equal(giver.outcome.given, 8);
    assert_int_equal(count_fate(&taker, LIVES), 8);
    assert_true(list_empty(&giver.proxy.handovers));
    close(fd);
}

// It drains, and the one that it gives to is gone: what comes then is not taken.
static void passed_on_to_nobody(void **unused)
{
    int fd = giver_takes();
    int fds[2];

    (void)unused;
    pair(fds);
    give_at(fds[0], HANDOVER_ALL, 0);
    say(fds[1], hello);
    giver.proxy.is_draining = true;
    for (unsigned i = 0; i < 10; i++)
        turn(&giver);
    assert_int_equal(giver.ended, 0);
    close(fds[1]);
    run_giver();
    assert_non_null(giver.outcome.broken);
    close(fd);
}

// A worker that drains and has nothing says so, and is not taken for one that died.
static void nothing_left_to_give(void **unused)
{
    int fds[2];

    (void)unused;
    giver.proxy.is_draining = true;
    pair(fds);
    give_at(fds[0], HANDOVER_ALL, 0);
    (void)await(&giver, fds[1], HANDOVER_END);
    assert_int_equal(giver.ended, 1);
    assert_null(giver.outcome.broken);
    run_giver();
    close(fds[1]);
}

// ---- both as they are, one of them interrupted at each moment ----

static void stops_at_each_moment(void **unused)
{
    (void)unused;
    for (unsigned moment = 0; moment < 60; moment++) {
        struct side *who = moment % 2 ? &taker : &giver;

        if (moment > 0)
            (void)set_up(NULL);
        for (unsigned i = 0; i < 20; i++)
            add_living(&giver, 30000);
        begin(HANDOVER_ALL);
        for (unsigned i = 0; i < moment / 2; i++)
            turn(i % 2 ? &taker : &giver);
        handovers_stop(&who->proxy);
        run_until_ended(1);
        // Each is one side's, and lives there.
        assert_int_equal(count_fate(&giver, LIVES) + count_fate(&giver, AWAY), 20);
        assert_int_equal(count_fate(&taker, LIVES), count_fate(&giver, AWAY));
        assert_int_equal(count_fate(&taker, AT_REST), 0);
        if (moment + 1 < 60)
            (void)tear_down(NULL);
    }
}

// ---- messages ----

static void texts(void **unused)
{
    uint8_t data[HANDOVER_HEAD + HANDOVER_TEXT_MAX + 1];
    struct handover_message message = {.type = HANDOVER_REFUSE, .number = 1};
    struct handover_message got;

    (void)unused;
    memset(data, 'x', sizeof(data));
    handover_message_head(&message, data);
    assert_true(handover_message_parse(data, sizeof(data) - 1, 0, false, &got));
    assert_int_equal(got.body_size, HANDOVER_TEXT_MAX);
    assert_false(handover_message_parse(data, sizeof(data), 0, false, &got));
    assert_false(handover_message_parse(data, HANDOVER_HEAD, 0, false, &got));
    assert_false(handover_message_parse(data, HANDOVER_HEAD - 1, 0, false, &got));
    data[HANDOVER_HEAD + 3] = '\n';
    assert_false(handover_message_parse(data, sizeof(data) - 1, 0, false, &got));
    data[HANDOVER_HEAD + 3] = 0xe4;
    assert_false(handover_message_parse(data, sizeof(data) - 1, 0, false, &got));
}

#define test_of(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_of(gives_all),
        test_of(gives_some),
        test_of(gives_who_comes),
        test_of(several_at_once),
        test_of(refused_ones_stay),
        test_of(no_memory_to_pack),
        test_of(taker_is_full),
        test_of(no_descriptors_left),
        test_of(draining_taker),
        test_of(restless_ones_stay),
        test_of(silent_taker),
        test_of(taker_falls_silent),
        test_of(busy_taker),
        test_of(taker_goes),
        test_of(taker_knows_no_version),
        test_of(nonsense_of_takers),
        test_of(giver_stops),
        test_of(giver_goes),
        test_of(giver_goes_without_reading),
        test_of(taker_stops),
        test_of(silent_giver),
        test_of(nonsense_of_givers),
        test_of(bytes_out_of_place),
        test_of(passed_on),
        test_of(passed_on_to_nobody),
        test_of(nothing_left_to_give),
        test_of(stops_at_each_moment),
        cmocka_unit_test(texts),
    };

    log_setup(LOG_TEXT, LOG_ERROR, STDERR_FILENO);
    return cmocka_run_group_tests_name("handover", tests, NULL, NULL);
}
