// SPDX-License-Identifier: Apache-2.0
// The master's life: addresses, workers that start, die and are replaced, the ways to end.
#include "master.h"
#include "skip.h"

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

        assert_int_equal(number_in(line, " listening="), 2);    // its own, not the others'
        assert_int_equal(number_in(line, " open="), 3 + 1 + 2); // with the channel, and nothing else
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
        skip_because("every port is free for everybody here");
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

static void no_upgrade_of_who_knows_no_program(void **unused)
{
    (void)unused;
    add_tcp("127.0.0.1:0");
    start(&first);
    expect(&first, " ready ");
    signal_master(&first, SIGUSR2);
    expect(&first, " warning no upgrade reason=");
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
        test_of(no_upgrade_of_who_knows_no_program),
        test_of(workers_follow_a_killed_master),
        test_of(unix_stale_file),
        test_of(unix_in_use),
        test_of(unix_other_file),
    };

    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
