// SPDX-License-Identifier: Apache-2.0
// From YAML to a plan. The tables of raw.c say which keys there are; what their values mean, and whether all of it makes
// sense together, is found out here. Everything that is wrong is reported in one run.
#include "src/pki/plan.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ringbolt/file.h"
#include "src/config/memory.h"
#include "src/config/nearest.h"
#include "src/pki/plan_values.h"
#include "src/pki/raw.h"

#define FILE_SIZE_MAX   ((size_t)16 << 20)
#define NAME_LENGTH_MAX 64

// ---- names ----

static bool is_name(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t length = strlen(text);

    return length <= NAME_LENGTH_MAX && strspn(text, letters) == length && text[0] != '.' && text[0] != '-';
}

static struct entity *find_entity(const struct plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->entities[i].name != NULL && strcmp(plan->entities[i].name, name) == 0)
            return &plan->entities[i];
    }
    return NULL;
}

// `a-chain.pem` belongs to a.
static bool has_chain_name(const struct plan *plan, const char *name)
{
    size_t length = strlen(name);
    char stem[NAME_LENGTH_MAX + 1];

    if (length <= 6 || length > NAME_LENGTH_MAX || strcmp(name + length - 6, "-chain") != 0)
        return false;
    snprintf(stem, sizeof(stem), "%.*s", (int)(length - 6), name);
    return find_entity(plan, stem) != NULL;
}

static void set_name(const struct plan *plan, struct entity *entity, const char *name, struct report *report)
{
    const struct node *node = node_get(entity->node, "name");
    const struct entity *other;

    if (node_is_wrong(node))
        return;
    other = find_entity(plan, name);
    if (!is_name(name))
        report_add(report, node_where(node),
                   "`name: %s`: letters, digits, dots, hyphens and underscores are needed, at most %d: it is "
                   "what files are "
                   "called",
                   name, NAME_LENGTH_MAX);
    else if (other != NULL)
        report_add(report, node_where(node), "`name: %s`: this is taken already, in line %u", name,
                   entity_where(other, "name").line);
    else
        entity->name = name;
}

// ---- issuers ----

static void report_issuer(const struct plan *plan, const struct node *node, const char *issuer,
                          struct report *report)
{
    const char **names = memory_allocate(plan->count * sizeof(*names));
    const char *meant;

    for (size_t i = 0; i < plan->count; i++)
        names[i] = plan->entities[i].is_authority ? plan->entities[i].name : NULL;
    meant = nearest_name(issuer, names, plan->count);
    if (meant != NULL)
        report_add(report, node_where(node), "`issuer: %s`: there is no such authority; did you mean `%s`?",
                   issuer, meant);
    else
        report_add(report, node_where(node),
                   "`issuer: %s`: there is no such authority; an entry of `authorities` is needed", issuer);
    free(names);
}

static void set_issuer(const struct plan *plan, struct entity *entity, const char *issuer,
                       struct report *report)
{
    const struct node *node = node_get(entity->node, "issuer");
    struct entity *found;

    if (issuer == NULL || node_is_wrong(node))
        return;
    found = find_entity(plan, issuer);
    if (found != NULL && found->is_authority)
        entity->issuer = found;
    else if (found != NULL)
        report_add(report, node_where(node),
                   "`issuer: %s`: this is no authority; it stands under `certificates`", issuer);
    else
        report_issuer(plan, node, issuer, report);
}

// Each entity behind its issuer; as far as issuers don't go round in circles.
static void set_order(struct plan *plan, struct report *report)
{
    size_t count = 0;

    plan->order = memory_allocate(plan->count * sizeof(struct entity *));
    for (size_t i = 0; i < plan->count; i++) {
        struct entity *path[64]; // up to the first that is in its place already
        size_t depth = 0;
        struct entity *at = &plan->entities[i];
        for (; at != NULL && !at->is_ordered && !at->is_visited && depth < 64; at = at->issuer) {
            at->is_visited = true;
            path[depth++] = at;
        }
        assert(depth > 0 || at == NULL || at->is_ordered); // what was visited before is in its place by now
        if (at != NULL && !at->is_ordered) {
            report_add(
                report, entity_where(&plan->entities[i], "issuer"),
                depth == 64
                    ? "more than 64 authorities, one above the other; that is the most allowed"
                    : "its issuers go round in a circle; one of them needs to be a root, without `issuer`");
            path[depth - 1]->issuer = NULL;
        }
        while (depth > 0) {
            path[--depth]->is_ordered = true;
            plan->order[count++] = path[depth];
        }
    }
}

// ---- authorities below authorities ----

// How many levels of authorities stand below it.
static int levels_below(const struct plan *plan, const struct entity *entity)
{
    int levels = 0;

    for (size_t i = 0; i < plan->count; i++) {
        const struct entity *at = &plan->entities[i];
        int distance = 0;
        if (!at->is_authority)
            continue;
        for (; at != NULL && at != entity; at = at->issuer)
            distance++;
        if (at == entity && distance > levels)
            levels = distance;
    }
    return levels;
}

