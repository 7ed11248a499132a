// SPDX-License-Identifier: Apache-2.0
// Certificates and keys as OpenSSL's objects, made on first use and kept while they are used.
#include "src/tls/hot.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/decoder.h>
#include <openssl/err.h>

#include "ringbolt/log.h"
#include "ringbolt/tls.h"

// Of the secure heap: the largest keys take 4 KB each (RSA of 8192 bits), an ephemeral key of a handshake 128 bytes.
#define KEYS_SIZE      ((size_t)4 * 1024 * 1024)
#define EPHEMERAL_SIZE ((size_t)256)
#define PROTECTED_MAX  ((size_t)1 << 30)
#define PIECE_MIN      32

#define EVICTED_FOR_ROOM 8

// OpenSSL fails when its secure heap is full, so that there is room for all.
void tls_protect_keys(size_t connections)
{
    size_t needed = KEYS_SIZE + (connections < PROTECTED_MAX / EPHEMERAL_SIZE ? connections * EPHEMERAL_SIZE
                                                                              : PROTECTED_MAX);
    size_t size = KEYS_SIZE;

    while (size < needed && size < PROTECTED_MAX)
        size *= 2;
    if (!CRYPTO_secure_malloc_initialized() && CRYPTO_secure_malloc_init(size, PIECE_MIN) == 0)
        log_debug("no protected memory for private keys in use", log_integer("size", size));
    ERR_clear_error();
}

// ---- keys ----

// OpenSSL looks through all its decoders to make such a context, which takes forty times as long as decoding a key with it.
struct decoder {
    OSSL_DECODER_CTX *context;
    EVP_PKEY *decoded;
};

static const char *const key_types[CERTIFICATE_KINDS] = {
    [CERTIFICATE_ECDSA] = "EC",
    [CERTIFICATE_RSA] = "RSA",
    [CERTIFICATE_EDDSA] = "ED25519",
};

static EVP_PKEY *decode(struct decoder *decoder, const char *type, const uint8_t *der, size_t size)
{
    decoder->decoded = NULL;
    if (decoder->context == NULL)
        decoder->context = OSSL_DECODER_CTX_new_for_pkey(&decoder->decoded, "DER", "PrivateKeyInfo", type,
                                                         EVP_PKEY_KEYPAIR, NULL, NULL);
    if (decoder->context != NULL && OSSL_DECODER_from_data(decoder->context, &der, &size) == 1)
        return decoder->decoded;
    OSSL_DECODER_CTX_free(decoder->context); // whatever state it is in
    decoder->context = NULL;
    EVP_PKEY_free(decoder->decoded);
    return NULL;
}

static EVP_PKEY *key_parse(enum certificate_kind kind, const uint8_t *der, size_t size)
{
    static struct decoder decoders[CERTIFICATE_KINDS]; // one thread; they live as long as the process
    struct decoder *decoder = &decoders[kind];
    bool was_used = decoder->context != NULL;
    EVP_PKEY *key = decode(decoder, key_types[kind], der, size);

    // OpenSSL doesn't promise that a context can be used again.
    if (key == NULL && was_used)
        key = decode(decoder, key_types[kind], der, size);
    return key;
}

// ---- certificates ----

static X509 *certificate_parse(const uint8_t *der, size_t size)
{
    return d2i_X509(NULL, &der, (long)size);
}

static bool chain_parse(struct hot *hot)
{
    struct slot *slot = hot->slot;

    if (slot->intermediate_count == 0)
        return true;
    hot->chain = sk_X509_new_reserve(NULL, (int)slot->intermediate_count);
    if (hot->chain == NULL)
        return false;
    for (size_t i = 0; i < slot->intermediate_count; i++) {
        struct intermediate *intermediate = slot->intermediates[i];

        if (intermediate->parsed == NULL)
            intermediate->parsed = certificate_parse(intermediate->der, intermediate->size);
        if (intermediate->parsed == NULL)
            return false;
        intermediate->hot_uses++; // as many as the chain is long: hot_destroy() counts on it
        X509_up_ref(intermediate->parsed);
        sk_X509_push(hot->chain, intermediate->parsed);
    }
    return true;
}

static void hot_destroy(struct hot *hot)
{
    if (hot == NULL)
        return;
    for (int i = 0; i < sk_X509_num(hot->chain); i++) {
        struct intermediate *intermediate = hot->slot->intermediates[i];

        if (--intermediate->hot_uses == 0) {
            X509_free(intermediate->parsed);
            intermediate->parsed = NULL;
        }
    }
    sk_X509_pop_free(hot->chain, X509_free);
    X509_free(hot->leaf);
    EVP_PKEY_free(hot->key);
    free(hot);
}

static struct hot *hot_create(struct slot *slot)
{
    struct hot *hot = calloc(1, sizeof(*hot));

    if (hot == NULL)
        return NULL;
    hot->slot = slot;
    hot->leaf = certificate_parse(slot->leaf, slot->leaf_size);
    hot->key = key_parse(slot->kind, slot->key, slot->key_size);
    if (hot->leaf != NULL && hot->key != NULL && chain_parse(hot))
        return hot;
    hot_destroy(hot);
    return NULL;
}

// ---- the cache ----

static void count(struct material *material, const struct hot *hot, int by)
{
    material->hot_count = (size_t)((ptrdiff_t)material->hot_count + by);
    if (hot->slot->defaults > 0)
        material->hot_default_count = (size_t)((ptrdiff_t)material->hot_default_count + by);
}

void hot_forget(struct material *material, struct slot *slot)
{
    struct hot *hot = slot->hot;

    if (hot == NULL)
        return;
    list_remove(&hot->node);
    count(material, hot, -1);
    slot->hot = NULL;
    hot_destroy(hot);
}

// Drops the version that was used longest ago and isn't a default, if there is one. Defaults that are met on the way go to the front,
// so that the next search is short.
static bool evict(struct material *material)
{
    for (size_t i = 0; i < material->hot_count; i++) {
        struct hot *last = list_entry(material->hot.prev, struct hot, node);

        if (last->slot->defaults == 0) {
            hot_forget(material, last->slot);
            return true;
        }
        list_remove(&last->node);
        list_push_front(&material->hot, &last->node);
    }
    return false;
}

void hot_complain(struct slot *slot)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    char id[17];

    snprintf(id, sizeof(id), "%016" PRIx64, slot->id);
    if (!slot->is_complained)
        log_error("a certificate can't be used", log_text("certificate", id),
                  log_text("reason", reason != NULL ? reason : "out of memory"));
    slot->is_complained = true;
    ERR_clear_error();
}

const struct hot *hot_get(struct material *material, struct slot *slot)
{
    struct hot *hot = slot->hot;

    if (hot != NULL) {
        list_remove(&hot->node);
        list_push_front(&material->hot, &hot->node);
        return hot;
    }
    while (material->hot_count - material->hot_default_count >= HOT_MAX && evict(material))
        ;
    hot = hot_create(slot);
    // Perhaps no memory, or no protected memory, was left.
    for (int i = 0; hot == NULL && i < EVICTED_FOR_ROOM && evict(material); i++)
        hot = hot_create(slot);
    if (hot == NULL) {
        hot_complain(slot);
        return NULL;
    }
    list_push_front(&material->hot, &hot->node);
    slot->hot = hot;
    count(material, hot, 1);
    return hot;
}
