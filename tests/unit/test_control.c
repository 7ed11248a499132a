// SPDX-License-Identifier: Apache-2.0
// The master with workers that do what a test tells them. Each test runs control_run() in a child and reads its log
// from a pipe; the end of file on that pipe shows that the last worker is gone too.
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
#include "ringbolt/worker.h"

#define PATIENCE_MS   60000 // only a broken test waits that long
#define LISTENERS_MAX 3

// ---- what the library would bring: the linker takes these, because it meets them first ----

static enum {
    WORKER_OBEYS,
    WORKER_CLINGS,  // ends on WORKER_STOP only, and claims three connections
    WORKER_DEAF,    // ends on nothing
    WORKER_FAILS,   // is never ready
    WORKER_CRASHES, // is ready and dies of it
    WORKER_SERVES   // obeys, and tells clients its number
} behaviour;
static int ring_error;
static int ktls_error;
static int ktls12_error; // of TLS 1.2, transmit

// Listening sockets that this process holds.
static int count_listening(void)
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

// What the master made of a worker before it became one.
static void say_surroundings(const struct worker_setup *setup)
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
             log_integer("gid", setup->gid));
}

int worker_run(const struct worker_setup *setup)
{
    struct worker_counters *own = &setup->counters[setup->index];
    const char ready = WORKER_READY;
    bool is_first = atomic_fetch_add(&own->connections_total, 1) == 0;
    bool accepts =
        !is_first || behaviour == WORKER_SERVES; // else clients wait in the queue for a replacement

    if (behaviour == WORKER_FAILS && setup->index == setup->config->workers - 1)
        return 1;
    say_surroundings(setup);
    if (behaviour == WORKER_CLINGS || behaviour == WORKER_CRASHES)
        atomic_store(&own->connections_live, 3);
    if (send(setup->channel, &ready, 1, MSG_NOSIGNAL) != 1)
        return 1;
    if (behaviour == WORKER_CRASHES)
        return 7;
    for (;;) {
        struct pollfd polls[] = {{.fd = setup->channel, .events = POLLIN},
                                 {.fd = accepts ? setup->listeners[0] : -1, .events = POLLIN}};
        char message;

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
        if (recv(setup->channel, &message, 1, 0) <= 0)
            return 1;
        log_info(message == WORKER_DRAIN ? "fake drains" : "fake stops");
        if (behaviour == WORKER_OBEYS || behaviour == WORKER_SERVES ||
            (behaviour == WORKER_CLINGS && message == WORKER_STOP))
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
static char path[128];

static void add_listener(struct config_address address)
{
    struct config_listener *listener = &listeners[config.listener_count++];

    *listener = (struct config_listener){
        .name = address.text,
        .address = address,
        .tls = {.version_min = CONFIG_TLS12, .version_max = CONFIG_TLS13},
    };
}

// HOST, [V6] or `*`, and a port behind a colon.
static void add_tcp(const char *text)
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

static struct sockaddr_un unix_address(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memcpy(address.sun_path, path, strlen(path) + 1);
    return address;
}

static void add_unix(void)
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
    char text[65536];
};

static struct master first;
static struct master second;
static uid_t master_user;          // 0: stay who we are
static struct rlimit master_limit; // of descriptors; rlim_max 0: as it is

// In the child: without the privileges that a test must not have.
static void become(uid_t uid)
{
    if (master_limit.rlim_max != 0 && setrlimit(RLIMIT_NOFILE, &master_limit) < 0)
        _exit(99);
    if (uid != 0 && (setgroups(0, NULL) < 0 || setgid(uid) < 0 || setuid(uid) < 0))
        _exit(99);
}

static void start(struct master *master)
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
        log_setup(LOG_TEXT, LOG_INFO, fds[1]);
        become(master_user);
        exit(control_run(&config, NULL));
    }
    close(fds[1]);
    master->log = fds[0];
}

// Reads more of the log. False at its end.
static bool read_log(struct master *master)
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
static const char *expect(struct master *master, const char *words)
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

// Waits for the master's and every worker's end. The exit status.
static int end(struct master *master)
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

static void signal_master(struct master *master, int number)
{
    assert_int_equal(kill(master->pid, number), 0);
}

static long number_in(const char *line, const char *key)
{
    const char *found = strstr(line, key);

    assert_non_null(found);
    return strtol(found + strlen(key), NULL, 10);
}

static int ready_port(const char *line)
{
    const char *found = strstr(line, " workers=");

    assert_non_null(found);
    while (found[-1] != ':')
        found--;
    return atoi(found);
}

