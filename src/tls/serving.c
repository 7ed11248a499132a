// SPDX-License-Identifier: Apache-2.0
// What a client is shown. The handshake gets the certificates of all kinds that there are for the client's name, and OpenSSL picks the
// one that the client can do with. (A SSL_CTX for each certificate would spare 2,000 instructions of a handshake with RSA and 24,000 with ECDSA,
// of some millions, and take 15 KB for each.)
#include "src/tls/serving.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "src/tls/context.h"
#include "src/tls/engine.h"
#include "src/tls/hot.h"
#include "src/tls/material.h"

bool serving_accepts(struct handshake *handshake, int *ret_alert)
{
    const struct tls_context *context = handshake->context;
    struct material_choice choice;
    enum material_match match =
        material_choose(context->material, context->listener, handshake->sni, &choice);
    const char *words;

    if (match == MATERIAL_BY_NAME || (match == MATERIAL_BY_DEFAULT && !context->is_strict))
        return true;
    if (match == MATERIAL_NONE && !context->is_strict) {
        words = "no certificate at all";
        *ret_alert = SSL_AD_HANDSHAKE_FAILURE;
    } else {
        words = handshake->sni[0] == '\0' ? "client names no host" : "no certificate for this name";
        *ret_alert = SSL_AD_UNRECOGNIZED_NAME;
    }
    snprintf(handshake->failure, sizeof(handshake->failure), "%s", words);
    return false;
}

static bool install(struct handshake *handshake, SSL *ssl, enum certificate_kind kind, struct slot *slot,
                    uint32_t number)
{
    const struct hot *hot = hot_get(handshake->context->material, slot);

    if (hot == NULL)
        return false;
    if (SSL_use_cert_and_key(ssl, hot->leaf, hot->key, hot->chain, 1) != 1) {
        hot_complain(slot);
        return false;
    }
    handshake->shown[kind] = (struct shown){.leaf = hot->leaf, .id = slot->id, .slot = number};
    return true;
}

// Comes again with the second hello after a HelloRetryRequest (RFC 8446 §4.1.4). The material may be another one by then.
static int on_certificate(SSL *ssl, void *argument)
{
    struct handshake *handshake = SSL_get_app_data(ssl);
    const struct tls_context *context = handshake->context;
    struct material_choice choice;
    bool is_any = false;

    if (handshake->is_shown) {
        SSL_certs_clear(ssl);
        memset(handshake->shown, 0, sizeof(handshake->shown));
    }
    handshake->is_shown = true;
    if (material_choose(context->material, context->listener, handshake->sni, &choice) != MATERIAL_NONE) {
        for (int kind = 0; kind < CERTIFICATE_KINDS; kind++) {
            if (choice.slots[kind] != NULL && install(handshake, ssl, (enum certificate_kind)kind,
                                                      choice.slots[kind], choice.numbers[kind]))
                is_any = true;
        }
    }
    if (!is_any)
        snprintf(handshake->failure, sizeof(handshake->failure), "no certificate can be used");
    return is_any;
}

// OpenSSL has picked a certificate and asks for its status. An OCSP response is never sent after its time, and none is better than
// one that ends the connection.
static int on_status(SSL *ssl, void *argument)
{
    const struct handshake *handshake = SSL_get_app_data(ssl);
    const struct material *material = handshake->context->material;
    const struct shown *shown = handshake_shown(handshake, ssl);
    const struct slot *slot =
        shown != NULL && shown->slot < material->slot_count ? material->slots[shown->slot] : NULL;
    uint8_t *copy;

    if (slot == NULL || slot->id != shown->id || slot->staple == NULL || slot->staple_until_s <= time(NULL))
        return SSL_TLSEXT_ERR_NOACK;
    copy = OPENSSL_memdup(slot->staple, slot->staple_size);
    if (copy == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)slot->staple_size); // owns it from here on
    return SSL_TLSEXT_ERR_OK;
}

void serving_configure(SSL_CTX *ssl)
{
    SSL_CTX_set_cert_cb(ssl, on_certificate, NULL);
    SSL_CTX_set_tlsext_status_cb(ssl, on_status);
}
