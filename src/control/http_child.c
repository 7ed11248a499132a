// SPDX-License-Identifier: Apache-2.0
// The process that serves metrics, and the only user of libmicrohttpd: one thread, few connections, each with little memory and little time.
// It knows nothing but what the master tells it.
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/landlock.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <microhttpd.h>

#include "http_page.h"
#include "ringbolt/clock.h"

#define STATUS_USAGE    2
#define CONNECTIONS_MAX 64u
#define MEMORY_MAX      ((size_t)16 * 1024) // of each connection: its request's head fits in, or it is refused
#define IDLE_S          10u
#define REQUEST_NS      (15 * CLOCK_NS_PER_S)   // for a request and its answer
#define PATIENCE_MS     2000                    // with the master
#define FRESH_NS        (100 * CLOCK_NS_PER_MS) // so long an answer of the master's serves others too
#define ANSWER_MAX      ((size_t)256 << 20)
#define DESCRIPTORS_MAX (CONNECTIONS_MAX + 32)
#define TURN_MS         1000
#define FILE_RIGHTS     ((UINT64_C(1) << 13) - 1) // all that Landlock's first version knows

struct visit { // a connection
    int fd;    // -1: none
    uint64_t since_ns;
};

// SIGTERM came: another process listens by now. No new connections, and the end when those that are there are over.
static volatile sig_atomic_t is_to_leave;

struct child {
    bool is_leaving;
    char *input; // of the master's answer
    size_t input_size;
    size_t input_length;
    unsigned owed; // answers that are still to come
    json_t *status;
    uint64_t status_ns;
    bool is_master_gone;
    struct visit visits[CONNECTIONS_MAX];
};

// ---- the master ----

// Waits for more of an answer. False: not within `until_ns`, or never.
static bool hear(struct child *child, uint64_t until_ns)
{
    struct pollfd polled = {.fd = STDIN_FILENO, .events = POLLIN};
    uint64_t now_ns = clock_now_ns();
    ssize_t length;

    if (child->input_size - child->input_length < 65536) {
        size_t size = child->input_size > 0 ? 2 * child->input_size : 262144;
        char *input = size <= ANSWER_MAX ? realloc(child->input, size) : NULL;

        if (!input)
            return false;
        child->input = input;
        child->input_size = size;
    }
    if (now_ns >= until_ns || poll(&polled, 1, (int)((until_ns - now_ns) / CLOCK_NS_PER_MS) + 1) <= 0)
        return false;
    length = recv(STDIN_FILENO, child->input + child->input_length, child->input_size - child->input_length,
                  MSG_DONTWAIT);
    if (length == 0 || (length < 0 && errno != EAGAIN && errno != EINTR))
        child->is_master_gone = true;
    child->input_length += length > 0 ? (size_t)length : 0;
    return !child->is_master_gone;
}

// The next answer, which ends in a newline that nothing follows. NULL: it did not come in time, or makes no sense.
static json_t *take_answer(struct child *child, uint64_t until_ns)
{
    json_t *json;

    while (child->input_length == 0 || child->input[child->input_length - 1] != '\n') {
        if (!hear(child, until_ns))
            return NULL;
    }
    json = json_loadb(child->input, child->input_length, 0, NULL);
    child->input_length = 0;
    child->owed--;
    return json;
}

