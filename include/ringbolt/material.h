// SPDX-License-Identifier: Apache-2.0
// Material: what can be replaced while Ringbolt runs: certificates with their keys, OCSP responses, client authorities and their
// revocation lists, ticket keys. Three ideas:
//   loader    reads files in the master, finds everything that is wrong with them, and makes immutable objects of what is right
//   change    such objects as a string of bytes: what the master tells itself and every worker
//   material  what is served: changes are applied to it, in the same order everywhere; OpenSSL's contexts look things up in it
//
// The master loads, encodes a change, applies it to its own material and sends the same bytes to each worker. A worker inherits the
// master's material when it is forked. Objects that the loader makes stay in the master.
//
// A *slot* is the number of one certificate in the material, chosen by the master: a new version of the same certificate goes into the
// same slot. Listeners are numbered as in the configuration.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ringbolt/config.h"

// ---- loader (src/tls/loader.c and the files it uses) ----

enum certificate_kind { CERTIFICATE_ECDSA, CERTIFICATE_RSA, CERTIFICATE_EDDSA, CERTIFICATE_KINDS };

struct material_bytes {
    uint8_t *data;
    size_t size;
};

// A certificate with its chain and private key, found good. Immutable.
struct certificate {
    uint64_t id; // the first 8 bytes of the fingerprint, big endian: names this version in logs and tickets
    uint8_t fingerprint[32]; // SHA-256 of the certificate's DER
    // what it is served for, lower case, "*.example.com" for a wildcard; one or more, unless it holds none
    char **names;
    size_t name_count;
    char *subject; // RFC 2253, escaped to ASCII
    char *issuer;
    char *serial; // hexadecimal, as openssl prints it
    int64_t not_before_s;
    int64_t not_after_s; // seconds since 1970
    enum certificate_kind kind;
    unsigned key_bits;
    bool must_staple;                     // RFC 7633 status_request
    char *responder;                      // the first OCSP URL of the certificate; NULL
    struct material_bytes leaf;           // DER
    struct material_bytes *intermediates; // DER, in the order they are sent, without the root
    size_t intermediate_count;
    // DER: whoever issued it, also a root, which is not sent; empty when nobody knows
    struct material_bytes authority;
    struct material_bytes key; // DER, PKCS#8 PrivateKeyInfo; in secret memory
};

// Authorities that client certificates are checked against, with revocation lists.
struct client_trust {
    uint8_t digest[32];         // of everything below: the same files give the same
    struct material_bytes *cas; // DER certificates
    size_t ca_count;
    struct material_bytes *crls; // DER
    size_t crl_count;
    int64_t next_update_s; // the earliest nextUpdate of the CRLs; INT64_MAX without
};

// What TLS towards an upstream's servers needs of files.
struct server_material {
    uint8_t digest[32];                  // of everything below: the same files give the same
    struct client_trust *trust;          // NULL: the system's authorities, or nothing is verified
    struct material_bytes *certificates; // DER: the one that we show, then its intermediates
    size_t certificate_count;            // 0: none is shown
    struct material_bytes key;           // its private key, PKCS#8
};

#define TICKET_KEYS_MAX 64
struct ticket_key { // RFC 5077 §4
    uint8_t name[16];
    uint8_t hmac[32];
    uint8_t aes[32];
    uint8_t size; // of hmac and aes: 16 (AES-128-CBC) or 32 (AES-256-CBC); HMAC-SHA256
};
struct ticket_keys { // in secret memory
    size_t count;    // 1 to TICKET_KEYS_MAX; the first encrypts, all decrypt
    struct ticket_key keys[TICKET_KEYS_MAX];
};

// An OCSP response that may be stapled: successful, signed by the issuer or a delegate, about this certificate, status good, in time.
struct staple {
    struct material_bytes response; // DER
    int64_t this_update_s;
    int64_t next_update_s; // INT64_MAX if the response names none
};

struct loader;

// may_ask: a passphrase that is configured nowhere is asked for at the terminal, once a file, and remembered (in secret memory) for
// later loads. Aborts on no memory, as all of start-up.
struct loader *loader_create(bool may_ask);
void loader_destroy(struct loader *loader); // NULL is accepted
// From now on nobody is asked at the terminal: for a master that serves. What was answered stays known.
void loader_ask_no_more(struct loader *loader);
// For a successor, which has no terminal: `each` is called for everything that was answered; the texts live during the call, the phrase in
// secret memory. And there: as if it had been answered. -EINVAL: it is empty, or too long.
void loader_answers(const struct loader *loader,
                    void (*each)(void *owner, const char *path, const char *phrase, size_t length),
                    void *owner);
int loader_answer(struct loader *loader, const char *path, const char *phrase, size_t length);

// Reads one certificate and checks that its files parse, that the key matches, that it is a kind we serve (RSA of at least 2048
// bits, ECDSA P-256/P-384/P-521, Ed25519), in time, meant for servers (key usage, extended key usage), and its chain in order: what is
// out of order is sorted, a missing intermediate is taken from those that the loader has seen in other files, and if it is nowhere, warned
// about. Errors and warnings go to `report` with the place in the configuration, the file's name and the cure. 0 and *ret
// (certificate_destroy() it), or -EINVAL (nothing else) and *ret untouched. Never blocks on a FIFO; files are at most 1 MiB.
int loader_certificate(struct loader *loader, const struct config_certificate *source, struct report *report,
                       struct certificate **ret);

// Reads CA bundle and CRLs. A CRL that is out of date, that no CA of the bundle signed, or that doesn't parse is an error.
int loader_trust(struct loader *loader, const struct config_client_trust *source, struct report *report,
                 struct client_trust **ret);

