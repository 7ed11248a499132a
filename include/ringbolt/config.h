// SPDX-License-Identifier: Apache-2.0
// The configuration: one YAML file becomes one immutable `struct config`. Everything in it is resolved
// (paths absolute, addresses parsed, names of upstreams turned into indices) and within its range, so the
// rooms that read it check nothing again.
//
// Whatever is wrong is collected in a `struct report`, all of it in one run, each line as `FILE:LINE:COLUMN:
// what is wrong, and what would be right`. Keys kept for features that this version does not have are refused
// by name.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "ringbolt/log.h"

// A place in a configuration file; line and column count from 1. line 0: no place (the command line).
struct config_where {
    unsigned line;
    unsigned column;
};

struct config_address {
    struct sockaddr_storage socket; // AF_INET, AF_INET6 or AF_UNIX; `*:PORT` is [::] with IPV6_V6ONLY off
    socklen_t length;
    char *text; // as it was written; of a server found by its name the address that was found, "192.0.2.1:80"
};

// Where a passphrase comes from. Neither: the terminal is asked at start, if there is one.
struct config_passphrase {
    char *env;  // name of an environment variable; or NULL
    char *file; // absolute path, its first line without the newline; or NULL
    struct config_where where;
};

// One certificate: either chain and key (the same path for a file that holds both), or pkcs12.
struct config_certificate {
    char *chain;  // absolute path, PEM: the certificate first, then its intermediates; NULL with pkcs12
    char *key;    // absolute path, PEM or DER (PKCS#1, PKCS#8, SEC1); NULL with pkcs12
    char *pkcs12; // absolute path; NULL with chain and key
    struct config_passphrase passphrase;
    char *ocsp; // absolute path of an OCSP response (DER) to staple; or NULL
    // serve it for these instead of the names it holds, lower case: "a.example", "*.example"; or none
    char **names;
    size_t name_count;
    struct config_where chain_where; // of `pkcs12` if that is what was given
    struct config_where key_where;
    struct config_where ocsp_where;
};

enum config_client_auth { CONFIG_CLIENT_AUTH_OFF, CONFIG_CLIENT_AUTH_OPTIONAL, CONFIG_CLIENT_AUTH_REQUIRED };

struct config_client_trust {
    enum config_client_auth mode; // default off: then everything else is empty
    char *ca;                     // absolute path, PEM bundle; never NULL unless off
    char **crls; // absolute paths, PEM or DER; with any, every certificate of a chain is checked
    size_t crl_count;
    // intermediates between the client's certificate and a CA of the bundle; 0 to 16, default 4
    unsigned depth;
    bool is_for_servers; // of an upstream: whom it is about are servers
    struct config_where ca_where;
    struct config_where crl_where; // of the key `crl`
};

struct config_ocsp {
    // default false: staple what files hold. true: the master asks the responder that the certificate names
    bool fetch;
    char *cache;         // absolute path of a folder where responses survive a restart; or NULL
    char *responder;     // URL to ask instead of the certificate's own; or NULL
    uint64_t timeout_ns; // for one request; default 10 s
    struct config_where where;
};

enum config_tls_version { CONFIG_TLS12 = 0x0303, CONFIG_TLS13 = 0x0304 };

struct config_tls {
    enum config_tls_version version_min; // default CONFIG_TLS12
    enum config_tls_version version_max; // default CONFIG_TLS13; never below version_min
    char *ciphers;      // TLS 1.2 suites, OpenSSL's names with colons, only AEAD with ECDHE; never NULL
    char *ciphersuites; // TLS 1.3 suites, likewise; never NULL
    char *groups; // as SSL_CTX_set1_groups_list() takes them, of those that we allow, best first; never NULL
    struct config_where groups_where; // line 0: nobody chose them, so nobody need hear which of them OpenSSL lacks
    bool prefers_server; // our order of suites counts; false (profile modern and intermediate): the client's
    struct config_certificate *certificates;
    // 1 or more, except for a development listener (config_quick without files) and with certificate_dir
    size_t certificate_count;
    char *certificate_dir; // absolute path; NULL: none
    struct config_where certificate_dir_where;
    // default false. true: a client that names no host, or one that no certificate is for, is refused
    bool strict_sni;
    struct config_client_trust client_auth;
    struct config_ocsp ocsp;
    char *keylog;      // absolute path, SSLKEYLOGFILE's format, appended to; NULL: none
    char **alpn;       // protocol names in our order of preference, each 1 to 255 bytes
    size_t alpn_count; // 0: ALPN is not answered
    struct config_where where;
};

