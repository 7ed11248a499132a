// SPDX-License-Identifier: Apache-2.0
// The values of one entry, each parsed where it stands. What schema_check() found wrong is passed over.
#include "src/pki/plan_values.h"

#include <stdio.h>
#include <string.h>

#include "src/config/memory.h"
#include "src/pki/subject.h"

struct builder {
    struct entity *entity;
    const char *directory;
    struct report *report;
};

// The node of a key that is there and right so far; else NULL.
static const struct node *usable(const struct builder *builder, const char *key, const void *value)
{
    const struct node *node = node_get(builder->entity->node, key);

    return value != NULL && node != NULL && !node->is_wrong ? node : NULL;
}

static void wrong(const struct builder *builder, const struct node *node, const char *key, const char *text,
                  const char *why)
{
    report_add(builder->report, node_where(node), "`%s: %s`: %s", key, text, why);
}

// ---- subject ----

static void build_subject(const struct builder *builder, const struct raw_subject *raw)
{
    const struct node *mapping = node_get(builder->entity->node, "subject");
    char why[WHY_MAX];

    for (size_t i = 0; i < subject_attribute_count; i++) {
        const struct subject_attribute *attribute = &subject_attributes[i];
        const struct node *node = node_get(mapping, attribute->name);
        if (raw->attributes[i] != NULL && node != NULL && !node->is_wrong &&
            subject_add(builder->entity->wish.subject, attribute, raw->attributes[i], why) < 0)
            wrong(builder, node, attribute->name, raw->attributes[i], why);
    }
}

// ---- single values ----

static void build_profile(const struct builder *builder, const struct raw_entity *raw)
{
    const struct node *node = usable(builder, "profile", raw->profile);
    struct wish *wish = &builder->entity->wish;
    char why[WHY_MAX];

    wish->profile = builder->entity->is_authority ? PROFILE_CA : PROFILE_SERVER;
    if (node == NULL)
        return;
    if (profile_parse(raw->profile, &wish->profile, why) < 0 || wish->profile == PROFILE_CA) {
        wish->profile = PROFILE_UNSAID;
        wrong(builder, node, "profile", raw->profile,
              "server, client, peer (both) or ocsp is needed; an authority stands under `authorities`");
    }
}

static void build_validity(const struct builder *builder, const struct raw_entity *raw)
{
    struct wish *wish = &builder->entity->wish;
    const struct node *node;
    char why[WHY_MAX];

    if ((node = usable(builder, "days", raw->days)) && days_parse(raw->days, &wish->days, why) < 0)
        wrong(builder, node, "days", raw->days, why);
    if ((node = usable(builder, "not_before", raw->not_before)) &&
        moment_parse(raw->not_before, &wish->not_before, why) < 0)
        wrong(builder, node, "not_before", raw->not_before, why);
    if ((node = usable(builder, "not_after", raw->not_after)) &&
        moment_parse(raw->not_after, &wish->not_after, why) < 0)
        wrong(builder, node, "not_after", raw->not_after, why);
}

static void build_key(const struct builder *builder, const struct raw_entity *raw)
{
    struct entity *entity = builder->entity;
    const struct node *node = usable(builder, "key", raw->key);
    char why[WHY_MAX];

    (void)key_kind_parse(entity->is_authority ? "ec:P-384" : "ec:P-256", &entity->kind, why);
    if (node != NULL && key_kind_parse(raw->key, &entity->kind, why) < 0)
        wrong(builder, node, "key", raw->key, why);
    if ((node = usable(builder, "digest", raw->digest)) &&
        digest_parse(raw->digest, &entity->wish.digest, why) < 0)
        wrong(builder, node, "digest", raw->digest, why);
    if ((node = usable(builder, "path_length", raw->path_length)) &&
        path_length_parse(raw->path_length, &entity->wish.path_length, why) < 0)
        wrong(builder, node, "path_length", raw->path_length, why);
}

// ---- passphrase ----

