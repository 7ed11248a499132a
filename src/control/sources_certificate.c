// SPDX-License-Identifier: Apache-2.0
// One certificate: its files read until they stand still, compared with what is in service, and taken into service if they are new and
// right. Whatever is wrong with them, the last good version stays.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ringbolt/log.h"
#include "sources_inside.h"
#include "src/config/memory.h"

#define TRIES_MAX 3 // to read files that change meanwhile

const char *certificate_id_text(const struct certificate *certificate)
{
    static char texts[4][17];
    static unsigned next;
    char *text;

    if (certificate == NULL)
        return NULL;
    text = texts[next++ % 4];
    snprintf(text, sizeof(texts[0]), "%016" PRIx64, certificate->id);
    return text;
}

void certificate_init(struct source *source)
{
    const struct config_certificate *config = source->config;
    const char *paths[3];
    size_t count = 0;

    if (source_file(source) != NULL)
        paths[count++] = source_file(source);
    if (config->key != NULL && strcmp(config->key, source_file(source)) != 0)
        paths[count++] = config->key;
    if (config->passphrase.file != NULL)
        paths[count++] = config->passphrase.file;
    piece_init(&source->files, paths, count);
    piece_init(&source->staple_file, (const char *const *)&config->ocsp, config->ocsp != NULL);
}

// ---- comparing ----

