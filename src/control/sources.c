// SPDX-License-Identifier: Apache-2.0
// Sources as a whole.
#include "sources.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ringbolt/log.h"
#include "sources_inside.h"
#include "src/config/memory.h"

// ---- one source ----

const char *source_file(const struct source *source)
{
    return source->config->pkcs12 != NULL ? source->config->pkcs12 : source->config->chain;
}

const char *source_key_file(const struct source *source)
{
    return source->config->key;
}

const struct material_place *source_places(const struct source *source, size_t *ret_count)
{
    struct source_folder *folder = source->folder;

    if (folder == NULL) {
        *ret_count = source->place_count;
        return source->places;
    }
    for (size_t i = 0; i < folder->listener_count; i++)
        folder->places[i] =
            (struct material_place){.listener = folder->listeners[i], .rank = FOLDER_RANK + source->order};
    *ret_count = folder->listener_count;
    return folder->places;
}

char *source_listeners(const struct sources *sources, const struct source *source)
{
    size_t count;
    const struct material_place *places = source_places(source, &count);
    size_t size = 1;
    char *text;
    char *end;

    for (size_t i = 0; i < count; i++)
        size += strlen(sources->config->listeners[places[i].listener].name) + 2;
    end = text = memory_allocate(size);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            end = stpcpy(end, ", ");
        end = stpcpy(end, sources->config->listeners[places[i].listener].name);
    }
    return text;
}

const struct config_ocsp *source_fetch(const struct sources *sources, const struct source *source)
{
    size_t count;
    const struct material_place *places = source_places(source, &count);

    for (size_t i = 0; i < count; i++) {
        const struct config_ocsp *ocsp = &sources->config->listeners[places[i].listener].tls.ocsp;

        if (ocsp->fetch)
            return ocsp;
    }
    return NULL;
}

void source_destroy(struct sources *sources, struct source *source)
{
    piece_finish(sources->ways, &source->files);
    piece_finish(sources->ways, &source->staple_file);
    certificate_destroy(source->certificate);
    certificate_destroy(source->pending);
    staple_destroy(source->staple);
    free(source->fetch_problem);
    free(source->places);
    free(source->name);
    free(source->own.chain);
    free(source->own.key);
    free(source->own.ocsp);
    free(source);
}

void source_each(struct sources *sources, void (*each)(struct sources *sources, struct source *source))
{
    for (size_t i = 0; i < sources->configured_count; i++)
        each(sources, sources->configured[i]);
    for (size_t i = 0; i < sources->folder_count; i++) {
        for (size_t j = 0; j < sources->folders[i].source_count; j++)
            each(sources, sources->folders[i].sources[j]);
    }
}

// ---- what the configuration names ----

static bool is_same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

// Several listeners name the same files, by hand or through YAML's merges.
static bool is_same_config(const struct config_certificate *a, const struct config_certificate *b)
{
    if (!is_same_text(a->chain, b->chain) || !is_same_text(a->key, b->key) ||
        !is_same_text(a->pkcs12, b->pkcs12) || !is_same_text(a->ocsp, b->ocsp) ||
        !is_same_text(a->passphrase.env, b->passphrase.env) ||
        !is_same_text(a->passphrase.file, b->passphrase.file) || a->name_count != b->name_count)
        return false;
    for (size_t i = 0; i < a->name_count; i++) {
        if (strcmp(a->names[i], b->names[i]) != 0)
            return false;
    }
    return true;
}

static struct source *configured_add(struct sources *sources)
{
    struct source *source = memory_allocate(sizeof(*source));

    *source = (struct source){.slot = SLOT_NONE, .is_new = true};
    source->config = &source->own;
    sources->configured =
        memory_grow(sources->configured, sources->configured_count, sizeof(*sources->configured));
    sources->configured[sources->configured_count++] = source;
    return source;
}

static struct source *configured_of(struct sources *sources, const struct config_certificate *config)
{
    struct source *source;

    for (size_t i = 0; i < sources->configured_count; i++) {
        if (is_same_config(sources->configured[i]->config, config))
            return sources->configured[i];
    }
    source = configured_add(sources);
    source->config = config;
    certificate_init(source);
    return source;
}

static void place_add(struct source *source, uint32_t listener, uint32_t rank)
{
    for (size_t i = 0; i < source->place_count; i++) {
        if (source->places[i].listener == listener)
            return;
    }
    source->places = memory_grow(source->places, source->place_count, sizeof(*source->places));
    source->places[source->place_count++] = (struct material_place){.listener = listener, .rank = rank};
}

// A certificate that was made in memory, for every listener that has nothing else.
static void develop_find(struct sources *sources, struct certificate *develop)
{
    struct source *source = NULL;

    for (uint32_t i = 0; i < sources->config->listener_count; i++) {
        const struct config_listener *listener = &sources->config->listeners[i];

        if (listener->tls.certificate_count > 0 || listener->tls.certificate_dir != NULL ||
            listener->never_terminates)
            continue;
        if (source == NULL)
            source = configured_add(sources);
        place_add(source, i, 0);
    }
    if (source != NULL)
        certificate_serve(sources, source, develop);
    else
        certificate_destroy(develop);
}

