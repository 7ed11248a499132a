// SPDX-License-Identifier: Apache-2.0
#include "ringbolt/admission.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "ringbolt/clock.h"
#include "ringbolt/shared_memory.h"

#define PLACES_EACH      4 // for each connection that there may be: a quarter is used at most
#define PLACES_IN_A_ROW  8 // a network may stand at either of two places that its key names, or behind one of them
#define PLACES_LOOKED_AT (2 * PLACES_IN_A_ROW)

// How many came in this second and in the one before: second, before, now, packed so that others read what belongs together.
typedef _Atomic uint64_t window;

struct place {
    _Atomic uint64_t key;  // of a network; 0: free
    _Atomic uint32_t live; // connections
    window came;
};

// One worker's part. Written by that worker alone, and zeroed by the master when it has died.
struct part {
    window *came;           // all of its connections
    struct place *places;   // NULL: no limit for clients
    _Atomic uint32_t *live; // by listener
};

struct admission {
    const struct config *config;
    uint64_t seed[2]; // so that nobody can choose addresses that fall on one place
    uint32_t mask;    // places of a worker - 1
    bool counts_clients;
    size_t shared_size;
    uint8_t *shared;
    size_t part_size; // of `shared`: places, then the counts of listeners, then the window
    struct part parts[];
};

// ---- windows ----

#define WINDOW_COUNT_BITS 16
#define WINDOW_COUNT_MAX  ((1u << WINDOW_COUNT_BITS) - 1)

static uint64_t pack(uint64_t second, uint64_t before, uint64_t now)
{
    return second << (2 * WINDOW_COUNT_BITS) | before << WINDOW_COUNT_BITS | now;
}

// The window as it would be in this second.
static uint64_t advance(uint64_t value, uint64_t second)
{
    uint64_t was = value >> (2 * WINDOW_COUNT_BITS);
    uint64_t now = value & WINDOW_COUNT_MAX;

    if (was == second)
        return value;
    return pack(second, was + 1 == second ? now : 0, 0);
}

static uint64_t second_of(uint64_t now_ns)
{
    return (now_ns / CLOCK_NS_PER_S) & UINT32_MAX;
}

static void window_count(window *counted, uint64_t now_ns)
{
    uint64_t value = advance(atomic_load_explicit(counted, memory_order_relaxed), second_of(now_ns));

    if ((value & WINDOW_COUNT_MAX) < WINDOW_COUNT_MAX)
        value++;
    atomic_store_explicit(counted, value, memory_order_relaxed);
}

// How many came in the last second, in thousandths: all of this second's, and of the one before as much as still lies within.
static uint64_t window_estimate(const window *counted, uint64_t now_ns)
{
    uint64_t value = advance(atomic_load_explicit(counted, memory_order_relaxed), second_of(now_ns));
    uint64_t before = value >> WINDOW_COUNT_BITS & WINDOW_COUNT_MAX;
    uint64_t gone = now_ns % CLOCK_NS_PER_S / (CLOCK_NS_PER_S / 1000);

    return (value & WINDOW_COUNT_MAX) * 1000 + before * (1000 - gone);
}

// ---- life ----

static size_t places_size(const struct admission *admission)
{
    return admission->counts_clients ? ((size_t)admission->mask + 1) * sizeof(struct place) : 0;
}

static uint32_t power_of_two_from(uint32_t least)
{
    uint32_t power = 16;

    while (power < least)
        power *= 2;
    return power;
}

// To whole pages: none is two workers', and each can be taken out by itself.
static size_t round_up(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (size + page - 1) / page * page;
}

static void lay_out(struct admission *admission, unsigned worker)
{
    uint8_t *begin = admission->shared + worker * admission->part_size;
    struct part *part = &admission->parts[worker];

    part->places = admission->counts_clients ? (struct place *)begin : NULL;
    part->came = (window *)(begin + places_size(admission));
    part->live = (_Atomic uint32_t *)(part->came + 1);
}

struct admission *admission_create(const struct config *config)
{
    struct admission *admission = calloc(1, sizeof(*admission) + config->workers * sizeof(struct part));
    size_t listeners = config->listener_count * sizeof(uint32_t);

