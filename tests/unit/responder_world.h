// SPDX-License-Identifier: Apache-2.0
// What the tests of OCSP responders share: a loop that buries children, certificates, a responder on it that answers as a test wants,
// and the log. The children are this executable again, see world_is_child(). Included by one file of each test.
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include <openssl/ocsp.h>

#include "ringbolt/clock.h"
#include "ringbolt/log.h"
#include "src/config/memory.h"
#include "src/control/responder.h"
#include "src/control/responder_fetch.h"
#include "src/control/responder_want.h"
#include "tests/unit/certificates.h"

#define COUNT(array)    (sizeof(array) / sizeof((array)[0]))
#define SLOTS           64
#define SECONDS_MAX     60 // of a test; only one that fails takes so long
#define CONNECTIONS_MAX 64
#define LOG_MAX         ((size_t)1 << 20)

// ---- certificates and responses ----

static EVP_PKEY *ca_key;
static X509 *ca;
static EVP_PKEY *leaf_key;

static inline void world_make_keys(void)
{
    ca_key = key_make("P-256");
    leaf_key = key_make("P-256");
    ca = certificate_of("Responder CA", ca_key, NULL, NULL);
}

static inline void world_free_keys(void)
{
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(leaf_key);
}

static inline struct material_bytes der_of(X509 *certificate)
{
    struct material_bytes bytes = {0};
    int size = i2d_X509(certificate, &bytes.data);

    must(size > 0, "DER");
    bytes.size = (size_t)size;
    return bytes;
}

// A certificate as the loader would make it, without a key. `url` may be NULL.
static inline struct certificate *subject_make(const char *name, const char *url)
{
    struct certificate *certificate = memory_allocate(sizeof(*certificate));
    X509 *leaf = certificate_of(name, leaf_key, ca, ca_key);
    struct material_bytes bytes = der_of(leaf);
    unsigned size = 0;

    must(X509_digest(leaf, EVP_sha256(), certificate->fingerprint, &size) == 1, "a digest");
    for (unsigned i = 0; i < 8; i++)
        certificate->id = certificate->id << 8 | certificate->fingerprint[i];
    certificate->leaf.data = memory_allocate(bytes.size); // OpenSSL's allocation is not ours to free()
    memcpy(certificate->leaf.data, bytes.data, bytes.size);
    certificate->leaf.size = bytes.size;
    OPENSSL_free(bytes.data);
    bytes = der_of(ca);
    certificate->authority.data = memory_allocate(bytes.size);
    memcpy(certificate->authority.data, bytes.data, bytes.size);
    certificate->authority.size = bytes.size;
    OPENSSL_free(bytes.data);
    certificate->names = memory_allocate(sizeof(*certificate->names));
    certificate->names[certificate->name_count++] = memory_copy(name);
    certificate->subject = memory_copy(name);
    certificate->responder = url != NULL ? memory_copy(url) : NULL;
    X509_free(leaf);
    return certificate;
}

struct response_wish {
    int status;       // V_OCSP_CERTSTATUS_GOOD …
    long from_s;      // thisUpdate, from now
    long until_s;     // nextUpdate, from now
    bool is_tampered; // the signature is not over this
    bool is_try_later;
};

static inline OCSP_BASICRESP *basic_make(OCSP_REQUEST *request, const struct response_wish *wish)
{
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    ASN1_TIME *from = X509_gmtime_adj(NULL, wish->from_s);
    ASN1_TIME *until = X509_gmtime_adj(NULL, wish->until_s);
    ASN1_TIME *revoked = wish->status == V_OCSP_CERTSTATUS_REVOKED ? X509_gmtime_adj(NULL, -60) : NULL;

    must(basic != NULL && from != NULL && until != NULL, "a response");
    for (int i = 0; i < OCSP_request_onereq_count(request); i++) {
        OCSP_CERTID *id = OCSP_onereq_get0_id(OCSP_request_onereq_get0(request, i));

        must(OCSP_basic_add1_status(basic, id, wish->status, 0, revoked, from, until) != NULL, "a status");
    }
    must(OCSP_basic_sign(basic, ca, ca_key, EVP_sha256(), NULL, OCSP_NOCERTS) == 1, "a signature");
    ASN1_TIME_free(from);
    ASN1_TIME_free(until);
    ASN1_TIME_free(revoked);
    return basic;
}

