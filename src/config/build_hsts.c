// SPDX-License-Identifier: Apache-2.0
// HTTP Strict Transport Security (RFC 6797): the header that a listener's responses carry.
#include <inttypes.h>
#include <stdio.h>

#include "ringbolt/clock.h"
#include "src/config/builder.h"
#include "src/config/memory.h"

#define PRELOAD_NS (UINT64_C(365) * 86400 * CLOCK_NS_PER_S)

static bool is_set(const int *word)
{
    return word != NULL && *word != 0;
}

void build_hsts(struct builder *builder, const struct raw_listener *raw, const struct node *node,
                struct config_listener *listener)
{
    const struct node *section = node_get(node, "hsts");
    bool subdomains = is_set(raw->hsts.include_subdomains);
    bool preload = is_set(raw->hsts.preload);
    uint64_t age_ns = 0;
    char header[128];

    if (section == NULL || node_is_wrong(node_get(section, "max_age")))
        return;
    if (listener->is_plain)
        report_add(builder->report, node_where(section),
                   "`hsts` is for clients that came over TLS (RFC 6797 §7.2); remove it");
    builder_time(builder, section, "max_age", raw->hsts.max_age, (struct time_range){"0s", "365d"}, &age_ns);
    // What those who keep the list ask for (hstspreload.org).
    if (preload && (!subdomains || age_ns < PRELOAD_NS) && !section->is_partial)
        report_warn(
            builder->report, node_where(node_get(section, "preload")),
            "`preload` is taken up by browsers only with `include_subdomains: true` and `max_age: 365d`");
    snprintf(header, sizeof(header), "Strict-Transport-Security: max-age=%" PRIu64 "%s%s\r\n",
             (uint64_t)(age_ns / CLOCK_NS_PER_S), subdomains ? "; includeSubDomains" : "", preload ? "; preload" : "");
    listener->hsts = memory_copy(header);
}
