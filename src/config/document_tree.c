// SPDX-License-Identifier: Apache-2.0
// The tree of a document: its memory, its growth and how it is read.
#include <string.h>

#include "src/config/document.h"
#include "src/config/memory.h"

struct document_block {
    struct document_block *next;
    max_align_t data[];
};

void *document_allocate(struct document *document, size_t size)
{
    struct document_block *block = memory_allocate(sizeof(*block) + size);

    block->next = document->blocks;
    document->blocks = block;
    return block->data;
}

// As memory_grow(); the smaller array stays in the document until its end.
static void *grow(struct document *document, void *array, size_t count, size_t element_size)
{
    void *bigger;

    if ((count & (count - 1)) != 0)
        return array;
    bigger = document_allocate(document, (count > 0 ? 2 * count : 1) * element_size);
    if (count > 0)
        memcpy(bigger, array, count * element_size);
    return bigger;
}

struct node *document_container(struct document *document, struct config_where where, enum node_kind kind)
{
    struct node *node = document_allocate(document, sizeof(*node));

    document->node_count++;
    node->kind = kind;
    node->where = where;
    return node;
}

struct node *document_text(struct document *document, struct config_where where, const char *text)
{
    struct node *node = document_container(document, where, NODE_TEXT);

    node->text = text;
    return node;
}

void document_append(struct document *document, struct node *list, struct node *item)
{
    list->items = grow(document, list->items, list->count, sizeof(struct node *));
    list->items[list->count++] = item;
}

void document_set(struct document *document, struct node *mapping, struct node_pair pair)
{
    mapping->pairs = grow(document, mapping->pairs, mapping->count, sizeof(pair));
    mapping->pairs[mapping->count++] = pair;
}

void document_finish(struct document *document)
{
    while (document->blocks != NULL) {
        struct document_block *block = document->blocks;
        document->blocks = block->next;
        free(block);
    }
    *document = (struct document){0};
}

const struct node_pair *node_find_pair(const struct node *mapping, const char *key)
{
    for (size_t i = 0; i < mapping->count; i++) {
        if (strcmp(mapping->pairs[i].key, key) == 0)
            return &mapping->pairs[i];
    }
    return NULL;
}

struct node *node_get(const struct node *node, const char *key)
{
    const struct node_pair *pair;

    if (node == NULL || node->kind != NODE_MAPPING)
        return NULL;
    pair = node_find_pair(node, key);
    return pair != NULL ? pair->value : NULL;
}

bool node_is_null(const struct node *node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};

    if (node->kind != NODE_TEXT || !node->is_plain)
        return false;
    for (size_t i = 0; i < sizeof(nulls) / sizeof(nulls[0]); i++) {
        if (strcmp(node->text, nulls[i]) == 0)
            return true;
    }
    return false;
}

const struct node *node_item(const struct node *list, size_t index)
{
    return list != NULL && list->kind == NODE_LIST && index < list->count ? list->items[index] : NULL;
}

struct config_where node_where(const struct node *node)
{
    return node != NULL ? node->where : (struct config_where){0};
}

bool node_is_wrong(const struct node *node)
{
    return node != NULL && node->is_wrong;
}
