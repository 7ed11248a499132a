// SPDX-License-Identifier: Apache-2.0
// Predecessors' counters: read where they lie as long as somebody writes them there, then added to ours.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ringbolt/stats.h"
#include "stats_block.h"

static struct stats_header *header_of(const struct stats *stats)
{
    return (struct stats_header *)stats->own.memory;
}

// A worker that was forked before a place got its predecessor knows another one there, or none.
static bool lives(const struct stats *stats, size_t place)
{
    uint64_t number = stats->predecessors[place].number;

    return number != 0 && stats_get(&header_of(stats)->lives[place]) == number;
}

// ---- finding ----

// Where a listener, upstream or server of ours is in a predecessor's block: mostly at the same place. False: nowhere.
static bool find(const struct stats *stats, const struct stats_block *block, enum stats_kind kind,
                 size_t index, size_t *ret)
{
    uint64_t key = stats_get(stats_block_key(&stats->own, kind, index));
    size_t count = stats_block_count(block, kind);

    if (key == 0)
        return false;
    if (index < count && stats_get(stats_block_key(block, kind, index)) == key) {
        *ret = index;
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        if (stats_get(stats_block_key(block, kind, i)) == key) {
            *ret = i;
            return true;
        }
    }
    return false;
}

// Which of our workers stands for the one that wrote a part.
static unsigned stand_in(const struct stats *stats, const struct stats_block *block, size_t part)
{
    return (unsigned)(part % block->workers % stats->own.workers);
}

// ---- reading along ----

static void add(const struct stats_block *block, size_t part, size_t at, stats_word *words, size_t size)
{
    const stats_word *each = stats_block_word(block, part, at);

    for (size_t i = 0; i < size / sizeof(*words); i++)
        stats_add(&words[i], stats_get(&each[i]));
}

void stats_chain_add(const struct stats *stats, enum stats_kind kind, size_t index, stats_word *words,
                     size_t size)
{
    for (size_t place = 0; place < STATS_PREDECESSORS_MAX; place++) {
        const struct stats_block *block = &stats->predecessors[place].block;
        size_t there;

        if (!lives(stats, place) || !find(stats, block, kind, index, &there))
            continue;
        for (size_t part = 0; part < 2 * block->workers; part++)
            add(block, part, stats_block_at(block, kind, there), words, size);
    }
}

void stats_chain_add_workers(const struct stats *stats, unsigned worker, stats_word *words)
{
    for (size_t place = 0; place < STATS_PREDECESSORS_MAX; place++) {
        const struct stats_block *block = &stats->predecessors[place].block;

        for (size_t part = 0; lives(stats, place) && part < 2 * block->workers; part++) {
            const stats_word *each = stats_block_word(block, part, 0);

            if (worker != UINT_MAX && stand_in(stats, block, part) != worker)
                continue;
            for (size_t i = 0; i < sizeof(struct stats_worker) / sizeof(*each); i++) {
                if (worker == UINT_MAX || !stats_is_gauge(block, i * sizeof(*each)))
                    stats_add(&words[i], stats_get(&each[i]));
            }
        }
    }
}

static uint64_t connections_in(const struct stats_block *block)
{
    uint64_t total = 0;

    for (size_t part = 0; part < block->workers; part++)
        total += stats_get(stats_block_word(block, part, offsetof(struct stats_worker, connections)));
    return total;
}

uint64_t stats_chain_connections(const struct stats *stats)
{
    uint64_t total = 0;

    for (size_t place = 0; place < STATS_PREDECESSORS_MAX; place++) {
        if (lives(stats, place))
            total += connections_in(&stats->predecessors[place].block);
    }
    return total;
}

bool stats_connections_of(const struct stats *stats, uint64_t number, uint64_t *ret)
{
    for (size_t place = 0; place < STATS_PREDECESSORS_MAX; place++) {
        if (number == 0 || stats->predecessors[place].number != number)
            continue;
        *ret = connections_in(&stats->predecessors[place].block);
        return true;
    }
    return false;
}

