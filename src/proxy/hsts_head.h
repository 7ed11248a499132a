// SPDX-License-Identifier: Apache-2.0
// Where in a server's first bytes a header of ours goes: behind the last header of the first final response of HTTP/1 (RFC 9112), unless
// the server said Strict-Transport-Security (RFC 6797) itself. Pure: bytes come as they come, and none of them is kept but a CR.
#pragma once

#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct hsts_head {
    http_parser parser;
    uint8_t matched; // characters of the name that comes now, if all of them were those
    bool is_in_value;
    bool is_other;       // it is another name
    bool is_servers_own; // the server sent one
    bool is_found;       // the head of the first final response has come to its end
    bool holds;          // a CR, the last byte that came
    char before;         // the byte that came last, ahead of that CR
};

// What is to be passed on in place of what came: texts, one behind the other.
struct hsts_parts {
    struct iovec parts[4]; // in what came, in `header`, or static
    unsigned count;
    size_t length;  // of all
    bool is_over;   // nothing is to be done any more
    bool is_as_was; // all that came, and nothing else, in its place
};

void hsts_head_init(struct hsts_head *head);
// bytes[length] came, the next ones of the stream. All of it is to be passed on, but for a CR at the end, which may begin the empty line that ends the head: it
// is kept, and is in the parts of the next call, or hsts_head_holds() it.
void hsts_head_pass(struct hsts_head *head, const char *header, const char *bytes, size_t length,
                    struct hsts_parts *ret);
bool hsts_head_holds(const struct hsts_head *head);
