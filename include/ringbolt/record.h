// SPDX-License-Identifier: Apache-2.0
// The record layer: protects one direction of an endpoint after the handshake (RFC 8446 §5, RFC 5246 §6.2 with
// the AEAD suites of RFC 5288 and RFC 7905). Two versions: `user`, here in memory with EVP, and `kernel`, SOL_TLS on
// the socket. Both start from the same struct record_keys.
//
// Conventions: 0 or a count on success, -errno for system work. What a peer sent wrong is reported as an alert
// (enum record_alert), never asserted.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_PLAINTEXT_MAX 16384 // RFC 8446 §5.1: content of one record
#define RECORD_HEADER_SIZE   5     // type, version, length
#define RECORD_TAG_SIZE      16
#define RECORD_KEY_MAX       32
#define RECORD_IV_SIZE       12
#define RECORD_SECRET_MAX    48
// RFC 8446 §5.2: ciphertext of TLS 1.3 is at most 2^14 + 256; TLS 1.2's AEAD suites stay below that too (ours at most
// 16384 + 8 + 16), so one bound serves both.
#define RECORD_WIRE_MAX (RECORD_HEADER_SIZE + RECORD_PLAINTEXT_MAX + 256)
// Room that record_user_seal() needs ahead of a payload and behind it, whatever version and cipher.
#define RECORD_HEAD_MAX (RECORD_HEADER_SIZE + 8)
#define RECORD_TAIL_MAX (1 + RECORD_TAG_SIZE)

enum record_version { RECORD_TLS12 = 0x0303, RECORD_TLS13 = 0x0304 };

enum record_cipher { RECORD_AES_128_GCM, RECORD_AES_256_GCM, RECORD_CHACHA20_POLY1305, RECORD_CIPHER_COUNT };

enum record_type { // RFC 8446 §5.1
    RECORD_CHANGE_CIPHER_SPEC = 20,
    RECORD_ALERT = 21,
    RECORD_HANDSHAKE = 22,
    RECORD_DATA = 23,
};

enum record_alert { // RFC 8446 §6
    ALERT_CLOSE_NOTIFY = 0,
    ALERT_UNEXPECTED_MESSAGE = 10,
    ALERT_BAD_RECORD_MAC = 20,
    ALERT_RECORD_OVERFLOW = 22,
    ALERT_HANDSHAKE_FAILURE = 40,
    ALERT_ILLEGAL_PARAMETER = 47,
    ALERT_DECODE_ERROR = 50,
    ALERT_INTERNAL_ERROR = 80,
    ALERT_USER_CANCELED = 90,
    ALERT_NO_RENEGOTIATION = 100,
    ALERT_NONE = 255, // not on the wire
};

// What protects one direction. Plain data: copied by value, wiped with record_keys_wipe() where it leaves.
struct record_keys {
    enum record_version version;
    enum record_cipher cipher;
    uint8_t key[RECORD_KEY_MAX]; // record_cipher_key_size() bytes of it
    // TLS 1.2 with GCM: 4 bytes of salt, then 8 of the base of the explicit nonces that we send: a record carries base +
    // sequence, big endian (RFC 5288 §3). Where OpenSSL sent the key's first record (its Finished, sequence 0), the base
    // is the explicit nonce of that record: then all nonces under the key are one count and none comes twice. With
    // a base of 0 the nonce is the sequence number. Receiving takes the nonce from the record.
    uint8_t iv[RECORD_IV_SIZE];
    uint64_t sequence;                 // of the next record
    uint8_t secret[RECORD_SECRET_MAX]; // TLS 1.3: the traffic secret, for KeyUpdate; secret_size 0 in TLS 1.2
    uint8_t secret_size;
};

// ---- cipher table (src/record/cipher.c) ----

// Fetches the algorithms once for this process. 0, or -ENOTSUP when OpenSSL offers none of them. Call before anything
// that takes a cipher; again is harmless.
int record_init(void);
void record_finish(void);
// Whose code encrypts this cipher's records in user space, after record_init(): "OpenSSL" or "libipsec-mb".
const char *record_cipher_library(enum record_cipher cipher);

bool record_cipher_is_there(enum record_cipher cipher); // after record_init(): OpenSSL offers it
size_t record_cipher_key_size(enum record_cipher cipher);
const char *record_cipher_name(enum record_cipher cipher); // "AES-128-GCM"
const char *
record_alert_name(enum record_alert alert); // "bad_record_mac"; "unknown" for what the RFC has not
// The IANA suite (TLS_AES_128_GCM_SHA256 = 0x1301, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 = 0xC02F, …) → version,
// cipher, digest name for HKDF or the PRF ("SHA256", "SHA384"). False for a suite we don't do.
bool record_cipher_from_suite(uint16_t suite, enum record_version *ret_version,
                              enum record_cipher *ret_cipher, const char **ret_digest);

// TLS 1.3: fills key, iv and sequence 0 from version, cipher, secret (RFC 8446 §7.3). The digest follows from
// secret_size: 32 SHA-256, 48 SHA-384. 0 or -EIO.
int record_keys_derive(struct record_keys *keys);
// TLS 1.3: steps to the next generation: secret, key, iv, sequence 0 (RFC 8446 §7.2). -ENOTSUP for TLS 1.2. 0 or -EIO.
int record_keys_update(struct record_keys *keys);
void record_keys_wipe(struct record_keys *keys);