// An intermediate may have as many authorities below it as it has here; a root any number, so that more can come later.
static void set_path_lengths(struct plan *plan, struct report *report)
{
    for (size_t i = 0; i < plan->count; i++) {
        struct entity *entity = &plan->entities[i];
        int levels = entity->is_authority ? levels_below(plan, entity) : 0;
        if (!entity->is_authority)
            continue;
        if (node_get(entity->node, "path_length") == NULL) {
            entity->wish.path_length = entity->issuer == NULL ? PATH_LENGTH_NONE : levels;
        } else if (entity->wish.path_length != PATH_LENGTH_NONE && entity->wish.path_length < levels) {
            report_add(
                report, entity_where(entity, "path_length"),
                "`path_length: %d` is too few: there %s %d level%s of authorities below `%s` in this file",
                entity->wish.path_length, levels == 1 ? "is" : "are", levels, levels == 1 ? "" : "s",
                entity->name);
        }
    }
}

static void check_digest(const struct entity *entity, struct report *report)
{
    const struct entity *signer = entity->issuer != NULL ? entity->issuer : entity;

    if (entity->wish.digest != NULL && signer->kind.type != NULL && strcmp(signer->kind.type, "ED25519") == 0)
        report_add(report, entity_where(entity, "digest"),
                   "`digest`: it is signed by an ed25519 key, which has a digest of its own; leave this out");
}

// ---- the whole ----

struct config_where entity_where(const struct entity *entity, const char *key)
{
    const struct node *node = node_get(entity->node, key);

    return node_where(node != NULL ? node : entity->node);
}

// `common` is there for anchors only, whatever stands in it.
static void remove_common(struct document *document)
{
    struct node *root = document->root;
    size_t kept = 0;

    if (root->kind != NODE_MAPPING)
        return;
    for (size_t i = 0; i < root->count; i++) {
        if (strcmp(root->pairs[i].key, "common") != 0)
            root->pairs[kept++] = root->pairs[i];
    }
    root->count = kept;
}

static void build(struct plan *plan, const char *directory, struct report *report)
{
    const struct raw_pki *raw = plan->raw;
    const struct node *authorities = node_get(plan->document.root, "authorities");
    const struct node *certificates = node_get(plan->document.root, "certificates");
    size_t first_certificate = raw->authorities_count;

    plan->entities = memory_allocate((first_certificate + raw->certificates_count) * sizeof(struct entity));
    for (size_t i = 0; i < first_certificate + raw->certificates_count; i++) {
        bool is_authority = i < first_certificate;
        const struct raw_entity *from =
            is_authority ? &raw->authorities[i] : &raw->certificates[i - first_certificate];
        struct entity *entity = &plan->entities[i];
        entity->is_authority = is_authority;
        entity->node =
            is_authority ? node_item(authorities, i) : node_item(certificates, i - first_certificate);
        plan->count = i; // what is there so far may not have the same name
        set_name(plan, entity, from->name, report);
        plan->count = i + 1;
        plan_values(entity, from, directory, report);
    }
    for (size_t i = 0; i < plan->count; i++) {
        const struct raw_entity *from =
            i < first_certificate ? &raw->authorities[i] : &raw->certificates[i - first_certificate];
        struct entity *entity = &plan->entities[i];
        set_issuer(plan, entity, from->issuer, report);
        if (entity->name != NULL && has_chain_name(plan, entity->name))
            report_add(report, entity_where(entity, "name"),
                       "`name: %s`: %s.pem is the chain of another entry already", entity->name,
                       entity->name);
    }
    set_order(plan, report);
    set_path_lengths(plan, report);
    for (size_t i = 0; i < plan->count; i++)
        check_digest(&plan->entities[i], report);
}

enum status plan_parse(const char *text, size_t length, const char *directory, struct plan *ret,
                       struct report *report)
{
    void *raw = NULL;

    *ret = (struct plan){0};
    if (document_load(text, length, &ret->document, report) < 0)
        return STATUS_FILE;
    remove_common(&ret->document);
    schema_check(&schema_pki, &ret->document, report);
    if (schema_load(&schema_pki, &ret->document, &raw, report) < 0)
        return STATUS_FILE;
    ret->raw = raw;
    build(ret, directory, report);
    return report->error_count > 0 ? STATUS_FILE : STATUS_OK;
}

enum status plan_load(const char *path, struct plan *ret, struct report *report)
{
    const char *slash = strrchr(path, '/');
    char *directory =
        slash == NULL ? memory_copy(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    uint8_t *text = NULL;
    size_t size = 0;
    enum status status = STATUS_FILE;
    int error = file_read(path, FILE_SIZE_MAX, &text, &size);

    *ret = (struct plan){0};
    if (directory == NULL)
        abort();
    if (error == -EFBIG)
        report_add(report, (struct config_where){0}, "larger than the 16 MiB that it may have");
    else if (error < 0)
        report_add(report, (struct config_where){0}, "cannot be read: %s",
                   error == -EINVAL ? "not a regular file" : strerror(-error));
    else
        status = plan_parse((const char *)text, size, directory, ret, report);
    free(text);
    free(directory);
    return status;
}

void plan_finish(struct plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        wish_finish(&plan->entities[i].wish);
        free(plan->entities[i].source_path);
    }
    free(plan->entities);
    free(plan->order);
    schema_free(&schema_pki, plan->raw);
    document_finish(&plan->document);
    *plan = (struct plan){0};
}
