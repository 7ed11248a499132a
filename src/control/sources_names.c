// SPDX-License-Identifier: Apache-2.0
// Names that two certificates of the same kind are for, in one listener: the lower rank is served, and the other one is most likely
// a mistake. And which certificates are a listener's defaults.
#include <stdlib.h>
#include <string.h>

#include "ringbolt/log.h"
#include "sources_inside.h"
#include "src/config/memory.h"

#define SAID_MAX 10 // at once, in the log; then how many more

// One certificate in one listener under one name.
struct entry {
    const char *name;
    struct source *source;
    uint32_t rank;
};

// What was said: conflicts as texts, sorted.
struct conflicts {
    char **texts;
    size_t count;
};

void conflicts_destroy(struct conflicts *conflicts)
{
    for (size_t i = 0; conflicts != NULL && i < conflicts->count; i++)
        free(conflicts->texts[i]);
    if (conflicts != NULL)
        free(conflicts->texts);
    free(conflicts);
}

static int text_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// ---- who is where ----

struct table {
    struct sources *sources;
    struct entry *entries;
    size_t count;
};

static void add_entries(struct table *table, struct source *source, uint32_t rank)
{
    for (size_t i = 0; i < source->certificate->name_count; i++) {
        table->entries = memory_grow(table->entries, table->count, sizeof(*table->entries));
        table->entries[table->count++] =
            (struct entry){.name = source->certificate->names[i], .source = source, .rank = rank};
    }
}

// By name and kind, then by rank.
static int entry_compare(const void *a, const void *b)
{
    const struct entry *left = a;
    const struct entry *right = b;
    int order = strcmp(left->name, right->name);

    if (order == 0)
        order = (int)left->source->certificate->kind - (int)right->source->certificate->kind;
    if (order == 0)
        order = (left->rank > right->rank) - (left->rank < right->rank);
    return order;
}

static void mark_defaults(struct sources *sources, uint32_t listener)
{
    struct source *best[CERTIFICATE_KINDS] = {NULL};
    uint32_t ranks[CERTIFICATE_KINDS];

    for (size_t i = 0; i < sources->slot_count; i++) {
        struct source *source = sources->slots[i];
        const struct material_place *places;
        size_t count = 0;

        if (source == NULL)
            continue;
        places = source_places(source, &count);
        for (size_t j = 0; j < count; j++) {
            enum certificate_kind kind = source->certificate->kind;

            if (places[j].listener != listener || (best[kind] != NULL && ranks[kind] < places[j].rank))
                continue;
            best[kind] = source;
            ranks[kind] = places[j].rank;
        }
    }
    for (int kind = 0; kind < CERTIFICATE_KINDS; kind++) {
        if (best[kind] != NULL)
            best[kind]->is_default = true;
    }
}

static void collect(struct table *table, uint32_t listener)
{
    table->count = 0;
    for (size_t i = 0; i < table->sources->slot_count; i++) {
        struct source *source = table->sources->slots[i];
        const struct material_place *places;
        size_t count = 0;

        if (source == NULL)
            continue;
        places = source_places(source, &count);
        for (size_t j = 0; j < count; j++) {
            if (places[j].listener == listener)
                add_entries(table, source, places[j].rank);
        }
    }
    if (table->count > 0)
        qsort(table->entries, table->count, sizeof(*table->entries), entry_compare);
}

// ---- conflicts ----

static void conflict_add(struct table *table, struct conflicts *conflicts, uint32_t listener,
                         const struct entry *served, const struct entry *other)
{
    const struct config_listener *config = &table->sources->config->listeners[listener];
    char *text =
        memory_print("listener %s has two certificates of the same kind for %s: %s is served, %s is not; "
                     "remove one of them, or give one other `names`",
                     config->name, served->name, source_file(served->source), source_file(other->source));

    conflicts->texts = memory_grow(conflicts->texts, conflicts->count, sizeof(char *));
    conflicts->texts[conflicts->count++] = text;
}

static void conflicts_find(struct table *table, struct conflicts *conflicts, uint32_t listener)
{
    const struct entry *served = NULL;

    for (size_t i = 0; i < table->count; i++) {
        const struct entry *entry = &table->entries[i];

        if (served == NULL || strcmp(served->name, entry->name) != 0 ||
            served->source->certificate->kind != entry->source->certificate->kind) {
            served = entry;
            continue;
        }
        // The same certificate from two places is no conflict.
        if (served->source->certificate->id != entry->source->certificate->id)
            conflict_add(table, conflicts, listener, served, entry);
    }
}

static bool is_said(const struct conflicts *said, const char *text)
{
    return said != NULL && said->count > 0 &&
           bsearch(&text, said->texts, said->count, sizeof(char *), text_compare) != NULL;
}

static void conflicts_say(const struct sources *sources, const struct conflicts *conflicts)
{
    size_t more = 0;
    size_t said = 0;

    for (size_t i = 0; i < conflicts->count; i++) {
        if (is_said(sources->conflicts, conflicts->texts[i]))
            continue;
        if (sources->report != NULL)
            report_warn(sources->report, (struct config_where){0}, "%s", conflicts->texts[i]);
        else if (said++ < SAID_MAX)
            log_warning("two certificates for one name", log_text("reason", conflicts->texts[i]));
        else
            more++;
    }
    if (more > 0)
        log_warning("more certificates for the same names", log_integer("count", more));
}

void names_look(struct sources *sources)
{
    struct table table = {.sources = sources};
    struct conflicts *conflicts;

    if (!sources->is_changed)
        return;
    sources->is_changed = false;
    conflicts = memory_allocate(sizeof(*conflicts));
    for (size_t i = 0; i < sources->slot_count; i++) {
        if (sources->slots[i] != NULL)
            sources->slots[i]->is_default = false;
    }
    for (uint32_t i = 0; i < sources->config->listener_count; i++) {
        collect(&table, i);
        conflicts_find(&table, conflicts, i);
        mark_defaults(sources, i);
    }
    if (conflicts->count > 0)
        qsort(conflicts->texts, conflicts->count, sizeof(char *), text_compare);
    conflicts_say(sources, conflicts);
    conflicts_destroy(sources->conflicts);
    sources->conflicts = conflicts;
    free(table.entries);
}
