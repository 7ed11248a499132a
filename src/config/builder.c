// SPDX-License-Identifier: Apache-2.0
// What the parts of the builder share: places, paths and values with their ranges.
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ringbolt/clock.h"
#include "src/config/builder.h"
#include "src/config/memory.h"

// Where to say that `node` repeats `first`. A value that came by a merge stands where the first one does;
// then the place of what it is part of tells more.
struct config_where builder_where_of_twin(const struct node *node, const struct node *first,
                                          const struct node *owner)
{
    struct config_where where = node_where(node);
    struct config_where there = node_where(first);

    return where.line == there.line && where.column == there.column ? node_where(owner) : where;
}

char *builder_path(const struct builder *builder, const char *path)
{
    if (path == NULL)
        return NULL;
    return path[0] == '/' ? memory_copy(path) : memory_print("%s/%s", builder->input->directory, path);
}

void builder_paths(struct builder *builder, const struct node *mapping, const char *key, char **raw,
                   unsigned count, struct builder_paths *ret)
{
    const struct node *list = node_get(mapping, key);

    ret->paths = memory_allocate(count * sizeof(*ret->paths));
    ret->wheres = memory_allocate(count * sizeof(*ret->wheres));
    ret->count = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct node *node = node_item(list, i);
        char *path;
        if (node_is_wrong(node))
            continue;
        path = builder_path(builder, raw[i]);
        for (size_t j = 0; j < ret->count; j++) {
            if (strcmp(ret->paths[j], path) == 0)
                report_add(builder->report, node_where(node), "`%s` stands in `%s` twice; remove one", raw[i],
                           key);
        }
        ret->wheres[ret->count] = node_where(node);
        ret->paths[ret->count++] = path;
    }
}

void builder_number(struct builder *builder, const struct node *section, const char *key, const char *text,
                    struct number_range range, unsigned *number)
{
    size_t length = text != NULL ? strlen(text) : 0;
    bool is_number = false;
    unsigned long value = 0;

    if (text == NULL)
        return;
    // No number that is allowed has more digits, and none needs a zero in front.
    if (length <= 9 && strspn(text, "0123456789") == length && (text[0] != '0' || length == 1)) {
        value = strtoul(text, NULL, 10);
        is_number = true;
    }
    if (is_number && value >= range.min && value <= range.max)
        *number = (unsigned)value;
    else
        report_add(builder->report, node_where(node_get(section, key)),
                   "`%s` cannot be `%s`; write %sa number from %u to %u", key, text,
                   range.other != NULL ? range.other : "", range.min, range.max);
}

static uint64_t time_of(const char *text)
{
    uint64_t time = 0;
    int result = config_time_parse(text, &time);

    assert(result == 0);
    return time;
}

void builder_time(struct builder *builder, const struct node *section, const char *key, const char *text,
                  struct time_range range, uint64_t *time)
{
    struct config_where where = node_where(node_get(section, key));
    uint64_t value = 0;
    int result;

    if (text == NULL)
        return;
    result = config_time_parse(text, &value);
    if (result == -EINVAL)
        report_add(builder->report, where,
                   "`%s` cannot be `%s`; write a time such as `500ms`, `10s`, `5m`, `2h` or `1d`", key, text);
    else if (result < 0 || value > time_of(range.max))
        report_add(builder->report, where, "`%s`: %s is too long; at most `%s` are allowed", key, text,
                   range.max);
    else if (value < time_of(range.min))
        report_add(builder->report, where, "`%s`: %s is too short; write at least `%s`", key, text,
                   range.min);
    else
        *time = value;
}

bool builder_size(struct builder *builder, const struct node *section, const char *key, const char *text,
                  uint64_t *size)
{
    struct config_where where = node_where(node_get(section, key));
    int result;

    if (text == NULL)
        return false;
    result = config_size_parse(text, size);
    if (result == -EINVAL)
        report_add(builder->report, where,
                   "`%s` cannot be `%s`; write a size such as `65536`, `64k`, `1m` or `2g`", key, text);
    else if (result < 0)
        report_add(builder->report, where, "`%s`: %s is too large; at most 2^63 - 1 bytes are allowed", key,
                   text);
    return result == 0;
}

void builder_tcp(struct builder *builder, const struct node *section, const char *keepalive,
                 const char *user_timeout, struct config_tcp *tcp)
{
    const struct time_range asked = {"0s", "32767s"}; // what TCP_KEEPIDLE takes
    const struct time_range lost = {"0s", "24h"};
    uint64_t keepalive_ns = 0;
    uint64_t user_timeout_ns = 0;

    builder_time(builder, section, "keepalive", keepalive, asked, &keepalive_ns);
    builder_time(builder, section, "user_timeout", user_timeout, lost, &user_timeout_ns);
    // Rounded up: nothing that is asked for becomes nothing.
    tcp->keepalive_s = (unsigned)((keepalive_ns + CLOCK_NS_PER_S - 1) / CLOCK_NS_PER_S);
    tcp->user_timeout_ms = (unsigned)((user_timeout_ns + CLOCK_NS_PER_MS - 1) / CLOCK_NS_PER_MS);
}
