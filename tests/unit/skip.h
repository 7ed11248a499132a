// SPDX-License-Identifier: Apache-2.0
// Skips with their reasons: printed as a TAP comment, which tests/run.py shows.
#pragma once

#include <cmocka.h>

// Ends the test that calls it as skipped. `reason`: words without a full stop.
#define skip_because(reason)                                                                                 \
    do {                                                                                                     \
        print_message("# skipped %s: %s\n", __func__, reason);                                               \
        skip();                                                                                              \
    } while (0)
