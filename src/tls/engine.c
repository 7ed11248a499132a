// SPDX-License-Identifier: Apache-2.0
// One handshake as a machine: bytes in, bytes out, at the end keys. OpenSSL reads through a BIO straight from the span that
// engine_feed() was given. With read_ahead off it asks for a record's header and then for exactly its body, so nothing
// behind the last record of the handshake is taken.
#include "src/tls/engine.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>

#include "ringbolt/secret.h"
#include "ringbolt/tls.h"
#include "src/tls/certificates.h"
#include "src/tls/client_context.h"
#include "src/tls/context.h"
#include "src/tls/failure.h"
#include "src/tls/hello.h"
#include "src/tls/material.h"
#include "src/tls/routing.h"
#include "src/tls/secrets.h"
#include "src/tls/serving.h"
#include "src/tls/sessions.h"
#include "src/tls/tickets.h"
#include "src/tls/verify.h"

#define OUTPUT_FIRST_SIZE 4096 // a server's flight with two certificates and more

// RFC 8446 §6.2; enum record_alert names only those that the record layer sends.
#define ALERT_LEVEL_FATAL      2
#define ALERT_PROTOCOL_VERSION 70

struct engine {
    struct handshake shared; // SSL's app data, so it comes first
    SSL *ssl;
    const uint8_t *input;
    size_t input_left;
    uint8_t *output; // output_end bytes of output_size are filled, and output_start of these are sent
    size_t output_start;
    size_t output_end;
    size_t output_size;
    enum engine_status status;
    struct hello_guard guard;
    enum hello_verdict verdict; // but for HELLO_GOOD OpenSSL gets no more input
    struct secrets secrets;
    enum record_alert alert; // the last one, whoever sent it
    bool is_alert_received;
    bool is_hello_read;
    uint16_t version_offered;
    // of a client that awaits a ticket: what OpenSSL would open the next record with
    struct record_keys ticket_keys;
};

static bool is_client(const struct engine *engine)
{
    return engine->secrets.is_client;
}

// ---- the transport ----

static int on_read(BIO *bio, char *data, size_t size, size_t *ret_count)
{
    struct engine *engine = BIO_get_data(bio);
    size_t count = size < engine->input_left ? size : engine->input_left;

    BIO_clear_retry_flags(bio);
    if (count == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    if (!is_client(engine))
        engine->verdict = hello_watch(&engine->guard, SSL_version(engine->ssl), engine->input, count);
    if (engine->verdict != HELLO_GOOD)
        return 0;
    memcpy(data, engine->input, count);
    engine->input += count;
    engine->input_left -= count;
    *ret_count = count;
    return 1;
}

static bool output_append(struct engine *engine, const void *data, size_t size)
{
    size_t needed = engine->output_end + size;

    if (needed > engine->output_size) {
        size_t bigger = engine->output_size > 0 ? 2 * engine->output_size : OUTPUT_FIRST_SIZE;
        uint8_t *output = realloc(engine->output, bigger > needed ? bigger : needed);

        if (output == NULL)
            return false;
        engine->output = output;
        engine->output_size = bigger > needed ? bigger : needed;
    }
    memcpy(engine->output + engine->output_end, data, size);
    engine->output_end = needed;
    return true;
}

static int on_write(BIO *bio, const char *data, size_t size, size_t *ret_count)
{
    BIO_clear_retry_flags(bio);
    if (!output_append(BIO_get_data(bio), data, size))
        return 0;
    *ret_count = size;
    return 1;
}

static long on_control(BIO *bio, int command, long number, void *pointer)
{
    return command == BIO_CTRL_FLUSH;
}

BIO_METHOD *engine_transport_create(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "ringbolt engine");

    if (method != NULL && BIO_meth_set_read_ex(method, on_read) == 1 &&
        BIO_meth_set_write_ex(method, on_write) == 1 && BIO_meth_set_ctrl(method, on_control) == 1)
        return method;
    BIO_meth_free(method);
    return NULL;
}

// ---- what OpenSSL tells on the way ----

static struct engine *engine_of(const SSL *ssl)
{
    return SSL_get_app_data(ssl);
}

// One write a line: several processes append to the file.
static void keylog_append(int fd, const char *line)
{
    char text[512];
    int length = snprintf(text, sizeof(text), "%s\n", line);
    ssize_t written = 0;

    if (length > 0 && length < (int)sizeof(text))
        written = write(fd, text, (size_t)length);
    (void)written; // who looks into connections then misses one, which is none the worse for it
    secret_wipe(text, sizeof(text));
}