    if (!admission)
        return NULL;
    admission->config = config;
    admission->counts_clients = config->limits.connections_per_client > 0 ||
                                config->limits.handshakes_per_second_per_client > 0;
    admission->mask = power_of_two_from(config->limits.connections * PLACES_EACH) - 1;
    admission->part_size = places_size(admission) + sizeof(window) + listeners;
    admission->part_size = round_up(admission->part_size);
    admission->shared_size = admission->part_size * config->workers;
    if (getrandom(admission->seed, sizeof(admission->seed), 0) != sizeof(admission->seed))
        goto fail;
    admission->shared = shared_memory_create(admission->shared_size);
    if (!admission->shared)
        goto fail;
    for (unsigned i = 0; i < config->workers; i++)
        lay_out(admission, i);
    return admission;

fail:
    free(admission);
    return NULL;
}

void admission_destroy(struct admission *admission)
{
    if (!admission)
        return;
    shared_memory_destroy(admission->shared, admission->shared_size);
    free(admission);
}

void admission_forget(struct admission *admission, unsigned worker)
{
    uint8_t *part = admission->shared + worker * admission->part_size;

    // To write zeros would take memory for every place; to punch a hole gives it back.
    if (madvise(part, admission->part_size, MADV_REMOVE) < 0)
        memset(part, 0, admission->part_size);
}

// ---- listeners ----

enum admission_full admission_full(const struct admission *admission, size_t listener, uint64_t now_ns)
{
    const struct config *config = admission->config;
    unsigned live_max = config->listeners[listener].connections;
    uint64_t rate_max = config->limits.handshakes_per_second;
    uint64_t live = 0;
    uint64_t rate = 0;

    if (live_max == 0 && rate_max == 0)
        return ADMISSION_OPEN;
    for (unsigned i = 0; i < config->workers; i++) {
        live += atomic_load_explicit(&admission->parts[i].live[listener], memory_order_relaxed);
        rate += window_estimate(admission->parts[i].came, now_ns);
    }
    if (live_max > 0 && live >= live_max)
        return ADMISSION_FULL_LISTENER;
    return rate_max > 0 && rate >= rate_max * 1000 ? ADMISSION_FULL_RATE : ADMISSION_OPEN;
}

void admission_enter(struct admission *admission, unsigned worker, size_t listener, uint64_t now_ns)
{
    window_count(admission->parts[worker].came, now_ns);
    admission_adopt(admission, worker, listener);
}

void admission_adopt(struct admission *admission, unsigned worker, size_t listener)
{
    atomic_fetch_add_explicit(&admission->parts[worker].live[listener], 1, memory_order_relaxed);
}

void admission_leave(struct admission *admission, unsigned worker, size_t listener)
{
    atomic_fetch_sub_explicit(&admission->parts[worker].live[listener], 1, memory_order_relaxed);
}

// ---- clients ----

// The finalizer of MurmurHash3: each bit of the result depends on each of the argument, and no two arguments share one.
static uint64_t mix(uint64_t value)
{
    value = (value ^ value >> 33) * 0xff51afd7ed558ccd;
    value = (value ^ value >> 33) * 0xc4ceb9fe1a85ec53;
    return value ^ value >> 33;
}

static uint64_t high_bits(uint64_t value, unsigned count)
{
    return count == 0 ? 0 : count >= 64 ? value : value >> (64 - count) << (64 - count);
}

static uint64_t big_endian(const uint8_t bytes[8])
{
    uint64_t value = 0;

    for (unsigned i = 0; i < 8; i++)
        value = value << 8 | bytes[i];
    return value;
}

// 0: a client that has no address.
static uint64_t key_of(const struct admission *admission, const struct sockaddr *client)
{
    const struct config *config = admission->config;
    uint64_t high;
    uint64_t low = 0;
    uint64_t key;

    if (client->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)client;

        high = high_bits((uint64_t)ntohl(in->sin_addr.s_addr) << 32, config->limits.client_network.ipv4);
    } else if (client->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)client;
        unsigned prefix = config->limits.client_network.ipv6;

        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
            high = high_bits(big_endian(in6->sin6_addr.s6_addr + 8) << 32, config->limits.client_network.ipv4);
        } else {
            high = high_bits(big_endian(in6->sin6_addr.s6_addr), prefix);
            low = high_bits(big_endian(in6->sin6_addr.s6_addr + 8), prefix > 64 ? prefix - 64 : 0) + 1;
        }
    } else {
        return 0;
    }
    key = mix(mix(high ^ admission->seed[0]) ^ low ^ admission->seed[1]);
    return key == 0 ? 1 : key;
}

