// SPDX-License-Identifier: Apache-2.0
// A fresh loader for each test that is registered by with_loader(). Included after loader.h, whose parameters have its name.
#pragma once

#include "tests/unit/loader.h"

static struct loader *loader;

static inline int loader_up(void **state)
{
    loader = loader_create(false);
    return 0;
}

static inline int loader_down(void **state)
{
    loader_destroy(loader);
    return 0;
}

#define with_loader(test) cmocka_unit_test_setup_teardown(test, loader_up, loader_down)