// How many full-size records one key may protect before it must be replaced (RFC 8446 §5.5: 2^24.5 for AES-GCM; no
// practical limit for ChaCha20-Poly1305: UINT64_MAX).
uint64_t record_cipher_limit(enum record_cipher cipher);

// ---- user record layer (src/record/record_user.c) ----

// One direction. Embedded in its owner. The cipher context (about a kilobyte in OpenSSL) exists only between
// the first record after a rest and record_user_rest(): an idle connection keeps only its keys.
struct record_user {
    struct record_keys keys;
    void *context; // of the cipher's AEAD (src/record/aead.h); NULL at rest
    bool seals;              // direction: true seals, false opens
};

// Copies the keys. Cannot fail: the context is made on first use.
void record_user_init(struct record_user *record, const struct record_keys *keys, bool seals);
// Wipes the keys and frees the context.
void record_user_finish(struct record_user *record);
// Gives the context back until the next record. No effect on the keys.
void record_user_rest(struct record_user *record);
// record_keys_update() and a new context. 0, -ENOTSUP, -EIO.
int record_user_update(struct record_user *record);

// Bytes ahead of the payload (5, or 13 in TLS 1.2 with GCM) and behind it (16, or 17 in TLS 1.3).
size_t record_user_head(const struct record_user *record);
size_t record_user_tail(const struct record_user *record);

// Seals one record in place. `payload` points at `length` bytes (0 to RECORD_PLAINTEXT_MAX) with
// record_user_head() writable bytes ahead of it and record_user_tail() behind it; aligned to 16 bytes it is about 2 %
// faster. On success the size of the whole record on the wire, which starts at payload - head. -EIO when OpenSSL
// fails (the direction is then unusable), -EKEYEXPIRED when the sequence number would wrap.
int record_user_seal(struct record_user *record, enum record_type type, uint8_t *payload, size_t length);

struct record_opened {
    enum record_type type;
    uint8_t *payload; // inside the record that was given, decrypted in place
    size_t length;    // 0 to RECORD_PLAINTEXT_MAX
    size_t consumed;  // bytes of the whole record
};

// Opens the first record of data[size] in place. Returns
//   1  a record was opened; *ret is filled
//   0  the record is not whole yet; ret->consumed is the size that the whole record will have, or RECORD_HEADER_SIZE
//      while even the header is incomplete. Nothing was changed, data of an unacceptable length excepted (see below).
//  -1  the peer broke the protocol (or OpenSSL failed): *ret_alert is the alert to send; the direction is unusable.
// A header that announces too much or a wrong type or version is refused as soon as it is there, before the body.
// TLS 1.3: padding is stripped, the inner type is returned; change_cipher_spec after the handshake is refused.
// The type is RECORD_ALERT with exactly 2 bytes, RECORD_HANDSHAKE with at least 1, or RECORD_DATA with any number: an
// endless row of empty data records is the caller's to count. After -1 the body holds nothing of use.
int record_user_open(struct record_user *record, uint8_t *data, size_t size, struct record_opened *ret,
                     enum record_alert *ret_alert);

// ---- kernel record layer (src/record/record_kernel.c; linux/tls.h, Documentation/networking/tls.rst) ----

enum record_direction { RECORD_TRANSMIT, RECORD_RECEIVE };

// Puts the TLS upper layer on a connected TCP socket (TCP_ULP). 0 or -errno; -ENOENT: the kernel has no tls module
// (or may not load it); -ENOTCONN: not established. Harmless until a key is set.
int record_kernel_attach(int fd);

// Sets (or, where the kernel can, replaces) the keys of one direction, sequence number included. 0 or -errno; -EBUSY:
// a second key and the kernel can't rekey; -ENOENT: no such AEAD. After success the direction cannot fall back.
int record_kernel_set(int fd, enum record_direction direction, const struct record_keys *keys);

// The live sequence number of one direction. 0 or -errno.
int record_kernel_sequence(int fd, enum record_direction direction, const struct record_keys *keys,
                           uint64_t *ret_sequence);

// Size of the ancillary buffer for sendmsg and recvmsg: CMSG_SPACE(1).
#define RECORD_ANCILLARY_SIZE 24
struct msghdr;
// Prepares message->msg_control (a buffer of RECORD_ANCILLARY_SIZE, 8-byte aligned) to send a record of `type`
// (TLS_SET_RECORD_TYPE), or to receive one.
void record_kernel_message_send(struct msghdr *message, void *ancillary, enum record_type type);
void record_kernel_message_receive(struct msghdr *message, void *ancillary);
// The type of what recvmsg filled (TLS_GET_RECORD_TYPE); RECORD_DATA when there is no such message.
enum record_type record_kernel_message_type(const struct msghdr *message);

// What this kernel can do, found by doing it on a loopback pair.
struct record_probe {
    int attach_error; // 0, or why TCP_ULP failed (-ENOENT: module missing, -EPERM, …)
    // [0] TLS 1.2, [1] TLS 1.3; by cipher; by direction: 0 works, else -errno
    int error[2][RECORD_CIPHER_COUNT][2];
    bool rekey; // a second key is accepted (6.14 and later)
};
// Opens a loopback TCP pair, tries everything, closes it. 0, or -errno when not even the pair could be made (then
// attach_error holds the same and every entry of error is set).
int record_kernel_probe(struct record_probe *ret);
// Whether keys of that version, cipher and direction can go into the kernel, by a probe.
bool record_probe_can(const struct record_probe *probe, enum record_version version,
                      enum record_cipher cipher, enum record_direction direction);
