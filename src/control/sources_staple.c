// SPDX-License-Identifier: Apache-2.0
// OCSP responses of certificates: from a file beside the certificate, or from a responder. One that is wrong or has ended is never
// stapled; a good one stays for as long as it is in time.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ringbolt/log.h"
#include "sources_inside.h"
#include "src/config/memory.h"

#define TRIES_MAX 3 // to read a file that changes meanwhile

bool staple_is_wanted(const struct sources *sources, const struct source *source)
{
    return source->staple_file.count > 0 || source_fetch(sources, source) != NULL;
}

void staple_serve(struct sources *sources, struct source *source, struct staple *staple)
{
    struct staple *old = source->staple;

    if (old == NULL && staple == NULL)
        return;
    if (old != NULL && staple != NULL && old->response.size == staple->response.size &&
        memcmp(old->response.data, staple->response.data, old->response.size) == 0) {
        staple_destroy(staple);
        return;
    }
    source->staple = staple;
    staple_destroy(old);
    if (staple != NULL) {
        free(source->fetch_problem);
        source->fetch_problem = NULL;
    }
    if (sources->change == NULL)
        return;
    change_staple(sources->change, source->slot, staple);
    sources->result->changed += staple != NULL;
}

// ---- from a file ----

static struct staple *read_file(struct sources *sources, struct source *source,
                                const struct certificate *certificate, struct report *found)
{
    struct staple *staple;

    for (unsigned tries = 1;; tries++) {
        staple = NULL;
        report_init(found, NULL);
        (void)loader_staple(sources->loader, certificate, source->config->ocsp, source->config->ocsp_where,
                            found, &staple);
        if (!piece_has_changed(sources->ways, &source->staple_file) || tries == TRIES_MAX)
            return staple;
        staple_destroy(staple);
        report_finish(found);
    }
}

struct staple *staple_read_for(struct sources *sources, struct source *source,
                               const struct certificate *certificate)
{
    struct report found;
    struct staple *staple;

    if (source->staple_file.count == 0)
        return NULL;
    staple = read_file(sources, source, certificate, &found);
    report_finish(&found);
    return staple;
}

static void take_from_file(struct sources *sources, struct source *source)
{
    struct report found;
    struct staple *staple = read_file(sources, source, source->certificate, &found);
    const struct saying saying = {
        .wrong = "OCSP response is wrong",
        .healed = "OCSP response healed",
        .file = source->config->ocsp,
        // A file that is missing is a mistake in the configuration; one that is out of date happens, and should keep nobody from starting.
        .is_own = source->folder == NULL && source->staple_file.files[0].seen.error != 0,
    };

    source->is_staple_doubtful = false;
    if (staple == NULL) {
        say_wrong(sources, &source->staple_file, &found, &saying);
    } else {
        say_healed(sources, &source->staple_file, &saying);
        say_warnings(sources, &found, source->config->ocsp);
        staple_serve(sources, source, staple);
    }
    report_finish(&found);
}

// The new version has waited for this.
static void take_for_pending(struct sources *sources, struct source *source)
{
    struct staple *staple = staple_read_for(sources, source, source->pending);

    source->is_staple_doubtful = true;
    if (staple == NULL)
        return;
    certificate_serve(sources, source, source->pending);
    staple_serve(sources, source, staple);
}

void staple_drop_ended(struct sources *sources, struct source *source)
{
    if (source->staple == NULL || source->staple->next_update_s > (int64_t)time(NULL))
        return;
    log_warning("OCSP response has ended", log_text("file", source_file(source)),
                log_text("certificate", certificate_id_text(source->certificate)));
    staple_serve(sources, source, NULL);
    source->is_staple_doubtful = true;
}

void staple_look(struct sources *sources, struct source *source)
{
    bool is_due;

    if (source->certificate == NULL || source->staple_file.count == 0)
        return;
    is_due = piece_look(sources->ways, &source->staple_file) || sources->is_forced ||
             (sources->is_look_over && source->staple_file.problem != NULL);
    if (source->pending != NULL && is_due)
        take_for_pending(sources, source);
    if (source->pending == NULL && (is_due || source->is_staple_doubtful))
        take_from_file(sources, source);
    if (source->staple_file.problem != NULL && sources->result != NULL)
        sources->result->failed++;
}

// ---- from a responder ----

void sources_staple(struct sources *sources, uint32_t slot, uint64_t certificate_id, struct staple *staple,
                    const char *problem, struct change *change)
{
    struct source *source = slot < sources->slot_count ? sources->slots[slot] : NULL;
    struct sources_result result = {0};
    bool is_pending = source != NULL && source->pending != NULL && source->pending->id == certificate_id;

    if (source == NULL || (!is_pending && source->certificate->id != certificate_id)) {
        staple_destroy(staple);
        return;
    }
    sources->change = change;
    sources->result = &result;
    if (staple == NULL) {
        free(source->fetch_problem);
        source->fetch_problem = memory_copy(problem != NULL ? problem : "the responder gave none");
        // The one in service says the contrary of what is known now.
        if (!is_pending && problem != NULL && strcmp(problem, STAPLE_REVOKED) == 0)
            staple_serve(sources, source, NULL);
    } else if (is_pending) {
        certificate_serve(sources, source, source->pending);
        staple_serve(sources, source, staple);
        names_look(sources);
    } else if (source->staple != NULL && source->staple->this_update_s > staple->this_update_s) {
        staple_destroy(staple); // that of the file is newer
    } else {
        staple_serve(sources, source, staple);
    }
    sources->change = NULL;
    sources->result = NULL;
}