static void build_source(const struct builder *builder, const struct raw_source *raw)
{
    const struct node *node = node_get(builder->entity->node, "passphrase");
    bool wants_prompt = raw->prompt != NULL && *raw->prompt == 1;
    struct entity *entity = builder->entity;

    if (node == NULL || node->is_wrong || node->is_partial)
        return;
    if ((raw->env != NULL) + (raw->file != NULL) + wants_prompt != 1) {
        report_add(builder->report, node_where(node),
                   "`passphrase` needs one of `env: NAME`, `file: PATH` and `prompt: true`");
        return;
    }
    if (raw->env != NULL && strchr(raw->env, '=') != NULL) {
        wrong(builder, node_get(node, "env"), "env", "…",
              "the name of an environment variable is needed, not a value");
    } else if (raw->env != NULL) {
        entity->source = (struct passphrase_source){PASSPHRASE_ENV, raw->env};
    } else if (raw->file != NULL) {
        entity->source_path = raw->file[0] == '/' ? memory_copy(raw->file)
                                                  : memory_print("%s/%s", builder->directory, raw->file);
        entity->source = (struct passphrase_source){PASSPHRASE_FILE, entity->source_path};
    } else {
        entity->source = (struct passphrase_source){PASSPHRASE_PROMPT, NULL};
    }
}

// ---- lists ----

// One kind of list: how an entry of it is taken into the wish.
typedef int entry_parser(struct wish *wish, const char *text, char why[static WHY_MAX]);

static int parse_name(struct wish *wish, const char *text, char why[static WHY_MAX])
{
    return names_add(text, &wish->names, why);
}

static int parse_usage(struct wish *wish, const char *text, char why[static WHY_MAX])
{
    return key_usage_add(text, &wish->key_usage, why);
}

static int parse_extended_usage(struct wish *wish, const char *text, char why[static WHY_MAX])
{
    return extended_key_usage_add(text, &wish->extended_key_usage, why);
}

static int parse_crl_url(struct wish *wish, const char *text, char why[static WHY_MAX])
{
    return urls_add(text, &wish->crl_urls, why);
}

static int parse_ocsp_url(struct wish *wish, const char *text, char why[static WHY_MAX])
{
    return urls_add(text, &wish->ocsp_urls, why);
}

static int parse_ca_issuers_url(struct wish *wish, const char *text, char why[static WHY_MAX])
{
    return urls_add(text, &wish->ca_issuers_urls, why);
}

static void build_list(const struct builder *builder, const char *key, char *const *texts, unsigned count,
                       entry_parser *parse)
{
    const struct node *list = node_get(builder->entity->node, key);
    char why[WHY_MAX];

    for (unsigned i = 0; list != NULL && !list->is_wrong && i < count; i++) {
        const struct node *node = node_item(list, i);
        if (!node_is_wrong(node) && parse(&builder->entity->wish, texts[i], why) < 0)
            wrong(builder, node != NULL ? node : list, key, texts[i], why);
    }
}

static void build_lists(const struct builder *builder, const struct raw_entity *raw)
{
    build_list(builder, "names", raw->names, raw->names_count, parse_name);
    build_list(builder, "key_usage", raw->key_usage, raw->key_usage_count, parse_usage);
    build_list(builder, "extended_key_usage", raw->extended_key_usage, raw->extended_key_usage_count,
               parse_extended_usage);
    build_list(builder, "crl_url", raw->crl_url, raw->crl_url_count, parse_crl_url);
    build_list(builder, "ocsp_url", raw->ocsp_url, raw->ocsp_url_count, parse_ocsp_url);
    build_list(builder, "ca_issuers_url", raw->ca_issuers_url, raw->ca_issuers_url_count,
               parse_ca_issuers_url);
}

// ---- the whole ----

// A wish_reporter.
static void on_wrong(void *context, const char *key, const char *why)
{
    const struct builder *builder = context;

    report_add(builder->report, entity_where(builder->entity, key), "`%s`: %s", key, why);
}

void plan_values(struct entity *entity, const struct raw_entity *raw, const char *directory,
                 struct report *report)
{
    struct builder builder = {.entity = entity, .directory = directory, .report = report};
    size_t errors = report->error_count;

    wish_init(&entity->wish);
    build_profile(&builder, raw);
    build_subject(&builder, &raw->subject);
    build_validity(&builder, raw);
    build_key(&builder, raw);
    build_source(&builder, &raw->passphrase);
    build_lists(&builder, raw);
    entity->wish.must_staple = raw->must_staple != NULL && *raw->must_staple == 1;
    // Of an entry with something wrong in it, it can't be said whether the whole makes sense.
    if (report->error_count > errors || entity->node->is_partial || entity->node->is_wrong)
        return;
    wish_complete(&entity->wish);
    wish_check(&entity->wish, false, on_wrong, &builder);
}
