// SPDX-License-Identifier: Apache-2.0
// The tables of the configuration: every key and word that it may hold.
#include "src/config/schema_config.h"

#define OPTIONAL CYAML_FLAG_OPTIONAL
#define REQUIRED CYAML_FLAG_DEFAULT

#define NAME_MAX_LENGTH 255  // names stand in log lines
#define TEXT_MAX_LENGTH 4095 // PATH_MAX without its zero; nothing else comes near
#define LIST_MAX        4096
#define ALPN_MAX        64
#define CHOICES_MAX     64 // suites or groups; fewer than that exist
#define NAMES_MAX       4096
#define TICKET_KEYS_MAX 64

#define ENUM_FIELD(key, flags, structure, member, words)                                                     \
    CYAML_FIELD_ENUM_PTR(key, (flags) | CYAML_FLAG_STRICT, structure, member, words, CYAML_ARRAY_LEN(words))
#define TEXT_FIELD(key, flags, structure, member)                                                            \
    CYAML_FIELD_STRING_PTR(key, flags, structure, member, 1, TEXT_MAX_LENGTH)
#define NAME_FIELD(key, flags, structure, member)                                                            \
    CYAML_FIELD_STRING_PTR(key, flags, structure, member, 1, NAME_MAX_LENGTH)
#define LIST_FIELD(key, flags, structure, member, entry, min, max)                                           \
    CYAML_FIELD_SEQUENCE(key, (flags) | CYAML_FLAG_POINTER, structure, member, entry, min, max)

static const cyaml_strval_t level_words[] = {
    {"error", LOG_ERROR}, {"warning", LOG_WARNING}, {"info", LOG_INFO}, {"debug", LOG_DEBUG}};
static const cyaml_strval_t format_words[] = {{"text", LOG_TEXT}, {"json", LOG_JSON}};
// Not CYAML_BOOL: it takes every word that it doesn't know for true.
static const cyaml_strval_t switch_words[] = {{"true", 1}, {"false", 0}, {"yes", 1},
                                              {"no", 0},   {"on", 1},    {"off", 0}};
static const cyaml_strval_t ktls_words[] = {
    {"auto", CONFIG_KTLS_AUTO}, {"off", CONFIG_KTLS_OFF}, {"required", CONFIG_KTLS_REQUIRED}};
static const cyaml_strval_t sandbox_words[] = {
    {"auto", CONFIG_SANDBOX_AUTO}, {"off", CONFIG_SANDBOX_OFF}, {"required", CONFIG_SANDBOX_REQUIRED}};
static const cyaml_strval_t version_words[] = {{"1.2", CONFIG_TLS12}, {"1.3", CONFIG_TLS13}};
static const cyaml_strval_t profile_words[] = {{"modern", RAW_PROFILE_MODERN},
                                               {"intermediate", RAW_PROFILE_INTERMEDIATE}};
static const cyaml_strval_t client_auth_words[] = {{"off", CONFIG_CLIENT_AUTH_OFF},
                                                   {"optional", CONFIG_CLIENT_AUTH_OPTIONAL},
                                                   {"required", CONFIG_CLIENT_AUTH_REQUIRED}};
static const cyaml_strval_t balance_words[] = {{"round_robin", CONFIG_ROUND_ROBIN},
                                               {"least_connections", CONFIG_LEAST_CONNECTIONS},
                                               {"source_hash", CONFIG_SOURCE_HASH}};
static const cyaml_strval_t check_words[] = {
    {"off", CONFIG_CHECK_OFF}, {"tcp", CONFIG_CHECK_TCP}, {"tls", CONFIG_CHECK_TLS}};
static const cyaml_strval_t proxy_in_words[] = {{"off", CONFIG_PROXY_IN_OFF},
                                                {"v1", CONFIG_PROXY_IN_V1},
                                                {"v2", CONFIG_PROXY_IN_V2},
                                                {"any", CONFIG_PROXY_IN_ANY}};
static const cyaml_strval_t proxy_out_words[] = {
    {"off", CONFIG_PROXY_OUT_OFF}, {"v1", CONFIG_PROXY_OUT_V1}, {"v2", CONFIG_PROXY_OUT_V2}};
