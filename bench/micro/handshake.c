// SPDX-License-Identifier: Apache-2.0
// Whole handshakes in memory: Ringbolt's engine, which is measured, against OpenSSL's client, which is not. Between them the engine is
// used as the proxy uses it, from engine_create_server() to engine_destroy(), with the keys taken out and wiped.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "micro.h"
#include "server.h"

#define WIRE_SIZE 16384 // a flight with a certificate or two

enum { VERSION, KEY }; // of variant[]

static const char *const key_kinds[] = {"P-256", "RSA2048"};
static const char *const key_names[] = {"ecdsa", "rsa"};

struct handshake_bench {
    struct micro_server server;
    // The client has a library context of its own, so that what OpenSSL caches there is not the server's gain.
    OSSL_LIB_CTX *library;
    SSL_CTX *client_context;
    SSL_SESSION *session; // to resume
    SSL_SESSION *newest;  // that the server gave
    bool is_resuming;
    SSL *client;
    BIO *to_client;
    BIO *from_client;
    struct engine *engine;
    enum engine_status status;
    struct engine_outcome outcome; // without its keys
    uint8_t input[WIRE_SIZE];
    size_t input_size;
};

// ---- the server's side: what is measured ----

static void server_feed(struct handshake_bench *bench)
{
    size_t eaten;

    bench->status = engine_feed(bench->engine, bench->input, bench->input_size, &eaten);
    if (bench->status != ENGINE_DONE)
        return;
    micro_need(engine_outcome(bench->engine, &bench->outcome) == 0, "the keys");
    record_keys_wipe(&bench->outcome.receive);
    record_keys_wipe(&bench->outcome.transmit);
}

static void server_begins(void *state, size_t count)
{
    struct handshake_bench *bench = state;

    bench->engine = engine_create_server(bench->server.context);
    micro_need(bench->engine != NULL, "an engine");
    server_feed(bench);
}

static void server_goes_on(void *state, size_t count)
{
    server_feed(state);
}

static void server_ends(void *state, size_t count)
{
    struct handshake_bench *bench = state;

    engine_destroy(bench->engine);
    bench->engine = NULL;
}

// ---- the client's side ----

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct handshake_bench *bench = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    SSL_SESSION_free(bench->newest);
    bench->newest = session;
    return 1;
}

static void client_begins(struct handshake_bench *bench)
{
    bench->client = SSL_new(bench->client_context);
    bench->to_client = BIO_new(BIO_s_mem());
    bench->from_client = BIO_new(BIO_s_mem());
    micro_need(bench->client != NULL && bench->to_client != NULL && bench->from_client != NULL, "a client");
    SSL_set_bio(bench->client, bench->to_client, bench->from_client);
    SSL_set_connect_state(bench->client);
    SSL_set_tlsext_host_name(bench->client, "localhost");
    if (bench->is_resuming)
        SSL_set_session(bench->client, bench->session);
}

// Lets the client work on what it has got, and takes what it says.
static void client_turn(struct handshake_bench *bench)
{
    int result = SSL_do_handshake(bench->client);
    int size;

    micro_need(result == 1 || SSL_get_error(bench->client, result) == SSL_ERROR_WANT_READ, "a handshake");
    ERR_clear_error();
    size = BIO_read(bench->from_client, bench->input, sizeof(bench->input));
    bench->input_size = size > 0 ? (size_t)size : 0;
}

static void deliver(struct handshake_bench *bench)
{
    size_t size;
    const uint8_t *output = engine_output(bench->engine, &size);

    if (size == 0)
        return;
    micro_need(BIO_write(bench->to_client, output, (int)size) == (int)size, "memory");
    engine_output_sent(bench->engine, size);
}

