// SPDX-License-Identifier: Apache-2.0
// Bytes from a client, in segments of any size: the view finds the same whatever these are, reads nothing that isn't there, and what it
// finds is as its header promises. Routes that are asked with it give an answer.
//
// The first two bytes are the size of the segments, big endian; the rest is what the client sends.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "ringbolt/config.h"
#include "ringbolt/hello.h"

#define LIMIT     16384
#define LOOKS_MAX 64

// A copy of its exact size each time, for the sanitizer. *ret is the last one, which the view may point into.
static enum hello_status look(struct hello_view *view, const uint8_t *data, size_t size, size_t step,
                              uint8_t **ret)
{
    enum hello_status status = HELLO_WANTS_MORE;
    size_t length = 0;
    uint8_t *copy = NULL;

    *view = (struct hello_view){.guard.size_max = LIMIT};
    while (status == HELLO_WANTS_MORE && length < size) {
        length = size - length < step ? size : length + step;
        free(copy);
        copy = malloc(length);
        REQUIRE(copy != NULL);
        memcpy(copy, data, length);
        status = hello_view_look(view, copy, length);
        REQUIRE(view->seen == length);
    }
    *ret = copy;
    return status;
}

static void check(const struct hello_view *view, enum hello_status status, const uint8_t *wire, size_t size)
{
    REQUIRE((status == HELLO_IS_BAD) == (view->reason != NULL));
    if (status != HELLO_IS_WHOLE)
        return;
    REQUIRE(memchr(view->sni, '\0', sizeof(view->sni)) != NULL);
    for (const char *at = view->sni; *at != '\0'; at++)
        REQUIRE((unsigned char)*at > 0x20 && (unsigned char)*at < 0x7f);
    REQUIRE((view->alpn == NULL) == (view->alpn_size == 0));
    if (view->alpn == NULL)
        return;
    REQUIRE(view->assembled != NULL || (view->alpn > wire && view->alpn + view->alpn_size <= wire + size));
    for (size_t at = 0; at < view->alpn_size; at += 1 + (size_t)view->alpn[at])
        REQUIRE(view->alpn[at] > 0 && view->alpn[at] < view->alpn_size - at);
}

static void ask_routes(const struct hello_view *view)
{
    static struct config_route_name names[] = {{(char *)"", 2, {0}},
                                               {(char *)"*", 1, {0}},
                                               {(char *)"*.example", 0, {0}},
                                               {(char *)"a.example", 1, {0}}};
    static char *h2 = (char *)"h2";
    static struct config_route routes[] = {
        {.alpn = &h2, .alpn_count = 1}, {.way = CONFIG_WAY_REJECT}, {.way = CONFIG_WAY_PASSTHROUGH}};
    const struct config_listener listener = {
        .routes = routes, .route_count = 3, .route_names = names, .route_name_count = 4};

    REQUIRE(config_route_choose(&listener, view->sni, view->alpn, view->alpn_size) != NULL);
    REQUIRE(config_route_knows(&listener, view->sni)); // everybody's is passed through
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t step = size >= 2 ? (size_t)data[0] << 8 | data[1] : 1;
    struct hello_view whole, pieces;
    enum hello_status status;
    uint8_t *wire, *other;

    if (size < 2)
        return 0;
    data += 2;
    size -= 2;
    if (step < size / LOOKS_MAX + 1)
        step = size / LOOKS_MAX + 1;
    status = look(&whole, data, size, size > 0 ? size : 1, &wire);
    check(&whole, status, wire, size);
    ask_routes(&whole);
    // What comes behind a hello is seen in one case and may not have come in the other, so only what was found counts.
    REQUIRE(look(&pieces, data, size, step, &other) == status);
    check(&pieces, status, other, size);
    REQUIRE(strcmp(whole.sni, pieces.sni) == 0 && whole.alpn_size == pieces.alpn_size);
    REQUIRE(whole.alpn_size == 0 || memcmp(whole.alpn, pieces.alpn, whole.alpn_size) == 0);
    hello_view_finish(&pieces);
    hello_view_finish(&whole);
    free(other);
    free(wire);
    return 0;
}