static const cyaml_strval_t proxy_tlv_words[] = {{"alpn", CONFIG_PROXY_TLV_ALPN},
                                                 {"authority", CONFIG_PROXY_TLV_AUTHORITY},
                                                 {"unique_id", CONFIG_PROXY_TLV_UNIQUE_ID},
                                                 {"ssl", CONFIG_PROXY_TLV_SSL},
                                                 {"ssl_cipher", CONFIG_PROXY_TLV_SSL_CIPHER},
                                                 {"cert_cn", CONFIG_PROXY_TLV_CERT_CN},
                                                 {"cert_sig", CONFIG_PROXY_TLV_CERT_SIG},
                                                 {"cert_key", CONFIG_PROXY_TLV_CERT_KEY},
                                                 {"client_cert", CONFIG_PROXY_TLV_CLIENT_CERT},
                                                 {"crc32c", CONFIG_PROXY_TLV_CRC32C}};

// The entry of lists of names and paths.
static const cyaml_schema_value_t text_value = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, TEXT_MAX_LENGTH),
};

static const cyaml_schema_field_t passphrase_fields[] = {
    TEXT_FIELD("env", OPTIONAL, struct raw_passphrase, env),
    TEXT_FIELD("file", OPTIONAL, struct raw_passphrase, file),
    CYAML_FIELD_END,
};

// Which of them go together is for the builder to say.
static const cyaml_schema_field_t certificate_fields[] = {
    TEXT_FIELD("chain", OPTIONAL, struct raw_certificate, chain),
    TEXT_FIELD("key", OPTIONAL, struct raw_certificate, key),
    TEXT_FIELD("pkcs12", OPTIONAL, struct raw_certificate, pkcs12),
    CYAML_FIELD_MAPPING("passphrase", OPTIONAL, struct raw_certificate, passphrase, passphrase_fields),
    TEXT_FIELD("ocsp", OPTIONAL, struct raw_certificate, ocsp),
    LIST_FIELD("names", OPTIONAL, struct raw_certificate, names, &text_value, 1, NAMES_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t certificate_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_certificate, certificate_fields),
};

static const cyaml_schema_field_t server_certificate_fields[] = {
    TEXT_FIELD("chain", OPTIONAL, struct raw_certificate, chain),
    TEXT_FIELD("key", OPTIONAL, struct raw_certificate, key),
    CYAML_FIELD_MAPPING("passphrase", OPTIONAL, struct raw_certificate, passphrase, passphrase_fields),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t client_auth_fields[] = {
    // Required, so that nobody who names a CA takes clients for checked that are not.
    ENUM_FIELD("mode", REQUIRED, struct raw_client_auth, mode, client_auth_words),
    TEXT_FIELD("ca", OPTIONAL, struct raw_client_auth, ca),
    LIST_FIELD("crl", OPTIONAL, struct raw_client_auth, crl, &text_value, 1, LIST_MAX),
    TEXT_FIELD("depth", OPTIONAL, struct raw_client_auth, depth),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t ocsp_fields[] = {
    ENUM_FIELD("fetch", OPTIONAL, struct raw_ocsp, fetch, switch_words),
    TEXT_FIELD("cache", OPTIONAL, struct raw_ocsp, cache),
    TEXT_FIELD("responder", OPTIONAL, struct raw_ocsp, responder),
    TEXT_FIELD("timeout", OPTIONAL, struct raw_ocsp, timeout),
    CYAML_FIELD_END,
};

// RFC 7301 §3.1: a protocol name has 1 to 255 bytes.
static const cyaml_schema_value_t alpn_value = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, 255),
};

