// SPDX-License-Identifier: Apache-2.0
// What the master asks of the kernel before it starts anything: descriptors, io_uring, kernel TLS. All of it is said in
// the log, with the cure where something is missing.
#pragma once

#include <stddef.h>

#include "ringbolt/config.h"
#include "ringbolt/record.h"

// Raises the limit of descriptors to what limits.connections needs, as far as it goes.
void system_raise_descriptors(const struct config *config);
// In a child: closes every descriptor but the standard ones and those in keep[] (in any order; negative ones are skipped).
void system_keep_descriptors(int *keep, size_t count);
// 0, or -errno when io_uring can't be had.
int system_check_ring(void);
// Fills *ret (as if nothing worked when the configuration does not want kernel TLS). 0, or -ENOTSUP when kernel TLS is
// required and missing, or does nothing of a TLS version that a listener may negotiate.
int system_probe_ktls(const struct config *config, struct record_probe *ret);
