// SPDX-License-Identifier: Apache-2.0
#include "kinds.h"

#include "keep.h"
#include "ringbolt/clock.h"

#define SLOW_NS      (50 * CLOCK_NS_PER_MS)
#define UP_FRAME_MAX 8192
#define UP_ASK_EVERY 8
#define ANSWER_MAX   2000
#define POLL_MS_MIN  100
#define POLL_MS_MAX  1500

static uint64_t dice(struct client *client, uint64_t sides)
{
    client->random = client->random * 6364136223846793005ull + 1442695040888963407ull;
    return (client->random >> 33) % sides;
}

static uint64_t now(const struct client *client)
{
    return client->talk.loop->now_ns;
}

bool kind_is_streaming(enum client_kind kind)
{
    return kind == KIND_DOWN || kind == KIND_BOTH || kind == KIND_SLOW;
}

// due_ns: when the question should have been asked; a client that comes late counts that as waiting.
static void ask(struct client *client, uint64_t due_ns, uint64_t delay_ms, uint32_t size)
{
    talk_send(&client->talk, (struct frame){.type = FRAME_ASK, .value = delay_ms, .detail = size});
    client->asked_ns = due_ns;
    if (now(client) > client->heard_ns)
        client->heard_ns = now(client);
}

static void poll(struct client *client)
{
    ask(client, now(client), POLL_MS_MIN + dice(client, POLL_MS_MAX - POLL_MS_MIN),
        (uint32_t)dice(client, ANSWER_MAX));
}

// ---- at moments ----

// The next moment of a beat that has not passed.
static void beat(struct client *client, uint64_t interval_ns)
{
    client->next_ns += interval_ns;
    if (client->next_ns <= now(client))
        client->next_ns = now(client) + interval_ns - (now(client) - client->next_ns) % interval_ns;
}

static void send_up(struct client *client)
{
    uint32_t length = (uint32_t)dice(client, UP_FRAME_MAX);

    if (!talk_is_idle(&client->talk))
        return; // blocked: on_ready() comes first
    talk_send(&client->talk, (struct frame){.type = FRAME_DATA, .length = length});
    if (client->asked_ns == 0 && ++client->turns % UP_ASK_EVERY == 0)
        ask(client, now(client), 0, (uint32_t)dice(client, ANSWER_MAX));
    client->next_ns = now(client) + (length + FRAME_HEAD_SIZE) * CLOCK_NS_PER_S / client->keep->options.rate;
}

static void ask_again(struct client *client)
{
    uint64_t interval_ns = client->keep->options.interval_ms * CLOCK_NS_PER_MS;

    if (client->asked_ns == 0 && talk_is_idle(&client->talk)) {
        if (client->kind == KIND_REKEY && !client->talk.is_blocked)
            stream_rekey(&client->talk.stream);
        ask(client, client->next_ns, 0, (uint32_t)dice(client, ANSWER_MAX));
    }
    beat(client, interval_ns);
}

static void idle(struct client *client)
{
    uint64_t idle_ns = client->keep->options.idle_ms * CLOCK_NS_PER_MS;

    if (client->asked_ns == 0)
        ask(client, now(client), 0, (uint32_t)dice(client, ANSWER_MAX));
    client->next_ns = now(client) + idle_ns / 2 + dice(client, idle_ns);
}

void kind_on_due(struct client *client)
{
    if (client->state != CLIENT_TALKING || client->next_ns > now(client))
        return;
    switch (client->kind) {
    case KIND_UP:
    case KIND_BOTH:
        send_up(client);
        break;
    case KIND_IDLE:
        idle(client);
        break;
    case KIND_ECHO:
    case KIND_REKEY:
        ask_again(client);
        break;
    default:
        break;
    }
}

void kind_due(struct client *client)
{
    struct talk *talk = &client->talk;
    uint64_t next = UINT64_MAX;

    if (talk->drip_ms > 0 && !talk_is_idle(talk) && !talk->is_blocked)
        next = now(client) + talk->drip_ms * CLOCK_NS_PER_MS;
    else if (talk->is_deaf)
        next = now(client) + SLOW_NS;
    else if (client->state == CLIENT_TALKING && client->next_ns > 0)
        next = client->next_ns > now(client) || talk_is_idle(talk) ? client->next_ns : UINT64_MAX;
    loop_at(talk->loop, &talk->member, next);
}

// ---- in the beginning, and after an answer ----

void kind_begin(struct client *client)
{
    const struct keep_options *options = &client->keep->options;
    uint64_t interval_ns = options->interval_ms * CLOCK_NS_PER_MS,
             idle_ns = options->idle_ms * CLOCK_NS_PER_MS;
    struct frame stream = {.type = FRAME_STREAM, .value = options->rate};

    switch (client->kind) {
    case KIND_BOTH:
        client->next_ns = now(client);
        talk_send(&client->talk, stream);
        break;
    case KIND_DOWN:
        talk_send(&client->talk, stream);
        break;
    case KIND_SLOW:
        stream.value = 0;
        talk_send(&client->talk, stream);
        break;
    case KIND_HALF:
        stream.detail = (uint32_t)(options->half_ms / 4 + 1 + dice(client, options->half_ms));
        talk_send(&client->talk, stream);
        break;
    case KIND_UP:
        client->next_ns = now(client);
        break;
    case KIND_IDLE:
        client->next_ns = now(client) + 1 + dice(client, idle_ns);
        break;
    case KIND_ECHO:
    case KIND_REKEY:
        client->next_ns = now(client) + 1 + dice(client, interval_ns);
        break;
    case KIND_POLL:
        poll(client);
        break;
    case KIND_VISIT:
    case KIND_DRIP:
        ask(client, now(client), 0, 8);
        break;
    case KIND_COUNT:
        break;
    }
}

void kind_answered(struct client *client)
{
    if (client->state != CLIENT_TALKING)
        return;
    if (client->kind == KIND_POLL)
        poll(client);
    else if (client->kind == KIND_DRIP)
        ask(client, now(client), 0, 8);
    else if (client->kind == KIND_VISIT)
        client->state = CLIENT_ENDING;
}