// What the kernel does on its own about a peer that is silent. 0, the default: nothing.
struct config_tcp {
    unsigned keepalive_s;   // it is asked after so long without a byte, and lost after twice that; 0, or 1 to 32,767
    unsigned user_timeout_ms; // it is lost when what was sent isn't acknowledged for so long; 0, or 1 ms to 24 h
    bool is_transparent; // of upstreams: servers see the client's address (IP_TRANSPARENT); default false
};

#define CONFIG_NO_UPSTREAM SIZE_MAX

enum config_way {
    CONFIG_WAY_UPSTREAM,    // TLS ends here, and the plaintext goes to the upstream
    CONFIG_WAY_PASSTHROUGH, // the TLS stream goes to the upstream as it is
    CONFIG_WAY_REJECT,      // refused with an alert
};

// Where those clients go that ask for one of its names and offer one of its protocols.
struct config_route {
    enum config_way way;
    size_t upstream;   // index into config.upstreams; CONFIG_NO_UPSTREAM with CONFIG_WAY_REJECT
    char **alpn;       // protocols in our order of preference, each 1 to 255 bytes
    size_t alpn_count; // 0: whatever the client offers
    struct config_where where;
};

struct config_route_name {
    char *name; // lower case: "a.example", "*.example"; "*": whoever names a host; "": everybody
    size_t route;
    struct config_where where;
};

// A network, or one address: the first `bits` of 128 count. IPv4 stands as it is mapped into IPv6 (::ffff:192.0.2.0 with 96 bits more).
struct config_network {
    uint8_t prefix[16];
    unsigned bits;
};

// Which headers of the PROXY protocol a listener takes.
enum config_proxy_in { CONFIG_PROXY_IN_OFF, CONFIG_PROXY_IN_V1, CONFIG_PROXY_IN_V2, CONFIG_PROXY_IN_ANY };

struct config_proxy_from {
    enum config_proxy_in mode;       // default CONFIG_PROXY_IN_OFF: then everything else is of no effect
    bool is_required;                // default true. false: who is in no network, or sends no header, is a client
    struct config_network *networks; // whose headers are believed; none: everybody's
    size_t network_count;
};

// What a listener answers by itself, in plain HTTP: that all there is is to be found at https.
struct config_redirect {
    bool is_on;    // default false: then everything else is of no effect
    char *host;    // where to; "[2001:db8::1]" with its brackets. NULL: the host that the client asks for
    unsigned port; // of https there; 1 to 65,535, default 443
    char *acme;    // absolute path of the folder that has .well-known/acme-challenge; NULL: none
    struct config_where acme_where;
};

struct config_listener {
    char *name;                    // default: the address as written
    struct config_address address; // port 0: the kernel chooses one
    struct config_tls tls;
    unsigned connections; // listeners[].limits.connections: at once, all workers together; 0, the default: no limit of its own
    struct config_tcp tcp;
    unsigned backlog;   // clients that wait to be accepted, for each worker; default 65,535: what net.core.somaxconn allows
    unsigned fast_open; // clients that may wait with data before their TCP handshake is done; 0, the default: TCP Fast Open is off
    struct config_route *routes; // the first one that is for a client takes it
    size_t route_count;
    struct config_route_name *route_names; // of all routes, by name and then by route; 1 or more of each
    size_t route_name_count;
    bool has_passthrough;  // one of the routes passes streams through
    bool never_terminates; // every client is passed through, rejected or redirected: there may be no certificate
    size_t upstream; // of clients that no route is for, index into config.upstreams; CONFIG_NO_UPSTREAM: they are rejected
    struct config_proxy_from proxy;
    char *hsts; // the header that the first final response of each connection of HTTP/1 carries, with its CRLF; NULL: none
    struct config_redirect redirect; // is_on: there are no routes, and no upstream
    bool is_plain; // `tls: off`: clients speak no TLS
    struct config_where where;
};

// A host name that servers are found by. Its addresses are servers each, and may change while Ringbolt runs.
struct config_name {
    char *text; // as it was written: "app.example:8080"
    char *host; // to look up
    uint16_t port;
    size_t first; // its servers are servers[first] to servers[first + count - 1]
    size_t count;
};

