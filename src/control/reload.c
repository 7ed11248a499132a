// SPDX-License-Identifier: Apache-2.0
// New material into service, while the master runs.
#include "reload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "master.h"
#include "ringbolt/clock.h"
#include "ringbolt/file.h"
#include "ringbolt/log.h"
#include "src/config/memory.h"

#define DAY_NS          (24 * 3600 * CLOCK_NS_PER_S)
#define CONFIG_SIZE_MAX ((size_t)16 << 20) // as config_load()

// ---- changes ----

void reload_apply(struct master *master, const struct change *change)
{
    unsigned tries = 0;
    int error;

    if (change->count == 0)
        return;
    // What was applied of it already may be applied again.
    do
        error = material_apply(master->material, change->data, change->size);
    while (error == -ENOMEM && memory_hope(&tries));
    if (error < 0)
        log_error("cannot apply a change of material", log_errno(error),
                  log_text("cure", error == -ENOMEM ? "give the machine more memory, then restart" : NULL));
    // A change that is none would be none for the workers. Memory may well suffice for them.
    if (error != -EBADMSG)
        (void)messages_change(master, change);
}

int reload_load(struct master *master)
{
    struct change change = {0};
    int error = 0;

    master->material = material_create(master->config->listener_count);
    if (!master->material) {
        log_error("no memory for certificates");
        return -ENOMEM;
    }
    material_count(master->material, master->used);
    material_upstreams(master->material, master->control->tls_upstreams);
    sources_initial(master->control->sources, &change);
    if (master->config->tickets.key_count == 0)
        error = tickets_load(master, &change);
    estate_take_retired(master->control, &change);
    if (error == 0) {
        error = material_apply(master->material, change.data, change.size);
        if (error < 0)
            log_error("cannot serve the certificates", log_errno(error));
    }
    change_finish(&change);
    return error;
}

static void refresh_due(struct master *master)
{
    struct loop_timer *due = &master->reload.due;
    uint64_t due_ns = sources_due_ns(master->control->sources);

    if (due_ns == UINT64_MAX)
        loop_timer_stop(due);
    else
        loop_timer_set(master->loop, due, due_ns);
}

// ---- what responders are asked for ----

struct wants {
    struct want {
        struct reload_wanted name;
        const struct certificate *certificate;
        const struct config_ocsp *ocsp;
        const struct staple *served;
    } * items;
    size_t count;
    size_t capacity;
    bool is_short; // of memory
};

static void collect_want(void *owner, const struct source_state *state)
{
    struct wants *wants = owner;

    // One that waits to be served is what a response is needed for.
    const struct certificate *certificate = state->pending ? state->pending : state->certificate;

    if (!state->fetch || wants->is_short)
        return;
    if (wants->count == wants->capacity) {
        size_t capacity = wants->capacity > 0 ? 2 * wants->capacity : 16;
        struct want *items = reallocarray(wants->items, capacity, sizeof(*items));

        if (!items) {
            wants->is_short = true;
            return;
        }
        wants->items = items;
        wants->capacity = capacity;
    }
    wants->items[wants->count++] =
        (struct want){.name = {.slot = state->slot, .certificate = certificate->id},
                      .certificate = certificate,
                      .ocsp = state->fetch,
                      .served = state->staple_inherited};
}

// Tells the responders the difference between what they were told and `wants`; both ascend by slot. A call may be answered
// before it returns, so nothing of the sources is walked through meanwhile.
static void tell_difference(struct reload *reload, const struct wants *wants)
{
    size_t old = 0;

    for (size_t i = 0; i < wants->count; i++) {
        const struct want *want = &wants->items[i];

        while (old < reload->wanted_count && reload->wanted[old].slot < want->name.slot)
            responders_forget(reload->responders, reload->wanted[old++].slot);
        if (old < reload->wanted_count && reload->wanted[old].slot == want->name.slot &&
            reload->wanted[old++].certificate == want->name.certificate)
            continue;
        responders_want(reload->responders, want->name.slot, want->certificate, want->ocsp, want->served);
    }
    while (old < reload->wanted_count)
        responders_forget(reload->responders, reload->wanted[old++].slot);
}

static void refresh_wants(struct master *master)
{
    struct reload *reload = &master->reload;
    struct wants wants = {0};
    struct reload_wanted *wanted;

    if (!reload->responders)
        return;
    sources_each(master->control->sources, collect_want, &wants);
    wanted = calloc(wants.count > 0 ? wants.count : 1, sizeof(*wanted));
    if (!wanted || wants.is_short) {
        log_error("no memory to ask OCSP responders for new certificates");
        free(wanted);
        free(wants.items);
        return;
    }
    for (size_t i = 0; i < wants.count; i++)
        wanted[i] = wants.items[i].name;
    tell_difference(reload, &wants);
    free(reload->wanted);
    reload->wanted = wanted;
    reload->wanted_count = wants.count;
    free(wants.items);
}

static void on_staple(void *owner, uint32_t slot, uint64_t certificate_id, struct staple *staple,
                      const char *why)
{
    struct master *master = owner;
    struct change change = {0};

    sources_staple(master->control->sources, slot, certificate_id, staple, why, &change);
    reload_apply(master, &change);
    change_finish(&change);
    refresh_due(master);
}

