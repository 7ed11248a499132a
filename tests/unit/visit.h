// SPDX-License-Identifier: Apache-2.0
// Whole handshakes in one call: what the tests of the store share.
#pragma once

#include <sys/time.h>
#include <time.h>

#include "tests/unit/handshake.h"

// ---- time ----

// How far the clock of this process, OpenSSL's included, is ahead: time(3) and gettimeofday(2) are replaced.
static time_t clock_ahead_s;

time_t time(time_t *ret)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec += clock_ahead_s;
    if (ret != NULL)
        *ret = now.tv_sec;
    return now.tv_sec;
}

// What OpenSSL 3.4 and later ask.
int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    *ret = (struct timeval){.tv_sec = now.tv_sec + clock_ahead_s, .tv_usec = now.tv_nsec / 1000};
    return 0;
}

// ---- visits ----

// A client of one TLS version; 0: any.
static inline SSL_CTX *client_for(int version)
{
    SSL_CTX *client = client_context();

    SSL_CTX_set_min_proto_version(client, version);
    SSL_CTX_set_max_proto_version(client, version);
    return client;
}

static inline void talk_name(struct talk *talk, const char *sni)
{
    if (sni != NULL)
        must(SSL_set_tlsext_host_name(talk->client, sni) == 1, sni);
}

// A handshake that succeeds. What the client saw must be what the outcome says.
static inline struct engine_outcome visit(struct server *server, SSL_CTX *client, const char *sni)
{
    static struct talk talk;
    struct engine_outcome outcome;

    talk_init(&talk, server, client);
    talk_name(&talk, sni);
    outcome = talk_succeed(&talk);
    assert_false(outcome.resumed);
    assert_int_equal(outcome.certificate, id_of(SSL_get0_peer_certificate(talk.client)));
    assert_keys_work(&talk, &outcome);
    talk_finish(&talk);
    return outcome;
}

// One that fails, with the alert and the words. The client must have got the alert, or made it.
static inline void assert_refused(struct server *server, SSL_CTX *client, const char *sni, int alert,
                                  const char *words)
{
    static struct talk talk;
    enum engine_status status;

    talk_init(&talk, server, client);
    talk_name(&talk, sni);
    status = talk_run(&talk);
    assert_int_equal(status, ENGINE_FAILED);
    assert_string_equal(engine_failure(talk.engine), words);
    assert_int_equal(engine_alert(talk.engine), alert);
    talk_finish(&talk);
}

// A full handshake, and the session that the client keeps of it; NULL when it got none that can be resumed.
static inline SSL_SESSION *visit_for_session(struct server *server, SSL_CTX *client, const char *sni)
{
    static struct talk talk;
    struct engine_outcome outcome;
    SSL_SESSION *session;

    talk_init(&talk, server, client);
    talk_name(&talk, sni);
    outcome = talk_succeed(&talk);
    assert_false(outcome.resumed);
    assert_keys_work(&talk, &outcome);
    SSL_shutdown(talk.client); // or it would call the session bad
    session = SSL_get1_session(talk.client);
    talk_finish(&talk);
    if (SSL_SESSION_is_resumable(session) == 1)
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

// A visit that offers a session. The one that the client has afterwards goes into *ret_next, if that isn't NULL.
static inline struct engine_outcome visit_again(struct server *server, SSL_CTX *client, const char *sni,
                                                SSL_SESSION *session, SSL_SESSION **ret_next)
{
    static struct talk talk;
    struct engine_outcome outcome;

    talk_init(&talk, server, client);
    talk_name(&talk, sni);
    must(SSL_set_session(talk.client, session) == 1, "a session");
    outcome = talk_succeed(&talk);
    assert_int_equal(outcome.resumed, SSL_session_reused(talk.client));
    assert_keys_work(&talk, &outcome);
    SSL_shutdown(talk.client);
    if (ret_next != NULL)
        *ret_next = SSL_get1_session(talk.client);
    talk_finish(&talk);
    return outcome;
}