static void on_keylog(const SSL *ssl, const char *line)
{
    struct engine *engine = engine_of(ssl);

    secrets_keylog(&engine->secrets, line);
    if (engine->shared.context->keylog >= 0)
        keylog_append(engine->shared.context->keylog, line);
}

static int on_client_hello(SSL *ssl, int *alert, void *argument)
{
    struct engine *engine = engine_of(ssl);

    engine->is_hello_read = true;
    engine->version_offered = hello_version_max(ssl);
    hello_server_name(ssl, engine->shared.sni, sizeof(engine->shared.sni));
    if (!routing_accepts(&engine->shared, ssl, alert))
        return SSL_CLIENT_HELLO_ERROR;
    return serving_accepts(&engine->shared, alert) ? SSL_CLIENT_HELLO_SUCCESS : SSL_CLIENT_HELLO_ERROR;
}

static void on_message(int is_sent, int version, int type, const void *data, size_t size, SSL *ssl,
                       void *argument)
{
    struct engine *engine = argument;
    const uint8_t *bytes = data;

    if (type == SSL3_RT_HEADER && size == RECORD_HEADER_SIZE) {
        secrets_record(&engine->secrets, is_sent ? RECORD_TRANSMIT : RECORD_RECEIVE, bytes[0]);
    } else if (type == SSL3_RT_ALERT && size == 2) {
        engine->alert = (enum record_alert)bytes[1];
        engine->is_alert_received = !is_sent;
    }
}

void engine_observe(struct tls_context *context)
{
    SSL_CTX *ssl = context->ssl;

    // Each line costs OpenSSL more than deriving what it says.
    if (context->keylog >= 0 || !provider_serves())
        SSL_CTX_set_keylog_callback(ssl, on_keylog);
    if (context->upstream == NULL)
        SSL_CTX_set_client_hello_cb(ssl, on_client_hello, NULL);
}

const struct shown *handshake_shown(const struct handshake *handshake, SSL *ssl)
{
    const X509 *picked = SSL_get_certificate(ssl);

    for (int kind = 0; picked != NULL && kind < CERTIFICATE_KINDS; kind++) {
        if (handshake->shown[kind].leaf == picked)
            return &handshake->shown[kind];
    }
    return NULL;
}

uint64_t handshake_certificate(const struct handshake *handshake, SSL *ssl)
{
    const struct shown *shown = handshake_shown(handshake, ssl);

    return shown != NULL ? shown->id : 0;
}

// ---- the machine ----

static struct engine *create(struct tls_context *context)
{
    struct engine *engine = calloc(1, sizeof(*engine));
    BIO *transport = NULL;

    if (engine == NULL)
        return NULL;
    engine->shared.context = context;
    engine->guard.size_max = context->hello_size_max;
    engine->alert = ALERT_NONE;
    engine->ssl = SSL_new(context->ssl);
    transport = BIO_new(context->transport);
    if (engine->ssl == NULL || transport == NULL || SSL_set_app_data(engine->ssl, engine) != 1) {
        BIO_free(transport);
        engine_destroy(engine);
        ERR_clear_error();
        return NULL;
    }
    BIO_set_data(transport, engine);
    BIO_set_init(transport, 1);
    SSL_set_bio(engine->ssl, transport, transport); // owns it from here on
    SSL_set_msg_callback(engine->ssl, on_message);
    SSL_set_msg_callback_arg(engine->ssl, engine);
    return engine;
}

struct engine *engine_create_server(struct tls_context *context)
{
    struct engine *engine = context_refresh(context) == 0 ? create(context) : NULL;

    if (engine == NULL)
        return NULL;
    SSL_set_accept_state(engine->ssl);
    tickets_prepare(context, engine->ssl);
    return engine;
}

struct engine *engine_create_client(struct tls_context *context, const struct engine_peer *peer)
{
    struct engine *engine;

    client_refresh(context);
    engine = create(context);
    if (engine == NULL)
        return NULL;
    engine->secrets.is_client = true;
    engine->shared.name = peer->name;
    engine->shared.server = peer->server;
    if (!client_prepare(context, engine->ssl, peer)) {
        engine_destroy(engine);
        ERR_clear_error();
        return NULL;
    }
    SSL_set_connect_state(engine->ssl);
    sessions_offer(&engine->shared, engine->ssl);
    return engine;
}

// Ends a handshake over bytes that OpenSSL did not get to see. They came in clear text, so the alert goes in clear text;
// what OpenSSL made of the missing input, from output_before on, is dropped.
static enum engine_status refuse(struct engine *engine, size_t output_before)
{
    bool is_sslv2 = engine->verdict == HELLO_SSLV2;
    enum record_alert alert = is_sslv2 ? (enum record_alert)ALERT_PROTOCOL_VERSION : ALERT_ILLEGAL_PARAMETER;
    const uint8_t record[] = {RECORD_ALERT, 3, 3, 0, 2, ALERT_LEVEL_FATAL, (uint8_t)alert};

