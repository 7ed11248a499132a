// SPDX-License-Identifier: Apache-2.0
#include "ringbolt/shared_memory.h"

#include <sys/mman.h>

void *shared_memory_create(size_t size)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

void shared_memory_destroy(void *memory, size_t size)
{
    if (memory)
        munmap(memory, size);
}
