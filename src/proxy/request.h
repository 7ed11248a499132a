// SPDX-License-Identifier: Apache-2.0
// The head of an HTTP/1 request (RFC 9112), read as its bytes come. Pure: no socket, no memory of its own.
#pragma once

#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REQUEST_HEAD_MAX 8192 // bytes of a head, with the empty line that ends it

enum request_status {
    REQUEST_MORE,
    REQUEST_READ,
    REQUEST_BAD,       // not the head of an HTTP/1.0 or HTTP/1.1 request
    REQUEST_TOO_LARGE, // longer than REQUEST_HEAD_MAX
};

// A place in the bytes of the head.
struct request_span {
    uint32_t at;
    uint32_t length;
};

struct request {
    http_parser parser;
    uint32_t size; // of what was read of it; once it is REQUEST_READ, of the whole head
    struct request_span target;
    struct request_span host; // of the Host header, without spaces around it
    unsigned hosts;           // how many of these there were
    bool is_get;
    bool is_head;
    bool is_connect;
    bool is_old;         // HTTP/1.0
    bool has_body;       // or says so in a way that one can't be sure of
    bool wants_to_go_on; // the connection, for another request
    // while it is read
    const char *bytes;
    struct request_span name; // of the header that comes now
    bool is_in_value;
    bool is_whole;
    bool is_host;
};

void request_init(struct request *request);
// bytes[length]: all that came of it so far, so at each call what it was at the one before and more behind. What is REQUEST_READ lies in
// its first request->size bytes.
enum request_status request_read(struct request *request, const char *bytes, size_t length);
