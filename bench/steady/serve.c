// SPDX-License-Identifier: Apache-2.0
#include "serve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "address.h"
#include "ringbolt/clock.h"
#include "talk.h"

#define STREAM_FRAME_MAX 4096
#define PROXY_HEADER_MAX 536
#define PROXY_SIGNATURE  "\r\n\r\n\0\r\nQUIT\n"
#define SIGNATURE_SIZE   12
#define PROXY_HEAD_SIZE  16

struct server {
    struct loop loop;
    struct loop_member listener, input;
    int fd;
    SSL_CTX *ssl;
    bool is_proxied;
};

struct session {
    struct talk talk; // first
    struct server *server;
    bool is_open; // its handshake is over
    bool is_header_due;
    bool is_streaming, is_ending, is_bye_sent, is_wrong;
    uint64_t random;
    uint64_t rate; // of the stream, bytes a second; 0: as fast as it goes
    uint64_t stream_next_ns, stream_end_ns;
    struct frame answer; // to be sent at the moment of the talk's member
    bool is_answer_due;
    uint64_t answer_ns;
};

static void session_destroy(struct session *session)
{
    talk_close(&session->talk);
    free(session);
}

// ---- what it says ----

static void stream_feed(struct session *session)
{
    struct talk *talk = &session->talk;
    uint32_t length = FRAME_PAYLOAD_MAX;

    if (session->stream_end_ns <= talk->loop->now_ns) {
        session->is_streaming = false;
        session->is_ending = true;
        return;
    }
    if (session->rate > 0) {
        if (session->stream_next_ns > talk->loop->now_ns)
            return;
        session->random = session->random * 6364136223846793005ull + 1442695040888963407ull;
        length = (uint32_t)(session->random >> 33) % STREAM_FRAME_MAX;
        session->stream_next_ns += (length + FRAME_HEAD_SIZE) * CLOCK_NS_PER_S / session->rate;
    }
    talk_send(talk, (struct frame){.type = FRAME_DATA, .length = length});
}

static void answer_feed(struct session *session)
{
    if (!session->is_answer_due || session->answer_ns > session->talk.loop->now_ns)
        return;
    session->is_answer_due = false;
    talk_send(&session->talk, session->answer);
}

static void bye_feed(struct session *session)
{
    struct frame_side *in = &session->talk.in;
    uint32_t type = session->is_wrong ? FRAME_WRONG : FRAME_BYE;

    session->is_bye_sent = true;
    talk_send(&session->talk, (struct frame){.type = type, .value = in->bytes});
}

static uint64_t next_moment(const struct session *session)
{
    const struct talk *talk = &session->talk;
    uint64_t next = UINT64_MAX;

    if (talk->is_blocked)
        return UINT64_MAX;
    if (!talk_is_idle(talk))
        return talk->drip_ms > 0 ? talk->loop->now_ns + talk->drip_ms * CLOCK_NS_PER_MS : UINT64_MAX;
    if (session->is_ending && !session->is_bye_sent)
        return talk->loop->now_ns;
    if (session->is_streaming)
        next = session->stream_next_ns < session->stream_end_ns ? session->stream_next_ns
                                                                : session->stream_end_ns;
    if (session->is_answer_due && session->answer_ns < next)
        next = session->answer_ns;
    return next;
}

// False: the session is gone.
static bool go_on(struct session *session)
{
    struct talk *talk = &session->talk;
    const char *why;

    for (int turns = 0; turns < 16; turns++) {
        answer_feed(session);
        if (session->is_streaming && talk_is_idle(talk))
            stream_feed(session);
        if (session->is_ending && talk_is_idle(talk) && !session->is_bye_sent)
            bye_feed(session);
        if (talk_is_idle(talk))
            break;
        switch (talk_flush(talk, &why)) {
        case STREAM_DONE:
            break;
        case STREAM_WAIT:
            goto wait;
        default:
            session_destroy(session);
            return false;
        }
        if (talk->drip_ms > 0)
            break;
    }
    if (session->is_bye_sent && talk_is_idle(talk) && !talk->stream.is_ended) {
        if (stream_end(&talk->stream, &why) == STREAM_BROKEN) {
            session_destroy(session);
            return false;
        }
    }
    if (talk->stream.is_ended && talk->is_at_end) {
        session_destroy(session);
        return false;
    }
wait:
    talk_listen(talk);
    loop_at(talk->loop, &talk->member, next_moment(session));
    return true;
}

