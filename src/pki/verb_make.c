// SPDX-License-Identifier: Apache-2.0
// `pki make`: a hierarchy out of one YAML file. Read the plan; settle every entity in memory; then write, issuers first. A
// run that is killed leaves whole files, and the next one makes what is missing.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/config/memory.h"
#include "src/pki/authority.h"
#include "src/pki/database.h"
#include "src/pki/making.h"
#include "src/pki/options.h"
#include "src/pki/pem.h"

// ---- writing ----

static const char *fate_word(enum fate fate)
{
    return fate == FATE_KEEP ? "kept" : fate == FATE_MAKE ? "made" : "replaced";
}

static enum status prepare(const struct making *making, struct delivery *delivery)
{
    enum status status = STATUS_OK;

    if (making->key_fate != FATE_KEEP)
        status = delivery_add_key(delivery, making->key_path, making->key,
                                  making->passphrase.text != NULL ? &making->passphrase : NULL,
                                  making->key_fate == FATE_REPLACE);
    if (status == STATUS_OK && making->certificate_fate != FATE_KEEP)
        status = delivery_add_certificate(delivery, making->certificate_path, making->certificate,
                                          making->certificate_fate == FATE_REPLACE);
    if (status == STATUS_OK && making->chain_path != NULL && making->chain_fate != FATE_KEEP) {
        X509 *first = sk_X509_shift(making->chain);
        status = delivery_add_chain(delivery, making->chain_path, first, making->chain,
                                    making->chain_fate == FATE_REPLACE);
        X509_free(first);
    }
    return status;
}

static void say_done(const struct entity *entity)
{
    const struct making *making = entity->making;
    char kind[KEY_KIND_TEXT_MAX];
    char subject[SUBJECT_TEXT_MAX];
    char end[32];

    key_kind_text(&entity->kind, kind);
    whom_text(making->certificate, subject);
    moment_text(making->validity.not_after, end);
    if (making->has_key_file || making->key_fate != FATE_KEEP)
        say("%s: %s, %s%s", making->key_path, fate_word(making->key_fate), kind,
            entity->source.kind != PASSPHRASE_UNSAID ? ", encrypted" : "");
    say("%s: %s, %s, until %s", making->certificate_path, fate_word(making->certificate_fate), subject, end);
    if (making->chain_path != NULL)
        say("%s: %s", making->chain_path, fate_word(making->chain_fate));
}

enum status making_deliver(struct entity *entity)
{
    struct making *making = entity->making;
    struct delivery delivery = {0};
    enum status status = prepare(making, &delivery);

    if (status == STATUS_OK && making->certificate_fate != FATE_KEEP && entity->issuer != NULL)
        status = authority_deliver(entity->issuer->making->database_path, making->certificate, &delivery);
    else if (status == STATUS_OK)
        status = delivery_publish(&delivery);
    delivery_finish(&delivery);
    if (status == STATUS_OK)
        say_done(entity);
    return status;
}

// ---- the run ----

static enum status make_folder(const char *folder, bool *ret_is_new)
{
    struct stat status;

    *ret_is_new = mkdir(folder, 0755) == 0;
    if (!*ret_is_new && errno != EEXIST)
        return complain(STATUS_FAILED, "%s: the folder cannot be made: %s", folder, strerror(errno));
    if (stat(folder, &status) < 0)
        return complain(STATUS_FAILED, "%s: %s", folder, strerror(errno));
    if (!S_ISDIR(status.st_mode))
        return complain(STATUS_FAILED, "%s: is there, and is no folder", folder);
    return STATUS_OK;
}

static enum status carry_out(struct run *run)
{
    struct plan *plan = run->plan;
    enum status status = STATUS_OK;

    for (size_t i = 0; i < plan->count; i++)
        making_settle(run, plan->order[i]);
    if (run->status != STATUS_OK) {
        report_print(run->report, stderr);
        return complain(run->status, "nothing was made");
    }
    for (size_t i = 0; i < plan->count && status == STATUS_OK; i++)
        status = making_deliver(plan->order[i]);
    return status;
}

static enum status make(const struct options *options, struct plan *plan, struct report *report)
{
    const char *folder = options->out != NULL ? options->out : ".";
    struct run run = {.file = options->config,
                      .folder = folder,
                      .is_forced = options->is_forced,
                      .plan = plan,
                      .report = report};
    bool is_new;
    enum status status = make_folder(folder, &is_new);
    char *inside;
    int lock;

    if (status != STATUS_OK)
        return status;
    if (asprintf(&inside, "%s/.", folder) < 0)
        abort();
    // A second run waits, and then finds everything there.
    status = folder_lock(inside, &lock);
    free(inside);
    if (status != STATUS_OK)
        return status;
    status = carry_out(&run);
    if (status != STATUS_OK && is_new)
        (void)rmdir(folder); // which it allows only if nothing was made
    close(lock);
    for (size_t i = 0; i < plan->count; i++)
        making_finish(plan->entities[i].making);
    return status;
}

enum status verb_make(const struct options *options)
{
    struct report report;
    struct plan plan;
    enum status status = options_need(options, options->config, "config");

    if (status != STATUS_OK)
        return status;
    report_init(&report, options->config);
    status = plan_load(options->config, &plan, &report);
    if (status == STATUS_OK)
        status = make(options, &plan, &report);
    else
        report_print(&report, stderr);
    plan_finish(&plan);
    report_finish(&report);
    return status;
}
