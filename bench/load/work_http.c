// SPDX-License-Identifier: Apache-2.0
// Work by HTTP/1.1: GET and PUT, one after the other on a connection, each answer checked.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "runner.h"
#include "work.h"

static const struct options *options_of(const struct client *client)
{
    return client->runner->run->options;
}

int work_http_prepare(struct run *run)
{
    const struct options *options = run->options;
    int length =
        asprintf(&run->get, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: ringbolt-bench\r\n%s\r\n",
                 options->path, options->host, options->mode == MODE_CHURN ? "Connection: close\r\n" : "");

    if (length < 0) {
        run->get = NULL;
        return -ENOMEM;
    }
    run->get_size = (size_t)length;
    length = asprintf(&run->put,
                      "PUT %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: ringbolt-bench\r\nContent-Length: %" PRIu64
                      "\r\n\r\n",
                      options->path, options->host, options->size);
    if (length < 0) {
        run->put = NULL;
        return -ENOMEM;
    }
    run->put_size = (size_t)length;
    return 0;
}

static bool is_put(const struct client *client)
{
    return options_of(client)->mode == MODE_UPLOAD || client->is_bulk_upload;
}

static void begin(struct client *client)
{
    const struct options *options = options_of(client);
    const struct run *run = client->runner->run;

    http_start(&client->http);
    if (options->has_sha256 && client->digest == NULL)
        client->digest = EVP_MD_CTX_new();
    if (options->has_sha256 &&
        (client->digest == NULL || EVP_DigestInit_ex(client->digest, EVP_sha256(), NULL) != 1)) {
        client_end(client, FAILURE_INTERNAL, "no SHA-256");
        return;
    }
    if (is_put(client))
        client_send(client, run->put, run->put_size, 0, options->size);
    else
        client_send(client, run->get, run->get_size, 0, 0);
}

// ---- the answer ----

static bool has_right_sum(struct client *client)
{
    uint8_t sum[32];
    unsigned size = sizeof(sum);

    return EVP_DigestFinal_ex(client->digest, sum, &size) == 1 &&
           memcmp(sum, options_of(client)->sha256, sizeof(sum)) == 0;
}

// What is wrong with a whole answer; words into text[size].
static enum failure judge(struct client *client, char *text, size_t size)
{
    const struct options *options = options_of(client);
    int status = client->http.status;
    bool is_status_right = options->status != 0 ? status == options->status
                           : is_put(client)     ? status / 100 == 2
                                                : status == 200;

    text[0] = '\0';
    if (!is_status_right) {
        snprintf(text, size, "status %d", status);
        return FAILURE_WRONG_STATUS;
    }
    if (is_put(client)) // what a server says of an upload is its own affair
        return FAILURE_NONE;
    if (options->length != UINT64_MAX && client->http.received != options->length) {
        snprintf(text, size, "%" PRIu64 " bytes, not %" PRIu64, client->http.received, options->length);
        return FAILURE_WRONG_LENGTH;
    }
    if (options->has_sha256 && !has_right_sum(client))
        return FAILURE_WRONG_CHECKSUM;
    return FAILURE_NONE;
}

static void complete(struct client *client)
{
    struct runner *runner = client->runner;
    char text[TALLY_DETAIL_SIZE];
    enum failure failure = judge(client, text, sizeof(text));

    if (failure == FAILURE_NONE)
        runner_unit_done(client, runner->now_ns);
    else
        runner_unit_failed(client, failure, text);
    if (client->text_left > 0 || client->pattern_left > 0) // it didn't want to hear all
        client_end(client, FAILURE_NONE, NULL);
    else if (client->http.is_close || !runner->work->is_kept)
        client_close(client);
    else
        runner_client_ready(client);
}

static bool take_body(struct client *client, const uint8_t *body, size_t size)
{
    const struct options *options = options_of(client);
    uint64_t at = client->http.received - size;

    runner_count_received(client->runner, size);
    if (is_put(client))
        return true;
    if (options->has_sha256)
        EVP_DigestUpdate(client->digest, body, size);
    if (!options->is_verifying || client->http.status != 200 ||
        pattern_equals(&client->runner->run->pattern, at, body, size))
        return true;
    client_end(client, FAILURE_WRONG_BYTES, NULL);
    return false;
}

static void received(struct client *client, const uint8_t *data, size_t length)
{
    while (client->is_unit && client->state == CLIENT_OPEN) {
        const uint8_t *body = NULL;
        size_t body_size = 0;
        size_t used;

        switch (http_feed(&client->http, data, length, &used, &body, &body_size)) {
        case HTTP_WANTS_MORE:
            return;
        case HTTP_DATA:
            if (!take_body(client, body, body_size))
                return;
            break;
        case HTTP_DONE:
            if (used < length)
                client_end(client, FAILURE_BAD_RESPONSE, "bytes behind the end of the response");
            else
                complete(client);
            return;
        default:
            client_end(client, FAILURE_BAD_RESPONSE, NULL);
            return;
        }
        data += used;
        length -= used;
    }
    if (client->state == CLIENT_OPEN)
        client_end(client, FAILURE_BAD_RESPONSE, "bytes that nobody asked for");
}

static void ended(struct client *client, bool is_orderly)
{
    if (!client->is_unit) {
        if (client->runner->work->is_once)
            client_end(client, FAILURE_CLOSED_IDLE, NULL);
        else
            client_close(client); // a server may close what is idle
    } else if (!is_orderly) {
        client_end(client, FAILURE_TRUNCATED, NULL);
    } else if (http_end(&client->http)) {
        complete(client);
    } else {
        client_end(client, FAILURE_CLOSED_EARLY, NULL);
    }
}

const struct work work_requests = {.is_kept = true, .begin = begin, .received = received, .ended = ended};
const struct work work_churn = {.begin = begin, .received = received, .ended = ended};
const struct work work_transfer = {
    .is_kept = true, .is_bulk = true, .begin = begin, .received = received, .ended = ended};
const struct work work_idle = {
    .is_kept = true, .is_once = true, .begin = begin, .received = received, .ended = ended};
