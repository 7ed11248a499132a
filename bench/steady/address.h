// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netinet/in.h>

// "127.0.0.1:443"; -EINVAL if it is none. IPv4 alone: it's loopback.
int address_parse(const char *text, struct sockaddr_in *ret);
