// SPDX-License-Identifier: Apache-2.0
// The line that each connection ends in (docs/logging.md).
#include "connection.h"

#include <inttypes.h>
#include <stdio.h>

#include "ringbolt/clock.h"
#include "ringbolt/log.h"

static const char *mode_text(uint8_t mode)
{
    return mode == ENDPOINT_KERNEL ? "kernel" : mode == ENDPOINT_USER ? "user" : NULL;
}

static double milliseconds(uint64_t from_ns, uint64_t to_ns)
{
    return (double)(to_ns - from_ns) / (double)CLOCK_NS_PER_MS;
}

static struct log_field left_out(void)
{
    return (struct log_field){.kind = LOG_FIELD_NONE};
}

void connection_log(const struct connection *connection)
{
    const struct proxy *proxy = connection->proxy;
    const struct config *config = proxy->setup.config;
    const struct endpoint *client = &connection->client;
    const struct endpoint *server = &connection->server;
    const struct connection_names *names = &connection->names;
    const char *sni = names->sni           ? names->sni->text
                      : connection->engine ? engine_sni(connection->engine)
                                           : NULL;
    bool is_routed = connection->handshaken_ns != 0;
    bool is_handshaken = is_routed && !connection->is_passed && !connection->listener->is_plain;
    bool is_plain = !endpoint_is_tls(client);
    char certificate[17];
    char unique_id[UNIQUE_ID_TEXT];

    snprintf(certificate, sizeof(certificate), "%016" PRIx64, names->certificate);
    if (!config->log.access || connection->end == END_CLIENT_LIMIT) // those are counted together
        return;
    if (!log_limit_allows(connection))
        return;
    log_info(
        "connection", log_integer("id", connection->id), log_text("client", connection->peer),
        log_text("peer", connection_header_via(connection)),
        log_text("unique_id", connection_header_unique_id(connection, unique_id)),
        log_text("listener", connection->listener->name), log_text("sni", sni && sni[0] ? sni : NULL),
        log_text("alpn", names->alpn ? names->alpn->text : NULL), log_text("tls", names->version),
        log_text("cipher", names->suite), is_handshaken ? log_boolean("resumed", names->resumed) : left_out(),
        log_text("certificate", names->certificate != 0 ? certificate : NULL),
        log_text("client_subject", names->client_subject),
        log_text("client_fingerprint", names->client_fingerprint),
        log_text("record_tx", mode_text(client->transmit_mode)),
        log_text("record_tx_why", is_plain ? NULL : endpoint_why_text(client->transmit_why)),
        log_text("record_rx", mode_text(client->receive_mode)),
        log_text("record_rx_why", is_plain ? NULL : endpoint_why_text(client->receive_why)),
        connection->route ? log_integer("route", connection->route - connection->listener->routes + 1)
                          : left_out(),
        log_text("upstream", is_routed ? config->upstreams[connection->upstream].name : NULL),
        log_text("server", connection->connected ? connection->connected->address.text : NULL),
        connection->listener->redirect.is_on ? log_integer("requests", connection->requests) : left_out(),
        log_text("server_tls", connection->server_version),
        log_text("server_cipher", connection->server_suite),
        log_text("server_record_tx", mode_text(server->transmit_mode)),
        log_text("server_record_tx_why", endpoint_why_text(server->transmit_why)),
        log_text("server_record_rx", mode_text(server->receive_mode)),
        log_text("server_record_rx_why", endpoint_why_text(server->receive_why)),
        log_integer("bytes_in", connection->up.bytes), log_integer("bytes_out", connection->down.bytes),
        is_handshaken
            ? log_real("handshake_ms", milliseconds(connection->accepted_ns, connection->handshaken_ns))
            : left_out(),
        connection->connected
            ? log_real("connect_ms", milliseconds(connection->handshaken_ns, connection->connected_ns))
            : left_out(),
        log_real("duration_ms", milliseconds(connection->accepted_ns, proxy->now_ns)),
        log_text("end", connection_end_text(connection->end)),
        log_text("alert", connection->alert != ALERT_NONE ? record_alert_name(connection->alert) : NULL),
        log_text("detail", connection->detail_owned ? connection->detail_owned : connection->detail),
        connection->end == END_DONE && config->log.sample > 1 ? log_integer("sample", config->log.sample)
                                                              : left_out());
}
