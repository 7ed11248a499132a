// SPDX-License-Identifier: Apache-2.0
// A checked document goes through libcyaml into structures.
#include <errno.h>
#include <stdlib.h>

#include "src/config/schema.h"

static const cyaml_config_t cyaml = {.mem_fn = cyaml_mem, .flags = CYAML_CFG_NO_ALIAS};

int schema_load(const struct schema *schema, const struct document *document, void **ret,
                struct report *report)
{
    cyaml_data_t *data = NULL;
    cyaml_err_t error;
    size_t length;
    char *text;

    document_emit(document, &text, &length);
    error = cyaml_load_data((const uint8_t *)text, length, &cyaml, schema->root, &data, NULL);
    free(text);
    if (error != CYAML_OK) {
        // schema_check() let pass what libcyaml refuses. A message serves better than an abort.
        report_add(report, (struct config_where){0},
                   "libcyaml cannot load this (%s): a bug of ringbolt, please report it",
                   cyaml_strerror(error));
        return -EINVAL;
    }
    *ret = data;
    return 0;
}

void schema_free(const struct schema *schema, void *data)
{
    cyaml_free(&cyaml, schema->root, data, 0);
}
