// SPDX-License-Identifier: Apache-2.0
// Memory for secrets: locked into RAM where the limit allows, left out of core dumps, wiped when it
// goes. For the few long-lived secrets (ticket keys, private keys in transit); keys of connections live
// in their pools, which are marked with secret_protect().
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

// Marks a page-aligned mapping as holding secrets: not part of core dumps. Best effort, never fails.
void secret_protect(void *memory, size_t size);
