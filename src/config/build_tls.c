// SPDX-License-Identifier: Apache-2.0
// A listener's `tls`: what is negotiated, who the clients are, what is stapled and logged. Certificates are next door.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "ringbolt/clock.h"
#include "src/config/builder.h"
#include "src/config/choice.h"
#include "src/config/memory.h"

#define CHOSEN_MAX    16 // no table has more
#define LIST_TEXT     512
#define DEPTH_DEFAULT 4
#define DEPTH_MAX     16

// ---- versions, suites, groups ----

static const struct choice_profile *profile_of(const struct raw_tls *raw)
{
    if (raw->profile == NULL)
        return &choice_default;
    return *raw->profile == RAW_PROFILE_MODERN ? &choice_modern : &choice_intermediate;
}

static void build_versions(struct builder *builder, const struct raw_tls *raw, const struct node *node,
                           struct config_tls *tls)
{
    const struct choice_profile *profile = profile_of(raw);
    struct config_where min_where = node_where(node_get(node, "min_version"));

    tls->version_min = raw->min_version != NULL ? *raw->min_version : profile->version_min;
    tls->version_max = raw->max_version != NULL ? *raw->max_version : CONFIG_TLS13;
    if (tls->version_min > tls->version_max && raw->min_version != NULL)
        report_add(builder->report, min_where,
                   "`min_version` 1.3 is above `max_version` 1.2; raise the one or lower the other");
    else if (tls->version_min > tls->version_max)
        report_add(builder->report, node_where(node_get(node, "max_version")),
                   "`max_version` 1.2 is below TLS 1.3, the only one of `profile: %s`; remove one of them",
                   profile->name);
    // It may have come along with a merge.
    else if (tls->version_min < profile->version_min)
        report_warn(builder->report, min_where,
                    "`min_version` 1.2 counts, although `profile: %s` is for TLS 1.3 alone", profile->name);
}

struct chosen {
    const struct choice_table *table;
    const char *names[CHOSEN_MAX];
    size_t count;
};

// Nothing that the table knows: says where it belongs, or what there is.
static void report_choice(struct builder *builder, const struct choice_table *table, const char *text,
                          size_t length, struct config_where where)
{
    char list[LIST_TEXT];
    size_t used = 0;

    for (size_t i = 0; i < CHOICE_KINDS; i++) {
        const struct choice_table *other = &choice_tables[i];
        if (choice_find(other, text, length) != NULL) {
            report_add(builder->report, where, "`%.*s` does not belong in `%s`; write it in `%s`",
                       (int)length, text, table->key, other->key);
            return;
        }
    }
    for (size_t i = 0; i < table->count && used < sizeof(list); i++)
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i > 0 ? ", " : "",
                                 table->choices[i].name);
    report_add(builder->report, where, "`%s` cannot hold `%.*s`; allowed are %s", table->key, (int)length,
               text, list);
}

// Takes names up that are separated by colons.
static void choose(struct builder *builder, struct chosen *chosen, const char *text,
                   struct config_where where)
{
    for (;;) {
        size_t length = strcspn(text, ":");
        const char *name = choice_find(chosen->table, text, length);
        bool is_repeated = false;

        for (size_t i = 0; i < chosen->count; i++)
            is_repeated |= chosen->names[i] == name;
        if (name == NULL)
            report_choice(builder, chosen->table, text, length, where);
        else if (is_repeated)
            report_add(builder->report, where, "`%s` stands in `%s` twice; remove one", name,
                       chosen->table->key);
        else
            chosen->names[chosen->count++] = name; // each once, so there is room
        if (text[length] == '\0')
            return;
        text += length + 1;
    }
}

static char *build_choices(struct builder *builder, const struct raw_tls *raw, const struct node *node,
                           enum choice_kind kind, char **texts, unsigned count)
{
    struct chosen chosen = {.table = &choice_tables[kind]};
    const struct node *list = node_get(node, chosen.table->key);
    size_t size = 1;
    char *joined;
    char *end;

    if (count == 0)
        return memory_copy(profile_of(raw)->lists[kind]);
    for (unsigned i = 0; i < count; i++) {
        if (!node_is_wrong(node_item(list, i)))
            choose(builder, &chosen, texts[i], node_where(node_item(list, i)));
    }
    for (size_t i = 0; i < chosen.count; i++)
        size += strlen(chosen.names[i]) + 1;
    joined = end = memory_allocate(size);
    for (size_t i = 0; i < chosen.count; i++) {
        if (i > 0)
            *end++ = ':';
        end = stpcpy(end, chosen.names[i]);
    }
    return joined;
}

void build_alpn(struct builder *builder, char **raw, unsigned count, const struct node *list, char ***ret,
                size_t *ret_count)
{
    char **protocols = memory_allocate(count * sizeof(*protocols));
    size_t known = 0;

    for (unsigned i = 0; i < count; i++) {
        if (node_is_wrong(node_item(list, i)))
            continue;
        for (size_t j = 0; j < known; j++) {
            if (strcmp(protocols[j], raw[i]) == 0)
                report_add(builder->report, node_where(node_item(list, i)),
                           "`%s` stands in `alpn` twice; remove one", raw[i]);
        }
        protocols[known++] = memory_copy(raw[i]);
    }
    *ret = protocols;
    *ret_count = known;
}

// ---- clients ----

