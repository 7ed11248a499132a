// SPDX-License-Identifier: Apache-2.0
#include "stream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>

int stream_init(struct stream *stream, int fd, SSL_CTX *ssl, bool is_server)
{
    *stream = (struct stream){.fd = fd};
    if (ssl == NULL)
        return 0;
    stream->ssl = SSL_new(ssl);
    if (stream->ssl == NULL || SSL_set_fd(stream->ssl, fd) != 1) {
        stream_finish(stream);
        return -ENOMEM;
    }
    if (is_server)
        SSL_set_accept_state(stream->ssl);
    else
        SSL_set_connect_state(stream->ssl);
    return 0;
}

void stream_finish(struct stream *stream)
{
    SSL_free(stream->ssl);
    stream->ssl = NULL;
    if (stream->fd >= 0)
        close(stream->fd);
    stream->fd = -1;
}

// What OpenSSL says to a result that is not a success.
static enum stream_result judge(struct stream *stream, int result, const char **why)
{
    int error = SSL_get_error(stream->ssl, result), saved = errno;
    unsigned long code = ERR_peek_error();

    ERR_clear_error();
    switch (error) {
    case SSL_ERROR_WANT_READ:
        return STREAM_WAIT;
    case SSL_ERROR_WANT_WRITE:
        stream->wants_write = true;
        return STREAM_WAIT;
    case SSL_ERROR_ZERO_RETURN:
        return STREAM_END;
    case SSL_ERROR_SYSCALL:
        *why = saved != 0 ? strerrordesc_np(saved) : "end of file without close_notify";
        return STREAM_BROKEN;
    default:
        if (ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
            *why = "end of file without close_notify";
        else
            *why = ERR_reason_error_string(code) != NULL ? ERR_reason_error_string(code) : "TLS failed";
        return STREAM_BROKEN;
    }
}

static enum stream_result judge_socket(struct stream *stream, bool is_write, const char **why)
{
    if (errno == EAGAIN) {
        stream->wants_write = is_write;
        return STREAM_WAIT;
    }
    *why = strerrordesc_np(errno);
    return STREAM_BROKEN;
}

enum stream_result stream_handshake(struct stream *stream, const char **why)
{
    int done;

    stream->wants_write = false;
    if (stream->ssl == NULL)
        return STREAM_DONE;
    errno = 0;
    done = SSL_do_handshake(stream->ssl);
    return done == 1 ? STREAM_DONE : judge(stream, done, why);
}

enum stream_result stream_read(struct stream *stream, uint8_t *to, size_t room, size_t *ret_size,
                               const char **why)
{
    ssize_t got;

    errno = 0;
    if (stream->ssl != NULL)
        return SSL_read_ex(stream->ssl, to, room, ret_size) == 1 ? STREAM_DONE : judge(stream, 0, why);
    got = recv(stream->fd, to, room, 0);
    if (got < 0)
        return judge_socket(stream, false, why);
    *ret_size = (size_t)got;
    return got > 0 ? STREAM_DONE : STREAM_END;
}

enum stream_result stream_write(struct stream *stream, const uint8_t *from, size_t size, size_t *ret_size,
                                const char **why)
{
    ssize_t sent;

    errno = 0;
    stream->wants_write = false;
    if (stream->ssl != NULL)
        return SSL_write_ex(stream->ssl, from, size, ret_size) == 1 ? STREAM_DONE : judge(stream, 0, why);
    sent = send(stream->fd, from, size, MSG_NOSIGNAL);
    if (sent < 0)
        return judge_socket(stream, true, why);
    *ret_size = (size_t)sent;
    return STREAM_DONE;
}

enum stream_result stream_end(struct stream *stream, const char **why)
{
    int done;

    errno = 0;
    stream->wants_write = false;
    if (stream->ssl != NULL) {
        done = SSL_shutdown(stream->ssl);
        if (done < 0) {
            enum stream_result result = judge(stream, done, why);

            if (result != STREAM_WAIT || stream->wants_write)
                return result;
        }
    } else if (shutdown(stream->fd, SHUT_WR) < 0) {
        *why = strerrordesc_np(errno);
        return STREAM_BROKEN;
    }
    stream->is_ended = true;
    return STREAM_DONE;
}

bool stream_rekey(struct stream *stream)
{
    if (SSL_key_update(stream->ssl, SSL_KEY_UPDATE_REQUESTED) == 1)
        return true;
    ERR_clear_error();
    return false;
}
