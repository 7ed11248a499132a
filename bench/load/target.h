// SPDX-License-Identifier: Apache-2.0
// Where the server is.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define TARGET_HOST_MAX 256

// HOST:PORT, [V6]:PORT or unix:/path; a host name is looked up, and its first address counts. host gets the name or the
// numeric address, "" for a unix socket. 0, or -1 with why[size] saying what is wrong.
int target_find(const char *text, struct sockaddr_storage *ret, socklen_t *ret_size,
                char host[static TARGET_HOST_MAX], char *why, size_t size);

// Whether a name is a numeric address, which goes into no SNI (RFC 6066 §3).
bool target_is_numeric(const char *host);
