// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 responses (RFC 9112), as far as a load generator must know them: status, framing, and whether the connection
// stays. Bytes in, events out; memory is taken only for a head that comes in pieces.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_MAX 16384

enum http_state { HTTP_HEAD, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED, HTTP_BODY_TO_END, HTTP_OVER };

struct http {
    enum http_state state;
    int status;            // 0 until the head is read
    bool is_close;         // the server closes after this response
    bool is_chunk_started; // of HTTP_BODY_CHUNKED: left counts a chunk's data
    bool is_last_chunk;
    uint64_t left;     // of the body, or of the chunk
    uint64_t received; // of the body
    uint64_t length;   // of the body, by its Content-Length; UINT64_MAX: not said
    char *text;        // a head, or a line of the chunked coding, that has not come whole
    size_t text_size;
};

enum http_event {
    HTTP_WANTS_MORE, // all was taken
    HTTP_DATA,       // ret_body holds bytes of the body; call again with the rest
    HTTP_DONE,       // the response is whole; what is left in the data belongs to something else
    HTTP_BAD,        // not a response, or one of a kind that has no place here
};

// All zeroes is a response that has not begun. Makes it so again.
void http_start(struct http *http);
// Frees what it holds.
void http_finish(struct http *http);

// Takes bytes from data[length] until there is an event; *ret_used is how many.
enum http_event http_feed(struct http *http, const uint8_t *data, size_t length, size_t *ret_used,
                          const uint8_t **ret_body, size_t *ret_body_size);

// The server has ended the stream in an orderly way: true when that ends the response too.
bool http_end(struct http *http);
