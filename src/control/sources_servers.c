// SPDX-License-Identifier: Apache-2.0
// Files of TLS towards servers: authorities, revocation lists, the certificate that we show. All files of one upstream are good, or what was read
// last stays. They are read for the first time by tls_upstreams_load(); here they are watched.
#include <stdlib.h>
#include <string.h>

#include "ringbolt/log.h"
#include "ringbolt/tls.h"
#include "sources_inside.h"
#include "src/config/memory.h"

#define TRIES_MAX 3 // to read files that change meanwhile

// One upstream's.
static void servers_init(struct source_servers *servers)
{
    const struct config_server_tls *config = servers->config;
    const char **paths = memory_allocate((3 + config->trust.crl_count) * sizeof(*paths));
    size_t count = 0;

    if (config->verifies && config->trust.ca != NULL) {
        paths[count++] = config->trust.ca;
        for (size_t i = 0; i < config->trust.crl_count; i++)
            paths[count++] = config->trust.crls[i];
    }
    if (config->tls.certificate_count > 0) {
        const struct config_certificate *certificate = &config->tls.certificates[0];

        paths[count++] = certificate->chain;
        if (strcmp(certificate->key, certificate->chain) != 0)
            paths[count++] = certificate->key;
    }
    piece_init(&servers->files, paths, count);
    free(paths);
}

void sources_servers(struct sources *sources, const struct tls_upstreams *upstreams)
{
    const struct config *config = sources->config;

    sources->upstreams = upstreams;
    for (uint32_t i = 0; i < config->upstream_count; i++) {
        struct source_servers *servers;

        if (!config->upstreams[i].tls.is_on)
            continue;
        sources->servers = memory_grow(sources->servers, sources->servers_count, sizeof(*sources->servers));
        servers = &sources->servers[sources->servers_count++];
        *servers = (struct source_servers){
            .config = &config->upstreams[i].tls, .name = config->upstreams[i].name, .upstream = i};
        servers_init(servers);
        // What was read a moment ago may be older than this look: the next one reads again.
        if (servers->files.count > 0)
            (void)piece_look(sources->ways, &servers->files);
        servers->is_new = true;
    }
    ways_forget(sources->ways);
}

static void serve(struct sources *sources, const struct source_servers *servers,
                  const struct server_material *fresh)
{
    if (tls_upstreams_hold(sources->upstreams, servers->upstream, fresh->digest))
        return;
    change_servers(sources->change, servers->upstream, fresh);
    sources->result->changed++;
    log_info("files of TLS towards servers replaced", log_text("upstream", servers->name),
             log_integer("authorities", fresh->trust != NULL ? fresh->trust->ca_count : 0),
             log_integer("revocation_lists", fresh->trust != NULL ? fresh->trust->crl_count : 0),
             log_boolean("certificate", fresh->certificate_count > 0));
}

static void read_files(struct sources *sources, struct source_servers *servers)
{
    const struct saying saying = {.wrong = "files of TLS towards servers are wrong",
                                  .healed = "files of TLS towards servers healed",
                                  .file = servers->files.files[0].path,
                                  .is_own = true};
    struct server_material *fresh;
    struct report found;

    for (unsigned tries = 1;; tries++) {
        fresh = NULL;
        report_init(&found, NULL);
        (void)loader_servers(sources->loader, servers->config, &found, &fresh);
        if (!piece_has_changed(sources->ways, &servers->files) || tries == TRIES_MAX)
            break;
        server_material_destroy(fresh);
        report_finish(&found);
    }
    if (fresh == NULL) {
        say_wrong(sources, &servers->files, &found, &saying);
    } else {
        say_healed(sources, &servers->files, &saying);
        say_warnings(sources, &found, saying.file);
        serve(sources, servers, fresh);
        server_material_destroy(fresh);
    }
    report_finish(&found);
}

static bool is_due(struct sources *sources, struct source_servers *servers, const struct way_folder *way)
{
    struct piece *piece = &servers->files;
    bool is_bad = piece->problem != NULL;
    bool is_new = servers->is_new;

    if (piece->count == 0 || (way != NULL && !way_leads_through(&piece->way, way)))
        return false;
    servers->is_new = false;
    return piece_look(sources->ways, piece) || is_new || sources->is_forced ||
           (sources->is_look_over && is_bad);
}

void servers_look(struct sources *sources, const struct way_folder *way)
{
    for (size_t i = 0; i < sources->servers_count; i++) {
        if (is_due(sources, &sources->servers[i], way))
            read_files(sources, &sources->servers[i]);
        if (sources->servers[i].files.problem != NULL)
            sources->result->failed++;
    }
}

void servers_finish(struct sources *sources)
{
    for (size_t i = 0; i < sources->servers_count; i++)
        piece_finish(sources->ways, &sources->servers[i].files);
    free(sources->servers);
}
