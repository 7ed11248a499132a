// SPDX-License-Identifier: Apache-2.0
// Whom the workers become.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "ringbolt/config.h"

struct account {
    uid_t uid; // (uid_t)-1: stay who we are
    gid_t gid;
    bool is_ignored; // `user` names somebody else, and we may not become him
};

// 0, or -EINVAL with a line in `report`: the account does not exist.
int account_find(const struct config *config, struct account *ret, struct report *report);