static void configured_find(struct sources *sources)
{
    for (uint32_t i = 0; i < sources->config->listener_count; i++) {
        const struct config_tls *tls = &sources->config->listeners[i].tls;

        for (uint32_t j = 0; j < tls->certificate_count; j++)
            place_add(configured_of(sources, &tls->certificates[j]), i, j);
    }
}

// ---- loading ----

static void load_first(struct sources *sources, struct source *source)
{
    source->is_new = false;
    certificate_look(sources, source);
}

// The intermediate that a chain lacks may have stood in a file that was read later.
static void load_again(struct sources *sources, struct source *source)
{
    if (source->is_flawed)
        certificate_read(sources, source);
}

static void load_sources(struct sources *sources)
{
    sources->is_first_pass = true;
    source_each(sources, load_first);
    trusts_look(sources, NULL);
    sources->is_first_pass = false;
    source_each(sources, load_again);
    source_each(sources, staple_look); // they are checked with the whole chain
}

// What is configured but bad was said already.
static void check_listener(const struct sources *sources, uint32_t listener)
{
    const struct config_listener *config = &sources->config->listeners[listener];

    for (size_t i = 0; i < sources->slot_count; i++) {
        size_t count;
        const struct material_place *places = source_places(sources->slots[i], &count);

        for (size_t j = 0; j < count; j++) {
            if (places[j].listener == listener)
                return;
        }
    }
    if (config->tls.certificate_dir != NULL)
        report_add(
            sources->report, config->tls.certificate_dir_where,
            "listener %s has no certificate: in %s is no good pair; put one there, such as NAME.pem with "
            "NAME.key",
            config->name, config->tls.certificate_dir);
    else if (config->tls.certificate_count == 0 && !config->never_terminates)
        report_add(sources->report, config->where,
                   "listener %s has no certificate; give it `certificates` or `certificate_dir`",
                   config->name);
}

int sources_load(const struct config *config, struct loader *loader, struct certificate *develop,
                 bool is_check, struct report *report, struct sources **ret)
{
    struct sources *sources = memory_allocate(sizeof(*sources));
    size_t errors_before = report->error_count;

    *sources = (struct sources){.config = config,
                                .loader = loader,
                                .ways = ways_create(),
                                .history = history_create(),
                                .report = report,
                                .is_check = is_check};
    configured_find(sources);
    if (develop != NULL)
        develop_find(sources, develop);
    folders_find(sources);
    trusts_find(sources);
    load_sources(sources);
    names_look(sources);
    for (uint32_t i = 0; i < config->listener_count; i++)
        check_listener(sources, i);
    ways_forget(sources->ways);
    sources->report = NULL;
    if (report->error_count > errors_before) {
        sources_destroy(sources);
        return -EINVAL;
    }
    *ret = sources;
    return 0;
}

void sources_destroy(struct sources *sources)
{
    if (sources == NULL)
        return;
    for (size_t i = 0; i < sources->configured_count; i++)
        source_destroy(sources, sources->configured[i]);
    free(sources->configured);
    folders_finish(sources);
    trusts_finish(sources);
    servers_finish(sources);
    free(sources->slots);
    history_destroy(sources->history);
    conflicts_destroy(sources->conflicts);
    ways_destroy(sources->ways);
    free(sources);
}

void sources_initial(const struct sources *sources, struct change *change)
{
    for (size_t i = 0; i < sources->slot_count; i++) {
        const struct source *source = sources->slots[i];
        const struct material_place *places;
        size_t count;

        if (source == NULL)
            continue;
        places = source_places(source, &count);
        change_certificate(change, source->slot, source->certificate, places, count);
        if (source->staple != NULL)
            change_staple(change, source->slot, source->staple);
    }
    trusts_initial(sources, change);
}

// ---- looking again ----

static bool leads_through(const struct source *source, const struct way_folder *way)
{
    return way_leads_through(&source->files.way, way) || way_leads_through(&source->staple_file.way, way);
}

static void check_source(struct sources *sources, struct source *source)
{
    const struct way_folder *way = sources->way;
    bool is_touched = sources->is_look_over || source->is_new || (way != NULL && leads_through(source, way));

    if (source->folder != NULL && source->folder->piece.problem != NULL) {
        // All of it stays; only where it would come back is to be known.
        if (is_touched) {
            (void)piece_look(sources->ways, &source->files);
            (void)piece_look(sources->ways, &source->staple_file);
        }
        is_touched = false;
    }
    if (is_touched) {
        source->is_new = false;
        certificate_look(sources, source);
    }
    certificate_wait_no_longer(sources, source);
    staple_drop_ended(sources, source);
    if (is_touched || source->is_staple_doubtful)
        staple_look(sources, source);
    if (source->is_moved && source->certificate != NULL)
        certificate_move(sources, source);
}