// The response to a request, in DER; OPENSSL_free() it.
static inline struct material_bytes response_make(const uint8_t *request_der, size_t request_size,
                                                  const struct response_wish *wish)
{
    const unsigned char *next = request_der;
    OCSP_REQUEST *request = d2i_OCSP_REQUEST(NULL, &next, (long)request_size);
    OCSP_BASICRESP *basic;
    OCSP_RESPONSE *response;
    struct material_bytes bytes = {0};
    int size;

    must(request != NULL && next == request_der + request_size, "the request must parse");
    basic = basic_make(request, wish);
    response = OCSP_response_create(wish->is_try_later ? OCSP_RESPONSE_STATUS_TRYLATER
                                                       : OCSP_RESPONSE_STATUS_SUCCESSFUL,
                                    wish->is_try_later ? NULL : basic);
    must(response != NULL, "a response");
    size = i2d_OCSP_RESPONSE(response, &bytes.data);
    must(size > 0, "DER of a response");
    bytes.size = (size_t)size;
    if (wish->is_tampered)
        bytes.data[bytes.size - 1] ^= 1;
    OCSP_RESPONSE_free(response);
    OCSP_BASICRESP_free(basic);
    OCSP_REQUEST_free(request);
    return bytes;
}

// ---- the world ----

static struct loop *loop;
static struct config config;
static struct account account;
static struct responders *responders;
static char folder[64]; // of this test
static char cache[96];
static int log_fd;
static struct loop_watch signal_watch;

// What `answered` was told, by slot.
static struct told {
    unsigned good;
    unsigned none;
    uint64_t id;
    char why[256];
    int64_t next_update_s;
} told[SLOTS];

static inline void on_answered(void *owner, uint32_t slot, uint64_t id, struct staple *staple,
                               const char *why)
{
    assert_ptr_equal(owner, &told);
    assert_true(slot < SLOTS);
    assert_true((staple != NULL) != (why != NULL));
    told[slot].id = id;
    told[slot].good += staple != NULL;
    told[slot].none += staple == NULL;
    snprintf(told[slot].why, sizeof(told[slot].why), "%s", why != NULL ? why : "");
    told[slot].next_update_s = staple != NULL ? staple->next_update_s : 0;
    staple_destroy(staple);
}

static struct fetch_answer reaped; // of a fetch that a test started itself
static struct fetch *own_fetch;
static bool is_reaped;

static inline void on_child(void *owner, unsigned events)
{
    struct signalfd_siginfo info;
    int status;
    pid_t pid;

    (void)events;
    while (read(*(int *)owner, &info, sizeof(info)) > 0)
        ;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (own_fetch != NULL && fetch_reap(own_fetch, pid, status, &reaped))
            is_reaped = true;
        else
            assert_true(responders_reap(responders, pid, status));
    }
}

// Turns the loop until it is so. A test that waits in vain is ended by its alarm.
#define until(condition)                                                                                     \
    while (!(condition))                                                                                     \
    assert_int_equal(loop_turn(loop), 0)

// How many lines of the log hold both texts.
static inline unsigned logged(const char *first, const char *second)
{
    static char text[LOG_MAX];
    ssize_t size = pread(log_fd, text, sizeof(text) - 1, 0);
    unsigned count = 0;

    must(size >= 0, "the log");
    text[size] = '\0';
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
        count += strstr(line, first) != NULL && strstr(line, second) != NULL;
    return count;
}

// ---- a responder ----

enum manner {
    GOOD,
    SHORT, // good, for a few seconds
    REVOKED,
    UNKNOWN,
    TAMPERED,
    ENDED,
    TRY_LATER,
    OTHER, // about another certificate
    GARBAGE,
    EMPTY,
    LARGE,
    PAGE,
    STATUS_500,
    CLOSE,
    HOLD, // until server_release()
    REDIRECT,
    REDIRECT_FILE,
};

struct connection {
    int fd;
    uint8_t request[4096]; // DER
    size_t request_size;
};

static struct {
    int fd;
    struct loop_watch watch;
    char url[64];
    enum manner manner;
    unsigned redirects; // still to come before the answer; of REDIRECT
    unsigned asked;
    char head[2048]; // of the last request
    struct connection held[CONNECTIONS_MAX];
    unsigned held_count;
} server;

static inline void send_all(int fd, const void *bytes, size_t size)
{
    const uint8_t *next = bytes;

    while (size > 0) {
        ssize_t sent = send(fd, next, size, MSG_NOSIGNAL);

        if (sent <= 0)
            return; // it hung up, as it may
        next += sent;
        size -= (size_t)sent;
    }
}

static inline void answer(int fd, const char *status, const char *type, const void *bytes, size_t size)
{
    char head[512];

    snprintf(head, sizeof(head),
             "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status,
             type, size);
    send_all(fd, head, strlen(head));
    send_all(fd, bytes, size);
}

