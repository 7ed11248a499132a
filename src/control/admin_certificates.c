// SPDX-License-Identifier: Apache-2.0
#include "admin_certificates.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "admin_socket.h"
#include "master.h"

#define KNOWN_MAX      20 // names that an error lists
#define HEX_DIGITS_MIN 8
#define DAY_S          86400

// ---- one certificate ----

static const char *kind_text(enum certificate_kind kind)
{
    return kind == CERTIFICATE_ECDSA ? "ECDSA" : kind == CERTIFICATE_RSA ? "RSA" : "Ed25519";
}

// "2026-11-21T09:30:00Z"
static json_t *time_json(int64_t seconds)
{
    time_t time = (time_t)seconds;
    struct tm parts;
    char text[64];

    if (!gmtime_r(&time, &parts) || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        return json_null();
    return json_string(text);
}

static void fingerprint_text(const struct certificate *certificate, char text[65])
{
    for (size_t i = 0; i < sizeof(certificate->fingerprint); i++)
        snprintf(text + 2 * i, 3, "%02x", certificate->fingerprint[i]);
}

static json_t *text_or_null(const char *text)
{
    return text ? admin_text(text) : json_null();
}

static json_t *names_json(const struct certificate *certificate)
{
    json_t *names = json_array();

    for (size_t i = 0; i < certificate->name_count; i++)
        (void)json_array_append_new(names, admin_text(certificate->names[i]));
    return names;
}

static json_t *ocsp_json(const struct source_state *state)
{
    return json_pack("{s:b, s:b, s:o, s:o}", "must_staple", state->certificate->must_staple, "stapled",
                     state->staple_next_update_s != 0, "next_update",
                     state->staple_next_update_s == 0 || state->staple_next_update_s == INT64_MAX
                         ? json_null()
                         : time_json(state->staple_next_update_s),
                     "problem", text_or_null(state->staple_problem));
}

static json_t *certificate_json(const struct master *master, const struct source_state *state)
{
    const struct certificate *certificate = state->certificate;
    uint64_t used = atomic_load_explicit(&master->used[state->slot], memory_order_relaxed);
    int64_t left_s = certificate->not_after_s - (int64_t)time(NULL);
    char fingerprint[65];
    json_t *json;

    fingerprint_text(certificate, fingerprint);
    json = json_pack("{s:I, s:o, s:b, s:o, s:o, s:o, s:o, s:s, s:s, s:i}", "slot", (json_int_t)state->slot,
                     "listeners", text_or_null(state->listeners), "default", state->is_default, "names",
                     names_json(certificate), "subject", text_or_null(certificate->subject), "issuer",
                     text_or_null(certificate->issuer), "serial", text_or_null(certificate->serial),
                     "fingerprint", fingerprint, "key", kind_text(certificate->kind), "key_bits",
                     (int)certificate->key_bits);
    if (json_object_update_new(
            json,
            json_pack("{s:o, s:o, s:b, s:I, s:o, s:o, s:o, s:I, s:o, s:o}", "not_before",
                      time_json(certificate->not_before_s), "not_after", time_json(certificate->not_after_s),
                      "expired", left_s < 0, "days_left", (json_int_t)(left_s > 0 ? left_s / DAY_S : 0),
                      "file", text_or_null(state->file), "key_file", text_or_null(state->key_file), "loaded",
                      time_json(state->loaded_s), "handshakes", (json_int_t)used, "problem",
                      text_or_null(state->problem), "ocsp", ocsp_json(state))) == 0)
        return json;
    json_decref(json); // no memory
    return NULL;
}

// ---- all of them ----

struct listing {
    const struct master *master;
    json_t *array;
    bool is_short; // of memory
};

static void add_certificate(void *owner, const struct source_state *state)
{
    struct listing *listing = owner;

    if (!listing->is_short &&
        json_array_append_new(listing->array, certificate_json(listing->master, state)) < 0)
        listing->is_short = true;
}

json_t *admin_certificates(struct master *master)
{
    struct listing listing = {.master = master, .array = json_array()};

    sources_each(master->control->sources, add_certificate, &listing);
    if (listing.is_short) {
        json_decref(listing.array);
        return NULL;
    }
    return json_pack("{s:b, s:o}", "ok", 1, "certificates", listing.array);
}

// ---- names ----

struct search {
    const char *name;
    bool is_found;
};

static void compare(void *owner, const struct source_state *state)
{
    struct search *search = owner;
    const struct certificate *certificate = state->certificate;
    size_t length = strlen(search->name);
    char fingerprint[65];

    fingerprint_text(certificate, fingerprint);
    if (length >= HEX_DIGITS_MIN && strncasecmp(fingerprint, search->name, length) == 0)
        search->is_found = true;
    for (size_t i = 0; i < certificate->name_count && !search->is_found; i++)
        search->is_found = strcasecmp(certificate->names[i], search->name) == 0;
}

bool admin_certificate_is_known(struct master *master, const char *name)
{
    struct search search = {.name = name};

    sources_each(master->control->sources, compare, &search);
    return search.is_found;
}

struct known {
    FILE *stream;
    size_t count;
};

static void add_names(void *owner, const struct source_state *state)
{
    struct known *known = owner;

    for (size_t i = 0; i < state->certificate->name_count; i++) {
        if (known->count++ < KNOWN_MAX)
            fprintf(known->stream, "%s%s", known->count > 1 ? ", " : "", state->certificate->names[i]);
    }
}

char *admin_certificates_known(struct master *master)
{
    char *text = NULL;
    size_t size = 0;
    struct known known = {.stream = open_memstream(&text, &size)};

    if (!known.stream)
        return NULL;
    sources_each(master->control->sources, add_names, &known);
    if (known.count > KNOWN_MAX)
        fprintf(known.stream, " and %zu more (ringbolt certificates lists them)", known.count - KNOWN_MAX);
    if (known.count == 0)
        fprintf(known.stream, "none");
    if (fclose(known.stream) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
