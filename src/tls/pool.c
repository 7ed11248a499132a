// SPDX-License-Identifier: Apache-2.0
// Certificates of authorities that were seen.
#include "src/tls/pool.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "src/config/memory.h"

#define ENTRIES_MAX 256

struct entry {
    uint8_t digest[SHA256_DIGEST_LENGTH]; // of the DER
    X509 *certificate;
    uint64_t used; // when: the pool's clock
};

struct pool {
    struct entry entries[ENTRIES_MAX];
    size_t count;
    uint64_t clock;
    X509_STORE *trusted; // NULL: not read yet
};

struct pool *pool_create(void)
{
    return memory_allocate(sizeof(struct pool));
}

void pool_destroy(struct pool *pool)
{
    if (pool == NULL)
        return;
    for (size_t i = 0; i < pool->count; i++)
        X509_free(pool->entries[i].certificate);
    X509_STORE_free(pool->trusted);
    free(pool);
}

bool pool_is_issued_by(X509 *certificate, X509 *issuer)
{
    // Names alone don't tell a renewed authority from the old one.
    bool is_issued = X509_check_issued(issuer, certificate) == X509_V_OK &&
                     X509_verify(certificate, X509_get0_pubkey(issuer)) == 1;

    ERR_clear_error();
    return is_issued;
}

bool pool_is_root(X509 *certificate)
{
    return (X509_get_extension_flags(certificate) & EXFLAG_SS) != 0;
}

static struct entry *find(struct pool *pool, const uint8_t digest[SHA256_DIGEST_LENGTH])
{
    for (size_t i = 0; i < pool->count; i++) {
        if (memcmp(pool->entries[i].digest, digest, SHA256_DIGEST_LENGTH) == 0) {
            pool->entries[i].used = ++pool->clock;
            return &pool->entries[i];
        }
    }
    return NULL;
}

X509 *pool_parse(struct pool *pool, const uint8_t *der, size_t size)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    const unsigned char *next = der;
    struct entry *entry;
    X509 *certificate;

    if (size > LONG_MAX || EVP_Digest(der, size, digest, NULL, EVP_sha256(), NULL) != 1)
        return NULL;
    entry = find(pool, digest);
    if (entry != NULL) {
        X509_up_ref(entry->certificate);
        return entry->certificate;
    }
    certificate = d2i_X509(NULL, &next, (long)size);
    ERR_clear_error();
    if (certificate != NULL && next != der + size) {
        X509_free(certificate);
        return NULL;
    }
    return certificate;
}

static struct entry *place_take(struct pool *pool)
{
    struct entry *oldest = &pool->entries[0];

    if (pool->count < ENTRIES_MAX)
        return &pool->entries[pool->count++];
    for (size_t i = 1; i < pool->count; i++) {
        if (pool->entries[i].used < oldest->used)
            oldest = &pool->entries[i];
    }
    X509_free(oldest->certificate);
    return oldest;
}

void pool_add(struct pool *pool, X509 *certificate)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    struct entry *entry;

    if (X509_check_ca(certificate) == 0 || X509_digest(certificate, EVP_sha256(), digest, NULL) != 1 ||
        find(pool, digest) != NULL) {
        ERR_clear_error();
        return;
    }
    entry = place_take(pool);
    X509_up_ref(certificate);
    entry->certificate = certificate;
    entry->used = ++pool->clock;
    memcpy(entry->digest, digest, sizeof(digest));
}

static bool is_in_time(const X509 *certificate)
{
    return X509_cmp_current_time(X509_get0_notBefore(certificate)) < 0 &&
           X509_cmp_current_time(X509_get0_notAfter(certificate)) > 0;
}

X509 *pool_issuer(struct pool *pool, X509 *certificate)
{
    struct entry *best = NULL;

    for (size_t i = 0; i < pool->count; i++) {
        struct entry *entry = &pool->entries[i];

        if (best != NULL && (pool_is_root(entry->certificate) || !pool_is_root(best->certificate)))
            continue;
        if (is_in_time(entry->certificate) && pool_is_issued_by(certificate, entry->certificate))
            best = entry;
    }
    if (best == NULL)
        return NULL;
    best->used = ++pool->clock;
    return best->certificate;
}

static void trusted_read(struct pool *pool)
{
    pool->trusted = X509_STORE_new();
    if (pool->trusted == NULL)
        abort();
    X509_STORE_set_default_paths(pool->trusted); // what isn't there is no trust
    ERR_clear_error();
}

X509 *pool_trusted_issuer(struct pool *pool, X509 *certificate)
{
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    X509 *issuer = NULL;

    if (pool->trusted == NULL)
        trusted_read(pool);
    if (context == NULL || X509_STORE_CTX_init(context, pool->trusted, certificate, NULL) != 1)
        abort();
    if (X509_STORE_CTX_get1_issuer(&issuer, context, certificate) == 1 &&
        X509_verify(certificate, X509_get0_pubkey(issuer)) != 1) {
        X509_free(issuer);
        issuer = NULL;
    }
    X509_STORE_CTX_free(context);
    ERR_clear_error();
    return issuer;
}
