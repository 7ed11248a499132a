// SPDX-License-Identifier: Apache-2.0
// What `ringbolt check` found.
#include "cli.h"

#include <stdio.h>

#include "ringbolt/clock.h"

static const char *ktls_text(enum config_ktls ktls)
{
    return ktls == CONFIG_KTLS_OFF ? "off" : ktls == CONFIG_KTLS_REQUIRED ? "required" : "auto";
}

static const char *version_text(enum config_tls_version version)
{
    return version == CONFIG_TLS12 ? "TLS 1.2" : "TLS 1.3";
}

static void print_certificates(const struct config_tls *tls)
{
    if (tls->certificate_count > 0 || tls->certificate_dir == NULL)
        printf(", %zu certificate%s", tls->certificate_count, tls->certificate_count == 1 ? "" : "s");
    if (tls->certificate_dir != NULL)
        printf("%s%s", tls->certificate_count > 0 ? " and those in " : ", certificates in ",
               tls->certificate_dir);
    if (tls->strict_sni)
        printf(", strict sni");
}

static void print_route(const struct config *config, const struct config_listener *listener, size_t index)
{
    static const char *const ways[] = {
        [CONFIG_WAY_UPSTREAM] = "to upstream ",
        [CONFIG_WAY_PASSTHROUGH] = "passed through to upstream ",
        [CONFIG_WAY_REJECT] = "rejected",
    };
    const struct config_route *route = &listener->routes[index];

    printf("    route %zu:", index + 1);
    for (size_t i = 0; i < listener->route_name_count; i++) {
        const struct config_route_name *name = &listener->route_names[i];

        if (name->route == index)
            printf(" %s", name->name[0] != '\0' ? name->name : "every client");
    }
    for (size_t i = 0; i < route->alpn_count; i++)
        printf("%s%s", i == 0 ? ", alpn " : " ", route->alpn[i]);
    printf(", %s%s\n", ways[route->way],
           route->way == CONFIG_WAY_REJECT ? "" : config->upstreams[route->upstream].name);
}

static void print_redirect(const struct config_listener *listener)
{
    const struct config_redirect *redirect = &listener->redirect;

    printf("  listener %s: %s, redirects to https://%s", listener->name, listener->address.text,
           redirect->host != NULL ? redirect->host : "(the same host)");
    if (redirect->port != 443)
        printf(":%u", redirect->port);
    if (redirect->acme != NULL)
        printf(", ACME tokens from %s", redirect->acme);
    printf("\n");
}

static void print_listener(const struct config *config, const struct config_listener *listener)
{
    const struct config_tls *tls = &listener->tls;

    if (listener->redirect.is_on) {
        print_redirect(listener);
        return;
    }
    printf("  listener %s: %s, %s", listener->name, listener->address.text, version_text(tls->version_min));
    if (tls->version_max != tls->version_min)
        printf(" to %s", version_text(tls->version_max));
    print_certificates(tls);
    for (size_t i = 0; i < tls->alpn_count; i++)
        printf("%s%s", i == 0 ? ", alpn " : " ", tls->alpn[i]);
    if (tls->client_auth.mode != CONFIG_CLIENT_AUTH_OFF)
        printf(", client certificates %s",
               tls->client_auth.mode == CONFIG_CLIENT_AUTH_REQUIRED ? "required" : "optional");
    if (tls->client_auth.crl_count > 0)
        printf(" with revocation lists");
    if (tls->ocsp.fetch)
        printf(", ocsp fetched");
    if (listener->upstream != CONFIG_NO_UPSTREAM)
        printf(", to upstream %s", config->upstreams[listener->upstream].name);
    printf("\n");
    for (size_t i = 0; i < listener->route_count; i++)
        print_route(config, listener, i);
}

// Of a name: its addresses, or itself where it has none yet. NULL: nothing.
static const char *text_of(const struct config_upstream *upstream, size_t index)
{
    const struct config_server *server = &upstream->servers[index];
    const struct config_name *name = server->name;

    if (server->address.text != NULL || name == NULL || index > name->first)
        return server->address.text;
    for (size_t i = 0; i < name->count; i++) {
        if (upstream->servers[name->first + i].address.text != NULL)
            return NULL;
    }
    return name->text;
}

static void print_upstream(const struct config_upstream *upstream)
{
    bool is_first = true;
    static const char *const balances[] = {[CONFIG_ROUND_ROBIN] = "round_robin",
                                           [CONFIG_LEAST_CONNECTIONS] = "least_connections",
                                           [CONFIG_SOURCE_HASH] = "source_hash"};

    printf("  upstream %s:", upstream->name);
    for (size_t i = 0; i < upstream->server_count; i++) {
        const struct config_server *server = &upstream->servers[i];
        const char *text = text_of(upstream, i);

        if (text == NULL)
            continue;
        printf("%s %s", is_first ? "" : ",", text);
        is_first = false;
        if (server->weight != 1)
            printf(" weight %u", server->weight);
        if (server->is_backup)
            printf(" backup");
        if (server->max_connections > 0)
            printf(" at most %u connections", server->max_connections);
    }
    printf("; %s\n", balances[upstream->balance]);
}

static double seconds(uint64_t ns)
{
    return (double)ns / (double)CLOCK_NS_PER_S;
}

static void print_tickets(const struct config *config)
{
    printf("  tickets for %g s, ", seconds(config->tickets.lifetime_ns));
    if (config->tickets.key_count > 0)
        printf("%zu key%s from files", config->tickets.key_count, config->tickets.key_count == 1 ? "" : "s");
    else
        printf("a new key every %g s", seconds(config->tickets.rotate_ns));
    printf(", admin socket %s\n", config->admin.socket != NULL ? config->admin.socket : "off");
}

void cli_print_check(const char *file, const struct config *config)
{
    printf("%s: ok\n", file);
    for (size_t i = 0; i < config->listener_count; i++)
        print_listener(config, &config->listeners[i]);
    for (size_t i = 0; i < config->upstream_count; i++)
        print_upstream(&config->upstreams[i]);
    printf(
        "  %u worker%s, at most %u connections, kernel TLS transmit %s, receive %s, shutdown timeout %g s\n",
        config->workers, config->workers == 1 ? "" : "s", config->limits.connections,
        ktls_text(config->ktls.transmit), ktls_text(config->ktls.receive),
        seconds(config->shutdown_timeout_ns));
    print_tickets(config);
}
