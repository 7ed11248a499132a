// SPDX-License-Identifier: Apache-2.0
// What a connection leaves in the counters (ringbolt/stats.h). A few loads and stores each; nothing here asks for the time.
#include "connection.h"

static struct stats_listener *listener_of(const struct connection *connection)
{
    return connection_listener(connection)->stats;
}

static struct stats_worker *worker_of(const struct connection *connection)
{
    return connection->proxy->stats;
}

static struct stats_upstream *upstream_of(const struct connection *connection)
{
    const struct proxy_setup *setup = &connection->proxy->setup;

    return stats_upstream(setup->stats, setup->worker, connection->upstream);
}

static struct stats_server *server_at(const struct connection *connection, size_t server)
{
    const struct proxy_setup *setup = &connection->proxy->setup;

    return stats_server(setup->stats, setup->worker,
                        servers_number(setup->servers, connection->upstream, server));
}

// NULL: none has taken the connection.
static struct stats_server *server_of(const struct connection *connection)
{
    return connection->connected ? server_at(connection, connection->server_index) : NULL;
}

void connection_count_accepted(const struct connection *connection)
{
    struct stats_listener *listener = listener_of(connection);

    stats_add(&listener->accepted, 1);
    stats_add(&listener->connections, 1);
    stats_set(&worker_of(connection)->connections, connection->proxy->connection_count);
}

void connection_count_adopted(const struct connection *connection)
{
    stats_add(&listener_of(connection)->connections, 1);
    stats_set(&worker_of(connection)->connections, connection->proxy->connection_count);
}

void connection_count_released(const struct connection *connection)
{
    stats_add(&listener_of(connection)->connections, (uint64_t)-1);
    stats_set(&worker_of(connection)->connections, connection->proxy->connection_count - 1);
}

void connection_count_handshake(const struct connection *connection)
{
    struct stats_listener *listener = listener_of(connection);
    bool resumed = connection->names.resumed;

    stats_add(&listener->handshakes[stats_suite_find(connection->names.suite)][resumed], 1);
    stats_observe(&listener->handshake_time[resumed], STATS_SHORT,
                  connection->handshaken_ns - connection->accepted_ns);
}

void connection_count_connect(const struct connection *connection, size_t server, bool is_success)
{
    struct stats_server *counted = server_at(connection, server);

    stats_add(is_success ? &counted->connects : &counted->failures, 1);
}

void connection_count_connected(const struct connection *connection)
{
    stats_observe(&upstream_of(connection)->connect_time, STATS_SHORT,
                  connection->connected_ns - connection->handshaken_ns);
}

void connection_count_bytes(const struct connection *connection, bool is_up, uint64_t bytes)
{
    struct stats_listener *listener = listener_of(connection);
    struct stats_server *server = server_of(connection);

    stats_add(is_up ? &listener->bytes_in : &listener->bytes_out, bytes);
    if (server)
        stats_add(is_up ? &server->bytes_in : &server->bytes_out, bytes);
}

static enum stats_side side_of(const struct endpoint *endpoint)
{
    return endpoint->is_client ? STATS_CLIENT : STATS_SERVER;
}

void connection_count_key_updates(const struct connection *connection, const struct endpoint *endpoint,
                                  enum record_direction direction, unsigned updates)
{
    stats_add(&worker_of(connection)->key_updates[side_of(endpoint)][direction], updates);
}

static void count_layer(const struct connection *connection, const struct endpoint *endpoint,
                        enum record_direction direction, uint8_t mode, uint8_t why)
{
    if (mode == ENDPOINT_KERNEL ||
        (mode == ENDPOINT_USER && why != ENDPOINT_WHY_NONE)) // else it never came to be decided
        stats_add(&worker_of(connection)->layers[side_of(endpoint)][direction][why], 1);
}

static void count_layers(const struct connection *connection, const struct endpoint *endpoint)
{
    count_layer(connection, endpoint, RECORD_RECEIVE, endpoint->receive_mode, endpoint->receive_why);
    count_layer(connection, endpoint, RECORD_TRANSMIT, endpoint->transmit_mode, endpoint->transmit_why);
}

void connection_count_ended(const struct connection *connection)
{
    struct stats_listener *listener = listener_of(connection);
    struct stats_server *server = server_of(connection);

    stats_add(&listener->ends[connection->end], 1);
    stats_observe(&listener->duration, STATS_LONG, connection->proxy->now_ns - connection->accepted_ns);
    if (connection->handshaken_ns != 0 && connection->upstream != CONFIG_NO_UPSTREAM)
        stats_add(&upstream_of(connection)->ends[connection->end], 1);
    if (server)
        stats_add(&server->ends[connection->end], 1);
    count_layers(connection, &connection->client);
    count_layers(connection, &connection->server);
    connection_count_released(connection);
}
