// SPDX-License-Identifier: Apache-2.0
// A schema says which keys a YAML file may hold, of what kind, and which are required. Any room can have a file of
// its own checked and read by one:
//
//   1. Write its tables with libcyaml's macros: mappings (inside a structure, not behind a pointer), lists, and single
//      values as CYAML_FIELD_STRING_PTR or CYAML_FIELD_ENUM_PTR (with CYAML_FLAG_STRICT); no other kinds. What may be
//      left out is CYAML_FLAG_OPTIONAL, and its pointer is NULL (a list's count 0) where it is. A list whose entries
//      are single values may be written as one value when it has one entry.
//   2. Put the root and the file's name in messages into a `struct schema`.
//   3. document_load() the text (src/config/document.h), schema_check() the document, schema_load() it: each reports
//      everything it finds and leaves something for the next. With report->error_count unchanged the structures hold
//      what the file says. node_get() finds the place of a key for a line of one's own; whoever checks on although
//      there were errors passes over nodes that are `is_wrong`, and misses no key in a mapping that `is_partial`.
//   4. schema_free() the structures and document_finish() the document.
#pragma once

#include <cyaml/cyaml.h>

#include "src/config/document.h"

// What the text of a value has to look like, for those who check a file without us (the JSON schema). The builder of the structures
// decides, and knows more (ranges); a test holds one against the other. A key that stands in no such line is any text.
enum schema_form {
    SCHEMA_TEXT,
    SCHEMA_TIME,           // config_time_parse()
    SCHEMA_SIZE,           // config_size_parse()
    SCHEMA_NUMBER,         // from 0 on, in digits
    SCHEMA_NUMBER_OR_AUTO, // from 1 on, or `auto`
    SCHEMA_ADDRESS,        // HOST:PORT or unix:/path
    SCHEMA_OR_OFF,         // a mapping, in whose place may stand `off`
};

struct schema_kind {
    const cyaml_schema_field_t *mapping;
    const char *key;
    enum schema_form form;
};

struct schema {
    const cyaml_schema_value_t *root; // a mapping with CYAML_FLAG_POINTER
    const char *name;                 // of the whole file in a line of the report: "the configuration"
    const struct schema_kind *kinds;
    size_t kind_count;
};

// Reports everything in the document that the schema does not allow. Afterwards the tree does fit the schema:
// what may not be there is gone, and what was wrong or missing and has to be there is a stand-in marked
// `is_wrong`, so that everything else can still be checked in the same run.
void schema_check(const struct schema *schema, struct document *document, struct report *report);

// Reads a document that schema_check() has been through into the root's structure. 0 and *ret, schema_free() it; or
// -EINVAL with a line in the report, which would be a bug of ours.
int schema_load(const struct schema *schema, const struct document *document, void **ret,
                struct report *report);
void schema_free(const struct schema *schema, void *data); // NULL is accepted
