// SPDX-License-Identifier: Apache-2.0
// Memory for secrets: whole pages of their own, locked, left out of core dumps, wiped.
#include "ringbolt/secret.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// size rounded up to whole pages; 0 when that overflows or size is 0.
static size_t whole_pages(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    if (size > SIZE_MAX - (page - 1))
        return 0;
    return (size + page - 1) & ~(page - 1);
}

void secret_wipe(void *memory, size_t size)
{
    if (size > 0)
        explicit_bzero(memory, size);
}

void *secret_alloc(size_t size)
{
    size_t length = whole_pages(size);
    void *memory;

    if (length == 0) {
        errno = size == 0 ? EINVAL : ENOMEM;
        return NULL;
    }
    memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    secret_protect(memory, length);
    // Best effort: without the right to lock, the secret may reach the swap, which the header says.
    (void)mlock(memory, length);
    return memory;
}

void secret_free(void *memory, size_t size)
{
    if (memory == NULL)
        return;
    secret_wipe(memory, size);
    munmap(memory, whole_pages(size));
}

void secret_protect(void *memory, size_t size)
{
    int saved = errno;

    (void)madvise(memory, size, MADV_DONTDUMP);
    errno = saved;
}
