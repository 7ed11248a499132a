// SPDX-License-Identifier: Apache-2.0
// A master for tests, with workers and sources that do what a test tells them. Each test runs control_run() in a child and reads
// its log from a pipe; the end of file on that pipe shows that the last worker is gone too. What stands here in place of the
// library's own is taken by the linker because it meets it first.
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "ringbolt/clock.h"
#include "ringbolt/control.h"
#include "ringbolt/log.h"
#include "ringbolt/ring.h"
#include "ringbolt/tls.h"
#include "ringbolt/worker.h"
#include "src/control/admin.h"
#include "src/control/supervise.h"

#include "fake_sources.h"

#define PATIENCE_MS   60000 // only a broken test waits that long
#define LISTENERS_MAX 3

// ---- what the library would bring: the linker takes these, because it meets them first ----

static enum {
    WORKER_OBEYS,
    WORKER_CLINGS,  // ends on WORKER_STOP only, and claims three connections
    WORKER_DEAF,    // ends on nothing
    WORKER_FAILS,   // is never ready
    WORKER_CRASHES, // is ready and dies of it
    WORKER_SERVES,  // obeys, and tells clients its number
    WORKER_MUTE,    // acts and doesn't answer; its replacement does
    WORKER_STUCK,   // reads nothing; its replacement does
    WORKER_NEVER_READY,
    WORKER_LIES, // somebody has taken it over
} behaviour;

static int ring_error;
static int ktls_error;
static int ktls12_error; // of TLS 1.2, transmit

// Listening sockets that this process holds.
static inline int count_listening(void)
{
    int count = 0;

    for (int fd = 0; fd < 1024; fd++) {
        int is_listening = 0;
        socklen_t length = sizeof(is_listening);

        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &length) == 0)
            count += is_listening;
    }
    return count;
}

