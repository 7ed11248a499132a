// SPDX-License-Identifier: Apache-2.0
#include "shared_text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// FNV-1a. Whoever chooses names that fall together, or ever new ones, has copies of his own as they were without the table.
static struct shared_text **place_of(struct shared_texts *texts, const char *text)
{
    uint32_t hash = 2166136261u;

    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 16777619u;
    return &texts->recent[(hash ^ hash >> 16) % SHARED_TEXTS];
}

struct shared_text *shared_text_take(struct shared_texts *texts, const char *text)
{
    struct shared_text **place = place_of(texts, text);
    size_t size = strlen(text) + 1;
    struct shared_text *made;

    if (size == 1)
        return NULL;
    if (*place != NULL && strcmp((*place)->text, text) == 0) {
        (*place)->uses++;
        return *place;
    }
    made = malloc(sizeof(*made) + size);
    if (made == NULL)
        return NULL;
    memcpy(made->text, text, size);
    made->uses = 2;
    shared_text_give(*place);
    *place = made;
    return made;
}

void shared_text_give(struct shared_text *text)
{
    if (text != NULL && --text->uses == 0)
        free(text);
}

void shared_texts_finish(struct shared_texts *texts)
{
    for (int i = 0; i < SHARED_TEXTS; i++) {
        shared_text_give(texts->recent[i]);
        texts->recent[i] = NULL;
    }
}
