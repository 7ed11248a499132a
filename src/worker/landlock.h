// SPDX-License-Identifier: Apache-2.0
// The files and ports that a worker may still reach: landlock(7).
#pragma once

#include "ringbolt/config.h"

// The version of the kernel's interface, or as much of it as is used here: 1 (Linux 5.13) to 6 (6.12); -errno: there is none.
int landlock_version(void);

// From now on this process opens no file but those beneath the folders in acme[] (config->listener_count descriptors or -1; NULL:
// none), connects to no TCP port but those of the servers, binds none (with tcp.transparent: any that the kernel chooses), and
// neither traces nor signals a process outside; as far as `version` goes. Descriptors that are open stay what they are, and
// connect(2) to a path is not Landlock's. Needs no_new_privs. 0 or -errno; then nothing is in force.
int landlock_enter(const struct config *config, const int *acme, unsigned version);
