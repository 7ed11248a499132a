// SPDX-License-Identifier: Apache-2.0
// Material: applies changes to what is served. Each element of a change costs what it names and nothing else, however many
// certificates there are.
#include "src/tls/material.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "ringbolt/secret.h"
#include "src/tls/change.h"
#include "src/tls/hot.h"
#include "src/tls/server_files.h"
#include "src/tls/verify.h"

// ---- intermediates ----

static struct intermediate *intermediate_find(const struct material *material, const uint8_t *digest,
                                              uint32_t hash)
{
    for (struct table_node *node = table_chain(&material->intermediates, hash); node != NULL;
         node = node->next) {
        struct intermediate *found = list_entry(node, struct intermediate, node);

        if (memcmp(found->digest, digest, sizeof(found->digest)) == 0)
            return found;
    }
    return NULL;
}

// The one with these bytes, with a use more. NULL when there is no memory.
static struct intermediate *intermediate_take(struct material *material, struct change_bytes der)
{
    struct intermediate *intermediate;
    uint8_t digest[32];
    uint32_t hash;

    if (EVP_Digest(der.data, der.size, digest, NULL, EVP_sha256(), NULL) != 1)
        return NULL;
    memcpy(&hash, digest, sizeof(hash));
    intermediate = intermediate_find(material, digest, hash);
    if (intermediate == NULL) {
        intermediate = calloc(1, sizeof(*intermediate) + der.size);
        if (intermediate == NULL)
            return NULL;
        memcpy(intermediate->digest, digest, sizeof(digest));
        memcpy(intermediate->der, der.data, der.size);
        intermediate->size = der.size;
        intermediate->node.hash = hash;
        table_insert(&material->intermediates, &intermediate->node);
    }
    intermediate->uses++;
    return intermediate;
}

static void intermediate_give(struct material *material, struct intermediate *intermediate)
{
    if (--intermediate->uses > 0)
        return;
    assert(intermediate->parsed == NULL);
    table_remove(&material->intermediates, &intermediate->node);
    free(intermediate);
}

// ---- a slot ----

// It is not under its names any more.
static void slot_destroy(struct material *material, struct slot *slot)
{
    if (slot == NULL)
        return;
    hot_forget(material, slot);
    for (size_t i = 0; i < slot->intermediate_count; i++)
        intermediate_give(material, slot->intermediates[i]);
    secret_give(slot->key);
    free(slot->staple);
    free(slot);
}

// How a slot's allocation is divided: what needs alignment comes first.
struct slot_layout {
    size_t bindings, places, intermediates, leaf, names, size;
};

static struct slot_layout slot_layout(const struct change_element *element)
{
    struct change_list names = element->certificate.names;
    size_t place_count = element->certificate.places.count;
    size_t names_size = 0;
    struct slot_layout layout;

    while (names.count > 0)
        names_size += change_list_bytes(&names).size + 1;
    layout.bindings = sizeof(struct slot);
    layout.intermediates =
        layout.bindings + element->certificate.names.count * place_count * sizeof(struct binding);
    layout.places =
        layout.intermediates + element->certificate.intermediates.count * sizeof(struct intermediate *);
    layout.leaf = layout.places + place_count * sizeof(struct place);
    layout.names = layout.leaf + element->certificate.leaf.size;
    layout.size = layout.names + names_size;
    return layout;
}

static void slot_bind(struct slot *slot, const char *name, size_t length, uint32_t number)
{
    uint32_t hash = table_hash(name, length);

    for (size_t i = 0; i < slot->place_count; i++)
        slot->bindings[slot->binding_count++] = (struct binding){
            .node.hash = hash,
            .name = name,
            .listener = slot->places[i].listener,
            .rank = slot->places[i].rank,
            .slot = number,
        };
}

static void slot_fill(struct slot *slot, const struct change_element *element,
                      const struct slot_layout *layout)
{
    uint8_t *base = (uint8_t *)slot;
    struct change_list names = element->certificate.names;
    struct change_list places = element->certificate.places;
    char *name = (char *)base + layout->names;

    slot->id = element->certificate.id;
    slot->kind = element->certificate.kind;
    slot->bindings = (struct binding *)(base + layout->bindings);
    slot->places = (struct place *)(base + layout->places);
    slot->intermediates = (struct intermediate **)(base + layout->intermediates);
    slot->leaf = base + layout->leaf;
    slot->leaf_size = element->certificate.leaf.size;
    memcpy(base + layout->leaf, element->certificate.leaf.data, slot->leaf_size);
    while (places.count > 0) {
        struct material_place place = change_list_place(&places);

        slot->places[slot->place_count++] = (struct place){
            .listener = place.listener,
            .rank = place.rank,
            .slot = element->certificate.slot,
        };
    }
    while (names.count > 0) {
        struct change_bytes text = change_list_bytes(&names);

        memcpy(name, text.data, text.size); // the allocation was zeroed
        slot_bind(slot, name, text.size, element->certificate.slot);
        name += text.size + 1;
    }
}

