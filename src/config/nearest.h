// SPDX-License-Identifier: Apache-2.0
// "Did you mean …": the known name that a misspelled one is nearest to.
#pragma once

#include <stddef.h>

// One of names[count] when it differs from `word` in so few characters that it is likely what was meant, the
// nearest of several; else NULL. A NULL among the names is passed over.
const char *nearest_name(const char *word, const char *const *names, size_t count);
