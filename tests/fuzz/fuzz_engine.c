// SPDX-License-Identifier: Apache-2.0
// Handshakes with peers that say anything: a server's engine eats what a client may send, a client's engine (a re-encrypted connection's, a
// health check's) what a server may, in pieces of any size. It wants more, or fails in words; it is never done, since nobody here has the keys.
//
// The first byte of an input: bit 0: the engine is a client's; bit 1: it speaks TLS 1.2 alone; the second one, if not 0, is the size of the pieces.
#include "fuzz.h"
#include "tests/unit/handshake.h"

#define IS_CLIENT 1
#define IS_TLS12  2
#define PIECES    64 // no more of them: a large input has larger ones

static struct server servers[2]; // by whether they are IS_TLS12
static struct config_upstream upstreams[2];
static struct config configs[2];
static struct tls_upstreams *files[2];
static struct tls_context *clients[2];

static void clean_up(void)
{
    for (int i = 0; i < 2; i++) {
        tls_context_destroy(clients[i]);
        tls_upstreams_destroy(files[i]);
        server_finish(&servers[i]);
    }
    record_finish();
}

static void client_prepare(int number)
{
    struct loader *loader = loader_create(false);
    struct config_upstream *upstream = &upstreams[number];
    struct report report;

    *upstream = (struct config_upstream){.name = (char *)"app", .server_count = 1};
    upstream->tls = (struct config_server_tls){.is_on = true, .name = (char *)"localhost", .resumes = true};
    upstream->tls.tls = servers[number].listener.tls;
    configs[number].upstreams = upstream;
    configs[number].upstream_count = 1;
    report_init(&report, NULL);
    REQUIRE(tls_upstreams_load(&configs[number], loader, &report, &files[number]) == 0);
    REQUIRE(tls_context_create_client(&configs[number], 0, files[number], &clients[number]) == 0);
    report_finish(&report);
    loader_destroy(loader);
}

static void prepare(void)
{
    static char *alpn[] = {(char *)"h2", (char *)"http/1.1"};

    if (clients[0] != NULL)
        return;
    REQUIRE(record_init() == 0);
    for (int i = 0; i < 2; i++) {
        server_init(&servers[i], "P-256");
        servers[i].listener.tls.alpn = alpn;
        servers[i].listener.tls.alpn_count = 2;
        if (i == 1)
            servers[i].listener.tls.version_max = CONFIG_TLS12;
        server_start(&servers[i]);
        client_prepare(i);
    }
    atexit(clean_up);
}

static struct engine *create(uint8_t way)
{
    const struct engine_peer peer = {.name = "localhost", .alpn = "h2", .server = 0};
    int number = way & IS_TLS12 ? 1 : 0;
    struct engine *engine = way & IS_CLIENT ? engine_create_client(clients[number], &peer)
                                            : engine_create_server(servers[number].context);

    REQUIRE(engine != NULL);
    return engine;
}

static void check_sni(const char *sni)
{
    REQUIRE(strlen(sni) < ENGINE_SNI_MAX);
    for (; *sni != '\0'; sni++)
        REQUIRE((unsigned char)*sni > 0x20 && (unsigned char)*sni < 0x7f);
}

// Each piece is a copy of its exact size, for the sanitizer.
static void talk_to(struct engine *engine, const uint8_t *data, size_t size, size_t piece)
{
    enum engine_status status = ENGINE_WANTS_INPUT;
    size_t start = 0;
    size_t length;

    do {
        size_t part = size - start < piece ? size - start : piece;
        uint8_t *copy = malloc(part > 0 ? part : 1);
        size_t eaten;

        REQUIRE(copy != NULL);
        memcpy(copy, data + start, part);
        status = engine_feed(engine, copy, part, &eaten);
        free(copy);
        REQUIRE(ERR_peek_error() == 0 && eaten <= part && (status != ENGINE_WANTS_INPUT || eaten == part));
        start += eaten;
    } while (status == ENGINE_WANTS_INPUT && start < size);
    REQUIRE(status != ENGINE_DONE);
    check_sni(engine_sni(engine));
    if (status == ENGINE_FAILED)
        REQUIRE(engine_failure(engine) != NULL && engine_failure(engine)[0] != '\0');
    while (engine_output(engine, &length) != NULL && length > 0)
        engine_output_sent(engine, length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t piece = size > 1 && data[1] > 0 ? data[1] : SIZE_MAX;
    uint8_t way = size > 0 ? data[0] : 0;
    size_t begin = size < 2 ? size : 2;
    struct engine *engine;

    prepare();
    data += begin;
    size -= begin;
    if (piece < size / PIECES + 1)
        piece = size / PIECES + 1;
    engine = create(way);
    talk_to(engine, data, size, piece);
    engine_destroy(engine);
    return 0;
}
