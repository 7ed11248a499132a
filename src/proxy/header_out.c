// SPDX-License-Identifier: Apache-2.0
// What a server is told of the client before the client's first byte. The header is made when the handshake is over, while what is
// known of it is at hand, and sent when the server stands; then it is forgotten. It goes out as a control record does: the flow that
// begins meanwhile has its turn when the header has left.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "connection_header.h"
#include "ringbolt/socket.h"

#define VERIFY_NONE 1 // anything but 0: no certificate was found good (§2.2.6)

static void on_sent(struct ring_op *op, const struct ring_completion *completion);

const struct config_upstream *header_out_upstream(const struct connection *connection)
{
    return &connection->proxy->setup.config->upstreams[connection->upstream];
}

bool header_out_wants_certificates(const struct connection *connection)
{
    const struct config_proxy_to *to = &header_out_upstream(connection)->proxy;

    return to->mode == CONFIG_PROXY_OUT_V2 &&
           (to->tlvs &
            (CONFIG_PROXY_TLV_SSL | CONFIG_PROXY_TLV_SSL_CIPHER | CONFIG_PROXY_TLV_CERT_CN |
             CONFIG_PROXY_TLV_CERT_SIG | CONFIG_PROXY_TLV_CERT_KEY | CONFIG_PROXY_TLV_CLIENT_CERT));
}

// ---- what is known ----

static void find_addresses(const struct connection *connection, struct proxy_addresses *ret)
{
    struct sockaddr_storage peer;
    struct sockaddr_storage local;

    *ret = (struct proxy_addresses){.family = PROXY_FAMILY_UNSPEC};
    if (connection->header && connection->header->facts)
        *ret = connection->header->facts->addresses;
    else if (socket_peer(connection->client.fd, &peer) == 0 &&
             socket_local(connection->client.fd, &local) == 0)
        proxy_addresses_set(ret, &peer, &local);
}

// NULL and "" are left out.
static struct proxy_bytes text_of(const char *text)
{
    return (struct proxy_bytes){.data = text && text[0] ? text : NULL, .size = text ? strlen(text) : 0};
}

// Of a handshake that is not ours.
static const char *sni_of(const struct connection *connection)
{
    return connection->names.sni ? connection->names.sni->text : NULL;
}

// What this connection is called: by the proxy ahead, or by us.
static struct proxy_bytes find_unique_id(const struct connection *connection,
                                         char text[static UNIQUE_ID_TEXT])
{
    const struct connection_header *header = connection->header;

    if (header && header->facts && header->facts->unique_id_size > 0)
        return (struct proxy_bytes){header->facts->unique_id, header->facts->unique_id_size};
    connection_header_make_unique_id(connection, text);
    return text_of(text);
}

static void plan_ssl(struct proxy_header_plan *plan, unsigned tlvs, const struct engine_outcome *outcome,
                     const struct engine_certificates *certificates)
{
    plan->has_ssl = true;
    plan->client = PROXY_CLIENT_SSL;
    plan->verify = certificates->has_client ? 0 : VERIFY_NONE;
    if (certificates->has_client)
        plan->client |= PROXY_CLIENT_CERT_SESS | (outcome->resumed ? 0 : PROXY_CLIENT_CERT_CONN);
    plan->ssl_version = text_of(outcome->version_name); // §2.2.6: goes with PROXY_CLIENT_SSL
    if (tlvs & CONFIG_PROXY_TLV_SSL_CIPHER)
        plan->cipher = text_of(outcome->suite_name);
    if (tlvs & CONFIG_PROXY_TLV_CERT_CN)
        plan->name = text_of(certificates->client_name);
    if (tlvs & CONFIG_PROXY_TLV_CERT_SIG)
        plan->signature_algorithm = text_of(certificates->signature);
    if (tlvs & CONFIG_PROXY_TLV_CERT_KEY)
        plan->key_algorithm = text_of(certificates->key);
    if (tlvs & CONFIG_PROXY_TLV_CLIENT_CERT)
        plan->certificate = (struct proxy_bytes){certificates->client, certificates->client_size};
}

// ---- making ----

static struct header_out *build(struct proxy_header_plan *plan)
{
    size_t size = proxy_header_build(plan, NULL, 0);
    struct header_out *out;

