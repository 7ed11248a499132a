// SPDX-License-Identifier: Apache-2.0
// Changes as bytes: how they are laid out, and the reader. change.c writes and reads, material.c applies. What is read comes from a
// process that we trust, and is checked nonetheless: a bug in one process must not become a wild pointer in another.
//
// A change is a row of elements without anything between them. Numbers are big endian.
//
//     element      u32 size of the body, u8 kind, body
//     bytes        u32 size, so many bytes, and one zero byte that the size does not count
//     text         as bytes; no zero byte in it, never empty
//     list of X    u32 count, u32 size of all that follows, then X count times
//
//     CERTIFICATE       u32 slot, u8 kind (enum certificate_kind), u8 must_staple (0, 1), u64 id, 32 bytes fingerprint,
//                       u64 not_before_s, u64 not_after_s, bytes leaf, bytes key, list of bytes intermediates, list of text names,
//                       list of places (u32 listener, u32 rank)
//     CERTIFICATE_GONE  u32 slot
//     STAPLE            u32 slot, u64 this_update_s, u64 next_update_s, bytes response (empty: none any more)
//     TRUST             u32 listener, 32 bytes digest, u64 next_update_s, list of bytes CAs, list of bytes CRLs
//     SERVERS           u32 upstream, 32 bytes digest, u64 trusted_until_s, list of bytes CAs, list of bytes CRLs, list of bytes
//                       certificates, bytes key (empty: there is no certificate)
//     TICKET_KEYS       list of keys (16 bytes name, 32 bytes hmac, 32 bytes aes, u8 size)
//     RETIRE            list of u64 ids
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ringbolt/material.h"

enum change_kind {
    CHANGE_CERTIFICATE = 1,
    CHANGE_CERTIFICATE_GONE,
    CHANGE_STAPLE,
    CHANGE_TRUST,
    CHANGE_TICKET_KEYS,
    CHANGE_RETIRE,
    CHANGE_SERVERS,
};

// A view into the bytes of a change; good for as long as they are.
struct change_bytes {
    const uint8_t *data;
    size_t size;
};

// A list that was checked as a whole by change_next(): walking it can't fail. What it is a list of, its owner says.
struct change_list {
    const uint8_t *next;
    size_t count; // that are still to come
};

struct change_element {
    enum change_kind kind;
    union {
        struct {
            uint32_t slot; // below MATERIAL_SLOTS_MAX
            enum certificate_kind kind;
            bool must_staple;
            uint64_t id;
            const uint8_t *fingerprint; // 32 bytes
            int64_t not_before_s;
            int64_t not_after_s;
            struct change_bytes leaf;         // not empty; whether it is DER nobody has looked at
            struct change_bytes key;          // not empty
            struct change_list intermediates; // change_list_bytes(); none empty
            struct change_list names;  // change_list_bytes(): each is also a string that ends in a zero
            struct change_list places; // change_list_place()
        } certificate;
        struct {
            uint32_t slot;
        } gone;
        struct {
            uint32_t slot;
            int64_t this_update_s;
            int64_t next_update_s;
            struct change_bytes response; // size 0: none any more
        } staple;
        struct {
            uint32_t listener;
            const uint8_t *digest; // 32 bytes
            int64_t next_update_s;
            struct change_list cas;  // change_list_bytes(); one or more, none empty
            struct change_list crls; // change_list_bytes(); none empty
        } trust;
        struct {
            uint32_t upstream;
            const uint8_t *digest; // 32 bytes
            int64_t trusted_until_s;
            struct change_list cas; // change_list_bytes(); none empty, as in the next two
            struct change_list crls;
            struct change_list certificates;
            struct change_bytes key; // size 0 where there is no certificate, and only there
        } servers;
        struct {
            struct change_list keys; // change_list_ticket_key(); 1 to TICKET_KEYS_MAX, sizes 16 or 32
        } ticket_keys;
        struct {
            struct change_list ids; // change_list_id()
        } retire;
    };
};

struct change_reader {
    const uint8_t *next;
    const uint8_t *end;
};

// data may be NULL when size is 0.
void change_reader_init(struct change_reader *reader, const uint8_t *data, size_t size);

// 1 and the next element in *ret, all of it checked as said above; 0 at the end; -EBADMSG, *ret untouched, when the bytes are not a
// change. Slots are in range; listeners are not looked at: how many there are the material knows.
int change_next(struct change_reader *reader, struct change_element *ret);

// Each takes the next off its list; the caller sees by list->count that there is one.
struct change_bytes change_list_bytes(struct change_list *list);
struct material_place change_list_place(struct change_list *list);
void change_list_ticket_key(struct change_list *list, struct ticket_key *ret); // the caller wipes it
uint64_t change_list_id(struct change_list *list);
