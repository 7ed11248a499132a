// SPDX-License-Identifier: Apache-2.0
// The tables of the configuration: every key and word that it may hold, and those that later versions will know.
#include "src/config/schema_config.h"

#define OPTIONAL CYAML_FLAG_OPTIONAL
#define REQUIRED CYAML_FLAG_DEFAULT

#define NAME_MAX_LENGTH 255  // names stand in log lines
#define TEXT_MAX_LENGTH 4095 // PATH_MAX without its zero; nothing else comes near
#define LIST_MAX        4096
#define ALPN_MAX        64

#define ENUM_FIELD(key, structure, member, words)                                                            \
    CYAML_FIELD_ENUM_PTR(key, OPTIONAL | CYAML_FLAG_STRICT, structure, member, words, CYAML_ARRAY_LEN(words))
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
static const cyaml_strval_t version_words[] = {{"1.2", CONFIG_TLS12}, {"1.3", CONFIG_TLS13}};
static const cyaml_strval_t balance_words[] = {{"round_robin", 0}};

static const cyaml_schema_field_t certificate_fields[] = {
    TEXT_FIELD("chain", REQUIRED, struct raw_certificate, chain),
    TEXT_FIELD("key", REQUIRED, struct raw_certificate, key),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t certificate_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_certificate, certificate_fields),
};

// RFC 7301 §3.1: a protocol name has 1 to 255 bytes.
static const cyaml_schema_value_t alpn_value = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 1, 255),
};

static const cyaml_schema_field_t tls_fields[] = {
    ENUM_FIELD("min_version", struct raw_tls, min_version, version_words),
    ENUM_FIELD("max_version", struct raw_tls, max_version, version_words),
    LIST_FIELD("alpn", OPTIONAL, struct raw_tls, alpn, &alpn_value, 0, ALPN_MAX),
    LIST_FIELD("certificates", REQUIRED, struct raw_tls, certificates, &certificate_value, 1, LIST_MAX),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t listener_fields[] = {
    NAME_FIELD("name", OPTIONAL, struct raw_listener, name),
    TEXT_FIELD("address", REQUIRED, struct raw_listener, address),
    CYAML_FIELD_MAPPING("tls", REQUIRED, struct raw_listener, tls, tls_fields),
    NAME_FIELD("upstream", REQUIRED, struct raw_listener, upstream),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t listener_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_listener, listener_fields),
};

static const cyaml_schema_field_t server_fields[] = {
    TEXT_FIELD("address", REQUIRED, struct raw_server, address),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t server_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_server, server_fields),
};

static const cyaml_schema_field_t upstream_fields[] = {
    NAME_FIELD("name", REQUIRED, struct raw_upstream, name),
    ENUM_FIELD("balance", struct raw_upstream, balance, balance_words),
    LIST_FIELD("servers", REQUIRED, struct raw_upstream, servers, &server_value, 1, LIST_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t upstream_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_upstream, upstream_fields),
};

static const cyaml_schema_field_t log_fields[] = {
    ENUM_FIELD("level", struct raw_log, level, level_words),
    ENUM_FIELD("format", struct raw_log, format, format_words),
    ENUM_FIELD("access", struct raw_log, access, switch_words),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t ktls_fields[] = {
    ENUM_FIELD("transmit", struct raw_ktls, transmit, ktls_words),
    ENUM_FIELD("receive", struct raw_ktls, receive, ktls_words),
    TEXT_FIELD("offload_after", OPTIONAL, struct raw_ktls, offload_after),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t limits_fields[] = {
    TEXT_FIELD("connections", OPTIONAL, struct raw_limits, connections),
    TEXT_FIELD("memory", OPTIONAL, struct raw_limits, memory),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t timeouts_fields[] = {
    TEXT_FIELD("handshake", OPTIONAL, struct raw_timeouts, handshake),
    TEXT_FIELD("connect", OPTIONAL, struct raw_timeouts, connect),
    TEXT_FIELD("idle", OPTIONAL, struct raw_timeouts, idle),
    TEXT_FIELD("half_closed", OPTIONAL, struct raw_timeouts, half_closed),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t config_fields[] = {
    TEXT_FIELD("workers", OPTIONAL, struct raw_config, workers),
    NAME_FIELD("user", OPTIONAL, struct raw_config, user),
    TEXT_FIELD("shutdown_timeout", OPTIONAL, struct raw_config, shutdown_timeout),
    CYAML_FIELD_MAPPING("log", OPTIONAL, struct raw_config, log, log_fields),
    CYAML_FIELD_MAPPING("ktls", OPTIONAL, struct raw_config, ktls, ktls_fields),
    CYAML_FIELD_MAPPING("limits", OPTIONAL, struct raw_config, limits, limits_fields),
    CYAML_FIELD_MAPPING("timeouts", OPTIONAL, struct raw_config, timeouts, timeouts_fields),
    LIST_FIELD("listeners", REQUIRED, struct raw_config, listeners, &listener_value, 1, LIST_MAX),
    LIST_FIELD("upstreams", REQUIRED, struct raw_config, upstreams, &upstream_value, 1, LIST_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t config_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_config, config_fields),
};

// What the interface keeps for features that this version does not have.
static const struct schema_reserved reserved[] = {
    {config_fields, "admin", NULL},
    {config_fields, "tickets", NULL},
    {limits_fields, "handshakes_per_second", NULL},
    {limits_fields, "connections_per_client", NULL},
    {listener_fields, "proxy_protocol", NULL},
    {listener_fields, "routes", NULL},
    {listener_fields, "redirect", NULL},
    {tls_fields, "ciphers", NULL},
    {tls_fields, "ciphersuites", NULL},
    {tls_fields, "groups", NULL},
    {tls_fields, "certificate_dir", NULL},
    {tls_fields, "client_auth", NULL},
    {tls_fields, "ocsp", NULL},
    {tls_fields, "keylog", NULL},
    {certificate_fields, "passphrase", NULL},
    {certificate_fields, "pkcs12", NULL},
    {certificate_fields, "ocsp", NULL},
    {certificate_fields, "names", NULL},
    {upstream_fields, "proxy_protocol", NULL},
    {upstream_fields, "health", NULL},
    {upstream_fields, "tls", NULL},
    {upstream_fields, "balance", "least_connections"},
    {upstream_fields, "balance", "source_hash"},
    {server_fields, "weight", NULL},
    {server_fields, "backup", NULL},
};

const struct schema schema_config = {
    .root = &config_value,
    .name = "the configuration",
    .reserved = reserved,
    .reserved_count = CYAML_ARRAY_LEN(reserved),
};
