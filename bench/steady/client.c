// SPDX-License-Identifier: Apache-2.0
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keep.h"
#include "kinds.h"
#include "ringbolt/clock.h"

#define BIND_NO_PORT 24 // IP_BIND_ADDRESS_NO_PORT, which old headers don't have
#define SMALL_BUFFER 4096
#define SLOW_SIZE    2048
#define READ_MOST    (16 * FRAME_PAYLOAD_MAX)

static uint64_t now(const struct client *client)
{
    return client->talk.loop->now_ns;
}

static struct window_kind *counts(struct client *client)
{
    return &client->keep->window->kinds[client->kind];
}

// ---- the end ----

void client_destroy(struct client *client)
{
    bool was_open = client->state >= CLIENT_TALKING;

    counts(client)->bytes_in += client->talk.in.bytes;
    counts(client)->bytes_out += client->talk.out.bytes;
    talk_close(&client->talk);
    keep_gone(client->keep, client, was_open);
    free(client);
}

static void fail(struct client *client, enum fault fault, const char *why)
{
    window_fault(client->keep->window, client->kind, fault, client->id,
                 (double)(now(client) - client->begun_ns) / 1e9, why);
    client_destroy(client);
}

static void fail_stream(struct client *client, const char *why)
{
    fail(client, why == talk_wrong ? FAULT_WRONG : FAULT_BROKEN, why);
}

// The peer has ended in order: was that all?
static void on_end(struct client *client)
{
    if (!client->has_bye) {
        fail(client, FAULT_CUT, "an orderly end before the last byte");
        return;
    }
    if (client->kind == KIND_VISIT)
        histogram_add(&counts(client)->latency, now(client) - client->begun_ns);
    counts(client)->complete++;
    if (!client->talk.stream.is_ended) {
        const char *why;

        stream_end(&client->talk.stream,
                   &why); // a proxy that has closed already hears no goodbye: none of its business
    }
    client_destroy(client);
}

// ---- what it hears ----

static void pause_note(struct client *client, uint64_t since_ns)
{
    if (now(client) > since_ns && now(client) - since_ns > client->pause_ns)
        client->pause_ns = now(client) - since_ns;
}

static void answer_note(struct client *client, const struct frame *frame)
{
    uint64_t wanted_ns = client->asked_ns + frame->value * CLOCK_NS_PER_MS;

    if (client->kind != KIND_VISIT) {
        histogram_add(&counts(client)->latency, now(client) > wanted_ns ? now(client) - wanted_ns : 0);
        pause_note(client, wanted_ns);
    }
    client->asked_ns = 0;
}

// False: enough was heard of this one.
static bool on_frame(struct talk *talk, const struct frame *frame)
{
    struct client *client = (struct client *)talk;

    switch (frame->type) {
    case FRAME_ANSWER:
        answer_note(client, frame);
        kind_answered(client);
        return true;
    case FRAME_BYE:
        client->has_bye = frame->value == client->said_at_end && client->said_at_end > 0;
        return client->has_bye;
    case FRAME_DATA:
        return true;
    default:
        return false;
    }
}

// False: the client is gone.
static bool hear(struct client *client, size_t most)
{
    const char *why = NULL;
    uint64_t before = client->talk.in.bytes;
    enum stream_result result = talk_read(&client->talk, most, on_frame, &why);

    if (client->talk.in.bytes > before) {
        if (kind_is_streaming(client->kind) && client->state == CLIENT_TALKING)
            pause_note(client, client->heard_ns);
        client->heard_ns = now(client);
    }
    switch (result) {
    case STREAM_END:
        on_end(client);
        return false;
    case STREAM_BROKEN:
        fail_stream(client, why);
        return false;
    case STREAM_DONE:
        if (client->talk.in.bytes - before >= most)
            return true;
        if (client->said_at_end == 0 && client->talk.in.frame.type == FRAME_BYE)
            fail(client, FAULT_CUT, "the server was told of an end");
        else
            fail(client, FAULT_WRONG, "the server did not get what was sent");
        return false;
    default:
        return true;
    }
}

// ---- what it says ----

static void end_feed(struct client *client)
{
    if (client->state != CLIENT_ENDING || client->said_at_end > 0 || !talk_is_idle(&client->talk))
        return;
    talk_send(&client->talk, (struct frame){.type = FRAME_END});
    client->said_at_end = client->talk.out.bytes + FRAME_HEAD_SIZE;
}

// False: the client is gone.
static bool say(struct client *client)
{
    struct talk *talk = &client->talk;
    const char *why = NULL;

    do {
        end_feed(client);
        if (talk_flush(talk, &why) == STREAM_BROKEN)
            goto broken;
    } while (talk_is_idle(talk) && client->state == CLIENT_ENDING && client->said_at_end == 0);
    // Our end of a half-closed connection.
    if (client->kind == KIND_HALF && talk_is_idle(talk) && !talk->stream.is_ended) {
        client->said_at_end = talk->out.bytes;
        if (stream_end(&talk->stream, &why) == STREAM_BROKEN)
            goto broken;
    }
    talk_listen(talk);
    kind_due(client);
    return true;
broken:
    // What has come before may say more about why; a reset has thrown it away.
    fail_stream(client, why);
    return false;
}

void client_end(struct client *client)
{
    if (client->state != CLIENT_TALKING || client->kind == KIND_HALF)
        return;
    client->state = CLIENT_ENDING;
    client->heard_ns = now(client);
    client->talk.is_deaf = false;
    say(client);
}

// ---- the beginning ----

