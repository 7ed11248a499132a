// SPDX-License-Identifier: Apache-2.0
// config_parse() for tests and the fuzzer: host names are looked up where they say.
#pragma once

#include "src/config/address.h"

int config_parse_with(const char *text, size_t length, const char *directory, address_resolver *resolver,
                      struct config **ret, struct report *report);
