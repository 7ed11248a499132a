// SPDX-License-Identifier: Apache-2.0
// The document: libyaml's events become a tree. Reading events rather than calling yaml_parser_load() lets
// the limits hold before memory and time are spent, and keeps the place of each alias.
#include <errno.h>
#include <string.h>
#include <yaml.h>

#include "src/config/document.h"
#include "src/config/memory.h"

// Far more than a configuration needs, and little enough that the worst file is refused in a blink. Nodes
// count as they are after aliases were replaced, so the "billion laughs" end here.
#define DEPTH_MAX   32
#define NODES_MAX   100000
#define KEYS_MAX    1000
#define ANCHORS_MAX 1000

// A container that is being read.
struct frame {
    struct node *node;
    struct node_pair pair; // NODE_MAPPING: the key whose value comes next
    bool has_key;
    bool is_key_wrong;
};

struct anchor {
    const char *name;
    struct node *node;
};

struct loader {
    yaml_parser_t parser;
    struct document *document;
    struct report *report;
    const char *text;
    size_t length;
    struct frame frames[DEPTH_MAX];
    size_t depth;
    struct anchor anchors[ANCHORS_MAX];
    size_t anchor_count;
    bool is_over;    // nothing more is wanted of the file
    bool has_failed; // reading on makes no sense; why is in the report
};

static struct config_where where_of(yaml_mark_t mark)
{
    return (struct config_where){.line = (unsigned)mark.line + 1, .column = (unsigned)mark.column + 1};
}

// The limits, reported once and at the place that went too far.
static bool has_room(struct loader *loader, struct config_where where)
{
    if (loader->document->node_count < NODES_MAX)
        return true;
    if (!loader->has_failed)
        report_add(loader->report, where,
                   "more than %d values, counting for each alias what it names; that is the most allowed",
                   NODES_MAX);
    loader->has_failed = true;
    return false;
}

static bool may_nest(struct loader *loader, struct config_where where, size_t depth)
{
    if (depth < DEPTH_MAX)
        return true;
    if (!loader->has_failed)
        report_add(loader->report, where, "nested deeper than %d levels; that is the most allowed",
                   DEPTH_MAX);
    loader->has_failed = true;
    return false;
}

static struct node *wrong_text(struct loader *loader, struct config_where where)
{
    struct node *node = document_text(loader->document, where, "");

    node->is_wrong = true;
    return node;
}

// `depth` is how many containers `node` will stand in. NULL when a limit was met.
static struct node *copy(struct loader *loader, const struct node *node, struct config_where where,
                         size_t depth)
{
    struct node *twin;

    if (!has_room(loader, where) || (node->kind != NODE_TEXT && !may_nest(loader, where, depth)))
        return NULL;
    twin = document_container(loader->document, node->where, node->kind);
    *twin = *node;
    twin->pairs = NULL;
    twin->items = NULL;
    twin->count = 0;
    if (node->kind == NODE_TEXT)
        return twin;
    for (size_t i = 0; i < node->count; i++) {
        const struct node *child = node->kind == NODE_LIST ? node->items[i] : node->pairs[i].value;
        struct node *child_twin = copy(loader, child, where, depth + 1);
        if (child_twin == NULL)
            return NULL;
        if (node->kind == NODE_LIST) {
            document_append(loader->document, twin, child_twin);
        } else {
            struct node_pair pair = node->pairs[i];
            pair.value = child_twin;
            document_set(loader->document, twin, pair);
        }
    }
    return twin;
}

static void add_pair(struct loader *loader, struct node *mapping, struct node_pair pair)
{
    const struct node_pair *first = node_find_pair(mapping, pair.key);

    if (first != NULL) {
        report_add(loader->report, pair.where, "`%s` stands here twice, first in line %u; remove one",
                   pair.key, first->where.line);
        return;
    }
    if (mapping->count >= KEYS_MAX) {
        report_add(loader->report, pair.where, "more than %d keys in one mapping; that is the most allowed",
                   KEYS_MAX);
        loader->has_failed = true;
        return;
    }
    document_set(loader->document, mapping, pair);
}

static void place_key(struct loader *loader, struct frame *frame, struct node *node)
{
    frame->has_key = true;
    frame->is_key_wrong = node->kind != NODE_TEXT || node->is_wrong;
    frame->pair = (struct node_pair){.key = node->text, .where = node->where};
    frame->pair.is_merge = !frame->is_key_wrong && node->is_plain && strcmp(node->text, "<<") == 0;
    if (node->kind != NODE_TEXT)
        report_add(loader->report, node->where, "a key must be a word, not a %s",
                   node->kind == NODE_LIST ? "list" : "mapping");
}