struct config_server {
    // Of a name the address that was found when the configuration was loaded; length 0 and text NULL: none, its server is to be found yet.
    struct config_address address;
    const struct config_name *name; // one of its upstream's; NULL: the address stands in the file, and stays
    // whom its certificate must be for, unless the upstream says: the name (lower case, no dot at its end) or the IP address in `address`;
    // NULL: a unix address
    char *host;
    unsigned weight;               // 0 to 256, default 1; 0: takes no connections
    bool is_backup;                // default false; true: takes some only when no other server can
    unsigned max_connections;      // at once, all workers together; 0 (default): no limit
};

enum config_balance { CONFIG_ROUND_ROBIN, CONFIG_LEAST_CONNECTIONS, CONFIG_SOURCE_HASH };

enum config_check { CONFIG_CHECK_OFF, CONFIG_CHECK_TCP, CONFIG_CHECK_TLS };

struct config_health {
    // failed connects (or handshakes) in a row that take a server out; default 3, 0: never
    unsigned max_fails;
    uint64_t fail_timeout_ns; // from then until one connection tries it again; default 10 s. Not with checks
    // default off; else the master connects to each server (TLS: and shakes hands), and what it finds counts
    enum config_check check;
    uint64_t interval_ns;     // from one check to the next; at least 100 ms, default 2 s
    uint64_t timeout_ns;      // for a check; default 2 s
    unsigned rise;            // good checks in a row that bring a server back; 1 or more, default 2
    unsigned fall;            // failed checks in a row that take it out; 1 or more, default 3
    uint64_t slow_start_ns;   // after coming back, until a server has its whole weight; default 0
};

enum config_proxy_out { CONFIG_PROXY_OUT_OFF, CONFIG_PROXY_OUT_V1, CONFIG_PROXY_OUT_V2 };

// What a header of version 2 says besides addresses; bits.
enum config_proxy_tlv {
    CONFIG_PROXY_TLV_ALPN = 1 << 0,
    CONFIG_PROXY_TLV_AUTHORITY = 1 << 1,
    CONFIG_PROXY_TLV_UNIQUE_ID = 1 << 2,
    CONFIG_PROXY_TLV_SSL = 1 << 3,
    CONFIG_PROXY_TLV_SSL_CIPHER = 1 << 4,
    CONFIG_PROXY_TLV_CERT_CN = 1 << 5,
    CONFIG_PROXY_TLV_CERT_SIG = 1 << 6,
    CONFIG_PROXY_TLV_CERT_KEY = 1 << 7,
    CONFIG_PROXY_TLV_CLIENT_CERT = 1 << 8,
    CONFIG_PROXY_TLV_CRC32C = 1 << 9,
};

struct config_proxy_to {
    enum config_proxy_out mode; // default CONFIG_PROXY_OUT_OFF
    unsigned tlvs;              // enum config_proxy_tlv; default: all but CRC32C
};

// TLS towards an upstream's servers.
struct config_server_tls {
    bool is_on;    // default false: then everything else is of no effect
    bool verifies; // default true. false: any certificate will do
    bool resumes;  // default true. false: every handshake is a whole one
    // whom the certificate must be for, and whom we ask for (SNI), lower case; NULL: each server's host
    char *name;
    // Versions, suites, groups; `alpn` is offered to the server, none: what the client agreed upon. Of certificates none, or
    // the one that we show. What only a listener has is empty.
    struct config_tls tls;
    // `ca` NULL: the system's authorities; mode CONFIG_CLIENT_AUTH_REQUIRED if there is one
    struct config_client_trust trust;
};

struct config_upstream {
    char *name;
    struct config_server_tls tls;
    enum config_balance balance; // default CONFIG_ROUND_ROBIN
    struct config_health health;
    struct {
        unsigned size;       // connections that may wait for a server that is full, all workers together; default 0
        uint64_t timeout_ns; // default 5 s
    } queue;
    struct config_proxy_to proxy;
    struct {
        // from one lookup of a name to the next; 0, or at least 100 ms; default 10 s. 0: only when told to reload
        uint64_t interval_ns;
        uint64_t timeout_ns; // for a lookup; default 5 s
        // until a name's other family is tried beside the one at hand; 0: never; default 250 ms
        uint64_t attempt_delay_ns;
        // of one name that are used; 1 to 64. 0, the default: 16, or as many as were found at start
        unsigned addresses;
        bool is_optional; // default false; true: a name may have no address yet when Ringbolt starts
    } resolve;
    struct config_name *names;
    size_t name_count; // 0: no server has a host name
    struct config_server *servers;
    size_t server_count; // 1 or more, of which at least one has a weight
    struct config_tcp tcp;
    struct config_where where;
};

