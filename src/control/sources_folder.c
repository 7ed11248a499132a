// SPDX-License-Identifier: Apache-2.0
// Certificate folders: pairs that appear are loaded, pairs that vanish go out of service. A folder that can't be read, or that has
// lost everything a listener serves, changes nothing: it is more likely a file system that isn't mounted than somebody's wish.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ringbolt/log.h"
#include "sources_inside.h"
#include "src/config/memory.h"

// Orders are numbers with room between them, so that a new pair moves no other.
#define ORDER_NONE  UINT32_MAX
#define ORDER_FIRST (UINT32_C(1) << 24)
#define ORDER_STEP  1024
#define ORDER_END   (UINT32_C(1) << 31)

// ---- what the configuration names ----

static struct source_folder *folder_of(struct sources *sources, const struct config_tls *tls)
{
    struct source_folder *folder;

    for (size_t i = 0; i < sources->folder_count; i++) {
        if (strcmp(sources->folders[i].path, tls->certificate_dir) == 0)
            return &sources->folders[i];
    }
    sources->folders = memory_grow(sources->folders, sources->folder_count, sizeof(*sources->folders));
    folder = &sources->folders[sources->folder_count++];
    *folder = (struct source_folder){.path = tls->certificate_dir, .where = tls->certificate_dir_where};
    return folder;
}

void folders_find(struct sources *sources)
{
    for (uint32_t i = 0; i < sources->config->listener_count; i++) {
        const struct config_tls *tls = &sources->config->listeners[i].tls;
        struct source_folder *folder;

        if (tls->certificate_dir == NULL)
            continue;
        folder = folder_of(sources, tls);
        folder->listeners = memory_grow(folder->listeners, folder->listener_count, sizeof(uint32_t));
        folder->listeners[folder->listener_count++] = i;
        folder->is_only = folder->is_only || tls->certificate_count == 0;
    }
    // From now on they stay where they are in memory, so their sources can point at them.
    for (size_t i = 0; i < sources->folder_count; i++) {
        struct source_folder *folder = &sources->folders[i];

        folder->places = memory_allocate(folder->listener_count * sizeof(*folder->places));
        piece_init(&folder->piece, &folder->path, 1);
        folder_look(sources, folder, NULL);
    }
}

// ---- finding by name ----