static int set_up(void **unused)
{
    (void)unused;
    config = (struct config){
        .file = (char *)"test.yaml",
        .workers = 2,
        .shutdown_timeout_ns = 3600 * CLOCK_NS_PER_S,
        .limits = {.connections = 10},
        .listeners = listeners,
    };
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
    return 0;
}

static int tear_down(void **unused)
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
    (void)unlink(path);
    return rmdir(folder);
}

// ---- clients ----

// 0 when somebody listens, else -errno.
static int try_connect(const char *host, int port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    bool is_six = strchr(host, ':') != NULL;
    int fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error;

    assert_true(fd >= 0);
    assert_int_equal(
        inet_pton(is_six ? AF_INET6 : AF_INET, host, is_six ? (void *)&in6.sin6_addr : (void *)&in.sin_addr),
        1);
    error = connect(fd, is_six ? (struct sockaddr *)&in6 : (struct sockaddr *)&in,
                    is_six ? sizeof(in6) : sizeof(in)) < 0
                ? -errno
                : 0;
    close(fd);
    return error;
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&in6, sizeof(in6)) == 0;

    if (fd >= 0)
        close(fd);
    return has;
}

// ---- start ----

static void ready_names_every_address(void **unused)
{
    char words[512];
    const char *line;

    (void)unused;
    add_tcp("127.0.0.1:0");
    add_unix();
    add_tcp("127.0.0.2:0");
    start(&first);
    line = expect(&first, " ready ");
    snprintf(words, sizeof(words), " unix:%s 127.0.0.2:", path);
    assert_non_null(strstr(line, " listeners=\"127.0.0.1:"));
    assert_non_null(strstr(line, words));
    line = strstr(line, " listeners=");
    assert_true(!strstr(line, ":0 ") && !strstr(line, ":0\""));
    assert_int_equal(number_in(line, " workers="), 2);
    assert_int_equal(number_in(line, " pid="), first.pid);
    signal_master(&first, SIGINT);
    assert_int_equal(end(&first), 0);
}

static void port_0_is_one_port(void **unused)
{
    long port[3];
    int told;

    (void)unused;
    config.workers = 3;
    add_tcp("127.0.0.1:0");
    start(&first);
    for (unsigned i = 0; i < 3; i++)
        port[i] = number_in(expect(&first, " fake "), " port=");
    told = ready_port(expect(&first, " ready "));
    assert_in_range(told, 1, 65535);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(port[i], told);
    assert_int_equal(try_connect("127.0.0.1", told), 0);
    signal_master(&first, SIGINT);
    assert_int_equal(end(&first), 0);
    assert_int_equal(try_connect("127.0.0.1", told), -ECONNREFUSED);
}

// The kernel spreads clients over all sockets of the group, the one that was there first included.
static void every_worker_is_reached(void **unused)
{
    bool is_reached[3] = {false};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    (void)unused;
    config.workers = 3;
    behaviour = WORKER_SERVES;
    add_tcp("127.0.0.1:0");
    start(&first);
    in.sin_port = htons((uint16_t)ready_port(expect(&first, " ready ")));
    for (unsigned i = 0; i < 1000 && !(is_reached[0] && is_reached[1] && is_reached[2]); i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        char number = 0;

        assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
        assert_int_equal(read(fd, &number, 1), 1);
        close(fd);
        assert_in_range(number, '0', '2');
        is_reached[number - '0'] = true;
    }
    for (unsigned i = 0; i < 3; i++)
        assert_true(is_reached[i]);
    signal_master(&first, SIGTERM);
    assert_int_equal(end(&first), 0);
}

static void surroundings_of_a_worker(void **unused)
{
    const struct passwd *entry = getpwnam("ringbolt");

    (void)unused;
    entry = entry ? entry : getpwnam("nobody");
    add_tcp("127.0.0.1:0");
    add_unix();
    start(&first);
    for (unsigned i = 0; i < config.workers; i++) {
        const char *line = expect(&first, " fake ");

        assert_int_equal(number_in(line, " listening="), 2); // its own, not the others'
        assert_int_equal(number_in(line, " blocked="), 0);
        assert_int_equal(number_in(line, " death_signal="), SIGKILL);
        assert_int_equal(number_in(line, " uid="), geteuid() != 0 ? (uid_t)-1 : entry->pw_uid);
        assert_int_equal(number_in(line, " gid="), geteuid() != 0 ? (gid_t)-1 : entry->pw_gid);
    }
    expect(&first, " ready ");
    signal_master(&first, SIGINT);
    assert_int_equal(end(&first), 0);
}

