// SPDX-License-Identifier: Apache-2.0
// Connections that outlive their worker (docs/survival.md). A worker deposits what waits: the master gets a duplicate of both sockets, and
// a slot of memory that the two share says what else the connection is. A slot counts only while nothing of its connection moves: the
// worker takes its word back before the first byte is read. So whatever kills it, what the slot says then is true, and the worker that takes its place makes
// the connection of it.
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define DEPOSIT_SIZE  1024 // bytes of a slot: what doesn't fit isn't deposited
#define DEPOSIT_BYTES (DEPOSIT_SIZE - 8)

// Written by one worker at a time; read by who comes after it, and by the master, for whom they are but sizes and indices of a process that may have
// been anybody's in the end.
struct deposit {
    _Atomic uint32_t size;        // of the bytes; 0: nothing can be made of them
    uint32_t listener;            // whose it is, by its place in the configuration
    uint8_t bytes[DEPOSIT_BYTES]; // as in src/proxy/carry.h, without secrets
};

enum deposit_message_type {
    DEPOSIT_KEEP = 1, // slots[0] has the two sockets that come along, the client's and the server's
    DEPOSIT_DROP,     // nobody needs the sockets of these any more; their numbers may come again
};

#define DEPOSIT_DROPS_MAX 62

// Over a SOCK_SEQPACKET pair from the worker to its master, one structure a message.
struct deposit_message {
    uint32_t type;
    uint32_t count; // of slots: 1, or 1 to DEPOSIT_DROPS_MAX
    uint32_t slots[DEPOSIT_DROPS_MAX];
};

// What a worker is given of all this.
struct deposit_room {
    struct deposit *slots; // `count` of them
    uint32_t count;        // 0: nothing is deposited
    int channel;           // the worker's end
    int (*fds)
        [2]; // by slot: the sockets of those that a worker before left, this process's own from now on; -1: none
};
