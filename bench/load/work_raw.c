// SPDX-License-Identifier: Apache-2.0
// Work without HTTP: echoes, and streams of the pattern in one direction or both. A stream is a connection of its own.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "runner.h"
#include "work.h"

static const struct options *options_of(const struct client *client)
{
    return client->runner->run->options;
}

static bool is_right(struct client *client, uint64_t at, const uint8_t *data, size_t length)
{
    if (pattern_equals(&client->runner->run->pattern, at, data, length))
        return true;
    client_end(client, FAILURE_WRONG_BYTES, NULL);
    return false;
}

// The stream has ended before it should.
static void ended_early(struct client *client, bool is_orderly)
{
    if (client->is_unit)
        client_end(client, is_orderly ? FAILURE_CLOSED_EARLY : FAILURE_TRUNCATED, NULL);
    else
        client_close(client);
}

static void too_long(struct client *client)
{
    client_end(client, FAILURE_WRONG_LENGTH, "more bytes than expected");
}

// ---- echoes ----

static void echo_begin(struct client *client)
{
    const struct options *options = options_of(client);

    client_send(client, options->preamble, client->stream_at == 0 ? options->preamble_size : 0,
                client->stream_at, options->size);
}

static void echo_received(struct client *client, const uint8_t *data, size_t length)
{
    uint64_t size = options_of(client)->size;

    if (!client->is_unit || length > size - client->received) {
        too_long(client);
        return;
    }
    if (!is_right(client, client->stream_at + client->received, data, length))
        return;
    client->received += length;
    runner_count_received(client->runner, length);
    if (client->received < size)
        return;
    client->stream_at += size;
    runner_unit_done(client, client->runner->now_ns);
    runner_client_ready(client);
}

const struct work work_echo = {
    .is_kept = true, .begin = echo_begin, .received = echo_received, .ended = ended_early};

// ---- down ----

// A server may speak before we do, so the digest begins with the first byte or with the unit.
static bool digest_begin(struct client *client)
{
    if (!options_of(client)->has_sha256 || client->stream_at > 0)
        return true;
    if (client->digest == NULL)
        client->digest = EVP_MD_CTX_new();
    if (client->digest != NULL && EVP_DigestInit_ex(client->digest, EVP_sha256(), NULL) == 1)
        return true;
    client_end(client, FAILURE_INTERNAL, "no SHA-256");
    return false;
}

static void down_begin(struct client *client)
{
    const struct options *options = options_of(client);

    if (digest_begin(client))
        client_send(client, options->preamble, options->preamble_size, 0, 0);
}

static void down_received(struct client *client, const uint8_t *data, size_t length)
{
    const struct options *options = options_of(client);

    if (!digest_begin(client) ||
        (options->is_verifying && !is_right(client, client->stream_at, data, length)))
        return;
    if (options->has_sha256)
        EVP_DigestUpdate(client->digest, data, length);
    client->stream_at += length;
    runner_count_received(client->runner, length);
    if (options->size != UINT64_MAX && client->stream_at > options->size)
        too_long(client);
}

static void down_ended(struct client *client, bool is_orderly)
{
    const struct options *options = options_of(client);
    char text[TALLY_DETAIL_SIZE];
    uint8_t sum[32];

    if (!client->is_unit || !is_orderly) {
        ended_early(client, is_orderly);
    } else if (options->size != UINT64_MAX && client->stream_at != options->size) {
        snprintf(text, sizeof(text), "%" PRIu64 " bytes, not %" PRIu64, client->stream_at, options->size);
        client_end(client, FAILURE_WRONG_LENGTH, text);
    } else if (options->has_sha256 && (EVP_DigestFinal_ex(client->digest, sum, NULL) != 1 ||
                                       memcmp(sum, options->sha256, sizeof(sum)) != 0)) {
        client_end(client, FAILURE_WRONG_CHECKSUM, NULL);
    } else {
        runner_unit_done(client, client->runner->now_ns);
        client_close(client);
    }
}

const struct work work_stream_down = {
    .is_kept = true, .is_bulk = true, .begin = down_begin, .received = down_received, .ended = down_ended};

// ---- up ----

static void up_begin(struct client *client)
{
    const struct options *options = options_of(client);

    client_send(client, options->preamble, options->preamble_size, 0, options->size);
}

// What the server says to it meanwhile is its own affair.
static void up_received(struct client *client, const uint8_t *data, size_t length)
{
    runner_count_received(client->runner, length);
}

static void up_sent(struct client *client)
{
    if (options_of(client)->size != UINT64_MAX)
        client_close(client); // and the server's goodbye is its receipt
}

static void up_closed(struct client *client)
{
    if (client->is_unit)
        runner_unit_done(client, client->runner->now_ns);
}

const struct work work_stream_up = {.is_kept = true,
                                    .is_bulk = true,
                                    .begin = up_begin,
                                    .received = up_received,
                                    .sent = up_sent,
                                    .ended = ended_early,
                                    .closed = up_closed};

// ---- both ----

static void both_begin(struct client *client)
{
    up_begin(client);
}

static void both_received(struct client *client, const uint8_t *data, size_t length)
{
    uint64_t size = options_of(client)->size;

    if (!client->is_unit || length > size - client->received) {
        too_long(client);
        return;
    }
    if (!is_right(client, client->received, data, length))
        return;
    client->received += length;
    runner_count_received(client->runner, length);
    if (client->received < size)
        return;
    runner_unit_done(client, client->runner->now_ns);
    client_close(client);
}

const struct work work_stream_both = {
    .is_kept = true, .is_bulk = true, .begin = both_begin, .received = both_received, .ended = ended_early};