static void families(void **unused)
{
    int port;

    (void)unused;
    add_tcp("*:0");
    start(&first);
    port = ready_port(expect(&first, has_ipv6() ? "ready listeners=*:" : " ready listeners="));
    assert_int_equal(try_connect("127.0.0.1", port), 0);
    if (has_ipv6())
        assert_int_equal(try_connect("::1", port), 0);
    signal_master(&first, SIGINT);
    assert_int_equal(end(&first), 0);
    if (!has_ipv6())
        return;

    free(listeners[0].address.text);
    config.listener_count = 0;
    add_tcp("[::]:0"); // one family
    start(&first);
    port = ready_port(expect(&first, "ready listeners=[::]:"));
    assert_int_equal(try_connect("::1", port), 0);
    assert_int_equal(try_connect("127.0.0.1", port), -ECONNREFUSED);
    signal_master(&first, SIGINT);
    assert_int_equal(end(&first), 0);
}

static void address_in_use(void **unused)
{
    char text[64];
    const char *line;
    int port;

    (void)unused;
    add_tcp("127.0.0.1:0");
    start(&first);
    port = ready_port(expect(&first, " ready "));
    free(listeners[0].address.text);
    config.listener_count = 0;
    snprintf(text, sizeof(text), "127.0.0.1:%d", port);
    add_tcp(text); // SO_REUSEPORT alone would let it in
    start(&second);
    line = expect(&second, " error cannot listen ");
    assert_non_null(strstr(line, text));
    assert_non_null(strstr(line, "error=\"Address already in use\""));
    assert_non_null(strstr(line, "cure="));
    assert_int_equal(end(&second), 1);
    assert_null(strstr(second.text, " fake ")); // nobody was started

    signal_master(&first, SIGTERM);
    assert_int_equal(end(&first), 0);
    start(&second); // now it is free, whatever is still in TIME_WAIT
    expect(&second, " ready ");
    signal_master(&second, SIGTERM);
    assert_int_equal(end(&second), 0);
}

static void same_address_twice(void **unused)
{
    char text[64];
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)unused;
    assert_int_equal(bind(fd, (struct sockaddr *)&in, length), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &length), 0);
    close(fd);
    snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(in.sin_port));
    add_tcp(text);
    add_tcp(text);
    start(&first);
    expect(&first, " error cannot listen ");
    assert_int_equal(end(&first), 1);
}

static void no_interface_has_the_address(void **unused)
{
    (void)unused;
    add_tcp("192.0.2.1:0"); // TEST-NET-1, RFC 5737
    start(&first);
    assert_non_null(strstr(expect(&first, " error cannot listen "), "address=192.0.2.1:0 "));
    assert_int_equal(end(&first), 1);
}

static uid_t somebody(void)
{
    return geteuid() == 0 ? 65534 : 0;
}

static void privileged_port(void **unused)
{
    FILE *file = fopen("/proc/sys/net/ipv4/ip_unprivileged_port_start", "re");
    int lowest = 0;
    const char *line;

    (void)unused;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &lowest), 1);
    fclose(file);
    if (lowest <= 1) {
        print_message("# every port is free for everybody here\n");
        skip();
    }
    master_user = somebody();
    add_tcp("127.0.0.1:1");
    start(&first);
    line = expect(&first, " error cannot listen address=127.0.0.1:1 ");
    assert_non_null(strstr(line, "start as root"));
    assert_int_equal(end(&first), 1);
}

static void too_few_descriptors(void **unused)
{
    const char *line;

    (void)unused;
    master_user = somebody();
    master_limit = (struct rlimit){.rlim_cur = 128, .rlim_max = 265};
    config.limits.connections = 1000;
    add_tcp("127.0.0.1:0");
    start(&first);
    line = expect(&first, " warning too few descriptors for limits.connections ");
    assert_int_equal(number_in(line, " descriptors="), 265);
    assert_int_equal(number_in(line, " descriptors_needed="), 2 * 1000 + 1 + 64);
    assert_int_equal(number_in(line, " connections_per_worker="), 100);
    expect(&first, " ready ");
    signal_master(&first, SIGINT);
    assert_int_equal(end(&first), 0);

    config.limits.connections = 100; // just enough, once the soft limit is raised
    start(&first);
    expect(&first, " ready ");
    signal_master(&first, SIGINT);
    assert_int_equal(end(&first), 0);
    assert_null(strstr(first.text, "descriptors"));
}

