// SPDX-License-Identifier: Apache-2.0
// What a listener that redirects says to a request. Pure: bytes in, bytes out.
#pragma once

#include "request.h"
#include "ringbolt/config.h"

#define ANSWER_TOKEN_MAX                                                                                     \
    128 // characters of an ACME token; they have 43 (RFC 8555 §8.3 wants 128 bits at least)
#define ANSWER_CONTENT_MAX 4096 // bytes of what is answered to it
#define ANSWER_HOST_MAX    255
// Of a whole answer: the request's target comes back in it, or a token's content, and the fixed lines.
#define ANSWER_MAX (REQUEST_HEAD_MAX + ANSWER_HOST_MAX + 512)

enum answer_kind {
    ANSWER_REDIRECTS, // 308
    ANSWER_TOKEN,     // asks for a token: 200 or 404
    ANSWER_BAD,       // 400
    ANSWER_TOO_LARGE, // 431
};

struct answer {
    enum answer_kind kind;
    const char *detail; // static words for the log, of ANSWER_BAD and ANSWER_TOO_LARGE
    const char *host;   // host[host_length], of ANSWER_REDIRECTS; in the request's bytes or the configuration
    size_t host_length;
    const char *target; // target[target_length], likewise; begins with a slash, or is empty
    size_t target_length;
    char token[ANSWER_TOKEN_MAX + 1]; // of ANSWER_TOKEN; "": no good name for one
    bool is_head;                     // the content stays away
    bool is_old;                      // the client speaks HTTP/1.0
    bool closes;                      // nothing follows it
};

// `status` and what request_read() made of bytes[]. The answer points into both and into `redirect`.
void answer_choose(const struct config_redirect *redirect, enum request_status status,
                   const struct request *request, const char *bytes, struct answer *ret);

// Writes it; content[length] is what a token's file holds, NULL: there is none. now_s is the time of day, for the Date header.
// The length of what is in text[].
size_t answer_build(const struct answer *answer, const struct config_redirect *redirect, const char *content,
                    size_t length, int64_t now_s, char text[static ANSWER_MAX]);