uint64_t stats_places_before(const struct stats *stats, size_t server)
{
    uint64_t total = 0;

    if (stats->taken == 0)
        return 0;
    for (size_t place = 0; place < STATS_PREDECESSORS_MAX; place++) {
        const struct stats_block *block = &stats->predecessors[place].block;
        size_t there;

        if (!lives(stats, place) || !find(stats, block, STATS_OF_SERVER, server, &there))
            continue;
        for (size_t part = 0; part < block->workers; part++)
            total += stats_get(stats_block_word(block, part,
                                                stats_block_at(block, STATS_OF_SERVER, there) +
                                                    offsetof(struct stats_server, places)));
    }
    return total;
}

// ---- taking ----

// The header is copied before it is looked at: whoever writes it could do so meanwhile.
static int check(struct stats_block *block, const struct stats_header *header, uint64_t file_size,
                 const char **ret_why)
{
    *block = (struct stats_block){.workers = header->workers,
                                  .listeners = header->listeners,
                                  .upstreams = header->upstreams,
                                  .servers = header->servers};
    if (header->magic != STATS_MAGIC)
        *ret_why = "these are no counters";
    else if (header->meaning != stats_meaning())
        *ret_why = "another release counts other things";
    else if (!stats_block_shape(block) || block->size != file_size)
        *ret_why = "they are not as long as they say";
    else
        return 0;
    return -EINVAL;
}

static int map(struct stats_block *block, int fd, const char **ret_why)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct stats_header header;
    struct stat status;
    int error;

    *ret_why = "these are no counters";
    // What could become shorter could end us, whoever's hand that is.
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(fd, &status) < 0 ||
        pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header))
        return -EINVAL;
    error = check(block, &header, (uint64_t)status.st_size, ret_why);
    if (error < 0)
        return error;
    block->memory = mmap(NULL, block->size, PROT_READ, MAP_SHARED, fd, 0);
    if (block->memory != MAP_FAILED)
        return 0;
    *ret_why = "no memory";
    return -errno;
}

static void drop(struct stats *stats, struct stats_predecessor *predecessor)
{
    size_t place = (size_t)(predecessor - stats->predecessors);

    stats_set(&header_of(stats)->lives[place], 0);
    munmap(predecessor->block.memory, predecessor->block.size);
    close(predecessor->fd);
    *predecessor = (struct stats_predecessor){.number = 0};
}

void stats_chain_drop(struct stats *stats)
{
    for (size_t place = 0; place < STATS_PREDECESSORS_MAX; place++) {
        if (stats->predecessors[place].number != 0)
            drop(stats, &stats->predecessors[place]);
    }
}

// ---- settling ----

static void settle_struct(struct stats *stats, const struct stats_block *block, size_t at, size_t there,
                          size_t size)
{
    for (size_t part = 0; part < 2 * block->workers; part++) {
        const stats_word *from = stats_block_word(block, part, there);
        stats_word *to = stats_block_word(&stats->own, stats->own.workers + stand_in(stats, block, part), at);

        for (size_t i = 0; i < size / sizeof(*from); i++) {
            uint64_t value = stats_get(&from[i]);

            if (value != 0 && !stats_is_gauge(block, there + i * sizeof(*from)))
                stats_add(&to[i], value);
        }
    }
}

static void settle_listener(struct stats *stats, const struct stats_block *block, size_t at, size_t there)
{
    struct stats_listener *to =
        (struct stats_listener *)stats_block_word(&stats->own, stats->own.workers, at);

    settle_struct(stats, block, at, there, sizeof(*to));
    for (size_t part = 0; part < block->workers; part++) {
        const struct stats_listener *from = (struct stats_listener *)stats_block_word(block, part, there);

        stats_add(&to->ends[STATS_END_LOST], stats_get(&from->connections));
    }
}

