// SPDX-License-Identifier: Apache-2.0
// What is wanted of OCSP responders, who they are, and when to ask.
#include "responder_want.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "ringbolt/clock.h"
#include "src/config/memory.h"

#define HOUR_S       3600
#define RETRY_MAX_NS (HOUR_S * CLOCK_NS_PER_S)
#define AGAIN_S_MIN  5            // between two questions for the same, however short its life
#define LOOK_NS      RETRY_MAX_NS // the wall clock is looked at so often: it jumps, and machines sleep

uint64_t responders_retry_ns = 30 * CLOCK_NS_PER_S;

// ---- time ----

uint64_t random_below(uint64_t limit)
{
    uint64_t number = 0;

    if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != (ssize_t)sizeof(number))
        number = clock_now_ns(); // it only spreads
    return limit > 0 ? number % limit : 0;
}

uint64_t retry_after_ns(unsigned failures)
{
    uint64_t wait_ns = responders_retry_ns;

    for (unsigned i = 1; i < failures && wait_ns < RETRY_MAX_NS; i++)
        wait_ns *= 2;
    if (wait_ns > RETRY_MAX_NS)
        wait_ns = RETRY_MAX_NS;
    return wait_ns - random_below(wait_ns / 4 + 1);
}

// Halfway, and up to an eighth of its life later: never in its last quarter.
int64_t refresh_time(const struct staple *staple, bool is_fresh, int64_t now_s)
{
    int64_t life_s = staple->next_update_s - staple->this_update_s;
    int64_t at_s;
    int64_t wait_s;

    if (staple->next_update_s == INT64_MAX) // newer ones are there at any time (RFC 6960 §4.2.2.1)
        return now_s + HOUR_S - (int64_t)random_below(HOUR_S / 4);
    at_s = staple->this_update_s + life_s / 2 + (int64_t)random_below((uint64_t)life_s / 8 + 1);
    if (at_s > now_s || !is_fresh)
        return at_s;
    // It was old when it came: this responder makes them in advance.
    wait_s = (staple->next_update_s - now_s) / 4;
    if (wait_s > HOUR_S)
        wait_s = HOUR_S;
    return now_s + (wait_s > AGAIN_S_MIN ? wait_s : AGAIN_S_MIN);
}

// ---- wants ----

static struct material_bytes bytes_copy(const struct material_bytes *bytes)
{
    struct material_bytes copy = {.size = bytes->size};

    if (bytes->size > 0) {
        copy.data = memory_allocate(bytes->size);
        memcpy(copy.data, bytes->data, bytes->size);
    }
    return copy;
}

// What staple_request() and staple_check() read, and what a line of the log shows. No private key.
static struct certificate *certificate_copy(const struct certificate *certificate)
{
    struct certificate *copy = memory_allocate(sizeof(*copy));

    copy->id = certificate->id;
    memcpy(copy->fingerprint, certificate->fingerprint, sizeof(copy->fingerprint));
    copy->must_staple = certificate->must_staple;
    if (certificate->name_count > 0) {
        copy->names = memory_allocate(sizeof(*copy->names));
        copy->names[copy->name_count++] = memory_copy(certificate->names[0]);
    }
    copy->subject = memory_copy(certificate->subject != NULL ? certificate->subject : "");
    copy->leaf = bytes_copy(&certificate->leaf);
    copy->authority = bytes_copy(&certificate->authority);
    if (certificate->intermediate_count > 0) { // the issuer, when `authority` does not say
        copy->intermediates = memory_allocate(sizeof(*copy->intermediates));
        copy->intermediates[copy->intermediate_count++] = bytes_copy(&certificate->intermediates[0]);
    }
    return copy;
}

struct want *want_create(uint32_t slot, const struct certificate *certificate, const struct config_ocsp *ocsp)
{
    struct want *want = memory_allocate(sizeof(*want));

    want->slot = slot;
    want->certificate = certificate_copy(certificate);
    want->ocsp = ocsp;
    return want;
}

void want_destroy(struct want *want)
{
    if (want == NULL)
        return;
    certificate_destroy(want->certificate);
    free(want->trouble);
    free(want);
}

uint64_t want_due_ns(const struct want *want, uint64_t now_ns, int64_t now_s)
{
    uint64_t wait_ns;

    if (want->is_asking || want->responder == NULL)
        return UINT64_MAX;
    if (want->failures > 0)
        return want->retry_ns;
    if (want->refresh_s <= now_s)
        return now_ns;
    wait_ns = (uint64_t)(want->refresh_s - now_s) > LOOK_NS / CLOCK_NS_PER_S
                  ? LOOK_NS
                  : (uint64_t)(want->refresh_s - now_s) * CLOCK_NS_PER_S;
    return now_ns + wait_ns;
}

unsigned want_rank(const struct want *want, int64_t now_s)
{
    if (want->next_update_s > now_s)
        return 2;
    return want->certificate->must_staple ? 0 : 1;
}

// ---- responders ----

struct responder *responder_take(struct responders *responders, const char *url)
{
    struct responder *responder;

    for (size_t i = 0; i < responders->count; i++) {
        if (strcmp(responders->list[i]->url, url) == 0) {
            responders->list[i]->users++;
            return responders->list[i];
        }
    }
    responder = memory_allocate(sizeof(*responder));
    responder->url = memory_copy(url);
    responder->users = 1;
    responders->list = memory_grow(responders->list, responders->count, sizeof(*responders->list));
    responders->list[responders->count++] = responder;
    return responder;
}

void responder_give(struct responders *responders, struct responder *responder)
{
    size_t i = 0;

    if (responder == NULL || --responder->users > 0)
        return;
    while (responders->list[i] != responder)
        i++;
    responders->list[i] = responders->list[--responders->count];
    free(responder->url);
    free(responder->trouble);
    free(responder);
}

// ---- caches ----

void caches_open(struct responders *responders, const struct config *config)
{
    // One for those who keep nothing, and at most one a listener.
    responders->caches = memory_allocate((config->listener_count + 1) * sizeof(*responders->caches));
    cache_init(&responders->caches[responders->cache_count++], NULL);
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_ocsp *ocsp = &config->listeners[i].tls.ocsp;
        bool is_known = false;

        for (size_t j = 1; j < responders->cache_count && ocsp->cache != NULL; j++)
            is_known = is_known || strcmp(responders->caches[j].folder, ocsp->cache) == 0;
        if (ocsp->fetch && ocsp->cache != NULL && !is_known)
            cache_init(&responders->caches[responders->cache_count++], ocsp->cache);
    }
}

struct cache *caches_find(struct responders *responders, const char *folder)
{
    for (size_t i = 1; i < responders->cache_count && folder != NULL; i++) {
        if (strcmp(responders->caches[i].folder, folder) == 0)
            return &responders->caches[i];
    }
    return &responders->caches[0];
}
