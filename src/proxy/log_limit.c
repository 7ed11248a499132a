// SPDX-License-Identifier: Apache-2.0
// Which connections get a line: a client that fails before its handshake is over costs itself next to nothing, and must not be able to
// fill a disk. Those beyond the limit are counted, by their ends, and told once a second.
#include <inttypes.h>

#include "connection.h"
#include "ringbolt/clock.h"
#include "ringbolt/log.h"

#define SECOND CLOCK_NS_PER_S

// This worker's share of the limit; at least one line.
static uint32_t share_of(const struct config *config)
{
    return (config->log.failures_per_second + config->workers - 1) / config->workers;
}

bool log_limit_allows(const struct connection *connection)
{
    struct proxy *proxy = connection->proxy;
    struct log_limit *limit = &proxy->log_limit;
    const struct config *config = proxy->setup.config;

    if (connection->end == END_DONE)
        return config->log.sample <= 1 || limit->good++ % config->log.sample == 0;
    if (connection->handshaken_ns != 0 || config->log.failures_per_second == 0)
        return true;
    if (proxy->now_ns >= limit->until_ns) {
        limit->until_ns = proxy->now_ns + SECOND;
        limit->said = 0;
    }
    if (limit->said < share_of(config)) {
        limit->said++;
        return true;
    }
    limit->unsaid[connection->end]++;
    if (!timer_is_set(&limit->timer))
        timer_set(&proxy->wheel, &limit->timer, limit->until_ns);
    return false;
}

void log_limit_say(struct proxy *proxy)
{
    struct log_limit *limit = &proxy->log_limit;
    struct log_field fields[1 + END_COUNT];
    size_t count = 1;
    uint64_t sum = 0;

    for (int end = 0; end < END_COUNT; end++) {
        if (limit->unsaid[end] == 0)
            continue;
        fields[count++] = log_integer(connection_end_text((enum connection_end)end), limit->unsaid[end]);
        sum += limit->unsaid[end];
        limit->unsaid[end] = 0;
    }
    if (sum == 0)
        return;
    fields[0] = log_integer("count", sum);
    log_write(LOG_WARNING, "connections without a line", fields, count);
}