// NULL when there is no memory.
static struct slot *slot_create(struct material *material, const struct change_element *element)
{
    struct slot_layout layout = slot_layout(element);
    struct change_list intermediates = element->certificate.intermediates;
    struct slot *slot = calloc(1, layout.size);

    if (slot == NULL)
        return NULL;
    slot_fill(slot, element, &layout);
    slot->key_size = element->certificate.key.size;
    slot->key = secret_take(slot->key_size);
    if (slot->key == NULL) {
        slot_destroy(material, slot);
        return NULL;
    }
    memcpy(slot->key, element->certificate.key.data, slot->key_size);
    while (intermediates.count > 0) {
        struct intermediate *taken = intermediate_take(material, change_list_bytes(&intermediates));

        if (taken == NULL) {
            slot_destroy(material, slot);
            return NULL;
        }
        slot->intermediates[slot->intermediate_count++] = taken;
    }
    return slot;
}

// What a new version has of the old one. The same certificate again, as when it is served elsewhere now, keeps its staple.
static void slot_succeed(struct slot *slot, struct slot *old)
{
    if (slot->id == old->id) {
        memcpy(slot->former, old->former, sizeof(slot->former));
        slot->staple = old->staple;
        slot->staple_size = old->staple_size;
        slot->staple_until_s = old->staple_until_s;
        old->staple = NULL;
        return;
    }
    slot->former[0] = old->id;
    memcpy(slot->former + 1, old->former, sizeof(slot->former) - sizeof(slot->former[0]));
}

static int slots_reserve(struct material *material, uint32_t number)
{
    size_t count = material->slot_count > 0 ? material->slot_count : 16;
    struct slot **slots;

    if (number < material->slot_count)
        return 0;
    while (count <= number)
        count *= 2;
    slots = reallocarray(material->slots, count, sizeof(struct slot *));
    if (slots == NULL)
        return -ENOMEM;
    memset(slots + material->slot_count, 0, (count - material->slot_count) * sizeof(struct slot *));
    material->slots = slots;
    material->slot_count = count;
    return 0;
}

// ---- retired certificates ----

