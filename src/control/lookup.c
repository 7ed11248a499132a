// SPDX-License-Identifier: Apache-2.0
// One lookup of a host name: the master's side. The child is trusted with nothing.
#include "lookup.h"

#include <netinet/in.h>
#include <string.h>

int lookup_start(struct fetch *fetch, const struct account *account, const char *host, uint64_t timeout_ns)
{
    struct fetch_question question = {.command = LOOKUP_COMMAND, .url = host, .timeout_ns = timeout_ns};

    return fetch_start(fetch, account, &question);
}

static bool read_one(const struct lookup_address *from, struct config_address *ret)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&ret->socket;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ret->socket;

    *ret = (struct config_address){.text = NULL};
    ret->socket.ss_family = (sa_family_t)from->family;
    if (from->family == AF_INET) {
        memcpy(&v4->sin_addr, from->bytes, sizeof(v4->sin_addr));
        ret->length = sizeof(*v4);
    } else if (from->family == AF_INET6) {
        memcpy(&v6->sin6_addr, from->bytes, sizeof(v6->sin6_addr));
        v6->sin6_scope_id = from->scope;
        ret->length = sizeof(*v6);
    }
    return ret->length > 0;
}

bool lookup_read(const struct fetch_answer *answer, struct config_address ret[static LOOKUP_MAX],
                 size_t *ret_count)
{
    size_t count = answer->size / sizeof(struct lookup_address);
    size_t used = 0;

    if (answer->result != FETCH_ANSWERED || answer->size % sizeof(struct lookup_address) != 0 || count == 0 ||
        count > LOOKUP_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct lookup_address from;
        bool is_known = false;

        memcpy(&from, answer->bytes + i * sizeof(from), sizeof(from));
        if (!read_one(&from, &ret[used]))
            return false;
        for (size_t j = 0; j < used; j++)
            is_known = is_known || address_equal(&ret[j], &ret[used]);
        used += !is_known;
    }
    *ret_count = used;
    return true;
}
