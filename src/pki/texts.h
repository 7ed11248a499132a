// SPDX-License-Identifier: Apache-2.0
// Lists of texts that grow, as options and YAML give them. Aborts on no memory: nothing was changed yet.
#pragma once

#include "src/config/memory.h"

// Points to texts of somebody else.
struct texts {
    const char **items;
    size_t count;
};

static inline void texts_add(struct texts *texts, const char *text)
{
    texts->items = memory_grow(texts->items, texts->count, sizeof(*texts->items));
    texts->items[texts->count++] = text;
}

static inline void texts_finish(struct texts *texts)
{
    free(texts->items);
    *texts = (struct texts){0};
}
