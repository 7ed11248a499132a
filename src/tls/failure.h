// SPDX-License-Identifier: Apache-2.0
// Words for why a handshake failed.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What the engine knows of a failed handshake beside OpenSSL's error queue.
struct failure_facts {
    uint16_t version_offered; // the client's highest, 0 when unknown
    uint16_t version_min;     // ours
    bool is_hello_read;       // a ClientHello was parsed
    const uint8_t *start;     // the first RECORD_HEADER_SIZE bytes that came, if nothing else was read
    bool is_closed;           // the peer sent close_notify
    bool is_by_server;        // the peer is a server: what is said of clients above is of no use
};

// Writes why into text[size], from the facts and the error queue of this thread, which is empty afterwards.
void failure_describe(const struct failure_facts *facts, char *text, size_t size);
