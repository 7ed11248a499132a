// SPDX-License-Identifier: Apache-2.0
// Writing a document as YAML again, for libcyaml to read: every text in double quotes, no anchor, no merge.
#include <string.h>
#include <yaml.h>

#include "src/config/document.h"
#include "src/config/memory.h"

struct output {
    char *data;
    size_t length;
    size_t capacity;
};

static int output_write(void *context, unsigned char *data, size_t length)
{
    struct output *output = context;

    if (output->capacity - output->length < length) {
        size_t capacity = 2 * output->capacity + length;

        output->data = memory_resize(output->data, capacity);
        output->capacity = capacity;
    }
    memcpy(output->data + output->length, data, length);
    output->length += length;
    return 1;
}

// Takes the event over. What can fail here is memory.
static void emit(yaml_emitter_t *emitter, yaml_event_t *event, int is_made)
{
    if (!is_made || !yaml_emitter_emit(emitter, event))
        abort();
}

static void emit_text(yaml_emitter_t *emitter, const char *text)
{
    yaml_event_t event;

    emit(emitter, &event,
         yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, (int)strlen(text), 1, 1,
                                      YAML_DOUBLE_QUOTED_SCALAR_STYLE));
}

// As deep as a document: DEPTH_MAX.
static void emit_node(yaml_emitter_t *emitter, const struct node *node)
{
    yaml_event_t event;

    switch (node->kind) {
    case NODE_TEXT:
        emit_text(emitter, node->text);
        break;
    case NODE_LIST:
        emit(emitter, &event,
             yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_FLOW_SEQUENCE_STYLE));
        for (size_t i = 0; i < node->count; i++)
            emit_node(emitter, node->items[i]);
        emit(emitter, &event, yaml_sequence_end_event_initialize(&event));
        break;
    case NODE_MAPPING:
        emit(emitter, &event,
             yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_FLOW_MAPPING_STYLE));
        for (size_t i = 0; i < node->count; i++) {
            emit_text(emitter, node->pairs[i].key);
            emit_node(emitter, node->pairs[i].value);
        }
        emit(emitter, &event, yaml_mapping_end_event_initialize(&event));
        break;
    }
}

void document_emit(const struct document *document, char **ret, size_t *ret_length)
{
    struct output output = {0};
    yaml_emitter_t emitter;
    unsigned tries = 0;
    yaml_event_t event;

    while (!yaml_emitter_initialize(&emitter))
        memory_wait(&tries);
    yaml_emitter_set_output(&emitter, output_write, &output);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1);
    emit(&emitter, &event, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING));
    emit(&emitter, &event, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1));
    emit_node(&emitter, document->root);
    emit(&emitter, &event, yaml_document_end_event_initialize(&event, 1));
    emit(&emitter, &event, yaml_stream_end_event_initialize(&event));
    yaml_emitter_delete(&emitter);
    *ret = output.data;
    *ret_length = output.length;
}
