// SPDX-License-Identifier: Apache-2.0
// What every target has: the function that libFuzzer and replay.c call, and what it says when something is not so.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(fact)                                                                                        \
    do {                                                                                                     \
        if (!(fact))                                                                                         \
            abort();                                                                                         \
    } while (0)
