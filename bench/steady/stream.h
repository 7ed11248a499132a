// SPDX-License-Identifier: Apache-2.0
// A socket, with TLS by OpenSSL or without. Nothing of Ringbolt: what checks it should not be made of it.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

struct stream {
    int fd;
    SSL *ssl;         // NULL: plaintext
    bool wants_write; // whatever was tried last: the socket has to take more first
    bool is_ended;    // we have said that we have no more to say
};

enum stream_result {
    STREAM_DONE,
    STREAM_WAIT,  // the socket is to be waited for: for reading, or for writing with wants_write
    STREAM_END,   // an orderly end: close_notify, or FIN without TLS
    STREAM_BROKEN // *why
};

// Takes the descriptor.
int stream_init(struct stream *stream, int fd, SSL_CTX *ssl, bool is_server);
void stream_finish(struct stream *stream);

enum stream_result stream_handshake(struct stream *stream, const char **why);
enum stream_result stream_read(struct stream *stream, uint8_t *to, size_t room, size_t *ret_size,
                               const char **why);
// After STREAM_WAIT it must be called with the same bytes again.
enum stream_result stream_write(struct stream *stream, const uint8_t *from, size_t size, size_t *ret_size,
                                const char **why);
// Ends our direction; the other one goes on.
enum stream_result stream_end(struct stream *stream, const char **why);
// New keys, and a request for such of the other side. TLS 1.3, and nothing half written.
bool stream_rekey(struct stream *stream);
