// SPDX-License-Identifier: Apache-2.0
// A connection as bytes, to be moved from one worker (the giver) to another (the taker), which may be of another release, or have another
// configuration. How a connection comes to rest before, and goes on afterwards: connection.h. The descriptors travel beside the bytes.
//
// The format. Numbers are little endian. A head: "RBcn", u16 version, u16 0. Then fields: u16 number, u32 length, that many bytes; each at
// most once, in ascending order of their numbers. A field whose number has bit 15 set may be passed over by who doesn't know it; any other unknown
// one makes the connection one that can't be taken. (+): always there. Texts are not terminated, and without zeros.
//
//      1  facts (+)             u64 each: id, unique; accepted, handshaken, connected, active, retired (ns of CLOCK_MONOTONIC, 0: never);
//                               certificate; then u16 flags (enum carry_flag), u32 route (0: none, else its place among the listener's)
//      2  listener (+)          its address as text;  3 (+) its name
//      4  upstream (+)          its name
//      5  server (+)            its address as text;  6 the name that it was found by
//      7  client (+)            its address as text
//      8  via   9  unique id    what a PROXY header brought
//     10  SNI  11  ALPN  12  suite  13  client's subject  14  client's fingerprint  15  server's suite
//     16  PROXY header          what of it is still to be sent to the server
//     20  client's endpoint (+) u8 each: mode and why of receive, of transmit; flags (enum carry_endpoint_flag), sending, key updates, empty
//                               records, bytes of a message's header; 4 bytes: these; u32 left of the message; u16 payload_max
//     21, 22                    its keys of receive and of transmit, unless it is plain: u16 version, u8 cipher, u64 sequence, key, iv,
//                               traffic secret (TLS 1.3), in the sizes that version and cipher have
//     23                        the rest of a control record that is being sent
//     25 (+), 26, 27, 28        the same of the server's
//     30  flow up (+)           u8 each: state, appetite, is_closing; u64 bytes; u32 plaintext that counts when what is being sent has left,
//                               u32 what an incomplete record lacks
//     31                        what it holds: READY: plaintext; SENDING: bytes as they go to the socket
//     32                        the beginning of a record that is not whole yet
//     35 (+), 36, 37            the same of the flow down
//
// What a field is about decides which others must be there, or must not: carry_read.c checks all of it before anything is made.
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
// The same without its secrets (zeros stand where they would), into bytes[room]: enough where the kernel has all directions, except that no new keys
// can be made. Its size; 0: there is not room enough.
size_t carry_pack_bare(const struct connection *connection, uint8_t *bytes, size_t room);
// Wipes and frees. Harmless on a zeroed one, and twice.
void carried_finish(struct carried *carried);

// Makes the connection that bytes[size] tell of, at rest: connection_resume() starts it, connection_release() lets go of it. It is in the gauges
// (connections, the places of its listener, client and server, even where a limit says no more) and in no count of what happened. On
// success the descriptors are the connection's. On failure they stay the caller's and nothing is left behind: -EPROTO (the bytes are none of
// ours, or none that we know), -ENOENT (its listener, upstream or server is not in this configuration), -ENOMEM; *ret_why says what, in
// static words. The bytes stay the caller's, who wipes them.
int carry_read(struct proxy *proxy, const uint8_t *bytes, size_t size, const int fds[2],
               struct connection **ret, const char **ret_why);
