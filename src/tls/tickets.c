// SPDX-License-Identifier: Apache-2.0
// Session tickets: OpenSSL makes and reads them, here it is given the keys and told which sessions are still good.
#include "src/tls/tickets.h"

#include <string.h>
#include <time.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "ringbolt/clock.h"
#include "src/tls/context.h"
#include "src/tls/engine.h"
#include "src/tls/material.h"

#define TICKETS 2
// RFC 8446 §4.6.1 recommends a limit on how long tickets for tickets prolong a session without a full handshake, and 7 days
// for one of them.
#define CHAIN_LIFE_S ((int64_t)7 * 24 * 3600)
#define CLOCK_SKEW_S 300 // between instances that share keys

// What a ticket carries beside the session, big endian.
struct notes {
    uint64_t certificate;
    int64_t began_s; // the full handshake
};

#define NOTES_SIZE 16

static void notes_write(const struct notes *notes, uint8_t *bytes)
{
    for (int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(notes->certificate >> (56 - 8 * i));
        bytes[8 + i] = (uint8_t)((uint64_t)notes->began_s >> (56 - 8 * i));
    }
}

static bool notes_read(SSL_SESSION *session, struct notes *ret)
{
    const uint8_t *bytes;
    uint64_t certificate = 0;
    uint64_t began_s = 0;
    size_t size;
    void *data;

    if (SSL_SESSION_get0_ticket_appdata(session, &data, &size) != 1 || data == NULL || size != NOTES_SIZE)
        return false;
    bytes = data;
    for (int i = 0; i < 8; i++) {
        certificate = certificate << 8 | bytes[i];
        began_s = began_s << 8 | bytes[8 + i];
    }
    *ret = (struct notes){.certificate = certificate, .began_s = (int64_t)began_s};
    return true;
}

uint64_t tickets_certificate(SSL_SESSION *session)
{
    struct notes notes;

    return session != NULL && notes_read(session, &notes) ? notes.certificate : 0;
}

// ---- keys ----

// Looks at all of them in any case, so that the time says nothing.
static const struct ticket_key *key_find(const struct ticket_keys *keys, const unsigned char *name)
{
    const struct ticket_key *found = NULL;

    for (size_t i = 0; i < keys->count; i++) {
        if (CRYPTO_memcmp(keys->keys[i].name, name, sizeof(keys->keys[i].name)) == 0 && found == NULL)
            found = &keys->keys[i];
    }
    return found;
}

static bool key_use(const struct tls_context *context, const struct ticket_key *key, const unsigned char *iv,
                    EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypts)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end(),
    };

    return EVP_MAC_init(mac, key->hmac, key->size, params) == 1 &&
           EVP_CipherInit_ex2(cipher, key->size == 16 ? context->aes_128 : context->aes_256, key->aes, iv,
                              encrypts, NULL) == 1;
}

// 1: done. 2: done, and the client shall have a new ticket. 0: no key, go on without. -1: an error that ends the handshake.
static int on_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                  int encrypts)
{
    const struct handshake *handshake = SSL_get_app_data(ssl);
    const struct tls_context *context = handshake->context;
    const struct ticket_keys *keys = context->material->ticket_keys;
    const struct ticket_key *key;

    if (keys == NULL)
        return 0;
    if (encrypts) {
        key = &keys->keys[0];
        if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(context->aes_128)) != 1)
            return -1;
        memcpy(name, key->name, sizeof(key->name));
        return key_use(context, key, iv, cipher, mac, 1) ? 1 : -1;
    }
    key = key_find(keys, name);
    if (key == NULL)
        return 0;
    if (!key_use(context, key, iv, cipher, mac, 0))
        return -1;
    // In TLS 1.3 a ticket is for one use, lest connections can be linked by it (RFC 8446 §C.4).
    return key == &keys->keys[0] && SSL_version(ssl) != TLS1_3_VERSION ? 1 : 2;
}

// ---- sessions ----

static int on_generate(SSL *ssl, void *argument)
{
    const struct handshake *handshake = SSL_get_app_data(ssl);
    uint8_t bytes[NOTES_SIZE];
    struct notes notes;

    if (SSL_session_reused(ssl) == 1)
        return 1; // the session's own go on
    notes = (struct notes){.certificate = handshake_certificate(handshake, ssl), .began_s = time(NULL)};
    notes_write(&notes, bytes);
    return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), bytes, sizeof(bytes));
}

// A client that resumes sees no certificate, so an attacker who leads it to another listener than it meant would go unnoticed, as
// long as both have the same ticket keys. So a listener resumes what it could have begun: it has certificates for the client's name, or the
// session began with what it shows to those that no name fits, now or a few versions ago.
static bool is_ours(const struct handshake *handshake, uint64_t certificate)
{
    const struct tls_context *context = handshake->context;
    struct material_choice choice;

    switch (material_choose(context->material, context->listener, handshake->sni, &choice)) {
    case MATERIAL_NONE:
        return false;
    case MATERIAL_BY_NAME:
        return true;
    case MATERIAL_BY_DEFAULT:
        break;
    }
    for (int kind = 0; kind < CERTIFICATE_KINDS; kind++) {
        const struct slot *slot = choice.slots[kind];

        if (slot == NULL)
            continue;
        if (slot->id == certificate)
            return true;
        for (size_t i = 0; i < FORMER_MAX; i++) {
            if (slot->former[i] == certificate)
                return true;
        }
    }
    return false;
}

static bool is_good(const struct handshake *handshake, SSL_SESSION *session)
{
    const X509 *client = SSL_SESSION_get0_peer(session);
    int64_t now_s = time(NULL);
    struct notes notes;

    return notes_read(session, &notes) && notes.certificate != 0 &&
           !material_is_retired(handshake->context->material, notes.certificate) &&
           notes.began_s <= now_s + CLOCK_SKEW_S && now_s - notes.began_s < CHAIN_LIFE_S &&
           (client == NULL || X509_cmp_current_time(X509_get0_notAfter(client)) > 0) &&
           is_ours(handshake, notes.certificate);
}

static SSL_TICKET_RETURN on_decrypt(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                    size_t name_size, SSL_TICKET_STATUS status, void *argument)
{
    const struct handshake *handshake = SSL_get_app_data(ssl);

    switch (status) {
    case SSL_TICKET_SUCCESS:
    case SSL_TICKET_SUCCESS_RENEW:
        if (!is_good(handshake, session))
            return SSL_TICKET_RETURN_IGNORE_RENEW;
        return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
    default:
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    }
}

// ---- set-up ----

bool tickets_configure(struct tls_context *context, uint64_t lifetime_ns)
{
    context->aes_128 = EVP_CIPHER_fetch(NULL, "AES-128-CBC", NULL);
    context->aes_256 = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    SSL_CTX_set_session_cache_mode(context->ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_timeout(context->ssl, (long)(lifetime_ns / CLOCK_NS_PER_S));
    return context->aes_128 != NULL && context->aes_256 != NULL &&
           SSL_CTX_set_tlsext_ticket_key_evp_cb(context->ssl, on_key) == 1 &&
           SSL_CTX_set_session_ticket_cb(context->ssl, on_generate, on_decrypt, NULL) == 1 &&
           SSL_CTX_set_num_tickets(context->ssl, TICKETS) == 1 &&
           SSL_CTX_set_max_early_data(context->ssl, 0) == 1;
}

void tickets_prepare(const struct tls_context *context, SSL *ssl)
{
    if (context->material->ticket_keys != NULL)
        return;
    SSL_set_options(ssl, SSL_OP_NO_TICKET);
    SSL_set_num_tickets(ssl, 0);
}