// Where it is, or would have to be.
static size_t retired_index(const struct material *material, uint64_t id)
{
    size_t low = 0;
    size_t high = material->retired_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (material->retired[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool material_is_retired(const struct material *material, uint64_t id)
{
    size_t index = retired_index(material, id);

    return index < material->retired_count && material->retired[index] == id;
}

const uint64_t *material_retired(const struct material *material, size_t *ret_count)
{
    *ret_count = material->retired_count;
    return material->retired;
}

static void retired_remove(struct material *material, uint64_t id)
{
    size_t index = retired_index(material, id);

    if (index == material->retired_count || material->retired[index] != id)
        return;
    material->retired_count--;
    memmove(material->retired + index, material->retired + index + 1,
            (material->retired_count - index) * sizeof(uint64_t));
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;

    return left < right ? -1 : left > right;
}

static int apply_retire(struct material *material, struct change_list ids)
{
    size_t count = 0;
    uint64_t *retired =
        reallocarray(material->retired, material->retired_count + ids.count + 1, sizeof(uint64_t));

    if (retired == NULL)
        return -ENOMEM;
    material->retired = retired;
    while (ids.count > 0)
        retired[material->retired_count++] = change_list_id(&ids);
    qsort(retired, material->retired_count, sizeof(uint64_t), compare_ids);
    for (size_t i = 0; i < material->retired_count; i++) {
        if (count == 0 || retired[count - 1] != retired[i])
            retired[count++] = retired[i];
    }
    material->retired_count = count;
    return 0;
}

// ---- applying ----

static int apply_certificate(struct material *material, const struct change_element *element)
{
    uint32_t number = element->certificate.slot;
    struct slot *slot;
    struct slot *old;

    if (slots_reserve(material, number) < 0)
        return -ENOMEM;
    slot = slot_create(material, element);
    if (slot == NULL)
        return -ENOMEM;
    if (place_reserve(material, slot) < 0) {
        slot_destroy(material, slot);
        return -ENOMEM;
    }
    old = material->slots[number];
    if (old != NULL) {
        place_leave(material, old);
        slot_succeed(slot, old);
    }
    material->slots[number] = slot;
    place_enter(material, slot);
    slot_destroy(material, old);
    retired_remove(material, slot->id);
    return 0;
}

static void apply_gone(struct material *material, uint32_t number)
{
    struct slot *slot = number < material->slot_count ? material->slots[number] : NULL;

    if (slot == NULL)
        return;
    if (material->used != NULL)
        atomic_store(&material->used[number], 0); // the number may go to another certificate
    place_leave(material, slot);
    material->slots[number] = NULL;
    slot_destroy(material, slot);
}

static int apply_staple(struct material *material, const struct change_element *element)
{
    uint32_t number = element->staple.slot;
    struct slot *slot = number < material->slot_count ? material->slots[number] : NULL;
    size_t size = element->staple.response.size;
    uint8_t *staple = NULL;

    if (slot == NULL)
        return 0;
    if (size > 0) {
        staple = malloc(size);
        if (staple == NULL)
            return -ENOMEM;
        memcpy(staple, element->staple.response.data, size);
    }
    free(slot->staple);
    slot->staple = staple;
    slot->staple_size = size;
    slot->staple_until_s = element->staple.next_update_s;
    return 0;
}

// Listeners with the same authorities share them.
static int apply_trust(struct material *material, const struct change_element *element)
{
    struct material_listener *listener = &material->listeners[element->trust.listener];
    struct trust *trust = NULL;

    for (size_t i = 0; i < material->listener_count && trust == NULL; i++) {
        if (trust_is(material->listeners[i].trust, element->trust.digest))
            trust = trust_take(material->listeners[i].trust);
    }
    if (trust == NULL)
        trust = trust_create(element->trust.digest, element->trust.cas, element->trust.crls);
    if (trust == NULL)
        return -ENOMEM;
    trust_give(listener->trust);
    listener->trust = trust;
    return 0;
}

static int apply_ticket_keys(struct material *material, struct change_list list)
{
    struct ticket_keys *keys = secret_take(sizeof(*keys));

    if (keys == NULL)
        return -ENOMEM;
    while (list.count > 0)
        change_list_ticket_key(&list, &keys->keys[keys->count++]);
    secret_give(material->ticket_keys);
    material->ticket_keys = keys;
    return 0;
}

static int apply(struct material *material, const struct change_element *element)
{
    switch (element->kind) {
    case CHANGE_CERTIFICATE:
        return apply_certificate(material, element);
    case CHANGE_CERTIFICATE_GONE:
        apply_gone(material, element->gone.slot);
        return 0;
    case CHANGE_STAPLE:
        return apply_staple(material, element);
    case CHANGE_TRUST:
        return apply_trust(material, element);
    case CHANGE_SERVERS:
        return server_files_apply(material->upstreams, element);
    case CHANGE_TICKET_KEYS:
        return apply_ticket_keys(material, element->ticket_keys.keys);
    case CHANGE_RETIRE:
        return apply_retire(material, element->retire.ids);
    }
    return -EBADMSG; // change_next() yields no other
}

// What the reader can't know: how many listeners there are.
static bool is_applicable(const struct material *material, const struct change_element *element)
{
    if (element->kind == CHANGE_TRUST)
        return element->trust.listener < material->listener_count;
    if (element->kind == CHANGE_SERVERS)
        return material->upstreams != NULL && server_files_fits(material->upstreams, element);
    if (element->kind == CHANGE_CERTIFICATE) {
        struct change_list places = element->certificate.places;

        while (places.count > 0) {
            if (change_list_place(&places).listener >= material->listener_count)
                return false;
        }
    }
    return true;
}

void material_upstreams(struct material *material, struct tls_upstreams *upstreams)
{
    material->upstreams = upstreams;
}

int material_apply(struct material *material, const uint8_t *data, size_t size)
{
    struct change_reader reader;
    struct change_element element;
    int result;

    change_reader_init(&reader, data, size);
    while ((result = change_next(&reader, &element)) == 1) {
        if (!is_applicable(material, &element))
            return -EBADMSG;
    }
    if (result < 0)
        return result;
    change_reader_init(&reader, data, size);
    while (change_next(&reader, &element) == 1) {
        result = apply(material, &element);
        if (result < 0)
            return result;
    }
    return 0;
}

// ---- the object ----

struct material *material_create(size_t listener_count)
{
    struct material *material = calloc(1, sizeof(*material));

    if (material == NULL)
        return NULL;
    list_init(&material->hot);
    material->listeners = calloc(listener_count > 0 ? listener_count : 1, sizeof(*material->listeners));
    if (material->listeners == NULL || table_init(&material->intermediates) < 0) {
        material_destroy(material);
        return NULL;
    }
    for (; material->listener_count < listener_count; material->listener_count++) {
        if (table_init(&material->listeners[material->listener_count].names) < 0) {
            material_destroy(material);
            return NULL;
        }
    }
    return material;
}

void material_destroy(struct material *material)
{
    if (material == NULL)
        return;
    for (size_t i = 0; i < material->slot_count; i++)
        slot_destroy(material, material->slots[i]);
    for (size_t i = 0; i < material->listener_count; i++) {
        struct material_listener *listener = &material->listeners[i];

        table_finish(&listener->names);
        trust_give(listener->trust);
        for (int kind = 0; kind < CERTIFICATE_KINDS; kind++)
            free(listener->defaults[kind].places);
    }
    table_finish(&material->intermediates);
    secret_give(material->ticket_keys);
    free(material->retired);
    free(material->slots);
    free(material->listeners);
    free(material);
}

void material_forked(struct material *material)
{
    secret_relock();
}

void material_count(struct material *material, _Atomic uint64_t *used)
{
    material->used = used;
}

size_t material_certificate_count(const struct material *material, size_t listener)
{
    size_t count = 0;

    for (int kind = 0; kind < CERTIFICATE_KINDS; kind++)
        count += material->listeners[listener].defaults[kind].count;
    return count;
}
