// SPDX-License-Identifier: Apache-2.0
// TLS handshakes. Three ideas:
//   material  certificates and the like: see material.h
//   context   a worker's OpenSSL state for one listener (an SSL_CTX), which serves what the material holds
//   engine    one handshake: eats bytes, yields bytes, and in the end traffic secrets; it never sees a socket
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ringbolt/config.h"
#include "ringbolt/material.h"
#include "ringbolt/record.h"

// ---- context (src/tls/context.c) ----

struct tls_context;

struct tls_context_options {
    const struct config *config;
    size_t listener;
    // Looked into at each handshake, so that what is applied to it counts from the next one on.
    struct material *material;
    int keylog; // a descriptor to append secrets to, in SSLKEYLOGFILE's format; -1: none
};

// Makes the OpenSSL state of one listener: TLS version bounds, suites, groups, ALPN, client authentication as configured; only AEAD
// suites with ECDHE; compression, renegotiation, 0-RTT, session cache and OpenSSL's own kTLS off; two tickets a TLS 1.3 handshake,
// one on resumption (OpenSSL's way), none while the material has no ticket keys. A ticket is good where client authentication is the
// same (mode, depth, authorities and CRLs), at any worker, instance or listener that has its key and would serve this client: it holds
// certificates for the client's name, or what it falls back to is the certificate that the session began with, or one of its last versions.
// Not when that certificate is retired, the client's certificate has expired, or the full handshake is 7 days ago (RFC 8446
// §4.6.1). 0 and *ret (tls_context_destroy() it), or -EIO / -EINVAL with a line in the log.
// What the options point to must outlive it.
int tls_context_create(const struct tls_context_options *options, struct tls_context **ret);
void tls_context_destroy(struct tls_context *context);

// Sets up protected memory for the private keys that this process will use, and for the ephemeral ones of so many handshakes at once: locked
// if the limit allows it, left out of core dumps, wiped. For a worker while it is still privileged: the lock stays. Contexts do it otherwise,
// with limits.connections. Best effort; a second call does nothing.
void tls_protect_keys(size_t connections);

// Says what of the configuration this OpenSSL can't do: warns of groups that were chosen and are left out. 0, or -EINVAL when nothing is
// left to serve with (an error in report), or -ENOMEM. For the master, once; contexts leave groups out in silence.
int tls_check(const struct config *config, struct report *report);

// ---- towards servers (src/tls/server_files.c, src/tls/client_context.c) ----

// What the configuration names for TLS towards servers, as read from files: authorities, revocation lists, the certificates that we show.
struct tls_upstreams;

// For the master, which workers are forked from: they open no file. The system's authorities are read if an upstream wants them. 0 and *ret
// (tls_upstreams_destroy() it), or -EINVAL with all that is wrong in `report`. Aborts on no memory, as all of start-up.
int tls_upstreams_load(const struct config *config, struct loader *loader, struct report *report,
                       struct tls_upstreams **ret);
void tls_upstreams_destroy(struct tls_upstreams *upstreams); // NULL is accepted; wipes
// Whether that is what is held for an upstream (server_material's digest).
bool tls_upstreams_hold(const struct tls_upstreams *upstreams, size_t upstream, const uint8_t digest[32]);

// What is held changes with the material that it was given to (material_upstreams()); what then begins goes by the new files, and resumes nothing
// that was verified by the old ones.

// Makes the OpenSSL state for an upstream with `tls`: a tls_context for engine_create_client() alone. Versions, suites and groups as
// configured; sessions are kept and offered again, unless `resume` says otherwise. 0 and *ret (tls_context_destroy() it), or -EIO with a line in the log. What it is given must outlive it.
int tls_context_create_client(const struct config *config, size_t upstream,
                              const struct tls_upstreams *upstreams, struct tls_context **ret);

// ---- engine (src/tls/engine.c) ----

struct engine;

enum engine_status {
    ENGINE_WANTS_INPUT, // send what engine_output() has, then feed more
    ENGINE_DONE,        // send what engine_output() has; engine_outcome() may be asked
    ENGINE_FAILED, // send what engine_output() has (an alert, perhaps nothing), then close; engine_failure() says why
};

#define ENGINE_SNI_MAX  256 // with the terminating zero
#define ENGINE_ALPN_MAX 256

// What is known of the handshake. The names are known as soon as the ClientHello was read, also when it fails later.
struct engine_outcome {
    char sni
        [ENGINE_SNI_MAX]; // as the client sent it, "" without; only characters of a host name, others as '?'
    char alpn[ENGINE_ALPN_MAX]; // negotiated, "" without
    enum record_version version;
    enum record_cipher cipher;
    const char *version_name; // "TLSv1.3", static
    const char *suite_name;   // "TLS_AES_128_GCM_SHA256", OpenSSL's name, static
    bool resumed;
    // The server certificate: of this handshake, or of the one that a resumed session goes back to. 0: not known.
    uint64_t certificate;
    // The client's verified certificate, "" without one.
    char client_subject[256];    // RFC 2253, escaped to ASCII, cut off with "..." if longer
    char client_fingerprint[65]; // SHA-256, hexadecimal
    // Plaintext bytes that a record to the client may hold: RECORD_PLAINTEXT_MAX, or 512 to 4096 where a small client asked
    // for it and OpenSSL agreed, which it can't be kept from (RFC 6066 §4).
    uint16_t payload_max;
    // Keys and sequence numbers as they stand after the last byte that the engine yielded and ate.
    struct record_keys receive;
    struct record_keys transmit;
};