static void user_without_root(void **unused)
{
    (void)unused;
    master_user = somebody();
    config.user = (char *)"root";
    add_tcp("127.0.0.1:0");
    start(&first);
    expect(&first, " warning user is ignored");
    assert_int_equal(number_in(expect(&first, " fake "), " uid="), (uid_t)-1);
    expect(&first, " ready ");
    signal_master(&first, SIGINT);
    assert_int_equal(end(&first), 0);
}

static void worker_that_cannot_start(void **unused)
{
    const char *line;

    (void)unused;
    behaviour = WORKER_FAILS;
    add_tcp("127.0.0.1:0");
    start(&first);
    line = expect(&first, " error worker could not start ");
    assert_int_equal(number_in(line, " worker="), 1);
    assert_int_equal(number_in(line, " status="), 1);
    assert_int_equal(end(&first), 1);
    assert_null(strstr(first.text, " ready "));
}

static void io_uring_forbidden(void **unused)
{
    (void)unused;
    ring_error = -EPERM;
    add_tcp("127.0.0.1:0");
    start(&first);
    assert_non_null(
        strstr(expect(&first, " error io_uring is not available "), "kernel.io_uring_disabled must be 0"));
    assert_int_equal(end(&first), 1);
}

static void unknown_account(void **unused)
{
    struct report report;

    (void)unused;
    config.user = (char *)"no-such-account-here";
    config.user_where = (struct config_where){.line = 3, .column = 7};
    report_init(&report, config.file);
    assert_int_equal(control_check(&config, &report), -EINVAL);
    assert_int_equal(report.count, 1);
    assert_memory_equal(report.lines[0].text, "test.yaml:3:7: ", 15);
    assert_non_null(strstr(report.lines[0].text, "no-such-account-here"));
    report_finish(&report);
    add_tcp("127.0.0.1:0");
    start(&first);
    assert_int_equal(end(&first), 3);
}

// ---- kernel TLS ----

static const struct {
    enum config_ktls transmit;
    enum config_ktls receive;
    enum config_tls_version version_max;
    int error;         // of the probe; without one, TLS 1.3 receive lacks ChaCha20-Poly1305
    int error12;       // of TLS 1.2, transmit
    const char *words; // NULL: not a word of it
    int status;
} ktls_cases[] = {
    {CONFIG_KTLS_AUTO, CONFIG_KTLS_AUTO, CONFIG_TLS13, -ENOENT, 0, " info kernel TLS not available, ", 0},
    {CONFIG_KTLS_OFF, CONFIG_KTLS_OFF, CONFIG_TLS13, -ENOENT, 0, NULL, 0},
    {CONFIG_KTLS_REQUIRED, CONFIG_KTLS_AUTO, CONFIG_TLS13, -ENOENT, 0, " error ktls is required ", 1},
    {CONFIG_KTLS_OFF, CONFIG_KTLS_REQUIRED, CONFIG_TLS13, -ENOENT, 0, " error ktls is required ", 1},
    {CONFIG_KTLS_AUTO, CONFIG_KTLS_AUTO, CONFIG_TLS13, 0, 0,
     " tls13_receive=\"AES-128-GCM AES-256-GCM\" rekey=", 0},
    {CONFIG_KTLS_AUTO, CONFIG_KTLS_AUTO, CONFIG_TLS13, 0, -ENOENT, " tls12_transmit=none ", 0},
    {CONFIG_KTLS_REQUIRED, CONFIG_KTLS_AUTO, CONFIG_TLS13, 0, 0, " info kernel TLS available ", 0},
    {CONFIG_KTLS_AUTO, CONFIG_KTLS_REQUIRED, CONFIG_TLS13, 0, 0,
     " warning ktls is required and the kernel lacks a cipher tls=TLSv1.3 cipher=ChaCha20-Poly1305 "
     "direction=receive ",
     0},
    {CONFIG_KTLS_REQUIRED, CONFIG_KTLS_AUTO, CONFIG_TLS13, 0, -ENOENT,
     " error ktls is required and the kernel can't do a TLS version tls=TLSv1.2 direction=transmit ", 1},
    {CONFIG_KTLS_AUTO, CONFIG_KTLS_REQUIRED, CONFIG_TLS12, 0, -ENOENT, " info kernel TLS available ", 0},
};

