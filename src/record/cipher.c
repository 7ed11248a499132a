// SPDX-License-Identifier: Apache-2.0
// The cipher table (suites, sizes, limits, names) and the TLS 1.3 key schedule below the traffic secrets
// (RFC 8446 §7.2, §7.3). OpenSSL's algorithms are fetched once for the process: a fetch takes locks and walks
// the providers, which costs more than sealing a small record.
#include "ringbolt/record.h"

#include <errno.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "src/record/aead.h"
#include "src/record/cipher.h"
#include "src/record/provider.h"

struct cipher_entry {
    const char *name;
    const char *openssl_name;
    size_t key_size;
    uint64_t records_max;
};

static const struct cipher_entry ciphers[RECORD_CIPHER_COUNT] = {
    // 2^24.5 full-size records on one key keep an attacker's advantage below 2^-57 (RFC 8446 §5.5).
    [RECORD_AES_128_GCM] = {"AES-128-GCM", "AES-128-GCM", 16, 23726566},
    [RECORD_AES_256_GCM] = {"AES-256-GCM", "AES-256-GCM", 32, 23726566},
    // For ChaCha20-Poly1305 the sequence number wraps before the safety limit is reached.
    [RECORD_CHACHA20_POLY1305] = {"ChaCha20-Poly1305", "ChaCha20-Poly1305", 32, UINT64_MAX},
};

struct suite_entry {
    uint16_t suite;
    enum record_version version;
    enum record_cipher cipher;
    const char *digest;
};

// RFC 8446 §B.4; RFC 5289 §3.2; RFC 7905 §2.
static const struct suite_entry suites[] = {
    {0x1301, RECORD_TLS13, RECORD_AES_128_GCM, "SHA256"},       // TLS_AES_128_GCM_SHA256
    {0x1302, RECORD_TLS13, RECORD_AES_256_GCM, "SHA384"},       // TLS_AES_256_GCM_SHA384
    {0x1303, RECORD_TLS13, RECORD_CHACHA20_POLY1305, "SHA256"}, // TLS_CHACHA20_POLY1305_SHA256
    {0xC02B, RECORD_TLS12, RECORD_AES_128_GCM, "SHA256"},       // ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    {0xC02C, RECORD_TLS12, RECORD_AES_256_GCM, "SHA384"},       // ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
    {0xC02F, RECORD_TLS12, RECORD_AES_128_GCM, "SHA256"},       // ECDHE_RSA_WITH_AES_128_GCM_SHA256
    {0xC030, RECORD_TLS12, RECORD_AES_256_GCM, "SHA384"},       // ECDHE_RSA_WITH_AES_256_GCM_SHA384
    {0xCCA8, RECORD_TLS12, RECORD_CHACHA20_POLY1305, "SHA256"}, // ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    {0xCCA9, RECORD_TLS12, RECORD_CHACHA20_POLY1305, "SHA256"}, // ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
};

static EVP_CIPHER *fetched[RECORD_CIPHER_COUNT];
static const struct aead *aes_gcm = &aead_evp;
static EVP_KDF *expand_label; // HKDF-Expand-Label

int record_init(void)
{
    bool any = false;

    provider_init();
#ifdef RINGBOLT_IPSEC_MB
    // Only where the machine's policy (FIPS, for one) lets others than OpenSSL's providers do cryptography.
    if (aes_gcm == &aead_evp && provider_serves() && aead_vector_init())
        aes_gcm = &aead_vector;
#endif
    for (size_t i = 0; i < RECORD_CIPHER_COUNT; i++) {
        if (fetched[i] == NULL)
            fetched[i] = EVP_CIPHER_fetch(NULL, ciphers[i].openssl_name, NULL);
        any = any || fetched[i] != NULL;
    }
    if (expand_label == NULL)
        expand_label = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_TLS1_3_KDF, PROVIDER_QUERY);
    // A cipher that a provider doesn't offer (ChaCha20 under FIPS) is no failure, and nobody reads its complaint.
    ERR_clear_error();
    return any && expand_label != NULL ? 0 : -ENOTSUP;
}

void record_finish(void)
{
    for (size_t i = 0; i < RECORD_CIPHER_COUNT; i++) {
        EVP_CIPHER_free(fetched[i]);
        fetched[i] = NULL;
    }
    aes_gcm = &aead_evp;
    EVP_KDF_free(expand_label);
    expand_label = NULL;
    provider_finish();
}

const EVP_CIPHER *record_cipher_evp(enum record_cipher cipher)
{
    return fetched[cipher];
}

const struct aead *record_cipher_aead(enum record_cipher cipher)
{
    return cipher == RECORD_CHACHA20_POLY1305 ? &aead_evp : aes_gcm;
}

const char *record_cipher_library(enum record_cipher cipher)
{
    return record_cipher_aead(cipher) == &aead_evp ? "OpenSSL" : "libipsec-mb";
}

