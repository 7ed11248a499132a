// SPDX-License-Identifier: Apache-2.0
// The kernel record layer: keys into the socket by SOL_TLS (include/uapi/linux/tls.h, Documentation/networking/tls.rst),
// and the probe that finds out what this kernel does with them.
#include "ringbolt/record.h"

#include <arpa/inet.h>
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ringbolt/compat.h"
#include "ringbolt/secret.h"

#define PROBE_WAIT_MS 1000 // for one record over loopback

static_assert(RECORD_ANCILLARY_SIZE >= CMSG_SPACE(sizeof(unsigned char)), "one record type");

union crypto_info {
    struct tls_crypto_info info;
    struct tls12_crypto_info_aes_gcm_128 aes_gcm_128;
    struct tls12_crypto_info_aes_gcm_256 aes_gcm_256;
    struct tls12_crypto_info_chacha20_poly1305 chacha20_poly1305;
};

int record_kernel_attach(int fd)
{
    static const char name[] = "tls";

    return setsockopt(fd, IPPROTO_TCP, TCP_ULP, name, sizeof(name)) < 0 ? -errno : 0;
}

// GCM: 4 bytes of salt, then 8 of `iv`. In TLS 1.3 that is the rest of the iv, which the kernel xors with the sequence
// number. In TLS 1.2 it is the explicit nonce of the next record, which the kernel sends, and counts up by one with each record
// as it does the sequence number (tls_advance_record_sn() in net/tls/tls.h). So it starts where record_user_seal() would
// have gone on, at base + sequence, and no nonce comes twice under a key that moves from OpenSSL to the user layer
// and from there into the kernel. When receiving the kernel takes the nonce from the record.
static void split_gcm(const struct record_keys *keys, uint8_t salt[4], uint8_t iv[8])
{
    uint64_t base;

    memcpy(salt, keys->iv, 4);
    memcpy(iv, keys->iv + 4, 8);
    if (keys->version == RECORD_TLS13)
        return;
    memcpy(&base, iv, sizeof(base));
    base = htobe64(be64toh(base) + keys->sequence);
    memcpy(iv, &base, sizeof(base));
}

// Fills *ret for setsockopt. Its size.
static socklen_t make_info(const struct record_keys *keys, union crypto_info *ret)
{
    uint64_t sequence = htobe64(keys->sequence);

    memset(ret, 0, sizeof(*ret));
    ret->info.version = keys->version == RECORD_TLS13 ? TLS_1_3_VERSION : TLS_1_2_VERSION;
    switch (keys->cipher) {
    case RECORD_AES_128_GCM:
        ret->info.cipher_type = TLS_CIPHER_AES_GCM_128;
        split_gcm(keys, ret->aes_gcm_128.salt, ret->aes_gcm_128.iv);
        memcpy(ret->aes_gcm_128.key, keys->key, sizeof(ret->aes_gcm_128.key));
        memcpy(ret->aes_gcm_128.rec_seq, &sequence, sizeof(sequence));
        return sizeof(ret->aes_gcm_128);
    case RECORD_AES_256_GCM:
        ret->info.cipher_type = TLS_CIPHER_AES_GCM_256;
        split_gcm(keys, ret->aes_gcm_256.salt, ret->aes_gcm_256.iv);
        memcpy(ret->aes_gcm_256.key, keys->key, sizeof(ret->aes_gcm_256.key));
        memcpy(ret->aes_gcm_256.rec_seq, &sequence, sizeof(sequence));
        return sizeof(ret->aes_gcm_256);
    case RECORD_CHACHA20_POLY1305:
        ret->info.cipher_type = TLS_CIPHER_CHACHA20_POLY1305;
        memcpy(ret->chacha20_poly1305.iv, keys->iv, sizeof(ret->chacha20_poly1305.iv));
        memcpy(ret->chacha20_poly1305.key, keys->key, sizeof(ret->chacha20_poly1305.key));
        memcpy(ret->chacha20_poly1305.rec_seq, &sequence, sizeof(sequence));
        return sizeof(ret->chacha20_poly1305);
    default:
        assert(false);
        return 0;
    }
}

static int option_of(enum record_direction direction)
{
    return direction == RECORD_TRANSMIT ? TLS_TX : TLS_RX;
}

int record_kernel_set(int fd, enum record_direction direction, const struct record_keys *keys)
{
    union crypto_info info;
    socklen_t size = make_info(keys, &info);
    int error = setsockopt(fd, SOL_TLS, option_of(direction), &info, size) < 0 ? -errno : 0;

    secret_wipe(&info, sizeof(info));
    return error;
}

