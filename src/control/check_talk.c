// SPDX-License-Identifier: Apache-2.0
#include "check_talk.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "ringbolt/log.h"

#define PIECE_SIZE   ((size_t)16384)
#define RECEIVED_MAX ((size_t)128 << 10) // a chain may have half of that (src/tls/client_context.c)

// "It is I who speak, for no client": the PROXY protocol §2.2, LOCAL, and §2.1.
static const uint8_t header_v2[] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51,
                                    0x55, 0x49, 0x54, 0x0a, 0x20, 0x00, 0x00, 0x00};
static const uint8_t header_v1[] = {'P', 'R', 'O', 'X', 'Y', ' ',  'U', 'N',
                                    'K', 'N', 'O', 'W', 'N', '\r', '\n'};

struct check_talk {
    const uint8_t *header; // what of it is to be sent
    size_t header_left;
    struct engine *engine; // NULL: no TLS
    enum engine_status status;
    bool has_begun; // the engine
    size_t received;
    const char *why;
};

bool check_talk_is_wanted(const struct config_upstream *upstream)
{
    return upstream->health.check == CONFIG_CHECK_TLS || upstream->proxy.mode != CONFIG_PROXY_OUT_OFF;
}

struct check_talk *check_talk_create(const struct config_upstream *upstream,
                                     const struct config_server *server, struct tls_context *context)
{
    const struct engine_peer peer = {.name = upstream->tls.name ? upstream->tls.name : server->host,
                                     .server = ENGINE_NO_SESSION}; // its certificate is what is looked at
    struct check_talk *talk = calloc(1, sizeof(*talk));

    if (!talk)
        return NULL;
    if (upstream->proxy.mode == CONFIG_PROXY_OUT_V2) {
        talk->header = header_v2;
        talk->header_left = sizeof(header_v2);
    } else if (upstream->proxy.mode == CONFIG_PROXY_OUT_V1) {
        talk->header = header_v1;
        talk->header_left = sizeof(header_v1);
    }
    if (upstream->health.check != CONFIG_CHECK_TLS)
        return talk;
    talk->engine = engine_create_client(context, &peer);
    if (talk->engine)
        return talk;
    free(talk);
    return NULL;
}

void check_talk_destroy(struct check_talk *talk)
{
    if (!talk)
        return;
    engine_destroy(talk->engine);
    free(talk);
}

const char *check_talk_why(const struct check_talk *talk)
{
    return talk->why;
}

// ---- bytes ----

static enum check_talk_status bad(struct check_talk *talk, const char *why)
{
    talk->why = why;
    return CHECK_TALK_BAD;
}

static void feed(struct check_talk *talk, const uint8_t *data, size_t length)
{
    size_t eaten;

    talk->has_begun = true;
    talk->status = engine_feed(talk->engine, data, length, &eaten);
    if (talk->status == ENGINE_DONE)
        engine_say_goodbye(talk->engine);
}

static const uint8_t *to_send(struct check_talk *talk, size_t *ret_length)
{
    *ret_length = talk->header_left;
    if (talk->header_left > 0)
        return talk->header;
    if (!talk->engine)
        return NULL;
    if (!talk->has_begun)
        feed(talk, NULL, 0);
    return engine_output(talk->engine, ret_length);
}

static void was_sent(struct check_talk *talk, size_t length)
{
    if (talk->header_left > 0) {
        talk->header += length;
        talk->header_left -= length;
    } else {
        engine_output_sent(talk->engine, length);
    }
}

// GOOD: all that there is to send was sent.
static enum check_talk_status send_all(struct check_talk *talk, int fd, unsigned *ret_events)
{
    const uint8_t *data;
    size_t length;

    while ((data = to_send(talk, &length)) && length > 0) {
        ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);

        if (sent >= 0) {
            was_sent(talk, (size_t)sent);
        } else if (errno == EAGAIN) {
            *ret_events = EPOLLOUT;
            return CHECK_TALK_WAITS;
        } else if (errno != EINTR) {
            return bad(talk, talk->engine && talk->status == ENGINE_FAILED ? engine_failure(talk->engine)
                                                                           : log_error_text(errno));
        }
    }
    return CHECK_TALK_GOOD;
}

// One piece, so that others have their turn. GOOD: the engine has it.
static enum check_talk_status receive(struct check_talk *talk, int fd, unsigned *ret_events)
{
    uint8_t piece[PIECE_SIZE];
    ssize_t length = recv(fd, piece, sizeof(piece), 0);

    if (length < 0 && (errno == EAGAIN || errno == EINTR)) {
        *ret_events = EPOLLIN;
        return CHECK_TALK_WAITS;
    }
    if (length < 0)
        return bad(talk, "server reset during the handshake");
    if (length == 0)
        return bad(talk, "server closed during the handshake");
    talk->received += (size_t)length;
    if (talk->received > RECEIVED_MAX)
        return bad(talk, "the server's handshake is too large");
    feed(talk, piece, (size_t)length);
    return CHECK_TALK_GOOD;
}

enum check_talk_status check_talk_step(struct check_talk *talk, int fd, unsigned *ret_events)
{
    enum check_talk_status status = send_all(talk, fd, ret_events);

    if (status != CHECK_TALK_GOOD)
        return status;
    if (talk->engine && talk->status == ENGINE_WANTS_INPUT) {
        status = receive(talk, fd, ret_events);
        if (status != CHECK_TALK_GOOD)
            return status;
        status = send_all(talk, fd, ret_events);
        if (status != CHECK_TALK_GOOD)
            return status;
    }
    if (!talk->engine || talk->status == ENGINE_DONE)
        return CHECK_TALK_GOOD;
    if (talk->status == ENGINE_FAILED)
        return bad(talk, engine_failure(talk->engine));
    *ret_events = EPOLLIN;
    return CHECK_TALK_WAITS;
}
