// SPDX-License-Identifier: Apache-2.0
// OCSP responders: who is asked next, and what comes of it.
//
// A certificate wants a response at once when it has none, then halfway through the life of what it has. It waits after failures of its own: an
// answer that is none, or not a good one. When a responder can't be asked at all, that is its failure and not the certificate's: all of
// its certificates wait, one asks for all from time to time, and when it is answered the others follow. So a responder that is
// down holds up nobody else's, and fills no log.
//
// Many certificates do not ask at once: four children, and after a burst ten questions a second.
#include "responder.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "responder_want.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "src/config/memory.h"

#define QUOTA_NS (CLOCK_NS_PER_S / 10) // between two questions, in the long run
#define BURST    20                    // that may be ahead of it

static const char *name_of(const struct want *want)
{
    const struct certificate *certificate = want->certificate;

    return certificate->name_count > 0 ? certificate->names[0] : certificate->subject;
}

static const char *id_of(const struct want *want)
{
    static char text[17];

    snprintf(text, sizeof(text), "%016" PRIx64, want->certificate->id);
    return text;
}

static const char *url_of(const struct want *want)
{
    return want->responder != NULL ? want->responder->url : NULL;
}

static void remember(char **trouble, const char *why)
{
    free(*trouble);
    *trouble = memory_copy(why);
}

static struct want *find(const struct responders *responders, uint32_t slot)
{
    return slot < responders->slot_count ? responders->slots[slot] : NULL;
}

static void look_soon(struct responders *responders)
{
    loop_timer_set(responders->loop, &responders->timer, clock_now_ns());
}

// ---- what comes of a question ----

// All of them end with a call of `answered`, after which the want may be gone.

static void say_refused(struct want *want, const char *why)
{
    struct log_field retry = log_integer("retry_s", (want->retry_ns - clock_now_ns()) / CLOCK_NS_PER_S);

    if (want->trouble != NULL && strcmp(want->trouble, why) == 0)
        return;
    remember(&want->trouble, why);
    log_warning("no OCSP response for a certificate", log_text("certificate", id_of(want)),
                log_text("name", name_of(want)), log_text("responder", url_of(want)), log_text("reason", why),
                want->responder != NULL ? retry : (struct log_field){.kind = LOG_FIELD_NONE});
}

static void say_revoked(struct responders *responders, struct want *want, const char *why)
{
    cache_remove(want->cache, want->certificate); // it would be stapled after a restart
    want->this_update_s = want->next_update_s = 0;
    if (want->trouble != NULL && strcmp(want->trouble, why) == 0)
        return;
    remember(&want->trouble, why);
    log_error("certificate is revoked", log_text("certificate", id_of(want)), log_text("name", name_of(want)),
              log_text("responder", url_of(want)),
              log_text("cure", "replace it with a new one, with a new key if that is why"));
}

static void answer_nothing(struct responders *responders, struct want *want, const char *why)
{
    responders->answered(responders->owner, want->slot, want->certificate->id, NULL, why);
}

// The responder gave none, or one that is not good.
static void want_refused(struct responders *responders, struct want *want, const char *why)
{
    want->retry_ns = clock_now_ns() + retry_after_ns(++want->failures);
    if (strcmp(why, STAPLE_REVOKED) == 0)
        say_revoked(responders, want, why);
    else
        say_refused(want, why);
    answer_nothing(responders, want, why);
}

static void want_take(struct want *want, const struct staple *staple, bool is_fresh, int64_t now_s)
{
    want->this_update_s = staple->this_update_s;
    want->next_update_s = staple->next_update_s;
    want->refresh_s = refresh_time(staple, is_fresh, now_s);
    want->failures = 0;
}

static void want_answered(struct responders *responders, struct want *want, struct staple *staple,
                          int64_t now_s)
{
    bool is_news =
        staple->this_update_s != want->this_update_s || staple->next_update_s != want->next_update_s;

    want_take(want, staple, true, now_s);
    if (is_news)
        cache_write(want->cache, want->certificate, staple);
    log_line(want->trouble != NULL ? LOG_INFO : LOG_DEBUG,
             want->trouble != NULL ? "OCSP response for a certificate again" : "OCSP response",
             log_text("certificate", id_of(want)), log_text("name", name_of(want)),
             log_text("responder", url_of(want)), log_integer("refresh_s", want->refresh_s - now_s));
    free(want->trouble);
    want->trouble = NULL;
    responders->answered(responders->owner, want->slot, want->certificate->id, staple, NULL);
}