static const cyaml_schema_field_t tls_fields[] = {
    ENUM_FIELD("profile", OPTIONAL, struct raw_tls, profile, profile_words),
    ENUM_FIELD("min_version", OPTIONAL, struct raw_tls, min_version, version_words),
    ENUM_FIELD("max_version", OPTIONAL, struct raw_tls, max_version, version_words),
    LIST_FIELD("ciphers", OPTIONAL, struct raw_tls, ciphers, &text_value, 1, CHOICES_MAX),
    LIST_FIELD("ciphersuites", OPTIONAL, struct raw_tls, ciphersuites, &text_value, 1, CHOICES_MAX),
    LIST_FIELD("groups", OPTIONAL, struct raw_tls, groups, &text_value, 1, CHOICES_MAX),
    LIST_FIELD("alpn", OPTIONAL, struct raw_tls, alpn, &alpn_value, 0, ALPN_MAX),
    LIST_FIELD("certificates", OPTIONAL, struct raw_tls, certificates, &certificate_value, 1, LIST_MAX),
    TEXT_FIELD("certificate_dir", OPTIONAL, struct raw_tls, certificate_dir),
    ENUM_FIELD("strict_sni", OPTIONAL, struct raw_tls, strict_sni, switch_words),
    CYAML_FIELD_MAPPING("client_auth", OPTIONAL, struct raw_tls, client_auth, client_auth_fields),
    CYAML_FIELD_MAPPING("ocsp", OPTIONAL, struct raw_tls, ocsp, ocsp_fields),
    TEXT_FIELD("keylog", OPTIONAL, struct raw_tls, keylog),
    CYAML_FIELD_END,
};