// ---- what it hears ----

static bool on_frame(struct talk *talk, const struct frame *frame)
{
    struct session *session = (struct session *)talk;

    switch (frame->type) {
    case FRAME_HELLO:
        talk->in.seed = frame_seed(frame->value, true);
        talk->out.seed = frame_seed(frame->value, false);
        talk->drip_ms = frame->detail;
        session->random = talk->out.seed;
        break;
    case FRAME_ASK:
        session->answer = (struct frame){
            .type = FRAME_ANSWER, .length = frame->detail % (FRAME_PAYLOAD_MAX + 1), .value = frame->value};
        session->answer_ns = talk->loop->now_ns + frame->value * CLOCK_NS_PER_MS;
        session->is_answer_due = true;
        break;
    case FRAME_STREAM:
        session->is_streaming = true;
        session->rate = frame->value;
        session->stream_next_ns = talk->loop->now_ns;
        session->stream_end_ns =
            frame->detail > 0 ? talk->loop->now_ns + frame->detail * CLOCK_NS_PER_MS : UINT64_MAX;
        break;
    case FRAME_END: // an answer that is not due yet is not waited for
        session->is_answer_due = session->is_streaming = false;
        session->is_ending = true;
        break;
    default:
        break;
    }
    return true;
}

// Reads the header away: 1, when it is over; 0, more has to come; -1, there is none.
static int header_take(struct session *session)
{
    uint8_t peeked[PROXY_HEADER_MAX];
    int fd = session->talk.stream.fd;
    ssize_t got = recv(fd, peeked, sizeof(peeked), MSG_PEEK);
    size_t size = 0;

    if (got < 0)
        return errno == EAGAIN ? 0 : -1;
    if (got >= PROXY_HEAD_SIZE && memcmp(peeked, PROXY_SIGNATURE, SIGNATURE_SIZE) == 0) {
        size = PROXY_HEAD_SIZE + (size_t)(peeked[14] << 8 | peeked[15]);
    } else if (got >= 6 && memcmp(peeked, "PROXY ", 6) == 0) {
        uint8_t *end = memchr(peeked, '\n', (size_t)got);

        if (end != NULL)
            size = (size_t)(end + 1 - peeked);
    } else if (got >= PROXY_HEAD_SIZE || got == 0) {
        return -1;
    }
    if (size == 0 || size > (size_t)got)
        return size > sizeof(peeked) ? -1 : 0;
    return recv(fd, peeked, size, 0) == (ssize_t)size ? 1 : -1;
}

// False: not yet, or the session is gone.
static bool open_up(struct session *session)
{
    struct talk *talk = &session->talk;
    const char *why;
    int header = session->is_header_due ? header_take(session) : 1;

    if (header == 1)
        session->is_header_due = false;
    if (header == 0)
        return false;
    if (header == 1) {
        switch (stream_handshake(&talk->stream, &why)) {
        case STREAM_DONE:
            session->is_open = true;
            return true;
        case STREAM_WAIT:
            talk->is_blocked = talk->stream.wants_write;
            talk_listen(talk);
            return false;
        default:
            break;
        }
    }
    session_destroy(session);
    return false;
}

// Reads without looking, so that what is said last is not lost to a reset.
static enum stream_result discard(struct talk *talk, const char **why)
{
    static uint8_t block[FRAME_PAYLOAD_MAX];
    enum stream_result result;
    size_t size;

    while ((result = stream_read(&talk->stream, block, sizeof(block), &size, why)) == STREAM_DONE)
        ;
    talk->is_at_end = result == STREAM_END;
    return result;
}

// False: the session is gone.
static bool hear(struct session *session)
{
    struct talk *talk = &session->talk;
    const char *why = NULL;

    switch (session->is_wrong ? discard(talk, &why)
                              : talk_read(talk, 16 * FRAME_PAYLOAD_MAX, on_frame, &why)) {
    case STREAM_END: // streams with an end of their own go on
        if (!session->is_streaming || session->stream_end_ns == UINT64_MAX) {
            session->is_streaming = false;
            session->is_ending = true;
        }
        return true;
    case STREAM_BROKEN:
        if (why != talk_wrong) {
            session_destroy(session);
            return false;
        }
        session->is_streaming = false;
        session->is_wrong = session->is_ending = true;
        return true;
    default:
        return true;
    }
}

