// SPDX-License-Identifier: Apache-2.0
// Memory that a process and all that it forks afterwards write and read together.
#pragma once

#include <stddef.h>

// `size` bytes of zeros (more than none), on whole pages that become memory when they are first touched. Owned by the caller of each
// process: shared_memory_destroy(), or its end. NULL: there is none.
void *shared_memory_create(size_t size);
// Takes it from this process only. NULL is accepted.
void shared_memory_destroy(void *memory, size_t size);
