// SPDX-License-Identifier: Apache-2.0
// A YAML document as a plain tree that knows where everything stands. Aliases are replaced by copies of what
// they name and merge keys (`<<`, YAML 1.1) are carried out, so whoever reads the tree meets neither. Its
// size is bounded whatever the file does.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ringbolt/config.h"

enum node_kind { NODE_TEXT, NODE_MAPPING, NODE_LIST };

struct node {
    enum node_kind kind;
    bool is_plain; // NODE_TEXT: written without quotes
    bool is_wrong; // reported, so whoever comes later has nothing to add; what stands here may be a stand-in
    // NODE_MAPPING: a key was wrong or unknown, reported, and left out; so nobody says that it is missing
    bool is_partial;
    bool is_off;    // NODE_MAPPING: `off` was written in its place (config.c)
    struct config_where where;
    const char *text;        // NODE_TEXT
    struct node_pair *pairs; // NODE_MAPPING, as written, each key once; merged ones last
    struct node **items;     // NODE_LIST
    size_t count;            // of pairs or items
};

struct node_pair {
    const char *key;
    struct config_where where; // of the key
    bool is_merge;             // a plain `<<`; none is left once the document is loaded
    struct node *value;
};

// Owns every node and text of its tree.
struct document {
    struct node *root;
    struct document_block *blocks;
    size_t node_count;
};

// Loads the one document in text[length]. 0 when there is a tree; what is wrong without spoiling the rest (a
// key twice, an alias of nothing) is in the report then, and left out of the tree. -EINVAL with the reason in
// the report when there is none. An empty file is an empty mapping. document_finish() in either case.
int document_load(const char *text, size_t length, struct document *ret, struct report *report);
void document_finish(struct document *document);

// Zeroed memory that lives as long as the document. Aborts on no memory.
void *document_allocate(struct document *document, size_t size);

// New nodes for a tree that is being changed. text is not copied. Aborts on no memory.
struct node *document_text(struct document *document, struct config_where where, const char *text);
struct node *document_container(struct document *document, struct config_where where, enum node_kind kind);
void document_append(struct document *document, struct node *list, struct node *item);
void document_set(struct document *document, struct node *mapping, struct node_pair pair);

// The value behind the key; NULL without, and when `node` is NULL or not a mapping.
struct node *node_get(const struct node *node, const char *key);
const struct node_pair *node_find_pair(const struct node *mapping, const char *key);
// The entry of the list; NULL without, and when `list` is NULL or not a list.
const struct node *node_item(const struct node *list, size_t index);
// Its place for the report; none for NULL.
struct config_where node_where(const struct node *node);
// Whether it was reported; false for NULL.
bool node_is_wrong(const struct node *node);
// A null of YAML's: nothing, `~` or `null`, unquoted.
bool node_is_null(const struct node *node);

// Writes the tree as YAML that needs no more than libcyaml knows. *ret is allocated.
void document_emit(const struct document *document, char **ret, size_t *ret_length);
