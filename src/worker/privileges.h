// SPDX-License-Identifier: Apache-2.0
// What a worker gives up before it meets the network.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

// Becomes uid and gid with no supplementary groups, unless uid is (uid_t)-1, and sets no_new_privs. Of root's capabilities(7) nothing
// is kept, or with keeps_raw CAP_NET_RAW, which IP_TRANSPARENT needs. 0, or -errno with *ret_what (static text) naming the step; a
// worker must not go on then.
int privileges_drop(uid_t uid, gid_t gid, bool keeps_raw, const char **ret_what);
