// SPDX-License-Identifier: Apache-2.0
// Both sides of what a worker may do, tried from inside by a child that has entered the worker's own sandbox.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "ringbolt/compat.h"
#include "ringbolt/ring.h"
#include "ringbolt/worker.h"
#include "skip.h"
#include "src/worker/landlock.h"
#include "src/worker/privileges.h"
#include "src/worker/sandbox.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct sandbox only_seccomp = {.has_seccomp = true};

// ---- a configuration ----

static struct config_server server;
static struct config_upstream upstream;
static struct config_listener listener;
static struct config config;
static char folder[] = "/tmp/ringbolt-sandbox-XXXXXX"; // with a file `token`
static int folder_fd = -1;
static int port_open; // somebody listens there
static int listening = -1;

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int set_up(void **unused)
{
    struct sockaddr_in address = loopback(0);
    socklen_t length = sizeof(address);
    char path[64];
    int fd;

    (void)unused;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/token", folder);
    fd = open(path, O_WRONLY | O_CREAT, 0644);
    if (fd < 0 || write(fd, "x", 1) != 1)
        return -1;
    close(fd);
    folder_fd = open(folder, O_PATH | O_DIRECTORY);
    listening = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listening, (struct sockaddr *)&address, length) < 0 || listen(listening, 64) < 0 ||
        getsockname(listening, (struct sockaddr *)&address, &length) < 0)
        return -1;
    port_open = ntohs(address.sin_port);
    return 0;
}

static int tear_down(void **unused)
{
    char path[64];

    (void)unused;
    snprintf(path, sizeof(path), "%s/token", folder);
    close(folder_fd);
    close(listening);
    return unlink(path) < 0 || rmdir(folder) < 0 ? -1 : 0;
}

// One listener, one server at `port`.
static void configure(int port)
{
    struct sockaddr_in address = loopback(port);

    server = (struct config_server){0};
    memcpy(&server.address.socket, &address, sizeof(address));
    upstream = (struct config_upstream){.servers = &server, .server_count = 1};
    listener = (struct config_listener){0};
    config = (struct config){.listeners = &listener,
                             .listener_count = 1,
                             .upstreams = &upstream,
                             .upstream_count = 1,
                             .workers = 1};
}

// ---- a child inside ----

struct outcome {
    int status;    // of waitpid(2)
    int forbidden; // what it said that it was ended for; -1: nothing
};

static struct outcome inside(const struct sandbox *sandbox, int (*act)(void))
{
    struct outcome outcome = {.forbidden = -1};
    struct worker_message message;
    const char *what = "";
    int channel[2];
    pid_t child;

    assert_return_code(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, channel), errno);
    child = fork();
    if (child == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || privileges_hide() < 0 ||
            sandbox_enter(sandbox, &config, &folder_fd, channel[1], &what) < 0)
            _exit(100);
        _exit(act());
    }
    assert_true(child > 0);
    close(channel[1]);
    assert_int_equal(waitpid(child, &outcome.status, 0), child);
    if (recv(channel[0], &message, sizeof(message), MSG_DONTWAIT) == (ssize_t)sizeof(message)) {
        assert_int_equal(message.type, WORKER_FORBIDDEN);
        outcome.forbidden = (int)message.value;
    }
    close(channel[0]);
    return outcome;
}

static void need_seccomp(void)
{
    struct sandbox_errors errors;
    struct sandbox found;

    configure(1);
    sandbox_probe(&config, &found, &errors);
    if (!found.has_seccomp)
        skip_because("this kernel has no seccomp, or may not use it");
}

static unsigned need_landlock(unsigned least)
{
    int version = landlock_version();

    if (version < (int)least)
        skip_because("this kernel has no Landlock, or an older one");
    if (IS_SANITIZED)
        skip_because("a sanitizer reads /proc"); // as workers built with one go without
    return (unsigned)version;
}

// ---- system calls that end a worker ----

// Each returns if it is not ended.
#define CALL(name, ...)                                                                                      \
    static int try_##name(void)                                                                              \
    {                                                                                                        \
        long result = (long)(__VA_ARGS__);                                                                   \
                                                                                                             \
        (void)result;                                                                                        \
        return 0;                                                                                            \
    }

