// SPDX-License-Identifier: Apache-2.0
// The walk of a document along the schema. Each check_*() gets a node and returns what shall stand in its
// place: the node itself, or a stand-in when it was wrong.
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "src/config/nearest.h"
#include "src/config/schema.h"

#define FIELDS_MAX 32 // keys of one mapping in the schema; seen keys are one bit each
#define LIST_TEXT  512

struct walk {
    struct document *document;
    struct report *report;
};

// What a value is called in a line of the report.
struct subject {
    const char *key; // NULL: the whole file, `name` then
    const char *name;
    bool is_entry; // of the list behind the key
};

static struct node *check_value(struct walk *walk, const cyaml_schema_value_t *schema, struct subject subject,
                                struct node *node);

static const char *subject_text(struct subject subject, char text[static 128])
{
    if (subject.key == NULL)
        return subject.name;
    snprintf(text, 128, subject.is_entry ? "an entry of `%s`" : "`%s`", subject.key);
    return text;
}

static const char *kind_text(const struct node *node)
{
    if (node->kind == NODE_MAPPING)
        return "a mapping";
    if (node->kind == NODE_LIST)
        return "a list";
    return node_is_null(node) ? "nothing" : "a single value";
}

static bool is_required(const cyaml_schema_field_t *field)
{
    return (field->value.flags & CYAML_FLAG_OPTIONAL) == 0;
}

// "a", "a or b", "a, b or c" into text[size]; it is cut when it grows too long.
static void join(char *text, size_t size, const char *const *names, size_t count, const char *last_separator)
{
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < count && used < size; i++) {
        const char *separator = i == 0 ? "" : i + 1 == count ? last_separator : ", ";
        int length = snprintf(text + used, size - used, "%s%s", separator, names[i]);
        assert(length >= 0);
        used += (size_t)length;
    }
}

// ---- stand-ins ----

static struct node *stand_in(struct walk *walk, const cyaml_schema_value_t *schema, struct config_where where)
{
    struct document *document = walk->document;
    struct node *node = NULL;

    switch (schema->type) {
    case CYAML_STRING:
        node = document_text(document, where, "-");
        break;
    case CYAML_ENUM:
        node = document_text(document, where, schema->enumeration.strings[0].str);
        break;
    case CYAML_SEQUENCE:
        node = document_container(document, where, NODE_LIST);
        for (uint32_t i = 0; i < schema->sequence.min; i++)
            document_append(document, node, stand_in(walk, schema->sequence.entry, where));
        break;
    case CYAML_MAPPING:
        node = document_container(document, where, NODE_MAPPING);
        for (const cyaml_schema_field_t *field = schema->mapping.fields; field->key != NULL; field++) {
            struct node_pair pair = {.key = field->key, .where = where};
            if (!is_required(field))
                continue;
            pair.value = stand_in(walk, &field->value, where);
            document_set(document, node, pair);
        }
        break;
    default:
        break;
    }
    assert(node != NULL); // the schema uses no other kinds
    node->is_wrong = true;
    return node;
}

// ---- single values ----

static bool check_word(struct walk *walk, const cyaml_schema_value_t *schema, struct subject subject,
                       const struct node *node)
{
    const char *words[FIELDS_MAX] = {NULL};
    uint32_t count = schema->enumeration.count;
    char list[LIST_TEXT];
    char name[128];

    assert(count <= FIELDS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        words[i] = schema->enumeration.strings[i].str;
        if (strcmp(words[i], node->text) == 0)
            return true;
    }
    join(list, sizeof(list), words, count, " or ");
    report_add(walk->report, node->where, "%s must be %s, not \"%s\"", subject_text(subject, name), list,
               node->text);
    return false;
}

static bool check_text(struct walk *walk, const cyaml_schema_value_t *schema, struct subject subject,
                       const struct node *node)
{
    size_t length = strlen(node->text);
    char name[128];

    subject_text(subject, name);
    if (length < schema->string.min) {
        report_add(walk->report, node->where, "%s must not be empty", name);
        return false;
    }
    if (length > schema->string.max) {
        report_add(walk->report, node->where, "%s must be at most %" PRIu32 " bytes long, not %zu", name,
                   schema->string.max, length);
        return false;
    }
    for (const char *byte = node->text; *byte != '\0'; byte++) {
        if ((unsigned char)*byte < 0x20 || *byte == 0x7f) {
            report_add(walk->report, node->where, "%s must not hold control characters, as in \"%s\"", name,
                       node->text);
            return false;
        }
    }
    return true;
}

