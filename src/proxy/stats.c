// SPDX-License-Identifier: Apache-2.0
#include "ringbolt/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "connection.h"
#include "ringbolt/clock.h"
#include "ringbolt/compat.h"
#include "ringbolt/file.h"
#include "stats_block.h"

#define NOBODY      0 // a key
#define WORKERS_MAX (UINT64_C(1) << 16)
#define EACH_MAX    (UINT64_C(1) << 24) // listeners, upstreams, servers

static const size_t sizes[] = {[STATS_OF_LISTENER] = sizeof(struct stats_listener),
                               [STATS_OF_UPSTREAM] = sizeof(struct stats_upstream),
                               [STATS_OF_SERVER] = sizeof(struct stats_server)};

_Static_assert(END_COUNT <= STATS_END_LOST, "every end has its counter");
_Static_assert(ENDPOINT_WHY_COUNT <= STATS_LAYERS, "every reason has its counter");
_Static_assert(offsetof(struct stats_worker, buffers) == STATS_LINE, "others read the first line only");

// ---- words that stand for things in another generation ----

// FNV-1a
static uint64_t mix(uint64_t hash, const void *bytes, size_t size)
{
    const uint8_t *each = bytes;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ each[i]) * 0x100000001b3ULL;
    return hash;
}

static uint64_t mix_text(uint64_t hash, const char *text)
{
    return mix(hash, text ? text : "", text ? strlen(text) + 1 : 1);
}

#define MIX_BEGIN 0xcbf29ce484222325ULL

uint64_t stats_meaning(void)
{
    const uint64_t layout[] = {STATS_LAYOUT,
                               sizeof(struct stats_worker),
                               sizeof(struct stats_listener),
                               sizeof(struct stats_upstream),
                               sizeof(struct stats_server),
                               STATS_BOUNDS,
                               STATS_ENDS,
                               STATS_SUITES,
                               STATS_LIMITS,
                               STATS_LAYERS};
    uint64_t hash = mix(MIX_BEGIN, layout, sizeof(layout));

    for (unsigned i = 0; i < STATS_ENDS; i++)
        hash = mix_text(hash, stats_end_name(i));
    for (unsigned i = 0; i < STATS_SUITES; i++)
        hash = mix_text(mix_text(hash, stats_suite(i)->version), stats_suite(i)->name);
    for (unsigned i = 0; i < STATS_LIMITS; i++)
        hash = mix_text(hash, stats_limit_name((enum stats_limit)i));
    for (unsigned i = 0; i < STATS_LAYERS; i++) {
        const char *reason = NULL;
        const char *layer = stats_layer_name(i, &reason);

        hash = mix_text(mix_text(hash, layer), reason);
    }
    for (unsigned i = STATS_SHORT; i <= STATS_LONG; i++)
        hash = mix(hash, stats_bounds((enum stats_scale)i), STATS_BOUNDS * sizeof(uint64_t));
    return hash;
}

static uint64_t key_of(enum stats_kind kind, const char *name, const char *server)
{
    uint8_t first = (uint8_t)kind;
    uint64_t key = mix_text(mix_text(mix(MIX_BEGIN, &first, 1), name), server);

    return key != NOBODY ? key : 1;
}

// ---- shape ----

size_t stats_block_count(const struct stats_block *block, enum stats_kind kind)
{
    const uint64_t counts[] = {[STATS_OF_LISTENER] = block->listeners,
                               [STATS_OF_UPSTREAM] = block->upstreams,
                               [STATS_OF_SERVER] = block->servers};

    return counts[kind];
}

bool stats_block_shape(struct stats_block *block)
{
    size_t keys = 0;
    size_t part = sizeof(struct stats_worker);

    if (block->workers < 1 || block->workers > WORKERS_MAX)
        return false;
    for (enum stats_kind kind = STATS_OF_LISTENER; kind < STATS_KINDS; kind++) {
        size_t count = stats_block_count(block, kind);

        if (count > EACH_MAX)
            return false;
        keys += count;
        part += count * sizes[kind];
    }
    block->part = (part + STATS_LINE - 1) / STATS_LINE * STATS_LINE;
    block->parts_at = sizeof(struct stats_header) + keys * sizeof(stats_word);
    block->parts_at = (block->parts_at + STATS_LINE - 1) / STATS_LINE * STATS_LINE;
    block->size = block->parts_at + 2 * block->workers * block->part;
    return true;
}

