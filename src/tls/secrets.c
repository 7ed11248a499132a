// SPDX-License-Identifier: Apache-2.0
// From OpenSSL's handshake to the record layer's keys: TLS 1.3 by the traffic secrets (RFC 8446 §7.1), TLS 1.2 by the key block (RFC 5246
// §6.3), as our provider sees them go by; without it by the key log callback and by deriving the block again. Both ways work alike from
// OpenSSL 3.0 on, in both directions, which OpenSSL's own kernel TLS does not.
#include "src/tls/secrets.h"

#include <errno.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/params.h>

#include "ringbolt/secret.h"

#define RANDOM_SIZE ((size_t)32)
#define MASTER_SIZE 48
#define LABEL       "key expansion"
// RFC 5288 §3: of the nonce, four bytes come from the key block; RFC 7905 §2: all twelve.
#define GCM_SALT_SIZE 4

static int hex_digit(char character)
{
    if (character >= '0' && character <= '9')
        return character - '0';
    if (character >= 'a' && character <= 'f')
        return character - 'a' + 10;
    if (character >= 'A' && character <= 'F')
        return character - 'A' + 10;
    return -1;
}

// How many bytes `text` spells; 0 when it isn't hexadecimal to its end or doesn't fit.
static size_t hex_decode(const char *text, uint8_t *bytes, size_t size)
{
    size_t count = 0;

    for (; text[0] != '\0'; text += 2) {
        int high = hex_digit(text[0]);
        int low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0 || count == size)
            return 0;
        bytes[count++] = (uint8_t)(high << 4 | low);
    }
    return count;
}

// What the client writes, the server reads.
static struct secrets_direction *direction_of(struct secrets *secrets, bool is_clients)
{
    return &secrets->directions[is_clients == secrets->is_client ? RECORD_TRANSMIT : RECORD_RECEIVE];
}

void secrets_watch(void *argument, enum provider_secret which, const uint8_t *secret, size_t size)
{
    struct secrets *secrets = argument;
    struct secrets_direction *direction;

    if (which == PROVIDER_KEY_BLOCK) {
        secrets->block_size = size < sizeof(secrets->block) ? size : sizeof(secrets->block);
        memcpy(secrets->block, secret, secrets->block_size);
        return;
    }
    direction = direction_of(secrets, which == PROVIDER_CLIENT_TRAFFIC);
    if (size > sizeof(direction->traffic))
        return; // of no suite that we negotiate; secrets_keys() will miss it
    memcpy(direction->traffic, secret, size);
    direction->traffic_size = (uint8_t)size;
    direction->records = 0;
}

// A line is "LABEL CLIENT_RANDOM SECRET", the last two hexadecimal.
void secrets_keylog(struct secrets *secrets, const char *line)
{
    struct secrets_direction *direction;
    const char *secret = strrchr(line, ' ');

    if (strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) == 0)
        direction = direction_of(secrets, true);
    else if (strncmp(line, "SERVER_TRAFFIC_SECRET_0 ", 24) == 0)
        direction = direction_of(secrets, false);
    else
        return;
    direction->traffic_size = (uint8_t)hex_decode(secret + 1, direction->traffic, sizeof(direction->traffic));
    direction->records = 0;
}

void secrets_record(struct secrets *secrets, enum record_direction direction, uint8_t type)
{
    // In TLS 1.2 the keys change right here (RFC 5246 §7.1). In TLS 1.3 it means nothing, isn't protected, and
    // comes before the application's keys (RFC 8446 §5, §D.4), whose announcement starts the count anew.
    if (type == RECORD_CHANGE_CIPHER_SPEC)
        secrets->directions[direction].records = 0;
    else
        secrets->directions[direction].records++;
}

void secrets_sent(struct secrets *secrets, const uint8_t *records, size_t length)
{
    bool is_changed = false;

    while (length >= RECORD_HEADER_SIZE) {
        size_t size = RECORD_HEADER_SIZE + (size_t)(records[3] << 8 | records[4]);

        if (size > length)
            return;
        // The first record behind change_cipher_spec is Finished.
        if (is_changed && size >= RECORD_HEADER_SIZE + sizeof(secrets->nonce_sent)) {
            memcpy(secrets->nonce_sent, records + RECORD_HEADER_SIZE, sizeof(secrets->nonce_sent));
            return;
        }
        is_changed = records[0] == RECORD_CHANGE_CIPHER_SPEC;
        records += size;
        length -= size;
    }
}