static void want_check(struct responders *responders, struct want *want, const struct fetch_answer *answer)
{
    int64_t now_s = time(NULL);
    struct staple *staple = NULL;
    const char *why = NULL;

    if (staple_check(want->certificate, answer->bytes, answer->size, now_s, &staple, &why) < 0) {
        want_refused(responders, want, why);
    } else if (staple->next_update_s <= now_s) { // the check allows for clocks that differ, a client may not
        staple_destroy(staple);
        want_refused(responders, want, "it is out of date");
    } else {
        want_answered(responders, want, staple, now_s);
    }
}

// ---- what that says of a responder ----

static void say_trouble(struct responder *responder, const char *why, struct log_field retry)
{
    if (responder->trouble != NULL && strcmp(responder->trouble, why) == 0)
        return;
    remember(&responder->trouble, why);
    log_warning("no answer from an OCSP responder", log_text("responder", responder->url),
                log_text("reason", why), retry);
}

static void responder_works(struct responders *responders, struct responder *responder)
{
    if (responder->trouble != NULL)
        log_info("OCSP responder answers again", log_text("responder", responder->url));
    free(responder->trouble);
    responder->trouble = NULL;
    responder->failures = 0;
    responder->retry_ns = 0;
}

// It can't be asked: whoever wants something of it now hears why. Children that asked it at the same time tell the same: one failure.
static void responder_fails(struct responders *responders, struct responder *responder, const char *why)
{
    bool is_news = responder->trouble == NULL || strcmp(responder->trouble, why) != 0;
    uint64_t now_ns = clock_now_ns();
    int64_t now_s = time(NULL);

    if (responder->retry_ns <= now_ns)
        responder->retry_ns = now_ns + retry_after_ns(++responder->failures);
    say_trouble(responder, why, log_integer("retry_s", (responder->retry_ns - now_ns) / CLOCK_NS_PER_S));
    for (size_t i = 0; i < responders->slot_count && is_news; i++) {
        struct want *want = responders->slots[i];

        if (want != NULL && want->responder == responder && want->refresh_s <= now_s)
            answer_nothing(responders, want, why);
    }
}

static void handle(struct responders *responders, struct responder *responder, struct want *want,
                   const struct fetch_answer *answer)
{
    switch (answer->result) {
    case FETCH_ANSWERED:
        responder_works(responders, responder);
        if (want != NULL)
            want_check(responders, want, answer);
        break;
    case FETCH_REFUSED:
        // Somebody is there. Perhaps it is about this certificate, perhaps about all: said once, each waits by itself.
        responder->failures = 0;
        responder->retry_ns = 0;
        say_trouble(responder, answer->why, (struct log_field){.kind = LOG_FIELD_NONE});
        if (want != NULL) {
            want->retry_ns = clock_now_ns() + retry_after_ns(++want->failures);
            answer_nothing(responders, want, answer->why);
        }
        break;
    case FETCH_UNREACHABLE:
    case FETCH_FAILED:
        responder_fails(responders, responder, answer->why);
        break;
    }
}

// ---- asking ----

// At first as many as come, then at a steady rate: quota_ns runs ahead of the clock with each question, and not further than
// the burst.
static uint64_t may_ask_at(const struct responders *responders)
{
    return responders->quota_ns > BURST * QUOTA_NS ? responders->quota_ns - BURST * QUOTA_NS : 0;
}