size_t stats_block_at(const struct stats_block *block, enum stats_kind kind, size_t index)
{
    size_t at = sizeof(struct stats_worker);

    for (enum stats_kind before = STATS_OF_LISTENER; before < kind; before++)
        at += stats_block_count(block, before) * sizes[before];
    return at + index * sizes[kind];
}

stats_word *stats_block_word(const struct stats_block *block, size_t part, size_t at)
{
    return (stats_word *)(block->memory + block->parts_at + part * block->part + at);
}

stats_word *stats_block_key(const struct stats_block *block, enum stats_kind kind, size_t index)
{
    stats_word *keys = (stats_word *)(block->memory + sizeof(struct stats_header));

    for (enum stats_kind before = STATS_OF_LISTENER; before < kind; before++)
        index += stats_block_count(block, before);
    return &keys[index];
}

bool stats_is_gauge(const struct stats_block *block, size_t at)
{
    size_t first = sizeof(struct stats_worker);

    if (at < first)
        return at == offsetof(struct stats_worker, connections) ||
               at == offsetof(struct stats_worker, deposited) ||
               at == offsetof(struct stats_worker, buffers);
    if (at < first + block->listeners * sizes[STATS_OF_LISTENER])
        return (at - first) % sizes[STATS_OF_LISTENER] == offsetof(struct stats_listener, connections);
    first = stats_block_at(block, STATS_OF_SERVER, 0);
    return at >= first && (at - first) % sizes[STATS_OF_SERVER] == offsetof(struct stats_server, places);
}

// ---- life ----

// Two with the same name (the configuration may say things twice) are told apart by their order.
static void set_key(const struct stats_block *block, enum stats_kind kind, size_t first, size_t index,
                    uint64_t key)
{
    for (size_t i = first; i < index; i++) {
        if (stats_get(stats_block_key(block, kind, i)) == key)
            key++;
    }
    stats_set(stats_block_key(block, kind, index), key);
}

static void set_keys(const struct stats_block *block, const struct config *config)
{
    size_t number = 0;

    for (size_t i = 0; i < config->listener_count; i++)
        set_key(block, STATS_OF_LISTENER, 0, i, key_of(STATS_OF_LISTENER, config->listeners[i].name, NULL));
    for (size_t i = 0; i < config->upstream_count; i++) {
        const struct config_upstream *upstream = &config->upstreams[i];
        size_t first = number;

        set_key(block, STATS_OF_UPSTREAM, 0, i, key_of(STATS_OF_UPSTREAM, upstream->name, NULL));
        for (size_t j = 0; j < upstream->server_count; j++, number++) {
            const char *text = upstream->servers[j].address.text;

            if (text)
                set_key(block, STATS_OF_SERVER, first, number, key_of(STATS_OF_SERVER, upstream->name, text));
        }
    }
}