// NULL: the master does not answer.
static json_t *ask(struct child *child, char question)
{
    uint64_t until_ns = clock_now_ns() + PATIENCE_MS * CLOCK_NS_PER_MS;

    while (child->owed > 0) { // what came too late for somebody else
        json_t *late = take_answer(child, until_ns);

        if (!late)
            return NULL;
        json_decref(late);
    }
    if (send(STDIN_FILENO, &question, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
        return NULL;
    child->owed++;
    return take_answer(child, until_ns);
}

// The document, a little old perhaps: however many ask, the master is not asked more often than that. A borrowed reference, or NULL.
static json_t *status_of(struct child *child)
{
    uint64_t now_ns = clock_now_ns();

    if (child->status && now_ns - child->status_ns < FRESH_NS)
        return child->status;
    json_decref(child->status);
    child->status = ask(child, HTTP_ASK_STATUS);
    child->status_ns = clock_now_ns();
    return child->status;
}

// ---- answers ----

// `text` is freed with the answer.
static enum MHD_Result reply(struct MHD_Connection *connection, unsigned code, const char *type, char *text,
                             size_t length)
{
    struct MHD_Response *response =
        text ? MHD_create_response_from_buffer(length, text, MHD_RESPMEM_MUST_FREE) : NULL;
    enum MHD_Result result;

    if (!response) {
        free(text);
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (is_to_leave)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result say(struct MHD_Connection *connection, unsigned code, const char *words)
{
    char *text = NULL;
    int length = asprintf(&text, "%s\n", words);

    return reply(connection, code, "text/plain; charset=utf-8", length < 0 ? NULL : text,
                 length < 0 ? 0 : (size_t)length);
}

static enum MHD_Result no_answer(struct MHD_Connection *connection)
{
    return say(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "the master does not answer");
}

static enum MHD_Result serve_metrics(struct child *child, struct MHD_Connection *connection)
{
    const json_t *status = status_of(child);
    size_t length = 0;
    char *text = status ? http_metrics(status, &length) : NULL;

    return text ? reply(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text, length)
                : no_answer(connection);
}

static enum MHD_Result serve_status(struct child *child, struct MHD_Connection *connection)
{
    const json_t *status = status_of(child);
    char *text = status ? json_dumps(status, JSON_COMPACT) : NULL;

    return text ? reply(connection, MHD_HTTP_OK, "application/json", text, strlen(text))
                : no_answer(connection);
}

static enum MHD_Result serve_live(struct child *child, struct MHD_Connection *connection)
{
    json_t *health = ask(child, HTTP_ASK_HEALTH);
    bool is_answered = health != NULL;

    json_decref(health);
    return is_answered ? say(connection, MHD_HTTP_OK, "ok") : no_answer(connection);
}

static enum MHD_Result serve_ready(struct child *child, struct MHD_Connection *connection)
{
    json_t *health = ask(child, HTTP_ASK_HEALTH);
    const char *reason = json_string_value(json_object_get(health, "reason"));
    enum MHD_Result result;

    if (!health)
        return no_answer(connection);
    result = reason ? say(connection, MHD_HTTP_SERVICE_UNAVAILABLE, reason)
                    : say(connection, MHD_HTTP_OK, "ready");
    json_decref(health);
    return result;
}

// What a browser may do with it is the least that it needs.
static enum MHD_Result serve_page(struct child *child, struct MHD_Connection *connection)
{
    static const struct {
        const char *name;
        const char *value;
    } headers[] = {
        {MHD_HTTP_HEADER_CONTENT_TYPE, "text/html; charset=utf-8"},
        {MHD_HTTP_HEADER_CACHE_CONTROL, "no-store"},
        {"Content-Security-Policy", http_page_policy},
        {"Cross-Origin-Opener-Policy", "same-origin"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Referrer-Policy", "no-referrer"},
        {"X-Content-Type-Options", "nosniff"},
        {"X-Frame-Options", "DENY"},
    };
    struct MHD_Response *response =
        MHD_create_response_from_buffer(http_page_length, (void *)http_page, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result = MHD_NO;

    (void)child;
    if (!response)
        return MHD_NO;
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        (void)MHD_add_response_header(response, headers[i].name, headers[i].value);
    if (is_to_leave)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    result = MHD_queue_response(connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
}

// ---- requests ----

static const struct {
    const char *path;
    enum MHD_Result (*serve)(struct child *child, struct MHD_Connection *connection);
} pages[] = {
    {"/", serve_page},        {"/metrics", serve_metrics}, {"/status.json", serve_status},
    {"/healthz", serve_live}, {"/readyz", serve_ready},
};

static bool is_loopback(const struct sockaddr *address)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
    const struct sockaddr_in *in = (const struct sockaddr_in *)address;

    if (address->sa_family == AF_INET)
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    return address->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

// A page from elsewhere, in a browser on this machine, can make its own name lead here (DNS rebinding), and would then read what is meant for this
// machine alone. Such a request has that name in its Host; those that are meant for us have an address, or localhost.
static bool is_host_good(struct MHD_Connection *connection)
{
    const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
    struct sockaddr_storage local = {.ss_family = AF_UNSPEC};
    socklen_t length = sizeof(local);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    char name[64] = "";
    struct in6_addr address;
    size_t size;

    if (!host || !info || getsockname(info->connect_fd, (struct sockaddr *)&local, &length) < 0 ||
        !is_loopback((struct sockaddr *)&local))
        return true;
    if (host[0] == '[')
        size = strcspn(++host, "]");
    else
        size = strcspn(host, ":");
    if (size >= sizeof(name))
        return false;
    memcpy(name, host, size);
    return strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, &address) == 1 ||
           inet_pton(AF_INET6, name, &address) == 1;
}

static enum MHD_Result on_request(void *owner, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **marked)
{
    static int mark;

    (void)version;
    (void)upload;
    if (!*marked) { // the head is there; a body would follow
        *marked = &mark;
        return MHD_YES;
    }
    if (*upload_size > 0) { // nobody wants it
        *upload_size = 0;
        return MHD_YES;
    }
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return say(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET and HEAD are all there is");
    if (!is_host_good(connection))
        return say(connection, MHD_HTTP_MISDIRECTED_REQUEST,
                   "this is for localhost, or an address, not for that host");
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        if (strcmp(url, pages[i].path) == 0)
            return pages[i].serve(owner, connection);
    }
    return say(connection, MHD_HTTP_NOT_FOUND, "there are /, /metrics, /status.json, /healthz and /readyz");
}

// ---- those who take too long ----

static void on_connection(void *owner, struct MHD_Connection *connection, void **ret_visit,
                          enum MHD_ConnectionNotificationCode code)
{
    struct child *child = owner;
    struct visit *visit = *ret_visit;

    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (visit)
            visit->fd = -1;
        return;
    }
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        visit = &child->visits[i];
        if (visit->fd < 0) {
            visit->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
            visit->since_ns = clock_now_ns();
            *ret_visit = visit;
            return;
        }
    }
}

static void on_completed(void *owner, struct MHD_Connection *connection, void **marked,
                         enum MHD_RequestTerminationCode code)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct visit *visit = info ? info->socket_context : NULL;

    (void)owner;
    (void)marked;
    (void)code;
    if (visit)
        visit->since_ns = clock_now_ns();
}

// libmicrohttpd's own timeout counts from the last byte: who sends one now and then would stay for ever.
static void hurry(const struct child *child)
{
    uint64_t now_ns = clock_now_ns();

    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        if (child->visits[i].fd >= 0 && now_ns - child->visits[i].since_ns > REQUEST_NS)
            (void)shutdown(child->visits[i].fd, SHUT_RDWR); // libmicrohttpd sees its end
    }
}

// ---- life ----

static void limit(int resource, rlim_t most)
{
    struct rlimit value = {.rlim_cur = most, .rlim_max = most};
    struct rlimit now;

    if (getrlimit(resource, &now) == 0 && now.rlim_max < most)
        value.rlim_cur = value.rlim_max = now.rlim_max;
    (void)setrlimit(resource, &value);
}

// What it does not need it can't do: open or start anything, write files, dump its memory. As far as the kernel has it.
static void confine(void)
{
    struct landlock_ruleset_attr attributes = {.handled_access_fs = FILE_RIGHTS};
    int ruleset =
        (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes.handled_access_fs), 0);

    (void)prctl(PR_SET_NAME, "ringbolt-http"); // instead of "exe"
    limit(RLIMIT_FSIZE, 0);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, DESCRIPTORS_MAX);
    if (ruleset < 0)
        return;
    (void)syscall(SYS_landlock_restrict_self, ruleset, 0);
    close(ruleset);
}

