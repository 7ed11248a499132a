// SPDX-License-Identifier: Apache-2.0
// Memory for secrets: locked into RAM where the limit allows, left out of core dumps, wiped when it goes. Whole pages for what is
// large or lives alone, a heap for what is small and many (private keys of certificates). Keys of connections live in their
// pools, which are marked with secret_protect(). One thread.
#pragma once

#include <stddef.h>

// Overwrites memory[size] in a way that the compiler may not remove. memory may be NULL when size is 0.
void secret_wipe(void *memory, size_t size);

// Whole pages of zeroed memory, mlock(2)ed if RLIMIT_MEMLOCK allows it and never dumped
// (MADV_DONTDUMP). NULL with errno set when there is no memory. The caller owns it and gives it back
// with secret_free() and the same size.
void *secret_alloc(size_t size);

// Wipes and unmaps. memory may be NULL.
void secret_free(void *memory, size_t size);

// The heap: `size` bytes (1 or more) of zeroed memory at a multiple of 16, out of blocks that many share, locked and never
// dumped as above. At most a quarter of `size`, and at least 16 bytes, is lost to rounding. NULL with errno set when
// there is no memory. Where the limit on locked memory is too small for a block, it stays unlocked, and the first time a debug
// line says so.
void *secret_take(size_t size);

// Wipes what secret_take() gave. memory may be NULL.
void secret_give(void *memory);

// For a process that was just forked: locks the heap's blocks again, since mlock(2) is not inherited. Pages that are still shared
// with the parent are not copied by it. Best effort, as above.
void secret_relock(void);

// Marks a page-aligned mapping as holding secrets: not part of core dumps. Best effort, never fails.
void secret_protect(void *memory, size_t size);