    engine->output_end = output_before;
    output_append(engine, record, sizeof(record)); // no memory: no alert
    engine->alert = alert;
    snprintf(engine->shared.failure, sizeof(engine->shared.failure), "%s",
             is_sslv2 ? "SSLv2-style ClientHello" : "ClientHello too large");
    return ENGINE_FAILED;
}

static enum engine_status fail(struct engine *engine)
{
    struct failure_facts facts = {
        .version_offered = engine->version_offered,
        .version_min = (uint16_t)SSL_get_min_proto_version(engine->ssl),
        .is_hello_read = engine->is_hello_read,
        .start = engine->guard.record,
        .is_closed = engine->is_alert_received && engine->alert == ALERT_CLOSE_NOTIFY,
        .is_by_server = is_client(engine),
    };

    sessions_failed(&engine->shared);
    if (engine->shared.failure[0] == '\0') // else a callback has said why
        failure_describe(&facts, engine->shared.failure, sizeof(engine->shared.failure));
    return ENGINE_FAILED;
}

static void count_use(struct engine *engine)
{
    const struct handshake *handshake = &engine->shared;
    const struct shown *shown =
        SSL_session_reused(engine->ssl) == 1 ? NULL : handshake_shown(handshake, engine->ssl);

    if (shown != NULL && handshake->context->material->used != NULL)
        atomic_fetch_add_explicit(&handshake->context->material->used[shown->slot], 1, memory_order_relaxed);
}

static enum engine_status advance(struct engine *engine)
{
    size_t output_before = engine->output_end;
    int result;

    provider_watch(secrets_watch, &engine->secrets);
    result = SSL_do_handshake(engine->ssl);
    provider_watch(NULL, NULL);

    if (engine->verdict != HELLO_GOOD)
        return refuse(engine, output_before);
    if (result != 1 && SSL_get_error(engine->ssl, result) != SSL_ERROR_WANT_READ)
        return fail(engine);
    // A flight leaves OpenSSL whole, so these are whole records.
    if (engine->output_end > output_before)
        secrets_sent(&engine->secrets, engine->output + output_before, engine->output_end - output_before);
    if (result != 1)
        return ENGINE_WANTS_INPUT;
    // What stands behind Finished in the same record would be lost with the SSL object. OpenSSL refuses that itself in
    // TLS 1.3, where a key change must end a record (RFC 8446 §5.1).
    if (SSL_has_pending(engine->ssl)) {
        snprintf(engine->shared.failure, sizeof(engine->shared.failure),
                 "more than finished in the last record");
        return ENGINE_FAILED;
    }
    if (!is_client(engine))
        count_use(engine);
    return ENGINE_DONE;
}

enum engine_status engine_feed(struct engine *engine, const uint8_t *data, size_t length, size_t *ret_eaten)
{
    assert(engine->status == ENGINE_WANTS_INPUT);
    engine->input = data;
    engine->input_left = length;
    ERR_clear_error();
    engine->status = advance(engine);
    ERR_clear_error();
    *ret_eaten = length - engine->input_left;
    engine->input = NULL;
    engine->input_left = 0;
    return engine->status;
}

const uint8_t *engine_output(struct engine *engine, size_t *ret_length)
{
    *ret_length = engine->output_end - engine->output_start;
    return *ret_length > 0 ? engine->output + engine->output_start : NULL;
}

void engine_output_sent(struct engine *engine, size_t length)
{
    assert(length <= engine->output_end - engine->output_start);
    engine->output_start += length;
    if (engine->output_start == engine->output_end)
        engine->output_start = engine->output_end = 0;
}

static uint16_t payload_max(const SSL_SESSION *session)
{
    uint8_t code = SSL_SESSION_get_max_fragment_length(session);

    // RFC 6066 §4: 1 is 2^9, 4 is 2^12.
    return (uint16_t)(code >= 1 && code <= 4 ? 1 << (8 + code) : RECORD_PLAINTEXT_MAX);
}

// Which certificate, and who the client is. A resumed session remembers both.
static void describe_parties(const struct engine *engine, struct engine_outcome *outcome)
{
    const X509 *client = SSL_get0_peer_certificate(engine->ssl);

    outcome->resumed = SSL_session_reused(engine->ssl) == 1;
    if (is_client(engine))
        return;
    outcome->certificate = outcome->resumed ? tickets_certificate(SSL_get_session(engine->ssl))
                                            : handshake_certificate(&engine->shared, engine->ssl);
    if (client != NULL)
        verify_describe(client, outcome->client_subject, sizeof(outcome->client_subject),
                        outcome->client_fingerprint);
}