void sources_check(struct sources *sources, const char *folder, bool force, struct change *change,
                   struct sources_result *ret)
{
    struct sources_result result = {0};
    struct way_folder *way = folder != NULL ? ways_find(sources->ways, folder) : NULL;

    sources->way = way;
    sources->is_look_over = folder == NULL;
    sources->is_forced = force;
    sources->change = change;
    sources->result = &result;
    for (size_t i = 0; i < sources->folder_count && (way != NULL || folder == NULL); i++)
        folder_look(sources, &sources->folders[i], way);
    source_each(sources, check_source);
    if (way != NULL || folder == NULL) {
        trusts_look(sources, way);
        servers_look(sources, way);
    }
    names_look(sources);
    ways_forget(sources->ways);
    ways_leave(sources->ways, way);
    sources->way = NULL;
    sources->change = NULL;
    sources->result = NULL;
    sources->is_forced = sources->is_look_over = false;
    *ret = result;
}

void sources_folders(struct sources *sources, void (*each)(void *owner, const char *folder), void *owner)
{
    ways_each(sources->ways, each, owner);
}

uint64_t sources_due_ns(const struct sources *sources)
{
    uint64_t due_ns = UINT64_MAX;

    for (size_t i = 0; i < sources->slot_count; i++) {
        const struct source *source = sources->slots[i];

        if (source != NULL && source->pending != NULL && source->pending_until_ns < due_ns)
            due_ns = source->pending_until_ns;
    }
    return due_ns;
}

// ---- what others ask ----

static const char *staple_problem_of(const struct sources *sources, const struct source *source)
{
    if (source->staple != NULL)
        return NULL;
    if (source->staple_file.problem != NULL)
        return source->staple_file.problem;
    if (source->fetch_problem != NULL)
        return source->fetch_problem;
    if (source->certificate->must_staple && !staple_is_wanted(sources, source))
        return "the certificate must be stapled, and neither `ocsp` nor `ocsp.fetch` is configured";
    return NULL;
}

void sources_each(struct sources *sources, void (*each)(void *owner, const struct source_state *state),
                  void *owner)
{
    for (uint32_t i = 0; i < sources->slot_count; i++) {
        const struct source *source = sources->slots[i];
        struct source_state state;
        char *listeners;

        if (source == NULL)
            continue;
        listeners = source_listeners(sources, source);
        state = (struct source_state){
            .slot = i,
            .listeners = listeners,
            .file = source_file(source),
            .key_file = source_key_file(source),
            .certificate = source->certificate,
            .pending = source->pending,
            .loaded_s = source->loaded_s,
            .problem = source->files.problem,
            .staple_problem = staple_problem_of(sources, source),
            .staple_next_update_s = source->staple != NULL ? source->staple->next_update_s : 0,
            .is_default = source->is_default,
            .staple_inherited = source->is_staple_inherited && source->pending == NULL ? source->staple : NULL,
            .fetch = source_fetch(sources, source),
        };
        each(owner, &state);
        free(listeners);
    }
}

struct problems {
    void (*each)(void *owner, const char *problem);
    void *owner;
};

static void tell_problem(const struct problems *problems, const struct piece *piece)
{
    if (piece->problem != NULL)
        problems->each(problems->owner, piece->problem);
}

void sources_problems(struct sources *sources, void (*each)(void *owner, const char *problem), void *owner)
{
    const struct problems problems = {.each = each, .owner = owner};

    for (size_t i = 0; i < sources->configured_count; i++) {
        tell_problem(&problems, &sources->configured[i]->files);
        tell_problem(&problems, &sources->configured[i]->staple_file);
    }
    for (size_t i = 0; i < sources->folder_count; i++) {
        const struct source_folder *folder = &sources->folders[i];

        tell_problem(&problems, &folder->piece);
        for (size_t j = 0; j < folder->below_count; j++)
            tell_problem(&problems, &folder->below[j]->piece);
        for (size_t j = 0; j < folder->source_count; j++) {
            tell_problem(&problems, &folder->sources[j]->files);
            tell_problem(&problems, &folder->sources[j]->staple_file);
        }
    }
    for (size_t i = 0; i < sources->trust_count; i++)
        tell_problem(&problems, &sources->trusts[i].files);
    tell_problem(&problems, &sources->tickets.files);
    for (size_t i = 0; i < sources->servers_count; i++)
        tell_problem(&problems, &sources->servers[i].files);
}

static bool is_served(void *owner, uint64_t id)
{
    const struct sources *sources = owner;

    for (size_t i = 0; i < sources->slot_count; i++) {
        if (sources->slots[i] != NULL && sources->slots[i]->certificate->id == id)
            return true;
    }
    return false;
}

size_t sources_replaced(const struct sources *sources, const char *name, uint64_t *ids, size_t max)
{
    return history_find(sources->history, name, is_served, (void *)sources, ids, max);
}
