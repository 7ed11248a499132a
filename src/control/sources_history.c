// SPDX-License-Identifier: Apache-2.0
// Versions of certificates that were replaced or removed since start: what somebody may want to retire. The newest only, so that memory
// stays bounded for as long as the master lives.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sources_inside.h"
#include "src/config/memory.h"

#define HISTORY_MAX     10000
#define HEX_DIGITS_MIN  8
#define FINGERPRINT_HEX 64

struct replaced {
    uint64_t id;
    uint8_t fingerprint[32];
    char *names; // each with its zero, one empty one at the end
};

struct history {
    struct replaced items[HISTORY_MAX];
    size_t next; // where the next one goes
    size_t count;
};

struct history *history_create(void)
{
    return memory_allocate(sizeof(struct history));
}

void history_destroy(struct history *history)
{
    for (size_t i = 0; history != NULL && i < history->count; i++)
        free(history->items[i].names);
    free(history);
}

static char *names_copy(const struct certificate *certificate)
{
    size_t size = 1;
    char *names;
    char *end;

    for (size_t i = 0; i < certificate->name_count; i++)
        size += strlen(certificate->names[i]) + 1;
    end = names = memory_allocate(size);
    for (size_t i = 0; i < certificate->name_count; i++)
        end = stpcpy(end, certificate->names[i]) + 1;
    return names;
}

void history_add(struct history *history, const struct certificate *certificate)
{
    struct replaced *item = &history->items[history->next];

    for (size_t i = 0; i < history->count; i++) {
        if (history->items[i].id == certificate->id)
            return;
    }
    free(item->names);
    *item = (struct replaced){.id = certificate->id, .names = names_copy(certificate)};
    memcpy(item->fingerprint, certificate->fingerprint, sizeof(item->fingerprint));
    history->next = (history->next + 1) % HISTORY_MAX;
    if (history->count < HISTORY_MAX)
        history->count++;
}

void history_each(const struct history *history,
                  void (*each)(void *owner, const uint8_t *fingerprint, const char *const *names, size_t count),
                  void *owner)
{
    size_t first = history->count < HISTORY_MAX ? 0 : history->next;

    for (size_t i = 0; i < history->count; i++) {
        const struct replaced *item = &history->items[(first + i) % HISTORY_MAX];
        const char **names = NULL;
        size_t count = 0;

        for (const char *name = item->names; *name != '\0'; name += strlen(name) + 1) {
            names = memory_grow(names, count, sizeof(*names));
            names[count++] = name;
        }
        each(owner, item->fingerprint, names, count);
        free(names);
    }
}

// ---- finding ----

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// The digits of a fingerprint's beginning, which openssl prints with colons. Returns how many; 0: it is none.
static size_t digits_parse(const char *text, uint8_t digits[FINGERPRINT_HEX])
{
    size_t count = 0;

    for (; *text != '\0'; text++) {
        if (*text == ':')
            continue;
        if (digit_value(*text) < 0 || count == FINGERPRINT_HEX)
            return 0;
        digits[count++] = (uint8_t)digit_value(*text);
    }
    return count >= HEX_DIGITS_MIN ? count : 0;
}

static bool has_fingerprint(const struct replaced *item, const uint8_t *digits, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (digits[i] != (i % 2 == 0 ? item->fingerprint[i / 2] >> 4 : item->fingerprint[i / 2] & 15))
            return false;
    }
    return count > 0;
}

static bool has_name(const struct replaced *item, const char *name)
{
    for (const char *own = item->names; *own != '\0'; own += strlen(own) + 1) {
        if (strcasecmp(own, name) == 0)
            return true;
    }
    return false;
}

size_t history_find(const struct history *history, const char *name,
                    bool (*is_served)(void *owner, uint64_t id), void *owner, uint64_t *ids, size_t max)
{
    uint8_t digits[FINGERPRINT_HEX];
    size_t digit_count = digits_parse(name, digits);
    size_t count = 0;

    for (size_t i = 0; i < history->count; i++) {
        const struct replaced *item = &history->items[i];

        if ((!has_name(item, name) && !has_fingerprint(item, digits, digit_count)) ||
            is_served(owner, item->id))
            continue;
        if (count < max)
            ids[count] = item->id;
        count++;
    }
    return count;
}
