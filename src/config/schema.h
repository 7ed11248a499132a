// SPDX-License-Identifier: Apache-2.0
// The schema: which keys exist, of what kind, and which are required. libcyaml loads a document by it into
// the raw structures below, whose pointers are NULL for what the file leaves out; schema_check() walks a
// document by the same tables beforehand, because libcyaml stops at the first error and does not say where it
// is.
#pragma once

#include <cyaml/cyaml.h>

#include "src/config/document.h"

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
extern const cyaml_schema_value_t schema_config;

// Whether the interface keeps `key` in this mapping (or, with word not NULL, that one word for a known key)
// for a later version.
bool schema_is_reserved(const cyaml_schema_field_t *mapping, const char *key, const char *word);

// Reports everything in the document that the schema does not allow. Afterwards the tree does fit the schema:
// what may not be there is gone, and what was wrong or missing and has to be there is a stand-in marked
// `is_wrong`, so that everything else can still be checked in the same run.
void schema_check(struct document *document, struct report *report);
