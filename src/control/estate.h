// SPDX-License-Identifier: Apache-2.0
// What a master leaves to its successor, and how it travels: items, each with a type, bytes and perhaps a descriptor, over a SOCK_SEQPACKET
// pair that only the two have. The same messages carry the dialogue of the two (succession.h). Two releases talk here, so nothing is a C
// structure: whoever packs an item chooses a format that its reader checks byte by byte, and that begins with a version where it may change.
//
// A new part of the estate: a type below; a line in estate_collect() (estate_parts.c), which the predecessor calls when its successor has
// said hello; and a look with estate_find() at master->control->inherited (NULL in a master that nobody went before) where the part is made.
// The estate is there before the configuration is loaded, and until all workers have started.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct certificate;
struct change;
struct control;
struct master;

#define ESTATE_SIZE_MAX ((size_t)256 << 20) // bytes of one item

// Numbers on the wire: never given to anything else.
enum estate_type {
    ESTATE_NONE,
    // the dialogue: succession.h
    ESTATE_HELLO,
    ESTATE_END, // that was the estate
    ESTATE_READY,
    ESTATE_FAILED,
    ESTATE_LEAD,
    ESTATE_GIVE,
    ESTATE_RELEASE,
    ESTATE_RELEASED,
    ESTATE_DRAIN,
    ESTATE_STOP,
    ESTATE_KEPT,
    ESTATE_REOPEN,
    // the estate
    ESTATE_PROGRAM = 64, // the path that an upgrade executes
    ESTATE_KEEPER,       // its process id; with the masters' end of the channel to it
    ESTATE_LISTENER,     // one listening socket
    ESTATE_ADMIN,        // the admin socket
    ESTATE_HTTP,         // the listening socket of admin.http
    ESTATE_COUNTERS,     // the counters' memory
    ESTATE_SERVERS,      // orders, health, slow start
    ESTATE_TICKET_KEYS,
    ESTATE_STAPLES,     // OCSP responses
    ESTATE_PASSPHRASES, // that were asked for at a terminal
    ESTATE_DEVELOPMENT, // the development certificate with its authority
    ESTATE_VERSIONS,    // of certificates that are, or were, in service
    ESTATE_RETIRED,     // those of them that tickets must not be resumed of
    ESTATE_LAST = ESTATE_RETIRED,
};

enum estate_flag {
    ESTATE_OPTIONAL = 1, // a release that doesn't know the type leaves it out; any other is refused by it
    ESTATE_SECRET = 2,   // the bytes lie in secret memory, and are wiped
    ESTATE_CLOSE = 4,    // estate_add() only: the descriptor is the estate's from now on
};

struct estate_item {
    uint32_t type;
    uint32_t flags;
    uint8_t *bytes; // NULL: none
    size_t size;
    int fd; // -1: none
};

struct estate {
    struct estate_item *items; // in the order in which they were added, or came
    size_t count;
    size_t capacity;
};

// ---- items ----

// Appends an item: `bytes` are copied. fd: -1, or a descriptor that stays the caller's and open until the estate is finished, unless `flags`
// have ESTATE_CLOSE: then it is closed in any case. 0, -ENOMEM, or -E2BIG.
int estate_add(struct estate *estate, enum estate_type type, unsigned flags, const void *bytes, size_t size,
               int fd);
// Appends an item that estate_receive() made: it is the estate's in any case, and *item empty. 0, -ENOMEM, or -E2BIG.
int estate_put(struct estate *estate, struct estate_item *item);
// The first item of a type behind `after` (NULL: of all); NULL: there is none. `estate` may be NULL.
struct estate_item *estate_find(const struct estate *estate, enum estate_type type,
                                const struct estate_item *after);
// The descriptor of an item becomes the caller's; -1: it has none, or somebody has taken it.
int estate_take_fd(struct estate_item *item);
// Wipes the items that are secret; they have no bytes any more.
void estate_forget_secrets(struct estate *estate);
// Wipes, frees and closes. Harmless on zeroed memory.
void estate_finish(struct estate *estate);
void estate_item_finish(struct estate_item *item); // likewise, of one that estate_receive() made

// ---- the wire ----

// Sends one item; never blocks. 0, -EAGAIN (full: wait until it is writable; -ENOBUFS, -ENOMEM and -ETOOMANYREFS: try again later), or another
// -errno: the other side is gone.
int estate_send(int channel, const struct estate_item *item);
// Takes one item, which estate_item_finish() ends. Never blocks. 1; 0: the other side is gone; -EAGAIN: there is none now; or -errno with static
// words in *ret_why: -EBADMSG is what is no item.
int estate_receive(int channel, struct estate_item *ret, const char **ret_why);
// A message taken apart, for estate_receive() and tests: `data` as it came, with the descriptors that came along (count: 2 at most; those that the
// item does not take stay the caller's and are left in fds, the others become -1). 0, or -errno with *ret_why.
int estate_parse(const uint8_t *data, size_t size, int *fds, size_t count, struct estate_item *ret,
                 const char **ret_why);

// ---- all that there is (estate_parts.c) ----

// Everything that this master leaves. 0, or -errno with a line in the log. From then on nothing changes here that the successor has already.
int estate_collect(struct master *master, struct estate *ret);
// What operators have said meanwhile, of servers and of certificates: ESTATE_SERVERS and ESTATE_RETIRED once more. As above.
int estate_orders(const struct master *master, struct estate *ret);
// There will be no such successor: it does again.
void estate_keep(struct master *master);

// What a predecessor left, each where its part is made. Without a predecessor nothing happens; what is not understood is said in the log, and
// left out.
void estate_take_passphrases(struct control *control);
struct certificate *estate_take_development(const struct control *control); // NULL: there is none that could be used
void estate_take_versions(struct control *control);                         // into control->sources
void estate_take_retired(const struct control *control, struct change *change);
void estate_take_counters(struct master *master);
void estate_take_servers(struct master *master);
// One item of estate_orders(), while the workers serve.
void estate_take_orders(struct master *master, const struct estate_item *item);
// A block of counters that another master sent.
void estate_take_block(struct master *master, struct estate_item *item);

// Adds up what predecessors counted that are gone, now and whenever one goes.
void estate_settle(struct master *master);
void estate_start(struct master *master); // before the two above