// Not with MHD_USE_EPOLL: that (0.9.75, edge-triggered) misses an end of file that comes together with the last bytes.
static struct MHD_Daemon *start(struct child *child)
{
    return MHD_start_daemon(
        MHD_NO_FLAG, 0, NULL, NULL, on_request, child, MHD_OPTION_LISTEN_SOCKET, (MHD_socket)STDOUT_FILENO,
        MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT, MEMORY_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, child, MHD_OPTION_NOTIFY_COMPLETED, on_completed, child, MHD_OPTION_END);
}

static struct timeval wait_time(struct MHD_Daemon *daemon)
{
    MHD_UNSIGNED_LONG_LONG timeout;
    long ms = MHD_get_timeout(daemon, &timeout) == MHD_YES && timeout < TURN_MS ? (long)timeout : TURN_MS;

    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

static void on_term(int number)
{
    (void)number;
    is_to_leave = 1;
}

static void leave(struct child *child, struct MHD_Daemon *daemon)
{
    MHD_socket listening = MHD_quiesce_daemon(daemon);

    if (listening != MHD_INVALID_SOCKET)
        (void)close(listening);
    child->is_leaving = true;
}

static bool has_visits(const struct child *child)
{
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        if (child->visits[i].fd >= 0)
            return true;
    }
    return false;
}

// Waits once and does what is due. False: it is over.
static bool turn(struct child *child, struct MHD_Daemon *daemon)
{
    struct timeval timeout;
    fd_set readable;
    fd_set writable;
    fd_set special;
    MHD_socket most = STDIN_FILENO;

    if (is_to_leave && !child->is_leaving)
        leave(child, daemon);
    if (child->is_leaving && !has_visits(child))
        return false;
    timeout = wait_time(daemon);
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    FD_ZERO(&special);
    FD_SET(STDIN_FILENO, &readable);
    if (MHD_get_fdset(daemon, &readable, &writable, &special, &most) != MHD_YES)
        return false;
    if (select(most + 1, &readable, &writable, &special, &timeout) < 0)
        return errno == EINTR;
    if (FD_ISSET(STDIN_FILENO, &readable)) {
        if (child->owed == 0) // the end of the master, who says nothing unasked
            return false;
        (void)hear(child, clock_now_ns() + CLOCK_NS_PER_MS); // an answer that is late
    }
    if (MHD_run_from_select(daemon, &readable, &writable, &special) != MHD_YES)
        return false;
    hurry(child);
    return !child->is_master_gone;
}

_Noreturn void http_child(void)
{
    static struct child child;
    struct MHD_Daemon *daemon;
    struct sigaction leaving = {.sa_handler = on_term};
    int type = 0;
    socklen_t length = sizeof(type);

    if (getsockopt(STDIN_FILENO, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type != SOCK_STREAM) {
        fprintf(stderr, "ringbolt: %s is a command that ringbolt calls itself, to serve metrics\n",
                HTTP_COMMAND);
        _exit(STATUS_USAGE);
    }
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        child.visits[i].fd = -1;
    (void)sigaction(SIGTERM, &leaving, NULL);
    daemon = start(&child);
    if (!daemon)
        _exit(1);
    confine();
    while (turn(&child, daemon))
        ;
    _exit(0);
}