static void kernel_tls(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof(ktls_cases) / sizeof(ktls_cases[0]); i++) {
        config.ktls.transmit = ktls_cases[i].transmit;
        config.ktls.receive = ktls_cases[i].receive;
        ktls_error = ktls_cases[i].error;
        ktls12_error = ktls_cases[i].error12;
        config.listener_count = 0;
        add_tcp("127.0.0.1:0");
        listeners[0].tls.version_max = ktls_cases[i].version_max;
        start(&first);
        if (ktls_cases[i].words)
            expect(&first, ktls_cases[i].words);
        if (ktls_cases[i].status == 0) {
            expect(&first, " ready ");
            signal_master(&first, SIGINT);
        }
        assert_int_equal(end(&first), ktls_cases[i].status);
        if (!ktls_cases[i].words)
            assert_null(strstr(first.text, "kernel TLS"));
        if (i + 1 < sizeof(ktls_cases) / sizeof(ktls_cases[0]))
            free(listeners[0].address.text);
    }
}

// ---- death and replacement ----

// What a client gets that waits in the queue: the replacement's byte.
static void client_in_the_queue_survives(void **unused)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct pollfd polled = {.events = POLLIN};
    const char *line;
    pid_t worker;
    char byte;

    (void)unused;
    config.workers = 1;
    add_tcp("127.0.0.1:0");
    start(&first);
    worker = (pid_t)number_in(expect(&first, " fake "), " own_pid=");
    in.sin_port = htons((uint16_t)ready_port(expect(&first, " ready ")));
    polled.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(polled.fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(kill(worker, SIGKILL), 0);
    line = expect(&first, " error worker died ");
    assert_int_equal(number_in(line, " worker="), 0);
    assert_int_equal(number_in(line, " worker_pid="), worker);
    assert_non_null(strstr(line, " signal=SIGKILL "));
    assert_int_equal(number_in(line, " retry_ms="), 0);
    expect(&first, " info worker replaced worker=0 ");
    assert_int_equal(poll(&polled, 1, PATIENCE_MS), 1);
    assert_int_equal(read(polled.fd, &byte, 1), 1);
    close(polled.fd);
    signal_master(&first, SIGTERM);
    assert_int_equal(end(&first), 0);
}

// Each death in a row doubles the wait. A machine so slow that a worker lives for a second starts again from nothing.
static void back_off(void **unused)
{
    long next = 0;

    (void)unused;
    config.workers = 1; // ready is heard before the death, so the first start counts as done
    behaviour = WORKER_CRASHES;
    add_tcp("127.0.0.1:0");
    start(&first);
    expect(&first, " ready ");
    while (next <= 400) {
        const char *line = expect(&first, " error worker died ");
        long wait = number_in(line, " retry_ms=");

        assert_int_equal(number_in(line, " status="), 7);
        assert_int_equal(number_in(line, " connections_lost="), 3);
        if (wait != 0)
            assert_int_equal(wait, next);
        next = wait == 0 ? 100 : 2 * wait;
    }
    signal_master(&first, SIGTERM); // nobody lives: at once
    assert_int_equal(end(&first), 0);
}

// ---- end ----

static void drain_in_time(void **unused)
{
    (void)unused;
    add_tcp("127.0.0.1:0");
    start(&first);
    expect(&first, " ready ");
    signal_master(&first, SIGTERM);
    expect(&first, " info draining ");
    expect(&first, " info fake drains ");
    expect(&first, " info fake drains ");
    assert_int_equal(end(&first), 0);
}

static void drain_past_its_time(void **unused)
{
    (void)unused;
    config.shutdown_timeout_ns = 20 * CLOCK_NS_PER_MS;
    behaviour = WORKER_CLINGS;
    add_tcp("127.0.0.1:0");
    start(&first);
    expect(&first, " ready ");
    signal_master(&first, SIGQUIT);
    assert_int_equal(number_in(expect(&first, " warning shutdown_timeout is over"), " connections="), 6);
    expect(&first, " fake stops");
    assert_int_equal(end(&first), 1);
}

static void second_term_stops(void **unused)
{
    (void)unused;
    behaviour = WORKER_CLINGS;
    add_tcp("127.0.0.1:0");
    start(&first);
    expect(&first, " ready ");
    signal_master(&first, SIGTERM);
    expect(&first, " info draining ");
    signal_master(&first, SIGTERM);
    expect(&first, " info stopping ");
    assert_int_equal(end(&first), 0);
}

