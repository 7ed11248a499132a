// SPDX-License-Identifier: Apache-2.0
// Handshakes: connect, shake hands, say goodbye, wait for the server's goodbye. In TLS 1.3 the client is done before the
// server has seen its Finished, so only an orderly end shows that the server was content too. With --no-goodbye that isn't waited for.
#include "runner.h"
#include "work.h"

static void begin(struct client *client)
{
    if (client->runner->run->options->is_leaving)
        client_leave(client);
    else
        client_close(client);
}

static void ended(struct client *client, bool is_orderly)
{
    client_close(client); // cannot come: it is CLOSING at once
}

static void closed(struct client *client)
{
    if (client->is_unit)
        runner_unit_done(client, client->opened_ns);
}

const struct work work_handshakes = {.begin = begin, .ended = ended, .closed = closed};

const struct work *work_of(const struct options *options)
{
    switch (options->mode) {
    case MODE_HANDSHAKES:
        return &work_handshakes;
    case MODE_REQUESTS:
        return options->is_raw ? &work_echo : &work_requests;
    case MODE_CHURN:
        return &work_churn;
    case MODE_IDLE:
        return &work_idle;
    case MODE_DOWNLOAD:
        return options->is_raw ? &work_stream_down : &work_transfer;
    case MODE_UPLOAD:
        return options->is_raw ? &work_stream_up : &work_transfer;
    default:
        return options->is_raw ? &work_stream_both : &work_transfer;
    }
}
