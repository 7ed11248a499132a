// SPDX-License-Identifier: Apache-2.0
// Our engine as client against our engine as server. Include from one file only.
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/pem.h>

#include "src/tls/context.h"
#include "src/tls/sessions.h"
#include "tests/unit/handshake.h"

#define WIRE_SIZE 65536

static EVP_PKEY *ca_key;
static X509 *ca;
static char ca_file[] = "/tmp/ringbolt-engine-client-XXXXXX";

static inline int set_up(void **state)
{
    FILE *file;
    int fd = mkstemp(ca_file);

    must(record_init() == 0, "the record layer");
    ca_key = key_make("P-256");
    ca = certificate_of("A CA", ca_key, NULL, NULL);
    must(fd >= 0 && (file = fdopen(fd, "w")) != NULL && PEM_write_X509(file, ca) == 1 && fclose(file) == 0,
         "a file");
    return 0;
}

static inline int tear_down(void **state)
{
    unlink(ca_file);
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    record_finish();
    return 0;
}

// ---- both sides ----

struct both {
    struct server server;
    struct config_upstream upstream;
    struct config config;
    struct tls_upstreams *files;
    struct tls_context *context;
    struct engine *ends[2]; // client, server
    enum engine_status status[2];
    uint8_t wire[2][WIRE_SIZE]; // what is on its way to each
    size_t wire_size[2];
    X509 *certificate;
    EVP_PKEY *key;
};

static inline void both_init(struct both *both, const char *subject, const char *name, bool verifies)
{
    struct loader *loader = loader_create(false);
    struct report report;
    EVP_PKEY *key = key_make("P-256");

    memset(both, 0, sizeof(*both));
    server_init_empty(&both->server);
    both->certificate = certificate_of(subject, key, ca, ca_key);
    serve(both->server.material, 0, both->certificate, key, NULL, "localhost");
    both->key = key;
    both->upstream = (struct config_upstream){.name = (char *)"app"};
    both->upstream.tls =
        (struct config_server_tls){.is_on = true, .verifies = verifies, .name = (char *)name};
    both->upstream.tls.resumes = true;
    both->upstream.server_count = 2;
    both->upstream.tls.tls = both->server.listener.tls;
    both->upstream.tls.trust = (struct config_client_trust){
        .mode = CONFIG_CLIENT_AUTH_REQUIRED, .ca = ca_file, .is_for_servers = true};
    both->config.upstreams = &both->upstream;
    both->config.upstream_count = 1;
    report_init(&report, "c");
    must(tls_upstreams_load(&both->config, loader, &report, &both->files) == 0, "authorities");
    report_finish(&report);
    loader_destroy(loader);
}

// Another handshake in the same contexts, with a server of that number.
static inline void both_again(struct both *both, const char *alpn, size_t server)
{
    const struct engine_peer peer = {.name = both->upstream.tls.name, .alpn = alpn, .server = server};

    for (int side = 0; side < 2; side++) {
        engine_destroy(both->ends[side]);
        both->wire_size[side] = 0;
        both->status[side] = ENGINE_WANTS_INPUT;
    }
    both->ends[0] = engine_create_client(both->context, &peer);
    both->ends[1] = engine_create_server(both->server.context);
    assert_non_null(both->ends[0]);
    assert_non_null(both->ends[1]);
}

static inline void both_start(struct both *both, const char *alpn)
{
    server_start(&both->server);
    must(tls_context_create_client(&both->config, 0, both->files, &both->context) == 0, "a context");
    both_again(both, alpn, 0);
}

static inline void both_finish(struct both *both)
{
    engine_destroy(both->ends[0]);
    engine_destroy(both->ends[1]);
    tls_context_destroy(both->context);
    tls_upstreams_destroy(both->files);
    server_finish(&both->server);
    X509_free(both->certificate);
    EVP_PKEY_free(both->key);
}

static inline void feed(struct both *both, int side, size_t piece)
{
    size_t start = 0;

    do {
        size_t length = both->wire_size[side] - start;
        size_t eaten;

        if (piece > 0 && length > piece)
            length = piece;
        both->status[side] = engine_feed(both->ends[side], both->wire[side] + start, length, &eaten);
        assert_int_equal(ERR_peek_error(), 0);
        start += eaten;
    } while (both->status[side] == ENGINE_WANTS_INPUT && start < both->wire_size[side]);
    memmove(both->wire[side], both->wire[side] + start, both->wire_size[side] - start);
    both->wire_size[side] -= start;
}

static inline void both_run(struct both *both, size_t piece)
{
    for (int round = 0; round < 12; round++) {
        int side = round % 2;
        const uint8_t *output;
        size_t length;

        if (both->status[side] == ENGINE_WANTS_INPUT)
            feed(both, side, piece);
        while ((output = engine_output(both->ends[side], &length)) != NULL) {
            assert_true(both->wire_size[!side] + length <= WIRE_SIZE);
            memcpy(both->wire[!side] + both->wire_size[!side], output, length);
            both->wire_size[!side] += length;
            engine_output_sent(both->ends[side], length);
        }
    }
}

// Seals on one side, opens on the other, several times.
static inline void assert_flows(const struct record_keys *transmit, const struct record_keys *receive)
{
    struct record_user from, to;
    uint8_t buffer[512];

    record_user_init(&from, transmit, true);
    record_user_init(&to, receive, false);
    for (int i = 0; i < 3; i++) {
        size_t head = record_user_head(&from);
        int size;

        memcpy(buffer + head, "message", 7);
        size = record_user_seal(&from, RECORD_DATA, buffer + head, 7);
        assert_true(size > 0);
        assert_opens(&to, buffer, (size_t)size, "message");
    }
    record_user_finish(&from);
    record_user_finish(&to);
}
