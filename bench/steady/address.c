// SPDX-License-Identifier: Apache-2.0
#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int address_parse(const char *text, struct sockaddr_in *ret)
{
    const char *colon = strrchr(text, ':');
    char host[INET_ADDRSTRLEN], *end;
    unsigned long port;

    if (colon == NULL || (size_t)(colon - text) >= sizeof(host))
        return -EINVAL;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    port = strtoul(colon + 1, &end, 10);
    *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (end == colon + 1 || *end != '\0' || port > 65535 || inet_pton(AF_INET, host, &ret->sin_addr) != 1)
        return -EINVAL;
    return 0;
}