int record_kernel_sequence(int fd, enum record_direction direction, const struct record_keys *keys,
                           uint64_t *ret_sequence)
{
    union crypto_info info;
    socklen_t size = make_info(keys, &info);
    uint64_t sequence;
    int error = 0;

    if (getsockopt(fd, SOL_TLS, option_of(direction), &info, &size) < 0)
        error = -errno;
    if (keys->cipher == RECORD_AES_128_GCM)
        memcpy(&sequence, info.aes_gcm_128.rec_seq, sizeof(sequence));
    else if (keys->cipher == RECORD_AES_256_GCM)
        memcpy(&sequence, info.aes_gcm_256.rec_seq, sizeof(sequence));
    else
        memcpy(&sequence, info.chacha20_poly1305.rec_seq, sizeof(sequence));
    secret_wipe(&info, sizeof(info));
    if (error == 0)
        *ret_sequence = be64toh(sequence);
    return error;
}

void record_kernel_message_send(struct msghdr *message, void *ancillary, enum record_type type)
{
    struct cmsghdr *header;

    message->msg_control = ancillary;
    message->msg_controllen = CMSG_SPACE(sizeof(unsigned char));
    header = CMSG_FIRSTHDR(message);
    header->cmsg_level = SOL_TLS;
    header->cmsg_type = TLS_SET_RECORD_TYPE;
    header->cmsg_len = CMSG_LEN(sizeof(unsigned char));
    *CMSG_DATA(header) = (unsigned char)type;
}

void record_kernel_message_receive(struct msghdr *message, void *ancillary)
{
    message->msg_control = ancillary;
    message->msg_controllen = CMSG_SPACE(sizeof(unsigned char));
}

enum record_type record_kernel_message_type(const struct msghdr *message)
{
    const struct cmsghdr *header = CMSG_FIRSTHDR(message);

    if (!header || header->cmsg_level != SOL_TLS || header->cmsg_type != TLS_GET_RECORD_TYPE ||
        header->cmsg_len < CMSG_LEN(sizeof(unsigned char)))
        return RECORD_DATA;
    return *CMSG_DATA(header);
}

// ---- probe ----

static int wait_for(int fd, short events)
{
    struct pollfd entry = {.fd = fd, .events = events};
    int count = poll(&entry, 1, PROBE_WAIT_MS);

    return count < 0 ? -errno : count == 0 ? -ETIMEDOUT : 0;
}

// A connected TCP pair on loopback, never blocking: a packet filter may swallow what goes to 127.0.0.1. 0 or -errno.
static int make_pair(int ret[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int server = -1;
    int error = 0;

    if (listener < 0 || client < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 ||
        listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&address, &length) < 0 ||
        (connect(client, (struct sockaddr *)&address, length) < 0 && errno != EINPROGRESS))
        error = -errno;
    if (error == 0)
        error = wait_for(listener, POLLIN);
    if (error == 0 && (server = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) < 0)
        error = -errno;
    if (error == 0)
        error = wait_for(client, POLLOUT); // established here too: TCP_ULP insists
    if (listener >= 0)
        close(listener);
    if (error < 0 && server >= 0)
        close(server);
    if (error < 0 && client >= 0)
        close(client);
    if (error == 0) {
        ret[0] = client;
        ret[1] = server;
    }
    return error;
}

static const char probe_text[] = "a record through the kernel";
#define PROBE_WIRE_MAX (RECORD_HEAD_MAX + sizeof(probe_text) + RECORD_TAIL_MAX)

// The kernel sends; our own layer opens what arrives. 0 or -errno.
static int try_transmit(const int pair[2], const struct record_keys *keys)
{
    uint8_t wire[PROBE_WIRE_MAX];
    struct record_opened record = {.consumed = 0};
    struct record_user opener;
    enum record_alert alert;
    size_t have = 0;
    int result = 0;
    int error = 0;

    if (send(pair[0], probe_text, sizeof(probe_text), MSG_NOSIGNAL) != (ssize_t)sizeof(probe_text))
        return -errno;
    record_user_init(&opener, keys, false);
    while (result == 0 && error == 0 && have < sizeof(wire)) {
        ssize_t length;

        error = wait_for(pair[1], POLLIN);
        if (error < 0)
            break;
        length = recv(pair[1], wire + have, sizeof(wire) - have, 0);
        if (length > 0)
            have += (size_t)length;
        else
            error = length < 0 ? -errno : -EPIPE;
        result = record_user_open(&opener, wire, have, &record, &alert);
    }
    if (error == 0 && (result != 1 || record.type != RECORD_DATA || record.length != sizeof(probe_text) ||
                       memcmp(record.payload, probe_text, sizeof(probe_text)) != 0))
        error = -EPROTO;
    record_user_finish(&opener);
    return error;
}

