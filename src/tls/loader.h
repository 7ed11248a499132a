// SPDX-License-Identifier: Apache-2.0
// The loader, inside the room.
#pragma once

#include "src/tls/passphrase.h"
#include "src/tls/pool.h"

struct loader {
    struct pool *pool;
    struct passphrases *passphrases;
};
