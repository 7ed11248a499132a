// SPDX-License-Identifier: Apache-2.0
// OCSP responders from the inside: what responder.c and responder_want.c share.
//
//     responder.c          who is asked next, and what comes of it
//     responder_want.c     what is wanted and who is to be asked, as objects; when to ask
//     responder_fetch.c    one question to one responder: the parent's side
//     responder_child.c    the child's side: libcurl
//     responder_confine.c  what the child gives up
//     responder_cache.c    answers on disk
#pragma once

#include "responder.h"
#include "responder_cache.h"
#include "responder_fetch.h"

#define FETCHES_MAX 4 // children at once

// One URL. Lives as long as a certificate wants something of it or a child asks it.
struct responder {
    char *url;
    unsigned users;
    unsigned asking; // children
    // in a row of those that could not be asked at all; then one asks for all, until that works
    unsigned failures;
    uint64_t retry_ns; // not before; 0: at any time
    char *trouble;     // what the log says of it now; NULL: nothing is wrong
};

// A certificate in a slot that wants a staple.
struct want {
    uint32_t slot;
    struct certificate *certificate; // a copy of what is public
    const struct config_ocsp *ocsp;
    struct responder
        *responder; // NULL: the certificate names none, or a question can't be made: it is never asked
    struct cache *cache;
    bool is_asking;
    // The newest good answer; 0: none.
    int64_t this_update_s;
    int64_t next_update_s;
    int64_t refresh_s; // wall clock: when a newer one is wanted; 0: at once
    unsigned failures; // in a row
    uint64_t retry_ns; // monotonic; counts instead of refresh_s after a failure
    char *trouble;     // what the log says of it now; NULL: nothing is wrong
};

struct asking { // a question that is under way
    struct fetch fetch;
    struct want *want;           // NULL: nobody wants it any more
    struct responder *responder; // held
};

struct responders {
    struct loop *loop;
    const struct account *account;
    responders_answered *answered;
    void *owner;
    struct loop_timer timer; // when somebody is to be asked next
    uint64_t quota_ns;       // see may_ask_at()
    bool is_nameless_said;   // that certificates name no responder
    struct asking askings[FETCHES_MAX];
    struct responder **list;
    size_t count;
    struct cache *caches; // one a folder
    size_t cache_count;
    struct want **slots; // by slot; holes are NULL
    size_t slot_count;
};

// ---- responder_want.c ----

// A random number below `limit`, 0 when that is 0.
uint64_t random_below(uint64_t limit);
// After so many failures in a row (1 or more).
uint64_t retry_after_ns(unsigned failures);
// Wall clock: when to ask for a newer one than this, which is good now. `is_fresh`: a responder gave it just now, so asking again at once
// would bring it again.
int64_t refresh_time(const struct staple *staple, bool is_fresh, int64_t now_s);

struct want *want_create(uint32_t slot, const struct certificate *certificate,
                         const struct config_ocsp *ocsp);
void want_destroy(struct want *want); // its responder was given back; NULL is accepted
// The monotonic time at which it is to be asked, as far as it is concerned; UINT64_MAX: it is being asked, or never will be.
uint64_t want_due_ns(const struct want *want, uint64_t now_ns, int64_t now_s);
// Whose need is greater is asked first: 0 is greatest.
unsigned want_rank(const struct want *want, int64_t now_s);

// Each take is to be given back.
struct responder *responder_take(struct responders *responders, const char *url);
void responder_give(struct responders *responders, struct responder *responder); // NULL is accepted

// One for each folder that listeners name, and one that keeps nothing.
void caches_open(struct responders *responders, const struct config *config);
struct cache *caches_find(struct responders *responders,
                          const char *folder); // NULL: the one that keeps nothing
