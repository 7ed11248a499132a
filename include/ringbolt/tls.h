// SPDX-License-Identifier: Apache-2.0
// TLS handshakes. Three ideas:
//   material  what the master reads from files and validates: certificate chains and keys
//   context   a worker's OpenSSL state for one listener, made from material (an SSL_CTX)
//   engine    one handshake: eats bytes, yields bytes, and in the end traffic secrets; it never sees a socket
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ringbolt/config.h"
#include "ringbolt/record.h"

// ---- material (src/tls/material.c) ----

struct material; // the certificates and keys of every listener of one configuration

// Reads every certificate and key that the configuration names and checks that each chain parses, each key matches
// its certificate, each is a kind we serve (RSA of at least 2048 bits, ECDSA P-256/P-384/P-521, Ed25519), not expired (an error; one
// that isn't valid yet too) and that no key asks for a passphrase. A key file that others can read is only warned about in the
// log. Everything wrong goes into `report` with the place in the configuration, the file's name, and the cure. 0 and *ret
// (material_destroy() it), or -EINVAL and *ret untouched.
int material_load(const struct config *config, struct material **ret, struct report *report);

// The same for a configuration by config_quick() without files: makes a certificate authority and a server certificate (ECDSA
// P-256, valid for 30 days, subjectAltName localhost, 127.0.0.1, ::1) in memory. With ca_file not NULL the authority's
// certificate is written there as PEM (whole or not at all; a regular file is replaced, anything else refused with -EEXIST). 0,
// or -errno with a line in `report`.
int material_develop(const struct config *config, const char *ca_file, struct material **ret,
                     struct report *report);

void material_destroy(struct material *material); // NULL is accepted; private keys are wiped by OpenSSL

// Keys for session tickets, made by the master before it starts workers, so that a session resumes at any of them.
#define TICKET_KEYS_SIZE 80
// Fills keys[TICKET_KEYS_SIZE] from the system's random source. 0 or -EIO.
int ticket_keys_make(uint8_t *keys);

// ---- context (src/tls/context.c) ----

struct tls_context;

// Makes the OpenSSL state of one listener: TLS version bounds, only AEAD suites with ECDHE (AES-128-GCM, AES-256-GCM,
// ChaCha20-Poly1305), RSA and ECDSA certificates side by side, ALPN, tickets under ticket_keys; compression, renegotiation, 0-RTT,
// session cache and OpenSSL's own kTLS off; two tickets a TLS 1.3 handshake, one on resumption (OpenSSL's way).
// 0 and *ret (tls_context_destroy() it), or -EIO / -EINVAL with a line in the log.
// config and material must outlive it.
int tls_context_create(const struct config *config, size_t listener, const struct material *material,
                       const uint8_t *ticket_keys, struct tls_context **ret);
void tls_context_destroy(struct tls_context *context);

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
    // Plaintext bytes that a record to the client may hold: RECORD_PLAINTEXT_MAX, or 512 to 4096 where a small client asked
    // for it and OpenSSL agreed, which it can't be kept from (RFC 6066 §4).
    uint16_t payload_max;
    // Keys and sequence numbers as they stand after the last byte that the engine yielded and ate.
    struct record_keys receive;
    struct record_keys transmit;
};

// A server-side handshake. NULL when there is no memory. The caller destroys it.
struct engine *engine_create_server(struct tls_context *context);

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

// Names known so far (sni), for the log line of a handshake that failed or timed out.
const char *engine_sni(const struct engine *engine);

// After ENGINE_FAILED: why, in words of a fixed kind ("no shared cipher", "plain HTTP on the TLS port", "client sent alert
// certificate_unknown", …): what OpenSSL's reason says in lower case, or one of ours. Owned by the engine.
const char *engine_failure(const struct engine *engine);
// The alert that the client sent or got; ALERT_NONE when none.
enum record_alert engine_alert(const struct engine *engine);

void engine_destroy(struct engine *engine); // NULL is accepted; wipes what it holds of secrets
