// SPDX-License-Identifier: Apache-2.0
// What of a configuration this OpenSSL can't do.
#include <errno.h>

#include <openssl/err.h>

#include "ringbolt/tls.h"
#include "src/tls/groups.h"

int tls_check(const struct config *config, struct report *report)
{
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
    int result = ssl != NULL ? 0 : -ENOMEM;

    for (size_t i = 0; ssl != NULL && i < config->listener_count; i++) {
        if (!groups_check(ssl, &config->listeners[i].tls, report))
            result = -EINVAL;
    }
    for (size_t i = 0; ssl != NULL && i < config->upstream_count; i++) {
        if (config->upstreams[i].tls.is_on && !groups_check(ssl, &config->upstreams[i].tls.tls, report))
            result = -EINVAL;
    }
    SSL_CTX_free(ssl);
    ERR_clear_error();
    return result;
}
