// SPDX-License-Identifier: Apache-2.0
// Changes as bytes: the encoders, and the reader that checks what it reads.
#include "src/tls/change.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ringbolt/secret.h"
#include "src/config/memory.h"

#define CAPACITY_MIN    ((size_t)64 * 1024)
#define ELEMENT_HEAD    5 // size and kind
#define LIST_HEAD       8 // count and size
#define FINGERPRINT     32
#define PLACE_SIZE      8
#define ID_SIZE         8
#define TICKET_KEY_SIZE (16 + 32 + 32 + 1)

// ---- numbers ----

static void store32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint32_t load32(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static uint64_t load64(const uint8_t *from)
{
    return (uint64_t)load32(from) << 32 | load32(from + 4);
}

// ---- to write ----

static uint8_t *grow(struct change *change, size_t size)
{
    size_t capacity = change->capacity > 0 ? change->capacity : CAPACITY_MIN;
    unsigned tries = 0;
    uint8_t *bigger;

    if (size > SIZE_MAX / 4 - change->size)
        abort();
    if (change->size + size > change->capacity) {
        while (capacity < change->size + size)
            capacity *= 2;
        while ((bigger = secret_alloc(capacity)) == NULL)
            memory_wait(&tries);
        if (change->size > 0)
            memcpy(bigger, change->data, change->size);
        secret_free(change->data, change->capacity);
        change->data = bigger;
        change->capacity = capacity;
    }
    change->size += size;
    return change->data + change->size - size;
}

static void put8(struct change *change, unsigned value)
{
    *grow(change, 1) = (uint8_t)value;
}

static void put32(struct change *change, size_t value)
{
    if (value > UINT32_MAX)
        abort(); // files are small: nothing comes near
    store32(grow(change, 4), (uint32_t)value);
}

static void put64(struct change *change, uint64_t value)
{
    put32(change, value >> 32);
    put32(change, value & UINT32_MAX);
}

static void put_raw(struct change *change, const void *data, size_t size)
{
    uint8_t *to = grow(change, size);

    if (size > 0)
        memcpy(to, data, size);
}

static void put_bytes(struct change *change, const void *data, size_t size)
{
    put32(change, size);
    put_raw(change, data, size);
    put8(change, 0);
}

// Elements and lists begin with a size that is known when they end: begin gives where they began.
static size_t element_begin(struct change *change, enum change_kind kind)
{
    size_t start = change->size;

    put32(change, 0);
    put8(change, kind);
    return start;
}

static void size_fill(struct change *change, size_t at, size_t start)
{
    if (change->size - start > UINT32_MAX)
        abort();
    store32(change->data + at, (uint32_t)(change->size - start));
}

static void element_end(struct change *change, size_t start)
{
    size_fill(change, start, start + ELEMENT_HEAD);
    change->count++;
}

static size_t list_begin(struct change *change, size_t count)
{
    size_t start = change->size;

    put32(change, count);
    put32(change, 0);
    return start;
}

static void list_end(struct change *change, size_t start)
{
    size_fill(change, start + 4, start + LIST_HEAD);
}

static void put_list_of_bytes(struct change *change, const struct material_bytes *list, size_t count)
{
    size_t start = list_begin(change, count);

    for (size_t i = 0; i < count; i++)
        put_bytes(change, list[i].data, list[i].size);
    list_end(change, start);
}

static void put_names(struct change *change, char *const *names, size_t count)
{
    size_t start = list_begin(change, count);

    for (size_t i = 0; i < count; i++) {
        put_bytes(change, names[i], strlen(names[i]));
    }
    list_end(change, start);
}

static void put_places(struct change *change, const struct material_place *places, size_t count)
{
    size_t start = list_begin(change, count);

    for (size_t i = 0; i < count; i++) {
        put32(change, places[i].listener);
        put32(change, places[i].rank);
    }
    list_end(change, start);
}

void change_certificate(struct change *change, uint32_t slot, const struct certificate *certificate,
                        const struct material_place *places, size_t place_count)
{
    size_t start = element_begin(change, CHANGE_CERTIFICATE);

    assert(slot < MATERIAL_SLOTS_MAX);
    put32(change, slot);
    put8(change, certificate->kind);
    put8(change, certificate->must_staple);
    put64(change, certificate->id);
    put_raw(change, certificate->fingerprint, sizeof(certificate->fingerprint));
    put64(change, (uint64_t)certificate->not_before_s);
    put64(change, (uint64_t)certificate->not_after_s);
    put_bytes(change, certificate->leaf.data, certificate->leaf.size);
    put_bytes(change, certificate->key.data, certificate->key.size);
    put_list_of_bytes(change, certificate->intermediates, certificate->intermediate_count);
    put_names(change, certificate->names, certificate->name_count);
    put_places(change, places, place_count);
    element_end(change, start);
}

void change_certificate_gone(struct change *change, uint32_t slot)
{
    size_t start = element_begin(change, CHANGE_CERTIFICATE_GONE);

    assert(slot < MATERIAL_SLOTS_MAX);
    put32(change, slot);
    element_end(change, start);
}

void change_staple(struct change *change, uint32_t slot, const struct staple *staple)
{
    size_t start = element_begin(change, CHANGE_STAPLE);

    assert(slot < MATERIAL_SLOTS_MAX);
    put32(change, slot);
    put64(change, staple != NULL ? (uint64_t)staple->this_update_s : 0);
    put64(change, staple != NULL ? (uint64_t)staple->next_update_s : 0);
    put_bytes(change, staple != NULL ? staple->response.data : NULL,
              staple != NULL ? staple->response.size : 0);
    element_end(change, start);
}

void change_trust(struct change *change, uint32_t listener, const struct client_trust *trust)
{
    size_t start = element_begin(change, CHANGE_TRUST);

    put32(change, listener);
    put_raw(change, trust->digest, sizeof(trust->digest));
    put64(change, (uint64_t)trust->next_update_s);
    put_list_of_bytes(change, trust->cas, trust->ca_count);
    put_list_of_bytes(change, trust->crls, trust->crl_count);
    element_end(change, start);
}

void change_servers(struct change *change, uint32_t upstream, const struct server_material *material)
{
    static const struct client_trust none = {.next_update_s = INT64_MAX};
    const struct client_trust *trust = material->trust != NULL ? material->trust : &none;
    size_t start = element_begin(change, CHANGE_SERVERS);

    put32(change, upstream);
    put_raw(change, material->digest, sizeof(material->digest));
    put64(change, (uint64_t)trust->next_update_s);
    put_list_of_bytes(change, trust->cas, trust->ca_count);
    put_list_of_bytes(change, trust->crls, trust->crl_count);
    put_list_of_bytes(change, material->certificates, material->certificate_count);
    put_bytes(change, material->key.data, material->key.size);
    element_end(change, start);
}

void change_ticket_keys(struct change *change, const struct ticket_keys *keys)
{
    size_t start = element_begin(change, CHANGE_TICKET_KEYS);
    size_t list = list_begin(change, keys->count);

    assert(keys->count >= 1 && keys->count <= TICKET_KEYS_MAX);
    for (size_t i = 0; i < keys->count; i++) {
        const struct ticket_key *key = &keys->keys[i];

        put_raw(change, key->name, sizeof(key->name));
        put_raw(change, key->hmac, sizeof(key->hmac));
        put_raw(change, key->aes, sizeof(key->aes));
        put8(change, key->size);
    }
    list_end(change, list);
    element_end(change, start);
}

void change_retire(struct change *change, const uint64_t *ids, size_t count)
{
    size_t start = element_begin(change, CHANGE_RETIRE);
    size_t list = list_begin(change, count);

    for (size_t i = 0; i < count; i++)
        put64(change, ids[i]);
    list_end(change, list);
    element_end(change, start);
}

void change_finish(struct change *change)
{
    secret_free(change->data, change->capacity);
    *change = (struct change){0};
}

// ---- to read ----

// A part of the bytes. Once something didn't fit, it stays bad and yields zeros, so that callers look once, at the end.
struct input {
    const uint8_t *next;
    size_t left;
    bool is_bad;
};

static const uint8_t *take(struct input *input, size_t size)
{
    static const uint8_t zeros[FINGERPRINT];
    const uint8_t *at = input->next;

    if (input->is_bad || size > input->left) {
        input->is_bad = true;
        return zeros;
    }
    input->next += size;
    input->left -= size;
    return at;
}

static unsigned take8(struct input *input)
{
    return *take(input, 1);
}

static uint32_t take32(struct input *input)
{
    return load32(take(input, 4));
}

static uint64_t take64(struct input *input)
{
    return load64(take(input, 8));
}

static struct change_bytes take_bytes(struct input *input, bool may_be_empty)
{
    size_t size = take32(input);
    struct change_bytes bytes = {.data = take(input, size), .size = size};

    if (take8(input) != 0 || (size == 0 && !may_be_empty))
        input->is_bad = true;
    return bytes;
}

static void take_text(struct input *input)
{
    struct change_bytes text = take_bytes(input, false);

    if (!input->is_bad && memchr(text.data, 0, text.size) != NULL)
        input->is_bad = true;
}

static void check_bytes(struct input *input)
{
    take_bytes(input, false);
}

static void check_place(struct input *input)
{
    take(input, PLACE_SIZE);
}

static void check_id(struct input *input)
{
    take(input, ID_SIZE);
}

static void check_ticket_key(struct input *input)
{
    const uint8_t *key;

    if (input->left < TICKET_KEY_SIZE) {
        input->is_bad = true;
        return;
    }
    key = take(input, TICKET_KEY_SIZE);
    if (key[TICKET_KEY_SIZE - 1] != 16 && key[TICKET_KEY_SIZE - 1] != 32)
        input->is_bad = true;
}

// Checks each item, so that whoever walks the list needs to check nothing.
static struct change_list take_list(struct input *input, void (*check)(struct input *), size_t min,
                                    size_t max)
{
    size_t count = take32(input);
    size_t size = take32(input);
    struct input items = {.next = input->next, .left = size};
    struct change_list list = {.next = input->next, .count = count};

    take(input, size);
    if (count < min || count > max)
        input->is_bad = true;
    // Each item takes a byte at least: a count that is too large ends this early.
    for (size_t i = 0; i < count && !input->is_bad; i++) {
        check(&items);
        input->is_bad = items.is_bad;
    }
    if (items.left != 0)
        input->is_bad = true;
    return list;
}

static uint32_t take_slot(struct input *input)
{
    uint32_t slot = take32(input);

    if (slot >= MATERIAL_SLOTS_MAX)
        input->is_bad = true;
    return slot;
}

static void take_certificate(struct input *input, struct change_element *element)
{
    unsigned kind, must_staple;

    element->certificate.slot = take_slot(input);
    kind = take8(input);
    must_staple = take8(input);
    if (kind >= CERTIFICATE_KINDS || must_staple > 1)
        input->is_bad = true;
    element->certificate.kind = (enum certificate_kind)kind;
    element->certificate.must_staple = must_staple != 0;
    element->certificate.id = take64(input);
    element->certificate.fingerprint = take(input, FINGERPRINT);
    element->certificate.not_before_s = (int64_t)take64(input);
    element->certificate.not_after_s = (int64_t)take64(input);
    element->certificate.leaf = take_bytes(input, false);
    element->certificate.key = take_bytes(input, false);
    element->certificate.intermediates = take_list(input, check_bytes, 0, SIZE_MAX);
    element->certificate.names = take_list(input, take_text, 0, SIZE_MAX);
    element->certificate.places = take_list(input, check_place, 0, SIZE_MAX);
}

static void take_staple(struct input *input, struct change_element *element)
{
    element->staple.slot = take_slot(input);
    element->staple.this_update_s = (int64_t)take64(input);
    element->staple.next_update_s = (int64_t)take64(input);
    element->staple.response = take_bytes(input, true);
}

static void take_trust(struct input *input, struct change_element *element)
{
    element->trust.listener = take32(input);
    element->trust.digest = take(input, FINGERPRINT);
    element->trust.next_update_s = (int64_t)take64(input);
    element->trust.cas = take_list(input, check_bytes, 1, SIZE_MAX);
    element->trust.crls = take_list(input, check_bytes, 0, SIZE_MAX);
}

static void take_servers(struct input *input, struct change_element *element)
{
    element->servers.upstream = take32(input);
    element->servers.digest = take(input, FINGERPRINT);
    element->servers.trusted_until_s = (int64_t)take64(input);
    element->servers.cas = take_list(input, check_bytes, 0, SIZE_MAX);
    element->servers.crls = take_list(input, check_bytes, 0, SIZE_MAX);
    element->servers.certificates = take_list(input, check_bytes, 0, SIZE_MAX);
    element->servers.key = take_bytes(input, true);
    if ((element->servers.key.size > 0) != (element->servers.certificates.count > 0))
        input->is_bad = true;
}

static void take_body(struct input *input, struct change_element *element)
{
    switch (element->kind) {
    case CHANGE_CERTIFICATE:
        take_certificate(input, element);
        return;
    case CHANGE_CERTIFICATE_GONE:
        element->gone.slot = take_slot(input);
        return;
    case CHANGE_STAPLE:
        take_staple(input, element);
        return;
    case CHANGE_TRUST:
        take_trust(input, element);
        return;
    case CHANGE_SERVERS:
        take_servers(input, element);
        return;
    case CHANGE_TICKET_KEYS:
        element->ticket_keys.keys = take_list(input, check_ticket_key, 1, TICKET_KEYS_MAX);
        return;
    case CHANGE_RETIRE:
        element->retire.ids = take_list(input, check_id, 0, SIZE_MAX);
        return;
    }
    input->is_bad = true;
}

void change_reader_init(struct change_reader *reader, const uint8_t *data, size_t size)
{
    *reader = (struct change_reader){.next = data, .end = size > 0 ? data + size : data};
}

int change_next(struct change_reader *reader, struct change_element *ret)
{
    struct input input = {.next = reader->next, .left = (size_t)(reader->end - reader->next)};
    struct change_element element = {0};
    struct input body;
    size_t size;

    if (input.left == 0)
        return 0;
    size = take32(&input);
    element.kind = (enum change_kind)take8(&input);
    body = (struct input){.next = input.next, .left = size};
    take(&input, size);
    if (input.is_bad)
        return -EBADMSG;
    take_body(&body, &element);
    if (body.is_bad || body.left != 0)
        return -EBADMSG;
    reader->next = input.next;
    *ret = element;
    return 1;
}

struct change_bytes change_list_bytes(struct change_list *list)
{
    struct change_bytes bytes;

    assert(list->count > 0);
    bytes.size = load32(list->next);
    bytes.data = list->next + 4;
    list->next = bytes.data + bytes.size + 1;
    list->count--;
    return bytes;
}

struct material_place change_list_place(struct change_list *list)
{
    struct material_place place;

    assert(list->count > 0);
    place = (struct material_place){.listener = load32(list->next), .rank = load32(list->next + 4)};
    list->next += PLACE_SIZE;
    list->count--;
    return place;
}

void change_list_ticket_key(struct change_list *list, struct ticket_key *ret)
{
    const uint8_t *from = list->next;

    assert(list->count > 0);
    memcpy(ret->name, from, 16);
    memcpy(ret->hmac, from + 16, 32);
    memcpy(ret->aes, from + 48, 32);
    ret->size = from[80];
    list->next += TICKET_KEY_SIZE;
    list->count--;
}

uint64_t change_list_id(struct change_list *list)
{
    uint64_t id;

    assert(list->count > 0);
    id = load64(list->next);
    list->next += ID_SIZE;
    list->count--;
    return id;
}