// Puts a whole node where it belongs: into the innermost open container.
static void place(struct loader *loader, struct node *node)
{
    struct frame *frame;

    if (loader->depth == 0) {
        loader->document->root = node;
        return;
    }
    frame = &loader->frames[loader->depth - 1];
    if (frame->node->kind == NODE_LIST) {
        document_append(loader->document, frame->node, node);
    } else if (!frame->has_key) {
        place_key(loader, frame, node);
    } else {
        frame->has_key = false;
        frame->pair.value = node;
        if (!frame->is_key_wrong)
            add_pair(loader, frame->node, frame->pair);
    }
}

static void merge_from(struct loader *loader, struct node *mapping, const struct node *source)
{
    if (source->kind != NODE_MAPPING) {
        mapping->is_partial = true;
        if (!source->is_wrong)
            report_add(loader->report, source->where,
                       "`<<` takes a mapping or a list of mappings, such as *anchor");
        return;
    }
    mapping->is_partial |= source->is_partial;
    for (size_t i = 0; i < source->count; i++) {
        if (node_find_pair(mapping, source->pairs[i].key) == NULL)
            add_pair(loader, mapping, source->pairs[i]);
    }
}

// https://yaml.org/type/merge.html: keys of the mapping itself win, then those of earlier sources.
static void merge(struct loader *loader, struct node *mapping)
{
    struct node *sources = NULL;
    size_t kept = 0;

    for (size_t i = 0; i < mapping->count; i++) {
        if (mapping->pairs[i].is_merge)
            sources = mapping->pairs[i].value;
        else
            mapping->pairs[kept++] = mapping->pairs[i];
    }
    if (sources == NULL)
        return;
    // The array keeps its capacity, which document_set() derives from the count: start afresh.
    struct node_pair *pairs = mapping->pairs;
    mapping->pairs = NULL;
    mapping->count = 0;
    for (size_t i = 0; i < kept; i++)
        document_set(loader->document, mapping, pairs[i]);
    if (sources->kind != NODE_LIST) {
        merge_from(loader, mapping, sources);
        return;
    }
    for (size_t i = 0; i < sources->count; i++)
        merge_from(loader, mapping, sources->items[i]);
}

static void check_tag(struct loader *loader, struct config_where where, const yaml_char_t *tag)
{
    if (tag != NULL)
        report_add(loader->report, where, "tags have no meaning here; remove `%s`", (const char *)tag);
}

static void add_anchor(struct loader *loader, const yaml_char_t *name, struct node *node)
{
    size_t size;
    char *copied;

    if (name == NULL)
        return;
    if (loader->anchor_count >= ANCHORS_MAX) {
        report_add(loader->report, node->where, "more than %d anchors; that is the most allowed",
                   ANCHORS_MAX);
        loader->has_failed = true;
        return;
    }
    size = strlen((const char *)name) + 1;
    copied = memcpy(document_allocate(loader->document, size), name, size);
    loader->anchors[loader->anchor_count++] = (struct anchor){.name = copied, .node = node};
}

static void on_scalar(struct loader *loader, const yaml_event_t *event)
{
    struct config_where where = where_of(event->start_mark);
    size_t length = event->data.scalar.length;
    struct node *node;
    char *text;

    if (!has_room(loader, where))
        return;
    check_tag(loader, where, event->data.scalar.tag);
    text = document_allocate(loader->document, length + 1);
    memcpy(text, event->data.scalar.value, length);
    node = document_text(loader->document, where, text);
    node->is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (strlen(text) != length) { // "\0" in double quotes
        report_add(loader->report, where, "a zero byte cannot be part of a value; remove it");
        node->is_wrong = true;
    }
    add_anchor(loader, event->data.scalar.anchor, node);
    place(loader, node);
}

static void on_start(struct loader *loader, const yaml_event_t *event)
{
    bool is_list = event->type == YAML_SEQUENCE_START_EVENT;
    struct config_where where = where_of(event->start_mark);
    struct node *node;

    if (!has_room(loader, where) || !may_nest(loader, where, loader->depth))
        return;
    check_tag(loader, where, is_list ? event->data.sequence_start.tag : event->data.mapping_start.tag);
    node = document_container(loader->document, where, is_list ? NODE_LIST : NODE_MAPPING);
    add_anchor(loader, is_list ? event->data.sequence_start.anchor : event->data.mapping_start.anchor, node);
    loader->frames[loader->depth++] = (struct frame){.node = node};
}

static void on_end(struct loader *loader)
{
    struct node *node = loader->frames[--loader->depth].node;

    if (node->kind == NODE_MAPPING)
        merge(loader, node);
    place(loader, node);
}

static bool is_open(const struct loader *loader, const struct node *node)
{
    for (size_t i = 0; i < loader->depth; i++) {
        if (loader->frames[i].node == node)
            return true;
    }
    return false;
}

