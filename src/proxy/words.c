// SPDX-License-Identifier: Apache-2.0
// The fixed words for what happens, the same in the log and in the counters.
#include <string.h>

#include "connection.h"
#include "ringbolt/listing.h"
#include "ringbolt/stats.h"

// ---- ends ----

const char *connection_end_text(enum connection_end end)
{
    static const char *const texts[END_COUNT] = {
        [END_NONE] = "none",
        [END_DONE] = "done",
        [END_CLIENT_TRUNCATED] = "client_truncated",
        [END_CLIENT_RESET] = "client_reset",
        [END_CLIENT_ALERT] = "client_alert",
        [END_SERVER_TRUNCATED] = "server_truncated",
        [END_SERVER_RESET] = "server_reset",
        [END_SERVER_ALERT] = "server_alert",
        [END_SERVER_PROTOCOL_ERROR] = "server_protocol_error",
        [END_SERVER_UNTRUSTED] = "server_untrusted",
        [END_SERVER_HANDSHAKE] = "server_handshake_failed",
        [END_SERVER_UNREACHABLE] = "server_unreachable",
        [END_SERVERS_FULL] = "servers_full",
        [END_QUEUE_TIMEOUT] = "queue_timeout",
        [END_CLIENT_LEFT] = "client_left",
        [END_PROXY_HEADER] = "proxy_header",
        [END_CLIENT_LIMIT] = "client_limit",
        [END_HANDSHAKE_FAILED] = "handshake_failed",
        [END_HANDSHAKE_TIMEOUT] = "handshake_timeout",
        [END_REJECTED] = "rejected",
        [END_BAD_REQUEST] = "bad_request",
        [END_IDLE_TIMEOUT] = "idle_timeout",
        [END_HALF_CLOSED_TIMEOUT] = "half_closed_timeout",
        [END_PROTOCOL_ERROR] = "protocol_error",
        [END_REKEY_UNSUPPORTED] = "rekey_unsupported",
        [END_KEY_LIMIT] = "key_limit",
        [END_MEMORY] = "memory",
        [END_RETIRED] = "retired",
        [END_SHUTDOWN] = "shutdown",
        [END_INTERNAL] = "internal",
    };

    return texts[end];
}

const char *stats_end_name(unsigned end)
{
    if (end == STATS_END_LOST)
        return "worker_died";
    return end > END_NONE && end < END_COUNT ? connection_end_text((enum connection_end)end) : NULL;
}

// ---- cipher suites ----

static const struct stats_suite suites[STATS_SUITES] = {
    {"TLSv1.3", "TLS_AES_128_GCM_SHA256"},       {"TLSv1.3", "TLS_AES_256_GCM_SHA384"},
    {"TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256"}, {"TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"},
    {"TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256"},  {"TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"},
    {"TLSv1.2", "ECDHE-RSA-AES256-GCM-SHA384"},  {"TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305"},
    {"TLSv1.2", "ECDHE-RSA-CHACHA20-POLY1305"},  {"other", "other"},
};

const struct stats_suite *stats_suite(unsigned index)
{
    return &suites[index];
}

unsigned stats_suite_find(const char *name)
{
    unsigned index = 0;

    while (index < STATS_SUITES - 1 && !(name && strcmp(suites[index].name, name) == 0))
        index++;
    return index;
}

// ---- limits ----

const char *stats_limit_name(enum stats_limit limit)
{
    static const char *const names[] = {
        [STATS_LIMIT_CONNECTIONS] = "connections",
        [STATS_LIMIT_LISTENER_CONNECTIONS] = "listener_connections",
        [STATS_LIMIT_RATE] = "handshakes_per_second",
        [STATS_LIMIT_DESCRIPTORS] = "descriptors",
        [STATS_LIMIT_SYSTEM] = "system",
        [STATS_LIMIT_CLIENT_CONNECTIONS] = "connections_per_client",
        [STATS_LIMIT_CLIENT_RATE] = "handshakes_per_second_per_client",
    };

    return names[limit];
}

// ---- record layers ----

const char *endpoint_why_text(enum endpoint_why why)
{
    static const char *const texts[] = {
        [ENDPOINT_WHY_NONE] = NULL,
        [ENDPOINT_WHY_OFF] = "off",
        [ENDPOINT_WHY_UNSUPPORTED] = "unsupported",
        [ENDPOINT_WHY_NOT_TCP] = "not_tcp",
        [ENDPOINT_WHY_SMALL_RECORDS] = "small_records",
        [ENDPOINT_WHY_NOT_YET] = "not_yet",
        [ENDPOINT_WHY_FAILED] = "failed",
    };

    return texts[why];
}

const char *stats_layer_name(unsigned index, const char **ret_reason)
{
    if (index >= ENDPOINT_WHY_COUNT)
        return NULL;
    *ret_reason = index == ENDPOINT_WHY_NONE ? "" : endpoint_why_text((enum endpoint_why)index);
    return index == ENDPOINT_WHY_NONE ? "kernel" : "user";
}

// ---- listed connections ----

const char *listing_state_name(unsigned state)
{
    static const char *const names[CONNECTION_STATE_COUNT] = {
        [CONNECTION_ACCEPT] = "accept",   [CONNECTION_HEADER] = "header",
        [CONNECTION_ANSWER] = "answer",   [CONNECTION_HELLO] = "handshake",
        [CONNECTION_DIAL] = "connect",    [CONNECTION_SHAKE] = "server_handshake",
        [CONNECTION_OFFLOAD] = "offload", [CONNECTION_RELAY] = "relay",
        [CONNECTION_DRAIN] = "drain",     [CONNECTION_DYING] = "dying",
    };

    return state < CONNECTION_STATE_COUNT ? names[state] : NULL;
}

const char *listing_mode_name(unsigned mode)
{
    return mode == ENDPOINT_KERNEL ? "kernel" : mode == ENDPOINT_USER ? "user" : NULL;
}
