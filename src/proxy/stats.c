// SPDX-License-Identifier: Apache-2.0
#include "ringbolt/stats.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "connection.h"
#include "ringbolt/clock.h"

#define LINE 64 // of the cache

struct stats {
    size_t workers;
    size_t listeners;
    size_t upstreams;
    size_t servers;
    size_t part; // bytes of a worker's: its own, then listeners, upstreams and servers
    int fd;      // of the memory file
    uint8_t *memory;
};

_Static_assert(END_COUNT <= STATS_END_LOST, "every end has its counter");
_Static_assert(ENDPOINT_WHY_COUNT <= STATS_LAYERS, "every reason has its counter");
_Static_assert(offsetof(struct stats_worker, buffers) == LINE, "others read the first line only");

// ---- life ----

int stats_create(const struct config *config, struct stats **ret)
{
    struct stats *stats = calloc(1, sizeof(*stats));
    size_t size;
    int error;

    if (!stats)
        return -ENOMEM;
    stats->workers = config->workers;
    stats->listeners = config->listener_count;
    stats->upstreams = config->upstream_count;
    for (size_t i = 0; i < config->upstream_count; i++)
        stats->servers += config->upstreams[i].server_count;
    size = sizeof(struct stats_worker) + stats->listeners * sizeof(struct stats_listener) +
           stats->upstreams * sizeof(struct stats_upstream) + stats->servers * sizeof(struct stats_server);
    stats->part = (size + LINE - 1) / LINE * LINE;
    size = stats->workers * stats->part;
    stats->fd = memfd_create("ringbolt-stats", MFD_CLOEXEC);
    if (stats->fd < 0 || ftruncate(stats->fd, (off_t)size) < 0)
        goto failed;
    stats->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, stats->fd, 0);
    if (stats->memory == MAP_FAILED)
        goto failed;
    *ret = stats;
    return 0;
failed:
    error = -errno;
    if (stats->fd >= 0)
        close(stats->fd);
    free(stats);
    return error;
}

void stats_destroy(struct stats *stats)
{
    if (!stats)
        return;
    munmap(stats->memory, stats->workers * stats->part);
    close(stats->fd);
    free(stats);
}

// ---- parts ----

static size_t upstreams_at(const struct stats *stats)
{
    return sizeof(struct stats_worker) + stats->listeners * sizeof(struct stats_listener);
}

static size_t servers_at(const struct stats *stats)
{
    return upstreams_at(stats) + stats->upstreams * sizeof(struct stats_upstream);
}

static void *part_of(const struct stats *stats, unsigned worker, size_t at)
{
    return stats->memory + worker * stats->part + at;
}

struct stats_worker *stats_worker(const struct stats *stats, unsigned worker)
{
    return part_of(stats, worker, 0);
}

struct stats_listener *stats_listener(const struct stats *stats, unsigned worker, size_t listener)
{
    return part_of(stats, worker, sizeof(struct stats_worker) + listener * sizeof(struct stats_listener));
}

struct stats_upstream *stats_upstream(const struct stats *stats, unsigned worker, size_t upstream)
{
    return part_of(stats, worker, upstreams_at(stats) + upstream * sizeof(struct stats_upstream));
}

struct stats_server *stats_server(const struct stats *stats, unsigned worker, size_t server)
{
    return part_of(stats, worker, servers_at(stats) + server * sizeof(struct stats_server));
}

// ---- sums ----

static void sum(const struct stats *stats, size_t at, void *ret, size_t size)
{
    stats_word *words = ret;

    memset(ret, 0, size);
    for (unsigned worker = 0; worker < stats->workers; worker++) {
        const stats_word *own = part_of(stats, worker, at);

        for (size_t i = 0; i < size / sizeof(*words); i++)
            stats_add(&words[i], stats_get(&own[i]));
    }
}

void stats_sum_workers(const struct stats *stats, struct stats_worker *ret)
{
    sum(stats, 0, ret, sizeof(*ret));
}

void stats_sum_listener(const struct stats *stats, size_t listener, struct stats_listener *ret)
{
    sum(stats, sizeof(struct stats_worker) + listener * sizeof(*ret), ret, sizeof(*ret));
}

void stats_sum_upstream(const struct stats *stats, size_t upstream, struct stats_upstream *ret)
{
    sum(stats, upstreams_at(stats) + upstream * sizeof(*ret), ret, sizeof(*ret));
}

void stats_sum_server(const struct stats *stats, size_t server, struct stats_server *ret)
{
    sum(stats, servers_at(stats) + server * sizeof(*ret), ret, sizeof(*ret));
}

uint64_t stats_connections(const struct stats *stats)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < stats->workers; i++)
        total += stats_get(&stats_worker(stats, i)->connections);
    return total;
}

uint64_t stats_forget(struct stats *stats, unsigned worker)
{
    struct stats_worker *own = stats_worker(stats, worker);
    uint64_t lost = stats_get(&own->connections);

    for (size_t i = 0; i < stats->listeners; i++) {
        struct stats_listener *listener = stats_listener(stats, worker, i);

        stats_add(&listener->ends[STATS_END_LOST], stats_get(&listener->connections));
        stats_set(&listener->connections, 0);
    }
    stats_set(&own->connections, 0);
    stats_set(&own->buffers, 0);
    return lost;
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
