// SPDX-License-Identifier: Apache-2.0
#include "generations.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "master.h"
#include "ringbolt-version.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "status.h"

#define PACK_VERSION 1

// ---- from one master to the next ----

static struct generation self(const struct master *master)
{
    struct generation self = {.pid = getpid(), .release = RINGBOLT_VERSION, .started_ns = master->started_ns};

    return self;
}

static const struct generation *find(const struct generations *generations, uint64_t number)
{
    for (size_t i = 0; i < generations->count; i++) {
        if (generations->each[i].number == number)
            return &generations->each[i];
    }
    return NULL;
}

void generation_pack(const struct generation *generation, struct pack *pack)
{
    pack_number(pack, PACK_VERSION, 1);
    pack_number(pack, (uint32_t)generation->pid, 4);
    pack_text(pack, generation->release);
    pack_number(pack, generation->started_ns, 8);
    pack_number(pack, generation->superseded_ns, 8);
    pack_number(pack, generation->until_ns, 8);
}

int generations_leave(const struct master *master, uint64_t number, struct estate *ret, int fd)
{
    struct generation own = self(master);
    const struct generation *generation = number == 0 ? &own : find(&master->generations, number);
    struct pack pack = {0};
    int error;

    if (generation)
        generation_pack(generation, &pack);
    error =
        pack.is_short ? -ENOMEM : estate_add(ret, ESTATE_COUNTERS, ESTATE_OPTIONAL, pack.data, pack.size, fd);
    pack_finish(&pack);
    return error;
}

bool generation_unpack(const uint8_t *bytes, size_t size, uint64_t now_ns, struct generation *ret)
{
    struct unpack unpack = {.at = bytes, .left = size};
    uint64_t version = unpack_number(&unpack, 1);

    *ret = (struct generation){.number = 0};
    ret->pid = (pid_t)unpack_number(&unpack, 4);
    unpack_text(&unpack, ret->release, sizeof(ret->release));
    ret->started_ns = unpack_number(&unpack, 8);
    ret->superseded_ns = unpack_number(&unpack, 8);
    ret->until_ns = unpack_number(&unpack, 8);
    return unpack_is_whole(&unpack) && version == PACK_VERSION && ret->pid > 0 && ret->started_ns <= now_ns &&
           ret->superseded_ns <= now_ns;
}

// Those whose counters are settled are no more.
static void forget_gone(struct master *master)
{
    struct generations *generations = &master->generations;
    size_t kept = 0;
    uint64_t connections;

    for (size_t i = 0; i < generations->count; i++) {
        if (stats_connections_of(master->stats, generations->each[i].number, &connections))
            generations->each[kept++] = generations->each[i];
    }
    generations->count = kept;
}

void generations_take(struct master *master, const struct estate_item *item, uint64_t number)
{
    struct generation generation;

    if (item->size == 0)
        return;
    forget_gone(master); // there is room now: as many have counters as there are places
    if (!generation_unpack(item->bytes, item->size, clock_now_ns(), &generation) ||
        master->generations.count == STATS_PREDECESSORS_MAX) {
        log_warning("what the predecessor left is not understood",
                    log_text("what", "whose counters these are"));
        return;
    }
    generation.number = number;
    master->generations.each[master->generations.count++] = generation;
}

// ---- its way out ----

static struct generation *predecessor(struct master *master)
{
    struct generations *generations = &master->generations;

    for (size_t i = generations->count; i > 0; i--) {
        if (generations->each[i - 1].pid == master->control->predecessor_pid)
            return &generations->each[i - 1];
    }
    return NULL;
}

void generations_superseded(struct master *master)
{
    struct generation *before = predecessor(master);

    if (before)
        before->superseded_ns = clock_now_ns();
}

void generations_until(const struct master *master, uint8_t bytes[static 8])
{
    uint64_t until_ns = clock_now_ns() + master->config->shutdown_timeout_ns;

    memcpy(bytes, &until_ns, sizeof(until_ns));
}

void generations_released(struct master *master, const struct estate_item *item)
{
    struct generation *before = predecessor(master);

    if (before && item->size == sizeof(before->until_ns))
        memcpy(&before->until_ns, item->bytes, sizeof(before->until_ns));
}

// ---- shown ----

static json_t *generation_json(const struct generation *generation, uint64_t connections, uint64_t now_ns)
{
    uint64_t left_ns = generation->until_ns > now_ns ? generation->until_ns - now_ns : 0;

    return json_pack(
        "{s:i, s:s, s:s, s:o, s:o, s:o, s:o, s:I}", "pid", (int)generation->pid, "version",
        generation->release, "state", generation->until_ns == 0 ? "superseded" : "draining", "started",
        status_moment(generation->started_ns), "superseded", status_moment(generation->superseded_ns),
        "until", status_moment(generation->until_ns), "left_s",
        generation->until_ns == 0 ? json_null() : json_real((double)left_ns / (double)CLOCK_NS_PER_S),
        "connections", (json_int_t)connections);
}

json_t *generations_json(struct master *master)
{
    struct generations *generations = &master->generations;
    json_t *array = json_array();
    uint64_t now_ns = clock_now_ns();

    forget_gone(master);
    for (size_t i = 0; i < generations->count; i++) {
        uint64_t connections = 0;

        (void)stats_connections_of(master->stats, generations->each[i].number, &connections);
        if (json_array_append_new(array, generation_json(&generations->each[i], connections, now_ns)) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}