static bool bytes_equal(const struct material_bytes *a, const struct material_bytes *b)
{
    return a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

// The same certificate, key and chain, served for the same names.
static bool is_same(const struct certificate *a, const struct certificate *b)
{
    if (a == NULL || b == NULL || memcmp(a->fingerprint, b->fingerprint, sizeof(a->fingerprint)) != 0 ||
        !bytes_equal(&a->key, &b->key) || a->intermediate_count != b->intermediate_count ||
        a->name_count != b->name_count)
        return false;
    for (size_t i = 0; i < a->intermediate_count; i++) {
        if (!bytes_equal(&a->intermediates[i], &b->intermediates[i]))
            return false;
    }
    for (size_t i = 0; i < a->name_count; i++) {
        if (strcmp(a->names[i], b->names[i]) != 0)
            return false;
    }
    return true;
}

// ---- into service ----

static bool slot_take(struct sources *sources, struct source *source)
{
    uint32_t slot = 0;

    if (source->slot != SLOT_NONE)
        return true;
    while (slot < sources->slot_count && sources->slots[slot] != NULL)
        slot++;
    if (slot == MATERIAL_SLOTS_MAX) {
        if (!sources->is_full)
            log_error("too many certificates, the others are not served",
                      log_integer("max", MATERIAL_SLOTS_MAX), log_text("file", source_file(source)));
        sources->is_full = true;
        return false;
    }
    if (slot == sources->slot_count) {
        sources->slots = memory_grow(sources->slots, sources->slot_count, sizeof(struct source *));
        sources->slot_count++;
    }
    sources->slots[slot] = source;
    source->slot = slot;
    return true;
}

static void pending_drop(struct source *source)
{
    certificate_destroy(source->pending);
    source->pending = NULL;
}

static void say_served(const struct sources *sources, const struct source *source,
                       const struct certificate *certificate)
{
    char *listeners;

    // While loading, there may be thousands.
    if (sources->change == NULL)
        return;
    listeners = source_listeners(sources, source);
    log_info(source->certificate == NULL ? "certificate added" : "certificate replaced",
             log_text("certificate", certificate_id_text(certificate)),
             log_text("replaces", certificate_id_text(source->certificate)),
             log_text("subject", certificate->subject), log_text("file", source_file(source)),
             log_text("key_file", source_key_file(source)), log_text("listeners", listeners),
             log_integer("days_left", (certificate->not_after_s - (int64_t)time(NULL)) / 86400));
    free(listeners);
}

void certificate_move(struct sources *sources, struct source *source)
{
    const struct material_place *places;
    size_t count;

    source->is_moved = false;
    if (sources->change == NULL)
        return;
    places = source_places(source, &count);
    change_certificate(sources->change, source->slot, source->certificate, places, count);
    if (source->staple != NULL)
        change_staple(sources->change, source->slot, source->staple);
}

void certificate_serve(struct sources *sources, struct source *source, struct certificate *certificate)
{
    struct certificate *old = source->certificate;

    if (!slot_take(sources, source)) {
        certificate_destroy(certificate);
        return;
    }
    say_served(sources, source, certificate);
    if (source->pending == certificate)
        source->pending = NULL;
    pending_drop(source);
    if (old == NULL || old->id != certificate->id) {
        // It speaks of the old one alone.
        if (old != NULL) {
            history_add(sources->history, old);
            staple_serve(sources, source, NULL);
        }
        source->is_staple_doubtful = true;
    }
    source->certificate = certificate;
    source->loaded_s = (int64_t)time(NULL);
    source->warned_s = 0;
    certificate_move(sources, source);
    certificate_destroy(old);
    sources->is_changed = true;
    if (sources->result != NULL)
        sources->result->changed++;
}

void certificate_remove(struct sources *sources, struct source *source)
{
    log_info("certificate removed", log_text("certificate", certificate_id_text(source->certificate)),
             log_text("file", source_file(source)), log_text("reason", "its files are gone"));
    history_add(sources->history, source->certificate);
    change_certificate_gone(sources->change, source->slot);
    sources->slots[source->slot] = NULL;
    sources->is_changed = true;
    sources->is_full = false;
    sources->result->removed++;
}

// ---- versions that wait for their OCSP response ----

// Clients refuse a certificate that must be stapled (RFC 7633) when it isn't; the older version is better meanwhile, if it still is one.
static bool must_wait(const struct sources *sources, const struct source *source,
                      const struct certificate *certificate)
{
    return certificate->must_staple && sources->change != NULL && source->certificate != NULL &&
           source->certificate->id != certificate->id &&
           source->certificate->not_after_s > (int64_t)time(NULL) && staple_is_wanted(sources, source);
}

static void wait_for_staple(struct source *source, struct certificate *certificate)
{
    // Files that change again and again must not put it off for ever.
    if (source->pending == NULL)
        source->pending_until_ns = clock_now_ns() + STAPLE_PATIENCE_NS;
    pending_drop(source);
    source->pending = certificate;
    log_info(
        "certificate waits for its OCSP response", log_text("certificate", certificate_id_text(certificate)),
        log_text("serving", certificate_id_text(source->certificate)), log_text("file", source_file(source)),
        log_integer("patience_ms", STAPLE_PATIENCE_NS / CLOCK_NS_PER_MS));
}

void certificate_wait_no_longer(struct sources *sources, struct source *source)
{
    if (source->pending == NULL || clock_now_ns() < source->pending_until_ns)
        return;
    log_error(
        "certificate must be stapled and there is no OCSP response, clients may refuse it",
        log_text("certificate", certificate_id_text(source->pending)), log_text("file", source_file(source)),
        log_text("reason", source->fetch_problem != NULL ? source->fetch_problem : "none came in time"));
    certificate_serve(sources, source, source->pending);
}

static void say_never_stapled(struct sources *sources, const struct source *source,
                              const struct certificate *certificate)
{
    const char *cure =
        "set `ocsp` beside it to a file with a response, or `ocsp: { fetch: true }` in the listener";

    if (!certificate->must_staple || staple_is_wanted(sources, source))
        return;
    if (sources->report != NULL)
        report_warn(
            sources->report, source->config->chain_where,
            "the certificate in %s must be stapled, and nothing gives an OCSP response, so clients may "
            "refuse it; %s",
            source_file(source), cure);
    else
        log_error("certificate must be stapled and there is no OCSP response, clients may refuse it",
                  log_text("certificate", certificate_id_text(certificate)),
                  log_text("file", source_file(source)), log_text("cure", cure));
}

// ---- from files ----

static void take(struct sources *sources, struct source *source, struct certificate *fresh,
                 const struct report *found)
{
    struct staple *staple;
    bool is_loading = sources->report != NULL;

    source->is_flawed = found->count > found->error_count;
    if (is_loading && !sources->is_first_pass)
        say_warnings(sources, found, source_file(source));
    if (is_same(source->certificate, fresh)) {
        pending_drop(source); // the older files are back
        certificate_destroy(fresh);
        return;
    }
    if (is_same(source->pending, fresh)) {
        certificate_destroy(fresh);
        return;
    }
    if (!is_loading)
        say_warnings(sources, found, source_file(source));
    say_never_stapled(sources, source, fresh);
    if (!must_wait(sources, source, fresh)) {
        certificate_serve(sources, source, fresh);
        return;
    }
    staple = staple_read_for(sources, source, fresh);
    if (staple == NULL) {
        wait_for_staple(source, fresh);
        return;
    }
    certificate_serve(sources, source, fresh);
    staple_serve(sources, source, staple);
}

void certificate_read(struct sources *sources, struct source *source)
{
    struct report found;
    struct certificate *fresh;
    const struct saying saying = {
        .wrong = "certificate is wrong",
        .healed = "certificate healed",
        .file = source_file(source),
        .key_file = source_key_file(source),
        .serving = certificate_id_text(source->certificate),
        .is_own = source->folder == NULL,
    };

    for (unsigned tries = 1;; tries++) {
        fresh = NULL;
        report_init(&found, NULL);
        (void)loader_certificate(sources->loader, source->config, &found, &fresh);
        if (!piece_has_changed(sources->ways, &source->files) || tries == TRIES_MAX)
            break;
        certificate_destroy(fresh);
        report_finish(&found);
    }
    if (fresh == NULL) {
        say_wrong(sources, &source->files, &found, &saying);
    } else {
        say_healed(sources, &source->files, &saying);
        take(sources, source, fresh, &found);
    }
    report_finish(&found);
}

void certificate_look(struct sources *sources, struct source *source)
{
    bool is_due = sources->is_forced || (sources->is_look_over && source->files.problem != NULL);

    if (source->files.count == 0) // it was made in memory
        return;
    if (piece_look(sources->ways, &source->files) || is_due)
        certificate_read(sources, source);
    if (source->files.problem != NULL && sources->result != NULL)
        sources->result->failed++;
}
