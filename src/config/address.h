// SPDX-License-Identifier: Apache-2.0
// Addresses as they are written, and host names behind them.
#pragma once

#include <stdint.h>

#include "ringbolt/config.h"

#define ADDRESS_HOST_MAX 253 // a name in the DNS, without the dot at its end (RFC 1035 §2.3.4)
#define ADDRESS_EACH_MAX 64  // addresses of one name that are looked at

// `HOST:PORT` taken apart, before anybody asks what the host is.
struct address_parts {
    char host[ADDRESS_HOST_MAX + 1]; // without brackets
    uint16_t port;
    bool is_bracketed;
    const char *path; // behind `unix:`; the others are empty then. Points into the text.
};

// 0, or -EINVAL and *ret_why as config_address_parse() has it. A host is there, and not empty.
int address_split(const char *text, bool is_listener, struct address_parts *ret, const char **ret_why);

// Turns the numeric host (for a listener also `*` and `localhost`) or the path into a socket address; a
// relative path is taken from `directory`, and refused when that is NULL. ret->text is not touched. -ENOENT:
// the host is a name. Else as config_address_parse().
int address_resolve(const struct address_parts *parts, bool is_listener, const char *directory,
                    struct config_address *ret, const char **ret_why);

void address_set_port(struct config_address *address, uint16_t port);
uint16_t address_port(const struct config_address *address);
// "192.0.2.1:80", "[2001:db8::1]:80"; a zone as its number. Not for paths.
#define ADDRESS_TEXT_SIZE 80
void address_text(const struct config_address *address, char text[static ADDRESS_TEXT_SIZE]);
bool address_is_loopback(const struct config_address *address);
bool address_equal(const struct config_address *a, const struct config_address *b);

// Finds a name's addresses, in the order they should be tried, at most `max` and each once; their ports and
// texts are not set. 0 or an EAI_ code.
typedef int address_resolver(const char *host, struct config_address *ret, size_t max, size_t *ret_count);
address_resolver address_look_up; // by getaddrinfo(); blocks