CALL(open, open("/etc/passwd", O_RDONLY))
CALL(openat, syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY))
CALL(openat2, syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", &(struct open_how){0}, sizeof(struct open_how)))
CALL(memfd, memfd_create("x", 0))
CALL(stat, syscall(SYS_newfstatat, AT_FDCWD, "/etc/passwd", &(struct stat){0}, 0))
CALL(unlink, unlinkat(AT_FDCWD, "/nowhere", 0))
CALL(chdir, chdir("/"))
CALL(execve, execve("/bin/true", (char *[]){NULL}, NULL))
CALL(execveat, syscall(SYS_execveat, AT_FDCWD, "/bin/true", NULL, NULL, 0))
CALL(fork, syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0))
CALL(clone3, syscall(SYS_clone3, NULL, 0))
CALL(udp, socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0))
CALL(raw, socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW))
CALL(blocking, socket(AF_INET, SOCK_STREAM, 0)) // the worker's own never are
CALL(mptcp, socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 262))
CALL(netlink, socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0))
CALL(unix_socket, socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0))
CALL(algorithm, socket(AF_ALG, SOCK_SEQPACKET, 0))
CALL(pair, socketpair(AF_UNIX, SOCK_STREAM, 0, (int[2]){0}))
CALL(connect, connect(-1, NULL, 0)) // the ring's business
CALL(bind, bind(-1, NULL, 0))
CALL(listen, listen(-1, 1))
CALL(socket_filter,
     setsockopt(-1, SOL_SOCKET, SO_ATTACH_FILTER, &(struct sock_fprog){0}, sizeof(struct sock_fprog)))