static struct place *place_at(const struct admission *admission, unsigned worker, uint64_t key, uint32_t number)
{
    uint64_t first = number < PLACES_IN_A_ROW ? key : key >> 32;

    return &admission->parts[worker].places[(first + number % PLACES_IN_A_ROW) & admission->mask];
}

static struct place *find(const struct admission *admission, unsigned worker, uint64_t key)
{
    for (uint32_t i = 0; i < PLACES_LOOKED_AT; i++) {
        struct place *place = place_at(admission, worker, key, i);

        if (atomic_load_explicit(&place->key, memory_order_relaxed) == key)
            return place;
    }
    return NULL;
}

// A place for a network that has none: the one whose own was not seen for the longest time. NULL: all have connections.
static struct place *claim(struct admission *admission, unsigned worker, uint64_t key)
{
    struct place *found = NULL;

    for (uint32_t i = 0; i < PLACES_LOOKED_AT; i++) {
        struct place *place = place_at(admission, worker, key, i);

        if (atomic_load_explicit(&place->live, memory_order_relaxed) > 0)
            continue;
        if (!found || atomic_load_explicit(&place->came, memory_order_relaxed) <
                          atomic_load_explicit(&found->came, memory_order_relaxed))
            found = place;
    }
    if (!found)
        return NULL;
    atomic_store_explicit(&found->came, 0, memory_order_relaxed);
    atomic_store_explicit(&found->key, key, memory_order_relaxed);
    return found;
}

enum admission_refusal admission_client_enter(struct admission *admission, unsigned worker,
                                              const struct sockaddr *client, uint64_t now_ns,
                                              uint32_t *ret_place)
{
    const struct config *config = admission->config;
    uint64_t key = admission->counts_clients ? key_of(admission, client) : 0;
    uint64_t live_max = config->limits.connections_per_client;
    uint64_t rate_max = config->limits.handshakes_per_second_per_client;
    uint64_t live = 0;
    uint64_t rate = 0;
    struct place *own = NULL;

    *ret_place = ADMISSION_UNCOUNTED;
    if (key == 0)
        return ADMISSION_GRANTED;
    for (unsigned i = 0; i < config->workers; i++) {
        struct place *place = find(admission, i, key);

        if (!place)
            continue;
        live += atomic_load_explicit(&place->live, memory_order_relaxed);
        rate += window_estimate(&place->came, now_ns);
        if (i == worker)
            own = place;
    }
    if (live_max > 0 && live >= live_max)
        return ADMISSION_CLIENT_CONNECTIONS;
    if (rate_max > 0 && rate >= rate_max * 1000)
        return ADMISSION_CLIENT_RATE;
    if (!own)
        own = claim(admission, worker, key);
    if (!own)
        return ADMISSION_GRANTED;
    atomic_fetch_add_explicit(&own->live, 1, memory_order_relaxed);
    window_count(&own->came, now_ns);
    *ret_place = (uint32_t)(own - admission->parts[worker].places);
    return ADMISSION_GRANTED;
}

uint32_t admission_client_adopt(struct admission *admission, unsigned worker, const struct sockaddr *client)
{
    uint64_t key = admission->counts_clients ? key_of(admission, client) : 0;
    struct place *own;

    if (key == 0)
        return ADMISSION_UNCOUNTED;
    own = find(admission, worker, key);
    if (!own)
        own = claim(admission, worker, key);
    if (!own)
        return ADMISSION_UNCOUNTED;
    atomic_fetch_add_explicit(&own->live, 1, memory_order_relaxed);
    return (uint32_t)(own - admission->parts[worker].places);
}

void admission_client_leave(struct admission *admission, unsigned worker, uint32_t place)
{
    if (place != ADMISSION_UNCOUNTED)
        atomic_fetch_sub_explicit(&admission->parts[worker].places[place].live, 1, memory_order_relaxed);
}