static void on_alias(struct loader *loader, const yaml_event_t *event)
{
    const char *name = (const char *)event->data.alias.anchor;
    struct config_where where = where_of(event->start_mark);
    const struct node *target = NULL;
    struct node *node;

    // An anchor may be defined again; the nearest one before the alias counts (YAML 1.1 §3.2.2.2).
    for (size_t i = loader->anchor_count; i > 0 && target == NULL; i--) {
        if (strcmp(loader->anchors[i - 1].name, name) == 0)
            target = loader->anchors[i - 1].node;
    }
    if (target == NULL) {
        report_add(loader->report, where, "`*%s` names no anchor; write `&%s` ahead of a value above", name,
                   name);
        node = wrong_text(loader, where);
    } else if (is_open(loader, target)) {
        report_add(loader->report, where, "`*%s` stands inside what it names; it must come after", name);
        node = wrong_text(loader, where);
    } else {
        node = copy(loader, target, where, loader->depth);
        if (node == NULL)
            return;
        node->where = where;
    }
    place(loader, node);
}

// The byte at `line` and `column` (from 0, in characters), where libyaml counted them.
static char byte_at(const struct loader *loader, size_t line, size_t column)
{
    const char *end = loader->text + loader->length;
    const char *at = loader->text;

    for (; line > 0 && at != NULL; line--) {
        at = memchr(at, '\n', (size_t)(end - at));
        at = at != NULL ? at + 1 : NULL;
    }
    for (; at != NULL && at < end && column > 0; column--) {
        do
            at++;
        while (at < end && (*at & 0xc0) == 0x80);
    }
    return at != NULL && at < end ? *at : '\0';
}

static struct config_where where_of_offset(const struct loader *loader, size_t offset)
{
    struct config_where where = {1, 1};

    for (size_t i = 0; i < offset && i < loader->length; i++) {
        if (loader->text[i] == '\n') {
            where.line++;
            where.column = 1;
        } else if ((loader->text[i] & 0xc0) != 0x80) {
            where.column++;
        }
    }
    return where;
}

static void report_syntax(struct loader *loader)
{
    const yaml_parser_t *parser = &loader->parser;
    struct config_where where = where_of(parser->problem_mark);

    loader->has_failed = true;
    switch (parser->error) {
    case YAML_MEMORY_ERROR:
        report_add(loader->report, where, "no memory to read it");
        return;
    case YAML_READER_ERROR:
        report_add(loader->report, where_of_offset(loader, parser->problem_offset),
                   "%s; the file must be UTF-8 text", parser->problem);
        return;
    default:
        break;
    }
    if (byte_at(loader, parser->problem_mark.line, parser->problem_mark.column) == '\t')
        report_add(loader->report, where, "a tab cannot indent; use spaces");
    else if (parser->context == NULL)
        report_add(loader->report, where, "%s", parser->problem);
    else if (parser->context_mark.line == parser->problem_mark.line)
        report_add(loader->report, where, "%s %s", parser->problem, parser->context);
    else
        report_add(loader->report, where, "%s %s that begins in line %u", parser->problem, parser->context,
                   where_of(parser->context_mark).line);
}

static void on_event(struct loader *loader, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (loader->document->root != NULL) {
            report_add(loader->report, where_of(event->start_mark),
                       "a second document begins here; the file may hold only one");
            loader->is_over = true;
        }
        break;
    case YAML_SCALAR_EVENT:
        on_scalar(loader, event);
        break;
    case YAML_ALIAS_EVENT:
        on_alias(loader, event);
        break;
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        on_start(loader, event);
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        on_end(loader);
        break;
    case YAML_STREAM_END_EVENT:
        loader->is_over = true;
        break;
    default:
        break;
    }
}

int document_load(const char *text, size_t length, struct document *ret, struct report *report)
{
    static const char mark[] = "\xef\xbb\xbf"; // U+FEFF, the byte order mark
    struct loader *loader = memory_allocate(sizeof(*loader));
    struct config_where start = {1, 1};
    unsigned tries = 0;
    int result;

    // libyaml would count it as the first column.
    if (length >= strlen(mark) && memcmp(text, mark, strlen(mark)) == 0) {
        text += strlen(mark);
        length -= strlen(mark);
    }
    *ret = (struct document){0};
    *loader = (struct loader){.document = ret, .report = report, .text = text, .length = length};
    while (!yaml_parser_initialize(&loader->parser))
        memory_wait(&tries);
    // Without this libyaml would take UTF-16 by its byte order mark.
    yaml_parser_set_encoding(&loader->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&loader->parser, (const unsigned char *)text, length);
    while (!loader->is_over && !loader->has_failed) {
        yaml_event_t event;
        if (!yaml_parser_parse(&loader->parser, &event)) {
            report_syntax(loader);
            break;
        }
        on_event(loader, &event);
        yaml_event_delete(&event);
    }
    result = loader->has_failed ? -EINVAL : 0;
    if (result == 0 && (ret->root == NULL || node_is_null(ret->root)))
        ret->root = document_container(ret, start, NODE_MAPPING);
    yaml_parser_delete(&loader->parser);
    free(loader);
    return result;
}