static void ask(struct responders *responders, struct asking *asking, struct want *want)
{
    struct responder *responder = want->responder;
    struct fetch_question question = {.url = responder->url, .timeout_ns = want->ocsp->timeout_ns};
    struct material_bytes request;
    struct fetch_answer failed = {.result = FETCH_FAILED};
    uint64_t now_ns = clock_now_ns();
    char why[FETCH_WHY_SIZE];
    int error;

    if (staple_request(want->certificate, &request) < 0) {
        want->responder = NULL; // it never will
        say_refused(want, "its issuer is not known; append the issuer's certificate to the chain");
        responder_give(responders, responder);
        answer_nothing(responders, want, want->trouble);
        return;
    }
    question.request = request.data;
    question.request_size = request.size;
    error = fetch_start(&asking->fetch, responders->account, &question);
    free(request.data);
    responders->quota_ns = (responders->quota_ns > now_ns ? responders->quota_ns : now_ns) + QUOTA_NS;
    if (error < 0) {
        snprintf(why, sizeof(why), "the process that asks can't be started: %s", log_error_text(error));
        failed.why = why;
        responder->users++;
        handle(responders, responder, want, &failed);
        responder_give(responders, responder);
        return;
    }
    want->is_asking = true;
    asking->want = want;
    asking->responder = responder;
    responder->users++;
    responder->asking++;
}

static struct asking *find_idle(struct responders *responders)
{
    for (size_t i = 0; i < FETCHES_MAX; i++) {
        if (responders->askings[i].fetch.pid == 0)
            return &responders->askings[i];
    }
    return NULL;
}

// When the responder may be asked, as far as it is concerned.
static uint64_t responder_due_ns(const struct responder *responder)
{
    if (responder->failures > 0 && responder->asking > 0)
        return UINT64_MAX; // one asks for all
    return responder->retry_ns;
}

// Whom to ask for now; NULL: nobody, and *ret_at_ns is when there will be one.
static struct want *choose(const struct responders *responders, uint64_t now_ns, uint64_t *ret_at_ns)
{
    int64_t now_s = time(NULL);
    struct want *best = NULL;
    uint64_t best_ns = 0;
    uint64_t at_ns = UINT64_MAX;

    for (size_t i = 0; i < responders->slot_count; i++) {
        struct want *want = responders->slots[i];
        uint64_t due_ns = want != NULL ? want_due_ns(want, now_ns, now_s) : UINT64_MAX;

        if (due_ns == UINT64_MAX)
            continue;
        if (due_ns < responder_due_ns(want->responder))
            due_ns = responder_due_ns(want->responder);
        if (due_ns > now_ns) {
            at_ns = due_ns < at_ns ? due_ns : at_ns;
        } else if (best == NULL || want_rank(want, now_s) < want_rank(best, now_s) ||
                   (want_rank(want, now_s) == want_rank(best, now_s) && due_ns < best_ns)) {
            best = want;
            best_ns = due_ns;
        }
    }
    *ret_at_ns = at_ns;
    return best;
}

static void ask_who_is_due(void *owner)
{
    struct responders *responders = owner;

    for (;;) {
        uint64_t now_ns = clock_now_ns();
        struct asking *asking = find_idle(responders);
        uint64_t at_ns;
        struct want *want;

        if (asking == NULL)
            return; // the end of a child brings us here again
        want = choose(responders, now_ns, &at_ns);
        if (want != NULL && may_ask_at(responders) > now_ns) {
            at_ns = may_ask_at(responders);
            want = NULL;
        }
        if (want == NULL) {
            loop_timer_set(responders->loop, &responders->timer, at_ns);
            return;
        }
        ask(responders, asking, want);
    }
}

bool responders_reap(struct responders *responders, int pid, int status)
{
    for (size_t i = 0; i < FETCHES_MAX; i++) {
        struct asking *asking = &responders->askings[i];
        struct responder *responder = asking->responder;
        struct want *want = asking->want;
        struct fetch_answer answer;

        if (!fetch_reap(&asking->fetch, pid, status, &answer))
            continue;
        asking->want = NULL;
        asking->responder = NULL;
        responder->asking--;
        if (want != NULL)
            want->is_asking = false;
        handle(responders, responder, want, &answer);
        responder_give(responders, responder);
        look_soon(responders);
        return true;
    }
    return false;
}

// ---- wanting ----

static void put(struct responders *responders, struct want *want)
{
    if (want->slot >= responders->slot_count) {
        size_t count = 2 * ((size_t)want->slot + 1);

        responders->slots = memory_resize(responders->slots, count * sizeof(*responders->slots));
        memset(responders->slots + responders->slot_count, 0,
               (count - responders->slot_count) * sizeof(*responders->slots));
        responders->slot_count = count;
    }
    responders->slots[want->slot] = want;
}

