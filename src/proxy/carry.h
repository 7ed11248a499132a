// SPDX-License-Identifier: Apache-2.0
// A connection as bytes, to be moved from one worker (the giver) to another (the taker), which may be of another release, or have another
// configuration. Both sides: connection.h has how a connection comes to rest, and how it goes on. The descriptors travel beside the bytes.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct connection;
struct proxy;

#define CARRY_VERSION 1 // of the format that carry_pack() makes; carry_read() takes no other

// The most that a connection can be as bytes: two huge buffers and what is told of it.
#define CARRY_SIZE_MAX ((size_t)3 << 20)

struct carried {
    uint8_t *bytes; // in secret memory: keys are among them
    size_t size;
    int fds[2]; // the client's and the server's socket, which stay the connection's
};

// What a connection at rest is, as bytes. 0; -ENOMEM: then nothing is in *ret. carried_finish() it.
int carry_pack(const struct connection *connection, struct carried *ret);
// Wipes and frees. Harmless on a zeroed one, and twice.
void carried_finish(struct carried *carried);

// Makes the connection that bytes[size] tell of, at rest: connection_resume() starts it, connection_release() lets go of it. It is in the gauges
// (connections, the places of its listener, client and server, even where a limit says no more) and in no count of what happened. On
// success the descriptors are the connection's. On failure they stay the caller's and nothing is left behind: -EPROTO (the bytes are none of
// ours, or none that we know), -ENOENT (its listener, upstream or server is not in this configuration), -ENOMEM; *ret_why says what, in
// static words. The bytes stay the caller's, who wipes them.
int carry_read(struct proxy *proxy, const uint8_t *bytes, size_t size, const int fds[2],
               struct connection **ret, const char **ret_why);
