// SPDX-License-Identifier: Apache-2.0
// What is served, inside the room: slots with certificates, the names that lead to them, and what else changes can replace.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/x509.h>

#include "ringbolt/list.h"
#include "ringbolt/material.h"
#include "src/tls/table.h"

struct hot;   // hot.h
struct trust; // verify.h

// A certificate that leads to a root; those of many slots share it.
struct intermediate {
    struct table_node node; // in material.intermediates
    uint8_t digest[32];     // SHA-256 of the DER
    unsigned uses;          // by slots
    unsigned hot_uses;      // by parsed versions; while there is one, `parsed` is there
    X509 *parsed;
    size_t size;
    uint8_t der[];
};

// A slot at one listener.
struct place {
    uint32_t listener;
    uint32_t rank;
    uint32_t slot;
    uint32_t index; // in the listener's heap
};

// A name that leads to a slot at one listener.
struct binding {
    struct table_node node; // in the listener's names
    const char *name;       // lower case
    uint32_t listener;
    uint32_t rank;
    uint32_t slot;
};

#define FORMER_MAX 4

// One version of a certificate: a new one is a new object in the same slot. All but the key and the staple is one allocation.
struct slot {
    uint64_t id;
    enum certificate_kind kind;
    bool is_complained; // that it can't be used was logged
    unsigned defaults;  // at so many listeners it is its kind's default
    uint8_t *key;       // PKCS#8 DER, from secret_take()
    size_t key_size;
    const uint8_t *leaf; // DER
    size_t leaf_size;
    struct intermediate **intermediates;
    size_t intermediate_count;
    struct binding *bindings;
    size_t binding_count;
    struct place *places;
    size_t place_count;
    uint64_t former[FORMER_MAX]; // ids of the versions before this one, the last first; 0: none
    uint8_t *staple;             // DER; NULL: none
    size_t staple_size;
    int64_t staple_until_s;
    struct hot *hot; // parsed; NULL: not now
};

// The places of one kind at one listener, the one of lowest rank at the top.
struct place_heap {
    struct place **places;
    size_t count;
    size_t capacity;
};

struct material_listener {
    struct table names; // of struct binding
    struct place_heap defaults[CERTIFICATE_KINDS];
    struct trust *trust; // NULL: none yet
};

struct material {
    struct material_listener *listeners; // as in the configuration
    size_t listener_count;
    struct slot **slots; // by number; NULL where nothing is
    size_t slot_count;
    struct table intermediates;
    struct list hot; // parsed versions, the one used last first
    size_t hot_count;
    size_t hot_default_count;        // of these, that are some listener's default
    struct ticket_keys *ticket_keys; // from secret_take(); NULL: none yet
    uint64_t *retired;               // sorted
    size_t retired_count;
    _Atomic uint64_t *used; // NULL: nothing is counted
    struct tls_upstreams *upstreams; // NULL: none
};

// ---- names (src/tls/place.c) ----

enum material_match { MATERIAL_NONE, MATERIAL_BY_NAME, MATERIAL_BY_DEFAULT };

struct material_choice {
    struct slot *slots[CERTIFICATE_KINDS]; // NULL: none of that kind
    uint32_t numbers[CERTIFICATE_KINDS];
};

// The certificates for a name in any case: those that hold it, else those with a wildcard in place of its first label, else
// the listener's defaults. "" for a client that names no host. *ret is filled unless MATERIAL_NONE is returned.
enum material_match material_choose(const struct material *material, size_t listener, const char *name,
                                    struct material_choice *ret);

// Makes room for the slot's places, so that place_enter() can't fail: 0 or -ENOMEM.
int place_reserve(struct material *material, const struct slot *slot);
// Puts a slot under its names, and takes it away again.
void place_enter(struct material *material, struct slot *slot);
void place_leave(struct material *material, struct slot *slot);