static inline void answer_ocsp(const struct connection *connection, enum manner manner)
{
    static struct certificate *other;
    struct material_bytes request = {.data = (uint8_t *)(uintptr_t)connection->request,
                                     .size = connection->request_size};
    struct response_wish wish = {.status = V_OCSP_CERTSTATUS_GOOD, .from_s = -60, .until_s = 3600};
    struct material_bytes response;

    wish.is_tampered = manner == TAMPERED;
    wish.is_try_later = manner == TRY_LATER;
    if (manner == REVOKED)
        wish.status = V_OCSP_CERTSTATUS_REVOKED;
    else if (manner == UNKNOWN)
        wish.status = V_OCSP_CERTSTATUS_UNKNOWN;
    else if (manner == ENDED)
        wish.until_s = -1; // staple_check() alone would let it pass
    else if (manner == SHORT)
        wish = (struct response_wish){.status = V_OCSP_CERTSTATUS_GOOD, .from_s = 0, .until_s = 4};
    if (manner == OTHER) {
        other = subject_make("other.example", NULL);
        must(staple_request(other, &request) == 0, "a request");
        certificate_destroy(other);
    }
    response = response_make(request.data, request.size, &wish);
    answer(connection->fd, "200 OK", "application/ocsp-response", response.data, response.size);
    OPENSSL_free(response.data);
    if (manner == OTHER)
        free(request.data);
}

static inline void answer_as(const struct connection *connection, enum manner manner)
{
    static char large[FETCH_ANSWER_SIZE_MAX + 1];
    char location[128];

    switch (manner) {
    case GARBAGE:
        answer(connection->fd, "200 OK", "application/octet-stream", "0123456789", 10);
        break;
    case EMPTY:
        answer(connection->fd, "200 OK", "application/ocsp-response", "", 0);
        break;
    case LARGE:
        answer(connection->fd, "200 OK", "application/ocsp-response", large, sizeof(large));
        break;
    case PAGE:
        answer(connection->fd, "200 OK", "Text/HTML; charset=utf-8", "<html>", 6);
        break;
    case STATUS_500:
        answer(connection->fd, "500 Internal Server Error", "text/plain", "oops", 4);
        break;
    case CLOSE:
    case HOLD:
        break;
    case REDIRECT:
    case REDIRECT_FILE:
        if (server.redirects == 0) {
            answer_ocsp(connection, GOOD);
            break;
        }
        server.redirects--;
        snprintf(location, sizeof(location), "text/plain\r\nLocation: %s",
                 manner == REDIRECT ? server.url : "file:///etc/passwd");
        answer(connection->fd, "301 Moved Permanently", location, "", 0);
        break;
    default:
        answer_ocsp(connection, manner);
        break;
    }
}

// The whole request. False when it hung up.
static inline bool read_request(struct connection *connection)
{
    char text[sizeof(server.head) + sizeof(connection->request)];
    size_t size = 0;
    size_t wanted = sizeof(text);
    const char *body = NULL;

    while (size < wanted) {
        ssize_t length = recv(connection->fd, text + size, sizeof(text) - 1 - size, 0);
        const char *field;

        if (length <= 0)
            return false;
        size += (size_t)length;
        text[size] = '\0';
        if (body != NULL || (body = memmem(text, size, "\r\n\r\n", 4)) == NULL)
            continue;
        body += 4;
        field = strcasestr(text, "Content-Length: ");
        must(field != NULL, "a length");
        wanted = (size_t)(body - text) + (size_t)atoi(field + 16);
        must((size_t)(body - text) < sizeof(server.head) && wanted < sizeof(text), "a small request");
    }
    connection->request_size = wanted - (size_t)(body - text);
    must(connection->request_size <= sizeof(connection->request), "a small request");
    memcpy(connection->request, body, connection->request_size);
    memcpy(server.head, text, (size_t)(body - text));
    server.head[body - text] = '\0';
    return true;
}

static inline void on_server(void *owner, unsigned events)
{
    struct connection connection = {.fd = accept4(server.fd, NULL, NULL, SOCK_CLOEXEC)};

    (void)owner;
    (void)events;
    must(connection.fd >= 0, "accept");
    if (read_request(&connection)) {
        server.asked++;
        if (server.manner == HOLD) {
            must(server.held_count < CONNECTIONS_MAX, "fewer connections");
            server.held[server.held_count++] = connection;
            return;
        }
        answer_as(&connection, server.manner);
    }
    close(connection.fd);
}

static inline void server_release(enum manner manner)
{
    while (server.held_count > 0) {
        struct connection *connection = &server.held[--server.held_count];

        answer_as(connection, manner);
        close(connection->fd);
    }
}