static int keys_tls13(const struct secrets_direction *direction, struct record_keys *keys)
{
    int result;

    keys->secret_size = direction->traffic_size;
    memcpy(keys->secret, direction->traffic, sizeof(keys->secret));
    result = record_keys_derive(keys);
    keys->sequence = direction->records;
    return result;
}

// P_hash(master secret, "key expansion" + server random + client random), RFC 5246 §5 and §6.3.
static int key_block(const SSL *ssl, EVP_KDF *prf, const char *digest, uint8_t *block, size_t size)
{
    uint8_t master[MASTER_SIZE];
    uint8_t seed[sizeof(LABEL) - 1 + 2 * RANDOM_SIZE] = LABEL;
    uint8_t *randoms = seed + sizeof(LABEL) - 1;
    size_t master_size = SSL_SESSION_get_master_key(SSL_get_session(ssl), master, sizeof(master));
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, master, master_size),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, seed, sizeof(seed)),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(prf);
    int result = -EIO;

    if (context != NULL && master_size == MASTER_SIZE &&
        SSL_get_server_random(ssl, randoms, RANDOM_SIZE) == RANDOM_SIZE &&
        SSL_get_client_random(ssl, randoms + RANDOM_SIZE, RANDOM_SIZE) == RANDOM_SIZE &&
        EVP_KDF_derive(context, block, size, params) > 0)
        result = 0;
    EVP_KDF_CTX_free(context); // wipes its copy of the secret
    secret_wipe(master, sizeof(master));
    return result;
}

// The block is cut into client key, server key, client IV, server IV: an AEAD has no MAC keys (RFC 5246 §6.3).
static int keys_tls12(const struct secrets *secrets, const SSL *ssl, EVP_KDF *prf, const char *digest,
                      struct record_keys *receive, struct record_keys *transmit)
{
    size_t key_size = record_cipher_key_size(receive->cipher);
    size_t iv_size = receive->cipher == RECORD_CHACHA20_POLY1305 ? RECORD_IV_SIZE : GCM_SALT_SIZE;
    uint8_t block[SECRETS_BLOCK_MAX];
    const uint8_t *ivs = block + 2 * key_size;
    size_t size = 2 * key_size + 2 * iv_size;
    int result = 0;

    if (secrets->block_size >= size)
        memcpy(block, secrets->block, size);
    else
        result = key_block(ssl, prf, digest, block, size);
    if (result == 0) {
        struct record_keys *client = secrets->is_client ? transmit : receive;
        struct record_keys *server = secrets->is_client ? receive : transmit;

        memcpy(client->key, block, key_size);
        memcpy(server->key, block + key_size, key_size);
        memcpy(client->iv, ivs, iv_size);
        memcpy(server->iv, ivs + iv_size, iv_size);
    }
    secret_wipe(block, sizeof(block));
    return result;
}

int secrets_keys(const struct secrets *secrets, const SSL *ssl, EVP_KDF *prf, struct record_keys *ret_receive,
                 struct record_keys *ret_transmit)
{
    const struct secrets_direction *receiving = &secrets->directions[RECORD_RECEIVE];
    const struct secrets_direction *transmitting = &secrets->directions[RECORD_TRANSMIT];
    struct record_keys receive = {.sequence = receiving->records};
    struct record_keys transmit = {.sequence = transmitting->records};
    const char *digest;
    int result = -EIO;

    if (!record_cipher_from_suite(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl)), &receive.version,
                                  &receive.cipher, &digest) ||
        SSL_version(ssl) != (int)receive.version)
        return -EIO;
    transmit.version = receive.version;
    transmit.cipher = receive.cipher;
    if (receive.version == RECORD_TLS12)
        result = keys_tls12(secrets, ssl, prf, digest, &receive, &transmit);
    else if (keys_tls13(receiving, &receive) == 0)
        result = keys_tls13(transmitting, &transmit);
    if (receive.version == RECORD_TLS12 && receive.cipher != RECORD_CHACHA20_POLY1305)
        memcpy(transmit.iv + GCM_SALT_SIZE, secrets->nonce_sent, sizeof(secrets->nonce_sent));
    if (result == 0) {
        *ret_receive = receive;
        *ret_transmit = transmit;
    }
    record_keys_wipe(&receive);
    record_keys_wipe(&transmit);
    return result;
}

void secrets_wipe(struct secrets *secrets)
{
    secret_wipe(secrets, sizeof(*secrets));
}
