// SPDX-License-Identifier: Apache-2.0
// What ACME clients put into the folder of a listener's `redirect.acme` (HTTP-01, RFC 8555 §8.3).
#pragma once

#include <stddef.h>

// Reads .well-known/acme-challenge/TOKEN beneath `folder`, a descriptor (O_PATH is enough). Follows no symbolic link, leaves the folder by
// no way, and takes regular files of at most `size` bytes alone. `token` has passed answer_choose(). The length; -ENOENT: there is no
// such file, or it is none of these; or -errno.
int token_read(int folder, const char *token, char *content, size_t size);