CALL(transparent, setsockopt(-1, SOL_IP, IP_TRANSPARENT, &(int){1}, sizeof(int)))
CALL(peer_key, getsockopt(-1, SOL_SOCKET, SO_PEERCRED, NULL, NULL))
CALL(ring, syscall(SYS_io_uring_setup, 8, NULL))
CALL(ring_register, syscall(SYS_io_uring_register, -1, 2, NULL, 0))
CALL(descriptor_flags, fcntl(2, F_SETFL, O_ASYNC))
CALL(duplicate, dup(2))
CALL(overwrite, dup3(STDERR_FILENO, 0, 0))
CALL(terminal, ioctl(0, TIOCSTI, "x"))
CALL(map_code, mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
CALL(make_code, mprotect((void *)((uintptr_t)&errno & ~(uintptr_t)4095), 4096, PROT_READ | PROT_EXEC))
CALL(trace, ptrace(PTRACE_TRACEME, 0, NULL, NULL))
CALL(read_others, syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0))
CALL(take_descriptor, syscall(SYS_pidfd_getfd, -1, 0, 0))
CALL(signal_others, kill(1, 0))
CALL(signal_thread, syscall(SYS_tgkill, 1, 1, 0))
CALL(handler, sigaction(SIGSYS, &(struct sigaction){.sa_handler = SIG_IGN}, NULL))
CALL(become_dumpable, prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
CALL(user, syscall(SYS_setresuid, 0, 0, 0))
CALL(bpf, syscall(SYS_bpf, BPF_PROG_LOAD, NULL, 0))
CALL(namespace, syscall(SYS_unshare, 0))
CALL(mount, syscall(SYS_mount, NULL, NULL, NULL, 0, NULL))
CALL(keys, syscall(SYS_add_key, NULL, NULL, NULL, 0, 0))
CALL(personality, syscall(SYS_personality, 0xffffffff))
CALL(unknown, syscall(9999))

// Looks at the arguments that the kernel does: the rest of a register must not matter.
CALL(high_half, syscall(SYS_socket, UINT64_C(0x100000000) + AF_NETLINK, SOCK_RAW, 0))

struct forbidden {
    int call;
    int (*act)(void);
    bool sanitizers_may;
};

#define FORBIDDEN(number, name)                                                                              \
    {                                                                                                        \
        number, try_##name, false                                                                            \
    }
#define SANITIZERS(number, name)                                                                             \
    {                                                                                                        \
        number, try_##name, true                                                                             \
    }

static const struct forbidden forbidden[] = {
    SANITIZERS(SYS_openat, open),
    SANITIZERS(SYS_openat, openat),
    FORBIDDEN(SYS_openat2, openat2),
    FORBIDDEN(SYS_memfd_create, memfd),
    SANITIZERS(SYS_newfstatat, stat),
    FORBIDDEN(SYS_unlinkat, unlink),
    FORBIDDEN(SYS_chdir, chdir),
    FORBIDDEN(SYS_execve, execve),
    FORBIDDEN(SYS_execveat, execveat),
    SANITIZERS(SYS_clone, fork),
    FORBIDDEN(SYS_clone3, clone3),
    FORBIDDEN(SYS_socket, udp),
    FORBIDDEN(SYS_socket, raw),
    FORBIDDEN(SYS_socket, blocking),
    FORBIDDEN(SYS_socket, mptcp),
    FORBIDDEN(SYS_socket, netlink),
    FORBIDDEN(SYS_socket, unix_socket),
    FORBIDDEN(SYS_socket, algorithm),
    FORBIDDEN(SYS_socket, high_half),
    FORBIDDEN(SYS_socketpair, pair),
    FORBIDDEN(SYS_connect, connect),
    FORBIDDEN(SYS_bind, bind),
    FORBIDDEN(SYS_listen, listen),
    FORBIDDEN(SYS_setsockopt, socket_filter),
    FORBIDDEN(SYS_setsockopt, transparent),
    FORBIDDEN(SYS_getsockopt, peer_key),
    FORBIDDEN(SYS_io_uring_setup, ring),
    FORBIDDEN(SYS_io_uring_register, ring_register),
    SANITIZERS(SYS_fcntl, descriptor_flags),
    FORBIDDEN(SYS_dup, duplicate),
    FORBIDDEN(SYS_dup3, overwrite),
    SANITIZERS(SYS_ioctl, terminal),
    FORBIDDEN(SYS_mmap, map_code),
    FORBIDDEN(SYS_mprotect, make_code),
    SANITIZERS(SYS_ptrace, trace),
    FORBIDDEN(SYS_process_vm_readv, read_others),
    FORBIDDEN(SYS_pidfd_getfd, take_descriptor),
    FORBIDDEN(SYS_kill, signal_others),
    SANITIZERS(SYS_tgkill, signal_thread),
    SANITIZERS(SYS_rt_sigaction, handler),
    SANITIZERS(SYS_prctl, become_dumpable),
    FORBIDDEN(SYS_setresuid, user),
    FORBIDDEN(SYS_bpf, bpf),
    FORBIDDEN(SYS_unshare, namespace),
    FORBIDDEN(SYS_mount, mount),
    FORBIDDEN(SYS_add_key, keys),
    FORBIDDEN(SYS_personality, personality),
    FORBIDDEN(9999, unknown),
};

static void test_forbidden(void **unused)
{
    (void)unused;
    need_seccomp();
    configure(port_open);
    for (size_t i = 0; i < COUNT(forbidden); i++) {
        struct outcome outcome;
        char name[32];

        if (IS_SANITIZED && forbidden[i].sanitizers_may)
            continue;
        outcome = inside(&only_seccomp, forbidden[i].act);
        sandbox_call_name(forbidden[i].call, name, sizeof(name));
        if (!WIFSIGNALED(outcome.status) || WTERMSIG(outcome.status) != SIGSYS)
            fail_msg("%s (row %zu): status 0x%x instead of SIGSYS", name, i, (unsigned)outcome.status);
        if (outcome.forbidden != forbidden[i].call)
            fail_msg("%s (row %zu): it said call %d", name, i, outcome.forbidden);
    }
}

// Whoever handles the signal himself, or blocks it, dies all the same.
static int block_and_open(void)
{
    sigset_t all;

    sigfillset(&all);
    (void)sigprocmask(SIG_BLOCK, &all, NULL);
    (void)syscall(SYS_chdir, "/");
    return 0;
}

static void test_blocked_signal(void **unused)
{
    struct outcome outcome;

    (void)unused;
    need_seccomp();
    configure(port_open);
    outcome = inside(&only_seccomp, block_and_open);
    assert_true(WIFSIGNALED(outcome.status) && WTERMSIG(outcome.status) == SIGSYS);
}

// ---- what a worker does ----

static int serve(void)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int six = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct linger linger = {0};
    socklen_t length = sizeof(one);
    struct msghdr message = {0};
    void *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct timespec now;
    char byte;

    if (fd < 0 || memory == MAP_FAILED || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &one, sizeof(one)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &one, sizeof(one)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &one, sizeof(one)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &one, sizeof(one)) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &one, &length) < 0)
        return 1;
    // These may fail, and must come back.
    (void)setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls"));
    (void)setsockopt(fd, SOL_TLS, TLS_TX, NULL, 0);
    (void)setsockopt(fd, SOL_TLS, TLS_RX, NULL, 0);
    (void)getsockopt(fd, SOL_TLS, TLS_TX, NULL, NULL);
    (void)ioctl(fd, SIOCOUTQ, &one);
    (void)recvmsg(fd, &message, MSG_DONTWAIT);
    (void)sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)recv(fd, &byte, 1, MSG_DONTWAIT);
    (void)send(fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    (void)getpeername(fd, NULL, NULL);
    (void)getsockname(fd, NULL, NULL);
    (void)accept4(fd, NULL, NULL, SOCK_NONBLOCK);
    (void)fcntl(fd, F_DUPFD_CLOEXEC, 0);
    (void)syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0);
    (void)syscall(SYS_io_uring_register, -1, RING_REGISTER_AT_END, NULL, 0);
    (void)syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    close(fd);
    if (six >= 0)
        close(six);
    if (getrandom(&byte, 1, 0) != 1 || madvise(memory, 8192, MADV_DONTDUMP) < 0 ||
        mprotect(memory, 4096, PROT_READ) < 0 || munmap(memory, 8192) < 0)
        return 2;
    (void)mlock2(&now, 1, MLOCK_ONFAULT);
    free(malloc(64u << 20));
    (void)lseek(2, 0, SEEK_CUR);
    (void)poll(&(struct pollfd){.fd = STDERR_FILENO, .events = POLLOUT}, 1, 0);
    (void)dup3(STDERR_FILENO, STDERR_FILENO, 0); // refused, and comes back
    return 0;
}

