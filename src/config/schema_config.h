// SPDX-License-Identifier: Apache-2.0
// The configuration as libcyaml loads it: texts and words, whose pointers are NULL for what the file leaves out.
#pragma once

#include "src/config/schema.h"

struct raw_passphrase {
    char *env;
    char *file;
};

struct raw_certificate {
    char *chain;
    char *key;
    char *pkcs12;
    struct raw_passphrase passphrase;
    char *ocsp;
    char **names;
    unsigned names_count;
};

struct raw_client_auth {
    enum config_client_auth *mode;
    char *ca;
    char **crl;
    unsigned crl_count;
    char *depth;
};

struct raw_ocsp {
    int *fetch;
    char *cache;
    char *responder;
    char *timeout;
};

enum raw_profile { RAW_PROFILE_MODERN, RAW_PROFILE_INTERMEDIATE };

struct raw_tls {
    enum raw_profile *profile;
    enum config_tls_version *min_version;
    enum config_tls_version *max_version;
    char **ciphers;
    unsigned ciphers_count;
    char **ciphersuites;
    unsigned ciphersuites_count;
    char **groups;
    unsigned groups_count;
    char **alpn;
    unsigned alpn_count;
    struct raw_certificate *certificates;
    unsigned certificates_count;
    char *certificate_dir;
    int *strict_sni;
    struct raw_client_auth client_auth;
    struct raw_ocsp ocsp;
    char *keylog;
};

struct raw_server_tls {
    struct raw_tls like; // a listener's
    char *ca;
    char **crl;
    unsigned crl_count;
    char *name;
    int *verify;
    int *resume;
    struct raw_certificate certificate;
};

struct raw_listener_limits {
    char *connections;
};

struct raw_tcp {
    char *keepalive;
    char *user_timeout;
    char *backlog;   // of listeners alone
    char *fast_open; // likewise
    int *transparent; // of upstreams alone
};

struct raw_route {
    char **sni;
    unsigned sni_count;
    char **alpn;
    unsigned alpn_count;
    char *upstream;
    char *passthrough;
    int *reject;
};

struct raw_redirect {
    char *host;
    char *port;
    char *acme;
};

struct raw_hsts {
    char *max_age;
    int *include_subdomains;
    int *preload;
};

struct raw_listener {
    char *name;
    char *address;
    struct raw_tls tls;
    struct raw_redirect redirect;
    struct raw_hsts hsts;
    struct raw_listener_limits limits;
    struct raw_tcp tcp;
    struct raw_route *routes;
    unsigned routes_count;
    enum config_proxy_in *proxy_protocol;
    char **proxy_protocol_from;
    unsigned proxy_protocol_from_count;
    int *proxy_protocol_required;
    char *upstream;
};

struct raw_server {
    char *address;
    char *weight;
    int *backup;
    char *max_connections;
};

struct raw_health {
    char *max_fails;
    char *fail_timeout;
    enum config_check *check;
    char *interval;
    char *timeout;
    char *rise;
    char *fall;
    char *slow_start;
};

struct raw_queue {
    char *size;
    char *timeout;
};

struct raw_resolve {
    char *interval;
    char *timeout;
    char *attempt_delay;
    char *addresses;
    int *required;
};

struct raw_upstream {
    char *name;
    enum config_balance *balance;
    struct raw_health health;
    struct raw_queue queue;
    struct raw_resolve resolve;
    struct raw_server_tls tls;
    struct raw_tcp tcp;
    enum config_proxy_out *proxy_protocol;
    enum config_proxy_tlv *proxy_protocol_tlvs;
    unsigned proxy_protocol_tlvs_count;
    struct raw_server *servers;
    unsigned servers_count;
};

struct raw_log {
    enum log_level *level;
    enum log_format *format;
    int *access;
    char *failures_per_second;
    char *sample;
    char *file;
};

struct raw_sandbox {
    enum config_sandbox *seccomp;
    enum config_sandbox *landlock;
    enum config_sandbox *io_uring;
};

struct raw_ktls {
    enum config_ktls *transmit;
    enum config_ktls *receive;
    char *offload_after;
};

struct raw_client_network {
    char *ipv4;
    char *ipv6;
};

struct raw_limits {
    char *connections;
    char *client_hello;
    char *memory;
    char *handshakes_per_second;
    char *connections_per_client;
    char *handshakes_per_second_per_client;
    struct raw_client_network client_network;
};

struct raw_timeouts {
    char *handshake;
    char *connect;
    char *idle;
    char *half_closed;
};

struct raw_rebalance {
    char *threshold;
    char *connections;
    char *age;
};

struct raw_survival {
    char *connections;
};

struct raw_tickets {
    char **keys;
    unsigned keys_count;
    char *rotate;
    char *lifetime;
};

struct raw_admin {
    char *socket;
    char *http;
};

struct raw_config {
    char *workers; // a number or `auto`
    char *user;
    char *shutdown_timeout;
    struct raw_log log;
    struct raw_ktls ktls;
    struct raw_sandbox sandbox;
    struct raw_limits limits;
    struct raw_timeouts timeouts;
    struct raw_rebalance rebalance;
    struct raw_survival survival;
    struct raw_tickets tickets;
    struct raw_admin admin;
    struct raw_listener *listeners;
    unsigned listeners_count;
    struct raw_upstream *upstreams;
    unsigned upstreams_count;
};

// The whole file: a struct raw_config.
extern const struct schema schema_config;
// The same for a file whose listeners all redirect: it needs no upstreams.
extern const struct schema schema_config_alone;
