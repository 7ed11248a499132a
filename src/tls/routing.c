// SPDX-License-Identifier: Apache-2.0
// Routes: decided by the ClientHello alone and each time anew, so that no ticket takes a session's protocol to another route.
#include "src/tls/routing.h"

#include <stdio.h>
#include <string.h>

#include "src/tls/context.h"
#include "src/tls/hello.h"

static bool refuse(struct handshake *handshake, int alert, const char *words, int *ret_alert)
{
    snprintf(handshake->failure, sizeof(handshake->failure), "%s", words);
    *ret_alert = alert;
    return false;
}

bool routing_accepts(struct handshake *handshake, SSL *ssl, int *ret_alert)
{
    const struct config_listener *listener = handshake->context->config;
    const struct config_route *route;
    const uint8_t *alpn;
    size_t alpn_size;

    if (listener->route_count == 0)
        return true;
    hello_protocols(ssl, &alpn, &alpn_size);
    route = config_route_choose(listener, handshake->sni, alpn, alpn_size);
    // After HelloRetryRequest: RFC 8446 §4.1.2 lets a client change neither.
    if (handshake->is_routed && route != handshake->route)
        return refuse(handshake, SSL_AD_ILLEGAL_PARAMETER, "second ClientHello for another route", ret_alert);
    handshake->is_routed = true;
    handshake->route = route;
    if (route == NULL && listener->upstream == CONFIG_NO_UPSTREAM) {
        handshake->is_rejected = true;
        if (config_route_knows(listener, handshake->sni))
            return refuse(handshake, SSL_AD_NO_APPLICATION_PROTOCOL, "no route for these protocols",
                          ret_alert);
        return refuse(handshake, SSL_AD_UNRECOGNIZED_NAME, "no route for this name", ret_alert);
    }
    if (route != NULL && route->way == CONFIG_WAY_REJECT) {
        handshake->is_rejected = true;
        return refuse(handshake, SSL_AD_UNRECOGNIZED_NAME, "rejected by a route", ret_alert);
    }
    // Whoever passes streams through does that before the engine; these bytes he could not read.
    if (route != NULL && route->way == CONFIG_WAY_PASSTHROUGH)
        return refuse(handshake, SSL_AD_DECODE_ERROR, "ClientHello in a form that is not passed through",
                      ret_alert);
    return true;
}

// A route with protocols is for clients that offer one of them, and that one is what they are answered.
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_size, const unsigned char *in,
                   unsigned in_size, void *argument)
{
    const struct handshake *handshake = SSL_get_app_data(ssl);
    const struct config_route *route = handshake->route;
    const struct config_tls *tls = &handshake->context->config->tls;
    bool is_own = route != NULL && route->alpn_count > 0;
    size_t count = is_own ? route->alpn_count : tls->alpn_count;
    const char *chosen;

    if (count == 0)
        return SSL_TLSEXT_ERR_NOACK;
    chosen = config_alpn_choose(is_own ? route->alpn : tls->alpn, count, in, in_size);
    if (chosen == NULL)
        return SSL_TLSEXT_ERR_ALERT_FATAL; // RFC 7301 §3.2: no_application_protocol
    *out = (const unsigned char *)chosen;
    *out_size = (unsigned char)strlen(chosen);
    return SSL_TLSEXT_ERR_OK;
}

void routing_configure(SSL_CTX *ssl)
{
    SSL_CTX_set_alpn_select_cb(ssl, on_alpn, NULL);
}