static void test_allowed(void **unused)
{
    struct outcome outcome;

    (void)unused;
    need_seccomp();
    configure(port_open);
    outcome = inside(&only_seccomp, serve);
    assert_int_equal(outcome.forbidden, -1);
    assert_true(WIFEXITED(outcome.status));
    assert_int_equal(WEXITSTATUS(outcome.status), 0);
}

// The time zone, whose file gmtime_r(3) reads once, is known before (answer.c).
static int tell_date(void)
{
    time_t now = 0;
    struct tm parts;

    return gmtime_r(&now, &parts) == NULL;
}

static void test_date(void **unused)
{
    struct outcome outcome;

    (void)unused;
    need_seccomp();
    configure(port_open);
    outcome = inside(&only_seccomp, tell_date);
    assert_int_equal(outcome.forbidden, -1);
    assert_int_equal(outcome.status, 0);
}

static int give_up(void)
{
    abort();
}

// An assertion that fails shows as one.
static void test_abort(void **unused)
{
    struct outcome outcome;

    (void)unused;
    need_seccomp();
    configure(port_open);
    outcome = inside(&only_seccomp, give_up);
    assert_int_equal(outcome.forbidden, -1);
    assert_true(WIFSIGNALED(outcome.status) && WTERMSIG(outcome.status) == SIGABRT);
}

// ---- what only some configurations need ----

