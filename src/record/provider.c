// SPDX-License-Identifier: Apache-2.0
#include "src/record/provider.h"

#include <string.h>
#include <strings.h>

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>

#include "src/record/hmac.h"

#define NAME       "ringbolt"
#define PROPERTIES "provider=" NAME ",ringbolt.keys=yes"
#define SEEDS_MAX  8

static bool is_known; // to OpenSSL, by its name
static OSSL_PROVIDER *loaded;
static bool serves;

static _Thread_local struct {
    provider_watch_fn *function;
    void *argument;
} watching;

void provider_watch(provider_watch_fn *watch, void *argument)
{
    watching.function = watch;
    watching.argument = argument;
}

static bool is_text(struct hmac_bytes bytes, const char *text)
{
    return bytes.size == strlen(text) && memcmp(bytes.data, text, bytes.size) == 0;
}

static void tell(enum provider_secret which, const uint8_t *secret, size_t size)
{
    if (watching.function != NULL)
        watching.function(watching.argument, which, secret, size);
}

// ---- key derivation ----

// What libssl passes to EVP_KDF_derive(), for both kinds.
struct derivation {
    int mode;
    bool is_hash_known;
    enum hmac_hash hash;
    struct hmac_bytes key;
    struct hmac_bytes salt;
    struct hmac_bytes prefix;
    struct hmac_bytes label;
    struct hmac_bytes data;
    struct hmac_bytes seeds[SEEDS_MAX];
    size_t seed_count;
};

static struct hmac_bytes bytes_of(const OSSL_PARAM *param)
{
    return (struct hmac_bytes){param->data, param->data != NULL ? param->data_size : 0};
}

// False: something that isn't understood, so that nothing wrong is derived.
static bool derivation_read(const OSSL_PARAM *params, struct derivation *ret)
{
    for (; params != NULL && params->key != NULL; params++) {
        const char *key = params->key;

        if (strcmp(key, OSSL_KDF_PARAM_MODE) == 0) {
            if (OSSL_PARAM_get_int(params, &ret->mode) != 1)
                return false;
        } else if (strcmp(key, OSSL_KDF_PARAM_DIGEST) == 0) {
            if (params->data_type != OSSL_PARAM_UTF8_STRING || !hmac_hash_from_name(params->data, &ret->hash))
                return false;
            ret->is_hash_known = true;
        } else if (strcmp(key, OSSL_KDF_PARAM_KEY) == 0 || strcmp(key, OSSL_KDF_PARAM_SECRET) == 0) {
            ret->key = bytes_of(params);
        } else if (strcmp(key, OSSL_KDF_PARAM_SALT) == 0) {
            ret->salt = bytes_of(params);
        } else if (strcmp(key, OSSL_KDF_PARAM_PREFIX) == 0) {
            ret->prefix = bytes_of(params);
        } else if (strcmp(key, OSSL_KDF_PARAM_LABEL) == 0) {
            ret->label = bytes_of(params);
        } else if (strcmp(key, OSSL_KDF_PARAM_DATA) == 0) {
            ret->data = bytes_of(params);
        } else if (strcmp(key, OSSL_KDF_PARAM_SEED) == 0) {
            if (ret->seed_count == SEEDS_MAX)
                return false;
            ret->seeds[ret->seed_count++] = bytes_of(params);
        } else if (strcmp(key, OSSL_KDF_PARAM_PROPERTIES) != 0) {
            return false;
        }
    }
    return ret->is_hash_known;
}

// There is no state: all comes with the call.
static void *kdf_new(void *provider)
{
    static char nothing;

    return &nothing;
}

static void kdf_free(void *context)
{
}

static const struct hmac_bytes none = {(const uint8_t *)"", 0};

static struct hmac_bytes or_none(struct hmac_bytes bytes)
{
    return bytes.data != NULL ? bytes : none;
}

// One step down the schedule (RFC 8446 §7.1): HKDF-Extract with the secret before, as salt by way of Derive-Secret(…, "derived", "").
static bool extract(const struct derivation *derivation, uint8_t *out)
{
    static const uint8_t zeros[HMAC_SIZE_MAX];
    size_t size = hmac_size(derivation->hash);
    struct hmac_bytes key = derivation->key.data != NULL ? derivation->key : (struct hmac_bytes){zeros, size};
    struct hmac_bytes salt = none;
    uint8_t derived[HMAC_SIZE_MAX];
    uint8_t empty[HMAC_SIZE_MAX];

    if (derivation->salt.data != NULL) {
        if (derivation->hash == HMAC_SHA256)
            SHA256(none.data, 0, empty);
        else
            SHA384(none.data, 0, empty);
        if (!hkdf_expand_label(derivation->hash, derivation->salt, or_none(derivation->prefix),
                               or_none(derivation->label), (struct hmac_bytes){empty, size}, derived, size))
            return false;
        salt = (struct hmac_bytes){derived, size};
    }
    hkdf_extract(derivation->hash, salt, key, out);
    OPENSSL_cleanse(derived, sizeof(derived));
    return true;
}

