// SPDX-License-Identifier: Apache-2.0
// What a worker has for one listener, without its sockets: Ringbolt's defaults and one certificate.
#pragma once

#include "ringbolt/tls.h"

struct micro_server {
    struct config *config;
    struct material *material;
    struct tls_context *context;
};

// kind: "P-256", another curve, or "RSA2048" and the like. The certificate is for localhost, from an authority that isn't sent.
void micro_server_init(struct micro_server *server, const char *kind);
void micro_server_finish(struct micro_server *server);