enum config_ktls { CONFIG_KTLS_AUTO, CONFIG_KTLS_OFF, CONFIG_KTLS_REQUIRED };
enum config_sandbox { CONFIG_SANDBOX_AUTO, CONFIG_SANDBOX_OFF, CONFIG_SANDBOX_REQUIRED };

// Times are at most 365 days, and those in `timeouts` at least 1 ms; sizes are at most 2^63 - 1 bytes.
struct config {
    char *file;       // absolute path, or "command line"
    unsigned workers; // 1 to 1024; `auto` has become the number of CPUs this process may use
    char *user; // NULL: `ringbolt` if that account exists, else `nobody` (only used when started as root)
    struct config_where user_where;
    uint64_t shutdown_timeout_ns; // default 30 s
    struct {
        enum log_level level;   // default LOG_INFO
        enum log_format format; // default LOG_TEXT
        bool access;            // default true: one line a connection
        unsigned failures_per_second; // lines of connections that failed before their handshake was over; default 200, 0: no limit
        unsigned sample;              // of those that end well, one in so many gets a line; 1 to 1,000,000, default 1
        char *file;             // absolute path, appended to; NULL: standard error
        struct config_where file_where;
    } log;
    struct {
        enum config_ktls transmit; // default auto
        enum config_ktls receive;  // default auto
        uint64_t offload_after;    // bytes of plaintext before a direction moves into the kernel; default 0
    } ktls;
    struct {
        enum config_sandbox seccomp;  // default auto
        enum config_sandbox landlock; // default auto
        enum config_sandbox io_uring; // default auto
    } sandbox;
    struct {
        unsigned connections; // at once, all workers together; 1 to 10,000,000, default 100,000
        uint64_t client_hello; // bytes of a ClientHello; 1 KiB to 64 KiB, default 16 KiB
        uint64_t memory;      // bytes of relay buffers, all workers together; at least 1 MiB for each worker,
                              // default 256 MiB or that, whichever is more
        // Of all workers together, each 0 to 1,000,000; 0, the default: no limit.
        unsigned handshakes_per_second; // connections that are accepted in a second; more wait
        unsigned connections_per_client; // of one network at once; more are refused
        unsigned handshakes_per_second_per_client; // likewise accepted in a second
        struct {
            unsigned ipv4; // bits of an address that name its network: 1 to 32, default 32
            unsigned ipv6; // 1 to 128, default 64
        } client_network;
    } limits;
    struct {
        uint64_t handshake_ns;   // default 10 s
        uint64_t connect_ns;     // default 5 s, for each server tried
        uint64_t idle_ns;        // default 5 min without a byte in either direction
        uint64_t half_closed_ns; // default 30 s without a byte after one direction has ended
    } timeouts;
    struct {
        // percent: so many fewer connections than the fullest worker has the emptiest when connections move; 0 to 100, default 25, 0: never
        unsigned threshold;
        unsigned connections; // and at least so many fewer; 2 to 10,000,000, default 64
        uint64_t age_ns;      // of those that are moved, at least; default 10 s
    } rebalance;
    struct {
        unsigned connections; // idle ones that outlive their worker, all workers together; 0 to 10,000,000, default 16,384, 0: none
    } survival;
    struct {
        // absolute paths of files of 48 or 80 bytes (nginx's formats); the first one encrypts, all decrypt
        char **keys;
        struct config_where *key_wheres;
        size_t key_count;   // 0: the master makes them
        uint64_t rotate_ns; // default 12 h; how often the master makes a new one; with files it does nothing
        uint64_t lifetime_ns; // default 24 h; of a ticket, at most 7 d (RFC 8446 §4.6.1)
    } tickets;
    struct {
        // absolute path, or NULL: none. Default /run/ringbolt/admin.sock when root starts a file's configuration
        char *socket;
        bool is_default; // nobody asked for it: do without when it can't be had
        struct config_where where;
        struct config_address http; // TCP; text NULL, the default: no metrics over HTTP
    } admin;
    struct config_listener *listeners;
    size_t listener_count; // 1 or more
    struct config_upstream *upstreams;
    size_t upstream_count; // 1 or more, unless all listeners redirect
};

