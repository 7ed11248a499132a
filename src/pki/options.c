// SPDX-License-Identifier: Apache-2.0
// Options in. getopt knows those of the command only, so that another command's is unknown here.
#include "src/pki/options.h"

#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "src/config/nearest.h"
#include "src/pki/subject.h"

enum kind { TEXT, LIST, FLAG, SOURCE };

#define OPTION(name, kind, member)                                                                           \
    {                                                                                                        \
        name, kind, offsetof(struct options, member)                                                         \
    }

static const struct known {
    const char *name;
    enum kind kind;
    size_t offset;
} known[] = {
    OPTION("config", TEXT, config),
    OPTION("out", TEXT, out),
    OPTION("key", TEXT, key),
    OPTION("type", TEXT, type),
    OPTION("ca", TEXT, ca),
    OPTION("ca-key", TEXT, ca_key),
    OPTION("csr", TEXT, csr),
    OPTION("cert", TEXT, cert),
    OPTION("chain", TEXT, chain),
    OPTION("subject", TEXT, subject),
    OPTION("profile", TEXT, profile),
    OPTION("days", TEXT, days),
    OPTION("not-before", TEXT, not_before),
    OPTION("not-after", TEXT, not_after),
    OPTION("digest", TEXT, digest),
    OPTION("path-length", TEXT, path_length),
    OPTION("reason", TEXT, reason),
    OPTION("next-update", TEXT, next_update),
    OPTION("serial", TEXT, serial),
    OPTION("friendly-name", TEXT, friendly_name),
    OPTION("name", LIST, names),
    OPTION("key-usage", LIST, key_usage),
    OPTION("extended-key-usage", LIST, extended_key_usage),
    OPTION("crl-url", LIST, crl_urls),
    OPTION("ocsp-url", LIST, ocsp_urls),
    OPTION("ca-issuers-url", LIST, ca_issuers_urls),
    OPTION("copy", LIST, copy),
    OPTION("passphrase", SOURCE, passphrase),
    OPTION("ca-passphrase", SOURCE, ca_passphrase),
    OPTION("out-passphrase", SOURCE, out_passphrase),
    OPTION("must-staple", FLAG, must_staple),
    OPTION("new-key", FLAG, new_key),
    OPTION("release", FLAG, release),
    OPTION("legacy", FLAG, legacy),
    OPTION("der", FLAG, der),
    OPTION("json", FLAG, json),
    OPTION("force", FLAG, is_forced),
    OPTION("help", FLAG, wants_help),
};
#define KNOWN_COUNT (sizeof(known) / sizeof(known[0]))

static const char wish_options[] =
    " subject profile name days not-before not-after digest path-length key-usage "
    "extended-key-usage crl-url ocsp-url ca-issuers-url must-staple ";

static bool is_listed(const char *list, const char *name)
{
    size_t length = strlen(name);

    for (const char *at = strstr(list, name); at != NULL; at = strstr(at + 1, name)) {
        if (at > list && at[-1] == ' ' && at[length] == ' ')
            return true;
    }
    return false;
}

static bool takes(const struct verb *verb, const char *name)
{
    if (strcmp(name, "help") == 0 || is_listed(verb->options, name))
        return true;
    return is_listed(verb->options, "wish") && is_listed(wish_options, name);
}

const char *options_name(const struct verb *verb, size_t index, bool *ret_takes_argument)
{
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        if (!takes(verb, known[i].name) || index-- > 0)
            continue;
        *ret_takes_argument = known[i].kind != FLAG;
        return known[i].name;
    }
    return NULL;
}

static enum status set(const struct verb *verb, const struct known *option, struct options *options)
{
    char *member = (char *)options + option->offset;
    char why[WHY_MAX];

