// SPDX-License-Identifier: Apache-2.0
// Client authorities with their revocation lists, and ticket keys: all files of one piece are good, or the last good piece stays.
#include <stdlib.h>
#include <string.h>

#include "ringbolt/log.h"
#include "ringbolt/secret.h"
#include "sources_inside.h"
#include "src/config/memory.h"

#define TRIES_MAX 3 // to read files that change meanwhile

// ---- client authorities ----

static bool is_same_trust(const struct config_client_trust *a, const struct config_client_trust *b)
{
    if (strcmp(a->ca, b->ca) != 0 || a->crl_count != b->crl_count)
        return false;
    for (size_t i = 0; i < a->crl_count; i++) {
        if (strcmp(a->crls[i], b->crls[i]) != 0)
            return false;
    }
    return true;
}

static struct source_trust *trust_of(struct sources *sources, const struct config_client_trust *config)
{
    struct source_trust *trust;

    for (size_t i = 0; i < sources->trust_count; i++) {
        if (is_same_trust(sources->trusts[i].config, config))
            return &sources->trusts[i];
    }
    sources->trusts = memory_grow(sources->trusts, sources->trust_count, sizeof(*sources->trusts));
    trust = &sources->trusts[sources->trust_count++];
    *trust = (struct source_trust){.config = config};
    return trust;
}

static void trust_init(struct source_trust *trust)
{
    const struct config_client_trust *config = trust->config;
    const char **paths = memory_allocate((1 + config->crl_count) * sizeof(*paths));

    paths[0] = config->ca;
    for (size_t i = 0; i < config->crl_count; i++)
        paths[1 + i] = config->crls[i];
    piece_init(&trust->files, paths, 1 + config->crl_count);
    free(paths);
}

void trusts_find(struct sources *sources)
{
    for (uint32_t i = 0; i < sources->config->listener_count; i++) {
        const struct config_client_trust *config = &sources->config->listeners[i].tls.client_auth;
        struct source_trust *trust;

        if (config->mode == CONFIG_CLIENT_AUTH_OFF)
            continue;
        trust = trust_of(sources, config);
        trust->listeners = memory_grow(trust->listeners, trust->listener_count, sizeof(uint32_t));
        trust->listeners[trust->listener_count++] = i;
    }
    for (size_t i = 0; i < sources->trust_count; i++)
        trust_init(&sources->trusts[i]);
    piece_init(&sources->tickets.files, (const char *const *)sources->config->tickets.keys,
               sources->config->tickets.key_count);
}

static void trust_send(const struct source_trust *trust, struct change *change)
{
    for (size_t i = 0; i < trust->listener_count; i++)
        change_trust(change, trust->listeners[i], trust->trust);
}

static void trust_serve(struct sources *sources, struct source_trust *trust, struct client_trust *fresh)
{
    bool is_same =
        trust->trust != NULL && memcmp(trust->trust->digest, fresh->digest, sizeof(fresh->digest)) == 0;

    if (is_same) {
        client_trust_destroy(fresh);
        return;
    }
    client_trust_destroy(trust->trust);
    trust->trust = fresh;
    trust->warned_s = 0;
    if (sources->change == NULL)
        return;
    trust_send(trust, sources->change);
    sources->result->changed++;
    log_info("client authorities replaced", log_text("file", trust->config->ca),
             log_integer("authorities", fresh->ca_count), log_integer("revocation_lists", fresh->crl_count));
}

static void trust_read(struct sources *sources, struct source_trust *trust)
{
    const struct saying saying = {.wrong = "client authorities are wrong",
                                  .healed = "client authorities healed",
                                  .file = trust->config->ca,
                                  .is_own = true};
    struct client_trust *fresh;
    struct report found;

    for (unsigned tries = 1;; tries++) {
        fresh = NULL;
        report_init(&found, NULL);
        (void)loader_trust(sources->loader, trust->config, &found, &fresh);
        if (!piece_has_changed(sources->ways, &trust->files) || tries == TRIES_MAX)
            break;
        client_trust_destroy(fresh);
        report_finish(&found);
    }
    if (fresh == NULL) {
        say_wrong(sources, &trust->files, &found, &saying);
    } else {
        say_healed(sources, &trust->files, &saying);
        say_warnings(sources, &found, trust->config->ca);
        trust_serve(sources, trust, fresh);
    }
    report_finish(&found);
}

// ---- ticket keys ----