static inline int count_descriptors(void)
{
    int count = 0;

    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

// What the master made of a worker before it became one.
static inline void say_surroundings(const struct worker_setup *setup)
{
    struct sockaddr_in6 address = {0};
    socklen_t length = sizeof(address);
    sigset_t blocked;
    int blocked_count = 0;
    int death_signal = 0;

    (void)getsockname(setup->listeners[0], (struct sockaddr *)&address, &length);
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    for (int number = 1; number < NSIG; number++)
        blocked_count += sigismember(&blocked, number) == 1;
    prctl(PR_GET_PDEATHSIG, &death_signal);
    log_info("fake", log_integer("own_pid", getpid()), log_integer("port", ntohs(address.sin6_port)),
             log_integer("listening", count_listening()), log_integer("blocked", blocked_count),
             log_integer("death_signal", death_signal), log_integer("uid", setup->uid),
             log_integer("gid", setup->gid), log_integer("open", count_descriptors()),
             log_boolean("retired", material_is_retired(setup->material, stage->retire)));
}

static inline bool say(const struct worker_setup *setup, enum worker_message_type type, uint32_t sequence)
{
    struct worker_message message = {.type = type, .sequence = sequence};

    return send(setup->channel, &message, sizeof(message), MSG_NOSIGNAL) == (ssize_t)sizeof(message);
}

// Takes a message and the descriptor that may come along. False at the end of file.
static inline bool take(const struct worker_setup *setup, struct worker_message *message, int *ret_fd)
{
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec part = {.iov_base = message, .iov_len = sizeof(*message)};
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *cmsg;

    *ret_fd = -1;
    if (recvmsg(setup->channel, &header, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(*message))
        return false;
    cmsg = CMSG_FIRSTHDR(&header);
    if (cmsg)
        memcpy(ret_fd, CMSG_DATA(cmsg), sizeof(*ret_fd));
    return true;
}

// A change as a real worker applies it, and whether it could have been altered.
static inline void apply(const struct worker_setup *setup, const struct worker_message *message, int fd)
{
    uint8_t *data = mmap(NULL, message->value, PROT_READ, MAP_SHARED, fd, 0);
    bool is_writable = mmap(NULL, message->value, PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED ||
                       pwrite(fd, "x", 1, 0) == 1 || ftruncate(fd, 0) == 0 ||
                       fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0;

    if (data == MAP_FAILED || material_apply(setup->material, data, message->value) < 0)
        log_error("fake cannot apply");
    log_info("fake applied", log_integer("sequence", message->sequence),
             log_boolean("retired", material_is_retired(setup->material, stage->retire)),
             log_boolean("writable", is_writable));
    munmap(data, message->value);
    close(fd);
}

// Does what a message says. False when that is the end.
static inline bool act(const struct worker_setup *setup, const struct worker_message *message, int fd)
{
    switch (message->type) {
    case WORKER_DRAIN:
    case WORKER_STOP:
        log_info(message->type == WORKER_DRAIN ? "fake drains" : "fake stops");
        return behaviour == WORKER_DEAF || (behaviour == WORKER_CLINGS && message->type == WORKER_DRAIN);
    case WORKER_CHANGE:
        apply(setup, message, fd);
        break;
    case WORKER_DRAIN_RETIRED:
        log_info("fake drains retired", log_integer("timeout_ms", message->value),
                 log_boolean("retired", material_is_retired(setup->material, stage->retire)));
        break;
    default:
        log_error("fake was told nonsense");
    }
    return behaviour == WORKER_MUTE || say(setup, WORKER_CHANGED, message->sequence);
}

// All that the master hears and reads of a worker, as bad as it gets.
static inline void lie(const struct worker_setup *setup)
{
    struct servers_state *state = servers_state(setup->servers, 0);
    struct worker_message words = {.type = WORKER_FORBIDDEN, .value = UINT64_MAX};

    memset((void *)state, 0xff, sizeof(*state));
    memset((void *)stats_worker(setup->stats, setup->index), 0xff, sizeof(struct stats_worker));
    (void)say(setup, WORKER_CHANGED, 1u << 31);
    (void)say(setup, (enum worker_message_type)99, 0);
    (void)send(setup->channel, &words, sizeof(words), MSG_NOSIGNAL);
    (void)send(setup->channel, "x", 1, MSG_NOSIGNAL);
}

int worker_run(const struct worker_setup *setup)
{
    struct stats_worker *own = stats_worker(setup->stats, setup->index);
    bool is_first = atomic_fetch_add(&own->starved, 1) == 0; // any word that outlasts it will do
    bool accepts =
        !is_first || behaviour == WORKER_SERVES; // else clients wait in the queue for a replacement

    if (behaviour == WORKER_FAILS && setup->index == setup->config->workers - 1)
        return 1;
    if (behaviour == WORKER_MUTE && !is_first)
        behaviour = WORKER_OBEYS; // the replacement
    say_surroundings(setup);
    while (behaviour == WORKER_NEVER_READY)
        pause();
    if (behaviour == WORKER_CLINGS || behaviour == WORKER_CRASHES)
        stats_set(&own->connections, 3);
    if (behaviour == WORKER_LIES)
        lie(setup);
    if (!say(setup, WORKER_READY, 0))
        return 1;
    if (behaviour == WORKER_CRASHES)
        return 7;
    while (behaviour == WORKER_STUCK && is_first)
        pause();
    for (;;) {
        struct pollfd polls[] = {{.fd = setup->channel, .events = POLLIN},
                                 {.fd = accepts ? setup->listeners[0] : -1, .events = POLLIN}};
        struct worker_message message;
        int fd;

        if (poll(polls, 2, -1) < 0)
            return 1;
        if (polls[1].revents) {
            char number = (char)('0' + setup->index);
            int client = accept(setup->listeners[0], NULL, NULL);

            if (client >= 0 && write(client, &number, 1) == 1)
                close(client);
        }
        if (!polls[0].revents)
            continue;
        if (!take(setup, &message, &fd))
            return 1;
        if (!act(setup, &message, fd))
            return 0;
    }
}

void ring_probe(struct ring_probe *ret)
{
    *ret = (struct ring_probe){.error = ring_error, .why = "kernel.io_uring_disabled must be 0"};
}

int record_kernel_probe(struct record_probe *ret)
{
    *ret = (struct record_probe){.attach_error = ktls_error};
    ret->error[1][RECORD_CHACHA20_POLY1305][RECORD_RECEIVE] = -ENOENT;
    for (int cipher = 0; cipher < RECORD_CIPHER_COUNT; cipher++)
        ret->error[0][cipher][RECORD_TRANSMIT] = ktls12_error;
    return 0;
}

// ---- a configuration ----

static struct config config;
static struct config_listener listeners[LISTENERS_MAX];
static char folder[64];
static char path[128];       // of a unix socket in it
static char admin_path[128]; // likewise, and of another
static bool log_debugs;

static inline void add_listener(struct config_address address)
{
    struct config_listener *listener = &listeners[config.listener_count++];

    *listener = (struct config_listener){
        .name = address.text,
        .backlog = 65535,
        .address = address,
        .tls = {.version_min = CONFIG_TLS12,
                .version_max = CONFIG_TLS13,
                .ciphers = (char *)"ECDHE-ECDSA-AES128-GCM-SHA256",
                .ciphersuites = (char *)"TLS_AES_128_GCM_SHA256",
                .groups = (char *)"X25519",
                .certificate_dir = folder}, // else a development certificate would be made
    };
}

// HOST, [V6] or `*`, and a port behind a colon.
static inline void add_tcp(const char *text)
{
    struct config_address address = {.text = strdup(text)};
    char host[64];
    const char *colon = strrchr(text, ':');
    in_port_t port = htons((uint16_t)atoi(colon + 1));

    snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
    if (host[0] == '*' || host[0] == '[') {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address.socket;

        in6->sin6_family = AF_INET6;
        in6->sin6_port = port;
        host[strlen(host) - 1] = '\0';
        if (host[0] == '[')
            assert_int_equal(inet_pton(AF_INET6, host + 1, &in6->sin6_addr), 1);
        address.length = sizeof(*in6);
    } else {
        struct sockaddr_in *in = (struct sockaddr_in *)&address.socket;

        in->sin_family = AF_INET;
        in->sin_port = port;
        assert_int_equal(inet_pton(AF_INET, host, &in->sin_addr), 1);
        address.length = sizeof(*in);
    }
    add_listener(address);
}

static inline struct sockaddr_un unix_address(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memcpy(address.sun_path, path, strlen(path) + 1);
    return address;
}

static inline void add_unix(void)
{
    struct config_address address = {.length = sizeof(struct sockaddr_un)};
    struct sockaddr_un un = unix_address();

    memcpy(&address.socket, &un, sizeof(un));
    assert_true(asprintf(&address.text, "unix:%s", path) > 0);
    add_listener(address);
}

// ---- a master in a child ----

struct master {
    pid_t pid; // 0: none
    int log;
    size_t length;
    size_t position; // behind the line that was expected last
    char text[1 << 20];
};

static struct master first;
static struct master second;
static uid_t master_user;          // 0: stay who we are
static struct rlimit master_limit; // of descriptors; rlim_max 0: as it is

// In the child: without the privileges that a test must not have.
static inline void become(uid_t uid)
{
    if (master_limit.rlim_max != 0 && setrlimit(RLIMIT_NOFILE, &master_limit) < 0)
        _exit(99);
    if (uid != 0 && (setgroups(0, NULL) < 0 || setgid(uid) < 0 || setuid(uid) < 0))
        _exit(99);
}

// What main.c does. The exit status.
static inline int run_master(const char *file)
{
    struct control *control = control_create(file);
    struct control_options options = {.config = &config};
    struct report report;
    int status = 3;

    report_init(&report, config.file);
    if (control_load(control, &options, &report) == 0)
        status = control_run(control);
    else
        report_print(&report, stderr);
    control_destroy(control);
    report_finish(&report);
    return status;
}

static inline void start(struct master *master)
{
    int fds[2];

    fflush(NULL); // exit(), for the leak checker's sake, would write it again
    master->length = master->position = 0;
    master->text[0] = '\0';
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    master->pid = fork();
    assert_true(master->pid >= 0);
    if (master->pid == 0) {
        (void)setpgid(0, 0);
        if (dup2(fds[1], STDERR_FILENO) < 0)
            _exit(99);
        close(fds[1]);
        log_setup(LOG_TEXT, log_debugs ? LOG_DEBUG : LOG_INFO, STDERR_FILENO);
        become(master_user);
        exit(run_master(config.file[0] == '/' ? config.file : NULL));
    }
    close(fds[1]);
    master->log = fds[0];
}

// Reads more of the log. False at its end.
static inline bool read_log(struct master *master)
{
    struct pollfd polled = {.fd = master->log, .events = POLLIN};
    ssize_t length;

    assert_int_equal(poll(&polled, 1, PATIENCE_MS), 1);
    length = read(master->log, master->text + master->length, sizeof(master->text) - 1 - master->length);
    assert_true(length >= 0);
    master->length += (size_t)length;
    master->text[master->length] = '\0';
    return length > 0;
}

// Waits for the next line that holds `words`. The line, until the next call.
static inline const char *expect(struct master *master, const char *words)
{
    static char line[LOG_LINE_MAX + 1];

    for (;;) {
        char *from = master->text + master->position;
        char *end;

        while ((end = strchr(from, '\n'))) {
            snprintf(line, sizeof(line), "%.*s", (int)(end - from), from);
            from = end + 1;
            if (strstr(line, words)) {
                master->position = (size_t)(from - master->text);
                return line;
            }
        }
        if (!read_log(master))
            fail_msg("the log has no further line with `%s`:\n%s", words, master->text);
    }
}

// The same for what was written already.
static inline const char *expect_now(struct master *master, const char *words)
{
    for (struct pollfd polled = {.fd = master->log, .events = POLLIN}; poll(&polled, 1, 0) == 1;) {
        if (!read_log(master))
            break;
    }
    assert_non_null(strstr(master->text + master->position, words));
    return expect(master, words);
}

// Waits for the master's and every worker's end. The exit status.
static inline int end(struct master *master)
{
    int status;

    while (read_log(master))
        ;
    close(master->log);
    assert_int_equal(waitpid(master->pid, &status, 0), master->pid);
    master->pid = 0;
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static inline void signal_master(struct master *master, int number)
{
    assert_int_equal(kill(master->pid, number), 0);
}

static inline long number_in(const char *line, const char *key)
{
    const char *found = strstr(line, key);

    assert_non_null(found);
    return strtol(found + strlen(key), NULL, 10);
}

static inline int ready_port(const char *line)
{
    const char *found = strstr(line, " workers=");

    assert_non_null(found);
    while (found[-1] != ':')
        found--;
    return atoi(found);
}

static inline int set_up(void **unused)
{
    (void)unused;
    config = (struct config){
        .file = (char *)"test.yaml",
        .workers = 2,
        .shutdown_timeout_ns = 3600 * CLOCK_NS_PER_S,
        .limits = {.connections = 10},
        .tickets = {.rotate_ns = 3600 * CLOCK_NS_PER_S, .lifetime_ns = 3600 * CLOCK_NS_PER_S},
        .listeners = listeners,
    };
    stage = mmap(NULL, sizeof(*stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (stage == MAP_FAILED)
        return -1;
    stage->retire = 0x0123456789abcdef;
    stage->certificates = 1;
    // Only a broken test waits so long.
    supervise_patience_ns = admin_workers_patience_ns = admin_client_patience_ns = 3600 * CLOCK_NS_PER_S;
    log_debugs = false;
    behaviour = WORKER_OBEYS;
    ring_error = 0;
    ktls_error = -ENOENT;
    ktls12_error = 0;
    master_user = 0;
    master_limit = (struct rlimit){0};
    strcpy(folder, "/tmp/ringbolt-control-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/socket", folder);
    snprintf(admin_path, sizeof(admin_path), "%s/admin", folder);
    return 0;
}

static inline int tear_down(void **unused)
{
    (void)unused;
    for (struct master *master = &first; master; master = master == &first ? &second : NULL) {
        if (master->pid <= 0)
            continue;
        kill(master->pid, SIGKILL); // the workers follow: PR_SET_PDEATHSIG
        waitpid(master->pid, NULL, 0);
        close(master->log);
        master->pid = 0;
    }
    for (size_t i = 0; i < config.listener_count; i++)
        free(listeners[i].address.text);
    munmap(stage, sizeof(*stage));
    (void)unlink(path);
    (void)unlink(admin_path);
    return rmdir(folder);
}

#define test_of(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