static bool is_wanted_elsewhere(const struct responders *responders, const struct want *want)
{
    for (size_t i = 0; i < responders->slot_count; i++) {
        if (responders->slots[i] != NULL && responders->slots[i]->certificate->id == want->certificate->id)
            return true;
    }
    return false;
}

static void want_nameless(struct responders *responders, struct want *want)
{
    static const char why[] =
        "the certificate names no OCSP responder; if there is one, set `ocsp.responder`";
    bool is_first = !responders->is_nameless_said;
    enum log_level level = want->certificate->must_staple ? LOG_WARNING : is_first ? LOG_INFO : LOG_DEBUG;

    responders->is_nameless_said = true;
    remember(&want->trouble, why);
    log_line(level, "no OCSP response for a certificate", log_text("certificate", id_of(want)),
             log_text("name", name_of(want)), log_text("reason", why));
    answer_nothing(responders, want, why);
}

void responders_forget(struct responders *responders, uint32_t slot)
{
    struct want *want = find(responders, slot);

    if (want == NULL)
        return;
    responders->slots[slot] = NULL;
    for (size_t i = 0; i < FETCHES_MAX; i++) {
        if (responders->askings[i].want == want)
            responders->askings[i].want = NULL;
    }
    if (!is_wanted_elsewhere(responders, want))
        cache_remove(want->cache, want->certificate);
    responder_give(responders, want->responder);
    want_destroy(want);
}

void responders_want(struct responders *responders, uint32_t slot, const struct certificate *certificate,
                     const struct config_ocsp *ocsp, const struct staple *served)
{
    const char *url = ocsp->responder != NULL ? ocsp->responder : certificate->responder;
    struct want *want = find(responders, slot);
    struct staple *staple;
    int64_t now_s = time(NULL);

    if (want != NULL && want->ocsp == ocsp &&
        memcmp(want->certificate->fingerprint, certificate->fingerprint, sizeof(certificate->fingerprint)) ==
            0)
        return;
    responders_forget(responders, slot);
    want = want_create(slot, certificate, ocsp);
    want->cache = caches_find(responders, ocsp->cache);
    want->responder = url != NULL ? responder_take(responders, url) : NULL;
    put(responders, want);
    staple = cache_read(want->cache, want->certificate, now_s);
    if (staple != NULL && staple->next_update_s <= now_s) {
        staple_destroy(staple);
        staple = NULL;
    }
    look_soon(responders);
    if (served != NULL && (staple == NULL || staple->this_update_s <= served->this_update_s)) {
        want_take(want, served, false, now_s);
        cache_write(want->cache, want->certificate, served);
        staple_destroy(staple);
    } else if (staple != NULL) {
        want_take(want, staple, false, now_s);
        responders->answered(responders->owner, slot, certificate->id, staple, NULL);
    } else if (url == NULL) {
        want_nameless(responders, want);
    } else if (want->responder->failures > 0) { // it has to wait for it
        answer_nothing(responders, want, want->responder->trouble);
    }
}

// ---- life ----

int responders_create(struct loop *loop, const struct config *config, const struct account *account,
                      responders_answered *answered, void *owner, struct responders **ret)
{
    struct responders *responders = calloc(1, sizeof(*responders));

    if (responders == NULL)
        return -ENOMEM;
    responders->loop = loop;
    responders->account = account;
    responders->answered = answered;
    responders->owner = owner;
    loop_timer_init(&responders->timer, ask_who_is_due, responders);
    for (size_t i = 0; i < FETCHES_MAX; i++)
        fetch_init(&responders->askings[i].fetch, loop);
    caches_open(responders, config);
    *ret = responders;
    return 0;
}

void responders_destroy(struct responders *responders)
{
    if (responders == NULL)
        return;
    loop_timer_stop(&responders->timer);
    for (size_t i = 0; i < FETCHES_MAX; i++) {
        fetch_stop(&responders->askings[i].fetch);
        responder_give(responders, responders->askings[i].responder);
    }
    for (size_t i = 0; i < responders->slot_count; i++) {
        if (responders->slots[i] == NULL)
            continue;
        responder_give(responders, responders->slots[i]->responder);
        want_destroy(responders->slots[i]);
    }
    free(responders->slots);
    free(responders->list);
    free(responders->caches);
    free(responders);
}
