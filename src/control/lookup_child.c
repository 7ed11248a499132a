// SPDX-License-Identifier: Apache-2.0
// One lookup of a host name: what the child does. It is started anew for each, so that a changed /etc/resolv.conf or nsswitch.conf counts at once.
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "lookup.h"
#include "ringbolt/log.h"

static void put(const struct config_address *from, struct lookup_address *ret)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&from->socket;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&from->socket;

    *ret = (struct lookup_address){.family = from->socket.ss_family};
    if (from->socket.ss_family == AF_INET) {
        memcpy(ret->bytes, &v4->sin_addr, sizeof(v4->sin_addr));
    } else {
        memcpy(ret->bytes, &v6->sin6_addr, sizeof(v6->sin6_addr));
        ret->scope = v6->sin6_scope_id;
    }
}

_Noreturn void lookup_child(void)
{
    static struct fetch_heard question;
    static struct config_address found[LOOKUP_MAX];
    static struct lookup_address answer[LOOKUP_MAX];
    char why[FETCH_WHY_SIZE];
    size_t count = 0;
    int result;

    fetch_hear(&question, LOOKUP_COMMAND, "to look up a server's name");
    result = fetch_confine("ringbolt-lookup");
    if (result < 0) {
        snprintf(why, sizeof(why), "its limits can't be set: %s", log_error_text(result));
        fetch_say(FETCH_FAILED, NULL, 0, why);
    }
    result = address_look_up(question.url, found, LOOKUP_MAX, &count);
    if (result != 0)
        fetch_say(FETCH_REFUSED, NULL, 0,
                  result == EAI_SYSTEM ? log_error_text(errno) : gai_strerror(result));
    for (size_t i = 0; i < count; i++)
        put(&found[i], &answer[i]);
    fetch_say(FETCH_ANSWERED, answer, count * sizeof(answer[0]), NULL);
}