// A server-side handshake. NULL when there is no memory. The caller destroys it.
struct engine *engine_create_server(struct tls_context *context);

// Whom a client-side handshake is with.
struct engine_peer {
    // A host name, or an IP address as text, that its certificate must be for, unless nothing is verified; a host name is sent as SNI.
    // NULL: none of both. Must live as long as the engine.
    const char *name;
    const char *alpn; // offered where the configuration names no protocol; NULL and "": none is
    // its index in the upstream: one of its sessions may be resumed; ENGINE_NO_SESSION: none is, nor kept
    size_t server;
};

#define ENGINE_NO_SESSION SIZE_MAX

// A client-side handshake. NULL when there is no memory. The caller destroys it. engine_feed() with length 0 makes the ClientHello. What
// a client's outcome has: version, cipher, names of both, alpn, keys; the rest is empty.
struct engine *engine_create_client(struct tls_context *context, const struct engine_peer *peer);

// Eats at most `length` bytes and says in *ret_eaten how many; what comes after the handshake's last record is never eaten,
// so bytes left over are records for the record layer. May be called with length 0. After DONE or FAILED it
// must not be called again. Never blocks. data is only read during the call.
enum engine_status engine_feed(struct engine *engine, const uint8_t *data, size_t length, size_t *ret_eaten);

// The bytes to send, owned by the engine, valid until the next engine_feed(), engine_output_sent() or destroy. *ret_length
// may be 0.
const uint8_t *engine_output(struct engine *engine, size_t *ret_length);
// Says that the first `length` bytes of it are on their way (0 to what engine_output() gave).
void engine_output_sent(struct engine *engine, size_t length);

// Fills *ret after ENGINE_DONE, once; afterwards only output that is left may be fetched and sent, and engine_destroy() be
// called. 0, or -EIO when the secrets could not be had (the caller ends the connection). The caller wipes the keys with
// record_keys_wipe().
int engine_outcome(struct engine *engine, struct engine_outcome *ret);

// After ENGINE_DONE, in place of engine_outcome(): adds close_notify to the output, for who wanted to know no more than that the
// handshake succeeds.
void engine_say_goodbye(struct engine *engine);

// What is told of the certificates of both sides to a server that wants to know (PROXY protocol).
struct engine_certificates {
    // The client showed a good one, in this handshake or in the one that its session goes back to: DER, owned. Without: NULL.
    bool has_client;
    uint8_t *client;
    size_t client_size;
    char client_name[256]; // its first common name, UTF-8; "" without, if it is longer, or holds a zero byte
    // How ours is signed ("ecdsa-with-SHA256", OpenSSL's short name, static), and its key ("RSA2048", "EC256", "ED25519"). A resumed
    // session shows none: NULL and "".
    const char *signature;
    char key[32];
};

// Fills *ret between ENGINE_DONE and engine_outcome(); engine_certificates_finish() it. 0, or -ENOMEM.
int engine_certificates(const struct engine *engine, struct engine_certificates *ret);
// A zeroed or finished one is accepted.
void engine_certificates_finish(struct engine_certificates *certificates);

// After engine_outcome() of a client: whether it should get the server's next tickets. It holds much memory until it is destroyed, which
// is to happen soon, tickets or none.
bool engine_awaits_ticket(const struct engine *engine);
// Takes what a record of the server's held: whole tickets (NewSessionTicket, RFC 8446 §4.6.1), and nothing else. At most
// RECORD_PLAINTEXT_MAX bytes. Once; whether it was of use nobody need know.
void engine_take_tickets(struct engine *engine, const uint8_t *messages, size_t length);

// Names known so far (sni), for the log line of a handshake that failed or timed out.
const char *engine_sni(const struct engine *engine);

// The route of the listener that the ClientHello chose; NULL: none, or it was not read yet. With ENGINE_DONE one that leads to an upstream.
const struct config_route *engine_route(const struct engine *engine);
// After ENGINE_FAILED: whether a route rejects this client, or there is none for it.
bool engine_is_rejected(const struct engine *engine);

// After ENGINE_FAILED of a client: whether it is for the server's certificate.
bool engine_is_untrusted(const struct engine *engine);

// After ENGINE_FAILED: why, in words of a fixed kind ("no shared cipher", "plain HTTP on the TLS port", "client sent alert
// certificate_unknown", …): what OpenSSL's reason says in lower case, or one of ours. Owned by the engine.
const char *engine_failure(const struct engine *engine);
// The alert that the client sent or got; ALERT_NONE when none.
enum record_alert engine_alert(const struct engine *engine);

void engine_destroy(struct engine *engine); // NULL is accepted; wipes what it holds of secrets