    switch (option->kind) {
    case TEXT:
        if (*(const char **)member != NULL)
            return complain_usage(verb->name, "--%s stands there twice", option->name);
        *(const char **)member = optarg;
        break;
    case LIST:
        texts_add((struct texts *)member, optarg);
        break;
    case FLAG:
        *(bool *)member = true;
        break;
    case SOURCE:
        if (passphrase_source_parse(optarg, (struct passphrase_source *)member, why) < 0)
            return complain_usage(verb->name, "--%s: %s", option->name, why);
        break;
    }
    return STATUS_OK;
}

static enum status complain_unknown(const struct verb *verb, const char *argument)
{
    const char *names[KNOWN_COUNT] = {NULL};
    const char *meant;

    for (size_t i = 0; i < KNOWN_COUNT; i++)
        names[i] = takes(verb, known[i].name) ? known[i].name : NULL;
    meant = strncmp(argument, "--", 2) == 0 ? nearest_name(argument + 2, names, KNOWN_COUNT) : NULL;
    if (meant != NULL)
        return complain_usage(verb->name, "there is no option %s; did you mean --%s?", argument, meant);
    return complain_usage(verb->name, "there is no option %s", argument);
}

static enum status check_operands(const struct verb *verb, const struct options *options)
{
    size_t count = options->operands.count;

    if (count < verb->operands_min)
        return complain_usage(verb->name, "%s is needed", verb->operand);
    if (count > verb->operands_max && verb->operands_max == 0)
        return complain_usage(verb->name, "it takes options only, no `%s`", options->operands.items[0]);
    if (count > verb->operands_max)
        return complain_usage(verb->name, "it takes one: %s", verb->operand);
    return STATUS_OK;
}

enum status options_parse(const struct verb *verb, int argc, char **argv, struct options *ret)
{
    struct option table[KNOWN_COUNT + 1] = {{0}};
    size_t count = 0;
    enum status status = STATUS_OK;
    int option;

    *ret = (struct options){.verb = verb->name};
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        if (takes(verb, known[i].name))
            table[count++] =
                (struct option){.name = known[i].name,
                                .has_arg = known[i].kind == FLAG ? no_argument : required_argument,
                                .val = 256 + (int)i};
    }
    opterr = 0;
    optind = 0; // glibc: begin anew
    while (status == STATUS_OK && (option = getopt_long(argc, argv, ":c:o:h", table, NULL)) != -1) {
        if (option == 'c' || option == 'o')
            option = 256 + (option == 'o'); // where they stand in `known`
        if (option == 'h')
            ret->wants_help = true;
        else if (option == ':')
            status = complain_usage(verb->name, "%s needs an argument", argv[optind - 1]);
        else if (option < 256 || !takes(verb, known[option - 256].name))
            status = complain_unknown(verb, argv[optind - 1]);
        else
            status = set(verb, &known[option - 256], ret);
    }
    if (status != STATUS_OK || ret->wants_help)
        return status;
    for (; optind < argc; optind++)
        texts_add(&ret->operands, argv[optind]);
    return check_operands(verb, ret);
}

void options_finish(struct options *options)
{
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        if (known[i].kind == LIST)
            texts_finish((struct texts *)((char *)options + known[i].offset));
    }
    texts_finish(&options->operands);
}

enum status options_need(const struct options *options, const char *text, const char *name)
{
    return text != NULL ? STATUS_OK : complain_usage(options->verb, "--%s is needed", name);
}

// ---- the wish ----

struct context {
    const struct options *options;
    enum status status;
};

// A wish_reporter: YAML's keys become options.
static void on_wrong(void *context, const char *key, const char *why)
{
    struct context *wrong = context;
    char name[64];

    snprintf(name, sizeof(name), "--%s", strcmp(key, "names") == 0 ? "name" : key);
    for (char *letter = name; *letter != '\0'; letter++)
        *letter = (char)(*letter == '_' ? '-' : *letter);
    wrong->status = complain_usage(wrong->options->verb, "%s: %s", name, why);
}

static enum status parsed(const struct options *options, int error, const char *name, const char *text,
                          const char *why)
{
    return error == 0 ? STATUS_OK : complain_usage(options->verb, "--%s %s: %s", name, text, why);
}

