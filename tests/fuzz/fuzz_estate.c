// SPDX-License-Identifier: Apache-2.0
// What a predecessor leaves, part by part: the first byte says which. Nothing may be read beyond its end, nothing half taken over, and what was taken
// must come out as it went in.
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ringbolt/stats.h"
#include "src/control/estate.h"
#include "src/control/estate_secrets.h"
#include "src/control/generations.h"
#include "src/control/estate_servers.h"
#include "src/control/sources.h"
#include "src/control/tickets.h"
#include "src/proxy/stats_block.h"

#define NOW_NS   (UINT64_C(1) << 40)
#define FILE_MAX (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct config_server server_configs[] = {{.address.text = (char *)"192.0.2.1:80", .weight = 1},
                                                {.address.text = (char *)"192.0.2.2:80", .weight = 1}};
static struct config_upstream upstream_config = {
    .name = (char *)"app", .servers = server_configs, .server_count = 2, .health.max_fails = 3};
static struct config_listener listener_config = {.name = (char *)"app"};
static const struct config config = {.workers = 2,
                                     .upstreams = &upstream_config,
                                     .upstream_count = 1,
                                     .listeners = &listener_config,
                                     .listener_count = 1};

static void require(bool is_so)
{
    if (!is_so)
        abort();
}

static void try_tickets(const uint8_t *data, size_t size)
{
    struct ticket_keys keys = {.count = 0};
    struct tickets tickets = {.keys = &keys};
    struct pack pack = {0};

    if (!tickets_unpack(data, size, NOW_NS, &tickets)) {
        require(keys.count == 0);
        return;
    }
    tickets_pack(&tickets, &pack);
    require(pack.size == size && memcmp(pack.data, data, size) == 0);
    pack_finish(&pack);
}

static void try_servers(const uint8_t *data, size_t size)
{
    struct servers *servers;
    bool is_good;

    require(servers_create(&config, &servers) == 0);
    is_good = servers_unpack(data, size, &config, servers, NULL, NOW_NS);
    for (size_t i = 0; i < 2; i++) {
        const struct servers_state *state = servers_state(servers, i);

        require(state->order <= SERVERS_DOWN && state->is_out <= 1 && state->changed_ns <= NOW_NS);
        require(is_good || (state->order == SERVERS_READY && state->is_out == 0 && state->changed_ns == 0));
    }
    servers_destroy(servers);
}

static void try_passphrases(const uint8_t *data, size_t size)
{
    struct loader *loader = loader_create(false);
    struct pack pack = {0};
    bool is_good = passphrases_unpack(loader, data, size);

    passphrases_pack(loader, &pack);
    require(is_good || pack.size == 0);
    require(pack.size <= size);
    pack_finish(&pack);
    loader_destroy(loader);
}

static void try_development(const uint8_t *data, size_t size)
{
    struct report report;

    report_init(&report, NULL);
    certificate_destroy(development_unpack(data, size, &report));
    report_finish(&report);
}

static void try_sources(const uint8_t *data, size_t size, bool is_staples)
{
    static const struct config empty = {.workers = 1};
    struct loader *loader = loader_create(false);
    struct sources *sources;
    struct pack pack = {0};
    struct report report;

    report_init(&report, NULL);
    require(sources_load(&empty, loader, NULL, false, &report, &sources) == 0);
    if (is_staples) {
        (void)sources_unpack_staples(sources, data, size, 1800000000);
        sources_pack_staples(sources, &pack);
        require(pack.size == 0); // there is no certificate
    } else {
        bool is_good = sources_unpack_history(sources, data, size);

        sources_pack_history(sources, &pack);
        require(is_good || pack.size == 0);
        require(pack.size <= size);
    }
    pack_finish(&pack);
    sources_destroy(sources);
    loader_destroy(loader);
    report_finish(&report);
}

// The bytes are a block of this release, in a file that is as a block's has to be; as long as it says where the first predecessor's place is taken.
static void try_counters(const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct stats_header header = {.magic = 0};
    struct stats_block block;
    struct stats_listener sum;
    struct stats *stats;
    const char *why;

    require(stats_create(&config, &stats) == 0);
    require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    memcpy((void *)&header, data, size < sizeof(header) ? size : sizeof(header));
    header.meaning = stats_meaning();
    block = (struct stats_block){.workers = header.workers,
                                 .listeners = header.listeners,
                                 .upstreams = header.upstreams,
                                 .servers = header.servers};
    require(size < sizeof(header) ||
            pwrite(fd, (void *)&header, sizeof(header), 0) == (ssize_t)sizeof(header));
    if (header.lives[0] != 0 && stats_block_shape(&block) && block.size < FILE_MAX)
        require(ftruncate(fd, (off_t)block.size) == 0);
    require(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    if (stats_take(stats, fd, &why) < 0)
        close(fd);
    stats_sum_listener(stats, 0, &sum);
    (void)stats_connections(stats);
    (void)stats_settle(stats);
    stats_destroy(stats);
}

static void try_generation(const uint8_t *data, size_t size)
{
    struct generation generation;
    struct pack pack = {0};

    if (!generation_unpack(data, size, NOW_NS, &generation))
        return;
    generation_pack(&generation, &pack);
    require(pack.size == size && memcmp(pack.data, data, size) == 0);
    pack_finish(&pack);
}

static void try_message(const uint8_t *data, size_t size)
{
    struct estate_item item;
    const char *why;
    int fds[2] = {-1, -1};

    if (estate_parse(data, size, fds, 0, &item, &why) == 0)
        estate_item_finish(&item);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    switch (data[0]) {
    case 't':
        try_tickets(data + 1, size - 1);
        break;
    case 's':
        try_servers(data + 1, size - 1);
        break;
    case 'p':
        try_passphrases(data + 1, size - 1);
        break;
    case 'd':
        try_development(data + 1, size - 1);
        break;
    case 'o':
        try_sources(data + 1, size - 1, true);
        break;
    case 'h':
        try_sources(data + 1, size - 1, false);
        break;
    case 'c':
        try_counters(data + 1, size - 1);
        break;
    case 'g':
        try_generation(data + 1, size - 1);
        break;
    case 'm':
        try_message(data + 1, size - 1);
        break;
    default:
        break;
    }
    return 0;
}
