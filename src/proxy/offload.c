// SPDX-License-Identifier: Apache-2.0
// OFFLOAD, and what goes into the kernel later: which directions of which endpoint, and when.
#include <errno.h>

#include "connection.h"
#include "ringbolt/trace.h"

static sa_family_t family_of(const struct connection *connection, const struct endpoint *endpoint)
{
    return endpoint->is_client ? connection->listener->address.socket.ss_family
                               : connection->connected->address.socket.ss_family;
}

// Decides whether a direction shall go into the kernel: now, later, or not.
static void plan_direction(struct connection *connection, struct endpoint *endpoint,
                           enum record_direction direction)
{
    struct proxy *proxy = connection->proxy;
    const struct config *config = proxy->setup.config;
    const struct record_keys *keys = &endpoint->receive.keys;
    bool receives = direction == RECORD_RECEIVE;
    uint8_t *why = receives ? &endpoint->receive_why : &endpoint->transmit_why;

    if ((receives ? config->ktls.receive : config->ktls.transmit) == CONFIG_KTLS_OFF) {
        *why = ENDPOINT_WHY_OFF;
    } else if (family_of(connection, endpoint) == AF_UNIX) {
        *why = ENDPOINT_WHY_NOT_TCP;
    } else if (endpoint->payload_max < RECORD_PLAINTEXT_MAX) {
        *why = ENDPOINT_WHY_SMALL_RECORDS;
    } else if (!record_probe_can(proxy->setup.probe, keys->version, keys->cipher, direction)) {
        *why = ENDPOINT_WHY_UNSUPPORTED;
    } else {
        *why = ENDPOINT_WHY_NOT_YET;
        endpoint->is_offload_wanted[direction] = config->ktls.offload_after == 0;
    }
}

static void plan_offload(struct connection *connection, struct endpoint *endpoint)
{
    if (!endpoint_is_tls(endpoint))
        return;
    endpoint->can_rekey = connection->proxy->setup.probe->rekey;
    plan_direction(connection, endpoint, RECORD_TRANSMIT);
    plan_direction(connection, endpoint, RECORD_RECEIVE);
}

// What is in the kernel stays there, and what it refused it is not asked again; the rest goes by our plan, whatever the giver's was.
void offload_adopt(struct connection *connection)
{
    struct endpoint *const endpoints[] = {&connection->client, &connection->server};

    for (size_t i = 0; i < 2; i++) {
        struct endpoint *endpoint = endpoints[i];

        if (!endpoint_is_tls(endpoint))
            continue;
        endpoint->can_rekey |= connection->proxy->setup.probe->rekey;
        if (endpoint->transmit_mode == ENDPOINT_USER && endpoint->transmit_why != ENDPOINT_WHY_FAILED)
            plan_direction(connection, endpoint, RECORD_TRANSMIT);
        if (endpoint->receive_mode == ENDPOINT_USER && endpoint->receive_why != ENDPOINT_WHY_FAILED)
            plan_direction(connection, endpoint, RECORD_RECEIVE);
    }
}

// The configuration demands kernel TLS and this endpoint can't have it.
static bool is_offload_denied(const struct connection *connection, const struct endpoint *endpoint)
{
    const struct config *config = connection->proxy->setup.config;

    return endpoint_is_tls(endpoint) &&
           ((config->ktls.transmit == CONFIG_KTLS_REQUIRED &&
             endpoint->transmit_why != ENDPOINT_WHY_NOT_YET) ||
            (config->ktls.receive == CONFIG_KTLS_REQUIRED && endpoint->receive_why != ENDPOINT_WHY_NOT_YET));
}

// Transmit can go at once: the handshake's last flight has left. Receive goes when the flow is at a record boundary.
static bool offload_now(struct connection *connection, struct endpoint *endpoint)
{
    return !endpoint->is_offload_wanted[RECORD_TRANSMIT] ||
           connection_offload(connection, endpoint, RECORD_TRANSMIT);
}

void offload_start(struct connection *connection)
{
    struct endpoint *client = &connection->client;
    struct endpoint *server = &connection->server;

    plan_offload(connection, client);
    plan_offload(connection, server);
    handshake_finish(connection);
    if (is_offload_denied(connection, client) || is_offload_denied(connection, server)) {
        connection_end(connection, END_INTERNAL, ALERT_INTERNAL_ERROR,
                       "kernel TLS is required and can't be had for this cipher or socket");
        return;
    }
    if (offload_now(connection, client) && offload_now(connection, server))
        connection_enter(connection, CONNECTION_RELAY);
}

bool connection_offload(struct connection *connection, struct endpoint *endpoint,
                        enum record_direction direction)
{
    const struct config *config = connection->proxy->setup.config;
    bool receives = direction == RECORD_RECEIVE;

    int error = endpoint_offload(endpoint, direction);

    trace_offload(connection->id, endpoint->is_client, receives, error);
    // A peer that has closed its direction, or is gone, is past what TCP_ULP takes: it is served as it is, or finds its end.
    if (error == 0 || error == -ENOTCONN)
        return true;
    if ((receives ? config->ktls.receive : config->ktls.transmit) != CONFIG_KTLS_REQUIRED)
        return true;
    connection_end(connection, END_INTERNAL, ALERT_INTERNAL_ERROR,
                   "kernel TLS is required and the kernel refused");
    return false;
}

void connection_offload_due(struct flow *flow)
{
    if (flow->bytes < flow->connection->proxy->setup.config->ktls.offload_after)
        return;
    if (flow->source->receive_why == ENDPOINT_WHY_NOT_YET)
        flow->source->is_offload_wanted[RECORD_RECEIVE] = true;
    if (flow->destination->transmit_why == ENDPOINT_WHY_NOT_YET)
        flow->destination->is_offload_wanted[RECORD_TRANSMIT] = true;
}
