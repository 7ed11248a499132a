// SPDX-License-Identifier: Apache-2.0
// Which certificates a listener has for a name: a hash table of names, and for clients that no name fits a heap of all its
// certificates for each kind, ordered by rank.
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/tls/material.h"

#define NAME_MAX_SIZE 256 // RFC 1035 §2.3.4 allows 253 characters

// ---- the heap ----

static bool is_before(const struct place *a, const struct place *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->slot < b->slot;
}

static void put(struct place_heap *heap, size_t index, struct place *place)
{
    heap->places[index] = place;
    place->index = (uint32_t)index;
}

static void sift_up(struct place_heap *heap, size_t index)
{
    struct place *place = heap->places[index];

    while (index > 0 && is_before(place, heap->places[(index - 1) / 2])) {
        put(heap, index, heap->places[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    put(heap, index, place);
}

static void sift_down(struct place_heap *heap, size_t index)
{
    struct place *place = heap->places[index];
    size_t child;

    while ((child = 2 * index + 1) < heap->count) {
        if (child + 1 < heap->count && is_before(heap->places[child + 1], heap->places[child]))
            child++;
        if (!is_before(heap->places[child], place))
            break;
        put(heap, index, heap->places[child]);
        index = child;
    }
    put(heap, index, place);
}

static void heap_insert(struct place_heap *heap, struct place *place)
{
    assert(heap->count < heap->capacity);
    put(heap, heap->count++, place);
    sift_up(heap, heap->count - 1);
}

static void heap_remove(struct place_heap *heap, struct place *place)
{
    size_t index = place->index;
    struct place *last = heap->places[--heap->count];

    assert(heap->places[index] == place);
    if (last == place)
        return;
    put(heap, index, last);
    sift_up(heap, index);
    sift_down(heap, last->index);
}

static int heap_reserve(struct place_heap *heap, size_t count)
{
    size_t capacity = heap->capacity > 0 ? 2 * heap->capacity : 4;
    struct place **places;

    if (count <= heap->capacity)
        return 0;
    if (capacity < count)
        capacity = count;
    places = reallocarray(heap->places, capacity, sizeof(struct place *));
    if (places == NULL)
        return -ENOMEM;
    heap->places = places;
    heap->capacity = capacity;
    return 0;
}

// ---- slots under their names ----

static struct place_heap *heap_of(struct material *material, const struct slot *slot,
                                  const struct place *place)
{
    return &material->listeners[place->listener].defaults[slot->kind];
}

int place_reserve(struct material *material, const struct slot *slot)
{
    for (size_t i = 0; i < slot->place_count; i++) {
        struct place_heap *heap = heap_of(material, slot, &slot->places[i]);

        // A listener may be named more than once.
        if (heap_reserve(heap, heap->count + slot->place_count) < 0)
            return -ENOMEM;
    }
    return 0;
}

// Before and after the heap's top may change.
static void count_default(struct material *material, const struct place_heap *heap, int by)
{
    struct slot *slot = heap->count > 0 ? material->slots[heap->places[0]->slot] : NULL;

    if (slot == NULL)
        return;
    if (slot->hot != NULL && slot->defaults > 0)
        material->hot_default_count--;
    slot->defaults = (unsigned)((int)slot->defaults + by);
    if (slot->hot != NULL && slot->defaults > 0)
        material->hot_default_count++;
}

void place_enter(struct material *material, struct slot *slot)
{
    for (size_t i = 0; i < slot->place_count; i++) {
        struct place_heap *heap = heap_of(material, slot, &slot->places[i]);

        count_default(material, heap, -1);
        heap_insert(heap, &slot->places[i]);
        count_default(material, heap, 1);
    }
    for (size_t i = 0; i < slot->binding_count; i++) {
        struct binding *binding = &slot->bindings[i];

        table_insert(&material->listeners[binding->listener].names, &binding->node);
    }
}

void place_leave(struct material *material, struct slot *slot)
{
    for (size_t i = 0; i < slot->place_count; i++) {
        struct place_heap *heap = heap_of(material, slot, &slot->places[i]);

        count_default(material, heap, -1);
        heap_remove(heap, &slot->places[i]);
        count_default(material, heap, 1);
    }
    for (size_t i = 0; i < slot->binding_count; i++) {
        struct binding *binding = &slot->bindings[i];

        table_remove(&material->listeners[binding->listener].names, &binding->node);
    }
}

// ---- lookup ----

// The best of each kind under exactly this name.
static bool find(const struct material *material, const struct table *names, const char *name, size_t length,
                 struct material_choice *ret)
{
    const struct binding *best[CERTIFICATE_KINDS] = {NULL};
    uint32_t hash = table_hash(name, length);
    bool is_found = false;

    for (struct table_node *node = table_chain(names, hash); node != NULL; node = node->next) {
        const struct binding *binding = list_entry(node, struct binding, node);
        enum certificate_kind kind;

        if (node->hash != hash || strcmp(binding->name, name) != 0)
            continue;
        kind = material->slots[binding->slot]->kind;
        if (best[kind] == NULL || binding->rank < best[kind]->rank ||
            (binding->rank == best[kind]->rank && binding->slot < best[kind]->slot))
            best[kind] = binding;
        is_found = true;
    }
    for (int kind = 0; is_found && kind < CERTIFICATE_KINDS; kind++) {
        ret->slots[kind] = best[kind] != NULL ? material->slots[best[kind]->slot] : NULL;
        ret->numbers[kind] = best[kind] != NULL ? best[kind]->slot : 0;
    }
    return is_found;
}

static bool find_wildcard(const struct material *material, const struct table *names, char *name,
                          size_t length, struct material_choice *ret)
{
    char *dot = strchr(name, '.');

    // "*" needs a label to stand for, and something behind it.
    if (dot == NULL || dot == name || dot[1] == '\0')
        return false;
    dot[-1] = '*';
    return find(material, names, dot - 1, length - (size_t)(dot - 1 - name), ret);
}

enum material_match material_choose(const struct material *material, size_t listener, const char *name,
                                    struct material_choice *ret)
{
    const struct material_listener *listening = &material->listeners[listener];
    char lower[NAME_MAX_SIZE];
    size_t length = strlen(name);
    bool is_any = false;

    if (length > 0 && length < sizeof(lower)) {
        for (size_t i = 0; i <= length; i++)
            lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] - 'A' + 'a' : name[i]);
        if (lower[length - 1] == '.') // some clients leave the root's dot
            lower[--length] = '\0';
        if (find(material, &listening->names, lower, length, ret) ||
            find_wildcard(material, &listening->names, lower, length, ret))
            return MATERIAL_BY_NAME;
    }
    for (int kind = 0; kind < CERTIFICATE_KINDS; kind++) {
        const struct place_heap *heap = &listening->defaults[kind];

        ret->slots[kind] = heap->count > 0 ? material->slots[heap->places[0]->slot] : NULL;
        ret->numbers[kind] = heap->count > 0 ? heap->places[0]->slot : 0;
        is_any = is_any || heap->count > 0;
    }
    return is_any ? MATERIAL_BY_DEFAULT : MATERIAL_NONE;
}