// Has its address; whoever connects is refused until server_listen().
static inline void server_open(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);

    memset(&server, 0, sizeof(server));
    server.watch.fd = -1;
    server.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(server.fd >= 0 && bind(server.fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
             getsockname(server.fd, (struct sockaddr *)&address, &length) == 0,
         "a server");
    snprintf(server.url, sizeof(server.url), "http://127.0.0.1:%u/ocsp", ntohs(address.sin_port));
}

static inline void server_listen(void)
{
    must(listen(server.fd, 128) == 0, "listen");
    assert_int_equal(loop_watch(loop, &server.watch, server.fd, EPOLLIN, on_server, NULL), 0);
}

static inline void server_close(void)
{
    while (server.held_count > 0)
        close(server.held[--server.held_count].fd);
    loop_unwatch(loop, &server.watch);
    if (server.fd >= 0)
        close(server.fd);
    server.fd = -1;
}

// ---- set-up ----

static struct config_ocsp *ocsp; // of the one listener

static inline void world_start(void)
{
    assert_int_equal(responders_create(loop, &config, &account, on_answered, &told, &responders), 0);
}

static inline void world_stop(void)
{
    responders_destroy(responders);
    responders = NULL;
}

static inline void *want_of(uint32_t slot, const char *name)
{
    struct certificate *certificate = subject_make(name, server.url);

    responders_want(responders, slot, certificate, ocsp, NULL);
    return certificate;
}

static inline int world_set_up(void **unused)
{
    static int signals = -1;
    static struct config_listener listener;
    sigset_t set;

    (void)unused;
    alarm(SECONDS_MAX);
    snprintf(folder, sizeof(folder), "/tmp/ringbolt-responder-XXXXXX");
    must(mkdtemp(folder) != NULL, "a folder");
    snprintf(cache, sizeof(cache), "%s/cache", folder);
    log_fd = memfd_create("log", MFD_CLOEXEC);
    log_setup(LOG_JSON, LOG_DEBUG, log_fd);
    memset(told, 0, sizeof(told));
    own_fetch = NULL;
    is_reaped = false;
    assert_int_equal(loop_create(&loop), 0);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (signals < 0)
        signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    assert_int_equal(loop_watch(loop, &signal_watch, signals, EPOLLIN, on_child, &signals), 0);
    listener = (struct config_listener){
        .tls.ocsp = {.fetch = true, .cache = cache, .timeout_ns = 30 * CLOCK_NS_PER_S}};
    ocsp = &listener.tls.ocsp;
    config = (struct config){.listeners = &listener, .listener_count = 1};
    account = (struct account){.uid = (uid_t)-1, .gid = (gid_t)-1};
    responders_retry_ns = 20 * CLOCK_NS_PER_MS;
    server_open();
    return 0;
}

static inline int world_tear_down(void **unused)
{
    char command[128];

    (void)unused;
    world_stop();
    server_close();
    loop_unwatch(loop, &signal_watch);
    loop_destroy(loop);
    log_setup(LOG_TEXT, LOG_INFO, STDERR_FILENO);
    close(log_fd);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    must(system(command) == 0, command);
    errno = 0;
    assert_int_equal(waitpid(-1, NULL, 0), -1); // no child is left, whatever became of it
    assert_int_equal(errno, ECHILD);
    alarm(0);
    return 0;
}

// The file in which an answer for the certificate is kept.
static inline char *kept_path(const struct certificate *certificate)
{
    static char path[256];
    size_t length = (size_t)snprintf(path, sizeof(path), "%s/", cache);

    for (size_t i = 0; i < sizeof(certificate->fingerprint); i++)
        length += (size_t)snprintf(path + length, sizeof(path) - length, "%02x", certificate->fingerprint[i]);
    snprintf(path + length, sizeof(path) - length, ".ocsp");
    return path;
}

// ---- this executable as a child ----

static inline bool world_is_child(int argc, char **argv)
{
    return argc == 2 && strcmp(argv[1], FETCH_COMMAND) == 0;
}

// What the question that waits in standard input is for, without taking it out.
static inline void peek_url(char *url, size_t size)
{
    uint8_t bytes[sizeof(struct fetch_question_header) + FETCH_URL_SIZE_MAX];
    struct fetch_question_header header = {0};
    ssize_t length = recv(STDIN_FILENO, bytes, sizeof(bytes), MSG_PEEK);

    url[0] = '\0';
    if (length < (ssize_t)sizeof(header))
        return;
    memcpy(&header, bytes, sizeof(header));
    if (header.url_size < size && sizeof(header) + header.url_size <= (size_t)length) {
        memcpy(url, bytes + sizeof(header), header.url_size);
        url[header.url_size] = '\0';
    }
}
