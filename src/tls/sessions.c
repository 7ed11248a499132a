// SPDX-License-Identifier: Apache-2.0
#include "src/tls/sessions.h"

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "src/tls/context.h"

#define LIFE_S 3600

// What is known of one server.
struct session {
    SSL_SESSION *session; // NULL: none
    int64_t until_s;
    unsigned waiting; // connections that wait for a ticket
};

struct sessions {
    unsigned epoch; // counts up when they are forgotten
    size_t count;
    struct session each[];
};

struct sessions *sessions_create(size_t server_count)
{
    struct sessions *sessions = calloc(1, sizeof(*sessions) + server_count * sizeof(sessions->each[0]));

    if (sessions != NULL)
        sessions->count = server_count;
    return sessions;
}

static void drop(struct session *session)
{
    SSL_SESSION_free(session->session); // wipes
    session->session = NULL;
}

void sessions_destroy(struct sessions *sessions)
{
    if (sessions == NULL)
        return;
    for (size_t i = 0; i < sessions->count; i++)
        drop(&sessions->each[i]);
    free(sessions);
}

void sessions_forget(struct sessions *sessions)
{
    for (size_t i = 0; i < sessions->count; i++)
        drop(&sessions->each[i]);
    sessions->epoch++;
}

static bool is_of_before(const struct handshake *handshake)
{
    return handshake->epoch != handshake->context->sessions->epoch;
}

// NULL: nothing is kept of this handshake's server.
static struct session *session_of(const struct handshake *handshake)
{
    struct sessions *sessions = handshake->context->sessions;

    return sessions != NULL && handshake->server < sessions->count ? &sessions->each[handshake->server]
                                                                   : NULL;
}

// ---- how long ----

static int64_t earlier(int64_t a_s, int64_t b_s)
{
    return a_s < b_s ? a_s : b_s;
}

static int64_t not_after(const X509 *certificate)
{
    struct tm parts;

    return ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &parts) == 1 ? timegm(&parts) : 0;
}

// Until when what was verified holds, and what the server promised.
static int64_t until(const struct handshake *handshake, SSL *ssl, SSL_SESSION *session, int64_t now_s)
{
    STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    unsigned long hint_s = SSL_SESSION_get_ticket_lifetime_hint(session);
    int64_t until_s = now_s + LIFE_S;

    // RFC 5077 §3.3: none means that it isn't said; RFC 8446 §4.6.1: that it is good for nothing.
    if (hint_s > 0 || SSL_version(ssl) == TLS1_3_VERSION)
        until_s = earlier(until_s, now_s + (int64_t)(hint_s < LIFE_S ? hint_s : LIFE_S));
    for (int i = 0; handshake->context->upstream->tls.verifies && i < sk_X509_num(chain); i++)
        until_s = earlier(until_s, not_after(sk_X509_value(chain, i)));
    return earlier(until_s, handshake->context->trusted_until_s);
}

// ---- what OpenSSL tells ----

// Keeps a copy: OpenSSL marks its own as used when the connection that it came with ends in a way that it doesn't know.
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct handshake *handshake = SSL_get_app_data(ssl);
    struct session *ours = session_of(handshake);
    int64_t now_s = time(NULL);
    SSL_SESSION *copy;
    int64_t until_s;

    if (ours == NULL || is_of_before(handshake) || SSL_session_reused(ssl) == 1)
        return 0;
    until_s = until(handshake, ssl, session, now_s);
    if (until_s <= now_s)
        return 0;
    copy = SSL_SESSION_dup(session);
    if (copy == NULL)
        return 0; // no memory: then there is none
    drop(ours);
    ours->session = copy;
    ours->until_s = until_s;
    handshake->is_session_offered = false; // what was offered is gone already
    return 0;                              // we took no reference
}

void sessions_configure(SSL_CTX *ssl)
{
    SSL_CTX_clear_options(ssl, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ssl, on_session);
}

// ---- a handshake ----

void sessions_offer(struct handshake *handshake, SSL *ssl)
{
    struct session *ours = session_of(handshake);
    SSL_SESSION *copy;

    if (ours == NULL)
        return;
    handshake->epoch = handshake->context->sessions->epoch;
    if (ours->session == NULL)
        return;
    if (time(NULL) >= ours->until_s) {
        drop(ours);
        return;
    }
    // A copy, because OpenSSL lets each be used once only in TLS 1.3.
    copy = SSL_SESSION_dup(ours->session);
    handshake->is_session_offered = copy != NULL && SSL_set_session(ssl, copy) == 1;
    SSL_SESSION_free(copy);
    ERR_clear_error();
}

void sessions_failed(struct handshake *handshake)
{
    struct session *ours = session_of(handshake);

    if (ours != NULL && handshake->is_session_offered && !is_of_before(handshake))
        drop(ours);
    handshake->is_session_offered = false;
}

bool sessions_succeeded(struct handshake *handshake, SSL *ssl)
{
    struct session *ours = session_of(handshake);

    if (ours == NULL || is_of_before(handshake) || SSL_session_reused(ssl) == 1)
        return false;
    sessions_failed(handshake); // it was offered, and not taken
    if (SSL_version(ssl) != TLS1_3_VERSION || ours->session != NULL || ours->waiting >= SESSIONS_WAITING_MAX)
        return false;
    ours->waiting++;
    handshake->is_ticket_awaited = true;
    return true;
}

void sessions_wait_no_more(struct handshake *handshake)
{
    struct session *ours = session_of(handshake);

    if (ours != NULL && handshake->is_ticket_awaited)
        ours->waiting--;
    handshake->is_ticket_awaited = false;
}