static void build_client_auth(struct builder *builder, const struct raw_client_auth *raw,
                              const struct node *node, struct config_client_trust *trust)
{
    const struct node *section = node_get(node, "client_auth");
    struct builder_paths crls;

    trust->depth = DEPTH_DEFAULT;
    builder_number(builder, section, "depth", raw->depth, (struct number_range){0, DEPTH_MAX, NULL},
                   &trust->depth);
    trust->mode = raw->mode != NULL ? *raw->mode : CONFIG_CLIENT_AUTH_OFF;
    if (trust->mode == CONFIG_CLIENT_AUTH_OFF)
        return;
    if (raw->ca == NULL && !section->is_partial)
        report_add(builder->report, node_where(section),
                   "`client_auth` needs `ca`: a PEM file of the authorities that client certificates are "
                   "checked against");
    trust->ca = builder_path(builder, raw->ca);
    trust->ca_where = node_where(node_get(section, "ca"));
    builder_paths(builder, section, "crl", raw->crl, raw->crl_count, &crls);
    trust->crls = crls.paths;
    trust->crl_count = crls.count;
    trust->crl_where = node_where(node_get(section, "crl"));
    free(crls.wheres);
}

// ---- OCSP ----

// What is wrong with the URL; NULL: nothing. Responses are signed, and RFC 6960 §A.1 puts them over plain HTTP; a
// responder behind TLS would need one itself.
static const char *responder_fault(const char *url)
{
    static const char prefix[] = "http://";
    const char *host = url + strlen(prefix);
    struct config_address address = {.text = NULL};
    struct address_parts parts;
    const char *why;
    size_t length;
    char *authority;
    bool is_right;

    if (strncasecmp(url, prefix, strlen(prefix)) != 0)
        return "write a URL that begins with `http://`; responses are signed, so they need no TLS";
    for (const char *at = url; *at != '\0'; at++) {
        if (*at <= 0x20 || *at >= 0x7f || strchr("#<>\"{}|\\^`", *at) != NULL)
            return "a URL holds no blanks, no `#`, and what is not ASCII as `%XX`";
    }
    length = strcspn(host, "/?");
    authority = memory_print("%.*s", (int)length, host);
    if (strrchr(authority, ':') == NULL || authority[length - 1] == ']') {
        free(authority);
        authority = memory_print("%.*s:80", (int)length, host);
    }
    is_right = strchr(authority, '@') == NULL && authority[0] != ':' &&
               address_split(authority, false, &parts, &why) == 0 && parts.path == NULL && parts.port != 0;
    if (is_right) {
        int result = address_resolve(&parts, false, NULL, &address, &why);
        is_right = result == 0 || result == -ENOENT; // a name; it is looked up when it is needed
    }
    free(authority);
    return is_right ? NULL : "its host or port is not right; write `http://HOST/` or `http://HOST:PORT/`";
}

static void build_ocsp(struct builder *builder, const struct raw_ocsp *raw, const struct node *node,
                       struct config_ocsp *ocsp)
{
    static const char *const keys[] = {"cache", "responder"};
    const struct node *section = node_get(node, "ocsp");
    const char *fault = raw->responder != NULL ? responder_fault(raw->responder) : NULL;

    ocsp->where = node_where(section);
    ocsp->fetch = raw->fetch != NULL && *raw->fetch != 0;
    ocsp->cache = builder_path(builder, raw->cache);
    ocsp->responder = raw->responder != NULL ? memory_copy(raw->responder) : NULL;
    ocsp->timeout_ns = 10 * CLOCK_NS_PER_S;
    if (fault != NULL)
        report_add(builder->report, node_where(node_get(section, "responder")),
                   "`responder` cannot be `%s`: %s", raw->responder, fault);
    builder_time(builder, section, "timeout", raw->timeout, (struct time_range){"1ms", "10m"},
                 &ocsp->timeout_ns);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && !ocsp->fetch; i++) {
        const struct node *value = node_get(section, keys[i]);
        if (value != NULL && !section->is_partial)
            report_warn(builder->report, node_where(value), "`%s` does nothing without `fetch: true`",
                        keys[i]);
    }
}

// ---- all of it ----

void build_negotiation(struct builder *builder, const struct raw_tls *raw, const struct node *node,
                       struct config_tls *tls)
{
    tls->where = node_where(node);
    build_versions(builder, raw, node, tls);
    tls->ciphers = build_choices(builder, raw, node, CHOICE_CIPHERS, raw->ciphers, raw->ciphers_count);
    tls->ciphersuites =
        build_choices(builder, raw, node, CHOICE_CIPHERSUITES, raw->ciphersuites, raw->ciphersuites_count);
    tls->groups = build_choices(builder, raw, node, CHOICE_GROUPS, raw->groups, raw->groups_count);
    tls->groups_where = node_where(node_get(node, "groups"));
    tls->prefers_server = profile_of(raw)->prefers_server;
    build_alpn(builder, raw->alpn, raw->alpn_count, node_get(node, "alpn"), &tls->alpn, &tls->alpn_count);
}

void build_tls(struct builder *builder, const struct raw_tls *raw, const struct node *node,
               bool needs_certificate, struct config_tls *tls)
{
    build_negotiation(builder, raw, node, tls);
    build_certificates(builder, raw, node, needs_certificate, tls);
    tls->strict_sni = raw->strict_sni != NULL && *raw->strict_sni != 0;
    build_client_auth(builder, &raw->client_auth, node, &tls->client_auth);
    build_ocsp(builder, &raw->ocsp, node, &tls->ocsp);
    tls->keylog = builder_path(builder, raw->keylog);
    if (raw->keylog != NULL)
        report_warn(
            builder->report, node_where(node_get(node, "keylog")),
            "`keylog` gives whoever can read %s every connection's traffic; remove it after debugging",
            tls->keylog);
}