static int come_from(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;

    (void)setsockopt(fd, SOL_IP, IP_TRANSPARENT, &on, sizeof(on));
    (void)setsockopt(fd, SOL_IPV6, 75, &on, sizeof(on)); // IPV6_TRANSPARENT
    (void)setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    return bind(fd, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET},
                sizeof(struct sockaddr_in)) < 0;
}

static void test_transparent(void **unused)
{
    struct outcome outcome;

    (void)unused;
    need_seccomp();
    configure(port_open);
    upstream.tcp.is_transparent = true;
    outcome = inside(&only_seccomp, come_from);
    assert_int_equal(outcome.forbidden, -1);
    assert_int_equal(outcome.status, 0);
}

static int open_unix(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) < 0;
}

static void test_unix_servers(void **unused)
{
    struct outcome outcome;

    (void)unused;
    need_seccomp();
    configure(port_open);
    server.address.socket.ss_family = AF_UNIX;
    outcome = inside(&only_seccomp, open_unix);
    assert_int_equal(outcome.forbidden, -1);
    assert_int_equal(outcome.status, 0);
}

static int open_beneath(const char *path, uint64_t resolve)
{
    struct open_how how = {.flags = O_RDONLY, .resolve = resolve};
    int fd = (int)syscall(SYS_openat2, folder_fd, path, &how, sizeof(how));

    return fd < 0 ? -errno : fd;
}

static int read_token(void)
{
    struct stat status;
    char byte;
    int fd = open_beneath("token", RESOLVE_BENEATH);

    return fd < 0 || fstat(fd, &status) < 0 || read(fd, &byte, 1) != 1 || byte != 'x';
}

// With everything in force, what a worker needs for ACME works, and nothing beside that folder can be had by it.
static int read_elsewhere(void)
{
    return open_beneath("../../etc/passwd", 0) != -EACCES || open_beneath("/etc/passwd", 0) != -EACCES ||
           read_token() != 0;
}

static void test_tokens(void **unused)
{
    struct sandbox sandbox = only_seccomp;
    struct outcome outcome;

    (void)unused;
    need_seccomp();
    configure(port_open);
    listener.redirect.acme = folder;
    outcome = inside(&sandbox, read_token);
    assert_int_equal(outcome.forbidden, -1);
    assert_int_equal(outcome.status, 0);
    sandbox.landlock = need_landlock(1);
    outcome = inside(&sandbox, read_elsewhere);
    assert_int_equal(outcome.forbidden, -1);
    assert_int_equal(outcome.status, 0);
}

// ---- Landlock by itself ----

static int connect_to(int port)
{
    struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int error = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;

    close(fd);
    return error;
}

static int reach_files(void)
{
    int fd = open("/etc/passwd", O_RDONLY);

    if (fd >= 0 || errno != EACCES)
        return 1;
    if (mkdir("/tmp/ringbolt-sandbox-made", 0700) == 0 || errno != EACCES)
        return 2;
    return execve("/bin/true", (char *[]){NULL}, NULL) == 0 || errno != EACCES ? 3 : 0;
}

static int reach_ports(void)
{
    struct sockaddr_in any = loopback(0);

    if (connect_to(port_open) != 0)
        return 1;
    if (connect_to(port_open == 65535 ? 1 : port_open + 1) != -EACCES)
        return 2;
    return bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&any, sizeof(any)) == 0 || errno != EACCES
               ? 3
               : 0;
}

static int reach_processes(void)
{
    return kill(getppid(), 0) == 0 || errno != EPERM;
}

static void test_landlock(void **unused)
{
    static const struct {
        unsigned version;
        int (*act)(void);
    } acts[] = {{1, reach_files}, {4, reach_ports}, {6, reach_processes}};
    unsigned version;

    (void)unused;
    configure(port_open);
    version = need_landlock(1);
    for (size_t i = 0; i < COUNT(acts) && version >= acts[i].version; i++) {
        // As on a kernel that has no more, and with all that there is.
        for (unsigned used = acts[i].version; used <= version; used++) {
            struct outcome outcome = inside(&(struct sandbox){.landlock = used}, acts[i].act);

            if (outcome.status != 0)
                fail_msg("act %zu under version %u: status 0x%x", i, used, (unsigned)outcome.status);
        }
    }
}