// Where the name is in an array of `count` items, or where it would be inserted.
static size_t position_of(const void *items, size_t count, const char *name,
                          const char *(*name_of)(const void *items, size_t index), bool *ret_is_there)
{
    size_t low = 0;
    size_t high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(name_of(items, middle), name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_is_there = low < count && strcmp(name_of(items, low), name) == 0;
    return low;
}

static const char *source_name(const void *items, size_t index)
{
    return ((struct source *const *)items)[index]->name;
}

static const char *below_name(const void *items, size_t index)
{
    return ((struct source_below *const *)items)[index]->name;
}

// ---- pairs ----

static void paths_set(struct source *source, const struct folder_pair *pair)
{
    source->own.chain = memory_copy(pair->chain);
    source->own.key = memory_copy(pair->key);
    source->own.ocsp = pair->ocsp != NULL ? memory_copy(pair->ocsp) : NULL;
    certificate_init(source);
}

static bool is_same_path(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static void source_update(struct source *source, const struct folder_pair *pair)
{
    struct config_certificate old = source->own;

    source->is_listed = true;
    if (is_same_path(old.key, pair->key) && is_same_path(old.ocsp, pair->ocsp))
        return;
    paths_set(source, pair);
    source->is_staple_doubtful = true;
    source->is_new = true;
    free(old.chain);
    free(old.key);
    free(old.ocsp);
}

static struct source *source_create(struct source_folder *folder, const struct folder_pair *pair)
{
    struct source *source = memory_allocate(sizeof(*source));

    *source = (struct source){
        .slot = SLOT_NONE,
        .folder = folder,
        .name = memory_copy(pair->name),
        .order = ORDER_NONE,
        .own = {.chain_where = folder->where, .key_where = folder->where, .ocsp_where = folder->where},
        .is_new = true,
        .is_listed = true,
    };
    source->config = &source->own;
    paths_set(source, pair);
    return source;
}

static void pair_found(struct source_folder *folder, const struct folder_pair *pair)
{
    bool is_there;
    size_t at = position_of(folder->sources, folder->source_count, pair->name, source_name, &is_there);

    if (is_there) {
        source_update(folder->sources[at], pair);
        return;
    }
    folder->sources = memory_grow(folder->sources, folder->source_count, sizeof(struct source *));
    memmove(folder->sources + at + 1, folder->sources + at,
            (folder->source_count - at) * sizeof(struct source *));
    folder->sources[at] = source_create(folder, pair);
    folder->source_count++;
}

// A pair whose certificate is gone and whose key still lies there is half replaced, unless the key is another pair's by now.
static bool is_half_there(const struct source *source, const struct folder_list *list)
{
    struct stat stat;

    if (strcmp(source->own.key, source->own.chain) == 0 || lstat(source->own.key, &stat) < 0)
        return false;
    for (size_t i = 0; i < list->pair_count; i++) {
        if (strcmp(list->pairs[i].key, source->own.key) == 0)
            return false;
    }
    return true;
}

// Whether the source lies in that folder below, or with NULL in the certificate folder itself.
static bool is_in(const struct source *source, const char *below)
{
    size_t length;

    if (below == NULL)
        return strchr(source->name, '/') == NULL;
    length = strlen(below);
    return strncmp(source->name, below, length) == 0 && source->name[length] == '/';
}

// Walks over the sources in one folder: the first at or behind `from`, or the count. Those of a folder below stand together.
static size_t next_in(const struct source_folder *folder, const char *below, size_t from)
{
    if (below != NULL)
        return from < folder->source_count && is_in(folder->sources[from], below) ? from
                                                                                  : folder->source_count;
    while (from < folder->source_count && !is_in(folder->sources[from], NULL))
        from++;
    return from;
}

static size_t first_in(const struct source_folder *folder, const char *below)
{
    char *prefix;
    size_t at;
    bool is_there;

    if (below == NULL)
        return next_in(folder, NULL, 0);
    prefix = memory_print("%s/", below);
    at = position_of(folder->sources, folder->source_count, prefix, source_name, &is_there);
    free(prefix);
    return next_in(folder, below, at);
}

static void reconcile(struct source_folder *folder, const char *below, const struct folder_list *list)
{
    for (size_t i = first_in(folder, below); i < folder->source_count; i = next_in(folder, below, i + 1))
        folder->sources[i]->is_listed = false;
    for (size_t i = 0; i < list->pair_count; i++)
        pair_found(folder, &list->pairs[i]);
    for (size_t i = first_in(folder, below); i < folder->source_count; i = next_in(folder, below, i + 1)) {
        struct source *source = folder->sources[i];

        source->is_listed = source->is_listed || is_half_there(source, list);
    }
}

// ---- complaints ----

static void wrong(struct sources *sources, struct piece *piece, const struct source_folder *folder,
                  const char *path, const char *reason)
{
    const struct saying saying = {.wrong = "certificate folder is wrong, what it gave stays in service",
                                  .file = path,
                                  .is_own = piece == &folder->piece};
    struct report found;

    report_init(&found, NULL);
    report_add(&found, folder->where, "%s", reason);
    say_wrong(sources, piece, &found, &saying);
    report_finish(&found);
    if (sources->result != NULL)
        sources->result->failed++;
}

static void wrong_listing(struct sources *sources, struct piece *piece, const struct source_folder *folder,
                          const char *below, int error)
{
    char *path = memory_print("%s%s%s", folder->path, below != NULL ? "/" : "", below != NULL ? below : "");
    char *reason = memory_print("cannot list the certificate folder %s: %s; %s", path, log_error_text(error),
                                error == -EACCES ? "let the user that ringbolt starts as read it"
                                                 : "give a folder with pairs of certificate and key");

    wrong(sources, piece, folder, path, reason);
    free(path);
    free(reason);
}

static void healed(struct sources *sources, struct source_folder *folder)
{
    // What happened there meanwhile nobody has looked at.
    if (folder->piece.problem != NULL) {
        for (size_t i = 0; i < folder->source_count; i++)
            folder->sources[i]->is_new = true;
    }
    say_healed(sources, &folder->piece,
               &(struct saying){.healed = "certificate folder healed", .file = folder->path});
}

// ---- folders below ----

static void below_destroy(struct sources *sources, struct source_below *below)
{
    piece_finish(sources->ways, &below->piece);
    free((char *)below->path);
    free(below->name);
    free(below);
}

static void below_look(struct sources *sources, struct source_folder *folder, struct source_below *below)
{
    struct folder_list list;
    int error;

    (void)piece_look(sources->ways, &below->piece);
    error = folder_list(folder->path, below->name, &list);
    if (error < 0) {
        wrong_listing(sources, &below->piece, folder, below->name, error);
        return;
    }
    say_healed(sources, &below->piece,
               &(struct saying){.healed = "certificate folder healed", .file = below->path});
    reconcile(folder, below->name, &list);
    folder_list_finish(&list);
}

static struct source_below *below_create(const struct source_folder *folder, const char *name)
{
    struct source_below *below = memory_allocate(sizeof(*below));
    char *path = memory_print("%s/%s", folder->path, name);

    *below = (struct source_below){.name = memory_copy(name), .path = path, .is_new = true};
    piece_init(&below->piece, &below->path, 1);
    return below;
}

static void below_found(struct source_folder *folder, const char *name)
{
    bool is_there;
    size_t at = position_of(folder->below, folder->below_count, name, below_name, &is_there);

    if (!is_there) {
        folder->below = memory_grow(folder->below, folder->below_count, sizeof(struct source_below *));
        memmove(folder->below + at + 1, folder->below + at,
                (folder->below_count - at) * sizeof(struct source_below *));
        folder->below[at] = below_create(folder, name);
        folder->below_count++;
    }
    folder->below[at]->is_listed = true;
}

// Those that were not listed are gone, with everything in them.
static void below_sweep(struct sources *sources, struct source_folder *folder)
{
    const struct folder_list nothing = {0};
    size_t kept = 0;

    for (size_t i = 0; i < folder->below_count; i++) {
        struct source_below *below = folder->below[i];

        if (below->is_listed) {
            folder->below[kept++] = below;
            continue;
        }
        reconcile(folder, below->name, &nothing);
        below_destroy(sources, below);
    }
    folder->below_count = kept;
}

// ---- the whole ----

// What is no more listed goes out of service, unless a listener would be left with nothing.
static void sweep(struct sources *sources, struct source_folder *folder)
{
    size_t served = 0;
    size_t served_before = 0;
    size_t kept = 0;

    for (size_t i = 0; i < folder->source_count; i++) {
        const struct source *source = folder->sources[i];

        served_before += source->certificate != NULL;
        served += source->certificate != NULL && source->is_listed;
    }
    for (size_t i = 0; i < folder->source_count && folder->is_only && served_before > 0 && served == 0; i++) {
        // A new pair may do, if it is good.
        if (folder->sources[i]->is_new && folder->sources[i]->is_listed)
            certificate_look(sources, folder->sources[i]);
        served += folder->sources[i]->certificate != NULL && folder->sources[i]->is_listed;
    }
    if (folder->is_only && served_before > 0 && served == 0) {
        wrong(sources, &folder->piece, folder, folder->path,
              "every certificate of the folder is gone, and a listener would have none; put one there, or "
              "give the "
              "listener another folder");
        return;
    }
    healed(sources, folder);
    for (size_t i = 0; i < folder->source_count; i++) {
        struct source *source = folder->sources[i];

        if (source->is_listed) {
            folder->sources[kept++] = source;
            continue;
        }
        if (source->certificate != NULL)
            certificate_remove(sources, source);
        source_destroy(sources, source);
    }
    folder->source_count = kept;
}

static void order_all(struct source_folder *folder)
{
    uint32_t order = ORDER_FIRST;

    for (size_t i = 0; i < folder->source_count; i++) {
        struct source *source = folder->sources[i];

        source->is_moved = source->is_moved || (source->order != ORDER_NONE && source->order != order);
        source->order = order;
        order += ORDER_STEP;
    }
}

// New pairs get an order between their neighbours'; if there is no room, all get new ones.
static void order_new(struct source_folder *folder)
{
    uint32_t before = 0;
    size_t end;

    for (size_t i = 0; i < folder->source_count; i = end) {
        uint32_t after;
        uint32_t step;

        end = i + 1;
        if (folder->sources[i]->order != ORDER_NONE) {
            before = folder->sources[i]->order;
            continue;
        }
        while (end < folder->source_count && folder->sources[end]->order == ORDER_NONE)
            end++;
        if (i == 0 && end == folder->source_count) {
            order_all(folder);
            return;
        }
        after = end < folder->source_count ? folder->sources[end]->order : ORDER_END;
        step = (after - before) / (uint32_t)(end - i + 1);
        if (step == 0) {
            order_all(folder);
            return;
        }
        for (; i < end; i++) {
            before += end < folder->source_count || step < ORDER_STEP ? step : ORDER_STEP;
            folder->sources[i]->order = before;
        }
    }
}

static int list_top(struct sources *sources, struct source_folder *folder)
{
    struct folder_list list;
    int error;

    (void)piece_look(sources->ways, &folder->piece);
    error = folder_list(folder->path, NULL, &list);
    if (error < 0) {
        wrong_listing(sources, &folder->piece, folder, NULL, error);
        return error;
    }
    for (size_t i = 0; i < folder->below_count; i++)
        folder->below[i]->is_listed = false;
    for (size_t i = 0; i < list.folder_count; i++)
        below_found(folder, list.folders[i]);
    reconcile(folder, NULL, &list);
    below_sweep(sources, folder);
    folder_list_finish(&list);
    return 0;
}

void folder_look(struct sources *sources, struct source_folder *folder, const struct way_folder *way)
{
    bool is_all = way == NULL || folder->piece.problem != NULL;
    bool is_touched = is_all;

    if (is_all || way_leads_through(&folder->piece.way, way)) {
        if (list_top(sources, folder) < 0)
            return;
        is_touched = true;
    }
    for (size_t i = 0; i < folder->below_count; i++) {
        struct source_below *below = folder->below[i];

        if (!is_all && !below->is_new && !way_leads_through(&below->piece.way, way))
            continue;
        below->is_new = false;
        below_look(sources, folder, below);
        is_touched = true;
    }
    if (!is_touched)
        return;
    order_new(folder);
    sweep(sources, folder);
}

void folders_finish(struct sources *sources)
{
    for (size_t i = 0; i < sources->folder_count; i++) {
        struct source_folder *folder = &sources->folders[i];

        for (size_t j = 0; j < folder->source_count; j++)
            source_destroy(sources, folder->sources[j]);
        for (size_t j = 0; j < folder->below_count; j++)
            below_destroy(sources, folder->below[j]);
        piece_finish(sources->ways, &folder->piece);
        free(folder->sources);
        free(folder->below);
        free(folder->listeners);
        free(folder->places);
    }
    free(sources->folders);
}