static struct node *check_scalar(struct walk *walk, const cyaml_schema_value_t *schema,
                                 struct subject subject, struct node *node)
{
    bool is_right;
    char name[128];

    if (node->kind != NODE_TEXT) {
        report_add(walk->report, node->where, "%s must be a single value, not %s",
                   subject_text(subject, name), kind_text(node));
        return stand_in(walk, schema, node->where);
    }
    if (node_is_null(node)) {
        report_add(walk->report, node->where, "%s has no value; write one, or remove the %s",
                   subject_text(subject, name), subject.is_entry ? "entry" : "key");
        return stand_in(walk, schema, node->where);
    }
    if (schema->type == CYAML_ENUM)
        is_right = check_word(walk, schema, subject, node);
    else
        is_right = check_text(walk, schema, subject, node);
    return is_right ? node : stand_in(walk, schema, node->where);
}

// ---- containers ----

static bool is_single(const cyaml_schema_value_t *schema)
{
    return schema->type == CYAML_STRING || schema->type == CYAML_ENUM;
}

static struct node *check_list(struct walk *walk, const cyaml_schema_value_t *schema, struct subject subject,
                               struct node *node)
{
    struct subject entry = {.key = subject.key, .is_entry = true};
    char name[128];

    subject_text(subject, name);
    if (node_is_null(node)) {
        node = document_container(walk->document, node->where, NODE_LIST);
    } else if (node->kind == NODE_TEXT && is_single(schema->sequence.entry)) {
        struct node *only = node;
        node = document_container(walk->document, only->where, NODE_LIST);
        document_append(walk->document, node, only);
        entry.is_entry = false;
    }
    if (node->kind != NODE_LIST) {
        report_add(walk->report, node->where, "%s must be a list, not %s", name, kind_text(node));
        return stand_in(walk, schema, node->where);
    }
    if (node->count < schema->sequence.min) {
        report_add(walk->report, node->where, "%s is empty; it needs at least one entry", name);
        return stand_in(walk, schema, node->where);
    }
    if (node->count > schema->sequence.max) {
        report_add(walk->report, node->where, "%s has %zu entries; at most %" PRIu32 " are allowed", name,
                   node->count, schema->sequence.max);
        return stand_in(walk, schema, node->where);
    }
    for (size_t i = 0; i < node->count; i++)
        node->items[i] = check_value(walk, schema->sequence.entry, entry, node->items[i]);
    return node;
}

// The key, one mapping deeper, of which `key` is known: `tls` for `certificates` in a listener.
static const char *find_home(const cyaml_schema_field_t *fields, const char *key)
{
    for (; fields->key != NULL; fields++) {
        if (fields->value.type != CYAML_MAPPING)
            continue;
        for (const cyaml_schema_field_t *inner = fields->value.mapping.fields; inner->key != NULL; inner++) {
            if (strcmp(inner->key, key) == 0)
                return fields->key;
        }
    }
    return NULL;
}

// Reports a key that the mapping does not know. Returns the one that was meant, as far as that can be
// guessed.
static const char *report_unknown(struct walk *walk, const cyaml_schema_field_t *fields,
                                  const struct node *mapping, const struct node_pair *pair)
{
    const char *names[FIELDS_MAX] = {NULL};
    const char *missing[FIELDS_MAX] = {NULL};
    const char *home = find_home(fields, pair->key);
    const char *meant;
    size_t count = 0;
    char list[LIST_TEXT];

    for (; fields[count].key != NULL; count++) {
        names[count] = fields[count].key;
        missing[count] = node_get(mapping, names[count]) == NULL ? names[count] : NULL;
    }
    meant = nearest_name(pair->key, missing, count);
    join(list, sizeof(list), names, count, " and ");
    if (home != NULL)
        report_add(walk->report, pair->where, "unknown key `%s` here; it belongs in `%s`", pair->key, home);
    else if (meant != NULL)
        report_add(walk->report, pair->where, "unknown key `%s`; did you mean `%s`?", pair->key, meant);
    else
        report_add(walk->report, pair->where, "unknown key `%s`; known here are %s", pair->key, list);
    return home == NULL ? meant : NULL;
}

