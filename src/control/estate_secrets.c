// SPDX-License-Identifier: Apache-2.0
#include "estate_secrets.h"

#include <limits.h>
#include <string.h>

#include "ringbolt/secret.h"

#define PACK_VERSION 1
#define PHRASE_MAX   1023
#define DER_MAX      65536

// ---- passphrases ----

static void pack_answer(void *owner, const char *path, const char *phrase, size_t length)
{
    struct pack *pack = owner;

    if (pack->size == 0)
        pack_number(pack, PACK_VERSION, 1);
    pack_text(pack, path);
    pack_bytes(pack, phrase, length);
}

void passphrases_pack(const struct loader *loader, struct pack *pack)
{
    loader_answers(loader, pack_answer, pack);
}

// loader NULL: only looks.
static bool read_answers(struct loader *loader, struct unpack unpack)
{
    bool is_version = unpack_number(&unpack, 1) == PACK_VERSION;
    char path[PATH_MAX];

    unpack.is_bad |= !is_version;
    while (!unpack.is_bad && unpack.left > 0) {
        const uint8_t *phrase;
        size_t length;

        unpack_text(&unpack, path, sizeof(path));
        phrase = unpack_bytes(&unpack, PHRASE_MAX, &length);
        if (!phrase)
            unpack.is_bad = true;
        else if (loader && loader_answer(loader, path, (const char *)phrase, length) < 0)
            unpack.is_bad = true;
    }
    return unpack_is_whole(&unpack);
}

bool passphrases_unpack(struct loader *loader, const uint8_t *bytes, size_t size)
{
    struct unpack unpack = {.at = bytes, .left = size};

    return read_answers(NULL, unpack) && read_answers(loader, unpack);
}

// ---- the development certificate ----

void development_pack(const struct certificate *certificate, struct pack *pack)
{
    pack_number(pack, PACK_VERSION, 1);
    pack_bytes(pack, certificate->leaf.data, certificate->leaf.size);
    pack_bytes(pack, certificate->authority.data, certificate->authority.size);
    pack_bytes(pack, certificate->key.data, certificate->key.size);
}

// Bytes that are read only.
static struct material_bytes take(struct unpack *unpack)
{
    struct material_bytes bytes;

    bytes.data = (uint8_t *)(uintptr_t)unpack_bytes(unpack, DER_MAX, &bytes.size);
    unpack->is_bad |= !bytes.data;
    return bytes;
}

struct certificate *development_unpack(const uint8_t *bytes, size_t size, struct report *report)
{
    struct unpack unpack = {.at = bytes, .left = size};
    bool is_version = unpack_number(&unpack, 1) == PACK_VERSION;
    struct material_bytes leaf = take(&unpack);
    struct material_bytes authority = take(&unpack);
    struct material_bytes key = take(&unpack);
    struct certificate *certificate = NULL;

    if (!is_version || !unpack_is_whole(&unpack) ||
        certificate_develop_again(&leaf, &authority, &key, report, &certificate) < 0)
        return NULL;
    return certificate;
}