// The file can't change its size any more, nor be written by whoever gets to see it.
static int open_file(struct stats *stats)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[32];

    stats->fd = file_in_memory("ringbolt-stats");
    if (stats->fd < 0)
        return stats->fd;
    if (ftruncate(stats->fd, (off_t)stats->own.size) < 0)
        return -errno;
    stats->own.memory = mmap(NULL, stats->own.size, PROT_READ | PROT_WRITE, MAP_SHARED, stats->fd, 0);
    if (stats->own.memory == MAP_FAILED)
        return -errno;
    if (fcntl(stats->fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) < 0)
        return -errno;
    (void)fcntl(stats->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
    // A lock of the open file, which goes with the last of those who can write here: this process and its workers, which keep the mapping.
    // Successors get another open file, so that they see the lock.
    snprintf(path, sizeof(path), "/proc/self/fd/%d", stats->fd);
    stats->read_fd = open(path, O_RDONLY | O_CLOEXEC);
    return stats->read_fd < 0 || fcntl(stats->fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

int stats_create(const struct config *config, struct stats **ret)
{
    struct stats *stats = calloc(1, sizeof(*stats));
    struct stats_header *header;
    int error = -EINVAL;

    if (!stats)
        return -ENOMEM;
    *stats = (struct stats){.own = {.workers = config->workers,
                                    .listeners = config->listener_count,
                                    .upstreams = config->upstream_count,
                                    .memory = MAP_FAILED},
                            .fd = -1,
                            .read_fd = -1};
    for (size_t i = 0; i < config->upstream_count; i++)
        stats->own.servers += config->upstreams[i].server_count;
    if (stats_block_shape(&stats->own))
        error = open_file(stats);
    if (error < 0) {
        stats_destroy(stats);
        return error;
    }
    header = (struct stats_header *)stats->own.memory;
    header->magic = STATS_MAGIC;
    header->meaning = stats_meaning();
    header->workers = stats->own.workers;
    header->listeners = stats->own.listeners;
    header->upstreams = stats->own.upstreams;
    header->servers = stats->own.servers;
    set_keys(&stats->own, config);
    *ret = stats;
    return 0;
}

void stats_destroy(struct stats *stats)
{
    if (!stats)
        return;
    stats_chain_drop(stats);
    if (stats->own.memory != MAP_FAILED)
        munmap(stats->own.memory, stats->own.size);
    if (stats->read_fd >= 0)
        close(stats->read_fd);
    if (stats->fd >= 0)
        close(stats->fd);
    free(stats);
}

int stats_descriptor(const struct stats *stats)
{
    return stats->read_fd;
}

// ---- parts ----

struct stats_worker *stats_worker(const struct stats *stats, unsigned worker)
{
    return (struct stats_worker *)stats_block_word(&stats->own, worker, 0);
}

static void *part_of(const struct stats *stats, unsigned worker, enum stats_kind kind, size_t index)
{
    return stats_block_word(&stats->own, worker, stats_block_at(&stats->own, kind, index));
}

struct stats_listener *stats_listener(const struct stats *stats, unsigned worker, size_t listener)
{
    return part_of(stats, worker, STATS_OF_LISTENER, listener);
}

struct stats_upstream *stats_upstream(const struct stats *stats, unsigned worker, size_t upstream)
{
    return part_of(stats, worker, STATS_OF_UPSTREAM, upstream);
}

struct stats_server *stats_server(const struct stats *stats, unsigned worker, size_t server)
{
    return part_of(stats, worker, STATS_OF_SERVER, server);
}

// ---- sums ----

// Of all parts, also the earlier ones.
static void sum_own(const struct stats *stats, size_t at, stats_word *words, size_t size)
{
    memset((void *)words, 0, size);
    for (size_t part = 0; part < 2 * stats->own.workers; part++) {
        const stats_word *each = stats_block_word(&stats->own, part, at);

        for (size_t i = 0; i < size / sizeof(*words); i++)
            stats_add(&words[i], stats_get(&each[i]));
    }
}

static void sum(const struct stats *stats, enum stats_kind kind, size_t index, void *ret)
{
    sum_own(stats, stats_block_at(&stats->own, kind, index), ret, sizes[kind]);
    stats_chain_add(stats, kind, index, ret, sizes[kind]);
}

void stats_sum_workers(const struct stats *stats, struct stats_worker *ret)
{
    sum_own(stats, 0, (stats_word *)ret, sizeof(*ret));
    stats_chain_add_workers(stats, UINT_MAX, (stats_word *)ret);
}

void stats_sum_worker(const struct stats *stats, unsigned worker, struct stats_worker *ret)
{
    const stats_word *own = stats_block_word(&stats->own, worker, 0);
    const stats_word *earlier = stats_block_word(&stats->own, stats->own.workers + worker, 0);
    stats_word *words = (stats_word *)ret;

    for (size_t i = 0; i < sizeof(*ret) / sizeof(*words); i++)
        stats_set(&words[i], stats_get(&own[i]) + stats_get(&earlier[i]));
    stats_chain_add_workers(stats, worker, words);
}

void stats_sum_listener(const struct stats *stats, size_t listener, struct stats_listener *ret)
{
    sum(stats, STATS_OF_LISTENER, listener, ret);
}

void stats_sum_upstream(const struct stats *stats, size_t upstream, struct stats_upstream *ret)
{
    sum(stats, STATS_OF_UPSTREAM, upstream, ret);
}

void stats_sum_server(const struct stats *stats, size_t server, struct stats_server *ret)
{
    sum(stats, STATS_OF_SERVER, server, ret);
}

uint64_t stats_connections(const struct stats *stats)
{
    uint64_t total = stats_chain_connections(stats);

    for (unsigned i = 0; i < stats->own.workers; i++)
        total += stats_get(&stats_worker(stats, i)->connections);
    return total;
}

uint64_t stats_forget(struct stats *stats, unsigned worker, const uint64_t *kept)
{
    struct stats_worker *own = stats_worker(stats, worker);
    uint64_t lost = stats_get(&own->connections);

    for (size_t i = 0; i < stats->own.listeners; i++) {
        struct stats_listener *listener = stats_listener(stats, worker, i);
        uint64_t had = stats_get(&listener->connections);
        uint64_t stay = kept && kept[i] < had ? kept[i] : kept ? had : 0; // a dead worker's words may be any

        stats_add(&listener->ends[STATS_END_LOST], had - stay);
        stats_set(&listener->connections, 0);
        lost -= stay < lost ? stay : lost;
    }
    for (size_t i = 0; i < stats->own.servers; i++)
        stats_set(&stats_server(stats, worker, i)->places, 0);
    stats_set(&own->connections, 0);
    stats_set(&own->deposited, 0);
    stats_set(&own->buffers, 0);
    return lost;
}

void stats_lose(const struct stats *stats, unsigned worker, size_t listener)
{
    if (listener < stats->own.listeners)
        stats_add(&stats_listener(stats, worker, listener)->ends[STATS_END_LOST], 1);
}

// What workers counted is theirs to write: an earlier part takes it away again.
void stats_renew_server(struct stats *stats, const char *upstream, size_t server, const char *text)
{
    size_t at = stats_block_at(&stats->own, STATS_OF_SERVER, server);
    stats_word *earlier = stats_block_word(&stats->own, stats->own.workers, at);
    struct stats_server counted;
    const stats_word *words = (const stats_word *)&counted;

    stats_set(stats_block_key(&stats->own, STATS_OF_SERVER, server), NOBODY);
    sum_own(stats, at, (stats_word *)&counted, sizeof(counted));
    for (size_t i = 0; i < sizeof(counted) / sizeof(*words); i++)
        stats_add(&earlier[i], 0 - stats_get(&words[i]));
    stats_set(stats_block_key(&stats->own, STATS_OF_SERVER, server), key_of(STATS_OF_SERVER, upstream, text));
}

// ---- histograms ----

#define MS(ms) ((uint64_t)(ms)*CLOCK_NS_PER_MS)
#define S(s)   ((uint64_t)(s)*CLOCK_NS_PER_S)

const uint64_t *stats_bounds(enum stats_scale scale)
{
    static const uint64_t bounds[][STATS_BOUNDS] = {
        [STATS_SHORT] = {MS(1) / 2, MS(1), MS(2), MS(5), MS(10), MS(20), MS(50), MS(100), MS(200), MS(500),
                         S(1), S(2), S(5), S(10)},
        [STATS_LONG] = {MS(1), MS(5), MS(10), MS(50), MS(100), MS(500), S(1), S(5), S(10), S(60), S(300),
                        S(1800), S(7200), S(86400)},
    };

    return bounds[scale];
}

void stats_observe(struct stats_histogram *histogram, enum stats_scale scale, uint64_t ns)
{
    const uint64_t *bounds = stats_bounds(scale);
    unsigned bucket = 0;

    while (bucket < STATS_BOUNDS && ns > bounds[bucket])
        bucket++;
    stats_add(&histogram->counts[bucket], 1);
    stats_add(&histogram->sum_ns, ns);
}