static size_t find_field(const cyaml_schema_field_t *fields, const char *key)
{
    size_t index = 0;

    while (fields[index].key != NULL && strcmp(fields[index].key, key) != 0)
        index++;
    return index;
}

// Adds stand-ins for the required keys that are not in `seen`; those in `guessed` were reported under another
// name.
static void add_missing(struct walk *walk, const cyaml_schema_field_t *fields, struct subject subject,
                        struct node *mapping, uint32_t seen, uint32_t guessed)
{
    char name[128];

    for (size_t i = 0; fields[i].key != NULL; i++) {
        struct node_pair pair = {.key = fields[i].key, .where = mapping->where};
        if (!is_required(&fields[i]) || (seen & 1u << i) != 0)
            continue;
        if ((guessed & 1u << i) == 0)
            report_add(walk->report, mapping->where, "required key `%s` is missing; %s needs it", pair.key,
                       subject_text(subject, name));
        pair.value = stand_in(walk, &fields[i].value, mapping->where);
        document_set(walk->document, mapping, pair);
    }
}

static void report_not_mapping(struct walk *walk, const cyaml_schema_value_t *schema, struct subject subject,
                               const struct node *node)
{
    const char *required[FIELDS_MAX] = {NULL};
    const char *all[FIELDS_MAX] = {NULL};
    size_t required_count = 0;
    size_t count = 0;
    char list[LIST_TEXT];
    char name[128];

    for (const cyaml_schema_field_t *field = schema->mapping.fields; field->key != NULL; field++) {
        all[count++] = field->key;
        if (is_required(field))
            required[required_count++] = field->key;
    }
    if (required_count > 0)
        join(list, sizeof(list), required, required_count, " and ");
    else
        join(list, sizeof(list), all, count, " or ");
    report_add(walk->report, node->where, "%s must be a mapping with %s, not %s", subject_text(subject, name),
               list, kind_text(node));
}

static struct node *check_mapping(struct walk *walk, const cyaml_schema_value_t *schema,
                                  struct subject subject, struct node *node)
{
    const cyaml_schema_field_t *fields = schema->mapping.fields;
    struct node *kept;
    uint32_t seen = 0;
    uint32_t guessed = 0;

    // Nothing behind `log:` is what is left when every line below it is commented out.
    if (node->kind != NODE_MAPPING && !node_is_null(node)) {
        report_not_mapping(walk, schema, subject, node);
        return stand_in(walk, schema, node->where);
    }
    kept = document_container(walk->document, node->where, NODE_MAPPING);
    kept->is_partial = node->is_partial;
    kept->is_off = node->is_off;
    for (size_t i = 0; i < node->count; i++) {
        struct node_pair pair = node->pairs[i];
        size_t index = find_field(fields, pair.key);
        const char *meant;
        if (fields[index].key != NULL) {
            struct subject inner = {.key = fields[index].key};
            pair.value = check_value(walk, &fields[index].value, inner, pair.value);
            kept->is_partial |= pair.value->is_wrong;
            if (is_required(&fields[index]) || !pair.value->is_wrong)
                document_set(walk->document, kept, pair);
            seen |= 1u << index;
        } else {
            meant = report_unknown(walk, fields, node, &pair);
            kept->is_partial = true;
            if (meant != NULL)
                guessed |= 1u << find_field(fields, meant);
        }
    }
    add_missing(walk, fields, subject, kept, seen, guessed);
    return kept;
}

static struct node *check_value(struct walk *walk, const cyaml_schema_value_t *schema, struct subject subject,
                                struct node *node)
{
    if (node->is_wrong)
        return stand_in(walk, schema, node->where);
    switch (schema->type) {
    case CYAML_MAPPING:
        return check_mapping(walk, schema, subject, node);
    case CYAML_SEQUENCE:
        return check_list(walk, schema, subject, node);
    default:
        return check_scalar(walk, schema, subject, node);
    }
}

void schema_check(const struct schema *schema, struct document *document, struct report *report)
{
    struct walk walk = {.document = document, .report = report};

    document->root = check_value(&walk, schema->root, (struct subject){.name = schema->name}, document->root);
}