int engine_certificates(const struct engine *engine, struct engine_certificates *ret)
{
    const struct shown *shown =
        SSL_session_reused(engine->ssl) == 1 ? NULL : handshake_shown(&engine->shared, engine->ssl);

    assert(engine->status == ENGINE_DONE && engine->ssl != NULL);
    return certificates_describe(SSL_get0_peer_certificate(engine->ssl), shown != NULL ? shown->leaf : NULL,
                                 ret);
}

int engine_outcome(struct engine *engine, struct engine_outcome *ret)
{
    struct engine_outcome outcome = {0};
    const unsigned char *alpn;
    unsigned alpn_size;
    int result;

    assert(engine->status == ENGINE_DONE);
    result = secrets_keys(&engine->secrets, engine->ssl, engine->shared.context->prf, &outcome.receive,
                          &outcome.transmit);
    ERR_clear_error();
    if (result < 0)
        return result;
    memcpy(outcome.sni, engine->shared.sni, sizeof(outcome.sni));
    SSL_get0_alpn_selected(engine->ssl, &alpn, &alpn_size);
    assert(alpn_size < sizeof(outcome.alpn));
    if (alpn_size > 0)
        memcpy(outcome.alpn, alpn, alpn_size);
    outcome.version = outcome.receive.version;
    outcome.cipher = outcome.receive.cipher;
    outcome.version_name = SSL_get_version(engine->ssl);
    outcome.suite_name = SSL_CIPHER_get_name(SSL_get_current_cipher(engine->ssl));
    outcome.payload_max = payload_max(SSL_get_session(engine->ssl));
    describe_parties(engine, &outcome);
    *ret = outcome;
    // From here on the record layer counts the records: OpenSSL may not send another. It may still read.
    if (is_client(engine) && sessions_succeeded(&engine->shared, engine->ssl)) {
        engine->ticket_keys = outcome.receive;
    } else {
        SSL_free(engine->ssl);
        engine->ssl = NULL;
    }
    secret_wipe(&outcome, sizeof(outcome));
    secrets_wipe(&engine->secrets);
    return 0;
}

bool engine_awaits_ticket(const struct engine *engine)
{
    return engine->shared.is_ticket_awaited;
}

// The record layer has opened the record, or the kernel has. OpenSSL still stands where the handshake ended, with the keys of then, so it
// is sealed again as if it were the first record behind it; these bytes go nowhere else.
void engine_take_tickets(struct engine *engine, const uint8_t *messages, size_t length)
{
    struct record_user sealer;
    uint8_t *record;
    uint8_t unused;
    size_t count;
    size_t head;
    int size;

    assert(engine_awaits_ticket(engine) && length <= RECORD_PLAINTEXT_MAX);
    record_user_init(&sealer, &engine->ticket_keys, true);
    head = record_user_head(&sealer);
    record = malloc(head + length + record_user_tail(&sealer));
    if (record != NULL) {
        memcpy(record + head, messages, length);
        size = record_user_seal(&sealer, RECORD_HANDSHAKE, record + head, length);
        engine->input = record;
        engine->input_left = size > 0 ? (size_t)size : 0;
        (void)SSL_read_ex(engine->ssl, &unused, sizeof(unused), &count); // calls on_session() of sessions.c
        engine->input = NULL;
        engine->input_left = 0;
        ERR_clear_error();
        secret_wipe(record, head + length);
        free(record);
    }
    record_user_finish(&sealer);
    sessions_wait_no_more(&engine->shared);
}

void engine_say_goodbye(struct engine *engine)
{
    assert(engine->status == ENGINE_DONE && engine->ssl != NULL);
    (void)SSL_shutdown(engine->ssl);
    ERR_clear_error();
}

const char *engine_sni(const struct engine *engine)
{
    return engine->shared.sni;
}

const struct config_route *engine_route(const struct engine *engine)
{
    return engine->shared.route;
}

bool engine_is_rejected(const struct engine *engine)
{
    return engine->shared.is_rejected;
}

bool engine_is_untrusted(const struct engine *engine)
{
    return engine->shared.is_untrusted;
}

const char *engine_failure(const struct engine *engine)
{
    return engine->shared.failure;
}

enum record_alert engine_alert(const struct engine *engine)
{
    return engine->alert;
}

void engine_destroy(struct engine *engine)
{
    if (engine == NULL)
        return;
    sessions_wait_no_more(&engine->shared);
    SSL_free(engine->ssl);
    free(engine->output);
    secrets_wipe(&engine->secrets);
    record_keys_wipe(&engine->ticket_keys);
    free(engine);
}
