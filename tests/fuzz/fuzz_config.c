// SPDX-License-Identifier: Apache-2.0
// A configuration file of any bytes either becomes a configuration that keeps what config.h promises, or is
// refused with a reason. Host names go to no resolver.
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fuzz.h"
#include "ringbolt/config.h"
#include "src/config/parse.h"

// Names have no address, one or two, by their length.
static int resolve(const char *host, struct config_address *ret, size_t max, size_t *ret_count)
{
    size_t count = strlen(host) % 3;

    REQUIRE(max >= 2);
    if (count == 0)
        return EAI_NONAME;
    for (size_t i = 0; i < count; i++) {
        struct sockaddr_in *socket = (struct sockaddr_in *)&ret[i].socket;
        ret[i] = (struct config_address){.length = sizeof(*socket)};
        socket->sin_family = AF_INET;
        socket->sin_addr.s_addr = htonl(0xc0000200 + (uint32_t)i); // 192.0.2.0/24: documentation
    }
    *ret_count = count;
    return 0;
}

static void check_address(const struct config_address *address)
{
    REQUIRE(address->text != NULL && address->text[0] != '\0');
    REQUIRE(address->length > sizeof(sa_family_t) && address->length <= sizeof(address->socket));
    REQUIRE(address->socket.ss_family == AF_INET || address->socket.ss_family == AF_INET6 ||
            address->socket.ss_family == AF_UNIX);
}

static void check_certificate(const struct config_certificate *certificate)
{
    if (certificate->pkcs12 != NULL) {
        REQUIRE(certificate->pkcs12[0] == '/' && certificate->chain == NULL && certificate->key == NULL);
    } else {
        REQUIRE(certificate->chain != NULL && certificate->chain[0] == '/');
        REQUIRE(certificate->key != NULL && certificate->key[0] == '/');
    }
    REQUIRE(certificate->passphrase.env == NULL || certificate->passphrase.file == NULL);
    REQUIRE(certificate->ocsp == NULL || certificate->ocsp[0] == '/');
    REQUIRE(certificate->chain_where.line > 0 && certificate->key_where.line > 0);
    for (size_t i = 0; i < certificate->name_count; i++) {
        const char *name = certificate->names[i];
        REQUIRE(name[0] != '\0' && strlen(name) <= 253);
        for (; *name != '\0'; name++)
            REQUIRE((unsigned char)*name > 0x20 && (unsigned char)*name < 0x7f &&
                    !(*name >= 'A' && *name <= 'Z'));
    }
}

static void check_client_auth(const struct config_client_trust *trust)
{
    REQUIRE(trust->depth <= 16);
    if (trust->mode == CONFIG_CLIENT_AUTH_OFF) {
        REQUIRE(trust->ca == NULL && trust->crl_count == 0);
        return;
    }
    REQUIRE(trust->ca != NULL && trust->ca[0] == '/' && trust->ca_where.line > 0);
    for (size_t i = 0; i < trust->crl_count; i++)
        REQUIRE(trust->crls[i][0] == '/');
}

static void check_tls(const struct config_tls *tls)
{
    REQUIRE(tls->version_min == CONFIG_TLS12 || tls->version_min == CONFIG_TLS13);
    REQUIRE(tls->version_max == CONFIG_TLS12 || tls->version_max == CONFIG_TLS13);
    REQUIRE(tls->version_min <= tls->version_max);
    REQUIRE(tls->ciphers[0] != '\0' && tls->ciphersuites[0] != '\0' && tls->groups[0] != '\0');
    REQUIRE(tls->certificate_dir == NULL || tls->certificate_dir[0] == '/');
    REQUIRE(tls->keylog == NULL || tls->keylog[0] == '/');
    REQUIRE(tls->ocsp.cache == NULL || tls->ocsp.cache[0] == '/');
    REQUIRE(tls->ocsp.responder == NULL || strncasecmp(tls->ocsp.responder, "http://", 7) == 0);
    REQUIRE(tls->ocsp.timeout_ns >= 1000000);
    for (size_t i = 0; i < tls->certificate_count; i++)
        check_certificate(&tls->certificates[i]);
    for (size_t i = 0; i < tls->alpn_count; i++)
        REQUIRE(strlen(tls->alpn[i]) >= 1 && strlen(tls->alpn[i]) <= 255);
    check_client_auth(&tls->client_auth);
}

