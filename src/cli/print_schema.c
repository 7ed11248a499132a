// SPDX-License-Identifier: Apache-2.0
// `ringbolt schema`: what the loader knows of the configuration, as a JSON schema for editors. Keys, words and lists come from the loader's
// own tables, descriptions and defaults from conf/ringbolt.yaml.
//
// Editors read YAML 1.2, where `off` and `yes` are texts and `1.2` is a number. The loader takes every single value as a text.
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "option_texts.h"
#include "src/config/schema_config.h"

#define PATH_SIZE 256

static json_t *make_value(const cyaml_schema_value_t *schema, const char *path, enum schema_form form);

// jansson fails for want of memory alone.
static json_t *need(json_t *json)
{
    if (!json)
        abort();
    return json;
}

static void set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, need(value)) < 0)
        abort();
}

static void append(json_t *array, json_t *value)
{
    if (json_array_append_new(array, need(value)) < 0)
        abort();
}

// ---- what is said of a key ----

static const struct option_text *find_text(const char *path, size_t length)
{
    for (size_t i = 0; i < option_text_count; i++) {
        if (strncmp(option_texts[i].path, path, length) == 0 && option_texts[i].path[length] == '\0')
            return &option_texts[i];
    }
    return NULL;
}

// A key of which nothing is said is described where the mapping is that it is in.
static const char *describe(const char *path)
{
    size_t length = strlen(path);

    while (length > 0) {
        const struct option_text *text = find_text(path, length);

        if (text && text->text[0])
            return text->text;
        while (length > 0 && path[--length] != '.')
            ;
        if (length > 1 && path[length - 1] == ']')
            length -= 2;
    }
    return NULL;
}

static void annotate(json_t *schema, const char *path)
{
    const struct option_text *text = find_text(path, strlen(path));
    const char *description = describe(path);

    if (description)
        set(schema, "description", json_string(description));
    if (text && text->value) {
        // true and 3 are what they are in YAML, 1.2 is a word.
        json_t *value = strchr(text->value, '.') ? NULL : json_loads(text->value, JSON_DECODE_ANY, NULL);

        set(schema, "default", value ? value : json_string(text->value));
    }
}

// ---- single values ----

static json_t *make_words(const cyaml_schema_value_t *schema)
{
    json_t *words = need(json_array());

    for (uint32_t i = 0; i < schema->enumeration.count; i++) {
        const char *word = schema->enumeration.strings[i].str;
        json_t *other =
            json_loads(word, JSON_DECODE_ANY, NULL); // true, 1.2: what YAML makes of it without quotes

        append(words, json_string(word));
        if (other)
            append(words, other);
    }
    return json_pack("{s:o}", "enum", words);
}

static json_t *make_text(const cyaml_schema_value_t *schema, enum schema_form form)
{
    switch (form) {
    case SCHEMA_TIME:
        return json_pack("{s:s, s:s}", "type", "string", "pattern", "^[0-9]+(ms|s|m|h|d)$");
    case SCHEMA_SIZE:
        return json_pack("{s:[s,s], s:i, s:s}", "type", "integer", "string", "minimum", 0, "pattern",
                         "^[0-9]+[kmg]?$");
    case SCHEMA_NUMBER:
        return json_pack("{s:[s,s], s:i, s:s}", "type", "integer", "string", "minimum", 0, "pattern",
                         "^(0|[1-9][0-9]*)$");
    case SCHEMA_NUMBER_OR_AUTO:
        return json_pack("{s:[s,s], s:i, s:s}", "type", "integer", "string", "minimum", 1, "pattern",
                         "^(auto|[1-9][0-9]*)$");
    case SCHEMA_ADDRESS:
        return json_pack("{s:s, s:s}", "type", "string", "pattern", "^(unix:/.+|.+:[0-9]+)$");
    default:
        return json_pack("{s:[s,s], s:i, s:i}", "type", "string", "number", "minLength",
                         (int)schema->string.min, "maxLength", (int)schema->string.max);
    }
}

// ---- containers ----

static json_t *make_list(const cyaml_schema_value_t *schema, const char *path)
{
    const cyaml_schema_value_t *entry = schema->sequence.entry;
    bool is_single = entry->type == CYAML_STRING || entry->type == CYAML_ENUM;
    char inner[PATH_SIZE];
    json_t *list;

    snprintf(inner, sizeof(inner), "%s[]", path);
    list = json_pack("{s:s, s:i, s:i, s:o}", "type", "array", "minItems", (int)schema->sequence.min,
                     "maxItems", (int)schema->sequence.max, "items", make_value(entry, inner, SCHEMA_TEXT));
    if (!is_single)
        return list;
    // A list with one entry may be written as that.
    return json_pack("{s:[o,o]}", "anyOf", list, make_value(entry, inner, SCHEMA_TEXT));
}

static enum schema_form form_of(const cyaml_schema_field_t *mapping, const char *key)
{
    for (size_t i = 0; i < schema_config.kind_count; i++) {
        if (schema_config.kinds[i].mapping == mapping && strcmp(schema_config.kinds[i].key, key) == 0)
            return schema_config.kinds[i].form;
    }
    return SCHEMA_TEXT;
}

static json_t *make_mapping(const cyaml_schema_value_t *schema, const char *path)
{
    json_t *properties = need(json_object());
    json_t *required = need(json_array());
    json_t *mapping;

    for (const cyaml_schema_field_t *field = schema->mapping.fields; field->key; field++) {
        char inner[PATH_SIZE];
        json_t *value;

        snprintf(inner, sizeof(inner), "%s%s%s", path, path[0] ? "." : "", field->key);
        value = make_value(&field->value, inner, form_of(schema->mapping.fields, field->key));
        annotate(value, inner);
        set(properties, field->key, value);
        if ((field->value.flags & CYAML_FLAG_OPTIONAL) == 0)
            append(required, json_string(field->key));
    }
    mapping = need(json_object());
    // Nothing behind the key is what is left when every line below it is commented out.
    if (json_array_size(required) == 0)
        set(mapping, "type", json_pack("[s,s]", "object", "null"));
    else
        set(mapping, "type", json_string("object"));
    set(mapping, "additionalProperties", json_false());
    set(mapping, "properties", properties);
    if (json_array_size(required) > 0)
        set(mapping, "required", required);
    else
        json_decref(required);
    return mapping;
}

static json_t *make_value(const cyaml_schema_value_t *schema, const char *path, enum schema_form form)
{
    switch (schema->type) {
    case CYAML_MAPPING:
        if (form == SCHEMA_OR_OFF)
            return need(json_pack("{s:[o,{s:s}]}", "anyOf", make_mapping(schema, path), "const", "off"));
        return make_mapping(schema, path);
    case CYAML_SEQUENCE:
        return need(make_list(schema, path));
    case CYAML_ENUM:
        return need(make_words(schema));
    default:
        return need(make_text(schema, form));
    }
}

// ---- all of it ----

void cli_print_schema(void)
{
    json_t *schema = make_mapping(schema_config.root, "");

    set(schema, "$schema", json_string("http://json-schema.org/draft-07/schema#"));
    set(schema, "title", json_string("The configuration of Ringbolt"));
    // What a file needs whose listeners all redirect, or else all of it.
    set(schema, "anyOf",
        json_pack("[{s:O}, {s:{s:{s:{s:[s]}}}}]", "required", json_object_get(schema, "required"),
                  "properties", "listeners", "items", "required", "redirect"));
    (void)json_object_del(schema, "required");
    set(schema, "required", json_pack("[s]", "listeners"));
    (void)json_dumpf(schema, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(schema);
}
