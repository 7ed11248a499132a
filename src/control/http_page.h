// SPDX-License-Identifier: Apache-2.0
// The page at /: src/control/page/, made into one by the build.
#pragma once

#include <stddef.h>

extern const unsigned char http_page[];
extern const size_t http_page_length;
extern const char http_page_policy[]; // the Content-Security-Policy that it needs