static void check_routes(const struct config *config, const struct config_listener *listener)
{
    bool has_passthrough = false;
    bool terminates = listener->upstream != CONFIG_NO_UPSTREAM;

    for (size_t i = 0; i < listener->route_count; i++) {
        const struct config_route *route = &listener->routes[i];

        REQUIRE(route->way == CONFIG_WAY_REJECT ? route->upstream == CONFIG_NO_UPSTREAM
                                                : route->upstream < config->upstream_count);
        for (size_t j = 0; j < route->alpn_count; j++)
            REQUIRE(strlen(route->alpn[j]) >= 1 && strlen(route->alpn[j]) <= 255);
        has_passthrough |= route->way == CONFIG_WAY_PASSTHROUGH;
        terminates |= route->way == CONFIG_WAY_UPSTREAM;
    }
    for (size_t i = 0; i < listener->route_name_count; i++) {
        const struct config_route_name *name = &listener->route_names[i];

        REQUIRE(name->route < listener->route_count && strlen(name->name) <= 253);
        if (i > 0) {
            int order = strcmp(name[-1].name, name->name);
            REQUIRE(order < 0 || (order == 0 && name[-1].route < name->route));
        }
    }
    REQUIRE(has_passthrough == listener->has_passthrough &&
            (terminates && !listener->is_plain) == !listener->never_terminates);
    REQUIRE(terminates || listener->route_count > 0 || listener->redirect.is_on);
    REQUIRE(!listener->redirect.is_on || (!terminates && listener->route_count == 0));
    REQUIRE(listener->redirect.port >= 1 && listener->redirect.port <= 65535);
}

static void check_listener(const struct config *config, const struct config_listener *listener)
{
    REQUIRE(listener->name != NULL && listener->where.line > 0);
    REQUIRE(listener->upstream < config->upstream_count || listener->upstream == CONFIG_NO_UPSTREAM);
    REQUIRE(listener->never_terminates || listener->tls.certificate_count > 0 ||
            listener->tls.certificate_dir != NULL);
    check_routes(config, listener);
    check_tls(&listener->tls);
    check_address(&listener->address);
}

static void check_tickets(const struct config *config)
{
    const uint64_t second_ns = 1000000000;

    REQUIRE(config->tickets.key_count <= 64);
    for (size_t i = 0; i < config->tickets.key_count; i++)
        REQUIRE(config->tickets.keys[i][0] == '/' && config->tickets.key_wheres[i].line > 0);
    REQUIRE(config->tickets.rotate_ns >= second_ns);
    REQUIRE(config->tickets.lifetime_ns >= second_ns && config->tickets.lifetime_ns <= 7 * 86400 * second_ns);
    REQUIRE(config->tickets.key_count > 0 || config->tickets.lifetime_ns / config->tickets.rotate_ns <= 61);
}

static void check_config(const struct config *config)
{
    REQUIRE(config->workers >= 1 && config->workers <= 1024);
    REQUIRE(config->limits.connections >= 1 && config->limits.connections <= 10000000);
    REQUIRE(config->limits.client_hello >= 1024 && config->limits.client_hello <= 65536);
    REQUIRE(config->limits.memory >= (uint64_t)config->workers << 20 && config->limits.memory <= INT64_MAX);
    REQUIRE(config->timeouts.handshake_ns >= 1000000 && config->timeouts.idle_ns >= 1000000);
    check_tickets(config);
    REQUIRE(config->admin.socket == NULL ||
            (config->admin.socket[0] == '/' && strlen(config->admin.socket) <= 107));
    REQUIRE(!config->admin.is_default); // a fuzzer's text is no file
    REQUIRE(config->listener_count > 0);
    for (size_t i = 0; i < config->listener_count; i++)
        check_listener(config, &config->listeners[i]);
    for (size_t i = 0; i < config->upstream_count; i++) {
        REQUIRE(config->upstreams[i].server_count > 0);
        for (size_t j = 0; j < config->upstreams[i].server_count; j++)
            if (config->upstreams[i].servers[j].address.length > 0 || !config->upstreams[i].servers[j].name)
                check_address(&config->upstreams[i].servers[j].address);
    }
}

static void check_report(const struct report *report)
{
    REQUIRE(report->error_count > 0 && report->error_count <= report->count);
    for (size_t i = 0; i < report->count; i++) {
        const char *text = report->lines[i].text;
        REQUIRE(strncmp(text, "fuzz.yaml:", 10) == 0);
        REQUIRE(strncmp(text, "fuzz.yaml: libcyaml", 19) != 0); // a bug of ours
        for (; *text != '\0'; text++)
            REQUIRE((unsigned char)*text >= 0x20 && *text != 0x7f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config *config = NULL;
    struct report report;
    int result;

    report_init(&report, "fuzz.yaml");
    result = config_parse_with((const char *)data, size, "/etc/ringbolt", resolve, &config, &report);
    if (result == 0) {
        REQUIRE(report.error_count == 0);
        check_config(config);
    } else {
        REQUIRE(result == -EINVAL && config == NULL);
        check_report(&report);
    }
    config_destroy(config);
    report_finish(&report);
    return 0;
}