// What an upstream has in common with a listener is called the same, and stands in the same structure.
static const cyaml_schema_field_t server_tls_fields[] = {
    TEXT_FIELD("ca", OPTIONAL, struct raw_server_tls, ca),
    LIST_FIELD("crl", OPTIONAL, struct raw_server_tls, crl, &text_value, 1, LIST_MAX),
    NAME_FIELD("name", OPTIONAL, struct raw_server_tls, name),
    ENUM_FIELD("verify", OPTIONAL, struct raw_server_tls, verify, switch_words),
    ENUM_FIELD("resume", OPTIONAL, struct raw_server_tls, resume, switch_words),
    CYAML_FIELD_MAPPING("certificate", OPTIONAL, struct raw_server_tls, certificate,
                        server_certificate_fields),
    ENUM_FIELD("min_version", OPTIONAL, struct raw_server_tls, like.min_version, version_words),
    ENUM_FIELD("max_version", OPTIONAL, struct raw_server_tls, like.max_version, version_words),
    LIST_FIELD("ciphers", OPTIONAL, struct raw_server_tls, like.ciphers, &text_value, 1, CHOICES_MAX),
    LIST_FIELD("ciphersuites", OPTIONAL, struct raw_server_tls, like.ciphersuites, &text_value, 1,
               CHOICES_MAX),
    LIST_FIELD("groups", OPTIONAL, struct raw_server_tls, like.groups, &text_value, 1, CHOICES_MAX),
    LIST_FIELD("alpn", OPTIONAL, struct raw_server_tls, like.alpn, &alpn_value, 0, ALPN_MAX),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t listener_limits_fields[] = {
    TEXT_FIELD("connections", OPTIONAL, struct raw_listener_limits, connections),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t listener_tcp_fields[] = {
    TEXT_FIELD("keepalive", OPTIONAL, struct raw_tcp, keepalive),
    TEXT_FIELD("user_timeout", OPTIONAL, struct raw_tcp, user_timeout),
    TEXT_FIELD("backlog", OPTIONAL, struct raw_tcp, backlog),
    TEXT_FIELD("fast_open", OPTIONAL, struct raw_tcp, fast_open),
    CYAML_FIELD_END,
};

// Which of the last three there is, is for the builder to say.
static const cyaml_schema_field_t route_fields[] = {
    LIST_FIELD("sni", OPTIONAL, struct raw_route, sni, &text_value, 1, NAMES_MAX),
    LIST_FIELD("alpn", OPTIONAL, struct raw_route, alpn, &alpn_value, 1, ALPN_MAX),
    NAME_FIELD("upstream", OPTIONAL, struct raw_route, upstream),
    NAME_FIELD("passthrough", OPTIONAL, struct raw_route, passthrough),
    ENUM_FIELD("reject", OPTIONAL, struct raw_route, reject, switch_words),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t route_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_route, route_fields),
};
static const cyaml_schema_value_t proxy_tlv_value = {
    CYAML_VALUE_ENUM(CYAML_FLAG_STRICT, enum config_proxy_tlv, proxy_tlv_words,
                     CYAML_ARRAY_LEN(proxy_tlv_words)),
};

static const cyaml_schema_field_t redirect_fields[] = {
    NAME_FIELD("host", OPTIONAL, struct raw_redirect, host),
    TEXT_FIELD("port", OPTIONAL, struct raw_redirect, port),
    TEXT_FIELD("acme", OPTIONAL, struct raw_redirect, acme),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t hsts_fields[] = {
    TEXT_FIELD("max_age", REQUIRED, struct raw_hsts, max_age),
    ENUM_FIELD("include_subdomains", OPTIONAL, struct raw_hsts, include_subdomains, switch_words),
    ENUM_FIELD("preload", OPTIONAL, struct raw_hsts, preload, switch_words),
    CYAML_FIELD_END,
};

// `tls` or `redirect`: the builder says which is missing.
static const cyaml_schema_field_t listener_fields[] = {
    NAME_FIELD("name", OPTIONAL, struct raw_listener, name),
    TEXT_FIELD("address", REQUIRED, struct raw_listener, address),
    CYAML_FIELD_MAPPING("tls", OPTIONAL, struct raw_listener, tls, tls_fields),
    CYAML_FIELD_MAPPING("redirect", OPTIONAL, struct raw_listener, redirect, redirect_fields),
    CYAML_FIELD_MAPPING("hsts", OPTIONAL, struct raw_listener, hsts, hsts_fields),
    CYAML_FIELD_MAPPING("limits", OPTIONAL, struct raw_listener, limits, listener_limits_fields),
    CYAML_FIELD_MAPPING("tcp", OPTIONAL, struct raw_listener, tcp, listener_tcp_fields),
    LIST_FIELD("routes", OPTIONAL, struct raw_listener, routes, &route_value, 1, LIST_MAX),
    NAME_FIELD("upstream", OPTIONAL, struct raw_listener, upstream), // the builder says where it is missing
    ENUM_FIELD("proxy_protocol", OPTIONAL, struct raw_listener, proxy_protocol, proxy_in_words),
    LIST_FIELD("proxy_protocol_from", OPTIONAL, struct raw_listener, proxy_protocol_from, &text_value, 1,
               LIST_MAX),
    ENUM_FIELD("proxy_protocol_required", OPTIONAL, struct raw_listener, proxy_protocol_required,
               switch_words),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t listener_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_listener, listener_fields),
};

static const cyaml_schema_field_t server_fields[] = {
    TEXT_FIELD("address", REQUIRED, struct raw_server, address),
    TEXT_FIELD("weight", OPTIONAL, struct raw_server, weight),
    ENUM_FIELD("backup", OPTIONAL, struct raw_server, backup, switch_words),
    TEXT_FIELD("max_connections", OPTIONAL, struct raw_server, max_connections),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t server_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_server, server_fields),
};

