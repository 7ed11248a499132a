// SPDX-License-Identifier: Apache-2.0
#include "carry.h"

#include <errno.h>

#include "ringbolt/secret.h"

int carry_pack(const struct connection *connection, struct carried *ret)
{
    *ret = (struct carried){.fds = {-1, -1}};
    return -ENOMEM;
}

void carried_finish(struct carried *carried)
{
    secret_give(carried->bytes);
    *carried = (struct carried){.fds = {-1, -1}};
}

int carry_read(struct proxy *proxy, const uint8_t *bytes, size_t size, const int fds[2],
               struct connection **ret, const char **ret_why)
{
    *ret_why = "connections can't be taken over";
    return -EPROTO;
}
