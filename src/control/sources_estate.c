// SPDX-License-Identifier: Apache-2.0
// What a master knows of its certificates that is in no file, for its successor: OCSP responses, and which versions there were.
#include <stdlib.h>
#include <string.h>

#include "sources_inside.h"
#include "src/config/memory.h"

#define PACK_VERSION     1
#define RESPONSE_MAX     ((size_t)64 << 10)
#define NAMES_MAX        65536 // of one certificate
#define NAME_LENGTH_MAX  1023
#define FINGERPRINT_SIZE 32

_Static_assert(sizeof(((struct certificate *)NULL)->fingerprint) == FINGERPRINT_SIZE, "SHA-256");

// ---- OCSP responses ----

void sources_pack_staples(struct sources *sources, struct pack *pack)
{
    for (size_t i = 0; i < sources->slot_count; i++) {
        const struct source *source = sources->slots[i];

        if (!source || !source->staple || source->staple->response.size > RESPONSE_MAX)
            continue;
        if (pack->size == 0)
            pack_number(pack, PACK_VERSION, 1);
        pack_raw(pack, source->certificate->fingerprint, FINGERPRINT_SIZE);
        pack_bytes(pack, source->staple->response.data, source->staple->response.size);
    }
}

static void take_staple(struct sources *sources, struct source *source, const uint8_t *response, size_t size,
                        int64_t now_s)
{
    struct staple *staple = NULL;
    const char *why;

    if (!staple_is_wanted(sources, source) ||
        staple_check(source->certificate, response, size, now_s, &staple, &why) < 0)
        return;
    if (staple->next_update_s <= now_s ||
        (source->staple && source->staple->this_update_s >= staple->this_update_s)) {
        staple_destroy(staple);
        return;
    }
    source->is_staple_inherited = true;
    staple_serve(sources, source, staple);
}

// Slots of two generations are mostly the same: *hint is where the next one is likely to be. NULL: none from there on serves it.
static struct source *find(const struct sources *sources, const uint8_t *fingerprint, size_t *hint)
{
    for (size_t i = 0; i < sources->slot_count; i++) {
        size_t slot = (*hint + i) % sources->slot_count;
        struct source *source = sources->slots[slot];

        if (source && memcmp(source->certificate->fingerprint, fingerprint, FINGERPRINT_SIZE) == 0) {
            *hint = slot + 1;
            return source;
        }
    }
    return NULL;
}

bool sources_unpack_staples(struct sources *sources, const uint8_t *bytes, size_t size, int64_t now_s)
{
    struct unpack unpack = {.at = bytes, .left = size};
    size_t hint = 0;

    if (unpack_number(&unpack, 1) != PACK_VERSION)
        return false;
    while (unpack.left > 0 && !unpack.is_bad) {
        uint8_t fingerprint[FINGERPRINT_SIZE];
        const uint8_t *response;
        struct source *source;
        size_t length;

        unpack_raw(&unpack, fingerprint, sizeof(fingerprint));
        response = unpack_bytes(&unpack, RESPONSE_MAX, &length);
        // The same certificate may be there in several files: then it was packed as often.
        source = response && sources->slot_count > 0 ? find(sources, fingerprint, &hint) : NULL;
        if (source)
            take_staple(sources, source, response, length, now_s);
    }
    return unpack_is_whole(&unpack);
}

// ---- versions ----

static void pack_version(void *owner, const uint8_t *fingerprint, const char *const *names, size_t count)
{
    struct pack *pack = owner;

    if (pack->size == 0)
        pack_number(pack, PACK_VERSION, 1);
    pack_raw(pack, fingerprint, FINGERPRINT_SIZE);
    pack_number(pack, count, 4);
    for (size_t i = 0; i < count; i++)
        pack_text(pack, names[i]);
}

void sources_pack_history(struct sources *sources, struct pack *pack)
{
    history_each(sources->history, pack_version, pack);
    for (size_t i = 0; i < sources->slot_count; i++) {
        const struct certificate *certificate = sources->slots[i] ? sources->slots[i]->certificate : NULL;

        if (certificate && certificate->name_count <= NAMES_MAX)
            pack_version(pack, certificate->fingerprint, (const char *const *)certificate->names,
                         certificate->name_count);
    }
}

// sources NULL: only looks.
static void read_version(struct sources *sources, struct unpack *unpack, size_t *hint)
{
    struct certificate certificate = {.id = 0};
    uint8_t fingerprint[FINGERPRINT_SIZE];
    uint64_t count;
    char name[NAME_LENGTH_MAX + 1];

    unpack_raw(unpack, fingerprint, sizeof(fingerprint));
    memcpy(certificate.fingerprint, fingerprint, sizeof(fingerprint));
    for (size_t i = 0; i < sizeof(certificate.id); i++)
        certificate.id = certificate.id << 8 | fingerprint[i];
    count = unpack_number(unpack, 4);
    unpack->is_bad |= count > NAMES_MAX;
    for (uint64_t i = 0; i < count && !unpack->is_bad; i++) {
        unpack_text(unpack, name, sizeof(name));
        if (!sources || unpack->is_bad)
            continue;
        certificate.names =
            memory_grow(certificate.names, certificate.name_count, sizeof(*certificate.names));
        certificate.names[certificate.name_count++] = memory_copy(name);
    }
    if (sources && !unpack->is_bad && (sources->slot_count == 0 || !find(sources, fingerprint, hint)))
        history_add(sources->history, &certificate);
    for (size_t i = 0; i < certificate.name_count; i++)
        free(certificate.names[i]);
    free(certificate.names);
}

static bool read_versions(struct sources *sources, struct unpack unpack)
{
    size_t hint = 0;

    if (unpack_number(&unpack, 1) != PACK_VERSION)
        return false;
    while (unpack.left > 0 && !unpack.is_bad)
        read_version(sources, &unpack, &hint);
    return unpack_is_whole(&unpack);
}

bool sources_unpack_history(struct sources *sources, const uint8_t *bytes, size_t size)
{
    struct unpack unpack = {.at = bytes, .left = size};

    return read_versions(NULL, unpack) && read_versions(sources, unpack);
}