static void int_stops(void **unused)
{
    (void)unused;
    behaviour = WORKER_CLINGS;
    add_tcp("127.0.0.1:0");
    start(&first);
    expect(&first, " ready ");
    signal_master(&first, SIGINT);
    assert_int_equal(number_in(expect(&first, " info stopping "), " connections="), 6);
    assert_int_equal(end(&first), 0);
    assert_null(strstr(first.text, "fake drains"));
}

static void deaf_worker_is_killed(void **unused)
{
    (void)unused;
    behaviour = WORKER_DEAF;
    add_tcp("127.0.0.1:0");
    start(&first);
    expect(&first, " ready ");
    signal_master(&first, SIGINT);
    expect(&first, " warning worker does not end, killed ");
    expect(&first, " warning worker does not end, killed ");
    assert_int_equal(end(&first), 1);
}

static void signal_to_the_whole_group(void **unused)
{
    (void)unused;
    add_tcp("127.0.0.1:0");
    start(&first);
    expect(&first, " ready ");
    assert_int_equal(kill(-first.pid, SIGTERM), 0);
    expect(&first, " info fake drains ");
    expect(&first, " info fake drains ");
    assert_int_equal(end(&first), 0);
    assert_null(strstr(first.text, "died"));
}

static void hup_and_usr2_are_ignored(void **unused)
{
    (void)unused;
    add_tcp("127.0.0.1:0");
    start(&first);
    expect(&first, " ready ");
    signal_master(&first, SIGHUP);
    expect(&first, " warning HUP is ignored");
    signal_master(&first, SIGUSR2);
    expect(&first, " warning USR2 is ignored");
    signal_master(&first, SIGTERM);
    assert_int_equal(end(&first), 0);
    assert_null(strstr(first.text, "died"));
}

static void workers_follow_a_killed_master(void **unused)
{
    (void)unused;
    behaviour = WORKER_DEAF;
    add_tcp("127.0.0.1:0");
    start(&first);
    expect(&first, " ready ");
    signal_master(&first, SIGKILL);
    while (read_log(&first)) // ends when the last worker is gone
        ;
}

// ---- unix addresses ----

static int unix_connect(void)
{
    struct sockaddr_un address = unix_address();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;

    close(fd);
    return error;
}

// A socket at the path, as another process would have it.
static int unix_listen(void)
{
    struct sockaddr_un address = unix_address();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static void unix_stale_file(void **unused)
{
    struct stat status;
    mode_t mask = umask(0022);

    (void)unused;
    close(unix_listen()); // the file stays
    assert_int_equal(unix_connect(), -ECONNREFUSED);
    add_unix();
    start(&first);
    umask(mask);
    expect(&first, " ready ");
    assert_int_equal(unix_connect(), 0);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0644);
    signal_master(&first, SIGTERM);
    assert_int_equal(end(&first), 0);
    assert_int_equal(access(path, F_OK), -1);
}

static void unix_in_use(void **unused)
{
    int fd = unix_listen();

    (void)unused;
    add_unix();
    start(&first);
    assert_non_null(strstr(expect(&first, " error cannot listen "), path));
    assert_int_equal(end(&first), 1);
    assert_int_equal(unix_connect(), 0); // theirs is untouched
    close(fd);
}

static void unix_other_file(void **unused)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    (void)unused;
    assert_true(fd >= 0);
    close(fd);
    add_unix();
    start(&first);
    assert_non_null(strstr(expect(&first, " error cannot listen "), "no socket"));
    assert_int_equal(end(&first), 1);
    assert_int_equal(access(path, F_OK), 0);
}

#define test_of(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_of(ready_names_every_address),
        test_of(port_0_is_one_port),
        test_of(every_worker_is_reached),
        test_of(surroundings_of_a_worker),
        test_of(families),
        test_of(address_in_use),
        test_of(same_address_twice),
        test_of(no_interface_has_the_address),
        test_of(privileged_port),
        test_of(too_few_descriptors),
        test_of(user_without_root),
        test_of(worker_that_cannot_start),
        test_of(io_uring_forbidden),
        test_of(unknown_account),
        test_of(kernel_tls),
        test_of(client_in_the_queue_survives),
        test_of(back_off),
        test_of(drain_in_time),
        test_of(drain_past_its_time),
        test_of(second_term_stops),
        test_of(int_stops),
        test_of(deaf_worker_is_killed),
        test_of(signal_to_the_whole_group),
        test_of(hup_and_usr2_are_ignored),
        test_of(workers_follow_a_killed_master),
        test_of(unix_stale_file),
        test_of(unix_in_use),
        test_of(unix_other_file),
    };

    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