static bool is_fetch_wanted(const struct config *config)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        if (config->listeners[i].tls.ocsp.fetch)
            return true;
    }
    return false;
}

// ---- looking at the files again ----

static void add_folder(void *owner, const char *folder)
{
    watch_folder(owner, folder);
}

static void refresh_watch(struct master *master)
{
    if (!master->reload.watch)
        return;
    watch_begin(master->reload.watch);
    sources_folders(master->control->sources, add_folder, master->reload.watch);
    watch_end(master->reload.watch);
}

void reload_check(struct master *master, const char *folder, bool force, struct sources_result *ret)
{
    struct change change = {0};

    *ret = (struct sources_result){0};
    sources_check(master->control->sources, folder, force, &change, ret);
    reload_apply(master, &change);
    change_finish(&change);
    refresh_watch(master);
    refresh_wants(master);
    refresh_due(master);
}

// While a successor leads it is the one that looks, and says what it found.
static bool looks(const struct master *master)
{
    return master->state < MASTER_STOPPING && master->succession.state < SUCCESSOR_LEADS;
}

static void on_due(void *owner)
{
    struct master *master = owner;
    struct sources_result result;

    if (looks(master))
        reload_check(master, "", false, &result);
}

static void on_watch(void *owner, const char *folder)
{
    struct master *master = owner;
    struct sources_result result;

    if (looks(master))
        reload_check(master, folder, false, &result);
}

static void on_expiry(void *owner)
{
    struct master *master = owner;

    sources_warn_expiry(master->control->sources, time(NULL));
    loop_timer_set(master->loop, &master->reload.expiry, clock_now_ns() + DAY_NS);
}

// ---- everything ----

struct telling {
    reload_problem *each; // or NULL
    void *owner;
    unsigned count;
};

static enum reload_config compare_config(struct master *master, const struct telling *telling)
{
    const struct control *control = master->control;
    struct config *config = NULL;
    struct report report;
    uint8_t *bytes = NULL;
    size_t size = 0;
    bool is_same;
    int error;

    if (!control->file)
        return RELOAD_CONFIG_SAME;
    is_same = file_read(control->file, CONFIG_SIZE_MAX, &bytes, &size) == 0 && size == control->size &&
              memcmp(bytes, control->bytes, size) == 0;
    free(bytes);
    if (is_same)
        return RELOAD_CONFIG_SAME;
    report_init(&report, control->file);
    error = config_load_unresolved(control->file, &config, &report);
    for (size_t i = 0; i < report.count; i++) {
        if (report.lines[i].is_warning)
            continue;
        log_error("bad configuration", log_text("reason", report.lines[i].text));
        if (telling->each)
            telling->each(telling->owner, true, report.lines[i].text);
    }
    report_finish(&report);
    config_destroy(config);
    return error == 0 ? RELOAD_CONFIG_CHANGED : RELOAD_CONFIG_BROKEN;
}

static void tell_problem(void *owner, const char *problem)
{
    struct telling *telling = owner;

    telling->count++;
    if (telling->each)
        telling->each(telling->owner, false, problem);
}

void reload_everything(struct master *master, bool force, reload_problem *each, void *owner,
                       struct reload_outcome *ret)
{
    struct telling telling = {.each = each, .owner = owner};

    names_look_up(master->names); // what comes of it is said by itself
    reload_check(master, NULL, force, &ret->files);
    // What is wrong since an earlier look still is.
    sources_problems(master->control->sources, tell_problem, &telling);
    if (ret->files.failed < telling.count)
        ret->files.failed = telling.count;
    ret->config = compare_config(master, &telling);
    log_info("reloaded", log_integer("changed", ret->files.changed),
             log_integer("removed", ret->files.removed), log_integer("failed", ret->files.failed));
}

// ---- life ----

int reload_start(struct master *master)
{
    struct reload *reload = &master->reload;
    struct sources_result result;
    int error = watch_create(master->loop, on_watch, master, &reload->watch);

    loop_timer_init(&reload->due, on_due, master);
    loop_timer_init(&reload->expiry, on_expiry, master);

    if (error < 0) {
        log_error("cannot watch the certificate files", log_errno(error));
        return error;
    }
    if (is_fetch_wanted(master->config)) {
        error = responders_create(master->loop, master->config, &master->account, on_staple, master,
                                  &reload->responders);
        if (error < 0) {
            log_error("cannot ask OCSP responders", log_errno(error));
            return error;
        }
    }
    refresh_watch(master);
    // What was changed between the first look and the watch.
    reload_check(master, NULL, false, &result);
    on_expiry(master);
    tickets_start(master);
    return 0;
}

void reload_finish(struct master *master)
{
    struct reload *reload = &master->reload;

    if (reload->expiry.handler) {
        loop_timer_stop(&reload->expiry);
        loop_timer_stop(&reload->due);
    }
    responders_destroy(reload->responders);
    watch_destroy(reload->watch);
    free(reload->wanted);
    tickets_finish(master);
    *reload = (struct reload){0};
}