static void settle(struct stats *stats, struct stats_predecessor *predecessor)
{
    static const size_t sizes[] = {
        [STATS_OF_UPSTREAM] = sizeof(struct stats_upstream), [STATS_OF_SERVER] = sizeof(struct stats_server)};
    const struct stats_block *block = &predecessor->block;

    settle_struct(stats, block, 0, 0, sizeof(struct stats_worker));
    for (enum stats_kind kind = STATS_OF_LISTENER; kind < STATS_KINDS; kind++) {
        for (size_t i = 0; i < stats_block_count(&stats->own, kind); i++) {
            size_t at = stats_block_at(&stats->own, kind, i);
            size_t there;

            if (!find(stats, block, kind, i, &there))
                continue;
            if (kind == STATS_OF_LISTENER)
                settle_listener(stats, block, at, stats_block_at(block, kind, there));
            else
                settle_struct(stats, block, at, stats_block_at(block, kind, there), sizes[kind]);
        }
    }
    drop(stats, predecessor);
}

// Whether nobody is there any more who can write the block: those have a lock, of another open file than ours.
static bool is_gone(const struct stats_predecessor *predecessor)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

    return fcntl(predecessor->fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
}

unsigned stats_settle(struct stats *stats)
{
    unsigned living = 0;

    for (size_t place = 0; place < STATS_PREDECESSORS_MAX; place++) {
        struct stats_predecessor *predecessor = &stats->predecessors[place];

        if (predecessor->number == 0)
            continue;
        if (!stats->is_settled_later && is_gone(predecessor))
            settle(stats, predecessor);
        else
            living++;
    }
    return living;
}

void stats_settle_later(struct stats *stats, bool is_later)
{
    stats->is_settled_later = is_later;
}

// ---- the chain ----

static bool is_same_file(int one, int other)
{
    struct stat a;
    struct stat b;

    return fstat(one, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static bool is_known(const struct stats *stats, int fd)
{
    for (size_t place = 0; place < STATS_PREDECESSORS_MAX; place++) {
        if (stats->predecessors[place].number != 0 && is_same_file(stats->predecessors[place].fd, fd))
            return true;
    }
    return is_same_file(stats->fd, fd);
}

// A place; the one that is longest in use if there is no other.
static struct stats_predecessor *find_place(struct stats *stats)
{
    struct stats_predecessor *best = &stats->predecessors[0];

    for (size_t place = 1; place < STATS_PREDECESSORS_MAX; place++) {
        if (stats->predecessors[place].number < best->number)
            best = &stats->predecessors[place];
    }
    return best;
}

int stats_take(struct stats *stats, int fd, const char **ret_why)
{
    struct stats_predecessor *place;
    struct stats_block block;
    int error;

    *ret_why = "these counters are there already";
    if (is_known(stats, fd))
        return -EEXIST;
    error = map(&block, fd, ret_why);
    if (error < 0)
        return error;
    place = find_place(stats);
    if (place->number != 0)
        settle(stats, place);
    *place = (struct stats_predecessor){.block = block, .number = ++stats->taken, .fd = fd};
    stats_set(&header_of(stats)->lives[place - stats->predecessors], place->number);
    return 0;
}

size_t stats_predecessors(const struct stats *stats, int fds[static STATS_PREDECESSORS_MAX])
{
    size_t count = 0;

    for (size_t place = 0; place < STATS_PREDECESSORS_MAX; place++) {
        if (stats->predecessors[place].number != 0)
            fds[count++] = stats->predecessors[place].fd;
    }
    return count;
}

size_t stats_numbers(const struct stats *stats, uint64_t numbers[static STATS_PREDECESSORS_MAX])
{
    size_t count = 0;

    for (size_t place = 0; place < STATS_PREDECESSORS_MAX; place++) {
        if (stats->predecessors[place].number != 0)
            numbers[count++] = stats->predecessors[place].number;
    }
    return count;
}

uint64_t stats_taken(const struct stats *stats)
{
    return stats->taken;
}