static void greet(struct client *client)
{
    struct frame hello = {.type = FRAME_HELLO,
                          .value = client->id,
                          .detail = client->kind == KIND_DRIP ? client->keep->options.drip_ms : 0};
    int one = 1;

    client->state = CLIENT_TALKING;
    client->talk.is_blocked = false;
    setsockopt(client->talk.stream.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    // A hello's own head does not depend on the seed: the rest does.
    client->talk.out.seed = frame_seed(client->id, true);
    client->talk.in.seed = frame_seed(client->id, false);
    client->talk.drip_ms = hello.detail;
    client->talk.is_deaf = client->kind == KIND_SLOW;
    talk_send(&client->talk, hello);
    client->heard_ns = now(client);
    kind_begin(client);
    keep_opened(client->keep);
    if (client->keep->is_ending && client->kind != KIND_HALF)
        client->state = CLIENT_ENDING;
    say(client);
}

static void on_handshake(struct client *client)
{
    struct talk *talk = &client->talk;
    const char *why = NULL;

    switch (stream_handshake(&talk->stream, &why)) {
    case STREAM_DONE:
        greet(client);
        return;
    case STREAM_WAIT:
        talk->is_blocked = talk->stream.wants_write;
        talk_listen(talk);
        return;
    default:
        fail(client, FAULT_HANDSHAKE, why);
        return;
    }
}

static bool header_send(const struct client *client)
{
    char text[108];
    int size = snprintf(text, sizeof(text), "PROXY TCP4 192.0.2.%u 198.51.100.7 %u 443\r\n",
                        (unsigned)(client->id % 250 + 1), (unsigned)(client->id % 60000 + 1024));

    return send(client->talk.stream.fd, text, (size_t)size, MSG_NOSIGNAL) == size;
}

static void on_connected(struct client *client)
{
    int error = 0;
    socklen_t size = sizeof(error);

    getsockopt(client->talk.stream.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error == 0 && client->keep->options.is_proxied && !header_send(client))
        error = errno;
    if (error != 0) {
        fail(client, FAULT_REFUSED, strerrordesc_np(error));
        return;
    }
    client->state = CLIENT_HANDSHAKE;
    client->talk.is_blocked = false;
    on_handshake(client);
}

// ---- what the loop says ----

static void on_ready(struct loop_member *member, uint32_t events)
{
    struct client *client = (struct client *)member;

    switch (client->state) {
    case CLIENT_CONNECTING:
        on_connected(client);
        return;
    case CLIENT_HANDSHAKE:
        on_handshake(client);
        return;
    default:
        if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !hear(client, READ_MOST))
            return;
        say(client);
    }
}

static void on_due(struct loop_member *member)
{
    struct client *client = (struct client *)member;

    if (client->state < CLIENT_TALKING)
        return;
    if (client->talk.is_deaf && !hear(client, SLOW_SIZE))
        return;
    kind_on_due(client);
    say(client);
}

static int open_socket(struct client *client)
{
    const struct keep_options *options = &client->keep->options;
    struct sockaddr_in from = {.sin_family = AF_INET};
    int one = 1, small = SMALL_BUFFER, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (client->kind == KIND_SLOW)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    if (options->sources > 1) {
        from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(client->id % options->sources));
        setsockopt(fd, IPPROTO_IP, BIND_NO_PORT, &one, sizeof(one));
        if (bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0)
            goto fail;
    }
    if (connect(fd, (const struct sockaddr *)&options->address, sizeof(options->address)) == 0 ||
        errno == EINPROGRESS)
        return fd;
fail:
    small = errno;
    close(fd);
    return -small;
}

static void list_add(struct client *client)
{
    client->next = client->keep->first;
    if (client->next != NULL)
        client->next->previous = client;
    client->keep->first = client;
}

int client_create(struct keep *keep, enum client_kind kind)
{
    struct client *client = calloc(1, sizeof(*client));
    int fd;

    if (client == NULL)
        return -ENOMEM;
    client->keep = keep;
    client->kind = kind;
    client->id = keep->next_id++;
    client->random = frame_seed(client->id, true);
    client->begun_ns = client->heard_ns = keep->loop.now_ns;
    client->talk.loop = &keep->loop;
    client->talk.member.on_ready = on_ready;
    client->talk.member.on_due = on_due;
    fd = open_socket(client);
    if (fd < 0) {
        window_fault(keep->window, kind, FAULT_REFUSED, client->id, 0, strerrordesc_np(-fd));
        free(client);
        return fd;
    }
    if (stream_init(&client->talk.stream, fd, keep_ssl(keep, kind, client->id), false) < 0 ||
        loop_add(&keep->loop, &client->talk.member, fd, EPOLLOUT) < 0) {
        stream_finish(&client->talk.stream);
        free(client);
        return -ENOMEM;
    }
    SSL_set_tlsext_host_name(client->talk.stream.ssl, "localhost");
    list_add(client);
    return 0;
}

// ---- looked after ----

void client_look(struct client *client)
{
    uint64_t most_ns = client->keep->options.hang_s * CLOCK_NS_PER_S;

    if (now(client) - client->heard_ns <= most_ns)
        return;
    if (client->state < CLIENT_TALKING)
        fail(client, FAULT_HANDSHAKE,
             client->state == CLIENT_CONNECTING ? "no connection in time" : "not in time");
    else if (client->state == CLIENT_ENDING || client->asked_ns > 0 || kind_is_streaming(client->kind) ||
             client->kind == KIND_HALF)
        fail(client, FAULT_SILENT, "nothing came for too long");
}

uint64_t client_pause_take(struct client *client)
{
    uint64_t pause;

    if (client->asked_ns > 0 && client->kind != KIND_POLL)
        pause_note(client, client->asked_ns);
    else if (kind_is_streaming(client->kind))
        pause_note(client, client->heard_ns);
    pause = client->pause_ns;
    client->pause_ns = 0;
    return pause;
}