// Reads what an upstream's `tls` names: authorities with their lists as loader_trust() does, and the certificate with its key. What it
// does not name is empty. server_material_destroy() *ret.
int loader_servers(struct loader *loader, const struct config_server_tls *source, struct report *report,
                   struct server_material **ret);

// Reads a file of a ticket key into *ret: 48 bytes (name, AES-128, HMAC) or 80 (name, HMAC, AES-256) as nginx has them, or base64 of
// 48 or 80 bytes in one line as HAProxy has them (name, AES, HMAC in both sizes). 0, or -EINVAL with a line in report.
int loader_ticket_key(struct loader *loader, const char *path, struct config_where where,
                      struct report *report, struct ticket_key *ret);

// Reads an OCSP response from a file and checks it against the certificate. -EINVAL with a line in report.
int loader_staple(struct loader *loader, const struct certificate *certificate, const char *path,
                  struct config_where where, struct report *report, struct staple **ret);
// What staple_check() and loader_staple() say of a certificate that is revoked, so that others can tell.
#define STAPLE_REVOKED "the certificate is revoked"
// The same for bytes from elsewhere (a responder, a cache). -EBADMSG with *ret_why (static text, or thread-local until the next call).
int staple_check(const struct certificate *certificate, const uint8_t *response, size_t size, int64_t now_s,
                 struct staple **ret, const char **ret_why);
// The DER request to send to a responder for it (RFC 6960, SHA-1 issuer hashes, no nonce: RFC 5019). 0 and *ret (free()), or
// -ENODATA when its issuer is not known.
int staple_request(const struct certificate *certificate, struct material_bytes *ret);

// Makes a development certificate (ECDSA P-256, 30 days, localhost, 127.0.0.1, ::1) and its authority in memory. With ca_file not
// NULL the authority's certificate is written there as PEM (whole or not at all; a regular file is replaced, anything else refused).
int certificate_develop(const char *ca_file, struct report *report, struct certificate **ret);
// The same certificate in another process: of DER and PKCS#8 that one has in `leaf`, `authority` and `key`. -EINVAL with a line in `report`: it is
// none, or has ended.
int certificate_develop_again(const struct material_bytes *leaf, const struct material_bytes *authority,
                              const struct material_bytes *key, struct report *report,
                              struct certificate **ret);

// Each accepts NULL; secrets are wiped.
void certificate_destroy(struct certificate *certificate);
void client_trust_destroy(struct client_trust *trust);
void server_material_destroy(struct server_material *material);
void staple_destroy(struct staple *staple);

// Fills a key from the system's random source (AES-256). 0 or -EIO.
int ticket_key_make(struct ticket_key *ret);

// ---- changes (src/tls/change.c) ----

// A growing string of bytes in secret memory. Start with {0}.
struct change {
    uint8_t *data;
    size_t size;
    size_t capacity;
    unsigned count; // what was added
};

// Where a certificate is served: the listener, and its rank there (lower goes first when two are for the same name and kind; the
// certificate of the lowest rank of each kind is the listener's default).
struct material_place {
    uint32_t listener;
    uint32_t rank;
};

// Each appends; they abort on no memory (they run in the master only).
void change_certificate(struct change *change, uint32_t slot, const struct certificate *certificate,
                        const struct material_place *places, size_t place_count);
void change_certificate_gone(struct change *change, uint32_t slot);
void change_staple(struct change *change, uint32_t slot, const struct staple *staple); // NULL: none any more
void change_trust(struct change *change, uint32_t listener, const struct client_trust *trust);
void change_servers(struct change *change, uint32_t upstream, const struct server_material *material);
void change_ticket_keys(struct change *change, const struct ticket_keys *keys);
// Tickets that were given under these certificates are not resumed any more, and material_is_retired() says so.
void change_retire(struct change *change, const uint64_t *ids, size_t count);
void change_finish(struct change *change); // wipes

// ---- material (src/tls/material.c) ----

struct material;

#define MATERIAL_SLOTS_MAX (1u << 20)

// Nothing in it yet. NULL when there is no memory.
struct material *material_create(size_t listener_count);
void material_destroy(struct material *material); // NULL is accepted; wipes

// Where changes for upstreams go (tls.h). Without this call there are none.
struct tls_upstreams;
void material_upstreams(struct material *material, struct tls_upstreams *upstreams);

// Applies a change, all of it or, when the bytes are not a change, nothing: -EBADMSG; -ENOMEM leaves what was applied so far. Handshakes
// under way end with the certificate that they began with. A new certificate in a slot has no staple until it gets one of its own; the same
// one again, under other names or places, keeps what it has. What is served again is no longer retired. Each element costs what
// it names, however much else there is; a certificate takes its DER, its key, and about half a kilobyte: measured with one shared
// intermediate, 1.2 KB (ECDSA P-256) and 2.5 KB (RSA of 2048 bits).
int material_apply(struct material *material, const uint8_t *data, size_t size);

// For a process that was just forked: locks the secrets into memory again (mlock(2) is not inherited).
void material_forked(struct material *material);

// A counter for each slot, in memory that all processes share, counted up at each full handshake that used it. MATERIAL_SLOTS_MAX of
// them. Without this call nothing is counted.
void material_count(struct material *material, _Atomic uint64_t *used);

bool material_is_retired(const struct material *material, uint64_t id);
// All of those; *ret_count of them, which hold until the next change.
const uint64_t *material_retired(const struct material *material, size_t *ret_count);

// How many certificates a listener has.
size_t material_certificate_count(const struct material *material, size_t listener);