// What is wrong, collected.
struct report_line {
    char *text; // a whole line without its newline
    struct config_where where;
    bool is_warning; // nothing fails because of it
};

struct report {
    char *file; // what stands ahead of each line; owned
    struct report_line *lines;
    size_t count;       // errors and warnings
    size_t error_count; // errors alone
};

// file is copied; NULL means lines that hold only the text. Aborts on no memory: nothing runs yet.
void report_init(struct report *report, const char *file);
void report_finish(struct report *report);

// Adds one line, formatted `FILE:LINE:COLUMN: TEXT`; without a place (line 0) `FILE: TEXT`. The text says
// what is wrong and what would be right, without a full stop. An identical line is not added twice. Control
// characters in it are escaped, and what makes it very long is cut off.
void report_add(struct report *report, struct config_where where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// The same for what works and should still be changed: `FILE:LINE:COLUMN: warning: TEXT`.
void report_warn(struct report *report, struct config_where where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Writes the lines to `to`. They are sorted by place at any time.
void report_print(struct report *report, FILE *to);

// Reads the file at `path`. On success 0 and *ret is the configuration, the caller's until config_destroy().
// On failure -EINVAL (or -errno when the file could not be read), *ret untouched, and report holds why.
// Certificate and key files are not opened here: see tls.h (material_load), which adds to the same report.
int config_load(const char *path, struct config **ret, struct report *report);
// The same without looking up host names, which may take long: their servers have no addresses.
int config_load_unresolved(const char *path, struct config **ret, struct report *report);

// The same from memory; relative paths are taken from `directory` (absolute). For the fuzzer and the tests.
int config_parse(const char *text, size_t length, const char *directory, struct config **ret,
                 struct report *report);

// The configuration of `ringbolt run --listen ADDR --to ADDR [--cert FILE --key FILE]`: everything else at
// its default. chain and key are both given or both NULL; with NULL the listener has no certificate files
// (certificate_count 0) and the caller makes a development certificate. Errors as config_load().
int config_quick(const char *listen, const char *to, const char *chain, const char *key, struct config **ret,
                 struct report *report);

// NULL is accepted.
void config_destroy(struct config *config);

// The first route of the listener that takes a client which asks for the host `sni` ("": none; case and a dot at the end don't
// count) and offers the protocols in alpn[alpn_size] (RFC 7301 §3.1: each with its length in a byte ahead; a length that lies ends the
// list). NULL: none does.
const struct config_route *config_route_choose(const struct config_listener *listener, const char *sni,
                                               const uint8_t *alpn, size_t alpn_size);
// Whether a route is for the name, whatever protocols it wants, and leads somewhere.
bool config_route_knows(const struct config_listener *listener, const char *sni);
// The first of `ours` that is in offered[size], written as above; NULL: none is.
const char *config_alpn_choose(char *const *ours, size_t count, const uint8_t *offered, size_t size);

// Parses `HOST:PORT`, `[V6]:PORT`, `*:PORT` or `unix:/path` without looking a name up: HOST is a numeric
// address, or `localhost` for 127.0.0.1. 0, or -EINVAL with *ret_why (static text) saying what is wrong and
// what would be right. ret->text is allocated (free() it).
int config_address_parse(const char *text, struct config_address *ret, const char **ret_why);

// `500ms`, `10s`, `5m`, `2h`, `1d` → nanoseconds; `64k`, `1m`, `2g` or plain bytes → bytes. 0, or -EINVAL or
// -ERANGE.
int config_time_parse(const char *text, uint64_t *ret_ns);
int config_size_parse(const char *text, uint64_t *ret_bytes);

// `192.0.2.0/24`, `2001:db8::/32`, or an address for itself alone. 0, or -EINVAL with *ret_why (static text).
int config_network_parse(const char *text, struct config_network *ret, const char **ret_why);
// Whether the address is in the network; an IPv4 address is the same whether it stands in IPv6 or not. False for unix addresses.
bool config_network_holds(const struct config_network *network, const struct sockaddr_storage *address);