// ---- finding out ----

static void test_probe(void **unused)
{
    struct sandbox_errors errors;
    struct sandbox found;

    (void)unused;
    configure(port_open);
    sandbox_probe(&config, &found, &errors);
    assert_true(found.has_seccomp == (errors.seccomp == 0));
    assert_true(found.has_ring == (errors.ring == 0));
    if (!IS_SANITIZED)
        assert_true((found.landlock > 0) == (errors.landlock == 0));
    config.sandbox.seccomp = config.sandbox.landlock = config.sandbox.io_uring = CONFIG_SANDBOX_OFF;
    sandbox_probe(&config, &found, &errors);
    assert_false(found.has_seccomp || found.landlock > 0 || found.has_ring);
    assert_int_equal(errors.seccomp, 0);
    assert_int_equal(errors.landlock, 0);
    assert_int_equal(errors.ring, 0);
}

static void test_names(void **unused)
{
    char text[32];

    (void)unused;
    sandbox_call_name(SYS_openat, text, sizeof(text));
    assert_string_equal(text, "openat");
    sandbox_call_name(9999, text, sizeof(text));
    assert_string_equal(text, "9999");
}

// ---- sanitizers ----

static int go_wrong(void)
{
    char *volatile gone = malloc(8);

    free(gone);
    return *(volatile char *)gone; // on purpose
}

// What a sanitizer finds in a worker it can still tell, with names.
static void test_sanitizer(void **unused)
{
    static char text[65536];
    struct sandbox sandbox = only_seccomp;
    struct outcome outcome;
    size_t size = 0;
    ssize_t length;
    int ends[2];
    int saved = dup(STDERR_FILENO);

    (void)unused;
    if (!IS_SANITIZED)
        skip_because("this is no sanitizer's build");
    need_seccomp();
    configure(port_open);
    assert_return_code(pipe(ends), errno);
    fcntl(ends[1], F_SETPIPE_SZ, (int)sizeof(text));
    assert_return_code(dup2(ends[1], STDERR_FILENO), errno);
    outcome = inside(&sandbox, go_wrong);
    assert_return_code(dup2(saved, STDERR_FILENO), errno);
    close(saved);
    close(ends[1]);
    while (size < sizeof(text) - 1 && (length = read(ends[0], text + size, sizeof(text) - 1 - size)) > 0)
        size += (size_t)length;
    close(ends[0]);
    assert_int_equal(outcome.forbidden, -1);
    if (!strstr(text, "heap-use-after-free") || !strstr(text, "go_wrong"))
        fail_msg("status 0x%x, and it said: %s", (unsigned)outcome.status, text);
}

// ---- privileges ----

static int keep_one(void)
{
    if (privileges_keep(PRIVILEGE(5)) < 0) // CAP_KILL
        return 1;
    if ((privileges_held() & ~PRIVILEGE(5)) != 0)
        return 2;
    // What is given up does not come back.
    (void)privileges_keep(UINT64_MAX);
    return (privileges_held() & ~PRIVILEGE(5)) != 0 ? 3 : 0;
}

static int hide(void)
{
    struct rlimit limit;

    return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0 || getrlimit(RLIMIT_CORE, &limit) < 0 ||
           limit.rlim_max != 0;
}

static void test_privileges(void **unused)
{
    static const struct sandbox none = {0};

    (void)unused;
    configure(port_open);
    assert_int_equal(inside(&none, keep_one).status, 0);
    assert_int_equal(inside(&none, hide).status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forbidden),    cmocka_unit_test(test_blocked_signal),
        cmocka_unit_test(test_allowed),      cmocka_unit_test(test_date),
        cmocka_unit_test(test_abort),        cmocka_unit_test(test_transparent),
        cmocka_unit_test(test_unix_servers), cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_landlock),     cmocka_unit_test(test_probe),
        cmocka_unit_test(test_names),        cmocka_unit_test(test_sanitizer),
        cmocka_unit_test(test_privileges),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
