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

static void print_listener(const struct config *config, const struct config_listener *listener)
{
    const struct config_tls *tls = &listener->tls;

    printf("  listener %s: %s, %s", listener->name, listener->address.text, version_text(tls->version_min));
    if (tls->version_max != tls->version_min)
        printf(" to %s", version_text(tls->version_max));
    printf(", %zu certificate%s", tls->certificate_count, tls->certificate_count == 1 ? "" : "s");
    for (size_t i = 0; i < tls->alpn_count; i++)
        printf("%s%s", i == 0 ? ", alpn " : " ", tls->alpn[i]);
    printf(", to upstream %s\n", config->upstreams[listener->upstream].name);
}

void cli_print_check(const char *file, const struct config *config)
{
    printf("%s: ok\n", file);
    for (size_t i = 0; i < config->listener_count; i++)
        print_listener(config, &config->listeners[i]);
    for (size_t i = 0; i < config->upstream_count; i++) {
        const struct config_upstream *upstream = &config->upstreams[i];

        printf("  upstream %s:", upstream->name);
        for (size_t j = 0; j < upstream->server_count; j++)
            printf(" %s", upstream->servers[j].address.text);
        printf("\n");
    }
    printf(
        "  %u worker%s, at most %u connections, kernel TLS transmit %s, receive %s, shutdown timeout %g s\n",
        config->workers, config->workers == 1 ? "" : "s", config->limits.connections,
        ktls_text(config->ktls.transmit), ktls_text(config->ktls.receive),
        (double)config->shutdown_timeout_ns / (double)CLOCK_NS_PER_S);
}