static void session_on_ready(struct loop_member *member, uint32_t events)
{
    struct session *session = (struct session *)member;
    struct talk *talk = &session->talk;

    if (!session->is_open && !open_up(session))
        return;
    if (talk->is_at_end && (events & (EPOLLHUP | EPOLLERR)) != 0) { // nobody is left to hear the rest
        session_destroy(session);
        return;
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !talk->is_at_end && !hear(session))
        return;
    go_on(session);
}

static void session_on_due(struct loop_member *member)
{
    go_on((struct session *)member);
}

// ---- the server ----

static void session_create(struct server *server, int fd)
{
    struct session *session = calloc(1, sizeof(*session));
    int one = 1;

    if (session == NULL || stream_init(&session->talk.stream, fd, server->ssl, true) < 0) {
        close(fd);
        free(session);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    session->server = server;
    session->is_header_due = server->is_proxied;
    session->talk.loop = &server->loop;
    session->talk.member.on_ready = session_on_ready;
    session->talk.member.on_due = session_on_due;
    if (loop_add(&server->loop, &session->talk.member, fd, EPOLLIN) < 0) {
        stream_finish(&session->talk.stream);
        free(session);
    }
}

static void on_clients(struct loop_member *member, uint32_t events)
{
    struct server *server = (struct server *)((char *)member - offsetof(struct server, listener));
    int fd;

    (void)events;
    while ((fd = accept4(server->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        session_create(server, fd);
}

static void on_input(struct loop_member *member, uint32_t events)
{
    struct server *server = (struct server *)((char *)member - offsetof(struct server, input));
    char text[64];

    (void)events;
    if (read(STDIN_FILENO, text, sizeof(text)) <= 0)
        server->loop.is_over = true;
}

static int listen_at(struct server *server, const char *text)
{
    struct sockaddr_in address;
    socklen_t size = sizeof(address);
    char host[INET_ADDRSTRLEN];

    if (address_parse(text, &address) < 0)
        return -EINVAL;
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (server->fd < 0 || bind(server->fd, (struct sockaddr *)&address, size) < 0 ||
        listen(server->fd, 65535) < 0 || getsockname(server->fd, (struct sockaddr *)&address, &size) < 0)
        return -errno;
    printf("%s:%u\n", inet_ntop(AF_INET, &address.sin_addr, host, sizeof(host)), ntohs(address.sin_port));
    return fflush(stdout) == 0 ? 0 : -EIO;
}

static SSL_CTX *tls_make(const struct serve_options *options)
{
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());

    if (ssl == NULL || SSL_CTX_use_certificate_chain_file(ssl, options->chain) != 1 ||
        SSL_CTX_use_PrivateKey_file(ssl, options->key, SSL_FILETYPE_PEM) != 1) {
        SSL_CTX_free(ssl);
        return NULL;
    }
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    return ssl;
}

int serve(const struct serve_options *options)
{
    struct server server = {.fd = -1, .is_proxied = options->is_proxied};
    int error;

    if (options->chain != NULL && (server.ssl = tls_make(options)) == NULL) {
        fprintf(stderr, "ringbolt-steady: %s and %s can't be used\n", options->chain, options->key);
        return 1;
    }
    server.listener.on_ready = on_clients;
    server.input.on_ready = on_input;
    error = loop_init(&server.loop);
    if (error == 0)
        error = listen_at(&server, options->address);
    if (error == 0)
        error = loop_add(&server.loop, &server.listener, server.fd, EPOLLIN);
    if (error == 0)
        error = loop_add(&server.loop, &server.input, STDIN_FILENO, EPOLLIN);
    if (error < 0)
        fprintf(stderr, "ringbolt-steady: %s: %s\n", options->address, strerror(-error));
    else
        loop_run(&server.loop); // what is live then ends with the process
    if (server.fd >= 0)
        close(server.fd);
    loop_finish(&server.loop);
    SSL_CTX_free(server.ssl);
    return error < 0 ? 1 : 0;
}
