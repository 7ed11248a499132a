// SPDX-License-Identifier: Apache-2.0
#define OPENSSL_SUPPRESS_DEPRECATED // SHA256_Init() and its like: the header says why
#include "src/record/hmac.h"

#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>

#define BLOCK_MAX 128

static const struct {
    size_t size;
    size_t block;
} hashes[] = {
    [HMAC_SHA256] = {32, 64},
    [HMAC_SHA384] = {48, 128},
};

static void hash_begin(enum hmac_hash hash, union hmac_state *state)
{
    if (hash == HMAC_SHA256)
        SHA256_Init(&state->sha256);
    else
        SHA384_Init(&state->sha384);
}

static void hash_add(enum hmac_hash hash, union hmac_state *state, const void *data, size_t size)
{
    if (hash == HMAC_SHA256)
        SHA256_Update(&state->sha256, data, size);
    else
        SHA384_Update(&state->sha384, data, size);
}

static void hash_end(enum hmac_hash hash, union hmac_state *state, uint8_t *digest)
{
    if (hash == HMAC_SHA256)
        SHA256_Final(digest, &state->sha256);
    else
        SHA384_Final(digest, &state->sha384);
}

bool hmac_hash_from_name(const char *name, enum hmac_hash *ret)
{
    if (strcasecmp(name, "SHA2-256") == 0 || strcasecmp(name, "SHA256") == 0)
        *ret = HMAC_SHA256;
    else if (strcasecmp(name, "SHA2-384") == 0 || strcasecmp(name, "SHA384") == 0)
        *ret = HMAC_SHA384;
    else
        return false;
    return true;
}

size_t hmac_size(enum hmac_hash hash)
{
    return hashes[hash].size;
}

// ---- HMAC ----

void hmac_key(struct hmac *hmac, enum hmac_hash hash, const uint8_t *key, size_t size)
{
    uint8_t pad[BLOCK_MAX] = {0};
    size_t block = hashes[hash].block;

    hmac->hash = hash;
    if (size > block) {
        hash_begin(hash, &hmac->running);
        hash_add(hash, &hmac->running, key, size);
        hash_end(hash, &hmac->running, pad);
    } else if (size > 0) {
        memcpy(pad, key, size);
    }
    for (size_t i = 0; i < block; i++)
        pad[i] ^= 0x36;
    hash_begin(hash, &hmac->inner);
    hash_add(hash, &hmac->inner, pad, block);
    for (size_t i = 0; i < block; i++)
        pad[i] ^= 0x36 ^ 0x5c;
    hash_begin(hash, &hmac->outer);
    hash_add(hash, &hmac->outer, pad, block);
    hmac->running = hmac->inner;
    OPENSSL_cleanse(pad, sizeof(pad));
}

void hmac_add(struct hmac *hmac, const void *data, size_t size)
{
    hash_add(hmac->hash, &hmac->running, data, size);
}

void hmac_end(struct hmac *hmac, uint8_t *mac)
{
    uint8_t digest[HMAC_SIZE_MAX];

    hash_end(hmac->hash, &hmac->running, digest);
    hmac->running = hmac->outer;
    hash_add(hmac->hash, &hmac->running, digest, hashes[hmac->hash].size);
    hash_end(hmac->hash, &hmac->running, mac);
    hmac->running = hmac->inner;
    OPENSSL_cleanse(digest, sizeof(digest));
}

void hmac_wipe(struct hmac *hmac)
{
    OPENSSL_cleanse(hmac, sizeof(*hmac));
}

// ---- key derivation ----

void hkdf_extract(enum hmac_hash hash, struct hmac_bytes salt, struct hmac_bytes key, uint8_t *out)
{
    struct hmac hmac;

    hmac_key(&hmac, hash, salt.data, salt.size); // no salt: zeros, as the pad of an empty key has them
    hmac_add(&hmac, key.data, key.size);
    hmac_end(&hmac, out);
    hmac_wipe(&hmac);
}

bool hkdf_expand_label(enum hmac_hash hash, struct hmac_bytes secret, struct hmac_bytes prefix,
                       struct hmac_bytes label, struct hmac_bytes context, uint8_t *out, size_t size)
{
    size_t label_size = prefix.size + label.size;
    size_t mac_size = hashes[hash].size;
    uint8_t mac[HMAC_SIZE_MAX];
    uint8_t head[3];
    uint8_t context_size = (uint8_t)context.size;
    struct hmac hmac;

    if (label_size > 249 || context.size > 255 || size > 255 * mac_size)
        return false;
    head[0] = (uint8_t)(size >> 8);
    head[1] = (uint8_t)size;
    head[2] = (uint8_t)label_size;
    hmac_key(&hmac, hash, secret.data, secret.size);
    for (uint8_t round = 1; size > 0; round++) {
        size_t piece = size < mac_size ? size : mac_size;

        if (round > 1)
            hmac_add(&hmac, mac, mac_size);
        hmac_add(&hmac, head, sizeof(head));
        hmac_add(&hmac, prefix.data, prefix.size);
        hmac_add(&hmac, label.data, label.size);
        hmac_add(&hmac, &context_size, 1);
        hmac_add(&hmac, context.data, context.size);
        hmac_add(&hmac, &round, 1);
        hmac_end(&hmac, mac);
        memcpy(out, mac, piece);
        out += piece;
        size -= piece;
    }
    hmac_wipe(&hmac);
    OPENSSL_cleanse(mac, sizeof(mac));
    return true;
}

void tls12_prf(enum hmac_hash hash, struct hmac_bytes secret, const struct hmac_bytes *seeds, size_t count,
               uint8_t *out, size_t size)
{
    size_t mac_size = hashes[hash].size;
    uint8_t chain[HMAC_SIZE_MAX]; // A(i)
    uint8_t mac[HMAC_SIZE_MAX];
    struct hmac hmac;

    hmac_key(&hmac, hash, secret.data, secret.size);
    for (size_t i = 0; i < count; i++)
        hmac_add(&hmac, seeds[i].data, seeds[i].size);
    hmac_end(&hmac, chain);
    while (size > 0) {
        size_t piece = size < mac_size ? size : mac_size;

        hmac_add(&hmac, chain, mac_size);
        for (size_t i = 0; i < count; i++)
            hmac_add(&hmac, seeds[i].data, seeds[i].size);
        hmac_end(&hmac, mac);
        memcpy(out, mac, piece);
        out += piece;
        size -= piece;
        if (size > 0) {
            hmac_add(&hmac, chain, mac_size);
            hmac_end(&hmac, chain);
        }
    }
    hmac_wipe(&hmac);
    OPENSSL_cleanse(chain, sizeof(chain));
    OPENSSL_cleanse(mac, sizeof(mac));
}
