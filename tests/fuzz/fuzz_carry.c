// SPDX-License-Identifier: Apache-2.0
// A connection that comes as bytes from another worker: whatever they are, it is refused with words and leaves nothing behind, or it is taken, and then
// what it is as bytes is taken as the same again.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "tests/unit/carry_world.h"

static struct carry_world world;

static const int none[2] = {-1, -1};

static struct connection *take(const uint8_t *data, size_t size)
{
    struct connection *connection = NULL;
    const char *why = NULL;
    int error = carry_read(world.proxy, data, size, none, &connection, &why);

    REQUIRE(error == 0 ? connection != NULL : connection == NULL && why != NULL);
    return connection;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct carried carried[2];
    struct connection *connection;

    if (!world.proxy) {
        REQUIRE(record_init() == 0);
        carry_world_open(&world);
    }
    connection = take(data, size);
    if (connection) {
        for (unsigned i = 0; i < 2; i++) {
            REQUIRE(carry_pack(connection, &carried[i]) == 0);
            connection_release(connection);
            connection = take(carried[i].bytes, carried[i].size);
            REQUIRE(connection != NULL);
        }
        connection_release(connection);
        REQUIRE(carried[0].size == carried[1].size &&
                memcmp(carried[0].bytes, carried[1].bytes, carried[0].size) == 0);
        for (unsigned i = 0; i < 2; i++)
            carried_finish(&carried[i]);
    }
    REQUIRE(carry_world_is_empty(&world));
    return 0;
}
