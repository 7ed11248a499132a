// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin_socket.h"
#include "master.h"
#include "status.h"

#define SHOWN_MAX 1000 // those that end first: who has more, watches the first ones and counts the rest

struct entry {
    const struct certificate *certificate; // lives as long as the sources do
    uint32_t slot;
    bool has_problem;
};

struct collection {
    struct entry *entries;
    size_t count;
    size_t capacity;
    size_t problems;
    bool is_short; // of memory
};

static void collect(void *owner, const struct source_state *state)
{
    struct collection *collection = owner;

    if (collection->count == collection->capacity) {
        size_t capacity = collection->capacity > 0 ? 2 * collection->capacity : 64;
        struct entry *entries = realloc(collection->entries, capacity * sizeof(*entries));

        if (!entries) {
            collection->is_short = true;
            return;
        }
        collection->entries = entries;
        collection->capacity = capacity;
    }
    collection->problems += state->problem != NULL;
    collection->entries[collection->count++] = (struct entry){
        .certificate = state->certificate, .slot = state->slot, .has_problem = state->problem != NULL};
}

static int compare(const void *left, const void *right)
{
    const struct entry *a = left;
    const struct entry *b = right;
    int64_t a_s = a->certificate->not_after_s;
    int64_t b_s = b->certificate->not_after_s;

    if (a_s != b_s)
        return a_s < b_s ? -1 : 1;
    return (a->slot > b->slot) - (a->slot < b->slot);
}

static json_t *entry_json(const struct master *master, const struct entry *entry)
{
    const struct certificate *certificate = entry->certificate;
    uint64_t used = atomic_load_explicit(&master->used[entry->slot], memory_order_relaxed);
    char fingerprint[17];

    for (size_t i = 0; i < 8; i++)
        snprintf(fingerprint + 2 * i, 3, "%02x", certificate->fingerprint[i]);
    return json_pack("{s:I, s:o, s:s, s:o, s:I, s:I, s:b}", "slot", (json_int_t)entry->slot, "name",
                     admin_text(certificate->name_count > 0 ? certificate->names[0] : ""), "certificate",
                     fingerprint, "not_after", status_time((double)certificate->not_after_s), "not_after_s",
                     (json_int_t)certificate->not_after_s, "handshakes", (json_int_t)used, "problem",
                     (int)entry->has_problem);
}

json_t *status_certificates(const struct master *master)
{
    struct collection collection = {0};
    json_t *array = json_array();

    sources_each(master->control->sources, collect, &collection);
    if (collection.count > 0)
        qsort(collection.entries, collection.count, sizeof(*collection.entries), compare);
    for (size_t i = 0; i < collection.count && i < SHOWN_MAX && !collection.is_short; i++) {
        if (json_array_append_new(array, entry_json(master, &collection.entries[i])) < 0)
            collection.is_short = true;
    }
    free(collection.entries);
    if (collection.is_short) {
        json_decref(array);
        return NULL;
    }
    return json_pack("{s:I, s:I, s:o}", "count", (json_int_t)collection.count, "problems",
                     (json_int_t)collection.problems, "first_to_end", array);
}
