// SPDX-License-Identifier: Apache-2.0
// The configuration as libcyaml loads it: texts and words, whose pointers are NULL for what the file leaves out.
#pragma once

#include "src/config/schema.h"

struct raw_certificate {
    char *chain;
    char *key;
};

struct raw_tls {
    enum config_tls_version *min_version;
    enum config_tls_version *max_version;
    char **alpn;
    unsigned alpn_count;
    struct raw_certificate *certificates;
    unsigned certificates_count;
};

struct raw_listener {
    char *name;
    char *address;
    struct raw_tls tls;
    char *upstream;
};

struct raw_server {
    char *address;
};

struct raw_upstream {
    char *name;
    int *balance; // it has one value so far, so nobody asks
    struct raw_server *servers;
    unsigned servers_count;
};

struct raw_log {
    enum log_level *level;
    enum log_format *format;
    int *access;
};

struct raw_ktls {
    enum config_ktls *transmit;
    enum config_ktls *receive;
    char *offload_after;
};

struct raw_limits {
    char *connections;
    char *memory;
};

struct raw_timeouts {
    char *handshake;
    char *connect;
    char *idle;
    char *half_closed;
};

struct raw_config {
    char *workers; // a number or `auto`
    char *user;
    char *shutdown_timeout;
    struct raw_log log;
    struct raw_ktls ktls;
    struct raw_limits limits;
    struct raw_timeouts timeouts;
    struct raw_listener *listeners;
    unsigned listeners_count;
    struct raw_upstream *upstreams;
    unsigned upstreams_count;
};

// The whole file: a struct raw_config.
extern const struct schema schema_config;