static const cyaml_schema_field_t health_fields[] = {
    TEXT_FIELD("max_fails", OPTIONAL, struct raw_health, max_fails),
    TEXT_FIELD("fail_timeout", OPTIONAL, struct raw_health, fail_timeout),
    ENUM_FIELD("check", OPTIONAL, struct raw_health, check, check_words),
    TEXT_FIELD("interval", OPTIONAL, struct raw_health, interval),
    TEXT_FIELD("timeout", OPTIONAL, struct raw_health, timeout),
    TEXT_FIELD("rise", OPTIONAL, struct raw_health, rise),
    TEXT_FIELD("fall", OPTIONAL, struct raw_health, fall),
    TEXT_FIELD("slow_start", OPTIONAL, struct raw_health, slow_start),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t queue_fields[] = {
    TEXT_FIELD("size", OPTIONAL, struct raw_queue, size),
    TEXT_FIELD("timeout", OPTIONAL, struct raw_queue, timeout),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t resolve_fields[] = {
    TEXT_FIELD("interval", OPTIONAL, struct raw_resolve, interval),
    TEXT_FIELD("timeout", OPTIONAL, struct raw_resolve, timeout),
    TEXT_FIELD("attempt_delay", OPTIONAL, struct raw_resolve, attempt_delay),
    TEXT_FIELD("addresses", OPTIONAL, struct raw_resolve, addresses),
    ENUM_FIELD("required", OPTIONAL, struct raw_resolve, required, switch_words),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t upstream_tcp_fields[] = {
    TEXT_FIELD("keepalive", OPTIONAL, struct raw_tcp, keepalive),
    TEXT_FIELD("user_timeout", OPTIONAL, struct raw_tcp, user_timeout),
    ENUM_FIELD("transparent", OPTIONAL, struct raw_tcp, transparent, switch_words),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t upstream_fields[] = {
    NAME_FIELD("name", REQUIRED, struct raw_upstream, name),
    ENUM_FIELD("balance", OPTIONAL, struct raw_upstream, balance, balance_words),
    CYAML_FIELD_MAPPING("health", OPTIONAL, struct raw_upstream, health, health_fields),
    CYAML_FIELD_MAPPING("queue", OPTIONAL, struct raw_upstream, queue, queue_fields),
    CYAML_FIELD_MAPPING("resolve", OPTIONAL, struct raw_upstream, resolve, resolve_fields),
    CYAML_FIELD_MAPPING("tls", OPTIONAL, struct raw_upstream, tls, server_tls_fields),
    CYAML_FIELD_MAPPING("tcp", OPTIONAL, struct raw_upstream, tcp, upstream_tcp_fields),
    ENUM_FIELD("proxy_protocol", OPTIONAL, struct raw_upstream, proxy_protocol, proxy_out_words),
    LIST_FIELD("proxy_protocol_tlvs", OPTIONAL, struct raw_upstream, proxy_protocol_tlvs, &proxy_tlv_value, 0,
               CYAML_ARRAY_LEN(proxy_tlv_words)),
    LIST_FIELD("servers", REQUIRED, struct raw_upstream, servers, &server_value, 1, LIST_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t upstream_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_upstream, upstream_fields),
};

static const cyaml_schema_field_t log_fields[] = {
    ENUM_FIELD("level", OPTIONAL, struct raw_log, level, level_words),
    ENUM_FIELD("format", OPTIONAL, struct raw_log, format, format_words),
    ENUM_FIELD("access", OPTIONAL, struct raw_log, access, switch_words),
    TEXT_FIELD("failures_per_second", OPTIONAL, struct raw_log, failures_per_second),
    TEXT_FIELD("sample", OPTIONAL, struct raw_log, sample),
    TEXT_FIELD("file", OPTIONAL, struct raw_log, file),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t sandbox_fields[] = {
    ENUM_FIELD("seccomp", OPTIONAL, struct raw_sandbox, seccomp, sandbox_words),
    ENUM_FIELD("landlock", OPTIONAL, struct raw_sandbox, landlock, sandbox_words),
    ENUM_FIELD("io_uring", OPTIONAL, struct raw_sandbox, io_uring, sandbox_words),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t ktls_fields[] = {
    ENUM_FIELD("transmit", OPTIONAL, struct raw_ktls, transmit, ktls_words),
    ENUM_FIELD("receive", OPTIONAL, struct raw_ktls, receive, ktls_words),
    TEXT_FIELD("offload_after", OPTIONAL, struct raw_ktls, offload_after),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t client_network_fields[] = {
    TEXT_FIELD("ipv4", OPTIONAL, struct raw_client_network, ipv4),
    TEXT_FIELD("ipv6", OPTIONAL, struct raw_client_network, ipv6),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t limits_fields[] = {
    TEXT_FIELD("connections", OPTIONAL, struct raw_limits, connections),
    TEXT_FIELD("client_hello", OPTIONAL, struct raw_limits, client_hello),
    TEXT_FIELD("memory", OPTIONAL, struct raw_limits, memory),
    TEXT_FIELD("handshakes_per_second", OPTIONAL, struct raw_limits, handshakes_per_second),
    TEXT_FIELD("connections_per_client", OPTIONAL, struct raw_limits, connections_per_client),
    TEXT_FIELD("handshakes_per_second_per_client", OPTIONAL, struct raw_limits, handshakes_per_second_per_client),
    CYAML_FIELD_MAPPING("client_network", OPTIONAL, struct raw_limits, client_network, client_network_fields),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t timeouts_fields[] = {
    TEXT_FIELD("handshake", OPTIONAL, struct raw_timeouts, handshake),
    TEXT_FIELD("connect", OPTIONAL, struct raw_timeouts, connect),
    TEXT_FIELD("idle", OPTIONAL, struct raw_timeouts, idle),
    TEXT_FIELD("half_closed", OPTIONAL, struct raw_timeouts, half_closed),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t rebalance_fields[] = {
    TEXT_FIELD("threshold", OPTIONAL, struct raw_rebalance, threshold),
    TEXT_FIELD("connections", OPTIONAL, struct raw_rebalance, connections),
    TEXT_FIELD("age", OPTIONAL, struct raw_rebalance, age),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t survival_fields[] = {
    TEXT_FIELD("connections", OPTIONAL, struct raw_survival, connections),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t tickets_fields[] = {
    LIST_FIELD("keys", OPTIONAL, struct raw_tickets, keys, &text_value, 1, TICKET_KEYS_MAX),
    TEXT_FIELD("rotate", OPTIONAL, struct raw_tickets, rotate),
    TEXT_FIELD("lifetime", OPTIONAL, struct raw_tickets, lifetime),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t admin_fields[] = {
    TEXT_FIELD("socket", OPTIONAL, struct raw_admin, socket),
    TEXT_FIELD("http", OPTIONAL, struct raw_admin, http),
    CYAML_FIELD_END,
};

#define CONFIG_FIELDS(upstreams_flag)                                                                        \
    {                                                                                                        \
    TEXT_FIELD("workers", OPTIONAL, struct raw_config, workers),                                             \
    NAME_FIELD("user", OPTIONAL, struct raw_config, user),                                                   \
    TEXT_FIELD("shutdown_timeout", OPTIONAL, struct raw_config, shutdown_timeout),                           \
    CYAML_FIELD_MAPPING("log", OPTIONAL, struct raw_config, log, log_fields),                                \
    CYAML_FIELD_MAPPING("ktls", OPTIONAL, struct raw_config, ktls, ktls_fields),                             \
    CYAML_FIELD_MAPPING("sandbox", OPTIONAL, struct raw_config, sandbox, sandbox_fields),                    \
    CYAML_FIELD_MAPPING("limits", OPTIONAL, struct raw_config, limits, limits_fields),                       \
    CYAML_FIELD_MAPPING("timeouts", OPTIONAL, struct raw_config, timeouts, timeouts_fields),                 \
    CYAML_FIELD_MAPPING("rebalance", OPTIONAL, struct raw_config, rebalance, rebalance_fields),              \
    CYAML_FIELD_MAPPING("survival", OPTIONAL, struct raw_config, survival, survival_fields),                 \
    CYAML_FIELD_MAPPING("tickets", OPTIONAL, struct raw_config, tickets, tickets_fields),                    \
    CYAML_FIELD_MAPPING("admin", OPTIONAL, struct raw_config, admin, admin_fields),                          \
    LIST_FIELD("listeners", REQUIRED, struct raw_config, listeners, &listener_value, 1, LIST_MAX),           \
    LIST_FIELD("upstreams", upstreams_flag, struct raw_config, upstreams, &upstream_value, 1, LIST_MAX),     \
    CYAML_FIELD_END,                                                                                         \
    }

static const cyaml_schema_field_t config_fields[] = CONFIG_FIELDS(REQUIRED);
static const cyaml_schema_value_t config_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_config, config_fields),
};

static const cyaml_schema_field_t alone_fields[] = CONFIG_FIELDS(OPTIONAL);
static const cyaml_schema_value_t alone_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_config, alone_fields),
};

static const struct schema_kind kinds[] = {
    {client_auth_fields, "depth", SCHEMA_NUMBER},
    {ocsp_fields, "timeout", SCHEMA_TIME},
    {listener_limits_fields, "connections", SCHEMA_NUMBER},
    {listener_tcp_fields, "keepalive", SCHEMA_TIME},
    {listener_tcp_fields, "user_timeout", SCHEMA_TIME},
    {listener_tcp_fields, "backlog", SCHEMA_NUMBER},
    {listener_tcp_fields, "fast_open", SCHEMA_NUMBER},
    {redirect_fields, "port", SCHEMA_NUMBER},
    {hsts_fields, "max_age", SCHEMA_TIME},
    {listener_fields, "address", SCHEMA_ADDRESS},
    {listener_fields, "tls", SCHEMA_OR_OFF},
    {server_fields, "address", SCHEMA_ADDRESS},
    {server_fields, "weight", SCHEMA_NUMBER},
    {server_fields, "max_connections", SCHEMA_NUMBER},
    {health_fields, "max_fails", SCHEMA_NUMBER},
    {health_fields, "fail_timeout", SCHEMA_TIME},
    {health_fields, "interval", SCHEMA_TIME},
    {health_fields, "timeout", SCHEMA_TIME},
    {health_fields, "rise", SCHEMA_NUMBER},
    {health_fields, "fall", SCHEMA_NUMBER},
    {health_fields, "slow_start", SCHEMA_TIME},
    {queue_fields, "size", SCHEMA_NUMBER},
    {resolve_fields, "interval", SCHEMA_TIME},
    {resolve_fields, "timeout", SCHEMA_TIME},
    {resolve_fields, "attempt_delay", SCHEMA_TIME},
    {resolve_fields, "addresses", SCHEMA_NUMBER},
    {queue_fields, "timeout", SCHEMA_TIME},
    {upstream_tcp_fields, "keepalive", SCHEMA_TIME},
    {upstream_tcp_fields, "user_timeout", SCHEMA_TIME},
    {log_fields, "failures_per_second", SCHEMA_NUMBER},
    {log_fields, "sample", SCHEMA_NUMBER},
    {ktls_fields, "offload_after", SCHEMA_SIZE},
    {client_network_fields, "ipv4", SCHEMA_NUMBER},
    {client_network_fields, "ipv6", SCHEMA_NUMBER},
    {limits_fields, "connections", SCHEMA_NUMBER},
    {limits_fields, "client_hello", SCHEMA_SIZE},
    {limits_fields, "memory", SCHEMA_SIZE},
    {limits_fields, "handshakes_per_second", SCHEMA_NUMBER},
    {limits_fields, "connections_per_client", SCHEMA_NUMBER},
    {limits_fields, "handshakes_per_second_per_client", SCHEMA_NUMBER},
    {timeouts_fields, "handshake", SCHEMA_TIME},
    {timeouts_fields, "connect", SCHEMA_TIME},
    {timeouts_fields, "idle", SCHEMA_TIME},
    {timeouts_fields, "half_closed", SCHEMA_TIME},
    {rebalance_fields, "threshold", SCHEMA_NUMBER},
    {rebalance_fields, "connections", SCHEMA_NUMBER},
    {rebalance_fields, "age", SCHEMA_TIME},
    {survival_fields, "connections", SCHEMA_NUMBER},
    {tickets_fields, "rotate", SCHEMA_TIME},
    {tickets_fields, "lifetime", SCHEMA_TIME},
    {config_fields, "workers", SCHEMA_NUMBER_OR_AUTO},
    {config_fields, "shutdown_timeout", SCHEMA_TIME},
};

const struct schema schema_config = {
    .root = &config_value,
    .name = "the configuration",
    .kinds = kinds,
    .kind_count = CYAML_ARRAY_LEN(kinds),
};

const struct schema schema_config_alone = {
    .root = &alone_value,
    .name = "the configuration",
    .kinds = kinds,
    .kind_count = CYAML_ARRAY_LEN(kinds),
};