// Our own layer seals; the kernel opens. 0 or -errno.
static int try_receive(const int pair[2], const struct record_keys *keys)
{
    uint8_t wire[PROBE_WIRE_MAX];
    char text[sizeof(probe_text)];
    struct record_user sealer;
    size_t head;
    int size;
    int error;

    record_user_init(&sealer, keys, true);
    head = record_user_head(&sealer);
    memcpy(wire + head, probe_text, sizeof(probe_text));
    size = record_user_seal(&sealer, RECORD_DATA, wire + head, sizeof(probe_text));
    record_user_finish(&sealer);
    if (size < 0)
        return size;
    if (send(pair[1], wire, (size_t)size, MSG_NOSIGNAL) != size)
        return -errno;
    error = wait_for(pair[0], POLLIN);
    if (error < 0)
        return error;
    if (recv(pair[0], text, sizeof(text), 0) != (ssize_t)sizeof(text) ||
        memcmp(text, probe_text, sizeof(text)) != 0)
        return -EPROTO;
    return 0;
}

// Sets the key of one direction and passes one record. 0 or -errno.
static int try_keys(const int pair[2], enum record_direction direction, const struct record_keys *keys)
{
    int error = record_kernel_set(pair[0], direction, keys);

    if (error < 0)
        return error;
    return direction == RECORD_TRANSMIT ? try_transmit(pair, keys) : try_receive(pair, keys);
}

// One version, cipher and direction on a pair of its own; with `rekey` a second time, under the next key. 0 or -errno.
static int try_one(struct record_keys keys, enum record_direction direction, bool rekey)
{
    int pair[2];
    int error = make_pair(pair);

    if (error < 0)
        return error;
    error = record_kernel_attach(pair[0]);
    if (error == 0)
        error = try_keys(pair, direction, &keys);
    if (error == 0 && rekey)
        error = record_keys_update(&keys);
    if (error == 0 && rekey)
        error = try_keys(pair, direction, &keys);
    close(pair[0]);
    close(pair[1]);
    return error;
}

static void fill_errors(struct record_probe *probe, int error)
{
    for (int version = 0; version < 2; version++)
        for (int cipher = 0; cipher < RECORD_CIPHER_COUNT; cipher++)
            for (int direction = 0; direction < 2; direction++)
                probe->error[version][cipher][direction] = error;
}

// Tries everything that TCP_ULP was granted for.
static void try_all(struct record_probe *probe)
{
    for (int version = 0; version < 2; version++) {
        for (int cipher = 0; cipher < RECORD_CIPHER_COUNT; cipher++) {
            // Any key will do: it protects a text that is no secret, on two sockets that are both ours.
            struct record_keys keys = {
                .version = version == 0 ? RECORD_TLS12 : RECORD_TLS13,
                .cipher = (enum record_cipher)cipher,
                .key = {1, 2, 3},
                .iv = {4, 5, 6},
                .sequence = 7,
                .secret = {8, 9},
                .secret_size = version == 0 ? 0 : 32,
            };
            int *error = probe->error[version][cipher];

            error[RECORD_TRANSMIT] = try_one(keys, RECORD_TRANSMIT, false);
            error[RECORD_RECEIVE] = try_one(keys, RECORD_RECEIVE, false);
            if (version == 1 && !probe->rekey && error[RECORD_TRANSMIT] == 0 && error[RECORD_RECEIVE] == 0)
                probe->rekey =
                    try_one(keys, RECORD_TRANSMIT, true) == 0 && try_one(keys, RECORD_RECEIVE, true) == 0;
        }
    }
}

int record_kernel_probe(struct record_probe *ret)
{
    (void)record_init(); // our own layer is the other end; without it every cipher would seem missing
    int pair[2];
    int error = make_pair(pair);

    *ret = (struct record_probe){.attach_error = error};
    if (error == 0) {
        ret->attach_error = record_kernel_attach(pair[0]);
        close(pair[0]);
        close(pair[1]);
    }
    if (ret->attach_error == 0)
        try_all(ret);
    else
        fill_errors(ret, ret->attach_error);
    return error;
}

bool record_probe_can(const struct record_probe *probe, enum record_version version,
                      enum record_cipher cipher, enum record_direction direction)
{
    return probe->error[version == RECORD_TLS13][cipher][direction] == 0;
}