bool record_cipher_is_there(enum record_cipher cipher)
{
    return fetched[cipher] != NULL;
}

size_t record_cipher_key_size(enum record_cipher cipher)
{
    return ciphers[cipher].key_size;
}

const char *record_cipher_name(enum record_cipher cipher)
{
    return ciphers[cipher].name;
}

uint64_t record_cipher_limit(enum record_cipher cipher)
{
    return ciphers[cipher].records_max;
}

const char *record_alert_name(enum record_alert alert)
{
    // RFC 8446 §6 with the codes reserved there for earlier versions (RFC 5246 §7.2).
    static const char *const names[] = {
        [0] = "close_notify",
        [10] = "unexpected_message",
        [20] = "bad_record_mac",
        [21] = "decryption_failed",
        [22] = "record_overflow",
        [30] = "decompression_failure",
        [40] = "handshake_failure",
        [41] = "no_certificate",
        [42] = "bad_certificate",
        [43] = "unsupported_certificate",
        [44] = "certificate_revoked",
        [45] = "certificate_expired",
        [46] = "certificate_unknown",
        [47] = "illegal_parameter",
        [48] = "unknown_ca",
        [49] = "access_denied",
        [50] = "decode_error",
        [51] = "decrypt_error",
        [60] = "export_restriction",
        [70] = "protocol_version",
        [71] = "insufficient_security",
        [80] = "internal_error",
        [86] = "inappropriate_fallback",
        [90] = "user_canceled",
        [100] = "no_renegotiation",
        [109] = "missing_extension",
        [110] = "unsupported_extension",
        [111] = "certificate_unobtainable",
        [112] = "unrecognized_name",
        [113] = "bad_certificate_status_response",
        [114] = "bad_certificate_hash_value",
        [115] = "unknown_psk_identity",
        [116] = "certificate_required",
        [120] = "no_application_protocol",
    };

    if ((size_t)alert >= sizeof(names) / sizeof(names[0]) || names[alert] == NULL)
        return "unknown";
    return names[alert];
}

bool record_cipher_from_suite(uint16_t suite, enum record_version *ret_version,
                              enum record_cipher *ret_cipher, const char **ret_digest)
{
    for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
        if (suites[i].suite != suite)
            continue;
        *ret_version = suites[i].version;
        *ret_cipher = suites[i].cipher;
        *ret_digest = suites[i].digest;
        return true;
    }
    return false;
}

// HKDF-Expand-Label(secret, label, "", size) of RFC 8446 §7.1. 0 or -EIO.
static int derive(const uint8_t *secret, size_t secret_size, const char *label, size_t label_size,
                  uint8_t *out, size_t size)
{
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
                                         secret_size == 48 ? (char[]){"SHA384"} : (char[]){"SHA256"}, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, secret_size),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, (char[]){"tls13 "}, 6),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, (void *)label, label_size),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF_CTX *context = NULL;
    int result = -EIO;

    if (expand_label == NULL)
        return -EIO;
    context = EVP_KDF_CTX_new(expand_label);
    if (context != NULL && EVP_KDF_derive(context, out, size, params) > 0)
        result = 0;
    EVP_KDF_CTX_free(context); // wipes its copy of the secret
    return result;
}

int record_keys_derive(struct record_keys *keys)
{
    size_t key_size = record_cipher_key_size(keys->cipher);
    uint8_t key[RECORD_KEY_MAX] = {0};
    uint8_t iv[RECORD_IV_SIZE];
    int result = -EIO;

    if (keys->version != RECORD_TLS13 || (keys->secret_size != 32 && keys->secret_size != 48))
        return -EIO;
    if (derive(keys->secret, keys->secret_size, "key", 3, key, key_size) == 0 &&
        derive(keys->secret, keys->secret_size, "iv", 2, iv, sizeof(iv)) == 0) {
        memcpy(keys->key, key, sizeof(key));
        memcpy(keys->iv, iv, sizeof(iv));
        keys->sequence = 0;
        result = 0;
    }
    OPENSSL_cleanse(key, sizeof(key));
    OPENSSL_cleanse(iv, sizeof(iv));
    return result;
}

int record_keys_update(struct record_keys *keys)
{
    struct record_keys next = *keys;
    int result;

    if (keys->version != RECORD_TLS13)
        return -ENOTSUP;
    result = -EIO;
    if (keys->secret_size != 32 && keys->secret_size != 48)
        goto out;
    result = derive(keys->secret, keys->secret_size, "traffic upd", 11, next.secret, keys->secret_size);
    if (result == 0)
        result = record_keys_derive(&next);
    if (result == 0)
        *keys = next;
out:
    record_keys_wipe(&next);
    return result;
}

void record_keys_wipe(struct record_keys *keys)
{
    OPENSSL_cleanse(keys, sizeof(*keys));
}
