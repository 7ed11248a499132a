// SPDX-License-Identifier: Apache-2.0
// What a process gives up before it meets the network: identity, capabilities(7), core dumps.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PRIVILEGE(capability) (UINT64_C(1) << (capability))

// Becomes uid and gid with no supplementary groups, unless uid is (uid_t)-1, and sets no_new_privs. Of capabilities(7) nothing
// is kept, or with keeps_raw CAP_NET_RAW, which IP_TRANSPARENT needs. 0, or -errno with *ret_what (static text) naming the step; a
// worker must not go on then.
int privileges_drop(uid_t uid, gid_t gid, bool keeps_raw, const char **ret_what);

// Which capabilities this process holds: a PRIVILEGE() each.
uint64_t privileges_held(void);
// Gives up all that are not in `keep`, for good, and passes none on to what it executes without being root. 0 or -errno.
int privileges_keep(uint64_t keep);

// Before execve(2), in a process that is to have them still, whoever it is: hands down the capabilities that it holds. 0 or -errno.
int privileges_hand_down(void);

// No core dumps; nobody but root reads this process's memory or traces it. 0 or -errno.
int privileges_hide(void);