static int tls13_derive(void *context, unsigned char *out, size_t size, const OSSL_PARAM params[])
{
    struct derivation derivation = {.mode = -1};

    if (!derivation_read(params, &derivation))
        return 0;
    if (derivation.mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY)
        return size == hmac_size(derivation.hash) && extract(&derivation, out);
    if (derivation.mode != EVP_KDF_HKDF_MODE_EXPAND_ONLY || derivation.key.data == NULL ||
        !hkdf_expand_label(derivation.hash, derivation.key, or_none(derivation.prefix),
                           or_none(derivation.label), or_none(derivation.data), out, size))
        return 0;
    if (is_text(derivation.label, "c ap traffic"))
        tell(PROVIDER_CLIENT_TRAFFIC, out, size);
    else if (is_text(derivation.label, "s ap traffic"))
        tell(PROVIDER_SERVER_TRAFFIC, out, size);
    return 1;
}

static int tls12_derive(void *context, unsigned char *out, size_t size, const OSSL_PARAM params[])
{
    struct derivation derivation = {.mode = -1};

    if (!derivation_read(params, &derivation) || derivation.key.data == NULL || derivation.seed_count == 0)
        return 0;
    tls12_prf(derivation.hash, derivation.key, derivation.seeds, derivation.seed_count, out, size);
    if (is_text(derivation.seeds[0], "key expansion"))
        tell(PROVIDER_KEY_BLOCK, out, size);
    return 1;
}

#define FUNCTION(id, function) {id, (void (*)(void))(function)}
#define END                    {0, NULL}

static const OSSL_DISPATCH tls13_functions[] = {
    FUNCTION(OSSL_FUNC_KDF_NEWCTX, kdf_new),
    FUNCTION(OSSL_FUNC_KDF_FREECTX, kdf_free),
    FUNCTION(OSSL_FUNC_KDF_DERIVE, tls13_derive),
    END,
};

static const OSSL_DISPATCH tls12_functions[] = {
    FUNCTION(OSSL_FUNC_KDF_NEWCTX, kdf_new),
    FUNCTION(OSSL_FUNC_KDF_FREECTX, kdf_free),
    FUNCTION(OSSL_FUNC_KDF_DERIVE, tls12_derive),
    END,
};

static const OSSL_ALGORITHM kdfs[] = {
    {OSSL_KDF_NAME_TLS1_3_KDF, PROPERTIES, tls13_functions, NULL},
    {OSSL_KDF_NAME_TLS1_PRF, PROPERTIES, tls12_functions, NULL},
    {NULL, NULL, NULL, NULL},
};

// ---- HMAC ----

struct mac {
    bool is_hash_known;
    enum hmac_hash hash;
    struct hmac hmac;
};

static void *mac_new(void *provider)
{
    return OPENSSL_zalloc(sizeof(struct mac));
}

static void *mac_copy(void *context)
{
    return OPENSSL_memdup(context, sizeof(struct mac));
}

static void mac_free(void *context)
{
    OPENSSL_clear_free(context, sizeof(struct mac));
}

static int mac_set(void *context, const OSSL_PARAM params[])
{
    struct mac *mac = context;

    for (; params != NULL && params->key != NULL; params++) {
        if (strcmp(params->key, OSSL_MAC_PARAM_DIGEST) != 0)
            continue;
        if (params->data_type != OSSL_PARAM_UTF8_STRING || !hmac_hash_from_name(params->data, &mac->hash))
            return 0;
        mac->is_hash_known = true;
    }
    return 1;
}

static const OSSL_PARAM *mac_settable(void *context, void *provider)
{
    static const OSSL_PARAM settable[] = {
        OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_DIGEST, NULL, 0),
        OSSL_PARAM_END,
    };

    return settable;
}

static int mac_get(void *context, OSSL_PARAM params[])
{
    const struct mac *mac = context;
    OSSL_PARAM *size = OSSL_PARAM_locate(params, OSSL_MAC_PARAM_SIZE);

    return size == NULL ||
           OSSL_PARAM_set_size_t(size, mac->is_hash_known ? hmac_size(mac->hash) : (size_t)0) == 1;
}

static const OSSL_PARAM *mac_gettable(void *context, void *provider)
{
    static const OSSL_PARAM gettable[] = {
        OSSL_PARAM_size_t(OSSL_MAC_PARAM_SIZE, NULL),
        OSSL_PARAM_END,
    };

    return gettable;
}