static void client_ends(struct handshake_bench *bench)
{
    uint8_t byte;

    (void)SSL_read(bench->client, &byte, sizeof(byte)); // the tickets
    ERR_clear_error();
    // As if both had said goodbye: else OpenSSL takes the session for spoilt.
    SSL_set_shutdown(bench->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(bench->client);
    bench->client = NULL;
}

// The next handshake resumes what the server gave last: a ticket of TLS 1.3 is for one use.
static void take_session(struct handshake_bench *bench)
{
    if (bench->newest == NULL)
        return;
    SSL_SESSION_free(bench->session);
    bench->session = bench->newest;
    bench->newest = NULL;
}

static void handshake(struct handshake_bench *bench, struct micro *micro)
{
    micro_work *work = server_begins;

    if (bench->is_resuming)
        take_session(bench);
    client_begins(bench);
    do {
        client_turn(bench);
        micro_need(bench->input_size > 0, "a handshake: both sides wait");
        micro_measure(micro, work, bench, 1);
        deliver(bench);
        work = server_goes_on;
    } while (bench->status == ENGINE_WANTS_INPUT);
    micro_need(bench->status == ENGINE_DONE, "a handshake: the server refused");
    client_turn(bench);
    micro_need(SSL_is_init_finished(bench->client) && bench->outcome.resumed == bench->is_resuming,
               "a handshake, resumed or not as asked for");
    micro_measure(micro, server_ends, bench, 1);
    client_ends(bench);
}

// ---- the benchmark ----

static void run(void *state, struct micro *micro, size_t count)
{
    for (size_t i = 0; i < count; i++)
        handshake(state, micro);
}

static void *set_up(const struct benchmark *benchmark, const char **ret_why)
{
    struct handshake_bench *bench = calloc(1, sizeof(*bench));
    int version = benchmark->variant[VERSION];

    micro_need(bench != NULL, "memory");
    micro_server_init(&bench->server, key_kinds[benchmark->variant[KEY]]);
    bench->library = OSSL_LIB_CTX_new();
    bench->client_context = SSL_CTX_new_ex(bench->library, NULL, TLS_client_method());
    micro_need(bench->client_context != NULL, "a client");
    SSL_CTX_set_min_proto_version(bench->client_context, version);
    SSL_CTX_set_max_proto_version(bench->client_context, version);
    SSL_CTX_set_session_cache_mode(bench->client_context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(bench->client_context, on_session);
    SSL_CTX_set_app_data(bench->client_context, bench);
    return bench;
}

static void *set_up_resumed(const struct benchmark *benchmark, const char **ret_why)
{
    struct handshake_bench *bench = set_up(benchmark, ret_why);

    handshake(bench, NULL);
    micro_need(bench->newest != NULL, "a session to resume");
    bench->is_resuming = true;
    return bench;
}

static const char *check(void *state, struct micro *micro)
{
    struct handshake_bench *bench = state;

    run(state, micro, 3); // each needs the client to have finished too, and to be resumed or not as asked for
    if (strcmp(bench->outcome.sni, "localhost") != 0)
        return "the server did not see the client's name";
    if (bench->newest == NULL && bench->outcome.version == RECORD_TLS13)
        return "the server gave no ticket";
    return NULL;
}

static void tear_down(void *state)
{
    struct handshake_bench *bench = state;

    SSL_SESSION_free(bench->session);
    SSL_SESSION_free(bench->newest);
    SSL_CTX_free(bench->client_context);
    OSSL_LIB_CTX_free(bench->library);
    micro_server_finish(&bench->server);
    free(bench);
}

static const struct benchmark_kind full = {set_up, run, check, tear_down};
static const struct benchmark_kind resumed = {set_up_resumed, run, check, tear_down};

void handshake_register(struct catalogue *catalogue)
{
    static const int versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};

    for (int is_resumed = 0; is_resumed < 2; is_resumed++) {
        for (int version = 0; version < 2; version++) {
            for (int key = 0; key < 2; key++) {
                struct benchmark benchmark = {
                    .kind = is_resumed ? &resumed : &full,
                    .variant = {[VERSION] = versions[version], [KEY] = key},
                };

                snprintf(benchmark.name, sizeof(benchmark.name), "handshake/%s-%s-%s",
                         is_resumed ? "resumed" : "full", version == 0 ? "13" : "12", key_names[key]);
                catalogue_add(catalogue, &benchmark);
            }
        }
    }
}