    if (size == 0) { // only a certificate can be that large
        plan->certificate.data = NULL;
        size = proxy_header_build(plan, NULL, 0);
    }
    out = malloc(sizeof(*out) + size);
    if (!out)
        return NULL;
    *out = (struct header_out){.size = size};
    proxy_header_build(plan, out->bytes, size);
    return out;
}

static int make(struct connection *connection, const struct config_proxy_to *to,
                const struct engine_outcome *outcome, const struct engine_certificates *certificates)
{
    struct connection_header *header = connection_header_take(connection);
    struct proxy_addresses addresses;
    struct proxy_header_plan plan = {.version = to->mode == CONFIG_PROXY_OUT_V1 ? 1 : 2,
                                     .addresses = &addresses};
    char unique_id[UNIQUE_ID_TEXT];

    if (!header)
        return -ENOMEM;
    find_addresses(connection, &addresses);
    if (outcome && (to->tlvs & CONFIG_PROXY_TLV_ALPN))
        plan.alpn = text_of(outcome->alpn);
    if (to->tlvs & CONFIG_PROXY_TLV_AUTHORITY)
        plan.authority = text_of(outcome ? outcome->sni : sni_of(connection));
    if (to->tlvs & CONFIG_PROXY_TLV_UNIQUE_ID)
        plan.unique_id = find_unique_id(connection, unique_id);
    if (outcome && certificates && header_out_wants_certificates(connection))
        plan_ssl(&plan, to->tlvs, outcome, certificates);
    plan.has_checksum = to->tlvs & CONFIG_PROXY_TLV_CRC32C;
    header->out = build(&plan);
    return header->out ? 0 : -ENOMEM;
}

int header_out_make(struct connection *connection, const struct engine_outcome *outcome,
                    const struct engine_certificates *certificates)
{
    const struct config_proxy_to *to = &header_out_upstream(connection)->proxy;
    int error = to->mode == CONFIG_PROXY_OUT_OFF ? 0 : make(connection, to, outcome, certificates);

    if (connection->header) {
        free(connection->header->facts);
        connection->header->facts = NULL;
        connection_header_trim(connection);
    }
    return error;
}

// ---- sending ----

static void send_rest(struct connection *connection)
{
    struct header_out *out = connection->header->out;

    if (connection->halt != HALT_NONE)
        return;
    connection->server.transmit_op.handler = on_sent;
    ring_send(connection->proxy->ring, &connection->server.transmit_op, connection->server.fd,
              out->bytes + out->sent, out->size - out->sent, 0);
}

bool header_out_send(struct connection *connection)
{
    if (!connection->header || !connection->header->out)
        return false;
    send_rest(connection);
    return true;
}

void header_out_forget(struct connection *connection)
{
    if (!connection->header || !connection->header->out)
        return;
    free(connection->header->out);
    connection->header->out = NULL;
    connection_header_trim(connection);
}

// The server takes nothing. As with data: what it may have said before it left still arrives.
static void failed(struct connection *connection)
{
    if (connection->state == CONNECTION_SHAKE) {
        connection->header->out->sent = 0;
        shake_lost(connection);
        return;
    }
    connection->is_server_lost = true;
    header_out_forget(connection);
    flow_stop(&connection->up);
    connection->up.state = FLOW_FAILED;
    connection_flow_ended(&connection->up);
}

static void on_sent(struct ring_op *op, const struct ring_completion *completion)
{
    struct connection *connection =
        list_entry(list_entry(op, struct endpoint, transmit_op), struct connection, server);
    struct header_out *out = connection->header->out;
    int result = completion->result;

    if (ring_is_passing(result) || rest_cancelled(connection, &connection->server, result))
        result = 0;
    if (connection->state != CONNECTION_RELAY && connection->state != CONNECTION_SHAKE) {
        connection_drain(connection);
    } else if (result < 0) {
        failed(connection);
    } else if ((out->sent += (size_t)result) < out->size) {
        send_rest(connection);
    } else if (connection->state == CONNECTION_SHAKE) {
        out->sent = 0; // another server may want it yet
        shake_begin(connection);
    } else {
        header_out_forget(connection);
        connection_transmit(connection, &connection->server);
    }
    connection_reap(connection);
}