static enum status parse_single(const struct options *options, struct wish *wish)
{
    char why[WHY_MAX];
    enum status status = STATUS_OK;

    if (options->subject != NULL) {
        X509_NAME *subject = NULL;
        status =
            parsed(options, subject_parse(options->subject, &subject, why), "subject", options->subject, why);
        if (status == STATUS_OK) {
            X509_NAME_free(wish->subject);
            wish->subject = subject;
        }
    }
    if (status == STATUS_OK && options->profile != NULL)
        status = parsed(options, profile_parse(options->profile, &wish->profile, why), "profile",
                        options->profile, why);
    if (status == STATUS_OK && options->days != NULL)
        status = parsed(options, days_parse(options->days, &wish->days, why), "days", options->days, why);
    if (status == STATUS_OK && options->not_before != NULL)
        status = parsed(options, moment_parse(options->not_before, &wish->not_before, why), "not-before",
                        options->not_before, why);
    if (status == STATUS_OK && options->not_after != NULL)
        status = parsed(options, moment_parse(options->not_after, &wish->not_after, why), "not-after",
                        options->not_after, why);
    if (status == STATUS_OK && options->digest != NULL)
        status = parsed(options, digest_parse(options->digest, &wish->digest, why), "digest", options->digest,
                        why);
    if (status == STATUS_OK && options->path_length != NULL)
        status = parsed(options, path_length_parse(options->path_length, &wish->path_length, why),
                        "path-length", options->path_length, why);
    return status;
}

static enum status parse_urls(const struct options *options, const char *name, const struct texts *texts,
                              GENERAL_NAMES **urls)
{
    enum status status = STATUS_OK;
    char why[WHY_MAX];

    for (size_t i = 0; status == STATUS_OK && i < texts->count; i++)
        status = parsed(options, urls_add(texts->items[i], urls, why), name, texts->items[i], why);
    return status;
}

static enum status parse_lists(const struct options *options, struct wish *wish)
{
    const struct texts *names = &options->names;
    const struct texts *usages = &options->key_usage;
    const struct texts *extended = &options->extended_key_usage;
    enum status status = STATUS_OK;
    char why[WHY_MAX];

    for (size_t i = 0; status == STATUS_OK && i < names->count; i++)
        status = parsed(options, names_add(names->items[i], &wish->names, why), "name", names->items[i], why);
    for (size_t i = 0; status == STATUS_OK && i < usages->count; i++)
        status = parsed(options, key_usage_add(usages->items[i], &wish->key_usage, why), "key-usage",
                        usages->items[i], why);
    for (size_t i = 0; status == STATUS_OK && i < extended->count; i++)
        status = parsed(options, extended_key_usage_add(extended->items[i], &wish->extended_key_usage, why),
                        "extended-key-usage", extended->items[i], why);
    if (status == STATUS_OK)
        status = parse_urls(options, "crl-url", &options->crl_urls, &wish->crl_urls);
    if (status == STATUS_OK)
        status = parse_urls(options, "ocsp-url", &options->ocsp_urls, &wish->ocsp_urls);
    if (status == STATUS_OK)
        status = parse_urls(options, "ca-issuers-url", &options->ca_issuers_urls, &wish->ca_issuers_urls);
    return status;
}

enum status options_wish(const struct options *options, enum profile profile, bool has_names_elsewhere,
                         struct wish *ret)
{
    struct context context = {.options = options};
    enum status status;

    wish_init(ret);
    ret->profile = profile;
    ret->must_staple = options->must_staple;
    status = parse_single(options, ret);
    if (status == STATUS_OK)
        status = parse_lists(options, ret);
    if (status != STATUS_OK)
        return status;
    if (!has_names_elsewhere)
        wish_complete(ret);
    wish_check(ret, has_names_elsewhere, on_wrong, &context);
    return context.status;
}