static void keys_destroy(struct ticket_keys *keys)
{
    secret_free(keys, sizeof(*keys));
}

// All of them, or NULL with lines in the report.
static struct ticket_keys *keys_load(const struct sources *sources, struct report *found)
{
    const struct config *config = sources->config;
    bool is_good = config->tickets.key_count <= TICKET_KEYS_MAX;
    struct ticket_keys *keys;
    unsigned tries = 0;

    while ((keys = secret_alloc(sizeof(*keys))) == NULL)
        memory_wait(&tries);
    if (!is_good)
        report_add(found, config->tickets.key_wheres[TICKET_KEYS_MAX],
                   "there are %zu ticket keys; at most %d are used, leave out the oldest",
                   config->tickets.key_count, TICKET_KEYS_MAX);
    for (size_t i = 0; i < config->tickets.key_count && i < TICKET_KEYS_MAX; i++) {
        if (loader_ticket_key(sources->loader, config->tickets.keys[i], config->tickets.key_wheres[i], found,
                              &keys->keys[i]) < 0)
            is_good = false;
        keys->count++;
    }
    if (is_good)
        return keys;
    keys_destroy(keys);
    return NULL;
}

static void keys_serve(struct sources *sources, struct ticket_keys *fresh)
{
    struct source_tickets *tickets = &sources->tickets;

    if (tickets->keys != NULL && memcmp(tickets->keys, fresh, sizeof(*fresh)) == 0) {
        keys_destroy(fresh);
        return;
    }
    keys_destroy(tickets->keys);
    tickets->keys = fresh;
    if (sources->change == NULL)
        return;
    change_ticket_keys(sources->change, fresh);
    sources->result->changed++;
    log_info("ticket keys replaced", log_text("file", sources->config->tickets.keys[0]),
             log_integer("keys", fresh->count));
}

static void keys_read(struct sources *sources)
{
    struct source_tickets *tickets = &sources->tickets;
    const struct saying saying = {.wrong = "ticket keys are wrong",
                                  .healed = "ticket keys healed",
                                  .file = sources->config->tickets.keys[0],
                                  .is_own = true};
    struct ticket_keys *fresh;
    struct report found;

    for (unsigned tries = 1;; tries++) {
        report_init(&found, NULL);
        fresh = keys_load(sources, &found);
        if (!piece_has_changed(sources->ways, &tickets->files) || tries == TRIES_MAX)
            break;
        keys_destroy(fresh);
        report_finish(&found);
    }
    if (fresh == NULL) {
        say_wrong(sources, &tickets->files, &found, &saying);
    } else {
        say_healed(sources, &tickets->files, &saying);
        say_warnings(sources, &found, saying.file);
        keys_serve(sources, fresh);
    }
    report_finish(&found);
}

// ---- both ----

static bool is_due(struct sources *sources, struct piece *piece, const struct way_folder *way)
{
    bool is_bad = piece->problem != NULL;

    if (piece->count == 0 || (way != NULL && !way_leads_through(&piece->way, way)))
        return false;
    return piece_look(sources->ways, piece) || sources->is_forced || (sources->is_look_over && is_bad);
}

void trusts_look(struct sources *sources, const struct way_folder *way)
{
    for (size_t i = 0; i < sources->trust_count; i++) {
        if (is_due(sources, &sources->trusts[i].files, way))
            trust_read(sources, &sources->trusts[i]);
        if (sources->trusts[i].files.problem != NULL && sources->result != NULL)
            sources->result->failed++;
    }
    if (is_due(sources, &sources->tickets.files, way))
        keys_read(sources);
    if (sources->tickets.files.problem != NULL && sources->result != NULL)
        sources->result->failed++;
}

void trusts_initial(const struct sources *sources, struct change *change)
{
    for (size_t i = 0; i < sources->trust_count; i++)
        trust_send(&sources->trusts[i], change);
    if (sources->tickets.keys != NULL)
        change_ticket_keys(change, sources->tickets.keys);
}

void trusts_finish(struct sources *sources)
{
    for (size_t i = 0; i < sources->trust_count; i++) {
        piece_finish(sources->ways, &sources->trusts[i].files);
        client_trust_destroy(sources->trusts[i].trust);
        free(sources->trusts[i].listeners);
    }
    free(sources->trusts);
    piece_finish(sources->ways, &sources->tickets.files);
    keys_destroy(sources->tickets.keys);
}
