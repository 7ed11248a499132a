// SPDX-License-Identifier: Apache-2.0
// Where the server is: the words and the parser of the configuration, and names from the resolver.
#include "target.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "src/config/address.h"

bool target_is_numeric(const char *host)
{
    struct in6_addr address;

    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

int target_find(const char *text, struct sockaddr_storage *ret, socklen_t *ret_size,
                char host[static TARGET_HOST_MAX], char *why, size_t size)
{
    struct config_address address = {0};
    struct address_parts parts;
    const char *reason = "it is not an address";
    size_t count = 0;
    int error = address_split(text, false, &parts, &reason);

    if (error == 0)
        error = address_resolve(&parts, false, NULL, &address, &reason);
    if (error == -ENOENT) {
        error = address_look_up(parts.host, &address, 1, &count);
        if (error != 0 || count == 0) {
            snprintf(why, size, "%s: %s", text, error != 0 ? gai_strerror(error) : "no address");
            return -1;
        }
        address_set_port(&address, parts.port);
    } else if (error != 0) {
        snprintf(why, size, "%s: %s", text, reason);
        return -1;
    }
    *ret = address.socket;
    *ret_size = address.length;
    snprintf(host, TARGET_HOST_MAX, "%s", address.socket.ss_family == AF_UNIX ? "" : parts.host);
    return 0;
}