static int mac_init(void *context, const unsigned char *key, size_t size, const OSSL_PARAM params[])
{
    struct mac *mac = context;

    if (mac_set(mac, params) != 1 || !mac->is_hash_known || key == NULL)
        return 0;
    hmac_key(&mac->hmac, mac->hash, key, size);
    return 1;
}

static int mac_update(void *context, const unsigned char *data, size_t size)
{
    struct mac *mac = context;

    hmac_add(&mac->hmac, data, size);
    return 1;
}

static int mac_final(void *context, unsigned char *out, size_t *ret_size, size_t room)
{
    struct mac *mac = context;

    if (room < hmac_size(mac->hash))
        return 0;
    hmac_end(&mac->hmac, out);
    *ret_size = hmac_size(mac->hash);
    return 1;
}

static const OSSL_DISPATCH mac_functions[] = {
    FUNCTION(OSSL_FUNC_MAC_NEWCTX, mac_new),
    FUNCTION(OSSL_FUNC_MAC_DUPCTX, mac_copy),
    FUNCTION(OSSL_FUNC_MAC_FREECTX, mac_free),
    FUNCTION(OSSL_FUNC_MAC_SET_CTX_PARAMS, mac_set),
    FUNCTION(OSSL_FUNC_MAC_SETTABLE_CTX_PARAMS, mac_settable),
    FUNCTION(OSSL_FUNC_MAC_GET_CTX_PARAMS, mac_get),
    FUNCTION(OSSL_FUNC_MAC_GETTABLE_CTX_PARAMS, mac_gettable),
    FUNCTION(OSSL_FUNC_MAC_INIT, mac_init),
    FUNCTION(OSSL_FUNC_MAC_UPDATE, mac_update),
    FUNCTION(OSSL_FUNC_MAC_FINAL, mac_final),
    END,
};

static const OSSL_ALGORITHM macs[] = {
    {OSSL_MAC_NAME_HMAC, PROPERTIES, mac_functions, NULL},
    {NULL, NULL, NULL, NULL},
};

// ---- the provider ----

static const OSSL_ALGORITHM *provider_query(void *context, int operation, int *no_cache)
{
    *no_cache = 0;
    switch (operation) {
    case OSSL_OP_KDF:
        return kdfs;
    case OSSL_OP_MAC:
        return macs;
    default:
        return NULL;
    }
}

static const OSSL_DISPATCH provider_functions[] = {
    FUNCTION(OSSL_FUNC_PROVIDER_QUERY_OPERATION, provider_query),
    END,
};

static int provider_start(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                          void **ret_context)
{
    static char nothing;

    *out = provider_functions;
    *ret_context = &nothing;
    return 1;
}

static bool kdf_is_ours(const char *name, const char *query)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, name, query);
    bool is_ours = kdf != NULL && OSSL_PROVIDER_get0_name(EVP_KDF_get0_provider(kdf)) != NULL &&
                   strcmp(OSSL_PROVIDER_get0_name(EVP_KDF_get0_provider(kdf)), NAME) == 0;

    EVP_KDF_free(kdf);
    return is_ours;
}

static bool mac_is_ours(const char *query)
{
    EVP_MAC *mac = EVP_MAC_fetch(NULL, OSSL_MAC_NAME_HMAC, query);
    bool is_ours = mac != NULL && strcmp(OSSL_PROVIDER_get0_name(EVP_MAC_get0_provider(mac)), NAME) == 0;

    EVP_MAC_free(mac);
    return is_ours;
}

bool provider_init(void)
{
    if (loaded != NULL)
        return serves;
    // Whoever asks for no provider by name must not come here: this HMAC knows two hash functions. Of several that would do, OpenSSL takes
    // the first that it came to know, so the others are made known first; and looked at again afterwards.
    mac_is_ours(NULL);
    kdf_is_ours(OSSL_KDF_NAME_TLS1_3_KDF, NULL);
    is_known = is_known || OSSL_PROVIDER_add_builtin(NULL, NAME, provider_start) == 1;
    if (is_known)
        loaded = OSSL_PROVIDER_try_load(NULL, NAME, 1);
    serves = loaded != NULL && !mac_is_ours(NULL) && !kdf_is_ours(OSSL_KDF_NAME_TLS1_3_KDF, NULL) &&
             !kdf_is_ours(OSSL_KDF_NAME_TLS1_PRF, NULL) && mac_is_ours(PROVIDER_QUERY) &&
             kdf_is_ours(OSSL_KDF_NAME_TLS1_3_KDF, PROVIDER_QUERY) &&
             kdf_is_ours(OSSL_KDF_NAME_TLS1_PRF, PROVIDER_QUERY);
    if (!serves)
        provider_finish();
    ERR_clear_error();
    return serves;
}

bool provider_serves(void)
{
    return serves;
}

void provider_finish(void)
{
    if (loaded != NULL)
        OSSL_PROVIDER_unload(loaded);
    loaded = NULL;
    serves = false;
}
